"""Where an adversarial's signal leaves its source's for good: beyond what noise does, or another picture of the class.

The signal at a layer is the activation of its maps, each map's maximum over positions; two signals are as far apart
as the cosine distance of these. L layers, n maps, m draws of noise, k other images.

Two bands, for two questions. "noise", the largest distance that shuffled noise of the attack's own size makes: where
does the attack do more than chance? Often from the first layer on. "class", the median distance of other clean images
of src's class: where is src with the attack less like src than another picture of its class is?
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aevis_dash.core.distance import cosine_distance
from aevis_dash.domain import LayerGraph

BANDS = ("class", "noise")


@dataclass(frozen=True)
class Departure:
    """`layer`: the first from which adv is farther from src than the band to the end, L for none, -1 without a band.

    `culprits` (c,) are the maps of that layer that differ most beyond what the band's images do, as flat indices.
    """

    layer: int
    culprits: np.ndarray


@dataclass(frozen=True)
class Divergence:
    """Distances from src at every layer: of adv (L,), of src with noise (m, L), of other clean images (k, L)."""

    adversarial: np.ndarray
    noise: np.ndarray
    others: np.ndarray
    from_class: Departure
    from_noise: Departure

    def innocents(self, band: str) -> np.ndarray:
        """Where each of the band's own images leaves the band of the others: (m,) or (k,) layers, L for none.

        What a departure is worth: innocent pictures leave as well. Empty where the band has fewer than two images.
        """
        images, statistic = {"class": (self.others, np.median), "noise": (self.noise, np.max)}[band]
        if len(images) < 2:
            return np.zeros(0, int)
        rest = [statistic(np.delete(images, i, axis=0), axis=0) for i in range(len(images))]
        return np.array([leaves(own, others) for own, others in zip(images, rest, strict=True)])

    def departure(self, band: str) -> Departure:
        """Where adv leaves one of BANDS."""
        return {"class": self.from_class, "noise": self.from_noise}[band]


def leaves(distance: np.ndarray, band: np.ndarray) -> int:
    """The first layer from which the distance (L,) exceeds the band (L,) at every layer to the end; L for none.

    Layers where either is NaN count as neither.
    """
    inside = np.flatnonzero(distance <= band)
    return int(inside[-1]) + 1 if len(inside) else 0


def shuffle_perturbation(source: np.ndarray, adversarial: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Noise of the attack's own size: its perturbation with pixels and signs shuffled, on 8-bit images (H, W, 3).

    Gives (count, H, W, 3). Every norm of the perturbation is kept but for what the range 0 to 255 cuts off.
    """
    random = np.random.default_rng(seed)
    perturbation = (adversarial.astype(int) - source).reshape(-1, 3)
    moved = [random.permutation(perturbation) * random.choice([-1, 1], perturbation.shape) for _ in range(count)]
    return np.stack([np.clip(source + m.reshape(source.shape), 0, 255) for m in moved]).astype(np.uint8)


def diverge(
    graph: LayerGraph,
    source: np.ndarray,
    adversarial: np.ndarray,
    noise: np.ndarray,
    others: np.ndarray,
    critical: np.ndarray | None = None,
    count: int = 5,
) -> Divergence:
    """Compare signals: src and adv (n,), src with noise (m, n), others (k, n); on the `critical` maps (n,) only."""
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
        _departure(graph, far_adv[0], far_others, moved, np.abs(others - source), np.median, count),
        _departure(graph, far_adv[0], far_noise, moved, np.abs(noise - source), np.max, count),
    )


def _departure(
    graph: LayerGraph,
    far: np.ndarray,
    bands: np.ndarray,
    moved: np.ndarray,
    usual: np.ndarray,
    statistic: Callable[..., np.ndarray],
    count: int,
) -> Departure:
    """From distances (L,) and the band's (m, L), the maps' moves (n,) and those of the band's images (m, n)."""
    if not len(bands):
        return Departure(-1, np.zeros(0, int))
    layer = leaves(far, statistic(bands, axis=0))
    return Departure(layer, _largest(graph, moved - statistic(usual, axis=0), layer, count))


def _by_layer(graph: LayerGraph, first: np.ndarray, second: np.ndarray, kept: np.ndarray) -> np.ndarray:
    parts = zip(graph.parts(first), graph.parts(second), graph.parts(kept), strict=True)
    return np.array([cosine_distance(a[at], b[at]) for a, b, at in parts])


def _largest(graph: LayerGraph, values: np.ndarray, layer: int, count: int) -> np.ndarray:
    if layer >= len(graph):
        return np.zeros(0, int)
    part = graph.part(values, layer)
    order = np.argsort(-part, kind="stable")[:count]
    return order[part[order] > 0] + graph.offsets[layer]
