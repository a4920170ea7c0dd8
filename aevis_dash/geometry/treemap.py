"""Three overlapping sets of feature maps as nested rectangles (Sec. 5.3, Fig. 7)."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np

from aevis_dash.domain import Region, Role

GAP = 3.0
STRIP = 15.0
ASPECT_WEIGHT = 0.04
"""What a region's squared log aspect ratio costs beside Eq. 6 in units of the whole area."""

TIE = (Role.ADVERSARIAL, Role.SOURCE, Role.TARGET)


@dataclass(frozen=True)
class Rect:
    """A rectangle with its upper left corner at (x, y), y downwards, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class Cell:
    """The rectangle of one feature map."""

    channel: int
    rect: Rect


Placed = tuple[Region, Rect]


@dataclass(frozen=True)
class Treemap:
    """Sets tile the area, their regions tile the sets, cells lie inside `inner` of their region.

    The area of a set or region is proportional to the number of maps drawn in it. A set all of whose
    maps are drawn in larger sets has no rectangle of its own.
    """

    width: float
    height: float
    sets: Mapping[Role, Rect]
    regions: tuple[Placed, ...]
    cells: tuple[Cell, ...]


def treemap(regions: Sequence[Region], width: float, height: float, order: np.ndarray | None = None) -> Treemap:
    """The nested layout of `regions` in width x height pixels that costs least (see `cost`).

    A shared region is nested in the largest of its sets (tie: adversarial, then source). Sets and
    regions are laid out by an ordered squarified treemap; every order of sets, every order of regions
    within them (at most 6 x 24 x 2 = 288) and both directions of the first strip are tried.
    `order` (n_l,): a key per channel, the cells of a region go from the largest to the smallest (NaN last).
    """
    home = nested(regions)
    whole = Rect(0.0, 0.0, float(width), float(height))
    if not home:
        return Treemap(whole.width, whole.height, {}, (), ())
    sets, placed = min(_layouts(home, whole), key=lambda layout: cost(*layout, whole.area))
    cells = tuple(cell for region, rect in placed for cell in _cells(region, inner(rect), order))
    return Treemap(whole.width, whole.height, sets, placed, cells)


def nested(regions: Sequence[Region]) -> dict[Role, tuple[Region, ...]]:
    """For each role the regions that are drawn inside its set, roles without any left out."""
    sizes = {role: sum(len(r.channels) for r in regions if role in r.roles) for role in TIE}

    def owner(region: Region) -> Role:
        return max((role for role in TIE if role in region.roles), key=sizes.__getitem__)

    home = {role: tuple(r for r in regions if r.channels and owner(r) is role) for role in Role}
    return {role: inside for role, inside in home.items() if inside}


def cost(sets: Mapping[Role, Rect], placed: Iterable[Placed], area: float) -> float:
    """Eq. 6 in units of the whole area, plus a penalty on slivers: the squared log aspect ratios."""
    return sum(
        _astray(region, rect, sets) / area
        + ASPECT_WEIGHT * math.log(max(rect.width, 1e-9) / max(rect.height, 1e-9)) ** 2
        for region, rect in placed
    )


def _astray(region: Region, rect: Rect, sets: Mapping[Role, Rect]) -> float:
    """Eq. 6 for one region: squared distance from the mean of the centres of the sets that share it."""
    centres = [sets[role].centre for role in region.roles if role in sets]
    if len(region.roles) < 2:
        return 0.0
    x, y = (sum(values) / len(centres) for values in zip(*centres, strict=True))
    return (rect.centre[0] - x) ** 2 + (rect.centre[1] - y) ** 2


def _layouts(
    home: Mapping[Role, tuple[Region, ...]], whole: Rect
) -> Iterator[tuple[dict[Role, Rect], tuple[Placed, ...]]]:
    """One layout for each order of the sets and start direction, the best of all orders within the sets.

    With the sets in place the cost is a sum over sets, so each set's order is searched by itself.
    """
    for roles in permutations(home):
        for tall in (False, True):
            areas = [sum(len(r.channels) for r in home[role]) for role in roles]
            sets = dict(zip(roles, squarify(areas, whole, tall), strict=True))
            best = (_arranged(home[role], sets, sets[role], whole.area) for role in roles)
            yield sets, tuple(placed for inside in best for placed in inside)


def _arranged(inside: tuple[Region, ...], sets: Mapping[Role, Rect], rect: Rect, area: float) -> tuple[Placed, ...]:
    """The regions of one set in the order and start direction that cost least."""
    orders = ((order, tall) for order in permutations(inside) for tall in (False, True))
    layouts = (
        tuple(zip(order, squarify([len(r.channels) for r in order], rect, tall), strict=True)) for order, tall in orders
    )
    return min(layouts, key=lambda placed: cost(sets, placed, area))


def squarify(sizes: Sequence[float], rect: Rect, tall: bool) -> list[Rect]:
    """Rectangles with areas proportional to `sizes` that tile `rect`, in the order given.

    Squarified (Bruls et al. 2000): a strip takes on items as long as its worst aspect ratio improves.
    The first strip is a column where `tall`, else a row; the later ones lie along the shorter side.
    """
    scale = rect.area / sum(sizes)
    areas, done, column, rest = [size * scale for size in sizes], [], tall, rect
    while areas:
        taken = _taken(areas, rest.height if column else rest.width)
        strip, rest = _cut(rest, sum(areas[:taken]), sum(areas), column)
        done += _slices(strip, areas[:taken], column)
        areas, column = areas[taken:], rest.width >= rest.height
    return done


def _taken(areas: list[float], side: float) -> int:
    """How many items the next strip along `side` takes."""

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
    ends = [0.0, *(np.cumsum(areas) / sum(areas)).tolist()]
    x, y, width, height = strip.x, strip.y, strip.width, strip.height
    if column:
        return [Rect(x, y + height * a, width, height * (b - a)) for a, b in pairwise(ends)]
    return [Rect(x + width * a, y, width * (b - a), height) for a, b in pairwise(ends)]


def inner(rect: Rect) -> Rect:
    """The room for cells: without a gap around and, where there is height for it, a strip for a label."""
    gap = min(GAP, 0.1 * rect.width, 0.1 * rect.height)
    strip = STRIP if labelled(rect) else 0.0
    return Rect(rect.x + gap, rect.y + gap + strip, rect.width - 2 * gap, rect.height - 2 * gap - strip)


def labelled(rect: Rect) -> bool:
    """Whether a region of that size keeps a strip for a label at its top."""
    return rect.height >= 2.5 * STRIP and rect.width >= 2 * STRIP


def _cells(region: Region, room: Rect, order: np.ndarray | None) -> Iterator[Cell]:
    """Cells of equal area row by row, first to last."""
    channels = np.asarray(region.channels)
    if order is not None:
        key = np.asarray(order, float)[channels]
        channels = channels[np.argsort(-np.where(np.isnan(key), -np.inf, key), kind="stable")]
    across, down = grid(len(channels), room)
    width, height = room.width / across, room.height / down
    for place, channel in enumerate(channels.tolist()):
        row, column = divmod(place, across)
        yield Cell(channel, Rect(room.x + column * width, room.y + row * height, width, height))


def grid(count: int, room: Rect) -> tuple[int, int]:
    """Columns and rows for `count` cells as near square as can be with few places left over."""
    across = np.arange(1, count + 1)
    down = -(-count // across)
    shape = np.abs(np.log((room.width / across) / (room.height / down)))
    best = int(np.argmin(shape + (across * down / count - 1)))
    return int(across[best]), int(down[best])
