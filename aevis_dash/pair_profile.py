"""What one model makes of a pair of source and adversarial, layer by layer, in numbers that two models share.

The *depth* of a layer is its index over the number of layers: 0 for the first layer, nearly 1 for the last. What
happens at no layer has depth 1.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from aevis_dash import divergences
from aevis_dash.config import ExtractionParameters, Progress, Turn, part_of, silent
from aevis_dash.core import datapath, intervention
from aevis_dash.core.divergence import leaves
from aevis_dash.divergences import Pair
from aevis_dash.domain import DatapathDistance, Example, LayerGraph, Role, share
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Triplet, Workbench
from aevis_dash.workbench.base import VERSIONS

VERSION = 1
"""The version of stored profiles. It is raised when they change for the same pair and parameters."""
RANDOMS = 8
"""The number of random orders of a layer's maps that stand beside the order by turning effects."""


@dataclass(frozen=True)
class PairAsked:
    """The question of a profile.

    Attributes:
        example: the ID of the example.
        wanted: the extraction parameters.
        towards: the class of the targets where the adversarial does not fool this model; None to refuse such a pair.
        target: the file name of the target; None for the representative one. It is also the representative one where
            the file is no candidate.
    """

    example: str
    wanted: ExtractionParameters
    towards: int | None = None
    target: str | None = None


@dataclass(frozen=True)
class PairProfile:
    """What one model makes of one pair. There are L layers and n maps.

    Attributes:
        target: the file name of the target.
        resists: whether the model predicts the adversarial as it predicts the source.
        d1: the distance of src's datapath from tar's by activations, (L,).
        d2: that of adv's from src's, (L,).
        d3: that of adv's from tar's, (L,).
        leaves: the index of the layer from which on, to the last, adv is farther from src than the median of other
            clean images of src's class (`core.divergence`); L where there is none, -1 without such images.
        joins: the index of the layer from which on, to the last, adv is nearer to tar than to src; L where there is
            none.
        source: the hard set of src, bool (n,).
        adversarial: that of adv, bool (n,).
        core: adv's core, bool (n,).
        depths: the indices of the layers where maps were put from src's run into adv's, (d,); the last one of every
            stage.
        turned: the share of the layer's maps, those of largest turning effect first, that it takes to turn the
            prediction back, (d,); 1 also where all of them do not. There is none where the model is not fooled.
        random: the mean of that share over random orders of the maps, (d,).
    """

    target: str
    resists: bool
    d1: np.ndarray
    d2: np.ndarray
    d3: np.ndarray
    leaves: int
    joins: int
    source: np.ndarray
    adversarial: np.ndarray
    core: np.ndarray
    depths: np.ndarray
    turned: np.ndarray
    random: np.ndarray

    @property
    def way(self) -> np.ndarray:
        """The place of adv on the way from src (0) to tar (1) at every layer, (L,)."""
        return share(self.d2, self.d3)

    @property
    def leaves_at(self) -> float:
        """The depth at which adv leaves src; 1 where it never does, NaN where there is nothing to compare with."""
        return self.leaves / len(self.d2) if self.leaves >= 0 else float("nan")

    @property
    def joins_at(self) -> float:
        """The depth at which adv joins tar; 1 where it never does."""
        return self.joins / len(self.d2)


def shares(graph: LayerGraph, chosen: np.ndarray) -> np.ndarray:
    """The share of each layer's maps that are among the chosen ones, (L,), of bool (n,)."""
    return np.array([part.mean() for part in graph.parts(chosen)])


@one_sight()
def profile(bench: Workbench, asked: PairAsked, progress: Progress = silent, turn: Turn = nullcontext) -> PairProfile:
    """The profile of a pair; from the store where it is stored. Its datapaths are extracted where they are not.

    Args:
        bench: the workbench of the workspace.
        asked: the question.
        progress: is told the share of the work that is done.
        turn: a context within which each batch of datapaths is solved; see `Datapaths.extract`.

    Raises:
        AevisError: where the two images are no pair, or no clean image shows the class of the targets.
    """
    key = _key(bench, asked)
    return bench.store.remember(key, PairProfile, lambda: _profile(bench, asked, progress, turn))


