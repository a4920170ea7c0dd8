"""Patching: put one run's activations of chosen feature maps into another run and watch the margin.

This is the test that a datapath is causal. The run that gets other maps is the *receiver's*, the run that they come
from the *donor's*. Everything after the layer is recomputed; what bypasses the layer by a skip connection is held at
the receiver's values. Maps are exchanged at a layer's call site, all positions at once.

Notation: B pairs of receiver and donor, n_l maps of the layer, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.halving import by_halves
from aevis_dash.core.problem import FORWARD
from aevis_dash.domain import CONTROLS

Images = Tensor | np.ndarray
"""Model inputs (B, C, H, W) as a tensor, or 8-bit images (B, H, W, C) as an array."""
BATCH = 32
"""The number of images in one run, unless the caller gives another."""
STEPS = 8
"""The number of points on the line along which effects are integrated."""


@dataclass(frozen=True)
class Measured:
    """The result of an intervention, and its cost.

    Attributes:
        values: an array, as the function says.
        passes: the forward + backward passes spent per pair of images, on average over the pairs. A forward run counts
            a third, and as a whole one although only the part behind the layer runs.
    """

    values: np.ndarray
    passes: float


class Exchange:
    """Pairs of images at one layer, prepared once: the donor's activations there can be put into the receiver's run.

    Args:
        into: the receivers, B images.
        out_of: the donors, as many images of the same size.
        layer: the index of the layer.
        batch: how many images are run at once.
        donor: activations (B, n_l, ...) that are taken instead of those of the donors; None to take theirs.

    Raises:
        ValueError: receivers and donors, or their activations, are not of one shape, or the layer does not feed the
            logits.
    """

    def __init__(
        self,
        classifier: Classifier,
        into: Images,
        out_of: Images,
        layer: int,
        batch: int = BATCH,
        donor: Tensor | None = None,
    ):
        receivers, donors = _inputs(classifier, into), _inputs(classifier, out_of)
        if receivers.shape != donors.shape:
            raise ValueError(f"receivers {tuple(receivers.shape)} and donors {tuple(donors.shape)} are not pairs")
        self._tail = classifier.network.part(layer, None)
        self._state = self._tail.prepare(receivers)
        with torch.no_grad():
            self._donor = classifier.network.activation(donors, layer) if donor is None else donor
        if self._donor.shape != self._state.start.shape:
            raise ValueError(f"the donor is {tuple(self._donor.shape)}, the layer {tuple(self._state.start.shape)}")
        self._batch = batch
        self.runs = 2 * len(receivers)
        """The forward runs so far, counted per image; one with its gradient counts three times."""

    @property
    def shape(self) -> tuple[int, int]:
        """The number of pairs B and the number n_l of the layer's maps."""
        return self._donor.shape[0], self._donor.shape[1]

    def logits(self, chosen: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Give the receivers' logits with the donors' activations at chosen maps; it runs in batches.

        Args:
            chosen: the maps that are exchanged, bool (m, n_l).
            rows: the pair that each row of `chosen` belongs to, (m,); None where row i belongs to pair i and m = B.

        Returns:
            The logits, (m, K).

        Raises:
            ValueError: the shapes do not fit, or `chosen` is not bool.
        """
        pairs, n_maps = self.shape
        rows = np.arange(pairs) if rows is None else rows
        if chosen.shape != (len(rows), n_maps) or chosen.dtype != bool:
            raise ValueError(f"chosen is {chosen.dtype} {chosen.shape}, not bool {(len(rows), n_maps)}")
        with torch.no_grad():
            return np.concatenate([self._run(chosen[s], rows[s]) for s in _slices(len(rows), self._batch)])

    @property
    def is_cut(self) -> bool:
        """Whether everything passes through the layer, so that replacing all of it gives the donor's logits."""
        return self._tail.is_cut

    def slopes(self, chosen: np.ndarray, output: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Give the first-order effect on an output of exchanging each map, where some are exchanged already.

        Args:
            chosen: the maps that are exchanged already, bool (B, n_l).
            output: makes one number for each image, (B,), of logits (B, K).

        Returns:
            The effects, (B, n_l); positive means that exchanging the map raises the output.
        """
        return self._slopes(torch.from_numpy(chosen).to(self._donor)[None], output)

    def integrate(self, output: Callable[[Tensor], Tensor], steps: int = STEPS) -> np.ndarray:
        """Give the effect on an output of exchanging each map, as all of them are exchanged together.

        This is the mean slope along the straight line from the receiver's to the donor's activations: integrated
        gradients (Sundararajan et al., ICML 2017) by the midpoint rule. A pair's effects sum to what exchanging the
        whole layer changes, the closer the more steps there are; at a cut that is the donor's output minus the
        receiver's. As many steps run at once as fill a batch, each a run with its gradient.

        Args:
            output: makes one number for each image, (B,), of logits (B, K).
            steps: the number of points on the line, at least 1.

        Returns:
            The effects, (B, n_l).

        Raises:
            ValueError: there is no step.
        """
        if steps < 1:
            raise ValueError(f"at least 1 step is needed, not {steps}")
        shares = (torch.arange(steps).to(self._donor) + 0.5) / steps
        chunks = shares.split(max(1, self._batch // len(self._donor)))
        found = [self._slopes(some[:, None, None].expand(-1, *self.shape), output) for some in chunks]
        return np.sum(found, axis=0) / steps

    def difference(self) -> np.ndarray:
        """Give how far the two runs lie apart at every map, (B, n_l): the l2 norm over positions, 0 where they
        agree.
        """
        apart = (self._donor - self._state.start).reshape(*self.shape, -1)
        return torch.linalg.vector_norm(apart, dim=2).cpu().numpy()

    def _slopes(self, shares: Tensor, output: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Sum slopes (B, n_l) over s runs of every pair, in which the shares (s, B, n_l) of the maps are exchanged."""
        return np.sum(by_halves(lambda at: self._slopes_together(shares[at], output), len(shares)), axis=0)

    def _slopes_together(self, shares: Tensor, output: Callable[[Tensor], Tensor]) -> np.ndarray:
        gate = shares.flatten(0, 1).clone().requires_grad_()
        at = torch.arange(len(self._donor), device=gate.device).repeat(len(shares))
        receiver, donor = self._state.start[at], self._donor[at]
        with torch.enable_grad():
            moved = gate.reshape(*gate.shape, *[1] * (donor.dim() - 2)) * (donor - receiver)
            logits = self._tail.run(self._state, receiver + moved, at)
            values = [output(some).sum() for some in logits.split(len(self._donor))]
            found = torch.autograd.grad(values, gate)[0]
        self.runs += 3 * len(gate)
        return found.reshape(shares.shape).sum(0).cpu().numpy()

    def _run(self, chosen: np.ndarray, rows: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(rows).to(self._donor.device)
        receiver, donor = self._state.start[at], self._donor[at]
        where = torch.from_numpy(chosen).to(donor.device).reshape(*chosen.shape, *[1] * (donor.dim() - 2))
        self.runs += len(rows)
        return self._tail.run(self._state, torch.where(where, donor, receiver), at).cpu().numpy()


def single_map_effects(
    classifier: Classifier,
    into: Images,
    out_of: Images,
    layer: int,
    channels: np.ndarray,
    labels_up: np.ndarray,
    labels_down: np.ndarray,
    batch: int = BATCH,
) -> Measured:
    """Give how patching each of some maps alone changes the margin logit[labels_up] - logit[labels_down].

    A map that is the same in both runs has exactly 0 and costs nothing.

    Args:
        into: the receivers, B images.
        out_of: the donors, as many images.
        layer: the index of the layer.
        channels: the maps that are patched, each alone, (B, c).
        labels_up: for each pair the class whose logit counts for the margin, (B,).
        labels_down: for each pair the class whose logit counts against it, (B,).
        batch: how many images run at once at most.

    Returns:
        The effects, (B, c), and their cost. Positive means that the donor's map speaks for `labels_up` in the receiver.

    Raises:
        ValueError: receivers and donors are not pairs of one shape, or the layer does not feed the logits.
    """
    effects, runs = np.zeros(channels.shape, np.float32), 0
    for at, exchange in _exchanges(classifier, into, out_of, layer, batch):
        effects[at] = _effects(exchange, channels[at], labels_up[at], labels_down[at], batch)
        runs += exchange.runs
    return Measured(effects, FORWARD * runs / len(into))


def flip_sizes(
    classifier: Classifier,
    into: Images,
    out_of: Images,
    layer: int,
    orders: np.ndarray,
    labels: np.ndarray,
    batch: int = BATCH,
) -> Measured:
    """Find how many maps, best first, must be patched until the receiver's top class is the wanted one.

    The number is found by bisection, in about log2 n_l runs per order: a prefix of that size was run and flips the
    label, and the one a map shorter was run and does not. As more maps may also flip the label back, a smaller prefix
    that flips it may exist.

    Args:
        into: the receivers, B images.
        out_of: the donors, as many images.
        layer: the index of the layer.
        orders: o orders of the layer's channels for each pair, the best first, (o, B, n_l).
        labels: the wanted class of each pair, (B,).
        batch: how many images run at once at most.

    Returns:
        The numbers, int (o, B), and their cost. It is 0 where the receiver says the label unpatched, and n_l + 1 where
        the whole layer does not flip it (a smaller set may do so, which is unlikely).

    Raises:
        ValueError: an order is no permutation, receivers and donors are not pairs of one shape, or the layer does not
            feed the logits.
    """
    if not (np.sort(orders, axis=-1) == np.arange(orders.shape[-1])).all():
        raise ValueError("every order must hold every channel of the layer once")
    sizes, runs = np.zeros(orders.shape[:2], int), 0
    for at, exchange in _exchanges(classifier, into, out_of, layer, batch):
        sizes[:, at] = _flips(exchange, orders[:, at], labels[at])
        runs += exchange.runs
    return Measured(sizes, FORWARD * runs / len(into))


def random_order(count: int, n_maps: int, seed: int) -> np.ndarray:
    """Make a control: for each of `count` pairs the channels in a random order of its own, (count, n_maps)."""
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n_maps), (count, 1)), axis=1)


