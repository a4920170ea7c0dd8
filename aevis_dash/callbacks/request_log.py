"""A line of the log for each request, and the ID by which it is found there."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from dash import Dash
from flask import Response, g, request

from aevis_dash import logs
from aevis_dash.callbacks import bodies, proxies, visitors
from aevis_dash.logs import Work

HEADER, PAGE_HEADER = "X-Request-Id", "AEVis-Page"
"""The headers that carry the ID of a request, and the name of the page that asks (assets/gone.js)."""
NAMED = 2
"""The number of components of a callback that a line names."""
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RequestLog:
    """What the log takes from requests.

    Attributes:
        proxies: the addresses of trusted proxies. The ID of a request and the address of its visitor are taken from the
            headers of their requests, and from nobody else's.
        addresses: whether the addresses of visitors are logged.
    """

    proxies: Sequence[str] = ()
    addresses: bool = False


DIRECT = RequestLog()
"""What the log takes where no proxy is trusted."""


Counted = Callable[[str, int, float], None]
"""Is told the route, the status and the seconds of each answer."""


def register(app: Dash, wanted: RequestLog, counted: Counted | None = None) -> Callable:
    """Note what is asked of an application.

    A line holds no path and no query, as these name images. It holds the route or the callback that was asked for.

    Args:
        app: the application, all of whose other parts are registered.
        wanted: what the log takes from requests.
        counted: is told of each answer; None for nobody.

    Returns:
        The application's WSGI function, so that every answer carries the ID of its request, and every request is
        logged.
    """
    answer, server = app.server.wsgi_app, app.server

    @server.after_request
    def _note(response: Response) -> Response:
        told = {"route": _route(), "page": _page(), "user": visitors.name_of_current()}
        request.environ.update({f"aevis.{name}": value for name, value in told.items()})
        return response

    def _failed(exc_info: Any) -> None:
        logs.tell_failure(_logger, f"Exception on {request.path} [{request.method}]", exc_info[1])

    def _answered(environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
        work, begun, told = Work("request", _name(environ, wanted)), time.perf_counter(), {}

        def started(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            told.update(status=int(status.split()[0]), size=dict(headers).get("Content-Length"))
            return start(status, [*headers, (HEADER, work.name)], *rest)

        with logs.at_work(work):
            parts = answer(environ, started)
            spent = time.perf_counter() - begun
            facts = _facts(environ, told, work, 1000 * spent)
            if counted is not None:
                counted(str(facts["route"] or "none"), facts["status"], spent)
            if wanted.addresses:
                facts["address"] = proxies.address_of(environ, wanted.proxies)
            _logger.info("request", extra={"facts": facts})
        return parts

    server.log_exception = _failed
    return _answered


def shortened(output: str) -> str:
    """The callback with that output, by the components that it writes: "layer-title, treemap +3" for five of them."""
    names = list(dict.fromkeys(one.rpartition(".")[0] for one in output.strip(".").split("...")))
    return ", ".join(names[:NAMED]) + (f" +{len(names) - NAMED}" if len(names) > NAMED else "")


def _facts(environ: dict[str, Any], told: dict[str, Any], work: Work, milliseconds: float) -> dict[str, Any]:
    facts = {
        "method": environ["REQUEST_METHOD"][:16],
        "route": environ.get("aevis.route"),
        "status": told["status"],
        "ms": round(milliseconds, 1),
        "bytes": None if told["size"] is None else int(told["size"]),
        "page": environ.get("aevis.page"),
    }
    user = environ.get("aevis.user")
    return facts | ({"user": user} if user else {}) | ({"failed": True} if work.failed else {})


def _route() -> str:
    """What was asked for: a callback, or the pattern of an address."""
    output = g.get(bodies.OUTPUT)
    if output is not None:
        return f"callback {shortened(output)}"
    return "none" if request.url_rule is None or request.endpoint == "/<path:path>" else request.url_rule.rule


def _page() -> str | None:
    """The name of the page that asks, where it has told one and this can be one."""
    name = g.get("page") or request.headers.get(PAGE_HEADER, "")
    return name if _PLAIN.fullmatch(name) else None


def _name(environ: dict[str, Any], wanted: RequestLog) -> str:
    """The ID of a request: that of a trusted proxy, where it gives one, or a new one."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    if proxies.is_from(environ, wanted.proxies) and _PLAIN.fullmatch(given):
        return given
    return uuid4().hex[:16]
