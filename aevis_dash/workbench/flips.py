"""Flip-back: what happens to the prediction when feature maps of one layer are replaced, and the controls of that.

A run on one image, usually adv, gets activations of some maps from another run, usually src's (patching). The margin is
the logit of the wanted class less that of the predicted one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.config import Progress, silent
from aevis_dash.core import evaluation, flipback, intervention
from aevis_dash.core.edges import EdgeBench, strongest_edges
from aevis_dash.core.turning import turning_effects
from aevis_dash.domain import (
    REPLACEMENTS,
    AevisError,
    AreaOfInterest,
    EdgeSet,
    Example,
    FeatureMap,
    Intervention,
    Turning,
    Verification,
    Way,
)
from aevis_dash.sight import one_sight
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.contributions import Contributions
from aevis_dash.workbench.judging import Judging
from aevis_dash.workbench.triplet import Triplet, stand_ins_of

DONORS = 20
"""The number of other clean images whose maps are put into adv in place of src's, as a control of a choice among
maps."""


@dataclass(frozen=True)
class Effects:
    """Stored numbers about single maps: how much each of them is found, or estimated, to move the margin.

    Attributes:
        values: in the unit of logits; (d, c) for c maps and d donor images, or (d,) for one choice and d donors.
    """

    values: np.ndarray


@dataclass(frozen=True)
class Choice:
    """A map that a search chose among the contributions to an area, and what it was chosen for.

    Attributes:
        target: the map whose area the contributions explain, or PREDICTION.
        area: the neurons of the target that are explained.
        layer: the index of the layer that the map was chosen in.
        way: how the contributions were found.
        channel: the number of the chosen map in its layer.
    """

    target: FeatureMap
    area: AreaOfInterest
    layer: int
    way: Way
    channel: int


class Flips(Part):
    """`bench.flips`: replaces maps in a run of one image, and measures what that does to the prediction."""

    def __init__(self, base: Base, judging: Judging, contributions: Contributions):
        super().__init__(base)
        self._judging, self._contributions = judging, contributions

    @one_sight()
    def verify(self, example_id: str, asked: Intervention) -> Verification:
        """Replace maps of a layer in one run and see whether the prediction turns, beside random sets and other
        controls.

        Args:
            example_id: the ID of the example.
            asked: the layer, its maps (None to search a small set that turns the prediction), and what replaces them.

        Returns:
            The verification, from the store where it is stored. It names no maps where a search found no set that turns
            the prediction.

        Raises:
            AevisError: for an unknown replacement, where there is nothing to explain, where the workspace has no image
                of a third class to take a mean or a sample of, and as `core.flipback.verify`.
        """
        if asked.replacement not in REPLACEMENTS:
            raise AevisError(
                f"There is no replacement {asked.replacement!r}. Choose one of: {', '.join(REPLACEMENTS)}."
            )
        self._judging.explainable(self.workspace.example(example_id))
        key = self._verification_key(example_id, asked)
        compute = lambda: flipback.verify(self.classifier, self._question(example_id, asked), asked)  # noqa: E731
        return self.store.remember(key, Verification, compute)

    def find_stored(self, example_id: str, asked: Intervention) -> Verification | None:
        """The result of `verify` for the same question where it is stored, None otherwise. Nothing is replaced."""
        return self.store.get(self._verification_key(example_id, asked), Verification)

    @one_sight()
    def single_effects(self, example_id: str, layer: int, maps: Sequence[int]) -> np.ndarray:
        """How much each of some maps alone, put from src's run into adv's, moves the margin towards src's class.

        Args:
            example_id: the ID of the example.
            layer: the index of the layer.
            maps: the c channels of the layer that are tried.

        Returns:
            The change of logit[src's class] - logit[adv's class], float32 (c,).

        Raises:
            AevisError: where there is nothing to explain.
        """
        return self._single_effects(example_id, layer, [maps], [self.workspace.example(example_id).source])[0]

    @one_sight()
    def donors(self, example_id: str) -> tuple[str, ...]:
        """The file names of clean images of third classes, which are predicted neither as src's class nor as adv's.

        They are drawn at random, and are always the same for one example; at most DONORS of them.
        """
        example = self.workspace.example(example_id)
        taken = {p.label for p in self._judging.predict([example.source, example.adversarial])}
        return self._judging.clean().draw(example.id, taken, DONORS, 0)

    @one_sight()
    def donor_effects(
        self, example_id: str, layer: int, maps: Sequence[Sequence[int]], donors: Sequence[str]
    ) -> np.ndarray:
        """The effects of `single_effects` with each of some other images in src's place.

        Args:
            example_id: the ID of the example.
            layer: the index of the layer.
            maps: for each donor the channels of the layer that are tried, c at most.
            donors: the file names of d images, such as `donors` gives.

        Returns:
            The change of logit[src's class] - logit[adv's class], float32 (d, c), -inf where a donor has fewer maps;
            from the store where it is stored.

        Raises:
            AevisError: where there is nothing to explain.
        """
        key = self._donors_key(example_id, layer, maps, donors)
        compute = lambda: Effects(self._single_effects(example_id, layer, maps, donors))  # noqa: E731
        return self.store.remember(key, Effects, compute).values

    def keep_choice(self, triplet: Triplet, choice: Choice, donors: Sequence[str], gains: np.ndarray) -> None:
        """Store what the same choice gave with each of d donors in src's place, beside a map that a search chose.

        The assistant shows these gains as `assistant.Hop.alike`.

        Args:
            triplet: the datapaths that the search started from.
            choice: the chosen map, and what it was chosen for.
            donors: the file names of the d donors.
            gains: the gain of the margin with each donor, (d,).
        """
        self.store.put(self._choice_key(triplet, choice, donors), Effects(gains))

    def stored_choice(self, triplet: Triplet, choice: Choice, donors: Sequence[str]) -> np.ndarray | None:
        """The gains (d,) that `keep_choice` stored for this choice and these donors; None for a map that no search
        chose."""
        found = self.store.get(self._choice_key(triplet, choice, donors), Effects)
        return None if found is None else found.values

    @one_sight()
    def turning(self, example_id: str, progress: Progress = silent) -> Turning:
        """How much each map of the network is estimated to turn adv's prediction back to src's class.

        Args:
            example_id: the ID of the example.
            progress: is told the share of the work that is done.

        Returns:
            The turning effects, from the store where they are stored; else they take 8 passes.

        Raises:
            AevisError: where there is nothing to explain.
        """
        example = self.workspace.example(example_id)
        self._judging.explainable(example)

        def compute() -> Turning:
            adv, src = (self.workspace.read([name]) for name in (example.adversarial, example.source))
            return turning_effects(self.classifier, adv, src, progress=progress)

        return self.store.remember(self._turning_key(example), Turning, compute)

    @one_sight()
    def stored_turning(self, example_id: str) -> Turning | None:
        """The result of `turning` where it is stored, None otherwise. Nothing is computed."""
        return self.store.get(self._turning_key(self.workspace.example(example_id)), Turning)

    @one_sight()
    def edges(self, example_id: str, earlier: int, later: int, count: int = 20, progress: Progress = silent) -> EdgeSet:
        """The strongest edges from the maps of an earlier layer to those of a later one, and what they carry.

        Args:
            example_id: the ID of the example.
            earlier: the index of the earlier layer.
            later: the index of the later layer.
            count: how many edges are wanted.
            progress: is told the share of the work that is done.

        Returns:
            The edges, from the store where they are stored; see `core.edges`.

        Raises:
            AevisError: where there is nothing to explain, or the earlier layer does not feed the later one.
        """
        example = self.workspace.example(example_id)

        def compute() -> EdgeSet:
            turning = self.layers.part(self.turning(example_id).effects, later)
            adv, src = (self.workspace.read([name]) for name in (example.adversarial, example.source))
            return strongest_edges(EdgeBench(self.classifier, adv, src, earlier, later), turning, count, 0, progress)

        return self.store.remember(self._edges_key(example, earlier, later, count), EdgeSet, compute)

    @one_sight()
    def find_stored_edges(self, example_id: str, earlier: int, later: int, count: int = 20) -> EdgeSet | None:
        """The result of `edges` where it is stored, None otherwise. Nothing is computed."""
        return self.store.get(self._edges_key(self.workspace.example(example_id), earlier, later, count), EdgeSet)

    def _edges_key(self, example: Example, earlier: int, later: int, count: int) -> str:
        images = [self.workspace.image_hash(name) for name in (example.source, example.adversarial)]
        return self.key("edges", images=images, layers=[earlier, later, count])

    def depths(self) -> tuple[int, ...]:
        """The indices of the last layer of every stage, from the input to the output. A stage is an outermost
        module."""
        return tuple(level[-1] for level in evaluation.levels(self.layers, "stage"))

    def _choice_key(self, triplet: Triplet, choice: Choice, donors: Sequence[str]) -> str:
        of = self._contributions.key_of_contribution(triplet, choice.target, choice.area, choice.layer, choice.way)
        hashes = [self.workspace.image_hash(name) for name in donors]
        return self.key("effects", chosen=[of, choice.channel], donors=hashes)

    def _donors_key(self, example_id: str, layer: int, maps: Sequence[Sequence[int]], donors: Sequence[str]) -> str:
        example = self.workspace.example(example_id)
        images = [self.workspace.image_hash(name) for name in (example.source, example.adversarial, *donors)]
        return self.key("effects", images=images, layer=layer, maps=[list(some) for some in maps])

    def _single_effects(
        self, example_id: str, layer: int, maps: Sequence[Sequence[int]], donors: Sequence[str]
    ) -> np.ndarray:
        """How much each of a donor's maps alone, put from that image into adv, moves the margin to src's class: (d, c),
        -inf beyond a donor's maps."""
        given = np.array([len(some) for some in maps], int)
        found = np.full((len(donors), given.max(initial=0)), -np.inf, np.float32)
        if not found.size:
            return found
        asked, images = self._question(example_id, Intervention(layer)), self.workspace.read(donors)
        inside = np.arange(found.shape[1]) < given[:, None]
        channels = np.zeros(found.shape, int)
        channels[inside] = np.concatenate([np.asarray(some, int) for some in maps])
        into = np.repeat(np.asarray(asked.receiver), len(images), axis=0)
        wanted, before = (np.full(len(images), label) for label in (asked.wanted, asked.before))
        effects = intervention.single_map_effects(self.classifier, into, images, layer, channels, wanted, before)
        found[inside] = effects.values[inside]
        return found

    def _turning_key(self, example: Example) -> str:
        images = [self.workspace.image_hash(name) for name in (example.source, example.adversarial)]
        return self.key("turning", images=images)

    def _verification_key(self, example_id: str, asked: Intervention) -> str:
        example = self.workspace.example(example_id)
        names = (example.source, example.adversarial, *self._stand_ins(example, asked))
        hashes = [self.workspace.image_hash(name) for name in names]
        alone = {"beside": "other maps"} if asked.maps is not None and len(asked.maps) == 1 else {}
        return self.key("verification", images=hashes, asked=asked, **alone)

    def _stand_ins(self, example: Example, asked: Intervention) -> tuple[str, ...]:
        """The normal images of third classes whose activations replace the maps; none where nothing is averaged or
        sampled."""
        if asked.replacement not in ("mean", "resample"):
            return ()
        taken = {p.label for p in self._judging.predict([example.source, example.adversarial])}
        return stand_ins_of(self._judging.clean(), example, taken, asked.replacement, asked.seed)

    def _question(self, example_id: str, asked: Intervention) -> flipback.FlipQuestion:
        """The receiver, the donor and the two classes of an intervention on an example."""
        example = self.workspace.example(example_id)
        source, adversarial = self._judging.explainable(example)
        src, adv = (self.workspace.read([name]) for name in (example.source, example.adversarial))
        if asked.replacement == "source":
            return flipback.FlipQuestion(adv, src, asked.layer, adversarial.label, source.label)
        if asked.replacement == "adversarial":
            return flipback.FlipQuestion(src, adv, asked.layer, source.label, adversarial.label)
        images = self.workspace.read(self._stand_ins(example, asked) or (example.source,))
        donor = flipback.stand_in(self.classifier, images, asked.layer, asked.replacement)
        return flipback.FlipQuestion(adv, donor, asked.layer, adversarial.label)
