"""Predictions, adversarial scores, and whether an image is the adversarial of another."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from aevis_dash import lineup, pairs
from aevis_dash.config import Progress, silent
from aevis_dash.core import adversarial_score
from aevis_dash.core.measures import rank_correlation
from aevis_dash.domain import AevisError, Example, JudgedExample, Outcome, Perturbation, Prediction, so_many
from aevis_dash.image_list import ImageList
from aevis_dash.store import key_of
from aevis_dash.workbench.base import VERSIONS, Base, Part
from aevis_dash.workbench.references import CleanImages, Judgements, References
from aevis_dash.workspace import one_sight

BATCH = 16
"""Images that are classified, or attacked, at once."""
DIGESTS_VERSION = 1
"""Of the form in which digests of files are kept."""
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


@dataclass(frozen=True)
class KnownDigests:
    """What `Workspace.known_digests` gave: so that the next process need not read every image to know what it is."""

    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Judged:
    """All examples as they were judged against these references, when their images had these digests, and the scores of
    those of their sources that were asked for."""

    references: References
    digests: Mapping[str, str]
    examples: tuple[JudgedExample, ...]
    source_scores: dict[str, float] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        found = [[e.example, e.misclassified, e.score] for e in self.examples]
        return key_of("examples", 2, judged=found, images=self.references.listed.digest)


class Judging(Part):
    """What the classifier says of images, and the adversarial scores of examples."""

    def __init__(self, base: Base):
        super().__init__(base)
        self._judged: dict[str, Judgement] = {}
        self._pairs: dict[str, Perturbation] = {}
        self._excesses: dict[str, str] = {}
        self._left_out: tuple[str, ...] = ()
        self._references: References | None = None
        self._all: _Judged | None = None
        self._listing = threading.RLock()

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
    def references(self, progress: Progress = silent) -> References:
        """The judgements of all normal images, the same object as long as neither the table nor an image changes.

        What was judged before, by this or another process, is not judged again.
        """
        with self._listing:
            if self._references is None:
                self._trust_known_digests()
            listed = self.workspace.image_list()
            if self._references is None or self._references.listed is not listed:
                known = self._references.judgements if self._references is not None else self._stored_judgements()
                self._references = References(listed, self._judgements(listed, known, progress))
                self._keep_known_digests()
            return self._references

    def recall(self) -> None:
        """Read what is stored of the normal images where none of them is missing there, so that the processes forked
        from this one need not. Raises AevisError for an image that cannot be read."""
        kept = self._stored_judgements()
        if kept is None:
            return
        self._trust_known_digests()
        listed = self.workspace.image_list()
        if {digest.encode() for digest in listed.digests} <= set(kept.digests.tolist()):
            self._references = References(listed, self._judgements(listed, kept, silent))

    @one_sight()
    def judged_examples(
        self, progress: Progress = silent, among: Sequence[Example] | None = None
    ) -> list[JudgedExample]:
        """Examples, all of the table by default, with their predictions, perturbations and adversarial scores.

        Where their own table has no label of the source, that of images.csv holds.
        """
        if among is not None:
            return self._judge_examples(among, progress)
        return list(self._judged_now(progress).examples)

    @one_sight()
    def examples_digest(self) -> str:
        """A digest of all examples as they are judged, and of the normal images: what the whole set is compared from.

        It changes seldom; what listens to it is not drawn at every filter.
        """
        return self._judged_now().digest

    def _judged_now(self, progress: Progress = silent) -> _Judged:
        references, digests = self.references(progress), self.workspace.example_digests()
        known = self._all
        if known is None or known.references is not references or known.digests is not digests:
            examples = self._judge_examples(self.workspace.examples(), progress)
            known = self._all = _Judged(references, digests, tuple(examples))
        return known

    def _judge_examples(self, listed: Sequence[Example], progress: Progress) -> list[JudgedExample]:
        entries, places = self.workspace.images, self.workspace.image_list().places
        labels = {e.source: entries[places[e.source]].label for e in listed if e.source in places}
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

    def clean(self) -> CleanImages:
        """The normal images that are predicted as their label says (or have none)."""
        return self.references().clean

    @one_sight()
    def source_scores(self, examples: Sequence[Example]) -> list[float]:
        """Adversarial scores of the examples' normal sources, each compared with other images only."""
        names = list(dict.fromkeys(e.source for e in examples))
        references, digests, judged = self.references(), self.workspace.example_digests(), self._all
        current = judged is not None and judged.references is references and judged.digests is digests
        known = judged.source_scores if judged is not None and current else {}
        missing = [name for name in names if name not in known]
        known.update(zip(missing, (score for _, score in self._scored(missing, missing, silent)), strict=True))
        return [known[name] for name in names]

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
        own = [self.workspace.image_hash(name) for name in (example.source, example.adversarial)]
        made_of = {
            "images": [*own, *self.workspace.image_list().digests],
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
        references = self.references(progress)
        judged = self.judge(names, progress)
        return [
            (j, references.score(self.workspace.image_hash(name), j.features, j.prediction.label, source))
            for name, j, source in zip(names, judged, own, strict=True)
        ]

    def _judgements(self, listed: ImageList, before: Judgements | None, progress: Progress) -> Judgements:
        """The judgements of all images of a list, kept as one table beside those of single images: reading 10,000 files
        takes many seconds."""
        rows = {} if before is None else {digest: row for row, digest in enumerate(before.digests.tolist())}
        digests = np.array([digest.encode() for digest in listed.digests], "S32")
        missing = [place for place, digest in enumerate(digests.tolist()) if digest not in rows]
        if before is not None and not missing and np.array_equal(before.digests, digests):
            return before
        found = {}
        for first in range(0, len(missing), BATCH):
            places = missing[first : first + BATCH]
            progress(first / len(missing), f"classifying image {first + 1} of {len(missing)}")
            for place, judgement in zip(places, self.judge([listed.files[i] for i in places]), strict=True):
                prediction = judgement.prediction
                found[place] = (prediction.label, prediction.confidence, judgement.features)
                self._judged.pop(listed.digests[place], None)  # 10,000 of them would take much memory
        old = [(place, rows[digest]) for place, digest in enumerate(digests.tolist()) if digest in rows]
        if before is not None:
            found |= {place: (before.predicted[i], before.confidence[i], before.features[i]) for place, i in old}
        together = [found[place] for place in range(len(digests))]
        kept = Judgements(
            digests,
            np.array([label for label, _, _ in together], np.int64),
            np.array([confidence for _, confidence, _ in together], np.float64),
            np.stack([features for _, _, features in together]) if together else np.zeros((0, 1), np.float32),
        )
        self.store.put(self._references_key(), kept)
        return kept

    def _stored_judgements(self) -> Judgements | None:
        return self.store.get(self._references_key(), Judgements)

    def _references_key(self) -> str:
        return self.key("references", judgement=VERSIONS["judgement"])

    def _trust_known_digests(self) -> None:
        known = self.store.get(self._digests_key(), KnownDigests)
        if known is not None:
            self.workspace.trust_digests(known.lines)

    def _keep_known_digests(self) -> None:
        self.store.put(self._digests_key(), KnownDigests(self.workspace.known_digests()))

    def _digests_key(self) -> str:
        return key_of("digests", DIGESTS_VERSION, workspace=str(self.workspace.root))


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
