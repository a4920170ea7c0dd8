"""What the classifier says of all normal images, as one table: the references that examples are compared with."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from aevis_dash.core import adversarial_score
from aevis_dash.image_list import ImageList


@dataclass(frozen=True)
class Judgements:
    """What is kept of the judgements of m images between two runs: their files' `digests` (m,), as bytes, the classes
    that are `predicted` for them (m,), their `confidence` (m,), and the head's inputs, `features` (m, d)."""

    digests: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class References:
    """The judgements of the normal images of `listed`, in its order."""

    listed: ImageList
    judgements: Judgements
    _scores: dict[tuple[str, str], float] = field(default_factory=dict)

    @cached_property
    def right(self) -> np.ndarray:
        """(N,) which images are clean: predicted as their label says, or without a label."""
        labels = np.array([-1 if entry.label is None else entry.label for entry in self.listed.entries], int)
        return (labels < 0) | (labels == self.judgements.predicted)

    @cached_property
    def clean(self) -> "CleanImages":
        """The clean images among them."""
        places = np.flatnonzero(self.right)
        files = np.array(self.listed.files, object)[places]
        return CleanImages(files, self.judgements.predicted[places], self.judgements.confidence[places])

    @cached_property
    def sigma(self) -> float:
        """The bandwidth of the adversarial score: see `adversarial_score.bandwidth`."""
        kept = self.judgements
        return adversarial_score.bandwidth(kept.features[self.right], kept.predicted[self.right])

    def score(self, digest: str, features: np.ndarray, label: int, source: str) -> float:
        """The adversarial score of the image of that digest, predicted as `label`, whose head input is `features` (d,):
        against the clean images of that class other than `source`. NaN where there is none."""
        key = (digest, source)
        if key not in self._scores:
            alike = self._alike(label)
            alike = alike[alike != self.listed.places.get(source, -1)]
            found = adversarial_score.adversarial_score(features[None], self.judgements.features[alike], self.sigma)
            self._scores[key] = float(found[0])
        return self._scores[key]

    def _alike(self, label: int) -> np.ndarray:
        """The places of the clean images of a class."""
        return np.flatnonzero(self.right & (self.judgements.predicted == label))


@dataclass(frozen=True, eq=False)
class CleanImages:
    """Clean normal images, in the table's order: their `files` (m,), the classes `predicted` (m,) for them and the
    `confidence` (m,) of that."""

    files: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    _surest: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def classes(self) -> set[int]:
        """The classes that any of them is predicted as."""
        return set(np.unique(self.predicted).tolist())

    def of_class(self, label: int) -> tuple[str, ...]:
        """Those predicted as `label`, in the table's order."""
        return tuple(self.files[self.predicted == label])

    def surest_of_class(self, label: int) -> tuple[str, ...]:
        """Those predicted as `label`, surest first, those alike by name."""
        if label not in self._surest:
            places = np.flatnonzero(self.predicted == label).tolist()
            ranked = sorted(places, key=lambda i: (-self.confidence[i], self.files[i]))
            self._surest[label] = tuple(self.files[i] for i in ranked)
        return self._surest[label]

    def of_other_classes(self, labels: Collection[int]) -> np.ndarray:
        """The files (k,) of those that are predicted as none of the `labels`, in the table's order."""
        return self.files[~np.isin(self.predicted, list(labels))]
