"""The names of maps on the page: in the hover, the title, the winners' buttons and the table, from the store alone."""

import shutil

import pytest

from aevis_dash import ids
from aevis_dash.callbacks.layer.contents import contents, contribution_to, drawing, names_of, parts_of, said_of
from aevis_dash.callbacks.layer.table import table_of
from aevis_dash.callbacks.layer.treemap import traced_winners
from aevis_dash.callbacks.network import search
from aevis_dash.callbacks.network.clicks import follow
from aevis_dash.callbacks.neuron.answer import FEATURES, MAP, describe
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Step
from aevis_dash.core.closing import Closer
from aevis_dash.core.names import NameKind
from aevis_dash.figures.theme import LIGHT, plain
from aevis_dash.layouts.layer import NAME_LENGTH, Winner, winners
from aevis_dash.workbench import open_workbench

LAYER = "layer4.2.relu"


@pytest.fixture(scope="module")
def root(drawn_world, tmp_path_factory):
    made = shutil.copytree(drawn_world, tmp_path_factory.mktemp("page") / "world")
    open_workbench(made).naming.learn()
    return made


@pytest.fixture
def bench(root, monkeypatch):
    """The workbench of a page, on which no click may close a map."""
    monkeypatch.setattr(Closer, "__init__", lambda *_: 1 / 0)
    return open_workbench(root)


@pytest.fixture
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer=LAYER)


def told(bench, view):
    return bench.naming.of_layer(bench.layers.find(view.layer).index, view.example)


def test_the_hover_of_a_cell_says_all_names_and_the_cell_itself_the_part(bench, view):
    found, layer = stored_triplet(bench, view), bench.layers.find(LAYER)
    shown, names = contents(bench, found, view, layer, None), told(bench, view)
    figure = drawing(bench, shown, view, LIGHT, (900, 600), None)
    cells = next(trace for trace in figure["data"] if trace["name"] == "maps")
    met = set()
    for (channel,), hover in zip(cells["customdata"], cells["hovertext"], strict=True):
        assert hover.split("<br>")[1] == plain(names.said(channel))
        met.add(names.said(channel).split(" ")[0])
    assert {"speaks", "detects"} & met
    parts = parts_of(names_of(bench, layer, view.example))
    every = bench.learning.part_names()[bench.layers.offsets[layer.index] :][: layer.channels]
    assert parts == {channel: said for channel, said in enumerate(every) if said}


def test_the_table_has_a_column_of_names(bench, view):
    columns, rows = table_of(bench, view)
    assert columns[-1] == "name"
    assert [row[-1] for row in rows] == [told(bench, view).said(row[0]) for row in rows]


def test_the_title_of_the_station_names_the_map(bench, view):
    names = told(bench, view)
    channel = next(c for c, own in enumerate(names.names) if len(own) > 1)
    title = describe(bench, view.edit(map=channel), LIGHT, frozenset([MAP]))["title"]
    assert title.startswith(f"map {channel} of {LAYER} · {names.brief(channel)} · critical to ")
    note = describe(bench, view.edit(map=channel), LIGHT, frozenset([FEATURES]))["part"]
    assert note.startswith("detects")
    assert all(str(name) in note for name in names.names[channel] if name.kind is not NameKind.PART)


def test_the_buttons_of_the_winners_have_the_first_name(bench, view):
    found, layer = stored_triplet(bench, view), bench.layers.find(LAYER)
    at = view.but(map=None, how="quadratic").after(Step(THE_PREDICTION, None, source=LAYER))
    traced = contribution_to(bench, found, at.traced, at.way)
    shown = contents(bench, found, at, layer, traced)
    _, *buttons = traced_winners(bench, found, at, traced, shown, False)
    names = told(bench, view)
    assert len(buttons) == 5
    for button in buttons:
        number, *named = button.children[1].children
        channel = int(number.children.split("★ ")[1].split(":")[0])
        assert button.title == f"map {channel} {names.brief(channel)}".strip()
        assert [words.children[:20] for words in named] == [names.brief(channel)[:20]]


def test_a_long_name_is_cut_in_the_button_and_whole_in_its_title():
    name = "speaks for " + "x" * 80
    _, button = winners("relu", [Winner(3, 0.5, "", True, name)], [])
    assert button.title == f"map 3 {name}"
    assert len(button.children[1].children[1].children) <= NAME_LENGTH + 1  # with the mark of the cut
    _, bare = winners("relu", [Winner(3, 0.5, "", True)], [])
    assert [words.children for words in bare.children[1].children] == ["★ 3: 50%"]


