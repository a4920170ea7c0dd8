"""Three datapaths as curves that part and meet along the network (Sec. 5.2, Fig. 6)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from aevis_dash.domain import DatapathDistance, Pattern, Stretch, share

NULL_QUANTILES = (0.1, 0.9)
LEAST_GAP = 0.03
"""Share of the largest d1 below which a layer says nothing of sides."""
SIDE_MARGIN = 0.03
"""How far the share must be from one half before one distance counts as the smaller."""
LEAST_CHANGE = 0.1
"""Share of the largest d1 by which d2 must grow to be called diverging, or d3 decline to be called merging."""
LEAST_NULLS = 20
"""Images of random other classes of which a tenth and nine tenths can be told."""
TRIM = 0.1
"""The part of a change at either end that is left out of its stretch."""


@dataclass(frozen=True)
class River:
    """Vertical positions in [-1, 1] at each layer, (L,) each, free of NaN: source above, target below.

    band_low, band_high (L,) enclose the middle 80 % of where the adversarial would run if the target
    were an image of a random other class; None where no such image was compared.
    measured (L,) bool: False where a distance is undefined and the position is read off the neighbours.
    """

    src: np.ndarray
    adv: np.ndarray
    tar: np.ndarray
    band_low: np.ndarray | None
    band_high: np.ndarray | None
    measured: np.ndarray


def river(distance: DatapathDistance, largest: float = 0.0) -> River:
    """|y_src - y_tar| proportional to d1 by one scale, centred on 0; y_adv splits the gap as d2 : d3.

    The largest gap, or `largest` where that is more, spans [-1, 1]. Where d2 + d3 = 0 the adversarial takes
    the middle. A NaN is no evidence of anything, neither of a gap nor of none: gap and split are interpolated
    linearly from the nearest layers that have them (all NaN: gap 0, split in the middle).
    """
    gap = fill(distance.d1, 0.0)
    top = max(float(gap.max(initial=0.0)), largest)
    gap = gap * (2 / top) if top > 0 else np.zeros_like(gap)
    low, high = _band(distance.null_share, gap)
    adv = gap / 2 - gap * way(distance)
    measured = np.isfinite(distance.d1 + distance.d2 + distance.d3)
    return River(gap / 2, adv, -gap / 2, low, high, measured)


def even_out(distance: DatapathDistance) -> DatapathDistance:
    """The same ways from source to target with every d1 at 1: how adv splits the gap, without how wide it is."""
    part = distance.share
    known = np.isfinite(distance.d1)
    one, d2, d3 = (np.where(known, v, np.nan) for v in (np.ones(len(part)), part, 1 - part))
    return replace(distance, d1=one, d2=d2, d3=d3)


def way(distance: DatapathDistance) -> np.ndarray:
    """(L,) d2 / (d2 + d3), 0 at the source and 1 at the target, with undefined layers interpolated."""
    known = np.isfinite(distance.d2 + distance.d3)
    return fill(np.where(known, share(distance.d2, distance.d3), np.nan), 0.5)


def fill(values: np.ndarray, otherwise: float) -> np.ndarray:
    """(L,) with NaN and infinity replaced by linear interpolation; `otherwise` where nothing is known."""
    values = np.asarray(values, float)
    known = np.flatnonzero(np.isfinite(values))
    if known.size == 0:
        return np.full(values.shape, otherwise)
    return np.interp(np.arange(values.size), known, values[known])


def _band(null_share: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    if null_share.size == 0 or not np.isfinite(null_share).any():
        return None, None
    near, far = (fill(_quantile(null_share, q), 0.5) for q in NULL_QUANTILES)
    return gap / 2 - gap * far, gap / 2 - gap * near


def _quantile(rows: np.ndarray, q: float) -> np.ndarray:
    """(L,) quantile over the finite entries of each column of (m, L), NaN for a column without any."""
    known = (column[np.isfinite(column)] for column in rows.T)
    return np.array([np.quantile(column, q) if column.size else np.nan for column in known])


def stretches(distance: DatapathDistance, nulls: int = LEAST_NULLS) -> tuple[Stretch, ...]:
    """The stretches of layers that show a pattern (Sec. 5.2), in order, without overlap; may be empty.

    All distances are averaged over 3 layers. Only layers where src and tar are apart (d1 of at least LEAST_GAP of its
    largest) count. Such a layer is at the source's side where the share s = d2 / (d2 + d3) is at most
    0.5 - SIDE_MARGIN, at the target's from 0.5 + SIDE_MARGIN on, and undecided in between.
    Transition: the smaller of d2 and d3 changes, the undecided layers between two of opposite sides (the two themselves
    where they are neighbours). Diverging: the largest growth of d2. Merging: the largest decline of d3. A change counts
    from LEAST_CHANGE of the largest d1 on; its first and last tenth are cut off, so that flat parts are left out. Where
    stretches meet, the change that begins first keeps its layers, before the other change and both before transitions;
    a change counts only if what it keeps still shows it, also without the averaging.
    None of these is evidence where it would look the same with an image of any other class in tar's place: a stretch
    counts only if adv's share at its end (of a transition, at the decided layer after it) lies beyond the
    NULL_QUANTILES of the null at that layer, on tar's side (for a way back to src: on src's), and if the null has at
    least `nulls` images there.
    """
    scale = fill(distance.d1, 0.0).max(initial=0.0)
    if scale <= 0 or not np.isfinite(distance.d2 + distance.d3).any():
        return ()
    apart = fill(distance.d1, 0.0) >= LEAST_GAP * scale
    low, high = _evidence(distance, nulls)
    grown = {Pattern.DIVERGING: fill(distance.d2, 0.0), Pattern.MERGING: -fill(distance.d3, 0.0)}
    changes = [
        Stretch(pattern, layers[0], layers[-1])
        for pattern, values in grown.items()
        if (layers := [int(i) for i in _rise(_calm(values), LEAST_CHANGE * scale) if apart[i]]) and high[layers[-1]]
    ]
    share = _calm(way(distance))
    sides = np.sign(share - 0.5) * (np.abs(share - 0.5) >= SIDE_MARGIN) * apart
    crossings = [s for s, after in _crossings(sides) if (high if sides[after] > 0 else low)[after]]
    left = (1 - 2 * TRIM) * LEAST_CHANGE * scale
    return tuple(
        s
        for s in _apart([*sorted(changes, key=lambda s: s.first), *crossings])
        if s.pattern is Pattern.TRANSITION
        or all(v[s.last] - v[s.first] >= left * (1 - 1e-9) for v in (grown[s.pattern], _calm(grown[s.pattern])))
    )


def _apart(found: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """The stretches in the order of their layers, each without the layers of those named before it."""
    taken: set[int] = set()
    kept = []
    for stretch in found:
        free = [layer for layer in range(stretch.first, stretch.last + 1) if layer not in taken]
        if free:
            last = next((a for a, b in pairwise(free) if b - a > 1), free[-1])
            kept.append(Stretch(stretch.pattern, free[0], last))
            taken |= set(range(free[0], last + 1))
    return tuple(sorted(kept, key=lambda stretch: stretch.first))


def _evidence(distance: DatapathDistance, nulls: int) -> tuple[np.ndarray, np.ndarray]:
    """(L,) bool twice: whether adv's share lies below, and above, what the null images give; with too few, neither."""
    length = len(distance.d1)
    if nulls == 0:
        return np.ones(length, bool), np.ones(length, bool)
    enough = np.isfinite(distance.null_share).sum(0) >= nulls
    share = way(distance)
    near, far = (np.where(enough, _quantile(distance.null_share, q), np.nan) for q in NULL_QUANTILES)
    return share < near, share > far


