"""The click that chooses another example."""

from dash import Dash, Input, Output, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.opening import settle
from aevis_dash.callbacks.view.state import changes
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callback that shows another example."""

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.CHOSEN_EXAMPLE, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_example(clicked, data):
        view = checked_view(data, bench)
        if not clicked or clicked["example"] == view.example:
            return no_update
        return changes(view, settle(bench, view.at_example(clicked["example"])), clicked["at"])
