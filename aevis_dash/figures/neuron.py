"""The neuron view: how one feature map fires on each example (Sec. 5.4)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash.domain import ROLES, AreaOfInterest, Role, area_of_neurons
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
    line = {"color": theme.adversarial, "width": 2}
    axes = {"xref": _axis("x", place), "yref": _axis("y", place)}
    return {"type": "path", "path": outline(area), **axes, "line": line, "fillcolor": faded(theme.adversarial, 0.08)}


def outline(area: AreaOfInterest) -> str:
    """The chosen neurons as one path: a square of side 1 around each, or one rectangle where all of it are chosen."""
    if not area.picked:
        return _rectangle(area.left, area.top, area.right - area.left, area.bottom - area.top)
    places = np.argwhere(area.chosen).tolist()
    return " ".join(_rectangle(area.left + column, area.top + row, 1, 1) for row, column in places)


def _rectangle(left: int, top: int, width: int, height: int) -> str:
    x, y = left - 0.5, top - 0.5
    return f"M {x} {y} L {x + width} {y} L {x + width} {y + height} L {x} {y + height} Z"


def snap_area(selected: Mapping[str, Any] | None, layer: int, height: int, width: int) -> AreaOfInterest | None:
    """The whole cells of a plotly selection (box or lasso, on any subplot), inside a height x width map.

    Each border of a box goes to the nearest border between cells (cell i spans i - 0.5 to i + 0.5); a box within
    one cell takes that cell. A lasso takes the cells whose centres it encloses, or the one it lies in. None without a
    selection, or for one that lies outside the map.
    """
    ends = (selected or {}).get("range") or (selected or {}).get("lassoPoints") or {}
    across = next((values for axis, values in ends.items() if axis.startswith("x")), None)
    down = next((values for axis, values in ends.items() if axis.startswith("y")), None)
    if not across or not down:
        return None
    if "lassoPoints" in (selected or {}):
        enclosed = area_of_neurons(layer, _enclosed(np.asarray(across), np.asarray(down), height, width))
        if enclosed is not None:
            return enclosed
    left, right = _snapped(across, width)
    top, bottom = _snapped(down, height)
    if left >= right or top >= bottom:
        return None
    return AreaOfInterest(layer, top, left, bottom, right)


def toggled(
    area: AreaOfInterest | None, layer: int, row: int, column: int, shape: tuple[int, int]
) -> AreaOfInterest | None:
    """The area with one neuron of the map (height, width) added, or taken away where it holds it; None for none left.

    Without an area, which stands for the whole map, that neuron alone.
    """
    chosen = np.zeros(shape, bool)
    if area is not None:
        chosen[area.top : area.bottom, area.left : area.right] = area.chosen
    chosen[row, column] ^= True
    return area_of_neurons(layer, chosen)


def _enclosed(x: np.ndarray, y: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) bool: the cells whose centres lie inside a polygon, by the even-odd rule."""
    rows, columns = np.mgrid[:height, :width]
    inside = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        spans = (y0 > rows) != (y1 > rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= spans & (columns < (x1 - x0) * (rows - y0) / (y1 - y0) + x0)
    return inside


def _snapped(ends: list[float], size: int) -> tuple[int, int]:
    """First cell and the one after the last, clipped to 0..size; equal where nothing is left."""
    low, high = min(ends) + 0.5, max(ends) + 0.5
    first, last = math.floor(low + 0.5), math.floor(high + 0.5)
    if first == last:
        first = math.floor((low + high) / 2)
        last = first + 1
    return min(max(first, 0), size), min(max(last, 0), size)
