"""Hard sets: the critical feature maps at gate 1, all others at 0, found from an order of the maps.

Two families. A *complete* set takes the same share of every layer's maps, best first, at least one: a path with
something to see in every layer. A *core* compares maps across layers: the fewest maps that keep the label. Batch
norm's shift lets late maps fire on nothing, so cores leave early layers empty, and hard sets of either kind say
their label of almost any image (`aevis benchmark datapaths` measures it): that a hard set keeps the label is a
necessary condition, never evidence of cause.
"""

import torch
from torch import Tensor

from aevis_dash.core.problem import Problem

PROBES = 8
"""Forward runs of one search for a size."""


def places_in_layer(problem: Problem, order: Tensor) -> Tensor:
    """(R, n) each map's place in its layer by `order` (R, n), best first: 0 to just under 1."""
    widths = [layer.channels for layer in problem.network.layers.layers]
    ranks = [_ranks(part) for part in order.split(widths, dim=1)]
    return torch.cat([rank / rank.shape[1] for rank in ranks], dim=1)


def places(order: Tensor) -> Tensor:
    """(R, n) each map's place in the whole network by `order` (R, n), best first: 0 to just under 1."""
    return _ranks(order) / order.shape[1]


def of_share(problem: Problem, order: Tensor, share: float) -> Tensor:
    """(R, n) bool: the complete set of that share."""
    return places_in_layer(problem, order) < share


def smallest_complete(problem: Problem, order: Tensor, hold: float) -> Tensor:
    """(R, n) bool: the smallest complete set that keeps the label and `hold` of its probability."""
    narrowest = 0.5 / max(layer.channels for layer in problem.network.layers.layers)
    return _smallest(problem, places_in_layer(problem, order), narrowest, hold)


def smallest_core(problem: Problem, order: Tensor) -> Tensor:
    """(R, n) bool: the smallest set, best first across layers, that keeps the label."""
    return _smallest(problem, places(order), 0.5 / order.shape[1], 0.0)


def _smallest(problem: Problem, place: Tensor, fails: float, hold: float) -> Tensor:
    """Bisection of the share on a logarithmic scale.

    What is returned has been checked, but as holding need not grow with the share, a smaller one may hold as well.
    """
    failing = place.new_full((len(place), 1), fails)
    holding = torch.ones_like(failing)
    for _ in range(PROBES):
        share = (failing * holding).sqrt()
        good = problem.holds(place < share, hold)[:, None]
        holding, failing = torch.where(good, share, holding), torch.where(good, failing, share)
    return place < holding


def _ranks(order: Tensor) -> Tensor:
    """0 for the best of each row; ties by index."""
    return torch.argsort(order, dim=1, descending=True, stable=True).argsort(1)
