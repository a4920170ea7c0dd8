"""What a feature map sees: its activations, their maxima, and the reference patches that activate it most."""

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import LearnedFeatures


def activation_maps(classifier: Classifier, images: np.ndarray, layer: int) -> np.ndarray:
    """Activations (B, n_l, H_l, W_l) of one layer on 8-bit images (B, H, W, 3), float16 to keep them small."""
    shape = classifier.layers.layers[layer]
    with torch.no_grad():
        value = classifier.network.activation(classifier.inputs(images), layer)
    grid = value.reshape(len(value), shape.channels, shape.height, shape.width)
    return grid.clamp(-65504, 65504).cpu().numpy().astype(np.float16)


def maximum_activations(classifier: Classifier, images: np.ndarray, batch: int = 16) -> np.ndarray:
    """(B, n) the activation of every map: its maximum over positions (Sec. 5.3)."""
    rows = []
    for i in range(0, len(images), batch):
        peaks = _peaks(classifier, images[i : i + batch])
        rows.append(torch.cat([value for value, _ in peaks], dim=1).cpu().numpy())
    return np.concatenate(rows).astype(np.float32)


def learned_features(
    classifier: Classifier, images: np.ndarray, patches: int, progress: Progress = silent, batch: int = 16
) -> LearnedFeatures:
    """The `patches` neurons of each map that fire most over reference images (N, H, W, 3), one per image."""
    graph = classifier.layers
    widths = torch.tensor([layer.width for layer in graph.layers])
    width = widths.repeat_interleave(torch.tensor([layer.channels for layer in graph.layers]))
    best = _Strongest(graph.n_maps, patches)
    for i in range(0, len(images), batch):
        progress(i / len(images), "finding learned features")
        peaks = _peaks(classifier, images[i : i + batch])
        value = torch.cat([v for v, _ in peaks], dim=1).T.cpu()
        place = torch.cat([p for _, p in peaks], dim=1).T.cpu()
        best.offer(value, place, torch.arange(i, i + value.shape[1]))
    progress(1.0, "learned features found")
    image = torch.where(best.value > 0, best.image, -1)
    row, col = best.place // width[:, None], best.place % width[:, None]
    return LearnedFeatures(
        image=image.numpy().astype(np.int32),
        row=row.numpy().astype(np.int16),
        col=col.numpy().astype(np.int16),
        value=best.value.numpy().astype(np.float32),
    )


class _Strongest:
    """The k strongest peaks of each of n maps seen so far."""

    def __init__(self, n: int, k: int):
        self.value = torch.zeros(n, k)
        self.place = torch.zeros(n, k, dtype=torch.int64)
        self.image = torch.full((n, k), -1, dtype=torch.int64)

    def offer(self, value: Tensor, place: Tensor, image: Tensor) -> None:
        """Merge peaks (n, b) of b images."""
        values = torch.cat([self.value, value], dim=1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, : self.value.shape[1]]
        self.value = values.gather(1, order)
        self.place = torch.cat([self.place, place], dim=1).gather(1, order)
        self.image = torch.cat([self.image, image.expand(len(value), -1)], dim=1).gather(1, order)


def _peaks(classifier: Classifier, images: np.ndarray) -> list[tuple[Tensor, Tensor]]:
    """Maximum over positions and its flat position, (B, n_l) each, for every layer."""
    layers = range(len(classifier.layers))
    with torch.no_grad():
        _, recorded = classifier.network.record(classifier.inputs(images), layers)
        peaks = [recorded[i].reshape(len(images), classifier.layers.layers[i].channels, -1).max(2) for i in layers]
    return [(peak.values, peak.indices) for peak in peaks]
