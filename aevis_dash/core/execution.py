"""Running a traced model: with gates, recording activations, or only the part between two layers.

One `torch.fx.Interpreter` does it all. It keeps its state per run, so the model is never touched and runs may overlap
in several threads.

Notation: B images, K classes, n maps of the network, n_l maps of a layer. Activations are (B, n_l, ...), where the dots
stand for the positions: (H_l, W_l) in a layer of images, none after a linear layer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from aevis_dash.core.gated_run import GatedRun, apply_gate
from aevis_dash.core.halving import by_halves
from aevis_dash.core.layer_graph import TracedModel
from aevis_dash.core.tracing import ancestors, descendants


def use_threads(count: int) -> None:
    """Set how many threads torch may use in this process from now on."""
    torch.set_num_threads(count)


class Network:
    """A traced model that can be run in full or in part; it keeps no state between calls.

    Runs without gradients that do not fit into memory are done in halves.
    """

    def __init__(self, traced: TracedModel):
        self.traced = traced
        self.layers = traced.layers

    def logits(self, x: Tensor, gates: Tensor | None = None) -> Tensor:
        """Run the whole network.

        Args:
            x: normalised images, (B, C, H, W).
            gates: a gate on every feature map, (B, n), or (1, n) for the same gates on every image; None leaves all
                maps open.

        Returns:
            Logits, (B, K).
        """
        return self.record(x, (), gates)[0]

    def record(self, x: Tensor, layers: Iterable[int], gates: Tensor | None = None) -> tuple[Tensor, dict[int, Tensor]]:
        """Run the whole network and record the activations of some layers.

        Args:
            x: normalised images, (B, C, H, W).
            layers: the indices of the layers that are recorded.
            gates: a gate on every feature map, (B, n), or (1, n) for the same gates on every image; None leaves all
                maps open.

        Returns:
            Logits (B, K), and for each layer its activations after the gates, (B, n_l, ...).
        """
        nodes = {index: self.traced.sites[index] for index in layers}

        def recorded(at: slice) -> tuple[Tensor, dict[int, Tensor]]:
            some = gates if gates is None or len(gates) == 1 else gates[at]
            run = GatedRun(self.traced, self.gates_by_node(some), nodes.values())
            logits = run.run(x[at])
            return logits, {i: self._channels_first(run.kept[node], i) for i, node in nodes.items()}

        if torch.is_grad_enabled():
            return recorded(slice(None))
        parts = by_halves(recorded, len(x))
        if len(parts) == 1:
            return parts[0]
        logits = torch.cat([logits for logits, _ in parts])
        return logits, {i: torch.cat([maps[i] for _, maps in parts]) for i in nodes}

    def run_steered(self, x: Tensor, gates: Tensor, steps: Tensor, differences: Mapping[int, Tensor]) -> Tensor:
        """Run the network with every layer's value v replaced by v * gate + (step - 1) * difference.

        With gates and steps at 1 nothing changes. The derivative of a logit by a step is then the first-order effect of
        having the difference in that map.

        Args:
            x: normalised images, (B, C, H, W).
            gates: a gate on every feature map, (B, n).
            steps: a step on every feature map, (B, n).
            differences: the difference at each layer, by the layer's index, (B, n_l, ...).

        Returns:
            Logits, (B, K).
        """
        axes, sites = self.traced.axes, self.traced.sites
        weights = self.gates_by_node(steps - 1)
        run = GatedRun(self.traced, self.gates_by_node(gates), ())
        run.moves = {
            sites[i]: apply_gate(difference.movedim(1, axes[i]), weights[sites[i]], axes[i])
            for i, difference in differences.items()
        }
        return run.run(x)

    def run_watched(self, x: Tensor, look: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Run the network and let a function see, and replace, every layer's activations as the run passes it.

        Nothing is recorded, so the memory is that of the run alone.

        Args:
            x: normalised images, (B, C, H, W).
            look: is given a layer's index and its activations (B, n_l, ...); the run goes on with what it returns,
                which has the same shape.

        Returns:
            Logits, (B, K).
        """
        places = {site: i for i, site in enumerate(self.traced.sites)}
        run = GatedRun(self.traced, {}, ())

        def see(node: fx.Node, value: Tensor) -> Tensor:
            axis = self.traced.axes[places[node]]
            return look(places[node], value.movedim(axis, 1)).movedim(1, axis)

        run.look = see
        return run.run(x)

    def drive(self, x: Tensor, layer: int) -> Tensor:
        """Give what a layer's activation function is given, or, where the layer is a residual sum, the sum itself.

        This has a gradient even where the activation is 0. Nothing after the layer is run.

        Args:
            x: normalised images, (B, C, H, W).
            layer: the index of the layer.

        Returns:
            The values before the activation function, (B, n_l, ...).
        """
        site = self.traced.sites[layer]
        sources = site.all_input_nodes
        node = sources[0] if len(sources) == 1 else site
        return self._channels_first(self._values(x, {node})[node], layer)

    def activation(self, x: Tensor, layer: int) -> Tensor:
        """Give the activations of one layer; nothing after the layer is run.

        Args:
            x: normalised images, (B, C, H, W).
            layer: the index of the layer.

        Returns:
            The activations, (B, n_l, ...).
        """
        site = self.traced.sites[layer]

        def found(at: slice) -> Tensor:
            return self._channels_first(self._values(x[at], {site})[site], layer)

        return found(slice(None)) if torch.is_grad_enabled() else _joined(by_halves(found, len(x)))

    def part(self, first: int, last: int | None) -> "NetworkPart":
        """Give the part of the network that carries layer `first` to layer `last`, or to the logits where `last` is
        None.

        Raises:
            ValueError: layer `first` does not feed the part's end.
        """
        return NetworkPart(self, first, last)

    def with_value(self, x: Tensor, node: fx.Node) -> tuple[Tensor, Tensor]:
        """Run the whole network and give the value of one node of the graph as well.

        Args:
            x: normalised images, (B, C, H, W).
            node: any node of the traced graph.

        Returns:
            Logits (B, K), and the node's value.
        """
        run = GatedRun(self.traced, {}, {node})
        return run.run(x), run.kept[node]

    def value_before(self, x: Tensor, node: fx.Node) -> Tensor:
        """Give the value of any node of the graph for normalised images x (B, C, H, W); nothing after the node is
        run.
        """
        return self._values(x, {node})[node]

    def _values(self, x: Tensor, nodes: set[fx.Node]) -> dict[fx.Node, Any]:
        needed = set().union(*(ancestors(node) for node in nodes))
        order = [n for n in self.traced.module.graph.nodes if n in needed and n.op != "placeholder"]
        first, *others = (n for n in self.traced.module.graph.nodes if n.op == "placeholder")
        inputs: dict[fx.Node, Any] = {first: x, **{n: n.args[0] if n.args else None for n in others}}
        run = GatedRun(self.traced, {}, nodes)
        run.run_nodes(order, inputs)
        return {node: run.env[node] for node in nodes}

    def gates_by_node(self, gates: Tensor | None) -> dict[fx.Node, Tensor]:
        """Split gates by layer.

        Args:
            gates: a gate on every feature map, (B, n), or None.

        Returns:
            The gates (B, n_l) of each layer by its call site; an empty dict, which lets everything through, for None.
        """
        if gates is None:
            return {}
        widths = [layer.channels for layer in self.layers.layers]
        return dict(zip(self.traced.sites, gates.split(widths, dim=1), strict=True))

    def _channels_first(self, value: Tensor, layer: int) -> Tensor:
        return value.movedim(self.traced.axes[layer], 1)


