"""Answers to what a model asks of the shapes of its tensors while torch.fx traces it, such as `if x.shape[1] != 3`.

A graph that torch.fx traces has no values to branch on. But a workspace's images all have one size, so what depends on
sizes alone always has the same answer, as long as it does not depend on how many images are in the batch. It is found
by running what was traced so far on a picture of zeros, on three of them, and on three of noise. Shapes that the noise
changes are made of values, as that of x[x > 0], and give no answer.
"""

import operator
from typing import Any, cast

import torch
from torch import fx, nn
from torch.fx.proxy import Attribute, TraceError

_OF_TENSORS = frozenset({"shape", "ndim", "dtype", "device", "is_cuda", "requires_grad", "layout", "names"})
"""What a tensor tells of itself, apart from its values, as an attribute."""
_METHODS = frozenset({"size", "dim", "ndimension", "numel", "nelement", "stride", "is_floating_point", "element_size"})
"""The same by its methods."""


class ShapeQuestions:
    """What one model asks while it is traced.

    Args:
        model: the model.
        shape: the (channels, height, width) of its input.

    Attributes:
        asking: whether the model is being run for an answer, so that its calls are no part of the graph.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, int, int]):
        self._model = model
        device = next(iter(model.parameters()), torch.zeros(())).device
        noise = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        self._images = [each.to(device) for each in (torch.zeros(1, *shape), torch.zeros(3, *shape), noise)]
        self._values: list[dict[fx.Node, Any]] = [{} for _ in self._images]
        self._plain: dict[fx.Node, bool] = {}
        self.asking = False

    def answer(self, node: fx.Node) -> Any:
        """Give the value of a node that depends on sizes alone; None where it depends on more, such as the image or the
        number of images."""
        values = self._values_of(node)
        found = [value for value in values if isinstance(value, bool | int | float | str | torch.dtype | torch.device)]
        return found[0] if found and found == values and all(each == found[0] for each in found) else None

    def length(self, node: fx.Node) -> int | None:
        """Give the length of a shape; None of any other node."""
        lengths = {len(value) if isinstance(value, torch.Size) else None for value in self._values_of(node)}
        return lengths.pop() if len(lengths) == 1 else None

    def _values_of(self, node: fx.Node) -> list[Any]:
        """The values of a node that depends on sizes alone, for each of the pictures; none for any other node."""
        if not self._is_plain(node):
            return []
        self.asking = True
        try:
            with torch.no_grad():
                found = [self._value(node, place) for place in range(len(self._images))]
        except (Exception, SystemExit):  # the author's own code may raise anything; then tracing refuses as it did
            return []
        finally:
            self.asking = False
        _, zeros, noise = self._values
        made_of = [each for each in self._before(node) if self._is_plain(each)]
        return found if all(zeros[each] == noise[each] for each in made_of) else []

    def _is_plain(self, node: fx.Node) -> bool:
        """Whether a node's value is made of what tensors tell of themselves apart from their values."""
        if node not in self._plain:
            self._plain[node] = self._asks_a_tensor(node) or (
                node.op == "call_function"
                and getattr(node.target, "__module__", "") in ("_operator", "builtins", "math")
                and bool(node.all_input_nodes)
                and all(self._is_plain(each) for each in node.all_input_nodes)
            )
        return self._plain[node]

    def _asks_a_tensor(self, node: fx.Node) -> bool:
        if node.op == "call_method":
            return node.target in _METHODS
        return node.op == "call_function" and node.target is getattr and node.args[1] in _OF_TENSORS

    def _value(self, node: fx.Node, place: int) -> Any:
        """The value of a node for the pictures at a place; what it is made of is run before it, and each node once."""
        known, needed = self._values[place], self._before(node)
        for each in node.graph.nodes:
            if each in needed and each not in known:
                known[each] = self._run(each, known, place)
        return known[node]

    def _before(self, node: fx.Node) -> set[fx.Node]:
        """A node and all that it is made of."""
        found, waiting = set[fx.Node](), [node]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += each.all_input_nodes
        return found

    def _run(self, node: fx.Node, known: dict[fx.Node, Any], place: int) -> Any:
        args: Any = fx.map_arg(node.args, lambda each: known[each])
        kwargs: Any = fx.map_arg(node.kwargs, lambda each: known[each])
        if node.op == "placeholder":
            is_image = node is next(iter(node.graph.nodes))
            return self._images[place].clone() if is_image else next(iter(args), None)
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self._model)
        if node.op == "call_module":
            return self._model.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]


class _Answering:
    """What a proxy answers by `ShapeQuestions` where Python needs a number of it."""

    tracer: Any

    def __getattr__(self, k: str) -> "AskedAttribute":
        return AskedAttribute(cast(fx.Proxy, self), k)

    def __int__(self) -> int:
        return int(self._number("an int"))

    def __index__(self) -> int:
        return operator.index(self._number("an index"))

    def __float__(self) -> float:
        return float(self._number("a float"))

    def __len__(self) -> int:
        size = self.tracer.length(self.node)
        if size is None:
            raise TraceError("the length of a value of the image, or the number of images, cannot be used")
        return size

    def __format__(self, spec: str) -> str:
        found = self.tracer.answer(self.node)
        return str(self) if found is None else format(found, spec)

    def _number(self, what: str) -> Any:
        found = self.tracer.answer(self.node)
        if found is None:
            raise TraceError(f"a value of the image, or the number of images, cannot be used as {what}")
        return found


class AskedProxy(_Answering, fx.Proxy):
    """A value of the graph that answers what is asked of its shape."""


class AskedAttribute(_Answering, Attribute):
    """An attribute of such a value, such as its shape."""
