"""The store: whole or not at all, and never another input's result."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from aevis_dash import files as module_files
from aevis_dash import store as module
from aevis_dash.domain import AevisError
from aevis_dash.files import part_prefix, write_atomically
from aevis_dash.store import SPARE_VARIABLE, Store, key_of


@dataclass(frozen=True)
class Inner:
    count: int
    values: np.ndarray


@dataclass(frozen=True)
class Outer:
    name: str
    share: float
    right: bool
    inner: Inner
    mask: np.ndarray


VALUE = Outer("höhle", 0.25, True, Inner(3, np.arange(6, dtype=np.float32).reshape(2, 3)), np.array([True, False]))
KEY = key_of("thing", 1, image="abc")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def files(store):
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file())


def test_what_is_kept_comes_back_the_same(store):
    store.put(KEY, VALUE)
    found = store.get(KEY, Outer)
    assert (found.name, found.share, found.right, found.inner.count) == ("höhle", 0.25, True, 3)
    assert found.inner.values.dtype == np.float32
    np.testing.assert_array_equal(found.inner.values, VALUE.inner.values)
    np.testing.assert_array_equal(found.mask, VALUE.mask)
    assert found.mask.dtype == bool


def test_scalars_of_numpy_come_back_as_pythons(store):
    store.put(KEY, Inner(np.int64(7), np.zeros(1)))  # type: ignore[arg-type]
    assert type(store.get(KEY, Inner).count) is int


def test_nothing_is_made_before_something_is_kept(store):
    assert store.get(KEY, Outer) is None
    assert not store.has(KEY)
    assert not store.folder.exists()


def test_any_file_can_be_deleted_and_is_computed_again(store):
    calls = []

    def compute():
        calls.append(1)
        return VALUE

    for _ in range(2):
        store.remember(KEY, Outer, compute)
    assert len(calls) == 1
    next(store.folder.rglob("*.npz")).unlink()
    assert store.get(KEY, Outer) is None
    store.remember(KEY, Outer, compute)
    assert len(calls) == 2
    assert store.has(KEY)


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "other fields", "missing array", "folder of text"])
def test_a_damaged_file_is_a_miss_and_goes_away(store, damage):
    store.put(KEY, VALUE)
    path = next(store.folder.rglob("*.npz"))
    whole = path.read_bytes()
    if damage in ("other fields", "missing array"):
        tree = {"name": "x"} if damage == "other fields" else {**_tree(path), "mask": "a9"}
        np.savez(path, tree=np.frombuffer(json.dumps(tree).encode(), np.uint8))
    else:
        contents = {"empty": b"", "cut": whole[: len(whole) // 2], "noise": b"\x00" * 300, "folder of text": b"hello"}
        path.write_bytes(contents[damage])
    assert store.get(KEY, Outer) is None
    assert not path.exists()
    store.put(KEY, VALUE)
    assert store.get(KEY, Outer) is not None


def test_a_flipped_byte_in_an_array_is_a_miss(store):
    store.put(KEY, Inner(1, np.random.default_rng(0).normal(size=400)))
    path = next(store.folder.rglob("*.npz"))
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("a0.npy").header_offset + 200
    broken = bytearray(path.read_bytes())
    broken[place] ^= 0xFF
    path.write_bytes(broken)
    assert store.get(KEY, Inner) is None


def test_whatever_byte_is_changed_the_result_is_right_or_a_miss(store):
    """A bit in what zip says of a file beside its content may change nothing; nothing else is ever given."""
    store.put(KEY, Inner(70_000, np.arange(3.0)))
    path = next(store.folder.rglob("*.npz"))
    whole, misses = path.read_bytes(), 0
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 0x55
        path.write_bytes(broken)
        found = Store(store.folder).get(KEY, Inner)
        misses += found is None
        assert path.exists() == (found is not None)
        if found is not None:
            assert found.count == 70_000
            np.testing.assert_array_equal(found.values, np.arange(3.0))
    assert misses > len(whole) / 2


def test_a_result_under_anothers_name_is_a_miss(store):
    """Two results of one kind whose files were exchanged, by a tool that restores or renames files."""
    other = key_of("thing", 1, image="other")
    store.put(KEY, thousand(1))
    store.put(other, thousand(2))
    paths = [store.folder / "thing" / f"{key}.npz" for key in (KEY, other)]
    paths[0].write_bytes(paths[1].read_bytes())
    assert store.get(KEY, Inner) is None
    assert [path.exists() for path in paths] == [False, True]
    assert store.get(other, Inner).values[0] == 2


@pytest.mark.parametrize("what", ["tree", "a0"])
def test_an_edited_result_is_a_miss(store, what):
    """A whole file that numpy reads without a word, but not the one that was kept."""
    store.put(KEY, Inner(1, np.zeros(2)))
    path = next(store.folder.rglob("*.npz"))
    with np.load(path) as file:
        parts = {name: file[name] for name in file.files}
    parts[what] = (
        np.frombuffer(parts["tree"].tobytes().replace(b": 1,", b": 2,"), np.uint8)
        if what == "tree"
        else parts["a0"] + 1
    )
    np.savez(path, **parts)
    assert store.get(KEY, Inner) is None
    assert not path.exists()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ESTALE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "stat"])
def test_a_result_that_cannot_be_read_now_is_kept(store, monkeypatch, call, code):
    store.put(KEY, VALUE)
    path = next(store.folder.rglob("*.npz"))

    def fails(self, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(self))

    with monkeypatch.context() as busy:
        busy.setattr(Path, call, fails)
        assert store.get(KEY, Outer) is None
    assert path.is_file()
    assert store.get(KEY, Outer).inner.count == 3
    (said,) = store.warnings
    assert os.strerror(code) in said


def read_only(code):
    def fails(place, _write):
        raise OSError(code, os.strerror(code), str(place))

    return fails


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_on_a_read_only_disk_results_last_as_long_as_the_process(store, monkeypatch, code):
    """The superuser writes wherever permissions forbid it, so the refusal itself is simulated."""
    store.put(KEY, thousand(1))
    new = key_of("thing", 1, image="new")
    monkeypatch.setattr("aevis_dash.files.replace_whole", read_only(code))
    calls = []
    for _ in range(2):
        assert store.remember(new, Inner, lambda: calls.append(1) or thousand(2)).values[0] == 2
    assert len(calls) == 1, "it is not computed twice"
    assert store.put(key_of("thing", 1, image="more"), thousand(3)) is False
    assert store.get(KEY, Inner).values[0] == 1, "what was stored before is read"
    assert len(store.warnings) == 1, "one line, however many results"
    assert str(store.folder) in store.warnings[0]
    assert os.strerror(code) in store.warnings[0]
    assert files(store) == [f"{KEY}.npz"]


def test_another_folder_takes_what_a_read_only_one_cannot(store, tmp_path, monkeypatch):
    """As a server's jobs need it, whose results it reads from the disk."""
    monkeypatch.setenv(SPARE_VARIABLE, str(tmp_path / "spare"))
    replace = module_files.replace_whole

    def fails(place, write):
        (read_only(errno.EROFS) if store.folder in place.parents else replace)(place, write)

    monkeypatch.setattr("aevis_dash.files.replace_whole", fails)
    assert store.put(KEY, thousand(1)) is True
    assert len(store.warnings) == 1
    elsewhere = Store(store.folder)
    assert elsewhere.has(KEY)
    assert elsewhere.get(KEY, Inner).values[0] == 1
    elsewhere.drop(KEY)
    assert not store.has(KEY)


