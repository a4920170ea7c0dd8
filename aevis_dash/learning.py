"""What the model's maps have learned from a workspace's normal images: an index that grows in the store.

The images are seen in the order of their digests, which has nothing to do with what they show, so any part of them is a
fair sample. After every CHECKPOINT images the index is stored under a key of the images seen so far. A run that was
interrupted goes on from the last checkpoint, and readers take the furthest one that is stored.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, islice

import numpy as np

from aevis_dash.config import Progress, Turn, VisualisationParameters, part_of, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.dissection import Dissection
from aevis_dash.core.learned import Learner
from aevis_dash.core.names import THRESHOLDS, NameKind
from aevis_dash.core.visualisation import visualise
from aevis_dash.domain import AevisError, Example, FeatureMap, LearnedFeatures, LearnedIndex, Visualisation
from aevis_dash.image_list import ImageList
from aevis_dash.sight import one_sight
from aevis_dash.store import Store, key_of
from aevis_dash.workspace import Workspace

VERSION = 2
"""The version of what is computed here. It is raised when a method's results change for the same parameters."""
SPARE = 3
"""The number of patches that are kept of each map beyond those that are shown. They replace images that an example
leaves out."""
BATCH, CHECKPOINT = 8, 64
"""The number of images that are seen at once, and the number between two checkpoints."""
DISSECTED = 120
"""The number of images with known parts that are looked at, at most."""
NAMED = THRESHOLDS[NameKind.PART]
"""The overlap from which a map is named after a part. In the drawn world chance gives less than that for every part."""


@dataclass(frozen=True)
class PartOverlaps:
    """How well every map detects every part of the workspace, as it is stored.

    Attributes:
        values: the intersection over union of each of the n maps with each of the P parts, (n, P).
    """

    values: np.ndarray


@dataclass(frozen=True)
class _Order:
    """The order in which the reference images are seen.

    `files` are the names of all images as the table had them when the order was made: it may change meanwhile. `places`
    are the places in that table in the order in which the images are seen. `digests` are those of the first 1, 2, ...
    of them. `parts` is a digest of what is known of their parts, "" where nothing is.
    """

    files: tuple[str, ...]
    places: tuple[int, ...]
    digests: tuple[str, ...]
    parts: str


