"""This module tests whether map k of a layer is the same map in two networks, and counts which maps both need.

Two networks whose weights come from one ancestor (a network and its fine-tuned copy) keep the numbers of their maps.
Two networks that were trained apart have the same layers, but map k of one has nothing to do with map k of the other.
Which of both holds is tested on images: the *partner* of map k is the map of the other network's same layer whose
activations over the images correlate most with those of map k. A map is its *own partner* where its partner has its
number. Maps that do not change over the images, in either network, have no partner and are none.

Chance draws the numbers of the other network's n maps anew, every order alike. Then h or more maps are their own
partners with a probability of at most 1 / h!. For there are C(n, h) ways at most to choose h maps, and their partners
get their numbers with a probability of (n - h)! / n! at most. This holds whatever the activations are. By chance one
map at most is its own partner on average.

There are R images and n maps of the layer.
"""

from dataclasses import dataclass
from math import factorial

import numpy as np

RARE = 0.05
"""The probability with which chance may make any of the compared layers pass."""
MOST = 0.5
"""The share of the maps that must be their own partners for a layer to pass: more than this."""
FLAT = 1e-6
"""A map changes over the images where its standard deviation exceeds this share of its largest activation."""


@dataclass(frozen=True)
class LayerKinship:
    """The test of one layer.

    Attributes:
        changing: which maps change over the images in both networks, bool (n,).
        own: which of them are their own partners, bool (n,).
    """

    changing: np.ndarray
    own: np.ndarray

    @property
    def chance(self) -> float:
        """A bound of the probability that so many maps are their own partners by chance: 1 / h!, at most 1."""
        return 1 / factorial(min(int(self.own.sum()), 170))

    @property
    def share(self) -> float:
        """The share of the changing maps that are their own partners; NaN where no map changes."""
        count = int(self.changing.sum())
        return float(self.own.sum()) / count if count else float("nan")

    def passes(self, layers: int) -> bool:
        """Tell whether map k is the same map in both networks, for a test of so many layers at once.

        It is where more than MOST of the maps are their own partners and chance gives so many in any of the layers with
        a probability of at most RARE (each layer gets an equal part of it).
        """
        return self.share > MOST and self.chance <= RARE / layers


def kinship(first: np.ndarray, second: np.ndarray) -> LayerKinship:
    """Test whether map k of a layer is the same map in two networks.

    Args:
        first: the activations of the layer's maps in the one network on some images, (R, n).
        second: those in the other network on the same images, (R, n).

    Raises:
        ValueError: the two are not of one shape.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"activations of shape {first.shape} and {second.shape} are not of one layer and set of images"
        )
    here, there = _standardised(first), _standardised(second)
    changing = np.logical_and(here.any(0), there.any(0))
    correlation = np.where(there.any(0), here.T @ there, -np.inf)
    return LayerKinship(changing, changing & (correlation.argmax(1) == np.arange(first.shape[1])))


def overlap(first: np.ndarray, second: np.ndarray, same: np.ndarray) -> tuple[int, float]:
    """Count the maps that two sets of maps have in common, beside what chance gives.

    Only maps that are the same in both networks are counted. Chance draws a set of the same size among these maps.

    Args:
        first: the maps that the one network needs, bool (n,).
        second: those that the other one needs, bool (n,).
        same: the maps that are the same in both, bool (n,).

    Returns:
        The number of common maps, and its mean by chance; 0 for both where no map is the same.
    """
    count = int(same.sum())
    a, b = first & same, second & same
    return int((a & b).sum()), float(a.sum()) * float(b.sum()) / count if count else 0.0


def _standardised(values: np.ndarray) -> np.ndarray:
    """Activations (R, n) less their mean and over their length, so that products are correlations; 0 for maps that do
    not change.
    """
    x = values.astype(np.float64)
    moved = x - x.mean(0) if len(x) else x
    length = np.linalg.norm(moved, axis=0)
    changes = length > FLAT * np.abs(x).max(0, initial=0.0) * np.sqrt(max(len(x), 1))
    return np.where(changes, moved / np.where(changes, length, 1), 0)
