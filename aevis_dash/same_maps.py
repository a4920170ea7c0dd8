"""Whether map k of a layer is the same map in the models of two workspaces, tested on normal images that both have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aevis_dash.config import Progress, silent
from aevis_dash.core import features
from aevis_dash.core.kinship import LayerKinship, kinship
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench

REFERENCES = 200
"""The number of normal images at most on which maps of the two models are compared."""
VERSION = 1
"""The version of stored kinships."""


@dataclass(frozen=True)
class KnownKinship:
    """The tests of all layers of the same name and width in both models, as they are stored.

    Attributes:
        layers: the names of the layers.
        widths: the number of maps of each, int (l,).
        images: the number of normal images on which the maps were compared.
        changing: which maps change over these images in both models, bool, all layers one after the other.
        own: which of them are their own partners, alike.
    """

    layers: tuple[str, ...]
    widths: np.ndarray
    images: int
    changing: np.ndarray
    own: np.ndarray

    @cached_property
    def tests(self) -> Mapping[str, LayerKinship]:
        """The test of each layer, by its name."""
        ends = np.cumsum(self.widths)[:-1]
        both = zip(np.split(self.changing, ends), np.split(self.own, ends), strict=True) if self.layers else ()
        return {name: LayerKinship(*test) for name, test in zip(self.layers, both, strict=True)}

    @cached_property
    def passed(self) -> tuple[str, ...]:
        """The names of the layers in which map k is the same map in both models."""
        return tuple(name for name, test in self.tests.items() if test.passes(len(self.layers)))


@one_sight()
def known_kinship(first: Workbench, second: Workbench, progress: Progress = silent) -> KnownKinship:
    """Test for every layer of the same name and width in both models whether map k is the same map in both.

    The maps are compared on normal images that both workspaces have, REFERENCES of them at most, spread over the first
    one's table. The result is kept in the second model's store.
    """
    images = _common_images(first, second)
    key = _kinship_key(first, second, images)
    return second.store.remember(key, KnownKinship, lambda: _kinship(first, second, images, progress))


@one_sight()
def stored_kinship(first: Workbench, second: Workbench) -> KnownKinship | None:
    """The result of `known_kinship` where it is stored; None otherwise. Nothing is computed."""
    return second.store.get(_kinship_key(first, second, _common_images(first, second)), KnownKinship)


def _common_images(first: Workbench, second: Workbench) -> list[tuple[str, str]]:
    """The file names, in both workspaces, of normal images that both have."""
    here, there = first.workspace.image_list(), second.workspace.image_list()
    both = [
        (entry.file, there.files[there.places_of_content[digest][0]])
        for entry, digest in zip(here.entries, here.digests, strict=True)
        if digest in there.places_of_content
    ]
    return both if len(both) <= REFERENCES else [both[i * len(both) // REFERENCES] for i in range(REFERENCES)]


def _kinship_key(first: Workbench, second: Workbench, images: Sequence[tuple[str, str]]) -> str:
    return key_of(
        "kinship",
        VERSION,
        models=[first.classifier.fingerprint, second.classifier.fingerprint],
        images=[first.workspace.image_hash(name) for name, _ in images],
    )


def _kinship(
    first: Workbench, second: Workbench, images: Sequence[tuple[str, str]], progress: Progress
) -> KnownKinship:
    there = {layer.name: layer for layer in second.layers.layers}
    layers = [x for x in first.layers.layers if x.name in there and there[x.name].channels == x.channels]
    tests: list[LayerKinship] = []
    if layers and images:
        progress(0.0, "comparing the maps of the two models")
        here = features.maximum_activations(first.classifier, first.workspace.read([name for name, _ in images]))
        progress(0.5, "comparing the maps of the two models")
        other = features.maximum_activations(second.classifier, second.workspace.read([name for _, name in images]))
        tests = [
            kinship(first.layers.part(here, layer.index), second.layers.part(other, there[layer.name].index))
            for layer in layers
        ]
    named = layers[: len(tests)]
    return KnownKinship(
        tuple(layer.name for layer in named),
        np.array([layer.channels for layer in named], int),
        len(images),
        np.concatenate([np.zeros(0, bool), *(test.changing for test in tests)]),
        np.concatenate([np.zeros(0, bool), *(test.own for test in tests)]),
    )
