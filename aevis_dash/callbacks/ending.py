"""Whether a job's process runs, and ending it with all that it started."""

import psutil


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs. One that has ended, and that nobody asked for its status yet, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    """End a process and all that it started. psutil makes sure that the number still belongs to the same process."""
    try:
        for one in [*process.children(recursive=True), process]:
            one.kill()
        process.wait(1)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return
