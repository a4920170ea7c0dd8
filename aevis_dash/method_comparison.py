"""The bench of extraction methods: every method on the same adversarials, beside controls.

One *task* measures all methods on one adversarial and stores each result. All methods are held against the example's
`Yardstick`: the true effects of patching, and the controls. It is measured once. Shares are shares of the network's
maps, or of a layer's maps where a layer is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.core import datapath, evaluation, measures
from aevis_dash.core.necessity import necessity
from aevis_dash.domain import CONTROLS, Datapath
from aevis_dash.image_pair import ImagePair, Yardstick, sampled_layers
from aevis_dash.memory import in_fresh_process, peak_of
from aevis_dash.method_lines import SHARES, CausalControls, Measures, controls, summary
from aevis_dash.sample import Sample, choose, do_each
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench, open_workbench

VERSIONS = {"measures": 5, "yardstick": 5, "controls": 6}
"""The version of each kind of result that the bench stores of an example. It is raised when the results of that kind
change for the same parameters."""
_SAMPLED_LAYERS, _SAMPLED_MAPS, _OTHERS = 4, 32, 4


@dataclass(frozen=True)
class Trial:
    """One method on one example.

    Attributes:
        example: the ID of the example.
        wanted: the extraction parameters, with the method.
        variants: whether its stability is measured too, by five repeated extractions.
    """

    example: str
    wanted: ExtractionParameters
    variants: bool


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

    The examples are measured one after the other, each by all methods, and whatever was measured is kept. So where a
    run is interrupted, one of fewer examples gives the table of those that were done, and a later run goes on.

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
    trials = [tuple(Trial(e, wanted[m], k < repeated) for m in methods) for k, e in enumerate(examples)]
    done = do_each(bench, judge, trials, sample, progress)
    rods, blind = [each.rod for each in done], [each.blind for each in done]
    lines = {}
    for i, m in enumerate(methods):
        of_method = [each.measures[i] for each in done]
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


@dataclass(frozen=True)
class Judged:
    """What was measured on one example: its yardstick, the controls, and the measures of each method."""

    rod: Yardstick
    blind: CausalControls
    measures: tuple[Measures, ...]


def judge(bench: Workbench, trials: Sequence[Trial]) -> Judged:
    """The task for one example: its trials, one for each method, beside the yardstick and the controls."""
    example = trials[0].example
    found = yardstick(bench, example), causal_controls(bench, example)
    return Judged(*found, tuple(measure(bench, trial) for trial in trials))


@one_sight()
def measure(bench: Workbench, trial: Trial) -> Measures:
    """What was measured of one method on one example; from the store where it is stored."""
    others = [bench.workspace.image_hash(name) for name in ImagePair(bench, trial.example).others(_OTHERS)]
    asked = {"wanted": datapath.used_parameters(trial.wanted), "variants": trial.variants, "others": others}
    key = _key(bench, "measures", trial.example, **asked)
    return bench.store.remember(key, Measures, lambda: _measure(bench, trial))


@one_sight()
def yardstick(bench: Workbench, example_id: str) -> Yardstick:
    """The true effects of patching on one example, and the controls; from the store where they are stored."""
    key = _key(bench, "yardstick", example_id)
    return bench.store.remember(key, Yardstick, lambda: _yardstick(bench, example_id))


@one_sight()
def causal_controls(bench: Workbench, example_id: str) -> CausalControls:
    """How orders without a datapath agree with the true effects on one example; from the store where stored."""
    key = _key(bench, "controls", example_id)
    return bench.store.remember(key, CausalControls, lambda: _causal_controls(bench, example_id))


def _measure(bench: Workbench, trial: Trial) -> Measures:
    pair = ImagePair(bench, trial.example)
    adv, src = pair.chain(trial.wanted)
    rod = yardstick(bench, trial.example)
    needs = necessity(bench.classifier, pair.adv_image, pair.src_image, adv, pair.seed)
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
        lost=needs.lost,
        lost_null=needs.lost_null,
        turned=needs.turned,
        turned_null=needs.turned_null,
        single=needs.single,
        single_null=needs.single_null,
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
    return key_of(kind, VERSIONS[kind], model=bench.classifier.fingerprint, example=example_id, images=images, **parts)