def test_other_errors_of_writing_are_not_taken_for_a_read_only_disk(store, monkeypatch):
    monkeypatch.setattr("aevis_dash.files.replace_whole", read_only(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        store.put(KEY, VALUE)


def test_a_pickle_in_the_store_is_not_opened(store, tmp_path):
    store.put(KEY, Inner(1, np.zeros(1)))
    path = next(store.folder.rglob("*.npz"))
    trap = np.array([Trap(tmp_path / "ran")], dtype=object)
    with np.load(path) as file:
        np.savez(path, a0=trap, tree=file["tree"], seal=file["seal"])
    assert store.get(KEY, Inner) is None
    assert not (tmp_path / "ran").exists()


def test_nothing_of_ours_is_a_pickle(store):
    with pytest.raises(TypeError, match="object is not JSON serializable"):
        store.put(KEY, Inner(object(), np.zeros(1)))  # type: ignore[arg-type]
    store.put(KEY, VALUE)
    with zipfile.ZipFile(next(store.folder.rglob("*.npz"))) as archive:
        names = archive.namelist()
        assert len(names) > 2
        for name in names:
            np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)


def test_a_crash_while_writing_leaves_the_old_and_no_litter(store):
    store.put(KEY, VALUE)
    path = next(store.folder.rglob("*.npz"))
    before = path.read_bytes()

    def crash(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, crash)
    assert path.read_bytes() == before
    assert files(store) == [path.name]


def test_a_full_disk_leaves_the_old_and_no_litter_and_is_told_with_the_path(store, monkeypatch):
    store.put(KEY, VALUE)
    before = files(store)

    def full(file, **_arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    new = key_of("thing", 1, image="new")
    with monkeypatch.context() as disk:
        disk.setattr(np, "savez_compressed", full)
        for key in (KEY, new):
            with pytest.raises(AevisError, match=f"{key}.npz cannot be written, because its disk is full"):
                store.put(key, VALUE)
    assert files(store) == before
    assert store.get(KEY, Outer) is not None
    store.put(new, VALUE)
    assert store.get(new, Outer).inner.count == 3


WRITER = """
import sys, time
from pathlib import Path
from aevis_dash.files import write_atomically

def write(file):
    file.write(b"half")
    print(flush=True)
    time.sleep(60)

write_atomically(Path(sys.argv[1]), write)
"""


@pytest.fixture
def writer(store):
    """A process that is in the middle of writing to the store."""
    here = {"cwd": Path(__file__).parents[1], "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", WRITER, store.folder / "thing" / "file"], **here) as process:
        assert process.stdout.readline()
        yield process
        process.kill()


def test_what_a_killed_writer_left_is_swept_and_nothing_else(store, writer):
    store.put(KEY, VALUE)
    before = files(store)
    store.sweep()
    assert files(store) == before, "it is still being written"
    writer.kill()
    until = time.monotonic() + 10
    while psutil.Process(writer.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
    store.sweep()
    assert files(store) == [f"{KEY}.npz"], "nobody waited for the killed one yet"


def test_it_is_swept_when_nothing_is_known_of_its_writer(store, writer):
    writer.kill()
    writer.wait()
    assert len(files(store)) == 1
    store.sweep()
    assert files(store) == []


def left(store, pid, hours_before=0.0):
    """A part of that process, last written so long before this process began."""
    part = store.folder / "thing" / f"{part_prefix()}{pid}-0"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    if hours_before:
        os.utime(part, times=(psutil.Process().create_time() - 3600 * hours_before,) * 2)
    return part


def test_a_number_given_to_another_process_since_is_no_writer(store):
    """The clock of the file may be another, so a little before its process began is not before."""
    parts = [left(store, f"{os.getpid()}-{hours}", hours) for hours in (0, 0.9, 1.1)]
    store.sweep()
    assert [part.exists() for part in parts] == [True, True, False]


def test_a_writer_of_another_machine_is_left_alone(store, writer, monkeypatch):
    """As is one of a container whose process numbers are its own."""
    writer.kill()
    writer.wait()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        store.sweep()
    with monkeypatch.context() as container:
        container.setattr(os, "readlink", lambda _: "pid:[1]")
        store.sweep()
    assert len(files(store)) == 1
    store.sweep()
    assert files(store) == []


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1, "no-number"], ids=["written", "swept", "none of ours"])
def test_sweeping_bears_what_others_do_meanwhile(store, pid, monkeypatch):
    """Nothing was kept yet, a part is written or swept by others once it is listed, or is none of ours."""
    store.sweep()
    assert not store.folder.exists()
    listed = [str(left(store, pid).relative_to(store.folder))]
    monkeypatch.setattr(module, "glob", lambda *_, **__: listed)
    (store.folder / listed[0]).unlink()
    store.sweep()


