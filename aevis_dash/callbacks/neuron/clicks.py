"""Clicks at the feature map that need the server: choosing an area by a box, a lasso or the most active neurons."""

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.roles import traced_on
from aevis_dash.callbacks.view.state import View, changes
from aevis_dash.callbacks.view.steps import plain_area
from aevis_dash.domain import AreaOfInterest, FeatureMap
from aevis_dash.figures.area import snap_area
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that choose the area of interest."""
    app.clientside_callback(
        ClientsideFunction("neuron", "asked"),
        Output(ids.AREA_DRAWN, "data"),
        Input(ids.ACTIVATIONS, "selectedData"),
        Input(ids.LARGE_ACTIVATIONS, "selectedData"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Input(ids.AREA_DRAWN, "data"),
        Input(ids.MOST_ACTIVE, "value"),
        State(ids.VIEW, "data"),
        output={
            "changes": Output(ids.CHANGES, "data", allow_duplicate=True),
            "most": Output(ids.MOST_ACTIVE, "value"),
        },
        prevent_initial_call=True,
    )
    def choose_area(_drawn, _most, data):
        """Choose an area. The control is cleared at once, so that the same choice can be made again. Clicks are the
        browser's."""
        view, drawn, value = checked_view(data, bench), ctx.triggered_id == ids.AREA_DRAWN, ctx.triggered[0]["value"]
        if view.layer is None or view.map is None or not value:
            return no_update
        area = chosen_area(bench, view, {"selectedData" if drawn else "value": value})
        if area is None:
            return {"changes": no_update, "most": None}
        on = value.get("on", "") if drawn else traced_on(bench, view).value
        return {"changes": changes(view, view.edit(area=plain_area(area), on=on)), "most": None}


def chosen_area(bench: Workbench, view: View, by: dict[str, Any]) -> AreaOfInterest | None:
    """The area of interest that a click chooses; None where it chooses none.

    It is chosen by a box, by a lasso, or by a number of neurons that fire most on the traced image.
    """
    layer = bench.layers.find(view.layer or "")
    if "selectedData" in by:
        return snap_area(by["selectedData"], layer.index, layer.height, layer.width)
    triplet = stored_triplet(bench, view)
    if triplet is None:
        return None
    image = triplet.image(traced_on(bench, view))
    return bench.maps.most_active(image, FeatureMap(layer.index, view.map or 0), int(by["value"]))
