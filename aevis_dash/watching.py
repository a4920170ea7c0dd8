"""Digests of many files, which are computed again only where a file may have changed."""

import math
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aevis_dash.reading import SETTLED, Digests

FEW = 500
"""The number of files up to which all are looked at whenever they are asked for, which takes a few milliseconds."""
PATIENCE = 10.0
"""Seconds after which a list of more than FEW files is looked at again, although the folders' times say that nothing
changed."""


@dataclass(frozen=True)
class _Look:
    """The digests that were found for `paths`, and the times of the folders from before the look.

    `begun` is when the look began, by the clock that files' times come from. `ended` is when it ended, by a monotonic
    clock that nobody can set.
    """

    paths: Sequence[Path]
    digests: tuple[str, ...]
    folders: dict[str, int]
    begun: float
    ended: float


class Watched:
    """The digests of one list of files that may be added, replaced and rewritten at any time.

    The time of a folder tells at once of files that came, went or were replaced. A file that is rewritten in place, or
    lies behind a link, changes no folder's time: in a list of more than FEW files such a change is noticed after
    PATIENCE seconds.

    Args:
        files: computes the digests of single files, and remembers them.
    """

    def __init__(self, files: Digests):
        self._files = files
        self._last: _Look | None = None
        self._lock = threading.Lock()

    def digests(self, paths: Sequence[Path], missing_allowed: bool = False) -> tuple[str, ...]:
        """A digest of each file, in the order of `paths`.

        Args:
            paths: the files. As long as this is the same object and nothing changes, the result is the same object too.
            missing_allowed: whether a file that is missing has the digest ""; otherwise it is an error.

        Raises:
            OSError: for the first file that cannot be read, with its `filename`.
        """
        with self._lock:
            last = self._last
            known = last if last is not None and last.paths is paths else None
            if known is not None and len(paths) > FEW and self._rests(known):
                return known.digests
            begun = time.time()
            folders = _times(known.folders if known is not None else {os.path.dirname(path) for path in paths})
            found = self._found(paths, missing_allowed)
            digests = known.digests if known is not None and known.digests == found else found
            self._last = _Look(paths, digests, folders, begun, time.monotonic())
            return digests

    def forget(self) -> None:
        """Have every file looked at again when the digests are next asked for."""
        with self._lock:
            if self._last is not None:
                self._last = replace(self._last, ended=-math.inf)

    def _rests(self, known: _Look) -> bool:
        """Whether nothing says that a file has changed since that look."""
        recent = time.monotonic() - known.ended < PATIENCE
        return recent and _times(known.folders) == known.folders and _have_settled(known)

    def _found(self, paths: Sequence[Path], missing_allowed: bool) -> tuple[str, ...]:
        found = []
        for path in paths:
            try:
                found.append(self._files.of(path))
            except OSError as error:
                if not missing_allowed or os.path.isfile(path):
                    error.filename = error.filename or str(path)
                    raise
                found.append("")
        return tuple(found)


def _times(folders: Iterable[str]) -> dict[str, int]:
    """When each folder last changed, in nanoseconds; -1 for one that cannot be seen."""
    return {folder: _time(folder) for folder in folders}


def _time(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return -1


def _have_settled(known: _Look) -> bool:
    """Whether the folders' times were old enough, at that look, to tell of every further change."""
    return all(known.begun - time_of / 1e9 > SETTLED for time_of in known.folders.values())
