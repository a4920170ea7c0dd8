"""One run of a traced model's graph, with gates on its feature maps.

Notation: B images, n_l maps of a layer. Activations are (B, n_l, ...), where the dots stand for the positions.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, fx

from aevis_dash.core.layer_graph import TracedModel


def apply_gate(value: Tensor, gate: Tensor, axis: int, mask: Tensor | None = None) -> Tensor:
    """Multiply every channel of a value by its gate.

    Args:
        value: the activations, with the batch at dimension 0 and n_l channels at dimension `axis`, (B, ..., n_l, ...).
        gate: one gate for each channel, (B, n_l), or (1, n_l) for the same gates on every image.
        axis: the dimension of the channels.
        mask: the positions where the gates hold, a bool tensor over the dimensions other than batch and channels; None
            for everywhere.

    Returns:
        A tensor of the value's shape.
    """
    shape = [1] * value.dim()
    shape[0], shape[axis] = gate.shape
    factor = gate.reshape(shape)
    if mask is not None:
        inside = mask.to(value.dtype).reshape(_mask_shape(value, axis))
        factor = 1 - inside * (1 - factor)
    return value * factor


def _mask_shape(value: Tensor, axis: int) -> list[int]:
    return [1 if i in (0, axis) else size for i, size in enumerate(value.shape)]


class GatedRun(fx.Interpreter):
    """One run of the graph: gates multiply the sites' outputs, and the outputs of the nodes in `keep` are recorded
    gated.

    Args:
        traced: the model.
        gates: the gates of call sites, (B, n_l) each.
        keep: the nodes whose outputs are recorded, in `kept`.
    """

    def __init__(self, traced: TracedModel, gates: Mapping[fx.Node, Tensor], keep: Iterable[fx.Node]):
        super().__init__(traced.module)
        self._axes = dict(zip(traced.sites, traced.axes, strict=True))
        self._gates = gates
        self._keep = set(keep)
        self.masks: Mapping[fx.Node, Tensor] = {}
        self.moves: Mapping[fx.Node, Tensor] = {}
        self.look: Callable[[fx.Node, Tensor], Tensor] | None = None
        self.kept: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and gate, move and record its output."""
        value = super().run_node(n)
        if n in self._gates:
            value = apply_gate(value, self._gates[n], self._axes[n], self.masks.get(n))
        if n in self.moves:
            value = value + self.moves[n]
        if self.look is not None and n in self._axes:
            value = self.look(n, value)
        if n in self._keep:
            self.kept[n] = value
        return value

    def run_nodes(self, nodes: Iterable[fx.Node], env: Mapping[fx.Node, Any]) -> None:
        """Run just these nodes, in order, taking everything else from `env`."""
        self.env = dict(env)
        for node in nodes:
            self.env[node] = self.run_node(node)
