"""The layer: the treemap of critical maps, with contributions where the layer was traced to."""

import numpy as np
from dash import Dash, Input, Output

from aevis_dash import ids
from aevis_dash.callbacks import addresses
from aevis_dash.callbacks.settle import stored_triplet
from aevis_dash.callbacks.view import View, cause_of, from_data
from aevis_dash.domain import Contribution, FeatureMap, Role
from aevis_dash.figures.layer import treemap_figure
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.geometry.sets import regions
from aevis_dash.geometry.treemap import treemap
from aevis_dash.layouts.layer import Winner, winners
from aevis_dash.workbench import Triplet, Workbench

HEIGHT = 270
_SHOWN, _LEAST = 5, 0.05
"""Strongest contributors named, and the contribution below which none is."""
_ROLE_OF = {role.short: role for role in Role}


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the layer station."""

    @app.callback(
        Output(ids.TREEMAP, "figure"),
        Output(ids.LAYER_TITLE, "children"),
        Output(ids.WINNERS, "children"),
        Input(ids.LAYER_VIEW, "data"),
        Input(ids.READY, "data"),
    )
    def show_layer(data, _ready):
        view, colours = from_data(data), theme((data or {}).get("theme") == "dark")
        found = stored_triplet(bench, view)
        if found is None or view.layer is None:
            return notice("Click a layer of the river to see its feature maps.", colours, HEIGHT), "", []
        layer = bench.layers.find(view.layer)
        critical = {role: bench.layers.part(found.path(role).critical, layer.index) for role in Role}
        first, second = (_ROLE_OF[name] for name in view.pair.split("-"))
        difference = bench.difference(found, layer.index, first, second)
        traced = _contribution(bench, found, view)
        values = traced.values[tuple(Role).index(Role(view.cause))] if traced is not None else None
        strongest = _strongest(values)
        order = np.abs(difference) if values is None else values
        drawn = treemap(regions(critical), data.get("width") or 760, HEIGHT, order)
        names = {role: bench.class_names[found.path(role).label] for role in Role}
        figure = treemap_figure(drawn, difference, values, view.map, strongest, colours, names)
        union = np.logical_or.reduce(list(critical.values()))
        title = f"{layer.name} · {int(union.sum())} of {layer.channels} maps critical · {layer.height}x{layer.width}"
        return figure, title, _winners(bench, view, traced, values, strongest, union)


def _contribution(bench: Workbench, found: Triplet, view: View) -> Contribution | None:
    step = view.traced
    return bench.stored_contribution(found, *cause_of(bench.layers, step)) if step is not None else None


def _strongest(values: np.ndarray | None) -> list[int]:
    if values is None:
        return []
    ranked = np.argsort(-values, kind="stable")[:_SHOWN]
    return [int(c) for c in ranked if values[c] >= _LEAST]


def _winners(bench: Workbench, view: View, traced, values, strongest: list[int], critical: np.ndarray) -> list:
    step = view.traced
    if traced is None or step is None:
        return []
    layer = bench.layers.find(step.source).index
    found = [
        Winner(c, float(values[c]), addresses.patch(bench, FeatureMap(layer, c), 0), bool(critical[c]))
        for c in strongest
    ]
    row = tuple(Role).index(Role(view.cause))
    where = "the area of" if step.area else "all of"
    if traced.effect[row] == 0:
        return winners([], f"The {view.cause} image does not make {where} map {step.map} of {step.layer} fire at all.")
    sentence = (
        f"What makes {where} map {step.map} of {step.layer} fire on the {view.cause} image "
        f"(unexplained {traced.residual[row]:.0%}):"
    )
    return winners(found, sentence)
