"""The files of a store: what they are of, when they were used, and that room is made without losing what is in use."""

import os
import time
from dataclasses import dataclass

import numpy as np
import pytest
from filelock import FileLock

from aevis_dash import stored as module
from aevis_dash.files import part_prefix
from aevis_dash.store import QUOTA_VARIABLE, Store, key_of
from aevis_dash.stored import FRESH, LOCK, SPARED, About, about_of, entries, in_units, superfluous

DAY = 86_400.0
IMAGE, OTHER = "0123456789abcdef" * 2, "f" * 32


@dataclass(frozen=True)
class Thing:
    values: np.ndarray


def key(i, kind="thing", **parts):
    return key_of(kind, 3, model="a-model", image=IMAGE, number=i, **parts)


def fill(store, count, size=1000):
    """So many results of about `size` bytes each; the first one was unused for the longest time, a day for each."""
    paths = []
    for i in range(count):
        store.put(key(i), Thing(np.random.default_rng(i).integers(0, 256, size, np.uint8)))
        paths.append(store.folder / "thing" / f"{key(i)}.npz")
    for i, path in enumerate(paths):
        used(path, time.time() - (count - i) * DAY)
    return paths


def used(path, moment):
    os.utime(path, (moment, moment))


def test_a_result_tells_what_it_is_of(tmp_path):
    store = Store(tmp_path)
    made = key_of("thing", 3, model="a-model", images=[OTHER, IMAGE], asked={"near": [OTHER]}, number=7)
    store.put(made, Thing(np.arange(3)))
    (entry,) = entries(tmp_path)
    assert about_of(entry.path) == About(3, "a-model", (IMAGE, OTHER))
    np.testing.assert_array_equal(store.get(made, Thing).values, np.arange(3))


def test_a_result_of_two_models_lies_in_the_seconds_store(tmp_path):
    made = key_of("kinship", 1, models=["first", "second"], images=[IMAGE])
    Store(tmp_path).put(made, Thing(np.arange(3)))
    assert about_of(entries(tmp_path)[0].path) == About(1, "second", (IMAGE,))


def test_a_result_of_very_many_images_is_of_the_whole_workspace(tmp_path):
    made = key_of("listing", 1, model="m", images=[f"{i:032x}" for i in range(65)])
    Store(tmp_path).put(made, Thing(np.arange(3)))
    assert about_of(entries(tmp_path)[0].path) == About(1, "m", ())


def test_a_result_of_an_earlier_version_of_the_program_is_read_and_tells_nothing(tmp_path):
    store = Store(tmp_path)
    plain = str(key(0))  # a text knows nothing of its parts, as no key did before
    store.put(plain, Thing(np.arange(3)))
    assert about_of(entries(tmp_path)[0].path) is None
    np.testing.assert_array_equal(Store(tmp_path).get(key(0), Thing).values, np.arange(3))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(40)], ids=["empty", "text", "half"])
def test_a_damaged_result_tells_nothing(tmp_path, content):
    path = tmp_path / "thing.npz"
    path.write_bytes(content)
    assert about_of(path) is None


def test_results_alone_are_listed_the_longest_unused_first(tmp_path):
    store = Store(tmp_path)
    paths = fill(store, 3)
    used(paths[0], time.time() - 0.5 * DAY)
    (tmp_path / "job.lock").write_text("")
    (tmp_path / "thing" / f"{part_prefix()}1-abc").write_text("x")
    (tmp_path / "thing" / "notes.txt").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / paths[1].name).write_text("of another kind")
    os.symlink(paths[1], tmp_path / "thing" / f"thing-{'a' * 40}.npz")
    assert [entry.path for entry in entries(tmp_path)] == [paths[1], paths[2], paths[0]]
    assert [entry.size for entry in entries(tmp_path)] == [
        path.stat().st_size for path in (paths[1], paths[2], paths[0])
    ]
    assert entries(tmp_path / "nothing") == []


def test_reading_a_result_counts_as_use_also_where_it_lies_in_memory(tmp_path):
    store = Store(tmp_path)
    paths = fill(store, 2)
    for reader in (Store(tmp_path), store):
        for path in paths:
            used(path, time.time() - DAY)
        before = paths[0].stat().st_mtime_ns
        assert reader.get(key(0), Thing) is not None
        used_at = {entry.path: entry.used for entry in entries(tmp_path)}
        assert abs(used_at[paths[0]] - time.time()) < 60
        assert abs(used_at[paths[1]] - time.time() + DAY) < 60
        assert paths[0].stat().st_mtime_ns == before, "the state by which memory knows a file stays"


def test_looking_at_what_a_result_is_of_is_no_use(tmp_path):
    (path,) = fill(Store(tmp_path), 1)
    before = path.stat().st_atime_ns
    assert about_of(path).version == 3
    assert path.stat().st_atime_ns == before


def test_a_use_is_noted_once_an_hour(tmp_path, monkeypatch):
    store = Store(tmp_path)
    (path,) = fill(store, 1)
    noted = []
    monkeypatch.setattr(module.os, "utime", lambda path, **_: noted.append(path))
    for age, notes in ((FRESH - 60, 0), (FRESH + 60, 1)):
        noted.clear()
        monkeypatch.setattr(module.time, "time", lambda age=age: path.stat().st_mtime + age)
        store.get(key(0), Thing)
        assert len(noted) == notes


