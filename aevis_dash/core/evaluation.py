"""The paper's evaluation (Sec. 6.1, Table 1): does the adversarial's datapath leave src and join tar along the network?

Every score comes with its null, which is the same score against images of random other classes, and with its excess
over the null. Distances are distances of gates and have no unit.

Notation: n maps; m levels, which are the "layers" of Eq. 9; t targets and u nulls of one adversarial. d2 is the
distance of adv from src, and d3 its distance from tar.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

import numpy as np

from aevis_dash.domain import AevisError, LayerGraph, share

Levels = tuple[tuple[int, ...], ...]
"""The layers of each level, by index."""

GRANULARITIES: Mapping[str, int | None] = MappingProxyType({"layer": None, "block": -1, "stage": 0})
"""The place in `Layer.group` of the module that the layers of one level share; None where each layer is a level."""


@dataclass(frozen=True)
class ComparedGates:
    """The gates that one method found for one misclassified adversarial and the images it is compared with.

    A fair null has as many images as there are targets: the most similar of many are more similar than the most similar
    of few.

    Attributes:
        adv: the gates of the adversarial image, (n,).
        src: the gates of its source, (n,).
        targets: the gates of normal images of the class that adv is taken for, (t, n).
        nulls: the gates of normal images of random other classes, (u, n).
    """

    adv: np.ndarray
    src: np.ndarray
    targets: np.ndarray
    nulls: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """The mean (or median) of one number for each of n adversarials, with its bootstrap interval; NaN where n is 0."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ScoreComparison:
    """A score, its null and its excess, which is score minus null of the adversarials that have both."""

    score: Estimate
    null: Estimate
    excess: Estimate


@dataclass(frozen=True)
class Rivers:
    """One adversarial against each of t images.

    Attributes:
        similarity: 1 / distance over all gates, (t,); infinite where the gates are equal.
        diff: Eq. 9 at every level, (t, m).
        pattern: whether the pattern of Eq. 10 holds, bool (t,).
        growth_start: the level from which diff grows without a break to the end, (t,); m - 1 where the last step does
            not grow.
        drift: the drift score, (t,).
    """

    similarity: np.ndarray
    diff: np.ndarray
    pattern: np.ndarray
    growth_start: np.ndarray
    drift: np.ndarray

    @property
    def count(self) -> int:
        """The number of images towards which the pattern of Eq. 10 holds, from 0 to t."""
        return int(self.pattern.sum())


@dataclass(frozen=True)
class ComparedRivers:
    """The findings for one adversarial, against its targets and against its nulls."""

    targets: Rivers
    nulls: Rivers


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of one method at some levels, by the last `r` steps and one of NORMS.

    It holds the Top-K scores by K, the drift score, and what was found for each adversarial, in the order given.
    """

    levels: Levels
    r: int
    norm: str
    top_k: Mapping[int, ScoreComparison]
    drift: ScoreComparison
    outcomes: tuple[ComparedRivers, ...]


def levels(graph: LayerGraph, granularity: str) -> Levels:
    """Group the layers to the levels, which are the "layers" of Eq. 9: neighbours in one group form one level.

    Args:
        granularity: one of GRANULARITIES. The group is the layer itself by "layer", its innermost module by "block" and
            its outermost one by "stage". A layer without a group is a level of its own.

    Raises:
        AevisError: there is no such granularity.
    """
    if granularity not in GRANULARITIES:
        raise AevisError(f"There is no granularity {granularity!r}. Choose one of: {', '.join(GRANULARITIES)}.")
    place = GRANULARITIES[granularity]
    groups = [i if place is None or not layer.group else layer.group[place] for i, layer in enumerate(graph.layers)]
    return tuple(tuple(members) for _, members in groupby(range(len(graph)), key=groups.__getitem__))


def distances_by_level(graph: LayerGraph, levels: Levels, a: np.ndarray, b: np.ndarray, norm: str = "l2") -> np.ndarray:
    """Give the distance of gates at every level.

    Args:
        levels: the layers of each level.
        a: gates, (n,).
        b: gates, (n,), or (k, n) for k distances at once.
        norm: "l2" for one norm over the level's gates, Eq. 9 as printed; "width" for that over the root of the number
            of the level's maps; "cosine" for 1 - cosine, which is 0 where both are zero and 1 where only one is.

    Returns:
        The distances, (m,) or (k, m).

    Raises:
        AevisError: there is no such norm, or the gates are not those of this network.
    """
    if norm not in NORMS:
        raise AevisError(f"There is no norm {norm!r}. Choose one of: {', '.join(NORMS)}.")
    a, b = _gates(graph, a), _gates(graph, b)
    return np.stack([NORMS[norm](a[..., at], b[..., at]) for at in _maps(graph, levels)], axis=-1)


def similarity(adv: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Give 1 / distance of gates (n,) to others (t, n), sqrt(n) / ||z_adv - z||_2: (t,), infinite where equal (Sec.
    6.2.1).
    """
    distance = _width(np.asarray(adv, np.float64), np.asarray(others, np.float64))
    return np.divide(1, distance, out=np.full(distance.shape, np.inf), where=distance != 0)


