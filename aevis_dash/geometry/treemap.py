"""Overlapping sets of feature maps as nested rectangles (Sec. 5.3, Fig. 7).

A *set* is the critical maps of one datapath in a layer, and a *region* the maps that belong to exactly the same sets.
Lengths are in pixels.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, combinations, cycle, pairwise, permutations
from typing import Any

import numpy as np

from aevis_dash.domain import Region, Role, in_order

GAP = 3.0
STRIP = 15.0
ASPECT_WEIGHT = 0.04
"""The weight of a region's squared log aspect ratio beside Eq. 6 in units of the whole area."""
LEAST_CELL = 5.0
"""The least height and width of a cell, in pixels."""
REGIONS, LEAST_REGION = 12, 8.0
"""The number of regions that a treemap carries at most, and the least length of a region's shorter side in pixels."""
ALL_ORDERS, ALL_REGIONS = 3, 4
"""The number of sets up to which every order of them is tried, and the number of regions of one set up to which every
order is."""
TRIED = 80
"""The number of orders that are tried at most, where not every order is."""
OUTSIDE, MOST_OUTSIDE = 124.0, 0.25
"""The width in pixels of the box of maps in no set, and the largest share of the whole width that it takes beside
sets."""


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


Placed = tuple[Region, Rect]
Layout = tuple[Mapping[str, Rect], tuple[Placed, ...]]
"""The rectangles of the sets, by their datapaths' keys, and those of the regions."""


@dataclass(frozen=True)
class Treemap:
    """Sets tile the area, their regions tile the sets, and cells lie inside `inner` of their region.

    The area of a set or region is proportional to the number of its maps. A set all of whose maps are drawn in larger
    sets has no rectangle of its own. The region of maps in no set, where there is one, stands at the right of all sets
    in a box of a fixed width, so that its few maps can be seen.

    Attributes:
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        sets: the rectangle of each set, by its datapath's key.
        regions: the regions with their rectangles.
        cells: the cells of the maps.
        smaller: for each region the number of its maps that have no cell, because cells for all maps would be smaller
            than LEAST_CELL. They are the last maps of the region's order.
    """

    width: float
    height: float
    sets: Mapping[str, Rect]
    regions: tuple[Placed, ...]
    cells: tuple[Cell, ...]
    smaller: tuple[int, ...] = ()

    @property
    def legible(self) -> bool:
        """Whether there are at most REGIONS regions, each at least LEAST_REGION wide and high."""
        sides = [min(rect.width, rect.height) for _, rect in self.regions]
        return len(sides) <= REGIONS and min(sides, default=LEAST_REGION) >= LEAST_REGION


def treemap(
    regions: Sequence[Region],
    width: float,
    height: float,
    order: np.ndarray | None = None,
    first: Collection[frozenset[str]] = (),
) -> Treemap:
    """The nested layout of regions that costs least (see `cost`).

    A shared region is nested in the largest of its sets (tie: adversarial, then source, target, further ones). Sets and
    regions are laid out by an ordered squarified treemap. For up to three sets, every order of sets, every order of
    regions within them (at most 6 x 24 x 2 = 288) and both directions of the first strip are tried. For more sets,
    orders are swapped pairwise as long as that helps.

    Args:
        regions: the regions; empty ones are left out.
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        order: a key for each channel of the layer, (n_l,). The cells of a region go from the largest key to the
            smallest, NaN last. None for the order of the regions.
        first: the regions, by their datapaths, that should be read first. The layout is mirrored, which costs nothing,
            so that the centre of their maps lies in the left half and in the upper half of the sets.
    """
    filled = tuple(region for region in regions if region.channels)
    shared, alone = (tuple(r for r in filled if bool(r.paths) is inside) for inside in (True, False))
    aside = (min(OUTSIDE, MOST_OUTSIDE * width) if shared else float(width)) if alone else 0.0
    whole = Rect(0.0, 0.0, float(width), float(height))
    room = Rect(0.0, 0.0, width - aside, whole.height)
    sets, placed = _with_first(_arrange(shared, room), room, first)
    placed += tuple((region, Rect(width - aside, 0.0, aside, whole.height)) for region in alone)
    ranked = [(in_rank(region.channels, order), inner(rect)) for region, rect in placed]
    kept = [(channels[: capacity(room)], room) for channels, room in ranked]
    cells = tuple(cell for channels, room in kept for cell in tile(channels, room))
    smaller = tuple(len(all_) - len(some) for (all_, _), (some, _) in zip(ranked, kept, strict=True))
    return Treemap(whole.width, whole.height, sets, placed, cells, smaller)


