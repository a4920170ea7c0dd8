"""Attacks on the workspace's normal images by MI-FGSM. Each attacked image becomes an example of the workspace."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from aevis_dash.config import AttackParameters, Progress, part_of, silent
from aevis_dash.core import attack
from aevis_dash.domain import AevisError, Example, Prediction, so_many
from aevis_dash.labels import ImageEntry
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.judging import BATCH, Judging
from aevis_dash.workspace import one_sight


class Attacks(Part):
    """`bench.attacks`: attacks normal images and adds the results to the workspace's examples."""

    def __init__(self, base: Base, judging: Judging):
        super().__init__(base)
        self._judging = judging

    @one_sight()
    def attack(
        self,
        entries: Sequence[ImageEntry],
        target: int | str | None = None,
        parameters: AttackParameters | None = None,
        progress: Progress = silent,
    ) -> list[Example]:
        """Attack normal images and add each result to the workspace's table of examples.

        Images that already have this very attack are not attacked again. Every result is kept, also where the attack
        failed. The images are attacked in batches of BATCH. A batch of which one result is missing is attacked as a
        whole again, so that a run that was interrupted ends with the same bytes as an undisturbed one.

        Args:
            entries: the normal images to attack.
            target: None for an untargeted attack; a class index; or "nearest", for each image the class of largest
                probability among the other classes that the workspace has clean images of.
            parameters: of MI-FGSM; None for those of the workspace's settings.
            progress: is told the share of the work that is done.

        Returns:
            One example for each of the entries, in their order.

        Raises:
            AevisError: for "nearest", where no other class has a clean image.
        """
        chosen = parameters or self.workspace.settings.attack
        made: list[Example] = []
        done = {e.id for e in self.workspace.examples()}
        for i in range(0, len(entries), BATCH):
            chunk = entries[i : i + BATCH]
            targets = self._attack_targets(chunk, target)
            planned = [self._plan(e, t, chosen) for e, t in zip(chunk, targets, strict=True)]
            if any(example.id not in done for example in planned):
                inner = part_of(progress, i / len(entries), len(chunk) / len(entries))
                self._attack(planned, done, chosen, inner)
            made += [self.workspace.example(example.id) for example in planned]
        progress(1.0, f"{so_many(len(made), 'image')} attacked")
        return made

    def _attack_targets(self, entries: Sequence[ImageEntry], target: int | str | None) -> list[int | None]:
        if target is None or isinstance(target, int):
            return [target] * len(entries)
        offered = self._judging.clean().classes
        predictions = self._judging.predict([entry.file for entry in entries])
        return [self._nearest(p, offered - {p.label}) for p in predictions]

    def _nearest(self, prediction: Prediction, offered: set[int]) -> int:
        for label in np.argsort(-prediction.probabilities):
            if int(label) in offered:
                return int(label)
        raise AevisError("No other class has a clean image in this workspace, so there is no nearest one to attack to.")

    def _plan(self, entry: ImageEntry, target: int | None, parameters: AttackParameters) -> Example:
        """The example that the attack of one image will make; its ID names the attack, and a digest of all that it
        depends on."""
        towards = "" if target is None else f"-to-{target}"
        stem = PurePosixPath(entry.file).with_suffix("").as_posix().replace("/", "_")
        made_from = self.key(
            "attack", image=self.workspace.image_hash(entry.file), file=entry.file, parameters=parameters
        )
        digest = made_from.removeprefix("attack-")[:6]
        name = f"{stem}-mifgsm{parameters.epsilon:g}x{parameters.steps}{towards}-{digest}"
        words = f"MI-FGSM {parameters.epsilon:g}/255, {parameters.steps} steps"
        if target is not None:
            words += f", towards {self.class_names[target]}"
        place, epsilon = f"adversarial/{name}.png", parameters.epsilon
        return Example(name, entry.file, place, entry.label, words, target, epsilon)

    def _attack(
        self, examples: Sequence[Example], done: set[str], parameters: AttackParameters, progress: Progress
    ) -> None:
        """Attack the images of these examples together, and keep the results of those whose IDs are not in `done`
        yet."""
        images = self.workspace.read([e.source for e in examples])
        targets = [e.target_label for e in examples]
        wanted = None if targets[0] is None else np.array(targets)
        results = attack.mi_fgsm(self.classifier, images, parameters, wanted, progress)
        made = [replace(e, lost_in_8_bits=r.lost) for e, r in zip(examples, results, strict=True)]
        self.workspace.keep_adversarials([(e, r.image) for e, r in zip(made, results, strict=True) if e.id not in done])
