"""Contribution analysis: which maps of an earlier layer make selected neurons fire (Sec. 5.4, Eq. 7 and 8).

    z = argmin over [0, 1]^n of  sum_i ||f(x_i) - f(x_i; z_i)||^2 / ||f(x_i)||^2 + lambda |z_i|_1 / n
                                 + gamma sum_i sum_{j != i} ||z_j - z_i||_2 / sqrt(n)

f, the *effect*, are the activations of the selected neurons of one map, or the predicted label's logit minus the mean
of all logits. z_i gates the maps of the earlier layer inside the selection's receptive field, and i runs jointly over
the compared images. Only the part of the graph between the two layers runs.

A gate of 0 silences a map in Eq. 7 and 8. That answers what the neurons fire on. It does not answer what an attack
changed, since maps that fire alike on both images take part. So the maps can be moved towards a *foil* instead, which
is usually the other image of the pair (this is ours). With b the foil's activation of the earlier layer and a the
image's own, the layer then is b + z (a - b), and the first term is divided by what exchanging the whole layer changes:

    sum_i ||f(x_i) - f(x_i; z_i)||^2 / ||f(x_i) - f(x_i; 0)||^2

Where the prediction is explained against an image of another class, f is the margin of the image's label over that
class. What bypasses the earlier layer stays the image's own.

Notation: m compared images, n_prev maps of the earlier layer (the n of the formula).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import ContributionParameters, Progress, silent
from aevis_dash.core import quadratic
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.contribution_problem import ContributionProblem, FoilRun
from aevis_dash.core.modelled import descend
from aevis_dash.domain import LEFT, AreaOfInterest, Contribution, FeatureMap

ROWS = 24
"""The number of maps that are closed, each alone, in one batch."""


def contribute(
    classifier: Classifier,
    images: np.ndarray,
    target: FeatureMap,
    area: AreaOfInterest,
    layer: int,
    parameters: ContributionParameters,
    progress: Progress = silent,
    method: str = "solved",
    foil: FoilRun | None = None,
) -> Contribution:
    """Find how much the maps of one layer contribute to an area of a later map, jointly for the compared images.

    An image on which the area does not fire, or fires as much with the foil's maps, has nothing to explain: its row is
    0, and it takes no part in the solution.

    Args:
        images: the compared images, 8 bit, (m, H, W, C).
        target: the later map, or PREDICTION for the logit of each image's own label.
        area: the neurons of the target that are explained.
        layer: the index of the earlier layer.
        parameters: lambda, gamma and the settings of the solver.
        progress: is told how far the work is.
        method: one of CONTRIBUTIONS. "solved" descends on Eq. 7 and 8. "quadratic" expands the size of f to first order
            at z = 1, in one pass and for each image by itself (gamma = 0). "exact" closes every map alone.
        foil: what a map at gate 0 is; None for silence, as in the paper.

    Raises:
        AevisError: `layer` does not feed the target's layer.
    """
    begun = time.perf_counter()
    problem = ContributionProblem(classifier, images, target, area, layer, parameters, foil)
    answer = _METHODS[method](problem, progress)
    return Contribution(
        target=target,
        area=area,
        layer=layer,
        method=method,
        values=_plain(answer.gates),
        share=_plain(answer.share),
        residual=_plain(answer.unexplained),
        effect=_plain(problem.effect),
        change=_plain(problem.change),
        left=answer.left,
        foil="zero" if foil is None else foil.name,
        passes=problem.passes,
        seconds=time.perf_counter() - begun,
        loss=answer.loss,
    )


def _plain(values: Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.float32)


@dataclass(frozen=True)
class _Answer:
    """A method's answer: gates and shares (m, n_prev), the unexplained part (m,), and a solver's loss and the share of
    it that the solver's model would take off in one more step.
    """

    gates: Tensor
    share: Tensor
    unexplained: Tensor
    loss: float = float("nan")
    left: float = float("nan")


def _solve(problem: ContributionProblem, progress: Progress) -> _Answer:
    """Descend from the best start and from all ones, since each of them alone ends in a bad basin of some problems."""
    p, best = problem.parameters, problem.start()
    starts = [best, torch.ones_like(best)]
    steps = p.iterations * len(starts)

    def told_from(done: int) -> Callable[[int], None]:
        return lambda step: progress((done + step) / steps, f"solving Eq. 7, step {done + step + 1} of {steps}")

    ends = [
        descend(
            problem.parts, z, p.iterations, p.learning_rate, told_from(i * p.iterations), together=True, settled=LEFT
        )
        for i, z in enumerate(starts)
    ]
    found = min(ends, key=lambda end: float(end.loss.sum()))
    left = float(found.promised[0]) if problem.alive.any() else 0.0
    return replace(_make_answer(problem, found.gates), loss=float(found.loss.mean()), left=left)


def _quadratic(problem: ContributionProblem, _progress: Progress) -> _Answer:
    """Solve Eq. 7 on the first-order expansion of the size of f.

    Where the shares sum to nothing or less, f does not rest on these maps to first order, and closing them all would be
    best. Then the answer is the fewest maps of positive share that explain f.
    """
    gates = quadratic.exact(problem.share, problem.parameters.sparsity)
    return _make_answer(problem, torch.where(problem.share.sum(1, keepdim=True) > 0, gates, problem.fewest()))


def _make_answer(problem: ContributionProblem, gates: Tensor) -> _Answer:
    gates = torch.where(problem.alive[:, None], gates, torch.zeros_like(gates))
    return _Answer(gates, problem.share, problem.unexplained_by(gates))


def _exact(problem: ContributionProblem, progress: Progress) -> _Answer:
    share, alive = torch.zeros_like(problem.share), torch.nonzero(problem.alive).flatten().tolist()
    maps = torch.arange(share.shape[1], device=share.device).split(ROWS)
    for i, row in enumerate(alive):
        for k, some in enumerate(maps):
            progress((i + k / len(maps)) / len(alive), "closing every map alone")
            share[row, some] = problem.lost_without(row, some)
    open_gates = problem.alive[:, None].to(share.dtype).expand_as(share)
    return _Answer(open_gates, share, torch.full_like(problem.effect, torch.nan))


_METHODS: dict[str, Callable[[ContributionProblem, Progress], _Answer]] = {
    "solved": _solve,
    "quadratic": _quadratic,
    "exact": _exact,
}
