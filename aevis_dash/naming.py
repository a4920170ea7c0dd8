"""The names of a workspace's feature maps: the evidence for them grows in the store, and names are made of it.

The learned features say which images fire each map most. On those the maps are closed, one after the other, and what
that does to the classes is stored (see `core.closing` and `core.names`). It begins with the last layers and goes back
block by block, until hardly any map of a block has a clear class name: further back closing costs more and more, and
the benchmark finds fewer and fewer names that hold. Every block is stored under a key of its own, so a run that was
interrupted goes on with the first block that is missing.

The images under study never name a map: names are told beside an example without its source, whatever the file's name.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from aevis_dash.config import Progress, Turn, part_of, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.closing import Closer
from aevis_dash.core.evaluation import levels
from aevis_dash.core.names import (
    FIRED,
    LEAST_IMAGES,
    LISTED,
    THRESHOLDS,
    Guesses,
    MapName,
    NameKind,
    guess_classes,
    guess_images,
    largest_effects,
)
from aevis_dash.domain import FeatureMap, LearnedIndex
from aevis_dash.learning import Learning
from aevis_dash.sight import one_sight
from aevis_dash.store import Store, key_of
from aevis_dash.workspace import Workspace

VERSION = 1
"""The version of what is computed here. It is raised when a method's results change for the same parameters."""
LOOKED_AT = FIRED + 1
"""The number of images on which each map is closed. The one beyond FIRED replaces an image under study."""
FEW = 0.05
"""The share of a block's firing maps that must have a clear class name for the block before it to be looked at."""
MAPS = 128
"""The number of maps that are closed in one turn, on one image after the other."""
_HELD = 256
"""The number of layers whose names are kept in memory, each beside one example."""
NO_NAME = "no clear name"


@dataclass(frozen=True)
class ClassEffects:
    """What closing the m maps of a block does on the images that fire them most, as it is stored.

    Attributes:
        image: the places of the images in the table, int32 (m, I); -1 for none.
        gains: the classes that each map speaks for most on each image, int32 (m, I, T); -1 for none.
        gained: the effects on them in logits, at least 0, float32 (m, I, T).
        losses: the classes that it speaks against most, int32 (m, I, T); -1 for none.
        lost: the effects on them with the sign turned, at least 0, float32 (m, I, T).
    """

    image: np.ndarray
    gains: np.ndarray
    gained: np.ndarray
    losses: np.ndarray
    lost: np.ndarray


@dataclass(frozen=True)
class ImageClasses:
    """The class of each of the N reference images, int (N,): its label, or the prediction where it has none."""

    labels: np.ndarray


@dataclass(frozen=True)
class LayerNames:
    """The clear names of one layer's maps.

    Attributes:
        names: the names of each map, the kinds in the order of NameKind.
        classes_known: whether it was looked at which classes the maps speak for; None where that is still to come.
    """

    names: tuple[tuple[MapName, ...], ...]
    classes_known: bool | None

    def brief(self, channel: int) -> str:
        """The first clear name of a map in words; "" where it has none."""
        return str(self.names[channel][0]) if self.names[channel] else ""

    def said(self, channel: int) -> str:
        """What is said of a map in words: its names, NO_NAME, or "" where its names are not known yet."""
        told = "; ".join(map(str, self.names[channel]))
        return told or ("" if self.classes_known is None else NO_NAME)


@dataclass(frozen=True)
class _Evidence:
    """What is stored for one state of the workspace: the effects of the last blocks, in the order of their finding."""

    key: str
    index: LearnedIndex
    labels: np.ndarray | None
    blocks: tuple[ClassEffects, ...]
    ended: bool