def test_the_key_changes_with_every_part():
    parts = {"image": "abc", "parameters": Inner(1, 2), "given": ["x"], "layer": np.int64(3)}  # type: ignore[arg-type]
    keys = [
        key_of("thing", 1, **parts),
        key_of("other", 1, **parts),
        key_of("thing", 2, **parts),
        key_of("thing", 1, **parts | {"image": "abd"}),
        key_of("thing", 1, **parts | {"parameters": Inner(1, 3)}),  # type: ignore[arg-type]
        key_of("thing", 1, **parts | {"given": ["x", "x"]}),
        key_of("thing", 1, **parts | {"layer": 4}),
        key_of("thing", 1, **{k: v for k, v in parts.items() if k != "layer"}),
        key_of("thing", 1, **parts | {"more": None}),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == key_of("thing", 1, **dict(reversed(parts.items())))
    assert keys[0] == key_of("thing", 1, **parts | {"layer": 3})


def test_what_has_no_plain_form_cannot_be_part_of_a_key():
    with pytest.raises(TypeError, match="cannot be part of a key"):
        key_of("thing", 1, image=object())


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def _tree(path):
    with np.load(path) as file:
        return json.loads(file["tree"].tobytes())


def thousand(value: float) -> Inner:
    """A result of 8000 bytes."""
    return Inner(1, np.full(1000, value))


def test_what_is_read_twice_is_read_from_memory_and_cannot_be_written(store):
    store.put(KEY, VALUE)
    first, second = store.get(KEY, Outer), store.get(KEY, Outer)
    assert second is first, "one visitor's result is the next one's"
    with pytest.raises(ValueError, match="read-only"):
        first.mask[0] = False
    with pytest.raises(ValueError, match="read-only"):
        first.inner.values += 1
    assert store.get(KEY, Inner) is None, "a result of another kind is not given"


def test_memory_never_outlives_the_file(store):
    """Deleted, replaced by another process, or damaged in place: what lies on disk counts."""
    store.put(KEY, thousand(1))
    assert store.get(KEY, Inner).values[0] == 1
    Store(store.folder).put(KEY, thousand(2))
    assert store.get(KEY, Inner).values[0] == 2
    store.put(KEY, thousand(3))
    assert store.get(KEY, Inner).values[0] == 3
    path = next(store.folder.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:-40])
    assert store.get(KEY, Inner) is None
    store.put(KEY, thousand(4))
    assert store.get(KEY, Inner).values[0] == 4
    next(store.folder.rglob("*.npz")).unlink()
    assert store.get(KEY, Inner) is None
    assert store.remember(KEY, Inner, lambda: thousand(5)).values[0] == 5


