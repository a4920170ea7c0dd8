"""What closing a feature map does to every class, measured by running the network without it.

With the logits z of an image and those z' of the run in which map k is closed (all its neurons are 0), the *effect* of
map k on class c is

    e_kc = (z_c - mean of all K logits of z) - (z'_c - mean of all K logits of z').

A positive effect says that the map speaks for the class on this image: without the map the class's logit falls beside
the others. Nothing is estimated: it is the network's own answer. What bypasses the map's layer stays as it is.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.execution import NetworkPart, prepare_parts
from aevis_dash.domain import FeatureMap

ROWS = 32
"""The number of maps that are closed at once, each in a run of its own."""
ROUNDING = 1e-5
"""Effects below this part of the largest logit count as 0: runs of several images round a little otherwise than runs of
one."""


class Closer:
    """Closes maps of some layers, one at a time, on one image after the other.

    Args:
        classifier: the classifier.
        layers: the indices of the layers whose maps may be closed.
    """

    def __init__(self, classifier: Classifier, layers: Sequence[int]):
        self._classifier = classifier
        self._parts: dict[int, NetworkPart] = {}
        for layer in layers:
            try:
                self._parts[layer] = classifier.network.part(layer, None)
            except ValueError:
                continue  # It does not lead to the logits, so closing its maps changes nothing.

    def effects(self, image: np.ndarray, maps: Sequence[FeatureMap]) -> np.ndarray:
        """Measure the effects of some maps on all classes.

        It takes one run of the network up to the layers, and for each map a run of the part behind its layer.

        Args:
            image: one 8-bit image, (1, H, W, C).
            maps: m maps of the layers.

        Returns:
            The effects in logits, float32 (m, K). They are NaN where logits are, and 0 where a map does not lead to the
            logits.
        """
        found = np.zeros((len(maps), len(self._classifier.class_names)), np.float32)
        rows: dict[int, list[int]] = {}
        for row, chosen in enumerate(maps):
            rows.setdefault(chosen.layer, []).append(row)
        layers = [layer for layer in rows if layer in self._parts]
        if not layers:
            return found
        parts = [self._parts[layer] for layer in layers]
        with torch.no_grad():
            states = prepare_parts(parts, self._classifier.inputs(image))
            for layer, part, state in zip(layers, parts, states, strict=True):
                whole = _beside_mean(part.run(state, state.start))
                for first in range(0, len(rows[layer]), ROWS):
                    some = rows[layer][first : first + ROWS]
                    gate = state.start.new_ones(len(some), state.start.shape[1])
                    gate[torch.arange(len(some)), torch.tensor([maps[row].channel for row in some])] = 0
                    closed = part.run_gated(state, gate, rows=torch.zeros(len(some), dtype=torch.long))
                    effect = whole - _beside_mean(closed)
                    effect[effect.abs() < ROUNDING * whole.abs().max()] = 0
                    found[some] = effect.cpu().numpy()
        return found


def _beside_mean(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)
