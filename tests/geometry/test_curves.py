"""Curves and places for labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.geometry.curves import smooth, spread


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_smooth_stays_between_the_knots(data):
    steps = data.draw(st.lists(st.floats(0.1, 5), min_size=1, max_size=15))
    x = np.cumsum(steps)
    y = np.array(data.draw(st.lists(st.floats(-1, 1), min_size=len(x), max_size=len(x))))
    xs = np.interp(np.arange(7 * (len(x) - 1) + 1) / 7, np.arange(len(x)), x)
    ys = smooth(x, y, xs)
    assert smooth(x, y, np.array([x[0] - 1, x[-1] + 1])) == pytest.approx([y[0], y[-1]])
    np.testing.assert_allclose(ys[::7], y, atol=1e-9)
    for i in range(len(x) - 1):
        part = ys[7 * i : 7 * i + 8]
        assert part.min() >= min(y[i], y[i + 1]) - 1e-9
        assert part.max() <= max(y[i], y[i + 1]) + 1e-9
        assert np.all(np.diff(part) * np.sign(y[i + 1] - y[i]) >= -1e-9)


def test_smooth_through_hardly_any_knots_and_through_values_next_to_0():
    assert smooth(np.zeros(0), np.zeros(0), np.arange(2.0)).tolist() == [0, 0]
    assert smooth(np.ones(1), np.array([0.5]), np.arange(2.0)).tolist() == [0.5, 0.5]
    assert smooth(np.arange(3.0), np.array([5e-324, 1e-320, 1.0]), np.array([0.5, 1.0])) == pytest.approx([0, 0])


def test_smooth_is_a_curve_not_a_polygon_and_keeps_straight_lines():
    ys = smooth(np.arange(4.0), np.array([0.0, 0.0, 1.0, 1.0]), np.arange(13) / 4)
    assert ys[5] < 0.25 < 0.75 < ys[7]
    xs = np.linspace(0, 3, 11)
    ys = smooth(np.array([0.0, 1, 3]), np.array([0.0, 2, 6]), xs)
    np.testing.assert_allclose(ys, 2 * xs)


@settings(deadline=None, max_examples=80)
@given(arrays(float, st.integers(1, 8), elements=st.floats(0, 10)))
def test_spread_keeps_order_distance_and_bounds(positions):
    placed = spread(positions, 1.0, 0.0, 10.0)
    order = np.argsort(positions, kind="stable")
    assert np.all(np.diff(placed[order]) >= 1 - 1e-9)
    assert placed.min() >= -1e-9
    assert placed.max() <= 10 + 1e-9
    if np.all(np.diff(positions[order]) >= 1):
        np.testing.assert_allclose(placed, positions, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(arrays(float, st.integers(2, 6), elements=st.floats(0, 10)), st.integers(0, 1000))
def test_no_other_places_for_the_labels_are_nearer(positions, seed):
    """Other orderly places in the bounds, drawn about the found ones and anywhere."""
    placed, rng = spread(positions, 1.0, 0.0, 10.0), np.random.default_rng(seed)
    order, steps = np.argsort(positions, kind="stable"), np.arange(len(positions))
    free = 10.0 - steps[-1]
    for scale in (0.01, 0.5, 10):
        others = np.clip(placed[order] - steps + rng.normal(0, scale, len(positions)), 0, free)
        others = np.sort(others) + steps
        apart = np.square(placed - positions).sum()
        assert apart <= np.square(others - positions[order]).sum() + 1e-9
