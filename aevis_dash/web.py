"""The only wiring: settings in, a Dash application out, and the server that serves it."""

import hashlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from dash import Dash
from flask import Flask, Response, abort, redirect, request
from flask_compress import Compress

from aevis_dash import jobs
from aevis_dash.callbacks import (
    background,
    bodies,
    examples,
    guard,
    layer,
    network,
    neuron,
    pictures,
    trail,
    view,
    warnings,
)
from aevis_dash.callbacks.examples.gallery import classes, score_range
from aevis_dash.callbacks.guard import Guard
from aevis_dash.callbacks.network.clicks import findable
from aevis_dash.callbacks.processes import JobManager, job_folder
from aevis_dash.callbacks.queueing import HOURS, Queue
from aevis_dash.callbacks.view.browser import CHOICES, CLEARED
from aevis_dash.callbacks.view.state import FIELDS, methods, shares
from aevis_dash.config import resource
from aevis_dash.domain import AevisError
from aevis_dash.layouts.network import Methods
from aevis_dash.layouts.page import page
from aevis_dash.make_workspace import make_embedded_world, refuse_settings
from aevis_dash.workbench import Workbench, open_workbench

SCRIPTS = (
    "plotly-cartesian.min.js",
    "controls.js",
    *("address.js", "area.js", "page.js", "gallery.js", "network.js", "layer.js", "neuron.js", "trail.js"),
    *("tour.js", "press.js", "gone.js"),
)
"""The page's own scripts in the order in which they are loaded: the stations' use `controls.js` when they begin."""
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


LARGEST_REQUEST = 8 * 1024 * 1024
"""Bytes of a request's body; the page's own are a few kB, and some 100 kB where a lasso takes thousands of maps."""
_OPEN = (
    "WARNING: the page is served beyond this machine (--host {host}). Everybody who reaches the port sees the "
    "workspace's images and can start jobs: there are no accounts, and nothing is encrypted. Serve it within a network "
    "that you trust only."
)
CONNECTIONS, IDLE_SECONDS = 1000, 20
"""Connections at once, six of each open browser, and seconds after which an idle one is closed."""


