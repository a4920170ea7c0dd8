"""An example's datapaths beside one another: adversarial, source, candidate targets and null targets.

A *candidate* target is a clean image of the class that adv is taken for. A *null* target is a clean image of a random
other class; the distances to it tell what a distance to any image at all would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath
from aevis_dash.domain import DATAPATHS, AevisError, Datapath, Example, Role, further
from aevis_dash.store import key_of
from aevis_dash.workbench.references import CleanImages

REFERENCES = 32
"""The number of clean images that a mean is taken over."""


@dataclass(frozen=True)
class Plan:
    """Which images an example is compared with.

    Attributes:
        example: the source and its adversarial.
        source_label: the class that the source is predicted as.
        adversarial_label: the class that the adversarial is predicted as.
        candidates: the file names of the candidate targets, of highest confidence first.
        nulls: the file names of the null targets.
        resists: whether the adversarial is predicted as the source's class. `adversarial_label` is then the class of
            the targets, which another model takes it for.
    """

    example: Example
    source_label: int
    adversarial_label: int
    candidates: tuple[str, ...]
    nulls: tuple[str, ...]
    resists: bool = False


@dataclass(frozen=True)
class Triplet:
    """An example's datapaths: those of adv, of src, of every candidate target, and of the null targets.

    Attributes:
        plan: the images that the datapaths belong to.
        adversarial: the datapath of adv.
        source: the datapath of src.
        candidates: the datapaths of the plan's candidates, in their order.
        nulls: the datapaths of the plan's nulls, in their order; all of them, or none where some are still to be
            extracted.
        target: the index of the candidate that is compared with adv and src. It is the representative target, whose
            datapath is most similar to adv's (Sec. 6.2.1 of the paper), unless the user chose another.
    """

    plan: Plan
    adversarial: Datapath
    source: Datapath
    candidates: tuple[Datapath, ...]
    nulls: tuple[Datapath, ...]
    target: int

    @property
    def pending(self) -> int:
        """How many datapaths of null targets are still to be extracted."""
        return len(self.plan.nulls) - len(self.nulls)

    def path(self, role: Role) -> Datapath:
        """The datapath of the role; that of the chosen candidate for the target."""
        return {Role.SOURCE: self.source, Role.ADVERSARIAL: self.adversarial}.get(role, self.candidates[self.target])

    def image(self, role: Role) -> str:
        """The file name of the role's image; that of the chosen candidate for the target."""
        example = self.plan.example
        names = {Role.SOURCE: example.source, Role.ADVERSARIAL: example.adversarial}
        return names.get(role, self.plan.candidates[self.target])

    def members(self, compared: Sequence[str] = ()) -> dict[str, str]:
        """The images whose datapaths are compared, by the keys under which pictures and tables name them.

        Args:
            compared: the file names of the images to compare with adv: the source, candidates or nulls. () for the
                source and the chosen candidate.

        Returns:
            The file name of each image by its key. The keys are the roles, and those that `domain.further` makes for
            other candidates and for nulls; adv is always among them.

        Raises:
            AevisError: for an image without a datapath in this triplet, or where more than DATAPATHS are compared, adv
                included.
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
        """The datapath of an image of the plan, given by its file name. Raises ValueError for another image."""
        names = (self.plan.example.adversarial, self.plan.example.source, *self.plan.candidates, *self.plan.nulls)
        return self.paths[names.index(image)]

    @property
    def similarity(self) -> tuple[float, ...]:
        """The similarity of each candidate to adv, 1 / (||z_adv - z_tar||_2 / sqrt(n)), infinite where equal (Sec.
        6.2.1)."""
        distances = (datapath.distance(self.adversarial, c) for c in self.candidates)
        return tuple(float(1 / d) if d > 0 else float("inf") for d in distances)

    @property
    def paths(self) -> tuple[Datapath, ...]:
        """All datapaths, in the order adv, src, candidates, nulls."""
        return (self.adversarial, self.source, *self.candidates, *self.nulls)


@dataclass(frozen=True)
class PathPair:
    """The datapaths of an example's adversarial and source, without those of its targets.

    Attributes:
        adversarial: the datapath of adv.
        source: the datapath of src.
        nulls: the datapaths of the plan's nulls; all of them, or none where some are still to be extracted.
    """

    adversarial: Datapath
    source: Datapath
    nulls: tuple[Datapath, ...]


def candidates_of(clean: CleanImages, example: Example, label: int) -> tuple[str, ...]:
    """The file names of the clean images that are predicted as `label`, of highest confidence first, without the
    source."""
    return tuple(file for file in clean.surest_of_class(label) if file != example.source)


def stand_ins_of(clean: CleanImages, example: Example, taken: set[int], kind: str, seed: int = 0) -> tuple[str, ...]:
    """Draw the clean images of third classes that stand for a layer's maps: REFERENCES of them for the "mean", or one.

    Args:
        clean: the clean images of the workspace.
        example: the example, by whose ID they are drawn.
        taken: the classes that are left out.
        kind: "mean", or "resample" for a single image.
        seed: of the draw.

    Raises:
        AevisError: where the workspace has no such image.
    """
    names = clean.draw(example.id, taken, REFERENCES if kind == "mean" else 1, seed)
    if not names:
        raise AevisError(f"The workspace has no normal image of a third class to take the {kind} of.")
    return names


def batches_of(plan: Plan, wanted: ExtractionParameters) -> list[tuple[int, int]]:
    """The datapaths of a plan that are extracted together, which depends on the method.

    Returns:
        Half-open ranges (first, one past the last) of places in the order adv, src, candidates, nulls.
    """
    null, end = 2 + len(plan.candidates), 2 + len(plan.candidates) + len(plan.nulls)
    if wanted.method == "joint":
        return [(0, end)]
    return [(0, 1), (1, 2), (2, null), *([(null, end)] if null < end else [])]


def foil_of(plan: Plan, place: int) -> tuple[int, str]:
    """The foil that one image of a plan is explained against.

    Args:
        plan: the images of the example.
        place: 0 for adv, 1 for src, 2 and more for a target.

    Returns:
        The class and the file name of the foil: src's for adv and the targets, adv's for src. Where adv is predicted as
        src's class, adv and src are both explained against the first candidate target: against one another they have
        no difference that tells the classes apart.
    """
    if plan.resists and place < 2:
        return plan.adversarial_label, plan.candidates[0]
    if place == 1:
        return plan.adversarial_label, plan.example.adversarial
    return plan.source_label, plan.example.source


@lru_cache(maxsize=1024)
def path_keys(
    version: int,
    model: str,
    digests: tuple[str, ...],
    foils: tuple[tuple[int, str], ...],
    wanted: ExtractionParameters,
) -> tuple[str, ...]:
    """The store's keys of the datapaths of a plan.

    A key depends on the image, its foil, the parameters that the method uses, and the keys of the datapaths that this
    one was held near. By the method "joint" it also depends on all images of the plan.

    Args:
        version: the version of the results of the kind "datapath".
        model: the fingerprint of the classifier.
        digests: the digests of the images, in the order adv, src, candidates, nulls.
        foils: the class, and the digest of the image, that each of them is explained against.
        wanted: the extraction parameters.

    Returns:
        The keys, in the order of the images.
    """
    together = digests[2:] if wanted.method == "joint" else ()
    parameters, keys = datapath.used_parameters(wanted), []
    for image, foil in zip(digests, foils, strict=True):
        parts = {"image": image, "foil": foil, "given": keys[:2], "together": together, "parameters": parameters}
        keys.append(key_of("datapath", version, model=model, **parts))
    return tuple(keys)


def triplet_of(plan: Plan, paths: Sequence[Datapath | None], target: str | None) -> Triplet:
    """Put extracted datapaths together to a triplet.

    Args:
        plan: the images of the example.
        paths: the datapaths of adv, src, the candidates and the nulls, in this order; only those of nulls may be None.
        target: the file name of the candidate to compare; None for the representative target (Sec. 6.2.1).
    """
    count = 2 + len(plan.candidates)
    adversarial, source, *candidates = [path for path in paths[:count] if path is not None]
    nulls = [path for path in paths[count:] if path is not None]
    complete = tuple(nulls) if len(nulls) == len(plan.nulls) else ()
    chosen = datapath.representative(adversarial, candidates) if target is None else plan.candidates.index(target)
    return Triplet(plan, adversarial, source, tuple(candidates), complete, chosen)
