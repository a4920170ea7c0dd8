"""What the server tells whoever watches over it: that it runs, and why it cannot do its work."""

import builtins
import os
import shutil
import tempfile

import pytest
from flask import Flask

from aevis_dash.callbacks import guard, health
from aevis_dash.callbacks.guard import Guard
from aevis_dash.callbacks.queueing import MOST, Queue
from aevis_dash.callbacks.work import LEARNING, Manners
from aevis_dash.domain import AevisError
from aevis_dash.store import SPARE_VARIABLE
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench

WELL = {"model": "ok", "store": "ok", "disk": "ok", "queue": "ok"}
BEYOND = 2**60
"""More bytes than any disk has."""


@pytest.fixture
def queue(monkeypatch):
    """A queue that starts no job, so that all wait."""
    monkeypatch.setattr(Queue, "keep", lambda self: None)
    return Queue()


@pytest.fixture(scope="module")
def loaded(drawn_world):
    bench = open_workbench(drawn_world)
    _ = bench.classifier
    return bench


def client_of(bench, queue, least=0):
    server = Flask("test")
    guard.register(server, Guard())
    health.register(server, bench, queue, least)
    return server.test_client()


def fill(queue, jobs):
    for i in range(jobs):
        queue.ask(f"ticket {i}", f"work {i}", f"page {i}", lambda: pytest.fail("no job is started"))


def test_a_server_that_runs_says_so_without_touching_the_disk(loaded, queue, monkeypatch):
    client = client_of(loaded, queue)
    for owner, name in ((builtins, "open"), (os, "stat"), (os, "open"), (shutil, "disk_usage")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("the disk is not asked"))
    answer = client.get("/health")
    monkeypatch.undo()
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_server_that_can_work_is_ready(loaded, queue):
    fill(queue, MOST - 1)
    answer = client_of(loaded, queue).get("/ready")
    assert (answer.status_code, answer.json) == (200, {"ready": True} | WELL)
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_whole_application_answers_both(loaded):
    client = create_app(loaded, least_disk=0).server.test_client()
    assert client.get("/health").json == {"status": "ok"}
    assert client.get("/ready").json == {"ready": True} | WELL
    short = create_app(loaded, least_disk=BEYOND).server.test_client()
    assert short.get("/ready").status_code == 503
    assert short.get("/health").status_code == 200


@pytest.mark.parametrize("prefix", ["/health/", "/ready/", "/looks-at/"])
def test_a_prefix_that_would_hide_an_address_is_refused(loaded, prefix):
    with pytest.raises(AevisError, match="another --prefix"):
        create_app(loaded, prefix=prefix)


def test_a_server_without_its_model_is_not_ready(drawn_world, queue):
    bench = open_workbench(drawn_world)
    client = client_of(bench, queue)
    answer = client.get("/ready")
    assert (answer.status_code, answer.json) == (503, {"ready": False} | WELL | {"model": "The model is not loaded."})
    assert not bench.base.has_classifier, "asking loads nothing"
    _ = bench.classifier
    assert client.get("/ready").status_code == 200


def test_a_server_that_cannot_store_results_is_not_ready(world, queue, monkeypatch):
    """The folder of the results is replaced by a file while the server runs."""
    monkeypatch.delenv(SPARE_VARIABLE, raising=False)
    bench = open_workbench(world)
    _ = bench.classifier
    client = client_of(bench, queue)
    assert client.get("/ready").status_code == 200
    shutil.rmtree(world / "cache")
    (world / "cache").write_text("")
    answer = client.get("/ready")
    assert (answer.status_code, answer.json) == (503, {"ready": False} | WELL | {"store": "Results cannot be stored."})


def test_a_server_with_too_little_free_disk_is_not_ready(loaded, queue, monkeypatch):
    free = shutil.disk_usage(loaded.workspace.cache).free
    answer = client_of(loaded, queue, BEYOND).get("/ready")
    assert answer.status_code == 503
    said = answer.json["disk"]
    assert said.endswith("GiB of disk are free where results are stored; 1,073,741,824 GiB are needed.")
    assert float(said.split()[0]) == pytest.approx(free / 2**30, abs=1)
    assert answer.json == {"ready": False} | WELL | {"disk": said}


def test_the_disk_of_temporary_files_counts_too(loaded, queue, monkeypatch, tmp_path):
    """Jobs hand their results over there."""
    usage, elsewhere = shutil.disk_usage, str(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", elsewhere)
    monkeypatch.setattr(
        health.shutil,
        "disk_usage",
        lambda folder: usage(folder)._replace(free=3 * 2**29 if str(folder) == elsewhere else 2**40),
    )
    assert health.troubles(loaded, queue, 3 * 2**29)["disk"] == ""
    said = health.troubles(loaded, queue, 2 * 2**30)["disk"]
    assert said == "1.50 GiB of disk are free for temporary files; 2 GiB are needed."


def test_a_disk_that_is_gone_is_told_of(loaded, queue, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    said = health.troubles(loaded, queue, 0)["disk"]
    assert said == "The free disk for temporary files cannot be found out (No such file or directory)."


def test_a_server_whose_queue_is_full_is_not_ready(loaded, queue):
    fill(queue, MOST)
    answer = client_of(loaded, queue).get("/ready")
    said = f"{MOST} jobs run or wait already, as many as may. Try again when one has ended."
    assert (answer.status_code, answer.json) == (503, {"ready": False} | WELL | {"queue": said})
    queue.done("ticket 0")
    assert client_of(loaded, queue).get("/ready").status_code == 200


def test_a_server_whose_queue_has_ended_is_not_ready_and_takes_no_job(loaded, queue):
    queue.end()
    said = "The server is being stopped and takes no more jobs. Try again when it runs again."
    assert client_of(loaded, queue).get("/ready").json == {"ready": False} | WELL | {"queue": said}
    for manners in (Manners(), Manners(LEARNING)):
        with pytest.raises(AevisError, match=f"^{said}$"):
            queue.ask("ticket", "work", "page", lambda: pytest.fail("no job is started"), manners)


@pytest.mark.parametrize("address", ["/health", "/ready"])
def test_whoever_asks_under_a_foreign_name_is_told_nothing(loaded, queue, address):
    client = client_of(loaded, queue)
    assert client.get(address, headers={"Host": "evil.example"}).status_code == 400
    assert client.get(address, headers={"Host": "127.0.0.1:8050"}).status_code == 200


def test_nothing_of_the_workspace_is_told(world, queue, tmp_path, monkeypatch):
    """Whatever is wrong, the answer names no folder, image or class."""
    monkeypatch.delenv(SPARE_VARIABLE, raising=False)
    bench = open_workbench(world)
    client, told = client_of(bench, queue, BEYOND), []
    told.append(client.get("/ready").get_data(as_text=True))
    shutil.rmtree(world / "cache")
    (world / "cache").write_text("")
    fill(queue, MOST)
    told.append(client.get("/ready").get_data(as_text=True))
    words = {str(tmp_path), world.name, tempfile.gettempdir(), *bench.class_names}
    words |= {image.file for image in bench.workspace.images}
    assert [word for word in words for text in told if word in text] == []
