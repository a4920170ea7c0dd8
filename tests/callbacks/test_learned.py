"""The learned features on the page: what is found so far, how far that is, and the jobs that find it."""

import base64
import io
import os
import shutil
import threading
from urllib.parse import quote

import numpy as np
import pytest
from dash import no_update
from filelock import FileLock
from PIL import Image

from aevis_dash import jobs, learning
from aevis_dash.callbacks import background, pictures
from aevis_dash.callbacks.neuron.learned import best_crops, in_words
from aevis_dash.core.learned import Learner
from aevis_dash.domain import AevisError, AreaOfInterest, FeatureMap
from aevis_dash.layouts.learned import crops
from aevis_dash.workbench import open_workbench

CHOSEN = FeatureMap(20, 7)


@pytest.fixture
def bench(world, monkeypatch):
    """The workbench of a job on a workspace of its own, in this process."""
    found = open_workbench(world)
    monkeypatch.setattr(jobs, "workbench", lambda: found)
    monkeypatch.setattr(jobs, "PAUSE", 0.0)
    monkeypatch.setattr(learning, "DISSECTED", 8)
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    jobs.server_process.cache_clear()
    yield found
    jobs.server_process.cache_clear()


def test_before_anything_is_found_every_place_is_empty(bench):
    assert best_crops(bench, CHOSEN, "activation", None) == []
    assert pictures.first_crop(bench, CHOSEN, None) == ""
    assert [type(place).__name__ for place in crops([], 9)] == ["Span"] * 9


def test_the_job_finds_them_and_the_two_sets_differ(bench):
    background.learn_job("wanted", "page")
    fires, speaks = (best_crops(bench, CHOSEN, by, None) for by in ("activation", "relevance"))
    assert fires != speaks
    learned, flat = bench.learning.stored_features(), bench.layers.offsets[20] + 7
    row, col = learned.row[flat, 0], learned.col[flat, 0]
    assert fires[0].image == bench.workspace.images[learned.image[flat, 0]].file
    assert fires[0].words == f"row {row}, column {col} · activation {learned.value[flat, 0]:.3g}"
    assert speaks[0].words.split(" · ")[1].startswith("relevance ")
    row, col = int(row), int(col)
    assert pictures.first_crop(bench, CHOSEN, None) == pictures.seen_by(bench, fires[0].image, 20, row, col)
    kind, data = fires[0].address.split(",")
    assert kind == "data:image/png;base64"
    field = bench.maps.receptive_field(AreaOfInterest(20, row, col, row + 1, col + 1))
    whole = bench.workspace.read([fires[0].image])[0]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    np.testing.assert_array_equal(picture, whole[field.top : field.bottom, field.left : field.right])
    assert len(fires) == 9
    shown = crops(fires, 9)
    assert len(shown) == 9
    assert shown[0].title == f"{fires[0].image} · {fires[0].words}"
    assert fires[0].image in shown[0].alt


def test_no_patch_is_of_the_picture_under_study(bench):
    """Nor is one of it under another name, or of its adversarial among the images; nine others stand there."""
    example = bench.workspace.examples()[0]
    for name, original in (("copy.png", example.source), ("attacked.png", example.adversarial)):
        shutil.copy(bench.workspace.path(original), bench.workspace.root / "images" / name)
    with (bench.workspace.root / "images.csv").open("a") as table:
        table.write("copy.png,\nattacked.png,\n")
    background.learn_job("wanted", "page")
    own = {example.source, "copy.png", "attacked.png"}
    maps, met, full = [FeatureMap(20, channel) for channel in range(64)], 0, 0
    for by in ("activation", "relevance"):
        for chosen in maps:
            every, beside = ([p.image for p in best_crops(bench, chosen, by, e)] for e in (None, example.id))
            assert not own & set(beside)
            assert [name for name in every if name not in own] == beside[: len([n for n in every if n not in own])]
            assert len(beside) == 9 or len(every) < 9
            full += len(beside) == 9
            met += bool(own & set(every))
    assert met > 20, "they would have been seen"
    assert full > 100
    shown = {chosen: best_crops(bench, chosen, "activation", example.id) for chosen in maps}
    assert all(quote(p[0].image) in pictures.first_crop(bench, m, example.id) for m, p in shown.items() if p)
    assert all(pictures.first_crop(bench, m, example.id) == "" for m, p in shown.items() if not p)


