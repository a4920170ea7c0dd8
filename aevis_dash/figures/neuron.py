"""The neuron view: how one feature map fires on each example (Sec. 5.4)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import ROLES, AreaOfInterest, Role
from aevis_dash.figures.theme import Theme, base_layout, faded, plain, shortened

HEIGHT = 200
SPACE = 0.03


def activation_figure(
    activations: Mapping[Role, np.ndarray],
    area: AreaOfInterest | None,
    theme: Theme,
    names: Mapping[Role, str],
) -> go.Figure:
    """The (H, W) activations of one feature map on each example, side by side, row 0 on top.

    One scale for all of them from 0 (the surface's end) to the largest activation; what is below 0 has the
    colour of 0. A box drawn on any of them comes back as `selectedData`, which `snap_area` reads.
    """
    shown = [(role, np.asarray(activations[role], float)) for role in ROLES if role in activations]
    figure = go.Figure(layout={**base_layout(theme), **_frame()})
    highest = max((_largest(values) for _, values in shown), default=0.0) or 1.0
    for place, (role, values) in enumerate(shown):
        _add_axes(figure, place, len(shown), values.shape, theme)
        figure.add_trace(_heatmap(place, role, values, highest, place == len(shown) - 1, theme))
        _add_title(figure, place, len(shown), _title(role, names), theme.role(role))
        if area is not None:
            figure.add_shape(_area_shape(place, area, theme))
    return figure


def _frame() -> dict[str, Any]:
    return {
        "height": HEIGHT,
        "margin": {"l": 4, "r": 56, "t": 38, "b": 6},
        "dragmode": "select",
        "hovermode": "closest",
        "newselection": {"line": {"width": 1, "dash": "dot"}},
    }


def _largest(values: np.ndarray) -> float:
    return max(0.0, float(np.max(values, initial=0.0, where=np.isfinite(values))))


def _axis(letter: str, place: int) -> str:
    """Plotly's name of an axis: x, x2, x3."""
    return letter + ("" if place == 0 else str(place + 1))


def _column(place: int, of: int) -> tuple[float, float]:
    """Left and right end of a subplot in parts of the plot's width."""
    width = (1 - SPACE * (of - 1)) / of
    return place * (width + SPACE), place * (width + SPACE) + width


def _add_axes(figure: go.Figure, place: int, of: int, shape: tuple[int, ...], theme: Theme) -> None:
    height, width = shape
    line = {"visible": True, "showticklabels": False, "ticks": "", "showgrid": False, "zeroline": False}
    line |= {"mirror": True, "linecolor": theme.grid, "fixedrange": True, "constrain": "domain"}
    x, y = _axis("x", place), _axis("y", place)
    figure.layout["xaxis" + x[1:]] = {
        **line,
        "domain": _column(place, of),
        "range": [-0.5, width - 0.5],
        "anchor": y,
    }
    figure.layout["yaxis" + y[1:]] = {
        **line,
        "range": [height - 0.5, -0.5],
        "anchor": x,
        "scaleanchor": x,
        "constraintoward": "top",
    }


def _heatmap(place: int, role: Role, values: np.ndarray, highest: float, with_bar: bool, theme: Theme) -> go.Heatmap:
    return go.Heatmap(
        name=role.value,
        z=values.astype(np.float32),
        xaxis=_axis("x", place),
        yaxis=_axis("y", place),
        zmin=0.0,
        zmax=highest,
        colorscale=theme.colorscale,
        showscale=with_bar,
        colorbar={"thickness": 10, "len": 1, "outlinewidth": 0, "nticks": 4, "x": 1.01, "xpad": 4},
        hovertemplate=f"{role.short}, row %{{y}}, column %{{x}}<br>activation %{{z:.3g}}<extra></extra>",
    )


def _title(role: Role, names: Mapping[Role, str]) -> str:
    return f"<b>{role.short}</b><br>{plain(shortened(names.get(role, ''), 15))}"


def _add_title(figure: go.Figure, place: int, of: int, text: str, color: str) -> None:
    x = sum(_column(place, of)) / 2
    style = {"xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom", "showarrow": False}
    figure.add_annotation(text=text, x=x, y=1.01, font={"color": color}, **style)


def _area_shape(place: int, area: AreaOfInterest, theme: Theme) -> dict[str, Any]:
    edges = {"x0": area.left - 0.5, "x1": area.right - 0.5, "y0": area.top - 0.5, "y1": area.bottom - 0.5}
    line = {"color": theme.adversarial, "width": 2}
    axes = {"xref": _axis("x", place), "yref": _axis("y", place)}
    return {"type": "rect", **edges, **axes, "line": line, "fillcolor": faded(theme.adversarial, 0.08)}


def snap_area(selected: Mapping[str, Any] | None, layer: int, height: int, width: int) -> AreaOfInterest | None:
    """The whole cells of a plotly selection (box or lasso, on any subplot), inside a height x width map.

    Each border goes to the nearest border between cells (cell i spans i - 0.5 to i + 0.5); a box within
    one cell takes that cell. None without a selection, or for one that lies outside the map.
    """
    ends = (selected or {}).get("range") or (selected or {}).get("lassoPoints") or {}
    across = next((values for axis, values in ends.items() if axis.startswith("x")), None)
    down = next((values for axis, values in ends.items() if axis.startswith("y")), None)
    if not across or not down:
        return None
    left, right = _snapped(across, width)
    top, bottom = _snapped(down, height)
    if left >= right or top >= bottom:
        return None
    return AreaOfInterest(layer, top, left, bottom, right)


def _snapped(ends: list[float], size: int) -> tuple[int, int]:
    """First cell and the one after the last, clipped to 0..size; equal where nothing is left."""
    low, high = min(ends) + 0.5, max(ends) + 0.5
    first, last = math.floor(low + 0.5), math.floor(high + 0.5)
    if first == last:
        first = math.floor((low + high) / 2)
        last = first + 1
    return min(max(first, 0), size), min(max(last, 0), size)
