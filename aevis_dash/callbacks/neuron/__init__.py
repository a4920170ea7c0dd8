"""The feature map: what it shows, its activations and learned features, and the area of interest."""

from dash import Dash

from aevis_dash.callbacks.neuron import activations, answer, clicks, connections, learned
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the feature map."""
    for part in (answer, activations, learned, connections, clicks):
        part.register(app, bench)
