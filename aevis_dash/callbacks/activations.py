"""How a map fires on every compared example, beside or over their images, and what the area of interest sees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks import addresses
from aevis_dash.callbacks.settle import stored_triplet
from aevis_dash.callbacks.steps import area_of
from aevis_dash.callbacks.view import View, from_data
from aevis_dash.domain import AevisError, AreaOfInterest, Layer, short_of
from aevis_dash.figures.neuron import COLUMN, LARGE, Room, Shown, activation_figure
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.layouts.activations import HEIGHT, Sight, large_style, row_style, sights
from aevis_dash.workbench import Triplet, Workbench

_EMPTY = "Click a feature map in the treemap."


@dataclass(frozen=True)
class Firing:
    """What is shown of a map: on which images it fires how, by their datapaths' keys, and the area of interest."""

    layer: Layer
    channel: int
    shown: Mapping[str, Shown]
    area: AreaOfInterest | None


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the activation maps."""

    @app.callback(
        Output(ids.ACTIVATIONS, "figure"),
        Output(ids.ACTIVATIONS, "style"),
        Output(ids.AREA_TEXT, "children"),
        Output(ids.WHOLE_MAP, "disabled"),
        Output(ids.ENLARGE, "disabled"),
        Output(ids.SEEN, "children"),
        Output(ids.SEEN, "style"),
        Output(ids.FIELDS, "data"),
        Input(ids.NEURON_VIEW, "data"),
        Input(ids.READY, "data"),
    )
    def show_activations(data, _ready):
        firing = firing_of(bench, from_data(data))
        figure = _figure(firing, data, COLUMN)
        style = {"height": f"{figure.to_plotly_json()['layout']['height']}px"}
        if firing is None:
            return figure, style, "", True, True, [], row_style(3, (1, 1)), None
        size = bench.workspace.settings.preprocessing.input_size
        row = row_style(len(firing.shown), size)
        words, whole = area_words(bench, firing), firing.area is None
        return figure, style, words, whole, False, sights(_sights(bench, firing)), row, fields(bench, firing.layer)

    @app.callback(
        Output(ids.LARGE_ACTIVATIONS, "figure"),
        Output(ids.LARGE_ACTIVATIONS, "style"),
        Output(ids.LARGE_TITLE, "children"),
        Input(ids.LARGE, "is_open"),
        Input(ids.NEURON_VIEW, "data"),
        prevent_initial_call=True,
    )
    def show_larger(is_open, data):
        firing = firing_of(bench, from_data(data)) if is_open else None
        if firing is None:
            return no_update, no_update, no_update
        title = f"map {firing.channel} of {firing.layer.name}"
        return _figure(firing, data, LARGE), large_style(len(firing.shown)), title

    _follow_the_pointer(app)


def _follow_the_pointer(app: Dash) -> None:
    """What assets/neuron.js does at once: the field of the neuron under the pointer, and opening the larger view."""
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


def _figure(firing: Firing | None, data: dict[str, Any] | None, room: Room) -> go.Figure:
    colours = theme((data or {}).get("theme") == "dark")
    if firing is None:
        return notice(_EMPTY, colours, HEIGHT)
    return activation_figure(firing.shown, from_data(data).look, firing.area, colours, room)


def firing_of(bench: Workbench, view: View) -> Firing | None:
    """How the view's map fires on the images that the view compares; None without a map or datapaths."""
    found = stored_triplet(bench, view)
    if found is None or view.layer is None or view.map is None:
        return None
    layer = bench.layers.find(view.layer)
    shown = {path: _shown(bench, found, image, layer, view.map) for path, image in _members(found, view).items()}
    area = area_of(bench.layers, view.layer, view.area) if view.area else None
    return Firing(layer, view.map, shown, area)


def _members(found: Triplet, view: View) -> dict[str, str]:
    """The compared images; the triplet's where the view names others than this example has."""
    try:
        return found.members(view.compared)
    except AevisError:
        return found.members()


def _shown(bench: Workbench, found: Triplet, image: str, layer: Layer, channel: int) -> Shown:
    values = bench.activation_maps(image, layer.index)[channel]
    grid = values.reshape(1, -1) if values.ndim < 2 else values
    return Shown(grid, bench.class_names[found.path_of(image).label], addresses.image(bench, image))


def fields(bench: Workbench, layer: Layer) -> dict[str, list]:
    """The receptive fields of a layer's neurons for the page: pixels by rows and by columns, and the input's size."""
    rows, across = bench.receptive_fields(layer.index)
    size = bench.workspace.settings.preprocessing.input_size
    return {"rows": rows.tolist(), "columns": across.tolist(), "size": list(size)}


def _sights(bench: Workbench, firing: Firing) -> list[Sight]:
    """The compared images, and what the area sees of each."""
    box = None if firing.area is None else _seen(bench, firing.area)
    return [Sight(one.image, f"{short_of(path)}, {one.name}", box) for path, one in firing.shown.items()]


def _seen(bench: Workbench, area: AreaOfInterest) -> tuple[float, float, float, float]:
    """The area's receptive field in parts of the image: left, top, width, height."""
    field, (height, width) = bench.receptive_field(area), bench.workspace.settings.preprocessing.input_size
    across, down = field.right - field.left, field.bottom - field.top
    return field.left / width, field.top / height, across / width, down / height


def area_words(bench: Workbench, firing: Firing) -> str:
    """The area of interest, and how much of the image it sees."""
    area, layer = firing.area, firing.layer
    if area is None:
        return f"area of interest: the whole map, {layer.height} x {layer.width} neurons"
    field = bench.receptive_field(area)
    some = f"{area.neurons} neurons in " if area.picked else ""
    return (
        f"area of interest: {some}rows {area.top} to {area.bottom - 1}, columns {area.left} to {area.right - 1}; it "
        f"sees {field.bottom - field.top} x {field.right - field.left} pixels of the image"
    )
