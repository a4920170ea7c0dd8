"""The bench of extraction methods: every method on the same adversarials, beside controls.

One *task* measures one method on one adversarial and keeps it in the store. What all methods are held against, the true
effects of patching and the two controls, is the example's `Yardstick`, measured once. Shares are shares of the maps of
the network, of a layer where a layer is named.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from aevis_dash import tasks
from aevis_dash.config import ExtractionParameters, Progress, part_of, silent
from aevis_dash.core import datapath, evaluation, intervention, measures
from aevis_dash.core.problem import Foil
from aevis_dash.domain import CONTROLS, AevisError, Datapath, Example, JudgedExample
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench, open_workbench
from aevis_dash.workspace import one_sight

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Of each layer's maps: the sizes at which all methods are compared."""
_VERSION = 4
"""Of what the bench keeps of an example; raised when its results change for the same parameters."""
_SAMPLED_LAYERS, _SAMPLED_MAPS, _OTHERS, _RANDOM_ORDERS = 4, 32, 4, 3

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
class Sample:
    """Which examples a run over a workspace takes, and where it runs (see `tasks.run`).

    `count` misclassified ones at random by the seed, None for all; with `weakest` of each source only the smallest
    perturbation.
    """

    count: int | None
    seed: int = 0
    weakest: bool = False
    processes: int | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class Trial:
    """What is measured: one method on one example; `variants`: the five repeated extractions of its stability too."""

    example: str
    wanted: ExtractionParameters
    variants: bool


@dataclass(frozen=True)
class Yardstick:
    """What every method's datapaths of an example are held against.

    layers   (c,) the layers sampled; channels, effects (c, k): the true change of logit_adv - logit_src that patching
             one of src's maps into adv makes, with its sign turned, so that what adv's prediction rests on is positive
    depths   (d,) the last layer of every stage; random (d,) the shares that random orders flip at (their median), and
             controls (c, d) those that each order of CONTROLS flips at
    single   the share that the last stage flips at with its maps by the true effect of each alone, tried one by one:
             what an order could reach that knew every single map's effect
    """

    layers: np.ndarray
    channels: np.ndarray
    effects: np.ndarray
    depths: np.ndarray
    random: np.ndarray
    controls: np.ndarray
    single: float


@dataclass(frozen=True)
class CausalControls:
    """The causal agreement that orders without any datapath have at the yardstick's layers, where they see src.

    agreement   (c, layers), of each order of CONTROLS. Attribution patching asks the yardstick's own question, to first
                order, for two passes. Methods that are given no foil do not see src and cannot know it.
    """

    agreement: np.ndarray


@dataclass(frozen=True)
class Measures:
    """One method on one example.

    core, size     share of the maps in the fewest that keep the label, and in the hard set as the user gets it
    keeps          whether that hard set keeps the label
    others, core_others   share of images of other classes of which the hard set, or the core, alone says the label too
    kept, kl       (6,) at SHARES: whether the complete set keeps the label, and KL(p || p(hard)) in nats
    dead           share of the hard set's maps that do not fire on the image
    causal         (c,) rank correlation of the gates with the true effects of patching, at the sampled layers
    flips          (d,) share of a stage's last layer that must be patched from src into adv to flip the label back,
                   best first by the sum of adv's and src's gates
    noise, seeds, order, halved, doubled   Jaccard of the hard set with that under one grey level of noise, another
                   seed, src found before adv, lambda and gamma halved and doubled; NaN where not asked for. The
                   bench leaves out those that a method has no parameter for
    noise_rank     rank correlation of the gates under that noise
    passes, seconds   of adv's datapath
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
class Comparison:
    """The bench's result: every line of every method, and of the controls of the flip-back by stage."""

    examples: tuple[str, ...]
    methods: Mapping[str, Mapping[str, evaluation.Estimate]]
    controls: Mapping[str, evaluation.Estimate]


