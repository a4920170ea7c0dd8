"""The bench of extraction methods: every method on the same adversarials, beside controls.

One *task* measures one method on one adversarial and stores the result. All methods are held against the example's
`Yardstick`: the true effects of patching, and the controls. It is measured once. Shares are shares of the network's
maps, or of a layer's maps where a layer is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aevis_dash import tasks
from aevis_dash.config import ExtractionParameters, Progress, part_of, silent
from aevis_dash.core import datapath, evaluation, measures
from aevis_dash.domain import CONTROLS, Datapath
from aevis_dash.image_pair import ImagePair, Yardstick, sampled_layers
from aevis_dash.memory import in_fresh_process, peak_of
from aevis_dash.sample import Sample, choose
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench, open_workbench

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The shares of each layer's maps in the hard sets at which all methods are compared."""
_VERSIONS = {"measures": 4, "yardstick": 5, "controls": 6}
"""The version of each kind of result that the bench stores of an example. It is raised when the results of that kind
change for the same parameters."""
_SAMPLED_LAYERS, _SAMPLED_MAPS, _OTHERS = 4, 32, 4

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
class Trial:
    """What a task measures: one method on one example.

    Attributes:
        example: the ID of the example.
        wanted: the extraction parameters, with the method.
        variants: whether its stability is measured too, by five repeated extractions.
    """

    example: str
    wanted: ExtractionParameters
    variants: bool


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
    passes: float
    seconds: float


@dataclass(frozen=True)
class MethodComparison:
    """The bench's result.

    Attributes:
        examples: the IDs of the examples.
        methods: every line of every method, by the method's name and the line's.
        controls: the lines of the controls.
    """

    examples: tuple[str, ...]
    methods: Mapping[str, Mapping[str, evaluation.Estimate]]
    controls: Mapping[str, evaluation.Estimate]


def compare(
    bench: Workbench,
    methods: Sequence[str],
    repeated: int,
    sample: Sample,
    progress: Progress = silent,
) -> MethodComparison:
    """Measure every method on a sample of misclassified examples.

    Args:
        bench: the workbench of the workspace.
        methods: the names of extraction methods.
        repeated: the number of the first examples on which stability is measured too.
        sample: which examples are taken, and where the tasks run.
        progress: is told the share of the work that is done.

    Raises:
        AevisError: for an unknown method, and where no example is misclassified.
    """
    datapath.check_methods(methods)
    examples = [e.id for e in choose(bench, sample)]
    wanted = {m: method_of(bench, m) for m in methods}
    trials = [Trial(e, wanted[m], k < repeated) for m in methods for k, e in enumerate(examples)]
    root, workers, address = bench.workspace.root, sample.processes, sample.scheduler
    first, rest = part_of(progress, 0, 0.1), part_of(progress, 0.1, 0.9)
    rods = tasks.in_order(tasks.run(yardstick, root, examples, workers, address, first))
    blind = tasks.in_order(tasks.run(causal_controls, root, examples, workers, address))
    done = tasks.in_order(tasks.run(measure, root, trials, workers, address, rest))
    lines = {}
    for m in methods:
        of_method = [r for trial, r in zip(trials, done, strict=True) if trial.wanted.method == m]
        lines[m] = summary(of_method, rods, sample.seed) | {"memory": peak_memory(bench, examples[0], wanted[m])}
        lines[m] |= dict.fromkeys(_meaningless(wanted[m]), evaluation.bootstrap([], 0))
    return MethodComparison(tuple(examples), lines, controls(rods, blind, sample.seed))


def _meaningless(wanted: ExtractionParameters) -> list[str]:
    """The lines of stability that say nothing about a method, because the method has no such parameter."""
    uses = datapath.used_parameters(wanted)
    both = {"sparsity", "coherence"}
    asked = {"seeds": {"seed"}, "order": {"coherence"}, "halved": both, "doubled": both}
    return [line for line, parameters in asked.items() if not parameters & set(uses)]


def method_of(bench: Workbench, method: str) -> ExtractionParameters:
    """The workspace's extraction parameters with another method."""
    return replace(bench.workspace.settings.extraction, method=method)


def peak_memory(bench: Workbench, example_id: str, wanted: ExtractionParameters) -> evaluation.Estimate:
    """The MiB that one datapath takes at its peak above the loaded model: resident memory of a fresh process."""
    return evaluation.bootstrap([in_fresh_process(_peak, str(bench.workspace.root), example_id, wanted)], 0)


def _peak(root: str, example_id: str, wanted: ExtractionParameters) -> float:
    pair = ImagePair(open_workbench(Path(root)), example_id)
    return peak_of(lambda: pair.adversarial(wanted))


@one_sight()
def measure(bench: Workbench, trial: Trial) -> Measures:
    """The task for one method and one example; from the store where it is stored."""
    others = [bench.workspace.image_hash(name) for name in ImagePair(bench, trial.example).others(_OTHERS)]
    asked = {"wanted": datapath.used_parameters(trial.wanted), "variants": trial.variants, "others": others}
    key = _key(bench, "measures", trial.example, **asked)
    return bench.store.remember(key, Measures, lambda: _measure(bench, trial))


@one_sight()
def yardstick(bench: Workbench, example_id: str) -> Yardstick:
    """The task for one example: the true effects of patching, and the controls; from the store where they are
    stored."""
    key = _key(bench, "yardstick", example_id)
    return bench.store.remember(key, Yardstick, lambda: _yardstick(bench, example_id))


