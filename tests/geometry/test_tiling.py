"""Rectangles tile a rectangle, their areas are in proportion to sizes, and small ones can be raised."""

from itertools import combinations

import numpy as np
import pytest
from geometry.rectangles import apart, inside
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.geometry.cells import Rect
from aevis_dash.geometry.tiling import raised, squarify

SLACK = 1e-6
SIDES = st.floats(40, 900)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.5, 50), min_size=1, max_size=9), SIDES, SIDES, st.booleans())
def test_squarify_tiles_in_proportion(sizes, width, height, tall):
    whole = Rect(3.0, 5.0, width, height)
    rects = squarify(sizes, whole, tall)
    np.testing.assert_allclose([r.area for r in rects], np.array(sizes) * whole.area / sum(sizes), rtol=1e-6)
    assert all(inside(r, whole) for r in rects)
    assert apart(rects)


def test_squarify_keeps_the_order_given_and_starts_as_told():
    column = squarify([1, 1, 6], Rect(0, 0, 100, 100), True)
    assert [round(r.x) for r in column] == [0, 0, 25]
    row = squarify([1, 1, 6], Rect(0, 0, 100, 100), False)
    assert [round(r.y) for r in row] == [0, 0, 25]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=9), st.floats(0, 40))
def test_small_areas_are_raised_and_the_others_stay_in_proportion(sizes, floor):
    areas = raised(sizes, 100.0, floor)
    assert sum(areas) == pytest.approx(100)
    assert min(areas) >= min(floor, 100 / len(sizes)) - SLACK
    assert all(a <= b + SLACK for (n, a), (m, b) in combinations(sorted(zip(sizes, areas, strict=True)), 2) if n < m)
    scales = {round(area / size, 9) for size, area in zip(sizes, areas, strict=True) if area > floor + SLACK}
    assert len(scales) <= 1


def test_areas_by_hand():
    assert raised([1, 3, 6], 100, 0) == pytest.approx([10, 30, 60])
    assert raised([1, 3, 6], 100, 20) == pytest.approx([20, 80 / 3, 160 / 3])
    assert raised([1, 3, 6], 100, 30) == pytest.approx([30, 30, 40]), "the second one falls below by that too"
    assert raised([1, 3, 6], 99, 40) == pytest.approx([33, 33, 33]), "there is not so much for all"
