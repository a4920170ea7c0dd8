"""Numbers for Prometheus: what is asked of the server and how long it takes, jobs, and the room that is left.

They need the package prometheus-client (`pip install "aevis-dash[metrics]"`), and are told at `/metrics` only where the
server was started with `--metrics`. They name no image, no path and no person.
"""

import ipaddress
import shutil
import time
from collections.abc import Callable, Container, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import psutil
from flask import Flask, Response, abort, request

from aevis_dash.callbacks import visitors
from aevis_dash.callbacks.queueing import CANCELLED, DIED, ELSEWHERE, FORGOTTEN, STOPPED, UNKNOWN, Queue
from aevis_dash.domain import AevisError
from aevis_dash.stored import entries
from aevis_dash.workbench import Workbench

METRICS = "/metrics"
LOOPBACK = ("127.0.0.0/8", "::1/128")
"""The networks to which the numbers are always told."""
_OUTCOMES = {
    "done": "done",
    "failed": "failed",
    CANCELLED: "cancelled",
    ELSEWHERE: "left",
    DIED: "died",
    STOPPED: "stopped",
    FORGOTTEN: "forgotten",
    UNKNOWN: "unknown",
}
"""The words for how a job ended; any other way is "ended"."""
_REQUEST_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_JOB_SECONDS = (1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400)
_FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-Ip")
"""The headers by which a proxy tells that it asks for somebody else."""
_KNOWN_FOR = 30.0
"""The seconds for which the size of the store is not counted again."""


class Metrics:
    """The numbers of one server.

    Args:
        allowed: the addresses or networks that may read them beside the loopback, such as "10.0.0.7" or "10.0.0.0/8".

    Raises:
        AevisError: where prometheus-client is not installed.
    """

    def __init__(self, allowed: Sequence[str] = ()):
        if find_spec("prometheus_client") is None:
            raise AevisError(
                '--metrics needs the package prometheus-client. Install it: pip install "aevis-dash[metrics]".'
            )
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._networks = [ipaddress.ip_network(one) for one in (*LOOPBACK, *allowed)]
        self._registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("aevis_requests", "Requests that were answered", ["route", "status"], **given)
        self._seconds = Histogram(
            "aevis_request_seconds", "Time until an answer was made", ["route"], buckets=_REQUEST_SECONDS, **given
        )
        self._jobs = Counter("aevis_jobs", "Jobs whose end a page was told of", ["kind", "outcome"], **given)
        self._job_seconds = Histogram(
            "aevis_job_seconds", "Time from the question to the end", ["kind"], buckets=_JOB_SECONDS, **given
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: what was asked for, as the log names it; never an address.
            status: the answer's status.
            seconds: the time until the answer was made.
        """
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a job.

        Args:
            kind: the name of its function.
            outcome: "done", "failed", or how it ended without a result.
            seconds: the time since it was asked for.
        """
        self._jobs.labels(kind, _OUTCOMES.get(outcome, "ended")).inc()
        self._job_seconds.labels(kind).observe(seconds)

    def may_read(self, address: str, headers: Container[str]) -> bool:
        """Whether the numbers are told to who asks from that address. What comes through a proxy is never told, because
        the address is the proxy's."""
        if any(name in headers for name in _FORWARDED):
            return False
        try:
            asking = ipaddress.ip_address(address)
        except ValueError:
            return False
        plain = getattr(asking, "ipv4_mapped", None) or asking
        return any(plain in network for network in self._networks)

    def register(self, server: Flask, bench: Workbench, queue: Queue) -> None:
        """Answer `/metrics`.

        Args:
            server: the server.
            bench: the workbench of the workspace.
            queue: the queue of jobs.
        """
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        self._registry.register(_Now(bench, queue))

        @server.get(METRICS)
        @visitors.open_to_all
        def _metrics() -> Response:
            if not self.may_read(request.environ.get("REMOTE_ADDR", ""), request.headers):
                abort(404)
            answer = Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)
            answer.headers["Cache-Control"] = "no-store"
            return answer


class _Now:
    """The numbers that are looked up whenever they are asked for."""

    def __init__(self, bench: Workbench, queue: Queue, clock: Callable[[], float] = time.monotonic):
        self._bench, self._queue, self._clock = bench, queue, clock
        self._store: tuple[float, dict[str, tuple[int, int]]] | None = None

    def collect(self) -> Iterator[Any]:
        """The families of numbers, as prometheus-client asks for them."""
        from prometheus_client.core import GaugeMetricFamily

        jobs = GaugeMetricFamily("aevis_queue", "Jobs that wait or run now", labels=["state"])
        for state, count in zip(("waiting", "running"), self._queue.counts(), strict=True):
            jobs.add_metric([state], count)
        files = GaugeMetricFamily("aevis_store_files", "Stored results", labels=["kind"])
        sizes = GaugeMetricFamily("aevis_store_bytes", "Bytes of stored results", labels=["kind"])
        for kind, (count, size) in self._stored().items():
            files.add_metric([kind], count)
            sizes.add_metric([kind], size)
        free = GaugeMetricFamily("aevis_free_disk_bytes", "Free bytes where results are stored")
        place = self._bench.store.place()
        if place is not None:
            free.add_metric([], shutil.disk_usage(place).free)
        memory = GaugeMetricFamily("aevis_memory_bytes", "Resident memory", labels=["processes"])
        opened = GaugeMetricFamily("aevis_open_files", "Open files and sockets", labels=["processes"])
        server = psutil.Process()
        for name, family in (("server", [server]), ("jobs", server.children(recursive=True))):
            held = [_held(one) for one in family]
            memory.add_metric([name], sum(size for size, _ in held))
            opened.add_metric([name], sum(count for _, count in held))
        yield from (jobs, files, sizes, free, memory, opened)

    def _stored(self) -> dict[str, tuple[int, int]]:
        now = self._clock()
        if self._store is None or now - self._store[0] > _KNOWN_FOR:
            found: dict[str, tuple[int, int]] = {}
            for entry in entries(self._bench.store.folder):
                count, size = found.get(entry.kind, (0, 0))
                found[entry.kind] = (count + 1, size + entry.size)
            self._store = (now, found)
        return self._store[1]


def _held(process: psutil.Process) -> tuple[int, int]:
    """The bytes of memory and the number of files that a process holds; nothing where it has just ended."""
    try:
        files = process.num_fds() if hasattr(process, "num_fds") else len(process.open_files())
        return process.memory_info().rss, files
    except psutil.Error:
        return 0, 0
