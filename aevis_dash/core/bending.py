"""This module finds the operations of a graph that bend the numbers of the image, by trying and not by name.

An operation is *straight* if its value half-way between two inputs lies half-way between their values: it is affine in
everything that it takes from the image, jointly. Convolutions, batch norm in evaluation, sums, means and reshaping are
straight. A product of two tensors of the image, a softmax, a normalisation by the image's own numbers, a maximum over
channels and rounding are not straight: they bend.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

POOLING = tuple(
    getattr(nn, f"{kind}Pool{n}d")
    for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg", "LP", "FractionalMax")
    for n in (1, 2, 3)
    if hasattr(nn, f"{kind}Pool{n}d")
)
"""The pooling modules of torch."""
_KNOWN = (*POOLING, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""The modules that are straight in evaluation, or pooling: they need no trying."""
_POOLING_FUNCTIONS = frozenset(
    getattr(home, name) for home in (F, torch) for name in dir(home) if "pool" in name and not name.startswith("_")
)
_SCALES = (0.05, 1.0, 3e4)
"""The sizes of the numbers with which an operation is tried: small ones show no clamp at 6, large ones no rounding."""
_ROUNDING = 1e-3
"""The share of its largest value by which a straight operation may miss the middle in single precision."""


def find_bends(
    module: fx.GraphModule, carried: set[fx.Node], shape: tuple[int, int, int], gated: Collection[fx.Node] = ()
) -> tuple[fx.Node, ...]:
    """Find the operations on the image that are neither straight nor pooling and have no gate.

    Every operation runs a few times on random numbers of the shape that an image gives it.

    Args:
        module: the traced graph with its modules.
        carried: the nodes to look at, which are made of the image.
        shape: the (channels, height, width) of the image.
        gated: nodes that are left out of the answer, because a gate is on them.

    Returns:
        The nodes that bend, in the order of the graph.
    """
    device = next(iter(module.parameters()), torch.zeros(())).device
    with torch.no_grad():
        trial = _Trial(module, carried, gated)
        trial.run(torch.zeros(1, *shape, device=device))
    return tuple(trial.bent)


class _Trial(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, carried: set[fx.Node], gated: Collection[fx.Node]):
        super().__init__(module)
        self._carried, self._tried = carried, carried.difference(gated)
        self._seeds = np.random.default_rng(0)
        self.bent: list[fx.Node] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        called = self.fetch_attr(str(n.target)) if n.op == "call_module" else n.target
        known = isinstance(called, _KNOWN) or (n.op == "call_function" and called in _POOLING_FUNCTIONS)
        if n.op.startswith("call") and n in self._tried and not known and not self._is_straight(n):
            self.bent.append(n)
        return value

    def _is_straight(self, node: fx.Node) -> bool:
        return all(self._meets_the_middle(node, scale) for scale in _SCALES)

    def _meets_the_middle(self, node: fx.Node, scale: float) -> bool:
        seed = int(self._seeds.integers(2**31))
        try:
            one, other, middle = (self._values(node, weight, scale, seed) for weight in (1.0, 0.0, 0.5))
        except Exception:  # The model's own operation may raise anything for numbers it refuses.
            return False
        alike = len(one) == len(other) == len(middle)
        return alike and all(map(_is_middle, one, other, middle))

    def _values(self, node: fx.Node, weight: float, scale: float, seed: int) -> list[Any]:
        """Give what the node makes of random numbers in place of all that it takes from the image.

        The numbers are `weight` times those of one draw plus (1 - weight) times those of another. Whole numbers and
        truth values, such as a mask, stay what the image made them.
        """
        random = torch.Generator().manual_seed(seed)

        def drawn(value: Any) -> Any:
            if type(value) in (tuple, list):
                return type(value)(map(drawn, value))
            if isinstance(value, dict):
                return {name: drawn(each) for name, each in value.items()}
            if isinstance(value, float):
                return drawn(torch.tensor(value)).item()
            if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
                return value
            kind = torch.complex64 if value.is_complex() else torch.float32
            one, other = torch.randn((2, *value.shape), generator=random, dtype=kind) * scale
            return (weight * one + (1 - weight) * other).to(value)

        taken = {n: drawn(self.env[n]) for n in node.all_input_nodes if n in self._carried}
        args, kwargs = (map_arg(given, lambda n: taken.get(n, self.env[n])) for given in (node.args, node.kwargs))
        return _parts(getattr(self, node.op)(node.target, args, kwargs))


def _parts(value: Any) -> list[Any]:
    """Take a value apart that may be a tuple, list or dict of such values."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [part for each in value for part in _parts(each)]
    return [torch.tensor(value) if isinstance(value, int | float) else value]


def _is_middle(one: Any, other: Any, middle: Any) -> bool:
    """Tell whether a value lies half-way between two others; for what is no number, whether all three are the same."""
    if not all(isinstance(value, Tensor) for value in (one, other, middle)):
        return bool(one == other == middle)
    if not one.shape == other.shape == middle.shape:
        return False
    if not middle.numel():
        return True
    own = (value.cpu() for value in (one, other, middle))  # not every device has 64 bits
    a, b, c = (value.to(torch.complex128 if value.is_complex() else torch.float64) for value in own)
    wanted = (a + b) / 2
    finite = bool(torch.isfinite(wanted).all() and torch.isfinite(c).all())
    return finite and bool((wanted - c).abs().max() <= _ROUNDING * wanted.abs().max())
