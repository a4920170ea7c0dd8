"""What background work costs, and whether kills lose any of it: on the embedded back end, and with one and two workers.

    python benchmarks/jobs.py                 # 20 contributions at once: order, waiting times, how long they take
    python benchmarks/jobs.py --kills 100     # kill -9 in the middle of extractions and contributions

It works on copies of a small drawn world, which it makes in a temporary folder, or of the WORKSPACE that is named.
Redis and the workers run on this machine, on the loopback alone. It prints a table, and ends with status 1 where a
result is missing or differs in a byte from what an undisturbed run stores, the seconds that it took left out.
"""

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from brokers import JobServer, Redis, WorkerProcess, results, server_on  # noqa: E402
from conftest import make_drawn_world  # noqa: E402

from aevis_dash import jobs  # noqa: E402
from aevis_dash.callbacks import background, queueing  # noqa: E402
from aevis_dash.callbacks.processes import JobManager, job_folder  # noqa: E402
from aevis_dash.callbacks.queueing import Ended, Queue  # noqa: E402
from aevis_dash.callbacks.view.state import View  # noqa: E402
from aevis_dash.workbench import Workbench, open_workbench  # noqa: E402

AT_ONCE = 20
Server = Any
"""Anything that asks for jobs and fetches their results, as `JobServer` does."""


class Embedded(JobServer):
    """A server that computes its jobs itself."""

    def __init__(self, root: Path):
        self.bench = open_workbench(root)
        jobs.start(root.resolve(), "aevis_dash.preload")
        self.queue = Queue()
        self.manager = JobManager(job_folder(), self.queue, background.manners)
        self.made: list[psutil.Process] = []
        functions = {name: self.manager.make_job_fn(job, True) for name, (job, _) in background.JOBS.items()}
        self.functions = functions

    def ask(self, job: Callable, *given: Any, page: str = "page") -> str:
        """Ask for a job; its ticket."""
        key = self.manager.build_cache_key(job, [*given, page], [], None)
        return self.manager.call_job_fn(key, self.functions[job.__name__], [*given, page], {})

    def processes(self) -> list[psutil.Process]:
        """The processes of its jobs."""
        mine = psutil.Process().children()
        return [child for one in mine for child in one.children() if "redis" not in one.name()]

    def close(self) -> None:
        """End its jobs and its fork server."""
        self.queue.end()
        jobs.end()


def contribution_asked(bench: Workbench, channel: int) -> dict[str, Any]:
    """What the page wants of a map of the last layers, traced to the layer before."""
    later = bench.layers.layers[-1]
    earlier = bench.layers.layers[bench.contributions.sources(later.index)[0]]
    step = {"layer": later.name, "map": channel, "area": None, "source": earlier.name, "maps": [], "replacement": ""}
    view = View(example=bench.workspace.settings.opens_on)
    named = {"example": view.example, "target": None, "method": None, "share": None}
    return named | {"how": view.how, "against": view.against, "step": step | {"note": "", "parent": -1, "on": ""}}


def at_once(server: Server) -> tuple[list[float], list[int], float]:
    """20 contributions of 20 pages at once: when each was done, in which order, and when all were."""
    begun = time.monotonic()
    wanted = [contribution_asked(server.bench, channel) for channel in range(AT_ONCE)]
    tickets = [server.ask(background.solve_job, one, page=f"page {i}") for i, one in enumerate(wanted)]
    done: dict[int, float] = {}
    while len(done) < AT_ONCE:
        for i, ticket in enumerate(tickets):
            if i not in done and (found := server.manager.get_result(ticket, ticket)) is not server.manager.UNDEFINED:
                assert not found["message"], found["message"]
                done[i] = time.monotonic() - begun
        time.sleep(0.02)
    order = sorted(done, key=lambda i: done[i])
    return [done[i] for i in range(AT_ONCE)], order, max(done.values())


def overtaken(order: Sequence[int]) -> int:
    """How many places a job came too early or too late at most, where the first that asks is the first that is done."""
    return max(abs(place - i) for place, i in enumerate(order))


@contextmanager
def back_end(root: Path, workers: int, folder: Path) -> Iterator[tuple[Server, list[WorkerProcess], Redis | None]]:
    """A server on a workspace: the embedded one for no workers, else one with a broker and so many workers."""
    if not workers:
        server = Embedded(root)
        try:
            yield server, [], None
        finally:
            server.close()
        return
    with ExitStack() as stack:
        redis = Redis(folder)
        stack.callback(redis.stop)
        made = [WorkerProcess(root, redis.url, folder / f"worker-{i}.log") for i in range(workers)]
        stack.callback(lambda: [one.close() for one in made])
        for one in made:
            one.ready()
        remote = server_on(root, redis.url)
        stack.callback(remote.close)
        yield remote, made, redis


def measure(world: Path, folder: Path) -> None:
    """Print how 20 contributions fare on each back end."""
    queueing.MOST = AT_ONCE
    print(f"{AT_ONCE} contributions of {AT_ONCE} pages at once, on {os.cpu_count()} cores")
    print("back end            all done  first done  median  last after first   most places off")
    for workers in (0, 1, 2):
        root = Path(shutil.copytree(world, folder / f"measured-{workers}"))
        with back_end(root, workers, folder) as (server, _, _):
            done, order, whole = at_once(server)
        name = "embedded" if not workers else f"{workers} worker{'s' * (workers > 1)}"
        places = overtaken(order)
        print(
            f"{name:18} {whole:8.1f} s {min(done):9.1f} s {statistics.median(done):6.1f} s {done[-1] - done[0]:17.1f} "
            f"{places:16}",
            flush=True,
        )


