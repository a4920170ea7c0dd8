"""The trail: the steps in words, flip-backs, and the clicks that add or change a step."""

from dash import Dash

from aevis_dash.callbacks.trail import clicks
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the trail."""
    clicks.register(app, bench)
