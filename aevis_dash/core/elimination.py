"""The quick extraction method: rank the maps against a foil, then eliminate maps as long as the label holds.

A *foil* is what the prediction is explained against: adv's source for adv, the adversarial image for src.

(1) Rank. `samples` images are taken along the straight line from the foil to the image. At each of them every map has
two effects on the contrast of the label, which is half its odds against all other classes and half its margin over the
rival class. Both are to first order. One is what is lost if the map is closed, gradient x activation. The other is what
is lost if the map takes its values from the foil, gradient x difference. Each is averaged over the images and divided
by the sum of its sizes over all maps, and the effect of the map is

    1/3 (what is lost if the map is closed) + 2/3 (what is lost if the map takes its values from the foil).

An image without a foil has the first alone. Maps that do not fire on the image come last. Maps that the datapaths
already found hold are raised by the share `coherence` of their gates (this stands in the place of Eq. 4).

A map may be critical because the foil fires it and the image does so little or not at all. Alone on, such a map works
against the label, so hard sets take those maps last, whatever their gates. The maps whose effect of being there at all
is positive *support* the label.

(2) Eliminate. The start is the smallest complete set that keeps the label. In each round the gradient of the gated
network ranks its maps again, and about the lowest third (the share DROP) is dropped. Where the label is lost the drop
is taken back, and the next one is half as large. What is left is the core. Every step has been checked, so the core
keeps the label.

(3) Gates. The first map has gate 1, and gates fall with the logarithm of the place to 0 for the last map. The core
comes first, maps without effect last. A place has no scale to tune and orders all n maps, so sets of every size come
from one run.

Why it ranks against a foil (`aevis benchmark datapaths` prints the figures): hard sets say their label of almost any
image, so that keeping the label cannot tell a cause; the effect of patching single maps from src into adv can. Gradient
x activation of the label's logit hardly agrees with that effect. The effect against the foil does, and the flip-back
that it ranks takes fewer maps than that of the other extraction methods; integrated attribution patching takes as few.
Averaging along the line makes the sets stable.
"""

import math

import torch
from torch import Tensor

from aevis_dash.config import Progress, part_of
from aevis_dash.core.hard_sets import places, smallest_complete
from aevis_dash.core.problem import Found, Problem, contrast, odds, supported_first

OF_FOIL = 2 / 3
"""The weight of the effect against the foil; the effect of having the map at all has the rest of 1."""
DROP = 0.35
"""The share of the maps that the first round of elimination tries to drop."""


def elimination(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by elimination, in the three steps that the module's text explains."""
    effect, supports = against_foils(problem, part_of(progress, 0, 0.4))
    order = cohering(problem, effect)
    start = smallest_complete(problem, supported_first(by_place(order), supports), 0.0)
    core = eliminate(problem, start, part_of(progress, 0.5, 0.5))
    return Found(by_place(order + core * 2 * order.abs().amax(1, keepdim=True)), core=core, supports=supports)


def against_foils(problem: Problem, progress: Progress) -> tuple[Tensor, Tensor]:
    """Rank the maps against the foils, step (1), before the datapaths already found count; it takes one pass a sample.

    Returns:
        The effects (R, n), whose sizes sum to at most 1 in each row, with 0 for maps that do not fire; and which maps
        support the label, bool (R, n).
    """
    beside = problem.contrast()
    having, differing = problem.integrated_effects(beside, contrast, problem.parameters.samples, progress)
    effect = _shares(having) * (1 - OF_FOIL) + _shares(differing) * OF_FOIL
    return effect.masked_fill(~beside.fires, 0), (having > 0) & beside.fires


def cohering(problem: Problem, effect: Tensor) -> Tensor:
    """Order the maps by their effects, with those raised that the datapaths already found hold.

    Args:
        problem: the problem, with the datapaths already found.
        effect: the effect of each map, (R, n).

    Returns:
        The order (R, n), higher is earlier; maps without effect come last.
    """
    if problem.given:
        held = torch.stack(list(problem.given)).mean(0)
        effect = torch.where(effect > 0, effect * (1 + problem.parameters.coherence * held), effect)
    lowest = effect.amin(1, keepdim=True) - effect.abs().amax(1, keepdim=True)
    return torch.where(effect == 0, lowest, effect)


def eliminate(problem: Problem, start: Tensor, progress: Progress) -> Tensor:
    """Eliminate maps from sets that keep the label, step (2); it takes one pass a round.

    Args:
        problem: the problem, whose parameter `rounds` says how many rounds there are.
        start: the sets to begin with, each of which keeps its row's label, bool (R, n).
        progress: is told how far the work is.

    Returns:
        The sets that are left, which keep the label as well, bool (R, n).
    """
    kept = tried = start
    effect, step = torch.zeros_like(problem.whole()), problem.x.new_full((len(start), 1), DROP)
    for turn in range(problem.parameters.rounds):
        progress(turn / problem.parameters.rounds, "eliminating feature maps")
        now, good = problem.gradient(tried.to(effect.dtype), odds)
        kept = torch.where(good[:, None], tried, kept)
        effect = torch.where(good[:, None], now, effect)
        step = torch.where(good[:, None], step, step / 2)
        tried = _without_lowest(kept, effect, step)
    return kept


def by_place(order: Tensor) -> Tensor:
    """Turn an order of the maps (R, n), highest first, into gates (R, n): 1 - log(place) / log(n), with places from
    1.
    """
    count = max(order.shape[1], 2)
    place = places(order) * order.shape[1] + 1
    return 1 - place.log() / math.log(count)


def _without_lowest(kept: Tensor, effect: Tensor, step: Tensor) -> Tensor:
    """Give the sets without the share `step` (R, 1) of their maps that has the least effect; at least one map goes and
    one stays.
    """
    size = kept.sum(1, keepdim=True)
    drop = (size * step).floor().clamp_min(1).minimum(size - 1)
    place = effect.masked_fill(~kept, torch.inf).argsort(dim=1, stable=True).argsort(1)
    return kept & (place >= drop)


def _shares(effect: Tensor) -> Tensor:
    return effect / effect.abs().sum(1, keepdim=True).clamp_min(1e-30)