@dataclass(frozen=True)
class PartState:
    """The values that partial runs of one batch of images start from.

    Attributes:
        images: the normalised images, (B, C, H, W).
        border: the values that the part reads besides its first layer, such as those of skip connections, by node.
        start: the activations of the part's first layer, (B, n_l, ...).
    """

    images: Tensor
    border: dict[fx.Node, Any]
    start: Tensor


class NetworkPart:
    """The part of a network from one layer to a later one, or to the logits, and nothing else.

    What bypasses the first layer by a skip connection is held fixed.

    Args:
        network: the whole network.
        first: the index of the layer where the part begins.
        last: the index of the layer where it ends; None for the logits.

    Raises:
        ValueError: layer `first` does not feed the part's end.
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
        """Whether everything that depends on the image passes through the first layer, so that nothing bypasses it."""
        return not self._of_the_image

    def prepare(self, x: Tensor) -> PartState:
        """Run images once up to the first layer and the values beside it that the part reads, without gradients.

        Args:
            x: normalised images, (B, C, H, W).

        Returns:
            What runs of this part on these images start from.
        """
        return prepare_parts([self], x)[0]

    def run(self, state: PartState, value: Tensor, rows: Tensor | None = None) -> Tensor:
        """Run the part with given activations at its first layer.

        Args:
            state: what `prepare` gave for B images.
            value: the activations at the first layer, (m, n_l, ...).
            rows: the image that each of the m activations belongs to, (m,); an image may stand there any number of
                times. None is each image once, and then m = B.

        Returns:
            The activations of the part's last layer, (m, n_last, ...), or logits, (m, K).
        """
        if torch.is_grad_enabled():
            return self._run(state, value, rows)

        def found(at: slice) -> Tensor:
            if len(value[at]) == len(value):
                return self._run(state, value, rows)
            places = torch.arange(len(value), device=value.device) if rows is None else rows
            return self._run(state, value[at], places[at])

        return _joined(by_halves(found, len(value)))

    def _run(self, state: PartState, value: Tensor, rows: Tensor | None) -> Tensor:
        start = value.movedim(1, self._network.traced.axes[self._first]).contiguous()
        run = GatedRun(self._network.traced, {}, ())
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
        """Run the part with gates on its first layer.

        Args:
            state: what `prepare` gave for B images.
            gate: a gate on each of the layer's maps, (m, n_l).
            mask: the neurons where the gates hold, bool (H_l, W_l); None for all.
            rows: the image that each row of gates belongs to, (m,); None is each image once, and then m = B.

        Returns:
            The activations of the part's last layer, (m, n_last, ...), or logits, (m, K).
        """
        start = state.start if rows is None else state.start[rows]
        return self.run(state, apply_gate(start, gate, 1, mask), rows)

    def _border_at(self, state: PartState, rows: Tensor | None) -> dict[fx.Node, Any]:
        """Give the border's values for the images at `rows`; a value without a row for each image, such as a size, is
        run anew.
        """
        if rows is None:
            return state.border
        count = len(state.images)
        stacked = {n for n in self._of_the_image if _has_rows(state.border[n], count)}
        picked = {n: state.border[n][rows] for n in stacked}
        with torch.no_grad():
            anew = self._network._values(state.images[rows], self._of_the_image - stacked)
        return {**state.border, **picked, **anew}


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _has_rows(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == count


def prepare_parts(parts: Sequence[NetworkPart], x: Tensor) -> list[PartState]:
    """Run images once, without gradients, for several parts of one network; see `NetworkPart.prepare`.

    Args:
        parts: the parts, at least one.
        x: normalised images, (B, C, H, W).

    Returns:
        What runs of each part on these images start from, in the order of the parts.
    """
    network = parts[0]._network
    with torch.no_grad():
        values = network._values(x, set().union(*(part._border | {part._site} for part in parts)))
    return [
        PartState(
            x,
            {node: values[node] for node in part._border},
            network._channels_first(values[part._site], part._first),
        )
        for part in parts
    ]
