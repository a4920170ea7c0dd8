"""Receptive fields: which positions of an earlier layer, or of the image, can move a rectangle of neurons.

The rectangle is carried backwards through the graph, operation by operation. What an operation reads is exact for
convolutions, pooling and everything elementwise. For anything else it is the whole extent, so it is never too small.
(Where dilation meets the zero padding, the rectangle may begin or end in a gap between what is read.)
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from aevis_dash.core import activations
from aevis_dash.core.layer_graph import TracedModel
from aevis_dash.core.tracing import ancestors, descendants
from aevis_dash.domain import AreaOfInterest

Bound = int | np.ndarray
"""A position, or the positions (k,) of k rectangles that are carried at once."""
Span = tuple[Bound, Bound]
"""A half-open range of positions along one axis, before it is cut to the extent."""
Box = tuple[Span, Span]
"""The rows and the columns of a rectangle."""

Axes = dict[fx.Node, int | None]
"""The dimension of the channels of each node's value; None where it is not known."""

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_POINTWISE = (
    *activations.MODULES,
    *activations.BOUNDED_MODULES,
    nn.Identity,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
)
_POOL_FUNCTIONS = (F.max_pool2d, F.avg_pool2d, torch.max_pool2d)
_ELEMENTWISE = frozenset(
    "add sub mul truediv div neg pow square sqrt rsqrt exp log abs clamp clip minimum maximum where sigmoid tanh relu "
    "relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh softplus dropout "
    "dropout2d feature_dropout alpha_dropout stochastic_depth batch_norm cat concat "
    "softsign threshold hardshrink softshrink tanhshrink logsigmoid clamp_min expit erf multiply true_divide "
    "contiguous clone detach to float type_as".split()
)
"""The functions and methods that read each neuron's own position only."""


def field_on_layer(traced: TracedModel, area: AreaOfInterest, layer: int) -> AreaOfInterest:
    """Find the rectangle of an earlier layer that feeds an area of a later one.

    Args:
        traced: the traced model.
        area: the area of the later layer; its whole rectangle counts.
        layer: the index of the earlier layer.

    Raises:
        ValueError: the earlier layer does not feed the area's layer.
    """
    site = traced.sites[layer]
    box = _carry(traced, area, site)
    extent = traced.layers.layers[layer]
    return _as_area(box, layer, extent.height, extent.width)


def neurons_that_feed(traced: TracedModel, area: AreaOfInterest, layer: int) -> torch.Tensor:
    """Find the neurons of an earlier layer that feed the chosen ones of an area, on any of its maps.

    Rows and columns are read apart, so the field of a neuron is that of its row crossed with that of its column.

    Args:
        traced: the traced model.
        area: the area of the later layer.
        layer: the index of the earlier layer.

    Returns:
        The neurons, bool (H_l, W_l).

    Raises:
        ValueError: the earlier layer does not feed the area's layer.
    """
    extent = traced.layers.layers[layer]
    field = torch.zeros(extent.height, extent.width, dtype=torch.bool)
    if not area.picked:
        whole = field_on_layer(traced, area, layer)
        field[whole.top : whole.bottom, whole.left : whole.right] = True
        return field
    places = np.argwhere(area.chosen).tolist()
    rows = {row: field_on_layer(traced, _neuron(area, row, 0), layer) for row, _ in places}
    columns = {column: field_on_layer(traced, _neuron(area, 0, column), layer) for _, column in places}
    for row, column in places:
        field[rows[row].top : rows[row].bottom, columns[column].left : columns[column].right] = True
    return field


def _neuron(area: AreaOfInterest, row: int, column: int) -> AreaOfInterest:
    top, left = area.top + row, area.left + column
    return AreaOfInterest(area.layer, top, left, top + 1, left + 1)


def field_on_image(traced: TracedModel, area: AreaOfInterest) -> AreaOfInterest:
    """Find the rectangle of input pixels that can move an area; the `layer` of the result is -1."""
    return _as_area(_carry(traced, area, _placeholder(traced)), -1, *traced.input_size)