def create_app(bench: Workbench, asked: Guard | None = None, prefix: str = "/", queue: Queue | None = None) -> Dash:
    """The application for one workspace, warm: its first requests may come in parallel. `asked` says under which names
    it answers, `prefix` below which path browsers find it, and its jobs wait in the `queue`.

    Raises AevisError for a prefix that is also the beginning of an address of its own.
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
    fields = {**FIELDS, "choices": CHOICES | CLEARED}
    app.layout = lambda: page(
        workspace.root.name, model, classes(bench), score_range(bench), offered, findable(bench), fields, bench.warnings
    )
    guard.register(app.server, asked or Guard())
    app.server.before_request(_no_other_page)
    bodies.register(app)
    app.server.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    for room in (view, warnings, examples, network, layer, neuron, trail):
        room.register(app, bench)
    background.register(app, JobManager(job_folder(), queue or Queue(), background.SHARED))
    pictures.register(app.server, bench)
    app.server.config["COMPRESS_CACHE_BACKEND"] = Packed
    app.server.config["COMPRESS_CACHE_KEY"] = lambda request: request.path
    Compress(app.server)
    app.server.after_request(_secure)
    app.server.after_request(partial(_name, _serves(bench)))
    if prefix != "/":
        app.server.wsgi_app = _below(prefix, app.server)
    app.server.test_client().get("/_dash-layout")
    return app


def _below(prefix: str, server: Flask) -> Callable:
    """The application for proxies that take the prefix away from the paths, as most do, and for those that leave it."""
    if any(rule.rule.startswith(prefix) for rule in server.url_map.iter_rules()):
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


class Packed(dict):
    """Scripts and styles are packed once, 5 MB of them; answers are not kept, for they are others each time."""

    def set(self, key: str, packed: bytes) -> None:
        if "/_dash-component-suites/" in key or "/assets/" in key:
            self[key] = packed


def _with_scripts(app: Dash) -> str:
    """Dash's page with our scripts, and with the parts of its components that this page shows at once: what comes when
    it is first drawn is drawn last, after all callbacks."""
    folder = f"{app.config.requests_pathname_prefix}_dash-component-suites/dash/dcc"
    places = [f"{folder}/async-{part}.js" for part in _PARTS] + [app.get_asset_url(name) for name in SCRIPTS]
    scripts = "".join(f'<script src="{place}"></script>' for place in places)
    return app.index_string.replace("{%scripts%}", scripts + "{%scripts%}")


def serve(
    root: Path | None,
    host: str = "127.0.0.1",
    port: int = 8050,
    names: Sequence[str] = (),
    prefix: str = "/",
    hours: float = HOURS,
) -> tuple[str, ...]:
    """Serve a workspace, the drawn world's for None, until interrupted; gives its warnings at the end.

    Raises AevisError for a port in use.

    `names` are those under which it is asked beside `host` and the loopback's, a proxy's for example; `prefix` is the
    path below which a proxy shows it. A job is ended after so many `hours`.
    """
    asked = Guard(host, tuple(names))
    refuse_busy_port(host, port)
    if not asked.is_local:
        print(_OPEN.format(host=host), file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = root if root is not None else _embedded_world()
    jobs.start(folder.resolve(), "aevis_dash.preload")
    bench = open_workbench(folder)
    prepare_opening(bench)
    queue = Queue(hours)
    app = create_app(bench, asked, prefix, queue)
    for sentence in bench.warnings:
        _say(f"aevis: warning: {sentence}", sys.stderr)
    server = listening(app.server, host, port)
    _say(f"AEVis Dash serves {folder} at http://{host}:{port}{prefix.rstrip('/')}  (Ctrl-C ends it)")
    try:
        server.run()
    finally:
        queue.end()
        jobs.end()
    return bench.warnings


def listening(application: Flask, host: str, port: int) -> Any:
    """The production server, which listens from now on and answers while its method `run` runs.

    Waitress takes 100 connections and keeps idle ones for two minutes if it is not told otherwise, so that 17 browsers
    would lock all others out; and it takes bodies of 1 GiB.
    """
    from waitress.server import create_server

    return create_server(
        application,
        host=host,
        port=port,
        threads=8,
        ident=None,
        connection_limit=_affordable(CONNECTIONS),
        channel_timeout=IDLE_SECONDS,
        cleanup_interval=IDLE_SECONDS // 4,
        asyncore_use_poll=True,
        max_request_body_size=LARGEST_REQUEST,
    )


def _affordable(connections: int) -> int:
    """So many connections or as many as the system lets this process open, less what else it opens."""
    if os.name != "posix":
        return connections
    import resource as limits  # there is none elsewhere

    others = 256
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    wanted = connections + others
    if soft != limits.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == limits.RLIM_INFINITY else min(wanted, hard)
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == limits.RLIM_INFINITY else max(32, min(connections, soft - others))


def _no_other_page() -> None:
    """Dash answers with its page for any path; a wrong address is not found instead."""
    if request.endpoint == "/<path:path>":
        abort(404)


def _embedded_world() -> Path:
    return make_embedded_world(lambda share, what: _tell(f"making the drawn world: {share:4.0%} {what}"))


def prepare_opening(bench: Workbench) -> None:
    """Have the first picture ready where it is cheap (the drawn world); elsewhere the page extracts it as a job."""
    refuse_settings(bench)
    story = bench.workspace.settings.opens_on
    if story and ((found := bench.datapaths.triplet(story)) is None or found.pending):
        bench.datapaths.extract(
            story, progress=lambda share, what: _tell(f"extracting the first example: {share:4.0%}")
        )


def refuse_busy_port(host: str, port: int) -> None:
    """Raise AevisError where another server listens on the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AevisError(
                f"Port {port} of {host} cannot be used ({error.strerror}). Take another one: "
                f"--port {port + 1}, or make run PORT={port + 1}."
            ) from error


def _secure(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _name(serves: str, response: Response) -> Response:
    """Let a page see that another server answers than the one that made it (assets/gone.js)."""
    response.headers["AEVis-Serves"] = serves
    return response


def _serves(bench: Workbench) -> str:
    """A name of the workspace, its settings, its model and this code."""
    files = sorted([*Path(__file__).parent.rglob("*.py"), *resource("assets").iterdir()])
    code = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    whole = (str(bench.workspace.root.resolve()), bench.workspace.settings, bench.classifier.fingerprint, code)
    return hashlib.sha256(repr(whole).encode()).hexdigest()[:16]


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def _say(text: str, stream: TextIO | None = None) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    print(text, file=stream, flush=True)
