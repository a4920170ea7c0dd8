"""The store of results, each under a key made of what it was computed from.

What is stored is not computed again, no result is read under another input's key, and any file can be deleted at any
time. Two tables of workbench/judging.py are updated in place, each under one key: the judgements of the normal images
(kind "references"), and the known digests of files (kind "digests"). Each of their rows is checked before it counts:
by the digest of its image, and by the state of its file.

A result carries its own key and a checksum. So a file that was renamed, exchanged, edited or changed by a failing disk
is recognised as damaged. Files are written whole or not at all (see `files`), and hold no pickle.

Where the folder cannot be written (a read-only disk, another user's folder), results are computed all the same. They
stay in memory as far as they fit, or lie in the folder that $AEVIS_SPARE_CACHE names, and the store warns of it.

A store may have a quota. Then those results go that were unused for longest (see `stored`).

The results that were read last are held in memory too, up to a bound, and are shared by all callers; their arrays are
read-only. The store looks at a result's file before it gives the result again, so a deleted or changed file counts at
once.
"""

import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np
from cachetools import LRUCache

from aevis_dash.domain import AevisError
from aevis_dash.files import READ_ONLY, check_place, is_writable, part_prefix, sweep, write_atomically
from aevis_dash.stored import ABOUT, Quota, about, note_use

T = TypeVar("T")
FORMAT = 2
"""The version of the form of the files. It is part of every key and is raised when the form changes, so that no file of
another form is read."""
SPARE_VARIABLE = "AEVIS_SPARE_CACHE"
"""The environment variable that names a folder for results, where their own folder cannot be written. A server shares
that folder with its jobs."""
QUOTA_VARIABLE = "AEVIS_QUOTA"
"""The environment variable that holds the bytes that a store's results may take. It goes before the settings. A server
shares it with its jobs."""
HELD = 64 * 1024 * 1024
"""The number of bytes that the results in the memory of one store take at most."""
_LAST = "They last until this command or server ends."
_PLAIN = 2048
"""The rough number of bytes that a result takes in memory beside its arrays and texts."""


class Key(str):
    """The key of a result, which also knows what it was made of.

    Attributes:
        version: the version of the result's kind.
        parts: what else the result depends on.
    """

    version: int
    parts: Mapping[str, Any]


def key_of(kind: str, version: int, **parts: Any) -> Key:
    """The key of a result: its kind, and a digest of everything that the result depends on.

    Args:
        kind: the kind of result, which becomes the name of a folder in the store.
        version: the version of the method that computes it.
        parts: what else the result depends on; JSON values, numpy scalars, or dataclasses and lists of them.

    Raises:
        TypeError: for a part of any other type.
    """
    text = json.dumps([FORMAT, kind, version, parts], sort_keys=True, default=_jsonable)
    key = Key(f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:40]}")
    key.version, key.parts = version, parts
    return key


