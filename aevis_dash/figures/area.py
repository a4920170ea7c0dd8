"""The area of interest on an activation map: which whole neurons were drawn around or clicked, and their outline.

Cell i of a map spans i - 0.5 to i + 0.5.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aevis_dash.domain import AreaOfInterest, area_of_neurons


def outline(area: AreaOfInterest) -> str:
    """The border of the chosen neurons as one SVG path. It is clockwise around neurons, and the other way around
    holes."""
    return "".join(
        "M" + "L".join(f"{area.left + x - 0.5},{area.top + y - 0.5}" for x, y in loop) + "Z"
        for loop in _loops(area.chosen)
    )


def _loops(chosen: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """The closed borders of the chosen cells (H, W) as corners (x, y). Points on straight lines are left out."""
    around = np.pad(chosen, 1)
    inner = around[1:-1, 1:-1]
    sides = (  # a cell's neighbour there, and the ends of the border to it, clockwise
        (around[:-2, 1:-1], (0, 0), (1, 0)),
        (around[1:-1, 2:], (1, 0), (1, 1)),
        (around[2:, 1:-1], (1, 1), (0, 1)),
        (around[1:-1, :-2], (0, 1), (0, 0)),
    )
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for beside, (x0, y0), (x1, y1) in sides:
        for y, x in np.argwhere(inner & ~beside).tolist():
            ends.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    while ends:
        loop = [next(iter(ends))]
        while loop[-1] in ends:
            following = ends[loop[-1]].pop()
            if not ends[loop[-1]]:
                del ends[loop[-1]]
            loop.append(following)
        yield _corners(loop[:-1])


def _corners(loop: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those points of a closed loop at which it turns."""
    ahead, behind = [*loop[1:], loop[0]], [loop[-1], *loop[:-1]]
    return [point for b, point, a in zip(behind, loop, ahead, strict=True) if (b[0] != a[0]) and (b[1] != a[1])]


def snap_area(selected: Mapping[str, Any] | None, layer: int, height: int, width: int) -> AreaOfInterest | None:
    """The whole cells that a plotly selection covers, as an area of interest.

    Each border of a box goes to the nearest border between cells; a box inside one cell takes that cell. A lasso takes
    the cells whose centres it encloses, or the one cell that it lies in.

    Args:
        selected: plotly's selection by a box or a lasso, on any subplot; None for none.
        layer: the index of the layer.
        height: the height of the map in neurons.
        width: its width in neurons.

    Returns:
        The area; None without a selection, or where it lies outside the map.
    """
    ends = (selected or {}).get("range") or (selected or {}).get("lassoPoints") or {}
    across = next((values for axis, values in ends.items() if axis.startswith("x")), None)
    down = next((values for axis, values in ends.items() if axis.startswith("y")), None)
    if not across or not down:
        return None
    if "lassoPoints" in (selected or {}):
        enclosed = area_of_neurons(layer, _cells_inside(np.asarray(across), np.asarray(down), height, width))
        if enclosed is not None:
            return enclosed
    left, right = _snap(across, width)
    top, bottom = _snap(down, height)
    if left >= right or top >= bottom:
        return None
    return AreaOfInterest(layer, top, left, bottom, right)


def _cells_inside(x: np.ndarray, y: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) bool: the cells whose centres lie inside a polygon, by the even-odd rule."""
    rows, columns = np.mgrid[:height, :width]
    inside = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        spans = (y0 > rows) != (y1 > rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= spans & (columns < (x1 - x0) * (rows - y0) / (y1 - y0) + x0)
    return inside


def _snap(ends: list[float], size: int) -> tuple[int, int]:
    """The first cell and the one after the last, within 0..size; they are equal where nothing is left."""
    low, high = min(ends) + 0.5, max(ends) + 0.5
    first, last = math.floor(low + 0.5), math.floor(high + 0.5)
    if first == last:
        first = math.floor((low + high) / 2)
        last = first + 1
    return min(max(first, 0), size), min(max(last, 0), size)
