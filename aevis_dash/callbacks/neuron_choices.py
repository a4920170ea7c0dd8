"""What is chosen at the neuron: the area of interest, drawn, clicked or typed, and how activations are shown."""

import re
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.settle import stored_triplet
from aevis_dash.callbacks.steps import Area, plain_area
from aevis_dash.callbacks.view import LOOKS, View, changes, from_data
from aevis_dash.domain import AevisError, AreaOfInterest, FeatureMap, Layer, Role
from aevis_dash.figures.area import snap_area
from aevis_dash.workbench import Workbench

_ENDS = re.compile(r"(row|column)s?\s+(\d{1,6})(?:\s*(?:-|–|to)\s*(\d{1,6}))?")


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that choose the area of interest and the look of the maps."""

    app.clientside_callback(
        ClientsideFunction("neuron", "asked"),
        Output(ids.AREA_DRAWN, "data"),
        Output(ids.AREA_TYPED, "data"),
        Input(ids.ACTIVATIONS, "selectedData"),
        Input(ids.LARGE_ACTIVATIONS, "selectedData"),
        Input(ids.AREA_WORDS, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Output(ids.MOST_ACTIVE, "value"),
        Input(ids.AREA_DRAWN, "data"),
        Input(ids.MOST_ACTIVE, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_area(_drawn, _most, data):
        """A choice is taken back at once, so that the same one again is another. Clicks are the browser's."""
        view, drawn, value = from_data(data), ctx.triggered_id == ids.AREA_DRAWN, ctx.triggered[0]["value"]
        if view.layer is None or view.map is None or not value:
            return no_update, no_update
        area = chosen_area(bench, view, {"selectedData" if drawn else "value": value})
        if drawn and area is None:
            return no_update, no_update
        return changes(view, view.but(area=plain_area(area) if area is not None else None)), None

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Output(ids.MESSAGE, "children", allow_duplicate=True),
        Output(ids.MESSAGE, "is_open", allow_duplicate=True),
        Input(ids.AREA_TYPED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def type_area(typed, data):
        view = from_data(data)
        if view.layer is None or not typed:
            return no_update, no_update, no_update
        try:
            area = typed_area(bench, view, typed["words"])
        except AevisError as error:
            return no_update, str(error), True
        return changes(view, view.but(area=area)), no_update, False

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.WHOLE_MAP, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def take_whole_map(clicks, data):
        view = from_data(data)
        return changes(view, view.but(area=None)) if clicks else no_update

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.LOOK, "value"),
        Input(ids.LARGE_LOOK, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_look(_look, _large_look, data):
        view, look = from_data(data), ctx.triggered[0]["value"]
        return changes(view, view.but(look=look)) if look in LOOKS else no_update


def chosen_area(bench: Workbench, view: View, by: dict[str, Any]) -> AreaOfInterest | None:
    """The area that a box, a lasso, or a number of most active neurons chooses; None for all."""
    layer = bench.layers.find(view.layer or "")
    if "selectedData" in by:
        return snap_area(by["selectedData"], layer.index, layer.height, layer.width)
    triplet = stored_triplet(bench, view)
    image = triplet.image(Role.ADVERSARIAL) if triplet is not None else ""
    return bench.most_active(image, FeatureMap(layer.index, view.map or 0), int(by["value"])) if image else None


def typed_area(bench: Workbench, view: View, text: str | None) -> Area | None:
    """The area that a text names; the view's own where that is single neurons, for which there are no words.

    Raises AevisError as `area_in`.
    """
    area = area_in(bench, bench.layers.find(view.layer or ""), text)
    if area is None:
        return view.area if view.area is not None and len(view.area) > 4 else None
    return plain_area(area)


def area_in(bench: Workbench, layer: Layer, text: str | None) -> AreaOfInterest | None:
    """The rectangle of neurons that a text such as "rows 2-4, columns 3" names, of all rows or columns where it names
    none; None for no text. Raises AevisError for what is no rectangle of the layer."""
    written = (text or "").strip().lower()
    if not written:
        return None
    parts = _ENDS.findall(written)
    named = {what: (first, last or first) for what, first, last in parts}
    if not named or len(parts) > len(named) or _ENDS.sub("", written).strip(" ,;"):
        short = written if len(written) < 40 else written[:40] + "…"
        raise AevisError(f"{short!r} names no neurons. Write them such as: rows 2-4, columns 3-5.")
    top, bottom = sorted(int(end) for end in named.get("row", (0, layer.height - 1)))
    left, right = sorted(int(end) for end in named.get("column", (0, layer.width - 1)))
    area = AreaOfInterest(layer.index, top, left, bottom + 1, right + 1)
    bench.check_area(area)
    return area
