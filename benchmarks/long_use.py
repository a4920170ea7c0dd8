"""What a server gathers over long use: memory, open files, threads and temporary files, while hours are compressed.

    python benchmarks/long_use.py WORKSPACE [--minutes 10] [--json]

A few simulated visitors click almost without pauses (see visitors.py), each on a fresh page every minute, while jobs
run one after the other: datapaths of examples that have none yet, by another size of the hard set each time all have.
The server is looked at every ten seconds. What it holds after the first fifth of the time is compared with the end.
What the visitors waited for, beside the jobs, is told too.

It writes into the workspace's store, so give it a copy.
"""

import argparse
import asyncio
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count, cycle
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import psutil
from visitors import Measured, Recording, crowd, lines_as_text, record, summary, taken

from aevis_dash.domain import AevisError
from aevis_dash.pagespeed.chromium import memory, serve
from aevis_dash.stored import entries
from aevis_dash.workbench import Workbench, open_workbench

VISITORS, PAUSE = 4, 0.3
"""The number of visitors, and the mean of the seconds between two clicks of one of them."""
TURN = 60.0
"""The seconds after which every visitor loads the page anew."""
LOOK = 10.0
"""The seconds between two looks at the server."""
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""The sizes of the hard set by which examples are extracted."""
COLUMNS = ("memory", "files", "threads", "processes", "temporary", "stored")


def held(server: int, bench: Workbench) -> dict[str, float]:
    """What the server holds: the MiB of memory of it and all its processes, its open files and threads, the number of
    its processes, temporary files, and stored results."""
    process = psutil.Process(server)
    return {
        "memory": round(memory(server), 1),
        "files": process.num_fds() if hasattr(process, "num_fds") else len(process.open_files()),
        "threads": process.num_threads(),
        "processes": len(process.children(recursive=True)),
        "temporary": sum(len(files) for _, _, files in os.walk(os.environ["TMPDIR"])),
        "stored": len(entries(bench.store.folder)),
    }


class Jobs(Thread):
    """Asks for jobs, one after the other, until it is told to end.

    Args:
        address: the address of the server.
        bench: the workbench of the workspace.
    """

    def __init__(self, address: str, bench: Workbench):
        super().__init__(daemon=True)
        self._place, self._bench = urlsplit(address), bench
        self.ending, self.outcomes = Event(), {"done": 0, "failed": 0}

    def run(self) -> None:
        """Ask for one job after the other."""
        (output,) = (one for one in self._ask("GET", "/_dash-dependencies") if "extraction-done.data" in one["output"])
        for page, wanted in zip(count(), self._questions(), strict=False):
            if self.ending.is_set():
                return
            self.outcomes["done" if self._runs(output["output"], wanted, f"long-use-{page}") else "failed"] += 1

    def _questions(self) -> Iterator[dict[str, Any]]:
        examples = [one.example.id for one in self._bench.judging.judged_examples() if one.misclassified]
        for share in cycle(SHARES):
            for example in examples:
                yield {"example": example, "target": None, "method": None, "share": share, "part": "first"}

    def _runs(self, output: str, wanted: dict[str, Any], page: str) -> bool:
        places = [dict(zip(("id", "property"), one.split("."), strict=True)) for one in output.strip(".").split("...")]
        body = {
            "output": output,
            "outputs": places,
            "inputs": [{"id": "extraction-wanted", "property": "data", "value": wanted}],
            "state": [{"id": "page-load", "property": "data", "value": page}],
            "changedPropIds": ["extraction-wanted.data"],
        }
        told = self._ask("POST", "/_dash-update-component", body)
        while not self.ending.wait(0.15):
            path = f"/_dash-update-component?cacheKey={told['cacheKey']}&job={told['job']}"
            answer = self._ask("POST", path, body)
            if "response" in answer:
                return "ended without" not in json.dumps(answer)
        return True

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        host, port = self._place.hostname or "", self._place.port
        with closing(http.client.HTTPConnection(host, port, timeout=60)) as asking:
            content = None if body is None else json.dumps(body)
            asking.request(method, path, content, {"Content-Type": "application/json"})
            found = asking.getresponse().read()
        return json.loads(found) if found else {}


def measure(bench: Workbench, recording: Recording, address: str, server: int, minutes: float) -> dict[str, Any]:
    """Use the server for so many minutes, and look at it.

    Args:
        bench: the workbench of the workspace.
        recording: what visitors ask.
        address: the server's address.
        server: the number of its process.
        minutes: how long.
    """
    begun, samples, seen = time.monotonic(), [], Measured()
    jobs = Jobs(address, bench)
    jobs.start()
    ending = Event()

    def look() -> None:
        while not ending.wait(LOOK):
            samples.append({"seconds": round(time.monotonic() - begun)} | held(server, bench))

    looking = Thread(target=look, daemon=True)
    looking.start()
    for turn in count():
        left = 60 * minutes - (time.monotonic() - begun)
        if left <= 1:
            break
        found = asyncio.run(crowd(address, recording, VISITORS, min(TURN, left), turn, PAUSE))
        seen.requests += found.requests
        seen.failures += found.failures
        for what, times in found.waited.items():
            seen.waited[what] += times
    jobs.ending.set()
    ending.set()
    jobs.join()
    looking.join()
    samples.append({"seconds": round(time.monotonic() - begun)} | held(server, bench))
    first = samples[len(samples) // 5]
    return {
        "minutes": minutes,
        "requests": seen.requests,
        "errors": sum(seen.failures.values()),
        "lines": summary(seen),
        "jobs": jobs.outcomes,
        "samples": samples,
        "first": first,
        "last": samples[-1],
    }


def main() -> None:
    """Measure, and print how what the server holds has grown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--minutes", type=int, choices=range(1, 121), default=10, metavar="M", help="1 to 120")
    parser.add_argument("--record", type=Path, metavar="JSON", help="as of visitors.py")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    bench = open_workbench(args.workspace)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            os.environ["TMPDIR"] = temporary  # the server's own, in which nobody else writes
            found = _served(bench, args)
    except AevisError as error:
        sys.exit(f"long_use: {error}")
    print(json.dumps(found) if args.json else _as_text(found))


def _served(bench: Workbench, args: argparse.Namespace) -> dict[str, Any]:
    with serve(args.workspace) as (address, server):
        recording = taken(args.record, lambda: record(bench, address, 0))
        return measure(bench, recording, address, server, args.minutes)


def _as_text(found: dict[str, Any]) -> str:
    step = max(1, len(found["samples"]) // 20)
    rows = [f"{'seconds':>8}" + "".join(f"{name:>11}" for name in COLUMNS)]
    for sample in [*found["samples"][:-1:step], found["last"]]:
        rows.append(f"{sample['seconds']:>8}" + "".join(f"{sample[name]:>11}" for name in COLUMNS))
    jobs = ", ".join(f"{number} {outcome}" for outcome, number in found["jobs"].items())
    head = f"{found['minutes']} minutes, {found['requests']} requests, {found['errors']} errors, jobs: {jobs}"
    grown = [
        f"{name}: {found['first'][name]} after {found['first']['seconds']} s, {found['last'][name]} at the end"
        for name in COLUMNS
    ]
    return "\n".join([head, "", *lines_as_text(found["lines"]), "", *rows, "", *grown])


if __name__ == "__main__":
    main()
