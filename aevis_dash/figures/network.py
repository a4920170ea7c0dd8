"""The network view: where the three datapaths part and meet (Sec. 5.2, Fig. 6)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import ROLES, DatapathDistance, LayerGraph, Role, Stretch
from aevis_dash.figures.theme import (
    CHARACTER,
    CLEAR,
    Theme,
    bare_axis,
    base_layout,
    caption,
    faded,
    plain,
    shortened,
)
from aevis_dash.geometry.dag import Columns
from aevis_dash.geometry.river import River, smooth, spread

HEIGHT = 250
NOMINAL_WIDTH = 540
"""Pixels the layers are assumed to take when it is decided which label fits."""
LABEL_ROOM = 168
SAMPLES = 8
STROKE = 8
TOP, BOTTOM = 1.55, -1.9
BOX_TOP, BOX_BOTTOM = 1.14, -1.14
BRACKET = 1.24
ARCS, ARC_DEPTH = -1.2, 0.24
LABEL_ROW, NAME_ROW = -1.57, -1.79
LINE_GAP = 0.21


def river_figure(
    graph: LayerGraph,
    columns: Columns,
    river: River,
    distance: DatapathDistance,
    stretches: Sequence[Stretch],
    selected_layer: int | None,
    sizes: Mapping[Role, np.ndarray],
    theme: Theme,
    names: Mapping[Role, str],
) -> go.Figure:
    """The river over the layers, read without a legend, 250 px high and as wide as its place.

    `sizes`: per role the (L,) numbers of maps of the hard set; `names`: class names of the roles. A click
    or hover anywhere over a layer meets the one trace "layers", whose customdata is [index, name].
    """
    figure = go.Figure(layout=_layout(columns, theme))
    _add_null_band(figure, columns, river, theme)
    _add_skips(figure, graph, columns, theme)
    for role in (Role.SOURCE, Role.TARGET, Role.ADVERSARIAL):
        figure.add_trace(_path(role, columns, _curve(river, role), theme))
    figure.add_trace(_layers(graph, columns, distance, sizes))
    figure.update_layout(
        shapes=[
            *_group_boxes(columns, theme),
            *_ticks(columns, theme),
            *_selection(columns, selected_layer, theme),
            *_brackets(columns, stretches, theme),
        ],
        annotations=[
            *_group_labels(columns, theme),
            *_stretch_labels(columns, stretches, theme),
            *_path_labels(columns, river, theme, names),
            *_selected_label(graph, columns, selected_layer, theme),
        ],
    )
    return figure


def _layout(columns: Columns, theme: Theme) -> dict[str, Any]:
    borders = columns.borders
    return {
        **base_layout(theme),
        "height": HEIGHT,
        "margin": {"l": 6, "r": LABEL_ROOM, "t": 2, "b": 2},
        "xaxis": bare_axis(float(borders[0]) - 0.1, float(borders[-1]) + 0.1),
        "yaxis": bare_axis(BOTTOM, TOP),
        "hovermode": "closest",
        "dragmode": False,
        "barmode": "overlay",
        "bargap": 0,
    }


def _curve(river: River, role: Role) -> np.ndarray:
    return {Role.SOURCE: river.src, Role.ADVERSARIAL: river.adv, Role.TARGET: river.tar}[role]


def _path(role: Role, columns: Columns, y: np.ndarray, theme: Theme) -> go.Scatter:
    """One datapath: a line keeps its width in pixels at any size, which a polygon would not.

    The adversarial is the thinner one and on top, so that a path it runs along shows at both sides.
    """
    xs, ys = smooth(columns.x, y, SAMPLES)
    width = STROKE / 2 if role is Role.ADVERSARIAL else STROKE
    return go.Scatter(
        name=role.value,
        x=_short(xs),
        y=_short(ys),
        mode="lines",
        line={"color": theme.role(role), "width": width, "simplify": False},
        hoverinfo="skip",
    )


def _short(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)


def _add_null_band(figure: go.Figure, columns: Columns, river: River, theme: Theme) -> None:
    if river.band_low is None or river.band_high is None:
        return
    xs, low = smooth(columns.x, river.band_low, SAMPLES)
    _, high = smooth(columns.x, river.band_high, SAMPLES)
    figure.add_scatter(
        name="null",
        x=_short(np.concatenate([xs, xs[::-1]])),
        y=_short(np.concatenate([high, low[::-1]])),
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=faded(theme.faint, 0.28),
        hoverinfo="skip",
    )


def _add_skips(figure: go.Figure, graph: LayerGraph, columns: Columns, theme: Theme) -> None:
    """Connections that leap over layers, as arcs below; the longest hangs lowest."""
    skips = [(columns.x[a], columns.x[b]) for a, b in graph.edges if b > a + 1]
    if not skips:
        return
    t = np.append(np.linspace(0, 1, 9), np.nan)
    longest = max(b - a for a, b in skips)
    figure.add_scatter(
        name="skips",
        x=_short(np.concatenate([a + (b - a) * t for a, b in skips])),
        y=_short(np.concatenate([ARCS - _depth(b - a, longest) * 4 * t * (1 - t) for a, b in skips])),
        mode="lines",
        line={"color": faded(theme.faint, 0.6), "width": 1},
        hoverinfo="skip",
    )


def _depth(length: float, longest: float) -> float:
    return float(ARC_DEPTH * np.sqrt(length / longest))


def _layers(
    graph: LayerGraph, columns: Columns, distance: DatapathDistance, sizes: Mapping[Role, np.ndarray]
) -> go.Bar:
    """One unseen bar a layer over the whole height; together they leave no gap."""
    borders = columns.borders
    return go.Bar(
        name="layers",
        x=(borders[1:] + borders[:-1]) / 2,
        width=np.diff(borders),
        base=BOTTOM,
        y=[TOP - BOTTOM] * len(graph),
        marker={"color": CLEAR, "line": {"width": 0}},
        customdata=[[layer.index, layer.name] for layer in graph.layers],
        hovertext=[_hover(graph, layer, distance, sizes) for layer in range(len(graph))],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _hover(graph: LayerGraph, layer: int, distance: DatapathDistance, sizes: Mapping[Role, np.ndarray]) -> str:
    d1, d2, d3 = (float(d[layer]) for d in (distance.d1, distance.d2, distance.d3))
    hard = ", ".join(f"{role.short} {int(sizes[role][layer])}" for role in ROLES if role in sizes)
    lines = [
        f"<b>{plain(graph.layers[layer].name)}</b>, {graph.layers[layer].channels} feature maps",
        f"src–tar {_number(d1)}   adv–src {_number(d2)}   adv–tar {_number(d3)}",
        f"adv's way from src to tar: {_percent(distance.share[layer] if np.isfinite(d2 + d3) else np.nan)}",
        *_null_line(distance.null_share[:, layer]),
        *([f"critical maps: {hard}"] if hard else []),
        *(["adv is far from both: the picture draws it between them"] if d2 + d3 > 2 * d1 else []),
    ]
    return "<br>".join(lines)


def _null_line(column: np.ndarray) -> list[str]:
    known = column[np.isfinite(column)]
    if known.size == 0:
        return []
    low, high = np.quantile(known, [0.1, 0.9])
    return [f"with random targets: {_percent(low)} to {_percent(high)}"]


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "undefined"


def _percent(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else "undefined"


def _group_boxes(columns: Columns, theme: Theme) -> list[dict[str, Any]]:
    style = {"line": {"width": 0}, "fillcolor": faded(theme.faint, 0.09)}
    return [_box(*columns.extent(first, last), BOX_BOTTOM, BOX_TOP, **style) for _, first, last in columns.groups]


def _box(x0: float, x1: float, y0: float, y1: float, **style: Any) -> dict[str, Any]:
    return {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1, "layer": "below", **style}


def _ticks(columns: Columns, theme: Theme) -> list[dict[str, Any]]:
    """One path with a short stroke for every layer."""
    path = "".join(f"M{x:.4g},{BOX_BOTTOM}V{ARCS}" for x in columns.x)
    line = {"color": theme.faint, "width": 1}
    return [{"type": "path", "path": path, "line": line, "layer": "below"}] if path else []


def _selection(columns: Columns, layer: int | None, theme: Theme) -> list[dict[str, Any]]:
    if layer is None:
        return []
    style = {"line": {"color": theme.ink, "width": 1.5}, "fillcolor": faded(theme.ink, 0.1)}
    return [_box(*columns.extent(layer, layer), ARCS, BOX_TOP, **style)]


def _brackets(columns: Columns, stretches: Sequence[Stretch], theme: Theme) -> list[dict[str, Any]]:
    def bracket(left: float, right: float) -> str:
        left, right = left + 0.1, right - 0.1
        return f"M{left:.4g},{BOX_TOP + 0.02}V{BRACKET}H{right:.4g}V{BOX_TOP + 0.02}"

    line = {"color": theme.ink, "width": 1.5}
    paths = (bracket(*columns.extent(s.first, s.last)) for s in stretches)
    return [{"type": "path", "path": path, "line": line, "layer": "above"} for path in paths]


def _text(x: float, y: float, text: str, color: str, **more: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "text": text, "font": {"color": color}, "showarrow": False, **more}


def _scale(columns: Columns) -> float:
    """Steps of the horizontal axis a pixel at the nominal width."""
    return float(columns.borders[-1] - columns.borders[0]) / NOMINAL_WIDTH


def _group_labels(columns: Columns, theme: Theme) -> list[dict[str, Any]]:
    labels = []
    for label, first, last in columns.groups:
        left, right = columns.extent(first, last)
        room = int(((right - left) / _scale(columns) + 8) / CHARACTER)
        if text := shortened(label, room):
            labels.append(_text((left + right) / 2, LABEL_ROW, plain(text), theme.faint))
    return labels


def _stretch_labels(columns: Columns, stretches: Sequence[Stretch], theme: Theme) -> list[dict[str, Any]]:
    scale, borders = _scale(columns), columns.borders
    middles = np.array([np.mean(columns.extent(s.first, s.last)) for s in stretches])
    room = 10.5 * CHARACTER * scale
    places = spread(middles, room, float(borders[0]) + room / 2, float(borders[-1]) - room / 2)
    labels = zip(places.tolist(), stretches, strict=True)
    return [_text(x, BRACKET + 0.14, s.pattern.value, theme.ink) for x, s in labels]


def _path_labels(columns: Columns, river: River, theme: Theme, names: Mapping[Role, str]) -> list[dict[str, Any]]:
    """At the right end of each curve its role and class, moved apart where the ends meet."""
    texts = [(float(_curve(river, role)[-1]), caption(role, names), theme.role(role)) for role in ROLES]
    if river.band_low is not None and river.band_high is not None:
        middle = float(river.band_low[-1] + river.band_high[-1]) / 2
        texts.append((middle, "<i>if tar were random</i>", theme.faint))
    places = spread(np.array([y for y, _, _ in texts]), LINE_GAP, BOX_BOTTOM, BOX_TOP).tolist()
    right = float(columns.borders[-1])
    return [
        _text(right, y, text, color, xanchor="left", align="left", xshift=4)
        for y, (_, text, color) in zip(places, texts, strict=True)
    ]


def _selected_label(graph: LayerGraph, columns: Columns, layer: int | None, theme: Theme) -> list[dict[str, Any]]:
    """The selected layer's name under its column, kept inside the picture."""
    if layer is None:
        return []
    name, borders = graph.layers[layer].name, columns.borders
    half = len(name) * CHARACTER * _scale(columns) / 2
    x = float(np.clip(columns.x[layer], borders[0] + half, max(borders[0] + half, borders[-1] - half)))
    return [_text(x, NAME_ROW, f"<b>{plain(name)}</b>", theme.ink)]
