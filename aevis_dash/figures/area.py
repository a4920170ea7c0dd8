"""The area of interest: what was drawn or clicked on an activation map as whole neurons, and its outline as a path."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from aevis_dash.domain import AreaOfInterest, area_of_neurons


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
