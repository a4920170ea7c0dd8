"""The use cases, in the paper's words. Each asks the store first and computes only what is not there."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from aevis_dash import lineup, pairs
from aevis_dash.config import AttackParameters, ExtractionParameters, Progress, part_of, silent
from aevis_dash.core import (
    attack,
    contribution,
    datapath,
    detection,
    evaluation,
    features,
    flipback,
    intervention,
    loading,
    receptive,
    selftest,
)
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.distance import DISTANCES, Levels, Trace, between, check_distance
from aevis_dash.core.intervention import Exchange
from aevis_dash.core.measures import rank_correlation
from aevis_dash.core.problem import Foil
from aevis_dash.core.selftest import SelfTest
from aevis_dash.domain import (
    CONTRIBUTIONS,
    DATAPATHS,
    PREDICTION,
    REPLACEMENTS,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    Contribution,
    Datapath,
    DatapathDistance,
    Example,
    FeatureMap,
    Intervention,
    JudgedExample,
    LayerGraph,
    LearnedFeatures,
    LearnedIndex,
    Outcome,
    Perturbation,
    Prediction,
    Role,
    Verification,
    Visualisation,
    area_of_neurons,
    further,
    so_many,
)
from aevis_dash.labels import ImageEntry
from aevis_dash.learning import Learning
from aevis_dash.store import Store, key_of
from aevis_dash.workspace import Workspace, one_sight

VERSION = 4
"""Of what is computed here; raised when a method's results change for the same parameters."""
_BATCH = 16
_REFERENCES = 32
"""Normal images that a mean is taken over."""


_NAMED = 3
"""Pairs that a warning names."""
DONORS = 20
"""Other clean images whose maps are put into adv as src's are, so that a choice among maps can be made again."""
READY = 40
"""Examples among which one whose datapaths are stored is looked for."""
KEPT = 64
"""Distances that stay in memory."""
T = TypeVar("T")


@dataclass(frozen=True)
class Judgement:
    """What one forward run says of an image: `probabilities` (K,) and the head's input `features` (d,)."""

    probabilities: np.ndarray
    features: np.ndarray

    @cached_property
    def prediction(self) -> Prediction:
        return Prediction(self.probabilities)


@dataclass(frozen=True)
class Maxima:
    """`values` (n,), the activation of every map on one image: its maximum over positions."""

    values: np.ndarray


@dataclass(frozen=True)
class Effects:
    """`values` (n_l,), what putting each map of one layer from src into adv is estimated to do to the margin."""

    values: np.ndarray


@dataclass(frozen=True)
class Maps:
    """`values` (n_l, H_l, W_l), the activation maps of one layer on one image."""

    values: np.ndarray


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


@dataclass(frozen=True)
class Choice:
    """A map of `layer` that a search chose among the contributions, found by `method`, to an area of `target`."""

    target: FeatureMap
    area: AreaOfInterest
    layer: int
    method: str
    channel: int


