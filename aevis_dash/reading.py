"""Reading files that others may change, or replace by something else, at any time; and digests of their bytes."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

MOST_BYTES = 512 * 1024 * 1024
"""The number of bytes that are read of one file at most. An image with the most pixels that are accepted takes less."""
SETTLED = 2.0
"""Seconds after which a file's last change is settled: any further change then changes the file's times. File systems
count time in steps, the coarsest in steps of two seconds."""
_STATES = 5
"""The count of numbers in a file's state."""


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The bytes of a regular file.

    Args:
        path: the file.
        most: the number of bytes that it may have at most; None for MOST_BYTES.

    Raises:
        OSError: for anything else than a regular file (a pipe or a device may never end), for a file with more bytes,
            and for a name that no file can have.
    """
    return _read(path, most or MOST_BYTES)[0]


def digest_of(data: bytes) -> str:
    """The digest of the bytes of a file: 32 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:32]


class Digests:
    """Digests of the bytes of files. A file is read again unless its state says that it has not changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], str]] = {}

    def of(self, path: Path) -> str:
        """The digest of a file: 32 hexadecimal digits. Raises OSError as `read_bytes`."""
        known = self._known.get(path)
        return known[1] if known is not None and known[0] == state_of(_stat(path)) else self.read(path)[1]

    def read(self, path: Path) -> tuple[bytes, str]:
        """The bytes of a file and their digest. Raises OSError as `read_bytes`."""
        data, found = _read(path, MOST_BYTES)
        digest = digest_of(data)
        if time.time() - max(found.st_mtime, found.st_ctime) > SETTLED:
            self._known[path] = (state_of(found), digest)
        else:
            self._known.pop(path, None)
        return data, digest

    def known(self) -> tuple[str, ...]:
        """The known digests with the states of their files, as one line of text each, for another process to
        `trust`."""
        known = list(self._known.items())
        return tuple(f"{' '.join(map(str, state))} {digest} {path}" for path, (state, digest) in known)

    def trust(self, lines: Iterable[str]) -> None:
        """Take over the digests that another process knew. A digest counts only while its file's state is still the
        same."""
        for line in lines:
            *state, digest, path = line.split(" ", _STATES + 1)
            self._known.setdefault(Path(path), (tuple(map(int, state)), digest))


def _read(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file and its state from before they were read."""
    _stat(path)  # refuses names that no file can have
    with open(path, "rb", opener=_open_without_waiting) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, a device or the like, and no regular file", str(path))
        data = file.read(most + 1)
        if len(data) > most:
            raise OSError(errno.EFBIG, f"it has more than {most // 1024} KiB", str(path))
        return data, found


def _open_without_waiting(name: str, flags: int) -> int:
    """Open a file without waiting: opening a pipe would otherwise wait for somebody who writes into it."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _stat(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file can have that name", str(path)) from error


def state_of(found: os.stat_result) -> tuple[int, ...]:
    """The numbers by which a file is known again. Whoever changes or replaces the file cannot set all of them back."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
