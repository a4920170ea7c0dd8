"""Rankings: how critical each map is, from a few passes and no search.

They are baselines, and the searches of other methods start from them. R is the number of rows, which are the datapaths
to find, and n the number of feature maps.
"""

import torch
from torch import Tensor

from aevis_dash.config import Progress
from aevis_dash.core.problem import FORWARD, Found, Output, Problem, label_logit

STEPS = 16
"""The number of points on the path of the integrated gradients."""


def gradient(problem: Problem, _progress: Progress) -> Found:
    """Rank by gradient x activation: the first-order effect of each map on the label's logit, <a_k, d logit / d
    a_k>.
    """
    return Found(strengths(first_order(problem, label_logit)))


def integrated(problem: Problem, progress: Progress) -> Found:
    """Rank by integrated gradients of the label's logit along the straight path of all gates from 0 to 1 (midpoint
    rule).
    """
    total = torch.zeros_like(problem.whole())
    for step in range(STEPS):
        progress(step / STEPS, "integrating the gradients")
        total += problem.gradient(problem.whole() * (step + 0.5) / STEPS, label_logit)[0] / STEPS
    return Found(strengths(total))


def activation(problem: Problem, _progress: Progress) -> Found:
    """Rank by the maximum of each map over positions, as a share of its layer's largest; the mean over a row's
    images.
    """
    problem.passes += FORWARD
    with torch.no_grad():
        _, maps = problem.network.record(problem.x, range(len(problem.network.layers)))
    parts = [value.flatten(2).amax(2) if value.dim() > 2 else value for value in maps.values()]
    parts = [part.clamp_min(0) for part in parts]
    peaks = torch.cat([part / part.amax(1, keepdim=True).clamp_min(1e-30) for part in parts], dim=1)
    summed = torch.zeros_like(problem.whole()).index_add(0, problem.rows, peaks)
    return Found(summed / problem.count[:, None])


def random(problem: Problem, _progress: Progress) -> Found:
    """Draw uniformly random gates by the seed, which are the same for every image."""
    generator = torch.Generator().manual_seed(problem.parameters.seed)
    return Found(torch.rand(1, problem.shape[1], generator=generator).to(problem.x.device).expand(problem.shape))


def first_order(problem: Problem, output: Output) -> Tensor:
    """Give the derivative of an output by each gate at z = 1, which is <a_k, d output / d a_k>: (R, n); it takes one
    pass.
    """
    return problem.gradient(problem.whole(), output)[0]


def strengths(effect: Tensor) -> Tensor:
    """Turn signed effects (R, n) into gates (R, n): each effect over the largest of its row.

    What works against the label has about 0. The order there is kept within a thousandth, so that sets of every size
    can be taken from the gates.
    """
    scale = effect.amax(1, keepdim=True).clamp_min(1e-30)
    return break_ties((effect / scale).clamp(0, 1), effect)


def break_ties(gates: Tensor, order: Tensor) -> Tensor:
    """Break the ties of gates (R, n) by an order (R, n): gates move by a thousandth at most and stay from 0 to 1, (R,
    n).
    """
    rank = torch.argsort(order, dim=1, stable=True).argsort(1) / max(order.shape[1] - 1, 1)
    return (gates + 1e-3 * rank.to(gates.dtype)) / (1 + 1e-3)
