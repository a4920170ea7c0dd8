"""Distances of datapaths at every layer, by their gates or by the activations they carry (Sec. 5.2 of the paper).

Four distances have names: "activations", "gates", "gates-raw" and "sets"; `between` defines them. G is the number of
levels at which a distance is taken, by default the L layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import Protocol

import numpy as np

from aevis_dash.domain import AevisError, Datapath, DatapathDistance, LayerGraph, Role, share

Levels = Sequence[Sequence[int]]
"""Groups of layers, by index; the layers of a group are measured as one and get one number."""


@dataclass(frozen=True)
class Trace:
    """A datapath with the activations of its image.

    Attributes:
        datapath: the datapath.
        activation: the activation of every map on the image, which is its maximum over positions, (n,).
    """

    datapath: Datapath
    activation: np.ndarray


class Distance(Protocol):
    """A function that gives the distances of a triplet at every level, and those with null targets in place of tar.

    Args:
        graph: the layers of the network.
        adv: the trace of the adversarial image.
        src: the trace of the source image.
        tar: the trace of the target image.
        nulls: the traces of images of random other classes, each of which takes the place of tar once.
        levels: the groups of layers that are measured as one; None for every layer alone.
    """

    def __call__(
        self,
        graph: LayerGraph,
        adv: Trace,
        src: Trace,
        tar: Trace,
        nulls: Sequence[Trace] = (),
        levels: Levels | None = None,
    ) -> DatapathDistance: ...


def between(
    graph: LayerGraph, traces: Mapping[str, Trace], name: str, levels: Levels | None = None
) -> dict[tuple[str, str], np.ndarray]:
    """Give the distance of every pair of datapaths at every level.

    - "activations": 1 - cosine of the activations on the maps that are critical to any of the datapaths. It says how
      far the signals lie apart.
    - "gates": ||z_1 - z_2||_2 / sqrt(maps of the level). It says how different the maps are that the predictions need.
    - "gates-raw": ||z_1 - z_2||_2, as the paper prints it; it grows with the width of the level.
    - "sets": the Jaccard distance of the hard sets, 1 - |A and B| / |A or B|. It says what the treemap of sets shows.

    Args:
        graph: the layers of the network.
        traces: the datapaths with their activations, by key.
        name: one of these four names.
        levels: the groups of layers that are measured as one; None for every layer alone.

    Returns:
        The distances (G,) by the two keys of each pair, in the order of `traces`. "activations" and "sets" are NaN at a
        level where no map is critical: to any of the datapaths, or to any of the two.
    """
    measure, union = _MEASURES[name], np.any([trace.datapath.critical for trace in traces.values()], axis=0)

    def sums(values: np.ndarray) -> np.ndarray:
        """Sum values (n,) over the maps of every level, (G,); all layers in one pass, as the page asks often."""
        alone = np.add.reduceat(values, graph.offsets[:-1])
        return alone if levels is None else np.array([alone[list(level)].sum() for level in levels])

    return {(first, second): measure(a, b, union, sums) for (first, a), (second, b) in combinations(traces.items(), 2)}


_Sums = Callable[[np.ndarray], np.ndarray]


def _raw(a: Trace, b: Trace, _critical: np.ndarray, sums: _Sums) -> np.ndarray:
    return np.sqrt(sums(np.square((a.datapath.gates - b.datapath.gates).astype(np.float64))))


def _by_width(a: Trace, b: Trace, critical: np.ndarray, sums: _Sums) -> np.ndarray:
    return _raw(a, b, critical, sums) / np.sqrt(sums(np.ones(len(critical))))


def _cosine(a: Trace, b: Trace, critical: np.ndarray, sums: _Sums) -> np.ndarray:
    """Give 1 - cosine, from 0 to 2, as `cosine_distance` does; NaN where no map of the level is critical."""
    x, y = (np.where(critical, trace.activation, 0).astype(np.float64) for trace in (a, b))
    squared = sums(x * x), sums(y * y)
    scale = np.sqrt(squared[0]) * np.sqrt(squared[1])
    either = np.where(squared[0] + squared[1] > 0, 1.0, 0.0)
    found = np.where(scale > 0, np.clip(1 - sums(x * y) / np.where(scale > 0, scale, 1), 0, 2), either)
    return np.where(sums(critical.astype(np.int64)) > 0, found, np.nan)


def _jaccard(a: Trace, b: Trace, _critical: np.ndarray, sums: _Sums) -> np.ndarray:
    first, second = a.datapath.critical, b.datapath.critical
    both, either = (sums(chosen.astype(np.int64)) for chosen in (first & second, first | second))
    return np.where(either > 0, 1 - both / np.maximum(either, 1), np.nan)


_MEASURES: Mapping[str, Callable[[Trace, Trace, np.ndarray, _Sums], np.ndarray]] = MappingProxyType(
    {"activations": _cosine, "gates": _by_width, "gates-raw": _raw, "sets": _jaccard}
)


def _of_triplet(
    name: str,
    graph: LayerGraph,
    adv: Trace,
    src: Trace,
    tar: Trace,
    nulls: Sequence[Trace] = (),
    levels: Levels | None = None,
) -> DatapathDistance:
    d1, d2, d3 = _three(name, graph, adv, src, tar, levels)
    null = [share(*_three(name, graph, adv, src, other, levels)[1:]) for other in nulls]
    return DatapathDistance(name, d1, d2, d3, np.array(null).reshape(-1, len(d1)))


def _three(
    name: str, graph: LayerGraph, adv: Trace, src: Trace, tar: Trace, levels: Levels | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = between(graph, {Role.SOURCE: src, Role.ADVERSARIAL: adv, Role.TARGET: tar}, name, levels)
    return (
        found[Role.SOURCE, Role.TARGET],
        found[Role.SOURCE, Role.ADVERSARIAL],
        found[Role.ADVERSARIAL, Role.TARGET],
    )


DISTANCES: Mapping[str, Distance] = MappingProxyType({name: partial(_of_triplet, name) for name in _MEASURES})
"""Every distance of a triplet by name."""
by_activations, by_gates = DISTANCES["activations"], DISTANCES["gates"]


def check_distance(name: str) -> None:
    """Raise AevisError for the name of a distance that does not exist."""
    if name not in DISTANCES:
        raise AevisError(f"There is no distance {name!r}. Choose one of: {', '.join(DISTANCES)}.")


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Give 1 - cosine of two vectors (n,), from 0 to 2: 0 where both are zero, 1 where only one is, NaN for empty
    vectors.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    if scale > 0:
        return float(np.clip(1 - a @ b / scale, 0, 2))
    if a.size == 0:
        return float("nan")
    return 0.0 if not a.any() and not b.any() else 1.0
