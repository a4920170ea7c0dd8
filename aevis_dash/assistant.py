"""The assistant: a proposal of the way back from a wrong prediction to early layers, each hop tested by patching.

A beam search. From the final prediction, then from the maps it found, it traces contributions on the adversarial image
to the last layer of each stage, the last stage first; of the strongest contributors it keeps those whose activations,
put from src's run into adv's, move the margin most towards src's class. What it gives are figures; that a map moves the
margin does not say that it is the cause, and how many maps it takes together is a question of its own (`whole_flips`).
As the best of several is chosen for what it does, it does much by choice alone: so the choice is made again, from the
same contributors, with other clean images in src's place, and stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aevis_dash.config import Progress, part_of, silent
from aevis_dash.domain import (
    PREDICTION,
    WHOLE_PREDICTION,
    AreaOfInterest,
    Contribution,
    FeatureMap,
    Intervention,
    Role,
    Verification,
    area_of_neurons,
)
from aevis_dash.workbench import Triplet, Workbench
from aevis_dash.workbench.flips import Choice

BEAM, CANDIDATES, RANDOMS = 2, 5, 40
"""Maps kept at each depth, contributors tried for each of them, and random single maps beside a kept one."""
LEAST = 0.01
"""Share of the effect below which a map is no candidate."""
RAISED, MOST = 0.1, 9
"""Share of a map's neurons, those that adv raised most over src, whose cause is looked for next; at most so many."""
_ADV, _SRC = tuple(Role).index(Role.ADVERSARIAL), tuple(Role).index(Role.SOURCE)


@dataclass(frozen=True)
class Hop:
    """One step back: `area` of `effect` was traced to `layer`, where `map` was found.

    parent          the number of the hop whose map is the effect, -1 for the prediction
    share           the map's strength as a contributor on adv
    unexplained     what the contributions leave of the effect on adv
    on_source       the effect on src over that on adv; NaN for the prediction, which is another class's there
    tested          the map alone put from src into adv, beside RANDOMS single maps that differ
    alike           (d,) the gain of the map that would be the best of this depth with another clean image in src's
                    place (`Flips.donors`), from the contributors that this depth was chosen from: the other maps
                    in `tested` were not chosen, this control was
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

    @property
    def gain(self) -> float:
        """By how much the map alone moves the margin towards src's class."""
        return float(self.tested.margins[-1] - self.tested.margins[0])


def propose(
    bench: Workbench, triplet: Triplet, how: str = "quadratic", beam: int = BEAM, progress: Progress = silent
) -> tuple[Hop, ...]:
    """The hops of a beam search back from the prediction of adv; those of a depth by falling gain.

    `how` are the contributions found. The search ends where no contributor that differs moves the margin towards src's
    class. Raises AevisError as `Contributions.contribute` and `Flips.verify`.
    """
    hops: list[Hop] = []
    last = [-1]
    depths, donors = bench.flips.depths()[::-1], bench.flips.donors(triplet.plan.example.id)
    for i, layer in enumerate(depths):
        inner = part_of(progress, i / len(depths), 1 / len(depths))
        tried = [_hops(bench, triplet, hops, parent, layer, how, donors, inner) for parent in last]
        alike = np.max([again for _, again in tried], axis=0)
        kept = [replace(hop, alike=alike) for hop in best([hop for found, _ in tried for hop in found], beam)]
        for hop in kept:
            bench.flips.keep_choice(triplet, Choice(hop.effect, hop.area, hop.layer, how, hop.map), donors, alike)
        last = list(range(len(hops), len(hops) + len(kept)))
        hops += kept
        if not last:
            break
    return tuple(hops)


def whole_flips(bench: Workbench, example_id: str, progress: Progress = silent) -> tuple[Verification, ...]:
    """At each depth, the first one first: the smallest set found that gives src's label back, beside its controls."""
    depths, found = bench.flips.depths(), []
    for i, layer in enumerate(depths):
        progress(i / len(depths), f"searching maps of {bench.layers.layers[layer].name} that turn the prediction")
        found.append(bench.flips.verify(example_id, Intervention(layer)))
    return tuple(found)


def line_of(hops: Sequence[Hop], number: int) -> list[Hop]:
    """The hops that lead to one, from the prediction on."""
    line = []
    while number >= 0:
        line.insert(0, hops[number])
        number = hops[number].parent
    return line


def best_line(hops: Sequence[Hop]) -> list[Hop]:
    """The longest line; of equal ones that whose last hop has the largest gain."""
    if not hops:
        return []
    return line_of(hops, max(range(len(hops)), key=lambda i: (len(line_of(hops, i)), hops[i].gain)))


def raised_area(bench: Workbench, triplet: Triplet, chosen: FeatureMap) -> AreaOfInterest | None:
    """The neurons of a map that adv raised most over src, RAISED of them and at most MOST; None where none is."""
    maps = [bench.maps.activation_maps(triplet.image(role), chosen.layer)[chosen.channel] for role in Role]
    more = (maps[_ADV] - maps[_SRC]).reshape(-1, maps[0].shape[-1] if maps[0].ndim else 1)
    most = np.argsort(-more.ravel(), kind="stable")[: min(MOST, max(1, round(RAISED * more.size)))]
    return area_of_neurons(chosen.layer, np.isin(np.arange(more.size), most).reshape(more.shape) & (more > 0))


def _hops(
    bench: Workbench,
    triplet: Triplet,
    hops: Sequence[Hop],
    parent: int,
    layer: int,
    how: str,
    donors: Sequence[str],
    progress: Progress,
) -> tuple[list[Hop], np.ndarray]:
    """The hops from one effect, and for each donor the gain of its best contributor (-inf where there is none)."""
    effect, area = PREDICTION, WHOLE_PREDICTION
    nothing: tuple[list[Hop], np.ndarray] = [], np.full(len(donors), -np.inf)
    if parent >= 0:
        effect = FeatureMap(hops[parent].layer, hops[parent].map)
        found = raised_area(bench, triplet, effect)
        if found is None or layer not in bench.contributions.sources(effect.layer):
            return nothing
        area = found
    name = bench.layers.layers[layer].name
    progress(0.0, f"tracing contributions to {name}")
    traced = bench.contributions.contribute(triplet, effect, area, layer, progress, how)
    example, strength = triplet.plan.example.id, traced.strength(_ADV)
    maps = [m for m in traced.ranking(_ADV)[:CANDIDATES].tolist() if strength[m] >= LEAST]
    if not maps:
        return nothing
    gains = bench.flips.single_effects(example, layer, maps)
    progress(0.5, f"making the choice at {name} again with other images")
    alike = bench.flips.donor_effects(example, layer, maps, donors).max(1)
    moving = [m for m, gain in zip(maps, gains.tolist(), strict=True) if gain > 0]
    chosen = [m for m in moving if _is_one_of_several(bench, example, layer, m)]
    return [_hop(bench, example, parent, traced, m) for m in chosen], alike


def _is_one_of_several(bench: Workbench, example_id: str, layer: int, channel: int) -> bool:
    """Whether other maps of the layer differ too: a map that is the whole of a layer cannot be tested."""
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
    )


def best(found: Sequence[Hop], beam: int) -> list[Hop]:
    """Of the hops of one depth the best by gain; a map found on two ways counts by the stronger one."""
    strongest: dict[int, Hop] = {}
    for hop in sorted(found, key=lambda h: h.share):
        strongest[hop.map] = hop
    return sorted(strongest.values(), key=lambda h: -h.gain)[:beam]