def test_before_there_are_names_nothing_is_said(world):
    bench = open_workbench(world)
    view = View(example=bench.workspace.settings.opens_on, layer=LAYER)
    assert said_of(names_of(bench, bench.layers.find(LAYER), view.example)) == {}
    assert "name" not in table_of(bench, view)[0]
    title = describe(bench, view.edit(map=3), LIGHT, frozenset([MAP]))["title"]
    assert title.startswith(f"map 3 of {LAYER} · critical to ")


def maps_of(options):
    return [option for option in options if ":" in option["value"] and not option.get("disabled")]


def test_maps_are_found_by_their_names_in_all_layers(bench, view, monkeypatch):
    """Slowly: every map of every layer one of whose names speaks for a class, the surest first."""
    monkeypatch.setattr(search, "MOST", 10**6)
    named = [
        (name.score, f"{name} · map {channel} of {layer.name}", f"{layer.name}:{channel}")
        for layer in bench.layers.layers
        for channel, own in enumerate(bench.naming.of_layer(layer.index, view.example).names)
        for name in own
        if name.kind is NameKind.FOR and name.name == "panda"
    ]
    assert len({value.split(":")[0] for *_, value in named}) > 1
    for typed in ("speaks for panda", "maps that speak for Panda", "PANDA speaks for"):
        options = search.found(bench, typed, view.example)
        assert {option["value"] for option in maps_of(options)} == {value for *_, value in named}
        assert {label for _, label, _ in named} == {option["label"] for option in maps_of(options)}
        assert all(option["search"].startswith(typed) for option in options), "the browser's own search finds it again"
    scores = [float(option["label"].split("(")[1].split(")")[0]) for option in maps_of(options)]
    assert scores == sorted(scores, reverse=True)
    best = [o["value"].split(":")[0] for o, score in zip(maps_of(options), scores, strict=True) if score == scores[0]]
    assert best == sorted(best, key=lambda name: -bench.layers.find(name).index), "late layers first"
    first = maps_of(options)[0]["value"]
    there = follow(bench, stored_triplet(bench, view), view, ids.FIND, first)
    assert f"{there.layer}:{there.map}" == first


def test_a_map_is_found_by_its_number_and_a_layer_by_its_name(bench, view):
    options = search.found(bench, "layer4.2 78", view.example)
    (only,) = [option for option in maps_of(options) if option["value"] == "layer4.2.relu:78"]
    names = bench.naming.of_layer(bench.layers.find("layer4.2.relu").index, view.example)
    assert only["label"] == f"{names.said(78)} · map 78 of layer4.2.relu"
    layers = search.found(bench, "layer4.2", view.example)
    assert [option["value"] for option in layers if not option.get("disabled")] == [
        layer.name for layer in bench.layers.layers if "layer4.2" in layer.name
    ], "the name of a layer alone lists none of its maps"
    assert search.found(bench, "  ", view.example) == search.findable(bench)


def test_how_many_more_maps_there_are_and_that_there_are_none_is_said(bench, view, monkeypatch):
    monkeypatch.setattr(search, "MOST", 10**6)
    count = len(maps_of(search.found(bench, "panda", view.example)))
    assert count > 3
    monkeypatch.setattr(search, "MOST", 3)
    options = search.found(bench, "panda", view.example)
    assert len(maps_of(options)) == 3
    assert [o["label"] for o in options if o.get("disabled")] == [f"{count - 3} more maps: type another word"]
    nothing = search.found(bench, "zeppelin", view.example)
    assert [(o["label"], o["disabled"]) for o in nothing] == [("no map's name has these words", True)]


def test_that_names_are_not_learned_yet_is_said(bench, view, monkeypatch):
    monkeypatch.setattr(type(bench.naming), "complete", False)
    said = lambda: [o["label"] for o in search.found(bench, "panda", view.example) if o.get("disabled")]  # noqa: E731
    known = bench.naming.layers_looked_at
    assert said()[-1] == f"Names are still being learned: classes of {known} of {len(bench.layers)} layers so far."
    monkeypatch.setattr(bench.learning, "whole_index", lambda: None)
    assert said()[-1].startswith("The names of maps are not learned yet")
