"""A drawn box or lasso becomes whole neurons; chosen neurons have a border."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.domain import AreaOfInterest, area_of_neurons
from aevis_dash.figures.area import outline, snap_area


@settings(deadline=None, max_examples=80)
@given(st.data(), st.sampled_from(["", "2", "3"]))
def test_a_box_along_the_borders_of_cells_comes_back(data, axis):
    height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    nudge = data.draw(st.floats(-0.4, 0.4))
    ends = {
        "x" + axis: [right - 0.5 + nudge, left - 0.5 + nudge],
        "y" + axis: [top - 0.5 - nudge, bottom - 0.5 - nudge],
    }
    assert snap_area({"range": ends}, 3, height, width) == AreaOfInterest(3, top, left, bottom, right)


@pytest.mark.parametrize("selected", [None, {}, {"points": []}, {"range": {}}])
def test_no_selection_is_no_area(selected):
    assert snap_area(selected, 0, 5, 5) is None


def test_a_box_within_one_cell_takes_it_one_outside_is_none_and_a_large_one_is_clipped():
    assert snap_area({"range": {"x": [1.7, 1.9], "y": [2.1, 2.2]}}, 0, 5, 5) == AreaOfInterest(0, 2, 2, 3, 3)
    assert snap_area({"range": {"x": [7, 9], "y": [1, 3]}}, 0, 5, 5) is None
    assert snap_area({"range": {"x": [-9, 9], "y": [-9, 9]}}, 0, 4, 5) == AreaOfInterest(0, 0, 0, 4, 5)


def test_a_lasso_gives_the_neurons_whose_centres_it_encloses():
    ends = {"x2": [0.6, 3.4, 0.6], "y2": [0.6, 0.6, 3.4]}
    found = snap_area({"lassoPoints": ends}, 0, 9, 9)
    assert (found.top, found.left, found.bottom, found.right) == (1, 1, 3, 3)
    np.testing.assert_array_equal(found.chosen, [[1, 1], [1, 0]])
    within = {"x": [2.1, 2.3, 2.2], "y": [4.1, 4.1, 4.3]}
    assert snap_area({"lassoPoints": within}, 0, 9, 9) == AreaOfInterest(0, 4, 2, 5, 3), "the one that it lies in"
    assert snap_area({"lassoPoints": {"x": [50, 52, 51], "y": [50, 50, 53]}}, 0, 9, 9) is None


@settings(deadline=None, max_examples=80)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any))
def test_the_border_goes_around_the_chosen_neurons_alone(chosen):
    """The winding number of its loops is 1 at the centre of each of them and 0 elsewhere: so they are filled."""
    loops = [
        [tuple(map(float, corner.split(","))) for corner in loop.split("L")]
        for loop in outline(area_of_neurons(0, chosen)).removeprefix("M").removesuffix("Z").split("ZM")
    ]
    for row, column in np.ndindex(chosen.shape):
        assert sum(_winding(loop, column, row) for loop in loops) == chosen[row, column]
    for loop in loops:
        turns = zip([loop[-1], *loop], loop, [*loop[1:], loop[0]], strict=False)
        assert all(a[0] != c[0] and a[1] != c[1] for a, _, c in turns), "no corner lies on a straight line"


def _winding(loop, x, y):
    """How often the loop goes around a point, clockwise where y points down: signed crossings of a ray to the right."""
    ends = zip(loop, [*loop[1:], loop[0]], strict=True)
    return sum((y1 > y) - (y0 > y) for (x0, y0), (_, y1) in ends if x0 > x)


def test_a_full_map_without_two_neurons_has_three_loops():
    chosen = np.ones((56, 56), bool)
    chosen[3, 4] = chosen[10, 20] = False
    assert outline(area_of_neurons(0, chosen)).count("Z") == 3
