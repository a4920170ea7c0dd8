"""What is chosen at the learned features: by what the patches are the best."""

from dash import Dash, Input, Output, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks.view import changes, checked
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callback that changes the view."""

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.BEST, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose_best(best, data):
        view = checked(data, bench)
        return changes(view, view.but(best=best)) if data else no_update
