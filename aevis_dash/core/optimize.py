"""The one solver loop, shared by datapath extraction (Eq. 5) and contribution analysis (Eq. 7, 8)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gates (B, n) to the loss of each row (B,), differentiable, and whether the row is acceptable (B,) bool."""


@dataclass(frozen=True)
class Descent:
    """How to descend: Adam with a step length that falls linearly to a tenth, so that the last steps settle, or
    plain SGD with momentum at a constant one; `upper` is the highest gate allowed."""

    iterations: int
    learning_rate: float
    momentum: float | None = None
    upper: float = 1.0

    def optimizer(self, z: Tensor) -> torch.optim.Optimizer:
        if self.momentum is None:
            return torch.optim.Adam([z], lr=self.learning_rate, betas=(0.9, 0.99))
        return torch.optim.SGD([z], lr=self.learning_rate, momentum=self.momentum)

    def rate(self, step: int) -> float:
        falling = 0.9 * step / self.iterations if self.momentum is None else 0.0
        return self.learning_rate * (1 - falling)


def solve(
    objective: Objective, start: Tensor, descent: Descent, on_step: Callable[[int], None] = lambda step: None
) -> Tensor:
    """Minimise the objective over the box [0, upper]^n by projected gradient steps, row by row.

    Returns the acceptable iterate of smallest loss for each row (B, n), the start where none was acceptable.
    Runs the objective `iterations` times with its gradient and once without. `on_step` may raise to cancel.
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


class _Best:
    def __init__(self, start: Tensor):
        self.gates = start.detach().clone()
        self._loss = start.new_full((len(start),), torch.inf)

    def offer(self, z: Tensor, loss: Tensor, accepted: Tensor) -> None:
        better = accepted & (loss.detach() < self._loss)
        self.gates[better] = z.detach()[better]
        self._loss = torch.where(better, loss.detach(), self._loss)


def root_mean_square(difference: Tensor) -> Tensor:
    """||d||_2 / sqrt(n) of each row of (B, n): (B,). Its gradient at 0 is 0, not NaN."""
    return torch.linalg.vector_norm(difference, dim=1) / difference.shape[1] ** 0.5
