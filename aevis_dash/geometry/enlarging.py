"""Sets and regions as `nesting` lays them out, but with small regions enlarged, so that all can be read.

All layouts of the sets are priced at once in arrays: L layouts of n sets, and M layouts of the k regions of each set.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np

from aevis_dash.domain import Region
from aevis_dash.geometry.cells import GAP, LOW, STRIP, Rect
from aevis_dash.geometry.nesting import ALL_ORDERS, ALL_REGIONS, ASPECT_WEIGHT, Layout, arrange, nesting
from aevis_dash.geometry.tiling import raised

LEAST_WIDTH, LEAST_HEIGHT = 120.0, 2 * GAP + STRIP + LOW
"""The least width and height in pixels of a region, where the whole has room for that: its name and one row of cells
fit. Where the whole is less than twice as wide, half its width counts."""
STEP = 1.5
"""The factor from one least area of regions to the next one that is tried."""
_SLACK = 1e-9


@lru_cache(maxsize=128)
def enlarged(regions: tuple[Region, ...], whole: Rect) -> Layout:
    """The cheapest layout of sets and regions in which every region is as wide as LEAST_WIDTH and as high as
    LEAST_HEIGHT.

    The areas are in proportion to the numbers of maps, but for small regions, which get a least area. It is raised step
    by step until there is a layout in which every region is as large as it should be; of those with that least area the
    cheapest counts. Where there is none even with equal areas, the layout is taken in which regions lack least of it.

    Regions of three sets lack nothing in a rectangle at least five times as wide or as high as a region should be. In a
    smaller one they may lack a part where one set holds four regions and another one a single region.
    """
    home = nesting(regions)
    if not home:
        return {}, ()
    if len(home) > ALL_ORDERS or max(map(len, home.values())) > ALL_REGIONS:
        sets, placed = arrange(regions, whole)  # these orders of sets and regions were found to be cheap
        home = {path: tuple(region for region, _ in placed if region in home[path]) for path in sets}
    counts, before, best = [len(r.channels) for r in regions], None, None
    for floor in _floors(whole.area, len(regions)):
        areas = raised(counts, whole.area, floor)
        if areas == before:
            continue
        before = areas
        found = _cheapest(home, dict(zip(regions, areas, strict=True)), whole)
        if best is None or found[0] < best[0] - _SLACK:
            best = found
        if found[0] <= _SLACK:
            break
    return best[1] if best is not None else ({}, ())


def least_room(whole: Rect) -> tuple[float, float]:
    """The least width and height in pixels that a region should have in a rectangle."""
    return min(LEAST_WIDTH, whole.width / 2), LEAST_HEIGHT


def _floors(area: float, count: int) -> Iterator[float]:
    """The least areas of so many regions that are tried, from none to equal areas for all."""
    floor = 0.0
    while floor * count < area:
        yield floor
        floor = STEP * floor or LEAST_WIDTH * LEAST_HEIGHT
    yield area / count


def _cheapest(home: dict[str, tuple[Region, ...]], areas: dict[Region, float], whole: Rect) -> tuple[float, Layout]:
    """The cheapest of the layouts in which regions lack least of the least room, and how much they lack.

    Args:
        home: the regions of each set.
        areas: the areas of the regions.
        whole: the rectangle that they tile.
    """
    paths, every = tuple(home), tuple(np.array([areas[r] for r in inside]) for inside in home.values())
    corners = np.array([whole.x, whole.y, whole.width, whole.height])
    sets = _within(corners[None, None, :], _units(np.array([own.sum() for own in every]), ALL_ORDERS))  # (1, L, n, 4)
    middles = {path: sets[0, :, i, :2] + sets[0, :, i, 2:] / 2 for i, path in enumerate(paths)}
    lack, price, chosen = np.zeros(sets.shape[1]), np.zeros(sets.shape[1]), []
    for i, path in enumerate(paths):
        rects = _within(sets[0, :, None, i], _units(every[i], ALL_REGIONS))  # (L, M, k, 4)
        lacks, prices = _lack(rects, least_room(whole)), _price(rects, home[path], middles, whole.area)
        best = _first_best(lacks, prices)
        rows = np.arange(len(best))
        lack, price = lack + lacks[rows, best], price + prices[rows, best]
        chosen.append(rects[rows, best])
    at = int(_first_best(lack[None], price[None])[0])
    placed = tuple(
        (region, _rect(corners))
        for path, found in zip(paths, chosen, strict=True)
        for region, corners in zip(home[path], found[at], strict=True)
    )
    return float(lack[at]), ({path: _rect(sets[0, at, i]) for i, path in enumerate(paths)}, placed)


def _rect(corners: np.ndarray) -> Rect:
    x, y, width, height = map(float, corners)
    return Rect(x, y, width, height)


def _first_best(lack: np.ndarray, price: np.ndarray) -> np.ndarray:
    """In each row the cheapest of those columns in which regions lack least, (L,); both are (L, M)."""
    least = lack.min(axis=1, keepdims=True) + _SLACK
    return np.argmin(np.where(lack <= least, price, np.inf), axis=1)


def _lack(rects: np.ndarray, least: tuple[float, float]) -> np.ndarray:
    """What the k regions lack of the least room: the squares of the parts of it, added up; (..., k, 4) gives (...)."""
    return (np.maximum(1 - rects[..., 2:] / np.array(least), 0) ** 2).sum(axis=(-1, -2))


def _price(rects: np.ndarray, regions: Sequence[Region], middles: dict[str, np.ndarray], area: float) -> np.ndarray:
    """`nesting.cost` of each layout of one set, (L, M).

    Args:
        rects: the regions' rectangles, (L, M, k, 4).
        regions: the k regions.
        middles: the middle of each set, (L, 2).
        area: of the whole.
    """
    price = ASPECT_WEIGHT * (np.log(rects[..., 2] / rects[..., 3]) ** 2).sum(axis=-1)
    for i, region in enumerate(regions):
        if len(region.paths) > 1:
            shared = np.mean([middles[path] for path in region.paths if path in middles], axis=0)
            away = rects[:, :, i, :2] + rects[:, :, i, 2:] / 2 - shared[:, None, :]
            price = price + (away**2).sum(axis=-1) / area
    return price


def _within(outer: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Layouts of k items in rectangles: (L, 1, 4) and layouts of a unit square (M, k, 4) give (L, M, k, 4)."""
    place, size = outer[:, :, None, :2], outer[:, :, None, 2:]
    return np.concatenate([place + size * units[None, ..., :2], size * units[None, ..., 2:]], axis=-1)


