"""How long visitors wait where many of them look at one server at once.

    python benchmarks/visitors.py WORKSPACE [--visitors 50] [--seconds 60] [--json]

A Chromium first visits the page alone: it loads each example whose results are stored, and clicks layers and maps. All
that it asks the server is noted, with what had been answered before each request. Then simulated visitors ask the same
over six connections each, as browsers do: each loads the page on one of the examples, with an empty cache, and then
clicks maps and layers with pauses between. A click on a map is varied: each visitor asks for another map of the layer,
drawn at random. What follows an answer in the recording is asked after that answer.

The times are those of the server and the loopback alone, without what a browser takes to draw. The simulated visitors
run on the server's own machine and take a part of its cores. Jobs are not asked for.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import numpy as np
import psutil

from aevis_dash import ids
from aevis_dash.domain import AevisError
from aevis_dash.pagespeed.chromium import open_browser, serve
from aevis_dash.pagespeed.measuring import stored_examples
from aevis_dash.pagespeed.places import critical_layers, groups_around
from aevis_dash.pagespeed.visitor import LAYERS, MAPS, Visitor
from aevis_dash.workbench import Workbench, open_workbench

CONNECTIONS = 6
"""The connections of one visitor, as many as browsers open to one server."""
ARRIVING = 10.0
"""The seconds within which all visitors arrive."""
PAUSE = 5.0
"""The mean of the seconds between two clicks of one visitor; the single pauses are drawn from an exponential
distribution."""
OF_LAYERS = 0.25
"""The share of the clicks that go to layers; the others go to maps."""
EXAMPLES, PLACES = 4, 8
"""The number of examples, and of layers of each of them, that the browser visits at most."""
LATE = 60.0
"""The seconds after which a request counts as failed."""
_RECORDER = """
(() => {
  const ask = window.fetch;
  performance.setResourceTimingBufferSize(5000);
  window.recorded = [];
  window.fetch = async (address, asked) => {
    const where = new URL(address, document.baseURI);
    const one = { path: where.pathname + where.search, body: asked?.body ?? null, begun: performance.now() };
    window.recorded.push(one);
    const found = await ask.call(window, address, asked);
    one.ended = performance.now();
    return found;
  };
})();
"""
_COLLECT = """
const pictures = performance.getEntriesByType("resource")
  .filter((one) => !["fetch", "beacon", "xmlhttprequest"].includes(one.initiatorType) && one.name.startsWith("http"))
  .map((one) => ({ path: one.name, body: null, begun: one.startTime, ended: one.responseEnd }));
