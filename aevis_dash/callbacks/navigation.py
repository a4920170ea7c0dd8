"""Every click that changes what is shown: it reads the view and says which fields are to change."""

from dataclasses import replace

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.layer import winners_of
from aevis_dash.callbacks.network import NULLS
from aevis_dash.callbacks.roles import traced_on
from aevis_dash.callbacks.settle import comparable, settled
from aevis_dash.callbacks.steps import THE_PREDICTION, Area, Step, added, area_of, maps_in, plain_area, step_from_data
from aevis_dash.callbacks.view import View, changes, check, checked, from_search, unread, without_own
from aevis_dash.domain import AevisError
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that change the view."""
    own = bench.workspace.settings.extraction

    @app.callback(
        Output(ids.ARRIVED, "data"),
        Output(ids.MESSAGE, "children"),
        Output(ids.MESSAGE, "is_open"),
        Input(ids.URL, "search"),
        Input(ids.WENT, "data"),
    )
    def open_link(search, went):
        """At first, and when the visitor goes back or forward, of which Dash hears only where it knows the address."""
        address = went["search"] if went and ctx.triggered_id == ids.WENT else search
        try:
            view, beside = comparable(bench, from_search(address))
            check(view, bench)
            view = without_own(view, own)
            view = settled(bench, view) if view.example else opening(bench, view)
            check(view, bench)
        except AevisError as error:
            return opening(bench).to_data(), " ".join([str(error), *unread(address, refused=True)]), True
        left_out = [*unread(address), *beside]
        return view.to_data(), " ".join(left_out), bool(left_out)

    app.clientside_callback(
        ClientsideFunction("aevis", "arrive"),
        Output(ids.VIEW, "data"),
        Input(ids.ARRIVED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.CHOSEN_EXAMPLE, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_example(clicked, data):
        view = checked(data, bench)
        if not clicked or clicked["example"] == view.example:
            return no_update
        return changes(view, settled(bench, view.at_example(clicked["example"])), clicked["at"])

    app.clientside_callback(
        ClientsideFunction("aevisLayer", "chooseMap"),
        Output(ids.VIEW, "data", allow_duplicate=True),
        *(Input({"type": button, "index": ALL}, "n_clicks") for button in ("winner", "flip", "table-row")),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.PAIR, "value"),
        Input(ids.CAUSE_ROLE, "value"),
        Input(ids.HOW, "value"),
        Input(ids.REPLACEMENT, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_how(pair, cause, how, replacement, data):
        view = checked(data, bench)
        return changes(view, view.but(pair=pair, cause=cause, how=how, replacement=replacement))

    app.clientside_callback(
        ClientsideFunction("aevisLayer", "drawn"),
        Output(ids.MAPS_DRAWN, "data"),
        Input(ids.TREEMAP, "selectedData"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Output(ids.MESSAGE, "children", allow_duplicate=True),
        Output(ids.MESSAGE, "is_open", allow_duplicate=True),
        Input(ids.MAPS, "value"),
        Input(ids.ADD_MAP, "n_clicks"),
        Input(ids.TAKE_WINNERS, "n_clicks"),
        Input(ids.MAPS_DRAWN, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_maps(text, _add, _winners, drawn, data):
        view = checked(data, bench)
        try:
            maps = chosen_maps(bench, view, str(ctx.triggered_id), text, drawn)
        except AevisError as error:
            return no_update, str(error), True
        return changes(view, view.but(maps=maps)), no_update, False

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.TRACE, "n_clicks"),
        Input(ids.TRACE_PREDICTION, "n_clicks"),
        State(ids.SOURCE_LAYER, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def trace(_clicks, _prediction, source, data):
        """Go to the earlier layer at once; its contributions are shown as they are found."""
        view = checked(data, bench)
        if not ctx.triggered[0]["value"] or view.layer is None:
            return no_update
        if ctx.triggered_id == ids.TRACE_PREDICTION:
            return changes(view, view.after(Step(THE_PREDICTION, None, source=view.layer)).but(area=None))
        sources = bench.contribution_sources(bench.layers.find(view.layer).index)
        if view.map is None or not sources:
            return no_update
        wanted = bench.layers.find(source).index if source else -1  # it may still be that of the layer before
        earlier = wanted if wanted in sources else sources[0]
        on = traced_on(bench, view).value
        step = Step(view.layer, view.map, view.area, bench.layers.layers[earlier].name, on=on)
        return changes(view, view.after(step).but(area=carried_area(bench, view, earlier)))

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.FLIPPED, "data"),
        Input(ids.SUGGESTED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def keep_steps(_flipped, _suggested, data):
        """What a job did becomes part of the trail, unless the visitor has gone on to another example."""
        view, done = checked(data, bench), ctx.triggered[0]["value"]
        if not done or done["example"] != view.example:
            return no_update
        steps = [step_from_data(step) for step in done["steps"]]
        if ctx.triggered_id == ids.SUGGESTED:
            steps = [step.under(len(view.steps)) for step in steps]
        elif steps[0].parent >= len(view.steps):  # what it followed was taken out meanwhile
            steps = [replace(steps[0], parent=-1)]
        then = {ids.FLIP_KEPT: done} if ctx.triggered_id == ids.FLIPPED else None
        return changes(view, view.but(steps=added(view.steps, steps)[0]), then=then)

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.LANDED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def settle(landed, data):
        """Datapaths were extracted: the view as it is now gets a layer and a map where it has none, and with it the
        stations hear of the datapaths; of the null targets' the network alone."""
        view = checked(data, bench)
        try:
            after = settled(bench, view)
        except AevisError:  # the stations, which are drawn now, say why
            after = view
        heard = ids.NULLS_READY if landed["part"] == NULLS else ids.READY
        return changes(view, after, then={heard: landed})

    app.clientside_callback(
        ClientsideFunction("trail", "walk"),
        Output(ids.VIEW, "data", allow_duplicate=True),
        *(Input({"type": button, "index": ALL}, "n_clicks") for button in ("step", "node", "drop")),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    app.clientside_callback(
        ClientsideFunction("aevis", "annotate"),
        Output(ids.VIEW, "data", allow_duplicate=True),
        Input({"type": "note", "index": ALL}, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )


def carried_area(bench: Workbench, view: View, layer: int) -> Area | None:
    """The view's area of interest in another layer: the neurons that feed it; None where none do, or all."""
    if view.layer is None or view.area is None:
        return None
    if bench.layers.find(view.layer).index == layer:
        return view.area
    area = bench.carried(area_of(bench.layers, view.layer, view.area), layer)
    extent = bench.layers.layers[layer]
    return None if area is None or area.neurons == extent.height * extent.width else plain_area(area)


def chosen_maps(bench: Workbench, view: View, by: str, text: str | None, drawn: dict | None) -> tuple[int, ...]:
    """The maps of the layer that were typed, dragged over, added or taken from the winners; raises AevisError for
    what is no map."""
    if view.layer is None:
        return ()
    if by == ids.MAPS:
        return maps_in(bench.layers, view.layer, text)
    if by == ids.MAPS_DRAWN:
        return tuple(drawn["maps"]) if drawn else view.maps
    new = winners_of(bench, view) if by == ids.TAKE_WINNERS else [] if view.map is None else [view.map]
    if not new and by == ids.TAKE_WINNERS:
        raise AevisError("No contributions are shown, so there are no winners: trace an area to this layer first.")
    if not new:
        raise AevisError("No map is shown: click one in the treemap first.")
    return tuple(dict.fromkeys([*view.maps, *new]))


def opening(bench: Workbench, like: View | None = None) -> View:
    """The view a visitor without a link to an example begins with: a story, not an empty form, shown in the way that
    another view is."""
    found = bench.opening(bench.judged_examples())
    like = like or View()
    plain = like.at_example(found.example.id if found is not None else None).but(sort=like.sort)
    return settled(bench, plain) if found is not None else plain
