"""Receptive fields: which positions of an earlier layer, or of the image, can move a rectangle of neurons.

The rectangle is carried backwards through the graph, operation by operation; what an operation reads is exact
for convolutions, pooling and everything elementwise, and the whole extent for anything else, never too small.
(Where dilation meets the zero padding, the rectangle may begin or end in a gap between what is read.)
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from aevis_dash.core.layer_graph import TracedModel, ancestors, descendants
from aevis_dash.domain import AreaOfInterest

Span = tuple[int, int]
"""Half-open range of positions along one axis, before it is cut to the extent."""
Box = tuple[Span, Span]

_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_MIXING = (
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.ConvTranspose2d,
    nn.MultiheadAttention,
    nn.Upsample,
    nn.Conv1d,
    nn.Softmax,
)
_POOL_FUNCTIONS = (F.max_pool2d, F.avg_pool2d, torch.max_pool2d)
_ELEMENTWISE = frozenset(
    "add sub mul truediv div neg pow square sqrt rsqrt exp log abs clamp clip minimum maximum where sigmoid tanh relu "
    "relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh softplus dropout "
    "dropout2d feature_dropout alpha_dropout stochastic_depth batch_norm layer_norm linear cat concat permute "
    "contiguous clone detach to float type_as".split()
)
"""Functions and methods that read each neuron's own position only (linear and layer_norm: over channels)."""


def field_on_layer(traced: TracedModel, area: AreaOfInterest, layer: int) -> AreaOfInterest:
    """The rectangle of `layer` that feeds `area` of a later layer; raises ValueError where none does."""
    site = traced.sites[layer]
    box = _carry(traced, area, site)
    extent = traced.layers.layers[layer]
    return _as_area(box, layer, extent.height, extent.width)


def field_on_image(traced: TracedModel, area: AreaOfInterest) -> AreaOfInterest:
    """The rectangle of input pixels that can move `area`; `layer` of the result is -1."""
    image = next(node for node in traced.module.graph.nodes if node.op == "placeholder")
    return _as_area(_carry(traced, area, image), -1, *traced.input_size)


def _carry(traced: TracedModel, area: AreaOfInterest, start: fx.Node) -> Box:
    end = traced.sites[area.layer]
    between = ancestors(end) & descendants(start)
    if end not in between:
        raise ValueError("the earlier layer does not feed the area's layer")
    boxes: dict[fx.Node, Box] = {end: ((area.top, area.bottom), (area.left, area.right))}
    for node in reversed([n for n in traced.module.graph.nodes if n in between]):
        if node is start:
            break
        for earlier in node.all_input_nodes:
            if earlier in between:
                read = _read(traced, node, earlier, boxes[node])
                boxes[earlier] = _hull(boxes[earlier], read) if earlier in boxes else read
    return boxes[start]


def _read(traced: TracedModel, node: fx.Node, earlier: fx.Node, box: Box) -> Box:
    module = traced.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.Conv2d) and module.padding_mode in ("circular", "reflect"):
        return _whole(traced.shapes[earlier])
    if isinstance(module, _WINDOWS):
        box = _cut(box, traced.shapes[node])
        return _window(box, module.kernel_size, module.stride, module.padding, getattr(module, "dilation", 1))
    if node.op == "call_function" and node.target in _POOL_FUNCTIONS:
        return _pool_function(node, _cut(box, traced.shapes[node]))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    mixing = isinstance(module, _MIXING) if module is not None else name not in _ELEMENTWISE
    if not mixing and _keeps_positions(traced.shapes.get(earlier), traced.shapes.get(node), node, module):
        return box
    return _whole(traced.shapes.get(earlier, torch.Size(())))


def _pool_function(node: fx.Node, box: Box) -> Box:
    names = ("input", "kernel_size", "stride", "padding", "dilation")
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    kernel = given["kernel_size"]
    dilation = given.get("dilation", 1) if node.target is not F.avg_pool2d else 1
    return _window(box, kernel, given.get("stride") or kernel, given.get("padding", 0), dilation)


def _cut(box: Box, shape: torch.Size) -> Box:
    """The part of the box that lies on the map; what lies outside is padding, which reads nothing."""
    rows, columns = ((max(lo, 0), min(hi, n)) for (lo, hi), n in zip(box, shape[2:], strict=True))
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


def _keeps_positions(
    before: torch.Size | None, after: torch.Size | None, node: fx.Node, module: nn.Module | None
) -> bool:
    if before is None or after is None or len(before) != 4 or len(after) != 4:
        return False
    if "permute" in str(node.target).lower() or "permute" in type(module).__name__.lower():
        return True
    return before[2:] == after[2:] or before[1:3] == after[1:3]


def _whole(shape: torch.Size) -> Box:
    largest = max(shape[1:], default=1)
    return (0, largest), (0, largest)


def _hull(a: Box, b: Box) -> Box:
    rows = min(a[0][0], b[0][0]), max(a[0][1], b[0][1])
    columns = min(a[1][0], b[1][0]), max(a[1][1], b[1][1])
    return rows, columns


def _as_area(box: Box, layer: int, height: int, width: int) -> AreaOfInterest:
    (top, bottom), (left, right) = box
    top, left = min(max(top, 0), height - 1), min(max(left, 0), width - 1)
    return AreaOfInterest(layer, top, left, max(min(bottom, height), top + 1), max(min(right, width), left + 1))
