"""What the classifier says of images: predictions, adversarial scores, and whether two images are an attack and its
source.

A normal image is *clean* where its prediction is the class of its label, or where it has no label. Clean images are the
references of adversarial scores and the candidates for targets.
"""

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
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench.base import VERSIONS, Base, Part
from aevis_dash.workbench.references import CleanImages, Judgements, References

BATCH = 16
"""The number of images that are classified, or attacked, at once."""
DIGESTS_VERSION = 1
"""The version of the form in which the digests of files are stored."""
EXAMPLES_VERSION = 2
"""The version of the digest of all judged examples. It is raised when what goes into that digest changes."""
_NAMED = 3
"""The number of pairs that one warning names."""


@dataclass(frozen=True)
class Judgement:
    """What one forward run says of an image.

    Attributes:
        probabilities: of the K classes, (K,), after the softmax.
        features: h(x), the input of the classifier's head, (d,).
    """

    probabilities: np.ndarray
    features: np.ndarray

    @cached_property
    def prediction(self) -> Prediction:
        """The predicted class with its probabilities."""
        return Prediction(self.probabilities)


@dataclass(frozen=True)
class KnownDigests:
    """What `Workspace.known_digests` gave, one line for each file, so that the next process need not read every
    image."""

    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Judged:
    """All examples as they were judged against these references, when their images had these digests.

    `source_scores` holds the adversarial scores of those of their sources that were asked for so far.
    """

    references: References
    digests: Mapping[str, str]
    examples: tuple[JudgedExample, ...]
    source_scores: dict[str, float] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        found = [[e.example, e.misclassified, e.score] for e in self.examples]
        return key_of("examples", EXAMPLES_VERSION, judged=found, images=self.references.listed.digest)


