"""The clicks that add a step to the trail, go along it, or change a note."""

from dataclasses import replace

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.opening import carried_area
from aevis_dash.callbacks.view.roles import traced_on
from aevis_dash.callbacks.view.state import View, changes
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Step, add_steps, step_from_data
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that change the trail."""

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.TRACE, "n_clicks"),
        Input(ids.TRACE_PREDICTION, "n_clicks"),
        State(ids.SOURCE_LAYER, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def trace(_clicks, _prediction, source, data):
        """Go to the earlier layer at once. Its contributions are shown when they are found."""
        view = checked_view(data, bench)
        if not ctx.triggered[0]["value"] or view.layer is None:
            return no_update
        if ctx.triggered_id == ids.TRACE_PREDICTION:
            return changes(view, view.after(Step(THE_PREDICTION, None, source=view.layer)))
        sources = bench.contributions.sources(bench.layers.find(view.layer).index)
        if view.map is None or not sources:
            return no_update
        wanted = bench.layers.find(source).index if source else -1  # the control may show an older layer's source
        earlier = wanted if wanted in sources else sources[0]
        on = traced_on(bench, view).value
        step = Step(view.layer, view.map, view.area, bench.layers.layers[earlier].name, on=on)
        return changes(view, view.after(step).edit(area=carried_area(bench, view, earlier)))

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.FLIPPED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def keep_flip(flipped, data):
        """Make a flip-back a step of the trail."""
        view = checked_view(data, bench)
        steps = _steps_for(view, flipped)
        if not steps:
            return no_update
        if steps[0].parent >= len(view.steps):  # the step that it followed was taken out meanwhile
            steps = [replace(steps[0], parent=-1)]
        return changes(view, view.edit(steps=add_steps(view.steps, steps)[0]), then={ids.FLIP_KEPT: flipped})

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.SUGGESTED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def keep_trail(suggested, data):
        """Make a suggested trail steps of the trail."""
        view = checked_view(data, bench)
        steps = [step.under(len(view.steps)) for step in _steps_for(view, suggested)]
        return changes(view, view.edit(steps=add_steps(view.steps, steps)[0])) if steps else no_update

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


def _steps_for(view: View, done: dict | None) -> list[Step]:
    """The steps that a job ended with; none where the visitor has gone on to another example."""
    return [step_from_data(step) for step in done["steps"]] if done and done["example"] == view.example else []
