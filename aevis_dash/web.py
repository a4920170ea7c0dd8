"""It puts the parts together to the Dash application of one workspace."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dash import Dash
from flask import Flask, Response, abort, redirect, request

from aevis_dash.callbacks import (
    access,
    all_jobs,
    background,
    bodies,
    examples,
    guard,
    health,
    kept,
    layer,
    looking,
    network,
    neuron,
    pictures,
    request_log,
    rights,
    saved_trails,
    script,
    story,
    trail,
    two_models,
    view,
    visitors,
    warnings,
)
from aevis_dash.callbacks.examples.gallery import classes, known_range
from aevis_dash.callbacks.guard import Guard
from aevis_dash.callbacks.metrics import Metrics
from aevis_dash.callbacks.network.search import findable
from aevis_dash.callbacks.processes import job_folder, manager_of
from aevis_dash.callbacks.queueing import Queue
from aevis_dash.callbacks.request_log import RequestLog
from aevis_dash.callbacks.view.browser import CHOICES, CLEARED
from aevis_dash.callbacks.view.state import FIELDS, methods, shares
from aevis_dash.callbacks.visitors import Access
from aevis_dash.config import resource
from aevis_dash.domain import AevisError
from aevis_dash.layouts.network import Methods
from aevis_dash.layouts.page import page
from aevis_dash.listening import LARGEST_REQUEST
from aevis_dash.sight import one_sight
from aevis_dash.two_models import model_names
from aevis_dash.workbench import Workbench

SCRIPTS = (
    "plotly-cartesian.min.js",
    "controls.js",
    *("address.js", "area.js", "page.js", "gallery.js", "divergences.js", "network.js", "layer.js", "neuron.js"),
    *("beside.js", "trail.js", "jobs.js", "queue.js", "tour.js", "split.js", "press.js", "gone.js"),
)
"""The page's own scripts in the order in which they are loaded. The stations' scripts use `controls.js` when they
begin."""
_PARTS = ("graph", "dropdown", "slider")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self'; frame-ancestors 'self'"
    ),
}


def create_app(
    bench: Workbench,
    asked: Guard | None = None,
    prefix: str = "/",
    queue: Queue | None = None,
    second: Workbench | None = None,
    least_disk: int = health.LEAST_DISK,
    log: RequestLog = request_log.DIRECT,
    metrics: Metrics | None = None,
    who: Access | None = None,
) -> Dash:
    """The Dash application for one workspace. It is warm, so that its first requests may come in parallel.

    Args:
        bench: the workbench of the workspace.
        asked: says under which names the application answers; None for the loopback's.
        prefix: the path, between slashes, below which browsers find the page.
        queue: in which jobs wait; None for a new one.
        second: the workbench of the model that can be shown beside; None for none.
        least_disk: the number of free bytes below which the server says that it is not ready.
        log: what the log takes from requests.
        metrics: the numbers that are told at `/metrics`; None for none.
        who: how visitors show who they are; None where everybody may see and start all.

    Raises:
        AevisError: for users that cannot be read, and for a prefix that is also the beginning of one of the page's own
            addresses.
    """
    workspace = bench.workspace
    own, model = workspace.settings.extraction, workspace.settings.model.source
    offered = Methods(methods(own), shares(own), own.share)
    app = Dash(
        "aevis_dash",
        title="AEVis Dash",
        update_title="",
        assets_folder=str(resource("assets").resolve()),
        assets_ignore=r"\.js$",  # Dash would load them in the order of the alphabet
        requests_pathname_prefix=prefix,
        routes_pathname_prefix="/",
        serve_locally=True,
        enable_mcp=False,
        on_error=background.say_it_failed,
    )
    app.index_string = _with_scripts(app)
    find_range = known_range(bench)
    fields = {**FIELDS, "choices": CHOICES | CLEARED}
    app.layout = lambda: page(
        workspace.root.name,
        model,
        classes(bench),
        find_range(),
        offered,
        findable(bench),
        fields,
        bench.warnings,
        "" if second is None else model_names(bench, second)[1],
        visitors.current(),
    )
    asked = asked or Guard()
    guard.register(app.server, asked)
    guarded = access.register(app, who, asked, prefix, [one.store for one in (bench, second) if one is not None])
    app.server.before_request(_no_other_page)
    bodies.register(app)
    rights.register(app)
    app.server.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    for room in (view, warnings, story, examples, network, layer, neuron, trail, saved_trails):
        room.register(app, bench)
    two_models.register(app, bench, second)
    queue = queue or Queue()
    looking.register(app.server, queue)
    health.register(app.server, bench, queue, least_disk)
    subject = partial(background.subject, bench)
    counting = {} if metrics is None else {"ended": metrics.ended}
    manager = guarded(manager_of(job_folder(), queue, background.manners, subject, **counting))
    background.register(app, manager)
    if metrics is not None:
        metrics.register(app.server, bench, queue)
    all_jobs.register(app.server, manager)
    pictures.register(app.server, bench)
    script.register(app.server, bench)
    kept.register(app.server, bench)
    app.server.after_request(_secure)
    app.server.after_request(partial(_name, _serves(bench, second)))
    if prefix != "/":
        app.server.wsgi_app = _below(prefix, app.server)
    app.server.wsgi_app = _in_one_sight(app.server.wsgi_app)
    logged = request_log.register(app, log, None if metrics is None else metrics.answered)
    app.server.test_client().get("/_dash-layout", environ_overrides={visitors.INSIDE: True})
    app.server.wsgi_app = logged
    return app


def _in_one_sight(answer: Callable) -> Callable:
    """Let a file count as what it was when the answer to a request first looked at it, whichever part of it asks."""

    def answered(environ: dict[str, Any], start: Callable) -> Any:
        with one_sight():
            return answer(environ, start)

    return answered


def _below(prefix: str, server: Flask) -> Callable:
    """The application for proxies that take the prefix away from the paths, as most do, and for those that leave it
    there."""
    if any(f"{rule.rule}/".startswith(prefix) for rule in server.url_map.iter_rules()):
        raise AevisError(f"The page has addresses of its own that begin with {prefix}. Take another --prefix.")
    answer = server.wsgi_app

    def answered(environ: dict[str, Any], start: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == prefix.removesuffix("/"):  # the pictures' addresses are relative to the page's
            return redirect(prefix, 308)(environ, start)
        if path.startswith(prefix):
            environ["PATH_INFO"] = path[len(prefix) - 1 :]
        return answer(environ, start)

    return answered


def _with_scripts(app: Dash) -> str:
    """Dash's page with our scripts, and with the scripts of those Dash components that this page shows at once.

    Dash would load these when they are first drawn, which is after all callbacks.
    """
    folder = f"{app.config.requests_pathname_prefix}_dash-component-suites/dash/dcc"
    places = [f"{folder}/async-{part}.js" for part in _PARTS]
    places += [f"{app.get_asset_url(name)}?{kept.VERSION}={_version(name)}" for name in SCRIPTS]
    scripts = "".join(f'<script src="{place}"></script>' for place in places)
    page = app.index_string.replace("<html>", '<html lang="en">')
    return page.replace("{%scripts%}", scripts + "{%scripts%}")


def _version(name: str) -> str:
    """A text that changes with the content of a script."""
    return hashlib.sha256((resource("assets") / name).read_bytes()).hexdigest()[:12]


def _no_other_page() -> None:
    """Answer a wrong address with "not found", where Dash would answer with its page."""
    if request.endpoint == "/<path:path>":
        abort(404)


def _secure(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _name(serves: str, response: Response) -> Response:
    """Name in a header what the server serves, so that a page sees when another server answers (assets/gone.js)."""
    if visitors.is_let_in():
        response.headers["AEVis-Serves"] = serves
    return response


def _serves(bench: Workbench, second: Workbench | None) -> str:
    """A digest of the workspace, its settings, its model, the model that is shown beside, and this code."""
    files = sorted([*Path(__file__).parent.rglob("*.py"), *resource("assets").iterdir()])
    code = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    whole = (str(bench.workspace.root.resolve()), bench.workspace.settings, bench.classifier.fingerprint, code)
    if second is not None:
        whole += (str(second.workspace.root.resolve()), second.classifier.fingerprint)
    return hashlib.sha256(repr(whole).encode()).hexdigest()[:16]
