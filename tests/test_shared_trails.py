"""Saved trails: files that are whole, bounded, and deleted by who saved them."""

import json
import os
from dataclasses import asdict

import pytest

from aevis_dash import shared_trails
from aevis_dash.domain import AevisError
from aevis_dash.shared_trails import FOLDER, LONGEST_LINK, LONGEST_NAME, SharedTrails

LINK = "?example=a&steps=x"


@pytest.fixture
def shelf(tmp_path) -> SharedTrails:
    return SharedTrails(tmp_path / "cache")


def names(shelf: SharedTrails) -> list[str]:
    return [trail.name for trail in shelf.all()[0]]


def test_what_is_saved_is_there_for_everybody(shelf, tmp_path):
    made = shelf.save("  ears of\n the panda ", "ada", LINK)
    assert (made.name, made.who, made.link) == ("ears of the panda", "ada", LINK)
    assert SharedTrails(tmp_path / "cache").all() == ([made], 0)
    (file,) = (tmp_path / "cache" / FOLDER).glob("*.json")
    assert json.loads(file.read_text()) == asdict(made)
    assert SharedTrails(tmp_path / "empty").all() == ([], 0)


def test_the_last_one_stands_first(shelf, monkeypatch):
    for i, name in enumerate(("first", "second", "third")):
        made = shelf.save(name, "", LINK)
        file = shelf.folder / f"{made.key}.json"
        file.write_text(json.dumps(asdict(made) | {"when": f"2026-01-0{i + 1}T00:00:00+00:00"}))
    assert names(shelf) == ["third", "second", "first"]


def test_only_who_saved_a_trail_deletes_it(shelf):
    key = shelf.save("x", "ada", LINK).key
    for who in ("ben", "", "Ada"):
        with pytest.raises(AevisError, match="saved by ada"):
            shelf.delete(key, who)
    assert names(shelf) == ["x"]
    shelf.delete(key, "ada")
    assert names(shelf) == []
    shelf.delete(key, "ada")
    shelf.delete(shelf.save("y", "ada", LINK).key, None)
    assert names(shelf) == []


@pytest.mark.parametrize("key", ["", "../../workspace", "x" * 16, "0" * 15, "0" * 16 + "\n", "/etc/passwd"])
def test_a_key_names_no_other_file(shelf, key):
    with pytest.raises(AevisError, match="no saved trail"):
        shelf.delete(key, None)


@pytest.mark.parametrize(
    ("name", "who", "link", "words"),
    [
        ("", "ada", LINK, "has no name"),
        (" \n ", "ada", LINK, "has no name"),
        ("x" * (LONGEST_NAME + 1), "ada", LINK, "more than 80 characters"),
        ("x\0", "ada", LINK, "cannot be printed"),
        ("x", "a" * (LONGEST_NAME + 1), LINK, "more than 80 characters"),
        ("x", "ada", "", "nothing that can be saved"),
        ("x", "ada", "javascript:alert(1)", "nothing that can be saved"),
        ("x", "ada", "?" + "x" * LONGEST_LINK, "nothing that can be saved"),
    ],
)
def test_what_cannot_be_saved_is_told(shelf, name, who, link, words):
    with pytest.raises(AevisError, match=words):
        shelf.save(name, who, link)
    assert shelf.all() == ([], 0)


def test_there_are_not_more_than_so_many(shelf, monkeypatch):
    monkeypatch.setattr(shared_trails, "MOST", 4)
    monkeypatch.setattr(shared_trails, "MOST_OF_ONE", 2)
    for name in ("a", "b"):
        shelf.save(name, "ada", LINK)
    with pytest.raises(AevisError, match="You have saved 2 trails"):
        shelf.save("c", "ada", LINK)
    for name in ("d", "e"):
        shelf.save(name, "", LINK)
    with pytest.raises(AevisError, match="4 trails are saved"):
        shelf.save("f", "", LINK)
    assert len(names(shelf)) == 4


def test_damaged_files_are_counted_and_left(shelf):
    good = shelf.save("good", "ada", LINK)
    told = asdict(good)
    for i, text in enumerate(
        (
            "",
            "[]",
            "[" * 100_000,
            json.dumps(told),
            json.dumps(told | {"key": "0" * 15 + "4", "link": "https://evil.example"}),
            json.dumps(told | {"key": "0" * 15 + "5", "name": 5}),
            json.dumps(told | {"key": "0" * 15 + "6", "more": ""}),
        )
    ):
        (shelf.folder / f"{'0' * 15}{i}.json").write_text(text)
    assert shelf.all() == ([good], 7)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(AevisError, match="read-only"):
        SharedTrails(tmp_path / "cache").save("x", "", LINK)


def test_a_file_in_the_place_of_the_cache_is_told(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(AevisError, match="Copy the link instead"):
        SharedTrails(tmp_path / "cache").save("x", "", LINK)
