"""The network view: where the datapaths part and meet, over the network's own structure (Sec. 5.2, Fig. 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import DatapathDistance, LayerGraph, Role, Stretch, role_of, short_of, so_many
from aevis_dash.figures.dag import BOX, NOMINAL_WIDTH, closed_labels, columns_bar, short, structure
from aevis_dash.figures.dots import dot_labels, dots
from aevis_dash.figures.theme import CHARACTER, Theme, bare_axis, base_layout, caption, fade, plain
from aevis_dash.geometry.curves import smooth, spread
from aevis_dash.geometry.dag import Columns, Group, boxes
from aevis_dash.geometry.river import River

HEIGHT = 240
LABEL_ROOM = 168
SAMPLES = 6
"""The number of points of a curve from one layer to the next."""
STROKE = 8
FAR = 2
"""How many times the distance of src and tar the sum of adv's distances to both must exceed to be called far from
both."""
TOP, BOTTOM = 1.5, -2.26
BRACKET = 1.22
NAME_ROW = -2.15
LINE_GAP = 0.2
LONGEST = 10.5
"""The number of characters that the name of a stretch takes."""
MOVE = {"duration": 120, "easing": "cubic-in-out"}
"""The animation by which what a click moves goes to its new place."""


@dataclass(frozen=True)
class Drawn:
    """The datapaths as they are drawn at the C columns.

    Attributes:
        curves: the places of each datapath in [-1, 1], (C,), by its key.
        names: the names of the datapaths' classes, by their keys.
        band: the lower and the upper bound of the null band, (C,) each; None without one.
        far: bool (C,), the columns where adv is far from both src and tar, so that its place between them says little.
            Its curve is dashed there. None for nowhere.
    """

    curves: Mapping[str, np.ndarray]
    names: Mapping[str, str]
    band: tuple[np.ndarray, np.ndarray] | None = None
    far: np.ndarray | None = None


def far_from_both(distance: DatapathDistance) -> np.ndarray:
    """(C,) bool: whether the sum of adv's distances to src and tar is more than FAR times the distance between these
    two."""
    return distance.d2 + distance.d3 > FAR * distance.d1


def drawn_river(river: River, names: Mapping[str, str], far: np.ndarray | None = None) -> Drawn:
    """The three curves of a river by the paper's rule; `far` as in `Drawn`."""
    curves: dict[str, np.ndarray] = {Role.SOURCE: river.src, Role.ADVERSARIAL: river.adv, Role.TARGET: river.tar}
    band = None if river.band_low is None or river.band_high is None else (river.band_low, river.band_high)
    return Drawn(curves, names, band, far)


@dataclass(frozen=True)
class Ground:
    """What river and dots stand on: the graph, its groups, the columns, a text for each column, the stretches, the
    index of the selected layer, and the map that each layer is first shown with."""

    graph: LayerGraph
    tree: Sequence[Group]
    placed: Columns
    hovers: Sequence[str]
    stretches: Sequence[Stretch]
    selected: int | None
    first_maps: Sequence[int]


def river_figure(ground: Ground, drawn: Drawn, theme: Theme) -> go.Figure:
    """The river over the network's structure, 300 px high and as wide as its place. It needs no legend.

    A click over a column meets the trace "layers", whose customdata is [index of its first layer, name, name of the
    closed group or "", the map that this layer is first shown with]. A click on a group's bar meets "groups", with
    [name, 1 if closed].
    """
    figure = _figure(ground, _water(ground.placed, drawn, theme), theme)
    return figure.update_layout(annotations=_path_labels(drawn, theme))


def dots_figure(ground: Ground, similar: Mapping[str, np.ndarray], names: Mapping[str, str], theme: Theme) -> go.Figure:
    """The dot plot of the system of 2018 in place of the river.

    Args:
        ground: what the dots stand on.
        similar: the similarity of each other datapath to adv at each column, (C,) in [0, 1], by its key.
        names: the names of the datapaths' classes, by their keys.
        theme: the colours.
    """
    figure = _figure(ground, dots(ground.placed.x, boxes(ground.placed), similar, theme), theme)
    return figure.update_layout(annotations=dot_labels(similar, names, theme))


