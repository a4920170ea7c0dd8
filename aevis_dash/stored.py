"""The files of a store of results: what each is of, when it was last used, and which of them go when room is needed.

Every result can be computed again, so any of these files may go. Nothing else in the folder is touched: not a lock, not
a file that is still being written, not a file whose name is no result's.

A result tells what it is of by its member "about": its version, the model, and the digests of its images. When it was
last used stands in the file's time of access. The store sets that time itself, since disks are often mounted so that
reading does not. Times that lie in the future, as after a clock was set back, count as now.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

ABOUT = "about"
"""The name of the member of a result's file that says what the result is of."""
SPARED = 600.0
"""The seconds for which a result that was written or read is not removed to make room: somebody works with it."""
FRESH = 3600.0
"""The seconds within which a result's time of access is not set again, so that reading writes little."""
ROOM = 0.9
"""The share of the quota that results take after room was made, so that room is not made at each result."""
LOCK = "room.lock"
"""The name of the lock, in the folder of the results, that one process holds while it makes room."""
LOOK = 60.0
"""The seconds after which a process looks again at what others have stored."""
_MOST_IMAGES = 64
"""The number of images from which a result is of the whole workspace, and names none."""
_NAME = re.compile(r"([a-z]+)-[0-9a-f]{40}\.npz")
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Entry:
    """The file of a result.

    Attributes:
        path: where it lies.
        kind: the kind of result.
        size: the bytes that the file takes.
        used: when it was last written or read, in seconds since 1970.
    """

    path: Path
    kind: str
    size: int
    used: float


@dataclass(frozen=True)
class About:
    """What a result is of.

    Attributes:
        version: the version of its kind.
        model: the fingerprint of the model, of two models that of the second; "" where it depends on none.
        images: the digests of its images; none where it is of the whole workspace.
    """

    version: int
    model: str = ""
    images: tuple[str, ...] = ()


def entries(folder: Path, now: float | None = None) -> list[Entry]:
    """The results in a folder, the one unused for longest first.

    Args:
        folder: the folder of a store.
        now: the time; None for the clock's.
    """
    now = time.time() if now is None else now
    found = []
    for kind in _inside(folder):
        if not kind.is_dir(follow_symlinks=False):
            continue
        for file in _inside(Path(kind.path)):
            named = _NAME.fullmatch(file.name)
            if named is None or named[1] != kind.name:
                continue
            with suppress(OSError):  # it has just gone
                state = file.stat(follow_symlinks=False)
                if file.is_file(follow_symlinks=False):
                    used = min(max(state.st_atime, state.st_mtime), now)
                    found.append(Entry(Path(file.path), kind.name, state.st_size, used))
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def about_of(path: Path) -> About | None:
    """What a result is of; None for one that does not tell, as it is damaged or was stored by an earlier version."""
    try:
        with open(path, "rb", opener=_unnoticed) as opened, np.load(opened, allow_pickle=False) as file:
            told = json.loads(file[ABOUT].tobytes())
        return About(int(told["version"]), str(told["model"]), tuple(map(str, told["images"])))
    except MemoryError:
        raise
    except Exception:  # on damaged files zipfile and numpy raise almost anything
        return None


def about(version: int, parts: Mapping[str, Any]) -> bytes:
    """The content of the member "about" of a result.

    Args:
        version: the version of its kind.
        parts: all that its key is made of.
    """
    images = sorted(set(_digests([value for name, value in parts.items() if name not in ("model", "models")])))
    model = parts.get("model") or next(iter(parts.get("models", ())[-1:]), "")  # of two models the second's store
    named = images if len(images) <= _MOST_IMAGES else []
    return json.dumps({"version": version, "model": str(model), "images": named}).encode()


def note_use(path: Path, state: os.stat_result) -> None:
    """Note that a result is used now, unless that was noted within the last hour.

    Args:
        path: the result's file.
        state: the file's state.
    """
    now = time.time()
    if not -FRESH < now - max(state.st_atime, state.st_mtime) < FRESH:
        with suppress(OSError):  # a disk that is read-only needs no room either
            os.utime(path, ns=(int(now * 1e9), state.st_mtime_ns))


def remove(gone: Iterable[Entry]) -> tuple[int, int]:
    """Remove results, and tell how many files and bytes that were. What cannot be removed stays."""
    files = size = 0
    for entry in gone:
        try:
            entry.path.unlink()
        except FileNotFoundError:  # another process was quicker
            continue
        except OSError:
            continue
        files, size = files + 1, size + entry.size
    return files, size


def superfluous(found: list[Entry], most: int, now: float | None = None) -> list[Entry]:
    """Which results have to go so that all others take no more than `most` bytes: those unused for longest.

    Those used within the last SPARED seconds stay, even where they take more than that.

    Args:
        found: the results, the one unused for longest first.
        most: the bytes that may stay.
        now: the time; None for the clock's.
    """
    now = time.time() if now is None else now
    over, gone = sum(entry.size for entry in found) - most, []
    for entry in found:
        if over <= 0 or now - entry.used < SPARED:
            break
        gone.append(entry)
        over -= entry.size
    return gone


class Quota:
    """Keeps the results of a folder within a quota. Several processes may keep the same folder.

    It counts what this process stores. It looks at the folder at the first result, when a minute has passed, and when
    the count has reached the quota.

    Args:
        folder: the folder of the store.
        quota: the bytes that all results may take.
    """

    def __init__(self, folder: Path, quota: int):
        self.folder, self.quota = folder, quota
        self._known, self._looked = 0, -np.inf

    def stored(self, size: int) -> str | None:
        """Note that a result of so many bytes was stored, and make room where that is needed.

        Returns:
            A sentence where results in use take more than the quota, and "" where they do not; None where it was not
            looked.
        """
        self._known += size
        now = time.monotonic()
        if self._known <= self.quota and now - self._looked < LOOK:
            return None
        self._looked = now
        try:
            with FileLock(self.folder / LOCK, timeout=0):
                return self._make()
        except (Timeout, OSError):  # another process makes room, or this one cannot write here any more
            return None

    def _make(self) -> str:
        found = entries(self.folder)
        self._known = sum(entry.size for entry in found)
        if self._known <= self.quota:
            return ""
        self._known -= remove(superfluous(found, int(ROOM * self.quota)))[1]
        if self._known <= self.quota:
            return ""
        return (
            f"Results that were used in the last {SPARED / 60:.0f} minutes take more than the quota of "
            f"{in_units(self.quota)}, so they are kept. Give the store more room."
        )


def _unnoticed(path: str, flags: int) -> int:
    """Open a file so that this counts as no use of it, where the system can."""
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # only the file's owner may
        return os.open(path, flags)


def in_units(size: float) -> str:
    """A number of bytes for people, such as "1.5 GiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _inside(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # there is none, or it cannot be read
        return []


def _digests(value: Any) -> Iterable[str]:
    """The digests of images in a value that is part of a key."""
    if isinstance(value, str):
        yield from [value] if _DIGEST.fullmatch(value) else []
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _digests(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _digests(one)
