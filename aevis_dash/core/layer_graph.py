"""From a model to its layers: torch.fx call sites, found in the graph and never by module.

A layer is the output of an activation function, or of a residual sum that no activation function follows. (Where one
follows, a non-negative gate on the sum and one on the activation are the same gate.) One ReLU module that is called
three times gives three layers; hooks on modules would see only one.
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn

from aevis_dash.core.activations import Activations
from aevis_dash.core.bending import find_bends
from aevis_dash.core.heads import Head, cut
from aevis_dash.core.outputs import take_logits
from aevis_dash.core.tokens import TokenGrid, token_grid
from aevis_dash.core.tracing import ancestors, pure_graph, refuse_wrapped
from aevis_dash.domain import AevisError, Layer, LayerGraph, reason_of

SUMS = frozenset({operator.add, torch.add})
"""The functions that add two tensors."""
_BLANK = frozenset(
    {torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like, "new_zeros", "new_ones", "new_full"}
)
"""The functions that take only the shape of the tensor that they are given."""


_ROUNDED = 2
"""By how many rows a grid may differ from the image's proportions, because strides and borders are rounded."""


@dataclass(frozen=True)
class TracedModel:
    """A model's pure graph, in which nothing works in place, and its layers; it shares the model's parameters.

    The graph ends in the logits.

    Attributes:
        module: the graph with the modules and parameters that it calls.
        layers: the L layers and the edges between them.
        sites: the graph node of each layer, (L,).
        axes: the dimension of each site's output along which its channels run, (L,).
        shapes: the shape of every tensor in the graph for one image.
        input_size: the (height, width) of the image in pixels.
        channels: the number of channels of the image.
        names: where in the model each node is called.
        head: what the model itself makes of the logits at its end.
        made: the sites that were known as activations by what they compute, not by name.
        inside: the nodes that these sites consist of.
        kept: the names of the modules that were kept whole though they are the author's own.
        output: the name of the logits among what the model gives; "" where it gives nothing else.
    """

    module: fx.GraphModule
    layers: LayerGraph
    sites: tuple[fx.Node, ...]
    axes: tuple[int, ...]
    shapes: dict[fx.Node, torch.Size]
    input_size: tuple[int, int]
    names: dict[fx.Node, str]
    head: Head = Head.LOGITS
    made: tuple[fx.Node, ...] = ()
    inside: frozenset[fx.Node] = frozenset()
    kept: tuple[str, ...] = ()
    channels: int = 3
    output: str = ""

    @cached_property
    def ungated(self) -> tuple[fx.Node, ...]:
        """The operations on the image that bend its numbers and have no gate; every operation is run to find them."""
        return find_bends(
            self.module, _on_the_way(self.module), (self.channels, *self.input_size), {*self.sites, *self.inside}
        )

    def describe(self, node: fx.Node) -> str:
        """Describe a node for people: where in the model it is called, and what is called there."""
        return f"{self.names.get(node, node.name)} ({self._callee(node)})"

    @property
    def ungated_in_words(self) -> str:
        """Each kind of ungated operation in words, with the place where it is called first and how often it is called
        elsewhere.
        """
        places: dict[str, list[str]] = {}
        for node in self.ungated:
            places.setdefault(self._callee(node), []).append(self.names.get(node, node.name))
        more = {kind: f" and {len(at) - 1} more" if len(at) > 1 else "" for kind, at in places.items()}
        return ", ".join(f"{kind} ({at[0]}{more[kind]})" for kind, at in places.items())

    def _callee(self, node: fx.Node) -> str:
        called = self.module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        return type(called).__name__ if isinstance(called, nn.Module) else getattr(called, "__name__", str(called))


