"""The examples: the gallery, all of them at once, and the choice of one."""

from dash import Dash

from aevis_dash.callbacks.examples import clicks, divergences, gallery, recurrent
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the examples."""
    for part in (gallery, divergences, recurrent, clicks):
        part.register(app, bench)
