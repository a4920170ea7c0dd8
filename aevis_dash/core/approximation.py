"""The quadratic approximation of datapath extraction: Eq. 5 on the first-order expansion of the logits at z = 1.

Both methods share the interface of all extraction methods: they take a Problem and give what they found.
"""

import torch

from aevis_dash.config import Progress
from aevis_dash.core.problem import Found, Output, Problem, label_logit
from aevis_dash.core.quadratic import exact, fista
from aevis_dash.core.ranking import break_ties, first_order

OUTPUTS = 5
"""The number of logits that `quadratic_several` keeps: the label's and those of the likeliest other classes."""


def quadratic(problem: Problem, _progress: Progress) -> Found:
    """Extract datapaths from the first-order expansion of the label's logit alone, whose exact solution takes one
    pass.
    """
    q = first_order(problem, label_logit)
    gates = exact(q / _scale(q), problem.parameters.sparsity)
    return Found(break_ties(gates, q), soft=gates)


def quadratic_several(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths from the first-order expansion of the logits of the likeliest classes, by projected FISTA.

    It takes one pass for each class. The classes are those of the row's mean prediction; for a row of one image they
    are the image's own.
    """
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
    """Give the change of the label's logit when all maps go, to first order, (R, 1); the loss is measured in its
    unit.
    """
    return q.sum(1, keepdim=True).abs().clamp_min(1e-30)
