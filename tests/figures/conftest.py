"""Small synthetic networks and distances for the figures."""

from types import SimpleNamespace

import numpy as np
import pytest

from aevis_dash.domain import ROLES, DatapathDistance, Layer, LayerGraph, Role
from aevis_dash.figures.network import Ground, column_hovers, drawn_river, river_figure
from aevis_dash.figures.theme import LIGHT
from aevis_dash.geometry.dag import columns, groups
from aevis_dash.geometry.river import river, stretches


def _graph(n_layers: int) -> LayerGraph:
    layers = tuple(Layer(i, f"stage{i // 5}.act{i}", (f"stage{i // 5}",), 16, 8, 8) for i in range(n_layers))
    near = [(i, i + 1) for i in range(n_layers - 1)]
    return LayerGraph(layers, (*near, *((i, i + 3) for i in range(0, n_layers - 3, 3))))


def _distance(n_layers: int, null_rows: int = 20) -> DatapathDistance:
    """adv leaves src along the first half of the layers and joins tar along the second, beside random targets."""
    far, near = np.linspace(0, 1, n_layers), np.linspace(1, 0, n_layers)
    d2, d3 = np.interp(far, [0.1, 0.4], [0.02, 0.5]), np.interp(near, [0.1, 0.4], [0.05, 0.55])
    null = np.linspace(0, 0.3, null_rows)[:, None] * np.ones(n_layers)
    return DatapathDistance("cosine", np.full(n_layers, 0.6), d2, d3, null)


def _ground(distance, graph=None, selected=None, closed=()):
    """The ground under distances (C,) at the columns that are left where groups are closed."""
    graph = graph or _graph(len(distance.d1))
    sizes = {role: np.arange(len(graph)) + place for place, role in enumerate(ROLES)}
    pairs = {(Role.SOURCE, Role.TARGET): distance.d1, (Role.SOURCE, Role.ADVERSARIAL): distance.d2}
    pairs[Role.ADVERSARIAL, Role.TARGET] = distance.d3
    tree = groups(graph)
    placed = columns(graph, tree, closed)
    hovers = column_hovers(graph, placed, pairs, sizes, distance)
    marks = stretches(distance) if not closed else ()
    return Ground(graph, tree, placed, hovers, marks, selected, [7] * len(graph))


def _draw(distance, graph=None, selected=None, names=None, theme=LIGHT, closed=()):
    names = names or {role: f"class {role.short}" for role in ROLES}
    return river_figure(_ground(distance, graph, selected, closed), drawn_river(river(distance), names), theme)


@pytest.fixture
def net():
    return SimpleNamespace(graph=_graph, distance=_distance, draw=_draw, ground=_ground)


@pytest.fixture
def names():
    return {Role.SOURCE: "ambulance", Role.ADVERSARIAL: "sign <b>", Role.TARGET: "street sign"}
