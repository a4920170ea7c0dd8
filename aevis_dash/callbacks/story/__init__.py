"""The story: what the results say to the question that is asked, with a way to the evidence of each sentence."""

from dash import Dash

from aevis_dash.callbacks.story import telling
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the story."""
    telling.register(app, bench)
