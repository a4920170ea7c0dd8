"""The numbers for Prometheus: right counts, told to nobody else, and refused clearly without their package."""

import importlib.util
import shutil

import pytest
from flask import Flask

from aevis_dash.callbacks import metrics as module
from aevis_dash.callbacks.metrics import METRICS, Metrics
from aevis_dash.callbacks.processes import JobManager, job_folder
from aevis_dash.callbacks.queueing import CANCELLED, DIED, Manners, Queue
from aevis_dash.cli import main
from aevis_dash.domain import AevisError
from aevis_dash.stored import entries
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench

parser = pytest.importorskip("prometheus_client.parser")


@pytest.fixture(scope="module")
def bench(drawn_world):
    found = open_workbench(drawn_world)
    _ = found.classifier
    return found


@pytest.fixture
def queue(monkeypatch):
    """A queue that starts no job, so that all wait."""
    monkeypatch.setattr(Queue, "keep", lambda self: None)
    return Queue()


def client_of(bench, queue, metrics):
    server = Flask("test")
    metrics.register(server, bench, queue)
    return server.test_client()


def told(client, **named):
    """The numbers as Prometheus reads them, by name and labels."""
    answer = client.get(METRICS, **named)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route_and_status(bench):
    client = create_app(bench, metrics=Metrics()).server.test_client()
    for _ in range(3):
        client.get("/health")
    client.get("/image/0123?file=nothing.png")
    found = told(client)
    assert found["aevis_requests_total", "/health", "200"] == 3
    assert found["aevis_requests_total", "/image/<digest>", "404"] == 1
    assert found["aevis_request_seconds_count", "/health"] == 3
    assert 0 < found["aevis_request_seconds_sum", "/health"] < 3
    assert not any("nothing.png" in part for name in found for part in name), "no path is told"


def test_jobs_are_counted_by_kind_and_outcome(bench, queue):
    numbers = Metrics()
    client = client_of(bench, queue, numbers)
    for outcome in ("done", "done", "failed", CANCELLED, DIED, "took longer than 4 hours and was ended"):
        numbers.ended("solve_job", outcome, 20.0)
    found = told(client)
    for outcome, count in (("done", 2), ("failed", 1), ("cancelled", 1), ("died", 1), ("ended", 1)):
        assert found["aevis_jobs_total", *sorted(("solve_job", outcome))] == count
    assert found["aevis_job_seconds_sum", "solve_job"] == 120
    assert found["aevis_job_seconds_bucket", "10.0", "solve_job"] == 0
    assert found["aevis_job_seconds_bucket", "30.0", "solve_job"] == 6


def test_the_end_of_a_job_that_a_page_is_told_of_is_counted_once(queue):
    seen = []
    manager = JobManager(job_folder(), queue, ended=lambda *facts: seen.append(facts))
    key = manager.build_cache_key(test_the_end_of_a_job_that_a_page_is_told_of_is_counted_once, ["page"], None, None)
    manager.call_job_fn(key, None, ["page"], None)
    manager.terminate_job(key)
    with pytest.raises(Exception, match=CANCELLED):
        manager.get_result(key, key)
    ((kind, outcome, seconds),) = seen
    assert (kind, outcome) == (key.partition(".")[0], CANCELLED)
    assert 0 <= seconds < 60


def test_what_waits_and_what_there_is_of_room(bench, queue):
    client = client_of(bench, queue, Metrics())
    for i in range(3):
        queue.ask(f"t{i}", f"w{i}", f"p{i}", lambda: pytest.fail("no job is started"), Manners())
    found = told(client)
    assert (found["aevis_queue", "waiting"], found["aevis_queue", "running"]) == (3, 0)
    stored = entries(bench.store.folder)
    assert sum(v for name, v in found.items() if name[0] == "aevis_store_bytes") == sum(one.size for one in stored)
    assert found["aevis_store_files", "judgement"] == sum(one.kind == "judgement" for one in stored) > 0
    free = shutil.disk_usage(bench.store.folder).free
    assert abs(found["aevis_free_disk_bytes",] - free) < 2**30
    assert found["aevis_memory_bytes", "server"] > 50 * 2**20
    assert found["aevis_open_files", "server"] >= 3


@pytest.mark.parametrize(
    ("allowed", "address", "headers", "told"),
    [
        ((), "127.0.0.1", {}, True),
        ((), "::1", {}, True),
        ((), "::ffff:127.0.0.1", {}, True),
        ((), "10.0.0.7", {}, False),
        (("10.0.0.7",), "10.0.0.7", {}, True),
        (("10.0.0.0/8",), "10.9.8.7", {}, True),
        (("10.0.0.0/8",), "11.0.0.1", {}, False),
        ((), "", {}, False),
        ((), "127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}, False),
        ((), "127.0.0.1", {"Forwarded": "for=10.0.0.7"}, False),
        ((), "127.0.0.1", {"X-Real-Ip": "10.0.0.7"}, False),
    ],
)
def test_only_those_who_may_are_told(bench, queue, allowed, address, headers, told):
    client = client_of(bench, queue, Metrics(allowed))
    answer = client.get(METRICS, environ_base={"REMOTE_ADDR": address}, headers=headers)
    assert answer.status_code == (200 if told else 404)
    assert ("aevis_" in answer.text) == told


def test_nothing_is_told_unless_it_is_asked_for(bench):
    assert create_app(bench).server.test_client().get(METRICS).status_code == 404


def test_without_its_package_the_server_does_not_start_and_says_why(world, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "prometheus_client" else real(name))
    with pytest.raises(AevisError, match="prometheus-client"):
        Metrics()
    assert main(["serve", str(world), "--metrics"]) == 2
    assert 'pip install "aevis-dash[metrics]"' in capsys.readouterr().err


def test_an_address_that_is_none_is_refused(world, capsys):
    with pytest.raises(SystemExit):
        main(["serve", str(world), "--metrics", "--metrics-from", "lab.example.org"])
    assert "is no numeric address or network" in capsys.readouterr().err
