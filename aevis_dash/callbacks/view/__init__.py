"""The view: what the page shows, its address, where it opens, and what runs in the browser for it."""

from dash import Dash

from aevis_dash.callbacks.view import browser, opening
from aevis_dash.workbench import Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that set the view, and what follows from it in the browser."""
    browser.register(app)
    opening.register(app, bench)
