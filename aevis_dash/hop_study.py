"""How often a hop of a trail exceeds its controls, over the examples of a workspace.

The assistant proposes a trail for every example, with its default settings. Its hops are judged twice: those of the
line that the page tells (`assistant.best_line`), and the best hop of each depth. Both stand beside two controls, which
`assistant.Hop` holds: random other maps of the layer (`tested.chance`), and the choice that is made again with other
clean images, the *donors*, in src's place (`alike`).

A donor's choice keeps the best map of a depth, and the line may lead over the second best one. So for the hops of the
line the control is strict: if src were a donor like any other, they would exceed less than half of the donors on
average, and all d of them in less than one case of d + 1. For the best hop of each depth, which is kept as the donors'
maps are, chance gives just these numbers, but for one thing that is left: a depth without a map that moves the margin
towards src's class has no hop, and donors are not asked for that. The maps that are followed to a depth are found with
src, for the donors' choice too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash import assistant
from aevis_dash.assistant import Hop, best_line, line_of, propose
from aevis_dash.config import Progress, silent
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.sample import Sample, choose, do_each
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench
from aevis_dash.workbench.base import VERSIONS

TOLD, BEST = "told", "best of its depth"
"""Which hops are judged: those of the line that is told, and the best one of each depth."""
ALL = "all depths"
LINES = ("hops", "all random maps", "most random maps", "all donors", "by chance", "part of donors", "gain")
MOST = 0.95
"""The share of the random maps that a hop exceeds by the line "most random maps"."""
VERSION = 1


@dataclass(frozen=True)
class JudgedHops:
    """The h hops of one example's trail beside their controls.

    Attributes:
        depth: how many hops lead to each, (h,); 0 for those of the last stage.
        told: whether the line that is told leads over it, bool (h,).
        best: whether no other hop of its depth moves the margin more, bool (h,).
        gain: by how much its map alone moves the margin, as a part of the size of adv's margin, (h,).
        weaker: the number of random other maps that move the margin less, (h,).
        randoms: the number of these other maps, (h,).
        beaten: the number of donors with which the same choice moves the margin less, (h,). A donor with which there is
            no contributor counts among them, as on the page.
        donors: the number of donors, (h,).
    """

    depth: np.ndarray
    told: np.ndarray
    best: np.ndarray
    gain: np.ndarray
    weaker: np.ndarray
    randoms: np.ndarray
    beaten: np.ndarray
    donors: np.ndarray


def compare_hops(
    bench: Workbench, sample: Sample, progress: Progress = silent
) -> tuple[tuple[str, ...], dict[str, dict[str, Estimate]]]:
    """Propose a trail for every example of a sample, and judge its hops.

    Args:
        bench: the workbench of the workspace.
        sample: which examples are taken, and where the tasks run.
        progress: is told the share of the work that is done.

    Returns:
        The IDs of the examples, and the lines of `summary`.

    Raises:
        AevisError: where no example is misclassified, and as `assistant.propose`.
    """
    examples = tuple(example.id for example in choose(bench, sample))
    found = do_each(bench, judged_hops, examples, sample, progress)
    names = [bench.layers.layers[layer].name for layer in bench.flips.depths()[::-1]]
    return examples, summary(found, names, sample.seed)


@one_sight()
def judged_hops(bench: Workbench, example_id: str) -> JudgedHops:
    """The task for one example; from the store where it is stored."""
    example, donors = bench.workspace.example(example_id), bench.flips.donors(example_id)
    images = [bench.workspace.image_hash(name) for name in (example.adversarial, example.source, *donors)]
    search = [assistant.FIRST_ORDER, assistant.BEAM, assistant.CANDIDATES, assistant.RANDOMS, assistant.LEAST]
    key = key_of(
        "hops",
        VERSION,
        model=bench.classifier.fingerprint,
        images=images,
        search=[*search, assistant.CHANGED, assistant.MOST, bench.workspace.settings.contribution.sparsity],
        made_of=[VERSIONS[kind] for kind in ("contribution", "effects", "verification")],
    )

    def compute() -> JudgedHops:
        return judge(propose(bench, bench.datapaths.extract(example_id, nulls=False)))

    return bench.store.remember(key, JudgedHops, compute)


def judge(hops: Sequence[Hop]) -> JudgedHops:
    """Count what each hop of a trail exceeds.

    Args:
        hops: the hops as `assistant.propose` gives them, those of one depth by falling gain.
    """
    line = best_line(hops)
    depth = [len(line_of(hops, i)) - 1 for i in range(len(hops))]
    return JudgedHops(
        depth=np.array(depth, int),
        told=np.array([hop in line for hop in hops], bool),
        best=np.array([depth.index(of) == i for i, of in enumerate(depth)], bool),
        gain=np.array([hop.gain / abs(hop.tested.margins[0]) for hop in hops], float),
        weaker=np.array([(hop.tested.chance < hop.tested.margins[-1]).sum() for hop in hops], int),
        randoms=np.array([len(hop.tested.chance) for hop in hops], int),
        beaten=np.array([(hop.alike < hop.gain).sum() for hop in hops], int),
        donors=np.array([len(hop.alike) for hop in hops], int),
    )


def summary(found: Sequence[JudgedHops], names: Sequence[str], seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """Sum up the hops of many examples.

    Args:
        found: the judged hops of each example.
        names: what each depth is called, the last stage first.
        seed: of the intervals.

    Returns:
        For TOLD and for BEST, by each depth and over ALL, under names such as "told, all depths", the LINES with their
        95 % bootstrap intervals over examples. "hops" is the number of hops that an example has. The other lines are
        means over an example's hops, and then over the examples that have any; "gain" is a median of medians.
        "by chance" is the share that one of d + 1 choices of a kind has to exceed all d others: 1 / (d + 1).
    """
    told, by_hop = {}, [_by_hop(each) for each in found]
    for kind in (TOLD, BEST):
        for depth, name in enumerate([*names, ALL]):
            chosen = [(each.told if kind == TOLD else each.best) & _is_at(each, depth, name) for each in found]
            told[f"{kind}, {name}"] = {
                line: _sum_up([of[line][some] for of, some in zip(by_hop, chosen, strict=True)], line, seed)
                for line in LINES
            }
    return told


def _is_at(hops: JudgedHops, depth: int, name: str) -> np.ndarray:
    return np.full(len(hops.depth), True) if name == ALL else hops.depth == depth


def _by_hop(hops: JudgedHops) -> dict[str, np.ndarray]:
    """What each of LINES says of each hop, (h,); NaN where there is nothing to hold it against."""
    random, donors = _part(hops.weaker, hops.randoms), _part(hops.beaten, hops.donors)
    numbers = (
        np.ones(len(hops.depth)),
        _reaches(random, 1),
        _reaches(random, MOST),
        _reaches(donors, 1),
        np.where(hops.donors > 0, 1 / (hops.donors + 1), np.nan),
        donors,
        hops.gain,
    )
    return dict(zip(LINES, numbers, strict=True))


def _part(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(count, total, out=np.full(len(total), np.nan), where=total > 0)


def _reaches(part: np.ndarray, least: float) -> np.ndarray:
    return np.where(np.isnan(part), np.nan, part >= least)


def _sum_up(values: Sequence[np.ndarray], line: str, seed: int) -> Estimate:
    """One line over examples, from the values of each example's hops."""
    if line == "hops":
        return bootstrap([each.sum() for each in values], seed)
    statistic, of = ("median", np.median) if line == "gain" else ("mean", np.mean)
    known = [each[~np.isnan(each)] for each in values]
    return bootstrap([float(of(each)) if len(each) else np.nan for each in known], seed, statistic=statistic)
