"""The lines of the bench of extraction methods: what was measured of a method, summed up over the examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.core import evaluation
from aevis_dash.core.necessity import WAYS
from aevis_dash.domain import CONTROLS
from aevis_dash.image_pair import Yardstick

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The shares of each layer's maps in the hard sets at which all methods are compared."""

NEEDED = ("lost", "lost_null", "turned", "turned_null", "single", "single_null")
"""The measures of `core.necessity`, which are all taken in each of its WAYS."""
FIGURE_LINES = {
    "core": "core, share of maps",
    "size": "hard set, share of maps",
    "others": "hard set says it of other images",
    "noise": "Jaccard, one grey level",
    "seeds": "Jaccard, another seed",
    "causal": "causal rank agreement",
    "flip last stage": "flip-back, share of last stage",
    "passes": "passes",
}
"""The lines that the bench's figure shows, with their titles."""


@dataclass(frozen=True)
class CausalControls:
    """How well orders that know no datapath agree with the true effects at the yardstick's layers.

    These orders see src's run. Attribution patching asks the yardstick's own question, to first order, for two passes.
    Methods that are given no foil do not see src and cannot know the answer. The turning effects see src too, and take
    8 passes for all layers together.

    Attributes:
        agreement: the rank correlation of each order of CONTROLS with the true effects at each sampled layer, (c,
            layers).
        turning: the same of the order by turning effects, (layers,).
        turning_flips: the share of the maps of each stage's last layer that must be patched from src into adv to flip
            the label back, in the order of the turning effects, (d,).
    """

    agreement: np.ndarray
    turning: np.ndarray
    turning_flips: np.ndarray


@dataclass(frozen=True)
class Measures:
    """What was measured of one method on one example.

    Attributes:
        core: the share of the maps in the core, the fewest maps that keep the label.
        size: the share of the maps in the hard set as the user gets it.
        keeps: whether that hard set keeps the label.
        others: the share of images of other classes of which the hard set alone says the label too.
        core_others: the same for the core.
        kept: whether the hard set of each of SHARES keeps the label, (6,).
        kl: KL(p || p(hard)) at each of SHARES, in nats, (6,).
        dead: the share of the hard set's maps that do not fire on the image.
        causal: the rank correlation of the gates with the true effects of patching, at each sampled layer, (c,).
        flips: the share of the maps of each stage's last layer that must be patched from src into adv to flip the label
            back, those with the largest sum of adv's and src's gates first, (d,).
        noise: the Jaccard index of the hard set with that under noise of one grey level. This and the next four are NaN
            where stability is not asked for; the bench leaves out those that a method has no parameter for.
        seeds: the Jaccard index with the hard set of another seed.
        order: the Jaccard index with the hard set where src is found before adv.
        halved: the Jaccard index with the hard set where lambda and gamma are halved.
        doubled: the same where they are doubled.
        noise_rank: the rank correlation of the gates with those under the noise.
        lost: what is lost of adv's margin without the hard set, by the two ways of `core.necessity`, (2,).
        lost_null: the median of the same over random sets of as many maps in each layer, (2,).
        turned: whether the label is lost without the hard set, 1 or 0, (2,).
        turned_null: the share of the random sets without which it is lost, (2,).
        single: what is lost of the margin without one map, the mean over the set's first maps, (2,).
        single_null: the mean of the same over random maps of the same layers, (2,).
        passes: the passes that adv's datapath took.
        seconds: the seconds that it took.
    """

    core: float
    size: float
    keeps: bool
    others: float
    core_others: float
    kept: np.ndarray
    kl: np.ndarray
    dead: float
    causal: np.ndarray
    flips: np.ndarray
    noise: float
    seeds: float
    order: float
    halved: float
    doubled: float
    noise_rank: float
    lost: np.ndarray
    lost_null: np.ndarray
    turned: np.ndarray
    turned_null: np.ndarray
    single: np.ndarray
    single_null: np.ndarray
    passes: float
    seconds: float


