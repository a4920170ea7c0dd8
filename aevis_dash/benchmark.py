"""What the analysis costs on this machine, in passes (forward + backward of the model on one image) and in seconds."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
import torchvision

from aevis_dash import assistant
from aevis_dash.config import Progress, silent
from aevis_dash.core import contribution, evaluation, loading
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import (
    PREDICTION,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    FeatureMap,
    Intervention,
    JudgedExample,
    Role,
    Way,
)
from aevis_dash.memory import in_fresh_process, peak_of
from aevis_dash.store import Store
from aevis_dash.workbench import Triplet, Workbench, open_workbench

REPEATS = 5
"""The number of times that a pass is timed; the median counts."""
_EXACT = 256
"""The number of maps, at most, of the layer from which contributions are found exactly."""
T = TypeVar("T")


def benchmark(bench: Workbench, progress: Progress = silent) -> dict[str, Any]:
    """Measure what the analysis of a workspace costs, from scratch: its store is neither read nor written.

    Returns:
        The circumstances (model, versions, device), and "costs", a list of "what" was done, its "seconds", its "passes"
        (NaN where they mean nothing) and the "detail".

    Raises:
        AevisError: where the workspace has no misclassified example.
    """
    with TemporaryDirectory(prefix="aevis-benchmark-") as folder:
        fresh = Workbench(bench.workspace)
        fresh.base.store = Store(Path(folder))
        return _circumstances(fresh) | {"costs": _costs(fresh, progress)}


def benchmark_contributions(bench: Workbench, progress: Progress = silent) -> dict[str, Any]:
    """Measure what the explanation of an effect costs: contributions, flip-back, the assistant, and memory.

    Contributions are found near and far, in each of the ways. Memory stands beside that of a training step. The store
    is neither read nor written.

    Returns:
        As `benchmark`, with the "example" and with "memory", in MiB.

    Raises:
        AevisError: as `benchmark`.
    """
    with TemporaryDirectory(prefix="aevis-benchmark-") as folder:
        fresh = Workbench(bench.workspace)
        fresh.base.store = Store(Path(folder))
        example = _explainable(fresh, fresh.judging.judged_examples(progress)).example.id
        triplet = fresh.datapaths.extract(example, progress=progress)
        costs = [*_traces(fresh, triplet, progress), *_flips(fresh, example, progress)]
        hops, seconds = _measure_time(lambda: assistant.propose(fresh, triplet, progress=progress))
        costs.append(_cost("assistant, a way back", seconds, float("nan"), f"{len(hops)} hops"))
        return _circumstances(fresh) | {"example": example, "costs": costs, "memory": _memory(fresh, triplet)}


def benchmark_learned(bench: Workbench, progress: Progress = silent) -> dict[str, Any]:
    """Measure what the index of learned features costs, from a quarter of the workspace's images and from all of them.

    Each is learned in a fresh process. The store is neither read nor written.

    Returns:
        As `benchmark`, with "memory", the most MiB that each whole process takes.
    """
    costs, memory, total = [], {}, len(bench.workspace.images)
    for count in dict.fromkeys((max(1, total // 4), total)):
        progress(0.2 if count < total else 0.4, f"learning from {count} of {total} images")
        peak, seconds = in_fresh_process(_peak_of_learning, str(bench.workspace.root), count)
        memory[f"a process that learns from {count} images"] = peak
        costs.append(_cost("learned features", seconds, float("nan"), f"{bench.layers.n_maps} maps on {count} images"))
    return _circumstances(bench) | {"costs": costs, "memory": memory}


def _peak_of_learning(root: str, count: int) -> tuple[float, float]:
    """MiB of the whole process at its peak, the model and torch included, and the seconds that learning took."""
    with TemporaryDirectory(prefix="aevis-benchmark-") as folder:
        bench = open_workbench(Path(root))
        bench.base.store = Store(Path(folder))
        before, learning = psutil.Process().memory_info().rss / 2**20, bench.learning
        begun = time.perf_counter()
        return before + peak_of(lambda: learning.learn(first=count)), time.perf_counter() - begun


def _traces(bench: Workbench, triplet: Triplet, progress: Progress) -> list[dict[str, Any]]:
    """The costs of tracing to the map of `_effect` from layers near and far, and to the prediction.

    Exact contributions are found from one layer only, the nearest with at most _EXACT maps.
    """
    target = _effect(bench, triplet)
    sources = bench.contributions.sources(target.layer)
    stage = next(level for level in evaluation.levels(bench.layers, "stage") if target.layer in level)
    places = {
        "neighbours": sources[0],
        "one stage": min(i for i in sources if i in stage or i == sources[0]),
        "half the network": min(sources, key=lambda layer: abs(layer - target.layer // 2)),
        "the network": sources[-1],
    }
    named = [(what, target, layer) for what, layer in places.items()]
    named.append(("the prediction, the network", PREDICTION, sources[-1]))
    costs = [
        _contribution(bench, triplet, effect, layer, f"{how}, {what}", progress, how)
        for how in ("quadratic", "solved")
        for what, effect, layer in named
    ]
    narrow = max((i for i in sources if bench.layers.layers[i].channels <= _EXACT), default=sources[0])
    return [*costs, _contribution(bench, triplet, target, narrow, "exact, every map of a layer", progress, "exact")]


def _flips(bench: Workbench, example: str, progress: Progress) -> list[dict[str, Any]]:
    costs = []
    for layer in bench.flips.depths():
        name = bench.layers.layers[layer].name
        progress(0.5, f"searching maps of {name}")
        found, seconds = _measure_time(lambda layer=layer: bench.flips.verify(example, Intervention(layer)))
        detail = f"{name}: {len(found.maps)} of {found.width} maps, {found.runs} forward runs"
        costs.append(_cost("flip-back, search and controls", seconds, float("nan"), detail))
    return costs


def _memory(bench: Workbench, triplet: Triplet) -> dict[str, float]:
    """MiB at the peak above the loaded model, each in a fresh process.

    One process solves contributions across the network, the other does a training step on the same images.
    """
    root, names = str(bench.workspace.root), [triplet.image(role) for role in Role]
    target = _effect(bench, triplet)
    return {
        "solved, the network": in_fresh_process(_peak_of_solving, root, names, target),
        "a training step": in_fresh_process(_peak_of_training, root, names),
    }


def _peak_of_solving(root: str, names: list[str], target: FeatureMap) -> float:
    bench = open_workbench(Path(root))
    images, place = bench.workspace.read(names), bench.layers.layers[target.layer]
    area = AreaOfInterest(place.index, 0, 0, place.height, place.width)
    few = replace(bench.workspace.settings.contribution, iterations=3)
    first = bench.contributions.sources(target.layer)[-1]
    return peak_of(lambda: contribution.contribute(bench.classifier, images, target, area, first, few))


def _peak_of_training(root: str, names: list[str]) -> float:
    bench = open_workbench(Path(root))
    x = bench.classifier.inputs(bench.workspace.read(names))
    model = loading.load_model(bench.workspace.model).model.requires_grad_(True)

    def step() -> None:
        with torch.enable_grad():
            model(x).logsumexp(1).sum().backward()

    return peak_of(step)


def _circumstances(bench: Workbench) -> dict[str, Any]:
    return {
        "workspace": str(bench.workspace.root),
        "model": bench.workspace.settings.model.source,
        "layers": len(bench.layers),
        "feature_maps": bench.layers.n_maps,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "device": str(bench.classifier.device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def _costs(bench: Workbench, progress: Progress) -> list[dict[str, Any]]:
    judged, judging = _measure_time(lambda: bench.judging.judged_examples(progress))
    example = _explainable(bench, judged)
    progress(0.5, "measuring a pass")
    one_pass = seconds_of_a_pass(bench, example)
    triplet, extracting = _measure_time(lambda: bench.datapaths.extract(example.example.id, progress=progress))
    _, reading = _measure_time(lambda: bench.datapaths.triplet(example.example.id))
    _, learning = _measure_time(lambda: bench.learning.features(progress))
    passes = sum(path.passes for path in triplet.paths)
    images = len(bench.workspace.images)
    return [
        _cost("one pass", one_pass, 1.0, f"one image, all gates, median of {REPEATS}"),
        _cost("judging everything", judging, float("nan"), f"{images} images, {len(judged)} examples"),
        _cost("extraction", extracting, passes, f"{len(triplet.paths)} datapaths of {example.example.id}"),
        _cost("a datapath", extracting / len(triplet.paths), passes / len(triplet.paths), "the mean of these"),
        *_contributions(bench, triplet, progress),
        _cost("learned features", learning, float("nan"), f"{bench.layers.n_maps} maps on {images} images"),
        _cost("reading a stored triplet", reading, 0.0, f"{len(triplet.paths)} datapaths"),
    ]


def _explainable(bench: Workbench, judged: list[JudgedExample]) -> JudgedExample:
    opening = bench.opening(judged)
    if opening is None:
        raise AevisError(
            f"{bench.workspace.root} has no misclassified example to measure on. Make some with `aevis attack`."
        )
    return opening


def seconds_of_a_pass(bench: Workbench, example: JudgedExample) -> float:
    """The seconds that one forward and backward run of one image takes, as the median of REPEATS."""
    classifier = bench.classifier
    images = bench.workspace.read([example.example.adversarial])
    run_pass(classifier, images)
    return statistics.median(_measure_time(lambda: run_pass(classifier, images))[1] for _ in range(REPEATS))


def run_pass(classifier: Classifier, images: np.ndarray) -> float:
    """Run one pass: forward and backward through the model on one image, uint8 (1, H, W, C), with a gate on every
    map."""
    gates = torch.ones(1, classifier.layers.n_maps, device=classifier.device, requires_grad=True)
    with torch.enable_grad():
        top = classifier.network.logits(classifier.inputs(images), gates).max()
        (gradient,) = torch.autograd.grad(top, gates)
    return float(gradient.sum())


def _contributions(bench: Workbench, triplet: Triplet, progress: Progress) -> list[dict[str, Any]]:
    """The costs of contributions to the last map with positions, between neighbouring layers and across half the
    network."""
    target = _effect(bench, triplet)
    sources = bench.contributions.sources(target.layer)
    half = min(sources, key=lambda layer: abs(layer - target.layer // 2))
    return [
        _contribution(bench, triplet, target, layer, what, progress)
        for what, layer in (("contribution, neighbours", sources[0]), ("contribution, half the network", half))
    ]


def _effect(bench: Workbench, triplet: Triplet) -> FeatureMap:
    """The map of the last layer with positions that fires most on the adversarial image."""
    spread = [layer.index for layer in bench.layers.layers if layer.height * layer.width > 1]
    last = [i for i in spread if bench.contributions.sources(i)]
    if not last:
        raise AevisError("No layer of this network with positions is fed by another, so there is nothing to trace.")
    strengths = bench.layers.part(bench.maps.maxima(triplet.image(Role.ADVERSARIAL)), last[-1])
    return FeatureMap(last[-1], int(np.argmax(strengths)))


def _contribution(
    bench: Workbench,
    triplet: Triplet,
    target: FeatureMap,
    layer: int,
    what: str,
    progress: Progress,
    how: str = "solved",
) -> dict[str, Any]:
    area, effect = WHOLE_PREDICTION, "the prediction"
    if target != PREDICTION:
        place = bench.layers.layers[target.layer]
        area, effect = (
            AreaOfInterest(place.index, 0, 0, place.height, place.width),
            f"{place.name} map {target.channel}",
        )
    found, seconds = _measure_time(
        lambda: bench.contributions.contribute(triplet, target, area, layer, Way(how), progress)
    )
    source = bench.layers.layers[layer]
    return _cost(what, seconds, found.passes, f"{effect} from {source.name}, {source.channels} maps")


def _cost(what: str, seconds: float, passes: float, detail: str) -> dict[str, Any]:
    return {"what": what, "seconds": seconds, "passes": passes, "detail": detail}


def _measure_time(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun
