"""Layers on the horizontal axis of the network view, with room between groups (Sec. 5.2, Fig. 6)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aevis_dash.domain import Layer, LayerGraph

STEP = 1.0
BLOCK_GAP = 0.3
GROUP_GAP = 0.8

Run = tuple[str, int, int]
"""A label with the first and the last layer that carry it, both included."""


@dataclass(frozen=True)
class Columns:
    """Where the layers stand, in steps: neighbours inside a block are 1 apart.

    x (L,) strictly increasing; `groups` and `blocks` cover all layers in order, without overlap, at
    the outermost and at the second level of `Layer.group`.
    """

    x: np.ndarray
    groups: tuple[Run, ...]
    blocks: tuple[Run, ...]

    @property
    def borders(self) -> np.ndarray:
        """(L + 1,) where one layer's column ends and the next begins: half-way, half a step at the ends."""
        if len(self.x) == 0:
            return np.array([0.0])
        middle = (self.x[1:] + self.x[:-1]) / 2
        return np.concatenate([self.x[:1] - STEP / 2, middle, self.x[-1:] + STEP / 2])

    def extent(self, first: int, last: int) -> tuple[float, float]:
        """Left and right end of the layers first..last, half a step around them."""
        return float(self.x[first] - STEP / 2), float(self.x[last] + STEP / 2)


def columns(graph: LayerGraph) -> Columns:
    """Positions in execution order: a small gap between blocks, a larger one between outermost groups.

    A layer outside every group is its own group, a layer outside every block its own block, labelled by
    its name.
    """
    groups = _runs(graph.layers, lambda layer: layer.group[:1])
    blocks = _runs(graph.layers, lambda layer: layer.group[:2] if len(layer.group) > 1 else ())
    steps = np.full(len(graph), STEP)
    steps[[first for _, first, _ in blocks]] += BLOCK_GAP
    steps[[first for _, first, _ in groups]] += GROUP_GAP - BLOCK_GAP
    return Columns(np.cumsum(steps) - steps[:1].sum(), groups, blocks)


def _runs(layers: tuple[Layer, ...], key: Callable[[Layer], tuple[str, ...]]) -> tuple[Run, ...]:
    """Neighbouring layers of the same non-empty key together; the label is the key's last part."""
    runs: list[Run] = []
    before: tuple[str, ...] = ()
    for position, layer in enumerate(layers):
        here = key(layer)
        if here and here == before:
            runs[-1] = (runs[-1][0], runs[-1][1], position)
        else:
            runs.append((here[-1] if here else layer.name, position, position))
        before = here
    return tuple(runs)
