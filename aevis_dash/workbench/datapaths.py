"""The datapaths of examples: which images are compared, the extraction of their datapaths, and how far these lie apart.

A datapath is the gates of all n feature maps of the network for one image (Sec. 4 of the paper).
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
from cachetools import LRUCache

from aevis_dash.config import ExtractionParameters, Progress, Turn, counted, part_of, silent
from aevis_dash.core import datapath
from aevis_dash.core.distance import DISTANCES, Levels, Trace, between, check_distance
from aevis_dash.core.problem import Foil
from aevis_dash.domain import AevisError, Datapath, DatapathDistance, Example, Role, so_many
from aevis_dash.sight import once_in_a_sight, one_sight
from aevis_dash.workbench.base import VERSIONS, Base, Part
from aevis_dash.workbench.judging import Judging
from aevis_dash.workbench.maps import FeatureMaps
from aevis_dash.workbench.triplet import (
    PathPair,
    Plan,
    Triplet,
    batches_of,
    candidates_of,
    foil_of,
    path_keys,
    triplet_of,
)

KEPT = 64
"""The number of computed distances that stay in memory at most."""
T = TypeVar("T")


class Datapaths(Part):
    """`bench.datapaths`: plans, extracts and compares the datapaths of the workspace's examples."""

    def __init__(self, base: Base, judging: Judging, maps: FeatureMaps):
        super().__init__(base)
        self._judging, self._maps = judging, maps
        self._keeping = threading.Lock()
        self._made: LRUCache[tuple, tuple[tuple, Any]] = LRUCache(KEPT)

    @one_sight()
    def plan(
        self,
        example: Example,
        wanted: ExtractionParameters | None = None,
        target: str | None = None,
        towards: int | None = None,
    ) -> Plan:
        """Choose the images that an example is compared with.

        The candidate targets are clean images that are predicted as adv's class, those of highest confidence first, at
        most `wanted.candidates` of them. The nulls are clean images of random other classes, `wanted.null_targets` of
        them.

        Args:
            example: the source and its adversarial.
            wanted: the extraction parameters; None for the workspace's.
            target: the file name of a candidate that the caller wants to compare; only checked here.
            towards: the class of the targets where adv is predicted as src's class, such as the one that another model
                takes adv for; None to refuse such an example.

        Raises:
            AevisError: where there is nothing to explain (the attack failed, or the two images are no pair), where no
                clean image is predicted as adv's class, or where `target` is no candidate.
        """
        alike = towards is not None and towards != self._judging.predict([example.source])[0].label
        source, adversarial = self._judging.explainable(example, alike)
        wanted = wanted or self.workspace.settings.extraction
        clean = self._judging.clean()
        resists = source.label == adversarial.label
        label = towards if resists and towards is not None else adversarial.label
        candidates = candidates_of(clean, example, label)[: wanted.candidates]
        if not candidates:
            name = self.class_names[label]
            raise AevisError(
                f"No clean image of the workspace is predicted as {name!r}, the class that {example.id} is taken for. "
                f"Add images of {name!r}, or attack with `--target nearest`."
            )
        if target is not None and target not in candidates:
            raise AevisError(
                f"{target!r} is no candidate target of {example.id}. Choose one of: {', '.join(candidates)}."
            )
        nulls = clean.draw(example.id, {source.label, label}, wanted.null_targets, wanted.seed)
        return Plan(example, source.label, label, candidates, nulls, resists)

    @one_sight()
    def triplet(
        self,
        example_id: str,
        target: str | None = None,
        wanted: ExtractionParameters | None = None,
        towards: int | None = None,
    ) -> Triplet | None:
        """The example's datapaths where they are stored; nothing is extracted.

        Args:
            example_id: the ID of the example.
            target: the file name of the candidate to compare; None for the representative target (Sec. 6.2.1).
            wanted: the extraction parameters; None for the workspace's.
            towards: as of `plan`.

        Returns:
            The triplet, where the datapaths of adv, src and all candidates are stored, else None. It holds the
            datapaths of the null targets only where all of these are stored too.

        Raises:
            AevisError: as `plan`, and for an unknown example.
        """
        asked = wanted or self.workspace.settings.extraction

        def find() -> Triplet | None:
            plan = self.plan(self.workspace.example(example_id), asked, target, towards)
            found = [self.store.get(key, Datapath) for key in self.path_keys(plan, asked)]
            return triplet_of(plan, found, target) if None not in found[: 2 + len(plan.candidates)] else None

        whole = lambda found: found is not None and not found.pending  # noqa: E731
        return once_in_a_sight(("triplet", id(self), example_id, target, asked, towards), find, whole)

    @one_sight()
    def extract(
        self,
        example_id: str,
        target: str | None = None,
        progress: Progress = silent,
        wanted: ExtractionParameters | None = None,
        nulls: bool = True,
        turn: Turn = nullcontext,
        towards: int | None = None,
    ) -> Triplet:
        """Extract the datapaths of an example; those that are stored already are not extracted again.

        adv and the targets are explained against src, and src is explained against adv (see `core.problem.Foil`). By
        most methods adv comes first, then src given adv, then the targets given both (Eq. 4). By the method "joint" all
        of them are solved together (Eq. 3), and the nulls with them. Datapaths that are solved together are held near
        one another, so nulls that were solved apart would lie farther away whatever their images show. So by "joint"
        the nulls also pull on the datapaths of adv, src and the targets.

        Args:
            example_id: the ID of the example.
            target: the file name of the candidate to compare; None for the representative target (Sec. 6.2.1).
            progress: is told the share of the work that is done.
            wanted: the extraction parameters; None for the workspace's.
            nulls: whether the datapaths of the null targets are extracted too. The method "joint" always extracts them.
            turn: a context within which each batch is solved; a job lets others come in between two of them.
            towards: as of `plan`.

        Raises:
            AevisError: as `plan`, for an unknown example, and for an unknown method.
        """
        wanted = wanted or self.workspace.settings.extraction
        plan = self.plan(self.workspace.example(example_id), wanted, target, towards)
        keys = self.path_keys(plan, wanted)
        names = [plan.example.adversarial, plan.example.source, *plan.candidates, *plan.nulls]
        found: list[Datapath | None] = []
        batches = batches_of(plan, wanted)
        batches = batches if nulls else [batch for batch in batches if batch[0] < 2 + len(plan.candidates)]
        count = batches[-1][1]
        for first, last in batches:
            inner = part_of(progress, first / count, (last - first) / count)
            given = [path.gates for path in found[:2] if path is not None]
            foils = [foil_of(plan, i) for i in range(first, last)]
            found += self._extract(
                names[first:last], keys[first:last], given, wanted, foils, inner, turn, (first, count)
            )
        progress(1.0, f"{so_many(count, 'datapath')} extracted")
        found += [self.store.get(key, Datapath) for key in keys[count:]]
        return triplet_of(plan, found, target)

    @one_sight()
    def extract_set(
        self,
        names: Sequence[str],
        wanted: ExtractionParameters | None = None,
        progress: Progress = silent,
    ) -> Datapath:
        """Extract one datapath for a set of images of one predicted class, as the system of 2018 does; without a foil.

        Args:
            names: the file names of the images, in any order.
            wanted: the extraction parameters; None for the workspace's.
            progress: is told the share of the work that is done.

        Raises:
            AevisError: where there is no image, or the images are predicted as different classes.
        """
        if not names:
            raise AevisError("There is no image to find a datapath of. Choose at least one.")
        wanted = wanted or self.workspace.settings.extraction
        names = sorted(names, key=self.workspace.image_hash)
        hashes = [self.workspace.image_hash(name) for name in names]
        key = self.key("datapath", images=hashes, parameters=datapath.used_parameters(wanted))
        compute = lambda: datapath.extract_set(self.classifier, self.workspace.read(names), [], wanted, progress)  # noqa: E731
        return self.store.remember(key, Datapath, compute)

    @one_sight()
    def stored_pair(self, example: Example, wanted: ExtractionParameters | None = None) -> PathPair | None:
        """The datapaths of adv and src, and those of the null targets, where they are stored; nothing is extracted.

        Args:
            example: the source and its adversarial.
            wanted: the extraction parameters; None for the workspace's.

        Returns:
            None where the datapath of adv or of src is not stored, or where the example has nothing to explain. The
            datapaths of the nulls are given only where all of them are stored.
        """
        wanted = wanted or self.workspace.settings.extraction
        try:
            plan = self.plan(example, wanted)
        except AevisError:
            return None
        keys = self.path_keys(plan, wanted)
        adversarial, source = (self.store.get(key, Datapath) for key in keys[:2])
        if adversarial is None or source is None:
            return None
        nulls = [self.store.get(key, Datapath) for key in keys[2 + len(plan.candidates) :]]
        stored = tuple(path for path in nulls if path is not None)
        return PathPair(adversarial, source, stored if len(stored) == len(nulls) else ())

    def is_ready(self, example: Example) -> bool:
        """Whether all datapaths of an example, the nulls' too, are stored as the workspace's own parameters give
        them."""
        wanted = self.workspace.settings.extraction
        try:
            return all(map(self.store.has, self.path_keys(self.plan(example, wanted), wanted)))
        except AevisError:
            return False

    @one_sight()
    def distances(self, triplet: Triplet, name: str, levels: Levels | None = None) -> DatapathDistance:
        """How far the three datapaths of a triplet lie apart along the network.

        Args:
            triplet: the datapaths of adv, src and the chosen target, and those of the nulls.
            name: the distance, one of `core.distance.DISTANCES`: "activations", "gates", "gates-raw" or "sets".
            levels: groups of layer indices that are measured as one each; None for every layer alone.

        Returns:
            The distances d1, d2 and d3 at each of the G levels, (G,) each, and the nulls' shares (m, G). A repeated
            call with the same triplet gives the same object.

        Raises:
            AevisError: for an unknown distance.
        """
        check_distance(name)
        paths = (*(triplet.path(role) for role in Role), *triplet.nulls)
        images = (*(triplet.image(role) for role in Role), *triplet.plan.nulls[: len(triplet.nulls)])

        def measured() -> DatapathDistance:
            traces = [self._trace(image, path) for image, path in zip(images, paths, strict=True)]
            three = dict(zip(Role, traces, strict=False))
            roles = (three[Role.ADVERSARIAL], three[Role.SOURCE], three[Role.TARGET])
            return DISTANCES[name](self.layers, *roles, traces[len(Role) :], levels)

        return self._remember(paths, (images, name, tuple(levels) if levels is not None else None), measured)

    @one_sight()
    def target_shares(self, triplet: Triplet, name: str) -> np.ndarray:
        """How far adv is from src on the way to each candidate target, at every layer.

        Args:
            triplet: the example's datapaths.
            name: the distance; see `distances`.

        Returns:
            d2 / (d2 + d3) with each of the m candidates as the target, in their order, (m, L).
        """
        check_distance(name)
        images = (triplet.image(Role.ADVERSARIAL), triplet.image(Role.SOURCE), *triplet.plan.candidates)

        def measured() -> np.ndarray:
            adv, src, *targets = (self._trace(image, triplet.path_of(image)) for image in images)
            return np.stack([DISTANCES[name](self.layers, adv, src, tar).share for tar in targets])

        return self._remember(triplet.paths, (images, name, "targets"), measured)

    @one_sight()
    def distances_between(
        self, triplet: Triplet, compared: Sequence[str], name: str, levels: Levels | None = None
    ) -> dict[tuple[str, str], np.ndarray]:
        """How far any two of several compared datapaths lie apart along the network.

        Args:
            triplet: the example's datapaths.
            compared: the file names of the images whose datapaths are compared with adv's; see `Triplet.members`.
            name: the distance, one of `core.distance.DISTANCES`: "activations", "gates", "gates-raw" or "sets".
            levels: groups of layer indices that are measured as one each; None for every layer alone.

        Returns:
            For every pair of keys of `Triplet.members` the distance at each of the G levels, (G,); NaN where it is
            undefined.

        Raises:
            AevisError: for an unknown distance, and as `Triplet.members`.
        """
        check_distance(name)
        members = triplet.members(compared)
        traces = {key: self._trace(image, triplet.path_of(image)) for key, image in members.items()}
        return between(self.layers, traces, name, levels)

    def _remember(self, of: tuple, key: tuple, make: Callable[[], T]) -> T:
        """The result that was made of these very objects under this key, or a new one. At most KEPT results stay in
        memory."""
        place = (*map(id, of), *key)
        with self._keeping:
            found = self._made.get(place)
        if found is None:
            found = (of, make())  # the objects are held, so that no other gets their ids
            with self._keeping:
                self._made[place] = found
        return found[1]

    def path_keys(self, plan: Plan, wanted: ExtractionParameters) -> list[str]:
        """The store's keys of the datapaths of a plan, in the order adv, src, candidates, nulls; see
        `triplet.path_keys`."""
        names = (plan.example.adversarial, plan.example.source, *plan.candidates, *plan.nulls)
        digests = tuple(self.workspace.image_hash(name) for name in names)
        foils = (foil_of(plan, place) for place in range(len(names)))
        against = tuple((label, self.workspace.image_hash(name)) for label, name in foils)
        return list(path_keys(VERSIONS["datapath"], self.classifier.fingerprint, digests, against, wanted))

    def _foils(self, foils: Sequence[tuple[int, str]]) -> list[Foil]:
        images = self.workspace.read([name for _, name in foils])
        return [Foil(label, image) for (label, _), image in zip(foils, images, strict=True)]

    def _extract(
        self,
        names: Sequence[str],
        keys: Sequence[str],
        given: Sequence[np.ndarray],
        wanted: ExtractionParameters,
        foils: Sequence[tuple[int, str]],
        progress: Progress,
        turn: Turn,
        place: tuple[int, int],
    ) -> list[Datapath]:
        """The datapaths of some images, batch by batch; a batch of which one is missing is solved as a whole again.
        `place` tells how many datapaths of the example come before them, and how many there are in all.

        So the same images are always solved together, however often the work was interrupted. An image's gates differ
        in the fourth digit where other images are solved beside it.
        """
        paths: list[Datapath] = []
        step = datapath.at_once(self.classifier, wanted, len(keys))
        for first in range(0, len(keys), step):
            batch = slice(first, first + step)
            found = [self.store.get(key, Datapath) for key in keys[batch]]
            if None in found:
                which = counted("datapath", place[0] + first + 1, place[0] + first + len(found), place[1])
                inner = part_of(_saying(progress, which), first / len(keys), len(found) / len(keys))
                images, against = self.workspace.read(names[batch]), self._foils(foils[batch])
                with turn():
                    solved = datapath.extract(self.classifier, images, given, wanted, inner, against)
                    for i, path in enumerate(solved):
                        if found[i] is None:
                            self.store.put(keys[first + i], path)
                            found[i] = path
            paths += [path for path in found if path is not None]
        return paths

    def _trace(self, name: str, path: Datapath) -> Trace:
        return Trace(path, self._maps.maxima(name))


def _saying(progress: Progress, which: str) -> Progress:
    """The progress, which also says which part of the work it is about."""
    return lambda share, what: progress(share, f"{which}: {what}")
