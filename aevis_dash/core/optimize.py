"""The one solver loop, shared by datapath extraction (Eq. 5) and contribution analysis (Eq. 7, 8)."""

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gates (B, n) to the loss of each row (B,), differentiable, and whether the row is acceptable (B,) bool."""


def solve(
    objective: Objective,
    start: Tensor,
    iterations: int,
    learning_rate: float,
    on_step: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """Minimise the objective over the box [0, 1]^n by projected Adam, row by row.

    The step length falls linearly from `learning_rate` to a tenth of it, so that the last steps settle.
    Returns the acceptable iterate of smallest loss for each row (B, n), the start where none was acceptable.
    Runs the objective `iterations` times with its gradient and once without. `on_step` may raise to cancel.
    """
    z = start.detach().clone().requires_grad_()
    best = _Best(start)
    adam = torch.optim.Adam([z], lr=learning_rate, betas=(0.9, 0.99))
    for step in range(iterations):
        on_step(step)
        adam.param_groups[0]["lr"] = learning_rate * (1 - 0.9 * step / iterations)
        with torch.enable_grad():
            loss, accepted = objective(z)
            z.grad = torch.autograd.grad(loss.sum(), z)[0]
        best.offer(z, loss, accepted)
        adam.step()
        with torch.no_grad():
            z.clamp_(0, 1)
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
