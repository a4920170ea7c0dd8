"""Contribution analysis: which maps of an earlier layer make selected neurons fire (Sec. 5.4, Eq. 7 and 8).

    z = argmin over [0, 1]^n of  sum_i ||f(x_i) - f(x_i; z_i)||^2 / ||f(x_i)||^2 + lambda |z_i|_1 / n
                                 + gamma sum_i sum_{j != i} ||z_j - z_i||_2 / sqrt(n)

f are the selected neurons of one map, z_i gates the maps of the earlier layer inside the selection's receptive
field, and i runs jointly over the compared images. Only the part of the graph between the two layers runs.
"""

import time

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import ContributionParameters, Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.optimize import Descent, root_mean_square, solve
from aevis_dash.core.receptive import field_on_layer
from aevis_dash.domain import AevisError, AreaOfInterest, Contribution, FeatureMap


def contribute(
    classifier: Classifier,
    images: np.ndarray,
    target: FeatureMap,
    area: AreaOfInterest,
    layer: int,
    parameters: ContributionParameters,
    progress: Progress = silent,
) -> Contribution:
    """Contributions of the maps of `layer` to `area` of the map `target`, jointly for 8-bit images (m, H, W, 3).

    An image on which the area does not fire has nothing to explain: its row is 0 and takes no part.
    Raises AevisError when `layer` does not feed the target's layer.
    """
    begun = time.perf_counter()
    problem = ContributionProblem(classifier, images, target, area, layer, parameters)
    values, residual = problem.solve(progress)
    return Contribution(
        target=target,
        area=area,
        layer=layer,
        values=values.cpu().numpy().astype(np.float32),
        residual=residual.cpu().numpy().astype(np.float32),
        effect=problem.effect.cpu().numpy().astype(np.float32),
        passes=problem.passes,
        seconds=time.perf_counter() - begun,
    )


class ContributionProblem:
    """Eq. 7 and 8 for the images of one comparison. Passes count runs of the part between the layers, per image."""

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        target: FeatureMap,
        area: AreaOfInterest,
        layer: int,
        parameters: ContributionParameters,
    ):
        self._parameters = parameters
        self._layer, self._channel = classifier.layers.layers[layer], target.channel
        self._cells = np.s_[area.top : area.bottom, area.left : area.right]
        self.passes = 0.0
        self._part = _part(classifier, layer, target.layer)
        self._state = self._part.prepare(classifier.inputs(images))
        self._mask = self._receptive_mask(classifier, area)
        ones = self._state.start.new_ones(len(images), self._layer.channels)
        with torch.no_grad():
            self._wanted = self._selected(ones)
        self.effect = torch.linalg.vector_norm(self._wanted, dim=1)

    def solve(self, progress: Progress) -> tuple[Tensor, Tensor]:
        """Gates (m, n_prev) and what they leave unexplained (m,)."""
        p = self._parameters
        gates = solve(
            self.objective,
            self.start(),
            Descent(p.iterations, p.learning_rate),
            lambda step: progress(step / p.iterations, "solving Eq. 7"),
        )
        gates = torch.where(self._alive[:, None], gates, torch.zeros_like(gates))
        with torch.no_grad():
            return gates, self._unexplained(gates)

    def start(self) -> Tensor:
        """(m, n_prev) 0 or 1: for each image the fewest maps that explain f to first order at z = 1.

        Map k's share of f is <f, df/dz_k> / ||f||^2, and the shares of a linear part add up to 1. From all ones
        the gates would sink together, each by the same step, before any stands out. That is still better than a
        start that leaves most of f unexplained: neurons that it silences have no gradient.
        """
        ones = self._state.start.new_ones(len(self._wanted), self._layer.channels, requires_grad=True)
        with torch.enable_grad():
            inner = (self._selected(ones) * self._wanted).sum()
            share = torch.autograd.grad(inner, ones)[0] / self.effect.square()[:, None].clamp_min(1e-30)
        ranked, order = torch.sort(share, dim=1, descending=True, stable=True)
        before = ranked.cumsum(1) - ranked
        wanted = torch.minimum(share.clamp_min(0).sum(1, keepdim=True), share.new_ones(1))
        fewest = torch.zeros_like(share).scatter(1, order, (before < 0.999 * wanted).to(share.dtype))
        with torch.no_grad():
            poor = self._unexplained(fewest) > 0.5
        return torch.where(poor[:, None], torch.ones_like(fewest), fewest)

    def objective(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of Eq. 7 and 8, one and the same total for each row (B,); every row is acceptable."""
        alive = self._alive.to(z.dtype)
        own = self._unexplained(z) + self._parameters.sparsity * z.abs().mean(1)
        total = (alive * own).sum()
        for i, j in self._pairs:
            total = total + self._parameters.coherence * root_mean_square((z[j] - z[i])[None])[0]
        return total.expand(len(z)) / len(z), torch.ones(len(z), dtype=torch.bool, device=z.device)

    @property
    def _alive(self) -> Tensor:
        return self.effect > 0

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        alive = torch.nonzero(self._alive).flatten().tolist()
        return [(i, j) for i in alive for j in alive if i != j]

    def _unexplained(self, z: Tensor) -> Tensor:
        scale = self.effect.square().clamp_min(torch.finfo(z.dtype).tiny)
        left = (self._wanted - self._selected(z)).square().sum(1) / scale
        return torch.where(self._alive, left, torch.zeros_like(left))

    def _selected(self, z: Tensor) -> Tensor:
        """f(x; z) (m, neurons): the selected neurons with gates z on the earlier layer."""
        self.passes += 1 if torch.is_grad_enabled() else 1 / 3
        value = self._part.run(self._state, z, self._mask)[:, self._channel]
        grid = value.reshape(len(value), 1, -1) if value.dim() < 3 else value
        return grid[(slice(None), *self._cells)].flatten(1)

    def _receptive_mask(self, classifier: Classifier, area: AreaOfInterest) -> Tensor:
        field = field_on_layer(classifier.network.traced, area, self._layer.index)
        mask = torch.zeros(self._layer.height, self._layer.width, dtype=torch.bool, device=classifier.device)
        mask[field.top : field.bottom, field.left : field.right] = True
        return mask


def _part(classifier: Classifier, layer: int, target: int):
    try:
        return classifier.network.part(layer, target)
    except ValueError as error:
        names = [classifier.layers.layers[i].name for i in (layer, target)]
        raise AevisError(
            f"Layer {names[0]!r} does not feed layer {names[1]!r}, so its maps contribute nothing to it. "
            "Choose an earlier layer that leads to it."
        ) from error
