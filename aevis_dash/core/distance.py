"""How far three datapaths lie apart at every layer, by their gates or by the activations they carry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from aevis_dash.domain import Datapath, DatapathDistance, LayerGraph, share


@dataclass(frozen=True)
class Trace:
    """A datapath with the activation of every map on its image: `activation` (n,), the maximum over positions."""

    datapath: Datapath
    activation: np.ndarray


def by_gates(graph: LayerGraph, adv: Trace, src: Trace, tar: Trace, nulls: Sequence[Trace] = ()) -> DatapathDistance:
    """Distance of the gates per layer, ||z_1 - z_2||_2 / sqrt(n_l): which maps the prediction needs."""

    def d(a: Trace, b: Trace) -> np.ndarray:
        squared = np.square(a.datapath.gates - b.datapath.gates, dtype=np.float64)
        return np.array([np.sqrt(part.mean()) for part in graph.parts(squared)])

    null = [share(d(adv, src), d(adv, other)) for other in nulls]
    return DatapathDistance("gates", d(src, tar), d(adv, src), d(adv, tar), _stack(null, len(graph)))


def by_activations(
    graph: LayerGraph, adv: Trace, src: Trace, tar: Trace, nulls: Sequence[Trace] = ()
) -> DatapathDistance:
    """Cosine distance per layer of the activations on the maps critical to any of the three: what the signal is.

    NaN where no map of the layer is critical. Each null target brings its own three critical sets.
    """
    d1, d2, d3 = _cosine_triplet(graph, adv, src, tar)
    null = [_cosine_share(graph, adv, src, other) for other in nulls]
    return DatapathDistance("activations", d1, d2, d3, _stack(null, len(graph)))


Distance = Callable[[LayerGraph, Trace, Trace, Trace, Sequence[Trace]], DatapathDistance]
DISTANCES: Mapping[str, Distance] = MappingProxyType({"activations": by_activations, "gates": by_gates})
"""Every distance by name; the first is the default of the picture."""


def _cosine_triplet(graph: LayerGraph, adv: Trace, src: Trace, tar: Trace) -> tuple[np.ndarray, ...]:
    union = adv.datapath.critical | src.datapath.critical | tar.datapath.critical
    pairs = ((src, tar), (adv, src), (adv, tar))
    return tuple(
        np.array([cosine_distance(a.activation[at], b.activation[at]) for at in _places(graph, union)])
        for a, b in pairs
    )


def _cosine_share(graph: LayerGraph, adv: Trace, src: Trace, other: Trace) -> np.ndarray:
    _, d2, d3 = _cosine_triplet(graph, adv, src, other)
    return share(d2, d3)


def _places(graph: LayerGraph, chosen: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(part) + graph.offsets[i] for i, part in enumerate(graph.parts(chosen))]


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """1 - cosine, 0 to 2: 0 where both are zero, 1 where one is, NaN for empty vectors."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    if scale > 0:
        return float(np.clip(1 - a @ b / scale, 0, 2))
    if a.size == 0:
        return float("nan")
    return 0.0 if not a.any() and not b.any() else 1.0


def _stack(rows: list[np.ndarray], length: int) -> np.ndarray:
    return np.array(rows).reshape(-1, length)
