"""Every click that changes what is shown: it reads the view, changes a field or two, and writes it back."""

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.settle import settled
from aevis_dash.callbacks.trail import here, hint, steps_in_words
from aevis_dash.callbacks.view import View, check, from_data, from_search, wanted_of, without_own
from aevis_dash.domain import AevisError
from aevis_dash.figures.neuron import snap_area
from aevis_dash.layouts.trail import trail
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that change the view."""
    own = bench.workspace.settings.extraction

    @app.callback(
        Output(ids.VIEW, "data"),
        Output(ids.MESSAGE, "children"),
        Output(ids.MESSAGE, "is_open"),
        Input(ids.URL, "search"),
    )
    def open_link(search):
        try:
            view = from_search(search)
            check(view, bench)
            view = without_own(view, own)
            view = settled(bench, view) if view.example else opening(bench)
            check(view, bench)
        except AevisError as error:
            return opening(bench).to_data(), str(error), True
        return view.to_data(), "", False

    @app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input({"type": "card", "index": ALL}, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_example(_clicks, data):
        clicked = _clicked()
        if clicked is None:
            return no_update
        kept = from_data(data)
        fresh = kept.but(example=clicked, target=None, layer=None, map=None, area=None, steps=())
        return settled(bench, fresh).to_data()

    @app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input(ids.RIVER, "clickData"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_layer(click, data):
        place = _customdata(click)
        if place is None:
            return no_update
        view = from_data(data).but(layer=bench.layers.layers[int(place[0])].name, map=None, area=None)
        return settled(bench, view).to_data()

    @app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input(ids.TREEMAP, "clickData"),
        Input({"type": "winner", "index": ALL}, "n_clicks"),
        Input({"type": "flip", "index": ALL}, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_map(click, _clicks, _flips, data):
        if ctx.triggered_id == ids.TREEMAP:
            place = _customdata(click)
            channel = int(place[0]) if place is not None else None
        else:
            channel = _clicked()
        view = from_data(data)
        return view.but(map=channel, area=None).to_data() if channel not in (None, view.map) else no_update

    @app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input(ids.ACTIVATIONS, "selectedData"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def draw_area(selected, data):
        view = from_data(data)
        if not selected or view.layer is None:
            return no_update
        layer = bench.layers.find(view.layer)
        area = snap_area(selected, layer.index, layer.height, layer.width)
        if area is None:
            return no_update
        return view.but(area=(area.top, area.left, area.bottom, area.right)).to_data()

    @app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input(ids.WHOLE_MAP, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def take_whole_map(clicks, data):
        return from_data(data).but(area=None).to_data() if clicks else no_update

    @app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input(ids.TARGET, "value"),
        Input(ids.METHOD, "value"),
        Input(ids.SHARE, "value"),
        Input(ids.DISTANCE, "value"),
        Input(ids.GAP, "value"),
        Input(ids.PAIR, "value"),
        Input(ids.CAUSE_ROLE, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_how(target, method, share, distance, gap, pair, cause, data):
        view = from_data(data)
        changed = view.but(target=target or view.target, distance=distance, gap=gap, pair=pair, cause=cause)
        changed = without_own(changed.but(method=method, share=float(share)), own)
        return settled(bench, changed).to_data() if changed != view else no_update

    @app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input({"type": "step", "index": ALL}, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def walk_back(_clicks, data):
        view, number = from_data(data), _clicked()
        if number is None:
            return no_update
        step = view.steps[number]
        return view.but(layer=step.layer, map=step.map, area=step.area, steps=view.steps[:number]).to_data()

    @app.callback(
        Output(ids.TRAIL, "children"),
        Output(ids.HINT, "children"),
        Output(ids.METHOD, "value"),
        Output(ids.SHARE, "value"),
        Output(ids.DISTANCE, "value"),
        Output(ids.GAP, "value"),
        Output(ids.PAIR, "value"),
        Output(ids.CAUSE_ROLE, "value"),
        Input(ids.VIEW, "data"),
        Input(ids.READY, "data"),
    )
    def show_trail(data, _ready):
        view = from_data(data)
        line, how = trail(steps_in_words(view), here(view)), wanted_of(view, own)
        return line, hint(bench, view), how.method, how.share, view.distance, view.gap, view.pair, view.cause


def opening(bench: Workbench) -> View:
    """The view a visitor without a link begins with: a story, not an empty form."""
    found = bench.opening(bench.judged_examples())
    return settled(bench, View(example=found.example.id)) if found is not None else View()


def _clicked() -> Any:
    """The index of the button that was really clicked, None where buttons were only added to the page."""
    pressed = ctx.triggered_id
    return pressed["index"] if isinstance(pressed, dict) and ctx.triggered[0]["value"] else None


def _customdata(click: dict[str, Any] | None) -> list | None:
    points = (click or {}).get("points") or [{}]
    return points[0].get("customdata")