def fields_on_image(traced: TracedModel, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the pixels that can move each neuron of a layer.

    Rows and columns are read apart: a neuron's field is the rows of its row crossed with the columns of its column.

    Args:
        traced: the traced model.
        layer: the index of the layer.

    Returns:
        For each row of neurons the first and one past the last row of pixels, (H, 2); and for each column of neurons
        the same of columns of pixels, (W, 2).
    """
    extent = traced.layers.layers[layer]
    rows, columns = np.arange(extent.height), np.arange(extent.width)
    box = _carry_box(traced, traced.sites[layer], ((rows, rows + 1), (columns, columns + 1)), _placeholder(traced))
    counts = (extent.height, extent.width)
    rows, columns = (_spans(*each) for each in zip(box, traced.input_size, counts, strict=True))
    return rows, columns


def field_of(fields: tuple[np.ndarray, np.ndarray], area: AreaOfInterest) -> AreaOfInterest:
    """Find the same rectangle as `field_on_image`, from what `fields_on_image` found for the area's layer.

    Args:
        fields: the pixel rows (H, 2) and pixel columns (W, 2) of the layer's neurons.
        area: an area of that layer.

    Returns:
        The rectangle of pixels around the fields of the area's neurons.
    """
    rows, columns = fields[0][area.top : area.bottom], fields[1][area.left : area.right]
    top, bottom, left, right = rows[:, 0].min(), rows[:, 1].max(), columns[:, 0].min(), columns[:, 1].max()
    return AreaOfInterest(-1, int(top), int(left), int(bottom), int(right))


def _spans(span: Span, extent: int, count: int) -> np.ndarray:
    """Cut spans to 0..extent, each at least one position long: (count, 2)."""
    first = np.clip(span[0], 0, extent - 1)
    last = np.maximum(np.minimum(span[1], extent), first + 1)
    return np.stack([np.broadcast_to(end, count) for end in (first, last)], axis=1)


def _placeholder(traced: TracedModel) -> fx.Node:
    return next(node for node in traced.module.graph.nodes if node.op == "placeholder")


def _carry(traced: TracedModel, area: AreaOfInterest, start: fx.Node) -> Box:
    return _carry_box(traced, traced.sites[area.layer], ((area.top, area.bottom), (area.left, area.right)), start)


def _carry_box(traced: TracedModel, end: fx.Node, box: Box, start: fx.Node) -> Box:
    between = ancestors(end) & descendants(start)
    if end not in between:
        raise ValueError("the earlier layer does not feed the area's layer")
    axes = _channel_axes(traced)
    boxes: dict[fx.Node, Box] = {end: box}
    for node in reversed([n for n in traced.module.graph.nodes if n in between]):
        if node is start:
            break
        for earlier in node.all_input_nodes:
            if earlier in between:
                read = _read(traced, axes, node, earlier, boxes[node])
                boxes[earlier] = _hull(boxes[earlier], read) if earlier in boxes else read
    return boxes[start]


def _read(traced: TracedModel, axes: Axes, node: fx.Node, earlier: fx.Node, box: Box) -> Box:
    module = _module(traced, node)
    whole = _whole(traced.shapes.get(earlier, torch.Size(())))
    if isinstance(module, nn.Conv2d) and module.padding_mode in ("circular", "reflect"):
        return whole
    if isinstance(module, _WINDOWS) and 3 not in (axes.get(earlier), axes.get(node)):
        box = _cut(box, traced.shapes[node])
        return _window(box, module.kernel_size, module.stride, module.padding, getattr(module, "dilation", 1))
    if node.op == "call_function" and node.target in _POOL_FUNCTIONS and axes.get(earlier) != 3:
        return _pool_function(node, _cut(box, traced.shapes[node]))
    return box if _keeps_positions(traced, axes, node, earlier) else whole


def _module(traced: TracedModel, node: fx.Node) -> nn.Module | None:
    return traced.module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _argument(node: fx.Node, place: int, name: str) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name)


def _pool_function(node: fx.Node, box: Box) -> Box:
    names = ("input", "kernel_size", "stride", "padding", "dilation")
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    kernel = given["kernel_size"]
    dilation = given.get("dilation", 1) if node.target is not F.avg_pool2d else 1
    return _window(box, kernel, given.get("stride") or kernel, given.get("padding", 0), dilation)


def _cut(box: Box, shape: torch.Size) -> Box:
    """Give the part of the box that lies on the map; what lies outside is padding, which reads nothing."""
    rows, columns = ((np.maximum(lo, 0), np.minimum(hi, n)) for (lo, hi), n in zip(box, shape[2:], strict=True))
    return rows, columns


def _window(box: Box, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Box:
    k, s, d = (_pair(v) for v in (kernel, stride, dilation))
    if padding == "same":
        p = tuple(d[i] * (k[i] - 1) // 2 for i in (0, 1))
    else:
        p = (0, 0) if padding == "valid" else _pair(padding)
    spans = [(lo * s[i] - p[i], (hi - 1) * s[i] - p[i] + d[i] * (k[i] - 1) + 1) for i, (lo, hi) in enumerate(box)]
    return spans[0], spans[1]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _keeps_positions(traced: TracedModel, axes: Axes, node: fx.Node, earlier: fx.Node) -> bool:
    """Tell whether each position of `node` reads that very position of `earlier` and no other."""
    if node not in axes or earlier not in axes:
        return False
    before, after = traced.shapes[earlier], traced.shapes[node]
    known = {axis for axis in (axes[earlier], axes[node]) if axis is not None}
    if _name(node) == "permute":
        return axes[earlier] is not None and axes[node] == _moved_axis(node, axes[earlier])
    if len(known) > 1 or not (_is_pointwise(traced, node) or (_is_channels_last(traced, node) and known == {3})):
        return False
    return before == after or any(before[:i] + before[i + 1 :] == after[:i] + after[i + 1 :] for i in known)


def _is_pointwise(traced: TracedModel, node: fx.Node) -> bool:
    module = _module(traced, node)
    if module is None:
        in_batch = _name(node) == "batch_norm" and _argument(node, 5, "training")
        return node.op != "get_attr" and _name(node) in _ELEMENTWISE and not in_batch
    in_batch = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    return isinstance(module, _POINTWISE) and not in_batch


def _is_channels_last(traced: TracedModel, node: fx.Node) -> bool:
    module = _module(traced, node)
    if isinstance(module, nn.LayerNorm):
        return len(module.normalized_shape) == 1
    if node.op == "call_function" and _name(node) == "layer_norm":
        shape = _argument(node, 1, "normalized_shape")
        return isinstance(shape, list | tuple) and len(shape) == 1
    return isinstance(module, nn.Linear) or (node.op == "call_function" and _name(node) == "linear")


def _channel_axes(traced: TracedModel) -> Axes:
    """Find the axis of the channels (1, 3 or unknown) of every map of rank 4; its positions run along the others."""
    sites = dict(zip(traced.sites, traced.axes, strict=True))
    axes: Axes = {}
    for node in traced.module.graph.nodes:
        if len(traced.shapes.get(node, ())) == 4:
            axes[node] = sites[node] if node in sites else _channel_axis(traced, axes, sites, node)
    return axes


def _channel_axis(traced: TracedModel, axes: Axes, sites: dict[fx.Node, int], node: fx.Node) -> int | None:
    if node.op == "placeholder" or _is_image_module(_module(traced, node)):
        return 1
    inputs = [axes[n] for n in node.all_input_nodes if axes.get(n) is not None]
    if _name(node) == "permute":
        return _moved_axis(node, inputs[0]) if inputs else None
    if inputs and (_is_pointwise(traced, node) or _is_channels_last(traced, node)):
        return inputs[0]
    return _axis_read_later(traced, sites, node)


def _axis_read_later(traced: TracedModel, sites: dict[fx.Node, int], node: fx.Node) -> int | None:
    """Find the axis that whatever reads the node next takes for its channels."""
    queue, seen = list(node.users), {node}
    while queue:
        user = queue.pop(0)
        if user in sites and len(traced.shapes[user]) == 4:
            return sites[user]
        if _is_image_module(_module(traced, user)):
            return 1
        if user not in seen and (_is_pointwise(traced, user) or _is_channels_last(traced, user)):
            queue.extend(user.users)
        seen.add(user)
    return None


def _is_image_module(module: nn.Module | None) -> bool:
    return isinstance(module, _WINDOWS) or type(module).__name__.endswith("2d")


def _moved_axis(node: fx.Node, axis: int | None) -> int | None:
    """Find where the channels go, if the rows and the columns stay in order."""
    given = node.args[1:] if len(node.args) > 1 else (node.kwargs.get("dims"),)
    dims = given[0] if len(given) == 1 else given
    if not isinstance(dims, list | tuple) or not all(isinstance(d, int) for d in dims):
        return None
    order = [int(d) % 4 for d in dims if isinstance(d, int)]
    others = [d for d in order if d != axis]
    return order.index(axis) if axis in order and order[0] == 0 and others == sorted(others) else None


def _whole(shape: torch.Size) -> Box:
    largest = max(shape[1:], default=1)
    return (0, largest), (0, largest)


def _hull(a: Box, b: Box) -> Box:
    rows = np.minimum(a[0][0], b[0][0]), np.maximum(a[0][1], b[0][1])
    columns = np.minimum(a[1][0], b[1][0]), np.maximum(a[1][1], b[1][1])
    return rows, columns


def _as_area(box: Box, layer: int, height: int, width: int) -> AreaOfInterest:
    (top, bottom), (left, right) = ((int(first), int(last)) for first, last in box)
    top, left = min(max(top, 0), height - 1), min(max(left, 0), width - 1)
    return AreaOfInterest(layer, top, left, max(min(bottom, height), top + 1), max(min(right, width), left + 1))
