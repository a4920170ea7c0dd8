"""Names of feature maps: what the evidence of a few images says of a map, and how much it says so.

There are three kinds of evidence, and a name says of which kind it is.

A map *speaks for* a class by what closing it does (see `core.closing`). On each of the M images that fire the map most
let e_ic be the effect on class c. The name is the class of the largest sum over the images, and its score is

    sum over i of max(e_ic, 0)  /  sum over i of max over c' of max(e_ic', 0),

which is 1 where the class is the first on every image. A map *speaks against* a class by the same of -e. Of every image
only the LISTED classes of largest effect are kept; the others count as 0.

The *images* that fire a map most name it where more than half of them are of one class. With h of k images of a class
that has s of all N images, chance gives k s / N of them, and at most min(k, s) are possible. The score is

    (h - k s / N)  /  (min(k, s) - k s / N).

Which *part* a map detects is told by `core.dissection`; its score is an intersection over union.

All numbers say something of the images that were looked at. `names_study` measures how far they hold on others.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

LISTED = 5
"""The number of classes of largest effect, and of smallest, that are kept of a map on an image."""
FIRED = 5
"""M, the number of images, those that fire a map most, by which it is named after classes."""
LEAST_IMAGES = 3
"""The least number of images by which a map is named, and the least number of them that must agree on a class."""


class NameKind(StrEnum):
    """The kinds of names, by what a map is named after."""

    FOR = "for"
    AGAINST = "against"
    IMAGES = "images"
    PART = "part"


THRESHOLDS = {NameKind.FOR: 0.9, NameKind.AGAINST: 0.9, NameKind.IMAGES: 0.7, NameKind.PART: 0.04}
"""The score from which a name of each kind is a clear name, as `aevis benchmark names` proposes it: the least one from
which four names in five hold on other images in the drawn world, and of names after classes on ResNet-18 too."""
_SAID = {
    NameKind.FOR: "speaks for {name} ({score:.2f})",
    NameKind.AGAINST: "speaks against {name} ({score:.2f})",
    NameKind.IMAGES: "fires most on images of {name} ({score:.2f})",
    NameKind.PART: "detects {name} ({score:.2f})",
}


@dataclass(frozen=True)
class MapName:
    """A name of one feature map.

    Attributes:
        kind: what the map is named after.
        name: the name of the class or of the part.
        score: from 0 to 1, how much the evidence says so; see the module.
    """

    kind: NameKind
    name: str
    score: float

    def __str__(self) -> str:
        return _SAID[self.kind].format(name=self.name, score=self.score)


@dataclass(frozen=True)
class Guesses:
    """The best name of one kind for each of m maps, clear or not.

    Attributes:
        label: the index of the class or of the part, int (m,); -1 where the evidence names none.
        score: how much the evidence says so, (m,); 0 where it names none.
    """

    label: np.ndarray
    score: np.ndarray

    def clear(self, least: float) -> np.ndarray:
        """Tell which of the m names reach a score, bool (m,)."""
        return (self.label >= 0) & (self.score >= least)


def largest_effects(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the LISTED largest effects of each map that are above 0, the largest first.

    Args:
        effects: the effects of m maps on all classes, (m, K).

    Returns:
        The classes, int32 (m, T), and the effects on them, float32 (m, T), where T is LISTED or K if that is less.
        Where there are not so many effects above 0, and where any of a map's effects is no number, the classes are -1
        and the effects 0.
    """
    known = np.isfinite(effects).all(1, keepdims=True)
    values = np.where(known, effects, 0)
    classes = np.argsort(-values, axis=1, kind="stable")[:, :LISTED]
    kept = np.take_along_axis(values, classes, axis=1)
    return np.where(kept > 0, classes, -1).astype(np.int32), np.where(kept > 0, kept, 0).astype(np.float32)


