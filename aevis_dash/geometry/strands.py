"""Two to eight datapaths as curves over the layers, their gaps fitted to their distances (Sec. 7).

One vertical order for the whole network, so that no two curves cross, and least squares in it. Per layer, with y
falling along the order and its mean 0,

    sum over pairs i above j  (y_i - y_j - d_ij)^2  =  m ||y - w||^2 + what no y can change,
    w_i = (sum of d_ij below i - sum of d_ij above i) / m        (Defays, 1978)

so the best y is the nearest falling vector to w. Two terms are added and the problem stays convex. SMOOTHNESS holds
a curve near its place at the next layer. NEARNESS penalises a drawing in which path A lies farther from the adversarial
than path B although A is the nearer one by the distances. Without either term the fit is exact where the distances are
those of points on a line.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from aevis_dash.domain import ROLES, Role, role_of
from aevis_dash.geometry.river import fill

SMOOTHNESS = 0.1
"""The weight of a curve's squared step from layer to layer, beside 1 for its squared distance from its own place."""
NEARNESS = 1.0
"""The weight of a squared wrong order of nearness to the adversarial, beside 1 for each squared error of a gap."""
EXHAUSTIVE = 6
"""The number of datapaths up to which every order is tried. With more, single paths are moved while that helps."""
_STILL, _STEPS, _TIE = 1e-10, 2000, 1e-9


@dataclass(frozen=True)
class Strands:
    """Curves that never cross.

    Attributes:
        order: the keys of the datapaths from top to bottom, the same at every layer.
        y: the vertical positions of each datapath by its key, (L,) in [-1, 1]; the widest layer spans all of it.
        measured: bool (L,), False where a distance is undefined and was read off the neighbouring layers.
        stress: the share of the squared distances, over the measured layers, that the gaps leave unexplained; 0 is
            exact.
        widest: the distance that spans [-1, 1].
    """

    order: tuple[str, ...]
    y: Mapping[str, np.ndarray]
    measured: np.ndarray
    stress: float
    widest: float


def strands(
    distances: Mapping[tuple[str, str], np.ndarray],
    order: Sequence[str] = (),
    largest: float = 0.0,
    smoothness: float = SMOOTHNESS,
    nearness: float = NEARNESS,
) -> Strands:
    """Fit the curves of all datapaths to the distances between them (Sec. 7).

    Args:
        distances: the distance of every pair of datapaths at each layer, (L,), by their keys either way round. Keys are
            roles and those that `domain.further` makes. A NaN is read off the neighbouring layers.
        order: the keys from top to bottom, such as those of another fit; () for the order of least stress without the
            two added terms, with the source above the target.
        largest: a distance that spans [-1, 1] where it is more than the widest one here.
        smoothness: the weight of a curve's squared steps.
        nearness: the weight of squared wrong orders of nearness to the adversarial.

    Raises:
        KeyError: where a pair is missing.
    """
    keys = sorted({key for pair in distances for key in pair}, key=lambda key: (ROLES.index(role_of(key)), key))
    known = np.stack([np.stack([_between(distances, a, b) for b in keys], -1) for a in keys], -2)
    apart = np.apply_along_axis(fill, 0, known, 0.0)
    places = [keys.index(key) for key in order] or best_order(apart, _upright(keys))
    ordered, apart = [keys[i] for i in places], apart[:, places][:, :, places]
    adv = ordered.index(Role.ADVERSARIAL) if Role.ADVERSARIAL in ordered else None
    y = fit(apart, adv, smoothness, nearness)
    measured = np.isfinite(known.sum((1, 2)))
    widest = max(float((y[:, 0] - y[:, -1]).max(initial=0)), largest)
    shown = dict(zip(ordered, _on_screen(y, widest).T, strict=True))
    return Strands(tuple(ordered), shown, measured, stress_of(y[measured], apart[measured]), widest)


