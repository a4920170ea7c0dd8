"""Whether a job's process runs, and ending it with all that it started."""

from typing import Protocol

import psutil


class Elsewhere(Protocol):
    """What stands for the process of a job that another machine computes."""

    def alive(self) -> bool:
        """Whether the job still waits or runs there."""
        ...

    def kill(self) -> None:
        """Want the job no more."""
        ...


Running = psutil.Process | Elsewhere


def alive(process: Running) -> bool:
    """Whether a process still runs. One that has ended, and that nobody asked for its status yet, does not."""
    if not isinstance(process, psutil.Process):
        return process.alive()
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: Running) -> None:
    """End a process and all that it started. psutil makes sure that the number still belongs to the same process."""
    if not isinstance(process, psutil.Process):
        process.kill()
        return
    try:
        for one in [*process.children(recursive=True), process]:
            one.kill()
        process.wait(1)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return