class Workbench:
    """The analysis of one workspace. The model is loaded when first needed; methods may run in several threads."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.store = Store(workspace.cache)
        self._loading, self._keeping = threading.Lock(), threading.Lock()
        self._judged: dict[str, Judgement] = {}
        self._pairs: dict[str, Perturbation] = {}
        self._excesses: dict[str, str] = {}
        self._left_out: tuple[str, ...] = ()
        self._learning: Learning | None = None
        self._fields: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._made: OrderedDict[tuple, tuple[tuple, Any]] = OrderedDict()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.workspace.class_names

    @property
    def classifier(self) -> Classifier:
        """The workspace's classifier; raises AevisError where it cannot be loaded or fails its self-test."""
        with self._loading:
            return self._classifier

    @cached_property
    def _classifier(self) -> Classifier:
        model = loading.load_model(self.workspace.model).to(loading.device())
        found = Classifier(model, self.workspace.settings.preprocessing, self.class_names)
        key = key_of("selftest", selftest.VERSION, model=found.fingerprint, device=found.device.type)

        def tested() -> SelfTest:
            loading.refuse_random(self.workspace.model, model)
            return selftest.examine(model, found)

        self._tested = self.store.remember(key, SelfTest, tested)
        return found

    @property
    def layers(self) -> LayerGraph:
        return self.classifier.layers

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes answers about this workspace doubtful as a whole, a sentence each.

        The command line prints them and adds them to its documents, the page shows them as long as they hold.
        """
        own = self.classifier.warnings + self._tested.warnings + self.store.warnings
        return own + self.workspace.warnings + self._pair_warnings()

    def _pair_warnings(self) -> tuple[str, ...]:
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

    # Predictions and scores

    @one_sight()
    def judge(self, names: Sequence[str], progress: Progress = silent) -> list[Judgement]:
        """Predictions and head features of images, given as in the tables."""
        hashes = {name: self.workspace.image_hash(name) for name in names}
        missing = [name for name, image in hashes.items() if not self._judgement(image)]
        for i in range(0, len(missing), _BATCH):
            progress(i / len(missing), f"classifying image {i + 1} of {len(missing)}")
            self._judge(missing[i : i + _BATCH], hashes)
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
        return detection.auroc(self.source_scores([e.example for e in fooled]), [e.score for e in fooled])

    def score_follows_size(self, examples: Sequence[JudgedExample]) -> float:
        """Spearman's rank correlation, over the misclassified adversarials, of the score with the norm of the head's
        input, which grows with how far an attack overshoots; NaN for fewer than three with a score."""
        fooled = [e for e in examples if e.misclassified and np.isfinite(e.score)]
        if len(fooled) < 3:
            return float("nan")
        sizes = [float(np.linalg.norm(j.features)) for j in self.judge([e.example.adversarial for e in fooled])]
        return rank_correlation(np.array([e.score for e in fooled]), np.array(sizes))

    def opening(self, examples: Sequence[JudgedExample]) -> JudgedExample | None:
        """The example to begin with: the workspace's own choice, else the misclassified one nearest the median score
        whose datapaths are stored, among the READY nearest; the one of median score where none of them has any."""
        wanted = self.workspace.settings.opens_on
        chosen = [e for e in examples if e.example.id == wanted]
        if chosen:
            return chosen[0]
        near = by_nearness_to_medium(examples)
        return next((e for e in near[:READY] if self.is_ready(e.example)), near[0] if near else None)

    def is_ready(self, example: Example) -> bool:
        """Whether all datapaths of an example are stored, extracted as the workspace does."""
        wanted = self.workspace.settings.extraction
        try:
            return all(map(self.store.has, self._path_keys(self.plan(example, wanted), wanted)))
        except AevisError:
            return False

    # Attacks

    @one_sight()
    def attack(
        self,
        entries: Sequence[ImageEntry],
        target: int | str | None = None,
        parameters: AttackParameters | None = None,
        progress: Progress = silent,
    ) -> list[Example]:
        """Attack normal images: untargeted, to a class index, or to "nearest", the likeliest wrong class with images.

        Images that already have that attack are skipped; every result is kept, also where the attack failed.
        A batch of which one image is missing is attacked whole again, so that a run that was interrupted ends with
        the bytes of an undisturbed one. `parameters` default to the workspace's.
        """
        chosen = parameters or self.workspace.settings.attack
        made: list[Example] = []
        done = {e.id for e in self.workspace.examples()}
        for i in range(0, len(entries), _BATCH):
            chunk = entries[i : i + _BATCH]
            targets = self._attack_targets(chunk, target)
            planned = [self._planned(e, t, chosen) for e, t in zip(chunk, targets, strict=True)]
            if any(example.id not in done for example in planned):
                inner = part_of(progress, i / len(entries), len(chunk) / len(entries))
                self._attack(planned, done, chosen, inner)
            made += [self.workspace.example(example.id) for example in planned]
        progress(1.0, f"{so_many(len(made), 'image')} attacked")
        return made

    # Datapaths

    @one_sight()
    def plan(self, example: Example, wanted: ExtractionParameters | None = None, target: str | None = None) -> Plan:
        """Candidate targets: clean images predicted as adv's class, surest first; nulls of random other classes.

        Raises AevisError where there is nothing to explain (the attack failed, or the two images are no pair), where no
        clean image has adv's class, and for a `target` that is no candidate.
        """
        source, adversarial = self._explainable(example)
        wanted = wanted or self.workspace.settings.extraction
        clean = self.clean()
        candidates = _candidates(clean, example, adversarial.label)[: wanted.candidates]
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
        nulls = _nulls(clean, example, {source.label, adversarial.label}, wanted.null_targets, wanted.seed)
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
        keys = self._path_keys(plan, wanted)
        found = [self.store.get(key, Datapath) for key in keys]
        return _triplet(plan, found, target) if None not in found[: 2 + len(plan.candidates)] else None

    @one_sight()
    def extract(
        self,
        example_id: str,
        target: str | None = None,
        progress: Progress = silent,
        wanted: ExtractionParameters | None = None,
        nulls: bool = True,
    ) -> Triplet:
        """The example's datapaths, without those of the null targets where `nulls` says so and the method finds them
        apart; what an interrupted run had finished is not done again.

        adv and the targets are explained against src, and src against adv (`core.problem.Foil`). By the method
        "joint" all are solved together (Eq. 3), the nulls too: solved apart, they would be farther for that alone. So
        the nulls pull on adv, src and the targets as these pull on one another.
        """
        wanted = wanted or self.workspace.settings.extraction
        plan = self.plan(self.workspace.example(example_id), wanted, target)
        keys = self._path_keys(plan, wanted)
        names = [plan.example.adversarial, plan.example.source, *plan.candidates, *plan.nulls]
        found: list[Datapath | None] = []
        batches = _batches(plan, wanted)
        batches = batches if nulls else [batch for batch in batches if batch[0] < 2 + len(plan.candidates)]
        count = batches[-1][1]
        for first, last in batches:
            inner = part_of(progress, first / count, (last - first) / count)
            given = [path.gates for path in found[:2] if path is not None]
            foils = [_foil(plan, i) for i in range(first, last)]
            found += self._extract(names[first:last], keys[first:last], given, wanted, foils, inner)
        progress(1.0, f"{so_many(count, 'datapath')} extracted")
        found += [self.store.get(key, Datapath) for key in keys[count:]]
        return _triplet(plan, found, target)

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
        key = self._key("datapath", form=2, images=hashes, parameters=datapath.used(wanted))
        compute = lambda: datapath.extract_set(self.classifier, self.workspace.read(names), [], wanted, progress)  # noqa: E731
        return self.store.remember(key, Datapath, compute)

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

        return self._kept(paths, (images, name, tuple(levels) if levels is not None else None), measured)

    def _kept(self, of: tuple, key: tuple, make: Callable[[], T]) -> T:
        """What was made before of these very objects under that key; at most KEPT of such results stay in memory."""
        place = (*map(id, of), *key)
        with self._keeping:
            found = self._made.pop(place, None)
        found = (of, make()) if found is None else found  # what it is made of stays, so that no id is used anew
        with self._keeping:
            self._made[place] = found
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        return found[1]

    @one_sight()
    def distances_between(
        self, triplet: Triplet, compared: Sequence[str], name: str, levels: Levels | None = None
    ) -> dict[tuple[str, str], np.ndarray]:
        """How far any two of the compared datapaths (`Triplet.members`) lie apart at every layer, or level."""
        check_distance(name)
        members = triplet.members(compared)
        traces = {key: self._trace(image, triplet.path_of(image)) for key, image in members.items()}
        return between(self.layers, traces, name, levels)

    # Layers and maps

    @one_sight()
    def maxima(self, name: str) -> np.ndarray:
        """(n,) the activation of every map on an image."""
        key = self._key("maxima", image=self.workspace.image_hash(name))
        compute = lambda: Maxima(features.maximum_activations(self.classifier, self.workspace.read([name]))[0])  # noqa: E731
        return self.store.remember(key, Maxima, compute).values

    @one_sight()
    def activation_maps(self, name: str, layer: int) -> np.ndarray:
        """(n_l, H_l, W_l) the activation maps of a layer on an image."""
        key = self._key("maps", image=self.workspace.image_hash(name), layer=layer)
        compute = lambda: Maps(features.activation_maps(self.classifier, self.workspace.read([name]), layer)[0])  # noqa: E731
        return self.store.remember(key, Maps, compute).values

    @one_sight()
    def difference(self, triplet: Triplet, layer: int, first: Role, second: Role) -> np.ndarray:
        """(n_l,) activation of each map of a layer on one role's image minus that on another's."""
        difference = self.maxima(triplet.image(first)) - self.maxima(triplet.image(second))
        return self.layers.part(difference, layer)

    def role_of(self, triplet: Triplet, chosen: FeatureMap, first: Role | None = None) -> Role:
        """The role on whose image a map is looked at first.

        One whose datapath needs the map to fire, and on whose image it does: `first` where that is such a role, then
        adv, src and tar. Where there is none (no datapath needs the map, or one needs it to fire less), `first` if no
        datapath needs it and it fires there, else the role on whose image it fires most; adv where it never fires.
        """
        place = self.layers.place(chosen)
        fires = {role: float(self.maxima(triplet.image(role))[place]) for role in Role}
        order = dict.fromkeys(filter(None, (first, Role.ADVERSARIAL, Role.SOURCE, Role.TARGET)))
        paths = {role: triplet.path(role) for role in order}
        needing = (r for r, p in paths.items() if p.critical[place] and p.supports[place] and fires[r] > 0)
        if (found := next(needing, None)) is not None:
            return found
        if first is not None and fires[first] > 0 and not any(path.critical[place] for path in paths.values()):
            return first
        return max(order, key=fires.__getitem__) if max(fires.values()) > 0 else Role.ADVERSARIAL

    @property
    def learning(self) -> Learning:
        """What the maps have learned from the workspace's normal images: the index that grows, and its work."""
        if self._learning is None or self._learning.store is not self.store:
            self._learning = Learning(self.workspace, self.store, self.classifier)
        return self._learning

    def learned_features(self, progress: Progress = silent, by: str = "activation") -> LearnedFeatures:
        """The patches of all the workspace's normal images that are the best of each map "by" activation or relevance;
        what is missing of the index is computed first."""
        found = self.learned_index() if self.learning.complete else None
        return (found or self.learning.learn(progress)).best(by)

    def learned_index(self) -> LearnedIndex | None:
        """The learned features of as many normal images as were seen so far; None where nothing is stored yet."""
        return self.learning.index()

    def stored_learned_features(self, by: str = "activation") -> LearnedFeatures | None:
        """The learned features as far as they are stored."""
        found = self.learned_index()
        return None if found is None else found.best(by)

    def part_names(self) -> tuple[str, ...] | None:
        """(n,) the part that each map detects, such as "ear 0.41", "" for none; None where no parts are known (yet)."""
        return self.learning.part_names()

    def patch_ranks(self, learned: LearnedFeatures, chosen: FeatureMap, example_id: str | None) -> list[int]:
        """The ranks of the patches of a map that may stand beside an example, best first; see `Learning.ranks`."""
        example = None if example_id is None else self.workspace.example(example_id)
        return self.learning.ranks(learned, chosen, example)

    def patch(self, learned: LearnedFeatures, chosen: FeatureMap, rank: int) -> np.ndarray | None:
        """The image patch (h, w, 3) of that rank, cut to the neuron's receptive field; None where there is none."""
        found = learned.neuron(self.layers.place(chosen), rank)
        if found is None:
            return None
        image, row, col = found
        return self.seen_by(self.workspace.images[image].file, chosen.layer, row, col)

    def seen_by(self, name: str, layer: int, row: int, col: int) -> np.ndarray:
        """The part (h, w, 3) of an image that the neuron at that position of a layer sees: its receptive field."""
        rows, columns = self.receptive_fields(layer)
        (top, bottom), (left, right) = rows[row], columns[col]
        return self.workspace.read([name])[0][top:bottom, left:right]

    def visualise(self, chosen: FeatureMap, progress: Progress = silent) -> Visualisation:
        """A picture made to fire a map as much as it can."""
        return self.learning.visualise(chosen, progress)

    def stored_visualisation(self, chosen: FeatureMap) -> Visualisation | None:
        """The picture made to fire a map, where it is stored."""
        return self.learning.stored_visualisation(chosen)

    def receptive_field(self, area: AreaOfInterest) -> AreaOfInterest:
        """The rectangle of input pixels that can move an area of interest."""
        return receptive.field_of(self.receptive_fields(area.layer), area)

    def receptive_fields(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """The input pixels that can move each neuron of a layer, first and one past the last, of its row (H, 2) and of
        its column (W, 2)."""
        if layer not in self._fields:
            self._fields[layer] = receptive.fields_on_image(self.classifier.network.traced, layer)
        return self._fields[layer]

    # Contributions

    def check_area(self, area: AreaOfInterest) -> None:
        """Raise AevisError where an area of interest leaves its layer."""
        if area == WHOLE_PREDICTION:
            return
        layer = self.layers.layers[area.layer]
        if not (0 <= area.top < area.bottom <= layer.height and 0 <= area.left < area.right <= layer.width):
            raise AevisError(
                f"The area of interest is empty or lies outside layer {layer.name!r}, which has {layer.height} rows "
                f"and {layer.width} columns. Draw it anew."
            )
        places = (area.bottom - area.top) * (area.right - area.left)
        if list(area.picked) != sorted(set(area.picked)) or not all(0 <= p < places for p in area.picked):
            raise AevisError(f"The chosen neurons are no places of a rectangle of {places}. Choose them anew.")

    def carried(self, area: AreaOfInterest, layer: int) -> AreaOfInterest | None:
        """The neurons of an earlier layer that feed an area's, its whole for the prediction's; None where none does."""
        extent = self.layers.layers[layer]
        if area == WHOLE_PREDICTION:
            return AreaOfInterest(layer, 0, 0, extent.height, extent.width)
        if layer not in self.contribution_sources(area.layer):
            return None
        return area_of_neurons(layer, receptive.neurons_that_feed(self.classifier.network.traced, area, layer).numpy())

    def most_active(self, name: str, chosen: FeatureMap, count: int) -> AreaOfInterest | None:
        """The `count` neurons of a map that fire most on an image; None where none does."""
        values = self.activation_maps(name, chosen.layer)[chosen.channel]
        grid = values.reshape(1, -1) if values.ndim < 2 else values
        order = np.argsort(-grid.ravel(), kind="stable")[:count]
        firing = np.zeros(grid.size, bool)
        firing[order[grid.ravel()[order] > 0]] = True
        return area_of_neurons(chosen.layer, firing.reshape(grid.shape))

    def contribution_sources(self, layer: int) -> tuple[int, ...]:
        """The earlier layers that feed a layer, or the final prediction, nearest first."""
        if layer == PREDICTION.layer:
            return tuple(range(len(self.layers)))[::-1]
        feeding, queue = set(), [layer]
        while queue:
            later = queue.pop()
            new = {a for a, b in self.layers.edges if b == later} - feeding
            feeding |= new
            queue.extend(new)
        return tuple(sorted(feeding, reverse=True))

    def check_contribution(self, target: FeatureMap, layer: int, method: str) -> None:
        """Raise AevisError for an unknown method, or a layer that does not feed the target's; nothing is computed."""
        _check_way(method)
        contribution.part_before(self.classifier, layer, target)

    def stored_contribution(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, method: str = "solved"
    ) -> Contribution | None:
        """The contributions where they are stored already."""
        return self.store.get(self._contribution_key(triplet, target, area, layer, method), Contribution)

    @one_sight()
    def contribute(
        self,
        triplet: Triplet,
        target: FeatureMap,
        area: AreaOfInterest,
        layer: int,
        progress: Progress = silent,
        method: str = "solved",
    ) -> Contribution:
        """Contributions of an earlier layer's maps to an area of a map, or to the PREDICTION, jointly for source,
        adversarial and target; `method` is one of CONTRIBUTIONS.

        The rows of the result follow the order of Role: source, adversarial, target.
        """
        if area.layer != target.layer:
            raise ValueError("the area of interest must lie in the target map's layer")
        _check_way(method)
        self.check_area(area)
        key = self._contribution_key(triplet, target, area, layer, method)
        parameters = self.workspace.settings.contribution

        def compute() -> Contribution:
            images = self.workspace.read([triplet.image(role) for role in Role])
            return contribution.contribute(self.classifier, images, target, area, layer, parameters, progress, method)

        return self.store.remember(key, Contribution, compute)

    # Flip-back

    @one_sight()
    def verify(self, example_id: str, asked: Intervention) -> Verification:
        """Replace maps of a layer in one run and see whether the prediction turns, beside chance.

        Where a search found no set that does it, there are no maps in the answer. Raises AevisError as
        `core.flipback.verify`, for an unknown replacement, and where there is nothing to explain.
        """
        if asked.replacement not in REPLACEMENTS:
            raise AevisError(
                f"There is no replacement {asked.replacement!r}. Choose one of: {', '.join(REPLACEMENTS)}."
            )
        self._explainable(self.workspace.example(example_id))
        key = self._verification_key(example_id, asked)
        compute = lambda: flipback.verify(self.classifier, self._question(example_id, asked), asked)  # noqa: E731
        return self.store.remember(key, Verification, compute)

    def stored_verification(self, example_id: str, asked: Intervention) -> Verification | None:
        """What `verify` found, where that is stored."""
        return self.store.get(self._verification_key(example_id, asked), Verification)

    @one_sight()
    def single_effects(self, example_id: str, layer: int, maps: Sequence[int]) -> np.ndarray:
        """(c,) how much each of the maps alone, put from src into adv, moves the margin towards src's class.

        Raises AevisError where the attack failed.
        """
        return self._single_effects(example_id, layer, maps, [self.workspace.example(example_id).source])[0]

    @one_sight()
    def donors(self, example_id: str) -> tuple[str, ...]:
        """Up to DONORS clean images of third classes, neither src's nor adv's, by chance but always the same."""
        example = self.workspace.example(example_id)
        taken = {p.label for p in self.predict([example.source, example.adversarial])}
        return _nulls(self.clean(), example, taken, DONORS, 0)

    @one_sight()
    def donor_effects(self, example_id: str, layer: int, maps: Sequence[int], donors: Sequence[str]) -> np.ndarray:
        """(d, c) what `single_effects` gives with each of the donors, images of other classes, in src's place."""
        key = self._donors_key(example_id, layer, maps, donors)
        compute = lambda: Effects(self._single_effects(example_id, layer, maps, donors))  # noqa: E731
        return self.store.remember(key, Effects, compute).values

    def keep_choice(self, triplet: Triplet, choice: Choice, donors: Sequence[str], gains: np.ndarray) -> None:
        """Keep what the same choice gave with each donor (`assistant.Hop.alike`) beside a map that was chosen."""
        self.store.put(self._choice_key(triplet, choice, donors), Effects(gains))

    def stored_choice(self, triplet: Triplet, choice: Choice, donors: Sequence[str]) -> np.ndarray | None:
        """What `keep_choice` kept; None for a map that no search chose."""
        found = self.store.get(self._choice_key(triplet, choice, donors), Effects)
        return None if found is None else found.values

    def _choice_key(self, triplet: Triplet, choice: Choice, donors: Sequence[str]) -> str:
        of = self._contribution_key(triplet, choice.target, choice.area, choice.layer, choice.method)
        hashes = [self.workspace.image_hash(name) for name in donors]
        return self._key("effects", chosen=[of, choice.channel], donors=hashes)

    def _donors_key(self, example_id: str, layer: int, maps: Sequence[int], donors: Sequence[str]) -> str:
        example = self.workspace.example(example_id)
        images = [self.workspace.image_hash(name) for name in (example.source, example.adversarial, *donors)]
        return self._key("effects", images=images, layer=layer, maps=list(maps))

    def _single_effects(self, example_id: str, layer: int, maps: Sequence[int], donors: Sequence[str]) -> np.ndarray:
        """(d, c) how much each map alone, put from each donor image into adv, moves the margin to src's class."""
        if not len(maps) or not len(donors):
            return np.zeros((len(donors), len(maps)), np.float32)
        asked, images = self._question(example_id, Intervention(layer)), self.workspace.read(donors)
        into = np.repeat(np.asarray(asked.receiver), len(images), axis=0)
        each = lambda value: np.repeat(np.array([value]), len(images), axis=0)  # noqa: E731
        found = intervention.single_map_effects(
            self.classifier, into, images, layer, each(list(maps)), each(asked.wanted), each(asked.before)
        )
        return found.values

    def exchange_effects(self, example_id: str, layer: int) -> np.ndarray:
        """(n_l,) by how much each map of a layer, put from src into adv as all of them are, moves the margin towards
        src's class, estimated by gradients (`Exchange.integrated`). Raises AevisError where the attack failed."""

        def compute() -> Effects:
            asked = self._question(example_id, Intervention(layer))
            exchange = Exchange(self.classifier, asked.receiver, np.asarray(asked.donor), layer)
            return Effects(exchange.integrated(lambda z: z[:, asked.wanted] - z[:, asked.before])[0])

        return self.store.remember(self._effects_key(example_id, layer), Effects, compute).values

    def stored_exchange_effects(self, example_id: str, layer: int) -> np.ndarray | None:
        """What `exchange_effects` found, where that is stored."""
        found = self.store.get(self._effects_key(example_id, layer), Effects)
        return None if found is None else found.values

    def depths(self) -> tuple[int, ...]:
        """The last layer of every stage."""
        return tuple(level[-1] for level in evaluation.levels(self.layers, "stage"))

    # Behind the use cases

    def _effects_key(self, example_id: str, layer: int) -> str:
        example = self.workspace.example(example_id)
        images = [self.workspace.image_hash(name) for name in (example.source, example.adversarial)]
        return self._key("effects", images=images, layer=layer)

    def _verification_key(self, example_id: str, asked: Intervention) -> str:
        example = self.workspace.example(example_id)
        names = (example.source, example.adversarial, *self._stand_ins(example, asked))
        hashes = [self.workspace.image_hash(name) for name in names]
        alone = {"beside": "other maps"} if asked.maps is not None and len(asked.maps) == 1 else {}
        return self._key("verification", form=4, images=hashes, asked=asked, **alone)

    def _stand_ins(self, example: Example, asked: Intervention) -> tuple[str, ...]:
        """The normal images of third classes whose activations take a run's maps' place."""
        if asked.replacement not in ("mean", "resample"):
            return ()
        taken = {p.label for p in self.predict([example.source, example.adversarial])}
        count = _REFERENCES if asked.replacement == "mean" else 1
        names = _nulls(self.clean(), example, taken, count, asked.seed)
        if not names:
            raise AevisError(f"The workspace has no normal image of a third class to take the {asked.replacement} of.")
        return names

    def _question(self, example_id: str, asked: Intervention) -> flipback.Question:
        example = self.workspace.example(example_id)
        source, adversarial = self._explainable(example)
        src, adv = (self.workspace.read([name]) for name in (example.source, example.adversarial))
        if asked.replacement == "source":
            return flipback.Question(adv, src, asked.layer, adversarial.label, source.label)
        if asked.replacement == "adversarial":
            return flipback.Question(src, adv, asked.layer, source.label, adversarial.label)
        images = self.workspace.read(self._stand_ins(example, asked) or (example.source,))
        donor = flipback.stand_in(self.classifier, images, asked.layer, asked.replacement)
        return flipback.Question(adv, donor, asked.layer, adversarial.label)

    def _explainable(self, example: Example) -> tuple[Prediction, Prediction]:
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

    def _remedy(self, example: Example) -> str:
        """What would make an example's images a pair, tried once for these files and those of the workspace."""
        names = (example.source, example.adversarial, *(entry.file for entry in self.workspace.images))
        made_of = {
            "images": [self.workspace.image_hash(name) for name in names],
            "read": self.workspace.settings.preprocessing,
        }
        key = key_of("lineup", lineup.VERSION, **made_of)
        return self.store.remember(key, lineup.Remedy, lambda: lineup.remedy(self.workspace, example)).text

    def _key(self, kind: str, **parts: object) -> str:
        return key_of(kind, VERSION, model=self.classifier.fingerprint, **parts)

    def _judgement(self, image: str) -> Judgement | None:
        """Of the image of that digest, where it is known."""
        if image not in self._judged:
            found = self.store.get(self._key("judgement", image=image), Judgement)
            if found is not None:
                self._judged[image] = found
        return self._judged.get(image)

    def _judge(self, names: Sequence[str], hashes: dict[str, str]) -> None:
        images = self.workspace.read(names)
        for name, (probabilities, head) in zip(names, detection.judge(self.classifier, images), strict=True):
            if not np.isfinite(probabilities).all():
                raise AevisError(
                    f"The model gives NaN for the image {name}. Check the model's weights, and the "
                    "preprocessing in workspace.toml."
                )
            judgement = Judgement(probabilities, head)
            self.store.put(self._key("judgement", image=hashes[name]), judgement)
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
        sigma = detection.bandwidth(heads[right], labels[right])
        scores = []
        for judgement, source in zip(wanted, own, strict=True):
            others = np.array([file != source for file in files], bool)
            alike = right & others & (labels == judgement.prediction.label)
            scores.append(float(detection.adversarial_score(judgement.features[None], heads[alike], sigma)[0]))
        return list(zip(wanted, scores, strict=True))

    def _attack_targets(self, entries: Sequence[ImageEntry], target: int | str | None) -> list[int | None]:
        if target is None or isinstance(target, int):
            return [target] * len(entries)
        offered = {p.label for _, p in self.clean()}
        predictions = self.predict([entry.file for entry in entries])
        return [self._nearest(p, offered - {p.label}) for p in predictions]

    def _nearest(self, prediction: Prediction, offered: set[int]) -> int:
        for label in np.argsort(-prediction.probabilities):
            if int(label) in offered:
                return int(label)
        raise AevisError("No other class has a clean image in this workspace, so there is no nearest one to attack to.")

    def _planned(self, entry: ImageEntry, target: int | None, parameters: AttackParameters) -> Example:
        towards = "" if target is None else f"-to-{target}"
        stem = PurePosixPath(entry.file).with_suffix("").as_posix().replace("/", "_")
        made_from = self._key(
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
        """Attack these images together and keep what is not done yet."""
        images = self.workspace.read([e.source for e in examples])
        targets = [e.target_label for e in examples]
        wanted = None if targets[0] is None else np.array(targets)
        results = attack.mi_fgsm(self.classifier, images, parameters, wanted, progress)
        made = [replace(e, lost_in_8_bits=r.lost) for e, r in zip(examples, results, strict=True)]
        self.workspace.keep_adversarials([(e, r.image) for e, r in zip(made, results, strict=True) if e.id not in done])

    def _path_keys(self, plan: Plan, wanted: ExtractionParameters) -> list[str]:
        """The keys of adv, src, the candidates and the nulls: each depends on the paths it was held near."""
        hashes = self.workspace.image_hash
        together = [hashes(name) for name in (*plan.candidates, *plan.nulls)] if wanted.method == "joint" else []

        def key(place: int, name: str, given: Sequence[str]) -> str:
            label, image = _foil(plan, place)
            made_of = {"image": hashes(name), "foil": [label, hashes(image)], "given": list(given)}
            return self._key("datapath", form=2, **made_of, together=together, parameters=datapath.used(wanted))

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
                solved = datapath.extract(self.classifier, images, given, wanted, inner, against)
                for i, path in enumerate(solved):
                    if found[i] is None:
                        self.store.put(keys[first + i], path)
                        found[i] = path
            paths += [path for path in found if path is not None]
        return paths

    def _trace(self, name: str, path: Datapath) -> Trace:
        return Trace(path, self.maxima(name))

    def _contribution_key(
        self, triplet: Triplet, target: FeatureMap, area: AreaOfInterest, layer: int, method: str
    ) -> str:
        parameters = self.workspace.settings.contribution
        return self._key(
            "contribution",
            images=[self.workspace.image_hash(triplet.image(role)) for role in Role],
            target=target,
            area=area,
            layer=layer,
            method=method,
            parameters=[2, parameters]
            if method == "solved"
            else [2, parameters.sparsity if method == "quadratic" else None],
        )


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


def open_workbench(root: Path) -> Workbench:
    """The workbench of a workspace folder, where what killed writers left is swept."""
    bench = Workbench(Workspace(root))
    bench.workspace.sweep()
    bench.store.sweep()
    return bench


def _candidates(clean: Sequence[tuple[str, Prediction]], example: Example, label: int) -> tuple[str, ...]:
    alike = [(f, p) for f, p in clean if p.label == label and f != example.source]
    return tuple(f for f, _ in sorted(alike, key=lambda pair: (-pair[1].confidence, pair[0])))


def _nulls(
    clean: Sequence[tuple[str, Prediction]], example: Example, taken: set[int], count: int, seed: int
) -> tuple[str, ...]:
    others = [f for f, p in clean if p.label not in taken]
    order = np.random.default_rng([seed, *example.id.encode()]).permutation(len(others))
    return tuple(others[i] for i in order[:count])


def _check_way(method: str) -> None:
    if method not in CONTRIBUTIONS:
        raise AevisError(f"There are no {method!r} contributions. Choose one of: {', '.join(CONTRIBUTIONS)}.")


def _batches(plan: Plan, wanted: ExtractionParameters) -> list[tuple[int, int]]:
    """What is extracted together, as places among adv, src, candidates and nulls: first, and one past the last."""
    null, end = 2 + len(plan.candidates), 2 + len(plan.candidates) + len(plan.nulls)
    if wanted.method == "joint":
        return [(0, end)]
    return [(0, 1), (1, 2), (2, null), *([(null, end)] if null < end else [])]


def _foil(plan: Plan, place: int) -> tuple[int, str]:
    """The class and the image that adv (0), src (1) or a target (2 and more) is explained against."""
    if place == 1:
        return plan.adversarial_label, plan.example.adversarial
    return plan.source_label, plan.example.source


def _triplet(plan: Plan, paths: Sequence[Datapath | None], target: str | None) -> Triplet:
    """Of the paths of adv, src, the candidates and the nulls, of which only the nulls' may be missing."""
    count = 2 + len(plan.candidates)
    adversarial, source, *candidates = [path for path in paths[:count] if path is not None]
    nulls = [path for path in paths[count:] if path is not None]
    complete = tuple(nulls) if len(nulls) == len(plan.nulls) else ()
    chosen = datapath.representative(adversarial, candidates) if target is None else plan.candidates.index(target)
    return Triplet(plan, adversarial, source, tuple(candidates), complete, chosen)
