"""Flip-back: which maps of a layer, replaced in one run, turn its prediction; and how often chance turns it.

A *receiver* (adv, say) runs with some of a layer's maps replaced by a donor's activations (src's), at the layer's call
site, all positions at once. The margin is logit[wanted] - logit[before], and the label is *turned* where the receiver
is predicted as `wanted`. Where any other class will do (wanted = ANY), the label is turned where the receiver is
predicted as anything but `before`, and the margin is the best other logit minus logit[before].

Sets of maps are bool arrays with one entry for each of the n_l maps of the layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.intervention import BATCH, Exchange, best_first, control_strengths
from aevis_dash.core.random_sets import random_sets
from aevis_dash.domain import CONTROLS, DISJOINT, AevisError, Intervention, Verification

ANY = -1
"""The `wanted` class that stands for any class but the one before."""
_CARRIED = "Replacing all of a layer always carries the other prediction over"
_ABLATED = "Without any of its own signal no prediction stands"
GROWTH = 0.25
"""The share of the set's size by which a search adds maps at once."""
EXACT = 64
"""The size up to which sets are thinned by trying every map; larger sets are thinned by the slopes."""


@dataclass(frozen=True)
class FlipQuestion:
    """The question which maps turn a prediction: whose run gets other maps, from where, and what it should become.

    Attributes:
        receiver: the image whose run gets other maps, uint8 (1, H, W, C).
        donor: what replaces its maps: an 8-bit image (1, H, W, C) whose run is taken, or activations (1, n_l, ...).
        layer: the index of the layer whose maps are replaced.
        before: the index of the class that the receiver is predicted as.
        wanted: the index of the class that it should become; ANY for anything else.
    """

    receiver: np.ndarray
    donor: np.ndarray | Tensor
    layer: int
    before: int
    wanted: int = ANY


