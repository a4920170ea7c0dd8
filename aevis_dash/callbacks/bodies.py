"""What a request for an answer must name before Dash reads it: one of the page's callbacks, and all that it takes."""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import Dash
from dash.exceptions import DependencyException
from flask import Response, request

from aevis_dash.callbacks.guard import refusal
from aevis_dash.domain import so_many

ENDPOINT = "/_dash-update-component"


def register(app: Dash) -> None:
    """Refuse, before Dash fails with it: 400 for a body that no page sends, 404 for a script that there is not."""

    @app.server.before_request
    def _check() -> Response | None:
        if request.endpoint != ENDPOINT:
            return None
        wrong = mistake(_body(), app.callback_map)
        return refusal(400, f"{wrong} Reload the page.") if wrong else None

    @app.server.errorhandler(DependencyException)
    def _unknown(_: Exception) -> Response:
        return refusal(404, "The page has no such script.")


def _body() -> Any:
    """The request's body as JSON; None for none, and for one that is nested deeper than Python can read."""
    try:
        return request.get_json(force=True, silent=True)
    except RecursionError:
        return None


def mistake(body: Any, callbacks: Mapping[str, Mapping[str, Any]]) -> str:
    """What is wrong with a request's body, in a sentence; "" for nothing."""
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
    """Whether each names a component's property; where a pattern of ids is declared, it may name any number of them."""
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