def trace_model(
    model: nn.Module, input_size: tuple[int, int], leaves: Sequence[str] = (), channels: int = 3
) -> TracedModel:
    """Trace a model with torch.fx and find its layers.

    Args:
        model: the model, in eval mode.
        input_size: the (height, width) of its images in pixels.
        leaves: the modules that are kept whole, by their names in the model, the ends of these, or their classes.
        channels: the number of channels of its images.

    Raises:
        AevisError: torch.fx cannot trace the model (the message names the line), the model cannot take such images, or
            it has no layer to put gates on.
    """
    refuse_wrapped(model)
    shape = (channels, *input_size)
    module, names, kept = pure_graph(model, shape, leaves)
    shapes = _shapes_or_refusal(model, module, shape)
    output = take_logits(module, shapes)
    head = cut(module, shapes)
    carried = _find_image_nodes(module, shapes)
    found = Activations(module, carried)
    sites = [node for node in module.graph.nodes if _is_site(node, found, carried, shapes)]
    if not sites and (ungated := find_bends(module, _on_the_way(module), shape)):
        raise AevisError(
            f"{type(model).__name__} has no layer to put gates on: its functions ({_join_names(ungated, names)}) "
            "cannot be gated here. Put an activation of torch.nn that works on every number by itself, such as "
            "nn.ReLU, in their place or behind them."
        )
    if not sites:
        raise AevisError(
            f"{type(model).__name__} has no activation function and no residual sum that torch.fx can see, "
            "so there is no feature map to put a gate on. Call them as modules or functions of torch.nn."
        )
    axes = _channel_axes(module, sites, shape, shapes)
    layers = tuple(
        _layer(i, names[site], shapes[site], axis, _grid_of(module, site, shapes), input_size)
        for i, (site, axis) in enumerate(zip(sites, axes, strict=True))
    )
    graph = LayerGraph(layers, _edges(sites))
    made = tuple(site for site in sites if found.is_whole(site))
    inside = frozenset(found.inside)
    return TracedModel(
        module, graph, tuple(sites), axes, shapes, input_size, names, head, made, inside, kept, channels, output
    )


def _join_names(nodes: Iterable[fx.Node], names: dict[fx.Node, str]) -> str:
    return ", ".join(names.get(node, node.name) for node in nodes)


def _is_residual_sum(node: fx.Node, carried: set[fx.Node]) -> bool:
    is_sum = (node.op == "call_function" and node.target in SUMS) or (node.op == "call_method" and node.target == "add")
    terms = node.args[:2]
    return is_sum and len(terms) == 2 and all(t in carried for t in terms)


def _is_site(node: fx.Node, found: Activations, carried: set[fx.Node], shapes: dict[fx.Node, torch.Size]) -> bool:
    if node not in carried or node in found.inside or shapes[node][0] != 1:  # windows of the image as further images
        return False
    return found.is_activation(node) or (_is_residual_sum(node, carried) and not found.feeds_one_alone(node))


def _find_image_nodes(module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]) -> set[fx.Node]:
    """Find the nodes whose value is a tensor with channels that is made of the image, and neither a constant nor a
    size.
    """
    return {node for node in _made_of_image(module) if len(shapes.get(node, ())) >= 2}


def _made_of_image(module: fx.GraphModule) -> set[fx.Node]:
    """Find the nodes whose value depends on the image by more than its shape, whatever kind of value it is."""
    made: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder" or (node.target not in _BLANK and any(n in made for n in node.all_input_nodes)):
            made.add(node)
    return made


def _on_the_way(module: fx.GraphModule) -> set[fx.Node]:
    """Find the nodes that are made of the image and that the output is made of."""
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    return _made_of_image(module) & ancestors(output)


def _shapes_or_refusal(
    model: nn.Module, module: fx.GraphModule, shape: tuple[int, int, int]
) -> dict[fx.Node, torch.Size]:
    try:
        return _shapes(module, shape)
    except (Exception, SystemExit) as error:  # The model's own operations may raise anything.
        channels, height, width = shape
        image = "an RGB image" if channels == 3 else f"an image of {channels} channel{'s' if channels > 1 else ''}"
        raise AevisError(
            f"{type(model).__name__} cannot take {image} of {height} x {width} pixels: {reason_of(error)}. "
            f"{_remedy(error, model, channels)}"
        ) from error


def _remedy(error: BaseException, model: nn.Module, channels: int) -> str:
    """What to do about an error that the images of that many channels met in a model."""
    if re.search(r"dtype|scalar type|Half|Double|BFloat16", str(error)):
        return "Its forward changes the type of the numbers: let it compute in torch.float32, as its weights are."
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and first.in_channels != channels:
        return (
            f"Its first convolution takes {first.in_channels}: say --channels {first.in_channels}, or give --mean and "
            f"--std with {first.in_channels} number{'s' if first.in_channels > 1 else ''} each."
        )
    return (
        "Mend the input size (--input-size, or workspace.toml), or the number of channels (--channels, or as many "
        "numbers in mean and std of workspace.toml)."
    )


def _shapes(module: fx.GraphModule, shape: tuple[int, int, int]) -> dict[fx.Node, torch.Size]:
    """Run one image of zeros through the graph and give the shape of every tensor in it."""
    shapes: dict[fx.Node, torch.Size] = {}

    class Shapes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor):
                shapes[n] = value.shape
            return value

    device = next(iter(module.parameters()), torch.zeros(())).device
    with torch.no_grad():
        Shapes(module).run(torch.zeros(1, *shape, device=device))
    return shapes


