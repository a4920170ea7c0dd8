"""The layer: its treemap, its table, what is pinned beside it, and clicks on them."""

from dash import Dash

from aevis_dash.callbacks.layer import clicks, table, treemap
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the layer."""
    for part in (treemap, table, clicks):
        part.register(app, bench)
