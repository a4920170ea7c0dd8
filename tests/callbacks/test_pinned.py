"""Clicks on the layer's station: chosen maps, pinned layers, and what stands beside what."""

import pytest

from aevis_dash.callbacks.layer.clicks import at
from aevis_dash.callbacks.layer.pinned import GAP, beside, figure_of, map_in, step_to, width_of
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Step
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer="layer3.2.relu", map=3, maps=(1, 2))


def test_the_shown_layer_stands_once_and_all_share_the_width():
    view = View(layer="b", pinned=("a", "b", "c"))
    assert beside(view) == ("a", "c")
    assert 3 * width_of({"width": 616}, view) + 2 * GAP == 616
    assert width_of({"width": 616}, View(layer="b")) == 616


def test_a_click_on_a_pinned_layer_shows_it_and_the_map(bench, view):
    cell = {"points": [{"customdata": [5]}]}
    there = at(bench, view, {"type": "pinned", "index": "layer2.0.relu"}, cell)
    assert (there.layer, there.map, there.maps) == ("layer2.0.relu", 5, ())
    title = at(bench, view, {"type": "pinned-title", "index": "layer2.0.relu"}, 1)
    assert title.layer == "layer2.0.relu"
    assert title.map is not None


STEPS = (
    Step(THE_PREDICTION, None, source="layer3.2.relu"),
    Step("layer3.2.relu", 3, source="layer2.0.relu", parent=0),
    Step("layer3.2.relu", 9, source="layer1.0.relu", parent=0),
    Step("layer2.0.relu", 1, maps=(1,), replacement="source", parent=1),
)


def test_a_pinned_layer_shows_the_step_on_the_way_here():
    here = View(layer="layer2.0.relu", steps=STEPS, at=1)
    assert step_to(here, "layer3.2.relu") == STEPS[0]
    assert step_to(here, "layer1.0.relu") is None, "that step is on another branch"
    assert map_in(here, "layer3.2.relu") == 3
    assert map_in(here, "layer2.0.relu") is None
    assert map_in(View(steps=STEPS, at=2), "layer3.2.relu") == 9


def test_a_pinned_treemap_has_the_contributions_and_the_map_of_its_step(bench, view):
    found = stored_triplet(bench, view)
    here = view.but(layer="layer2.0.relu", steps=STEPS[:2], at=1, pinned=("layer3.2.relu",), how="quadratic")
    traces = {t["name"]: t for t in figure_of(bench, found, here, "layer3.2.relu", {"width": 600})["data"]}
    assert "contribution" in traces
    plain = {t["name"]: t for t in figure_of(bench, found, view, "layer1.0.relu", {"width": 600})["data"]}
    assert "contribution" not in plain
    assert "contribution" not in {
        t["name"] for t in figure_of(bench, found, here, "layer1.0.relu", {"width": 600})["data"]
    }
    other = figure_of(bench, found, view.but(compared=("nobody.png",)), "layer1.0.relu", {})
    assert "nobody.png" in other.layout.annotations[0].text