def even_out(distances: Mapping[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """The distances scaled so that the largest of every layer is 1, which shows how the paths lie and not how far
    apart."""
    rows = np.stack(list(distances.values()))
    largest = np.max(rows, axis=0, where=np.isfinite(rows), initial=0)
    scale = np.where(largest > 0, largest, 1)
    return {pair: d / scale for pair, d in distances.items()}


def best_order(apart: np.ndarray, upright: tuple[int, int]) -> list[int]:
    """The order of least stress, as indices from top to bottom.

    Every order is tried for up to EXHAUSTIVE paths. Each further path is put where it costs least, and then single
    paths are moved while that lowers the stress.

    Args:
        apart: the distances, (L, m, m).
        upright: two indices, the first of which is to stand above the second.
    """
    m, first = len(apart[0]), min(len(apart[0]), EXHAUSTIVE)
    order = _least(apart, (o for o in permutations(range(first)) if o.index(upright[0]) < o.index(upright[1])))
    for path in range(first, m):
        order = _least(apart, _placings(order, path))
    while m > EXHAUSTIVE:
        moved = _least(apart, [order, *(o for path in order for o in _placings(order, path))])
        if moved == order:
            break
        order = moved
    return order if order.index(upright[0]) < order.index(upright[1]) else order[::-1]


def fit(apart: np.ndarray, adv: int | None, smoothness: float, nearness: float) -> np.ndarray:
    """The places of the curves at each layer, (L, m), in rows that fall from the first path to the last and have mean
    0.

    They are found by projected gradient steps with momentum, whose rate the strong convexity guarantees, until a step
    moves nothing.

    Args:
        apart: the distances of the paths, (L, m, m), in the order from top to bottom.
        adv: the place of the adversarial in this order; None where it is not among the paths.
        smoothness: the weight of a curve's squared steps.
        nearness: the weight of squared wrong orders of nearness to the adversarial.
    """
    m, want = apart.shape[1], best_places(apart)
    order = None if adv is None else _Nearness(adv, apart)
    bound = 1 + 4 * smoothness + nearness * (m - 1)
    momentum = (np.sqrt(bound) - 1) / (np.sqrt(bound) + 1)
    y = ahead = falling(want)
    for _ in range(_STEPS):
        pull = ahead - want + smoothness * _bend(ahead)
        pull = pull + nearness / m * order.pull(ahead) if order else pull
        before, y = y, falling(ahead - pull / bound)
        if np.abs(y - ahead).max(initial=0) <= _STILL * np.abs(want).max(initial=0):
            break
        ahead = y + momentum * (y - before)
    return y


class _Nearness:
    """Which of two paths is nearer to the adversarial, at the place `adv`, by distances (L, m, m)."""

    def __init__(self, adv: int, apart: np.ndarray):
        self._adv = adv
        self._side = np.sign(adv - np.arange(apart.shape[1]))
        others = (self._side != 0)[:, None] & (self._side != 0)
        self._nearer = (apart[:, adv, :, None] < apart[:, adv, None, :]) & others

    def pull(self, y: np.ndarray) -> np.ndarray:
        """(L, m) half the gradient of the squared amounts by which nearer paths are drawn farther than farther ones."""
        far = self._side * (y - y[:, [self._adv]])
        excess = np.maximum(far[:, :, None] - far[:, None, :], 0) * self._nearer
        pull = self._side * (excess.sum(2) - excess.sum(1))
        pull[:, self._adv] = -pull.sum(1)
        return pull


def best_places(apart: np.ndarray) -> np.ndarray:
    """(..., m) the places w whose gaps fit distances (..., m, m), given from top to bottom, in whatever order."""
    m = apart.shape[-1]
    return (np.triu(apart).sum(-1) - np.tril(apart).sum(-1)) / m


def falling(values: np.ndarray) -> np.ndarray:
    """The nearest non-increasing rows to (..., m): min over a <= i of the max over b >= i of the mean of a..b."""
    m = values.shape[-1]
    at = np.arange(m)
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(-1)], -1)
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(at - at[:, None] + 1, 1)
    highest = np.maximum.accumulate(np.where(at >= at[:, None], means, -np.inf)[..., ::-1], axis=-1)[..., ::-1]
    return np.where(at >= at[:, None], highest, np.inf).min(-2)


def stress_of(y: np.ndarray, apart: np.ndarray) -> float:
    """Share of the squared distances (L, m, m) that the gaps of falling rows (L, m) leave unexplained; 0 of none."""
    above = np.triu_indices(apart.shape[-1], 1)
    true, gaps = apart[:, *above], (y[:, :, None] - y[:, None, :])[:, *above]
    total = np.square(true).sum()
    return float(np.square(gaps - true).sum() / total) if total > 0 else 0.0


def _between(distances: Mapping[tuple[str, str], np.ndarray], a: str, b: str) -> np.ndarray:
    if a == b:
        return np.zeros(len(next(iter(distances.values()))))
    return np.asarray(distances[(a, b) if (a, b) in distances else (b, a)], float)


def _upright(keys: Sequence[str]) -> tuple[int, int]:
    """The indices, in sorted keys, of two paths of which the first stands above: source and target where there are
    both."""
    others = [i for i, key in enumerate(keys) if key != Role.ADVERSARIAL]
    return (others[0], others[1]) if len(others) > 1 else (0, 1)


def _placings(order: Sequence[int], path: int) -> list[tuple[int, ...]]:
    """The order with that path at every place."""
    rest = [other for other in order if other != path]
    return [(*rest[:at], path, *rest[at:]) for at in range(len(rest) + 1)]


def _least(apart: np.ndarray, orders: Iterable[Sequence[int]]) -> list[int]:
    """The order of least stress, the first of equals.

    The nearest falling rows y leave least stress where they are longest, because they explain m ||y||^2.
    """
    tried = np.array(list(orders))
    y = falling(best_places(apart[:, tried[:, :, None], tried[:, None, :]]))
    explained = np.square(y).sum((0, 2))
    return tried[np.argmax(explained >= explained.max() * (1 - _TIE))].tolist()


def _bend(y: np.ndarray) -> np.ndarray:
    """(L, m) how far each place lies off its neighbours along the depth: half the gradient of the squared steps."""
    steps = np.pad(np.diff(y, axis=0), ((1, 1), (0, 0)))
    return -np.diff(steps, axis=0)


def _on_screen(y: np.ndarray, widest: float) -> np.ndarray:
    """(L, m) with the middle of the outermost two at 0, a layer as wide as `widest` from 1 to -1."""
    return (y - (y[:, :1] + y[:, -1:]) / 2) * (2 / widest if widest > 0 else 0.0)
