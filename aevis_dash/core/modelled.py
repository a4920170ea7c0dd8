"""The descent on Eq. 5, 7 and 8: each step solves a convex model of the loss exactly, within a box.

A row's loss has two parts. One is how far the gated prediction is from the full one, D = ||p - p(z)||^2. The other, R,
holds the price of open gates and the distance to other datapaths. Near an answer D is about (1 - p)^2 and p is nearly
1, so D is exponential in the logits, and these are nearly linear in the gates. So around the gates z the loss is
modelled as

    M(d) = D exp(<D', d> / D) + R + <R', d> + h/2 ||d||^2,        D' and R' the gradients at z,

for changes d of the gates. h is the curvature of R, as its gradients told it along the step before; where R is the
price alone it is 0. M is convex, and its least value over |d_k| <= r that keeps the gates from 0 to 1 is found exactly:
with a weight w of D', each gate goes to -(R'_k + w D'_k) / h or as near to it as it may, and the right w is the one for
which w = exp(<D', d> / D). That takes a bisection and no run of the network.

Where p is not near 1, D has a valley in which the exponential foretells little. A second model of D has the curvature
that the last run told: D + <D', d> + <y, d>^2 / (2 <y, s>), where s is how far that run was from z, and y how much D'
differed there. It is solved in the same way. Of the two a row takes the one that foretold D better in its last run.

A step that does not lower the loss, or that is not acceptable, is taken back, and r is made shorter. A step that
lowers the loss by at least half of what the model promised makes r longer, and one that lowers it by less than a tenth
of that makes it shorter. (This is sequential convex programming with a trust region.) Where the price is all that
closes gates, answers lie in corners of the box: almost every gate is 0 or 1. A step along the gradient comes there
slowly; a step of the model ends there. The loss is not convex, so the end is the bottom of one valley, and another
start may end in another.

Nothing in it is random. Each row is a problem of its own, or all rows are one problem, as in Eq. 7 and 8, where the
distance between the rows is a part of R. Then each row still has models of its own, but a step is judged by the sum of
the rows' losses. R is also the number of rows, and n is that of the gates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""A function of gates (R, n): the two parts D and R of each row's loss, (R,) each and differentiable, and whether the
row is acceptable, bool (R,)."""
GROWS, SHRINKS = 1.5, 0.3
"""The factors by which the radius changes after a step."""
SETTLED = 1e-4
"""The share of its loss that the model has to promise of the next step, or the row ends."""
_LEAST = 1e-12
_BISECTIONS, _WIDEST, _STEEPEST = 44, 1e4, 30.0


@dataclass(frozen=True)
class Modelled:
    """The answer of `descend`, row by row.

    Attributes:
        gates: the best acceptable gates, (R, n); the start where none were acceptable.
        loss: their loss, (R,); infinite where none were acceptable.
        promised: the share of the loss by which the model would still lower it in one more step, (R,): at most
            `settled` where the descent had come to its end; NaN where no gates were acceptable. Of rows that are one
            problem it is the share of all their losses.
        steps: the number of steps that were tried until the row had come to its end, int (R,).
    """

    gates: Tensor
    loss: Tensor
    promised: Tensor
    steps: Tensor


