"""Running a traced model: with gates, recording activations, or only the part between two layers.

One `torch.fx.Interpreter` does it all. It keeps its state per run, so the model is never touched and
runs may overlap in several threads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from aevis_dash.core.layer_graph import TracedModel, ancestors, descendants


def apply_gate(value: Tensor, gate: Tensor, axis: int, mask: Tensor | None = None) -> Tensor:
    """Multiply channel c of `value` (B, ..., n_l at `axis`, ...) by gate[:, c] where `mask` is true.

    gate is (B, n_l) or (1, n_l); mask is a bool tensor over the remaining positions, None for everywhere.
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


def use_threads(count: int) -> None:
    """How many threads torch may use in this process from now on."""
    torch.set_num_threads(count)


class _Run(fx.Interpreter):
    """One run: gates multiply the sites' outputs, the outputs (after the gate) of `keep` are recorded."""

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


class Network:
    """A traced model that can be run in full or in part; stateless between calls."""

    def __init__(self, traced: TracedModel):
        self.traced = traced
        self.layers = traced.layers

    def logits(self, x: Tensor, gates: Tensor | None = None) -> Tensor:
        """Logits (B, K) of normalised images (B, 3, H, W), with gates (B, n) or (1, n) on every feature map."""
        return self.record(x, (), gates)[0]

    def record(self, x: Tensor, layers: Iterable[int], gates: Tensor | None = None) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits and the activations of some layers in one run.

        Args:
            x: normalised images, (B, 3, H, W).
            layers: indices of the layers that are recorded.
            gates: on every feature map, (B, n) or (1, n); None leaves all open.

        Returns:
            Logits (B, K), and for each layer its activations after the gates, (B, n_l, ...).
        """
        nodes = {index: self.traced.sites[index] for index in layers}
        run = _Run(self.traced, self.gates_by_node(gates), nodes.values())
        logits = run.run(x)
        return logits, {i: self._channels_first(run.kept[node], i) for i, node in nodes.items()}

    def run_steered(self, x: Tensor, gates: Tensor, steps: Tensor, differences: Mapping[int, Tensor]) -> Tensor:
        """Logits (B, K) where every layer's value v is v * gate + (step - 1) * difference; gates and steps (B, n).

        `differences` are (B, n_l, ...) by layer, channels at dimension 1. With gates and steps at 1 nothing changes;
        the derivative by a step is then the effect of having the difference in that map.
        """
        axes, sites = self.traced.axes, self.traced.sites
        weights = self.gates_by_node(steps - 1)
        run = _Run(self.traced, self.gates_by_node(gates), ())
        run.moves = {
            sites[i]: apply_gate(difference.movedim(1, axes[i]), weights[sites[i]], axes[i])
            for i, difference in differences.items()
        }
        return run.run(x)

    def run_watched(self, x: Tensor, look: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Logits (B, K) where `look` is given every layer's index and activations (B, n_l, ...) as the run passes it.

        What it gives back goes on in their place. Nothing is recorded: the memory is that of the run alone.
        """
        places = {site: i for i, site in enumerate(self.traced.sites)}
        run = _Run(self.traced, {}, ())

        def see(node: fx.Node, value: Tensor) -> Tensor:
            axis = self.traced.axes[places[node]]
            return look(places[node], value.movedim(axis, 1)).movedim(1, axis)

        run.look = see
        return run.run(x)

    def drive(self, x: Tensor, layer: int) -> Tensor:
        """What a layer's activation function is given (B, n_l, ...), or the sum that is the layer; runs no further.

        It has a gradient where the activation is 0.
        """
        site = self.traced.sites[layer]
        sources = site.all_input_nodes
        node = sources[0] if len(sources) == 1 else site
        return self._channels_first(self._values(x, {node})[node], layer)

    def activation(self, x: Tensor, layer: int) -> Tensor:
        """Activation (B, n_l, ...) of one layer; runs no further than that layer."""
        site = self.traced.sites[layer]
        return self._channels_first(self._values(x, {site})[site], layer)

    def part(self, first: int, last: int | None) -> "NetworkPart":
        """The part of the graph that carries layer `first` to layer `last`, to the logits for None."""
        return NetworkPart(self, first, last)

    def with_value(self, x: Tensor, node: fx.Node) -> tuple[Tensor, Tensor]:
        """Logits (B, K) of normalised images and the value of any node of the graph, in one run."""
        run = _Run(self.traced, {}, {node})
        return run.run(x), run.kept[node]

    def value_before(self, x: Tensor, node: fx.Node) -> Tensor:
        """The value of any node of the graph for normalised images x (B, 3, H, W); nothing after the node is run."""
        return self._values(x, {node})[node]

    def _values(self, x: Tensor, nodes: set[fx.Node]) -> dict[fx.Node, Any]:
        needed = set().union(*(ancestors(node) for node in nodes))
        order = [n for n in self.traced.module.graph.nodes if n in needed and n.op != "placeholder"]
        inputs = {n: x for n in self.traced.module.graph.nodes if n.op == "placeholder"}
        run = _Run(self.traced, {}, nodes)
        run.run_nodes(order, inputs)
        return {node: run.env[node] for node in nodes}

    def gates_by_node(self, gates: Tensor | None) -> dict[fx.Node, Tensor]:
        """The gates (B, n) of each layer's call site; none without gates, which lets everything through."""
        if gates is None:
            return {}
        widths = [layer.channels for layer in self.layers.layers]
        return dict(zip(self.traced.sites, gates.split(widths, dim=1), strict=True))

    def _channels_first(self, value: Tensor, layer: int) -> Tensor:
        return value.movedim(self.traced.axes[layer], 1)


