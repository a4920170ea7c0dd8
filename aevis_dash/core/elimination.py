"""Our default: rank against the foil, then eliminate.

(1) Rank. Along the straight path from the foil (adv's source, src's adversarial image) to the image, at `samples`
points, take the first-order effect of every map on the contrast of the label (half its odds against all other
classes, half its margin over the rival). Two effects are added, each over the sum of its sizes: a third of having the
map at all, gradient x activation, and two thirds of having it as it is on the image rather than on the foil, the
integrated gradient of patching the one run into the other. An image without a foil has the first alone. Maps that do
not fire on the image come last, and those that the datapaths already found hold are raised by the share `coherence` of
their gates (the place of Eq. 4).
A map that is critical because the foil fires it and the image does not, or little, works against the label where it is
alone on: hard sets take those maps last, whatever their gates. The maps whose effect of being there at all is
positive *support* the label.
(2) Eliminate. From the smallest complete set that keeps the label: rank again by the gradient of the gated network,
drop the lowest third, keep the drop only where the label holds, else halve the step. What is left is the core; every
step has been checked, so it never fails.
(3) Gates. 1 for the first map, falling with the logarithm of the place to 0 for the last; the core comes first, maps
without effect last. A place has no scale to tune and orders all n maps, so sets of every size come from one run.

Why this is the default (`aevis benchmark datapaths` prints the figures): hard sets say their label of almost any image,
so that keeping the label cannot tell a cause; the effect of patching single maps from src into adv can. Gradient x
activation of the label's logit hardly agrees with it, the effect against the foil does, and the flip-back it ranks
takes the fewest maps of all methods. The path makes the sets stable.
"""

import math

import torch
from torch import Tensor

from aevis_dash.config import Progress, part_of
from aevis_dash.core.hard_sets import places, smallest_complete
from aevis_dash.core.problem import Found, Problem, contrast, odds, supported_first

OF_FOIL = 2 / 3
"""Weight of the effect against the foil beside that of having the map at all."""
DROP = 0.35
"""Share of the maps that the first elimination tries to drop."""


def elimination(problem: Problem, progress: Progress) -> Found:
    """Rank, then eliminate (see the module's text)."""
    effect, supports = against_foils(problem, part_of(progress, 0, 0.4))
    order = cohering(problem, effect)
    start = smallest_complete(problem, supported_first(by_place(order), supports), 0.0)
    core = eliminate(problem, start, part_of(progress, 0.5, 0.5))
    return Found(by_place(order + core * 2 * order.abs().amax(1, keepdim=True)), core=core, supports=supports)


def against_foils(problem: Problem, progress: Progress) -> tuple[Tensor, Tensor]:
    """(R, n) the effects of step (1), of sizes summing to at most 1, 0 for maps that do not fire; and (R, n) bool which
    maps support the label. A pass a sample."""
    beside = problem.contrast()
    samples = problem.parameters.samples if any(foil.image is not None for foil in problem.foils) else 1
    having, differing = torch.zeros_like(problem.whole()), torch.zeros_like(problem.whole())
    for k in range(samples):
        progress(k / samples, "ranking the feature maps")
        between = beside.foils + (k + 0.5) / samples * (problem.x - beside.foils)
        first, second = problem.effects(between, beside, contrast)
        having, differing = having + first, differing + second
    effect = _shares(having) * (1 - OF_FOIL) + _shares(differing) * OF_FOIL
    return effect.masked_fill(~beside.fires, 0), (having > 0) & beside.fires


def cohering(problem: Problem, effect: Tensor) -> Tensor:
    """The order (R, n): effects, those of maps that the given datapaths hold raised; maps without effect come last."""
    if problem.given:
        held = torch.stack(list(problem.given)).mean(0)
        effect = torch.where(effect > 0, effect * (1 + problem.parameters.coherence * held), effect)
    lowest = effect.amin(1, keepdim=True) - effect.abs().amax(1, keepdim=True)
    return torch.where(effect == 0, lowest, effect)


def eliminate(problem: Problem, start: Tensor, progress: Progress) -> Tensor:
    """(R, n) bool: what is left of the sets `start`, which keep the label; a pass for each round."""
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
    """Gates (R, n): 1 - log(place) / log(n), places counted from 1."""
    count = max(order.shape[1], 2)
    place = places(order) * order.shape[1] + 1
    return 1 - place.log() / math.log(count)


def _without_lowest(kept: Tensor, effect: Tensor, step: Tensor) -> Tensor:
    """The sets without the share `step` (R, 1) of their maps, at least one, that has the least effect; never empty."""
    size = kept.sum(1, keepdim=True)
    drop = (size * step).floor().clamp_min(1).minimum(size - 1)
    place = effect.masked_fill(~kept, torch.inf).argsort(dim=1, stable=True).argsort(1)
    return kept & (place >= drop)


def _shares(effect: Tensor) -> Tensor:
    return effect / effect.abs().sum(1, keepdim=True).clamp_min(1e-30)