def summary(results: Sequence[Measures], rods: Sequence[Yardstick], seed: int = 0) -> dict[str, evaluation.Estimate]:
    """Every line of the bench for one method, over the examples, each with a bootstrap interval.

    Sizes and correlations are medians, and what is a yes or no is a mean.

    Args:
        results: what was measured on each example.
        rods: the yardsticks of the same examples, in the same order.
        seed: of the bootstrap.
    """
    lines: dict[str, evaluation.Estimate] = {}
    for name, statistic in _LINES.items():
        values = np.array([np.asarray(getattr(m, name), float) for m in results])
        for i, label in enumerate(_labels(name, values)):
            column = values[:, i] if values.ndim > 1 else values
            lines[label] = evaluation.bootstrap(column, seed, statistic=statistic)
    lines["causal"] = _median([float(np.nanmean(m.causal)) for m in results], seed)
    lines["flip last stage"] = _median([m.flips[-1] for m in results], seed)
    blind = [min(r.random[-1], r.controls[_DIFFERENCE, -1]) for r in rods]
    integrated = [r.controls[_INTEGRATED, -1] for r in rods]
    for name, best in (("better control", blind), ("integrated", integrated)):
        shares = [m.flips[-1] / control for m, control in zip(results, best, strict=True)]
        lines[f"flip / {name}"] = _median(shares, seed)
    return lines


def controls(
    rods: Sequence[Yardstick], blind: Sequence[CausalControls] = (), seed: int = 0
) -> dict[str, evaluation.Estimate]:
    """The lines of the controls: the flip-back at every stage, and the causal agreement, of orders without a datapath.

    These are the orders of CONTROLS and that by turning effects.

    A flip-back is the share of the maps of the stage's last layer that random orders, or these, take.
    "flip single" is what the order of all true single-map effects takes in the last stage.

    Args:
        rods: the yardsticks of the examples.
        blind: the causal controls of the same examples.
        seed: of the bootstrap.
    """
    lines = {}
    for i in range(len(rods[0].depths)):
        lines[f"flip random {i}"] = _median([r.random[i] for r in rods], seed)
        for k, name in enumerate(CONTROLS):
            lines[f"flip {name} {i}"] = _median([r.controls[k, i] for r in rods], seed)
    for k, name in enumerate(CONTROLS):
        lines[f"causal {name}"] = _median([float(np.nanmean(each.agreement[k])) for each in blind], seed)
    lines["causal turning"] = _median([float(np.nanmean(each.turning)) for each in blind], seed)
    for i in range(len(rods[0].depths) if blind else 0):
        lines[f"flip turning {i}"] = _median([each.turning_flips[i] for each in blind], seed)
    return lines | {"flip single": _median([r.single for r in rods], seed)}


_DIFFERENCE, _INTEGRATED = (CONTROLS.index(name) for name in ("difference", "integrated"))
_LINES = {
    "core": "median",
    "size": "median",
    "keeps": "mean",
    "others": "mean",
    "core_others": "mean",
    "kept": "mean",
    "kl": "median",
    "dead": "mean",
    "flips": "median",
    "noise": "median",
    "seeds": "median",
    "order": "median",
    "halved": "median",
    "doubled": "median",
    "noise_rank": "median",
    "lost": "median",
    "lost_null": "median",
    "turned": "mean",
    "turned_null": "mean",
    "single": "median",
    "single_null": "median",
    "passes": "median",
    "seconds": "median",
}


def _labels(name: str, values: np.ndarray) -> list[str]:
    if values.ndim == 1:
        return [name]
    if name in NEEDED:
        return [f"{name} {way}" for way in WAYS]
    ends = [f"{share:.1%}" for share in SHARES] if name in ("kept", "kl") else [str(i) for i in range(values.shape[1])]
    return [f"{name} {end}" for end in ends]


def _median(values: Sequence[float], seed: int) -> evaluation.Estimate:
    return evaluation.bootstrap(values, seed, statistic="median")
