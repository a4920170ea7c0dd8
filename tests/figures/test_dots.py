"""The dot plot says what the similarities say, in the river's columns and box by box."""

import json
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest
import reference

from aevis_dash.domain import further
from aevis_dash.figures.dots import LABEL_GAP, LARGEST, SMALLEST, dot_labels, dots, similarity
from aevis_dash.figures.theme import DARK, LIGHT

X = np.array([0.1, 0.2, 0.3, 0.5, 0.6])
BOXES = [(0, 2), (3, 4)]
SIMILAR = {"source": np.array([1.0, 0.9, np.nan, 0.4, 0.2]), "target": np.array([0.5, 0.5, 0.6, 0.7, 0.8])}


def named(traces, name):
    (found,) = [t for t in traces if t.name == name]
    return found


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_each_pair_has_a_dot_at_every_column_and_no_line_leaves_its_box(theme):
    traces = dots(X, BOXES, SIMILAR, theme)
    for key, values in SIMILAR.items():
        pair = named(traces, f"adversarial–{key}")
        np.testing.assert_allclose(pair.x, [0.1, 0.2, 0.3, np.nan, 0.5, 0.6, np.nan], rtol=1e-6)
        np.testing.assert_allclose((pair.y + 1) / 2, [*values[:3], np.nan, *values[3:], np.nan], rtol=1e-6)
        assert pair.marker.color == pair.line.color == theme.path(key)
        assert not pair.connectgaps
    assert len({t.marker.symbol for t in traces if t.marker.symbol}) == len(SIMILAR)


def test_guides_box_the_groups_and_stay_between_them():
    guides = named(dots(X, BOXES, SIMILAR, LIGHT), "guides")
    segments = [(guides.x[i], guides.x[i + 1], guides.y[i]) for i in range(0, len(guides.x), 3)]
    spans = sorted({segment[:2] for segment in segments})
    assert [segment[2] for segment in segments] == [-1, 0, 1] * 2
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    for (left, right), (first, last) in zip(spans, BOXES, strict=True):
        assert left < X[first]
        assert X[last] < right


def test_nothing_meets_the_mouse_and_all_can_be_sent():
    figure = go.Figure(dots(X, BOXES, SIMILAR, LIGHT))
    assert {t.hoverinfo for t in figure.data} == {"skip"}
    sent = json.loads(figure.to_json())["data"]
    assert [t["name"] for t in sent] == ["guides", "scale", "adversarial–source", "adversarial–target"]


def test_dots_shrink_with_the_room_between_columns_but_stay_seen():
    size = lambda n: dots(np.linspace(0, 1, n), [(0, n - 1)], {"source": np.ones(n)}, LIGHT)[-1].marker.size  # noqa: E731
    assert size(5) == LARGEST
    assert size(500) == SMALLEST
    assert SMALLEST < size(100) < LARGEST


def test_one_column_and_none_can_be_drawn():
    go.Figure(dots(X[:1], [(0, 0)], {"source": np.array([np.nan])}, LIGHT)).to_json()
    go.Figure(dots(X[:0], [], {"source": np.zeros(0)}, LIGHT)).to_json()
    (label,) = dot_labels({"source": np.array([np.nan, np.nan])}, {}, LIGHT)
    assert (label["text"], label["y"]) == ("adv–src", 0)


def test_labels_name_pair_and_class_at_the_last_dot_and_keep_apart():
    names = {"source": "sign <b>", "target": "an outlandishly long name"}
    first, second = dot_labels(SIMILAR, names, LIGHT)
    assert first["text"] == "adv–src · sign &lt;b&gt;"
    assert second["text"].startswith("adv–tar · an outlandis")
    assert second["text"].endswith("…")
    assert (first["y"], second["y"]) == (pytest.approx(2 * 0.2 - 1), pytest.approx(2 * 0.8 - 1))
    assert first["font"]["color"] == LIGHT.source
    same = {key: np.array([0.9]) for key in ("source", "target", further(2), further(3))}
    heights = sorted(label["y"] for label in dot_labels(same, {}, LIGHT))
    assert min(np.diff(heights)) >= LABEL_GAP - 1e-9


def test_similarity_is_one_for_the_same_and_falls_to_nought():
    """Each from the vectors themselves: the cosine, 1 - the root mean square difference, 1 / (1 + the norm)."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(size=8), rng.uniform(size=8)
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (reference.norm(a) * reference.norm(b))
    norm = reference.norm(a - b)
    assert similarity("activations", np.array([1 - cosine]))[0] == pytest.approx(cosine)
    assert similarity("gates", np.array([norm / np.sqrt(8)]))[0] == pytest.approx(1 - norm / np.sqrt(8))
    assert similarity("gates-raw", np.array([norm]))[0] == pytest.approx(1 / (1 + norm))
    for name, far in (("activations", 2.0), ("gates", 1.0), ("gates-raw", 1e9)):
        near = similarity(name, np.array([0, 0.3, 0.6, far, np.nan]))
        assert near[0] == 1
        assert near[1] > near[2] > near[3]
        assert near[3] == pytest.approx(0, abs=1e-6)
        assert np.isnan(near[4])
