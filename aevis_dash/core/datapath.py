"""Datapath extraction: the critical feature maps of a prediction (Sec. 4 of the paper).

The default method solves Eq. 5,

    z_i = argmin over [0, 1]^n of  ||p(x) - p(x; z)||^2 + lambda |z|_1 / n + gamma sum_j ||z_j - z||_2 / sqrt(n),

where j runs over the datapaths already found. Two things are ours, where the paper says nothing:

The start. ||p - p(z)||^2 has no gradient at z = 1, and a descent from there lets all gates sink together. The
solver starts where the gradient lives: from the smallest set of maps, ranked by the gradient of the label's logit
with respect to their gates (gradient x activation), that gives the label with `hold` of its probability.

Balance. A set may take the same share of every layer's maps, best first, at least one, or compare maps across
layers. Compared across layers, early layers come out empty: batch norm's shift lets late maps fire on nothing, and
the label is kept by a path that the image never entered. So both the start and the hard set (the best maps of each
layer by the solved gates that hold the label) are balanced: complete paths, with something to see in every layer.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import ExtractionParameters, Progress, part_of, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.optimize import root_mean_square, solve
from aevis_dash.domain import AevisError, Datapath

FORWARD = 1 / 3
"""What a forward run alone costs, in passes."""
_PROBES = 8
"""Forward runs of one search for a share."""


def extract(
    classifier: Classifier,
    images: np.ndarray,
    given: Sequence[np.ndarray],
    parameters: ExtractionParameters,
    progress: Progress = silent,
) -> Iterator[Datapath]:
    """Datapaths of 8-bit images (B, H, W, 3), each held near the gates (n,) in `given`, not near one another.

    They come in order, `parameters.batch` at a time, so that finished ones can be kept when the rest is
    interrupted. Raises AevisError for an unknown method.
    """
    if parameters.method not in METHODS:
        raise AevisError(f"There is no method {parameters.method!r}. Choose one of: {', '.join(METHODS)}.")
    for i in range(0, len(images), parameters.batch):
        chunk = images[i : i + parameters.batch]
        inner = part_of(progress, i / len(images), len(chunk) / len(images))
        yield from METHODS[parameters.method](classifier, chunk, given, parameters, inner)


def constrained(
    classifier: Classifier,
    images: np.ndarray,
    given: Sequence[np.ndarray],
    parameters: ExtractionParameters,
    progress: Progress,
) -> list[Datapath]:
    """Eq. 5, the constrained chain of the paper, started from a ranking (see the module's text)."""
    begun = time.perf_counter()
    problem = Problem(classifier, images, given, parameters)
    rank = problem.rank()
    start = problem.smallest_share(rank, parameters.hold).to(rank.dtype)
    gates = solve(
        problem.objective,
        start,
        parameters.iterations,
        parameters.learning_rate,
        lambda step: progress(step / parameters.iterations, "solving Eq. 5"),
    )
    order = gates + 1e-6 * rank / rank.abs().amax(1, keepdim=True).clamp_min(1e-30)
    critical = problem.smallest_share(order, parameters.hold)
    progress(1.0, "datapath found")
    return problem.datapaths(gates, critical, time.perf_counter() - begun)


Method = Callable[[Classifier, np.ndarray, Sequence[np.ndarray], ExtractionParameters, Progress], list[Datapath]]
METHODS: Mapping[str, Method] = MappingProxyType({"constrained": constrained})
"""Every extraction method by name, all with one interface."""


class Problem:
    """Eq. 5 for a batch of images; counts the passes that it spends."""

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        given: Sequence[np.ndarray],
        parameters: ExtractionParameters,
    ):
        self._network = classifier.network
        self._x = classifier.inputs(images)
        self._parameters = parameters
        self._given = [torch.as_tensor(z, dtype=self._x.dtype, device=self._x.device)[None] for z in given]
        self.passes = 0.0
        self._full = self._probabilities(None)
        self._labels = self._full.argmax(1)

    def objective(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 5 of each row (B,), and whether the row's gates keep the label (B,)."""
        self.passes += 1 if torch.is_grad_enabled() else FORWARD
        p = self._network.logits(self._x, z).softmax(1)
        loss = (self._full - p).square().sum(1) + self._parameters.sparsity * z.abs().mean(1)
        for other in self._given:
            loss = loss + self._parameters.coherence * root_mean_square(other - z)
        return loss, p.argmax(1) == self._labels

    def rank(self) -> Tensor:
        """(B, n) first-order effect of each map on the label's logit, <a_k, d logit / d a_k>; 1 pass."""
        self.passes += 1
        gates = self._x.new_ones(len(self._x), self._network.layers.n_maps, requires_grad=True)
        with torch.enable_grad():
            logits = self._network.logits(self._x, gates)
            return torch.autograd.grad(logits.gather(1, self._labels[:, None]).sum(), gates)[0]

    def smallest_share(self, score: Tensor, hold: float) -> Tensor:
        """(B, n) bool: the smallest share of each layer's maps, best first, that keeps the label and `hold` of its
        probability; at least one map a layer.

        Found by bisection of the share on a logarithmic scale; what is returned has been checked, but as holding
        need not grow with the share, a smaller one may hold as well.
        """
        position = self._position_in_layer(score)
        fails = score.new_full((len(score), 1), 0.5 / max(layer.channels for layer in self._network.layers.layers))
        holds = torch.ones_like(fails)
        for _ in range(_PROBES):
            share = (fails * holds).sqrt()
            good = self._holds(position < share, hold)[:, None]
            holds, fails = torch.where(good, share, holds), torch.where(good, fails, share)
        return position < holds

    def _position_in_layer(self, score: Tensor) -> Tensor:
        """(B, n) each map's place in its layer, best first: 0 to just under 1."""
        widths = [layer.channels for layer in self._network.layers.layers]
        ranks = [torch.argsort(s, dim=1, descending=True, stable=True).argsort(1) for s in score.split(widths, dim=1)]
        return torch.cat([rank / rank.shape[1] for rank in ranks], dim=1)

    def datapaths(self, gates: Tensor, critical: Tensor, seconds: float) -> list[Datapath]:
        """The results, with what the soft gates and the hard set alone make of the label."""
        soft, hard = self._probabilities(gates), self._probabilities(critical.to(gates.dtype))
        share = seconds / len(gates)
        return [self._datapath(i, gates[i], critical[i], soft[i], hard[i], share) for i in range(len(gates))]

    def _datapath(self, i: int, z: Tensor, critical: Tensor, soft: Tensor, hard: Tensor, seconds: float) -> Datapath:
        label = int(self._labels[i])
        return Datapath(
            gates=z.cpu().numpy().astype(np.float32),
            critical=critical.cpu().numpy(),
            label=label,
            p_full=float(self._full[i, label]),
            p_soft=float(soft[label]),
            p_hard=float(hard[label]),
            keeps_soft=int(soft.argmax()) == label,
            keeps_hard=int(hard.argmax()) == label,
            method=self._parameters.method,
            passes=self.passes,
            seconds=seconds,
        )

    def _holds(self, critical: Tensor, hold: float) -> Tensor:
        p = self._probabilities(critical.to(self._x.dtype))
        rows = torch.arange(len(p), device=p.device)
        kept = p[rows, self._labels] >= hold * self._full[rows, self._labels]
        return kept & (p.argmax(1) == self._labels)

    def _probabilities(self, gates: Tensor | None) -> Tensor:
        self.passes += FORWARD
        with torch.no_grad():
            return self._network.logits(self._x, gates).softmax(1)


def distance(first: Datapath, second: Datapath) -> float:
    """||z_1 - z_2||_2 / sqrt(n); the similarity of Sec. 6.2.1 is its inverse."""
    return float(np.sqrt(np.mean(np.square(first.gates - second.gates, dtype=np.float64))))


def representative(adversarial: Datapath, candidates: Sequence[Datapath]) -> int:
    """Index of the candidate whose datapath is most similar to the adversarial's (Sec. 6.2.1)."""
    return int(np.argmin([distance(adversarial, candidate) for candidate in candidates]))
