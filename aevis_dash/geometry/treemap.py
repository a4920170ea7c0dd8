"""Overlapping sets of feature maps as nested rectangles (Sec. 5.3, Fig. 7).

A *set* is the critical maps of one datapath in a layer, and a *region* the maps that belong to exactly the same sets.
Lengths are in pixels.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.domain import Region
from aevis_dash.geometry.cells import Cell, Few, Rect, Remainder, capacity, first_cells, in_rank, inner, tile
from aevis_dash.geometry.enlarging import enlarged
from aevis_dash.geometry.nesting import Layout, Placed, arrange

REGIONS, LEAST_REGION = 12, 8.0
"""The number of regions that a treemap carries at most, and the least length of a region's shorter side in pixels."""
OUTSIDE, MOST_OUTSIDE = 124.0, 0.25
"""The width in pixels of the box of maps in no set, and the largest share of the whole width that it takes beside
sets."""


@dataclass(frozen=True)
class Treemap:
    """Sets tile the area, their regions tile the sets, and cells lie inside `inner` of their region.

    The area of a set or region is proportional to the number of its maps. Where regions show their first maps only,
    small ones are raised to a least area, and the areas of the others are in proportion. A set all of whose maps are
    drawn in larger sets has no rectangle of its own. The region of maps in no set, where there is one, stands at the
    right of all sets in a box of a fixed width, so that its few maps can be seen.

    Attributes:
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        sets: the rectangle of each set, by its datapath's key.
        regions: the regions with their rectangles.
        cells: the cells of the maps.
        smaller: for each region the number of its maps that have no cell, because cells for all maps would be smaller
            than LEAST_CELL. They are the last maps of the region's order.
        rests: for each region the place that stands for its maps after the first ones; None where all have cells, or
            where regions do not show their first maps only.
    """

    width: float
    height: float
    sets: Mapping[str, Rect]
    regions: tuple[Placed, ...]
    cells: tuple[Cell, ...]
    smaller: tuple[int, ...] = ()
    rests: tuple[Remainder | None, ...] = ()

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
    few: Few | None = None,
) -> Treemap:
    """The nested layout of regions that costs least (see `nesting.cost`).

    A shared region is nested in the largest of its sets (tie: adversarial, then source, target, further ones). With
    exact areas sets and regions are laid out by an ordered squarified treemap. For up to three sets, every order of
    sets, every order of regions within them (at most 6 x 24 x 2 = 288) and both directions of the first strip are
    tried. For more sets, orders are swapped pairwise as long as that helps. Where regions show their first maps only,
    `enlarging.enlarged` lays them out.

    Args:
        regions: the regions; empty ones are left out.
        width: of the whole, in pixels.
        height: of the whole, in pixels.
        order: a key for each channel of the layer, (n_l,). The cells of a region go from the largest key to the
            smallest, NaN last. None for the order of the regions.
        first: the regions, by their datapaths, that should be read first. The layout is mirrored, which costs nothing,
            so that the centre of their maps lies in the left half and in the upper half of the sets.
        few: how many cells each region has at most, where only its first maps have one. Regions are then at least as
            large as `enlarging.least_room` says, where the whole has room for that. None for cells of all maps, and for
            exact areas.
    """
    filled = tuple(region for region in regions if region.channels)
    shared, alone = (tuple(r for r in filled if bool(r.paths) is inside) for inside in (True, False))
    aside = (min(OUTSIDE, MOST_OUTSIDE * width) if shared else float(width)) if alone else 0.0
    whole = Rect(0.0, 0.0, float(width), float(height))
    room = Rect(0.0, 0.0, width - aside, whole.height)
    arranged = (arrange if few is None else enlarged)(shared, room)
    sets, placed = _with_first(arranged, room, first)
    placed += tuple((region, Rect(width - aside, 0.0, aside, whole.height)) for region in alone)
    ranked = [(in_rank(region.channels, order), inner(rect)) for region, rect in placed]
    if few is not None:
        found = [first_cells(channels, room, few) for channels, room in ranked]
        cells, rests = tuple(cell for own, _ in found for cell in own), tuple(rest for _, rest in found)
        return Treemap(whole.width, whole.height, sets, placed, cells, (0,) * len(placed), rests)
    kept = [(channels[: capacity(room)], room) for channels, room in ranked]
    cells = tuple(cell for channels, room in kept for cell in tile(channels, room))
    smaller = tuple(len(all_) - len(some) for (all_, _), (some, _) in zip(ranked, kept, strict=True))
    return Treemap(whole.width, whole.height, sets, placed, cells, smaller, (None,) * len(placed))


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
