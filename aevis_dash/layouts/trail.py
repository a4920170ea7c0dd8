"""The trail: the steps so far, what to do next, and messages."""

from collections.abc import Sequence

import dash_bootstrap_components as dbc
from dash import html

from aevis_dash import ids


def trail_bar() -> html.Nav:
    """The line under the top bar."""
    return html.Nav(
        [
            html.Div(id=ids.TRAIL, className="trail"),
            html.Div(id=ids.HINT, className="hint", role="status"),
            dbc.Alert(id=ids.MESSAGE, color="warning", is_open=False, dismissable=True, className="message"),
        ],
        className="trail-bar",
    )


def trail(steps: Sequence[str], here: str) -> list:
    """The steps as buttons, oldest first, and where the user is now."""
    buttons = [
        html.Button(words, id=ids.step(i), className="step", n_clicks=0, title="Go back to here")
        for i, words in enumerate(steps)
    ]
    parts: list = []
    for button in buttons:
        parts += [button, html.Span("←", className="quiet")]
    return [*parts, html.Span(here, className="here")] if here else parts
