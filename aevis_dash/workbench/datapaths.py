"""The datapaths of examples: which images are compared, extraction, and how far datapaths lie apart."""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
from cachetools import LRUCache

from aevis_dash.config import ExtractionParameters, Progress, Turn, part_of, silent
from aevis_dash.core import datapath
from aevis_dash.core.distance import DISTANCES, Levels, Trace, between, check_distance
from aevis_dash.core.problem import Foil
from aevis_dash.domain import AevisError, Datapath, DatapathDistance, Example, Role, so_many
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.judging import Judging
from aevis_dash.workbench.maps import FeatureMaps
from aevis_dash.workbench.triplet import Plan, Triplet, batches_of, candidates_of, foil_of, nulls_of, triplet_of
from aevis_dash.workspace import one_sight

KEPT = 64
"""Distances that stay in memory."""
T = TypeVar("T")


class Datapaths(Part):
    """The datapaths of the workspace's examples."""

    def __init__(self, base: Base, judging: Judging, maps: FeatureMaps):
        super().__init__(base)
        self._judging, self._maps = judging, maps
        self._keeping = threading.Lock()
        self._made: LRUCache[tuple, tuple[tuple, Any]] = LRUCache(KEPT)

    @one_sight()
    def plan(self, example: Example, wanted: ExtractionParameters | None = None, target: str | None = None) -> Plan:
        """Candidate targets: clean images predicted as adv's class, surest first; nulls of random other classes.

        Raises AevisError where there is nothing to explain (the attack failed, or the two images are no pair), where no
        clean image has adv's class, and for a `target` that is no candidate.
        """
        source, adversarial = self._judging.explainable(example)
        wanted = wanted or self.workspace.settings.extraction
        clean = self._judging.clean()
        candidates = candidates_of(clean, example, adversarial.label)[: wanted.candidates]
        if not candidates:
            name = self.class_names[adversarial.label]
            raise AevisError(
                f"No clean image of the workspace is predicted as {name!r}, the class that {example.id} is taken for. "
                f"Add images of {name!r}, or attack with `--target nearest`."
            )
        if target is not None and target not in candidates:
            raise AevisError(
                f"{target!r} is no candidate target of {example.id}. Choose one of: {', '.join(candidates)}."
            )
        nulls = nulls_of(clean, example, {source.label, adversarial.label}, wanted.null_targets, wanted.seed)
        return Plan(example, source.label, adversarial.label, candidates, nulls)

    @one_sight()
    def triplet(
        self, example_id: str, target: str | None = None, wanted: ExtractionParameters | None = None
    ) -> Triplet | None:
        """The example's datapaths where those of adv, src and the candidates are stored, None otherwise.

        Those of the null targets are among them where all of these are stored, too. `target` names a candidate's image,
        `wanted` are the extraction parameters, the workspace's by default.
        """
        wanted = wanted or self.workspace.settings.extraction
        plan = self.plan(self.workspace.example(example_id), wanted, target)
        keys = self.path_keys(plan, wanted)
        found = [self.store.get(key, Datapath) for key in keys]
        return triplet_of(plan, found, target) if None not in found[: 2 + len(plan.candidates)] else None

    @one_sight()
    def extract(
        self,
        example_id: str,
        target: str | None = None,
        progress: Progress = silent,
        wanted: ExtractionParameters | None = None,
        nulls: bool = True,
        turn: Turn = nullcontext,
    ) -> Triplet:
        """The example's datapaths, without those of the null targets where `nulls` says so and the method finds them
        apart; what an interrupted run had finished is not done again. Each batch is solved within a `turn`.

        adv and the targets are explained against src, and src against adv (`core.problem.Foil`). By the method
        "joint" all are solved together (Eq. 3), the nulls too: solved apart, they would be farther for that alone. So
        the nulls pull on adv, src and the targets as these pull on one another.
        """
        wanted = wanted or self.workspace.settings.extraction
        plan = self.plan(self.workspace.example(example_id), wanted, target)
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
            found += self._extract(names[first:last], keys[first:last], given, wanted, foils, inner, turn)
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
        """One datapath for a set of images of one predicted class, as the 2018 system has it; without a foil."""
        if not names:
            raise AevisError("There is no image to find a datapath of. Choose at least one.")
        wanted = wanted or self.workspace.settings.extraction
        names = sorted(names, key=self.workspace.image_hash)
        hashes = [self.workspace.image_hash(name) for name in names]
        key = self.key("datapath", images=hashes, parameters=datapath.used_parameters(wanted))
        compute = lambda: datapath.extract_set(self.classifier, self.workspace.read(names), [], wanted, progress)  # noqa: E731
        return self.store.remember(key, Datapath, compute)

    def is_ready(self, example: Example) -> bool:
        """Whether all datapaths of an example are stored, extracted as the workspace does."""
        wanted = self.workspace.settings.extraction
        try:
            return all(map(self.store.has, self.path_keys(self.plan(example, wanted), wanted)))
        except AevisError:
            return False

    @one_sight()
    def distances(self, triplet: Triplet, name: str, levels: Levels | None = None) -> DatapathDistance:
        """How far the three datapaths lie apart at every layer, or level, by "activations", "gates" or "gates-raw"."""
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
    def distances_between(
        self, triplet: Triplet, compared: Sequence[str], name: str, levels: Levels | None = None
    ) -> dict[tuple[str, str], np.ndarray]:
        """How far any two of the compared datapaths (`Triplet.members`) lie apart: (L,) at every layer, or level."""
        check_distance(name)
        members = triplet.members(compared)
        traces = {key: self._trace(image, triplet.path_of(image)) for key, image in members.items()}
        return between(self.layers, traces, name, levels)

    def _remember(self, of: tuple, key: tuple, make: Callable[[], T]) -> T:
        """What was made before of these very objects under that key; at most KEPT of such results stay in memory."""
        place = (*map(id, of), *key)
        with self._keeping:
            found = self._made.get(place)
        if found is None:
            found = (of, make())  # what it is made of stays, so that no id is used anew
            with self._keeping:
                self._made[place] = found
        return found[1]

    def path_keys(self, plan: Plan, wanted: ExtractionParameters) -> list[str]:
        """The keys of adv, src, the candidates and the nulls: each depends on the paths it was held near."""
        hashes = self.workspace.image_hash
        together = [hashes(name) for name in (*plan.candidates, *plan.nulls)] if wanted.method == "joint" else []

        def key(place: int, name: str, given: Sequence[str]) -> str:
            label, image = foil_of(plan, place)
            return self.key(
                "datapath",
                image=hashes(name),
                foil=[label, hashes(image)],
                given=list(given),
                together=together,
                parameters=datapath.used_parameters(wanted),
            )

        adversarial = key(0, plan.example.adversarial, [])
        source = key(1, plan.example.source, [adversarial])
        others = [key(2, name, [adversarial, source]) for name in (*plan.candidates, *plan.nulls)]
        return [adversarial, source, *others]

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
    ) -> list[Datapath]:
        """The datapaths, batch by batch; a batch of which one is missing is solved whole again.

        So the images that are solved together are always the same ones, however often the work was interrupted: with
        others beside it, an image's gates differ in the fourth digit.
        """
        paths: list[Datapath] = []
        step = datapath.at_once(self.classifier, wanted, len(keys))
        for first in range(0, len(keys), step):
            batch = slice(first, first + step)
            found = [self.store.get(key, Datapath) for key in keys[batch]]
            if None in found:
                inner = part_of(progress, first / len(keys), len(found) / len(keys))
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
