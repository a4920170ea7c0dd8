"""What changes the layer's view: order and choice of the maps, their faces, which layers are pinned."""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.navigation import carried_area
from aevis_dash.callbacks.settle import settled
from aevis_dash.callbacks.view import View, changes, checked
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that change the layer's part of the view."""
    app.clientside_callback(
        ClientsideFunction("aevisLayer", "complete"),
        Output(ids.FACES_READY, "data"),
        Input(ids.SEEN_SO_FAR, "data"),
    )

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.SORT, "value"),
        Input(ids.KEEP, "value"),
        Input(ids.FACES, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose(sort, keep, faces, data):
        view = checked(data, bench)
        return changes(view, view.but(sort=sort, keep=keep, faces="on" if faces else "off"))

    app.clientside_callback(
        ClientsideFunction("aevisLayer", "pin"),
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input(ids.PIN, "n_clicks"),
        Input({"type": "unpin", "index": ALL}, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input({"type": "pinned-title", "index": ALL}, "n_clicks"),
        Input({"type": "pinned", "index": ALL}, "clickData"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def go(_titles, _clicks, data):
        pressed, value = ctx.triggered_id, ctx.triggered[0]["value"]
        if not isinstance(pressed, dict) or not value:
            return no_update
        view = checked(data, bench)
        return changes(view, at(bench, view, pressed, value))


def at(bench: Workbench, view: View, pressed: dict[str, Any], value: Any) -> View:
    """The view of a pinned layer, of the map where a cell of it was clicked."""
    name = pressed["index"]
    place = (value["points"][0].get("customdata") or [None])[0] if pressed["type"] == "pinned" else None
    area = carried_area(bench, view, bench.layers.find(name).index)
    return settled(bench, view.but(layer=name, map=place, area=area, maps=()))