class Learning:
    """`bench.learning`: the learned features of one workspace, the parts that maps detect, and pictures made for
    maps."""

    def __init__(self, workspace: Workspace, store: Store, classifier: Classifier):
        self.workspace, self.store, self._classifier = workspace, store, classifier
        self._known_order: tuple[ImageList, _Order] | None = None
        self._index: tuple[str, LearnedIndex] | None = None
        self._names: tuple[str, tuple[str, ...]] | None = None
        self._studied: tuple[_Order, Example, frozenset[int]] | None = None

    @property
    def total(self) -> int:
        """The number of reference images, which are all normal images of the workspace."""
        return len(self.workspace.images)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to learn: all images are seen, and maps are named after parts where these are
        known."""
        order = self._order()
        known = not order.places or self.store.has(self._index_key(order, len(order.places)))
        return known and (not order.parts or self.store.has(self._parts_key(order)))

    def index(self) -> LearnedIndex | None:
        """The index of as many images as have been seen so far; None before the first checkpoint."""
        order = self._order()
        for seen in checkpoints(len(order.places)):
            key = self._index_key(order, seen)
            if self._index is not None and self._index[0] == key:
                return self._index[1]
            found = self.store.get(key, LearnedIndex) if self.store.has(key) else None
            if found is not None:
                self._index = (key, found)
                return found
        return None

    @one_sight()
    def learn(self, progress: Progress = silent, turn: Turn = nullcontext, first: int | None = None) -> LearnedIndex:
        """Complete the index, and the names of parts where these are known; a run that was interrupted is continued.

        Args:
            progress: is told the share of the work that is done.
            turn: makes the context in which each batch is computed.
            first: the number of images to learn from, which then names no parts; None for all images.

        Returns:
            The index of all images, or of the first ones.

        Raises:
            AevisError: where an image cannot be read, or masks of parts change while they are looked at.
        """
        order = self._order()
        if first is not None:
            return self._learn(order, progress, turn, first)
        share = 0.7 if order.parts else 1.0
        index = self._learn(order, part_of(progress, 0, share), turn)
        if order.parts and not self.store.has(self._parts_key(order)):
            self._dissect(order, index, part_of(progress, share, 1 - share), turn)
        progress(1.0, f"learned from {index.seen} images")
        return index

    def features(self, progress: Progress = silent, by: str = "activation") -> LearnedFeatures:
        """The learned features from all normal images of the workspace. What is missing of the index is computed first.

        Args:
            progress: is told the share of the work that is done.
            by: the measure by which patches are best, "activation" or "relevance".
        """
        found = self.index() if self.complete else None
        return (found or self.learn(progress)).best(by)

    def stored_features(self, by: str = "activation") -> LearnedFeatures | None:
        """The learned features as far as they are stored, by "activation" or "relevance"; None where none are."""
        found = self.index()
        return None if found is None else found.best(by)

    def ranks(self, found: LearnedFeatures, chosen: FeatureMap, example_id: str | None = None) -> list[int]:
        """The ranks of a map's patches that may stand beside an example, best first.

        The example's own images, the other adversarials of its source, and the same pictures under other names are left
        out: what a map has learned is no evidence where it shows the picture under study. There are as many ranks as
        patches are shown. There are fewer only where the map fires on fewer images, or more than SPARE had to be left
        out.

        Args:
            found: the learned features of all maps.
            chosen: the map.
            example_id: the ID of the example; None to leave nothing out.
        """
        without, images = self.under_study(example_id), found.image[self._classifier.layers.place(chosen)].tolist()
        kept = [rank for rank, image in enumerate(images) if image >= 0 and image not in without]
        return kept[: self.workspace.settings.features.patches]

    def under_study(self, example_id: str | None) -> frozenset[int]:
        """The places, in the table of images, of an example's source and the source's adversarials, under whatever
        name; none without an example.

        What maps have learned is told of an example without these images.
        """
        if example_id is None:
            return frozenset()
        example, order, workspace, known = (
            self.workspace.example(example_id),
            self._order(),
            self.workspace,
            self._studied,
        )
        if known is None or known[0] is not order or known[1] != example:
            others = (other.adversarial for other in workspace.examples() if other.source == example.source)
            names = [name for name in (example.source, example.adversarial, *others) if workspace.path(name).is_file()]
            places = workspace.image_list().places_of_content
            same = (place for name in names for place in places.get(workspace.image_hash(name), ()))
            known = self._studied = (order, example, frozenset(same))
        return known[2]

    @property
    def key(self) -> str:
        """The store's key of the index of all images, which is another where an image, their order or the model is."""
        order = self._order()
        return self._index_key(order, len(order.places))

    def whole_index(self) -> LearnedIndex | None:
        """The index of all images; None where not all are seen yet, and where there are no images."""
        found = self.index()
        return found if found is not None and found.seen == len(self._order().places) else None

    @property
    def labels(self) -> np.ndarray:
        """The class that each image of the table is labelled with, int (N,); -1 for those without a label."""
        return np.array([-1 if e.label is None else e.label for e in self.workspace.image_list().entries], int)

    def read(self, places: Sequence[int]) -> np.ndarray:
        """The images at some places of the table, 8 bit, (B, H, W, C).

        Raises:
            AevisError: where an image cannot be read.
        """
        return self._read(self._order(), places)

    def part_names(self) -> tuple[str, ...] | None:
        """The part that each of the n maps detects best, with the overlap, such as "ear 0.41".

        Returns:
            One text for each map, "" where the overlap is no more than chance. None where the workspace knows no parts,
            or its images have not been looked through yet.
        """
        order = self._order()
        if not order.parts:
            return None
        key = self._parts_key(order)
        if self._names is None or self._names[0] != key:
            found = self.store.get(key, PartOverlaps)
            self._names = None if found is None else (key, _name_parts(found.values, self.workspace.parts))
        return None if self._names is None else self._names[1]

    def picture_key(self, chosen: FeatureMap) -> str:
        """The store's key of the picture that is made to fire a map."""
        return self._key("picture", map=chosen, parameters=VisualisationParameters())

    def visualise(self, chosen: FeatureMap, progress: Progress = silent) -> Visualisation:
        """A picture made to fire a map, from the store where it is stored; see `core.visualisation`."""
        compute = lambda: visualise(self._classifier, chosen, VisualisationParameters(), progress)  # noqa: E731
        return self.store.remember(self.picture_key(chosen), Visualisation, compute)

    def stored_visualisation(self, chosen: FeatureMap) -> Visualisation | None:
        """The picture made to fire a map where it is stored, None otherwise."""
        return self.store.get(self.picture_key(chosen), Visualisation)

    def _learn(self, order: _Order, progress: Progress, turn: Turn, first: int | None = None) -> LearnedIndex:
        index, total = self.index(), min(first or len(order.places), len(order.places))
        learner = Learner(self._classifier, self.workspace.settings.features.patches + SPARE, index)
        kept = learner.seen
        while learner.seen < total:
            size = min(BATCH, total - learner.seen, CHECKPOINT - learner.seen % CHECKPOINT)
            places = order.places[learner.seen : learner.seen + size]
            progress(learner.seen / total, f"learned from {learner.seen} of {total} images")
            with turn():
                learner.see(self._read(order, places), places)
            if learner.seen % CHECKPOINT == 0 or learner.seen == total:
                self._keep(order, learner.index(), kept)
                kept = learner.seen
        return learner.index()

    def _keep(self, order: _Order, index: LearnedIndex, before: int) -> None:
        """Store a checkpoint, and remove the checkpoint before it."""
        if self.store.put(self._index_key(order, index.seen), index) and before:
            self.store.drop(self._index_key(order, before))

    def _dissect(self, order: _Order, index: LearnedIndex, progress: Progress, turn: Turn) -> None:
        files, parts = order.files, self.workspace.parts
        known = list(islice((i for i in order.places if self.workspace.has_parts(files[i])), DISSECTED))
        seen = Dissection(self._classifier, index.activation.value[:, 0], len(parts))
        for first in range(0, len(known), BATCH):
            progress(first / len(known), f"finding the parts that maps detect, {first} of {len(known)} images")
            places = known[first : first + BATCH]
            with turn():
                numbers = np.stack([self.workspace.part_numbers(files[i]) for i in places])
                seen.see(self._read(order, places), numbers)
        if self.workspace.parts_digest(anew=True) != order.parts:
            raise AevisError("The masks of parts were changed while they were looked at. Give the same command again.")
        self.store.put(self._parts_key(order), PartOverlaps(seen.overlaps()))

    def _read(self, order: _Order, places: Sequence[int]) -> np.ndarray:
        return self.workspace.read([order.files[i] for i in places])

    def _order(self) -> _Order:
        listed, parts, known = self.workspace.image_list(), self.workspace.parts_digest(), self._known_order
        if known is None or known[0] is not listed or known[1].parts != parts:
            hashes = listed.digests
            places = tuple(sorted(range(len(hashes)), key=hashes.__getitem__))
            digests = accumulate((f"{i} {hashes[i]}" for i in places), _chain, initial="")
            known = self._known_order = (listed, _Order(listed.files, places, tuple(islice(digests, 1, None)), parts))
        return known[1]

    def _index_key(self, order: _Order, seen: int) -> str:
        images = order.digests[seen - 1] if seen else ""
        return self._key("learned", images=images, parameters=self.workspace.settings.features)

    def _parts_key(self, order: _Order) -> str:
        return self._key("parts", images=order.digests[-1:], parts=order.parts)

    def _key(self, kind: str, **parts: object) -> str:
        return key_of(kind, VERSION, model=self._classifier.fingerprint, **parts)


def _chain(before: str, digest: str) -> str:
    return sha256(f"{before} {digest}".encode()).hexdigest()[:32]


def checkpoints(total: int) -> list[int]:
    """The numbers of images that a stored index may have seen, the largest first."""
    return [total, *reversed(range(CHECKPOINT, total, CHECKPOINT))]


def _name_parts(values: np.ndarray, parts: Sequence[str]) -> tuple[str, ...]:
    best, most = values.argmax(1).tolist(), values.max(1).tolist()
    return tuple(f"{parts[i]} {value:.2f}" if value >= NAMED else "" for i, value in zip(best, most, strict=True))