@one_sight()
def causal_controls(bench: Workbench, example_id: str) -> CausalControls:
    """The task for one example: how orders without a datapath agree with the true effects; from the store where
    stored."""
    key = _key(bench, "controls", example_id)
    return bench.store.remember(key, CausalControls, lambda: _causal_controls(bench, example_id))


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
    "passes": "median",
    "seconds": "median",
}


def _labels(name: str, values: np.ndarray) -> list[str]:
    if values.ndim == 1:
        return [name]
    ends = [f"{share:.1%}" for share in SHARES] if name in ("kept", "kl") else [str(i) for i in range(values.shape[1])]
    return [f"{name} {end}" for end in ends]


def _median(values: Sequence[float], seed: int) -> evaluation.Estimate:
    return evaluation.bootstrap(values, seed, statistic="median")


def _measure(bench: Workbench, trial: Trial) -> Measures:
    pair = ImagePair(bench, trial.example)
    adv, src = pair.chain(trial.wanted)
    rod = yardstick(bench, trial.example)
    gauge = measures.Gauge(bench.classifier, pair.adv_image, bench.workspace.read(pair.others(_OTHERS)))
    kept, kl = gauge.at_shares(adv, SHARES)
    nothing = dict.fromkeys(("noise", "seeds", "order", "halved", "doubled", "noise_rank"), float("nan"))
    return Measures(
        core=float(adv.core.mean()),
        size=float(adv.critical.mean()),
        keeps=adv.keeps_hard,
        others=gauge.said_of_others(adv.critical, adv.label),
        core_others=gauge.said_of_others(adv.core, adv.label),
        kept=kept,
        kl=kl,
        dead=gauge.dead_share(adv.critical),
        causal=_causal(bench, rod, adv),
        flips=pair.flips(rod, adv.gates + src.gates),
        passes=adv.passes,
        seconds=adv.seconds,
        **(_stability(pair, trial.wanted, adv) if trial.variants else nothing),
    )


def _stability(pair: "ImagePair", wanted: ExtractionParameters, adv: Datapath) -> dict[str, float]:
    noisy = pair.adversarial(wanted, image=pair.noisy())
    src_first = pair.source(wanted)
    scaled = {
        name: replace(wanted, sparsity=wanted.sparsity * by, coherence=wanted.coherence * by)
        for name, by in (("halved", 0.5), ("doubled", 2.0))
    }
    held = pair.adversarial(wanted, given=[src_first.gates])
    return {
        "noise": measures.jaccard(adv.critical, noisy.critical),
        "noise_rank": measures.rank_correlation(adv.gates, noisy.gates),
        "seeds": measures.jaccard(adv.critical, pair.adversarial(replace(wanted, seed=wanted.seed + 1)).critical),
        "order": measures.jaccard(adv.critical, held.critical),
        **{
            name: measures.jaccard(held.critical, pair.adversarial(other, given=[src_first.gates]).critical)
            for name, other in scaled.items()
        },
    }


def _causal(bench: Workbench, rod: Yardstick, adv: Datapath) -> np.ndarray:
    gates = [bench.layers.part(adv.gates, int(layer)) for layer in rod.layers]
    return np.array(
        [
            measures.rank_correlation(z[channels], effects)
            for z, channels, effects in zip(gates, rod.channels, rod.effects, strict=True)
        ]
    )


def _yardstick(bench: Workbench, example_id: str) -> Yardstick:
    pair, graph = ImagePair(bench, example_id), bench.layers
    layers = sampled_layers(len(graph), _SAMPLED_LAYERS)
    channels = np.array([pair.alive(int(layer), _SAMPLED_MAPS) for layer in layers])
    effects = np.array([-pair.effects(int(layer), some) for layer, some in zip(layers, channels, strict=True)])
    depths = np.array([level[-1] for level in evaluation.levels(graph, "stage")])
    random, controls = zip(*(pair.controls(int(layer)) for layer in depths), strict=True)
    single = pair.by_true_effects(int(depths[-1]))
    return Yardstick(layers, channels, effects, depths, np.array(random), np.stack(controls, axis=1), single)


def _causal_controls(bench: Workbench, example_id: str) -> CausalControls:
    rod, pair = yardstick(bench, example_id), ImagePair(bench, example_id)
    found, turning = [pair.strengths(int(layer)) for layer in rod.layers], pair.turning()
    estimated = [bench.layers.part(turning, int(layer)) for layer in rod.layers]
    orders = [*([strengths[i] for strengths in found] for i in range(len(CONTROLS))), estimated]
    agreement = np.array(
        [
            [
                measures.rank_correlation(strengths[channels], effects)
                for strengths, channels, effects in zip(order, rod.channels, rod.effects, strict=True)
            ]
            for order in orders
        ]
    )
    return CausalControls(agreement[:-1], agreement[-1], pair.flips(rod, turning))


def _key(bench: Workbench, kind: str, example_id: str, **parts: Any) -> str:
    example = bench.workspace.example(example_id)
    images = [bench.workspace.image_hash(name) for name in (example.adversarial, example.source)]
    return key_of(kind, _VERSIONS[kind], model=bench.classifier.fingerprint, example=example_id, images=images, **parts)
