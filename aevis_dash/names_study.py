"""How far the names of feature maps hold on images that did not name them, by kind of name, score and depth.

The reference images are split in two halves at random. The one half names the maps, and the other judges the names:

- *for* and *against*: on the images of the other half that fire a map most, the map is closed. The name is right where
  the named class is the one, of all K classes, whose logit falls (or rises) most beside the others in the mean over
  these images. Beside it stand what the names of the other maps of the layer would reach (*shuffled*), and a class
  drawn at random, which is 1 / K.
- *images*: which share of the images of the other half that fire the map most is of the named class, of the most that
  it could be. Beside it stands what chance gives.
- *part*, where parts are known: the name is right where the other half's best part is the same one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from aevis_dash.config import Progress, part_of, silent
from aevis_dash.core.closing import Closer
from aevis_dash.core.dissection import Dissection
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.core.learned import Learner
from aevis_dash.core.names import (
    FIRED,
    LEAST_IMAGES,
    LISTED,
    THRESHOLDS,
    Guesses,
    NameKind,
    guess_classes,
    guess_images,
    largest_effects,
)
from aevis_dash.domain import AevisError, FeatureMap, LayerGraph, LearnedFeatures
from aevis_dash.learning import DISSECTED
from aevis_dash.workbench import Workbench

DEPTHS = 5
"""The parts into which the layers are cut by their depth: the first fifth of the layers, and so on."""
SCORES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The scores from which names are counted as clear, each in turn."""
LINES = ("named", "right", "shuffled", "chance")
LEAST_RIGHT = 0.8
"""The share of the names that must be right, at the lower end of its interval, where a threshold is proposed."""
_BATCH = 8
_Z = 1.959964
"""The quantile of the normal distribution that belongs to 95 %."""


@dataclass(frozen=True)
class JudgedNames:
    """The names of one kind that one half gave to m maps, as the other half judges them.

    Attributes:
        depth: the part of the network that each map lies in, from 0 to DEPTHS - 1, int (m,).
        layer: the index of its layer, int (m,).
        guesses: the names and their scores.
        right: how right each name is, from 0 to 1, (m,); NaN where it cannot be judged.
        truth: the label that the other half gives, int (m,); -1 where it gives none, or none in particular.
        chance: how right a label would be that is drawn at random, (m,).
    """

    depth: np.ndarray
    layer: np.ndarray
    guesses: Guesses
    right: np.ndarray
    truth: np.ndarray
    chance: np.ndarray


@dataclass(frozen=True)
class NameScores:
    """The names of one kind, counted.

    Attributes:
        by_score: the LINES of all maps together, by the score from which names are clear.
        by_depth: the LINES at the kind's own threshold, by the part of the network.
        proposed: the least of SCORES from which LEAST_RIGHT of the names are right, at the lower end of the interval;
            None where there is none.
    """

    by_score: Mapping[float, Mapping[str, Estimate]]
    by_depth: Mapping[int, Mapping[str, Estimate]]
    proposed: float | None


