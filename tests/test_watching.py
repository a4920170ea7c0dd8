"""Digests of many files: looked up again only where something may have changed."""

import os
import time

import pytest

from aevis_dash import reading, watching
from aevis_dash.reading import Digests
from aevis_dash.watching import Watched


class Counting(Digests):
    """Counts the files that are looked at."""

    looked = 0

    def of(self, path):
        self.looked += 1
        return super().of(path)


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Three files that count as many, in a folder that has been at rest for a minute."""
    monkeypatch.setattr(watching, "FEW", 2)
    paths = tuple(tmp_path / name for name in "abc")
    for path in paths:
        path.write_bytes(path.name.encode())
    rest(tmp_path)
    return paths


def rest(folder):
    """Give a folder and its files times that are a minute old."""
    past = time.time() - 60
    for path in (*folder.iterdir(), folder):
        os.utime(path, (past, past))


def test_many_files_are_not_looked_at_again_while_their_folders_rest(many):
    files = Counting()
    watched = Watched(files)
    first = watched.digests(many)
    assert first == tuple(Digests().of(path) for path in many)
    assert files.looked == 3
    assert watched.digests(many) is first
    assert files.looked == 3


def test_few_files_are_looked_at_whenever_they_are_asked_for(many, monkeypatch):
    monkeypatch.setattr(watching, "FEW", 3)
    files = Counting()
    watched = Watched(files)
    first = watched.digests(many)
    assert watched.digests(many) is first
    assert files.looked == 6


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_what_a_folder_tells_of_is_noticed_at_once(many, change, tmp_path):
    watched = Watched(Digests())
    before = watched.digests(many)
    if change == "removed":
        many[1].unlink()
        with pytest.raises(FileNotFoundError) as told:
            watched.digests(many)
        assert told.value.filename == str(many[1])
        assert watched.digests(many, missing_allowed=True)[1] == ""
        return
    (tmp_path / "new").write_bytes(b"other")
    os.replace(tmp_path / "new", many[1])
    after = watched.digests(many)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] == Digests().of(many[1]) != before[1]


def test_a_file_rewritten_in_place_is_noticed_when_the_patience_ends(many, monkeypatch):
    """Nothing but looking at the file itself tells of it."""
    watched = Watched(Digests())
    before = watched.digests(many)
    many[1].write_bytes(b"other")
    assert watched.digests(many) is before
    monkeypatch.setattr(watching, "PATIENCE", 0)
    assert watched.digests(many)[1] == Digests().of(many[1]) != before[1]


def test_a_folder_that_has_just_changed_does_not_count_as_resting(many):
    """Within one step of the file system's clock a folder's time tells nothing."""
    watched = Watched(Digests())
    os.utime(many[0].parent)
    before = watched.digests(many)
    many[1].write_bytes(b"other")
    assert watched.digests(many)[1] != before[1]


def test_forgetting_has_every_file_looked_at(many):
    watched = Watched(Digests())
    before = watched.digests(many)
    many[1].write_bytes(b"other")
    watched.forget()
    assert watched.digests(many)[1] != before[1]


def test_other_files_are_another_list(many):
    watched = Watched(Digests())
    assert watched.digests(many[:1]) == watched.digests(many)[:1]


def test_what_another_process_knew_counts_for_files_that_have_not_changed(many, monkeypatch):
    monkeypatch.setattr(reading, "SETTLED", -1e9)
    first = Digests()
    known = {path: first.of(path) for path in many}
    many[1].write_bytes(b"x")
    second = Reading()
    second.trust(first.known())
    assert second.of(many[0]) == known[many[0]]
    assert second.read_paths == []
    assert second.of(many[1]) != known[many[1]]
    assert second.read_paths == [many[1]]


class Reading(Digests):
    """Notes the files whose bytes are read."""

    def __init__(self):
        super().__init__()
        self.read_paths = []

    def read(self, path):
        self.read_paths.append(path)
        return super().read(path)
