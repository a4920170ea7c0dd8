"""The saved trails: their list, saving the shown view under a name, and deleting what one has saved."""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks import visitors
from aevis_dash.callbacks.view.address import check, from_search
from aevis_dash.domain import AevisError
from aevis_dash.layouts.saved_trails import saved_list
from aevis_dash.shared_trails import SharedTrails
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the saved trails."""
    shelf = SharedTrails(bench.workspace.cache)

    @app.callback(Output(ids.SAVED, "children"), Input(ids.SAVED_CHANGED, "data"), prevent_initial_call=True)
    def show_saved(_changed):
        """List what is saved, whenever the drawer is opened (assets/trail.js), or something was saved or deleted."""
        return saved_list(*shelf.all(), _who(), visitors.may_change())

    app.clientside_callback(
        ClientsideFunction("trail", "save"),
        Output(ids.SAVE_ASKED, "data"),
        Input(ids.SAVE_TRAIL, "n_clicks"),
        State(ids.SAVE_NAME, "value"),
        State(ids.SAVE_WHO, "value"),
        prevent_initial_call=True,
    )

    @app.callback(
        Input(ids.SAVE_ASKED, "data"),
        output={"changed": Output(ids.SAVED_CHANGED, "data"), "name": Output(ids.SAVE_NAME, "value")},
        prevent_initial_call=True,
    )
    def save(asked):
        """Save the view that the browser's address holds."""
        name, who, link = _asked(asked)
        view = from_search(link)
        if view.example is None:
            raise AevisError("No example is shown, so there is nothing to save. Choose one.")
        check(view, bench)
        user = visitors.current()
        return {"changed": shelf.save(name, who if user is None else user.name, link).key, "name": ""}

    @app.callback(
        Output(ids.SAVED_CHANGED, "data", allow_duplicate=True),
        Input(ids.saved_drop(ALL), "n_clicks"),
        prevent_initial_call=True,
    )
    def delete(_clicks):
        """Delete a saved trail of one's own."""
        pressed: Any = ctx.triggered_id
        if not pressed or not ctx.triggered[0]["value"]:
            return no_update
        shelf.delete(str(pressed["index"]), _who())
        return f"deleted {pressed['index']}"


def _who() -> str | None:
    user = visitors.current()
    return None if user is None else user.name


def _asked(asked: Any) -> tuple[str, str, str]:
    """The name, who saves it, and the link, from what the browser sent."""
    told: list[Any] = [asked.get(part) for part in ("name", "who", "link")] if isinstance(asked, dict) else [None]
    if not all(isinstance(one, str) for one in told):
        raise AevisError("What was asked names no trail to save. Reload the page.")
    return told[0], told[1], told[2]
