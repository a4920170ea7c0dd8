"""What a model's forward is given: a batch of images as one tensor, and nothing else."""

import inspect
import operator

import torch
from torch import Tensor, fx, nn

from aevis_dash.domain import AevisError


def channels_first(images: Tensor) -> Tensor:
    """Images (B, H, W, C) as (B, C, H, W), which lie in memory in that order too.

    A mere view of the axes in another order would make convolutions answer with channels last in memory, of which many
    networks then cannot take a view, as in x.view(x.size(0), -1).
    """
    return images.movedim(-1, 1).clone(memory_format=torch.contiguous_format)


def refuse_other_inputs(model: nn.Module, graph: fx.Graph) -> None:
    """Refuse a model that needs more than images, or that asks of them what only a dict or another object has.

    Args:
        model: the model.
        graph: its graph, as far as it was traced.

    Raises:
        AevisError: the message says what the forward asks for, and how the model can be handed over.
    """
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    name = type(model).__name__
    needed = [str(each.target) for each in placeholders[1:] if not each.args and not str(each.target).startswith("*")]
    if needed:
        more = ", ".join(f"{each}=..." for each in needed)
        raise AevisError(
            f"{name}.forward{_parameters(model)} needs {' and '.join(needed)}, but a model is called with the images "
            "alone. Give a default there, or hand over a factory whose model takes images alone: "
            f"def forward(self, x): return self.net(x, {more})."
        )
    for asked in placeholders[0].users if placeholders else ():
        if words := _no_tensor_has(asked):
            key = asked.args[1] if asked.target is operator.getitem else None
            given = f"{{{key!r}: x}}" if key else "..."
            raise AevisError(
                f"{name}.forward takes {words} of what it is given, but a model is given a batch of images as one "
                "tensor. Hand over a factory whose model takes that: "
                f"def forward(self, x): return self.net({given})."
            )


def _parameters(model: nn.Module) -> str:
    signature = inspect.signature(model.forward)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _no_tensor_has(node: fx.Node) -> str:
    """What a node takes of the images that no tensor has, as in Python; "" where a tensor has it."""
    images = node.args[0] if node.args else None
    if node.op == "call_method" and not hasattr(torch.Tensor, str(node.target)):
        return f"{images}.{node.target}()"
    if node.op != "call_function" or len(node.args) < 2 or not isinstance(node.args[1], str):
        return ""
    if node.target is operator.getitem:
        return f"{images}[{node.args[1]!r}]"
    is_missing = node.target is getattr and not hasattr(torch.Tensor, node.args[1])
    return f"{images}.{node.args[1]}" if is_missing else ""
