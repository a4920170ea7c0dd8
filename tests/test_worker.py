"""Workers that compute the jobs of servers by way of a broker: right values, in turn, each question once, whatever is
killed meanwhile."""

import base64
import dataclasses
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from brokers import JobServer, Redis, WorkerProcess, alike, new_examples, results, server_on, until

from aevis_dash import questions
from aevis_dash.broker import VARIABLE, code_version, served, shown, url_of
from aevis_dash.callbacks import background, health
from aevis_dash.callbacks.queueing import CANCELLED, DIED
from aevis_dash.callbacks.view.state import View
from aevis_dash.cli import main
from aevis_dash.core.execution import use_threads
from aevis_dash.domain import AevisError, Intervention
from aevis_dash.ledger import Ledger, connect
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench
from aevis_dash.worker import MOST_TAKEN

LAYER = "layer4.2.relu"


@pytest.fixture(scope="module")
def lab(drawn_world, tmp_path_factory) -> Path:
    """A workspace whose results workers compute."""
    return Path(shutil.copytree(drawn_world, tmp_path_factory.mktemp("lab") / "world"))


@pytest.fixture(scope="module")
def alone(drawn_world, tmp_path_factory) -> Path:
    """A copy of the same workspace, whose results are computed without a broker."""
    return Path(shutil.copytree(drawn_world, tmp_path_factory.mktemp("alone") / "world"))


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> Iterator[Redis]:
    made = Redis(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def workers(redis, lab, tmp_path_factory) -> Iterator[dict[str, WorkerProcess]]:
    """Two workers by their names. A test that kills one starts another."""
    folder = tmp_path_factory.mktemp("workers")
    made = [WorkerProcess(lab, redis.url, folder / f"{i}.log") for i in range(2)]
    found = {worker.ready().name: worker for worker in made}
    yield found
    for worker in {*made, *found.values()}:
        worker.close()


@pytest.fixture
def server(redis, lab) -> Iterator[JobServer]:
    made = server_on(lab, redis.url)
    yield made
    made.close()


@contextmanager
def held_up(server: JobServer, example: str) -> Iterator[None]:
    """Let the extraction of an example wait, in whichever worker."""
    bench = server.bench
    question = ("extract", example, None, bench.workspace.settings.extraction, False)
    with questions.alone(bench.workspace.cache, question, lambda: None):
        yield


def holders(redis: Redis) -> dict[str, str]:
    """The names of the workers that have runs, by the run."""
    client = connect(redis.url)
    found = {key: client.get(key) for key in client.scan_iter("aevis:*:lease:*")}
    client.close()
    return {key.rpartition(":")[2]: name for key, name in found.items() if name}


def flip(server: JobServer, maps: str, clicks: int = 1, page: str = "page") -> str:
    view = View(example=server.bench.workspace.settings.opens_on, layer=LAYER, map=1)
    return server.ask(background.flip_job, clicks, maps, json.loads(json.dumps(view.to_data())), page=page)


def test_without_the_packages_or_the_broker_people_are_told_what_to_do(redis, lab, monkeypatch, capsys):
    for url, words in (
        ("http://localhost", "http://localhost is no address of a Redis server"),
        ("redis://:secret@127.0.0.1:1/0", "No Redis server answers at redis://127.0.0.1:1/0 "),
    ):
        for verb in (["worker", str(lab)], ["serve", str(lab), "--port", "8999"]):
            assert main([*verb, "--broker", url]) == 2
            said = capsys.readouterr().err
            assert said.startswith(f"aevis: {words}")
            assert "secret" not in said
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["worker", str(lab)]) == 2
    assert "Name it by --broker redis://HOST:6379/0" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, redis.url)
    assert url_of(None) == redis.url
    assert url_of("redis://other") == "redis://other"
    for package in ("redis", "celery"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(AevisError, match=r'packages celery and redis: pip install "aevis-dash\[celery\]"'):
                Ledger(redis.url, served(open_workbench(lab)))
    assert shown("redis://user:word@host:1/2") == "redis://host:1/2"


def test_a_redis_that_refuses_is_told_from_one_that_does_not_answer(lab, capsys):
    """Redis's own text for its protected mode has seven sentences; the first one is told."""
    refusals = {
        "DENIED Redis is running in protected mode. Solutions: 1) Just disable it.": "DENIED Redis is running in "
        "protected mode. Write its password into the address",
        "WRONGPASS invalid username-password pair or user is disabled.": "invalid username-password pair or user is "
        "disabled. Write its password into the address",
    }
    for reply, told in refusals.items():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"127.0.0.1:{listening.getsockname()[1]}/0"
            threading.Thread(target=_refuse, args=(listening, f"-{reply}\r\n".encode()), daemon=True).start()
            assert main(["worker", str(lab), "--broker", f"redis://:secret@{address}"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"aevis: The Redis server at redis://{address} refuses to serve: {told}")
        assert "secret" not in said
        assert "Solutions" not in said


def _refuse(listening: socket.socket, reply: bytes) -> None:
    """Answer one connection's first command with that reply."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(reply)
        connection.recv(1000)


def test_the_package_does_not_import_what_only_a_broker_needs():
    code = "import sys, aevis_dash.web, aevis_dash.worker; sys.exit(bool({'celery', 'redis'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_messages_are_json_and_hold_an_id_alone(redis, lab, tmp_path):
    """No worker is there, so the message lies at the broker; the workspace is one of its own."""
    root = Path(shutil.copytree(lab, tmp_path / "world"))
    (root / "cache" / "broker-id").unlink(missing_ok=True)
    server = server_on(root, redis.url)
    try:
        ticket = server.extract(new_examples(server.bench)[0])
        until(lambda: server.queue.known().runs, "the job is at the broker")
        run = server.queue.known().runs[0]
        client = connect(redis.url)
        message = json.loads(client.lrange(server.ledger.queue(run.asked.rank), 0, -1)[0])
        client.close()
        assert message["content-type"] == "application/json"
        body = json.loads(base64.b64decode(message["body"]))
        assert body[:2] == [[run.id], {}]
        assert server.says(ticket) == "waits for a worker, as none is there"
        assert server.queue.trouble().startswith("There is no worker for this workspace. Start one with `aevis worker")
        server.manager.terminate_job(ticket)
        assert server.why(ticket) == CANCELLED
        until(lambda: not server.queue.known().runs, "nobody wants it any more")
        assert list(server.ledger.there("server").values()) == [server.ledger.serves]
    finally:
        server.close()
    assert server.ledger.there("server") == {}, "a server that has ended refuses the workers of no other one"


def test_a_worker_gives_what_a_server_without_a_broker_gives_byte_for_byte(server, workers, lab, alone):
    example = new_examples(server.bench)[0]
    wanted = server.wanted(example)
    assert server.result(server.extract(example))["result"] == {"ready": wanted}
    answer = server.result(flip(server, "3 5"))
    assert (answer["message"], answer["open"]) == ("", False)
    assert answer["result"]["steps"][0]["maps"] == [3, 5]
    opens_on = server.bench.workspace.settings.opens_on
    asked = Intervention(server.bench.layers.find(LAYER).index, (3, 5))
    before, threads = results(alone), torch.get_num_threads()
    use_threads(1)
    own = open_workbench(alone)
    own.flips.turning(example)
    own.datapaths.extract(example, nulls=False)
    own.flips.verify(opens_on, asked)
    found, expected = results(lab), results(alone)
    new = expected.keys() - before.keys()
    assert {name.split("/")[0] for name in new} >= {"datapath", "turning"}
    assert {name: found.get(name) == expected[name] for name in new} == dict.fromkeys(new, True)
    use_threads(threads)


def test_two_workers_run_two_jobs_at_once_and_a_third_waits_its_turn(redis, server, workers):
    one, two, three = new_examples(server.bench)[:3]
    with held_up(server, one), held_up(server, two):
        first, second = server.extract(one, "page 1"), server.extract(two, "page 2")
        until(lambda: len(server.running()) == 2, "both run")
        assert sorted(holders(redis).values()) == sorted(workers)
        third = server.extract(three, "page 3")
        until(lambda: server.says(third) == "waits behind 2 others", "the third waits")
        rows = server.manager.listing("page 3")
        assert [(row.mine, row.before) for row in rows] == [(False, 0), (False, 0), (True, 2)]
        assert rows[0].subject == background.subject(server.bench, "extract_job", [server.wanted(one)])[0]
    for ticket, example in ((first, one), (second, two), (third, three)):
        assert server.result(ticket)["result"] == {"ready": server.wanted(example)}


def test_a_quick_job_overtakes_long_ones_that_fill_all_workers(server, workers):
    one, two, three = new_examples(server.bench)[:3]
    with held_up(server, one), held_up(server, two), held_up(server, three):
        tickets = [server.extract(name, f"page {name}") for name in (one, two, three)]
        until(lambda: len(server.running()) == 2, "two run")
        assert server.result(flip(server, "7"))["result"]["steps"][0]["maps"] == [7]
        assert len(server.running()) == 2
    for ticket in tickets:
        server.result(ticket)


def test_what_two_servers_ask_is_computed_once_and_both_are_told(redis, server, workers, lab):
    example = new_examples(server.bench)[0]
    other = server_on(lab, redis.url)
    try:
        with held_up(server, example):
            tickets = [server.extract(example, "page 1"), server.extract(example, "page 2")]
            until(lambda: server.running().keys() == {example}, "it runs")
            elsewhere = other.extract(example, "page 3")
            until(lambda: other.says(elsewhere) == "waits for another job to end", "the other server's page is told")
            assert len(other.queue.known().runs) == 1
            server.manager.terminate_job(tickets[1])
            assert server.why(tickets[1]) == CANCELLED
            time.sleep(1.0)
            assert len(other.queue.known().runs) == 1, "two pages still wait for it"
        assert other.result(elsewhere) == server.result(tickets[0])
    finally:
        other.close()


def test_what_everybody_cancels_is_ended(server, workers, lab):
    example, before = new_examples(server.bench)[0], results(lab)
    with held_up(server, example):
        ticket = server.extract(example)
        until(lambda: server.running(), "it runs")
        server.manager.terminate_job(ticket)
        assert server.why(ticket) == CANCELLED
        until(lambda: not server.queue.known().runs, "the broker has forgotten it")
        until(lambda: not any(map(processes_of, workers.values())), "its process is killed")
    time.sleep(1.5)
    assert results(lab) == before, "the worker has ended it"


def lonely(server: JobServer, redis: Redis, workers: dict[str, WorkerProcess], example: str) -> WorkerProcess:
    """The worker that has the extraction of an example."""
    until(lambda: example in server.running(), "it runs")
    return workers[next(iter(holders(redis).values()))]


def processes_of(worker: WorkerProcess) -> list[psutil.Process]:
    """The processes of a worker's jobs: the children of its fork server."""
    servers = psutil.Process(worker.process.pid).children()
    return [child for server in servers for child in server.children()]


def test_a_killed_job_is_run_again_but_not_for_ever(redis, server, workers):
    example, killed = new_examples(server.bench)[0], set()

    def fresh() -> list[psutil.Process]:
        return [job for one in workers.values() for job in processes_of(one) if job.pid not in killed]

    with held_up(server, example):
        ticket = server.extract(example)
        for _ in range(MOST_TAKEN):
            job = until(fresh, "a process has it")[0]
            killed.add(job.pid)
            job.kill()
        assert server.why(ticket) == DIED
    again = server.extract(example)
    assert server.result(again)["result"] == {"ready": server.wanted(example)}


def test_a_server_that_is_started_again_finds_its_job_under_way(redis, server, workers, lab):
    example = new_examples(server.bench)[0]
    with held_up(server, example):
        ticket = server.extract(example)
        until(lambda: server.running(), "it runs")
        run = server.queue.known().runs[0].id
        server.queue.end()
        assert server.why(ticket) == "goes on at a worker, but the server is being stopped"
        later = server_on(lab, redis.url)
        again = later.extract(example)
        until(lambda: later.says(again) == "waits for another job to end", "it is there again")
        assert [one.id for one in later.queue.known().runs] == [run]
        assert later.manager.listing("page")[0].mine
    assert later.result(again)["result"] == {"ready": later.wanted(example)}
    later.close()


def test_a_broker_that_goes_and_comes_back_with_an_empty_memory_loses_nothing(redis, server, workers):
    one, two = new_examples(server.bench)[:2]
    app = create_app(server.bench, queue=server.queue)
    client = app.server.test_client()
    assert client.get("/ready").json["workers"] == 2
    assert client.get("/ready").json["broker"] == "ok"
    with held_up(server, one):
        ticket = server.extract(one)
        until(lambda: one in server.running(), "it runs")
        redis.stop()
        said = f"The broker at {shown(redis.url)} does not answer. Jobs go on when it does."
        until(lambda: server.queue.trouble() == said, "the server notices")
        later = server.extract(two, "page 2")
        for asked in (ticket, later):
            until(lambda asked=asked: server.says(asked).startswith("the broker does not answer"), "the page says so")
        answer = client.get("/ready")
        assert (answer.status_code, answer.json["broker"]) == (503, said)
        redis.start()
        until(lambda: server.queue.trouble() == "", "the workers are there again")
    assert server.result(ticket)["result"] == {"ready": server.wanted(one)}
    assert server.result(later)["result"] == {"ready": server.wanted(two)}
    assert client.get("/ready").json["broker"] == "ok"


def test_a_worker_of_another_version_or_model_is_refused_and_told_of(redis, server, lab, workers, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    mine = server.ledger.serves
    assert mine.unlike(mine) == ""
    assert mine.version == code_version()
    for change, words in (
        ({"version": "9.9+1"}, f"the version of AEVis Dash (9.9+1, here {code_version()})"),
        ({"model": "m", "settings": "s"}, "the workspace's settings and the model"),
    ):
        assert mine.unlike(dataclasses.replace(mine, **change)) == words
    elsewhere = Path(shutil.copytree(lab, other / "world"))
    (elsewhere / "cache" / "broker-id").unlink()
    worker = WorkerProcess(elsewhere, redis.url, tmp_path / "log")
    assert worker.process.wait(60) == 2
    worker.close()
    said = worker.log.read_text()
    assert said.startswith(f"aevis: The broker at {shown(redis.url)} has ")
    assert ", but none that this worker can help; the difference is the workspace." in said


def test_a_server_tells_of_workers_that_differ(redis, server, lab):
    """Its own two are taken away first."""
    old = dataclasses.replace(server.ledger.serves, version="0.0+1")
    strange = Ledger(redis.url, old)
    newer = dataclasses.replace(server.ledger.serves, version="99+1")
    server.ledger.serves = newer
    strange.appear("worker", "an old one")
    until(lambda: "an old one" in server.queue.known().workers, "it is there")
    said = server.queue.trouble()
    assert said.startswith("There is no worker for this workspace.")
    assert " of another kind; the difference is the version of AEVis Dash (" in said
    assert health.troubles(server.bench, server.queue, 0)["broker"] == said
    strange.disappear("worker", "an old one")


def test_a_killed_worker_loses_nothing(redis, server, workers, lab, alone):
    """Another one runs its job again."""
    example = new_examples(server.bench)[0]
    with held_up(server, example):
        ticket = server.extract(example)
        killed = workers.pop(lonely(server, redis, workers, example).name)
        killed.close()
    assert server.result(ticket)["result"] == {"ready": server.wanted(example)}
    own, before = open_workbench(alone), results(alone)
    own.flips.turning(example)
    own.datapaths.extract(example, nulls=False)
    new = results(alone).keys() - before.keys()
    assert any(name.startswith("datapath") for name in new)
    stored = [(lab / "cache" / name, alone / "cache" / name) for name in sorted(new)]
    assert [str(found) for found, expected in stored if not (found.is_file() and alike(found, expected))] == []


def test_the_last_worker_hands_its_job_back_and_the_next_one_ends_what_takes_too_long(
    redis, server, workers, lab, tmp_path
):
    example = new_examples(server.bench)[0]
    with held_up(server, example):
        ticket = server.extract(example)
        stopped = workers.pop(lonely(server, redis, workers, example).name)
        before = stopped.log.read_text()
        assert stopped.stop() == 0
        assert stopped.log.read_text() == before
        assert holders(redis) == {}
        until(lambda: server.queue.trouble().startswith("There is no worker"), "no worker is there")
        until(lambda: server.says(ticket) == "waits for a worker, as none is there", "the page is told")
        slow = WorkerProcess(lab, redis.url, tmp_path / "slow.log", "--job-hours", "0.0003").ready()
        workers[slow.name] = slow
        assert server.why(ticket) == "took longer than 0.0003 hours and was ended (aevis worker --job-hours)"
