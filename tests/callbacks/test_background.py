"""Jobs that fail say so and lose nothing; what two visitors ask for is computed once."""

import errno
import os
import threading
from dataclasses import asdict

import numpy as np
import pytest
from dash import no_update

from aevis_dash import jobs
from aevis_dash.callbacks import background
from aevis_dash.callbacks.view.state import ALL, FIRST, View
from aevis_dash.callbacks.view.state import NULLS as PART_OF_NULLS
from aevis_dash.callbacks.view.steps import Step, step_from_data
from aevis_dash.callbacks.work import LEARNING, LONG, NEEDED, NULLS, QUICK, Manners
from aevis_dash.core import flipback
from aevis_dash.domain import Intervention
from aevis_dash.workbench import open_workbench

LAYER = "layer4.2.relu"


@pytest.fixture
def bench(world, monkeypatch):
    """The workbench of a job on a workspace of its own, in this process."""
    found = open_workbench(world)
    monkeypatch.setattr(jobs, "workbench", lambda: found)
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    jobs.server_process.cache_clear()
    yield found
    jobs.server_process.cache_clear()


@pytest.fixture
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer=LAYER, map=1, maps=(3, 5))


def flip(view, page="page"):
    return background.flip_job(lambda _: None, 1, " ".join(map(str, view.maps)), view.to_data(), page)


def asked(bench, view):
    return bench.flips.find_stored(view.example, Intervention(bench.layers.find(LAYER).index, view.maps))


def test_a_full_disk_is_said_and_the_next_try_works(bench, view, monkeypatch):
    def full(file, **_arrays):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    before = {path for path in bench.workspace.cache.rglob("*") if path.is_file()}
    answer = flip(view)
    assert "because its disk is full" in answer["message"]
    assert answer["message"].endswith("Free some space and try again; what was finished is kept.")
    assert answer["open"]
    assert answer["result"] is no_update
    left = {path for path in bench.workspace.cache.rglob("*") if path.is_file()} - before
    assert {path.name for path in left} <= {"job.lock"}, "no half of a result"
    monkeypatch.undo()
    monkeypatch.setattr(jobs, "workbench", lambda: bench)
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    answer = flip(view)
    assert (answer["message"], answer["open"]) == ("", False)
    assert answer["result"]["example"] == view.example
    assert asked(bench, view).maps.tolist() == [3, 5]


