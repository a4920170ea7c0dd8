"""What the classifier says of all normal images, as one table: the references that examples are compared with.

A normal image is *clean* where its prediction is the class of its label, or where it has no label.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from aevis_dash.config import DIRECTION, FEATURES
from aevis_dash.core import adversarial_score
from aevis_dash.image_list import ImageList


@dataclass(frozen=True)
class Judgements:
    """What is stored of the judgements of m images, so that a later run need not judge them again.

    Attributes:
        digests: the digests of the image files, as bytes, (m,).
        predicted: the index of each image's predicted class, int (m,).
        confidence: the probability of that class, (m,).
        features: the input of the classifier's head on each image, (m, d).
    """

    digests: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class References:
    """The judgements of all N normal images of a workspace, in the order of `listed`.

    Attributes:
        listed: the normal images with their digests at one moment.
        judgements: what the classifier says of each of them.
    """

    listed: ImageList
    judgements: Judgements
    _scores: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _compared: dict[str, "Compared"] = field(default_factory=dict)

    @cached_property
    def right(self) -> np.ndarray:
        """Which of the normal images are clean, bool (N,)."""
        labels = np.array([-1 if entry.label is None else entry.label for entry in self.listed.entries], int)
        return (labels < 0) | (labels == self.judgements.predicted)

    @cached_property
    def clean(self) -> "CleanImages":
        """The clean images among the normal ones."""
        places = np.flatnonzero(self.right)
        files = np.array(self.listed.files, object)[places]
        return CleanImages(files, self.judgements.predicted[places], self.judgements.confidence[places])

    def of(self, by: str) -> "Compared":
        """What the adversarial score compares images with, where it is taken of the features or of their direction (one
        of SCORES_BY)."""
        if by not in self._compared:
            kept = self.judgements
            features = as_compared(kept.features, by)
            sigma = adversarial_score.bandwidth(features[self.right], kept.predicted[self.right])
            self._compared[by] = Compared(features, sigma)
        return self._compared[by]

    def score(self, digest: str, features: np.ndarray, label: int, source: str, by: str = FEATURES) -> float:
        """The adversarial score of one image, against the clean images of the class that it is predicted as.

        Args:
            digest: the digest of the image.
            features: the input of the classifier's head on the image, (d,).
            label: the class that the image is predicted as.
            source: the file name of a normal image that is left out of the references, which is the image's own source.
            by: what the score is taken of, one of SCORES_BY.

        Returns:
            -log K(x), where higher means more obviously adversarial; NaN where no reference image is left.
        """
        key = (digest, source, by)
        if key not in self._scores:
            alike = self._alike(label)
            alike = alike[alike != self.listed.places.get(source, -1)]
            compared, own = self.of(by), as_compared(features[None], by)
            found = adversarial_score.adversarial_score(own, compared.features[alike], compared.sigma)
            self._scores[key] = float(found[0])
        return self._scores[key]

    def _alike(self, label: int) -> np.ndarray:
        """The places, among the normal images, of the clean images of a class."""
        return np.flatnonzero(self.right & (self.judgements.predicted == label))


@dataclass(frozen=True, eq=False)
class Compared:
    """What the adversarial score compares an image with.

    Attributes:
        features: of each of the N normal images, (N, d).
        sigma: the bandwidth over the clean ones; see `core.adversarial_score.bandwidth`.
    """

    features: np.ndarray
    sigma: float


def as_compared(features: np.ndarray, by: str) -> np.ndarray:
    """Features h(x), (B, d), as the score compares them: as they are, or their direction, by one of SCORES_BY."""
    return adversarial_score.direction(features) if by == DIRECTION else features


@dataclass(frozen=True, eq=False)
class CleanImages:
    """The m clean normal images of a workspace, in the order of the table of images.

    Attributes:
        files: their file names, (m,).
        predicted: the index of each image's predicted class, (m,).
        confidence: the probability of that class, (m,).
    """

    files: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    _surest: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _drawn: dict[tuple, tuple[str, ...]] = field(default_factory=dict)

    @property
    def classes(self) -> set[int]:
        """The classes that at least one clean image is predicted as."""
        return set(np.unique(self.predicted).tolist())

    def of_class(self, label: int) -> tuple[str, ...]:
        """The file names of the images that are predicted as `label`, in the order of the table."""
        return tuple(self.files[self.predicted == label])

    def surest_of_class(self, label: int) -> tuple[str, ...]:
        """The file names of the images that are predicted as `label`, of highest confidence first, and by name where it
        is equal."""
        if label not in self._surest:
            places = np.flatnonzero(self.predicted == label).tolist()
            ranked = sorted(places, key=lambda i: (-self.confidence[i], self.files[i]))
            self._surest[label] = tuple(self.files[i] for i in ranked)
        return self._surest[label]

    def draw(self, by: str, taken: Collection[int], count: int, seed: int) -> tuple[str, ...]:
        """The file names of random images that are predicted as none of the classes `taken`.

        Args:
            by: a text that is part of the seed, such as an example's ID.
            taken: the classes whose images are not drawn.
            count: the number of images at most; fewer where there are not as many.
            seed: of the draw, which gives the same images for the same text and seed.
        """
        asked = (by, frozenset(taken), count, seed)
        if asked not in self._drawn:
            others = self.of_other_classes(taken)
            order = np.random.default_rng([seed, *by.encode()]).permutation(len(others))
            self._drawn[asked] = tuple(others[order[:count]])
        return self._drawn[asked]

    def of_other_classes(self, labels: Collection[int]) -> np.ndarray:
        """The file names (k,) of the images that are predicted as none of the classes `labels`, in the order of the
        table."""
        return self.files[~np.isin(self.predicted, list(labels))]
