"""Rectangles that tile a rectangle with areas in proportion to sizes."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from aevis_dash.geometry.cells import Rect


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
        done += slices(strip, areas[:taken], column)
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


def slices(strip: Rect, areas: Sequence[float], column: bool) -> list[Rect]:
    """The strip cut in proportion to `areas`: into rectangles above one another for a column, else side by side."""
    total = sum(areas)
    ends = [0.0, *(end / total for end in accumulate(areas))]
    x, y, width, height = strip.x, strip.y, strip.width, strip.height
    if column:
        return [Rect(x, y + height * a, width, height * (b - a)) for a, b in pairwise(ends)]
    return [Rect(x + width * a, y, width * (b - a), height) for a, b in pairwise(ends)]


def raised(sizes: Sequence[float], area: float, floor: float) -> list[float]:
    """Areas that add up to `area`: none below `floor`, and all that are above it in proportion to their sizes.

    Args:
        sizes: the sizes, above 0.
        area: the sum of the areas.
        floor: the least area. Where there is not so much for all, all areas are equal.
    """
    if floor * len(sizes) >= area:
        return [area / len(sizes)] * len(sizes)
    low: set[int] = set()
    while True:
        scale = (area - floor * len(low)) / sum(size for i, size in enumerate(sizes) if i not in low)
        more = {i for i, size in enumerate(sizes) if i not in low and size * scale < floor}
        if not more:
            return [floor if i in low else size * scale for i, size in enumerate(sizes)]
        low |= more