const found = [...window.recorded, ...pictures];
window.recorded.length = 0;
performance.clearResourceTimings();
return found;
"""


@dataclass(frozen=True)
class Asked:
    """One request of a recording.

    Attributes:
        path: its address on the server, with the query.
        body: what it posts; None for a request that only reads.
        after: the indices of the requests that had been answered before it began.
    """

    path: str
    body: str | None
    after: tuple[int, ...]


@dataclass
class Recording:
    """What a browser asked: for each example the requests of a load, and those of each click with the number of maps of
    the layer that it was on."""

    loads: list[list[Asked]] = field(default_factory=list)
    layers: list[list[Asked]] = field(default_factory=list)
    maps: list[tuple[int, list[Asked]]] = field(default_factory=list)


@dataclass
class Measured:
    """What the visitors saw: the seconds that each load and click took, and the failures by their kind."""

    waited: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: Counter[str] = field(default_factory=Counter)
    requests: int = 0


def record(bench: Workbench, address: str, seed: int) -> Recording:
    """Visit the page with a Chromium and note what it asks.

    Args:
        bench: the workbench of the workspace that is served.
        address: the address of the server.
        seed: of what is clicked.
    """
    found, drawn = Recording(), random.Random(seed)
    with open_browser() as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _RECORDER})
        visitor = Visitor(driver, address, seed)
        for example in stored_examples(bench)[:EXAMPLES]:
            critical = critical_layers(bench, example)
            layers = sorted(drawn.sample(critical, min(PLACES, len(critical))))
            folds = groups_around(bench, layers)
            for cold in (False, True):  # the first load computes what is stored no more than once
                driver.execute_script("window.recorded && (window.recorded.length = 0)")
                visitor.load(example, cold=cold, opened=folds)
            page = f"/?example={quote(example, safe='')}"
            found.loads.append([Asked(page, None, ()), *_moved(_requests(driver.execute_script(_COLLECT)))])
            for layer in layers:
                if visitor.click_bar(ids.RIVER, LAYERS, [layer]) is None:
                    continue
                found.layers.append(_requests(driver.execute_script(_COLLECT)))
                for _ in range(2):
                    if visitor.click_bar(ids.TREEMAP, MAPS) is not None:
                        clicked = _requests(driver.execute_script(_COLLECT))
                        found.maps.append((bench.layers.layers[layer].channels, clicked))
    found.layers = [one for one in found.layers if one]
    found.maps = [one for one in found.maps if one[1]]
    if not (found.loads and found.layers and found.maps):
        raise AevisError("The browser found no layer or no map to click. Extract some examples of the workspace first.")
    return found


def _requests(told: list[dict[str, Any]]) -> list[Asked]:
    """The requests of a recording in their order, without those that belong to jobs."""
    kept = sorted((one for one in told if one.get("ended") and not _of_job(one)), key=lambda one: one["begun"])
    return [
        Asked(_path(one["path"]), one["body"], tuple(i for i, o in enumerate(kept) if o["ended"] <= one["begun"]))
        for one in kept
    ]


def _moved(asked: list[Asked]) -> list[Asked]:
    """The requests of a load after the page itself, which comes first and is waited for by all others."""
    return [Asked(one.path, one.body, (0, *(i + 1 for i in one.after))) for one in asked]


def _of_job(one: dict[str, Any]) -> bool:
    path = str(one["path"])
    if "cacheKey=" in path or "cancelJob=" in path:
        return True
    return one["body"] is not None and ids.PAGE in {part["id"] for part in json.loads(one["body"]).get("state", ())}


def _path(address: str) -> str:
    parts = urlsplit(address)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def varied(body: str, channel: int) -> str:
    """The body of a click on a map, for another map of the layer."""
    return json.dumps(_with_map(json.loads(body), channel))


def _with_map(value: Any, channel: int) -> Any:
    if isinstance(value, list):
        return [_with_map(one, channel) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {name: _with_map(one, channel) for name, one in value.items()}
    is_view = "example" in value and isinstance(value.get("map"), int)
    return inner | ({"map": channel} if is_view else {})


class Browser:
    """Six connections of one visitor to the server.

    Args:
        host: the server's name.
        port: its port.
        measured: takes failures and counts requests.
    """

    def __init__(self, host: str, port: int, measured: Measured):
        self._host, self._port, self._measured = host, port, measured
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.page = uuid4().hex

    async def visit(self, asked: list[Asked]) -> None:
        """Ask all of it, each request as soon as those that it follows are answered."""
        done = [asyncio.Event() for _ in asked]

        async def one(i: int) -> None:
            for before in asked[i].after:
                await done[before].wait()
            try:
                await self._ask(asked[i])
            finally:
                done[i].set()

        await asyncio.gather(*(one(i) for i in range(len(asked))))

    async def _ask(self, asked: Asked) -> None:
        async with self._free:
            try:
                status = await asyncio.wait_for(self._answered(asked), LATE)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self._measured.failures[type(error).__name__] += 1
                return
        self._measured.requests += 1
        if status not in (200, 204, 304):
            self._measured.failures[f"status {status}"] += 1

    async def _answered(self, asked: Asked) -> int:
        kept = self._open.pop() if self._open else None
        try:
            reader, writer = kept or await asyncio.open_connection(self._host, self._port)
            return await self._exchange(reader, writer, asked)
        except (OSError, EOFError):
            if kept is None:
                raise
        for _, writer in self._open:  # the server closes idle connections, all of them of one age
            writer.close()
        self._open.clear()
        return await self._exchange(*await asyncio.open_connection(self._host, self._port), asked)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked) -> int:
        body = b"" if asked.body is None else asked.body.encode()
        lines = [
            f"{'GET' if asked.body is None else 'POST'} {asked.path} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Accept-Encoding: gzip, deflate, br, zstd",
            f"AEVis-Page: {self.page}",
        ]
        if asked.body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            named = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            if "content-length" in named:
                await reader.readexactly(int(named["content-length"]))
            elif named.get("transfer-encoding") == "chunked":
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    await reader.readexactly(size + 2)
                await reader.readuntil(b"\r\n")
        except BaseException:
            writer.close()
            raise
        if named.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._open.append((reader, writer))
        return int(head[0].split()[1])

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._open:
            writer.close()


async def crowd(
    address: str, recording: Recording, visitors: int, seconds: float, seed: int, mean_pause: float = PAUSE
) -> Measured:
    """Let visitors load the page and click until the time is over; what is under way then is finished.

    Args:
        address: the address of the server.
        recording: what they ask.
        visitors: their number.
        seconds: how long they stay.
        seed: of what they click, and when.
        mean_pause: the mean of the seconds between two clicks of one visitor.
    """
    measured, place = Measured(), urlsplit(address)
    end = time.monotonic() + seconds

    async def timed(kind: str, browser: Browser, asked: list[Asked]) -> None:
        begun = time.monotonic()
        await browser.visit(asked)
        measured.waited[kind].append(time.monotonic() - begun)

    async def visitor(number: int) -> None:
        drawn, browser = random.Random(f"{seed} {number}"), Browser(place.hostname or "", place.port or 80, measured)
        await asyncio.sleep(drawn.uniform(0, min(ARRIVING, seconds / 2)))
        await timed("page load", browser, recording.loads[number % len(recording.loads)])
        while time.monotonic() + (pause := drawn.expovariate(1 / mean_pause)) < end:
            await asyncio.sleep(pause)
            if drawn.random() < OF_LAYERS:
                await timed("layer click", browser, drawn.choice(recording.layers))
            else:
                channels, asked = drawn.choice(recording.maps)
                channel = drawn.randrange(channels)
                other = [
                    Asked(one.path, None if one.body is None else varied(one.body, channel), one.after) for one in asked
                ]
                await timed("map click", browser, other)
        browser.close()

    await asyncio.gather(*(visitor(number) for number in range(visitors)))
    return measured


def summary(measured: Measured) -> list[dict[str, Any]]:
    """A line for each kind of waiting: how often, the median, the 95th percentile and the most, in ms."""
    return [
        {
            "what": what,
            "n": len(times),
            **{
                name: round(1000 * float(np.quantile(times, share, method="higher")))
                for name, share in (("p50", 0.5), ("p95", 0.95), ("most", 1.0))
            },
        }
        for what, times in sorted(measured.waited.items())
    ]


def main() -> None:
    """Measure, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--visitors", type=int, choices=range(1, 201), default=50, metavar="N", help="1 to 200")
    parser.add_argument("--seconds", type=int, choices=range(5, 601), default=60, metavar="S", help="5 to 600")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, metavar="JSON", help="keep the recording in this file, or take it there")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    bench = open_workbench(args.workspace)
    busy = psutil.getloadavg()[0]
    try:
        with serve(args.workspace) as (address, server):
            recording = taken(args.record, lambda: record(bench, address, args.seed))
            before = _spent(server)
            measured = asyncio.run(crowd(address, recording, args.visitors, args.seconds, args.seed))
            spent = _spent(server) - before
    except AevisError as error:
        sys.exit(f"visitors: {error}")
    told = {
        "visitors": args.visitors,
        "seconds": args.seconds,
        "cores": os.cpu_count(),
        "busy_before": round(busy, 1),
        "requests": measured.requests,
        "errors": dict(measured.failures),
        "server_cpu_seconds": round(spent, 1),
        "lines": summary(measured),
    }
    print(json.dumps(told) if args.json else _as_text(told))


