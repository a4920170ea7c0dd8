"""The relaxations: gates in [0, 1] found by descent (Eq. 3 and 5 of the paper), and the published variants.

    Eq. 5   z_i = argmin over [0, 1]^n of  ||p(x) - p(x; z)||^2 + lambda |z|_1 / n + gamma sum_j ||z_j - z||_2 / sqrt(n)

where j runs over the datapaths already found. Eq. 3 solves all of a batch together, j running over the others in it.
The size term is divided by n and distances by sqrt(n), so that lambda and gamma mean the same in any network.

The start is ours, where the paper says nothing. ||p - p(z)||^2 has no gradient at z = 1, and a descent from there lets
all gates sink together. So the solver starts where there is a gradient: from the smallest complete set of the gradient
x activation ranking (for `needed`: of the ranking against the foil) that keeps the label and `hold` of its probability.
`core.modelled` descends from there. Eq. 3 alone, whose rows are coupled, is solved by `optimize.settle`, by steps that
may climb.

R is the number of rows, which are the datapaths to find.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from aevis_dash.config import Progress, part_of
from aevis_dash.core.elimination import against_foils, by_place, cohering
from aevis_dash.core.hard_sets import smallest_complete
from aevis_dash.core.modelled import Parts, descend
from aevis_dash.core.optimize import PATIENCE, Descent, Objective, root_mean_square, settle, solve
from aevis_dash.core.problem import Found, Problem, label_logit, supported_first
from aevis_dash.core.ranking import break_ties, first_order

Term = Callable[[Problem, Tensor], Tensor]
"""A function of a problem and its gates (R, n) that gives one number for each row, (R,)."""


def constrained(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by the paper's method, the constrained chain of Eq. 5."""
    return _from_ranking(problem, eq5(problem, mean_gate, Problem.coherence), progress)