def compare(
    bench: Workbench,
    methods: Sequence[str],
    repeated: int,
    sample: Sample,
    progress: Progress = silent,
) -> Comparison:
    """Every method on a sample of misclassified examples; its stability on the first `repeated` of them.

    Raises AevisError for an unknown method and where no example is misclassified.
    """
    datapath.check_methods(methods)
    examples = [e.id for e in chosen(bench, sample)]
    wanted = {m: method_of(bench, m) for m in methods}
    trials = [Trial(e, wanted[m], k < repeated) for m in methods for k, e in enumerate(examples)]
    root, workers, address = bench.workspace.root, sample.processes, sample.scheduler
    first, rest = part_of(progress, 0, 0.1), part_of(progress, 0.1, 0.9)
    rods = in_order(tasks.run(yardstick, root, examples, workers, address, first))
    blind = in_order(tasks.run(causal_controls, root, examples, workers, address))
    done = in_order(tasks.run(measure, root, trials, workers, address, rest))
    lines = {}
    for m in methods:
        of_method = [r for trial, r in zip(trials, done, strict=True) if trial.wanted.method == m]
        lines[m] = summary(of_method, rods, sample.seed) | {"memory": peak_memory(bench, examples[0], wanted[m])}
        lines[m] |= dict.fromkeys(_meaningless(wanted[m]), evaluation.bootstrap([], 0))
    return Comparison(tuple(examples), lines, controls(rods, blind, sample.seed))


def _meaningless(wanted: ExtractionParameters) -> list[str]:
    """Lines of stability that say nothing of a method, as it has no such parameter."""
    uses = datapath.used(wanted)
    both = {"sparsity", "coherence"}
    asked = {"seeds": {"seed"}, "order": {"coherence"}, "halved": both, "doubled": both}
    return [line for line, parameters in asked.items() if not parameters & set(uses)]


def method_of(bench: Workbench, method: str) -> ExtractionParameters:
    """The workspace's extraction parameters with another method."""
    return replace(bench.workspace.settings.extraction, method=method)


def peak_memory(bench: Workbench, example_id: str, wanted: ExtractionParameters) -> evaluation.Estimate:
    """MiB that one datapath takes at its peak, above the loaded model: resident memory of a fresh process."""
    return evaluation.bootstrap([in_fresh_process(_peak, str(bench.workspace.root), example_id, wanted)], 0)


def _peak(root: str, example_id: str, wanted: ExtractionParameters) -> float:
    pair = ImagePair(open_workbench(Path(root)), example_id)
    return peak_of(lambda: pair.adversarial(wanted))


T = TypeVar("T")


