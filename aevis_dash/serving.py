"""The page's server: it opens a workspace, serves its Dash application, and ends when it is told to."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from aevis_dash import jobs, locks, logs
from aevis_dash.broker import served
from aevis_dash.callbacks import access, health, request_log
from aevis_dash.callbacks.guard import Guard
from aevis_dash.callbacks.handing_over import BrokerQueue
from aevis_dash.callbacks.metrics import Metrics
from aevis_dash.callbacks.queueing import HOURS, Queue
from aevis_dash.callbacks.request_log import RequestLog
from aevis_dash.callbacks.visitors import Access
from aevis_dash.domain import AevisError
from aevis_dash.ledger import Ledger, connect
from aevis_dash.listening import listening
from aevis_dash.make_workspace import make_embedded_world, refuse_settings
from aevis_dash.pairs_of_two import shared_pairs
from aevis_dash.store import QUOTA_VARIABLE
from aevis_dash.web import create_app
from aevis_dash.workbench import Workbench, open_workbench


class _Stopped(BaseException):
    """Raised where the server is told to stop before it listens. It is no SystemExit, which would be taken for one of
    the model's code."""


def serve(
    root: Path | None,
    host: str = "127.0.0.1",
    port: int = 8050,
    names: Sequence[str] = (),
    prefix: str = "/",
    hours: float = HOURS,
    beside: Path | None = None,
    least_disk: int = health.LEAST_DISK,
    log: RequestLog = request_log.DIRECT,
    form: str = logs.TEXT,
    quota: int | None = None,
    metrics: Metrics | None = None,
    who: Access | None = None,
    insecure: bool = False,
    broker: str = "",
) -> tuple[str, ...]:
    """Serve a workspace until the process is told to stop, by SIGTERM or Ctrl-C. Answers that are being made then get
    some seconds to end, and jobs are ended, of which all that is finished is kept.

    Args:
        root: the folder of the workspace; None for the drawn world's.
        host: the address to listen on.
        port: the port to listen on.
        names: the names under which the page is asked for beside `host` and the loopback's, such as a proxy's.
        prefix: the path below which a proxy shows the page.
        hours: the time after which a job is ended.
        beside: the folder of the workspace whose model can be shown beside; None for none.
        least_disk: the number of free bytes below which `/ready` says that the server is not ready.
        log: what the log takes from requests.
        form: the form of the log, one of `logs.FORMS`.
        quota: the bytes that stored results may take; None for what the workspace's settings say.
        metrics: the numbers that are told at `/metrics`; None for none.
        who: how visitors show who they are; None where everybody may see and start all.
        insecure: whether the server may listen beyond this machine without users.
        broker: the address of the broker by which jobs are handed to workers; "" where this server computes them.

    Returns:
        The workspace's warnings at the end.

    Raises:
        AevisError: for an address beyond this machine without users, for a port in use, for a workspace that cannot be
            opened, for one beside that shares no pair, and for a broker that does not answer.
    """
    logs.start(form)
    if quota is not None:
        os.environ[QUOTA_VARIABLE] = str(quota)
    asked = Guard(host, tuple(names))
    doubt = access.warning(asked, who, insecure)
    refuse_busy_port(host, port)
    if doubt:
        _warn(doubt, "WARNING")
    signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        return _served(root, host, port, asked, prefix, hours, beside, least_disk, log, metrics, who, broker)
    except _Stopped:
        return ()


def _served(
    root: Path | None,
    host: str,
    port: int,
    asked: Guard,
    prefix: str,
    hours: float,
    beside: Path | None,
    least_disk: int,
    log: RequestLog,
    metrics: Metrics | None,
    who: Access | None,
    broker: str,
) -> tuple[str, ...]:
    queue = Queue(hours)
    if broker:
        connect(broker).close()
    folder = root if root is not None else _embedded_world()
    for sentence in locks.troubles(folder.resolve()):
        _warn(sentence, "aevis: warning")
    if not broker:
        jobs.start(folder.resolve(), "aevis_dash.preload", None if beside is None else beside.resolve())
    try:
        bench = open_workbench(folder)
        second = None if beside is None else open_workbench(beside)
        if second is not None:
            shared_pairs(bench, second)
        prepare_opening(bench)
        if broker:
            queue = BrokerQueue(Ledger(broker, served(bench, second)))
            queue.begin()
        app = create_app(bench, asked, prefix, queue, second, least_disk, log, metrics, who)
        for sentence in (*bench.warnings, *(second.warnings if second is not None else ())):
            _warn(sentence, "aevis: warning")
        if trouble := queue.trouble():
            _warn(trouble, "aevis: warning")
        server = listening(app.server, host, port)
        _say(f"AEVis Dash serves {folder} at http://{host}:{port}{prefix.rstrip('/')}  (Ctrl-C ends it)")
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: server.stop())
        server.run(queue.end)
        return bench.warnings
    finally:
        queue.end()
        jobs.end()


def _raise_stopped(*_: object) -> None:
    raise _Stopped


def _embedded_world() -> Path:
    return make_embedded_world(lambda share, what: _tell(f"making the drawn world: {share:4.0%} {what}"))


def prepare_opening(bench: Workbench) -> None:
    """Extract the datapaths of the example that the page opens on, where the settings name one (as the drawn world's
    do).

    Elsewhere the page extracts them as a job. Raises AevisError for settings that do not fit.
    """
    refuse_settings(bench)
    story = bench.workspace.settings.opens_on
    if story and ((found := bench.datapaths.triplet(story)) is None or found.pending):
        bench.datapaths.extract(
            story, progress=lambda share, what: _tell(f"extracting the first example: {share:4.0%}")
        )


def refuse_busy_port(host: str, port: int) -> None:
    """Raise AevisError where the port cannot be listened on, such as where another server listens on it."""
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


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def _warn(sentence: str, sign: str) -> None:
    """Write a warning to standard error: a line of the log where that is JSON, and otherwise the sentence behind the
    sign."""
    if logs.is_json():
        logging.getLogger(__name__).warning(sentence)
    else:
        _say(f"{sign}: {sentence}", sys.stderr)


def _say(text: str, stream: TextIO | None = None) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    print(text, file=stream, flush=True)
