"""The solver loops along the gradient: gates from 0 to 1 that make an objective as small as possible.

`settle` is the careful descent of Eq. 3, whose rows are coupled; Eq. 5, 7 and 8 are solved by `core.modelled`. `solve`
is the plain one by which the published variants are defined. There are B rows of n gates each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A function of gates (B, n): the loss of each row (B,), differentiable, and whether the row is acceptable, bool
(B,)."""


@dataclass(frozen=True)
class Descent:
    """The settings of a descent by `solve`.

    Attributes:
        iterations: the number of steps.
        learning_rate: the step length at first, in units of a gate for Adam.
        momentum: None for Adam with a step length that falls linearly to a tenth, so that the last steps settle;
            otherwise the momentum of plain SGD at a constant step length.
        upper: the highest gate allowed.
    """

    iterations: int
    learning_rate: float
    momentum: float | None = None
    upper: float = 1.0

    def optimizer(self, z: Tensor) -> torch.optim.Optimizer:
        """Make the optimizer that descends by the gates z (R, n)."""
        if self.momentum is None:
            return torch.optim.Adam([z], lr=self.learning_rate, betas=(0.9, 0.99))
        return torch.optim.SGD([z], lr=self.learning_rate, momentum=self.momentum)

    def rate(self, step: int) -> float:
        """Give the step length at a step, counted from 0."""
        falling = 0.9 * step / self.iterations if self.momentum is None else 0.0
        return self.learning_rate * (1 - falling)


def solve(
    objective: Objective, start: Tensor, descent: Descent, on_step: Callable[[int], None] = lambda step: None
) -> Tensor:
    """Minimise the objective over the box [0, upper]^n by projected gradient steps, row by row.

    The objective is run `iterations` times with its gradient and once without.

    Args:
        objective: what is minimised.
        start: the gates to begin with, (B, n).
        descent: how to descend.
        on_step: is told the number of each step; it may raise to cancel.

    Returns:
        The acceptable iterate of smallest loss for each row, (B, n); the start where none was acceptable.
    """
    z = start.detach().clone().requires_grad_()
    best, optimizer = _Best(start), descent.optimizer(z)
    for step in range(descent.iterations):
        on_step(step)
        optimizer.param_groups[0]["lr"] = descent.rate(step)
        with torch.enable_grad():
            loss, accepted = objective(z)
            z.grad = torch.autograd.grad(loss.sum(), z)[0]
        best.offer(z, loss, accepted)
        optimizer.step()
        with torch.no_grad():
            z.clamp_(0, descent.upper)
    with torch.no_grad():
        best.offer(z, *objective(z))
    return best.gates


@dataclass(frozen=True)
class Settled:
    """The answer of `settle`, row by row.

    Attributes:
        gates: the best acceptable gates, (B, n); the start where none were acceptable.
        loss: their loss, (B,); infinite where none were acceptable.
        falling: the share of the loss by which it fell in the last PATIENCE steps, (B,): near 0 where the descent had
            come to its end, infinite where there were not so many steps before; NaN where none were acceptable.
    """

    gates: Tensor
    loss: Tensor
    falling: Tensor


def settle(
    objective: Objective,
    start: Tensor,
    iterations: int,
    learning_rate: float,
    on_step: Callable[[int], None] = lambda step: None,
    climbs: bool = False,
) -> Settled:
    """Minimise the objective over the box [0, 1]^n.

    The steps have Adam's length (betas 0.9 and 0.99) and never climb. A step that raises a row's loss, or that the
    objective does not accept, is taken back, and the row goes on along its gradient with half the length. A step that
    is kept makes the next one longer by the factor GROWS, up to `learning_rate`. Without that, one step that loses the
    label could end a descent where it began. A row ends early where the last PATIENCE steps lowered its loss by no more
    than the share SETTLED.

    Args:
        objective: what is minimised.
        start: the gates to begin with, (B, n).
        iterations: the most steps.
        learning_rate: the longest step, in units of a gate.
        on_step: is told the number of the step; it may raise to cancel.
        climbs: whether a step that raises the loss is kept; the length then falls linearly to a tenth. This is for rows
            that are coupled by a distance: where two of them agree it has a kink, at which every single step may climb.
    """
    return _Careful(objective, start, iterations, learning_rate, on_step, climbs).settle()


