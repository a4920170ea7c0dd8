"""A layer's cells are its critical maps as the view sorts, keeps and fills them."""

import numpy as np
import plotly.graph_objects as go
import pytest

from aevis_dash import ids
from aevis_dash.callbacks.layer.clicks import chosen_maps
from aevis_dash.callbacks.layer.contents import (
    TOP,
    contents,
    contribution_to,
    drawing,
    faces_of,
    kept_maps,
    more_than_all,
    ranking,
    strongest,
)
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Step
from aevis_dash.domain import AevisError, Role, Way
from aevis_dash.figures.theme import LIGHT
from aevis_dash.geometry.cells import Cell, Rect
from aevis_dash.watching import Watched
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer="layer3.2.relu")


@pytest.fixture(scope="module")
def found(bench, view):
    return stored_triplet(bench, view)


def shown(bench, found, view, traced=None):
    return contents(bench, found, view, bench.layers.find(view.layer), traced)


def test_the_regions_hold_exactly_the_maps_of_the_compared_datapaths(bench, found, view):
    compared = (found.plan.example.source, *found.plan.candidates, *found.plan.nulls)
    what = shown(bench, found, view.but(compared=compared))
    assert list(what.members.values()).count(found.plan.example.adversarial) == 1
    assert set(what.members.values()) == {found.plan.example.adversarial, *compared}
    layer = bench.layers.find(view.layer).index
    for key, image in what.members.items():
        critical = np.flatnonzero(bench.layers.part(found.path_of(image).critical, layer))
        assert {c for r in what.regions if key in r.paths for c in r.channels} == set(critical.tolist())
    with pytest.raises(AevisError, match=r"nobody\.png"):
        shown(bench, found, view.but(compared=("nobody.png",)))


def test_the_pair_says_whose_activations_are_compared(bench, found, view):
    layer = bench.layers.find(view.layer).index
    values = {role: bench.layers.part(bench.maps.maxima(found.image(role)), layer) for role in Role}
    what = shown(bench, found, view.but(pair="src-tar"))
    np.testing.assert_allclose(what.difference, values[Role.SOURCE] - values[Role.TARGET])


PATHS = {
    Role.ADVERSARIAL: np.array([1, 1, 1, 0, 0, 1], bool),
    Role.SOURCE: np.array([0, 1, 0, 1, 0, 1], bool),
    "target 2": np.array([0, 0, 0, 0, 0, 1], bool),
}


def test_what_is_kept():
    rank = np.arange(6.0)
    assert kept_maps("all", PATHS, rank).all()
    assert np.flatnonzero(kept_maps("adv", PATHS, rank)).tolist() == [0, 2]
    assert np.flatnonzero(kept_maps("shared", PATHS, rank)).tolist() == [1, 5]
    assert np.flatnonzero(kept_maps("src", PATHS, rank)).tolist() == [3]
    tar = {Role.TARGET: np.array([1, 0, 0, 0, 1, 0], bool)}
    assert np.flatnonzero(kept_maps("tar", PATHS | tar, rank)).tolist() == [4]
    assert not kept_maps("adv", {Role.SOURCE: PATHS[Role.SOURCE]}, rank).any()


def test_top_are_the_critical_maps_of_largest_rank():
    rng = np.random.default_rng(0)
    critical, rank = rng.random(400) < 0.5, rng.random(400)
    rank[np.flatnonzero(critical)[3]] = np.nan
    chosen = kept_maps("top", {Role.SOURCE: critical}, rank)
    assert chosen.sum() == TOP
    assert critical[chosen].all()
    assert rank[chosen].min() > np.nanmax(np.where(critical & ~chosen, rank, -1))


def test_by_what_cells_are_sorted():
    difference, contribution = np.array([-3.0, 1.0, 2.0]), np.array([0.1, 0.5, 0.2])
    first = lambda sort, values: int(np.argmax(ranking(sort, difference, values)))  # noqa: E731
    assert (first("fill", contribution), first("contribution", contribution), first("channel", contribution)) == (
        0,
        1,
        0,
    )
    assert first("contribution", None) == 0
    assert int(np.argmax(ranking("turning", difference, contribution, np.array([-9.0, -1.0, 0.5])))) == 2
    assert int(np.argmax(ranking("turning", difference, contribution))) == 0
    assert np.argsort(-ranking("channel", difference, None)).tolist() == [0, 1, 2]


