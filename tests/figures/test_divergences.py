"""Every pair stands in one bar; bars say what a click on them means."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.figures.divergences import (
    GROUPS,
    HEIGHT,
    OTHERS,
    SMALL,
    WIDTH,
    colours_of,
    divergence_figure,
    largest,
    tick_names,
)
from aevis_dash.figures.theme import LIGHT
from aevis_dash.geometry.dag import Group

LAYERS = ("relu", "layer1.0.relu", "never")
NONE = np.zeros(3)
COUNTS = st.integers(0, 12).flatmap(lambda g: arrays(int, (g, 3), elements=st.integers(0, 9)))


@settings(deadline=None, max_examples=40)
@given(COUNTS)
def test_every_pair_is_counted_once_and_a_click_on_its_bar_finds_it(counts):
    groups = [f"group {i}" for i in range(len(counts))]
    figure = divergence_figure(LAYERS, groups, counts, NONE, None, LIGHT)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert len(bars) == min(len(groups), len(GROUPS) + 1)
    for i, layer in enumerate(LAYERS):
        assert sum(bar.y[i] for bar in bars) == counts[:, i].sum()
        assert [bool(bar.customdata[i][1]) for bar in bars] == [k < len(GROUPS) for k in range(len(bars))]
        for bar in bars:
            assert bar.customdata[i][0] == layer
            if asked := bar.customdata[i][1]:
                assert bar.y[i] == counts[groups.index(asked), i]
    assert figure.layout.yaxis.range[1] > max((counts.sum(axis=0).max(initial=0), 1))


def test_the_largest_groups_have_a_colour_and_the_rest_stand_together():
    counts = np.array([[i, 1, 0] for i in (3, 1, 8, 7, 6, 5, 4, 2)])
    names, drawn = largest([str(row[0]) for row in counts], counts)
    assert names == ["8", "7", "6", "5", "4", "3", OTHERS]
    assert drawn[-1].tolist() == [3, 2, 0]
    figure = divergence_figure(LAYERS, [str(row[0]) for row in counts], counts, NONE, None, LIGHT)
    assert len({bar.marker.color[0] for bar in figure.data if bar.type == "bar"}) == 7
    assert len({*colours_of(LIGHT)}) == len(GROUPS) + 1
    assert [c[1] for c in figure.data[-2].customdata] == ["", "", ""], "a click on the others asks for the layer alone"


def test_the_chosen_bar_is_picked_out():
    figure = divergence_figure(LAYERS, ["a", "b"], np.ones((2, 3), int), NONE, ("relu", "b"), LIGHT)
    strong = [[c.endswith(",1)") for c in bar.marker.color] for bar in figure.data[:2]]
    assert strong == [[False, False, False], [True, False, False]]
    whole = divergence_figure(LAYERS, ["a", "b"], np.ones((2, 3), int), NONE, ("relu", ""), LIGHT)
    assert [[c.endswith(",1)") for c in bar.marker.color] for bar in whole.data[:2]] == [[True, False, False]] * 2


def test_names_are_no_markup():
    figure = divergence_figure(LAYERS, ["<b>bold"], np.ones((1, 3), int), NONE, None, LIGHT)
    assert "<b>" not in figure.data[0].hovertemplate
    assert figure.data[0].customdata[0][1] == "<b>bold"


def test_what_innocent_pictures_do_stands_beside_within_the_axis():
    figure = divergence_figure(LAYERS, ["a"], np.ones((1, 3), int), np.array([0.5, 7.25, 0]), None, LIGHT)
    assert figure.data[-1].name == "innocent"
    assert list(figure.data[-1].y) == [0.5, 7.25, 0]
    assert figure.layout.yaxis.range[1] > 7.25


STAGES = (Group("layer1", 1, 2, 0, ""), Group("layer2#2", 3, 3, 0, ""))
DEEP = ("relu", "layer1.0.relu", "layer1.1.relu", "layer2.relu", "never")


def test_layers_are_named_below_and_stages_above():
    figure = divergence_figure(DEEP, ["a"], np.ones((1, 5), int), np.zeros(5), None, LIGHT, STAGES)
    assert list(figure.layout.xaxis.ticktext) == ["relu", "0.relu", "1.relu", "relu", "never"]
    assert list(figure.layout.xaxis.tickvals) == [0, 1, 2, 3, 4]
    named = {note.text: note.x for note in figure.layout.annotations}
    assert named == {"layer1": 1.5, "layer2#2": 3}
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0.5, 2.5)], "every second stage has a ground"
    assert [c[0] for c in figure.data[0].customdata] == list(DEEP), "a click still names the layer whole"


def test_of_many_layers_as_many_are_named_as_have_room():
    few, many = ([f"layer{i // 9}.{i % 9}.relu_{i}" for i in range(count)] for count in (60, 400))
    assert all(tick_names(few, ()))
    named = [place for place, name in enumerate(tick_names(many, ())) if name]
    assert len(named) * (SMALL + 2) <= WIDTH + 2 * SMALL + 4
    assert named[-1] == 399
    upright = divergence_figure(few, ["a"], np.ones((1, 60), int), np.zeros(60), None, LIGHT).layout
    assert upright.xaxis.tickangle == -90
    assert upright.height - upright.margin.b == HEIGHT, "names take no room from the bars"
    assert divergence_figure(LAYERS, ["a"], np.ones((1, 3), int), NONE, None, LIGHT).layout.xaxis.tickangle == 0