class Judging(Part):
    """`bench.judging`: predictions of images, adversarial scores of examples, and which pairs are attacks."""

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
        """Classify images, one forward run each; what is stored is not run again.

        Args:
            names: the file names of the images, as the tables give them.
            progress: is told the share of the work that is done.

        Returns:
            One judgement for each of the names, in their order.

        Raises:
            AevisError: for an image that cannot be read, or for which the model gives NaN.
        """
        hashes = {name: self.workspace.image_hash(name) for name in names}
        missing = [name for name, image in hashes.items() if not self._judgement(image)]
        for i in range(0, len(missing), BATCH):
            progress(i / len(missing), f"classifying image {i + 1} of {len(missing)}")
            self._judge(missing[i : i + BATCH], hashes)
        return [self._judged[hashes[name]] for name in names]

    def predict(self, names: Sequence[str]) -> list[Prediction]:
        """The predictions of images, given by their file names; see `judge`."""
        return [j.prediction for j in self.judge(names)]

    @one_sight()
    def references(self, progress: Progress = silent) -> References:
        """The judgements of all normal images, which examples are compared with; raises AevisError as `judge`.

        Images that this or another process has judged before are not judged again. The result is the same object as
        long as neither the table of images nor any image changes.
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
        """Read the stored judgements of the normal images, where all of them are stored; nothing is computed.

        A fork server calls this, so that its processes share what was read. Raises AevisError for an unreadable image.
        """
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
        """Examples with their predictions, perturbations and adversarial scores; raises AevisError as `judge`.

        Where an example has no true label of its own, the label of its source in images.csv takes its place.

        Args:
            progress: is told the share of the work that is done.
            among: the examples to judge; None for all of the workspace's table.
        """
        if among is not None:
            return self._judge_examples(among, progress)
        return list(self._judged_now(progress).examples)

    @one_sight()
    def examples_digest(self) -> str:
        """A digest of all examples as they are judged, and of the normal images.

        It changes only with one of these, so the page compares all examples anew by it, and not at every filter.
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
        normal = self.workspace.image_list()
        labels = {e.source: normal.entries[normal.places[e.source]].label for e in listed if e.source in normal.places}
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
        """The normal images that are predicted as their label says, and those without a label."""
        return self.references().clean

    @property
    def score_by(self) -> str:
        """What the workspace's adversarial score is taken of, one of SCORES_BY."""
        return self.workspace.settings.score.by

    @one_sight()
    def source_scores(self, examples: Sequence[Example], by: str | None = None) -> list[float]:
        """The adversarial scores of the examples' source images, each once and none compared with itself; NaN without
        references. `by` says what they are taken of; None for the workspace's own choice."""
        names = list(dict.fromkeys(e.source for e in examples))
        if by not in (None, self.score_by):
            return [score for _, score in self._scored(names, names, silent, by)]
        references, digests, judged = self.references(), self.workspace.example_digests(), self._all
        current = judged is not None and judged.references is references and judged.digests is digests
        known = judged.source_scores if judged is not None and current else {}
        missing = [name for name in names if name not in known]
        known.update(zip(missing, (score for _, score in self._scored(missing, missing, silent)), strict=True))
        return [known[name] for name in names]

    def scored_by(self, examples: Sequence[JudgedExample], by: str) -> list[JudgedExample]:
        """The examples with adversarial scores that are taken of the features or of their direction, one of
        SCORES_BY."""
        names, own = [e.example.adversarial for e in examples], [e.example.source for e in examples]
        scores = self._scored(names, own, silent, by)
        return [replace(e, score=score) for e, (_, score) in zip(examples, scores, strict=True)]

    @one_sight()
    def perturbation(self, example: Example) -> Perturbation:
        """What tells an example's adversarial from its source; measured once for these files and then stored."""
        workspace, names = self.workspace, (example.source, example.adversarial)
        made_of = {"images": [workspace.image_hash(name) for name in names], "read": workspace.settings.preprocessing}
        key = key_of("pair", pairs.VERSION, **made_of)
        if key not in self._pairs:
            compute = lambda: pairs.measure(*workspace.read(names))  # noqa: E731
            self._pairs[key] = self.store.remember(key, Perturbation, compute)
        return self._pairs[key]

    def allow_large(self, example_ids: Sequence[str]) -> None:
        """Note in the table that the user insists on those of the examples that cannot be attacks on their sources."""
        examples = [self.workspace.example(example_id) for example_id in example_ids]
        large = [e.id for e in examples if not (e.allow_large or self.perturbation(e).is_attack)]
        if large:
            self.workspace.allow_large(large)

    def auroc(self, examples: Sequence[JudgedExample]) -> float:
        """How well the score tells the misclassified adversarials from their sources: the AUROC, 0.5 by chance, 1 at
        best."""
        fooled = [e for e in examples if e.misclassified]
        return adversarial_score.auroc(self.source_scores([e.example for e in fooled]), [e.score for e in fooled])

    def separation(self, examples: Sequence[JudgedExample], by: str) -> adversarial_score.Separation:
        """The AUROC as `auroc`, with its interval, of scores that are taken of one of SCORES_BY."""
        fooled = self.scored_by([e for e in examples if e.misclassified], by)
        places = {name: place for place, name in enumerate(dict.fromkeys(e.example.source for e in fooled))}
        sources = self.source_scores([e.example for e in fooled], by)
        of = [places[e.example.source] for e in fooled]
        return adversarial_score.separation(sources, [e.score for e in fooled], of)

    def score_follows_size(self, examples: Sequence[JudgedExample]) -> float:
        """How closely the adversarial score follows the l2 norm of the head's input, which grows as an attack
        overshoots.

        It is Spearman's rank correlation over the misclassified adversarials; NaN where fewer than three have a score.
        """
        fooled = [e for e in examples if e.misclassified and np.isfinite(e.score)]
        if len(fooled) < 3:
            return float("nan")
        sizes = [float(np.linalg.norm(j.features)) for j in self.judge([e.example.adversarial for e in fooled])]
        return rank_correlation(np.array([e.score for e in fooled]), np.array(sizes))

    def explainable(self, example: Example, alike: bool = False) -> tuple[Prediction, Prediction]:
        """Check that an example has something to explain, and give the predictions of its source and adversarial.

        Raises:
            AevisError: where the adversarial cannot be an attack on its source and the user does not insist on it, or
                where both images are predicted as the same class; with `alike` they may be.
        """
        found = self.perturbation(example)
        if not (example.allow_large or found.is_attack):
            raise AevisError(pairs.refusal(example, found, self._remedy(example)))
        source, adversarial = self.predict([example.source, example.adversarial])
        if source.label == adversarial.label and not alike:
            raise AevisError(
                f"The attack on {example.source} failed: both images are predicted as "
                f"{self.class_names[source.label]!r}, so there is nothing to explain. Choose another example."
            )
        if found.exceeds(example.epsilon):
            self._excesses = self._excesses | {example.id: pairs.excess(example, found)}
        return source, adversarial

    def warnings(self) -> tuple[str, ...]:
        """Warnings about the pairs that were looked at so far, one sentence each.

        They name pairs that differ by more than the epsilon of their attack, and pairs that cannot be attacks.
        """
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
        """A sentence that says what would make an example's two images a pair; found once for these files and then
        stored."""
        own = [self.workspace.image_hash(name) for name in (example.source, example.adversarial)]
        made_of = {
            "images": [*own, *self.workspace.image_list().digests],
            "read": self.workspace.settings.preprocessing,
        }
        key = key_of("lineup", lineup.VERSION, **made_of)
        return self.store.remember(key, lineup.Remedy, lambda: lineup.remedy(self.workspace, example)).text

    def _judgement(self, image: str) -> Judgement | None:
        """The judgement of the image with this digest, where it is in memory or stored; None otherwise."""
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

    def _scored(
        self, names: Sequence[str], own: Sequence[str], progress: Progress, by: str | None = None
    ) -> list[tuple[Judgement, float]]:
        """Judgements and scores of images, each compared with references other than its own source."""
        references = self.references(progress)
        judged, by = self.judge(names, progress), by or self.score_by
        return [
            (j, references.score(self.workspace.image_hash(name), j.features, j.prediction.label, source, by))
            for name, j, source in zip(names, judged, own, strict=True)
        ]

    def _judgements(self, listed: ImageList, before: Judgements | None, progress: Progress) -> Judgements:
        """The judgements of all images of a list as one table, which is stored beside those of single images.

        The table is there because reading 10,000 single files takes many seconds.
        """
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
                self._judged.pop(listed.digests[place], None)  # 10,000 single judgements would take much memory
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
