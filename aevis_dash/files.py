"""Writing files whole or not at all, and removing what a killed process left.

A new file is written under another name in the same folder, is brought to the disk, and is then moved to its place. So
nobody ever sees half of it.
"""

import errno
import hashlib
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from aevis_dash.domain import AevisError

_CLOCKS_APART = 3600
"""Seconds by which a file's time and a process's may differ: they may come from two machines, and clocks are set."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP),  # a file in a folder's place, or /proc
)
"""The system's error numbers for a place where nothing can be written, however much space it has."""


def write_atomically(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file so that it is there whole or not at all.

    Where `path` is a symbolic link, the link stays and the file that it points to is written. A file that is replaced
    hands on its permissions.

    Args:
        path: where the file is to be; missing folders are made.
        write: is called with an open binary file and writes the content to it.

    Raises:
        AevisError: where something other than a file stands there (a device, a folder), and where the disk is full.
        OSError: for anything else that the system refuses, with the path as its `filename`.
    """
    place = check_place(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(place, write)
    except OSError as error:
        if error.errno in _FULL:
            raise AevisError(
                f"{path} cannot be written, because its disk is full ({error.strerror}). Free some space and try "
                "again; what was finished is kept."
            ) from error
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_file(path: Path, data: bytes) -> None:
    """Write the bytes of a file so that it is there whole or not at all; see `write_atomically`."""
    write_atomically(path, lambda file: file.write(data))


def check_place(path: Path) -> Path:
    """The path at which a file of that name is written, after all links are followed.

    Raises:
        AevisError: where something other than a regular file stands there.
    """
    place = Path(os.path.realpath(path))
    try:
        mode = os.lstat(place).st_mode
    except OSError:  # nothing is there yet, or writing says why it cannot be
        return place
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a loop"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise AevisError(f"{path} is {kind}, which is not replaced by a file. Name a file.")
    return place


def replace_whole(place: Path, write: Callable[[Any], object]) -> None:
    """Write a file beside `place` to its end and move it there. Where that fails, the unfinished file is removed."""
    part = place.parent / f"{part_prefix()}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with part.open("xb") as file:  # not mkstemp, whose files only their owner may read
            write(file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # nothing stands there yet, or its permissions are not ours to give
            part.chmod(stat.S_IMODE(place.stat().st_mode))
        os.replace(part, place)
    except BaseException:
        with suppress(OSError):  # the error that ended the writing matters more; `sweep` removes the rest
            part.unlink()
        raise
    _settle(place.parent)


def _settle(folder: Path) -> None:
    """Have the folder's new names on the disk too; a system that cannot do that does it in its own time."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder. The folder is made where it is missing, and a file is made on trial."""
    probe = folder / f"{part_prefix()}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.errno not in READ_ONLY
    return True


def sweep(parts: Iterable[Path]) -> None:
    """Remove those of these paths that a killed process of this machine left; what is still being written stays.

    Args:
        parts: unfinished files or folders, whose names hold `part_prefix` and the number of the process that wrote
            them.
    """
    for part in parts:
        if abandoned(part):
            with suppress(OSError):  # another run was quicker, or it is not ours to remove
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def part_prefix() -> str:
    """The beginning of the names of unfinished files.

    It is the same for all processes of this machine, or of this container where it has process numbers of its own.
    """
    numbers = ""
    with suppress(OSError):  # only Linux has it
        numbers = os.readlink("/proc/self/ns/pid")
    machine = hashlib.sha256(f"{socket.gethostname()} {numbers}".encode()).hexdigest()[:12]
    return f".part-{machine}-"


def abandoned(part: Path) -> bool:
    """Whether the process that wrote it has ended. A process of that number which began later is another one."""
    try:
        process = psutil.Process(int(part.name.split("-")[2]))
        another = process.create_time() > part.stat().st_mtime + _CLOCKS_APART
        return another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError, ValueError):  # its writer may not be seen, or has just finished
        return False
