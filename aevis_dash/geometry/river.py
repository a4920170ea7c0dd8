"""Three datapaths as curves that part and meet along the network (Sec. 5.2, Fig. 6)."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from aevis_dash.domain import DatapathDistance, Pattern, Stretch, share

NULL_QUANTILES = (0.1, 0.9)
LEAST_GAP = 0.03
"""Share of the largest d1 below which a layer says nothing of sides."""
SIDE_MARGIN = 0.03
"""How far the share must be from one half before one distance counts as the smaller."""
LEAST_RISE = 0.1
"""The smallest rise of the share that is called diverging or merging."""
TRIM = 0.1
"""The part of a rise at either end that is left out of its stretch."""


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
    gap = filled(distance.d1, 0.0)
    top = max(float(gap.max(initial=0.0)), largest)
    gap = gap * (2 / top) if top > 0 else np.zeros_like(gap)
    low, high = _band(distance.null_share, gap)
    adv = gap / 2 - gap * way(distance)
    measured = np.isfinite(distance.d1 + distance.d2 + distance.d3)
    return River(gap / 2, adv, -gap / 2, low, high, measured)


def evened(distance: DatapathDistance) -> DatapathDistance:
    """The same ways from source to target with every d1 at 1: how adv splits the gap, without how wide it is."""
    part = distance.share
    known = np.isfinite(distance.d1)
    one, d2, d3 = (np.where(known, v, np.nan) for v in (np.ones(len(part)), part, 1 - part))
    return replace(distance, d1=one, d2=d2, d3=d3)


def way(distance: DatapathDistance) -> np.ndarray:
    """(L,) d2 / (d2 + d3), 0 at the source and 1 at the target, with undefined layers interpolated."""
    known = np.isfinite(distance.d2 + distance.d3)
    return filled(np.where(known, share(distance.d2, distance.d3), np.nan), 0.5)


def filled(values: np.ndarray, otherwise: float) -> np.ndarray:
    """(L,) with NaN and infinity replaced by linear interpolation; `otherwise` where nothing is known."""
    values = np.asarray(values, float)
    known = np.flatnonzero(np.isfinite(values))
    if known.size == 0:
        return np.full(values.shape, otherwise)
    return np.interp(np.arange(values.size), known, values[known])


def _band(null_share: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    if null_share.size == 0 or not np.isfinite(null_share).any():
        return None, None
    near, far = (filled(_quantile(null_share, q), 0.5) for q in NULL_QUANTILES)
    return gap / 2 - gap * far, gap / 2 - gap * near


def _quantile(rows: np.ndarray, q: float) -> np.ndarray:
    """(L,) quantile over the finite entries of each column of (m, L), NaN for a column without any."""
    known = (column[np.isfinite(column)] for column in rows.T)
    return np.array([np.quantile(column, q) if column.size else np.nan for column in known])


def stretches(distance: DatapathDistance) -> tuple[Stretch, ...]:
    """The stretches of layers that show a pattern (Sec. 5.2), in order, without overlap; may be empty.

    Read off s, the share d2 / (d2 + d3) averaged over 3 layers. A layer is at the source's side where
    s <= 0.5 - SIDE_MARGIN, at the target's where s >= 0.5 + SIDE_MARGIN, undecided in between and where
    src and tar are not apart yet (d1 under LEAST_GAP of its largest).
    Transition: the smaller of d2 and d3 changes, the undecided layers between two of opposite sides
    (the two themselves where they are neighbours). Diverging: the largest rise of s before a transition
    to the target's side, or before the end, where src is the nearer. Merging: the largest rise of s where
    tar is the nearer. A rise counts from LEAST_RISE on; its first and last tenth are cut off, so that
    flat parts are left out, and the layers of a transition belong to the transition alone.
    """
    if not np.isfinite(distance.d2 + distance.d3).any():
        return ()
    calm = _calm(way(distance))
    gap = filled(distance.d1, 0.0)
    sides = np.sign(calm - 0.5) * (np.abs(calm - 0.5) >= SIDE_MARGIN) * (gap >= LEAST_GAP * gap.max())
    decided = np.flatnonzero(sides)
    if decided.size == 0:
        return ()
    turns = [(int(a), int(b)) for a, b in pairwise(decided) if sides[a] != sides[b]]
    crossings = _crossings(turns)
    rises = _rises(calm, sides, turns, crossings)
    return tuple(sorted(crossings + rises, key=lambda stretch: stretch.first))


def _calm(values: np.ndarray) -> np.ndarray:
    """The mean over each layer and its neighbours (two of them inside, one at the ends)."""
    padded = np.pad(values, 1, constant_values=np.nan)
    return np.nanmean(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)


def _crossings(turns: list[tuple[int, int]]) -> list[Stretch]:
    """A transition for each turn between two decided layers, the later one shortened where they touch."""
    found: list[Stretch] = []
    for before, after in turns:
        first, last = (before + 1, after - 1) if after - before > 1 else (before, after)
        first = max(first, found[-1].last + 1) if found else first
        if first <= last:
            found.append(Stretch(Pattern.TRANSITION, first, last))
    return found


def _rises(
    calm: np.ndarray, sides: np.ndarray, turns: list[tuple[int, int]], crossings: list[Stretch]
) -> list[Stretch]:
    """The rise, if any, of each section between two turns, without the layers of the transitions."""
    taken = {layer for c in crossings for layer in range(c.first, c.last + 1)}
    starts = [0, *(before + 1 for before, _ in turns)]
    ends = [*(after for _, after in turns), len(calm)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        section = sides[start:end][sides[start:end] != 0]
        free = [layer for layer in _rise(calm, start, end) if layer not in taken]
        if free and section.size:
            pattern = Pattern.DIVERGING if section[0] < 0 else Pattern.MERGING
            found.append(Stretch(pattern, free[0], free[-1]))
    return found


def _rise(calm: np.ndarray, start: int, end: int) -> range:
    """The layers of the largest rise within start..end-1, its flat ends cut off; may be empty."""
    part = calm[start:end]
    top = int(np.argmax(part - np.minimum.accumulate(part)))
    foot = int(np.argmin(part[: top + 1]))
    rise = part[top] - part[foot]
    if rise < LEAST_RISE:
        return range(0)
    first = foot + int(np.flatnonzero(part[foot : top + 1] <= part[foot] + TRIM * rise)[-1])
    last = first + int(np.flatnonzero(part[first : top + 1] >= part[top] - TRIM * rise)[0])
    return range(start + first, start + last + 1)


def smooth(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A cubic through the knots x (L,), y (L,) without overshoot, read at the places `at` (n,): (n,).

    x must increase strictly. Slopes by Fritsch and Butland (the harmonic mean of the two sides, 0 at a
    turning point), so between two knots the curve stays between their values; outside of them it is level.
    """
    if len(x) < 2:
        return np.full(len(at), float(y[0]) if len(y) else 0.0)
    step, slopes = np.diff(x), _slopes(np.diff(y) / np.diff(x))
    knot = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    t = np.clip((at - x[knot]) / step[knot], 0.0, 1.0)
    rise = t * t * (3 - 2 * t)
    start, end = t * (1 - t) ** 2, t * t * (t - 1)
    return y[knot] + np.diff(y)[knot] * rise + step[knot] * (slopes[knot] * start + slopes[knot + 1] * end)


def _slopes(secants: np.ndarray) -> np.ndarray:
    """(L,) slopes at the knots from the (L - 1,) secants between them."""
    left, right = secants[:-1], secants[1:]
    same = left * right > 0
    total = np.where(same, left + right, 1.0)
    inner = np.where(same, 2 * left * (right / total), 0.0)
    return np.concatenate([secants[:1], inner, secants[-1:]])


def spread(positions: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """(k,) label positions at least `gap` apart in [low, high], as near as can be (least squares).

    The order of the positions is kept. Where k labels need more room than there is, they overrun `high`.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    level = _increasing(positions[order] - steps)
    top = max(low, high - gap * (len(order) - 1))
    placed = np.empty(len(order))
    placed[order] = np.clip(level, low, top) + steps
    return placed


def _increasing(values: np.ndarray) -> np.ndarray:
    """The non-decreasing sequence nearest to `values`: pool neighbours that are out of order."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])