def taken(file: Path | None, make: Callable[[], Recording]) -> Recording:
    """The recording in a file; where there is none, the one that `make` gives, which is then written there."""
    if file is not None and file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Recording(
            [_asked(one) for one in kept["loads"]],
            [_asked(one) for one in kept["layers"]],
            [(channels, _asked(one)) for channels, one in kept["maps"]],
        )
    made = make()
    if file is not None:
        file.write_text(json.dumps(asdict(made)), encoding="utf-8")
    return made


def _asked(kept: list[dict[str, Any]]) -> list[Asked]:
    return [Asked(one["path"], one["body"], tuple(one["after"])) for one in kept]


def _spent(server: int) -> float:
    """The seconds of computing of a process and of those that it started."""
    root = psutil.Process(server)
    return sum(sum(one.cpu_times()[:2]) for one in [root, *root.children(recursive=True)])


def _as_text(told: dict[str, Any]) -> str:
    facts = [f"{name:<19} {value}" for name, value in told.items() if name != "lines"]
    return "\n".join([*facts, "", *lines_as_text(told["lines"])])


def lines_as_text(lines: list[dict[str, Any]]) -> list[str]:
    """The lines of a summary below a header."""
    rows = [f"{'what':<12} {'n':>6} {'p50':>6} {'p95':>6} {'most':>6}  ms"]
    return rows + [f"{r['what']:<12} {r['n']:>6} {r['p50']:>6} {r['p95']:>6} {r['most']:>6}" for r in lines]


if __name__ == "__main__":
    main()
