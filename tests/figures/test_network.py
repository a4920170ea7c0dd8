"""The network figure says what the distances say, its points the same whatever is closed; two traces take the mouse."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aevis_dash.domain import Layer, LayerGraph, Pattern, Role, Stretch
from aevis_dash.figures.dag import BOX, OUTER
from aevis_dash.figures.network import (
    SAMPLES,
    STROKE,
    Drawn,
    dots_figure,
    drawn_river,
    far_from_both,
    river_figure,
    small_picture,
)
from aevis_dash.figures.theme import DARK, LIGHT
from aevis_dash.geometry.dag import columns, groups
from aevis_dash.geometry.river import river


def trace(figure, name):
    (found,) = [t for t in figure.data if t.name == name]
    return found


def texts(figure):
    labels = [t.text for t in figure.data if t.name in ("stretches", "name", "closed", "groups")]
    return [*(a.text for a in figure.layout.annotations), *(word for words in labels for word in words if word)]


def test_only_layers_and_groups_meet_the_mouse_and_their_customdata_are_plain(net):
    figure = net.draw(net.distance(17))
    live = [t for t in figure.data if t.hoverinfo != "skip"]
    assert [t.name for t in live] == ["groups", "layers"]
    assert figure.data[-1] is live[1]
    sent = [json.loads(figure.to_json())["data"][figure.data.index(t)]["customdata"] for t in live]
    assert sent[0] == [[f"stage{i}", 0] for i in range(4)]
    assert sent[1] == [[i, f"stage{i // 5}.act{i}", "", 7] for i in range(17)]


def test_the_bars_leave_no_gap_over_the_whole_height(net):
    figure = net.draw(net.distance(12))
    bar = trace(figure, "layers")
    left, right = bar.x - bar.width / 2, bar.x + bar.width / 2
    np.testing.assert_allclose(left[1:], right[:-1])
    assert bar.base + bar.y[0] == pytest.approx(figure.layout.yaxis.range[1])
    assert bar.base < -BOX
    assert max(b + y for b, y in zip(trace(figure, "groups").base, trace(figure, "groups").y, strict=True)) < bar.base


def test_curves_pass_through_the_river_in_role_colours(net):
    distance = net.distance(9)
    for theme in (LIGHT, DARK):
        figure = net.draw(distance, theme=theme)
        r = river(distance)
        for role, y in {"source": r.src, "adversarial": r.adv, "target": r.tar}.items():
            curve = trace(figure, role)
            np.testing.assert_allclose(curve.y[::SAMPLES], y, atol=1e-6)
            np.testing.assert_allclose(curve.x[::SAMPLES], net.ground(distance).placed.x, rtol=1e-6)
            assert curve.line.color == getattr(theme, role)
    assert trace(figure, "source").line.width == trace(figure, "target").line.width == STROKE
    drawn = [t.name for t in figure.data]
    assert drawn.index("adversarial") > max(drawn.index("source"), drawn.index("target")), "adv on top"


def test_null_band_is_drawn_behind_and_only_with_a_null(net):
    figure = net.draw(net.distance(9))
    drawn = [t.name for t in figure.data]
    assert drawn.index("null") < drawn.index("source")
    assert trace(figure, "null").fill == "toself"
    assert any("random" in text for text in texts(figure))
    without = net.draw(net.distance(9, null_rows=0))
    assert "null" not in [t.name for t in without.data]
    assert not any("random" in text for text in texts(without))


def test_the_curve_is_dashed_where_adv_is_far_from_both_and_nowhere_else(net, names):
    """d2 + d3 is 0.3 at the first half of the layers and 1.4 at the second, d1 is 0.5."""
    far = np.arange(10) >= 5
    d2, d3 = np.where(far, 0.7, 0.1), np.where(far, 0.7, 0.2)
    distance = replace(net.distance(10), d1=np.full(10, 0.5), d2=d2, d3=d3)
    np.testing.assert_array_equal(far_from_both(distance), far)
    figure = river_figure(net.ground(distance), drawn_river(river(distance), names, far_from_both(distance)), LIGHT)
    solid, dashed = (np.array(trace(figure, name).y, float) for name in ("adversarial", "adversarial far"))
    assert trace(figure, "adversarial").line.dash == "solid"
    assert trace(figure, "adversarial far").line.dash == "3px,3px"
    half = len(solid) // 2
    assert np.isfinite(solid[: half - 2]).all()
    assert np.isnan(solid[half + 3 :]).all()
    assert np.isnan(dashed[: half - 2]).all()
    assert np.isfinite(dashed[half + 3 :]).all()
    assert (np.isfinite(solid) | np.isfinite(dashed)).all(), "the curve has no hole"
    whole = net.draw(net.distance(10))
    assert np.isfinite(np.array(trace(whole, "adversarial").y, float)).all()
    assert not np.isfinite(np.array(trace(whole, "adversarial far").y, float)).any()


def test_curves_stretches_and_groups_are_labelled_where_they_are(net, names):
    figure = net.draw(net.distance(20), names=names, selected=7)
    shown = texts(figure)
    assert {p.value for p in Pattern} <= set(shown)
    assert {"src · ambulance", "adv · sign &lt;b&gt;", "tar · street sign"} <= set(shown)
    assert {"stage0", "stage3", "<b>stage1.act7</b>"} <= set(shown)
    colours = {a.text: a.font.color for a in figure.layout.annotations}
    assert colours["src · ambulance"] == LIGHT.source
    bracket = trace(figure, "brackets")
    assert len(bracket.x) == 5 * len(net.ground(net.distance(20)).stretches)


def test_the_bracket_of_a_transition_ends_at_the_layer_that_the_words_name(net):
    ground = net.ground(net.distance(60))
    moved = replace(ground, stretches=[Stretch(Pattern.TRANSITION, 20, 22, after=25, to_target=True)])
    figure = river_figure(moved, drawn_river(river(net.distance(60)), {}), LIGHT)
    left, right = ground.placed.span(20, 25)
    ends = np.array(trace(figure, "brackets").x[:4], float)
    assert ends == pytest.approx([left, left, right, right], abs=1e-3)


def test_of_many_stretches_as_many_are_named_as_find_room(net):
    ground = net.ground(net.distance(60))
    many = [Stretch(Pattern.TRANSITION, i, i) for i in range(0, 60, 2)]
    wide = Stretch(Pattern.MERGING, 40, 47)
    crowded = replace(ground, stretches=[*[s for s in many if s.last < 40 or s.first > 47], wide])
    figure = river_figure(crowded, drawn_river(river(net.distance(60)), {}), LIGHT)
    named = trace(figure, "stretches")
    assert "merging" in named.text
    assert 3 <= len(named.text) < 10
    assert min(np.diff(np.sort(named.x))) > 0.1
    assert len(trace(figure, "brackets").x) == 5 * len(crowded.stretches)


def test_names_of_stretches_stay_in_the_picture(net):
    ground = net.ground(net.distance(49))
    seven = [Stretch(Pattern.MERGING, 7 * i, 7 * i + 6) for i in range(7)]
    figure = river_figure(replace(ground, stretches=seven), drawn_river(river(net.distance(49)), {}), LIGHT)
    named = trace(figure, "stretches")
    assert 3 < len(named.x) < 7, "seven names are wider than the picture"
    assert max(named.x) <= ground.placed.extent


def test_curve_labels_stay_apart_where_the_ends_meet(net):
    distance = replace(net.distance(6), d1=np.array([1.0, 1, 1, 1, 1, 0]))
    ends = sorted(a.y for a in net.draw(distance).layout.annotations if a.xanchor == "left")
    assert len(ends) == 4
    assert min(np.diff(ends)) > 0.15


def test_hover_holds_the_numbers_and_warns_of_what_the_picture_hides(net):
    share = np.linspace(0.05, 0.85, 5)
    distance = replace(net.distance(5), d1=np.array([0.6, 0.6, np.nan, 0.6, 0.1]), d2=share, d3=1 - share)
    hover = trace(net.draw(distance), "layers").hovertext
    for part in ("stage0.act1", "16 feature maps", "src–tar 0.6", "src–adv 0.25", "adv–tar 0.75", "25%"):
        assert part in hover[1]
    assert "src 1, adv 2, tar 3" in hover[1]
    assert "3% to 27%" in hover[1]
    assert "far from both" in hover[4]
    assert "far from both" not in hover[1]
    assert "src–tar undefined" in hover[2]


def test_a_closed_group_is_one_column_with_all_of_its_layers(net):
    graph = net.graph(15)
    figure = net.draw(net.distance(11), graph=graph, closed=["stage1"], selected=6)
    layers, bars = trace(figure, "layers"), trace(figure, "groups")
    assert list(layers.customdata[5]) == [5, "stage1.act5", "stage1", 7]
    assert "5 layers, 80 feature maps" in layers.hovertext[5]
    assert "src 35, adv 40, tar 45" in layers.hovertext[5], "the maps of layers 5 to 9 together"
    assert [list(c) for c in bars.customdata] == [["stage0", 0], ["stage1", 1], ["stage2", 0]]
    assert "click to open" in bars.hovertext[1]
    assert "click to close" in bars.hovertext[0]
    assert "+5" in texts(figure)
    chosen = trace(figure, "selected")
    assert chosen.x[0] == pytest.approx(layers.x[5], abs=1e-6)


def test_every_trace_keeps_its_points_whatever_is_closed_so_that_they_can_move(net):
    graph = net.graph(15)
    before = net.draw(net.distance(15), graph=graph, selected=3)
    after = net.draw(net.distance(11), graph=graph, selected=3, closed=["stage1"])
    for a, b in zip(before.data, after.data, strict=True):
        assert a.name == b.name
        if a.name not in ("layers", "brackets", "stretches"):
            assert len(a.x) == len(b.x), a.name
    assert 100 <= before.layout.transition.duration <= 250, "seen, and soon over"
    assert before.layout.xaxis.range == after.layout.xaxis.range


def test_groups_inside_a_closed_one_are_flat_and_inner_rows_stand_above(net):
    names = ["a.0", "a.0", "a.1", "a.1", "b", "b"]
    layers = tuple(
        Layer(i, f"call{i}", tuple(".".join(n.split(".")[: k + 1]) for k in range(len(n.split(".")))), 4, 1, 1)
        for i, n in enumerate(names)
    )
    graph = LayerGraph(layers, tuple((i, i + 1) for i in range(5)))
    opened = trace(net.draw(net.distance(6), graph=graph), "groups")
    height = dict(zip([c[0] for c in opened.customdata], opened.y, strict=True))
    base = dict(zip([c[0] for c in opened.customdata], opened.base, strict=True))
    assert height["a"] == height["b"] == pytest.approx(OUTER)
    assert base["a.0"] >= base["a"] + OUTER
    shut = trace(net.draw(net.distance(3), graph=graph, closed=["a"]), "groups")
    assert [y for y, c in zip(shut.y, shut.customdata, strict=True) if c[0].startswith("a.")] == [0, 0]
    both = trace(net.draw(net.distance(3), graph=graph, closed=["a", "a.0"]), "boxes")
    assert [y > 0 for y in both.y] == [True, False, False, True], "what is closed inside a closed group has no box"


def test_links_join_what_feeds_what_and_skips_hang(net):
    graph = net.graph(7)
    figure = net.draw(net.distance(7), graph=graph)
    x, y = (np.reshape(v, (len(graph.edges), -1)) for v in (trace(figure, "links").x, trace(figure, "links").y))
    at = net.ground(net.distance(7)).placed.layer_x
    np.testing.assert_allclose(x[:, [0, 8]], at[np.array(graph.edges)], rtol=1e-5)
    skip = [b - a > 1 for a, b in graph.edges]
    hanging = y[:, 4] < y[:, 0] - 1e-3
    assert hanging.tolist() == skip


def test_without_a_selected_layer_nothing_is_marked(net):
    assert trace(net.draw(net.distance(8)), "selected").y[0] == 0
    assert trace(net.draw(net.distance(8), selected=4), "selected").y[0] > 2


def test_all_undefined_and_a_single_layer_can_be_drawn(net):
    empty = np.full(6, np.nan)
    figure = net.draw(replace(net.distance(6), d1=empty, d2=empty, d3=empty))
    assert np.all(trace(figure, "adversarial").y == 0)
    assert "undefined" in trace(figure, "layers").hovertext[0]
    net.draw(net.distance(1), selected=0).to_json()


def test_a_group_label_wider_than_its_group_keeps_its_end(net):
    modules = [("wide",)] * 29 + [("an outlandishly long name 5b",)] * 3
    layers = tuple(Layer(i, f"call{i}", group, 4, 1, 1) for i, group in enumerate(modules))
    figure = net.draw(net.distance(32), graph=LayerGraph(layers, ((0, 1),)))
    (label,) = [text for text in texts(figure) if text.endswith("5b")]
    assert label.startswith("…")
    assert len(label) < 16
    assert "wide" in texts(figure)


def test_dots_stand_on_the_same_ground(net, names):
    ground = net.ground(net.distance(12), selected=2)
    similar = {Role.SOURCE: np.linspace(1, 0, 12), Role.TARGET: np.linspace(0, 1, 12)}
    figure = dots_figure(ground, similar, names, LIGHT)
    dots = trace(figure, "adversarial–source")
    seen = np.isfinite(dots.x.astype(float))
    np.testing.assert_allclose(dots.x[seen], ground.placed.x, rtol=1e-6)
    np.testing.assert_allclose(dots.y[seen], 2 * similar[Role.SOURCE] - 1, atol=1e-6)
    other = net.draw(net.distance(12), selected=2)
    for name in ("layers", "groups", "links", "selected"):
        np.testing.assert_allclose(trace(figure, name).x, trace(other, name).x)


def test_more_than_three_datapaths_have_their_own_curves_and_colours(net):
    curves = {key: np.full(6, y) for key, y in [("source", 1.0), ("adversarial", 0.0), ("target 2", -1.0)]}
    names = {"source": "a", "adversarial": "b", "target 2": "c"}
    figure = river_figure(net.ground(net.distance(6)), Drawn(curves, names), LIGHT)
    assert trace(figure, "target 2").line.color == LIGHT.path("target 2")
    assert "tar 2 · c" in texts(figure)


def test_the_small_picture_holds_the_whole_network(net):
    graph = net.graph(100)
    tree = groups(graph)
    placed = columns(graph, tree, room=40)
    drawn = drawn_river(river(net.distance(100)), {})
    picture = small_picture(placed, drawn, LIGHT)
    assert picture.startswith("data:image/svg+xml,")
    assert picture.count("polyline") == 3
    assert small_picture(placed, Drawn({}, {}), LIGHT) == ""
    figure = river_figure(replace(net.ground(net.distance(100)), placed=placed), drawn, LIGHT)
    assert figure.layout.meta["extent"] == pytest.approx(placed.extent, abs=1e-3)
    assert figure.layout.meta["extent"] > 2


def test_a_hundred_layers_stay_light(net):
    assert len(net.draw(net.distance(100), selected=3).to_json()) < 160_000
