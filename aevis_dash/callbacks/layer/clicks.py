"""Clicks on the layer that need the server: a map that is named elsewhere, maps for a flip-back, and pinned layers.

A click on a cell is handled in the browser (assets/layer.js), and so is how cells are shown
(callbacks/view/browser.py).
"""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.layer.contents import winners_of
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.opening import at_layer
from aevis_dash.callbacks.view.state import View, changes
from aevis_dash.callbacks.view.steps import maps_in
from aevis_dash.domain import AevisError
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that change the layer's part of the view."""
    app.clientside_callback(
        ClientsideFunction("aevisLayer", "complete"),
        Output(ids.FACES_READY, "data"),
        Input(ids.SEEN_SO_FAR, "data"),
    )

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
        view = checked_view(data, bench)
        return changes(view, at(bench, view, pressed, value))

    app.clientside_callback(
        ClientsideFunction("aevisLayer", "chooseMap"),
        Output(ids.VIEW, "data", allow_duplicate=True),
        *(Input({"type": button, "index": ALL}, "n_clicks") for button in ("winner", "flip", "table-row")),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    app.clientside_callback(
        ClientsideFunction("aevisLayer", "drawn"),
        Output(ids.MAPS_DRAWN, "data"),
        Input(ids.TREEMAP, "selectedData"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Input(ids.MAPS, "value"),
        Input(ids.ADD_MAP, "n_clicks"),
        Input(ids.TAKE_WINNERS, "n_clicks"),
        Input(ids.MAPS_DRAWN, "data"),
        State(ids.VIEW, "data"),
        output={
            "changes": Output(ids.CHANGES, "data", allow_duplicate=True),
            "message": Output(ids.MESSAGE, "children", allow_duplicate=True),
            "open": Output(ids.MESSAGE, "is_open", allow_duplicate=True),
        },
        prevent_initial_call=True,
    )
    def choose_maps(text, _add, _winners, drawn, data):
        view = checked_view(data, bench)
        try:
            maps = chosen_maps(bench, view, str(ctx.triggered_id), text, drawn)
        except AevisError as error:
            return {"changes": no_update, "message": str(error), "open": True}
        return {"changes": changes(view, view.edit(maps=maps)), "message": no_update, "open": False}


def at(bench: Workbench, view: View, pressed: dict[str, Any], value: Any) -> View:
    """The view after a click on a pinned layer: it shows that layer, and the map whose cell was clicked."""
    place = (value["points"][0].get("customdata") or [None])[0] if pressed["type"] == "pinned" else None
    return at_layer(bench, view, bench.layers.find(pressed["index"]).index, place)


def chosen_maps(bench: Workbench, view: View, by: str, text: str | None, drawn: dict | None) -> tuple[int, ...]:
    """The maps of the layer that were typed, drawn around, added, or taken from the strongest contributors.

    Raises:
        AevisError: for what is no map of the layer.
    """
    if view.layer is None:
        return ()
    if by == ids.MAPS:
        return maps_in(bench.layers, view.layer, text)
    if by == ids.MAPS_DRAWN:
        maps = drawn.get("maps") if isinstance(drawn, dict) else None
        return maps_in(bench.layers, view.layer, " ".join(map(str, maps))) if isinstance(maps, list) else view.maps
    new = winners_of(bench, view) if by == ids.TAKE_WINNERS else [] if view.map is None else [view.map]
    if not new and by == ids.TAKE_WINNERS:
        raise AevisError("No contributions are shown, so there are no winners: trace an area to this layer first.")
    if not new:
        raise AevisError("No map is shown: click one in the treemap first.")
    return tuple(dict.fromkeys([*view.maps, *new]))