@one_sight()
def stored_profile(bench: Workbench, asked: PairAsked) -> PairProfile | None:
    """The result of `profile` where it is stored; None otherwise. Nothing is computed."""
    return bench.store.get(_key(bench, asked), PairProfile)


def stored_triplet(bench: Workbench, asked: PairAsked) -> Triplet | None:
    """The datapaths that a profile is made of, where they are stored."""
    target = _target(bench, asked)
    return bench.datapaths.triplet(asked.example, target, asked.wanted, asked.towards)


def distances(bench: Workbench, triplet: Triplet) -> DatapathDistance:
    """The distances that a profile is made of."""
    return bench.datapaths.distances(triplet, "activations")


def joining(way: np.ndarray) -> int:
    """The index of the layer from which on, to the last, adv is nearer to tar than to src.

    Args:
        way: the place of adv on the way from src to tar at every layer, (L,).

    Returns:
        The index; L where there is no such layer. A layer where the place is undefined counts as neither.
    """
    return leaves(way, np.full(len(way), 0.5))


def _key(bench: Workbench, asked: PairAsked) -> str:
    example = bench.workspace.example(asked.example)
    names = (example.source, example.adversarial, *([asked.target] if asked.target else ()))
    return key_of(
        "profile",
        VERSION,
        model=bench.classifier.fingerprint,
        images=[bench.workspace.image_hash(name) for name in names],
        normal=bench.workspace.image_list().digest,
        example=example.id,
        wanted=datapath.used_parameters(asked.wanted),
        compared=[asked.wanted.candidates, asked.wanted.null_targets, asked.wanted.seed],
        of=[VERSIONS[kind] for kind in ("datapath", "turning")],
        towards=asked.towards,
    )


def _target(bench: Workbench, asked: PairAsked) -> str | None:
    """The target that is asked for, where it is a candidate."""
    if asked.target is None:
        return None
    example = bench.workspace.example(asked.example)
    plan = bench.datapaths.plan(example, asked.wanted, towards=asked.towards)
    return asked.target if asked.target in plan.candidates else None


def _profile(bench: Workbench, asked: PairAsked, progress: Progress, turn: Turn) -> PairProfile:
    found = bench.datapaths.extract(
        asked.example,
        _target(bench, asked),
        part_of(progress, 0, 0.8),
        asked.wanted,
        nulls=False,
        turn=turn,
        towards=asked.towards,
    )
    apart = distances(bench, found)
    example, resists = found.plan.example, found.plan.resists
    progress(0.8, "turning the prediction back")
    depths = np.array([] if resists else bench.flips.depths(), int)
    turned, random = _flips(bench, example, depths, found.plan.source_label)
    return PairProfile(
        target=found.image(Role.TARGET),
        resists=resists,
        d1=apart.d1,
        d2=apart.d2,
        d3=apart.d3,
        leaves=divergences.diverge(bench, Pair(example.id)).from_class.layer,
        joins=joining(apart.share),
        source=found.source.critical,
        adversarial=found.adversarial.critical,
        core=found.adversarial.core,
        depths=depths,
        turned=turned,
        random=random,
    )


def _flips(bench: Workbench, example: Example, depths: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the layers' maps that it takes to turn adv's prediction back to the class `wanted`, (d,) each: by
    turning effects, and the mean over random orders."""
    if not len(depths):
        return np.zeros(0), np.zeros(0)
    effects = bench.flips.turning(example.id).effects
    adv, src = (bench.workspace.read([name]) for name in (example.adversarial, example.source))
    found = []
    for layer in depths.tolist():
        best = intervention.best_first(bench.layers.part(effects, layer))[None]
        orders = np.concatenate([best, intervention.random_order(RANDOMS, best.shape[1], layer)])[:, None]
        sizes = intervention.flip_sizes(bench.classifier, adv, src, layer, orders, np.array([wanted])).values[:, 0]
        found.append(np.minimum(sizes / best.shape[1], 1.0))
    return np.array([each[0] for each in found]), np.array([each[1:].mean() for each in found])
