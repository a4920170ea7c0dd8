"""What happens to the prediction when maps of a layer are replaced: flip-back and its controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.core import evaluation, flipback, intervention
from aevis_dash.core.intervention import Exchange
from aevis_dash.domain import (
    REPLACEMENTS,
    AevisError,
    AreaOfInterest,
    Example,
    FeatureMap,
    Intervention,
    Verification,
)
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.contributions import Contributions
from aevis_dash.workbench.judging import Judging
from aevis_dash.workbench.triplet import Triplet, nulls_of
from aevis_dash.workspace import one_sight

_REFERENCES = 32
"""Normal images that a mean is taken over."""
DONORS = 20
"""Other clean images whose maps are put into adv as src's are, so that a choice among maps can be made again."""


@dataclass(frozen=True)
class Effects:
    """`values` (n_l,), what putting each map of one layer from src into adv is estimated to do to the margin."""

    values: np.ndarray


@dataclass(frozen=True)
class Choice:
    """A map of `layer` that a search chose among the contributions, found by `method`, to an area of `target`."""

    target: FeatureMap
    area: AreaOfInterest
    layer: int
    method: str
    channel: int


class Flips(Part):
    """Replacing maps, and what that does."""

    def __init__(self, base: Base, judging: Judging, contributions: Contributions):
        super().__init__(base)
        self._judging, self._contributions = judging, contributions

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
        self._judging.explainable(self.workspace.example(example_id))
        key = self._verification_key(example_id, asked)
        compute = lambda: flipback.verify(self.classifier, self._question(example_id, asked), asked)  # noqa: E731
        return self.store.remember(key, Verification, compute)

    def find_stored(self, example_id: str, asked: Intervention) -> Verification | None:
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
        taken = {p.label for p in self._judging.predict([example.source, example.adversarial])}
        return nulls_of(self._judging.clean(), example, taken, DONORS, 0)

    @one_sight()
    def donor_effects(self, example_id: str, layer: int, maps: Sequence[int], donors: Sequence[str]) -> np.ndarray:
        """(d, c) what `single_effects` gives with each of the donors, images of other classes, in src's place."""
        key = self._donors_key(example_id, layer, maps, donors)
        compute = lambda: Effects(self._single_effects(example_id, layer, maps, donors))  # noqa: E731
        return self.store.remember(key, Effects, compute).values

    def keep_choice(self, triplet: Triplet, choice: Choice, donors: Sequence[str], gains: np.ndarray) -> None:
        """Keep what the same choice gave with each of the d donors, (d,), beside a map that was chosen.

        The assistant shows it as `assistant.Hop.alike`.
        """
        self.store.put(self._choice_key(triplet, choice, donors), Effects(gains))

    def stored_choice(self, triplet: Triplet, choice: Choice, donors: Sequence[str]) -> np.ndarray | None:
        """The gains (d,) that `keep_choice` kept; None for a map that no search chose."""
        found = self.store.get(self._choice_key(triplet, choice, donors), Effects)
        return None if found is None else found.values

    def exchange_effects(self, example_id: str, layer: int) -> np.ndarray:
        """(n_l,) by how much each map of a layer, put from src into adv as all of them are, moves the margin towards
        src's class, estimated by gradients (`Exchange.integrate`). Raises AevisError where the attack failed."""

        def compute() -> Effects:
            asked = self._question(example_id, Intervention(layer))
            exchange = Exchange(self.classifier, asked.receiver, np.asarray(asked.donor), layer)
            return Effects(exchange.integrate(lambda z: z[:, asked.wanted] - z[:, asked.before])[0])

        return self.store.remember(self._effects_key(example_id, layer), Effects, compute).values

    def stored_exchange_effects(self, example_id: str, layer: int) -> np.ndarray | None:
        """(n_l,) what `exchange_effects` found, where that is stored."""
        found = self.store.get(self._effects_key(example_id, layer), Effects)
        return None if found is None else found.values

    def depths(self) -> tuple[int, ...]:
        """The last layer of every stage."""
        return tuple(level[-1] for level in evaluation.levels(self.layers, "stage"))

    def _choice_key(self, triplet: Triplet, choice: Choice, donors: Sequence[str]) -> str:
        of = self._contributions.key_of_contribution(triplet, choice.target, choice.area, choice.layer, choice.method)
        hashes = [self.workspace.image_hash(name) for name in donors]
        return self.key("effects", chosen=[of, choice.channel], donors=hashes)

    def _donors_key(self, example_id: str, layer: int, maps: Sequence[int], donors: Sequence[str]) -> str:
        example = self.workspace.example(example_id)
        images = [self.workspace.image_hash(name) for name in (example.source, example.adversarial, *donors)]
        return self.key("effects", images=images, layer=layer, maps=list(maps))

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

    def _effects_key(self, example_id: str, layer: int) -> str:
        example = self.workspace.example(example_id)
        images = [self.workspace.image_hash(name) for name in (example.source, example.adversarial)]
        return self.key("effects", images=images, layer=layer)

    def _verification_key(self, example_id: str, asked: Intervention) -> str:
        example = self.workspace.example(example_id)
        names = (example.source, example.adversarial, *self._stand_ins(example, asked))
        hashes = [self.workspace.image_hash(name) for name in names]
        alone = {"beside": "other maps"} if asked.maps is not None and len(asked.maps) == 1 else {}
        return self.key("verification", images=hashes, asked=asked, **alone)

    def _stand_ins(self, example: Example, asked: Intervention) -> tuple[str, ...]:
        """The normal images of third classes whose activations take a run's maps' place."""
        if asked.replacement not in ("mean", "resample"):
            return ()
        taken = {p.label for p in self._judging.predict([example.source, example.adversarial])}
        count = _REFERENCES if asked.replacement == "mean" else 1
        names = nulls_of(self._judging.clean(), example, taken, count, asked.seed)
        if not names:
            raise AevisError(f"The workspace has no normal image of a third class to take the {asked.replacement} of.")
        return names

    def _question(self, example_id: str, asked: Intervention) -> flipback.FlipQuestion:
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