@dataclass(frozen=True)
class PartState:
    """What a partial run starts from, for one batch of images: the values at its border and `start` (B, n_l, ...)."""

    images: Tensor
    border: dict[fx.Node, Any]
    start: Tensor


class NetworkPart:
    """Layer `first` to layer `last`, or to the logits (None), and nothing else.

    What bypasses `first` by a skip connection is held fixed. Raises ValueError when the one does not feed the other.
    """

    def __init__(self, network: Network, first: int, last: int | None):
        nodes, sites = network.traced.module.graph.nodes, network.traced.sites
        self._network, self._first, self._last = network, first, last
        self._site = sites[first]
        self._end = next(n for n in nodes if n.op == "output") if last is None else sites[last]
        between = (descendants(self._site) & ancestors(self._end)) - {self._site}
        if not between:
            end = "the logits" if last is None else f"layer {network.layers.layers[last].name}"
            raise ValueError(f"layer {network.layers.layers[first].name} does not feed {end}")
        self._nodes = [n for n in nodes if n in between]
        self._border = {i for n in between for i in n.all_input_nodes} - between - {self._site}
        made = set().union(*(descendants(n) for n in nodes if n.op == "placeholder"))
        self._of_the_image = self._border & made

    @property
    def is_cut(self) -> bool:
        """Whether all that depends on the image passes through the layer: nothing bypasses it."""
        return not self._of_the_image

    def prepare(self, x: Tensor) -> PartState:
        """Run the images (B, 3, H, W) once up to the layer and the part's border, without gradients."""
        with torch.no_grad():
            border = self._network._values(x, self._border | {self._site})
        return PartState(x, border, self._network._channels_first(border.pop(self._site), self._first))

    def run(self, state: PartState, value: Tensor, rows: Tensor | None = None) -> Tensor:
        """What the part ends in with activation `value` (m, n_l, ...) at the layer: activations (m, n_last, ...) of
        the last layer, or logits (m, K); for the images at `rows` (m,).

        An image may stand in `rows` as often as you like; None is each image once.
        """
        start = value.movedim(1, self._network.traced.axes[self._first]).contiguous()
        run = _Run(self._network.traced, {}, ())
        run.env = {**self._border_at(state, rows), self._site: start}
        for node in self._nodes:
            run.env[node] = run.run_node(node)
            for spent in run.user_to_last_uses.get(node, ()):
                run.env.pop(spent, None)
        end = run.env[self._end]
        return end if self._last is None else self._network._channels_first(end, self._last)

    def run_gated(
        self, state: PartState, gate: Tensor, mask: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """What the part ends in with gate (m, n_l) on the layer, inside `mask` (H_l, W_l) bool only."""
        start = state.start if rows is None else state.start[rows]
        return self.run(state, apply_gate(start, gate, 1, mask), rows)

    def _border_at(self, state: PartState, rows: Tensor | None) -> dict[fx.Node, Any]:
        """The border's values for the images at `rows`; what holds no row per image, such as a size, is run anew."""
        if rows is None:
            return state.border
        count = len(state.images)
        stacked = {n for n in self._of_the_image if _has_rows(state.border[n], count)}
        picked = {n: state.border[n][rows] for n in stacked}
        with torch.no_grad():
            anew = self._network._values(state.images[rows], self._of_the_image - stacked)
        return {**state.border, **picked, **anew}


def _has_rows(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == count
