"""This module finds the nodes of a graph that are activation functions, by name or by what they compute.

A home-made activation is known as a product (or quotient) whose two factors are made, number by number, of one and the
same tensor, such as x * sigmoid(x), x * relu6(x + 3) / 6 or x * tanh(softplus(x)). It is one layer, and the operations
inside it are no layers. A sigmoid that scales another tensor, as in squeeze and excitation, is a gate of the model's
own and no layer.
"""

import operator
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
)
"""The modules of torch that are activation functions wherever they are called."""
_NAMES = (
    "relu relu_ relu6 leaky_relu leaky_relu_ prelu rrelu elu elu_ selu celu gelu silu mish hardswish softplus"
).split()
_BOUNDED_NAMES = (
    "sigmoid hardsigmoid tanh hardtanh logsigmoid softsign threshold hardshrink softshrink tanhshrink"
).split()
_CLAMP_NAMES = "clamp clip clamp_min".split()
BOUNDED_MODULES = (
    nn.Sigmoid,
    nn.Hardsigmoid,
    nn.Tanh,
    nn.Hardtanh,
    nn.LogSigmoid,
    nn.Softsign,
    nn.Threshold,
    nn.Hardshrink,
    nn.Softshrink,
    nn.Tanhshrink,
)
"""The modules of torch that are activation functions unless they only scale another tensor."""
_OTHER_NAMES = (
    "clamp clip clamp_min clamp_max exp expm1 erf abs sqrt square pow log log1p sin cos atan sign where maximum "
    "minimum gt ge lt le"
).split()


def _functions(names: Iterable[str]) -> frozenset[Any]:
    homes = (F, torch, torch.special)
    return frozenset(getattr(home, name) for home in homes for name in names if hasattr(home, name))


_FUNCTIONS, _BOUNDED_FUNCTIONS = _functions(_NAMES), _functions([*_BOUNDED_NAMES, "expit"])
_CLAMPS = _functions(_CLAMP_NAMES)
_OTHER_FUNCTIONS = _functions(_OTHER_NAMES) | {getattr(operator, name) for name in "pow abs gt ge lt le".split()}
_PRODUCTS = frozenset({operator.mul, torch.mul, torch.multiply, operator.truediv, torch.div, torch.true_divide})
_PRODUCT_METHODS = frozenset({"mul", "multiply", "div", "true_divide"})
_SUMS = frozenset({operator.add, torch.add, operator.sub, torch.sub, operator.neg, torch.neg})
_SUM_METHODS = frozenset({"add", "sub", "neg"})