def difference(to_src: np.ndarray, to_tar: np.ndarray) -> np.ndarray:
    """Give Eq. 9, ||z_adv - z_src|| - ||z_adv - z_tar||, from these distances (m,) and (..., m): (..., m).

    It is positive where adv is nearer to tar.
    """
    return to_src - to_tar


def pattern(diff: np.ndarray, r: int) -> np.ndarray:
    """Tell whether the pattern of Eq. 10 holds: diff grows at each of the last r steps, and its last value is its
    maximum.

    Args:
        diff: Eq. 9 at the m levels, (..., m).
        r: how many steps, at least 1.

    Returns:
        bool (...), one for each row of diff.

    Raises:
        AevisError: r is below 1, or there are fewer than r + 1 levels.
    """
    _check_steps(diff.shape[-1], r)
    growing = (np.diff(diff[..., -r - 1 :]) > 0).sum(axis=-1)
    return (growing == r) & (diff[..., -1] == diff.max(axis=-1))


def growth_start(diff: np.ndarray) -> np.ndarray:
    """Find the level from which Eq. 9, `diff` (..., m), grows without a break to the end: int (...).

    It is m - 1 where the last step does not grow.
    """
    backwards = (np.diff(diff) > 0)[..., ::-1]
    return diff.shape[-1] - 1 - np.cumprod(backwards, axis=-1, dtype=int).sum(axis=-1)


def top_k(patterns: np.ndarray, similarities: np.ndarray, k: int) -> int:
    """Count how many of the k most similar targets show the pattern of Eq. 10.

    Args:
        patterns: whether the pattern holds towards each of t targets, bool (t,).
        similarities: how similar each target is, (t,); where two are equal, the earlier one counts as more similar.
        k: how many of the most similar targets are looked at; below 1 it raises AevisError.
    """
    if k < 1:
        raise AevisError(f"Top-K counts patterns among the K most similar targets; K = {k} must be at least 1.")
    most_similar = np.argsort(-np.asarray(similarities, float), kind="stable")[:k]
    return int(np.asarray(patterns, bool)[most_similar].sum())


