"""How the cells of feature maps stand in the room of their set. Lengths are in pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

GAP = 3.0
STRIP = 15.0
LEAST_CELL = 5.0
"""The least height and width of a cell, in pixels."""
LOW = 20.0
"""The least height in pixels of a cell that holds a number."""


@dataclass(frozen=True)
class Rect:
    """A rectangle with its upper left corner at (x, y), y downwards, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """The area in square pixels."""
        return self.width * self.height

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of its lower side."""
        return self.y + self.height

    @property
    def centre(self) -> tuple[float, float]:
        """The (x, y) of its centre."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class Cell:
    """The rectangle of one feature map."""

    channel: int
    rect: Rect


@dataclass(frozen=True)
class Few:
    """How many cells a set has that shows only its first maps.

    Attributes:
        maps: the number of cells of a region at most, those of `always` not counted.
        width: the least width of a cell in pixels, where the room allows it.
        always: the channels that have a cell whatever their place in the order, the most important first.
    """

    maps: int = 12
    width: float = 28.0
    always: tuple[int, ...] = ()


@dataclass(frozen=True)
class Remainder:
    """The place in a region that stands for its maps without a cell, and how many they are."""

    rect: Rect
    count: int


def inner(rect: Rect) -> Rect:
    """The room for cells in a region: without a gap around it and, where there is height for it, a strip for a
    label."""
    gap = min(GAP, 0.1 * rect.width, 0.1 * rect.height)
    strip = STRIP if has_label(rect) else 0.0
    return Rect(rect.x + gap, rect.y + gap + strip, rect.width - 2 * gap, rect.height - 2 * gap - strip)


def has_label(rect: Rect) -> bool:
    """Whether a region of that size keeps a strip for a label at its top."""
    return rect.height >= 2.5 * STRIP and rect.width >= 2 * STRIP


def in_rank(channels: Sequence[int], order: np.ndarray | None) -> list[int]:
    """The channels from the largest key of `order` (n_l,) to the smallest, NaN last. Without an order they are as
    given."""
    chosen = np.asarray(channels, int)
    if order is None:
        return chosen.tolist()
    key = np.asarray(order, float)[chosen]
    return chosen[np.argsort(-np.where(np.isnan(key), -np.inf, key), kind="stable")].tolist()


def capacity(room: Rect) -> int:
    """The number of cells of LEAST_CELL that fit into the room, at least one."""
    return max(int(room.width / LEAST_CELL), 1) * max(int(room.height / LEAST_CELL), 1)


def tile(channels: Sequence[int], room: Rect) -> Iterator[Cell]:
    """Cells of equal area for the channels, row by row, from the first to the last."""
    for channel, place in zip(channels, places(len(channels), room), strict=True):
        yield Cell(channel, place)


def places(count: int, room: Rect, least: tuple[float, float] = (0.0, 0.0)) -> Iterator[Rect]:
    """So many rectangles of equal area in a room, row by row. They have the width and the height `least` where they can
    (see `grid`)."""
    if not count:
        return
    across, down = grid(count, room, least)
    width, height = room.width / across, room.height / down
    for place in range(count):
        row, column = divmod(place, across)
        yield Rect(room.x + column * width, room.y + row * height, width, height)


def grid(count: int, room: Rect, least: tuple[float, float] = (0.0, 0.0)) -> tuple[int, int]:
    """The numbers of columns and rows for `count` cells that are as near square as can be, with few places left over.

    Where some numbers give cells of the width and the height `least`, only these are looked at.
    """
    across = np.arange(1, count + 1)
    down = -(-count // across)
    width, height = room.width / across, room.height / down
    fits = (width >= least[0]) & (height >= least[1])
    price = np.abs(np.log(width / height)) + (across * down / count - 1)
    best = int(np.argmin(np.where(fits, price, np.inf) if fits.any() else price))
    return int(across[best]), int(down[best])


def first_cells(channels: Sequence[int], room: Rect, few: Few) -> tuple[list[Cell], Remainder | None]:
    """The cells of a region that shows only its first maps, and the place for all others; None where there are none.

    Args:
        channels: the maps of the region, from the first to the last.
        room: the room for their cells.
        few: how many cells there are.
    """
    chosen = _first(channels, room, few)
    rest = len(channels) - len(chosen)
    rects = list(places(len(chosen) + bool(rest), room, (few.width, LOW)))
    cells = [Cell(channel, rect) for channel, rect in zip(chosen, rects, strict=False)]
    if not rest:
        return cells, None
    last = rects[-1]
    return cells, Remainder(Rect(last.x, last.y, room.right - last.x, last.height), rest)


def _first(channels: Sequence[int], room: Rect, few: Few) -> list[int]:
    """The maps that have a cell, in their order. One place is left for the others, where there are any."""
    fitting = max(int(room.width / few.width), 1) * max(int(room.height / LOW), 1)
    most = max(min(few.maps + 1, fitting), 2)
    if len(channels) <= most:
        return list(channels)
    own = frozenset(channels)
    always = [c for c in dict.fromkeys(few.always) if c in own][: max(capacity(room) - 1, 1)]
    free = [c for c in channels if c not in always][: max(most - 1 - len(always), 0)]
    chosen = frozenset((*always, *free))
    return [c for c in channels if c in chosen]
