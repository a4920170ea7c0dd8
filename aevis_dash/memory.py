"""How much memory a piece of work takes, measured in a process of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

import psutil

T = TypeVar("T")


def in_fresh_process(work: Callable[..., T], *given: Any) -> T:
    """What a function of a module's top level gives in a process of its own, which has done nothing before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(work, *given).result()


def peak_of(work: Callable[[], object]) -> float:
    """By how many MiB this process's resident memory rises at most while that is done."""
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
