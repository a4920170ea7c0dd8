"""One scale for all examples; a drawn box becomes whole cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.domain import ROLES, AreaOfInterest, Role
from aevis_dash.figures.neuron import activation_figure, snap_area, toggled
from aevis_dash.figures.theme import LIGHT


def draw(shape=(5, 7), area=None, names=None, sizes=(1.0, 8.0, 3.0)):
    maps = {role: np.full(shape, size) for role, size in zip(ROLES, sizes, strict=True)}
    return activation_figure(maps, area, LIGHT, names or {role: role.value for role in ROLES})


def test_all_heatmaps_share_one_scale_from_zero_and_one_colour_bar():
    figure = draw()
    assert [t.name for t in figure.data] == ["source", "adversarial", "target"]
    assert {t.zmin for t in figure.data} == {0}
    assert {t.zmax for t in figure.data} == {8}
    assert sum(t.showscale for t in figure.data) == 1
    assert {t.colorscale for t in figure.data} == {tuple(map(tuple, LIGHT.colorscale))}
    assert [float(t.z[0, 0]) for t in figure.data] == [1, 8, 3]


@pytest.mark.parametrize("sizes", [(0, 0, 0), (-1, -2, -3), (np.nan, np.nan, np.nan)])
def test_without_positive_activation_the_scale_still_has_a_length(sizes):
    assert {t.zmax for t in draw(sizes=sizes).data} == {1}


def test_cells_are_square_row_0_on_top_and_boxes_can_be_drawn():
    figure = draw((4, 6))
    for x, y in (("x", "y"), ("x2", "y2"), ("x3", "y3")):
        assert tuple(figure.layout["yaxis" + y[1:]].range) == (3.5, -0.5)
        assert tuple(figure.layout["xaxis" + x[1:]].range) == (-0.5, 5.5)
        assert figure.layout["yaxis" + y[1:]].scaleanchor == x
    assert [(t.xaxis, t.yaxis) for t in figure.data] == [("x", "y"), ("x2", "y2"), ("x3", "y3")]
    assert figure.layout.dragmode == "select"


def test_area_is_drawn_on_all_maps():
    figure = draw(area=AreaOfInterest(0, top=1, left=2, bottom=4, right=5))
    assert [(s.xref, s.yref) for s in figure.layout.shapes] == [("x", "y"), ("x2", "y2"), ("x3", "y3")]
    assert {s.path for s in figure.layout.shapes} == {"M 1.5 0.5 L 4.5 0.5 L 4.5 3.5 L 1.5 3.5 Z"}


def test_single_neurons_are_outlined_one_by_one():
    figure = draw(area=AreaOfInterest(0, top=1, left=2, bottom=4, right=5, picked=(0, 5)))
    paths = {s.path for s in figure.layout.shapes}
    assert paths == {"M 1.5 0.5 L 2.5 0.5 L 2.5 1.5 L 1.5 1.5 Z M 3.5 1.5 L 4.5 1.5 L 4.5 2.5 L 3.5 2.5 Z"}


def test_titles_name_role_and_class_in_role_colours(names):
    titles = {a.text: a.font.color for a in draw(names=names).layout.annotations}
    assert titles == {
        "<b>src</b><br>ambulance": LIGHT.source,
        "<b>adv</b><br>sign &lt;b&gt;": LIGHT.adversarial,
        "<b>tar</b><br>street sign": LIGHT.target,
    }


def test_a_single_neuron_and_a_missing_role():
    figure = activation_figure({Role.SOURCE: np.ones((1, 1))}, None, LIGHT, {Role.SOURCE: "cat"})
    assert len(figure.data) == 1
    assert figure.data[0].showscale
    figure.to_json()


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


def test_a_click_adds_a_neuron_and_takes_it_away():
    one = toggled(None, 0, 2, 3, (6, 8))
    assert one == AreaOfInterest(0, 2, 3, 3, 4)
    two = toggled(one, 0, 4, 5, (6, 8))
    assert (two.top, two.left, two.bottom, two.right, two.picked) == (2, 3, 5, 6, (0, 8))
    assert toggled(two, 0, 4, 5, (6, 8)) == one
    assert toggled(one, 0, 2, 3, (6, 8)) is None