def _figure(ground: Ground, content: Sequence[Any], theme: Theme) -> go.Figure:
    """What river and dots share: the structure below, the brackets above, the selected layer, and the columns for the
    mouse."""
    graph, placed = ground.graph, ground.placed
    traces = [
        *structure(graph, ground.tree, placed, theme),
        _selection(placed, ground.selected, theme),
        *content,
        closed_labels(ground.tree, placed, theme),
        *_brackets(placed, ground.stretches, theme),
        _selected_name(graph, placed, ground.selected, theme),
        columns_bar(graph, placed, ground.hovers, ground.first_maps, -BOX - 0.46, TOP),
    ]
    return go.Figure(traces, layout=_layout(placed, ground.selected, theme))


def _layout(placed: Columns, selected: int | None, theme: Theme) -> dict[str, Any]:
    return {
        **base_layout(theme),
        "height": HEIGHT,
        "margin": {"l": 6, "r": LABEL_ROOM, "t": 2, "b": 2, "autoexpand": False},
        "xaxis": bare_axis(-0.006, 1.006) | {"uirevision": "window"},
        "yaxis": bare_axis(BOTTOM, TOP),
        "hovermode": "closest",
        "dragmode": False,
        "barmode": "overlay",
        "bargap": 0,
        "transition": MOVE,
        "meta": {"extent": round(placed.extent, 4), "selected": _middle(placed, selected)},
    }


def _middle(placed: Columns, layer: int | None) -> float | None:
    return round(float(placed.layer_x[layer]), 4) if layer is not None else None


def _places(placed: Columns) -> np.ndarray:
    """The places at which the curves are drawn. There are as many whatever is closed: SAMPLES from each layer to the
    next."""
    layers = np.arange(len(placed.layer_x))
    return np.interp(np.linspace(0, max(len(layers) - 1, 0), (len(layers) - 1) * SAMPLES + 1), layers, placed.layer_x)


def _water(placed: Columns, drawn: Drawn, theme: Theme) -> list[go.Scatter]:
    """The null band and the curves, with adv on top.

    A line keeps its width in pixels at any size, which a polygon would not. The line of adv is the thinnest, so that a
    line under it shows at both sides.
    """
    xs = _places(placed)
    order = sorted(drawn.curves, key=lambda key: role_of(key) is Role.ADVERSARIAL)
    far = drawn.far if drawn.far is not None and Role.ADVERSARIAL in drawn.curves else np.zeros(len(placed.x), bool)
    curves = []
    for key in order:
        ys = smooth(placed.x, drawn.curves[key], xs)
        if role_of(key) is Role.ADVERSARIAL:
            dashed = _nearest(placed.x, far, xs)
            near = np.convolve(~dashed, np.ones(3), "same") > 0  # the two lines meet
            curves += [
                _curve(key, xs, np.where(near, ys, np.nan), theme),
                _curve(f"{key} far", xs, np.where(dashed, ys, np.nan), theme, "3px,3px"),
            ]
        else:
            curves.append(_curve(key, xs, ys, theme))
    return [*_band(placed, drawn, xs, theme), *curves]


