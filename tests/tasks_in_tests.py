"""The tasks of test_tasks.py: a child process imports them by name, which it cannot do with a test's own module."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from aevis_dash.domain import AevisError
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench


@dataclass(frozen=True)
class Work:
    """An item whose work is written down in a log; the deadly one kills its process the first `deaths` times."""

    name: str
    log: Path
    deaths: int = 0


@dataclass(frozen=True)
class Kept:
    text: str


def key(work: Work) -> str:
    return key_of("kept", 1, name=work.name)


def write_down(log: Path, line: str) -> None:
    """Append a line, whole, whoever else writes."""
    file = os.open(log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def written(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def work(bench: Workbench, item: Work) -> str:
    """Keep the item's name in capitals, as a task should: nothing that is stored is computed again."""
    stored = bench.store.get(key(item), Kept)
    if stored is None:
        write_down(item.log, f"begun {item.name}")
        _die(item)
        stored = Kept(item.name.upper())
        bench.store.put(key(item), stored)
        write_down(item.log, f"done {item.name}")
    return stored.text


def _die(item: Work) -> None:
    """Kill this process, after others have finished something."""
    said = written(item.log)
    if said[f"begun {item.name}"] > item.deaths:
        time.sleep(0.02)
        return
    while sum(line.startswith("done") for line in written(item.log)) < 3 and item.deaths == 1:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def predict(bench: Workbench, name: str) -> list[float]:
    """What the model says of an image."""
    return bench.judging.predict([name])[0].probabilities.tolist()


def threads(_bench: Workbench, _item: int) -> tuple[int, int]:
    """The process and its torch threads; slow enough that every process gets some."""
    time.sleep(0.2)
    return os.getpid(), torch.get_num_threads()


def bench_of(bench: Workbench, _item: int) -> tuple[int, int]:
    """The process and its workbench."""
    return os.getpid(), id(bench)


def odd(_bench: Workbench, item: int) -> int:
    """Refuses even numbers and fails at 13."""
    if item == 13:
        raise ValueError("thirteen")
    if item % 2 == 0:
        raise AevisError(f"{item} is even. Take an odd one.")
    return item


def linger(_bench: Workbench, item: Work) -> None:
    """Take a minute, unless the item is quick."""
    write_down(item.log, str(os.getpid()))
    if item.name != "quick":
        time.sleep(60)