class _Careful:
    """The descent of `settle` from one start."""

    def __init__(
        self,
        objective: Objective,
        start: Tensor,
        iterations: int,
        learning_rate: float,
        on_step: Callable[[int], None],
        climbs: bool,
    ):
        self._objective, self._climbs = objective, climbs
        self._gates = self._at = trial = start.detach().clone()
        self._loss = start.new_full((len(start),), torch.inf)
        self._slope, self._mean, self._square = (torch.zeros_like(trial) for _ in range(3))
        self._taken, self._length = start.new_zeros(len(start), 1), start.new_ones(len(start), 1)
        self._ended = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        self._losses = losses = [torch.full_like(self._loss, torch.inf)]
        for step in range(iterations + 1):
            on_step(step)
            kept = self._try(trial)
            losses.append(self._loss)
            if step >= PATIENCE:
                self._ended |= losses[-1 - PATIENCE] - losses[-1] <= SETTLED * losses[-1]
            if self._ended.all():
                break
            length = learning_rate * (1 - 0.9 * (step + 1) / iterations if climbs else 1.0) * self._length
            trial = (self._at - length * self._direction(kept)).clamp(0, 1)

    def settle(self) -> Settled:
        """Give the gates, their loss and how it falls. Where nothing was acceptable these are the start, infinity and
        NaN.
        """
        before = self._losses[max(0, len(self._losses) - 1 - PATIENCE)]
        falling = (before - self._loss) / self._loss.clamp_min(torch.finfo(self._loss.dtype).tiny)
        return Settled(self._gates, self._loss, torch.where(self._loss.isfinite(), falling, torch.nan))

    def _try(self, trial: Tensor) -> Tensor:
        """Try gates; tell whether each row goes on from there, (B, 1), or from where it was. The best gates are
        remembered.
        """
        z = trial.clone().requires_grad_()
        with torch.enable_grad():
            loss, accepted = self._objective(z)
            gradient = torch.autograd.grad(loss.sum(), z)[0]
        better = accepted & (loss.detach() < self._loss) & ~self._ended
        kept = ((accepted & ~self._ended) if self._climbs else better)[:, None]
        first = self._taken == 0
        self._loss = torch.where(better, loss.detach(), self._loss)
        self._gates = torch.where(better[:, None], trial, self._gates)
        self._at = torch.where(kept, trial, self._at)
        self._slope = torch.where(kept | first, gradient, self._slope)
        self._mean = torch.where(kept, 0.9 * self._mean + 0.1 * gradient, self._mean)
        self._square = torch.where(kept | first, 0.99 * self._square + 0.01 * gradient.square(), self._square)
        self._taken = self._taken + (kept | first)
        self._length = torch.where(kept, (GROWS * self._length).clamp_max(1), self._length / 2)
        return kept

    def _direction(self, kept: Tensor) -> Tensor:
        mean = torch.where(kept, self._mean / (1 - 0.9**self._taken), self._slope)
        return mean / ((self._square / (1 - 0.99**self._taken)).sqrt() + 1e-8)


GROWS = 1.2
"""The factor by which a step that is kept makes the next one of `settle` longer."""
SETTLED, PATIENCE = 1e-3, 10
"""The share by which the loss has to fall, and the number of steps in which it has to, or `settle` ends."""


class _Best:
    def __init__(self, start: Tensor):
        self.gates = start.detach().clone()
        self._loss = start.new_full((len(start),), torch.inf)

    def offer(self, z: Tensor, loss: Tensor, accepted: Tensor) -> None:
        better = accepted & (loss.detach() < self._loss)
        self.gates[better] = z.detach()[better]
        self._loss = torch.where(better, loss.detach(), self._loss)


def root_mean_square(difference: Tensor) -> Tensor:
    """Give ||d||_2 / sqrt(n) of each row of d (B, n): (B,). Its gradient at 0 is 0, not NaN."""
    return torch.linalg.vector_norm(difference, dim=1) / difference.shape[1] ** 0.5
