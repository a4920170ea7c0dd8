"""Checks of a request's body before Dash reads it: it must name one of the page's callbacks, and all its arguments."""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import Dash
from dash.exceptions import DependencyException
from flask import Response, g, request

from aevis_dash.callbacks.guard import refusal
from aevis_dash.domain import so_many

ENDPOINT = "/_dash-update-component"
OUTPUT = "output"
"""The name in Flask's `g` under which the output of the callback that was asked for is noted."""


def register(app: Dash) -> None:
    """Refuse requests that Dash would fail with: 400 for a body that no page sends, 404 for a script that does not
    exist."""

    @app.server.before_request
    def _check() -> Response | None:
        if request.endpoint != ENDPOINT:
            return None
        body = _body()
        wrong = mistake(body, app.callback_map)
        if not wrong:
            setattr(g, OUTPUT, body["output"])
        return refusal(400, f"{wrong} Reload the page.") if wrong else None

    @app.server.errorhandler(DependencyException)
    def _unknown(_: Exception) -> Response:
        return refusal(404, "The page has no such script.")


def _body() -> Any:
    """The request's body as JSON; None where there is none, or where it is nested deeper than Python can read."""
    try:
        return request.get_json(force=True, silent=True)
    except RecursionError:
        return None


def mistake(body: Any, callbacks: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on what is wrong with the body of a request; "" where nothing is.

    Args:
        body: the body, as any JSON value.
        callbacks: Dash's callbacks by their outputs (`Dash.callback_map`).
    """
    if not isinstance(body, Mapping):
        return "What was asked is no JSON object."
    output = body.get("output")
    if not isinstance(output, str) or "callback" not in callbacks.get(output, {}):
        return "What was asked names no `output` that the server knows."
    asked = callbacks[output]
    for name in ("inputs", "state"):
        declared, given = [place["id"] for place in asked[name]], body.get(name, [])
        if not isinstance(given, list) or not _are_places(given, declared):
            return f"What was asked does not give {so_many(len(declared), 'value')} with ids for its `{name}`."
    several = output.startswith("..")
    declared, given = output.strip(".").split("..."), body.get("outputs")
    if not _are_places(given if several and isinstance(given, list) else [given], declared):
        return f"What was asked does not give {so_many(len(declared), 'id')} for its `outputs`."
    changed = body.get("changedPropIds", [])
    if not isinstance(changed, list) or not all(isinstance(one, str) for one in changed):
        return "What was asked has no list of texts as its `changedPropIds`."
    return ""


def _are_places(given: Sequence[Any], declared: Sequence[str]) -> bool:
    """Whether each value names a property of a component. For a declared pattern of IDs, it may be a list of such
    names."""
    if len(given) != len(declared):
        return False
    pairs = zip(given, declared, strict=True)
    return all(
        all(map(_is_place, one)) if isinstance(one, list) and pattern.startswith("{") else _is_place(one)
        for one, pattern in pairs
    )


def _is_place(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("id"), str | dict)
        and isinstance(value.get("property"), str)
    )
