"""Runs independent tasks over a whole workspace, in several processes of one machine or on a dask cluster.

Each task keeps its result in the workspace's store. So tasks need no protocol between them, and nothing has to be
merged. Where a run was interrupted, or a worker died, the run is given again, and what was finished is read from the
store. The price is that a task must ask the store before it computes. What a task returns should be small, as it
travels between processes.
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
"""Seconds to wait for a dask scheduler to answer."""
_POOLS = 2
"""The number of pools of processes that a run may use up. A worker that dies breaks its pool; the second death is taken
for no accident."""
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


@dataclass(frozen=True)
class Refused:
    """The result of a task that raised AevisError, with the error's message. The other tasks go on."""

    message: str


def run(
    task: Callable[[Workbench, I], R],
    root: Path,
    items: Sequence[I],
    processes: int | None = None,
    scheduler: str | None = None,
    progress: Progress = silent,
) -> Iterator[tuple[int, R | Refused]]:
    """Do a task for every item.

    On this machine several processes divide the cores among their torch threads. That is faster than one process with
    all threads, since small models leave most of a thread's time unused. Each process holds a model, so memory bounds
    their number. With one process or one item everything runs in this process, with the threads that torch has here.

    On a cluster the workers of a dask scheduler do the tasks. Each worker must find the workspace's folder under the
    same path. The workers and the scheduler, which reads the tasks, need the module of `task` in the same version as
    here. How many tasks a worker runs at once, with how many threads (dask's nanny sets OMP_NUM_THREADS=1), and how
    often a task may lose its worker (allowed-failures) are dask's own settings. Workers that join later help; without
    any worker the run waits for the first. When the run is interrupted, dask cannot stop the tasks that are running, so
    they go on to their end; waiting tasks are cancelled.

    Args:
        task: a function of a module's top level, which takes the workbench and an item. It must keep what it computes
            in the workbench's store.
        root: the folder of the workspace.
        items: what the task is done for. Items and results must be such as can be pickled.
        processes: the number of processes on this machine; None for one per core, or one on a GPU.
        scheduler: the address of a dask scheduler, such as "tcp://host:8786"; None for this machine.
        progress: is told the share of the items that are done.

    Returns:
        An iterator of (index of the item, result), in the order in which tasks finish; the result is a `Refused` where
        the task raised AevisError. Leaving the loop over it ends what is still running.

    Raises:
        AevisError: for a number of processes below 1 or beside a scheduler, where workers died twice, and where the
            cluster cannot be reached or is lost. Any other exception of a task ends the run, and a note on it names the
            item.
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
    """The results. At the end of the run, what killed workers of this machine left unfinished is removed."""
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
    """The workbench of this process. It is opened once for each run, so that a later run sees the settings as they are
    then."""
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
    """The number of processes that share the items: as many as are wanted, else one for each core, or one for a GPU.

    Args:
        wanted: the number that the user asks for; None for the usual number.
        items: the number of items, which is never exceeded.

    Raises:
        AevisError: where `wanted` is below 1.
    """
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
    """Begin a worker. It ignores the interrupt key, which reaches all processes of a terminal, because the parent
    reacts."""
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
    """The results of `run` as a list, in the order of the items.

    Raises:
        AevisError: with the message of the first result that is a `Refused`.
    """
    found = dict(results)
    for result in found.values():
        if isinstance(result, Refused):
            raise AevisError(result.message)
    return [found[i] for i in sorted(found)]