class Activations:
    """Tells of each node of a graph whether it is an activation function or a part of one.

    A node is *bounded* if it is a function such as sigmoid or clamp, which a model may use as an activation or to scale
    another tensor.

    Args:
        module: the traced graph with its modules.
        carried: the nodes whose value is made of the image.

    Attributes:
        inside: the nodes inside home-made activations, each activation's last node not included.
    """

    def __init__(self, module: fx.GraphModule, carried: set[fx.Node]):
        self._module, self._carried = module, carried
        self._source: dict[fx.Node, fx.Node] = {}
        self._bent: set[fx.Node] = set()
        for node in module.graph.nodes:
            self._place(node)
        self.inside = self._insides()

    def is_activation(self, node: fx.Node) -> bool:
        """Tell whether a node is the last one of an activation function."""
        return node not in self.inside and (self.has_known_name(node) or self.is_whole(node))

    def feeds_one_alone(self, node: fx.Node) -> bool:
        """Tell whether all that a node is used for is one activation function."""
        users = list(node.users)
        if len(users) == 1 and self.is_activation(users[0]):
            return True
        parts = self.inside | self._ends
        return len(users) > 0 and all(user in parts and self._source[user] is not user for user in users)

    def has_known_name(self, node: fx.Node) -> bool:
        """Tell whether a node is called by the name of an activation function."""
        return self._is(node, MODULES, _FUNCTIONS, _NAMES)

    def is_whole(self, node: fx.Node) -> bool:
        """Tell whether a node is a whole activation by what it computes: home-made, or bounded and not a mere
        factor.
        """
        if node in self._ends:
            return True
        bounded = self._is_bounded(node) and node in self._carried and node not in self.inside
        return bounded and not self._scales(node)

    def bends(self, node: fx.Node) -> bool:
        """Tell whether a node by itself is a function of each number that is no straight line."""
        return self.has_known_name(node) or self._is_bounded(node) or self._is(node, (), _OTHER_FUNCTIONS, _OTHER_NAMES)

    def _is_bounded(self, node: fx.Node) -> bool:
        if self._is(node, (), _CLAMPS, _CLAMP_NAMES):
            least = node.kwargs.get("min", node.args[1] if len(node.args) > 1 else None)
            return isinstance(least, int | float) and least == 0
        if self._is(node, (), (torch.maximum,), ("maximum",)):
            return len(self._made_of(node)) == 1
        return self._is(node, BOUNDED_MODULES, _BOUNDED_FUNCTIONS, _BOUNDED_NAMES)

    def _is(self, node: fx.Node, modules: tuple, functions: Iterable[Any], methods: Iterable[str]) -> bool:
        if node.op == "call_module":
            return isinstance(self._module.get_submodule(str(node.target)), modules)
        return node.target in {"call_function": functions, "call_method": methods}.get(node.op, ())

    def _made_of(self, node: fx.Node) -> list[fx.Node]:
        """Find the tensors of the image that a node takes; numbers and weights are none of them."""
        return [n for n in node.all_input_nodes if n in self._carried]

    def _is_product(self, node: fx.Node) -> bool:
        return self._is(node, (), _PRODUCTS, _PRODUCT_METHODS)

    def _place(self, node: fx.Node) -> None:
        """Find the one tensor that a node is made of number by number; where there is none, the node itself."""
        taken = self._made_of(node)
        sources = {self._source[n] for n in taken if n in self._source}
        works_alone = self.bends(node) or self._is_product(node) or self._is(node, (), _SUMS, _SUM_METHODS)
        named = len(taken) > 1 and not self._is_product(node) and any(self._holds_name(n) for n in taken)
        if not works_alone or len(sources) != 1 or named or node not in self._carried:
            self._source[node] = node
            return
        self._source[node] = sources.pop()
        if self.bends(node) or any(n in self._bent for n in taken):
            self._bent.add(node)

    def _holds_name(self, node: fx.Node) -> bool:
        """Tell whether a function with an activation's name is called on the way from a node's source to it."""
        if self._source[node] is node:
            return False
        return self.has_known_name(node) or any(self._holds_name(n) for n in self._made_of(node))

    def _insides(self) -> set[fx.Node]:
        """Find the nodes inside home-made activations; put the activations' last nodes into `_ends`."""
        ends, inside = set(), set()
        for product in filter(self._is_home_made, self._module.graph.nodes):
            inside |= self._way(product)
            ends.add(self._with_constants(product, inside))
        self._ends = ends - inside
        return inside

    def _is_home_made(self, node: fx.Node) -> bool:
        taken = self._made_of(node)
        if not self._is_product(node) or node not in self._bent or len(node.args) < 2:
            return False
        both = len(taken) == 2 and self._source[node] is not node
        return both and any(n in self._bent for n in taken)

    def _way(self, product: fx.Node) -> set[fx.Node]:
        """Find the nodes strictly between a product and the last tensor that both its factors are made of."""
        first, second = (self._back(factor, None) for factor in self._made_of(product))
        met = next(node for node in reversed(self._module.graph.nodes) if node in first & second)
        return (self._back(product, met) - {product, met, self._source[product]}) if met is not product else set()

    def _back(self, node: fx.Node, stop: fx.Node | None) -> set[fx.Node]:
        """Find a node and all that it is made of number by number, no further back than `stop`."""
        found, queue = set(), [node]
        while queue:
            node = queue.pop()
            if node not in found:
                found.add(node)
                queue += [] if node is stop or self._source[node] is node else self._made_of(node)
        return found

    def _with_constants(self, product: fx.Node, inside: set[fx.Node]) -> fx.Node:
        """Find the last node that only scales a product by a number, such as the division by 6 of a hard swish."""
        end = product
        while len(end.users) == 1:
            user = next(iter(end.users))
            if not self._is_product(user) or len(user.all_input_nodes) != 1:
                return end
            inside.add(end)
            end = user
        return end

    def _scales(self, node: fx.Node) -> bool:
        """Tell whether a node, at most multiplied by numbers or added to them, is a factor of another tensor of the
        image.
        """
        for user in node.users:
            if self._is_product(user) and len(self._made_of(user)) > 1:
                return True
            straight = self._is_product(user) or self._is(user, (), _SUMS, _SUM_METHODS)
            if straight and len(self._made_of(user)) == 1 and self._scales(user):
                return True
        return False
