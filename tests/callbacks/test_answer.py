"""What is said of a map comes in one answer, and no more of it than there are news."""

import pytest
from dash import Patch

from aevis_dash.callbacks.neuron.answer import AREA, FEATURES, MAP, OUTPUTS, PARTS, TRAIL, describe
from aevis_dash.callbacks.view.marks import mark
from aevis_dash.callbacks.view.opening import settle
from aevis_dash.callbacks.view.state import View
from aevis_dash.figures.theme import LIGHT
from aevis_dash.workbench import open_workbench

MAPS, AREAS, LINE = {"title", "no_trace", "figure", "height"}, {"area", "seen", "row"}, {"trail", "hint", "trace"}
LEARNED, STEPS = (
    {"patches", "part", "picture", "no_picture"},
    {"tree", "flip", "no_flip", "flip_button", "no_prediction"},
)


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def view(bench):
    return settle(bench, View(example=bench.workspace.settings.opens_on)).but(area=(0, 0, 2, 2))


def told(bench, view, *news):
    return describe(bench, view, LIGHT, frozenset(news))


def test_another_map_says_nothing_of_the_steps_and_of_the_area(bench, view):
    answer = told(bench, view, MAP, FEATURES)
    assert set(answer) == MAPS | LEARNED | LINE
    assert answer["title"].startswith(f"map {view.map} of {view.layer}")
    assert len(answer["figure"]["layout"]["shapes"]) == 6, "the area is outlined on all three"


def test_another_area_moves_its_outline_alone(bench, view):
    answer = told(bench, view, AREA)
    assert set(answer) == {"figure"} | AREAS | LINE
    assert isinstance(answer["figure"], Patch)
    whole = told(bench, view, MAP)["figure"]["layout"]["shapes"]
    moved, cleared = answer["figure"].to_plotly_json()["operations"]
    assert (moved["location"], moved["params"]["value"]) == (["layout", "shapes"], whole)
    assert (cleared["location"], cleared["params"]["value"]) == (["layout", "selections"], []), (
        "it would lie in the way"
    )
    apart = told(bench, view.but(look="difference"), AREA)["figure"].to_plotly_json()["operations"]
    assert len(apart[0]["params"]["value"]) == 4, "adv itself is not among the differences"


@pytest.mark.parametrize(
    ("news", "parts"),
    [
        ((FEATURES,), LEARNED),
        ((TRAIL,), LINE | STEPS),
        (PARTS, set(OUTPUTS)),
        ((), set()),
    ],
)
def test_other_news_are_told_alone(bench, view, news, parts):
    assert set(told(bench, view, *news)) == parts


def test_without_a_map_there_is_no_outline_to_move(bench, view):
    empty = view.but(map=None)
    assert "figure" not in told(bench, empty, AREA)
    answer = told(bench, empty, MAP)
    assert "Click a feature map" in answer["figure"].layout.annotations[0].text
    assert answer["title"] == ""
    assert answer["no_trace"] is True
    assert told(bench, view, MAP)["no_trace"] is False
    unknown = told(bench, View(example=view.example, target="nobody.png"), MAP)
    assert "No datapaths yet" in unknown["figure"].layout.annotations[0].text
    assert told(bench, empty, FEATURES)["no_picture"] is True


def test_a_mark_is_that_of_what_was_drawn_whatever_its_order():
    assert mark({"map": 3, "layer": "a"}, None) == mark({"layer": "a", "map": 3}, None)
    assert len({mark({"map": 3}, None), mark({"map": 4}, None), mark({"map": 3}, 1), mark({"map": 3})}) == 4
