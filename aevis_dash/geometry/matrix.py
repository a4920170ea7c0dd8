"""Many overlapping sets of feature maps as the rows of a matrix (UpSet, Lex et al. 2014).

A row is one region: the maps that exactly the same datapaths hold critical. Lengths are in pixels.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.domain import Region, in_order
from aevis_dash.geometry.cells import LEAST_CELL, Cell, Few, Rect, in_rank
from aevis_dash.geometry.treemap import REGIONS, Treemap, treemap

HEADER, ROW = 16.0, 14.0
"""The height of the line of names, and the least height of a row, in pixels."""
DOTS, BAR = 26.0, 64.0
"""The width of a datapath's column, and of the bars of sizes with their numbers, in pixels; both are less in a narrow
matrix."""
LARGEST_CELL, WIDER = 48.0, 2.0
"""The largest height of a cell in pixels, and how many times as wide as high a cell is where there is room."""
INSET = 1.0


@dataclass(frozen=True)
class Row:
    """One region in the matrix.

    Attributes:
        region: the datapaths and their maps.
        rect: the strip of the row.
        bar: the bar whose length is the region's size.
        smaller: the number of its maps that have no cell.
    """

    region: Region
    rect: Rect
    bar: Rect
    smaller: int


@dataclass(frozen=True)
class Matrix:
    """Regions as rows, the largest first, after the region of maps in no datapath. All cells are of one size.

    Attributes:
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        columns: the x of the dots of each datapath, by its key.
        rows: the rows, from top to bottom.
        cells: the cells of all rows.
        left_out: the smallest regions, for which there was no height.
    """

    width: float
    height: float
    columns: Mapping[str, float]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    left_out: tuple[Region, ...]


def laid_out(
    regions: Sequence[Region],
    width: float,
    height: float,
    order: np.ndarray | None = None,
    first: Collection[frozenset[str]] = (),
    few: Few | None = None,
) -> Treemap | Matrix:
    """The treemap of the regions where it is legible, else their matrix, which has cells for all maps. The arguments
    are those of `treemap`."""
    if len(regions) > REGIONS:
        return matrix(regions, width, height, order)
    drawn = treemap(regions, width, height, order, first, few)
    return drawn if drawn.legible else matrix(regions, width, height, order)


def matrix(regions: Sequence[Region], width: float, height: float, order: np.ndarray | None = None) -> Matrix:
    """The matrix of regions, with the largest cells with which all of them fit.

    Where they do not fit with cells of LEAST_CELL, the smallest regions are left out.

    Args:
        regions: the regions; empty ones are left out.
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        order: a key for each channel of the layer, (n_l,). The cells of a region go from the largest key to the
            smallest, NaN last. None for the order of the regions.
    """
    ranked = sorted((r for r in regions if r.channels), key=lambda region: (bool(region.paths), -len(region.channels)))
    paths = in_order({path for region in ranked for path in region.paths})
    across = min(DOTS, 0.4 * width / max(len(paths), 1))
    room = Rect(across * len(paths) + min(BAR, 0.2 * width), HEADER, 0, height - HEADER)
    room = Rect(room.x, room.y, width - room.x, room.height)
    count, side = _fitting([len(r.channels) for r in ranked], room)
    rows = tuple(_rows(ranked[:count], room, side, across * len(paths)))
    wide = _width([len(r.channels) for r in ranked[:count]], room, side)
    cells = tuple(cell for row in rows for cell in _cells(row, room, (wide, side), order))
    columns = {path: across * (place + 0.5) for place, path in enumerate(paths)}
    return Matrix(float(width), float(height), columns, rows, cells, tuple(ranked[count:]))


def _fitting(sizes: Sequence[int], room: Rect) -> tuple[int, float]:
    """The number of rows that are drawn, and the side of their cells."""
    sides = np.arange(LARGEST_CELL, LEAST_CELL - 0.25, -0.5)
    for count in range(len(sizes), 1, -1):
        height = room.height - (ROW if count < len(sizes) else 0.0)
        if count * ROW <= height:
            per_line = np.maximum(room.width // sides, 1)[:, None]
            lines = -(-np.asarray(sizes[:count]) // per_line)
            fits = np.maximum(lines * sides[:, None] + 2 * INSET, ROW).sum(axis=1) <= height
            if fits.any():
                return count, float(sides[np.argmax(fits)])
    return min(len(sizes), 1), LEAST_CELL


def _rows(regions: Sequence[Region], room: Rect, side: float, left: float) -> Iterator[Row]:
    y, most = room.y, max((len(r.channels) for r in regions), default=1)
    per_line = max(int(room.width // side), 1)
    for region in regions:
        size = len(region.channels)
        lines = min(-(-size // per_line), max(int((room.bottom - y - 2 * INSET) / side), 1))
        height = max(lines * side + 2 * INSET, ROW)
        length = 0.5 * (room.x - left) * size / most
        bar = Rect(left, y + 0.2 * ROW, length, 0.6 * ROW)
        yield Row(region, Rect(0.0, y, room.right, height), bar, max(size - lines * per_line, 0))
        y += height


def _width(sizes: Sequence[int], room: Rect, side: float) -> float:
    """The width of cells of that height, with as many in a line as there are squares."""
    longest = min(max(sizes, default=1), max(int(room.width // side), 1))
    return max(side, min(WIDER * side, room.width / longest))


def _cells(row: Row, room: Rect, size: tuple[float, float], order: np.ndarray | None) -> Iterator[Cell]:
    """The cells of a row, of that width and height, line by line, first to last."""
    width, height = size
    per_line = max(int(room.width // height), 1)
    channels = in_rank(row.region.channels, order)
    for place, channel in enumerate(channels[: len(channels) - row.smaller]):
        line, column = divmod(place, per_line)
        yield Cell(channel, Rect(room.x + column * width, row.rect.y + INSET + line * height, width, height))
