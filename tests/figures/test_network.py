"""The river figure says what the distances say, and one trace takes all hovers and clicks."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aevis_dash.domain import Layer, LayerGraph, Pattern
from aevis_dash.figures.network import SAMPLES, STROKE
from aevis_dash.figures.theme import DARK, LIGHT
from aevis_dash.geometry.dag import columns
from aevis_dash.geometry.river import river


def trace(figure, name):
    (found,) = [t for t in figure.data if t.name == name]
    return found


def texts(figure):
    return [a.text for a in figure.layout.annotations]


def test_only_the_layers_trace_meets_the_mouse_and_its_customdata_are_plain(net):
    figure = net.draw(net.distance(17))
    live = [t for t in figure.data if t.hoverinfo != "skip"]
    assert [t.name for t in live] == ["layers"]
    assert figure.data[-1] is live[0]
    data = live[0].customdata
    assert all(type(row) in (list, tuple) and [type(v) for v in row] == [int, str] for row in data)
    assert [list(row) for row in data] == [[i, f"stage{i // 5}.act{i}"] for i in range(17)]
    sent = json.loads(figure.to_json())["data"][-1]["customdata"]
    assert sent[3] == [3, "stage0.act3"]


def test_the_bars_leave_no_gap_over_the_whole_height(net):
    figure = net.draw(net.distance(12))
    bar = trace(figure, "layers")
    left, right = bar.x - bar.width / 2, bar.x + bar.width / 2
    np.testing.assert_allclose(left[1:], right[:-1])
    low, high = figure.layout.yaxis.range
    assert bar.base == low
    assert list(bar.y) == [pytest.approx(high - low)] * 12


def test_curves_pass_through_the_river_in_role_colours(net):
    distance = net.distance(9)
    for theme in (LIGHT, DARK):
        figure = net.draw(distance, theme=theme)
        r = river(distance)
        for role, y in {"source": r.src, "adversarial": r.adv, "target": r.tar}.items():
            curve = trace(figure, role)
            np.testing.assert_allclose(curve.y[::SAMPLES], y, atol=1e-6)
            np.testing.assert_allclose(curve.x[::SAMPLES], columns(net.graph(9)).x, rtol=1e-6)
            assert curve.line.color == getattr(theme, role)
    assert trace(figure, "source").line.width == trace(figure, "target").line.width == STROKE


def test_null_band_is_drawn_behind_and_only_with_a_null(net):
    figure = net.draw(net.distance(9))
    assert figure.data[0].name == "null"
    assert figure.data[0].fill == "toself"
    assert any("random" in text for text in texts(figure))
    without = net.draw(net.distance(9, null_rows=0))
    assert "null" not in [t.name for t in without.data]
    assert not any("random" in text for text in texts(without))


def test_curves_stretches_and_groups_are_labelled_where_they_are(net, names):
    figure = net.draw(net.distance(20), names=names, selected=7)
    shown = texts(figure)
    assert {p.value for p in Pattern} <= set(shown)
    assert {"src · ambulance", "adv · sign &lt;b&gt;", "tar · street sign"} <= set(shown)
    assert {"stage0", "stage3", "<b>stage1.act7</b>"} <= set(shown)
    colours = {a.text: a.font.color for a in figure.layout.annotations}
    assert colours["src · ambulance"] == LIGHT.source


def test_curve_labels_stay_apart_where_the_ends_meet(net):
    distance = replace(net.distance(6), d1=np.array([1.0, 1, 1, 1, 1, 0]))
    ends = sorted(a.y for a in net.draw(distance).layout.annotations if a.xanchor == "left")
    assert len(ends) == 4
    assert min(np.diff(ends)) > 0.15


def test_hover_holds_the_numbers_and_warns_of_what_the_picture_hides(net):
    distance = replace(net.distance(5), d1=np.array([0.6, 0.6, np.nan, 0.6, 0.1]))
    hover = trace(net.draw(distance), "layers").hovertext
    for part in ("stage0.act1", "16 feature maps", "0.6", "0.25", "0.75", "25%", "src 1, adv 2, tar 3"):
        assert part in hover[1]
    assert "3% to 27%" in hover[1]
    assert "far from both" in hover[4]
    assert "far from both" not in hover[1]
    assert "src–tar undefined" in hover[2]


def test_selected_layer_is_one_more_column(net):
    before, after = (len(net.draw(net.distance(8), selected=s).layout.shapes) for s in (None, 4))
    assert after == before + 1


def test_all_undefined_and_a_single_layer_can_be_drawn(net):
    empty = np.full(6, np.nan)
    figure = net.draw(replace(net.distance(6), d1=empty, d2=empty, d3=empty))
    assert np.all(trace(figure, "adversarial").y == 0)
    assert "undefined" in trace(figure, "layers").hovertext[0]
    net.draw(net.distance(1), selected=0).to_json()


def test_a_group_label_wider_than_its_group_is_shortened(net):
    groups = [("wide",)] * 29 + [("an outlandishly long name",)] * 3
    layers = tuple(Layer(i, f"call{i}", group, 4, 1, 1) for i, group in enumerate(groups))
    figure = net.draw(net.distance(32), graph=LayerGraph(layers, ((0, 1),)))
    (label,) = [text for text in texts(figure) if text.startswith("an out")]
    assert label.endswith("…")
    assert len(label) < 16
    assert "wide" in texts(figure)


def test_a_hundred_layers_stay_light(net):
    assert len(net.draw(net.distance(100), selected=3).to_json()) < 130_000
