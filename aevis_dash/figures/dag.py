"""The structure of the network under the river: groups to open and close, layers, and which layer feeds which."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import LayerGraph
from aevis_dash.figures.theme import CHARACTER, TEXT_SIZE, Theme, fade
from aevis_dash.geometry.dag import Columns, Group, lanes

BOX = 1.1
"""The river's box reaches from -BOX to BOX in vertical units."""
LANE_TOP, LANE_ROOM, LANE_STEP = -1.24, 0.22, 0.1
ARC = 0.16
ROWS_TOP, INNER_ROOM, OUTER = -1.58, 0.24, 0.2
"""The places of the rows of groups in vertical units: the top of all rows, the room that the inner levels share, and
the height of the outermost level at the bottom."""
NOMINAL_WIDTH = 420
"""The pixels that a window takes at least (on a page 1280 wide), by which it is decided which labels fit."""
SMALL = 0.8
"""The size of the smallest text as a share of the ordinary size."""


def structure(graph: LayerGraph, tree: Sequence[Group], placed: Columns, theme: Theme) -> list[Any]:
    """The traces of the structure. They have the same points whatever groups are closed, so that plotly can move them.

    "boxes" shades the outermost groups and, more strongly, the closed ones. "links" and "layers drawn" are the graph.
    "groups" are bars whose customdata is [name, 1 if closed]. Only "groups" reacts to the mouse.
    """
    lane = np.array(lanes(placed, graph), float) if len(graph) else np.zeros(0)
    y = LANE_TOP - min(LANE_STEP, LANE_ROOM / max(1.0, lane.max(initial=0.0))) * lane[placed.of_layer]
    return [
        _boxes(tree, placed, theme),
        _links(graph, placed, y, theme),
        _dots(placed, y, theme),
        _groups(tree, placed, theme),
    ]


def short(values: np.ndarray) -> np.ndarray:
    """Numbers as 4-byte floats, in which they are sent to plotly."""
    return np.asarray(values, np.float32)


def _spans(tree: Sequence[Group], placed: Columns) -> tuple[np.ndarray, np.ndarray]:
    """(G,) the middles and the widths of all groups, also of those inside closed ones."""
    ends = np.array([placed.span(g.first, g.last) for g in tree]).reshape(-1, 2)
    return ends.mean(axis=1), ends[:, 1] - ends[:, 0]


def _boxes(tree: Sequence[Group], placed: Columns, theme: Theme) -> go.Bar:
    middles, widths = _spans(tree, placed)
    closed = [g.name in placed.closed and g in placed.groups for g in tree]
    drawn = [shut or g.level == 0 for g, shut in zip(tree, closed, strict=True)]
    return go.Bar(
        name="boxes",
        x=short(middles),
        width=short(widths),
        base=[-BOX] * len(tree),
        y=short(2 * BOX * np.array(drawn, float)),
        marker={"color": [fade(theme.faint, 0.2 if shut else 0.09) for shut in closed], "line": {"width": 0}},
        hoverinfo="skip",
    )


def _links(graph: LayerGraph, placed: Columns, y: np.ndarray, theme: Theme) -> go.Scatter:
    """Lines for which layer feeds which: straight between neighbours of a lane, hanging arcs over other columns, and
    curves between lanes."""
    edges = np.array(graph.edges, int).reshape(-1, 2)
    t = np.linspace(0, 1, 9)
    ends_x, ends_y = placed.layer_x[edges], y[edges]
    over = (edges[:, 1] - edges[:, 0] > 1) & (ends_y[:, 0] == ends_y[:, 1])
    depth = np.where(over, ARC * np.sqrt(np.clip(ends_x[:, 1] - ends_x[:, 0], 0, 1)), 0.0)
    rise = t * t * (3 - 2 * t)
    xs = ends_x[:, :1] + (ends_x[:, 1:] - ends_x[:, :1]) * t
    ys = ends_y[:, :1] + (ends_y[:, 1:] - ends_y[:, :1]) * rise - depth[:, None] * 4 * t * (1 - t)
    gap = np.full((len(edges), 1), np.nan)
    return go.Scatter(
        name="links",
        x=short(np.hstack([xs, gap]).ravel()),
        y=short(np.hstack([ys, gap]).ravel()),
        mode="lines",
        line={"color": fade(theme.faint, 0.7 if len(edges) < 3 * len(graph) else 0.25), "width": 1, "simplify": False},
        hoverinfo="skip",
    )


