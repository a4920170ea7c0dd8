"""Tells whoever watches over the server whether it runs, and whether it can do its work.

The answers hold nothing of images, paths and people, because everybody who reaches the server may ask. The guard lets
them pass under the names that the server answers to, as it does any request. Where the server has users, those who are
none of them are told no reasons.
"""

import shutil
import tempfile
from pathlib import Path

from flask import Flask, Response, jsonify

from aevis_dash.callbacks import visitors
from aevis_dash.callbacks.handing_over import BrokerQueue
from aevis_dash.callbacks.queueing import Queue
from aevis_dash.workbench import Workbench

HEALTH, READY = "/health", "/ready"
LEAST_DISK = 2**30
"""The number of free bytes below which a server says that it is not ready, where nothing else is said."""


def register(server: Flask, bench: Workbench, queue: Queue, least_disk: int = LEAST_DISK) -> None:
    """Answer `/health`, which touches no disk, and `/ready`, which gives 503 with the reasons where something is wrong.

    Args:
        server: the server.
        bench: the workbench of the workspace.
        queue: the queue of jobs.
        least_disk: the number of bytes that have to be free.
    """

    @server.get(HEALTH)
    @visitors.open_to_all
    def _health() -> Response:
        return _unkept(jsonify(status="ok"))

    @server.get(READY)
    @visitors.open_to_all
    def _ready() -> Response:
        wrong = troubles(bench, queue, least_disk)
        said: dict[str, object] = {name: why or "ok" for name, why in wrong.items()}
        if isinstance(queue, BrokerQueue):
            said["workers"] = queue.workers()
        answer = jsonify(ready=not any(wrong.values()), **(said if visitors.is_let_in() else {}))
        answer.status_code = 503 if any(wrong.values()) else 200
        return _unkept(answer)


def troubles(bench: Workbench, queue: Queue, least_disk: int) -> dict[str, str]:
    """Why the server cannot do its work: a sentence for each of `model`, `store`, `disk` and `queue`, and for `broker`
    where there is one; "" where all is well.

    Args:
        bench: the workbench of the workspace.
        queue: the queue of jobs.
        least_disk: the number of bytes that have to be free where results are stored and where jobs report.
    """
    place = bench.store.place()
    return {
        "model": "" if bench.base.has_classifier else "The model is not loaded.",
        "store": "" if place is not None else "Results cannot be stored.",
        "disk": _disk(place, least_disk),
        "queue": queue.refusal(),
        **({"broker": queue.trouble()} if isinstance(queue, BrokerQueue) else {}),
    }


def _disk(place: Path | None, least: int) -> str:
    needed = [(Path(tempfile.gettempdir()), "for temporary files")]
    if place is not None:
        needed.insert(0, (place, "where results are stored"))
    for folder, purpose in needed:
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return f"The free disk {purpose} cannot be found out ({error.strerror})."
        if free < least:
            return f"{free / 2**30:.2f} GiB of disk are free {purpose}; {least / 2**30:,.10g} GiB are needed."
    return ""


def _unkept(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
