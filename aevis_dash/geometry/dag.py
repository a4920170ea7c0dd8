"""The horizontal axis of the network view (Sec. 5.2, Fig. 6): layers, groups of layers, and the lanes of branches.

A *group* is a module of the network whose layers stand together. A closed group is drawn as one *column*, and so is
each layer outside closed groups. Lengths are in steps, of which a layer takes one, until they are scaled to the window.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from aevis_dash.domain import LayerGraph

STEP = 1.0
SEGMENT, DIGIT, OUTER_SEGMENT = 1.1, 0.55, 2.75
"""The width of a closed group in steps; what each digit of the number of its layers adds; and the least width of an
outermost group."""
BLOCK_GAP = 0.3
GROUP_GAP = 0.8
WHOLE = 0.9
"""The share of all layers above which a module says no more than the network."""
ROOM = 72.0
"""The number of steps that a window of the network view holds. Where all columns need fewer steps, they fill it."""


@dataclass(frozen=True)
class Group:
    """A module whose layers `first` to `last` (both included, at least two) stand together.

    Attributes:
        name: the module's qualified name, with "#2" for the second group of a module that is come back to.
        first: the index of the first layer.
        last: the index of the last layer.
        level: how many groups are around it, 0 for an outermost one.
        parent: the name of the group around it, "" for none.
    """

    name: str
    first: int
    last: int
    level: int
    parent: str

    @property
    def label(self) -> str:
        """The last part of the module's name."""
        return self.name.split(".")[-1]

    @property
    def size(self) -> int:
        """The number of its layers."""
        return self.last - self.first + 1

    def holds(self, first: int, last: int) -> bool:
        """Whether the layers first..last all belong to it."""
        return self.first <= first and last <= self.last


def groups(graph: LayerGraph) -> tuple[Group, ...]:
    """The module hierarchy as groups, each before those inside it, in execution order.

    Modules of one layer are left out, and so is a module that holds the same layers as the one around it. An outermost
    module of more than nine in ten layers ("features") says nothing, so the modules inside it are outermost instead. A
    module that is come back to later is a further group, "name#2".
    """
    found: list[Group] = []
    for group in _inside(graph, range(len(graph)), 0, 0):
        count = sum(g.name.split("#")[0] == group.name for g in found)
        name = f"{group.name}#{count + 1}" if count else group.name
        around = [g.name for g in found if g.level == group.level - 1 and g.holds(group.first, group.last)]
        found.append(replace(group, name=name, parent=around[0] if around else ""))
    return tuple(found)


def _inside(graph: LayerGraph, layers: Sequence[int], depth: int, level: int) -> Iterator[Group]:
    """The groups of the modules at `depth` and deeper around these neighbouring layers."""
    for name, run in _runs(graph, layers, depth):
        below = depth + 1
        while len(deeper := _runs(graph, run, below)) == 1 and len(deeper[0][1]) == len(run):
            below += 1
        if level == 0 and len(run) > WHOLE * len(graph) and any(len(inner) > 1 for _, inner in deeper):
            yield from _inside(graph, run, below, 0)
        elif len(run) > 1:
            yield Group(name, run[0], run[-1], level, "")
            yield from _inside(graph, run, below, level + 1)


def _runs(graph: LayerGraph, layers: Sequence[int], depth: int) -> list[tuple[str, list[int]]]:
    """The runs of neighbouring layers that lie in the same module at that depth; layers without a module are left
    out."""
    named = [(i, graph.layers[i].group[depth] if len(graph.layers[i].group) > depth else "") for i in layers]
    return [(name, [i for i, _ in run]) for name, run in groupby(named, key=lambda pair: pair[1]) if name]


@dataclass(frozen=True)
class Column:
    """What stands in one place of the network view: a layer, or the layers of a closed group.

    Attributes:
        first: the index of the first layer.
        last: the index of the last layer, included.
        group: the name of the closed group; "" for a layer.
    """

    first: int
    last: int
    group: str = ""


@dataclass(frozen=True)
class Columns:
    """Where the columns and the layers of a network stand. Lengths are in windows.

    Attributes:
        columns: the C columns in execution order, which cover all L layers.
        x: the centres of the columns, (C,).
        width: the widths of the columns, (C,).
        layer_x: the centres of the layers, (L,); the layers of a closed group share its room.
        layer_width: the widths of the layers, (L,).
        groups: the groups that are not inside a closed one.
        closed: the names of the closed groups.
        extent: the width of the whole network, 1 where it fits into the window.
    """

    columns: tuple[Column, ...]
    x: np.ndarray
    width: np.ndarray
    layer_x: np.ndarray
    layer_width: np.ndarray
    groups: tuple[Group, ...]
    closed: frozenset[str]
    extent: float

    @property
    def borders(self) -> np.ndarray:
        """(C + 1,) where the place of one column ends and the next begins, half-way between them."""
        left, right = self.x - self.width / 2, self.x + self.width / 2
        return np.concatenate([left[:1], (right[:-1] + left[1:]) / 2, right[-1:]])

    @property
    def of_layer(self) -> np.ndarray:
        """(L,) the index of the column that each layer is drawn in."""
        return np.repeat(np.arange(len(self.columns)), [c.last - c.first + 1 for c in self.columns])

    def span(self, first: int, last: int) -> tuple[float, float]:
        """The left and the right end of the layers first to last."""
        left = self.layer_x[first] - self.layer_width[first] / 2
        return float(left), float(self.layer_x[last] + self.layer_width[last] / 2)


