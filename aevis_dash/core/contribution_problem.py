"""Eq. 7 and 8 for the images of one comparison: the loss, its start, and the share that each map has to first order.

`core.contribution` says what is asked, and finds the contributions. Notation: m compared images, n_prev maps of the
earlier layer (the n of the formula).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import ContributionParameters
from aevis_dash.core import quadratic
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.execution import NetworkPart
from aevis_dash.core.optimize import root_mean_square
from aevis_dash.core.problem import FORWARD
from aevis_dash.core.receptive import neurons_that_feed
from aevis_dash.domain import PREDICTION, AevisError, AreaOfInterest, FeatureMap

NOTHING = 1e-5
"""The change of an effect, as a share of its size, up to which there is nothing to explain: rounding makes as much."""
PLACES = ((1.0, 1 / 2), ((1 + 3**-0.5) / 2, 1 / 4), ((1 - 3**-0.5) / 2, 1 / 4))
"""The gates of all maps at which slopes are taken for the shares of a difference, and the weight of each: the image
itself, whose slope is the first-order effect of exchanging one map alone, and Gauss's two points on the way from the
foil, where there is a slope even if the area is silent on the image."""


def part_before(classifier: Classifier, layer: int, target: FeatureMap) -> NetworkPart:
    """Give the part of the network from a layer to the target's layer, or to the logits for PREDICTION; nothing is run.

    Raises:
        AevisError: the layer does not feed the target.
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


@dataclass(frozen=True)
class FoilRun:
    """What the maps of the earlier layer are moved towards in place of 0.

    Attributes:
        name: one of FOILS, or the file name of a normal image.
        activation: the activation of that layer that each image has as its foil, (m, n_prev, ...).
        labels: the class that each image's own class is told from where the prediction is explained, (m,); the image's
            own class stands for all classes.
    """

    name: str
    activation: Tensor
    labels: Tensor


Read = Callable[..., Tensor]
"""Reads the explained numbers f, (k, neurons), from the values at the end of the part, for the images at some rows."""


