"""Measures of a hard set: whether it keeps the label, says it of other images too, or holds maps that do not fire."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import Datapath, LayerGraph


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Give |A and B| / |A or B| of two sets of maps, each bool (n,); 1 where both are empty."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Give Spearman's rank correlation of two vectors (n,), ties sharing their mean rank.

    It is 0 where one of the two is constant or empty, and NaN where one of them holds a NaN.
    """
    from scipy import stats  # loading it takes a second, and most verbs need no correlation

    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return 0.0
    found: Any = stats.spearmanr(first, second)
    return float(found.statistic)


def complete_set(graph: LayerGraph, order: np.ndarray, share: float) -> np.ndarray:
    """Take the same share of the maps of every layer, best first.

    Args:
        graph: the layers of the network.
        order: the order of the maps, (n,), the highest first.
        share: the share of each layer's maps, from 0 to 1; their number is rounded up.

    Returns:
        The set, bool (n,).
    """
    chosen = np.zeros(len(order), bool)
    for layer, part in zip(graph.layers, graph.parts(order), strict=True):
        size = int(np.ceil(share * layer.channels - 1e-9))
        chosen[graph.offsets[layer.index] + np.argsort(-part, kind="stable")[:size]] = True
    return chosen


class Gauge:
    """Tries hard sets on one image, and on other images that are predicted otherwise.

    Args:
        image: the 8-bit image, (1, H, W, C).
        others: other 8-bit images, (m, H, W, C), of which there may be none.
    """

    def __init__(self, classifier: Classifier, image: np.ndarray, others: np.ndarray):
        self._classifier = classifier
        self._x = classifier.inputs(image)
        self._others = classifier.inputs(others) if len(others) else None
        with torch.no_grad():
            logits, maps = classifier.network.record(self._x, range(len(classifier.layers)))
        self._full = logits.log_softmax(1)
        peaks = [value[0].reshape(value.shape[1], -1).abs().amax(1) for value in maps.values()]
        self._fires = torch.cat(peaks).cpu().numpy()

    def at_shares(self, path: Datapath, shares: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Try the complete sets of several shares on the image.

        Args:
            path: the image's datapath, whose order the sets follow.
            shares: s shares of each layer's maps, from 0 to 1.

        Returns:
            Whether each set keeps the datapath's label, 1 or 0, (s,); and KL(p || p(hard)), where p are the
            probabilities of the whole network and p(hard) those of the set alone, in nats, (s,).
        """
        sets = [complete_set(self._classifier.layers, path.hard_order, share) for share in shares]
        found = [self._log_probabilities(self._x, chosen) for chosen in sets]
        kept = np.array([float(p.argmax(1)[0] == path.label) for p in found])
        return kept, np.array([float((self._full.exp() * (self._full - p)).sum()) for p in found])

    def said_of_others(self, chosen: np.ndarray, label: int) -> float:
        """Give the share of the other images of which a hard set alone says one class.

        Args:
            chosen: the hard set, bool (n,).
            label: the index of the class.

        Returns:
            A share from 0 to 1; NaN where there are no other images.
        """
        if self._others is None:
            return float("nan")
        return float((self._log_probabilities(self._others, chosen).argmax(1) == label).float().mean())

    def dead_share(self, chosen: np.ndarray) -> float:
        """Give the share of the maps of a hard set, bool (n,), whose activation is 0 at every position of the image."""
        return float((self._fires[chosen] == 0).mean()) if chosen.any() else 0.0

    def _log_probabilities(self, x: Tensor, chosen: np.ndarray) -> Tensor:
        gates = torch.tensor(chosen).to(x)[None]
        with torch.no_grad():
            return self._classifier.network.logits(x, gates).log_softmax(1)
