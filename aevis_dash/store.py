"""The store: results under a key made of what they were computed from.

Nothing is computed twice, nothing stale is ever read, and any file can be deleted at any time. A file is
written beside its place and moved there, so a reader sees all of it or nothing; what a killed writer leaves there is
swept. No pickle.

What was read last is held in memory too, up to a bound, and shared by all who ask: its arrays cannot be written. Before
it is given again its file is looked at, so a deleted or changed one counts at once.
"""

import hashlib
import json
import os
import socket
import threading
import uuid
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from glob import glob
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np
import psutil

T = TypeVar("T")
_CLOCKS_APART = 3600
"""Seconds by which a file's time and a process's may differ: they may come from two machines, and clocks are set."""
HELD = 64 * 1024 * 1024
"""Bytes that the results in memory take at most, in one store."""
_PLAIN = 2048
"""Bytes of a result beside its arrays and texts, roughly."""


def key_of(kind: str, version: int, **parts: Any) -> str:
    """The key of a result: a digest of its kind, its method's version and everything it depends on.

    Parts are JSON values or dataclasses of them.
    """
    text = json.dumps([kind, version, parts], sort_keys=True, default=_jsonable)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


class Store:
    """Results on disk; `folder` is made when the first one is kept. At most `held` bytes of them stay in memory."""

    def __init__(self, folder: Path, held: int = HELD):
        self.folder = folder
        self._recent = _Recent(held)

    def get(self, key: str, kind: type[T]) -> T | None:
        """The result under that key, None where there is none or its file is damaged (it is then removed).

        Its arrays are read-only: others may have been given the same ones.
        """
        path = self._path(key)
        try:
            found = self._recent.get((key, kind), _state(path.stat()))
            if found is not None:
                return found
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                tree, arrays = file["tree"].tobytes(), []
                found = _decode(kind, json.loads(tree), file, arrays)
                size = _PLAIN + len(tree) + sum(array.nbytes for array in arrays)
                self._recent.put((key, kind), _state(os.fstat(raw.fileno())), found, size)
                return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
            path.unlink(missing_ok=True)
            return None

    def put(self, key: str, value: Any) -> None:
        """Keep a dataclass of numbers, texts, tuples of them, arrays and such dataclasses."""
        arrays: dict[str, np.ndarray] = {}
        tree = json.dumps(_encode(value, arrays)).encode()
        arrays["tree"] = np.frombuffer(tree, np.uint8)
        path = self._path(key)
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]

    def has(self, key: str) -> bool:
        """Whether a result lies under that key."""
        return self._path(key).is_file()

    def remember(self, key: str, kind: type[T], compute: Callable[[], T]) -> T:
        """The stored result, or the computed one, which is then kept."""
        found = self.get(key, kind)
        if found is None:
            found = compute()
            self.put(key, found)
        return found

    def drop(self, key: str) -> None:
        """Remove a result, where there is one."""
        self._path(key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed writers of this machine left; what is still being written stays."""
        for name in glob(f"*/{_part_prefix()}*", root_dir=self.folder):
            part = self.folder / name
            if _is_abandoned(part):
                with suppress(OSError):  # another run was quicker, or it is not ours to remove
                    part.unlink()

    def _path(self, key: str) -> Path:
        return self.folder / key.split("-")[0] / f"{key}.npz"


class _Recent:
    """Results in memory under their key and the state of their file; the one not asked for longest goes first."""

    def __init__(self, bound: int):
        self._bound, self._held = bound, 0
        self._found: OrderedDict[Any, tuple[Any, Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, state: Any) -> Any:
        """The result, None where there is none or its file is another by now."""
        with self._lock:
            found = self._found.get(key)
            if found is None or found[0] != state:
                self._drop(key)
                return None
            self._found.move_to_end(key)
            return found[1]

    def put(self, key: Any, state: Any, result: Any, size: int) -> None:
        """Hold a result of `size` bytes; one larger than a quarter of the bound would push out too much."""
        with self._lock:
            self._drop(key)
            if size > self._bound // 4:
                return
            self._found[key] = (state, result, size)
            self._held += size
            while self._held > self._bound:
                self._drop(next(iter(self._found)))

    def _drop(self, key: Any) -> None:
        if key in self._found:
            self._held -= self._found.pop(key)[2]


def _state(found: os.stat_result) -> tuple[int, int, int]:
    """Of a file: another content is another state, as files are never written in place."""
    return found.st_ino, found.st_mtime_ns, found.st_size


def write_atomically(path: Path, write: Callable[[Any], object]) -> None:
    """Call `write` with a binary file that takes `path`'s place once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f"{_part_prefix()}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with part.open("xb") as file:  # not mkstemp, whose files only their owner may read
            write(file)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _part_prefix() -> str:
    """What names of unfinished files begin with on this machine, or in a container that has its own process numbers."""
    numbers = ""
    with suppress(OSError):  # only Linux has it
        numbers = os.readlink("/proc/self/ns/pid")
    machine = hashlib.sha256(f"{socket.gethostname()} {numbers}".encode()).hexdigest()[:12]
    return f".part-{machine}-"


def _is_abandoned(part: Path) -> bool:
    """Whether its writer has ended; the process of that number may be another one, which began after the last write."""
    try:
        process = psutil.Process(int(part.name.split("-")[2]))
        another = process.create_time() > part.stat().st_mtime + _CLOCKS_APART
        return another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OSError, ValueError):  # its writer may not be seen, or has just finished
        return False


def _jsonable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def _encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return name
    if is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name), arrays) for f in fields(value)}
    return value.item() if isinstance(value, np.generic) else value


def _decode(kind: Any, tree: Any, arrays: Any, read: list[np.ndarray]) -> Any:
    if kind is np.ndarray:
        array = arrays[tree]
        array.setflags(write=False)
        read.append(array)
        return array
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{f.name: _decode(hints[f.name], tree[f.name], arrays, read) for f in fields(kind)})  # type: ignore[operator]
    return tuple(tree) if get_origin(kind) is tuple else tree