def drift(to_src: np.ndarray, to_tar: np.ndarray) -> np.ndarray:
    """Tell how far the adversarial moves from src to tar along the network.

    Args:
        to_src: the distances d2 of adv from src, (m,).
        to_tar: the distances d3 of adv from tar, (..., m).

    Returns:
        The mean of d2 / (d2 + d3) over the last third of the levels minus that over the first third, from -1 to 1,
        (...). A third is m // 3 levels, at least one. Levels that are NaN are left out; the drift is NaN where a third
        has no other.
    """
    way = share(to_src, to_tar)
    third = max(1, way.shape[-1] // 3)
    return _known_mean(way[..., -third:]) - _known_mean(way[..., :third])


def bootstrap(
    values: Sequence[float] | np.ndarray, seed: int, draws: int = 2000, level: float = 0.95, statistic: str = "mean"
) -> Estimate:
    """Estimate a mean or median over adversarials, with its percentile interval over resampled adversarials.

    Args:
        values: one value per adversarial, (a,). NaN values are dropped, and the estimate's n counts the others.
        seed: the seed of the resampling.
        draws: how many samples are drawn.
        level: the share of the samples' statistics that lies in the interval.
        statistic: "mean" or "median".

    Raises:
        AevisError: there is no such statistic.
    """
    if statistic not in STATISTICS:
        raise AevisError(f"There is no statistic {statistic!r}. Choose one of: {', '.join(STATISTICS)}.")
    kept, of = _without_nan(np.asarray(values, float)), STATISTICS[statistic]
    if not kept.size:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    drawn = kept[np.random.default_rng(seed).integers(kept.size, size=(draws, kept.size))]
    low, high = np.quantile(of(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(of(kept)), float(low), float(high), kept.size)


def compare(
    score: Sequence[float] | np.ndarray, null: Sequence[float] | np.ndarray, seed: int, draws: int = 2000
) -> ScoreComparison:
    """Give a score, its null and how far the score exceeds it, each with its bootstrap interval.

    `score` and `null` hold one value per adversarial, (a,), in the same order. The excess is resampled in pairs.
    """
    excess = np.asarray(score, float) - np.asarray(null, float)
    return ScoreComparison(*(bootstrap(values, seed, draws) for values in (score, null, excess)))


def evaluate(
    graph: LayerGraph,
    trials: Sequence[ComparedGates],
    *,
    r: int = 8,
    granularity: str = "block",
    norm: str = "l2",
    ks: Sequence[int] = (1, 3, 5),
    seed: int = 0,
    draws: int = 2000,
) -> Evaluation:
    """Evaluate one method as in Table 1: Top-K and drift, with null and excess.

    The drift of an adversarial is the mean over its targets. An adversarial with fewer targets or nulls than K is
    scored on the smaller number, the same for both. One without nulls counts in the scores only, one without targets in
    the nulls only.

    Args:
        trials: the gates that the method found, for each adversarial.
        r: how many steps at the end the pattern of Eq. 10 looks at.
        granularity: what forms a level, one of GRANULARITIES.
        norm: the distance of gates within a level, one of NORMS.
        ks: the numbers K of most similar targets.
        seed: the seed of the bootstrap, which draws `draws` samples.

    Raises:
        AevisError: there is no such granularity or norm, there are too few levels for r, or gates do not fit the
            network.
    """
    grouping = levels(graph, granularity)
    _check_steps(len(grouping), r)
    outcomes = tuple(outcome(graph, grouping, trial, r, norm) for trial in trials)
    return summarise(outcomes, grouping, r, norm, ks, seed, draws)


def summarise(
    outcomes: Sequence[ComparedRivers],
    grouping: Levels,
    r: int,
    norm: str,
    ks: Sequence[int] = (1, 3, 5),
    seed: int = 0,
    draws: int = 2000,
) -> Evaluation:
    """Do what `evaluate` does, from outcomes that were found before by this grouping, r and norm."""
    top = {k: _compare_pairs([_hits(o, k) for o in outcomes], seed, draws) for k in ks}
    drifts = _compare_pairs([_drifts(o) for o in outcomes], seed, draws)
    return Evaluation(grouping, r, norm, top, drifts, tuple(outcomes))


def outcome(graph: LayerGraph, grouping: Levels, trial: ComparedGates, r: int, norm: str) -> ComparedRivers:
    """Compare one adversarial with its targets and with its nulls; raises AevisError as `evaluate` does."""
    to_src = distances_by_level(graph, grouping, trial.adv, trial.src, norm)

    def rivers(others: np.ndarray) -> Rivers:
        to_tar = distances_by_level(graph, grouping, trial.adv, others, norm)
        diff = difference(to_src, to_tar)
        similar = similarity(trial.adv, others)
        return Rivers(similar, diff, pattern(diff, r), growth_start(diff), drift(to_src, to_tar))

    return ComparedRivers(rivers(trial.targets), rivers(trial.nulls))


def _hits(outcome: ComparedRivers, k: int) -> list[float]:
    """Give the Top-K of the targets and of the nulls; NaN for the one that has no image."""
    both = outcome.targets, outcome.nulls
    shared = min([k, *(len(rivers.pattern) for rivers in both if len(rivers.pattern))])
    return [top_k(x.pattern, x.similarity, shared) if len(x.pattern) else float("nan") for x in both]


def _drifts(outcome: ComparedRivers) -> list[float]:
    return [float(_known_mean(rivers.drift)) for rivers in (outcome.targets, outcome.nulls)]


def _compare_pairs(pairs: list[list[float]], seed: int, draws: int) -> ScoreComparison:
    score, null = np.array(pairs, float).reshape(-1, 2).T
    return compare(score, null, seed, draws)


def _check_steps(count: int, r: int) -> None:
    if r < 1:
        raise AevisError(f"Eq. 10 looks at the last r steps; r = {r} must be at least 1.")
    if count < r + 1:
        smaller = f" or a smaller r (--r {count - 1})" if count > 1 else ""
        raise AevisError(
            f"Eq. 10 with r = {r} needs {r + 1} levels and there {'is' if count == 1 else 'are'} {count}. "
            f"Choose a finer granularity (--granularity){smaller}."
        )


def _gates(graph: LayerGraph, gates: np.ndarray) -> np.ndarray:
    if np.shape(gates)[-1:] != (graph.n_maps,):
        raise AevisError(
            f"Gates of shape {np.shape(gates)} were given for a network of {graph.n_maps} feature maps. "
            "Give one gate per map of the network whose layers these are."
        )
    return np.asarray(gates, np.float64)


def _maps(graph: LayerGraph, levels: Levels) -> list[np.ndarray]:
    starts = graph.offsets
    return [np.concatenate([np.arange(starts[i], starts[i + 1]) for i in level]) for level in levels]


def _l2(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(a - b).sum(axis=-1))


def _width(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(a - b).mean(axis=-1))


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    in_a, in_b = np.square(a).sum(axis=-1), np.square(b).sum(axis=-1)
    alike = np.where((in_a == 0) & (in_b == 0), 1.0, 0.0)
    scale = np.sqrt(in_a * in_b)
    return np.clip(1 - np.divide((a * b).sum(axis=-1), scale, out=alike, where=scale > 0), 0, 2)


NORMS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = MappingProxyType(
    {"l2": _l2, "width": _width, "cosine": _cosine}
)
"""Every distance of two gate vectors within a level, by name, over the last axis."""

STATISTICS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType({"mean": np.mean, "median": np.median})
"""The statistics that `bootstrap` can estimate."""


def _without_nan(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _known_mean(values: np.ndarray) -> np.ndarray:
    """Give the mean over the last axis without the NaN; NaN where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = values.sum(axis=-1, where=known)
    return np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)
