"""Models that give more than the logits: a dict, a tuple, or an object with a field of that name.

Such outputs are common where a network can also compute a loss, gives what is inside, or has further heads for
training.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, fx

from aevis_dash.domain import AevisError

NAMES = ("logits", "out", "output", "prediction", "predictions", "pred")
"""What the entry with the logits may be called, the first that there is."""


def entries_of(found: Any) -> dict[str, Any]:
    """Give the parts of what a model gives by name, or by number where they have none; none of a tensor."""
    if isinstance(found, Mapping):
        return {str(name): value for name, value in found.items()}
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return dict(zip(found._fields, found, strict=True))  # type: ignore[attr-defined]
    if isinstance(found, tuple | list):
        return {str(i): value for i, value in enumerate(found)}
    if is_dataclass(found):
        return {each.name: getattr(found, each.name) for each in fields(found)}
    return {} if isinstance(found, Tensor) else dict(getattr(found, "__dict__", {}))


def take_logits(module: fx.GraphModule, shapes: Mapping[fx.Node, torch.Size]) -> str:
    """Let a graph that gives more than the logits end in the logits alone; the graph is changed, and what only its
    other outputs are made of is taken out.

    Args:
        module: the traced graph with its modules.
        shapes: the shape of every tensor in the graph for one image.

    Returns:
        The name of the entry that was taken; "" where the graph gives a tensor alone and is left as it was.

    Raises:
        AevisError: no entry is surely the logits.
    """
    output = next(node for node in module.graph.nodes if node.op == "output")
    given: Any = output.args[0]
    parts = _made_of(given) if isinstance(given, fx.Node) else entries_of(given)
    if not parts:
        return ""
    tensors = {name: part for name, part in parts.items() if isinstance(part, fx.Node) and part in shapes}
    flat = [name for name, part in tensors.items() if len(shapes[part]) == 2]
    name = next((name for name in NAMES if name in tensors), flat[0] if len(flat) == 1 else None)
    if name is None:
        raise AevisError(
            f"The model gives several values ({', '.join(parts)}), and it is unclear which of them are the logits. "
            f"Wrap it in a module that returns the logits alone, or call them {NAMES[0]!r}."
        )
    output.args = (tensors[name],)
    module.graph.eliminate_dead_code()
    module.recompile()
    return name


def _made_of(node: fx.Node) -> dict[str, Any]:
    """The fields of a record or a named tuple that a graph makes by calling its class; none of any other value."""
    if node.op != "call_function":
        return {}
    names = getattr(node.target, "_fields", ())
    return (
        dict(zip(names, node.args, strict=False)) if names else dict(node.kwargs) if is_dataclass(node.target) else {}
    )


def logits_in(found: Any, name: str) -> Any:
    """Give the logits in what a model gives, (B, K), by the name that `take_logits` gave; all of it for ""."""
    return entries_of(found)[name] if name else found
