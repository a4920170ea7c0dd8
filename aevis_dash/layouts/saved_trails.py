"""The saved trails, in the drawer of the trail: what is there, and saving the shown one under a name."""

from collections.abc import Sequence

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.shared_trails import LONGEST_NAME, SavedTrail
from aevis_dash.users import User

NONE = "No trail is saved yet."
READERS = "Readers see what was saved. Analysts save."


def saved_panel(visitor: User | None) -> html.Div:
    """The list of the saved trails, and what saves the shown one.

    Args:
        visitor: the user for whom the page is made; None where the server has no users. A reader saves nothing.
    """
    return html.Div(
        [
            html.H3("Saved trails"),
            html.Div(id=ids.SAVED, className="saved"),
            *_form(visitor),
            dcc.Store(id=ids.SAVE_ASKED),
            dcc.Store(id=ids.SAVED_CHANGED),
        ],
        className="saved-trails",
    )


def _form(visitor: User | None) -> list:
    who = {} if visitor is None else {"display": "none"}
    fields = html.Div(
        [
            dcc.Input(id=ids.SAVE_NAME, placeholder="name of this trail", maxLength=LONGEST_NAME, className="note"),
            dcc.Input(id=ids.SAVE_WHO, placeholder="who saves it", maxLength=LONGEST_NAME, className="note", style=who),
            dbc.Button("Save this trail", id=ids.SAVE_TRAIL, size="sm", color="secondary", outline=True, n_clicks=0),
        ],
        className="save-trail",
        hidden=visitor is not None and not visitor.may_change,
    )
    return [fields, html.Div(READERS, className="quiet", hidden=not fields.hidden)]  # type: ignore[attr-defined]


def saved_list(trails: Sequence[SavedTrail], damaged: int, who: str | None, may_change: bool = True) -> list:
    """The saved trails as links, each with who saved it, and when.

    Args:
        trails: the saved trails.
        damaged: the number of files that cannot be read.
        who: the name of the user, who deletes what is theirs; None where everybody may delete all.
        may_change: whether the visitor may delete anything.
    """
    rows: list = [_row(trail, may_change and who in (None, trail.who)) for trail in trails]
    if damaged:
        rows.append(html.Div(f"{damaged} more cannot be read: their files are damaged.", className="quiet"))
    return rows or [html.Div(NONE, className="quiet")]


def _row(trail: SavedTrail, own: bool) -> html.Div:
    told = " · ".join(part for part in (trail.who, f"{trail.when[:16].replace('T', ' ')} UTC") if part)
    parts: list = [html.A(trail.name, href=trail.link), html.Span(told, className="quiet")]
    if own:
        name = {"aria-label": f"Delete the saved trail {trail.name}"}
        title = "Delete this saved trail"
        parts.append(html.Button("×", id=ids.saved_drop(trail.key), title=title, n_clicks=0, **name))  # type: ignore
    return html.Div(parts, className="saved-trail")