def nesting(regions: Sequence[Region]) -> dict[str, tuple[Region, ...]]:
    """The regions that are drawn inside each set, by the set's datapath; the largest set first, sets without any left
    out."""
    paths = in_order({path for region in regions for path in region.paths})
    paths = tuple(sorted(paths, key=lambda path: path != Role.ADVERSARIAL))
    sizes = {path: sum(len(r.channels) for r in regions if path in r.paths) for path in paths}
    order = sorted(paths, key=sizes.__getitem__, reverse=True)
    owners = [(next(path for path in order if path in r.paths), r) for r in regions if r.channels]
    home = {path: tuple(r for owner, r in owners if owner == path) for path in order}
    return {path: inside for path, inside in home.items() if inside}


def cost(sets: Mapping[str, Rect], placed: Iterable[Placed], area: float) -> float:
    """The cost of a layout: Eq. 6 in units of the whole area, plus a penalty on slivers, the squared log aspect
    ratios."""
    return sum(
        _astray(region, rect, sets) / area
        + ASPECT_WEIGHT * math.log(max(rect.width, 1e-9) / max(rect.height, 1e-9)) ** 2
        for region, rect in placed
    )


def _astray(region: Region, rect: Rect, sets: Mapping[str, Rect]) -> float:
    """Eq. 6 for one region: squared distance from the mean of the centres of the sets that share it."""
    if len(region.paths) < 2:
        return 0.0
    centres = [sets[path].centre for path in region.paths if path in sets]
    x, y = (sum(values) / len(centres) for values in zip(*centres, strict=True))
    return (rect.centre[0] - x) ** 2 + (rect.centre[1] - y) ** 2


def _with_first(layout: Layout, whole: Rect, first: Collection[frozenset[str]]) -> Layout:
    """The layout, mirrored so that the centre of the regions `first` lies in the left half and in the upper half."""
    sets, placed = layout
    chosen = [(len(region.channels), *rect.centre) for region, rect in placed if region.paths in first]
    if not chosen:
        return layout
    sizes, across, down = np.array(chosen).T
    turned = (np.average(across, weights=sizes) > whole.width / 2, np.average(down, weights=sizes) > whole.height / 2)

    def mirrored(rect: Rect) -> Rect:
        x = whole.width - rect.right if turned[0] else rect.x
        return Rect(x, whole.height - rect.bottom if turned[1] else rect.y, rect.width, rect.height)

    return {path: mirrored(rect) for path, rect in sets.items()}, tuple((r, mirrored(rect)) for r, rect in placed)


@lru_cache(maxsize=128)
def _arrange(regions: tuple[Region, ...], whole: Rect) -> Layout:
    """Sets and regions in the orders and directions that were found to cost least."""
    home = nesting(regions)
    if not home:
        return {}, ()

    def priced(layout: Layout) -> float:
        return cost(*layout, whole.area)

    if len({path for region in regions for path in region.paths}) <= ALL_ORDERS:
        return min((layout for order in permutations(home) for layout in _layouts(home, order, whole)), key=priced)
    rough = lambda order: min(map(priced, _layouts(home, order, whole, search=False)))  # noqa: E731
    return min(_layouts(home, climb(tuple(home), rough), whole), key=priced)


def climb(start: tuple[Any, ...], price: Callable[[tuple[Any, ...]], float]) -> tuple[Any, ...]:
    """The cheapest order that was found by swapping two items as long as that lowers the price.

    Args:
        start: the items in the order to begin with.
        price: gives the cost of an order.

    Returns:
        An order at which no swap lowers the price, or the cheapest of TRIED orders.
    """
    best, least, tried = start, price(start), 1
    swaps = list(combinations(range(len(start)), 2))
    since = 0
    for i, j in cycle(swaps):
        if tried >= TRIED or since >= len(swaps):
            break
        order = list(best)
        order[i], order[j] = order[j], order[i]
        now, tried, since = price(tuple(order)), tried + 1, since + 1
        if now < least:
            best, least, since = tuple(order), now, 0
    return best