@pytest.mark.parametrize("leap", [-400 * DAY, 400 * DAY])
def test_a_clock_that_leaps_changes_no_result_and_removes_nothing_in_use(tmp_path, monkeypatch, leap):
    """The files' times lie in the future, or far in the past."""
    store = Store(tmp_path, quota=2**40)
    paths = fill(store, 3)
    for path in paths:
        used(path, time.time() + leap)
    for reader in (store, Store(tmp_path)):
        for i in range(3):
            expected = np.random.default_rng(i).integers(0, 256, 1000, np.uint8)
            np.testing.assert_array_equal(reader.get(key(i), Thing).values, expected)
    now = time.time()
    assert all(abs(entry.used - now) < 60 for entry in entries(tmp_path))
    assert superfluous(entries(tmp_path), 0) == [], "they were used just now"


def test_a_time_in_the_future_counts_as_now(tmp_path):
    (path,) = fill(Store(tmp_path), 1)
    used(path, time.time() + 400 * DAY)
    now = time.time()
    assert entries(tmp_path, now)[0].used == now
    assert superfluous(entries(tmp_path, now + 10 * SPARED), 0, now + 10 * SPARED) == []


def test_the_longest_unused_go_until_the_rest_has_room(tmp_path):
    paths = fill(Store(tmp_path), 5)
    found = entries(tmp_path)
    three = sum(entry.size for entry in found[2:])
    assert [entry.path for entry in superfluous(found, three)] == paths[:2]
    assert [entry.path for entry in superfluous(found, three - 1)] == paths[:3]
    assert superfluous(found, sum(entry.size for entry in found)) == []


def test_what_was_used_just_now_stays_whatever_it_takes(tmp_path):
    paths = fill(Store(tmp_path), 4)
    used(paths[0], time.time())
    assert [entry.path for entry in superfluous(entries(tmp_path), 0)] == paths[1:]


def test_a_store_keeps_its_quota_and_gives_right_values(tmp_path):
    """It is filled with three times as much as it may hold, while results go and are computed again."""
    quota = 40_000
    store, calls = Store(tmp_path, quota=quota), []

    def compute(i):
        calls.append(i)
        return Thing(np.random.default_rng(i).integers(0, 256, 4000, np.uint8))

    for round_of in range(2):
        for i in range(30):
            found = store.remember(key(i), Thing, lambda i=i: compute(i))
            np.testing.assert_array_equal(found.values, np.random.default_rng(i).integers(0, 256, 4000, np.uint8))
            path = tmp_path / "thing" / f"{key(i)}.npz"
            used(path, time.time() - DAY + 1000 * round_of + 10 * i)
            assert sum(entry.size for entry in entries(tmp_path)) <= quota + 5000
    assert len(calls) == 60, "the longest unused go first, so none of them is left when its turn comes again"
    assert store.warnings == ()


def test_results_in_use_may_exceed_the_quota_and_it_is_told(tmp_path):
    store = Store(tmp_path, quota=10_000)
    for i in range(8):
        store.put(key(i), Thing(np.random.default_rng(i).integers(0, 256, 4000, np.uint8)))
    assert len(entries(tmp_path)) == 8
    (said,) = store.warnings
    assert said == (
        "Results that were used in the last 10 minutes take more than the quota of 9.8 KiB, so they are kept. Give the "
        "store more room."
    )
    for entry in entries(tmp_path):
        used(entry.path, time.time() - DAY)
    store.put(key(8), Thing(np.arange(3)))
    assert store.warnings == (), "it is over"
    assert sum(entry.size for entry in entries(tmp_path)) <= 10_000


def test_the_environment_goes_before_the_settings(tmp_path, monkeypatch):
    assert Store(tmp_path, quota=7).quota == 7
    assert Store(tmp_path).quota is None
    monkeypatch.setenv(QUOTA_VARIABLE, "12345")
    assert Store(tmp_path, quota=7).quota == 12_345


def test_another_process_that_makes_room_is_not_waited_for(tmp_path):
    store = Store(tmp_path, quota=1000)
    paths = fill(store, 2)
    with FileLock(tmp_path / LOCK):
        store.put(key(9), Thing(np.random.default_rng(9).integers(0, 256, 1000, np.uint8)))
        assert all(path.exists() for path in paths)
    store.put(key(10), Thing(np.random.default_rng(10).integers(0, 256, 1000, np.uint8)))
    assert not any(path.exists() for path in paths)


def test_a_reader_who_has_opened_a_result_reads_it_to_the_end(tmp_path):
    store = Store(tmp_path)
    (path,) = fill(store, 1)
    whole = path.read_bytes()
    with path.open("rb") as reading:
        assert module.remove(entries(tmp_path)) == (1, len(whole))
        assert reading.read() == whole
    assert store.get(key(0), Thing) is None


def test_what_others_have_removed_is_not_counted(tmp_path):
    paths = fill(Store(tmp_path), 3)
    found = entries(tmp_path)
    paths[1].unlink()
    assert module.remove(found) == (2, found[0].size + found[2].size)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (20 * 2**30, "20.0 GiB"), (2**41, "2.0 TiB")],
)
def test_sizes_for_people(size, words):
    assert in_units(size) == words
