"""The network: the river over its layers, and clicks on it."""

from dash import Dash

from aevis_dash.callbacks.network import clicks, river
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the network."""
    for part in (river, clicks):
        part.register(app, bench)