def judge_names(
    bench: Workbench, maps_of_each: int = 60, seed: int = 0, progress: Progress = silent
) -> dict[NameKind, NameScores]:
    """Name maps by one half of the reference images, and judge the names by the other.

    Args:
        bench: the workbench of the workspace.
        maps_of_each: the number of maps, drawn at random in each part of the network, whose classes are judged. Names
            by images and by parts are judged of all maps.
        seed: of the halves, of the maps and of the intervals.
        progress: is told the share of the work that is done.

    Returns:
        What was counted by the kind of name; no NameKind.PART where the workspace knows no parts. The intervals are
        those of `estimate_share` over maps. Maps share images, so they are somewhat too narrow.

    Raises:
        AevisError: there are too few reference images, or no map fires on enough of them.
    """
    total = bench.learning.total
    if total < 2 * LEAST_IMAGES:
        raise AevisError(
            f"This study splits the normal images in two halves, and a name needs {LEAST_IMAGES} images of each. The "
            f"workspace has {total} images. Add some to images.csv."
        )
    order = np.random.default_rng(seed).permutation(total)
    halves = np.sort(order[: total // 2]), np.sort(order[total // 2 :])
    found = [_fired(bench, half, part_of(progress, 0.15 * i, 0.15)) for i, half in enumerate(halves)]
    judged = _judge_classes(bench, found, maps_of_each, seed, part_of(progress, 0.3, 0.6))
    judged[NameKind.IMAGES] = _judge_images(bench, found, halves)
    if bench.workspace.parts:
        judged[NameKind.PART] = _judge_parts(bench, found, halves, part_of(progress, 0.9, 0.1))
    return {kind: count(names, kind, seed) for kind, names in judged.items()}


def count(judged: JudgedNames, kind: NameKind, seed: int = 0) -> NameScores:
    """Count how many maps have a clear name of a kind, and how right the clear names are."""
    least = THRESHOLDS[kind]
    scores = sorted({*SCORES, least})
    every = np.ones(len(judged.depth), bool)
    by_score = {score: _lines(judged, every, score, seed) for score in scores}
    by_depth = {depth: _lines(judged, judged.depth == depth, least, seed) for depth in range(DEPTHS)}
    proposed = (score for score, lines in by_score.items() if lines["right"].low >= LEAST_RIGHT)
    return NameScores(by_score, by_depth, next(proposed, None))


def depth_of(graph: LayerGraph, layer: int) -> int:
    """The part of the network that a layer lies in, from 0 to DEPTHS - 1."""
    return layer * DEPTHS // len(graph)


def _lines(judged: JudgedNames, among: np.ndarray, least: float, seed: int) -> dict[str, Estimate]:
    clear = judged.guesses.clear(least)
    counted = among & clear & ~np.isnan(judged.right)
    others = np.array([_of_others(judged, clear, int(i)) for i in np.flatnonzero(counted)])
    values = (clear[among].astype(float), judged.right[counted], others, judged.chance[counted])
    return {line: estimate_share(of_line, seed) for line, of_line in zip(LINES, values, strict=True)}


def estimate_share(values: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate the mean of some numbers from 0 to 1, with its 95 % interval.

    Where every number is a yes (1) or a no (0) this is Wilson's interval, which stays wide where there are few: of 5
    that are all right it says [0.57, 1]. Otherwise it is the bootstrap interval.

    Args:
        values: the numbers, (m,); those that are NaN are left out.
        seed: of the bootstrap.
    """
    kept = values[~np.isnan(values)]
    if not kept.size or not np.isin(kept, (0, 1)).all():
        return bootstrap(kept, seed)
    share, n = float(kept.mean()), kept.size
    middle, spread = share + _Z**2 / (2 * n), _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = ((middle + sign * spread) / (1 + _Z**2 / n) for sign in (-1, 1))
    return Estimate(share, float(low), float(high), n)


def _of_others(judged: JudgedNames, clear: np.ndarray, i: int) -> float:
    """How often the clear names of the layer's other maps would be right for a map; NaN where there are none."""
    others = clear & (judged.layer == judged.layer[i])
    others[i] = False
    labels = judged.guesses.label[others]
    return float((labels == judged.truth[i]).mean()) if labels.size and judged.truth[i] >= 0 else float("nan")


def _fired(bench: Workbench, places: np.ndarray, progress: Progress) -> LearnedFeatures:
    """The images of a half that fire each map most."""
    learner = Learner(bench.classifier, max(bench.workspace.settings.features.patches, FIRED))
    for first in range(0, len(places), _BATCH):
        progress(first / len(places), f"finding what fires the maps, {first} of {len(places)} images")
        some = places[first : first + _BATCH].tolist()
        learner.see(bench.learning.read(some), some)
    return learner.index().activation


def _judge_classes(
    bench: Workbench, found: Sequence[LearnedFeatures], maps_of_each: int, seed: int, progress: Progress
) -> dict[NameKind, JudgedNames]:
    """Close maps that are drawn at random on the images of both halves that fire them most."""
    graph, classes = bench.layers, len(bench.class_names)
    chosen = _draw(graph, found, maps_of_each, seed)
    if not chosen:
        raise AevisError(f"No map fires on {LEAST_IMAGES} images of each half, so none can be named and judged.")
    at = [graph.place(each) for each in chosen]
    naming, judging = (each.image[at, :FIRED] for each in found)
    shape = (*naming.shape, min(LISTED, classes))
    listed = {sign: (np.full(shape, -1, np.int32), np.zeros(shape, np.float32)) for sign in (1, -1)}
    held, count_held = np.zeros((len(chosen), classes)), np.zeros(len(chosen))
    closer = Closer(bench.classifier, sorted({each.layer for each in chosen}))
    places = [int(place) for place in np.unique([naming, judging]) if place >= 0]
    for i, place in enumerate(places):
        progress(i / len(places), f"closing maps on {i} of {len(places)} images")
        pixels = bench.learning.read([place])
        rows, slots = np.nonzero(naming == place)
        effects = closer.effects(pixels, [chosen[row] for row in rows])
        for sign, (label, value) in listed.items():
            label[rows, slots], value[rows, slots] = largest_effects(sign * effects)
        rows, _ = np.nonzero(judging == place)
        held[rows] += closer.effects(pixels, [chosen[row] for row in rows])
        count_held[rows] += 1
    return {
        kind: _judge_by_closing(graph, chosen, guess_classes(naming, *listed[sign]), sign * held / count_held[:, None])
        for kind, sign in ((NameKind.FOR, 1), (NameKind.AGAINST, -1))
    }


def _judge_by_closing(
    graph: LayerGraph, chosen: Sequence[FeatureMap], guesses: Guesses, effects: np.ndarray
) -> JudgedNames:
    layer = np.array([each.layer for each in chosen])
    moved = np.isfinite(effects).all(1) & (np.nan_to_num(effects).max(1) > 0)
    truth = np.where(moved, np.nan_to_num(effects).argmax(1), -1)
    right = np.where(moved & (guesses.label >= 0), truth == guesses.label, np.nan)
    chance = np.full(len(layer), 1 / effects.shape[1])
    return JudgedNames(np.array([depth_of(graph, i) for i in layer]), layer, guesses, right, truth, chance)


def _draw(graph: LayerGraph, found: Sequence[LearnedFeatures], maps_of_each: int, seed: int) -> list[FeatureMap]:
    """Draw maps at random in each part of the network, of those that fire on enough images of both halves."""
    random, fires = np.random.default_rng(seed), _firing(found)
    chosen: list[FeatureMap] = []
    for depth in range(DEPTHS):
        layers = [layer for layer in graph.layers if depth_of(graph, layer.index) == depth]
        every = [FeatureMap(i.index, int(c)) for i in layers for c in np.flatnonzero(graph.part(fires, i.index))]
        chosen += [every[i] for i in np.sort(random.permutation(len(every))[:maps_of_each])]
    return chosen


def _firing(found: Sequence[LearnedFeatures]) -> np.ndarray:
    """Which maps fire on LEAST_IMAGES images of both halves, bool (n,)."""
    enough = [(each.image >= 0).sum(1) >= LEAST_IMAGES for each in found]
    return np.logical_and.reduce(enough)


def _all_maps(graph: LayerGraph, fires: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places of the maps that fire, their layers, and the parts of the network that these lie in, each (m,)."""
    at = np.flatnonzero(fires)
    layer = np.searchsorted(graph.offsets, at, side="right") - 1
    return at, layer, np.array([depth_of(graph, int(i)) for i in layer], int)


def _judge_images(bench: Workbench, found: Sequence[LearnedFeatures], halves: Sequence[np.ndarray]) -> JudgedNames:
    labels = bench.learning.labels
    for place in np.flatnonzero(labels < 0):
        labels[place] = bench.classifier.predict(bench.learning.read([int(place)]))[0].label
    at, layer, depth = _all_maps(bench.layers, _firing(found))
    naming, judging = (each.image[at] for each in found)
    guesses = guess_images(naming, labels, naming.shape[1], frozenset(halves[1].tolist()))
    of = np.where(judging >= 0, labels[np.maximum(judging, 0)], -1)
    drawn, hits = (of >= 0).sum(1), (of == guesses.label[:, None]).sum(1)
    size = np.array([(labels[halves[1]] == label).sum() for label in guesses.label])
    most = np.minimum(drawn, size)
    known = (guesses.label >= 0) & (most > 0)
    right = np.divide(hits, most, out=np.full(len(at), np.nan), where=known)
    chance = np.divide(drawn * size / len(halves[1]), most, out=np.full(len(at), np.nan), where=known)
    return JudgedNames(depth, layer, guesses, right, np.full(len(at), -1), chance)


def _judge_parts(
    bench: Workbench, found: Sequence[LearnedFeatures], halves: Sequence[np.ndarray], progress: Progress
) -> JudgedNames:
    at, layer, depth = _all_maps(bench.layers, _firing(found))
    overlaps = [_overlaps(bench, *each, progress)[at] for each in zip(found, halves, strict=True)]
    best, truth = (each.argmax(1) for each in overlaps)
    guesses = Guesses(best, overlaps[0].max(1))
    right = (best == truth).astype(float)
    return JudgedNames(depth, layer, guesses, right, truth, np.full(len(at), 1 / overlaps[0].shape[1]))


def _overlaps(bench: Workbench, found: LearnedFeatures, half: np.ndarray, progress: Progress) -> np.ndarray:
    """How well each map detects each part on some images of a half, (n, P)."""
    entries, workspace = bench.workspace.images, bench.workspace
    known = list(islice((int(i) for i in half if workspace.has_parts(entries[i].file)), DISSECTED))
    seen = Dissection(bench.classifier, found.value[:, 0], len(workspace.parts))
    for first in range(0, len(known), _BATCH):
        progress(first / len(known), f"finding the parts that maps detect, {first} of {len(known)} images")
        some = known[first : first + _BATCH]
        seen.see(bench.learning.read(some), np.stack([workspace.part_numbers(entries[i].file) for i in some]))
    return seen.overlaps()