def test_what_two_visitors_ask_for_is_computed_once(bench, view, monkeypatch):
    computed, verify = [], flipback.verify
    monkeypatch.setattr(flipback, "verify", lambda *given: computed.append(given) or verify(*given))
    answers: list[dict] = []
    visitors = [threading.Thread(target=lambda i=i: answers.append(flip(view, f"page {i}"))) for i in range(3)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(60)
    assert [(answer["message"], answer["open"]) for answer in answers] == [("", False)] * 3
    assert len(computed) == 1


def test_a_job_gives_the_steps_of_the_trail(bench, view):
    done = flip(view)["result"]
    assert [step_from_data(s) for s in done["steps"]] == [Step(LAYER, 1, maps=(3, 5), replacement="source")]
    answer = background.suggest_job(lambda _: None, 1, view.to_data(), "page")
    assert (answer["message"], answer["open"]) == ("", False)
    done = answer["result"]
    steps = [step_from_data(s) for s in done["steps"]]
    assert steps[0] == Step("", None, source=bench.layers.layers[bench.flips.depths()[-1]].name)
    assert [s.is_flip for s in steps[:2]] == [False, True]
    assert all(s.parent < i for i, s in enumerate(steps))
    assert asdict(steps[1]) == done["steps"][1] | {"maps": steps[1].maps}


def test_the_maps_in_the_box_are_flipped_whatever_the_view_knows_yet(bench, view):
    typed = background.flip_job(lambda _: None, 1, "7, 8 7", view.but(maps=()).to_data(), "page")
    assert step_from_data(typed["result"]["steps"][0]).maps == (7, 8)
    for text, words in [
        ("seven", "'seven' is no feature map"),
        ("²", "is no feature map"),
        ("9" * 999, "no feature map"),
        ("99999", "there is no map 99999"),
    ]:
        answer = background.flip_job(lambda _: None, 1, text, view.to_data(), "page")
        assert answer["open"]
        assert words in answer["message"]


def test_a_refusal_and_a_fault_are_told_apart(bench, view, monkeypatch, caplog):
    every = view.but(maps=tuple(range(bench.layers.find(LAYER).channels)), layer=LAYER)
    monkeypatch.setattr(jobs, "verify", lambda *_: 1 / 0)
    answer, failed = (
        flip(every),
        "The flip-back failed (ZeroDivisionError: division by zero). What was finished is kept, so try again.",
    )
    assert answer["open"]
    assert answer["message"].startswith(failed)
    assert "job failed" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(jobs, "workbench", lambda: bench)
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    answer = flip(view.but(replacement="love"))
    assert answer["open"]
    assert answer["message"].startswith("The page or the link names no replacement 'love'.")


def test_nobody_asked(bench, view):
    for job, given in (
        (background.flip_job, (None, "", view.to_data())),
        (background.suggest_job, (None, view.to_data())),
        (background.solve_job, (None,)),
        (background.edge_job, (None, "layer3.0.relu", view.to_data())),
        (background.edge_job, (1, None, view.to_data())),
    ):
        assert job(lambda _: None, *given, "page") is no_update


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("flip_job", (1, "", {"example": "a"}), Manners(QUICK)),
        ("visualise_job", (1, {"example": "a"}), Manners(QUICK)),
        ("edge_job", (1, "relu", {"example": "a"}), Manners(QUICK)),
        ("solve_job", ({"example": "a", "how": "solved"},), Manners(QUICK)),
        ("solve_job", ({"example": "a", "how": "exact"},), Manners(LONG)),
        ("solve_job", (None,), Manners(QUICK)),
        ("suggest_job", (1, {"example": "a"}), Manners(LONG)),
        ("compare_job", (1,), Manners(LONG)),
        ("learn_job", ("some",), Manners(LEARNING)),
        ("extract_job", ({"example": "a", "part": FIRST},), Manners(NEEDED, "a")),
        ("extract_job", ({"example": "a", "part": ALL},), Manners(NEEDED, "a")),
        ("extract_job", ({"example": "a", "part": PART_OF_NULLS},), Manners(NULLS, "a")),
        ("extract_job", (None,), Manners(NEEDED)),
    ],
)
def test_a_job_that_takes_seconds_goes_before_one_that_takes_minutes(name, given, expected):
    assert getattr(background, name).__name__ == name
    assert background.manners(name, given) == expected
    assert expected.shared == (expected.rank in (NULLS, LEARNING))


def test_the_list_names_the_classes_of_a_jobs_example_and_the_map_of_a_picture(bench, view):
    example = bench.workspace.example(view.example)
    seen = bench.judging.predict([example.source, example.adversarial])
    words = f"{bench.class_names[seen[0].label]} → {bench.class_names[seen[1].label]}"
    assert words == "panda → monkey"
    exact = f"{example.adversarial}, made from {example.source}"
    for name, given in (
        ("extract_job", ({"example": view.example, "part": FIRST},)),
        ("flip_job", (1, "3 5", view.to_data())),
        ("suggest_job", (1, view.to_data())),
    ):
        assert background.subject(bench, name, given) == (words, exact)
    assert background.subject(bench, "visualise_job", (1, view.to_data())) == (f"map 1 of {LAYER}", "")
    for given in ((1,), (None,), ({"example": "none such"},), ({"example": 7},)):
        assert background.subject(bench, "extract_job", given) == ("", "")


def test_a_job_says_how_far_it_is_and_why_it_ended(bench, view, monkeypatch):
    told = []
    done = background.extract_job(told.append, {**view.to_data(), "part": FIRST}, "page")
    assert (done["ended"], done["message"]) == ("", "")
    count = 2 + len(bench.datapaths.triplet(view.example).candidates)
    assert told == [(100.0, f"{count} datapaths extracted", "")]
    monkeypatch.setattr(jobs, "extract", lambda *_, **__: 1 / 0)
    failed = background.extract_job(told.append, {**view.to_data(), "part": FIRST}, "page")
    assert failed["ended"] == failed["message"] != ""
    assert failed["result"]["failed"] == failed["ended"]