def test_where_an_image_cannot_be_read_its_patch_has_the_address_at_which_nothing_is_found(bench):
    name = bench.workspace.images[0].file
    known = pictures.seen_by(bench, name, 20, 1, 2)
    assert pictures.patch_inside(bench, name, 20, 1, 2).startswith("data:image/png;base64,")
    pictures.recent.clear()
    bench.maps.seen_by = lambda *_: raise_(AevisError("The file is gone."))
    assert pictures.patch_inside(bench, name, 20, 1, 2) == known
    assert not pictures.recent, "what could not be read is asked for again"


def raise_(error):
    raise error


def test_the_address_of_a_patch_does_not_change_while_the_index_grows(bench):
    name = bench.workspace.images[0].file
    before = pictures.seen_by(bench, name, 20, 1, 2)
    background.learn_job("wanted", "page")
    assert pictures.seen_by(bench, name, 20, 1, 2) == before


@pytest.mark.parametrize(
    ("seen", "complete", "words"),
    [
        (0, False, "looking at the first of 10,000 images …"),
        (640, False, "learned from 640 of 10,000 images …"),
        (10000, False, "learned from 10,000 images; naming maps …"),
        (10000, True, "learned from 10,000 images"),
    ],
)
def test_how_far_it_is_is_said(seen, complete, words):
    assert in_words(seen, 10000, complete) == words


def test_one_process_learns_and_others_leave_it_to_that(bench, monkeypatch):
    seen = []
    monkeypatch.setattr(Learner, "see", lambda *given: seen.append(given))
    with FileLock(bench.workspace.cache / "learn.lock"):
        done = threading.Thread(target=jobs.learn, args=(lambda *_: None,))
        done.start()
        done.join(10)
        assert not done.is_alive(), "it does not wait"
    assert seen == []


def test_a_visitors_job_comes_between_two_batches(bench, monkeypatch):
    """A job that asks for its turn while the first batch is learned gets it before the index is complete."""
    monkeypatch.setattr(jobs, "PAUSE", 0.2)
    asked, done, see = threading.Event(), [], Learner.see

    def slow(self, images, places):
        asked.set()
        see(self, images, places)

    monkeypatch.setattr(Learner, "see", slow)

    def visit():
        asked.wait(20)
        jobs.visualise(CHOSEN, lambda *_: None)
        done.append(bench.learning.complete)

    visitor = threading.Thread(target=visit)
    visitor.start()
    jobs.learn(lambda *_: None)
    visitor.join(60)
    assert done == [False]


def test_an_image_that_cannot_be_read_is_said(bench):
    bench.workspace.path(bench.workspace.images[0].file).write_bytes(b"no picture")
    answer = background.learn_job("wanted", "page")
    assert answer["open"]
    assert "cannot be read" in answer["message"]


def test_the_picture_is_made_by_a_job_and_served(bench):
    name = bench.layers.layers[20].name
    done = background.visualise_job(lambda _: None, 3, {"layer": name, "map": 7, "best": "activation"}, "page")
    assert done == {"result": 3, "message": "", "open": False, "ended": ""}
    assert bench.learning.stored_visualisation(CHOSEN) is not None
    answer = background.visualise_job(lambda _: None, 4, {"layer": name, "map": 9999}, "page")
    assert answer["open"]
    assert "there is no map 9999" in answer["message"]
    assert background.visualise_job(lambda _: None, None, None, "page") is no_update
