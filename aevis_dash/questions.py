"""Lets one worker at a time compute the answer to a question, whichever machine it runs on, by locks that lie beside
the results."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER = "questions"
LASTS = 24 * 3600
"""The seconds after which the lock of a question that nobody asked again is removed."""


@contextmanager
def alone(results: Path, question: tuple[object, ...], waits: Callable[[], None]) -> Iterator[FileLock]:
    """Wait until nobody else computes the answer to a question. The system frees the lock when the process ends.

    Args:
        results: the folder of the results.
        question: what is asked, made of what has the same text in every process.
        waits: is called now and then while somebody else is at it.
    """
    folder = results / FOLDER
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f"{hashlib.sha256(repr(question).encode()).hexdigest()[:32]}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            waits()
    with suppress(OSError):  # it is only younger than it seems
        os.utime(lock.lock_file)
    try:
        yield lock
    finally:
        lock.release()


def sweep(results: Path) -> None:
    """Remove the locks of questions that nobody has asked for a day."""
    for file in (results / FOLDER).glob("*.lock"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > LASTS:
                file.unlink()