def test_contributions_are_the_causes_and_sort_the_cells(bench, found, view):
    step = Step(THE_PREDICTION, None, source=view.layer)
    traced = contribution_to(bench, found, step, Way("quadratic"))
    for row, role in enumerate(Role):
        what = shown(bench, found, view.but(cause=role.value, sort="contribution"), traced)
        np.testing.assert_array_equal(what.contribution, traced.strength(row))
        np.testing.assert_array_equal(what.order, traced.strength(row))
    assert contribution_to(bench, found, None, Way()) is None


def test_cells_show_by_how_much_each_map_turns_adv_back_where_that_is_stored(bench, found, view, monkeypatch):
    turning = bench.flips.turning(view.example)
    what = shown(bench, found, view.but(sort="turning"), None)
    np.testing.assert_array_equal(what.turning, bench.layers.part(turning.shares, what.layer.index))
    np.testing.assert_array_equal(what.order, what.turning)
    monkeypatch.setattr(bench.flips, "stored_turning", lambda _: None)
    assert shown(bench, found, view, None).turning is None


class Weak:
    """Contributions of 128 maps, the largest far below one in twenty, the third of it in no datapath."""

    def __init__(self, outside):
        self.values = np.full(128, 1e-6)
        self.values[[10, 11, outside]] = (0.03, 0.02, 0.01)

    def strength(self, row):
        return self.values if row == 1 else np.zeros(128)


def test_the_strongest_contributors_are_named_however_weak_and_shown_where_no_datapath_holds_them(bench, found, view):
    layer = bench.layers.find("layer4.2.relu")
    critical = [bench.layers.part(found.path(role).critical, layer.index) for role in Role]
    outside = int(np.flatnonzero(~np.logical_or.reduce(critical))[-1])
    traced = Weak(outside)
    assert layer.channels == len(traced.values)
    assert strongest(traced.strength(1))[:3] == [10, 11, outside]
    assert (len(strongest(traced.strength(1))), strongest(traced.strength(0)), strongest(None)) == (5, [], [])
    here = view.but(layer=layer.name)
    beside = lambda v: {c for r in shown(bench, found, v, traced).regions if not r.paths for c in r.channels}  # noqa: E731
    assert outside in beside(here)
    assert beside(here) <= set(strongest(traced.strength(1)))
    assert outside in beside(here.but(keep="top"))
    assert beside(here.but(keep="adv")) == beside(here.but(cause="source")) == set()
    figure = go.Figure(drawing(bench, shown(bench, found, here, traced), here, LIGHT, (700, 270), None, (outside,)))
    assert [outside] in [list(c) for c in figure.data[-1].customdata]


def test_parts_of_more_than_all_are_explained():
    assert more_than_all(np.array([0.4, 1.0])) == ""
    assert "other maps work against it" in more_than_all(np.array([0.4, 1.2]))


def test_what_is_drawn(bench, found, view):
    """Every kept map once; the chosen ones framed; a matrix for many datapaths; what plotly knows."""
    what, view = shown(bench, found, view), view.but(cells="all")
    figure = go.Figure(drawing(bench, what, view, LIGHT, (600, 270), 5, picked=(5,)))
    assert figure.layout.meta["hidden"] == []
    channels = sorted(c for region in what.regions for c in region.channels)
    assert sorted(row[0] for row in figure.data[-1].customdata) == channels
    assert all("adv - src" in text for text in figure.data[-1].hovertext)
    thin = go.Figure(drawing(bench, what, view, LIGHT, (30, 20), None))
    assert "datapaths" in [trace.name for trace in thin.data]


