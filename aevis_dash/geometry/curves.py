"""Curves through the layers' positions, and places for the labels beside them."""

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression


def smooth(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A curve through the knots x (L,), y (L,), read at the places `at` (n,): (n,).

    x must increase strictly. The curve is the monotone cubic of Fritsch and Butland (1984): between two knots it stays
    between their values, so it does not overshoot. Outside the knots it is level.
    """
    if len(x) < 2:
        return np.full(len(at), float(y[0]) if len(y) else 0.0)
    with np.errstate(over="ignore"):  # a slope next to 0 has an infinite reciprocal, which is right here
        curve = PchipInterpolator(x, y)
    return curve(np.clip(at, x[0], x[-1]))


def spread(positions: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """(k,) label positions at least `gap` apart in [low, high], as near to `positions` (k,) as can be (least squares).

    The order of the positions is kept. Where k labels need more room than there is, they overrun `high`.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    level = isotonic_regression(positions[order] - steps).x  # increasing by `gap` is non-decreasing without the steps
    top = max(low, high - gap * (len(order) - 1))
    placed = np.empty(len(order))
    placed[order] = np.clip(level, low, top) + steps
    return placed
