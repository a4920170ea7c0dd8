"""Learned features: the reference patches of every map that are best by activation, and by relevance.

Activation alone can mislead: what fires a map most need not be what the network uses it for. So each map has a second
set of patches, by *relevance*: the product of activation and gradient towards the class that the network predicts for
the image. Images are seen a batch at a time and every layer is reduced as the run passes it, so the memory does not
grow with their number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.halving import by_halves
from aevis_dash.domain import Layer, LayerGraph, LearnedFeatures, LearnedIndex

Peaks = tuple[Tensor, Tensor]
"""The largest value over positions of each of n maps on B images, (B, n), and its flat position, (B, n)."""


class Learner:
    """Finds the best patches of each map while reference images are shown to it.

    Args:
        patches: k, how many patches are kept of each map.
        start: what was found before, from other images; None to begin anew.

    Attributes:
        seen: how many images were seen so far.
    """

    def __init__(self, classifier: Classifier, patches: int, start: LearnedIndex | None = None):
        self._classifier = classifier
        n, widths = classifier.layers.n_maps, _widths(classifier.layers)
        self._fires, self._speaks = _Strongest(n, patches, widths), _Strongest(n, patches, widths)
        self.seen = 0
        if start is not None:
            self._fires.resume(start.activation)
            self._speaks.resume(start.relevance)
            self.seen = start.seen

    def see(self, images: np.ndarray, places: Sequence[int]) -> None:
        """Take in some reference images.

        Args:
            images: 8-bit images, (B, H, W, C).
            places: the index of each of them among the reference images, (B,).
        """
        fires, speaks = peaks(self._classifier, images)
        self._fires.offer(fires, places)
        self._speaks.offer(speaks, places)
        self.seen += len(images)

    def index(self) -> LearnedIndex:
        """Give what was found so far."""
        return LearnedIndex(self._fires.features(), self._speaks.features(), self.seen)


def peaks(classifier: Classifier, images: np.ndarray) -> tuple[Peaks, Peaks]:
    """Find the peaks of all maps on some images, by activation and by relevance, in one forward and one backward run.

    The gradient is that of the predicted class's logit. Where a map does not lead to the logits its relevance is 0.

    Args:
        images: 8-bit images, (B, H, W, C).

    Returns:
        The peaks of activation, and those of activation times gradient; each a pair of tensors (B, n).
    """
    parts = by_halves(lambda at: _peaks(classifier, images[at]), len(images))
    by_activation, by_relevance = zip(*parts, strict=True)
    return _stacked(by_activation), _stacked(by_relevance)


def _stacked(parts: Sequence[Peaks]) -> Peaks:
    values, places = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(places)


def _peaks(classifier: Classifier, images: np.ndarray) -> tuple[Peaks, Peaks]:
    fires: dict[int, Peaks] = {}
    speaks: dict[int, Peaks] = {}

    def look(layer: int, value: Tensor) -> Tensor:
        place = classifier.layers.layers[layer]
        fires[layer] = _peak(value.detach(), place)
        return _Watched.apply(value, lambda product: speaks.update({layer: _peak(product, place)}))  # type: ignore[return-value]

    with torch.enable_grad():
        pixels = classifier.inputs(images).requires_grad_()
        logits = classifier.network.run_watched(pixels, look)
        torch.autograd.grad(logits.amax(1).sum(), pixels)
    missing = {i: tuple(map(torch.zeros_like, fires[i])) for i in fires if i not in speaks}
    return _join(fires), _join(speaks | missing)


class _Watched(torch.autograd.Function):
    """The identity; as the gradient passes, `found` is given the product of value and gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, found: Callable[[Tensor], None]) -> Tensor:
        ctx.save_for_backward(value)
        ctx.found = found
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.found(ctx.saved_tensors[0] * gradients[0])
        return gradients[0], None


class _Strongest:
    """The k strongest peaks of each of n maps seen so far; `widths` (n,) are the columns of neurons of each map."""

    def __init__(self, n: int, k: int, widths: Tensor):
        self._widths = widths[:, None]
        self._value = torch.zeros(n, k)
        self._place = torch.zeros(n, k, dtype=torch.int32)
        self._image = torch.full((n, k), -1, dtype=torch.int32)

    def resume(self, found: LearnedFeatures) -> None:
        self._value = torch.tensor(found.value)
        self._image = torch.tensor(found.image)
        row, col = (torch.from_numpy(places.astype(np.int32)) for places in (found.row, found.col))
        self._place = row * self._widths + col

    def offer(self, found: Peaks, places: Sequence[int]) -> None:
        value, place = (each.T.cpu() for each in found)
        image = torch.tensor(places, dtype=torch.int32).expand(len(value), -1)
        values = torch.cat([self._value, value], dim=1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, : self._value.shape[1]]
        self._value = values.gather(1, order)
        self._place = torch.cat([self._place, place.to(torch.int32)], dim=1).gather(1, order)
        self._image = torch.cat([self._image, image], dim=1).gather(1, order)

    def features(self) -> LearnedFeatures:
        row, col = self._place // self._widths, self._place % self._widths
        return LearnedFeatures(
            image=torch.where(self._value > 0, self._image, -1).numpy(),
            row=row.numpy().astype(np.int16),
            col=col.numpy().astype(np.int16),
            value=self._value.numpy().astype(np.float32),
        )


def _widths(graph: LayerGraph) -> Tensor:
    """Give the columns of neurons of every map, (n,)."""
    channels = torch.tensor([layer.channels for layer in graph.layers])
    return torch.tensor([layer.width for layer in graph.layers], dtype=torch.int32).repeat_interleave(channels)


def _peak(value: Tensor, layer: Layer) -> Peaks:
    """The largest value (B, n_l) of each map of a layer, and its place in the layer's grid, counted row by row."""
    found = value.reshape(*value.shape[:2], -1).max(2)
    places = torch.from_numpy(layer.places).to(value.device)
    return found.values, places[found.indices] if layer.special else found.indices


def _join(by_layer: dict[int, Any]) -> Peaks:
    layers = range(len(by_layer))
    value, place = (torch.cat([by_layer[i][part] for i in layers], dim=1) for part in (0, 1))
    return value, place
