"""The layer view: the sets of critical feature maps as a treemap (Sec. 5.3, Fig. 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import ROLES, Region, Role
from aevis_dash.figures.theme import (
    CHARACTER,
    CLEAR,
    TEXT_SIZE,
    Theme,
    bare_axis,
    base_layout,
    faded,
    plain,
)
from aevis_dash.geometry.treemap import STRIP, Cell, Rect, Treemap, labelled

EDGE = 2
NUMBER_WIDTH, NUMBER_HEIGHT = 24, 20
"""The smallest cell, in pixels, that is given its channel's number."""


def treemap_figure(
    treemap: Treemap,
    difference: np.ndarray,
    contribution: np.ndarray | None,
    selected: int | None,
    marked: Sequence[int],
    theme: Theme,
    names: Mapping[Role, str],
    picked: Sequence[int] = (),
) -> go.Figure:
    """A layer's critical maps; one pixel of the layout is one of the screen at the treemap's own width.

    difference (n_l,), e.g. acti(adv) - acti(src): the solid fill's height is |difference| over its largest
    in the treemap, its tone the sign. contribution (n_l,), parts of the effect: the dotted fill's height over the
    layer's largest. `marked` channels carry a star, `picked` ones a dashed frame. Hover, click and lasso meet the one
    trace "maps", whose customdata is [channel].
    """
    if not treemap.cells:
        return _empty(treemap, theme)
    figure = go.Figure(layout=_layout(treemap, theme))
    values = np.nan_to_num(difference, posinf=0, neginf=0)
    figure.add_trace(_solid(treemap.cells, values, theme))
    if contribution is not None:
        figure.add_trace(_dotted(treemap.cells, np.nan_to_num(contribution), theme))
    figure.add_trace(_stars(treemap.cells, frozenset(marked), theme))
    figure.add_trace(_maps(treemap, difference, contribution, theme, names))
    figure.update_layout(
        shapes=_shapes(treemap, selected, picked, theme),
        annotations=_labels(treemap, theme),
    )
    return figure


def _layout(treemap: Treemap, theme: Theme) -> dict[str, Any]:
    return {
        **base_layout(theme),
        "height": treemap.height + 2 * EDGE,
        "margin": dict.fromkeys("lrtb", EDGE),
        "xaxis": bare_axis(0, treemap.width),
        "yaxis": bare_axis(treemap.height, 0),
        "hovermode": "closest",
        "dragmode": "select",
        "clickmode": "event",
        "barmode": "overlay",
        "bargap": 0,
    }


def _empty(treemap: Treemap, theme: Theme) -> go.Figure:
    figure = go.Figure(layout={**_layout(treemap, theme), "dragmode": False})
    text = "No feature map of this layer is critical for any of the three predictions."
    place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
    return figure.add_annotation(text=text, showarrow=False, font={"color": theme.faint}, **place)


def _short(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, np.float32)


def _bars(rects: Sequence[Rect], **style: Any) -> go.Bar:
    """Free rectangles: each bar has its own place, width, base and height."""
    return go.Bar(
        x=_short([rect.centre[0] for rect in rects]),
        width=_short([rect.width for rect in rects]),
        base=[round(rect.y, 2) for rect in rects],
        y=_short([rect.height for rect in rects]),
        **style,
    )


def _filled(rect: Rect, part: float) -> Rect:
    """The lower `part` of a cell, a hair inside its outline."""
    part = min(max(part, 0.0), 1.0)
    return Rect(rect.x, rect.bottom - rect.height * part, rect.width, rect.height * part)


def _solid(cells: Sequence[Cell], values: np.ndarray, theme: Theme) -> go.Bar:
    largest = max(abs(float(values[cell.channel])) for cell in cells) or 1.0
    parts = [(cell.rect, float(values[cell.channel]) / largest) for cell in cells]
    drawn = [(rect, part) for rect, part in parts if part]
    return _bars(
        [_filled(rect, abs(part)) for rect, part in drawn],
        name="difference",
        marker={"color": [theme.more if part > 0 else theme.less for _, part in drawn], "line": {"width": 0}},
        hoverinfo="skip",
    )


def _dotted(cells: Sequence[Cell], values: np.ndarray, theme: Theme) -> go.Bar:
    largest = max(float(values.max(initial=0.0)), 1e-30)
    drawn = [(cell.rect, float(values[cell.channel]) / largest) for cell in cells if values[cell.channel] > 0]
    pattern = {"shape": ".", "size": 4, "solidity": 0.3, "bgcolor": CLEAR}
    pattern["fgcolor"] = faded(theme.ink, 0.65)
    return _bars(
        [_filled(rect, part) for rect, part in drawn],
        name="contribution",
        marker={"color": CLEAR, "pattern": pattern, "line": {"width": 0}},
        hoverinfo="skip",
    )


