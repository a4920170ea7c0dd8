"""Curves through the layers' positions, and places for the labels beside them."""

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression


def smooth(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A curve through knots, read at some places. It is the monotone cubic of Fritsch and Butland (1984).

    Between two knots the curve stays between their values, so it does not overshoot. Outside the knots it is level.

    Args:
        x: the places of the knots, (L,), which increase strictly.
        y: the values there, (L,).
        at: the places at which the curve is read, (n,).

    Returns:
        The values there, (n,).
    """
    if len(x) < 2:
        return np.full(len(at), float(y[0]) if len(y) else 0.0)
    with np.errstate(over="ignore"):  # a slope next to 0 has an infinite reciprocal, which is right here
        curve = PchipInterpolator(x, y)
    return curve(np.clip(at, x[0], x[-1]))


def spread(positions: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Positions for labels that are at least `gap` apart, and as near to the wanted ones as can be (least squares).

    Args:
        positions: the wanted positions, (k,); their order is kept.
        gap: the least distance of two labels.
        low: the least position.
        high: the largest position. Where the labels need more room, they overrun it.

    Returns:
        The positions, (k,).
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    level = isotonic_regression(positions[order] - steps).x  # increasing by `gap` is non-decreasing without the steps
    top = max(low, high - gap * (len(order) - 1))
    placed = np.empty(len(order))
    placed[order] = np.clip(level, low, top) + steps
    return placed
