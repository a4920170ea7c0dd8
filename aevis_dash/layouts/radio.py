"""A choice of one of a few options, in a line, with a name that is read but not shown."""

from collections.abc import Sequence
from typing import Any

import dash_bootstrap_components as dbc
from dash import html


def radio(name: str, says: str, options: Sequence[Any], value: str, style: str) -> html.Fieldset:
    """Radio buttons in a line.

    Args:
        name: the ID of the buttons.
        says: what is chosen, for who hears the page.
        options: the options, as Dash takes them.
        value: the option that is chosen first.
        style: the class of the buttons.
    """
    choice = dbc.RadioItems(id=name, name=name, options=list(options), value=value, inline=True, className=style)
    return html.Fieldset([html.Legend(says, className="visually-hidden"), choice], className="choice")
