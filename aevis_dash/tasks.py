"""A run over a whole workspace: independent tasks in several processes of one machine, or on a cluster.

A task keeps its result in the workspace's store itself. So there is no protocol between tasks and nothing to merge: a
run that was interrupted, or whose worker died, is run again, and what was finished is read from the store. The price is
that a task must ask the store before it computes; what it returns should be small, as it travels between processes.
"""

import importlib
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

import psutil

from aevis_dash.config import Progress, silent
from aevis_dash.core.execution import use_threads
from aevis_dash.core.loading import device
from aevis_dash.domain import AevisError
from aevis_dash.workbench import Workbench, open_workbench

SECONDS_TO_CONNECT = 10
_POOLS = 2
"""How many pools a run may use up: a worker that dies breaks its pool, and the second death is no accident."""
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


@dataclass(frozen=True)
class Refused:
    """What a task gives that raised AevisError: the words of the error. The other tasks go on."""

    message: str


def run(
    task: Callable[[Workbench, I], R],
    root: Path,
    items: Sequence[I],
    processes: int | None = None,
    scheduler: str | None = None,
    progress: Progress = silent,
) -> Iterator[tuple[int, R | Refused]]:
    """Do a task for every item; gives each item's index and result as they finish, in any order.

    `task` is a function of a module's top level, items and results can be pickled, and the task keeps what it computes
    in the workbench's store. An AevisError becomes a `Refused`; any other exception ends the run and names its item in
    a note. Iterate over it directly: leaving the loop, however, ends what is still running.

    On this machine `processes` (one per core unless said; one on a GPU, which they would have to share)
    divide the cores among their torch threads. That is faster than one process with all threads, since small models
    leave most of a thread's time unused, but each process holds a model: memory is what bounds `processes`. With one
    process or one item everything runs in this process, with the threads that torch has here.

    With `scheduler`, the address of a dask scheduler ("tcp://host:8786"), its workers do the tasks. Each must find the
    workspace's folder under the same path; they and the scheduler (which reads the tasks) need the module of `task` in
    the same version as here. How many tasks a worker runs at once, with how many threads (dask's nanny sets
    OMP_NUM_THREADS=1), and how often a task may lose its worker (allowed-failures) are dask's own settings. Workers
    that join later help; without any the run waits for the first. A task that runs when the run is interrupted goes on
    to its end there, since dask cannot stop it; those that wait are cancelled.
    """
    root = Path(root).resolve()
    call = partial(_attempt, task, root, uuid.uuid4().hex)
    if scheduler is None:
        results = _on_this_machine(call, items, process_count(processes, len(items)))
    elif processes is None:
        results = _on_cluster(call, items, scheduler)
    else:
        raise AevisError("Processes are counted on one machine only; on a cluster its workers say how many there are.")
    return _tell(_sweep_after(results, root), len(items), progress)


def _tell(results: Iterator[tuple[int, Any]], total: int, progress: Progress) -> Iterator[tuple[int, Any]]:
    for done, found in enumerate(results, 1):
        progress(done / total, f"{done} of {total} done")
        yield found


def _sweep_after(results: Iterator[tuple[int, Any]], root: Path) -> Iterator[tuple[int, Any]]:
    """The results; when they end, however that is, what killed workers of this machine left unfinished goes away."""
    try:
        yield from results
    finally:
        with suppress(AevisError):  # no workspace, as every item was told
            open_workbench(root)


# A task, wherever it runs


def _attempt(task: Callable[[Workbench, Any], Any], root: Path, run_id: str, item: Any) -> Any:
    try:
        return task(_open(root, run_id), item)
    except AevisError as error:
        return Refused(str(error))


@lru_cache(maxsize=2)
def _open(root: Path, _run_id: str) -> Workbench:
    """The workbench of this process, opened once a run: a later run sees the settings as they are then."""
    return open_workbench(root)


@contextmanager
def _naming(item: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"This happened at the item {item!r}.")
        raise


# One machine


def cores() -> int:
    """How many cores this process may use (taskset and job schedulers may allow fewer than there are)."""
    process = psutil.Process()
    allowed = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None  # macOS has none
    return len(allowed or ()) or os.cpu_count() or 1


def process_count(wanted: int | None, items: int) -> int:
    """How many processes take so many items: as many as wanted, else one for each core, or one for a GPU."""
    if wanted is not None and wanted < 1:
        raise AevisError(f"A run needs at least one process, not {wanted}.")
    usual = cores() if device().type == "cpu" else 1
    return min(wanted or usual, items)