def _units(sizes: np.ndarray, ordered: int) -> np.ndarray:
    """Every layout of items in a unit square with areas in proportion to their sizes, (M, k, 4): x, y, width, height.

    Args:
        sizes: the sizes of the k items, (k,).
        ordered: the number of items up to which every order is tried.
    """
    orders, strips, columns = _structures(len(sizes), ordered)
    own = sizes[orders]
    member = strips[:, :, None] == np.arange(len(sizes))
    thick = (own[:, :, None] * member).sum(axis=1)
    begin = np.take_along_axis(np.cumsum(thick, axis=1) - thick, strips, axis=1)
    strip = np.take_along_axis(thick, strips, axis=1)
    along = (np.cumsum(own, axis=1) - own - begin) / strip
    found = np.stack([begin / sizes.sum(), along, strip / sizes.sum(), own / strip], axis=-1)
    found = np.where(columns[:, None, None], found, found[..., [1, 0, 3, 2]])
    units = np.empty_like(found)
    np.put_along_axis(units, orders[:, :, None], found, axis=1)
    return units


@lru_cache(maxsize=32)
def _structures(count: int, ordered: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All ways to cut a row of items into strips that lie beside one another.

    Returns:
        The items in their order, (M, k); the number of the strip of each place, (M, k); and whether the strips are
        columns, (M,), else rows.
    """
    orders = list(permutations(range(count))) if count <= ordered else [tuple(range(count))]
    cuts = [tuple(np.cumsum((0, *cut)).tolist()) for cut in product((0, 1), repeat=count - 1)]
    ways = [(cut, True) for cut in cuts] + [(cut, False) for cut in cuts if 0 < cut[-1] < count - 1]
    every = [(order, cut, column) for order in orders for cut, column in ways]
    return tuple(np.array(part) for part in zip(*every, strict=True))  # type: ignore[return-value]