def _stars(cells: Sequence[Cell], marked: frozenset[int], theme: Theme) -> go.Scatter:
    """A star in the lower right corner of every marked cell, clear of its number."""
    rects = [cell.rect for cell in cells if cell.channel in marked]
    sizes = [min(12.0, 0.8 * min(rect.width, rect.height)) for rect in rects]
    pairs = list(zip(rects, sizes, strict=True))
    line = {"color": theme.ink, "width": 1}
    return go.Scatter(
        name="marked",
        x=_short([rect.right - size * 0.6 for rect, size in pairs]),
        y=_short([rect.bottom - size * 0.6 for rect, size in pairs]),
        mode="markers",
        marker={"symbol": "star", "size": sizes, "color": theme.mark, "line": line},
        hoverinfo="skip",
    )


def _maps(
    treemap: Treemap,
    difference: np.ndarray,
    contribution: np.ndarray | None,
    theme: Theme,
    names: Mapping[Role, str],
) -> go.Bar:
    """The outlines, on top of everything, which take hover, click and selection."""
    kept = {"marker": {"opacity": 1}}
    return _bars(
        [cell.rect for cell in treemap.cells],
        name="maps",
        marker={"color": CLEAR, "line": {"width": 1, "color": faded(theme.faint, 0.55)}},
        text=[_number(cell) for cell in treemap.cells],
        textposition="inside",
        insidetextanchor="start",
        textangle=0,
        insidetextfont={"color": theme.ink, "size": TEXT_SIZE - 2},
        customdata=[[cell.channel] for cell in treemap.cells],
        hovertext=[_hover(cell.channel, difference, contribution) for cell in treemap.cells],
        hovertemplate="%{hovertext}<extra></extra>",
        selected=kept,
        unselected=kept,
    )


def _number(cell: Cell) -> str:
    fits = cell.rect.width >= NUMBER_WIDTH and cell.rect.height >= NUMBER_HEIGHT
    return str(cell.channel) if fits else ""


def _hover(channel: int, difference: np.ndarray, contribution: np.ndarray | None) -> str:
    lines = [f"map {channel}", f"difference {difference[channel]:+.3g}"]
    if contribution is not None:
        lines.append(f"contribution {contribution[channel]:.1%}")
    return "<br>".join(lines)


def _shapes(treemap: Treemap, selected: int | None, picked: Sequence[int], theme: Theme) -> list[dict[str, Any]]:
    frames = [*_backgrounds(treemap, theme), *_set_frames(treemap, theme)]
    return [*frames, *_picked(treemap, frozenset(picked), theme), *_chosen(treemap, selected, theme)]


def _backgrounds(treemap: Treemap, theme: Theme) -> list[dict[str, Any]]:
    return [
        _box(rect, 1.5, fillcolor=faded(theme.paths(region.roles), 0.2), line={"width": 0}, layer="below")
        for region, rect in treemap.regions
    ]


def _set_frames(treemap: Treemap, theme: Theme) -> list[dict[str, Any]]:
    return [
        _box(rect, 1.0, line={"color": theme.role(role), "width": 2}, layer="below")
        for role, rect in treemap.sets.items()
    ]


def _picked(treemap: Treemap, picked: frozenset[int], theme: Theme) -> list[dict[str, Any]]:
    line = {"color": theme.ink, "width": 2, "dash": "dot"}
    return [_box(cell.rect, 2.0, line=line) for cell in treemap.cells if cell.channel in picked]


def _chosen(treemap: Treemap, selected: int | None, theme: Theme) -> list[dict[str, Any]]:
    line = {"color": theme.ink, "width": 3}
    return [_box(cell.rect, 0.0, line=line) for cell in treemap.cells if cell.channel == selected]


def _box(rect: Rect, inset: float, **style: Any) -> dict[str, Any]:
    """A rectangle of at least half its size with `inset` pixels taken off each side."""
    across, down = min(inset, rect.width / 4), min(inset, rect.height / 4)
    x0, x1, y0, y1 = rect.x + across, rect.right - across, rect.y + down, rect.bottom - down
    corners = {"x0": x0, "x1": x1, "y0": y0, "y1": y1}
    return {"type": "rect", **{key: round(value, 2) for key, value in corners.items()}, **style}


def _labels(treemap: Treemap, theme: Theme) -> list[dict[str, Any]]:
    labels = []
    for region, rect in treemap.regions:
        if labelled(rect) and (text := _label(region, rect.width - 8)):
            place = {"x": rect.x + 4, "y": rect.y + 2 + STRIP / 2, "xanchor": "left", "yanchor": "middle"}
            font = {"color": theme.paths(region.roles), "size": TEXT_SIZE - 1}
            labels.append({"text": plain(text), "font": font, "showarrow": False, "borderpad": 0, **place})
    return labels


def _label(region: Region, room: float) -> str:
    """The longest of the region's labels that fits in `room` pixels, or nothing."""
    roles = " ∩ ".join(role.short for role in ROLES if role in region.roles)
    count = len(region.channels)
    alone = " only" if len(region.roles) == 1 else ""
    choices = (f"{roles}{alone} · {count}", f"{roles} · {count}", roles, str(count))
    return next((text for text in choices if len(text) * CHARACTER <= room), "")
