"""How a map fires on every compared image, beside the images or over them, and what the area of interest sees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, Patch, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import area_of
from aevis_dash.domain import AevisError, AreaOfInterest, Layer, short_of
from aevis_dash.figures.drawing import Drawing
from aevis_dash.figures.neuron import COLUMN, LARGE, Room, Shown, activation_figure, outlines
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import Theme, theme
from aevis_dash.layouts.activations import HEIGHT, Sight, large_style, row_style, sights
from aevis_dash.workbench import Triplet, Workbench

MAPS = {"figure": Output(ids.ACTIVATIONS, "figure"), "height": Output(ids.ACTIVATIONS, "style")}
AREA = {
    "area": Output(ids.AREA_TEXT, "children"),
    "seen": Output(ids.SEEN, "children"),
    "row": Output(ids.SEEN, "style"),
}


@dataclass(frozen=True)
class Firing:
    """A map whose activations are shown: the triplet, the map's layer and channel, the images by their datapaths' keys,
    and the area of interest, None for the whole map."""

    found: Triplet
    layer: Layer
    channel: int
    members: Mapping[str, str]
    area: AreaOfInterest | None


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the activation maps."""

    @app.callback(
        Input(ids.LARGE_VIEW, "data"),
        output={
            "figure": Output(ids.LARGE_ACTIVATIONS, "figure"),
            "height": Output(ids.LARGE_ACTIVATIONS, "style"),
            "title": Output(ids.LARGE_TITLE, "children"),
        },
        prevent_initial_call=True,
    )
    def show_larger(data):
        view = checked_view(data, bench)
        firing = firing_of(bench, view) if data else None
        if firing is None:
            return no_update
        return {
            "figure": _figure(bench, firing, view.look, theme(data["theme"] == "dark"), LARGE),
            "height": large_style(len(firing.members)),
            "title": f"map {firing.channel} of {firing.layer.name}",
        }

    _follow_the_pointer(app)


def shown_maps(
    bench: Workbench, firing: Firing | None, view: View, colours: Theme, room: Room = COLUMN
) -> dict[str, Any]:
    """The values of all outputs of MAPS, with the whole figure."""
    if firing is None:
        waits = stored_triplet(bench, view) is None
        figure = notice("No datapaths yet." if waits else "Click a feature map in the treemap.", colours, HEIGHT)
    else:
        figure = _figure(bench, firing, view.look, colours, room)
    return {"figure": figure, "height": {"height": f"{figure['layout']['height']}px"}}


def moved_outline(firing: Firing | None, look: str, colours: Theme) -> dict[str, Any]:
    """The values of those outputs of MAPS that change with the area of interest alone, which is its outline."""
    if firing is None:
        return {}
    changed, count = Patch(), len(firing.members) - (look == "difference")
    changed["layout"]["shapes"] = outlines(count, firing.area, colours)
    changed["layout"]["selections"] = []  # the box or lasso that chose the area goes
    return {"figure": changed}


def shown_area(bench: Workbench, firing: Firing | None) -> dict[str, Any]:
    """The values of AREA: the area of interest in words, and what it sees of the images."""
    if firing is None:
        return {"area": "", "seen": [], "row": row_style(3, (1, 1))}
    size = bench.workspace.settings.preprocessing.input_size
    return {
        "area": area_words(bench, firing),
        "seen": sights(_sights(bench, firing)),
        "row": row_style(len(firing.members), size),
    }


def _follow_the_pointer(app: Dash) -> None:
    """Add what assets/neuron.js does at once: it shows the field of the neuron under the pointer, and opens the larger
    view."""
    for graph, line in ((ids.ACTIVATIONS, ids.HOVERED), (ids.LARGE_ACTIVATIONS, ids.LARGE_HOVERED)):
        app.clientside_callback(
            ClientsideFunction("neuron", "follow"),
            Output(line, "children"),
            Input(graph, "hoverData"),
            State(ids.FIELDS, "data"),
            State(graph, "id"),
        )
    app.clientside_callback(
        ClientsideFunction("neuron", "open"),
        Output(ids.LARGE, "is_open"),
        Input(ids.ENLARGE, "n_clicks"),
        prevent_initial_call=True,
    )


def _figure(bench: Workbench, firing: Firing, look: str, colours: Theme, room: Room) -> Drawing | go.Figure:
    figure = activation_figure(firings(bench, firing), look, firing.area, colours, room)
    of = {"example": firing.found.plan.example.id, "layer": firing.layer.name, "map": firing.channel}
    figure["layout"]["meta"] = of  # assets/neuron.js takes no click on a figure of another map
    return figure


def firing_of(bench: Workbench, view: View) -> Firing | None:
    """The view's map on the images that the view compares; None without a map or datapaths."""
    found = stored_triplet(bench, view)
    if found is None or view.layer is None or view.map is None:
        return None
    area = area_of(bench.layers, view.layer, view.area) if view.area else None
    return Firing(found, bench.layers.find(view.layer), view.map, _members(found, view), area)


def firings(bench: Workbench, firing: Firing) -> dict[str, Shown]:
    """The activations of the map on each of the images, by their datapaths' keys."""
    return {path: _shown(bench, firing, image) for path, image in firing.members.items()}


def _members(found: Triplet, view: View) -> dict[str, str]:
    """The compared images by their datapaths' keys; the triplet's where the view names images that this example does
    not have."""
    try:
        return found.members(view.compared)
    except AevisError:
        return found.members()


def _shown(bench: Workbench, firing: Firing, image: str) -> Shown:
    values = bench.maps.activation_maps(image, firing.layer.index)[firing.channel]
    layer = firing.layer
    return Shown(
        values, _class_of(bench, firing, image), pictures.image(bench, image) if layer.on_image else "", layer.first_row
    )


def _class_of(bench: Workbench, firing: Firing, image: str) -> str:
    return bench.class_names[firing.found.path_of(image).label]


def _sights(bench: Workbench, firing: Firing) -> list[Sight]:
    """The compared images, each with what the area of interest sees of it."""
    box = None if firing.area is None else _seen(bench, firing.area)
    return [
        Sight(pictures.image(bench, image), f"{short_of(path)}, {_class_of(bench, firing, image)}", box)
        for path, image in firing.members.items()
    ]


def _seen(bench: Workbench, area: AreaOfInterest) -> tuple[float, float, float, float]:
    """The area's receptive field as left, top, width and height, in parts of the image."""
    field, (height, width) = bench.maps.receptive_field(area), bench.workspace.settings.preprocessing.input_size
    across, down = field.right - field.left, field.bottom - field.top
    return field.left / width, field.top / height, across / width, down / height


def area_words(bench: Workbench, firing: Firing) -> str:
    """The area of interest in words, and how much of the image it sees."""
    area, layer = firing.area, firing.layer
    if area is None:
        return f"area of interest: the whole map, {layer.neurons_in_words}"
    field = bench.maps.receptive_field(area)
    some = f"{area.neurons} neurons in " if area.picked else ""
    return (
        f"area of interest: {some}rows {area.top} to {area.bottom - 1}, columns {area.left} to {area.right - 1}; it "
        f"sees {field.bottom - field.top} x {field.right - field.left} pixels of the image"
    )
