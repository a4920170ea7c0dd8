"""Two models side by side on the same pairs, such as a standard and a robust one, or one before and after fine-tuning.

The *first* model's misclassified pairs are taken, of which the second workspace has the same images, by content and not
by name. Both models make a profile of each pair (`pair_profile`). The second model need not be fooled: it *resists*
where it predicts the adversarial as it predicts the source. Its targets are then of the class that the first model
takes the adversarial for.

Which map of the second model is "the same map" is tested (`core.kinship`), and said only of layers that pass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aevis_dash.config import ExtractionParameters, Progress, part_of, silent
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.core.kinship import overlap
from aevis_dash.domain import AevisError, JudgedExample, LayerGraph
from aevis_dash.pair_profile import PairProfile, profile, shares, stored_profile
from aevis_dash.pairs_of_two import SharedPair, asked_first, asked_second, chosen_pairs, shared_pairs
from aevis_dash.same_maps import KnownKinship, known_kinship
from aevis_dash.sample import Sample
from aevis_dash.sight import one_sight
from aevis_dash.workbench import Workbench


@dataclass(frozen=True)
class ComparedPair:
    """A pair with the profiles that the two models make of it; or None with the reason in `refused`."""

    pair: SharedPair
    first: PairProfile | None
    second: PairProfile | None
    refused: str = ""


@dataclass(frozen=True)
class MedianLine:
    """One number of both models over the pairs that have it: medians, and that of the difference within a pair.

    Attributes:
        name: what it is.
        first: the median of the first model.
        second: that of the second model.
        difference: the median of second less first, over the pairs for which both are known.
    """

    name: str
    first: Estimate
    second: Estimate
    difference: Estimate


@dataclass(frozen=True)
class TwoModels:
    """The comparison of two models.

    Attributes:
        models: the names of the two models.
        graphs: their layers.
        pairs: the pairs that were compared.
        shared: how many pairs that fool the first model both workspaces have.
        fooled: how many pairs fool the first model.
        kin: the tests of which maps are the same.
        seed: of the bootstrap.
    """

    models: tuple[str, str]
    graphs: tuple[LayerGraph, LayerGraph]
    pairs: tuple[ComparedPair, ...]
    shared: int
    fooled: int
    kin: KnownKinship
    seed: int = 0

    @property
    def alike(self) -> bool:
        """Whether the two models have the same layers, by name and number of maps."""
        return alike(*self.graphs)

    @cached_property
    def lines(self) -> tuple[MedianLine, ...]:
        """The numbers of LINES over all pairs."""
        found = []
        for name, of in LINES.items():
            sides = np.array(
                [
                    [_number(of, pair.pair.first, pair.first), _number(of, pair.pair.second, pair.second)]
                    for pair in self.pairs
                ]
            ).reshape(-1, 2)
            first, second, difference = (
                bootstrap(values, self.seed, statistic="median")
                for values in (sides[:, 0], sides[:, 1], sides[:, 1] - sides[:, 0])
            )
            found.append(MedianLine(name, first, second, difference))
        return tuple(found)

    def medians(self, name: str, side: int) -> tuple[np.ndarray, np.ndarray]:
        """The median over pairs of one of CURVES at every layer that has it.

        Args:
            name: the name of the curve.
            side: 0 for the first model, 1 for the second.

        Returns:
            The indices of the layers, int (l,), and the medians there, (l,).
        """
        graph = self.graphs[side]
        profiles = [found for pair in self.pairs if (found := (pair.first, pair.second)[side]) is not None]
        curves = [curve for found in profiles if len((curve := CURVES[name](graph, found))[0])]
        if not curves:
            return np.zeros(0, int), np.zeros(0)
        values = np.array([values for _, values in curves])
        known = np.isfinite(values).any(axis=0)
        return curves[0][0][known], np.nanmedian(values[:, known], axis=0)


LINES: Mapping[str, Callable[[JudgedExample, PairProfile], float]] = {
    "margin of the attack, in logits": lambda judged, _: judged.margin.value,
    "depth at which adv leaves src": lambda _, found: found.leaves_at,
    "depth at which adv joins tar": lambda _, found: found.joins_at,
    "way of adv from src to tar at the last layer": lambda _, found: float(found.way[-1]),
    "hard set of src, % of maps": lambda _, found: 100 * float(found.source.mean()),
    "hard set of adv, % of maps": lambda _, found: 100 * float(found.adversarial.mean()),
    "core of adv, % of maps": lambda _, found: 100 * float(found.core.mean()),
    "maps that turn it back, % of a layer": lambda _, found: 100 * _mean(found.turned),
    "the same with random maps": lambda _, found: 100 * _mean(found.random),
}
"""The numbers of a pair that are compared, by their names. A pair whose model is not fooled turns nothing back."""

CURVES: Mapping[str, Callable[[LayerGraph, PairProfile], tuple[np.ndarray, np.ndarray]]] = {
    "apart": lambda graph, found: (np.arange(len(graph)), found.d2),
    "way": lambda graph, found: (np.arange(len(graph)), found.way),
    "source": lambda graph, found: (np.arange(len(graph)), shares(graph, found.source)),
    "adversarial": lambda graph, found: (np.arange(len(graph)), shares(graph, found.adversarial)),
    "core": lambda graph, found: (np.arange(len(graph)), shares(graph, found.core)),
    "turned": lambda _, found: (found.depths, found.turned),
    "random": lambda _, found: (found.depths, found.random),
}
"""The layer profiles of a pair by their names: the distance of adv from src, its place on the way to tar, the shares of
each layer's maps that are in src's hard set, adv's hard set and adv's core, and the shares that turn the prediction
back, by turning effects and at random. Each gives the layers and the values there."""


def alike(first: LayerGraph, second: LayerGraph) -> bool:
    """Whether two models have the same layers, by name and number of maps."""
    return [(x.name, x.channels) for x in first.layers] == [(x.name, x.channels) for x in second.layers]


def compare(
    first: Workbench,
    second: Workbench,
    sample: Sample,
    wanted: ExtractionParameters,
    examples: Sequence[str] | None = None,
    progress: Progress = silent,
) -> TwoModels:
    """Compare two models on the pairs of a sample. Datapaths that are not stored are extracted, in each one's store.

    Args:
        first: the workbench of the first model, whose misclassified pairs are taken.
        second: that of the second model.
        sample: which pairs are taken.
        wanted: the extraction parameters, for both models.
        examples: the IDs of the first workspace's examples that are taken; None for the sample.
        progress: is told the share of the work that is done.

    Raises:
        AevisError: as `chosen_pairs`.
    """
    chosen = chosen_pairs(first, second, sample, examples)
    kin = known_kinship(first, second, part_of(progress, 0, 0.05))
    found = []
    for i, pair in enumerate(chosen):
        inner = part_of(progress, 0.05 + 0.95 * i / len(chosen), 0.95 / len(chosen))
        found.append(compare_pair(first, second, pair, wanted, inner))
    return of_pairs(first, second, found, kin, sample.seed)


def of_pairs(
    first: Workbench, second: Workbench, pairs: Sequence[ComparedPair], kin: KnownKinship, seed: int = 0
) -> TwoModels:
    """Put compared pairs together."""
    fooled = sum(judged.misclassified for judged in first.judging.judged_examples())
    names = model_names(first, second)
    shared = len(shared_pairs(first, second))
    return TwoModels(names, (first.layers, second.layers), tuple(pairs), shared, fooled, kin, seed)


def compare_pair(
    first: Workbench,
    second: Workbench,
    pair: SharedPair,
    wanted: ExtractionParameters,
    progress: Progress = silent,
) -> ComparedPair:
    """The profiles that the two models make of a pair; the reason where one of them cannot be made.

    The second model's target is the first one's, where that is one of its candidates.

    Args:
        first: the workbench of the first model.
        second: that of the second one.
        pair: the pair.
        wanted: the extraction parameters.
        progress: is told the share of the work that is done.
    """
    here = there = None
    try:
        here = profile(first, asked_first(pair, wanted), part_of(progress, 0, 0.5))
        asked = asked_second(first, second, pair, wanted, here.target)
        there = profile(second, asked, part_of(progress, 0.5, 0.5))
    except AevisError as error:
        return ComparedPair(pair, here, there, str(error))
    return ComparedPair(pair, here, there)


@one_sight()
def stored_pair(
    first: Workbench, second: Workbench, pair: SharedPair, wanted: ExtractionParameters
) -> ComparedPair | None:
    """The result of `compare_pair` where both profiles are stored; None otherwise. Nothing is computed."""
    try:
        here = stored_profile(first, asked_first(pair, wanted))
        if here is None:
            return None
        there = stored_profile(second, asked_second(first, second, pair, wanted, here.target))
    except AevisError:
        return None
    return None if there is None else ComparedPair(pair, here, there)


def common_maps(found: TwoModels, pair: ComparedPair, role: str) -> tuple[int, int, int, float]:
    """How many maps both models need of the layers that passed the test, beside chance.

    Args:
        found: the comparison.
        pair: one of its pairs, with both profiles.
        role: "source" or "adversarial".

    Returns:
        The number of maps that the first model needs there, that the second one needs, that both need, and the mean of
        the latter by chance, which draws the second one's maps anew within each layer.
    """
    assert pair.first is not None
    assert pair.second is not None
    total = np.zeros(4)
    for name in found.kin.passed:
        one, other = (
            graph.part(getattr(of, role), graph.find(name).index)
            for graph, of in zip(found.graphs, (pair.first, pair.second), strict=True)
        )
        same = found.kin.tests[name].own
        both, chance = overlap(one, other, same)
        total += [(one & same).sum(), (other & same).sum(), both, chance]
    return int(total[0]), int(total[1]), int(total[2]), float(total[3])


def model_names(first: Workbench, second: Workbench) -> tuple[str, str]:
    """What the models of two workspaces are called beside one another: their folders' names, told apart where these are
    alike."""
    one, other = (bench.workspace.root.resolve().name for bench in (first, second))
    return (one, other) if one != other else (f"{one} (first)", f"{other} (second)")


def _number(
    of: Callable[[JudgedExample, PairProfile], float], judged: JudgedExample, found: PairProfile | None
) -> float:
    return float("nan") if found is None else of(judged, found)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