Question = tuple[Callable, dict[str, Any]]


def questions_of(bench: Workbench, count: int) -> list[Question]:
    """Extractions and contributions, by turns."""
    known = [each.example.id for each in bench.judging.judged_examples() if each.misclassified]
    new = [name for name in known if bench.datapaths.triplet(name) is None][:count]
    found: list[Question] = []
    for i, name in enumerate(new):
        found.append((background.extract_job, JobServer.wanted(name)))
        found.append((background.solve_job, contribution_asked(bench, i)))
    return found


def expected(world: Path, folder: Path, asked: Sequence[Question], workers: int) -> list[dict[str, bytes]]:
    """What an undisturbed run on the same back end stores for each question. Between the back ends, which run in other
    processes, single numbers differ in the last bit."""
    root = Path(shutil.copytree(world, folder / f"undisturbed-{workers}"))
    found = []
    with back_end(root, workers, folder) as (server, _, _):
        for job, wanted in asked:
            before = results(root)
            answer = server.result(server.ask(job, wanted), 300)
            assert not answer["message"], answer["message"]
            found.append({name: content for name, content in results(root).items() if name not in before})
    return found


def kill_one(server: Server, made: list[WorkerProcess], start: Callable[[], WorkerProcess], turn: int) -> bool:
    """Kill a job's process, or, every other time where there are workers, a worker; whether there was one."""
    if made and turn % 2:
        victims = [one for one in made if processes_below(one.process.pid)] or made[:1]
        made.remove(victims[0])
        victims[0].close()
        made.append(start())
        return True
    found = server.processes() if isinstance(server, Embedded) else []
    for one in made:
        found += processes_below(one.process.pid)
    if found:
        found[0].kill()
    return bool(found)


def processes_below(pid: int) -> list[psutil.Process]:
    """The processes of jobs: the children of the fork server of that process."""
    try:
        return [child for one in psutil.Process(pid).children() for child in one.children()]
    except psutil.NoSuchProcess:
        return []


def disturbed(server: Server, question: Question, kill: Callable[[], bool], pause: float) -> tuple[int, int]:
    """Ask a question, kill in the middle, and ask again where the job has ended; the kills, and how often it was
    asked."""
    job, wanted = question
    asks, kills, ticket = 1, 0, server.ask(job, wanted)
    time.sleep(pause)
    kills += kill()
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            answer = server.manager.get_result(ticket, ticket)
        except Ended:
            asks, ticket = asks + 1, server.ask(job, wanted)
            continue
        if answer is not server.manager.UNDEFINED:
            assert not answer["message"], answer["message"]
            return kills, asks
        time.sleep(0.02)
    raise SystemExit("A job did not end within 300 seconds.")


def kills(world: Path, folder: Path, count: int, back_ends: Sequence[int] = (0, 2)) -> bool:
    """Kill so often on each back end; print what became of it. Whether every result was right."""
    asked = questions_of(open_workbench(world), 4)
    print(f"\nkill -9 in the middle of {len(asked)} questions by turns; a result is right where every byte is")
    print("back end            kills  asked again  right  wrong or lost  seconds")
    well = True
    for workers in back_ends:
        right = expected(world, folder, asked, min(workers, 1))
        root, draw, begun = (
            Path(shutil.copytree(world, folder / f"killed-{workers}")),
            random.Random(1),
            time.monotonic(),
        )
        done = again = good = bad = turn = 0
        with back_end(root, workers, folder) as (server, made, redis), ThreadPoolExecutor(1):

            def start(root: Path = root, redis: Redis | None = redis) -> WorkerProcess:
                assert redis is not None
                return WorkerProcess(root, redis.url, folder / f"worker-{random.random()}.log")

            while done < count:
                which = turn % len(asked)
                for name in right[which]:
                    (root / "cache" / name).unlink(missing_ok=True)
                found, asks = disturbed(
                    server,
                    asked[which],
                    lambda made=made, server=server, start=start, turn=turn: kill_one(server, made, start, turn // 2),
                    draw.uniform(0.0, 1.0),
                )
                stored = results(root)
                same = all(stored.get(name) == content for name, content in right[which].items())
                done, again, good, bad, turn = done + found, again + asks - 1, good + same, bad + (not same), turn + 1
        name = "embedded" if not workers else f"{workers} workers"
        print(f"{name:18} {done:6} {again:12} {good:6} {bad:14} {time.monotonic() - begun:8.0f}", flush=True)
        well = well and not bad
    return well


def main() -> int:
    """Measure, or kill; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", nargs="?", type=Path, help="default: a drawn world of 60 images")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="kill so often on each back end")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aevis-benchmark-") as name:
        folder = Path(name)
        world = folder / "world"
        if args.workspace is None:
            make_drawn_world(world)
        else:
            shutil.copytree(args.workspace, world)
        if args.kills:
            return 0 if kills(world, folder, args.kills) else 1
        measure(world, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