def needed(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by the constrained chain of Eq. 5, started from the ranking against the foil.

    The start is the smallest complete set of that ranking (`elimination.against_foils`) that keeps the label and `hold`
    of its probability. Equal gates follow the ranking.
    """
    ranking = foil_ranking(problem, part_of(progress, 0, 0.2))
    return _descended(problem, eq5(problem, mean_gate, Problem.coherence), ranking, part_of(progress, 0.2, 0.8))


def needed_from_ones(problem: Problem, progress: Progress) -> Found:
    """Do as `needed` does, but start with all gates open: what is left without its start."""
    ranking = foil_ranking(problem, part_of(progress, 0, 0.2))
    parts, inner = eq5(problem, mean_gate, Problem.coherence), part_of(progress, 0.2, 0.8)
    return _descended(problem, parts, ranking, inner, problem.whole())


def needed_untied(problem: Problem, progress: Progress) -> Found:
    """Do as `needed` does, but leave equal gates in the order of their maps: what is left without that of the
    ranking.
    """
    found = needed(problem, progress)
    assert found.soft is not None
    return replace(found, gates=found.soft)


def ranking_alone(problem: Problem, progress: Progress) -> Found:
    """Give the ranking against the foil that `needed` starts from, without Eq. 5; gates fall with the place."""
    return Found(by_place(foil_ranking(problem, progress)))


def foil_ranking(problem: Problem, progress: Progress) -> Tensor:
    """Rank the maps against the foils: the order (R, n), highest first; maps that do not support the label are last."""
    effect, supports = against_foils(problem, progress)
    return supported_first(by_place(cohering(problem, effect)), supports)


def joint(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by Eq. 3: the rows of the batch are solved together, each held near all others and the given
    ones.
    """
    parts, order = eq5(problem, mean_gate, _mutual), first_order(problem, label_logit)

    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        far, rest, kept = parts(z)
        return far + rest, kept

    wanted, start = problem.parameters, start_of(problem, order)
    found = settle(objective, start, wanted.iterations, wanted.learning_rate, _told(problem, progress), climbs=True)
    return Found(break_ties(found.gates, order), soft=found.gates, loss=found.loss, left=found.falling / PATIENCE)


def unconstrained(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by Eq. 5 with gamma = 0; only beside this method can it be seen what the constraint adds."""
    return _from_ranking(problem, eq5(problem, mean_gate, _nothing), progress)


def size_squared(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths as the 2018 predecessor does, with the square of the size, (|z|_1 / n)^2, in Eq. 5."""
    return _from_ranking(problem, eq5(problem, _squared_mean_gate, Problem.coherence), progress)


def soft(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by Adam from gates that are all 1, without a ranking.

    Soft cross-entropy stands in place of the squared difference of Eq. 5.
    """
    gates = _descend(problem, _cross_entropy_and_size(problem), problem.whole(), Descent(STEPS, 0.1), progress)
    return Found(gates)


def straight_through(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by hard gates in the forward run, whose gradient is passed straight to soft ones.

    The start is random by the seed. All maps are open at first, so that there is a prediction to follow, and close as
    their gates fall below one half. The gates are those of the smallest hard set that keeps the label, of all that the
    descent came by.
    """
    generator = torch.Generator().manual_seed(problem.parameters.seed)
    start = 0.5 + 0.1 * torch.rand(1, problem.shape[1], generator=generator).to(problem.x)
    inner = _cross_entropy_and_size(problem)

    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        """Give the size as the value, by which iterates are chosen, and the loss's slope, by which the gates
        descend.
        """
        hard = _through(z)
        loss, kept = inner(hard)
        return hard.detach().mean(1) + loss - loss.detach(), kept

    gates = _descend(problem, objective, start.expand(problem.shape), Descent(STEPS, 0.1), progress)
    return Found(gates, soft=(gates > 0.5).to(gates.dtype), core=gates > 0.5)


def dgr(problem: Problem, progress: Progress) -> Found:
    """Extract datapaths by DGR (Wang, Su, Zhang, Hu, CVPR 2018), the paper's comparison, with its authors' settings.

    The loss is soft cross-entropy(p, p(z)) + 0.05 |z|_1, from gates that are all 1. It descends by SGD with learning
    rate 0.1 and momentum 0.9 in 30 iterations, with a momentum that begins at 0 for each image. Gates are clamped to
    [0, 100] in networks with skip connections and to [0, 5] in plain ones. The answer is the iterate of lowest loss
    that keeps the top class.

    DGR's authors gate block outputs only. Here its gates sit where all methods' do, so that sizes and sets can be
    compared. `gates` are its gates over the row's largest, where that is above 1.
    """
    descent = Descent(30, 0.1, momentum=0.9, upper=100.0 if _has_skips(problem) else 5.0)

    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        loss, kept = _cross_entropy(problem, z)
        return loss + 0.05 * z.sum(1), kept

    gates = _descend(problem, objective, problem.whole(), descent, progress)
    return Found(gates / gates.amax(1, keepdim=True).clamp_min(1), soft=gates)


def eq5(problem: Problem, size: Term, coherence: Term) -> Parts:
    """Make the two parts of the objective of Eq. 5 for each row: the prediction's difference, and the other two terms.

    Args:
        problem: the images, and lambda and gamma among its parameters.
        size: the size term, which lambda weighs.
        coherence: the term between datapaths, which gamma weighs.
    """
    lam, gamma = problem.parameters.sparsity, problem.parameters.coherence

    def parts(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p = problem.logits(z).softmax(1)
        far = problem.mean((problem.full - p).square().sum(1))
        return far, lam * size(problem, z) + gamma * coherence(problem, z), problem.keeps(p)

    return parts


def mean_gate(_problem: Problem, z: Tensor) -> Tensor:
    """Give the size term |z|_1 / n of gates z (R, n) from 0 to 1, taken as their mean: (R,).

    The absolute value has the slope 0 at 0, so with it closed gates could open at no cost.
    """
    return z.mean(1)


STEPS = 19
"""The number of steps of *soft* and *straight-through*: with their hard sets they then cost as many passes as
*elimination*."""
_PRICE = 3.0
"""The weight of the mean gate beside the cross-entropy: a nat for a third of the maps."""


def _squared_mean_gate(problem: Problem, z: Tensor) -> Tensor:
    return mean_gate(problem, z).square()


def _nothing(_problem: Problem, z: Tensor) -> Tensor:
    return z.new_zeros(len(z))


def _mutual(problem: Problem, z: Tensor) -> Tensor:
    """Give the coupling of Eq. 3, every pair seen from both sides, plus that with the given datapaths."""
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


def _from_ranking(problem: Problem, parts: Parts, progress: Progress) -> Found:
    return _descended(problem, parts, first_order(problem, label_logit), progress)


def _descended(problem: Problem, parts: Parts, order: Tensor, progress: Progress, start: Tensor | None = None) -> Found:
    """Descend from the smallest complete set of a ranking (R, n), or from another start; equal gates follow the
    ranking.
    """
    wanted = problem.parameters
    told = _told(problem, progress)
    found = descend(
        parts, start_of(problem, order) if start is None else start, wanted.iterations, wanted.learning_rate, told
    )
    return Found(break_ties(found.gates, order), soft=found.gates, loss=found.loss, left=found.promised)


def start_of(problem: Problem, order: Tensor) -> Tensor:
    """Give the smallest complete set of an order (R, n) that keeps the label and `hold` of its probability, as
    gates.
    """
    return smallest_complete(problem, order, problem.parameters.hold).to(order.dtype)


def _told(problem: Problem, progress: Progress) -> Callable[[int], None]:
    steps = problem.parameters.iterations
    return lambda step: progress(step / steps, "solving for the gates")


def _descend(problem: Problem, objective: Objective, start: Tensor, descent: Descent, progress: Progress) -> Tensor:
    return solve(objective, start, descent, lambda step: progress(step / descent.iterations, "solving for the gates"))