def _nearest(places: np.ndarray, values: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """(n,) for each of `xs` (n,) the value at the nearest of the ascending `places` (C,)."""
    return values[np.searchsorted((places[1:] + places[:-1]) / 2, xs)]


def _curve(key: str, xs: np.ndarray, ys: np.ndarray, theme: Theme, dash: str = "solid") -> go.Scatter:
    path = key.removesuffix(" far")
    width = STROKE / 2 if role_of(path) is Role.ADVERSARIAL else STROKE
    return go.Scatter(
        name=str(key),
        x=short(xs),
        y=short(ys),
        mode="lines",
        line={"color": theme.path(path), "width": width, "dash": dash, "simplify": False},
        hoverinfo="skip",
    )


def _band(placed: Columns, drawn: Drawn, xs: np.ndarray, theme: Theme) -> list[go.Scatter]:
    if drawn.band is None:
        return []
    low, high = (smooth(placed.x, edge, xs) for edge in drawn.band)
    band = go.Scatter(
        name="null",
        x=short(np.concatenate([xs, xs[::-1]])),
        y=short(np.concatenate([high, low[::-1]])),
        mode="lines",
        line={"width": 0, "simplify": False},
        fill="toself",
        fillcolor=fade(theme.faint, 0.28),
        hoverinfo="skip",
    )
    return [band]


def _selection(placed: Columns, layer: int | None, theme: Theme) -> go.Bar:
    """The bar that marks the column of the selected layer; nothing where none is selected."""
    column = placed.of_layer[layer] if layer is not None else 0
    some = len(placed.columns) > 0
    return go.Bar(
        name="selected",
        x=short(placed.x[[column]] if some else np.zeros(0)),
        width=short(placed.width[[column]] if some else np.zeros(0)),
        base=-BOX - 0.06,
        y=[2 * BOX + 0.06 if layer is not None else 0.0],
        marker={"color": fade(theme.ink, 0.1), "line": {"color": theme.ink, "width": 1.5}},
        hoverinfo="skip",
    )


def _brackets(placed: Columns, stretches: Sequence[Stretch], theme: Theme) -> list[go.Scatter]:
    """A bracket over each stretch, and the names of as many as find room near their stretches, the widest first.

    That of a transition ends at the layer from which adv is on the other side, which the words name.
    """
    spans = [placed.span(s.first, max(s.last, s.after)) for s in stretches]
    xs = [x for left, right in spans for x in (left, left, right, right, np.nan)]
    ys = [BOX + 0.03, BRACKET, BRACKET, BOX + 0.03, np.nan] * len(spans)
    lines = go.Scatter(
        name="brackets",
        x=short(np.array(xs)),
        y=short(np.array(ys)),
        mode="lines",
        hoverinfo="skip",
        line={"color": theme.ink, "width": 1.5, "simplify": False},
    )
    named, places = _place_names(spans, placed.extent)
    return [lines, _texts("stretches", places, BRACKET + 0.13, [stretches[i].pattern.value for i in named], theme)]


def _place_names(spans: Sequence[tuple[float, float]], extent: float) -> tuple[list[int], np.ndarray]:
    """Which spans are named, and where. No two names meet, and none strays from its span by more than its own width."""
    room = LONGEST * CHARACTER / NOMINAL_WIDTH
    named = sorted(range(len(spans)), key=lambda i: spans[i][0] - spans[i][1])
    while named:
        order = sorted(named)
        middles = np.array([sum(spans[i]) / 2 for i in order])
        places = spread(middles, room, room / 2, extent - room / 2)
        if np.abs(places - middles).max() <= room and places[-1] <= extent:
            return order, places
        named.pop()
    return [], np.zeros(0)


def _texts(name: str, x: np.ndarray, y: float, texts: Sequence[str], theme: Theme) -> go.Scatter:
    font = {"color": theme.ink}
    return go.Scatter(
        name=name,
        x=short(x),
        y=[y] * len(texts),
        mode="text",
        text=list(texts),
        textfont=font,
        hoverinfo="skip",
        cliponaxis=False,
    )


def _selected_name(graph: LayerGraph, placed: Columns, layer: int | None, theme: Theme) -> go.Scatter:
    """The name of the selected layer at the bottom under its column, kept inside the picture."""
    name = f"<b>{plain(graph.layers[layer].name)}</b>" if layer is not None else ""
    half = len(name) * CHARACTER / NOMINAL_WIDTH / 2
    x = placed.layer_x[layer] if layer is not None else 0.0
    x = np.clip(x, half, max(half, placed.extent - half))
    return _texts("name", np.array([x]), NAME_ROW, [name], theme)


def _path_labels(drawn: Drawn, theme: Theme) -> list[dict[str, Any]]:
    """The name and class of each datapath, right of its curve's end in the window, moved apart where ends meet."""
    texts = [(float(y[-1]), caption(key, drawn.names), theme.path(key)) for key, y in drawn.curves.items() if len(y)]
    if drawn.band is not None:
        texts.append((float(drawn.band[0][-1] + drawn.band[1][-1]) / 2, "<i>if tar were random</i>", theme.faint))
    places = spread(np.array([y for y, _, _ in texts]), LINE_GAP, -BOX, BOX).tolist()
    at = {"x": 1.0, "xref": "x domain", "xanchor": "left", "align": "left", "xshift": 4, "showarrow": False}
    return [
        {**at, "y": y, "text": text, "font": {"color": color}}
        for y, (_, text, color) in zip(places, texts, strict=True)
    ]


def small_picture(placed: Columns, drawn: Drawn, theme: Theme) -> str:
    """The address of a small picture of the curves over the whole network, which is stretched to its place; "" without
    any."""
    if not drawn.curves:
        return ""
    lines = "".join(_small_curve(placed, y, theme.path(key)) for key, y in drawn.curves.items())
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 22" preserveAspectRatio="none">{lines}</svg>'
    return "data:image/svg+xml," + quote(picture)


def _small_curve(placed: Columns, y: np.ndarray, color: str) -> str:
    places = zip(1000 * placed.x / placed.extent, 11 - 9 * y, strict=True)
    points = " ".join(f"{x:.0f},{height:.1f}" for x, height in places)
    style = f'fill="none" stroke="{color}" stroke-width="2" vector-effect="non-scaling-stroke"'
    return f'<polyline points="{points}" {style}/>'


def column_hovers(
    graph: LayerGraph,
    placed: Columns,
    pairs: Mapping[tuple[str, str], np.ndarray],
    sizes: Mapping[str, np.ndarray],
    distance: DatapathDistance | None,
) -> list[str]:
    """The hover text of every column.

    Args:
        graph: the layers of the network.
        placed: the columns.
        pairs: the distances of two datapaths at each column, (C,), by their keys.
        sizes: the number of maps of each datapath's hard set in each layer, (L,), by its key.
        distance: the distances of the triplet at each column, for adv's way and its null; None where others are
            compared.
    """
    return [
        "<br>".join(
            [
                _what(graph, placed, c),
                *(f"{short_of(a)}–{short_of(b)} {_number(values[c])}" for (a, b), values in pairs.items()),
                *(_way(distance, c) if distance is not None else []),
                *_hard(placed, sizes, c),
            ]
        )
        for c in range(len(placed.columns))
    ]


def _what(graph: LayerGraph, placed: Columns, column: int) -> str:
    at = placed.columns[column]
    layers = graph.layers[at.first : at.last + 1]
    maps = sum(layer.channels for layer in layers)
    counted = so_many(maps, "feature map")
    if at.group:
        return f"<b>{plain(at.group.split('#')[0])}</b>, {so_many(len(layers), 'layer')}, {counted} · click to open"
    return f"<b>{plain(layers[0].name)}</b>, {counted}"


def _hard(placed: Columns, sizes: Mapping[str, np.ndarray], column: int) -> list[str]:
    at = placed.columns[column]
    counts = [f"{short_of(key)} {int(sizes[key][at.first : at.last + 1].sum())}" for key in sizes]
    return [f"critical maps: {', '.join(counts)}"] if counts else []


def _way(distance: DatapathDistance, column: int) -> list[str]:
    known = np.isfinite(distance.d2[column] + distance.d3[column])
    return [
        f"adv's way from src to tar: {_percent(distance.share[column] if known else np.nan)}",
        *_null_line(distance.null_share[:, column]),
        *(
            ["adv is far from both: dashed, its place between them says little"]
            if far_from_both(distance)[column]
            else []
        ),
    ]


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
