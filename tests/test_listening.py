"""Stopping a real server: answers that are being made end, nobody new gets in, jobs end and lose nothing."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException

import psutil
import pytest

from aevis_dash.callbacks.queueing import STOPPED, Ended, Queue
from aevis_dash.workbench import open_workbench

SIZE = 6_000_000
PROGRAM = f"""
import sys, time
from pathlib import Path
from aevis_dash import listening, serving

make = serving.create_app

def with_slow(*given):
    app = make(*given)
    answer = app.server.wsgi_app

    def slow(environ, start):
        if environ["PATH_INFO"] != "/slow":
            return answer(environ, start)
        print("asked", flush=True)
        time.sleep(float(environ["QUERY_STRING"]))
        start("200 OK", [("Content-Length", "{SIZE}")])
        return [b"x" * {SIZE}]

    app.server.wsgi_app = slow
    return app

if __name__ == "__main__":
    serving.create_app = with_slow
    listening.ENDING = float(sys.argv[3])
    serving.serve(Path(sys.argv[1]), port=int(sys.argv[2]))
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server with the slow address `/slow?SECONDS`, whose process belongs to the test."""

    def __init__(self, world, folder, ending=8.0):
        self.port = free_port()
        program = folder / "slow_server.py"
        program.write_text(PROGRAM)
        argv = [sys.executable, str(program), str(world), str(self.port), str(ending)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def says(self, words):
        line = self.process.stdout.readline()
        assert words in line, line + self.process.stderr.read()

    def connection(self):
        return closing(HTTPConnection("127.0.0.1", self.port, timeout=60))

    def ended(self, seconds):
        """What the process wrote to standard error, once it has ended with exit status 0; without the warnings of
        waitress that requests waited for a thread, which come on a busy machine."""
        self.process.wait(seconds)
        assert self.process.returncode == 0
        lines = self.process.stderr.read().splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("Task queue depth is "))


@pytest.fixture
def start(world, tmp_path):
    made = []

    def started(ending=8.0):
        made.append(Server(world, tmp_path, ending))
        made[-1].says("AEVis Dash serves")
        return made[-1]

    yield started
    for server in made:
        server.process.kill()
        server.process.communicate()


class Slow(threading.Thread):
    """Asks for a slow answer, and reads it slowly too."""

    def __init__(self, server, seconds):
        super().__init__(daemon=True)
        self._server, self._seconds = server, seconds
        self.got = b""

    def run(self):
        with self._server.connection() as asking, suppress(HTTPException, OSError):  # the connection may be cut
            asking.request("GET", f"/slow?{self._seconds}")
            answer = asking.getresponse()
            time.sleep(0.5)
            self.got = answer.read()


def refused(server):
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    except (ConnectionRefusedError, ConnectionResetError):  # the latter in the moment in which it closes
        return True
    return False


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_answer_that_is_being_made_ends_and_nobody_new_gets_in(start):
    server = start()
    with server.connection() as idle:
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        asking = Slow(server, 3)
        asking.start()
        server.says("asked")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refused(server), 2.5)
        assert asking.got == b""
        assert idle.sock.recv(1) == b"", "what is idle is closed"
        assert server.process.poll() is None
        asking.join(30)
        assert len(asking.got) == SIZE, "to its last byte"
        assert server.ended(10) == ""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_answer_that_takes_too_long_is_cut_off_and_told_of(start, sign):
    server = start(ending=1.0)
    asking = Slow(server, 120)
    asking.start()
    server.says("asked")
    server.process.send_signal(sign)
    said = server.ended(15)
    assert "The server stopped before 1 of its answers were sent, as they took longer than 1 seconds" in said


def test_a_second_signal_ends_it_at_once(start):
    server = start(ending=100.0)
    Slow(server, 120).start()
    server.says("asked")
    server.process.send_signal(signal.SIGTERM)
    until(lambda: refused(server))
    server.process.send_signal(signal.SIGTERM)
    assert "or it was told to stop twice" in server.ended(15)


def test_a_server_that_still_loads_its_model_ends_too(world, tmp_path):
    """Its exit status says that nothing went wrong."""
    argv = [sys.executable, "-m", "aevis_dash", "serve", str(world), "--port", str(free_port()), "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: any("forkserver" in " ".join(c.cmdline()) for c in psutil.Process(process.pid).children()), 60)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["warnings"] == []


def test_a_job_that_is_ended_keeps_what_it_finished_and_goes_on_later(start, world):
    bench = open_workbench(world)
    known = [each.example.id for each in bench.judging.judged_examples() if each.misclassified]
    example = next(name for name in known if bench.datapaths.triplet(name) is None)
    server, stored = start(), lambda: set((world / "cache" / "datapath").iterdir())
    before = stored()
    with server.connection() as asking:
        headers = {"Content-Type": "application/json"}
        asking.request("GET", "/_dash-dependencies")
        outputs = [one["output"] for one in json.loads(asking.getresponse().read())]
        output = next(one for one in outputs if "extraction-done.data" in one)
        places = [dict(zip(("id", "property"), one.split("."), strict=True)) for one in output.strip(".").split("...")]
        wanted = {"example": example, "target": None, "method": None, "share": None, "part": "first"}
        body = {
            "output": output,
            "outputs": places,
            "inputs": [{"id": "extraction-wanted", "property": "data", "value": wanted}],
            "state": [{"id": "page-load", "property": "data", "value": "a-page"}],
            "changedPropIds": ["extraction-wanted.data"],
        }
        asking.request("POST", "/_dash-update-component", json.dumps(body), headers)
        told = json.loads(asking.getresponse().read())
        assert {"cacheKey", "job"} <= told.keys()
        until(lambda: stored() > before, 60)
        family = psutil.Process(server.process.pid).children(recursive=True)
        server.process.send_signal(signal.SIGTERM)
        assert server.ended(15) == ""
    assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    kept = stored()
    assert kept > before
    times = {path: path.stat().st_mtime_ns for path in kept}
    open_workbench(world).datapaths.extract(example, nulls=False)
    assert {path: path.stat().st_mtime_ns for path in kept} == times, "nothing is computed twice"


def test_whoever_waits_for_a_job_of_a_server_that_stops_is_told(monkeypatch):
    monkeypatch.setattr(Queue, "keep", lambda self: None)
    queue = Queue()
    queue.ask("ticket", "work", "page", lambda: pytest.fail("no job is started"))
    queue.end()
    with pytest.raises(Ended, match=f"^{STOPPED}$"):
        queue.job("ticket")