def _calm(values: np.ndarray) -> np.ndarray:
    """The mean over each layer and its neighbours (two of them inside, one at the ends)."""
    padded = np.pad(values, 1, constant_values=np.nan)
    return np.nanmean(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)


def _crossings(sides: np.ndarray) -> list[tuple[Stretch, int]]:
    """A transition for each two decided layers of opposite sides (-1 or 1, 0 undecided) that follow one another, and
    the later one of the two."""
    decided = np.flatnonzero(sides)
    turns = [(int(a), int(b)) for a, b in pairwise(decided) if sides[a] != sides[b]]
    return [
        (Stretch(Pattern.TRANSITION, *((before + 1, after - 1) if after - before > 1 else (before, after))), after)
        for before, after in turns
    ]


def _rise(calm: np.ndarray, least: float) -> range:
    """The layers of the largest rise of the values, its flat ends cut off; empty for one under `least`."""
    top = int(np.argmax(calm - np.minimum.accumulate(calm)))
    foot = int(np.argmin(calm[: top + 1]))
    rise = calm[top] - calm[foot]
    if rise < least:
        return range(0)
    first = foot + int(np.flatnonzero(calm[foot : top + 1] <= calm[foot] + TRIM * rise)[-1])
    last = first + int(np.flatnonzero(calm[first : top + 1] >= calm[top] - TRIM * rise)[0])
    return range(first, last + 1)