def _on_this_machine(call: Callable[[Any], Any], items: Sequence[Any], processes: int) -> Iterator[tuple[int, Any]]:
    if processes > 1:
        yield from _in_pools(call, items, processes)
        return
    for index, item in enumerate(items):
        with _naming(item):
            result = call(item)
        yield index, result


def _in_pools(call: Callable[[Any], Any], items: Sequence[Any], processes: int) -> Iterator[tuple[int, Any]]:
    left = dict(enumerate(items))
    for _ in range(_POOLS):
        for index, result in _in_a_pool(call, dict(left), processes):
            del left[index]
            yield index, result
        if not left:
            return
    raise AevisError(
        f"Worker processes were ended from outside {_POOLS} times, most likely because the memory was full; "
        f"{len(left)} of {len(items)} items are not done. Run it again with fewer than {processes} processes: "
        "what was finished is kept."
    )


def _in_a_pool(call: Callable[[Any], Any], items: Mapping[int, Any], processes: int) -> Iterator[tuple[int, Any]]:
    """The results that one pool gives: all of them, or fewer where one of its workers dies."""
    with _pool(processes) as pool:
        futures = _submit(pool, call, items)
        for future in as_completed(futures):
            index = futures.pop(future)  # what was given away is not held here any longer
            if isinstance(future.exception(), BrokenProcessPool):
                continue
            with _naming(items[index]):
                result = future.result()
            yield index, result


def _submit(pool: ProcessPoolExecutor, call: Callable[[Any], Any], items: Mapping[int, Any]) -> dict[Future[Any], int]:
    futures = {}
    with suppress(BrokenProcessPool):  # a worker may die while items are still being handed in
        for index, item in items.items():
            futures[pool.submit(call, item)] = index
    return futures


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers end at once when its block is left by an exception, or when this process dies.

    Its workers are forked from a fork server that has imported torch and never ran it; forking this process, whose
    torch may have started threads, could hang them. The fork server stays until this process ends.
    """
    context = _start_method()
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(processes, context, _begin, (lifeline, max(1, cores() // processes)))
    try:
        yield pool
    except BaseException:
        held.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        lifeline.close()


def _start_method() -> BaseContext:
    if "forkserver" not in get_all_start_methods():  # Windows
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _begin(lifeline: Connection, threads: int) -> None:
    """Begin a worker. The interrupt key reaches all processes of a terminal; what it means is the parent's to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_threads(threads)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """End this worker when the other end of the pipe is closed, which also happens when the parent is killed."""
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)


# A cluster


def _on_cluster(call: Callable[[Any], Any], items: Sequence[Any], address: str) -> Iterator[tuple[int, Any]]:
    with _client(address) as (distributed, client):
        futures = {future: index for index, future in enumerate(client.map(call, list(items), pure=False))}
        try:
            for future in distributed.as_completed(list(futures), loop=client.loop):
                index = futures.pop(future)
                yield index, _fetch(distributed, future, items[index], address)
        finally:
            if futures:
                client.cancel(list(futures))


@contextmanager
def _client(address: str) -> Iterator[tuple[Any, Any]]:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise AevisError("A cluster needs the package dask.distributed: pip install aevis-dash[cluster]") from error
    try:
        client = distributed.Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise AevisError(
            f"No dask scheduler answers at {address!r}. Start one with `dask scheduler` and workers with "
            "`dask worker ADDRESS`, and give the address that the scheduler says (tcp://host:8786)."
        ) from error
    with client:
        yield distributed, client


def _fetch(distributed: Any, future: Any, item: Any, address: str) -> Any:
    try:
        with _naming(item):
            return future.result()
    except distributed.KilledWorker as error:
        raise AevisError(
            f"The item {item!r} lost its worker {error.allowed_failures + 1} times, most likely because the memory was "
            "full. Give the workers more memory or fewer threads and run it again: what was finished is kept."
        ) from error
    except CancelledError as error:
        raise AevisError(
            f"The dask scheduler at {address!r} was lost. Run it again when it is back: what was finished is kept."
        ) from error


def in_order(results: Iterator[tuple[int, Any]]) -> list[Any]:
    """What `run` gives as a list: the results in the order of their items; the first refusal is raised."""
    found = dict(results)
    for result in found.values():
        if isinstance(result, Refused):
            raise AevisError(result.message)
    return [found[i] for i in sorted(found)]