def columns(graph: LayerGraph, tree: Sequence[Group], closed: Collection[str] = (), room: float = ROOM) -> Columns:
    """Place the columns of a network, with a small gap between blocks and a larger one between outermost groups.

    Args:
        graph: the layers of the network.
        tree: its groups, as `groups` gives them.
        closed: the names of the closed groups.
        room: the number of steps that the window holds. A network that needs fewer is widened to the window; one that
            needs more runs out of it.
    """
    shut = frozenset(closed)
    shown = _visible_groups(tree, shut)
    stand = _columns(len(graph), [g for g in shown if g.name in shut])
    width = np.array([_width(c, shown) for c in stand])
    around = [_around(len(graph), shown, level) for level in (0, 1)]
    gaps = np.array([0.0, *(_gap(around, a, b) for a, b in pairwise(stand))])
    right = np.cumsum(width + gaps)
    scale = min(float(right[-1]), room) if len(stand) else 1.0
    x, width = (right - width / 2) / scale, width / scale
    counts = np.array([c.last - c.first + 1 for c in stand])
    share = np.concatenate([(np.arange(n) + 0.5) / n - 0.5 for n in counts]) if len(stand) else np.zeros(0)
    layer_width = np.repeat(width / counts, counts)
    layer_x = np.repeat(x, counts) + share * np.repeat(width, counts)
    return Columns(stand, x, width, layer_x, layer_width, shown, shut, float(right[-1]) / scale if len(stand) else 1.0)


def _width(column: Column, shown: Sequence[Group]) -> float:
    if not column.group:
        return STEP
    width = SEGMENT + DIGIT * len(str(column.last - column.first + 1))
    outermost = any(g.name == column.group and g.level == 0 for g in shown)
    return max(width, OUTER_SEGMENT) if outermost else width


def _columns(count: int, shut: Sequence[Group]) -> tuple[Column, ...]:
    inside = {i: group for group in shut for i in range(group.first, group.last + 1)}
    alone = [Column(i, i) for i in range(count) if i not in inside]
    return tuple(sorted([*alone, *(Column(g.first, g.last, g.name) for g in shut)], key=lambda c: c.first))


def _visible_groups(tree: Sequence[Group], shut: Collection[str]) -> tuple[Group, ...]:
    """The groups that are not inside a closed one; each comes after those around it."""
    within = set(shut)
    shown = []
    for group in tree:
        if group.parent in within:
            within.add(group.name)
        else:
            shown.append(group)
    return tuple(shown)


def _around(count: int, shown: Sequence[Group], level: int) -> list[str]:
    """The name of the group of that level around each of `count` layers, "" for none."""
    names = [""] * count
    for group in shown:
        if group.level == level:
            names[group.first : group.last + 1] = [group.name] * group.size
    return names


def _gap(around: Sequence[Sequence[str]], a: Column, b: Column) -> float:
    """The gap between neighbours: by the outermost level at which they part."""
    outer, inner = around
    if not outer[a.first] or outer[a.first] != outer[b.first]:
        return GROUP_GAP
    return BLOCK_GAP if inner[a.first] != inner[b.first] else 0.0


def boxes(placed: Columns) -> tuple[tuple[int, int], ...]:
    """The first and the last column of every outermost group, and of what stands between the groups; together they
    cover all."""
    at = [
        next((g.name for g in placed.groups if g.level == 0 and g.holds(c.first, c.last)), "") for c in placed.columns
    ]
    starts = [i for i, name in enumerate(at) if i == 0 or not name or name != at[i - 1]]
    return tuple((start, end - 1) for start, end in pairwise([*starts, len(at)]))


def lanes(placed: Columns, graph: LayerGraph) -> tuple[int, ...]:
    """The lane of every column, 0 for the trunk. Columns that do not feed each other share no lane, so branches part.

    Each column takes the lowest lane whose last column leads to it.
    """
    feeds = _reaching(placed, graph)
    last: list[int] = []
    taken = []
    for column in range(len(placed.columns)):
        free = next((k for k, other in enumerate(last) if feeds[other, column]), len(last))
        last[free : free + 1] = [column]
        taken.append(free)
    return tuple(taken)


def _reaching(placed: Columns, graph: LayerGraph) -> np.ndarray:
    """(C, C) bool: whether there is a way from the first column to the second."""
    at, count = placed.of_layer, len(placed.columns)
    reach = np.zeros((count, count), bool)
    for a, b in sorted(((int(at[a]), int(at[b])) for a, b in graph.edges), key=lambda edge: edge[1]):
        if a < b:
            reach[:, b] |= reach[:, a]
            reach[a, b] = True
    return reach