def in_fresh_process(work: Callable[..., T], *given: Any) -> T:
    """What a function of a module's top level gives in a process of its own, which has done nothing before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(work, *given).result()


def peak_of(work: Callable[[], object]) -> float:
    """By how many MiB this process's resident memory rises at most while that is done."""
    process, done = psutil.Process(), threading.Event()
    seen = [before := process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return (max(seen) - before) / 2**20


def in_order(results: Iterator[tuple[int, Any]]) -> list[Any]:
    """What `tasks.run` gives as a list: the results in the order of their items; the first refusal is raised."""
    found = dict(results)
    for result in found.values():
        if isinstance(result, tasks.Refused):
            raise AevisError(result.message)
    return [found[i] for i in sorted(found)]


def chosen(bench: Workbench, sample: Sample) -> list[Example]:
    """The examples of a sample. Raises AevisError where the workspace has none that is misclassified."""
    fooled = [j for j in bench.judging.judged_examples() if j.misclassified]
    if sample.weakest:
        fooled = _weakest(bench, fooled)
    if not fooled:
        raise AevisError(f"No example in {bench.workspace.root} is misclassified. Make some with `aevis attack`.")
    order = np.random.default_rng(sample.seed).permutation(len(fooled))[: sample.count]
    return [fooled[i].example for i in order]


@one_sight()
def measure(bench: Workbench, trial: Trial) -> Measures:
    """The task: one method on one example, from the store where it was measured before."""
    others = [bench.workspace.image_hash(name) for name in ImagePair(bench, trial.example).others(_OTHERS)]
    asked = {"wanted": datapath.used(trial.wanted), "variants": trial.variants, "others": others}
    key = _key(bench, "measures", trial.example, **asked)
    return bench.store.remember(key, Measures, lambda: _measure(bench, trial))


@one_sight()
def yardstick(bench: Workbench, example_id: str) -> Yardstick:
    """The task: the true effects and the controls of one example, from the store where they were measured before."""
    key = _key(bench, "yardstick", example_id, form=2)
    return bench.store.remember(key, Yardstick, lambda: _yardstick(bench, example_id))


@one_sight()
def causal_controls(bench: Workbench, example_id: str) -> CausalControls:
    """The task: the agreement of orders without a datapath, from the store where it was measured before."""
    key = _key(bench, "controls", example_id, form=2)
    return bench.store.remember(key, CausalControls, lambda: _causal_controls(bench, example_id))


def summary(results: Sequence[Measures], rods: Sequence[Yardstick], seed: int = 0) -> dict[str, evaluation.Estimate]:
    """Every line of the bench for one method: medians over examples of what is a size or a correlation, means of what
    is a yes or no, each with a bootstrap interval."""
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
    """The controls of the flip-back at every stage, shares of the stage's last layer: random orders and those of
    CONTROLS; in the last one also what the order of all true single-map effects takes; and the causal agreement of the
    orders of CONTROLS."""
    lines = {}
    for i in range(len(rods[0].depths)):
        lines[f"flip random {i}"] = _median([r.random[i] for r in rods], seed)
        for k, name in enumerate(CONTROLS):
            lines[f"flip {name} {i}"] = _median([r.controls[k, i] for r in rods], seed)
    for k, name in enumerate(CONTROLS):
        lines[f"causal {name}"] = _median([float(np.nanmean(each.agreement[k])) for each in blind], seed)
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


def _weakest(bench: Workbench, fooled: Sequence[JudgedExample]) -> list[JudgedExample]:
    smallest: dict[str, tuple[int, JudgedExample]] = {}
    for judged in fooled:
        size = judged.perturbation.linf
        if judged.example.source not in smallest or size < smallest[judged.example.source][0]:
            smallest[judged.example.source] = (size, judged)
    return [judged for _, judged in smallest.values()]


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
    found = [pair.strengths(int(layer)) for layer in rod.layers]
    agreement = [
        [
            measures.rank_correlation(strengths[i][channels], effects)
            for strengths, channels, effects in zip(found, rod.channels, rod.effects, strict=True)
        ]
        for i in range(len(CONTROLS))
    ]
    return CausalControls(np.array(agreement))


def sampled_layers(count: int, wanted: int) -> np.ndarray:
    """`wanted` layers of `count`, evenly spread, the last one included."""
    return np.unique(np.linspace(count - 1, count // (2 * wanted), wanted).round().astype(int))


class ImagePair:
    """The two images of an example and the extractions that the bench makes of them."""

    def __init__(self, bench: Workbench, example_id: str):
        self._bench = bench
        self._example = bench.workspace.example(example_id)
        source, adversarial = bench.judging.predict([self._example.source, self._example.adversarial])
        self._labels = np.array([source.label]), np.array([adversarial.label])
        self.adv_image, self.src_image = (
            bench.workspace.read([name]) for name in (self._example.adversarial, self._example.source)
        )
        self._foils = [Foil(source.label, self.src_image[0]), Foil(adversarial.label, self.adv_image[0])]
        self._seed = [0, *example_id.encode()]
        self._found: dict[Hashable, Datapath] = {}

    def adversarial(
        self, wanted: ExtractionParameters, image: np.ndarray | None = None, given: Sequence[np.ndarray] = ()
    ) -> Datapath:
        return self._path(self.adv_image if image is None else image, wanted, given, self._foils[0])

    def source(self, wanted: ExtractionParameters, given: Sequence[np.ndarray] = ()) -> Datapath:
        return self._path(self.src_image, wanted, given, self._foils[1])

    def chain(self, wanted: ExtractionParameters) -> tuple[Datapath, Datapath]:
        """adv, then src given adv; both at once where the method is "joint"."""
        if wanted.method == "joint":
            both = np.concatenate([self.adv_image, self.src_image])
            adv, src = datapath.extract(self._bench.classifier, both, [], wanted, foils=self._foils)
            return adv, src
        adv = self.adversarial(wanted)
        return adv, self.source(wanted, [adv.gates])

    def noisy(self) -> np.ndarray:
        """The adversarial image with every pixel moved by -1, 0 or 1 grey levels."""
        noise = np.random.default_rng(self._seed).integers(-1, 2, self.adv_image.shape)
        return np.clip(self.adv_image.astype(int) + noise, 0, 255).astype(np.uint8)

    def others(self, count: int) -> list[str]:
        """The file names of normal images predicted as neither of the two classes."""
        entries = self._bench.workspace.images
        order = np.random.default_rng(self._seed).permutation(len(entries))
        names = [entries[i].file for i in order[: 4 * count]]
        taken = {int(label[0]) for label in self._labels}
        return [n for n, p in zip(names, self._bench.judging.predict(names), strict=True) if p.label not in taken][
            :count
        ]

    def alive(self, layer: int, count: int) -> np.ndarray:
        """`count` maps of a layer that fire on one of the two images, at random; with repetition where fewer do."""
        part = self._bench.layers.part
        firing = [part(self._bench.maps.maxima(n), layer) for n in (self._example.adversarial, self._example.source)]
        candidates = np.flatnonzero(np.maximum(*firing) > 0)
        random = np.random.default_rng(self._seed)
        if len(candidates) < count:
            candidates = np.arange(len(firing[0])) if len(candidates) == 0 else candidates
            return random.choice(candidates, count)
        return random.permutation(candidates)[:count]

    def effects(self, layer: int, channels: np.ndarray) -> np.ndarray:
        """(k,) what patching each of src's maps into adv does to logit_adv - logit_src."""
        src, adv = self._labels
        return intervention.single_map_effects(
            self._bench.classifier, self.adv_image, self.src_image, layer, channels[None], adv, src
        ).values[0]

    def strengths(self, layer: int) -> np.ndarray:
        """(c, n_l) by what each of CONTROLS orders the maps, for src's activations put into adv's run."""
        exchange = intervention.Exchange(self._bench.classifier, self.adv_image, self.src_image, layer)
        (src,), (adv,) = self._labels
        return intervention.control_strengths(exchange, lambda logits: logits[:, src] - logits[:, adv])[:, 0]

    def controls(self, layer: int) -> tuple[float, np.ndarray]:
        """Shares of the layer that random orders (their median) and the orders of CONTROLS (c,) flip at."""
        width = self._bench.layers.layers[layer].channels
        random = [intervention.random_order(1, width, seed) for seed in range(_RANDOM_ORDERS)]
        ordered = intervention.best_first(self.strengths(layer))[:, None]
        shares = self._flip(layer, np.concatenate([np.stack(random), ordered]))
        return float(np.median(shares[:_RANDOM_ORDERS])), shares[_RANDOM_ORDERS:]

    def by_true_effects(self, layer: int) -> float:
        """The share of the layer that flips adv back with its maps by what patching each alone does."""
        effects = self.effects(layer, np.arange(self._bench.layers.layers[layer].channels))
        return float(self._flip(layer, np.argsort(effects, kind="stable")[None, None])[0])

    def flips(self, rod: Yardstick, order: np.ndarray) -> np.ndarray:
        """(d,) the share of each depth's maps that flips adv back, best first by `order` (n,)."""
        parts = [self._bench.layers.part(order, int(layer)) for layer in rod.depths]
        orders = [np.argsort(-part, kind="stable")[None, None] for part in parts]
        return np.array([self._flip(int(layer), o)[0] for layer, o in zip(rod.depths, orders, strict=True)])

    def _flip(self, layer: int, orders: np.ndarray) -> np.ndarray:
        """(o,) shares of the layer; 1 also where the whole layer does not flip it."""
        found = intervention.flip_sizes(
            self._bench.classifier, self.adv_image, self.src_image, layer, orders, self._labels[0]
        )
        return np.minimum(found.values[:, 0] / orders.shape[2], 1.0)

    def _path(
        self, image: np.ndarray, wanted: ExtractionParameters, given: Sequence[np.ndarray], foil: Foil
    ) -> Datapath:
        """Extracted once: another seed, or other given datapaths, are no other question to methods that have none."""
        parameters = datapath.used(wanted)
        held = list(given) if "coherence" in parameters else []
        question = (image.tobytes(), tuple(z.tobytes() for z in held), foil.label, tuple(parameters.items()))
        if question not in self._found:
            found = datapath.extract(self._bench.classifier, image, held, wanted, foils=[foil])
            self._found[question] = next(found)
        return self._found[question]


def _key(bench: Workbench, kind: str, example_id: str, **parts: Any) -> str:
    example = bench.workspace.example(example_id)
    images = [bench.workspace.image_hash(name) for name in (example.adversarial, example.source)]
    return key_of(kind, _VERSION, model=bench.classifier.fingerprint, example=example_id, images=images, **parts)
