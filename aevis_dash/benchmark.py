"""What the analysis costs on this machine, in passes (forward + backward of the model on one image) and in seconds."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
import torchvision

from aevis_dash.config import Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError, AreaOfInterest, FeatureMap, JudgedExample, Role
from aevis_dash.store import Store
from aevis_dash.workbench import Triplet, Workbench

REPEATS = 5
T = TypeVar("T")


def benchmark(bench: Workbench, progress: Progress = silent) -> dict[str, Any]:
    """Measure on a workspace, all from scratch: nothing is read from its store and nothing is written there.

    Gives the circumstances and "costs", each with what was done, seconds, passes (NaN where they mean nothing)
    and of what. Raises AevisError where the workspace has no misclassified example.
    """
    with TemporaryDirectory(prefix="aevis-benchmark-") as folder:
        fresh = Workbench(bench.workspace)
        fresh.store = Store(Path(folder))
        return _circumstances(fresh) | {"costs": _costs(fresh, progress)}


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
    judged, judging = _timed(lambda: bench.judged_examples(progress))
    example = _explainable(bench, judged)
    progress(0.5, "measuring a pass")
    one_pass = _seconds_of_a_pass(bench, example)
    triplet, extracting = _timed(lambda: bench.extract(example.example.id, progress=progress))
    _, reading = _timed(lambda: bench.triplet(example.example.id))
    _, learning = _timed(lambda: bench.learned_features(progress))
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


def _seconds_of_a_pass(bench: Workbench, example: JudgedExample) -> float:
    classifier = bench.classifier
    images = bench.workspace.read([example.example.adversarial])
    _run_pass(classifier, images)
    return statistics.median(_timed(lambda: _run_pass(classifier, images))[1] for _ in range(REPEATS))


def _run_pass(classifier: Classifier, images: np.ndarray) -> float:
    """Forward and backward with a gate on every map of one image."""
    gates = torch.ones(1, classifier.layers.n_maps, device=classifier.device, requires_grad=True)
    with torch.enable_grad():
        top = classifier.network.logits(classifier.inputs(images), gates).max()
        (gradient,) = torch.autograd.grad(top, gates)
    return float(gradient.sum())


def _contributions(bench: Workbench, triplet: Triplet, progress: Progress) -> list[dict[str, Any]]:
    """One job between neighbouring layers and one across half the network, to the last map with positions."""
    target = _effect(bench, triplet)
    sources = bench.contribution_sources(target.layer)
    half = min(sources, key=lambda layer: abs(layer - target.layer // 2))
    return [
        _contribution(bench, triplet, target, layer, what, progress)
        for what, layer in (("contribution, neighbours", sources[0]), ("contribution, half the network", half))
    ]


def _effect(bench: Workbench, triplet: Triplet) -> FeatureMap:
    """The map of the last layer with positions that fires most on the adversarial image."""
    spread = [layer.index for layer in bench.layers.layers if layer.height * layer.width > 1]
    last = [i for i in spread if bench.contribution_sources(i)]
    if not last:
        raise AevisError("No layer of this network with positions is fed by another, so there is nothing to trace.")
    strengths = bench.layers.part(bench.maxima(triplet.image(Role.ADVERSARIAL)), last[-1])
    return FeatureMap(last[-1], int(np.argmax(strengths)))


def _contribution(
    bench: Workbench, triplet: Triplet, target: FeatureMap, layer: int, what: str, progress: Progress
) -> dict[str, Any]:
    place = bench.layers.layers[target.layer]
    area = AreaOfInterest(place.index, 0, 0, place.height, place.width)
    found, seconds = _timed(lambda: bench.contribute(triplet, target, area, layer, progress))
    return _cost(
        what, seconds, found.passes, f"{place.name} map {target.channel} from {bench.layers.layers[layer].name}"
    )


def _cost(what: str, seconds: float, passes: float, detail: str) -> dict[str, Any]:
    return {"what": what, "seconds": seconds, "passes": passes, "detail": detail}


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun
