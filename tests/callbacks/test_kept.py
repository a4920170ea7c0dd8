"""Answers that are kept: the same as if they were made anew, as long as nothing has changed, and within a bound."""

import json
import os
import threading
import time

import numpy as np
import pytest
from flask import Flask, Response, g

from aevis_dash import ids
from aevis_dash.callbacks import bodies, kept
from aevis_dash.callbacks.kept import LASTS, SETTLED, Kept, Moment
from aevis_dash.callbacks.view.state import View
from aevis_dash.store import Store, key_of
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench
from aevis_dash.workbench.maps import Maxima

LONG_AGO = 3600 * 10**9


def settle(world):
    """Let the folders of the store be old enough to tell of every further change."""
    now = time.time_ns()
    for folder in (world / "cache").iterdir():
        if folder.is_dir() and now - folder.stat().st_mtime_ns < LONG_AGO:
            os.utime(folder, ns=(now - LONG_AGO, now - LONG_AGO))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_an_answer_is_given_again_until_it_is_old():
    clock = Clock()
    answers = Kept(clock=clock)
    assert answers.find("a") is None
    answers.keep("a", Response(b"body", headers={"ETag": '"x"', "X-Request-Id": "7"}), 60)
    answers.done("a")
    found = answers.find("a")
    assert (found.get_data(), found.headers["ETag"], "X-Request-Id" in found.headers) == (b"body", '"x"', False)
    assert answers.find("b") is None
    clock.now += 60
    assert answers.find("a") is None


def test_kept_answers_have_a_bound_and_the_longest_unused_goes_first():
    answers = Kept(bound=40_000)
    for name in "abcdefgh":
        answers.keep(name, Response(bytes(4000)), 60)
        answers.find("a")
    assert answers.size <= 40_000
    assert answers.find("a") is not None
    assert answers.find("h") is not None
    assert answers.find("b") is None
    answers.keep("large", Response(bytes(20_000)), 60)
    assert answers.find("large") is None, "it would push out too much"


def test_what_several_ask_at_once_is_made_once():
    answers, made, got = Kept(), [], []
    begun = threading.Barrier(8)

    def ask():
        begun.wait()
        found = answers.find("question")
        if found is None:
            made.append(1)
            time.sleep(0.2)
            answers.keep("question", Response(b"the answer"), 60)
            answers.done("question")
            got.append(b"the answer")
        else:
            got.append(found.get_data())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [b"the answer"] * 8
    assert len(made) == 1


def test_where_an_answer_cannot_be_kept_the_next_one_makes_it():
    answers = Kept()
    assert answers.find("question") is None
    waiting = threading.Thread(target=lambda: found.append(answers.find("question")))
    found: list = []
    waiting.start()
    answers.done("question")
    waiting.join(5)
    assert found == [None]


# The moment


@pytest.fixture
def bench(world):
    found = open_workbench(world)
    found.judging.judged_examples()
    settle(world)
    return found


@pytest.fixture
def no_glance(monkeypatch):
    monkeypatch.setattr(kept, "GLANCE", -1.0)


def test_the_moment_stays_while_nothing_changes_and_results_that_are_computed_anyway_come(bench, world):
    moment = Moment(bench)
    before = moment.now()
    assert before is not None
    bench.store.put(key_of("maxima", 1, number=1), Maxima(np.arange(3.0)))
    assert moment.now() == before


@pytest.mark.parametrize("kind", ["datapath", "contribution", "verification", "learned", "naming", "novelty"])
def test_a_new_result_makes_another_moment(bench, world, kind):
    moment = Moment(bench)
    before = moment.now()
    bench.store.put(key_of(kind, 1, number=1), Maxima(np.arange(3.0)))
    assert moment.now() is None, "another one might come at the same time"
    settle(world)
    assert moment.now() not in (None, before)


@pytest.mark.usefixtures("no_glance")
def test_a_changed_image_or_table_makes_another_moment(bench, world):
    moment, seen = Moment(bench), set()
    seen.add(moment.now())
    picture = bench.workspace.path(bench.workspace.images[0].file)
    other = bench.workspace.path(bench.workspace.images[1].file)
    picture.write_bytes(other.read_bytes())
    settle(world)
    seen.add(moment.now())
    table = world / "examples.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    settle(world)
    seen.add(moment.now())
    assert None not in seen
    assert len(seen) == 3


def test_a_store_with_troubles_keeps_nothing(bench, monkeypatch):
    monkeypatch.setattr(Store, "warnings", ("Results cannot be stored.",))
    assert Moment(bench).now() is None


def test_a_clock_that_is_behind_the_files_keeps_nothing_new(bench, world):
    ahead = time.time_ns() + int((SETTLED - 1) * 1e9)
    os.utime(world / "cache" / "datapath", ns=(ahead, ahead))
    assert Moment(bench).now() is None


# The application


class Page:
    """Asks callbacks of an application."""

    def __init__(self, bench):
        self.client = create_app(bench).server.test_client()
        self.known = {one["output"]: one for one in self.client.get("/_dash-dependencies").json}

    def ask(self, part, values, changed):
        output = next(one for one in self.known if part in one)
        places = [dict(zip(("id", "property"), one.split("."), strict=True)) for one in output.strip(".").split("...")]
        fill = lambda places: [one | {"value": values.get(one["id"])} for one in places]  # noqa: E731
        body = {
            "output": output,
            "outputs": places,
            "inputs": fill(self.known[output]["inputs"]),
            "state": fill(self.known[output]["state"]),
            "changedPropIds": [f"{changed}.data"],
        }
        return self.client.post("/_dash-update-component", json=body)

    def layer(self, bench, name):
        view = View(example=bench.workspace.settings.opens_on, layer=name).to_data() | {"theme": "light"}
        return self.ask("treemap.figure", {"layer-view": view, "view": view}, "layer-view")


def counted(monkeypatch):
    from aevis_dash.callbacks.layer import treemap

    calls, real = [], treemap.drawing
    monkeypatch.setattr(treemap, "drawing", lambda *given: calls.append(1) or real(*given))
    return calls


def test_a_layer_that_two_look_at_is_drawn_once_and_is_the_same(bench, world, monkeypatch):
    calls, page, name = counted(monkeypatch), Page(bench), bench.layers.layers[5].name
    settle(world)
    first = page.layer(bench, name)
    assert "figure" in first.json["response"]["treemap"]
    settle(world)
    second = page.layer(bench, name)
    assert (first.data, len(calls)) == (second.data, 1)
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]
    assert {name for name, _ in first.headers} == {name for name, _ in second.headers}
    third = page.layer(bench, bench.layers.layers[6].name)
    assert third.data != first.data
    assert len(calls) == 2


def test_a_layer_is_drawn_anew_when_a_result_has_come(bench, world, monkeypatch):
    calls, page, name = counted(monkeypatch), Page(bench), bench.layers.layers[5].name
    for _ in range(2):
        settle(world)
        page.layer(bench, name)
    assert len(calls) == 1
    bench.store.put(key_of("contribution", 1, number=1), Maxima(np.arange(3.0)))
    page.layer(bench, name)
    settle(world)
    page.layer(bench, name)
    assert len(calls) == 3


def test_what_an_answer_says_of_a_fault_is_not_kept(bench, world, monkeypatch):
    from aevis_dash.callbacks.layer import treemap

    page, name, real = Page(bench), bench.layers.layers[5].name, treemap.drawing
    settle(world)

    def fail(*_):
        raise RuntimeError("a fault that nobody foresaw")

    monkeypatch.setattr(treemap, "drawing", fail)
    said = page.layer(bench, name)
    assert "treemap" not in json.dumps(said.json.get("response", {}))
    monkeypatch.setattr(treemap, "drawing", real)
    assert "figure" in page.layer(bench, name).json["response"]["treemap"]


def test_callbacks_that_do_not_only_draw_are_asked_each_time(bench, world):
    page = Page(bench)
    settle(world)
    names = [page.ask("learn-text.children", {ids.PAGE: name}, ids.PAGE).headers["X-Request-Id"] for name in "ab"]
    assert names[0] != names[1]
    outputs = [one for one in page.known if kept.draws(one)]
    assert not any(part in one for one in outputs for part in ("-done.data", "-end.data", ids.LEARN, ids.CSV_FILE))
    assert len(outputs) >= 9


def test_scripts_are_sent_from_memory_and_browsers_keep_them(bench, monkeypatch):
    client = create_app(bench).server.test_client()
    page = client.get("/").get_data(as_text=True)
    address = next(part.split('"')[0] for part in page.split('src="') if part.startswith("/assets/page.js"))
    asked = {"Accept-Encoding": "gzip"}
    first = client.get(address, headers=asked)
    opened = []
    monkeypatch.setattr("flask.Flask.send_static_file", lambda *_: opened.append(1))
    second = client.get(address, headers=asked)
    assert opened == []
    assert first.data == second.data
    for answer in (first, second):
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert b"// @ts-check" in plain.data


def test_nothing_is_sent_to_who_may_not_ask(bench):
    client = create_app(bench).server.test_client()
    assert client.get("/assets/page.js").status_code == 200
    assert client.get("/assets/page.js", headers={"Host": "evil.example.org"}).status_code == 400


def test_a_range_or_a_condition_is_answered_by_the_file_itself(bench):
    client = create_app(bench).server.test_client()
    with client.get("/assets/page.js") as first:
        tag = first.headers["ETag"]
    with client.get("/assets/page.js", headers={"If-None-Match": tag}) as again:
        assert again.status_code == 304


def test_an_answer_of_another_status_is_not_kept():
    server, calls = Flask("test"), []

    @server.before_request
    def _note():
        setattr(g, bodies.OUTPUT, "river.figure")

    class Always:
        def now(self):
            return "now"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "Moment", lambda _bench: Always())
        kept.register(server, None)

    @server.post("/_dash-update-component")
    def _answer():
        calls.append(1)
        return Response("busy", 503 if len(calls) == 1 else 200)

    client = server.test_client()
    assert [client.post("/_dash-update-component", data=b"same").status_code for _ in range(3)] == [503, 200, 200]
    assert len(calls) == 2
    assert LASTS == 60
