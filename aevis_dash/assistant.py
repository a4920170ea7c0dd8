"""The assistant proposes a way back from a wrong prediction to early layers, and tests each hop by patching.

It is a beam search. From the final prediction, and then from the maps that it found, it traces contributions on the
adversarial image to the last layer of each stage, the last stage first. Of the strongest contributors it keeps those
whose activations, put from src's run into adv's, move the margin most towards src's class.

That a map moves the margin does not prove that it is the cause. How many maps it takes together is another question
(`whole_flips`). And the best of several maps may look good by the choice alone. So the choice is made again with other
clean images in src's place, by contributions against them, and its gains stand beside each hop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aevis_dash.config import Progress, counted, part_of, silent
from aevis_dash.domain import (
    PREDICTION,
    WHOLE_PREDICTION,
    AreaOfInterest,
    Contribution,
    FeatureMap,
    Intervention,
    Role,
    Verification,
    Way,
    area_of_neurons,
)
from aevis_dash.workbench import Triplet, Workbench
from aevis_dash.workbench.flips import Choice

FIRST_ORDER = Way("quadratic")
"""Contributions to first order, against the other image of the pair."""
BEAM, CANDIDATES, RANDOMS = 2, 5, 40
"""The number of maps that are kept at each depth, of contributors that are tried for each of these, and of random
single maps beside a kept one."""
LEAST = 0.01
"""The share of the effect below which a contributor is not tried."""
CHANGED, MOST = 0.1, 9
"""The share of a map's neurons whose cause is looked for next, which are those that adv changed most from src, and the
most of them in number."""
_ADV, _SRC = tuple(Role).index(Role.ADVERSARIAL), tuple(Role).index(Role.SOURCE)


@dataclass(frozen=True)
class Hop:
    """One step back from an effect to an earlier map that contributes to it.

    Attributes:
        parent: the number of the hop whose map is the effect; -1 for the prediction.
        effect: the map that was explained, or PREDICTION.
        area: the neurons of the effect that were explained.
        layer: the index of the layer that was traced to.
        map: the channel that was chosen in this layer.
        share: the map's strength as a contributor on adv.
        unexplained: the share of the effect on adv that the contributions leave unexplained.
        on_source: the effect on src over that on adv; NaN for the prediction, which is another class's on src.
        tested: what putting the map alone from src into adv does, beside RANDOMS other single maps that differ.
        alike: a control that is chosen as the map was: for each of d other clean images in src's place
            (`Flips.donors`), the gain of the best of the contributors that are found with it at this depth, (d,). The
            other maps in `tested` were not chosen.
        foil: what the contributions were found against, as in `Way`.
    """

    parent: int
    effect: FeatureMap
    area: AreaOfInterest
    layer: int
    map: int
    share: float
    unexplained: float
    on_source: float
    tested: Verification
    alike: np.ndarray = field(default_factory=lambda: np.zeros(0))
    foil: str = "source"

    @property
    def gain(self) -> float:
        """By how much the map alone moves the margin towards src's class, in logits."""
        return float(self.tested.margins[-1] - self.tested.margins[0])


def propose(
    bench: Workbench, triplet: Triplet, way: Way = FIRST_ORDER, beam: int = BEAM, progress: Progress = silent
) -> tuple[Hop, ...]:
    """Search for a way back from the prediction of adv.

    The search ends where no contributor that differs between the two runs moves the margin towards src's class.

    Args:
        bench: the workbench of the workspace.
        triplet: the example's datapaths.
        way: how contributions are found.
        beam: the number of maps that are kept at each depth.
        progress: is told the share of the work that is done.

    Returns:
        The hops, those of the last stage first, and those of one depth by falling gain.

    Raises:
        AevisError: as `Contributions.contribute` and `Flips.verify`.
    """
    hops: list[Hop] = []
    last = [-1]
    depths, donors = bench.flips.depths()[::-1], bench.flips.donors(triplet.plan.example.id)
    for i, layer in enumerate(depths):
        which = f"{counted('depth', i + 1, i + 1, len(depths))}: "
        inner = part_of(lambda share, what, of=which: progress(share, of + what), i / len(depths), 1 / len(depths))
        tried = [_hops(bench, triplet, hops, parent, layer, way, donors, inner) for parent in last]
        alike = np.max([again for _, again in tried], axis=0)
        kept = [replace(hop, alike=alike) for hop in best([hop for found, _ in tried for hop in found], beam)]
        for hop in kept:
            bench.flips.keep_choice(triplet, Choice(hop.effect, hop.area, hop.layer, way, hop.map), donors, alike)
        last = list(range(len(hops), len(hops) + len(kept)))
        hops += kept
        if not last:
            break
    return tuple(hops)


def whole_flips(bench: Workbench, example_id: str, progress: Progress = silent) -> tuple[Verification, ...]:
    """The smallest set of maps found at each depth that gives src's label back, beside its controls; the first depth
    first.

    Raises:
        AevisError: as `Flips.verify`.
    """
    depths, found = bench.flips.depths(), []
    for i, layer in enumerate(depths):
        progress(i / len(depths), f"searching maps of {bench.layers.layers[layer].name} that turn the prediction")
        found.append(bench.flips.verify(example_id, Intervention(layer)))
    return tuple(found)


def line_of(hops: Sequence[Hop], number: int) -> list[Hop]:
    """The hops that lead from the prediction to the hop of this number, in order."""
    line = []
    while number >= 0:
        line.insert(0, hops[number])
        number = hops[number].parent
    return line


