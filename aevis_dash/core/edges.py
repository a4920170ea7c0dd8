"""Edges: through which map of a later layer a map of an earlier layer turns a wrong prediction back.

A datapath has maps and the connections among them. The *edge* from map k of an earlier layer to map m of a later one
has the effect

    e_km = mean over S points x of the line from adv to src of  <a_k(src) - a_k(adv), d<a_m, g_m> / da_k at x>,

where g_m = dM / da_m at x is held fixed, M is the margin logit[src's class] - logit[adv's class], and the derivative
runs through the part of the network between the two layers. This is EAP-IG (Hanna et al., "Have Faith in Faithfulness",
COLM 2024) on the feature maps of two layers. Summed over m it is what the earlier map does by way of the later layer.

An estimate is no proof. So edges are *carried*: adv runs, and each map at the end of an edge is computed anew as if the
maps at the beginnings of its edges were as on src; all else stays as on adv. The margin that this moves is set beside
what it moves if all edges between the two layers are carried, and beside that of as many random edges.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.execution import NetworkPart
from aevis_dash.core.turning import POINTS
from aevis_dash.domain import AevisError, EdgeSet

CHANCE = 20
"""The number of sets of random edges that stand beside the found ones."""
THROUGH = 16
"""The number of maps of the later layer whose edges are looked at: those of largest turning effect, of either sign."""


def by_maps(values: Tensor) -> Tensor:
    """Give the activations of one image, (1, n, ...), with a row for each map: (n, N). A layer may have no place."""
    return values[0].reshape(values.shape[1], -1)


class EdgeBench:
    """The maps of two layers on one pair of images, and what edges between them do.

    Args:
        classifier: the classifier that predicts the two images as different classes.
        adversarial: the 8-bit adversarial image, (1, H, W, C).
        source: the 8-bit source image, (1, H, W, C).
        earlier: the index of the layer where the edges begin.
        later: the index of the layer where they end.

    Raises:
        AevisError: the earlier layer does not feed the later one.
    """

    def __init__(self, classifier: Classifier, adversarial: np.ndarray, source: np.ndarray, earlier: int, later: int):
        network, layers = classifier.network, classifier.layers.layers
        try:
            self._part = network.part(earlier, later)
        except ValueError as error:
            raise AevisError(
                f"Layer {layers[earlier].name!r} does not feed {layers[later].name!r}, so no edge leads there. Choose "
                "an earlier layer that does."
            ) from error
        self._tail: NetworkPart = network.part(later, None)
        self._adv, self._src = classifier.inputs(adversarial), classifier.inputs(source)
        with torch.no_grad():
            said = network.logits(torch.cat([self._adv, self._src])).argmax(1)
        self._before, self._wanted = (int(label) for label in said)
        self._state, self._rest = self._part.prepare(self._adv), self._tail.prepare(self._adv)
        self._donor = self._part.prepare(self._src).start

    @property
    def difference(self) -> np.ndarray:
        """By how much the images differ at each map of the earlier layer, the l2 norm over positions, (n_earlier,)."""
        apart = by_maps(self._donor - self._state.start)
        return torch.linalg.vector_norm(apart, dim=1).cpu().numpy()

    def effects(self, into: Sequence[int], points: int = POINTS, progress: Progress = silent) -> np.ndarray:
        """Estimate the effects of all edges into some maps of the later layer.

        It takes at each point a run of the whole network and, for each of the maps, a backward run between the layers.

        Args:
            into: the c channels of the later layer.
            points: the number S of points on the line between the two images.
            progress: is told how far the work is.

        Returns:
            The effects in logits, (n_earlier, c).
        """
        total = torch.zeros(self._donor.shape[1], len(into))
        difference = by_maps(self._donor - self._state.start)
        for k in range(points):
            progress(k / points, "measuring the edges")
            x = self._adv + (k + 0.5) / points * (self._src - self._adv)
            state, rest = self._part.prepare(x), self._tail.prepare(x)
            with torch.enable_grad():
                start = state.start.clone().requires_grad_()
                later = self._part.run(state, start)
                own = later.detach().clone().requires_grad_()
                slope = torch.autograd.grad(self._margin(self._tail.run(rest, own)).sum(), own)[0]
                for place, channel in enumerate(into):
                    through = (later[:, channel] * slope[:, channel]).sum()
                    back = by_maps(torch.autograd.grad(through, start, retain_graph=True)[0])
                    total[:, place] += (back * difference).sum(1).cpu()
        return (total / points).numpy()

    def carried(self, edges: Sequence[tuple[int, int]]) -> float:
        """Give the margin on adv where only some edges carry src's activations.

        Args:
            edges: the channel of the earlier and that of the later layer of each edge.

        Returns:
            The margin, in logits.
        """
        ends = sorted({m for _, m in edges})
        with torch.no_grad():
            value = self._rest.start.clone()
            if ends:
                chosen = torch.zeros(len(ends), self._donor.shape[1], dtype=torch.bool, device=value.device)
                for k, m in edges:
                    chosen[ends.index(m), k] = True
                where = chosen.reshape(*chosen.shape, *[1] * (self._donor.dim() - 2))
                rows = torch.zeros(len(ends), dtype=torch.long, device=value.device)
                anew = self._part.run(self._state, torch.where(where, self._donor, self._state.start), rows)
                for row, m in enumerate(ends):
                    value[0, m] = anew[row, m]
            return float(self._margin(self._tail.run(self._rest, value)))

    def carried_by_all(self) -> float:
        """Give the margin on adv where all edges between the two layers carry src's activations, in logits."""
        with torch.no_grad():
            later = self._part.run(self._state, self._donor)
            return float(self._margin(self._tail.run(self._rest, later)))

    def _margin(self, logits: Tensor) -> Tensor:
        return logits[:, self._wanted] - logits[:, self._before]


