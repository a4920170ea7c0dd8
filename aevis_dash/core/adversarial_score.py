"""The adversarial score: K-density of the classifier head's input (Pang et al., NeurIPS 2018)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import fx, nn

from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError

MOST = 1000
"""Images of a class whose distances to each other are measured for the bandwidth, at most: half a million distances."""


def head_features(classifier: Classifier, images: np.ndarray, batch: int = 32) -> np.ndarray:
    """h(x), the input of the classifier's head, of 8-bit images (B, H, W, 3): (B, d)."""
    node = _head_input(classifier)
    with torch.no_grad():
        chunks = [
            classifier.network.value_before(classifier.inputs(images[i : i + batch]), node).flatten(1)
            for i in range(0, len(images), batch)
        ]
    return torch.cat(chunks).cpu().numpy()


def judge(classifier: Classifier, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The probabilities (K,) and h(x) (d,) of each of some 8-bit images (B, H, W, 3).

    Each in a run of its own: in a batch an image's values depend on how many others there are, in the seventh digit.
    """
    node = _head_input(classifier)
    for image in images:
        with torch.no_grad():
            logits, head = classifier.network.with_value(classifier.inputs(image[None]), node)
        yield logits.softmax(1)[0].cpu().numpy(), head.flatten(1)[0].cpu().numpy()


def bandwidth(features: np.ndarray, labels: np.ndarray) -> float:
    """The width sigma of K(x) by the median rule: the median distance between two reference images of one class.

    Args:
        features: h(x) of the reference images, (R, d).
        labels: their classes, (R,).

    Returns:
        sigma, in the unit of the features. Of a class with more than MOST images, MOST of them stand for it, evenly
        spaced in the order given. Where no class has two images, all pairs count; where there is no pair at all, or
        the median is 0, sigma is 1.0.
    """
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    within = [_distances(features[_spaced(places)]) for places in classes if len(places) > 1]
    chosen = np.concatenate(within) if within else _distances(features)
    median = float(np.median(chosen)) if chosen.size else 1.0
    return median if median > 0 else 1.0


def adversarial_score(features: np.ndarray, reference: np.ndarray, sigma: float) -> np.ndarray:
    """-log K(x) (B,), K(x) = mean over reference (R, d) of exp(-||h(x) - h(x_i)||^2 / sigma^2).

    `reference` are the clean images of the class predicted for x. Higher means more obviously adversarial;
    NaN where there is no reference. Computed as a logsumexp, so that it cannot underflow.
    """
    if len(reference) == 0:
        return np.full(len(features), np.nan)
    exponent = -_squared_distances(features, reference) / sigma**2
    top = exponent.max(axis=1, keepdims=True)
    return -(top[:, 0] + np.log(np.exp(exponent - top).mean(axis=1)))


def auroc(normal: Sequence[float], adversarial: Sequence[float]) -> float:
    """Probability that an adversarial image scores above a normal one, ties counted half; NaN without either.

    That is the statistic U of Mann and Whitney over the number of pairs. Scores that are not finite are left out.
    """
    from scipy import stats  # loading it takes a second, and most verbs need no AUROC

    a, b = (np.asarray(s, float)[np.isfinite(s)] for s in (normal, adversarial))
    if not len(a) or not len(b):
        return float("nan")
    return float(stats.mannwhitneyu(b, a, method="asymptotic").statistic / (len(a) * len(b)))


def _head_input(classifier: Classifier) -> fx.Node:
    module = classifier.network.traced.module
    for node in reversed(list(module.graph.nodes)):
        if node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.Linear | nn.Conv2d):
            return node.all_input_nodes[0]
    raise AevisError(
        "The model has no linear or convolutional layer to take as its head, so no adversarial score can be given."
    )


def _spaced(places: np.ndarray) -> np.ndarray:
    """At most MOST of the places, evenly spaced."""
    if len(places) <= MOST:
        return places
    return places[np.linspace(0, len(places) - 1, MOST).round().astype(int)]


def _distances(features: np.ndarray) -> np.ndarray:
    """The distances of all pairs of rows, each pair once."""
    rows, columns = np.triu_indices(len(features), 1)
    return np.sqrt(_squared_distances(features, features)[rows, columns])


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    return np.maximum(squared, 0)
