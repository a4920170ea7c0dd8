"""Who is logged in, in the bar on top, and the way out."""

from dash import html

from aevis_dash.users import User


def visitor_chip(visitor: User | None) -> html.Form | html.Span | None:
    """The name and the role of the user, with a button to log out; nothing where the server has no users.

    The button sends a form of the browser's own, so that it works whatever state the page is in.
    """
    if visitor is None:
        return None
    named = html.Span([visitor.name, html.Span(f" · {visitor.role}", className="quiet")], title="who is logged in")
    if not visitor.leaves:
        return named
    leave = html.Button("log out", type="submit", className="log-out")
    return html.Form([named, leave], action="logout", method="post", className="visitor")
