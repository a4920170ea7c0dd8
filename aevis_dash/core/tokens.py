"""The tokens of a transformer: which of them stand for a patch of the image, and how these lie in a grid.

A vision transformer cuts the image into patches by a convolution, flattens their grid into a row of tokens, and may put
special tokens before them, such as the class token. A layer of such tokens has three axes: batch, tokens, channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Size, fx, nn
from torch.nn import functional

_JOINED = (torch.cat, torch.concat, torch.concatenate)
_CONVOLUTIONS = (functional.conv2d, torch.conv2d)


@dataclass(frozen=True)
class TokenGrid:
    """How the tokens of a layer lie on the image.

    Attributes:
        rows: the rows of the grid of patches.
        columns: its columns.
        special: the number of tokens before the patches that stand for no place of the image.
    """

    rows: int
    columns: int
    special: int


def token_grid(module: fx.GraphModule, before: Sequence[fx.Node], shapes: Mapping[fx.Node, Size]) -> TokenGrid | None:
    """Find the grid of the tokens of a layer.

    It is the grid of the nearest convolution or of the image before the layer, or of the nearest map of channels-last
    that is flattened to tokens. The patches of that grid have to be all of the layer's tokens, or those that the graph
    joins behind special ones.

    Args:
        module: the traced graph with its modules.
        before: the nodes that the layer depends on and the layer's own node, in the order of the graph.
        shapes: the shape of every tensor in the graph for one image.

    Returns:
        The grid; None where the layer's values have not the shape (1, tokens, channels), or where the graph does not
        tell how the tokens lie.
    """
    shape = shapes[before[-1]]
    if len(shape) != 3 or shape[0] != 1:
        return None
    tokens = shape[1]
    joins = [sizes for node in before if (sizes := _joined(node, shapes)) is not None and sum(sizes) == tokens]
    for rows, columns in (grid for node in reversed(before) if (grid := _grid(module, node, shapes)) is not None):
        patches = rows * columns
        if patches == tokens:
            return TokenGrid(rows, columns, 0)
        if 0 < tokens - patches <= columns and any(sizes[-1] == patches for sizes in joins):
            return TokenGrid(rows, columns, tokens - patches)
    return None


def _grid(module: fx.GraphModule, node: fx.Node, shapes: Mapping[fx.Node, Size]) -> tuple[int, int] | None:
    """The rows and columns of a convolution's result, or of a map of channels-last that the node flattens to tokens."""
    after = shapes.get(node)
    if after is None or after[:1] != (1,):
        return None
    called = module.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    is_map = node.op == "placeholder" or isinstance(called, nn.Conv2d) or called in _CONVOLUTIONS
    if len(after) == 4 and is_map:
        return after[2], after[3]
    for given in node.all_input_nodes:
        was = shapes.get(given, Size(()))
        if len(was) == 4 and was[0] == 1 < min(was[1:3]) and tuple(after) == (1, was[1] * was[2], was[3]):
            return was[1], was[2]
    return None


def _joined(node: fx.Node, shapes: Mapping[fx.Node, Size]) -> tuple[int, ...] | None:
    """The numbers of tokens that the node joins to one row, in their order."""
    if node.op != "call_function" or node.target not in _JOINED or not isinstance(node.args[0], list | tuple):
        return None
    given = [shapes.get(each, Size(())) for each in node.args[0] if isinstance(each, fx.Node)]
    after = shapes.get(node, Size(()))
    found = tuple(each[1] for each in given if len(each) == 3 and each[2] == after[-1])
    return found if len(after) == 3 and sum(found) == after[1] and len(found) == len(node.args[0]) else None
