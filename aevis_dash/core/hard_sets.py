"""Hard sets: the critical feature maps at gate 1, all others at 0, found from an order of the maps.

There are two families. A *complete* set takes the same share of every layer's maps, best first and at least one: a path
with something to see in every layer. A *core* compares maps across layers: the fewest maps that keep the label. With
all early maps closed, batch norm still adds constants, so late maps fire on nothing and can keep the label; cores
therefore leave early layers empty. Hard sets of either kind say their label of almost any image (`aevis benchmark
datapaths` measures it). So it is a necessary condition that a hard set keeps the label, and never evidence of cause.

Notation: R rows, which are the datapaths to find, and n feature maps. An order (R, n) ranks the maps of each row, the
highest number first.
"""

import torch
from torch import Tensor

from aevis_dash.core.problem import Problem

PROBES = 8
"""The number of forward runs of one search for a size."""


def places_in_layer(problem: Problem, order: Tensor) -> Tensor:
    """Give the place of each map in its layer by `order` (R, n), best first, from 0 to just under 1: (R, n)."""
    widths = [layer.channels for layer in problem.network.layers.layers]
    ranks = [_ranks(part) for part in order.split(widths, dim=1)]
    return torch.cat([rank / rank.shape[1] for rank in ranks], dim=1)


def places(order: Tensor) -> Tensor:
    """Give the place of each map in the whole network by `order` (R, n), best first, from 0 to just under 1: (R, n)."""
    return _ranks(order) / order.shape[1]


def of_share(problem: Problem, order: Tensor, share: float) -> Tensor:
    """Give the complete set of a share of every layer's maps, by `order` (R, n): bool (R, n)."""
    return places_in_layer(problem, order) < share


def smallest_complete(problem: Problem, order: Tensor, hold: float) -> Tensor:
    """Find the smallest complete set that keeps the label and a part of its probability.

    Args:
        problem: the images, and the network that tries the sets.
        order: the order of the maps, (R, n).
        hold: the share of its probability that the label has to keep, from 0 to 1.

    Returns:
        The sets, bool (R, n).
    """
    narrowest = 0.5 / max(layer.channels for layer in problem.network.layers.layers)
    return _smallest(problem, places_in_layer(problem, order), narrowest, hold)


def smallest_core(problem: Problem, order: Tensor) -> Tensor:
    """Find the smallest set that keeps the label, taken best first across layers by `order` (R, n): bool (R, n)."""
    return _smallest(problem, places(order), 0.5 / order.shape[1], 0.0)


def _smallest(problem: Problem, place: Tensor, fails: float, hold: float) -> Tensor:
    """Bisect the share on a logarithmic scale.

    What is returned has been checked. But keeping the label need not go along with the share, so a smaller set may keep
    it as well.
    """
    failing = place.new_full((len(place), 1), fails)
    holding = torch.ones_like(failing)
    for _ in range(PROBES):
        share = (failing * holding).sqrt()
        good = problem.holds(place < share, hold)[:, None]
        holding, failing = torch.where(good, share, holding), torch.where(good, failing, share)
    return place < holding


def _ranks(order: Tensor) -> Tensor:
    """Give the rank of each number in its row, 0 for the highest; equal numbers are ranked by index."""
    return torch.argsort(order, dim=1, descending=True, stable=True).argsort(1)
