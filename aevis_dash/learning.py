"""What the model's maps have learned from a workspace's normal images: an index that grows in the store.

The images are seen in the order of their digests, which has nothing to do with what they show, so that any part of them
is a fair sample. After every CHECKPOINT images the index is kept under a key of the images seen so far; a run that was
interrupted goes on from there, and readers take the furthest that is stored.
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
from aevis_dash.core.visualisation import visualise
from aevis_dash.domain import AevisError, Example, FeatureMap, LearnedFeatures, LearnedIndex, Visualisation
from aevis_dash.image_list import ImageList
from aevis_dash.store import Store, key_of
from aevis_dash.workspace import Workspace, one_sight

VERSION = 2
"""Of what is computed here; raised when a method's results change for the same parameters."""
SPARE = 3
"""Patches kept of each map beyond those that are shown, for the images that an example leaves out."""
BATCH, CHECKPOINT = 8, 64
"""Images seen at once, and between two checkpoints."""
DISSECTED = 120
"""Images with known parts that are looked at, at most."""
NAMED = 0.04
"""The overlap from which a map is named after a part; what chance gives is below it for every part of the drawn
world."""


@dataclass(frozen=True)
class PartOverlaps:
    """`values` (n, P), intersection over union of every map with every part of the workspace."""

    values: np.ndarray


@dataclass(frozen=True)
class _Order:
    """The reference images as they are seen: places in the workspace's table, a digest of the first 1, 2, ... of them,
    and one of what is known of their parts, "" for nothing."""

    places: tuple[int, ...]
    digests: tuple[str, ...]
    parts: str


class Learning:
    """The learned features of one workspace, the parts that the maps detect, and the pictures made for maps."""

    def __init__(self, workspace: Workspace, store: Store, classifier: Classifier):
        self.workspace, self.store, self._classifier = workspace, store, classifier
        self._known_order: tuple[ImageList, _Order] | None = None
        self._index: tuple[str, LearnedIndex] | None = None
        self._names: tuple[str, tuple[str, ...]] | None = None
        self._studied: tuple[_Order, Example, frozenset[int]] | None = None

    @property
    def total(self) -> int:
        """How many reference images there are."""
        return len(self.workspace.images)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to learn."""
        order = self._order()
        known = not order.places or self.store.has(self._index_key(order, len(order.places)))
        return known and (not order.parts or self.store.has(self._parts_key(order)))

    def index(self) -> LearnedIndex | None:
        """The index of as many images as were seen so far; None before the first checkpoint."""
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
        """Complete the index, and the names of parts where these are known; goes on where a run was interrupted.

        With `first` it learns from that many images only, and names no parts.
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
        """The patches of all the workspace's normal images that are the best of each map "by" activation or relevance;
        what is missing of the index is computed first."""
        found = self.index() if self.complete else None
        return (found or self.learn(progress)).best(by)

    def stored_features(self, by: str = "activation") -> LearnedFeatures | None:
        """The learned features as far as they are stored."""
        found = self.index()
        return None if found is None else found.best(by)

    def ranks(self, found: LearnedFeatures, chosen: FeatureMap, example_id: str | None = None) -> list[int]:
        """The ranks of the patches of a map that may stand beside an example, best first, `patches` at most.

        Left out are the example's own images, its source's other adversarials, and the same pictures under other
        names: what a map has learned is no evidence where it shows the picture under study. Fewer than `patches` are
        left only where the map fires on fewer images, or more than SPARE had to go.
        """
        example = None if example_id is None else self.workspace.example(example_id)
        without, images = self._under_study(example), found.image[self._classifier.layers.place(chosen)].tolist()
        kept = [rank for rank, image in enumerate(images) if image >= 0 and image not in without]
        return kept[: self.workspace.settings.features.patches]

    def _under_study(self, example: Example | None) -> frozenset[int]:
        """The places, in the table of images, of an example's source and its adversarials under whatever name."""
        if example is None:
            return frozenset()
        order, workspace, known = self._order(), self.workspace, self._studied
        if known is None or known[0] is not order or known[1] != example:
            others = (other.adversarial for other in workspace.examples() if other.source == example.source)
            names = [name for name in (example.source, example.adversarial, *others) if workspace.path(name).is_file()]
            places = workspace.image_list().places_of_content
            same = (place for name in names for place in places.get(workspace.image_hash(name), ()))
            known = self._studied = (order, example, frozenset(same))
        return known[2]

    def part_names(self) -> tuple[str, ...] | None:
        """The part that each of the n maps detects best, such as "ear 0.41"; "" where that is no more than chance.

        None where the workspace knows no parts, or was not looked through yet.
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
        """The key of the picture made to fire a map."""
        return self._key("picture", map=chosen, parameters=VisualisationParameters())

    def visualise(self, chosen: FeatureMap, progress: Progress = silent) -> Visualisation:
        """A picture made to fire a map; see `core.visualisation`."""
        compute = lambda: visualise(self._classifier, chosen, VisualisationParameters(), progress)  # noqa: E731
        return self.store.remember(self.picture_key(chosen), Visualisation, compute)

    def stored_visualisation(self, chosen: FeatureMap) -> Visualisation | None:
        """The picture made to fire a map, where it is stored."""
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
                learner.see(self._read(places), places)
            if learner.seen % CHECKPOINT == 0 or learner.seen == total:
                self._keep(order, learner.index(), kept)
                kept = learner.seen
        return learner.index()

    def _keep(self, order: _Order, index: LearnedIndex, before: int) -> None:
        """Store a checkpoint in the place of the one before."""
        if self.store.put(self._index_key(order, index.seen), index) and before:
            self.store.drop(self._index_key(order, before))

    def _dissect(self, order: _Order, index: LearnedIndex, progress: Progress, turn: Turn) -> None:
        images, parts = self.workspace.images, self.workspace.parts
        known = list(islice((i for i in order.places if self.workspace.has_parts(images[i].file)), DISSECTED))
        seen = Dissection(self._classifier, index.activation.value[:, 0], len(parts))
        for first in range(0, len(known), BATCH):
            progress(first / len(known), f"finding the parts that maps detect, {first} of {len(known)} images")
            places = known[first : first + BATCH]
            with turn():
                numbers = np.stack([self.workspace.part_numbers(images[i].file) for i in places])
                seen.see(self._read(places), numbers)
        if self.workspace.parts_digest(anew=True) != order.parts:
            raise AevisError("The masks of parts were changed while they were looked at. Give the same command again.")
        self.store.put(self._parts_key(order), PartOverlaps(seen.overlaps()))

    def _read(self, places: Sequence[int]) -> np.ndarray:
        images = self.workspace.images
        return self.workspace.read([images[i].file for i in places])

    def _order(self) -> _Order:
        listed, parts, known = self.workspace.image_list(), self.workspace.parts_digest(), self._known_order
        if known is None or known[0] is not listed or known[1].parts != parts:
            hashes = listed.digests
            places = tuple(sorted(range(len(hashes)), key=hashes.__getitem__))
            digests = accumulate((f"{i} {hashes[i]}" for i in places), _chain, initial="")
            known = self._known_order = (listed, _Order(places, tuple(islice(digests, 1, None)), parts))
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
    """How many images an index may have seen, most first."""
    return [total, *reversed(range(CHECKPOINT, total, CHECKPOINT))]


def _name_parts(values: np.ndarray, parts: Sequence[str]) -> tuple[str, ...]:
    best, most = values.argmax(1).tolist(), values.max(1).tolist()
    return tuple(f"{parts[i]} {value:.2f}" if value >= NAMED else "" for i, value in zip(best, most, strict=True))