class Naming:
    """`bench.naming`: the names of one workspace's feature maps.

    Args:
        workspace: the workspace.
        store: where the evidence is stored.
        classifier: the workspace's classifier.
        learning: what its maps have learned.
    """

    def __init__(self, workspace: Workspace, store: Store, classifier: Classifier, learning: Learning):
        self._workspace, self._store, self._classifier, self._learning = workspace, store, classifier, learning
        self._blocks = tuple(reversed(levels(classifier.layers, "block")))
        self._known: _Evidence | None = None
        self._told: tuple[object, object, dict[tuple[int, frozenset[int]], LayerNames]] = (None, None, {})

    @property
    def complete(self) -> bool:
        """Whether nothing is left to learn: the learned features are complete, and so are the names."""
        if not self._learning.complete:
            return False
        if not self._learning.total:
            return True
        found = self._evidence()
        return found is not None and found.ended

    @property
    def layers_looked_at(self) -> int:
        """The number of layers, counted from the last, of which it is known which classes the maps speak for."""
        found = self._evidence()
        return sum(len(block) for block in self._blocks[: len(found.blocks)]) if found is not None else 0

    @one_sight()
    def learn(self, progress: Progress = silent, turn: Turn = nullcontext) -> LearnedIndex:
        """Complete the learned features, and then the names; a run that was interrupted is continued.

        Args:
            progress: is told the share of the work that is done.
            turn: makes the context in which each batch is computed.

        Returns:
            The index of all images.

        Raises:
            AevisError: where an image cannot be read, or masks of parts change while they are looked at.
        """
        index = self._learning.learn(part_of(progress, 0, 0.4), turn)
        if not self._learning.total:
            return index
        self._keep_labels(turn)
        found = self._evidence()
        while found is not None and not found.ended:
            done, count = len(found.blocks), len(self._blocks)
            share = 0.6 / count
            self._measure(found, done, part_of(progress, 0.4 + done * share, share), turn)
            after = self._evidence()
            if after is None or after.key != found.key or len(after.blocks) == done:
                break  # The images have changed meanwhile, or nothing could be stored.
            found = after
        progress(1.0, f"learned from {index.seen} images")
        return index

    def of_layer(self, layer: int, example_id: str | None = None) -> LayerNames:
        """The clear names of a layer's maps, from what is stored alone.

        Args:
            layer: the index of the layer.
            example_id: the example beside which they are told, whose images name no map; None to leave nothing out.
        """
        found, parts = self._evidence(), self._learning.part_names()
        asked = (layer, self._learning.under_study(example_id))
        if self._told[0] is not found or self._told[1] is not parts or len(self._told[2]) >= _HELD:
            self._told = (found, parts, {})
        held = self._told[2]
        if asked not in held:
            held[asked] = self._name(found, parts, *asked)
        return held[asked]

    def guesses(self, layer: int, kind: NameKind, without: frozenset[int] = frozenset()) -> Guesses | None:
        """The best names of one kind but NameKind.PART for a layer's maps, clear or not; None where nothing is stored.

        Args:
            layer: the index of the layer.
            kind: the kind of names.
            without: the places of images that name no map.
        """
        found = self._evidence()
        return None if found is None else self._guess(found, layer, kind, without)

    def _name(
        self, found: _Evidence | None, parts: Sequence[str] | None, layer: int, without: frozenset[int]
    ) -> LayerNames:
        graph, classes = self._classifier.layers, self._workspace.class_names
        names: list[list[MapName]] = [[] for _ in range(graph.layers[layer].channels)]
        for kind in (NameKind.FOR, NameKind.AGAINST, NameKind.IMAGES):
            guess = None if found is None else self._guess(found, layer, kind, without)
            if guess is not None:
                for channel in np.flatnonzero(guess.clear(THRESHOLDS[kind])):
                    label, score = int(guess.label[channel]), float(guess.score[channel])
                    names[channel].append(MapName(kind, classes[label], score))
        for channel, said in enumerate(graph.part(np.array(parts, object), layer) if parts is not None else ()):
            if said:
                part, overlap = said.rsplit(" ", 1)
                names[channel].append(MapName(NameKind.PART, part, float(overlap)))
        looked_at = found is not None and self._place(layer)[0] < len(found.blocks)
        known = True if looked_at else False if found is not None and found.ended else None
        return LayerNames(tuple(map(tuple, names)), known)

    def _guess(self, found: _Evidence, layer: int, kind: NameKind, without: frozenset[int]) -> Guesses | None:
        if kind is NameKind.IMAGES:
            image, first = found.index.activation.image, self._classifier.layers.offsets
            most = self._workspace.settings.features.patches
            at = slice(first[layer], first[layer + 1])
            return None if found.labels is None else guess_images(image[at], found.labels, most, without)
        number, at = self._place(layer)
        if number >= len(found.blocks):
            return None
        block = found.blocks[number]
        both = (block.gains, block.gained) if kind is NameKind.FOR else (block.losses, block.lost)
        return guess_classes(block.image[at], both[0][at], both[1][at], without)

    def _place(self, layer: int) -> tuple[int, slice]:
        """The number of a layer's block, counted from the last, and the rows of the layer's maps in it."""
        offsets = self._classifier.layers.offsets
        number = next(i for i, block in enumerate(self._blocks) if layer in block)
        start = offsets[self._blocks[number][0]]
        return number, slice(offsets[layer] - start, offsets[layer + 1] - start)

    def _evidence(self) -> _Evidence | None:
        """What is stored; None before the index of learned features is complete."""
        index = self._learning.whole_index()
        if index is None:
            return None
        key, known = self._learning.key, self._known
        if known is None or known.key != key:
            known = _Evidence(key, index, None, (), False)
        if known.labels is None:
            known = self._with_labels(known)
        while not known.ended:
            number = len(known.blocks)
            block = self._store.get(self._block_key(key, number), ClassEffects)
            if block is None:
                break
            ended = number + 1 == len(self._blocks) or _share_named(block) < FEW
            known = _Evidence(key, known.index, known.labels, (*known.blocks, block), ended)
        if known is not self._known:
            self._known = known
        return known

    def _with_labels(self, known: _Evidence) -> _Evidence:
        labels = self._learning.labels
        if (labels < 0).any():
            stored = self._store.get(self._labels_key(known.key), ImageClasses)
            if stored is None:
                return known
            labels = stored.labels
        return _Evidence(known.key, known.index, labels, known.blocks, known.ended)

    def _keep_labels(self, turn: Turn) -> None:
        """Store the class of every image, where some have no label and so the model is asked."""
        labels, key = self._learning.labels, self._labels_key(self._learning.key)
        if (labels >= 0).all() or self._store.has(key):
            return
        for place in np.flatnonzero(labels < 0):
            with turn():
                labels[place] = self._classifier.predict(self._learning.read([int(place)]))[0].label
        self._store.put(key, ImageClasses(labels))

    def _measure(self, found: _Evidence, number: int, progress: Progress, turn: Turn) -> None:
        """Close the maps of a block on the images that fire them most, and store what that does."""
        layers, offsets = self._blocks[number], self._classifier.layers.offsets
        maps = [FeatureMap(i, c) for i in layers for c in range(self._classifier.layers.layers[i].channels)]
        image = found.index.activation.image[offsets[layers[0]] : offsets[layers[-1] + 1], :LOOKED_AT]
        shape = (*image.shape, min(LISTED, len(self._workspace.class_names)))
        gains, losses = (np.full(shape, -1, np.int32) for _ in range(2))
        gained, lost = (np.zeros(shape, np.float32) for _ in range(2))
        closer, name = Closer(self._classifier, layers), self._classifier.layers.layers[layers[-1]].name
        batches = _batches(image)
        for i, batch in enumerate(batches):
            progress(i / len(batches), f"naming the maps up to {name}")
            with turn():
                for place, row, slot in batch:
                    effects = closer.effects(self._learning.read([place]), [maps[r] for r in row])
                    gains[row, slot], gained[row, slot] = largest_effects(effects)
                    losses[row, slot], lost[row, slot] = largest_effects(-effects)
        made = ClassEffects(image.astype(np.int32), gains, gained, losses, lost)
        self._store.put(self._block_key(found.key, number), made)

    def _block_key(self, index: str, number: int) -> str:
        return key_of("naming", VERSION, index=index, block=[int(i) for i in self._blocks[number]])

    def _labels_key(self, index: str) -> str:
        return key_of("naming", VERSION, index=index, labels=[int(i) for i in self._learning.labels])


def _batches(image: np.ndarray) -> list[list[tuple[int, np.ndarray, np.ndarray]]]:
    """What is closed in each turn: the places of images, each with rows of maps and their ranks among the map's images.

    A turn closes MAPS maps at most. `image` (m, I) holds the places of the images that fire each map most.
    """
    batches: list[list[tuple[int, np.ndarray, np.ndarray]]] = []
    room = 0
    for place in np.unique(image[image >= 0]).tolist():
        rows, slots = np.nonzero(image == place)
        for first in range(0, len(rows), MAPS):
            row, slot = rows[first : first + MAPS], slots[first : first + MAPS]
            if len(row) > room:
                batches.append([])
                room = MAPS
            batches[-1].append((place, row, slot))
            room -= len(row)
    return batches


def _share_named(block: ClassEffects) -> float:
    """The share of a block's maps that fire on enough images which have a clear class name."""
    firing = (block.image >= 0).sum(1) >= LEAST_IMAGES
    clear = guess_classes(block.image, block.gains, block.gained).clear(THRESHOLDS[NameKind.FOR])
    clear |= guess_classes(block.image, block.losses, block.lost).clear(THRESHOLDS[NameKind.AGAINST])
    return float(clear[firing].mean()) if firing.any() else 0.0