def _layouts(
    home: Mapping[str, tuple[Region, ...]], order: Sequence[str], whole: Rect, search: bool = True
) -> Iterator[Layout]:
    """One layout of the sets in that order for each start direction, with the best order found within the sets.

    With the sets in place the cost is a sum over sets, so each set's order is searched by itself.
    """
    for tall in (False, True):
        areas = [sum(len(r.channels) for r in home[path]) for path in order]
        sets = dict(zip(order, squarify(areas, whole, tall), strict=True))
        inside = (_inside(home[path], sets, sets[path], whole.area, search) for path in order)
        yield sets, tuple(placed for set_ in inside for placed in set_)


def _inside(
    regions: tuple[Region, ...], sets: Mapping[str, Rect], rect: Rect, area: float, search: bool
) -> tuple[Placed, ...]:
    """The regions of one set in the order and start direction that cost least; in the order given without a search."""

    def laid(order: Sequence[Region]) -> tuple[Placed, ...]:
        sizes = [len(r.channels) for r in order]
        ways = (tuple(zip(order, squarify(sizes, rect, tall), strict=True)) for tall in (False, True))
        return min(ways, key=priced)

    priced = lambda placed: cost(sets, placed, area)  # noqa: E731
    if not search or len(regions) == 1:
        return laid(regions)
    if len(regions) <= ALL_REGIONS:
        return min(map(laid, permutations(regions)), key=priced)
    return laid(climb(regions, lambda order: priced(laid(order))))


def squarify(sizes: Sequence[float], rect: Rect, tall: bool) -> list[Rect]:
    """Rectangles with areas proportional to sizes that tile a rectangle, in the order given.

    It is squarified (Bruls et al. 2000): a strip takes on items as long as its worst aspect ratio improves.

    Args:
        sizes: the sizes, above 0.
        rect: the rectangle to tile.
        tall: whether the first strip is a column, else a row. Later strips lie along the shorter side.
    """
    scale = rect.area / sum(sizes)
    areas, done, column, rest = [size * scale for size in sizes], [], tall, rect
    while areas:
        taken = _count_in_strip(areas, rest.height if column else rest.width)
        strip, rest = _cut(rest, sum(areas[:taken]), sum(areas), column)
        done += _slices(strip, areas[:taken], column)
        areas, column = areas[taken:], rest.width >= rest.height
    return done


def _count_in_strip(areas: list[float], side: float) -> int:
    """The number of items that the next strip along `side` takes."""

    def worst(count: int) -> float:
        thick = sum(areas[:count]) / side
        return max(max(thick * thick / a, a / (thick * thick)) for a in areas[:count])

    count = 1
    while count < len(areas) and worst(count + 1) <= worst(count):
        count += 1
    return count


def _cut(rect: Rect, area: float, total: float, column: bool) -> tuple[Rect, Rect]:
    """A column at the left or a row at the top with `area` of the `total`, and what is left."""
    width = rect.width * area / total if column else rect.width
    height = rect.height if column else rect.height * area / total
    if column:
        return Rect(rect.x, rect.y, width, height), Rect(rect.x + width, rect.y, rect.width - width, height)
    return Rect(rect.x, rect.y, width, height), Rect(rect.x, rect.y + height, width, rect.height - height)


def _slices(strip: Rect, areas: Sequence[float], column: bool) -> list[Rect]:
    """The strip cut across its length in proportion to `areas`."""
    total = sum(areas)
    ends = [0.0, *(end / total for end in accumulate(areas))]
    x, y, width, height = strip.x, strip.y, strip.width, strip.height
    if column:
        return [Rect(x, y + height * a, width, height * (b - a)) for a, b in pairwise(ends)]
    return [Rect(x + width * a, y, width * (b - a), height) for a, b in pairwise(ends)]


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
    if not channels:
        return
    across, down = grid(len(channels), room)
    width, height = room.width / across, room.height / down
    for place, channel in enumerate(channels):
        row, column = divmod(place, across)
        yield Cell(channel, Rect(room.x + column * width, room.y + row * height, width, height))


def grid(count: int, room: Rect) -> tuple[int, int]:
    """The numbers of columns and rows for `count` cells that are as near square as can be, with few places left
    over."""
    across = np.arange(1, count + 1)
    down = -(-count // across)
    shape = np.abs(np.log((room.width / across) / (room.height / down)))
    best = int(np.argmin(shape + (across * down / count - 1)))
    return int(across[best]), int(down[best])
