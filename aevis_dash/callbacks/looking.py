"""Hears from the pages which example each of them shows, so that the extraction of one that was left gives way."""

from typing import Any

from flask import Flask, Response, g, request

from aevis_dash.callbacks.guard import refusal
from aevis_dash.callbacks.queueing import Queue

ADDRESS = "/looks-at"
LONGEST = 1000
"""The number of characters that a name may have."""


def register(server: Flask, queue: Queue) -> None:
    """Answer what `assets/jobs.js` posts whenever a page shows another example, is closed, or comes back.

    That is the `page`, the `example` and the time `at`, as JSON. Anything else is refused with 400.
    """

    @server.post(ADDRESS)
    def _look() -> Response:
        told: Any = _body()
        if not _is_look(told):
            return refusal(400, "This does not name a page, an example and a time.")
        g.page = told["page"]  # for the line of the log
        queue.look(told["page"], told["example"], float(told["at"]))
        return Response(status=204)


def _body() -> Any:
    try:
        return request.get_json(force=True, silent=True)
    except RecursionError:  # JSON that is nested deeper than Python can read
        return None


def _is_look(told: Any) -> bool:
    if not isinstance(told, dict):
        return False
    texts = all(isinstance(told.get(name), str) and len(told[name]) <= LONGEST for name in ("page", "example"))
    at = told.get("at")
    return texts and isinstance(at, int | float) and not isinstance(at, bool) and abs(at) < 1e15
