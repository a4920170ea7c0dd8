"""What a network says of images when all maps outside a *mask* are closed.

Notation: k masks, n maps of the network, B images.
"""

import numpy as np
import torch

from aevis_dash.core.classifier import Classifier

ROWS = 64
"""The number of images that run at once, each with a mask."""


def labels_of(classifier: Classifier, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Give the label that the network says of every image with every mask.

    Args:
        classifier: the classifier.
        images: 8-bit images, (B, H, W, C).
        masks: the maps that stay open, bool (k, n).

    Returns:
        The indices of the classes, int (k, B).
    """
    x = classifier.inputs(images)
    gates = torch.from_numpy(masks).to(x)
    at, of = (each.ravel() for each in np.indices((len(masks), len(images))))
    with torch.no_grad():
        said = [
            classifier.network.logits(x[of[i : i + ROWS]], gates[at[i : i + ROWS]]).argmax(1)
            for i in range(0, len(of), ROWS)
        ]
    return torch.cat(said).cpu().numpy().reshape(len(masks), len(images))


def firing(classifier: Classifier, image: np.ndarray) -> np.ndarray:
    """Tell which maps are not 0 everywhere on an 8-bit image (1, H, W, C): bool (n,)."""
    layers = range(len(classifier.layers))
    with torch.no_grad():
        maps = classifier.network.record(classifier.inputs(image), layers)[1]
    peaks = [maps[i].reshape(layer.channels, -1).abs().amax(1) for i, layer in enumerate(classifier.layers.layers)]
    return (torch.cat(peaks) > 0).cpu().numpy()
