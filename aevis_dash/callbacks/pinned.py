"""Pinned layers: their treemaps stand beside the shown layer's, in the order in which they were pinned."""

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State

from aevis_dash import ids
from aevis_dash.callbacks.contents import contents, contribution_to, drawing
from aevis_dash.callbacks.layer import beside, strongest, width_of
from aevis_dash.callbacks.settle import stored_triplet
from aevis_dash.callbacks.steps import Step
from aevis_dash.callbacks.view import View, from_data
from aevis_dash.domain import AevisError
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.layouts.layer import HEIGHT, pinned_layer
from aevis_dash.workbench import Triplet, Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that draw the pinned layers; they do not depend on the shown layer's map."""
    app.clientside_callback(
        ClientsideFunction("aevisLayer", "pinned"),
        Output(ids.PINNED_VIEW, "data"),
        Input(ids.LAYER_VIEW, "data"),
        State(ids.PINNED_VIEW, "data"),
    )

    @app.callback(
        Output(ids.PINNED, "children"),
        Output(ids.SHOWN, "style"),
        Output(ids.SHOWN_NAME, "children"),
        Input(ids.PINNED_VIEW, "data"),
        Input(ids.READY, "data"),
        Input(ids.SOLVED, "data"),
        Input(ids.FACES_READY, "data"),
    )
    def show_pinned(data, _ready, _solved, _faces):
        view = from_data(data)
        found = stored_triplet(bench, view) if view.pinned else None
        if found is None:
            return [], {"order": 0}, []
        slots = [pinned_layer(n, figure_of(bench, found, view, n, data), view.pinned.index(n)) for n in beside(view)]
        place = view.pinned.index(view.layer) if view.layer in view.pinned else len(view.pinned)
        return slots, {"order": place}, view.layer if slots else []


def figure_of(bench: Workbench, found: Triplet, view: View, name: str, data: dict[str, Any]) -> Any:
    """The treemap of a pinned layer, with the contributions of the step that led there and the map one led on from."""
    colours = theme(data.get("theme") == "dark")
    try:
        traced = contribution_to(bench, found, step_to(view, name), view.how)
        shown = contents(bench, found, view, bench.layers.find(name), traced)
    except AevisError as error:
        return notice(str(error), colours, HEIGHT)
    size = (width_of(data, view), HEIGHT)
    return drawing(bench, shown, view, colours, size, map_in(view, name), strongest(shown.contribution))


def step_to(view: View, layer: str) -> Step | None:
    """The last step on the way here that traced to the layer, None where none did."""
    steps = [view.steps[number] for number in view.path]
    return next((s for s in reversed(steps) if not s.is_flip and s.source == layer), None)


def map_in(view: View, layer: str) -> int | None:
    """The map of the layer from which the last such step traced on."""
    steps = [view.steps[number] for number in view.path]
    return next((s.map for s in reversed(steps) if not s.is_flip and s.layer == layer), None)
