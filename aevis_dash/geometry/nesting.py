"""Sets of feature maps and their regions nested in rectangles, in the order that costs least (Sec. 5.3, Eq. 6).

A *set* is the critical maps of one datapath in a layer, and a *region* the maps that belong to exactly the same sets.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, cycle, permutations
from typing import Any

from aevis_dash.domain import Region, Role, in_order
from aevis_dash.geometry.cells import Rect
from aevis_dash.geometry.tiling import squarify

ASPECT_WEIGHT = 0.04
"""The weight of a region's squared log aspect ratio beside Eq. 6 in units of the whole area."""
ALL_ORDERS, ALL_REGIONS = 3, 4
"""The number of sets up to which every order of them is tried, and the number of regions of one set up to which every
order is."""
TRIED = 80
"""The number of orders that are tried at most, where not every order is."""

Placed = tuple[Region, Rect]
Layout = tuple[Mapping[str, Rect], tuple[Placed, ...]]
"""The rectangles of the sets, by their datapaths' keys, and those of the regions."""


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


@lru_cache(maxsize=128)
def arrange(regions: tuple[Region, ...], whole: Rect) -> Layout:
    """Sets and regions in the orders and directions that were found to cost least, with areas in exact proportion."""
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
