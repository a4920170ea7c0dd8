"""The strip under the bar on top that says what is doubtful about the whole workspace. It cannot be closed."""

from collections.abc import Sequence

import dash_bootstrap_components as dbc
from dash import html

from aevis_dash import ids


def warnings_strip(warnings: Sequence[str]) -> dbc.Alert:
    """The strip of warnings, which is hidden where there is no warning."""
    return dbc.Alert(
        sentences(warnings), id=ids.WARNINGS, color="warning", is_open=bool(warnings), fade=False, className="warnings"
    )


def sentences(warnings: Sequence[str]) -> list[html.P]:
    """The content of the strip, one line for each warning."""
    return [html.P(warning) for warning in warnings]
