"""The adversarial score: how unlike clean images of its predicted class an image is (Pang et al., NeurIPS 2018).

The score is -log of the K-density of h(x), the input of the classifier's head, which is the last linear or
convolutional layer, or of its direction h(x) / ||h(x)||. B is the number of images, d the length of h(x), R the number
of reference images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx, nn

from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError

MOST = 1000
"""The most images of one class whose distances to each other are measured for the bandwidth: half a million
distances."""


def head_features(classifier: Classifier, images: np.ndarray, batch: int = 32) -> np.ndarray:
    """Give h(x), the input of the classifier's head, of some images.

    Args:
        images: 8-bit images, (B, H, W, C).
        batch: how many images are run at once.

    Returns:
        h(x), (B, d).

    Raises:
        AevisError: the model has no linear or convolutional layer to take as its head.
    """
    node = _head_input(classifier)
    with torch.no_grad():
        chunks = [
            classifier.network.value_before(classifier.inputs(images[i : i + batch]), node).flatten(1)
            for i in range(0, len(images), batch)
        ]
    return torch.cat(chunks).cpu().numpy()


def judge(classifier: Classifier, images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the class probabilities and h(x) of some images, one image after the other.

    Each image has a run of its own: in a batch an image's values depend on how many others there are, in the seventh
    digit.

    Args:
        images: 8-bit images, (B, H, W, C).

    Yields:
        The probabilities (K,) and h(x) (d,) of each image.

    Raises:
        AevisError: the model has no linear or convolutional layer to take as its head.
    """
    node = _head_input(classifier)
    for image in images:
        with torch.no_grad():
            logits, head = classifier.network.with_value(classifier.inputs(image[None]), node)
        yield logits.softmax(1)[0].cpu().numpy(), head.flatten(1)[0].cpu().numpy()


def bandwidth(features: np.ndarray, labels: np.ndarray) -> float:
    """Give the width sigma of K(x) by the median rule: the median distance between two reference images of one class.

    Args:
        features: h(x) of the reference images, (R, d).
        labels: the class of each of them, (R,).

    Returns:
        Sigma, in the unit of the features. A class with more than MOST images is represented by MOST of them, evenly
        spaced in the order given. Where no class has two images, all pairs count. Where there is no pair at all, or the
        median is 0, sigma is 1.0.
    """
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    within = [_distances(features[_spaced(places)]) for places in classes if len(places) > 1]
    chosen = np.concatenate(within) if within else _distances(features)
    median = float(np.median(chosen)) if chosen.size else 1.0
    return median if median > 0 else 1.0


def adversarial_score(features: np.ndarray, reference: np.ndarray, sigma: float) -> np.ndarray:
    """Give the adversarial score -log K(x), where K(x) is the mean over i of exp(-||h(x) - h(x_i)||^2 / sigma^2).

    It is computed as a logsumexp, so that it cannot underflow.

    Args:
        features: h(x) of the images, (B, d).
        reference: h(x_i) of clean images of the class predicted for x, (R, d).
        sigma: the width of the kernel, in the unit of the features.

    Returns:
        The scores, (B,), higher for images that are more obviously adversarial; NaN where there is no reference.
    """
    if len(reference) == 0:
        return np.full(len(features), np.nan)
    exponent = -_squared_distances(features, reference) / sigma**2
    top = exponent.max(axis=1, keepdims=True)
    return -(top[:, 0] + np.log(np.exp(exponent - top).mean(axis=1)))


def direction(features: np.ndarray) -> np.ndarray:
    """Give the direction h / ||h||_2 of features (..., d); features that are all 0 stay 0.

    Images whose features differ in length only have the same direction. So an attack that overshoots, which lengthens
    the features, does not raise the score of their direction.
    """
    h = np.asarray(features, np.float64)
    length = np.linalg.norm(h, axis=-1, keepdims=True)
    return h / np.where(length > 0, length, 1.0)


@dataclass(frozen=True)
class Separation:
    """How well scores tell n adversarials from their sources.

    Attributes:
        auroc: see `auroc`.
        low: the lower end of its 95 % bootstrap interval.
        high: the upper end.
        n: the number of adversarials that have a score.
        among: the share of these whose score is at most that of 95 % of the sources: those that do not stand out.
    """

    auroc: float
    low: float
    high: float
    n: int
    among: float


DRAWS = 2000
"""The number of bootstrap samples of an AUROC."""
ORDINARY = 0.95
"""The share of sources, those of lowest score, among which an adversarial does not stand out."""


def separation(
    normal: Sequence[float], adversarial: Sequence[float], source: Sequence[int], seed: int = 0
) -> Separation:
    """Give the AUROC of scores with its 95 % percentile bootstrap interval over resampled sources.

    A source that is drawn brings its score and those of all its adversarials along, as often as it is drawn, because
    adversarials of one source are alike.

    Args:
        normal: the score of each source, (m,); those that are not finite are left out.
        adversarial: the score of each adversarial, (n,); those that are not finite are left out.
        source: the place in `normal` of each adversarial's source, (n,).
        seed: of the resampling.

    Returns:
        The AUROC of each sample is that of Mann and Whitney, with every score as often as it was drawn.
    """
    value = auroc(normal, adversarial)
    a, b = np.asarray(normal, float), np.asarray(adversarial, float)
    known_a, known_b = np.isfinite(a), np.isfinite(b)
    if not np.isfinite(value):
        return Separation(value, value, value, int(known_b.sum()), value)
    level_a, level_b = np.split(np.unique(np.concatenate([a, b]), return_inverse=True)[1], [len(a)])
    of, rng, found = np.asarray(source, int), np.random.default_rng(seed), []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(len(a), size=len(a)), minlength=len(a))
        at_a = np.bincount(level_a, times * known_a, minlength=len(a) + len(b))
        at_b = np.bincount(level_b, times[of] * known_b, minlength=len(a) + len(b))
        pairs = at_a.sum() * at_b.sum()
        if pairs:
            found.append(at_b @ (np.cumsum(at_a) - at_a / 2) / pairs)
    low, high = np.quantile(found, [0.025, 0.975])
    among = float(np.mean(b[known_b] <= np.quantile(a[known_a], ORDINARY)))
    return Separation(value, float(low), float(high), int(known_b.sum()), among)


def auroc(normal: Sequence[float], adversarial: Sequence[float]) -> float:
    """Give the probability that an adversarial image scores above a normal one, with ties counted half.

    This is the statistic U of Mann and Whitney over the number of pairs.

    Args:
        normal: the scores of normal images; those that are not finite are left out.
        adversarial: the scores of adversarial images; those that are not finite are left out.

    Returns:
        A probability from 0 to 1; NaN where either kind has no score.
    """
    from scipy import stats  # Loading it takes a second, and most verbs need no AUROC.

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
    """Give at most MOST of the places, evenly spaced."""
    if len(places) <= MOST:
        return places
    return places[np.linspace(0, len(places) - 1, MOST).round().astype(int)]


def _distances(features: np.ndarray) -> np.ndarray:
    """Give the distances of all pairs of rows, each pair once."""
    rows, columns = np.triu_indices(len(features), 1)
    return np.sqrt(_squared_distances(features, features)[rows, columns])


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    return np.maximum(squared, 0)
