"""Attacks on the workspace's normal images. Each attacked image becomes an example of the workspace."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from aevis_dash.config import CORRUPTIONS, PATCH, AttackParameters, Progress, is_foreign, part_of, silent
from aevis_dash.core import attack, corruptions, own_attacks
from aevis_dash.core.attacked import Attacked, kept_under_noise
from aevis_dash.core.foreign_attack import run_foreign
from aevis_dash.domain import AevisError, Example, Prediction, so_many
from aevis_dash.float_images import SUFFIX, float_bytes
from aevis_dash.images import image_suffix
from aevis_dash.labels import ImageEntry
from aevis_dash.sight import one_sight
from aevis_dash.workbench.attack_plans import NAMES, AttackPlan
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.judging import BATCH, Judging


class Attacks(Part):
    """`bench.attacks`: attacks normal images and adds the results to the workspace's examples."""

    def __init__(self, base: Base, judging: Judging):
        super().__init__(base)
        self._judging = judging

    @one_sight()
    def attack(
        self,
        entries: Sequence[ImageEntry],
        target: int | str | Mapping[str, int] | None = None,
        parameters: AttackParameters | None = None,
        progress: Progress = silent,
        epsilons: Sequence[float] = (),
    ) -> list[Example]:
        """Attack normal images and add each result to the workspace's table of examples.

        Images that already have this very attack are not attacked again. Every result is kept, also where the attack
        failed. The images are attacked in batches of BATCH. A batch of which one result is missing is attacked as a
        whole again, so that a run that was interrupted ends with the same bytes as an undisturbed one.

        With `epsilons` each image is attacked with one after the other, the smallest first, until its stored image
        succeeds with the margin of the parameters. Only that result is kept, or the last where none succeeds.

        Args:
            entries: the normal images to attack.
            target: None for an untargeted attack; a class index; "nearest", for each image the class of largest
                probability among the other classes that the workspace has clean images of; or the class index of each
                image by its file.
            parameters: of the attack; None for those of the workspace's settings.
            progress: is told the share of the work that is done.
            epsilons: the epsilons to try, in the unit of the parameters' norm; () for the one of the parameters.

        Returns:
            One example for each of the entries, in their order.

        Raises:
            AevisError: for "nearest", where no other class has a clean image; for epsilons where the attack does not
                stop at a margin; for an attack that is not built in and that is not there, fails, or gives no images.
        """
        chosen = parameters or self.workspace.settings.attack
        if epsilons and not (chosen.stops and "epsilon" in chosen.uses):
            raise AevisError("The smallest epsilon is that of an attack that stops. Choose a margin, or say `stop`.")
        if target is not None and chosen.attack in CORRUPTIONS:
            raise AevisError(f"{NAMES[chosen.attack]} aims at no class. Leave out --target, or choose another attack.")
        foreign = None
        if is_foreign(chosen.attack):
            own = own_attacks.foreign_attack
            foreign = own(chosen.attack, chosen.attack_args, target is not None, self.workspace.root)
        plan = AttackPlan(chosen, tuple(sorted(set(epsilons))), foreign)
        made: list[Example] = []
        done = {e.id for e in self.workspace.examples()}
        for i in range(0, len(entries), BATCH):
            chunk = entries[i : i + BATCH]
            targets = self._attack_targets(chunk, target)
            planned = [self._planned(e, t, plan) for e, t in zip(chunk, targets, strict=True)]
            if any(example.id not in done for example in planned):
                inner = part_of(progress, i / len(entries), len(chunk) / len(entries))
                self._attack(planned, done, plan, inner)
            made += [self.workspace.example(example.id) for example in planned]
        progress(1.0, f"{so_many(len(made), 'image')} attacked")
        return made

    def kept_under_noise(self, example: Example, draws: int, seed: int = 0) -> float:
        """The share of noisy copies of an example's adversarial, one grey level off at most, that keep its label; see
        `core.attacked.kept_under_noise`."""
        (image,) = self.workspace.read([example.adversarial])
        return kept_under_noise(self.classifier, image, draws, seed)

    def _attack_targets(
        self, entries: Sequence[ImageEntry], target: int | str | Mapping[str, int] | None
    ) -> list[int | None]:
        if target is None or isinstance(target, int):
            return [target] * len(entries)
        if isinstance(target, Mapping):
            return [target[entry.file] for entry in entries]
        offered = self._judging.clean().classes
        predictions = self._judging.predict([entry.file for entry in entries])
        return [self._nearest(p, offered - {p.label}) for p in predictions]

    def _nearest(self, prediction: Prediction, offered: set[int]) -> int:
        for label in np.argsort(-prediction.probabilities):
            if int(label) in offered:
                return int(label)
        raise AevisError("No other class has a clean image in this workspace, so there is no nearest one to attack to.")

    def _planned(self, entry: ImageEntry, target: int | None, plan: AttackPlan) -> Example:
        """The example that the attack of one image will make; its ID names the attack, and a digest of all that it
        depends on."""
        towards = "" if target is None else f"-to-{target}"
        stem = PurePosixPath(entry.file).with_suffix("").as_posix().replace("/", "_")
        made_from = self.key("attack", image=self.workspace.image_hash(entry.file), file=entry.file, **plan.made_of)
        name = f"{stem}-{plan.short}{towards}-{made_from.removeprefix('attack-')[:6]}"
        used = plan.series[-1]
        words = self._words(plan, used, target)
        ours = used.attack in (*CORRUPTIONS, PATCH)  # however much it changes, it is a picture of its source
        file = f"adversarial/{name}{image_suffix(self.workspace.settings.preprocessing.channels)}"
        return Example(name, entry.file, file, entry.label, words, target, used.bound, ours)

    def _words(
        self, plan: AttackPlan, used: AttackParameters, target: int | None, found: Attacked | None = None
    ) -> str:
        towards = "" if target is None else f", towards {self.class_names[target]}"
        return plan.words(used, found) + towards

    def _attack(self, examples: Sequence[Example], done: set[str], plan: AttackPlan, progress: Progress) -> None:
        """Attack the images of these examples together, and keep the results of those whose IDs are not in `done`
        yet."""
        images = self.workspace.read([e.source for e in examples])
        targets = [e.target_label for e in examples]
        wanted = None if targets[0] is None else np.array(targets)
        made = []
        for place, (used, found) in self._results(images, wanted, plan, progress).items():
            example = examples[place]
            words = self._words(plan, used, example.target_label, found)
            told = replace(example, attack=words, epsilon=used.bound, lost_in_8_bits=found.lost)
            image = found.image
            if found.floats is not None:
                image = float_bytes(found.floats)
                told = replace(told, adversarial=str(PurePosixPath(told.adversarial).with_suffix(SUFFIX)))
            if example.id not in done:
                made.append((told, image))
        self.workspace.keep_adversarials(made)

    def _results(
        self, images: np.ndarray, targets: np.ndarray | None, plan: AttackPlan, progress: Progress
    ) -> dict[int, tuple[AttackParameters, Attacked]]:
        """The result that is kept of each of B images, by its place and in their order, with the attack that made it.

        Args:
            images: 8-bit images, (B, H, W, C).
            targets: the class that each image shall be taken for, (B,); None for none in particular.
            plan: how they are attacked.
            progress: is told the share of the work that is done.
        """
        if plan.foreign is not None:
            progress(0.0, f"attacking by {plan.foreign.name}")
            attacked = run_foreign(
                self.classifier, plan.foreign, images, targets, plan.parameters.seed, plan.parameters.floats
            )
            return {place: (plan.parameters, each) for place, each in enumerate(attacked)}
        kept: dict[int, tuple[AttackParameters, Attacked]] = {}
        left = np.arange(len(images))
        for i, used in enumerate(plan.series):
            inner = part_of(progress, i / len(plan.series), 1 / len(plan.series))
            found = self._by(used, images[left], None if targets is None else targets[left], inner)
            kept |= {int(place): (used, each) for place, each in zip(left, found, strict=True)}
            left = np.array([place for place in left if not kept[int(place)][1].reaches(used.margin)], int)
            if not left.size:
                break
        return dict(sorted(kept.items()))

    def _by(
        self, used: AttackParameters, images: np.ndarray, targets: np.ndarray | None, progress: Progress
    ) -> list[Attacked]:
        """Attack images by an attack that is built in."""
        if used.attack in CORRUPTIONS:
            progress(0.0, "corrupting images")
            return corruptions.corrupt(self.classifier, images, used)
        if used.attack == PATCH:
            return corruptions.patch(self.classifier, images, used, targets, progress)
        return attack.perturb(self.classifier, images, used, targets, progress)