def _dots(placed: Columns, y: np.ndarray, theme: Theme) -> go.Scatter:
    return go.Scatter(
        name="layers drawn",
        x=short(placed.layer_x),
        y=short(y),
        mode="markers",
        marker={"size": 4, "color": theme.faint},
        hoverinfo="skip",
    )


def _groups(tree: Sequence[Group], placed: Columns, theme: Theme) -> go.Bar:
    """One bar for each group, flat for one inside a closed group. Inner levels stand above, the outermost at the
    bottom."""
    middles, widths = _spans(tree, placed)
    rows = [_row(g.level, max(o.level for o in tree)) for g in tree]
    shown = [g in placed.groups for g in tree]
    closed = [g.name in placed.closed for g in tree]
    words = [_ending(g.label, int(width * NOMINAL_WIDTH / CHARACTER)) for g, width in zip(tree, widths, strict=True)]
    return go.Bar(
        name="groups",
        x=short(middles),
        width=short(widths),
        base=[round(base, 3) for base, _ in rows],
        y=short(np.array([height * seen for (_, height), seen in zip(rows, shown, strict=True)])),
        marker={
            "color": [fade(theme.faint, 0.5 if shut else 0.22) for shut in closed],
            "line": {"width": 1, "color": theme.surface},
        },
        text=[
            word if seen and height >= OUTER else "" for word, seen, (_, height) in zip(words, shown, rows, strict=True)
        ],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        insidetextfont={"color": theme.ink, "size": TEXT_SIZE - 1},
        customdata=[[g.name, int(shut)] for g, shut in zip(tree, closed, strict=True)],
        hovertext=[
            f"<b>{g.name.split('#')[0]}</b>, {g.size} layers<br>click to {'open' if shut else 'close'}"
            for g, shut in zip(tree, closed, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _row(level: int, deepest: int) -> tuple[float, float]:
    """The base and the height of the row of groups of that level."""
    if level == 0:
        return ROWS_TOP - INNER_ROOM - OUTER, OUTER
    height = INNER_ROOM / deepest
    return ROWS_TOP - (deepest - level + 1) * height, 0.86 * height


def _ending(text: str, characters: int) -> str:
    """The text in at most so many characters. A long text is cut at its beginning, because groups differ at the end
    ("…ock4")."""
    if len(text) <= characters:
        return text
    return "…" + text[len(text) - characters + 1 :] if characters > 2 else ""


def closed_labels(tree: Sequence[Group], placed: Columns, theme: Theme) -> go.Scatter:
    """The number of layers that each closed group holds, as "+12" over its dots, where there is room."""
    middles, widths = _spans(tree, placed)
    room = widths * NOMINAL_WIDTH / (CHARACTER * SMALL)
    fits = [len(str(g.size)) < space for g, space in zip(tree, room, strict=True)]
    closed = [g.name in placed.closed and g in placed.groups and fit for g, fit in zip(tree, fits, strict=True)]
    return go.Scatter(
        name="closed",
        x=short(middles),
        y=[-BOX + 0.1] * len(tree),
        mode="text",
        text=[f"+{g.size}" if shut else "" for g, shut in zip(tree, closed, strict=True)],
        textfont={"color": theme.faint, "size": TEXT_SIZE * SMALL},
        hoverinfo="skip",
    )


def columns_bar(
    graph: LayerGraph, placed: Columns, hovers: Sequence[str], maps: Sequence[int], bottom: float, top: float
) -> go.Bar:
    """The trace "layers": one invisible bar for each column, which together leave no gap.

    The customdata of a bar is [index of its first layer, name of that layer, name of the closed group or "", the map of
    that layer in `maps`].
    """
    borders = placed.borders
    return go.Bar(
        name="layers",
        x=(borders[1:] + borders[:-1]) / 2,
        width=np.diff(borders),
        base=bottom,
        y=[top - bottom] * len(placed.columns),
        marker={"color": "rgba(0,0,0,0)", "line": {"width": 0}},
        customdata=[[c.first, graph.layers[c.first].name, c.group, maps[c.first]] for c in placed.columns],
        hovertext=list(hovers),
        hovertemplate="%{hovertext}<extra></extra>",
    )
