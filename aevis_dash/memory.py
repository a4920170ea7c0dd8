"""How much memory a piece of work takes, measured in a process of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

import psutil

T = TypeVar("T")


def in_fresh_process(work: Callable[..., T], *given: Any) -> T:
    """Call a function in a new process, which has done nothing before, and return what the function returns.

    Args:
        work: a function of a module's top level.
        given: its arguments, which can be pickled.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(work, *given).result()


def peak_of(work: Callable[[], object]) -> float:
    """The largest rise of this process's resident memory, in MiB, while `work` is called."""
    process, done = psutil.Process(), threading.Event()
    seen = [before := process.memory_info().rss]

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return (max(seen) - before) / 2**20