def test_memory_has_a_bound_and_the_longest_unused_goes_first(tmp_path):
    """Room for four results of 10 kB: of five, the one not asked for since is read from disk again."""
    store = Store(tmp_path, held=45_000)
    keys = [key_of("thing", 1, number=i) for i in range(5)]
    for i, key in enumerate(keys):
        store.put(key, thousand(i))
    held = [store.get(key, Inner) for key in keys[:4]]
    assert store.get(keys[0], Inner) is held[0]
    store.get(keys[4], Inner)
    assert store.get(keys[1], Inner) is not held[1], "it had to go"
    assert store.get(keys[0], Inner) is held[0], "it was asked for since"
    assert [store.get(key, Inner).values[0] for key in keys] == list(range(5))


def test_results_of_no_arrays_fill_memory_too(tmp_path):
    store = Store(tmp_path, held=10_000)
    keys = [key_of("thing", 1, number=i) for i in range(20)]
    for key in keys:
        store.put(key, Outer("x", 0.5, True, Inner(1, np.zeros(0)), np.zeros(0, bool)))
    got = [store.get(key, Outer) for key in keys]
    held = [store.get(key, Outer) is one for key, one in zip(keys[::-1], got[::-1], strict=True)]
    assert 0 < sum(held) < 5, "the newest"


def test_a_result_that_would_push_out_all_others_stays_on_disk(tmp_path):
    store = Store(tmp_path, held=30_000)
    store.put(KEY, thousand(1))
    assert store.get(KEY, Inner) is not store.get(KEY, Inner)
