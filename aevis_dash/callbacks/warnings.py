"""The strip of warnings: what is doubtful about the whole workspace, looked up again after every choice and result."""

from typing import Any

from dash import Dash, Input, Output

from aevis_dash import ids
from aevis_dash.layouts.warnings import sentences
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callback. The page comes with the warnings that there are when it is loaded."""

    @app.callback(
        Input(ids.PATHS_VIEW, "data"),
        Input(ids.READY, "data"),
        Input(ids.SOLVE_DONE, "data"),
        output={"sentences": Output(ids.WARNINGS, "children"), "open": Output(ids.WARNINGS, "is_open")},
        prevent_initial_call=True,
    )
    def say(*_: object) -> dict[str, Any]:
        doubts = bench.warnings
        return {"sentences": sentences(doubts), "open": bool(doubts)}