def test_what_is_selected_marked_or_picked_has_a_cell_and_what_has_none_is_named(bench, found, view):
    what = shown(bench, found, view)
    cells = lambda figure: [row[0] for row in figure.data[-1].customdata]  # noqa: E731
    plain = go.Figure(drawing(bench, what, view, LIGHT, (600, 270), None))
    hidden = plain.layout.meta["hidden"]
    channels = sorted(c for region in what.regions for c in region.channels)
    assert sorted((*cells(plain), *hidden)) == channels
    for region in what.regions:
        ranked = sorted(region.channels, key=lambda c: -abs(what.difference[c]))
        first = ranked if len(ranked) <= 13 else ranked[:12]
        assert [c for c in cells(plain) if c in region.channels] == first
    selected, marked, picked = hidden[0], hidden[1], hidden[-1]
    chosen = go.Figure(drawing(bench, what, view, LIGHT, (600, 270), selected, (marked,), (picked,)))
    assert {selected, marked, picked} <= set(cells(chosen))
    assert len(cells(chosen)) == len(cells(plain)), "they take the places of the last ones"
    assert not {selected, marked, picked} & set(chosen.layout.meta["hidden"])
    by_channel = shown(bench, found, view.but(sort="channel"))
    other = cells(go.Figure(drawing(bench, by_channel, view, LIGHT, (600, 270), None)))
    large = max(what.regions, key=lambda region: len(region.channels))
    assert len(large.channels) > 13
    assert [c for c in other if c in large.channels] == list(large.channels)[:12]


def test_faces_are_learned_features_and_only_where_there_are_some(bench, found, view, monkeypatch):
    layer = bench.layers.find(view.layer)
    cells = (Cell(0, Rect(0, 0, 50, 50)), Cell(1, Rect(50, 0, 50, 50)), Cell(2, Rect(100, 0, 20, 50)))
    monkeypatch.setattr(bench.learning, "stored_features", lambda by="activation": None)
    assert faces_of(bench, layer, cells, view.example) == {}
    addresses = {0: "/patch/x/0", 1: "", 2: "/patch/x/2"}
    first_crop = "aevis_dash.callbacks.pictures.first_crop"
    monkeypatch.setattr(first_crop, lambda _bench, chosen, _example: addresses[chosen.channel])
    assert faces_of(bench, layer, cells, view.example) == {0: "/patch/x/0"}
    what = shown(bench, found, view)
    monkeypatch.setattr(first_crop, lambda _bench, chosen, _example: f"/{chosen.channel}")
    with_faces = drawing(bench, what, view, LIGHT, (900, 600), None)["layout"]["images"]
    assert with_faces
    assert drawing(bench, what, view.but(faces="off"), LIGHT, (900, 600), None)["layout"]["images"] == []


def test_however_many_faces_are_drawn_the_files_are_looked_at_once(bench, view, monkeypatch):
    layer, looks, real = bench.layers.find(view.layer), [], Watched.digests
    monkeypatch.setattr(Watched, "digests", lambda *given, **more: looks.append(given) or real(*given, **more))
    cells = [Cell(channel, Rect(50 * channel, 0, 50, 50)) for channel in range(20)]
    faces_of(bench, layer, cells, view.example)
    assert 1 <= len(looks) <= 2, "at the images, and at the masks of their parts"


@pytest.mark.parametrize(
    ("drawn", "chosen"),
    [({"maps": [4, 2, 4]}, (4, 2)), ({"maps": []}, ()), ({}, (7,)), ({"maps": 5}, (7,)), ([1], (7,)), (None, (7,))],
)
def test_maps_that_were_drawn_around_are_chosen_and_what_is_no_list_of_maps_changes_nothing(bench, view, drawn, chosen):
    assert chosen_maps(bench, view.but(maps=(7,)), ids.MAPS_DRAWN, None, drawn) == chosen


@pytest.mark.parametrize("maps", [[99999], ["ear"], [-1], [{}], [1.5]])
def test_what_the_browser_says_was_drawn_around_is_checked(bench, view, maps):
    with pytest.raises(AevisError):
        chosen_maps(bench, view, ids.MAPS_DRAWN, None, {"maps": maps})
