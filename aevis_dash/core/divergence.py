"""This module finds where the signal of an adversarial leaves that of its source for good.

The signal at a layer is the activation of its maps, each map's maximum over positions; two signals are as far apart as
the cosine distance of these. There are L layers, n maps, m draws of noise, and k other images.

A *band* is how far from src other images are at each layer. adv leaves a band for good at the layer from which it is
farther from src than the band at every layer to the last. There are two bands, for two questions. "noise" is the
largest distance that shuffled noise of the attack's own size makes: where does the attack do more than chance? That is
often so from the first layer on. "class" is the median distance of other clean images of src's class: where is src with
the attack less like src than another picture of its class is?
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aevis_dash.core.distance import cosine_distance
from aevis_dash.domain import LayerGraph

BANDS = ("class", "noise")
"""The names of the two bands."""


@dataclass(frozen=True)
class DivergencePoint:
    """The layer where adv leaves a band for good, and the maps by which it does.

    Attributes:
        layer: the index of the first layer from which adv is farther from src than the band at every layer to the end;
            L where there is none, -1 where there is no band.
        culprits: the maps of that layer that differ from src most beyond what the band's images do, as places among all
            n maps, (c,), the largest difference first.
    """

    layer: int
    culprits: np.ndarray


@dataclass(frozen=True)
class Divergence:
    """The distances of other images from src at every layer, and the layers where adv leaves the two bands.

    Attributes:
        adversarial: the distances of adv, (L,).
        noise: the distances of src with each draw of noise, (m, L).
        others: the distances of other clean images of src's class, (k, L).
        from_class: where adv leaves the band "class".
        from_noise: where adv leaves the band "noise".
    """

    adversarial: np.ndarray
    noise: np.ndarray
    others: np.ndarray
    from_class: DivergencePoint
    from_noise: DivergencePoint

    def innocents(self, band: str) -> np.ndarray:
        """Tell where each of a band's own images leaves the band that the others of them make.

        This says what a point of divergence is worth, since innocent pictures leave the band as well.

        Args:
            band: one of BANDS.

        Returns:
            The index of a layer for each image, L where it does not leave, (m,) or (k,); empty where the band has fewer
            than two images.
        """
        images, statistic = {"class": (self.others, np.median), "noise": (self.noise, np.max)}[band]
        if len(images) < 2:
            return np.zeros(0, int)
        rest = [statistic(np.delete(images, i, axis=0), axis=0) for i in range(len(images))]
        return np.array([leaves(own, others) for own, others in zip(images, rest, strict=True)])

    def point(self, band: str) -> DivergencePoint:
        """Tell where adv leaves one of BANDS."""
        return {"class": self.from_class, "noise": self.from_noise}[band]


def leaves(distance: np.ndarray, band: np.ndarray) -> int:
    """Find the first layer from which a distance exceeds a band at every layer to the end.

    Args:
        distance: the distance at every layer, (L,).
        band: the band at every layer, (L,).

    Returns:
        The first layer where the distance exceeds the band after the last layer where it does not: L where there is
        none. A layer where either number is NaN counts as neither.
    """
    beyond, inside = (np.flatnonzero(found) for found in (distance > band, distance <= band))
    for_good = beyond[beyond > inside[-1]] if len(inside) else beyond
    return int(for_good[0]) if len(for_good) else len(distance)


def shuffle_perturbation(source: np.ndarray, adversarial: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Make noise of the attack's own size: the source with the attack's perturbation, its pixels and signs shuffled.

    Every norm of the perturbation is kept, but for what the range from 0 to 255 cuts off.

    Args:
        source: the source image, uint8 (H, W, C).
        adversarial: the adversarial image, uint8 (H, W, C).
        count: how many noisy images are made.
        seed: the seed by which pixels and signs are shuffled.

    Returns:
        The source with noise, of the type of the images, (count, H, W, C).
    """
    random = np.random.default_rng(seed)
    kind = np.result_type(source, adversarial)
    whole = int if kind == np.uint8 else float
    perturbation = (adversarial.astype(whole) - source).reshape(-1, source.shape[-1])
    moved = [random.permutation(perturbation) * random.choice([-1, 1], perturbation.shape) for _ in range(count)]
    return np.stack([np.clip(source + m.reshape(source.shape), 0, 255) for m in moved]).astype(kind)


def diverge(
    graph: LayerGraph,
    source: np.ndarray,
    adversarial: np.ndarray,
    noise: np.ndarray,
    others: np.ndarray,
    critical: np.ndarray | None = None,
    count: int = 5,
) -> Divergence:
    """Compare the signals of adv, of src with noise and of other images with that of src.

    Args:
        graph: the layers of the network.
        source: the activation of every map on src, (n,).
        adversarial: that on adv, (n,).
        noise: that on src with each draw of noise, (m, n).
        others: that on other clean images of src's class, (k, n).
        critical: the maps that are compared, bool (n,); None for all.
        count: how many culprits are named at most.
    """
    kept = np.ones(graph.n_maps, bool) if critical is None else critical
    far_adv, far_noise, far_others = (
        np.array([_by_layer(graph, source, other, kept) for other in images]).reshape(-1, len(graph))
        for images in (adversarial[None], noise, others)
    )
    moved = np.where(kept, np.abs(adversarial - source), 0)
    return Divergence(
        far_adv[0],
        far_noise,
        far_others,
        _point(graph, far_adv[0], far_others, moved, np.abs(others - source), np.median, count),
        _point(graph, far_adv[0], far_noise, moved, np.abs(noise - source), np.max, count),
    )


def _point(
    graph: LayerGraph,
    far: np.ndarray,
    bands: np.ndarray,
    moved: np.ndarray,
    usual: np.ndarray,
    statistic: Callable[..., np.ndarray],
    count: int,
) -> DivergencePoint:
    """Find where adv leaves a band: from distances (L,) and the band's (m, L), the moves of the maps on adv (n,) and
    on the band's images (m, n).
    """
    if not len(bands):
        return DivergencePoint(-1, np.zeros(0, int))
    layer = leaves(far, statistic(bands, axis=0))
    return DivergencePoint(layer, _largest(graph, moved - statistic(usual, axis=0), layer, count))


def _by_layer(graph: LayerGraph, first: np.ndarray, second: np.ndarray, kept: np.ndarray) -> np.ndarray:
    parts = zip(graph.parts(first), graph.parts(second), graph.parts(kept), strict=True)
    return np.array([cosine_distance(a[at], b[at]) for a, b, at in parts])


def _largest(graph: LayerGraph, values: np.ndarray, layer: int, count: int) -> np.ndarray:
    if layer >= len(graph):
        return np.zeros(0, int)
    part = graph.part(values, layer)
    order = np.argsort(-part, kind="stable")[:count]
    return order[part[order] > 0] + graph.offsets[layer]
