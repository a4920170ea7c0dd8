"""The connections that are stored are told beside their controls; those of the shown map become buttons."""

import os

import numpy as np
import pytest

from aevis_dash import ids, jobs
from aevis_dash.callbacks import background
from aevis_dash.callbacks.layer.contents import contents, drawing
from aevis_dash.callbacks.layer.links import links_of
from aevis_dash.callbacks.neuron.connections import SHOWN, in_words, told
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import EdgeSet
from aevis_dash.figures.theme import LIGHT
from aevis_dash.workbench import open_workbench

EARLIER, LATER = "layer4.1.relu_1", "layer4.2.relu"


@pytest.fixture
def bench(world):
    return open_workbench(world)


@pytest.fixture
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer=LATER)


def words(answer):
    return "".join(str(part.children) for part in answer[0].children)


def buttons(answer):
    return answer[1].children


def test_connections_are_asked_for_found_by_a_job_and_told(bench, view, monkeypatch):
    earlier, later = (bench.layers.find(name) for name in (EARLIER, LATER))
    before = told(bench, view, EARLIER)
    assert before["done"] is False
    assert f"Through which maps of {LATER} do the maps of {EARLIER}" in before["told"]
    assert links_of(bench, view.example, later) == {}
    monkeypatch.setattr(jobs, "workbench", lambda: bench)
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    answer = background.edge_job(lambda _: None, 5, EARLIER, view.to_data(), "page")
    assert (answer["result"], answer["ended"]) == (5, "")
    found = bench.flips.find_stored_edges(view.example, earlier.index, later.index)
    assert found is not None
    first = view.but(map=int(found.end[0]))
    after = told(bench, first, EARLIER)
    assert after["done"] is True
    ours = [i for i in range(len(found.end)) if found.end[i] == found.end[0]]
    assert f"of them {'end' if len(ours) > 1 else 'ends'} in map {found.end[0]}:" in words(after["told"])
    change = bench.flips.turning(view.example).change
    assert [b.children for b in buttons(after["told"])] == [
        f"{found.begin[i]} → {found.end[i]}: {found.effects[i] / change:.1%}" for i in ours[:SHOWN]
    ]
    assert buttons(after["told"])[0].id == ids.connection(EARLIER, int(found.begin[0]), int(found.end[0]))


def test_the_hover_of_a_cell_tells_its_strongest_connection_in_either_direction(bench, view):
    earlier, later = (bench.layers.find(name) for name in (EARLIER, LATER))
    found = bench.flips.edges(view.example, earlier.index, later.index)
    share = f"{found.effects[0] / bench.flips.turning(view.example).change:.1%}"
    into, out = links_of(bench, view.example, later), links_of(bench, view.example, earlier)
    begin, end = int(found.begin[0]), int(found.end[0])
    assert into[end] == f"fed by map {begin} of {LATER.replace(LATER, EARLIER)}: {share} turned back"
    assert out[begin] == f"feeds map {end} of {LATER}: {share} turned back"
    assert set(into) == set(found.end.tolist())
    assert set(out) == set(found.begin.tolist())
    triplet = stored_triplet(bench, view)
    drawn = drawing(bench, contents(bench, triplet, view, later, None), view, LIGHT, (760, 236), end)
    hovers = next(trace for trace in drawn["data"] if trace["name"] == "maps")["hovertext"]
    assert any(into[end] in text for text in hovers)


def test_a_layer_that_nothing_feeds_and_a_missing_source_are_said(bench, view):
    first = bench.layers.layers[0].name
    assert told(bench, view.but(layer=first, map=None), None) == {
        "told": "No earlier layer feeds this one.",
        "done": True,
    }
    assert told(bench, view, "layer9.relu") == {"told": [], "done": True}
    assert told(bench, View(), EARLIER)["told"] == []


def edge_set(**changed):
    fields = {
        "begin": np.array([1, 2]),
        "end": np.array([7, 7]),
        "effects": np.array([0.5, 0.25], np.float32),
        "before": -4.0,
        "carried": -3.0,
        "all_carried": -2.0,
        "by_difference": -3.5,
        "chance": np.array([-4.0, -3.8]),
    }
    return EdgeSet(**(fields | changed))


def test_what_connections_keep_stands_beside_its_controls():
    said = in_words(edge_set(), "a", "b", 7, 2)
    assert said[0].text == (
        "The 2 strongest connections keep 50% of what all of them carry; as many chosen by difference keep 25%, as "
        "many random ones 5%."
    )
    assert "from -4.00 to -3.00; all connections between the two layers move it to -2.00" in said[0].exact
    assert said[1].text == "2 of them end in map 7:"
    assert in_words(edge_set(), "a", "b", 3, 0)[1].text == "None of them ends in map 3; the strongest of the layer are:"
    assert len(in_words(edge_set(), "a", "b", None, 0)) == 1
    assert "random" not in in_words(edge_set(chance=np.zeros(0)), "a", "b", None, 0)[0].text
    assert "cannot be judged" in in_words(edge_set(all_carried=-4.0), "a", "b", None, 0)[0].text
    none = edge_set(begin=np.zeros(0, int), end=np.zeros(0, int), effects=np.zeros(0, np.float32))
    assert "No connection from a to b" in in_words(none, "a", "b", None, 0)[0].text