def strongest_edges(
    bench: EdgeBench, turning: np.ndarray, count: int, seed: int = 0, progress: Progress = silent
) -> EdgeSet:
    """Find the edges of largest effect between two layers, carry them, and set random edges beside them.

    Args:
        bench: the two layers and the two images.
        turning: the turning effects of the later layer's maps, (n_later,). Edges are looked at into the THROUGH maps
            that have the largest, of either sign.
        count: how many edges are wanted.
        seed: of the random edges. These lead from maps of the earlier layer that differ between the images into the
            same maps of the later layer.
        progress: is told how far the work is.
    """
    into = np.argsort(-np.abs(turning), kind="stable")[:THROUGH]
    into = into[turning[into] != 0]
    effects = bench.effects(into.tolist(), progress=progress)
    flat = np.argsort(-effects, axis=None, kind="stable")[:count]
    flat = flat[effects.ravel()[flat] > 0]
    begin, end = np.unravel_index(flat, effects.shape) if len(flat) else (flat, flat)
    found = [(int(k), int(into[m])) for k, m in zip(begin, end, strict=True)]
    random, differing = np.random.default_rng(seed), np.flatnonzero(bench.difference)
    ends = np.unique([m for _, m in found]).astype(int)
    products = bench.difference[:, None] * turning[ends]
    beside = np.argsort(-products, axis=None, kind="stable")[: len(found)]
    chance = []
    for _ in range(CHANCE if len(found) < len(differing) * len(ends) else 0):
        drawn = random.choice(len(differing) * len(ends), len(found), replace=False)
        chance.append(bench.carried([(int(differing[d // len(ends)]), int(ends[d % len(ends)])) for d in drawn]))
    return EdgeSet(
        begin=np.array([k for k, _ in found], int),
        end=np.array([m for _, m in found], int),
        effects=effects.ravel()[flat].astype(np.float32),
        before=bench.carried([]),
        carried=bench.carried(found),
        all_carried=bench.carried_by_all(),
        chance=np.array(chance, np.float32),
        by_difference=bench.carried([(int(i // len(ends)), int(ends[i % len(ends)])) for i in beside]),
    )
