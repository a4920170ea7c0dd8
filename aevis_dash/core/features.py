"""This module measures how strongly feature maps fire: their activations over positions, and the maxima of these."""

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.halving import by_halves


def activation_maps(classifier: Classifier, images: np.ndarray, layer: int) -> np.ndarray:
    """Give the activations of one layer on some images.

    Args:
        images: 8-bit images, (B, H, W, C).
        layer: the index of the layer.

    Returns:
        The activations, float16 to keep them small, (B, n_l, H_l, W_l); they are clipped to 65,504 either
        way. Empty places of a layer of tokens are NaN.
    """
    place = classifier.layers.layers[layer]
    with torch.no_grad():
        value = classifier.network.activation(classifier.inputs(images), layer)
    kept = value.clamp(-65504, 65504).cpu().numpy().astype(np.float16)
    return place.on_grid(kept.reshape(-1, place.neurons)).reshape(len(value), place.channels, place.height, place.width)


def maximum_activations(classifier: Classifier, images: np.ndarray, batch: int = 16) -> np.ndarray:
    """Give the activation of every map on some images, which is its maximum over positions (Sec. 5.3).

    Args:
        images: 8-bit images, (B, H, W, C).
        batch: how many images are run at once.

    Returns:
        The activations, float32 (B, n).
    """
    rows: list[np.ndarray] = []
    for first in range(0, len(images), batch):
        some = images[first : first + batch]
        rows += by_halves(lambda at, some=some: _maxima(classifier, some[at]), len(some))
    return np.concatenate(rows).astype(np.float32)


def _maxima(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    found: dict[int, Tensor] = {}

    def look(layer: int, value: Tensor) -> Tensor:
        found[layer] = value.reshape(*value.shape[:2], -1).amax(2)
        return value

    with torch.no_grad():
        classifier.network.run_watched(classifier.inputs(images), look)
    return torch.cat([found[i] for i in range(len(classifier.layers))], dim=1).cpu().numpy()
