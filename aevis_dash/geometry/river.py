"""The river: three datapaths as curves that part and meet along the network (Sec. 5.2, Fig. 6).

d1 is the distance of source and target at a layer, d2 that of adversarial and source, d3 that of adversarial and
target. The *share* d2 / (d2 + d3) is the adversarial's way from source (0) to target (1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from aevis_dash.domain import DatapathDistance, Pattern, Stretch, share

NULL_QUANTILES = (0.1, 0.9)
"""The quantiles of the nulls' shares that bound the null band."""
LEAST_GAP = 0.03
"""The share of the largest d1 below which a layer says nothing about sides."""
SIDE_MARGIN = 0.03
"""How far the share d2 / (d2 + d3) must be from one half before one distance counts as the smaller."""
LEAST_CHANGE = 0.1
"""The share of the largest d1 by which d2 must grow to be called diverging, or d3 decline to be called merging."""
LEAST_NULLS = 20
"""The number of null images from which a tenth and nine tenths of them can be told."""
TRIM = 0.1
"""The share of a change that is cut off its stretch at either end."""


@dataclass(frozen=True)
class River:
    """Vertical positions in [-1, 1] at each of the L layers, free of NaN; the source is above, the target below.

    Attributes:
        src: the positions of the source, (L,).
        adv: the positions of the adversarial, (L,).
        tar: the positions of the target, (L,).
        band_low: the lower bound of the null band, (L,): the middle 80 % of where the adversarial would run if the
            target were an image of a random other class. None where no such image was compared.
        band_high: its upper bound, (L,), or None.
        measured: bool (L,), False where a distance is undefined and the position is read off the neighbours.
    """

    src: np.ndarray
    adv: np.ndarray
    tar: np.ndarray
    band_low: np.ndarray | None
    band_high: np.ndarray | None
    measured: np.ndarray


def river(distance: DatapathDistance, largest: float = 0.0) -> River:
    """Place the three curves (Sec. 5.2): |y_src - y_tar| is proportional to d1, and y_adv splits the gap as d2 : d3.

    One scale holds for the whole network, and the curves are centred on 0. Where d2 + d3 = 0 the adversarial takes the
    middle. Where a distance is NaN, gap and split are interpolated linearly from the nearest layers that have them.
    Where all are NaN, the gap is 0 and the split in the middle.

    Args:
        distance: the distances of the triplet and of the nulls.
        largest: a d1 that spans [-1, 1] where it is more than the largest one here.
    """
    gap = fill(distance.d1, 0.0)
    top = max(float(gap.max(initial=0.0)), largest)
    gap = gap * (2 / top) if top > 0 else np.zeros_like(gap)
    low, high = _band(distance.null_share, gap)
    adv = gap / 2 - gap * way(distance)
    measured = np.isfinite(distance.d1 + distance.d2 + distance.d3)
    return River(gap / 2, adv, -gap / 2, low, high, measured)


def even_out(distance: DatapathDistance) -> DatapathDistance:
    """The same ways from source to target with every d1 at 1, which shows how adv splits the gap and not how wide it
    is."""
    part = distance.share
    known = np.isfinite(distance.d1)
    one, d2, d3 = (np.where(known, v, np.nan) for v in (np.ones(len(part)), part, 1 - part))
    return replace(distance, d1=one, d2=d2, d3=d3)


def way(distance: DatapathDistance) -> np.ndarray:
    """(L,) d2 / (d2 + d3), 0 at the source and 1 at the target; undefined layers are interpolated."""
    known = np.isfinite(distance.d2 + distance.d3)
    return fill(np.where(known, share(distance.d2, distance.d3), np.nan), 0.5)


def fill(values: np.ndarray, otherwise: float) -> np.ndarray:
    """(L,) the values with NaN and infinity replaced by linear interpolation; `otherwise` everywhere where all are
    undefined."""
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
    """The stretches of layers that show a pattern of Sec. 5.2, in order and without overlap; there may be none.

    All distances are averaged over 3 layers. Only layers where src and tar are apart (d1 of at least LEAST_GAP of its
    largest) count. Such a layer is at the source's side where the share s = d2 / (d2 + d3) is at most 0.5 -
    SIDE_MARGIN, at the target's side from 0.5 + SIDE_MARGIN on, and undecided in between.

    - Diverging is the largest growth of d2, and merging the largest decline of d3. A change counts from LEAST_CHANGE of
      the largest d1 on. Its first and last tenth are cut off, so that flat parts are left out.
    - A transition is where the smaller of d2 and d3 changes: the undecided layers between two of opposite sides, or
      these two layers where they are neighbours.

    Where stretches meet, the change that begins first keeps its layers, before the other change, and both before
    transitions. A change counts only if the layers that it keeps still show it, also without the averaging.

    A pattern is no evidence where it would look the same with an image of any other class in tar's place. So a stretch
    counts only if adv's share at its end lies beyond the NULL_QUANTILES of the null at that layer, on tar's side. For a
    transition that is the decided layer after it, and for one back to src it is src's side.

    Args:
        distance: the distances of the triplet and of the nulls.
        nulls: the least number of nulls at a layer; 0 to ask for no evidence.
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
    plain = way(distance)
    share = _calm(plain)
    sides = np.sign(share - 0.5) * (np.abs(share - 0.5) >= SIDE_MARGIN) * apart
    crossings = [s for s in _crossings(sides) if (high if s.to_target else low)[s.after]]
    crossings = [replace(s, after=_first_across(plain, s)) for s in crossings]
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
            kept.append(replace(stretch, first=free[0], last=last))
            taken |= set(range(free[0], last + 1))
    return tuple(sorted(kept, key=lambda stretch: stretch.first))


def _evidence(distance: DatapathDistance, nulls: int) -> tuple[np.ndarray, np.ndarray]:
    """(L,) bool twice: whether adv's share lies below, and above, what the nulls give. With too few nulls both are
    False."""
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


def _crossings(sides: np.ndarray) -> list[Stretch]:
    """A transition for each two decided layers of opposite sides that follow one another.

    Sides are -1 or 1, and 0 for undecided layers.
    """
    decided = np.flatnonzero(sides)
    turns = [(int(a), int(b)) for a, b in pairwise(decided) if sides[a] != sides[b]]
    return [
        Stretch(
            Pattern.TRANSITION,
            *((before + 1, after - 1) if after - before > 1 else (before, after)),
            after,
            bool(sides[after] > 0),
        )
        for before, after in turns
    ]


def _first_across(plain: np.ndarray, crossing: Stretch) -> int:
    """The first layer from the crossing's later one on that lies on its side also without smoothing."""
    across = (plain > 0.5) == crossing.to_target
    return next((k for k in range(crossing.after, len(plain)) if across[k]), crossing.after)


def _rise(calm: np.ndarray, least: float) -> range:
    """The layers of the largest rise of the values, without its flat ends; empty where the rise is under `least`."""
    top = int(np.argmax(calm - np.minimum.accumulate(calm)))
    foot = int(np.argmin(calm[: top + 1]))
    rise = calm[top] - calm[foot]
    if rise < least:
        return range(0)
    first = foot + int(np.flatnonzero(calm[foot : top + 1] <= calm[foot] + TRIM * rise)[-1])
    last = first + int(np.flatnonzero(calm[first : top + 1] >= calm[top] - TRIM * rise)[0])
    return range(first, last + 1)