def control_strengths(exchange: Exchange, output: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Give the strengths by which each of CONTROLS orders the maps of a layer, the largest first.

    "difference" is the l2 norm over positions of the two runs' difference. "patching" is the first-order effect on the
    output of exchanging a map (gradient x difference, attribution patching). "integrated" is that effect averaged at
    STEPS points of the line from the receiver's to the donor's activations.

    Args:
        exchange: the pairs at the layer.
        output: makes one number for each image, (B,), of logits (B, K).

    Returns:
        The strengths in the order of CONTROLS, (c, B, n_l).
    """
    found = {
        "difference": exchange.difference(),
        "patching": exchange.slopes(np.zeros(exchange.shape, bool), output),
        "integrated": exchange.integrate(output),
    }
    return np.stack([found[name] for name in CONTROLS])


def best_first(strengths: np.ndarray) -> np.ndarray:
    """Give the channels by falling strength (..., n_l), equal ones by their number: (..., n_l)."""
    return np.argsort(-strengths, axis=-1, kind="stable")


def _exchanges(
    classifier: Classifier, into: Images, out_of: Images, layer: int, batch: int
) -> Iterator[tuple[slice, Exchange]]:
    """Prepare the pairs in batches, one batch at a time."""
    if len(into) != len(out_of):
        raise ValueError(f"{len(into)} receivers and {len(out_of)} donors are not pairs")
    for at in _slices(len(into), batch):
        yield at, Exchange(classifier, into[at], out_of[at], layer, batch)


def _effects(exchange: Exchange, channels: np.ndarray, up: np.ndarray, down: np.ndarray, batch: int) -> np.ndarray:
    pairs, n_maps = exchange.shape

    def margins(chosen: np.ndarray, rows: np.ndarray) -> np.ndarray:
        logits, at = exchange.logits(chosen, rows), np.arange(len(rows))
        return logits[at, up[rows]] - logits[at, down[rows]]

    before = margins(np.zeros((pairs, n_maps), bool), np.arange(pairs))
    effects = np.zeros(channels.shape, np.float32)
    rows, columns = np.nonzero(np.take_along_axis(exchange.difference(), channels, axis=1))
    for part in _slices(len(rows), batch):
        row, column = rows[part], columns[part]
        alone = channels[row, column, None] == np.arange(n_maps)
        effects[row, column] = margins(alone, row) - before[row]
    return effects


def _flips(exchange: Exchange, orders: np.ndarray, labels: np.ndarray) -> np.ndarray:
    pairs, n_maps = exchange.shape
    ranks = orders.argsort(2).reshape(-1, n_maps)
    rows = np.tile(np.arange(pairs), len(orders))
    unpatched, whole = (exchange.logits(np.full((pairs, n_maps), c)).argmax(1) == labels for c in (False, True))
    high = np.select([unpatched, whole], [0, n_maps], n_maps + 1)[rows]
    low = np.where(high == n_maps, 0, high - 1)
    while len(at := np.flatnonzero(high - low > 1)):
        middle = (low[at] + high[at]) // 2
        flipped = exchange.logits(ranks[at] < middle[:, None], rows[at]).argmax(1) == labels[rows[at]]
        high[at[flipped]], low[at[~flipped]] = middle[flipped], middle[~flipped]
    return high.reshape(len(orders), pairs)


def _inputs(classifier: Classifier, images: Images) -> Tensor:
    return images if isinstance(images, Tensor) else classifier.inputs(images)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
