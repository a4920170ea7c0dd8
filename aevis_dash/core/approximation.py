"""The quadratic approximation of datapath extraction: Eq. 5 on the first-order expansion of the logits at z = 1."""

import torch

from aevis_dash.config import Progress
from aevis_dash.core.problem import Found, Output, Problem, label_logit
from aevis_dash.core.quadratic import exact, fista
from aevis_dash.core.ranking import break_ties, first_order

OUTPUTS = 5
"""Logits that the approximation of several outputs keeps: the label's and those of the likeliest other classes."""


def quadratic(problem: Problem, _progress: Progress) -> Found:
    """The label's logit alone: the exact solution; 1 pass."""
    q = first_order(problem, label_logit)
    gates = exact(q / _scale(q), problem.parameters.sparsity)
    return Found(break_ties(gates, q), soft=gates)


def quadratic_several(problem: Problem, progress: Progress) -> Found:
    """The logits of the likeliest classes by projected FISTA; a pass for each class. Only for rows of one image each
    are the classes the image's own; a set takes those of its mean prediction."""
    mean = torch.stack([problem.mean(p) for p in problem.full.unbind(1)], dim=1)
    wanted = min(OUTPUTS, mean.shape[1])
    classes = mean.scatter(1, problem.labels[:, None], 2.0).topk(wanted, dim=1).indices
    effects = []
    for i in range(wanted):
        progress(i / wanted, "expanding the logits")
        effects.append(first_order(problem, _logit_of(classes[:, i])))
    q = torch.stack(effects, dim=1)
    gates = fista(q / _scale(q[:, 0])[:, None], problem.parameters.sparsity)
    return Found(break_ties(gates, q[:, 0]), soft=gates)


def _logit_of(classes: torch.Tensor) -> Output:
    return lambda problem, logits: logits.gather(1, classes[problem.rows][:, None])[:, 0]


def _scale(q: torch.Tensor) -> torch.Tensor:
    """(R, 1) the change of the label's logit when all maps go, to first order: what the loss is measured in."""
    return q.sum(1, keepdim=True).abs().clamp_min(1e-30)