class Store:
    """Results on disk, with the last ones in memory too.

    Args:
        folder: where the results lie; it is made when the first one is kept.
        held: the number of bytes that the results in memory take at most.
        quota: the number of bytes that the results on disk take at most; None for as many as there are, unless
            $AEVIS_QUOTA says another number.
    """

    def __init__(self, folder: Path, held: int = HELD, quota: int | None = None):
        self.folder = folder
        quota = int(os.environ[QUOTA_VARIABLE]) if os.environ.get(QUOTA_VARIABLE) else quota
        self.quota = quota
        self._quotas = {} if quota is None else {one: Quota(one, quota) for one in self._folders()}
        self._recent, self._unkept = _Recent(held), _Recent(held)
        self._troubles: dict[str, str] = {}
        if os.environ.get(SPARE_VARIABLE):
            self._troubles["write"] = f"Results cannot be stored in {folder}. {_LAST}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what could not be read or kept so far, one for each kind of trouble. The work goes on without
        it."""
        return tuple(self._troubles.values())

    def get(self, key: str, kind: type[T]) -> T | None:
        """The result under a key.

        Args:
            key: a key that `key_of` made.
            kind: the dataclass of the result.

        Returns:
            The result, whose arrays are read-only because other callers may have been given the same ones. None where
            there is no result, where its file is damaged (the file is then removed), or where the file cannot be read
            now (it then stays).
        """
        for folder in self._folders():
            found = self._read(_path(folder, key), key, kind)
            if found is not None:
                return found
        return self._unkept.get((key, kind), None)

    def put(self, key: str, value: Any) -> bool:
        """Keep a result under a key. Where no file can be written it stays in memory, as far as it fits.

        Args:
            key: a key that `key_of` made.
            value: a dataclass of numbers, texts, tuples of them, arrays, and other such dataclasses.

        Returns:
            Whether a file was written.

        Raises:
            AevisError: where the disk is full.
        """
        arrays: dict[str, np.ndarray] = {}
        tree = json.dumps({"key": key, "value": _encode(value, arrays)}).encode()
        written = {**arrays, "tree": np.frombuffer(tree, np.uint8), "seal": _seal(tree, arrays)}
        if isinstance(key, Key):
            written[ABOUT] = np.frombuffer(about(key.version, key.parts), np.uint8)
        for folder in self._folders():
            try:
                check_place(_path(folder, key))
            except AevisError:
                self._troubles["place"] = f"{_path(folder, key)} is no file, so the result of that name is not stored."
                continue
            try:
                write_atomically(_path(folder, key), lambda file: np.savez_compressed(file, **written))
            except OSError as error:
                if error.errno not in READ_ONLY:
                    raise
                self._complain(error)
            else:
                self._keep_room(folder, _path(folder, key))
                return True
        self._unkept.put((key, type(value)), None, value, _size(tree, arrays.values()))
        return False

    def has(self, key: str) -> bool:
        """Whether a file lies under that key; it may still turn out to be damaged."""
        return any(os.path.isfile(_path(folder, key)) for folder in self._folders())

    def remember(self, key: str, kind: type[T], compute: Callable[[], T]) -> T:
        """The stored result under a key; where there is none, the one that `compute` gives, which is then kept."""
        found = self.get(key, kind)
        if found is None:
            found = compute()
            self.put(key, found)
        return found

    def drop(self, key: str) -> None:
        """Remove a result, where there is one. One that cannot be removed stays, as it only takes space."""
        for folder in self._folders():
            with suppress(OSError):
                _path(folder, key).unlink()

    def place(self) -> Path | None:
        """The folder in which new results are stored now, by a file that is written there on trial; None where no
        folder can be written."""
        return next((folder for folder in self._folders() if is_writable(folder)), None)

    def folder_times(self, without: Collection[str] = ()) -> dict[str, int]:
        """When the folder of each kind of results last changed, in nanoseconds, by its path; also of those that hold
        them. A result that is stored or removed changes such a time.

        Args:
            without: kinds that are left out.
        """
        found: dict[str, int] = {}
        for folder in self._folders():
            with suppress(OSError), os.scandir(folder) as kinds:
                for kind in kinds:
                    if kind.name not in without and kind.is_dir():
                        found[kind.path] = kind.stat().st_mtime_ns
        return found

    def sweep(self) -> None:
        """Remove the unfinished files that killed processes of this machine left; files that are still being written
        stay."""
        sweep(self.folder / name for name in glob(f"*/{part_prefix()}*", root_dir=self.folder))

    def _folders(self) -> tuple[Path, ...]:
        spare = os.environ.get(SPARE_VARIABLE)
        return (self.folder, Path(spare)) if spare else (self.folder,)

    def _read(self, path: Path, key: str, kind: type[T]) -> T | None:
        try:
            seen = path.stat()
            note_use(path, seen)
            found = self._recent.get((path, kind), _state(seen))
            if found is not None or not path.is_file():  # reading a pipe would wait for somebody who writes
                return found
            with path.open("rb") as file:
                state, content = _state(os.fstat(file.fileno())), file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # too many open files, a server that is away: the result may well be good
            self._troubles["read"] = (
                f"Results in {path.parent} cannot be read now ({error.strerror}), so they are computed again."
            )
            return None
        try:
            found, size = _open(content, key, kind)
        except MemoryError:
            raise
        except Exception:  # on damaged files zipfile and numpy raise almost anything
            with suppress(OSError):  # a file that is not ours to remove is found damaged again next time
                path.unlink()
            return None
        self._recent.put((path, kind), state, found, size)
        return found

    def _keep_room(self, folder: Path, stored: Path) -> None:
        quota = self._quotas.get(folder)
        if quota is None:
            return
        try:
            size = stored.stat().st_size
        except OSError:  # another process has just removed it
            return
        said = quota.stored(size)
        if said:
            self._troubles["room"] = said
        elif said is not None:
            self._troubles.pop("room", None)

    def _complain(self, error: OSError) -> None:
        self._troubles["write"] = f"Results cannot be stored in {self.folder} ({error.strerror}). {_LAST}"


class _Recent:
    """Results in memory under their key, each with the state that its file had. The one unused for longest is dropped
    first."""

    def __init__(self, bound: int):
        self._found: LRUCache[Any, tuple[Any, Any, int]] = LRUCache(bound, getsizeof=lambda held: held[2])
        self._lock = threading.Lock()

    @property
    def size(self) -> float:
        """Bytes that the results take."""
        return self._found.currsize

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: Any, state: Any) -> Any:
        """The result; None where there is none, or where the file's state has changed since."""
        with self._lock:
            found = self._found.get(key)
            if found is None or found[0] != state:
                self._found.pop(key, None)
                return None
            return found[1]

    def put(self, key: Any, state: Any, result: Any, size: int) -> None:
        """Hold a result of `size` bytes, unless it is larger than a quarter of the bound and so would push out too
        much."""
        with self._lock:
            self._found.pop(key, None)
            if size <= self._found.maxsize // 4:
                self._found[key] = (state, result, size)


def _state(found: os.stat_result) -> tuple[int, int, int]:
    """The state of a file. Files are never written in place, so another content always means another state."""
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=4096)  # one click asks for dozens of results, again and again
def _path(folder: Path, key: str) -> Path:
    return folder / key.split("-")[0] / f"{key}.npz"


def _seal(tree: bytes, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """A checksum of a result's tree, which names its key, and of its arrays."""
    digest = hashlib.sha256(tree)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _open(content: bytes, key: str, kind: type[T]) -> tuple[T, int]:
    """The result in a file's content, and its size in memory; raises an exception of any kind for a damaged one."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    seal, tree = arrays.pop("seal"), arrays.pop("tree").tobytes()
    arrays.pop(ABOUT, None)  # only housekeeping reads it
    document = json.loads(tree)
    if not np.array_equal(seal, _seal(tree, arrays)) or document["key"] != key:
        raise ValueError("the checksum or the key is another")
    for array in arrays.values():
        array.setflags(write=False)
    return _decode(kind, document["value"], arrays), _size(tree, arrays.values())


def _size(tree: bytes, arrays: Iterable[np.ndarray]) -> int:
    return _PLAIN + len(tree) + sum(array.nbytes for array in arrays)


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


def _decode(kind: Any, tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if kind is np.ndarray:
        return arrays[tree]
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{f.name: _decode(hints[f.name], tree[f.name], arrays) for f in fields(kind)})  # type: ignore[operator]
    return tuple(tree) if get_origin(kind) is tuple else tree
