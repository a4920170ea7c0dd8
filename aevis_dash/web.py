"""The only wiring: settings in, a Dash application out, and the server that serves it."""

import atexit
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TextIO

import diskcache
from dash import Dash
from flask import Response
from flask_compress import Compress

from aevis_dash import jobs
from aevis_dash.callbacks import (
    activations,
    addresses,
    background,
    browser,
    departures,
    examples,
    layer,
    layer_choices,
    layer_table,
    learned,
    learned_choices,
    navigation,
    network,
    network_choices,
    neuron,
    neuron_choices,
    view,
    warnings,
)
from aevis_dash.callbacks.processes import JobManager
from aevis_dash.config import embedded_workspace, resource
from aevis_dash.domain import AevisError
from aevis_dash.founding import make_world
from aevis_dash.layouts.network import Methods
from aevis_dash.layouts.page import page
from aevis_dash.workbench import Workbench, open_workbench

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


def create_app(bench: Workbench) -> Dash:
    """The application for one workspace, warm: its first requests may come in parallel."""
    scores = examples.score_range(bench)
    workspace = bench.workspace
    own, model = workspace.settings.extraction, workspace.settings.model.source
    methods = Methods(view.methods(own), view.shares(own), own.share)
    app = Dash(
        "aevis_dash",
        title="AEVis Dash",
        update_title="",
        assets_folder=str(resource("assets").resolve()),
        serve_locally=True,
        enable_mcp=False,
        on_error=background.say_it_failed,
    )
    app.index_string = _with_parts(app)
    fields = {"plain": dict(view.PLAIN), "belongs": view.BELONGS}
    classes, findable = examples.classes, network_choices.findable
    app.layout = lambda: page(
        workspace.root.name, model, classes(bench), scores, methods, findable(bench), fields, bench.warnings
    )
    browser.register(app)
    shown = (warnings, examples, departures, network, layer, layer_table, neuron, activations, learned)
    for station in (*shown, navigation, network_choices, layer_choices, neuron_choices, learned_choices):
        station.register(app, bench)
    background.register(app, _manager())
    addresses.register(app.server, bench)
    app.server.config["COMPRESS_CACHE_BACKEND"] = _Packed
    app.server.config["COMPRESS_CACHE_KEY"] = lambda request: request.path
    Compress(app.server)
    app.server.after_request(_secure)
    app.server.test_client().get("/_dash-layout")
    return app


class _Packed(dict):
    """Scripts and styles are packed once, 5 MB of them; answers are not kept, for they are others each time."""

    def set(self, key: str, packed: bytes) -> None:
        if "/_dash-component-suites/" in key or "/assets/" in key:
            self[key] = packed


def _with_parts(app: Dash) -> str:
    """Dash's page with the parts of its components that this one shows at once: what comes when it is first drawn is
    drawn last, after all callbacks."""
    folder = f"{app.config.requests_pathname_prefix}_dash-component-suites/dash/dcc"
    scripts = "".join(f'<script src="{folder}/async-{part}.js"></script>' for part in _PARTS)
    return app.index_string.replace("{%scripts%}", scripts + "{%scripts%}")


def serve(root: Path | None, host: str = "127.0.0.1", port: int = 8050) -> tuple[str, ...]:
    """Serve a workspace, the drawn world's for None, until interrupted; gives its warnings at the end.

    Raises AevisError for a port in use.
    """
    from waitress import serve as serve_forever

    _refuse_busy_port(host, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = root if root is not None else _embedded()
    jobs.start(folder.resolve(), "aevis_dash.preload")
    bench = open_workbench(folder)
    _prepare_opening(bench)
    app = create_app(bench)
    for sentence in bench.warnings:
        _say(f"aevis: warning: {sentence}", sys.stderr)
    _say(f"AEVis Dash serves {folder} at http://{host}:{port}  (Ctrl-C ends it)")
    try:
        serve_forever(app.server, host=host, port=port, threads=8, ident=None)
    finally:
        jobs.end()
    return bench.warnings


def _embedded() -> Path:
    folder = embedded_workspace()
    make_world(folder, lambda share, what: _tell(f"making the drawn world: {share:4.0%} {what}"))
    return folder


def _prepare_opening(bench: Workbench) -> None:
    """Have the first picture ready where it is cheap (the drawn world); elsewhere the page extracts it as a job."""
    story = bench.workspace.settings.opens_on
    if story and bench.triplet(story) is None:
        bench.extract(story, progress=lambda share, what: _tell(f"extracting the first example: {share:4.0%}"))


def _manager() -> JobManager:
    """Jobs talk to the server through a folder of this server's own: what lies there is unpickled."""
    folder = tempfile.mkdtemp(prefix="aevis-jobs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return JobManager(diskcache.Cache(folder))


def _refuse_busy_port(host: str, port: int) -> None:
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


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def _say(text: str, stream: TextIO | None = None) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    print(text, file=stream, flush=True)