class ContributionProblem:
    """Eq. 7 and 8 for the images of one comparison: which maps of a layer made an area of a later map what it is.

    Args:
        images: the m compared images, 8 bit, (m, H, W, C), usually adv, src and tar.
        target: the later map, or PREDICTION for the logit of each image's own label.
        area: the neurons of the target that are explained.
        layer: the index of the earlier layer, whose n_prev maps get the gates.
        parameters: lambda (`sparsity`) and gamma (`coherence`) of Eq. 7 and 8, and the settings of the solver.
        foil: what a map at gate 0 is; None for silence.

    Attributes:
        passes: the runs so far of the part of the network between the two layers, per image; a run without its gradient
            counts a third.
        mask: the neurons of the earlier layer at which the gates hold, bool (H, W): those that feed the area; None for
            all.
        effect: the size ||f(x)|| of the effect on each image, (m,).
        change: the size ||d|| of what is explained on each image, (m,): of d = f(x) without a foil, and of
            d = f(x) - f(x; 0) with one.

    Raises:
        AevisError: `layer` does not feed the target's layer.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        target: FeatureMap,
        area: AreaOfInterest,
        layer: int,
        parameters: ContributionParameters,
        foil: FoilRun | None = None,
    ):
        self.parameters = parameters
        self.passes = 0.0
        self._part = part_before(classifier, layer, target)
        self._state = self._part.prepare(classifier.inputs(images))
        self.mask = None
        if target != PREDICTION:
            feeding = neurons_that_feed(classifier.network.traced, area, layer).flatten()
            neurons = feeding[torch.from_numpy(classifier.layers.layers[layer].places)]
            self.mask = neurons.reshape(self._state.start.shape[2:]).to(classifier.device)
        moved = self._state.start if foil is None else self._state.start - foil.activation
        self._moved = moved if self.mask is None else moved * self.mask.to(moved.dtype)
        ones = moved.new_ones(moved.shape[:2]).requires_grad_()
        with torch.enable_grad():
            whole = self._run(ones)
        labels = whole.detach().flatten(1).argmax(1)
        self._read = _neurons(target.channel, area.inside(classifier.layers.layers[target.layer]))
        if target == PREDICTION:
            self._read = _logit(labels, labels if foil is None else foil.labels)
        with torch.no_grad():
            self._wanted = self._read(whole)
            self._sought = self._wanted if foil is None else self._wanted - self._read(self._run(0 * ones))
        self.effect, self.change = (torch.linalg.vector_norm(f, dim=1) for f in (self._wanted, self._sought))
        self._first_order = self._slope_of(whole, ones)
        self._places = ((1.0, 1.0),) if foil is None else PLACES

    @torch.no_grad()
    def start(self) -> Tensor:
        """Choose the gates where the descent starts: for each image the best of three by Eq. 7.

        The three are the fewest maps that explain d to first order (the shares of a linear part add up to 1), the
        quadratic approximation, and all maps. From all maps alone the gates would sink together before any stands out.
        From the other two alone, neurons that they silence would have no gradient.

        Returns:
            The gates, (m, n_prev).
        """
        ones = torch.ones_like(self.share)
        starts = torch.stack([self.fewest(), quadratic.exact(self.share, self.parameters.sparsity), ones])
        losses = torch.stack([self._unexplained(z) + self.parameters.sparsity * z.mean(1) for z in starts])
        return starts[losses.argmin(0), torch.arange(len(ones), device=ones.device)]

    def fewest(self) -> Tensor:
        """Find the fewest maps whose shares add up to all of d, or to all positive shares where these are less.

        Returns:
            Gates of 0 or 1, (m, n_prev).
        """
        ranked, order = torch.sort(self.share, dim=1, descending=True, stable=True)
        before = ranked.cumsum(1) - ranked
        wanted = torch.minimum(self.share.clamp_min(0).sum(1, keepdim=True), self.share.new_ones(1))
        return torch.zeros_like(self.share).scatter(1, order, (before < 0.999 * wanted).to(self.share.dtype))

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the two parts of the loss of Eq. 7 and 8, in the form that `modelled.descend` asks for.

        Args:
            z: the gates, (m, n_prev).

        Returns:
            For each image what the gates leave unexplained, (m,), and the price of open gates with the distances to the
            other images' gates, (m,); both are differentiable, and their sum over all images is the loss. And bool
            (m,), always true, since every row is acceptable.
        """
        alive = self.alive
        apart = torch.stack([root_mean_square(z - other) for other in z])
        rest = self.parameters.sparsity * z.abs().mean(1) + self.parameters.coherence * (alive[:, None] * apart).sum(0)
        return self._unexplained(z), torch.where(alive, rest, torch.zeros_like(rest)), torch.ones_like(alive)

    @property
    def alive(self) -> Tensor:
        """The images on which there is something to explain, bool (m,)."""
        return self.change > NOTHING * self.effect

    @torch.no_grad()
    def unexplained_by(self, z: Tensor) -> Tensor:
        """Give the share of d that gates z (m, n_prev) leave unexplained, ||f(x) - f(x; z)||^2 / ||d||^2: (m,)."""
        return self._unexplained(z)

    @torch.no_grad()
    def lost_without(self, row: int, maps: Tensor) -> Tensor:
        """Give the part <d, f - f without map> / ||d||^2 of d on one image that is lost with each map alone.

        Args:
            row: the place of the image among the compared ones.
            maps: the channels that are closed, one at a time, (k,).

        Returns:
            The part that is lost, (k,).
        """
        z = self.share.new_ones(len(maps), self.share.shape[1])
        z[torch.arange(len(maps)), maps] = 0
        rows = torch.full_like(maps, row)
        self.passes += FORWARD * len(maps) / len(self._wanted)
        lost = self._wanted[row] - self._read(self._run_rows(z, rows), rows)
        return (lost * self._sought[row]).sum(1) / self.change[row].square()

    def _unexplained(self, z: Tensor) -> Tensor:
        scale = self.change.square().clamp_min(torch.finfo(z.dtype).tiny)
        left = (self._wanted - self._read(self._run(z))).square().sum(1) / scale
        return torch.where(self.alive, left, torch.zeros_like(left))

    @cached_property
    def share(self) -> Tensor:
        """The part of what is explained that each map has to first order, (m, n_prev), as `shares_at` gives it: at
        z = 1 without a foil, and over PLACES with one."""
        return self.shares_at(self._places)

    def shares_at(self, places: Sequence[tuple[float, float]]) -> Tensor:
        """Give the weighted sum of <d, df/dz_k> / ||d||^2 over places, (m, n_prev); 0 where nothing is explained.

        Args:
            places: the gates of all maps at which slopes are taken, each beside its weight.
        """
        scale = self.change.square()[:, None].clamp_min(1e-30)
        slopes = torch.stack([weight * self._slopes(place) for place, weight in places]).sum(0)
        return torch.where(self.alive[:, None], slopes / scale, 0.0)

    def _slopes(self, place: float) -> Tensor:
        """Give <sought, df/dz> with all gates at one place, (m, n_prev)."""
        if place == 1:
            return self._first_order
        gates = torch.full_like(self._first_order, place).requires_grad_()
        with torch.enable_grad():
            return self._slope_of(self._run(gates), gates)

    def _slope_of(self, value: Tensor, gates: Tensor) -> Tensor:
        """Give <sought, df/dz> at the gates (m, n_prev) of a run that gave `value` at the end of the part."""
        with torch.enable_grad():
            return torch.autograd.grad((self._read(value) * self._sought).sum(), gates)[0]

    def _run(self, z: Tensor) -> Tensor:
        self.passes += 1 if torch.is_grad_enabled() else FORWARD
        return self._run_rows(z, slice(None))

    def _run_rows(self, z: Tensor, rows: Tensor | slice) -> Tensor:
        """Run the part for images at `rows` with gates z (k, n_prev): 1 leaves a map as it is, 0 gives it its foil."""
        start, moved = self._state.start[rows], self._moved[rows]
        closed = (1 - z).reshape(*z.shape, *[1] * (start.dim() - 2))
        return self._part.run(self._state, start - closed * moved, rows if isinstance(rows, Tensor) else None)


def _neurons(channel: int, chosen: np.ndarray) -> Read:
    """Read f (m, neurons), the chosen neurons (N,) of a map, from activations (m, n_l, ...)."""
    places = torch.from_numpy(np.flatnonzero(chosen))

    def read(value: Tensor, _rows: Tensor | slice = slice(None)) -> Tensor:
        return value[:, channel].reshape(len(value), -1)[:, places.to(value.device)]

    return read


def _logit(labels: Tensor, rivals: Tensor) -> Read:
    """Read f (m, 1) of the prediction from logits: the label's logit less that of the image's rival, or less the mean
    of all logits where the rival is the label itself, as logits have no zero of their own.
    """

    def read(logits: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        label, rival = labels[rows, None], rivals[rows, None]
        beside = torch.where(rival == label, logits.mean(1, keepdim=True), logits.gather(1, rival))
        return logits.gather(1, label) - beside

    return read