def best_line(hops: Sequence[Hop]) -> list[Hop]:
    """The longest line of hops; of lines of equal length the one whose last hop has the largest gain."""
    if not hops:
        return []
    return line_of(hops, max(range(len(hops)), key=lambda i: (len(line_of(hops, i)), hops[i].gain)))


def changed_area(bench: Workbench, triplet: Triplet, chosen: FeatureMap, foil: str) -> AreaOfInterest | None:
    """The neurons of a map that adv raised most over src: CHANGED of its neurons, at least one and at most MOST.

    Where contributions tell a difference (any foil but "zero"), and adv lowered some neuron by more than it raised any,
    they are the neurons that it lowered most. None where adv changed no neuron so.
    """
    maps = [bench.maps.activation_maps(triplet.image(role), chosen.layer)[chosen.channel] for role in Role]
    more = np.nan_to_num(maps[_ADV] - maps[_SRC])  # places without a neuron have not changed
    if foil != "zero" and -more.min() > more.max():
        more = -more
    most = np.argsort(-more.ravel(), kind="stable")[: min(MOST, max(1, round(CHANGED * more.size)))]
    return area_of_neurons(chosen.layer, np.isin(np.arange(more.size), most).reshape(more.shape) & (more > 0))


def _hops(
    bench: Workbench,
    triplet: Triplet,
    hops: Sequence[Hop],
    parent: int,
    layer: int,
    way: Way,
    donors: Sequence[str],
    progress: Progress,
) -> tuple[list[Hop], np.ndarray]:
    """The hops from one effect, and for each donor the gain of its best contributor (-inf where there is none)."""
    effect, area = PREDICTION, WHOLE_PREDICTION
    nothing: tuple[list[Hop], np.ndarray] = [], np.full(len(donors), -np.inf)
    if parent >= 0:
        effect = FeatureMap(hops[parent].layer, hops[parent].map)
        found = changed_area(bench, triplet, effect, way.foil)
        if found is None or layer not in bench.contributions.sources(effect.layer):
            return nothing
        area = found
    name = bench.layers.layers[layer].name
    progress(0.0, f"tracing contributions to {name}")
    traced = bench.contributions.contribute(triplet, effect, area, layer, way, progress)
    example, maps = triplet.plan.example.id, _candidates(traced, _ADV)
    if not maps:
        return nothing
    gains = bench.flips.single_effects(example, layer, maps)
    progress(0.5, f"making the choice at {name} again with other images")
    alike = _choose_again(bench, triplet, traced, maps, donors)
    moving = [m for m, gain in zip(maps, gains.tolist(), strict=True) if gain > 0]
    chosen = [m for m in moving if _is_one_of_several(bench, example, layer, m)]
    return [_hop(bench, example, parent, traced, m) for m in chosen], alike


def _candidates(traced: Contribution, row: int) -> list[int]:
    """The strongest contributors on the image at a row, CANDIDATES at most, of strength LEAST at least."""
    strength = traced.strength(row)
    return [m for m in traced.ranking(row)[:CANDIDATES].tolist() if strength[m] >= LEAST]


def _choose_again(
    bench: Workbench, triplet: Triplet, traced: Contribution, maps: Sequence[int], donors: Sequence[str]
) -> np.ndarray:
    """For each donor in src's place the gain of the best contributor that would have been found with it, (d,).

    Contributions against src are found again against each donor, since they know of src. All others are the same with
    any donor. It is -inf for a donor without contributors.
    """
    example = triplet.plan.example.id
    each = [list(maps)] * len(donors)
    if donors and traced.foil == "source":
        again = bench.contributions.against_others(triplet, traced.target, traced.area, traced.layer, donors)
        each = [_candidates(again, row) for row in range(len(donors))]
    return bench.flips.donor_effects(example, traced.layer, each, donors).max(1, initial=-np.inf)


def _is_one_of_several(bench: Workbench, example_id: str, layer: int, channel: int) -> bool:
    """Whether other maps of the layer differ between the two runs too. A map that is alone in this cannot be tested."""
    example = bench.workspace.example(example_id)
    apart = bench.layers.part(bench.maps.maxima(example.adversarial) != bench.maps.maxima(example.source), layer)
    return bool(np.delete(apart, channel).any())


def _hop(bench: Workbench, example: str, parent: int, traced: Contribution, channel: int) -> Hop:
    tested = bench.flips.verify(example, Intervention(traced.layer, (channel,), randoms=RANDOMS))
    comparable = traced.target != PREDICTION and traced.effect[_ADV] > 0
    return Hop(
        parent=parent,
        effect=traced.target,
        area=traced.area,
        layer=traced.layer,
        map=channel,
        share=float(traced.strength(_ADV)[channel]),
        unexplained=float(traced.residual[_ADV]),
        on_source=float(traced.effect[_SRC] / traced.effect[_ADV]) if comparable else float("nan"),
        tested=tested,
        foil=traced.foil,
    )


def best(found: Sequence[Hop], beam: int) -> list[Hop]:
    """The best hops of one depth by gain, at most `beam`. A map that was found on two ways counts by the stronger
    way."""
    strongest: dict[int, Hop] = {}
    for hop in sorted(found, key=lambda h: h.share):
        strongest[hop.map] = hop
    return sorted(strongest.values(), key=lambda h: -h.gain)[:beam]
