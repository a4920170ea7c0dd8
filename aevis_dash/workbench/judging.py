"""Predictions, adversarial scores, and whether an image is the adversarial of another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from aevis_dash import lineup, pairs
from aevis_dash.config import Progress, silent
from aevis_dash.core import adversarial_score
from aevis_dash.core.measures import rank_correlation
from aevis_dash.domain import AevisError, Example, JudgedExample, Outcome, Perturbation, Prediction, so_many
from aevis_dash.store import key_of
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workspace import one_sight

BATCH = 16
"""Images that are classified, or attacked, at once."""
_NAMED = 3
"""Pairs that a warning names."""


@dataclass(frozen=True)
class Judgement:
    """What one forward run says of an image: `probabilities` (K,) and the head's input `features` (d,)."""

    probabilities: np.ndarray
    features: np.ndarray

    @cached_property
    def prediction(self) -> Prediction:
        return Prediction(self.probabilities)


class Judging(Part):
    """What the classifier says of images, and the adversarial scores of examples."""

    def __init__(self, base: Base):
        super().__init__(base)
        self._judged: dict[str, Judgement] = {}
        self._pairs: dict[str, Perturbation] = {}
        self._excesses: dict[str, str] = {}
        self._left_out: tuple[str, ...] = ()

    @one_sight()
    def judge(self, names: Sequence[str], progress: Progress = silent) -> list[Judgement]:
        """Predictions and head features of images, given as in the tables."""
        hashes = {name: self.workspace.image_hash(name) for name in names}
        missing = [name for name, image in hashes.items() if not self._judgement(image)]
        for i in range(0, len(missing), BATCH):
            progress(i / len(missing), f"classifying image {i + 1} of {len(missing)}")
            self._judge(missing[i : i + BATCH], hashes)
        return [self._judged[hashes[name]] for name in names]

    def predict(self, names: Sequence[str]) -> list[Prediction]:
        """What the classifier says of images."""
        return [j.prediction for j in self.judge(names)]

    @one_sight()
    def judged_examples(
        self, progress: Progress = silent, among: Sequence[Example] | None = None
    ) -> list[JudgedExample]:
        """Examples, all of the table by default, with their predictions, perturbations and adversarial scores.

        Where their own table has no label of the source, that of images.csv holds.
        """
        labels = {entry.file: entry.label for entry in self.workspace.images}
        listed = self.workspace.examples() if among is None else among
        examples = [replace(e, true_label=labels.get(e.source)) if e.true_label is None else e for e in listed]
        adversarial = self._scored([e.adversarial for e in examples], [e.source for e in examples], progress)
        source = self.judge([e.source for e in examples])
        found = [
            JudgedExample(e, s.prediction, a.prediction, self.perturbation(e), score)
            for e, s, (a, score) in zip(examples, source, adversarial, strict=True)
        ]
        self._excesses = {j.example.id: pairs.excess(j.example, j.perturbation) for j in found if j.exceeds}
        self._left_out = tuple(j.example.id for j in found if j.outcome is Outcome.NO_PAIR)
        return found

    @one_sight()
    def clean(self) -> list[tuple[str, Prediction]]:
        """The normal images that are predicted as their label says (or have none), with their predictions."""
        entries = self.workspace.images
        predictions = self.predict([entry.file for entry in entries])
        return [(e.file, p) for e, p in zip(entries, predictions, strict=True) if e.label in (None, p.label)]

    @one_sight()
    def source_scores(self, examples: Sequence[Example]) -> list[float]:
        """Adversarial scores of the examples' normal sources, each compared with other images only."""
        names = list(dict.fromkeys(e.source for e in examples))
        return [score for _, score in self._scored(names, names, silent)]

    @one_sight()
    def perturbation(self, example: Example) -> Perturbation:
        """What tells an example's adversarial from its source, measured once for these files."""
        workspace, names = self.workspace, (example.source, example.adversarial)
        made_of = {"images": [workspace.image_hash(name) for name in names], "read": workspace.settings.preprocessing}
        key = key_of("pair", pairs.VERSION, **made_of)
        if key not in self._pairs:
            compute = lambda: pairs.measure(*workspace.read(names))  # noqa: E731
            self._pairs[key] = self.store.remember(key, Perturbation, compute)
        return self._pairs[key]

    def allow_large(self, example_ids: Sequence[str]) -> None:
        """Keep in the table that the user insists on those of the examples that cannot be attacks on their sources."""
        examples = [self.workspace.example(example_id) for example_id in example_ids]
        large = [e.id for e in examples if not (e.allow_large or self.perturbation(e).is_attack)]
        if large:
            self.workspace.allow_large(large)

    def auroc(self, examples: Sequence[JudgedExample]) -> float:
        """How well the score tells the misclassified adversarials from their sources."""
        fooled = [e for e in examples if e.misclassified]
        return adversarial_score.auroc(self.source_scores([e.example for e in fooled]), [e.score for e in fooled])

    def score_follows_size(self, examples: Sequence[JudgedExample]) -> float:
        """Spearman's rank correlation, over the misclassified adversarials, of the score with the norm of the head's
        input, which grows with how far an attack overshoots; NaN for fewer than three with a score."""
        fooled = [e for e in examples if e.misclassified and np.isfinite(e.score)]
        if len(fooled) < 3:
            return float("nan")
        sizes = [float(np.linalg.norm(j.features)) for j in self.judge([e.example.adversarial for e in fooled])]
        return rank_correlation(np.array([e.score for e in fooled]), np.array(sizes))

    def explainable(self, example: Example) -> tuple[Prediction, Prediction]:
        """What is predicted of source and adversarial; raises AevisError where there is nothing to explain."""
        found = self.perturbation(example)
        if not (example.allow_large or found.is_attack):
            raise AevisError(pairs.refusal(example, found, self._remedy(example)))
        source, adversarial = self.predict([example.source, example.adversarial])
        if source.label == adversarial.label:
            raise AevisError(
                f"The attack on {example.source} failed: both images are predicted as "
                f"{self.class_names[source.label]!r}, so there is nothing to explain. Choose another example."
            )
        if found.exceeds(example.epsilon):
            self._excesses = self._excesses | {example.id: pairs.excess(example, found)}
        return source, adversarial

    def warnings(self) -> tuple[str, ...]:
        """Of the pairs looked at so far: those that exceed their epsilon, and those that cannot be attacks."""
        said = list(self._excesses.values())
        if len(said) > _NAMED:
            said = [*said[:_NAMED], f"So do the adversarials of {so_many(len(said) - _NAMED, 'more example')}."]
        if self._left_out:
            more = f" and {len(self._left_out) - _NAMED} more" if len(self._left_out) > _NAMED else ""
            said.append(
                f"Left out, as the adversarial is not its source plus a small perturbation: "
                f"{', '.join(self._left_out[:_NAMED])}{more}. `aevis extract --example ID` says what may be wrong."
            )
        return tuple(said)

    def _remedy(self, example: Example) -> str:
        """What would make an example's images a pair, tried once for these files and those of the workspace."""
        names = (example.source, example.adversarial, *(entry.file for entry in self.workspace.images))
        made_of = {
            "images": [self.workspace.image_hash(name) for name in names],
            "read": self.workspace.settings.preprocessing,
        }
        key = key_of("lineup", lineup.VERSION, **made_of)
        return self.store.remember(key, lineup.Remedy, lambda: lineup.remedy(self.workspace, example)).text

    def _judgement(self, image: str) -> Judgement | None:
        """Of the image of that digest, where it is known."""
        if image not in self._judged:
            found = self.store.get(self.key("judgement", image=image), Judgement)
            if found is not None:
                self._judged[image] = found
        return self._judged.get(image)

    def _judge(self, names: Sequence[str], hashes: dict[str, str]) -> None:
        images = self.workspace.read(names)
        for name, (probabilities, head) in zip(names, adversarial_score.judge(self.classifier, images), strict=True):
            if not np.isfinite(probabilities).all():
                raise AevisError(
                    f"The model gives NaN for the image {name}. Check the model's weights, and the "
                    "preprocessing in workspace.toml."
                )
            judgement = Judgement(probabilities, head)
            self.store.put(self.key("judgement", image=hashes[name]), judgement)
            self._judged[hashes[name]] = judgement

    def _scored(self, names: Sequence[str], own: Sequence[str], progress: Progress) -> list[tuple[Judgement, float]]:
        """Judgements and scores of images, each compared with references other than its own source."""
        entries = self.workspace.images
        files = [entry.file for entry in entries]
        judged = self.judge([*files, *names], progress)
        reference, wanted = judged[: len(files)], judged[len(files) :]
        heads = np.stack([j.features for j in reference]) if reference else np.zeros((0, 1))
        labels = np.array([j.prediction.label for j in reference], int)
        right = np.array([e.label in (None, p) for e, p in zip(entries, labels, strict=True)], bool)
        sigma = adversarial_score.bandwidth(heads[right], labels[right])
        scores = []
        for judgement, source in zip(wanted, own, strict=True):
            others = np.array([file != source for file in files], bool)
            alike = right & others & (labels == judgement.prediction.label)
            scores.append(float(adversarial_score.adversarial_score(judgement.features[None], heads[alike], sigma)[0]))
        return list(zip(wanted, scores, strict=True))


def medium(examples: Sequence[JudgedExample]) -> JudgedExample | None:
    """The misclassified example whose score is the median of theirs; None where there is none."""
    return next(iter(by_nearness_to_medium(examples)), None)


def by_nearness_to_medium(examples: Sequence[JudgedExample]) -> list[JudgedExample]:
    """The misclassified examples, that of median score first, then by how far their ranks are from it; those without a
    score only where none has one."""
    scored = sorted((e for e in examples if e.misclassified and np.isfinite(e.score)), key=lambda e: e.score)
    fooled = scored or [e for e in examples if e.misclassified]
    ranks = sorted(range(len(fooled)), key=lambda rank: abs(rank - len(fooled) // 2))
    return [fooled[rank] for rank in ranks]
