"""The relaxations: gates in [0, 1] found by descent (Eq. 3 and 5 of the paper), and the published variants.

    Eq. 5   z_i = argmin over [0, 1]^n of  ||p(x) - p(x; z)||^2 + lambda |z|_1 / n + gamma sum_j ||z_j - z||_2 / sqrt(n)

where j runs over the datapaths already found; Eq. 3 solves all of a batch together, j running over the others in
it. The size term is divided by n and distances by sqrt(n), so that lambda and gamma mean the same in any network.

The start is ours, where the paper says nothing. ||p - p(z)||^2 has no gradient at z = 1, and a descent from there
lets all gates sink together. The solver starts where the gradient lives: from the smallest complete set of the
gradient x activation ranking that keeps the label and `hold` of its probability.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from aevis_dash.config import Progress
from aevis_dash.core.hard_sets import smallest_complete
from aevis_dash.core.optimize import Descent, Objective, root_mean_square, settle, solve
from aevis_dash.core.problem import Found, Problem, label_logit
from aevis_dash.core.ranking import break_ties, first_order

Term = Callable[[Problem, Tensor], Tensor]
"""Gates (R, n) to a number for each row (R,)."""


def constrained(problem: Problem, progress: Progress) -> Found:
    """Eq. 5, the constrained chain: the paper's method."""
    return _from_ranking(problem, eq5(problem, mean_gate, Problem.coherence), progress)


def joint(problem: Problem, progress: Progress) -> Found:
    """Eq. 3: the rows of the batch are solved together, each held near all others (and near the given ones)."""
    return _from_ranking(problem, eq5(problem, mean_gate, _mutual), progress, climbs=True)


def unconstrained(problem: Problem, progress: Progress) -> Found:
    """Eq. 5 with gamma = 0: only beside this one is it seen what the constraint adds."""
    return _from_ranking(problem, eq5(problem, mean_gate, _nothing), progress)


def size_squared(problem: Problem, progress: Progress) -> Found:
    """The 2018 predecessor: the square of the size, (|z|_1 / n)^2, in Eq. 5."""
    return _from_ranking(problem, eq5(problem, _squared_mean_gate, Problem.coherence), progress)


def soft(problem: Problem, progress: Progress) -> Found:
    """Soft gates from all ones by Adam, soft cross-entropy in place of the squared difference; no ranking."""
    gates = _descend(problem, _cross_entropy_and_size(problem), problem.whole(), Descent(STEPS, 0.1), progress)
    return Found(gates)


def straight_through(problem: Problem, progress: Progress) -> Found:
    """Hard gates in the forward run, their gradient passed straight to soft ones; the start is random by the seed.

    All maps are open at first, so that there is a prediction to follow, and close as their gates fall below one half.
    The gates are those of the smallest hard set that keeps the label, of all that the descent came by.
    """
    generator = torch.Generator().manual_seed(problem.parameters.seed)
    start = 0.5 + 0.1 * torch.rand(1, problem.shape[1], generator=generator).to(problem.x)
    inner = _cross_entropy_and_size(problem)

    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        """The slope is the loss's, by which it descends; the value is the size, by which iterates are chosen."""
        hard = _through(z)
        loss, kept = inner(hard)
        return hard.detach().mean(1) + loss - loss.detach(), kept

    gates = _descend(problem, objective, start.expand(problem.shape), Descent(STEPS, 0.1), progress)
    return Found(gates, soft=(gates > 0.5).to(gates.dtype), core=gates > 0.5)


def dgr(problem: Problem, progress: Progress) -> Found:
    """DGR (Wang, Su, Zhang, Hu, CVPR 2018), the paper's comparison, by its authors' settings.

    Soft cross-entropy(p, p(z)) + 0.05 |z|_1 from all ones; SGD 0.1, momentum 0.9, 30 iterations, a fresh optimiser
    for each image; clamped to [0, 100] in networks with skip connections and to [0, 5] in plain ones; the iterate of
    lowest loss that keeps the top class. Its authors gate block outputs only; here its gates sit where all methods'
    do, so that sizes and sets can be compared. `gates` are its gates over the row's largest.
    """
    descent = Descent(30, 0.1, momentum=0.9, upper=100.0 if _has_skips(problem) else 5.0)

    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        loss, kept = _cross_entropy(problem, z)
        return loss + 0.05 * z.sum(1), kept

    gates = _descend(problem, objective, problem.whole(), descent, progress)
    return Found(gates / gates.amax(1, keepdim=True).clamp_min(1), soft=gates)


def eq5(problem: Problem, size: Term, coherence: Term) -> Objective:
    """Eq. 5 of each row with that size term and that term between datapaths."""
    lam, gamma = problem.parameters.sparsity, problem.parameters.coherence

    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        p = problem.logits(z).softmax(1)
        loss = problem.mean((problem.full - p).square().sum(1)) + lam * size(problem, z)
        return loss + gamma * coherence(problem, z), problem.keeps(p)

    return objective


def mean_gate(_problem: Problem, z: Tensor) -> Tensor:
    """(R,) the size term |z|_1 / n of gates z (R, n) from 0 to 1, taken as their mean.

    The absolute value has the slope 0 at 0, so that with it closed gates could open at no cost.
    """
    return z.mean(1)


STEPS = 19
"""Steps of *soft* and *straight-through*: with their hard sets they then cost as many passes as the default method."""
_PRICE = 3.0
"""Weight of the mean gate beside the cross-entropy: a nat for a third of the maps."""


def _squared_mean_gate(problem: Problem, z: Tensor) -> Tensor:
    return mean_gate(problem, z).square()


def _nothing(_problem: Problem, z: Tensor) -> Tensor:
    return z.new_zeros(len(z))


def _mutual(problem: Problem, z: Tensor) -> Tensor:
    """The coupling of Eq. 3, every pair seen from both sides, and the given datapaths."""
    others = sum((root_mean_square(other - z) for other in z.unsqueeze(1)), z.new_zeros(len(z)))
    return others + problem.coherence(z)


def _cross_entropy_and_size(problem: Problem) -> Objective:
    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        loss, kept = _cross_entropy(problem, z)
        return loss + _PRICE * mean_gate(problem, z), kept

    return objective


def _cross_entropy(problem: Problem, z: Tensor) -> tuple[Tensor, Tensor]:
    logits = problem.logits(z)
    return problem.mean(-(problem.full * logits.log_softmax(1)).sum(1)), problem.keeps(logits)


def _through(z: Tensor) -> Tensor:
    return (z > 0.5).to(z.dtype) + z - z.detach()


def _has_skips(problem: Problem) -> bool:
    later = [b for _, b in problem.network.layers.edges]
    return len(later) > len(set(later))


def _from_ranking(problem: Problem, objective: Objective, progress: Progress, climbs: bool = False) -> Found:
    order = first_order(problem, label_logit)
    start = smallest_complete(problem, order, problem.parameters.hold).to(order.dtype)
    wanted = problem.parameters
    told = lambda step: progress(step / wanted.iterations, "solving for the gates")  # noqa: E731
    found = settle(objective, [start], wanted.iterations, wanted.learning_rate, wanted.sparsity, told, climbs)
    return Found(break_ties(found.gates, order), soft=found.gates, loss=found.loss, slack=found.slack)


def _descend(problem: Problem, objective: Objective, start: Tensor, descent: Descent, progress: Progress) -> Tensor:
    return solve(objective, start, descent, lambda step: progress(step / descent.iterations, "solving for the gates"))