class Bench:
    """Tries sets of the n_l maps of one layer on one question, `batch` images at once.

    Raises:
        ValueError: receiver and donor do not fit one another, or the layer does not feed the logits.
    """

    def __init__(self, classifier: Classifier, question: FlipQuestion, batch: int = BATCH):
        self.question = question
        donor = question.donor
        images = question.receiver if isinstance(donor, Tensor) else donor
        activation = donor if isinstance(donor, Tensor) else None
        self._exchange = Exchange(classifier, question.receiver, images, question.layer, batch, activation)
        self._difference = self._exchange.difference()[0]
        self._orders: np.ndarray | None = None

    @property
    def width(self) -> int:
        """The number n_l of maps of the layer."""
        return self._exchange.shape[1]

    @property
    def is_cut(self) -> bool:
        """Whether everything passes through the layer."""
        return self._exchange.is_cut

    @property
    def runs(self) -> int:
        """The forward runs so far; one with its gradient counts three times."""
        return self._exchange.runs

    def measure(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Replace sets of maps.

        Args:
            chosen: the sets, bool (m, n_l).

        Returns:
            The margin with each set replaced, (m,), and the class predicted then, (m,).
        """
        if not len(chosen):
            return np.zeros(0, np.float32), np.zeros(0, int)
        logits = self._exchange.logits(chosen, np.zeros(len(chosen), int))
        return self._margin(torch.from_numpy(logits)).numpy(), logits.argmax(1)

    def turns(self, chosen: np.ndarray) -> np.ndarray:
        """Tell which sets of maps, bool (m, n_l), turn the label: bool (m,)."""
        return self._is_turned(self.measure(chosen)[1])

    def slopes(self, chosen: np.ndarray) -> np.ndarray:
        """Give the first-order effect on the margin of replacing each map where some are replaced already.

        Args:
            chosen: the maps that are replaced already, bool (n_l,).

        Returns:
            The effects, (n_l,); positive speaks for replacing the map.
        """
        return self._exchange.slopes(chosen[None], self._margin)[0]

    def difference(self) -> np.ndarray:
        """Give how far receiver and donor lie apart at each map, the l2 norm over positions, (n_l,)."""
        return self._difference

    def controls(self) -> np.ndarray:
        """Give the layer's channels, the best first by each order of CONTROLS, (c, n_l). They are found once."""
        if self._orders is None:
            self._orders = best_first(control_strengths(self._exchange, self._margin)[:, 0])
        return self._orders

    def _is_turned(self, labels: np.ndarray) -> np.ndarray:
        wanted = self.question.wanted
        return labels != self.question.before if wanted == ANY else labels == wanted

    def _margin(self, logits: Tensor) -> Tensor:
        before, wanted = self.question.before, self.question.wanted
        if wanted != ANY:
            return logits[:, wanted] - logits[:, before]
        others = torch.cat([logits[:, :before], logits[:, before + 1 :]], dim=1)
        return others.amax(1) - logits[:, before]


def smallest(bench: Bench, among: np.ndarray | None = None) -> np.ndarray | None:
    """Search a small set that turns the label and none of whose maps can be spared.

    A set is grown by the slopes, and by each order of CONTROLS, so that it is no larger than what these find without a
    search. The smallest one is thinned: as many of the maps that matter least as can go are dropped, and again, until
    every map is needed.

    Args:
        among: the maps that may be taken, bool (n_l,); None for all.

    Returns:
        The set, bool (n_l,); None where the search finds none.
    """
    allowed = np.ones(bench.width, bool) if among is None else among
    prefixes = (shortest_prefix(bench, order[allowed[order]]) for order in bench.controls())
    grown = [found for found in (grow(bench, allowed), *prefixes) if found is not None]
    if not grown:
        return None
    return thin(bench, min(grown, key=lambda chosen: int(chosen.sum())))


def stand_in(classifier: Classifier, images: np.ndarray, layer: int, kind: str) -> Tensor:
    """Make what takes the place of a layer's maps when they are ablated, which is to remove their own signal.

    Args:
        images: 8-bit images, (m, H, W, C).
        layer: the index of the layer.
        kind: "zero"; "mean" for the mean of the layer's activations on the images; "resample" for those on the first
            image.

    Returns:
        Activations, (1, n_l, ...).
    """
    with torch.no_grad():
        first = classifier.network.activation(classifier.inputs(images[:1]), layer)
        if kind == "zero":
            return torch.zeros_like(first)
        if kind == "resample":
            return first
        for i in range(1, len(images)):
            first = first + classifier.network.activation(classifier.inputs(images[i : i + 1]), layer)
        return first / len(images)


def thin(bench: Bench, chosen: np.ndarray) -> np.ndarray:
    """Drop maps from a set that turns the label until none that is left can be spared; sets are bool (n_l,)."""
    while chosen.any():
        order = _least_needed(bench, chosen)
        count = _count_spare(bench, chosen, order)
        if count == 0:
            order, count = _single(bench, chosen)
        if count == 0:
            return chosen
        chosen = _without(chosen, order[:count])
    return chosen


def verify(classifier: Classifier, question: FlipQuestion, asked: Intervention) -> Verification:
    """Replace maps one after the other, and compare with controls and with the layer's other maps.

    The controls are random sets of as many maps that differ, and as many maps by each order of CONTROLS. That random
    sets do not turn the label says that sets which do are rare. It does not say that these maps are the cause: a
    searched set is the best of many, and where others do it too, neither is the cause. A search names its maps of
    steepest slope first. It names none where it found no set, or only all maps that differ of a layer through which
    everything passes (a whole cut).

    Args:
        question: the receiver, what replaces its maps, and what its prediction should become.
        asked: which maps are replaced, or that a set is searched; how many random sets stand beside.

    Raises:
        AevisError: there are no maps, one of them does not exist, or they are a whole cut. Replacing a whole cut always
            gives the donor's prediction, so it proves nothing.
    """
    bench = Bench(classifier, question)
    if asked.maps is None:
        return _verify(bench, _search(bench), asked)
    order = _check_maps(classifier, question.layer, asked.maps)
    if _is_whole_cut(bench, order):
        raise AevisError(
            f"These are all maps of layer {classifier.layers.layers[question.layer].name!r} that differ between the "
            f"two runs. {_ABLATED if question.wanted == ANY else _CARRIED}, so it is no evidence. Choose fewer."
        )
    return _verify(bench, order, asked)


def _search(bench: Bench) -> np.ndarray:
    chosen = smallest(bench)
    if chosen is None or _is_whole_cut(bench, np.flatnonzero(chosen)):
        return np.zeros(0, int)
    order = bench.controls()[CONTROLS.index("integrated")]
    return order[chosen[order]]


def _is_whole_cut(bench: Bench, maps: np.ndarray) -> bool:
    return bench.is_cut and set(np.flatnonzero(bench.difference())) <= set(maps.tolist())


def _verify(bench: Bench, order: np.ndarray, asked: Intervention) -> Verification:
    whole, labels = bench.measure(np.ones((1, bench.width), bool))
    margins, said = bench.measure(np.stack([_set_of(bench.width, order[:k]) for k in range(len(order) + 1)]))
    chance = random_sets(bench.difference() > 0, order, asked.randoms, asked.seed)
    chance_margins, chance_said = bench.measure(chance)
    by = bench.controls()
    beside = np.stack([_set_of(bench.width, each[: len(order)]) for each in by])
    controls, controls_said = bench.measure(beside)
    prefixes = [shortest_prefix(bench, each) for each in by]
    turned = len(order) > 0 and bool(bench._is_turned(said)[-1])
    alone = bench.measure(order[:, None] == np.arange(bench.width))[0] - margins[0]
    return Verification(
        layer=asked.layer,
        replacement=asked.replacement,
        before=bench.question.before,
        wanted=bench.question.wanted,
        maps=order,
        margins=margins,
        labels=said,
        turned=turned,
        chance=chance_margins,
        chance_turned=float(bench._is_turned(chance_said).mean()) if len(chance) else 0.0,
        controls=controls,
        controls_turned=bench._is_turned(controls_said),
        controls_same=(beside == _set_of(bench.width, order)).all(1),
        needed=np.array([-1 if each is None else each.sum() for each in prefixes]),
        whole=float(whole[0]),
        whole_turned=bool(bench._is_turned(labels)[0]),
        disjoint=disjoint_sets(bench, order) if turned else np.zeros(0, int),
        alone=alone,
        width=bench.width,
        runs=bench.runs,
    )


def disjoint_sets(bench: Bench, order: np.ndarray) -> np.ndarray:
    """Search further sets that turn the label, each of maps that neither `order` (k,) nor another of the sets holds.

    Returns:
        Their sizes in the order in which they were found, int (d,); the search ends at DISJOINT of them.
    """
    left, sizes = ~_set_of(bench.width, order), []
    while len(sizes) < DISJOINT and (found := smallest(bench, left)) is not None:
        sizes.append(int(found.sum()))
        left &= ~found
    return np.array(sizes, int)


def grow(bench: Bench, allowed: np.ndarray) -> np.ndarray | None:
    """Add allowed maps to an empty set by falling slope until it turns the label; sets are bool (n_l,).

    Returns:
        The set; None where even all allowed maps do not turn the label.
    """
    chosen = np.zeros(bench.width, bool)
    while not bench.turns(chosen[None])[0]:
        left = np.flatnonzero(allowed & ~chosen)
        if not len(left):
            return None
        best_first = left[np.argsort(-bench.slopes(chosen)[left], kind="stable")]
        chosen = chosen | _set_of(bench.width, best_first[: max(1, int(GROWTH * chosen.sum()))])
    return chosen


def shortest_prefix(bench: Bench, order: np.ndarray) -> np.ndarray | None:
    """Find by bisection a short prefix of an order of channels (k,) that turns the label.

    As more maps may also turn the label back, a still shorter prefix may do it too.

    Returns:
        The channels of that prefix as a set, bool (n_l,); None where all k channels do not turn the label.
    """
    fails, turns = -1, len(order)
    if not bench.turns(_set_of(bench.width, order)[None])[0]:
        return None
    while turns - fails > 1:
        middle = (fails + turns) // 2
        if bench.turns(_set_of(bench.width, order[:middle])[None])[0]:
            turns = middle
        else:
            fails = middle
    return _set_of(bench.width, order[:turns])


def _least_needed(bench: Bench, chosen: np.ndarray) -> np.ndarray:
    """Give the set's channels, those first whose absence hurts the margin least."""
    inside = np.flatnonzero(chosen)
    if len(inside) > EXACT:
        return inside[np.argsort(bench.slopes(chosen)[inside], kind="stable")]
    return inside[np.argsort(-_margins_without(bench, chosen, inside)[0], kind="stable")]


def _margins_without(bench: Bench, chosen: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    without = np.tile(chosen, (len(inside), 1))
    without[np.arange(len(inside)), inside] = False
    margins, labels = bench.measure(without)
    return margins, bench._is_turned(labels)


def _single(bench: Bench, chosen: np.ndarray) -> tuple[np.ndarray, int]:
    """Find a map that can be spared alone by trying every one: gives the channels, that one first, and 1; or 0 for
    none.
    """
    inside = np.flatnonzero(chosen)
    margins, turned = _margins_without(bench, chosen, inside)
    order = inside[np.argsort(-np.where(turned, margins, -np.inf), kind="stable")]
    return order, int(turned.any())


def _count_spare(bench: Bench, chosen: np.ndarray, order: np.ndarray) -> int:
    """Find by bisection how many of the first channels of an order can go together; more than it finds might go."""
    goes, stays = 0, len(order) + 1
    while stays - goes > 1:
        middle = (goes + stays) // 2
        if bench.turns(_without(chosen, order[:middle])[None])[0]:
            goes = middle
        else:
            stays = middle
    return goes


def _without(chosen: np.ndarray, channels: np.ndarray) -> np.ndarray:
    left = chosen.copy()
    left[channels] = False
    return left


def _set_of(width: int, channels: np.ndarray) -> np.ndarray:
    return np.isin(np.arange(width), channels)


def _check_maps(classifier: Classifier, layer: int, maps: Sequence[int]) -> np.ndarray:
    if not len(maps):
        raise AevisError("There is no feature map to replace. Choose at least one.")
    name = classifier.layers.layers[layer].name
    for channel in maps:
        classifier.layers.feature_map(name, int(channel))
    return np.array(list(dict.fromkeys(int(c) for c in maps)))
