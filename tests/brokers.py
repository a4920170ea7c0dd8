"""A Redis server and workers of a test's own, and a server that hands jobs to them, without its pages."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aevis_dash.broker import served
from aevis_dash.callbacks import background
from aevis_dash.callbacks.handing_over import BrokerQueue
from aevis_dash.callbacks.processes import BrokerManager, job_folder
from aevis_dash.callbacks.queueing import Ended
from aevis_dash.ledger import Ledger
from aevis_dash.workbench import Workbench, open_workbench

ROOT = Path(__file__).resolve().parents[1]


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait for a condition; its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.02)
    return value


class Redis:
    """Debian's redis-server on the loopback, at a free port; it keeps nothing on the disk."""

    def __init__(self, folder: Path):
        if shutil.which("redis-server") is None:
            pytest.skip("there is no redis-server here (Debian, Ubuntu: apt-get install redis-server)")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, with an empty memory."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        log = self._folder / "redis.log"
        log.unlink(missing_ok=True)
        self._process = subprocess.Popen([*command, "--dir", str(self._folder), "--logfile", str(log)])
        until(lambda: log.exists() and "Ready to accept connections" in log.read_text(), "redis-server listens", 20)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class WorkerProcess:
    """An `aevis worker` in a process of its own. It is started at once; `ready` waits until it takes jobs."""

    def __init__(self, root: Path, url: str, log: Path, *options: str):
        argv = [sys.executable, "-m", "aevis_dash", "worker", str(root), "--broker", url, "--threads", "1", *options]
        self.log = log
        self._stderr = log.open("w")
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=self._stderr,
            text=True,
        )  # fmt: skip
        self.name = ""

    def ready(self) -> "WorkerProcess":
        """Wait until it says its name."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("AEVis Dash worker "), f"the worker did not start: {line}{self.log.read_text()}"
        self.name = line.split()[3]
        return self

    def stop(self) -> int:
        """Tell it to stop; its exit status."""
        self.process.terminate()
        status = self.process.wait(20)
        self.close()
        return status

    def close(self) -> None:
        """Kill it where it still runs, as the system does, and close its streams."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._stderr.close()


class JobServer:
    """What a server does with the jobs of its pages, by way of a broker."""

    def __init__(self, bench: Workbench, url: str):
        self.bench, self.url = bench, url
        self.ledger = Ledger(url, served(bench))
        self.queue = BrokerQueue(self.ledger)
        self.queue.begin()
        self.said: dict[str, str] = {}
        self.manager = BrokerManager(
            job_folder(), self.queue, background.manners, lambda name, given: background.subject(bench, name, given)
        )

    def ask(self, job: Callable, *given: Any, page: str = "page") -> str:
        """Ask for a job, as a page does; its ticket."""
        key = self.manager.build_cache_key(job, [*given, page], [], None)
        return self.manager.call_job_fn(key, None, [*given, page], {})

    def extract(self, example: str, page: str = "page") -> str:
        """Ask for the datapaths of an example but those of its null targets."""
        return self.ask(background.extract_job, self.wanted(example), page=page)

    @staticmethod
    def wanted(example: str) -> dict[str, Any]:
        """What the page wants of an example."""
        return {"example": example, "target": None, "method": None, "share": None, "part": "first"}

    def says(self, ticket: str) -> str:
        """What the page's list says that a job does."""
        if told := self.manager.get_progress(ticket):
            self.said[ticket] = told[1]
        return self.said.get(ticket, "")

    def result(self, ticket: str, seconds: float = 60) -> Any:
        """Wait for what a job gives. Raises Ended for a job that ended without a result."""
        nothing = self.manager.UNDEFINED
        found: list[Any] = []

        def came() -> bool:
            found[:] = [self.manager.get_result(ticket, ticket)]
            return found[0] is not nothing

        until(came, "the result of a job", seconds)
        return found[0]

    def why(self, ticket: str) -> str:
        """Wait until a job has ended without a result; why."""
        with pytest.raises(Ended) as said:
            self.result(ticket)
        return str(said.value)

    def running(self) -> dict[str, str]:
        """The jobs that workers have, by the names of their examples, with what they say."""
        runs = [run for run in self.queue.known().runs if run.state == "runs" and run.held]
        return {run.asked.given[0]["example"]: run.progress[1] for run in runs if isinstance(run.asked.given[0], dict)}

    def close(self) -> None:
        self.queue.end()
        self.manager.handle.close()


def server_on(root: Path, url: str) -> JobServer:
    """A server on a workspace."""
    return JobServer(open_workbench(root), url)


def results(root: Path) -> dict[str, bytes]:
    """What all stored results hold, byte for byte, but for the seconds that they took, and so for their checksums.

    Left out is the table of known files, whose rows hold when the files of this very folder were changed.
    """
    found = {}
    for path in sorted((root / "cache").glob("*/*.npz")):
        if path.parent.name != "digests":
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name].tobytes() for name in sorted(file.files) if name != "seal"}
            arrays["tree"] = re.sub(rb'"seconds": [0-9.e-]+', b"", arrays["tree"])
            found[f"{path.parent.name}/{path.name}"] = b"".join(name.encode() + arrays[name] for name in arrays)
    return found


def alike(one: Path, other: Path) -> bool:
    """Whether two stored results hold the same but for rounding, which differs between processes, and the seconds that
    they took."""
    with np.load(one, allow_pickle=False) as first, np.load(other, allow_pickle=False) as second:
        if sorted(first.files) != sorted(second.files):
            return False
        arrays = set(first.files) - {"seal", "tree"}
        if not all(
            np.allclose(first[name], second[name], rtol=1e-4, atol=1e-6)
            if first[name].dtype.kind == "f"
            else np.array_equal(first[name], second[name])
            for name in arrays
        ):
            return False
        return _alike(*(json.loads(file["tree"].tobytes()) for file in (first, second)))


def _alike(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[k], other[k]) for k in one if k != "seconds")
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True))
    return one == other


def new_examples(bench: Workbench) -> list[str]:
    """The examples whose datapaths are not stored."""
    known = [each.example.id for each in bench.judging.judged_examples() if each.misclassified]
    return [name for name in known if bench.datapaths.triplet(name) is None]
