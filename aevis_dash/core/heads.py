"""This module finds the logits of a model that gives probabilities, or other numbers made of the logits, at its end.

A softmax of what is a softmax already would flatten every prediction (0.927 becomes 0.218). So a model that ends in a
softmax, a log-softmax or a sigmoid is explained from what that function is given. Where it is written out by hand
(exp(x) / sum) the logarithm of its probabilities takes the logits' place: both have the same softmax and margins.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


class Head(StrEnum):
    """The function by which the model itself makes its outputs of the logits that it is explained from."""

    LOGITS = "logits"
    SOFTMAX = "softmax"
    LOG_SOFTMAX = "log-softmax"
    SIGMOID = "sigmoid"
    LOG_SIGMOID = "log-sigmoid"
    HARD_SIGMOID = "hard sigmoid"
    PROBABILITIES = "probabilities"
    """The outputs are not negative and have one sum in every row; their logarithms are taken for the logits."""
    LOG_PROBABILITIES = "logarithms of probabilities"
    """The exponentials of the outputs sum to 1; the outputs themselves are taken for the logits."""
    SHARES = "numbers between 0 and 1"
    """The outputs lie between 0 and 1 and have no common sum; they themselves are taken for the logits."""


_FUNCTIONS: dict[Any, Head] = {
    F.softmax: Head.SOFTMAX,
    torch.softmax: Head.SOFTMAX,
    torch.special.softmax: Head.SOFTMAX,
    F.log_softmax: Head.LOG_SOFTMAX,
    torch.log_softmax: Head.LOG_SOFTMAX,
    torch.special.log_softmax: Head.LOG_SOFTMAX,
    torch.sigmoid: Head.SIGMOID,
    F.sigmoid: Head.SIGMOID,
    torch.special.expit: Head.SIGMOID,
    F.logsigmoid: Head.LOG_SIGMOID,
    F.hardsigmoid: Head.HARD_SIGMOID,
}
_METHODS = {"softmax": Head.SOFTMAX, "log_softmax": Head.LOG_SOFTMAX, "sigmoid": Head.SIGMOID}
_MODULES = {
    nn.Softmax: Head.SOFTMAX,
    nn.LogSoftmax: Head.LOG_SOFTMAX,
    nn.Sigmoid: Head.SIGMOID,
    nn.LogSigmoid: Head.LOG_SIGMOID,
    nn.Hardsigmoid: Head.HARD_SIGMOID,
}
_SHAPING = frozenset({torch.flatten, torch.squeeze, torch.reshape})
_SHAPING_METHODS = frozenset("flatten squeeze reshape view contiguous clone float".split())
_SHAPING_MODULES = (nn.Flatten, nn.Identity, nn.Dropout)

GIVES: dict[Head, Callable[[Tensor], Tensor]] = {
    Head.LOGITS: lambda logits: logits,
    Head.SOFTMAX: lambda logits: logits.softmax(1),
    Head.LOG_SOFTMAX: lambda logits: logits.log_softmax(1),
    Head.SIGMOID: torch.sigmoid,
    Head.LOG_SIGMOID: F.logsigmoid,
    Head.HARD_SIGMOID: F.hardsigmoid,
    Head.PROBABILITIES: torch.exp,
    Head.LOG_PROBABILITIES: lambda logits: logits,
    Head.SHARES: lambda logits: logits,
}
"""The function by which each end makes the model's own outputs (B, K) of the logits (B, K) that it is explained
from."""

_DOUBTS = {
    Head.PROBABILITIES: "The model gives probabilities, and the logits before them cannot be found in its graph. Their "
    "logarithms are explained instead. Predictions and margins stay the same, but what looks at one logit alone (the "
    "relevance of feature maps, the method quadratic) sees little where the model is sure. Better return the logits.",
    Head.LOG_PROBABILITIES: "The model gives logarithms of probabilities, and the logits before them cannot be found "
    "in its graph. Predictions and margins stay the same, but what looks at one logit alone (the relevance of feature "
    "maps, the method quadratic) sees little where the model is sure. Better return the logits.",
    Head.SHARES: "The model's outputs all lie between 0 and 1 but do not sum to 1. They are taken for logits, so that "
    "the probabilities shown hardly differ between classes, and hard sets come out too small. Return the logits.",
}
_APART = (
    "The model ends in a {head}, which judges every class apart. It is explained from the logits before it: the class "
    "of the largest one counts as the prediction, and the probabilities shown are a softmax over the classes, not the "
    "model's own. Explanations are sound where exactly one class fits an image."
)
TWICE = (
    "The model ends in a {head} of numbers between 0 and 1, as if there were two softmaxes. These numbers are taken "
    "for logits, so that the probabilities hardly differ between classes, and hard sets come out too small. Take one "
    "of the two functions out of the model."
)
"""The warning, to be formatted with the `head`, for a model that squeezes its outputs twice."""
_SUM_ERROR = 1e-4
_SMALLEST = torch.finfo(torch.float32).tiny


def doubt(head: Head) -> str | None:
    """Tell in words what suffers where a model has that end; None where nothing does."""
    if head in (Head.SIGMOID, Head.LOG_SIGMOID, Head.HARD_SIGMOID):
        return _APART.format(head=head)
    return _DOUBTS.get(head)


def cut(module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]) -> Head:
    """Let a graph that ends in a softmax, log-softmax or sigmoid of the logits end in the logits; the graph is changed.

    Args:
        module: the traced graph with its modules.
        shapes: the shape of every tensor in the graph for one image.

    Returns:
        The end that was cut off; LOGITS where the graph ends in none of these functions and is left as it was.
    """
    output = next(node for node in module.graph.nodes if node.op == "output")
    user, node = output, output.args[0]
    while isinstance(node, fx.Node) and _only_shapes(node, module):
        user, node = node, node.args[0]
    if not isinstance(node, fx.Node):
        return Head.LOGITS
    head, end = _head(node, module, shapes), node
    logarithm = node.target in (torch.log, "log")
    if logarithm and _head(node.all_input_nodes[0], module, shapes) is Head.SOFTMAX:
        head, end = Head.LOG_SOFTMAX, node.all_input_nodes[0]
    if head is Head.LOGITS:
        return head
    user.replace_input_with(node, end.all_input_nodes[0])
    for unused in (node, end):
        if unused in module.graph.nodes and not unused.users:
            module.graph.erase_node(unused)
    module.recompile()
    return head


def flattens(head: Head, before: Head) -> bool:
    """Tell whether the function at a model's end flattens numbers that another function has squeezed already.

    A softmax of logarithms of probabilities gives these probabilities again, so it flattens nothing.

    Args:
        head: the function at the model's end.
        before: what the numbers that this function is given look like, by `recognise`.
    """
    return head is not Head.LOGITS and before in (Head.PROBABILITIES, Head.SHARES)


def recognise(outputs: Tensor) -> Head:
    """Tell what a model's outputs look like: probabilities, their logarithms, shares or logits.

    Args:
        outputs: the outputs for several different images, (B, K).
    """
    outputs = outputs.cpu()  # not every device has 64 bits
    sums, spread = outputs.double().sum(1), float((outputs - outputs[:1]).abs().max())
    alike = spread > 0 and float((sums - sums[0]).abs().max()) < _SUM_ERROR * abs(float(sums[0]))
    if bool((outputs >= 0).all()) and (alike or float((sums - 1).abs().max()) < _SUM_ERROR):
        return Head.PROBABILITIES
    if float(outputs.double().logsumexp(1).abs().max()) < _SUM_ERROR:
        return Head.LOG_PROBABILITIES
    inside = bool(((outputs > 0) & (outputs < 1)).all())
    return Head.SHARES if inside and spread > 0 else Head.LOGITS


def take_logarithm(module: fx.GraphModule) -> tuple[fx.Node, ...]:
    """Let a graph that ends in probabilities end in their logarithms; the graph is changed.

    Returns:
        The nodes that are new.
    """
    graph = module.graph
    output = next(node for node in graph.nodes if node.op == "output")
    with graph.inserting_before(output):
        positive = graph.call_function(torch.clamp, (output.args[0],), {"min": _SMALLEST})
        logarithm = graph.call_function(torch.log, (positive,))
    output.args = (logarithm,)
    module.recompile()
    return positive, logarithm


def _head(node: fx.Node, module: fx.GraphModule, shapes: dict[fx.Node, torch.Size]) -> Head:
    """Tell which of the known ends a node is; LOGITS for none of them."""
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        head, axis = _MODULES.get(type(called), Head.LOGITS), getattr(called, "dim", None)
    else:
        known = {"call_function": _FUNCTIONS, "call_method": _METHODS}.get(node.op, {})
        head = known.get(node.target, Head.LOGITS)
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    if head not in (Head.SOFTMAX, Head.LOG_SOFTMAX):
        return head
    shape = shapes.get(node, torch.Size(()))
    over_classes = axis is None or (isinstance(axis, int) and axis % max(len(shape), 1) == 1)
    return head if over_classes and len(shape) in (2, 4) and shape[1:].numel() == shape[1] else Head.LOGITS


def _only_shapes(node: fx.Node, module: fx.GraphModule) -> bool:
    """Tell whether a node gives the numbers that it is given, at most in another shape."""
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), _SHAPING_MODULES)
    return node.target in (
        _SHAPING if node.op == "call_function" else _SHAPING_METHODS if node.op == "call_method" else ()
    )
