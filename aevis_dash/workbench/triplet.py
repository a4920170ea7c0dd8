"""An example's datapaths beside one another: adversarial, source, candidate targets and null targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath
from aevis_dash.domain import DATAPATHS, AevisError, Datapath, Example, Role, further
from aevis_dash.workbench.references import CleanImages


@dataclass(frozen=True)
class Plan:
    """Which images an example is compared with: candidate targets and null targets, by file name."""

    example: Example
    source_label: int
    adversarial_label: int
    candidates: tuple[str, ...]
    nulls: tuple[str, ...]


@dataclass(frozen=True)
class Triplet:
    """An example's datapaths: adv, src given adv, and each candidate target given both.

    `target` is the index of the candidate that is compared; the representative unless another was chosen.
    `similarity` of each candidate to adv is 1 / ||z_adv - z_tar|| (Sec. 6.2.1). `nulls` are the datapaths of the plan's
    null targets, all of them or none; `pending` says how many are still to be extracted.
    """

    plan: Plan
    adversarial: Datapath
    source: Datapath
    candidates: tuple[Datapath, ...]
    nulls: tuple[Datapath, ...]
    target: int

    @property
    def pending(self) -> int:
        return len(self.plan.nulls) - len(self.nulls)

    def path(self, role: Role) -> Datapath:
        return {Role.SOURCE: self.source, Role.ADVERSARIAL: self.adversarial}.get(role, self.candidates[self.target])

    def image(self, role: Role) -> str:
        """The file name of the role's image."""
        example = self.plan.example
        names = {Role.SOURCE: example.source, Role.ADVERSARIAL: example.adversarial}
        return names.get(role, self.plan.candidates[self.target])

    def members(self, compared: Sequence[str] = ()) -> dict[str, str]:
        """The image of every compared datapath by its key (`domain.further`): adv, and of the source's, the
        candidates' and the nulls' those that `compared` names, at least one; the triplet's for none.

        Raises AevisError for an image without a datapath here, or for more than DATAPATHS in all.
        """
        if not compared:
            return {role: self.image(role) for role in Role}
        known = (*self.plan.candidates, *self.plan.nulls)
        chosen = list(dict.fromkeys(compared))
        wrong = next((name for name in chosen if name not in (self.plan.example.source, *known)), None)
        if wrong is not None or len(chosen) >= DATAPATHS:
            raise AevisError(
                f"{wrong!r} has no datapath beside {self.plan.example.id}. Choose among its targets."
                if wrong is not None
                else f"{len(chosen) + 1} datapaths are too many to compare. Choose at most {DATAPATHS}."
            )
        found = {role: self.image(role) for role in Role if role is Role.ADVERSARIAL or self.image(role) in chosen}
        targets = [name for name in chosen if name not in found.values() and name not in self.plan.nulls]
        others = [name for name in chosen if name in self.plan.nulls]
        found |= {further(number): name for number, name in enumerate(targets, start=2)}
        return found | {further(len(targets) + 1 + i, other=i): name for i, name in enumerate(others, start=1)}

    def path_of(self, image: str) -> Datapath:
        """The datapath of one of the example's images, its candidates and its nulls."""
        names = (self.plan.example.adversarial, self.plan.example.source, *self.plan.candidates, *self.plan.nulls)
        return self.paths[names.index(image)]

    @property
    def similarity(self) -> tuple[float, ...]:
        distances = (datapath.distance(self.adversarial, c) for c in self.candidates)
        return tuple(float(1 / d) if d > 0 else float("inf") for d in distances)

    @property
    def paths(self) -> tuple[Datapath, ...]:
        return (self.adversarial, self.source, *self.candidates, *self.nulls)


def candidates_of(clean: CleanImages, example: Example, label: int) -> tuple[str, ...]:
    """The files of the clean images that are predicted as `label`, surest first; without the example's source."""
    return tuple(file for file in clean.surest_of_class(label) if file != example.source)


def nulls_of(clean: CleanImages, example: Example, taken: set[int], count: int, seed: int) -> tuple[str, ...]:
    """The files of `count` of the clean images, drawn by chance among those predicted as none of the `taken` classes;
    always the same ones for an example and a seed."""
    others = clean.of_other_classes(taken)
    order = np.random.default_rng([seed, *example.id.encode()]).permutation(len(others))
    return tuple(others[order[:count]])


def batches_of(plan: Plan, wanted: ExtractionParameters) -> list[tuple[int, int]]:
    """What is extracted together, as places among adv, src, candidates and nulls: first, and one past the last."""
    null, end = 2 + len(plan.candidates), 2 + len(plan.candidates) + len(plan.nulls)
    if wanted.method == "joint":
        return [(0, end)]
    return [(0, 1), (1, 2), (2, null), *([(null, end)] if null < end else [])]


def foil_of(plan: Plan, place: int) -> tuple[int, str]:
    """The class and the image that adv (0), src (1) or a target (2 and more) is explained against."""
    if place == 1:
        return plan.adversarial_label, plan.example.adversarial
    return plan.source_label, plan.example.source


def triplet_of(plan: Plan, paths: Sequence[Datapath | None], target: str | None) -> Triplet:
    """The triplet of the paths of adv, src, the candidates and the nulls; only those of the nulls may be missing."""
    count = 2 + len(plan.candidates)
    adversarial, source, *candidates = [path for path in paths[:count] if path is not None]
    nulls = [path for path in paths[count:] if path is not None]
    complete = tuple(nulls) if len(nulls) == len(plan.nulls) else ()
    chosen = datapath.representative(adversarial, candidates) if target is None else plan.candidates.index(target)
    return Triplet(plan, adversarial, source, tuple(candidates), complete, chosen)
