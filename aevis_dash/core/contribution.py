"""Contribution analysis: which maps of an earlier layer make selected neurons fire (Sec. 5.4, Eq. 7 and 8).

    z = argmin over [0, 1]^n of  sum_i ||f(x_i) - f(x_i; z_i)||^2 / ||f(x_i)||^2 + lambda |z_i|_1 / n
                                 + gamma sum_i sum_{j != i} ||z_j - z_i||_2 / sqrt(n)

f are the selected neurons of one map, or the predicted label's logit over the mean of all logits; z_i gates the maps
of the earlier layer inside the selection's receptive field, and i runs jointly over the compared images. Only the part
of the graph between the two layers runs.
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
from aevis_dash.core.execution import NetworkPart
from aevis_dash.core.optimize import root_mean_square, settle
from aevis_dash.core.problem import FORWARD
from aevis_dash.core.receptive import neurons_that_feed
from aevis_dash.domain import PREDICTION, AevisError, AreaOfInterest, Contribution, FeatureMap

ROWS = 24
"""Interventions in one run."""


def contribute(
    classifier: Classifier,
    images: np.ndarray,
    target: FeatureMap,
    area: AreaOfInterest,
    layer: int,
    parameters: ContributionParameters,
    progress: Progress = silent,
    method: str = "solved",
) -> Contribution:
    """Contributions of the maps of `layer` to `area` of the map `target`, jointly for 8-bit images (m, H, W, 3).

    `target` may be the PREDICTION: of each image its own label. `method` is one of CONTRIBUTIONS: "solved" descends on
    Eq. 7 and 8; "quadratic", in one pass, expands the size of f to first order at z = 1, for each image by itself
    (gamma = 0); "exact" closes every map alone. An image on which the area does not fire has nothing to explain: its
    row is 0 and takes no part. Raises AevisError when `layer` does not feed the target's layer.
    """
    begun = time.perf_counter()
    problem = ContributionProblem(classifier, images, target, area, layer, parameters)
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
        passes=problem.passes,
        seconds=time.perf_counter() - begun,
        loss=answer.loss,
        slack=_plain(torch.full_like(problem.effect, torch.nan) if answer.slack is None else answer.slack),
    )


def part_before(classifier: Classifier, layer: int, target: FeatureMap) -> NetworkPart:
    """The part of the network from a layer to the target's, or to the PREDICTION; nothing is run.

    Raises AevisError where the layer does not feed it.
    """
    try:
        return classifier.network.part(layer, None if target == PREDICTION else target.layer)
    except ValueError as error:
        layers = classifier.layers.layers
        later = "the prediction" if target == PREDICTION else f"layer {layers[target.layer].name!r}"
        raise AevisError(
            f"Layer {layers[layer].name!r} does not feed {later}, so its maps contribute nothing to it. "
            "Choose an earlier layer that leads to it."
        ) from error


def _plain(values: Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.float32)


class ContributionProblem:
    """Eq. 7 and 8 for the images of one comparison: which maps of a layer made an area of a later map what it is.

    Args:
        images: the m images, 8 bit (m, H, W, 3), usually adv, src and tar.
        target: the later map, or PREDICTION for the logit of each image's own label.
        area: the neurons of the target that are explained.
        layer: the earlier layer, whose n_prev maps get the gates.
        parameters: of the solver; lambda of Eq. 7 is its `sparsity`.

    `passes` counts runs of the part of the network between the two layers, per image. `mask` (H, W) bool says at which
    neurons of the layer the gates hold: those that feed the area; None for all.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        target: FeatureMap,
        area: AreaOfInterest,
        layer: int,
        parameters: ContributionParameters,
    ):
        self.parameters = parameters
        self.passes = 0.0
        self._channels = classifier.layers.layers[layer].channels
        self._part = part_before(classifier, layer, target)
        self._state = self._part.prepare(classifier.inputs(images))
        self.mask, self._read = None, _logit
        if target != PREDICTION:
            self.mask = neurons_that_feed(classifier.network.traced, area, layer).to(classifier.device)
            self._read = _neurons(target.channel, area)
        gates = self._state.start.new_ones(len(images), self._channels).requires_grad_()
        with torch.enable_grad():
            whole = self._run(gates)
            self._labels = whole.detach().flatten(1).argmax(1)
            found = self._read(whole, self._labels)
            slopes = torch.autograd.grad((found * found.detach()).sum(), gates)[0]
        self._wanted = found.detach()
        self.effect = torch.linalg.vector_norm(self._wanted, dim=1)
        scale = self.effect.square()[:, None].clamp_min(1e-30)
        self.share = torch.where(self.alive[:, None], slopes / scale, 0.0)

    @torch.no_grad()
    def start(self) -> Tensor:
        """(m, n_prev) where the descent starts: for each image what is best by Eq. 7 of three.

        The fewest maps that explain f to first order (the shares of a linear part add up to 1), the quadratic
        approximation, and all maps. From all of them the gates sink together before any stands out; neurons that the
        others silence have no gradient.
        """
        ones = torch.ones_like(self.share)
        starts = torch.stack([self.fewest(), quadratic.exact(self.share, self.parameters.sparsity), ones])
        losses = torch.stack([self._unexplained(z) + self.parameters.sparsity * z.mean(1) for z in starts])
        return starts[losses.argmin(0), torch.arange(len(ones), device=ones.device)]

    def fewest(self) -> Tensor:
        """(m, n_prev) 0 or 1: the fewest maps whose shares add up to f, or to all positive ones."""
        ranked, order = torch.sort(self.share, dim=1, descending=True, stable=True)
        before = ranked.cumsum(1) - ranked
        wanted = torch.minimum(self.share.clamp_min(0).sum(1, keepdim=True), self.share.new_ones(1))
        return torch.zeros_like(self.share).scatter(1, order, (before < 0.999 * wanted).to(self.share.dtype))

    def objective(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of Eq. 7 and 8, one and the same total for each row (B,); every row is acceptable."""
        own = self._unexplained(z) + self.parameters.sparsity * z.abs().mean(1)
        total = (self.alive.to(z.dtype) * own).sum()
        for i, j in self._pairs:
            total = total + self.parameters.coherence * root_mean_square((z[j] - z[i])[None])[0]
        return total.expand(len(z)) / len(z), torch.ones(len(z), dtype=torch.bool, device=z.device)

    @property
    def alive(self) -> Tensor:
        """(m,) bool, on which images there is something to explain."""
        return self.effect > 0

    @torch.no_grad()
    def unexplained_by(self, z: Tensor) -> Tensor:
        """(m,) what gates z leave of f, ||f(x) - f(x; z)||^2 / ||f(x)||^2."""
        return self._unexplained(z)

    @torch.no_grad()
    def lost_without(self, row: int, maps: Tensor) -> Tensor:
        """(k,) the part <f, f - f without map> / ||f||^2 of f on one image that goes with each of the maps (k,)."""
        z = torch.ones(len(maps), self._channels, device=maps.device)
        z[torch.arange(len(maps)), maps] = 0
        rows = torch.full_like(maps, row)
        self.passes += FORWARD * len(maps) / len(self._wanted)
        found = self._read(self._part.run_gated(self._state, z, self.mask, rows), self._labels[rows])
        return ((self._wanted[row] - found) * self._wanted[row]).sum(1) / self.effect[row].square()

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        alive = torch.nonzero(self.alive).flatten().tolist()
        return [(i, j) for i in alive for j in alive if i != j]

    def _unexplained(self, z: Tensor) -> Tensor:
        scale = self.effect.square().clamp_min(torch.finfo(z.dtype).tiny)
        left = (self._wanted - self._read(self._run(z), self._labels)).square().sum(1) / scale
        return torch.where(self.alive, left, torch.zeros_like(left))

    def _run(self, z: Tensor) -> Tensor:
        self.passes += 1 if torch.is_grad_enabled() else FORWARD
        return self._part.run_gated(self._state, z, self.mask)


@dataclass(frozen=True)
class _Answer:
    """Gates (m, n_prev), shares (m, n_prev), what is left unexplained (m,); the loss and slack (m,) of a solver."""

    gates: Tensor
    share: Tensor
    unexplained: Tensor
    loss: float = float("nan")
    slack: Tensor | None = None


def _solve(problem: ContributionProblem, progress: Progress) -> _Answer:
    """From the best start and from all ones: each of them alone ends in a bad basin of some problems."""
    p, best = problem.parameters, problem.start()
    starts = [best, torch.ones_like(best)]
    told = lambda step: progress(step / p.iterations / len(starts), "solving Eq. 7")  # noqa: E731
    found = settle(problem.objective, starts, p.iterations, p.learning_rate, p.sparsity, told, climbs=True)
    slack = torch.where(problem.alive, found.slack, torch.zeros_like(found.slack))
    return replace(_make_answer(problem, found.gates), loss=float(found.loss[0]), slack=slack)


def _quadratic(problem: ContributionProblem, _progress: Progress) -> _Answer:
    """Where the shares sum to nothing or less, f does not stand on them to first order, and closing every map would be
    best: the fewest of positive share that explain it then."""
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


def _neurons(channel: int, area: AreaOfInterest) -> Callable[[Tensor, Tensor], Tensor]:
    """Reads f (m, neurons), the chosen neurons of a map, from activations (m, n_l, ...)."""
    cells, chosen = np.s_[area.top : area.bottom, area.left : area.right], torch.from_numpy(area.chosen)

    def read(value: Tensor, _labels: Tensor) -> Tensor:
        of_the_map = value[:, channel]
        grid = of_the_map.reshape(len(value), 1, -1) if of_the_map.dim() < 3 else of_the_map
        return grid[(slice(None), *cells)][:, chosen.to(value.device)]

    return read


def _logit(logits: Tensor, labels: Tensor) -> Tensor:
    """f (m, 1) of the final prediction: the label's logit over the mean, as logits have no zero of their own."""
    return (logits.gather(1, labels[:, None])) - logits.mean(1, keepdim=True)