def guess_classes(
    image: np.ndarray, classes: np.ndarray, effects: np.ndarray, without: AbstractSet[int] = frozenset()
) -> Guesses:
    """Name m maps after the class that they speak for most; see the module for the score.

    Args:
        image: the reference images that were looked at for each map, those that fire it most first, (m, I); -1 for
            none.
        classes: the classes of largest effect on each of these images, (m, I, T); -1 for none.
        effects: the effects on these classes, at least 0, the largest first, (m, I, T).
        without: images that are left out. The first FIRED of the others count.

    Returns:
        The guesses. A map with fewer than LEAST_IMAGES images has none.
    """
    kept = _first_images(image, without, FIRED)
    counted = np.where(kept[..., None], effects, 0).astype(np.float64)
    whole = counted[..., 0].sum(1) if counted.shape[2] else np.zeros(len(image))
    rows = np.broadcast_to(np.arange(len(image))[:, None, None], classes.shape)
    used = (counted > 0) & (classes >= 0)
    label, most = _largest_sums(rows[used], classes[used], counted[used], len(image))
    known = (kept.sum(1) >= LEAST_IMAGES) & (whole > 0) & (label >= 0)
    score = np.divide(most, whole, out=np.zeros(len(image)), where=known)
    return Guesses(np.where(known, label, -1), score)


def guess_images(image: np.ndarray, labels: np.ndarray, most: int, without: AbstractSet[int] = frozenset()) -> Guesses:
    """Name m maps after the class that most of the images are of that fire them most; see the module for the score.

    Args:
        image: the reference images that fire each map most, the strongest first, (m, I); -1 for none.
        labels: the class of each of the N reference images, (N,); -1 where it is not known.
        most: k, how many images of each map count.
        without: images that are left out. The first `most` of the others count.

    Returns:
        The guesses. A map has none where fewer than LEAST_IMAGES of its images are of one class, or no more than half
        of them, or no more than by chance.
    """
    kept = _first_images(image, without, most)
    known = [place for place in range(len(labels)) if labels[place] >= 0 and place not in without]
    sizes = np.bincount(labels[known], minlength=1) if known else np.zeros(1, int)
    of = np.where(kept, labels[np.where(image >= 0, image, 0)] if len(labels) else -1, -1)
    used = of >= 0
    rows = np.broadcast_to(np.arange(len(image))[:, None], image.shape)
    label, hits = _largest_sums(rows[used], of[used], np.ones(int(used.sum())), len(image))
    seen, share = used.sum(1), sizes[np.where(label >= 0, label, 0)]
    score = beyond_chance(hits, seen, share, max(len(known), 1))
    named = (label >= 0) & (hits >= LEAST_IMAGES) & (2 * hits > seen) & (score > 0)
    return Guesses(np.where(named, label, -1), np.where(named, score, 0))


def beyond_chance(hits: np.ndarray, drawn: np.ndarray, size: np.ndarray, total: int) -> np.ndarray:
    """Give the score of names by images: the part of what is possible beyond chance, (m,).

    Args:
        hits: h, how many of the images are of the class, (m,).
        drawn: k, how many images there are, (m,).
        size: s, how many of all images are of the class, (m,).
        total: N, the number of all images.

    Returns:
        1 where as many are of the class as can be, 0 where as many as by chance, and 0 where chance leaves nothing.
    """
    chance = drawn * size / total
    left = np.minimum(drawn, size) - chance
    return np.divide(hits - chance, left, out=np.zeros(len(hits)), where=left > 1e-9)


def _first_images(image: np.ndarray, without: AbstractSet[int], most: int) -> np.ndarray:
    """Tell which images count, bool (m, I): the first `most` of each row that are not left out."""
    kept = (image >= 0) & ~np.isin(image, list(without))
    return kept & (kept.cumsum(1) <= most)


def _largest_sums(rows: np.ndarray, classes: np.ndarray, values: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum values by row and class, and give the class of the largest sum of each of m rows, and that sum.

    Of classes with equal sums the first counts. Rows without a value have the class -1 and the sum 0.
    """
    label, most = np.full(m, -1), np.zeros(m)
    if not len(rows):
        return label, most
    span = int(classes.max()) + 1
    keys, inverse = np.unique(rows.astype(np.int64) * span + classes, return_inverse=True)
    sums = np.bincount(inverse, values)
    order = np.lexsort((keys % span, -sums, keys // span))
    named, first = np.unique(keys[order] // span, return_index=True)
    label[named], most[named] = keys[order][first] % span, sums[order][first]
    return label, most