def _channel_axes(
    module: fx.GraphModule, sites: list[fx.Node], shape: tuple[int, int, int], shapes: dict[fx.Node, torch.Size]
) -> tuple[int, ...]:
    """Find the dimension of each site's channels: the first one that does not grow with the image.

    Where a model accepts one image size only, tokens (rank 3) are taken as channels-last. Of four dimensions it is the
    one that the nearest layer with weights takes for its channels: the last one for a linear layer or a layer norm, the
    first for a convolution, and the first where nothing tells.
    """
    try:
        larger = _shapes(module, (shape[0], shape[1] + 64, shape[2] + 64))
    except (Exception, SystemExit):  # Whatever is raised, the model refuses the larger image.
        larger = {}
    return tuple(_channel_axis(module, site, shapes, larger.get(site)) for site in sites)


def _channel_axis(
    module: fx.GraphModule, site: fx.Node, shapes: dict[fx.Node, torch.Size], larger: torch.Size | None
) -> int:
    shape = shapes[site]
    if larger is not None and len(larger) == len(shape):
        fixed = [axis for axis in range(1, len(shape)) if shape[axis] == larger[axis]]
        if fixed:
            return fixed[0]
    if len(shape) < 4:
        return len(shape) - 1
    known = (_is_last(module, site, shapes, step) for step in (_inputs, _users))
    return len(shape) - 1 if next((found for found in known if found is not None), False) else 1


def _inputs(node: fx.Node) -> list[fx.Node]:
    return node.all_input_nodes


def _users(node: fx.Node) -> list[fx.Node]:
    return list(node.users)


def _is_last(
    module: fx.GraphModule,
    site: fx.Node,
    shapes: dict[fx.Node, torch.Size],
    step: Callable[[fx.Node], list[fx.Node]],
) -> bool | None:
    """Tell whether the nearest layer with weights, in one direction, takes the site's last dimension for its channels;
    None where an operation in between may have moved them."""
    last, count = shapes[site][-1], shapes[site].numel()
    seen, queue = {site}, step(site)
    while queue:
        node = queue.pop(0)
        if node in seen:
            continue
        seen.add(node)
        called = module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
        if isinstance(called, nn.Linear | nn.LayerNorm) or called in _LAST:
            return True
        if isinstance(called, nn.Conv2d | nn.BatchNorm2d | nn.GroupNorm):
            return False
        shape = shapes.get(node, torch.Size(()))
        if shape.numel() == count and shape[-1:] == (last,) and called not in _MOVES:
            queue.extend(step(node))
    return None


_MOVES = frozenset({"permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "flip"}) | {
    torch.permute,
    torch.transpose,
    torch.movedim,
    torch.swapaxes,
}
"""The operations that may move the channels to another dimension."""
_LAST = (nn.functional.linear, nn.functional.layer_norm, torch.layer_norm)
"""The functions that take the last dimension for the channels."""


def _grid_of(module: fx.GraphModule, site: fx.Node, shapes: dict[fx.Node, torch.Size]) -> TokenGrid | None:
    needed = ancestors(site)
    return token_grid(module, [node for node in module.graph.nodes if node in needed], shapes)


def _layer(
    index: int, name: str, shape: torch.Size, axis: int, grid: TokenGrid | None, input_size: tuple[int, int]
) -> Layer:
    rest = [size for i, size in enumerate(shape) if i not in (0, axis)]
    height, width = (*rest, 1, 1)[:2] if len(rest) != 1 else (1, rest[0])
    special = 0
    if axis == 2 and grid is not None:
        special, height, width = grid.special, grid.rows + (1 if grid.special else 0), grid.columns
    parts = name.split(".")[:-1]
    group = tuple(".".join(parts[: i + 1]) for i in range(len(parts)))
    on_image = _lies_on(height - (special > 0), width, input_size)
    return Layer(index, name, group, int(shape[axis]), int(height), int(width), special, on_image)


def _lies_on(height: int, width: int, input_size: tuple[int, int]) -> bool:
    """Tell whether a grid has the image's proportions, but for the rounding of strides; a single neuron has them."""
    return height * width == 1 or abs(height - width * input_size[0] / input_size[1]) <= _ROUNDED * max(
        1, input_size[0] / input_size[1]
    )


def _edges(sites: list[fx.Node]) -> tuple[tuple[int, int], ...]:
    index = {site: i for i, site in enumerate(sites)}
    return tuple(sorted({(index[earlier], index[site]) for site in sites for earlier in _sites_before(site, index)}))


def _sites_before(node: fx.Node, index: dict[fx.Node, int]) -> set[fx.Node]:
    found, seen, queue = set(), set(), list(node.all_input_nodes)
    while queue:
        earlier = queue.pop()
        if earlier in seen:
            continue
        seen.add(earlier)
        if earlier in index:
            found.add(earlier)
        else:
            queue.extend(earlier.all_input_nodes)
    return found