@dataclass
class _Point:
    """Gates (R, n), the two parts of their loss (R,), and the gradients of these (R, n)."""

    gates: Tensor
    far: Tensor
    rest: Tensor
    far_slope: Tensor
    rest_slope: Tensor

    @property
    def loss(self) -> Tensor:
        return self.far + self.rest

    def where(self, chosen: Tensor, other: "_Point") -> "_Point":
        """This point in the rows `chosen`, bool (R,), and the other one in the rest."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Point(*(torch.where(chosen[:, None] if a.dim() > 1 else chosen, a, b) for a, b in pairs))


@dataclass(frozen=True)
class _Secant:
    """What the last run told of the curvature of D: y, the change of its gradient (R, n), and <y, s> along the step s,
    (R,), which is 1 where it told none; and the rows that take the second model, bool (R,)."""

    change: Tensor
    along: Tensor
    taken: Tensor


def descend(
    parts: Parts,
    start: Tensor,
    iterations: int,
    radius: float,
    on_step: Callable[[int], None] = lambda step: None,
    together: bool = False,
    settled: float = SETTLED,
) -> Modelled:
    """Minimise a loss over the box [0, 1]^n; it takes one run with its gradient for the start and for each step.

    Args:
        parts: the two parts of the loss.
        start: the gates to begin with, (R, n).
        iterations: the most steps.
        radius: by how much a gate may change in the first step.
        on_step: is told the number of each step; it may raise to cancel.
        together: whether the rows are one problem. A step is then taken where it lowers the sum of their losses and
            every row is acceptable.
        settled: the share of its loss that the model has to promise of the next step, or the row ends.
    """
    on_step(0)
    every = _of_all if together else _of_each
    here, accepted = _look(parts, start.detach().clone())
    good = every(accepted & here.loss.isfinite())
    here.far, here.rest = torch.where(good, here.far, torch.inf), torch.where(good, here.rest, 0.0)
    bend = start.new_zeros(len(start), 1)
    reach = start.new_full((len(start), 1), radius)
    steps = torch.zeros(len(start), dtype=torch.long, device=start.device)
    none = torch.zeros_like(steps, dtype=torch.bool)
    seen = _Secant(torch.zeros_like(start), torch.ones_like(here.far), none)
    trial, gain, grows = _next(here, reach, bend, seen)
    for step in range(1, iterations + 1):
        going = ~_ended(every(here.loss), every(gain), settled)
        if not going.any():
            break
        on_step(step)
        there, accepted = _look(parts, torch.where(going[:, None], trial, here.gates))
        better = every(accepted) & (every(there.loss) < every(here.loss)) & going
        share = every(here.loss - there.loss) / every(gain).clamp_min(_LEAST)
        factor = torch.where(share >= 0.5, GROWS, torch.where(share < 0.1, SHRINKS, 1.0))
        factor = torch.where(better, factor, SHRINKS)[:, None]
        reach = torch.where(going[:, None], (reach * factor).clamp_max(1), reach)
        steps += going
        moved = there.gates - here.gates
        bent = (moved * (there.rest_slope - here.rest_slope)).sum(1) / moved.square().sum(1).clamp_min(_LEAST)
        bend = torch.where(going & bent.isfinite(), bent.clamp_min(0), bend[:, 0])[:, None]
        change = there.far_slope - here.far_slope
        along = (moved * change).sum(1)
        usable = along.isfinite() & (along > _LEAST)
        misses = [(there.far - here.far - grown).abs() for grown in grows]
        seen = _Secant(
            torch.where(usable[:, None], change, torch.zeros_like(change)),
            torch.where(usable, along, 1.0),
            usable & (misses[1] < misses[0]),
        )
        here = there.where(better, here)
        trial, gain, grows = _next(here, reach, bend, seen)
    loss = every(here.loss)
    return Modelled(here.gates, here.loss, torch.where(loss.isfinite(), every(gain) / loss, torch.nan), steps)


def _of_each(values: Tensor) -> Tensor:
    """The values of the rows, (R,), as each row is a problem of its own."""
    return values


def _of_all(values: Tensor) -> Tensor:
    """The sum of the rows' values, or whether all are true, for each row, (R,), as the rows are one problem."""
    return (values.all() if values.dtype == torch.bool else values.sum()).expand(len(values))


def _look(parts: Parts, gates: Tensor) -> tuple[_Point, Tensor]:
    z = gates.clone().requires_grad_()
    with torch.enable_grad():
        far, rest, accepted = parts(z)
        (far_slope,) = torch.autograd.grad(far.sum(), z)
        (rest_slope,) = torch.autograd.grad(rest.sum(), z)
    return _Point(gates, far.detach(), rest.detach(), far_slope, rest_slope), accepted


def _ended(loss: Tensor, gain: Tensor, settled: float) -> Tensor:
    """Whether rows have come to their end; a row whose start is not acceptable goes on."""
    return loss.isfinite() & ~(gain > settled * loss)


def _next(here: _Point, reach: Tensor, bend: Tensor, seen: _Secant) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Find the gates of least modelled loss within the radius `reach` (R, 1); `bend` (R, 1) is the curvature h.

    Let u be <D', d> / D, and <y, d> / <y, s> in the rows that take the second model. The weight w of D', or of y, rises
    with u, and u falls as w rises. The u that fits its own w is sought by bisection. Without curvature some gates jump
    from one of their ends to the other there, so the changes just below and just above it are mixed.

    Returns:
        The gates (R, n), what the model promises of them (R,), and by how much each of the two models says that D grows
        with them, (R,) each.
    """
    low, high = (here.gates - reach).clamp_min(0) - here.gates, (here.gates + reach).clamp_max(1) - here.gates
    far, bent = torch.where(here.far.isfinite(), here.far, 1).clamp_min(_LEAST)[:, None], seen.along[:, None]
    taken = seen.taken[:, None]
    cost = torch.where(taken, here.rest_slope + here.far_slope, here.rest_slope)
    pull = torch.where(taken, seen.change, here.far_slope)
    unit = torch.where(taken, bent, far)

    def change(u: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.where(taken, u, u.clamp_max(_STEEPEST).exp())
        d = (-(cost + weight * pull) / bend.clamp_min(1e-30)).clamp(low, high)
        return d, (pull * d).sum(1, keepdim=True) / unit

    below, above = torch.full_like(reach, -_WIDEST), torch.full_like(reach, _WIDEST)
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        rises = change(middle)[1] > middle
        below, above = torch.where(rises, middle, below), torch.where(rises, above, middle)
    (first, most), (second, least) = change(below), change(above)
    apart = most - least
    part = torch.where(apart > 0, (most - below) / apart.clamp_min(_LEAST), torch.zeros_like(apart)).clamp(0, 1)
    d = first + part * (second - first)
    falls, along = (here.far_slope * d).sum(1), (seen.change * d).sum(1)
    grows = far[:, 0] * torch.expm1((falls / far[:, 0]).clamp_max(_STEEPEST)), falls + along.square() / (2 * seen.along)
    rest = (here.rest_slope * d + bend / 2 * d.square()).sum(1)
    return (here.gates + d).clamp(0, 1), -rest - torch.where(seen.taken, grows[1], grows[0]), grows
