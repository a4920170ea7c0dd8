"""Which groups of a large network stand open, by a degree of interest, as in focus and context (Furnas 1986)."""

from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np

from aevis_dash.domain import DatapathDistance, LayerGraph
from aevis_dash.geometry.dag import Group, columns
from aevis_dash.geometry.river import fill, way

DEFAULT_ROOM = 62.0
"""The number of steps that are filled by default. It is less than a window holds, so that there is room to open
more."""
OPEN, CLOSED = "+", "-"
"""The first character of a fold. It says whether the group that the fold names was opened, or closed, by hand."""


def interest(distance: DatapathDistance) -> np.ndarray:
    """(L,) how much happens at each layer.

    It is the change of adv's way from source to target since the layer before, times d1 over the largest d1. So layers
    count little where source and target are near each other.
    """
    gap = fill(distance.d1, 0.0)
    largest = float(gap.max(initial=0.0))
    change = np.abs(np.diff(way(distance), prepend=way(distance)[:1]))
    return change * (gap / largest if largest > 0 else 0.0)


def quiet(graph: LayerGraph, tree: Sequence[Group], interest: np.ndarray, room: float = DEFAULT_ROOM) -> frozenset[str]:
    """The names of the groups that are closed by default: none where all columns fit, else those where least happens.

    At first all groups are closed. Then the group that holds most interest is opened, as long as the columns fit; a
    group is opened only inside open ones.

    Args:
        graph: the layers of the network.
        tree: its groups, as `dag.groups` gives them.
        interest: how much happens at each layer, (L,).
        room: the number of steps that the columns may take.
    """
    return _quiet(graph, tuple(tree), tuple(interest.tolist()), room)


@lru_cache(maxsize=64)
def _quiet(graph: LayerGraph, tree: tuple[Group, ...], interest: tuple[float, ...], room: float) -> frozenset[str]:
    """The cached part of `quiet`, because every click on the network asks for it again."""
    closed = {group.name for group in tree}
    if _steps(graph, tree, ()) <= room:
        return frozenset()
    refused: set[str] = set()
    while waiting := [g for g in tree if g.name in closed - refused and g.parent not in closed]:
        best = max(waiting, key=lambda g: (sum(interest[g.first : g.last + 1]), -g.first))
        if _steps(graph, tree, closed - {best.name}) <= room:
            closed.remove(best.name)
        else:
            refused.add(best.name)
    return frozenset(closed)


def _steps(graph: LayerGraph, tree: Sequence[Group], closed: Collection[str]) -> float:
    """How many steps the columns need."""
    return columns(graph, tree, closed, room=1.0).extent


def closed_groups(
    tree: Sequence[Group], default: Collection[str], folds: Sequence[str], seen: Collection[int]
) -> frozenset[str]:
    """The names of the groups that are closed.

    Args:
        tree: the groups of the network.
        default: the names of the groups that are closed by default. Those that hold a layer of `seen` are opened.
        folds: what was opened and closed by hand: OPEN or CLOSED, and a group's name. The last fold of a group counts,
            and opening a group opens those around it.
        seen: the indices of layers that must be seen.
    """
    by_name = {group.name: group for group in tree}
    closed = {n for n in default if not any(by_name[n].holds(layer, layer) for layer in seen)}
    for fold in folds:
        group = by_name.get(fold[1:])
        if group is not None and fold[0] == CLOSED:
            closed.add(group.name)
        while group is not None and fold[0] == OPEN:
            closed.discard(group.name)
            group = by_name.get(group.parent)
    return frozenset(closed)


def toggle(folds: Sequence[str], group: Group, closed: Collection[str]) -> tuple[str, ...]:
    """The folds after a click on a group: it is opened where it was closed, and closed where it was open."""
    others = [fold for fold in folds if fold[1:] != group.name]
    return (*others, (OPEN if group.name in closed else CLOSED) + group.name)
