"""The list of all jobs: what runs and waits, whose it is, how far it is, and in which order."""

import subprocess
import sys
import time

import diskcache
import psutil
import pytest
from flask import Flask, g

from aevis_dash.callbacks import all_jobs
from aevis_dash.callbacks.all_jobs import LEARNING
from aevis_dash.callbacks.background import manners
from aevis_dash.callbacks.processes import JobManager
from aevis_dash.callbacks.queueing import Queue
from aevis_dash.callbacks.visitors import name_of_current
from aevis_dash.users import ANALYST, User

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


class Sleeping(JobManager):
    """A manager whose jobs sleep; `made` has their processes by ticket."""

    def __init__(self, *given):
        super().__init__(*given)
        self.queue = given[1]
        self.made: dict[str, subprocess.Popen] = {}

    def _start(self, job_fn, key, args, context):
        self.made[key] = subprocess.Popen(SLEEP)
        return psutil.Process(self.made[key].pid)


@pytest.fixture
def manager(tmp_path):
    queue = Queue()
    with diskcache.Cache(str(tmp_path)) as cache:
        made = Sleeping(cache, queue, manners, lambda _name, given: (f"of {given[0]['example']}", "a file"))
        yield made
        queue.end()
    for process in made.made.values():
        process.kill()
        process.wait()


@pytest.fixture
def server(manager):
    made = Flask("test")
    all_jobs.register(made, manager)
    return made


def ask(server, manager, name, example, page, user=""):
    """Ask for a job in a request of a user."""
    key = f"{name}.{example}.{page}"
    with server.test_request_context("/"):
        if user:
            g.user = User(user, ANALYST)
        assert name_of_current() == user
        manager.call_job_fn(key, None, [{"example": example}, page], {})
    return key


def listed(server, page):
    return server.test_client().get(f"/all-jobs?page={page}").json


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_everybody_sees_what_runs_and_waits_and_whose_it_is(server, manager):
    assert name_of_current() == "", "nobody asks"
    assert listed(server, "one") == []
    first = ask(server, manager, "extract_job", "a", "one", "Ada")
    until(lambda: first in manager.made)
    ask(server, manager, "extract_job", "b", "two", "Bob")
    third = ask(server, manager, "extract_job", "a", "three", "Cem")
    ask(server, manager, "learn_job", "c", "two")
    manager.handle.set(f"{first}-progress", (40.0, "datapath 3 of 12", "about 10 s left"))
    row = {"kind": "Extraction", "percent": 0.0, "left": "", "before": 0, "away": False}
    learned = row | {"kind": LEARNING, "subject": "of c", "mine": False, "user": "", "text": "starts"}
    running = {"subject": "of a", "user": "Ada, Cem", "percent": 40.0, "text": "datapath 3 of 12"}
    running = row | running | {"mine": True, "left": "about 10 s left"}
    waiting = row | {"subject": "of b", "mine": False, "user": "Bob", "text": "waits behind 1 other", "before": 1}
    for page, mine in (("one", (True, False)), ("two", (False, True)), ("four", (False, False))):
        learns = learned | {"mine": page == "two"}
        assert listed(server, page) == [running | {"mine": mine[0]}, waiting | {"mine": mine[1]}, learns]
    manager.terminate_job(first)
    assert listed(server, "one")[0] == running | {"mine": False, "user": "Cem"}
    manager.terminate_job(third)
    until(lambda: [one["subject"] for one in listed(server, "one")] == ["of b", "of c"])


def test_an_extraction_that_was_left_is_told_as_such(server, manager):
    first = ask(server, manager, "extract_job", "a", "one")
    until(lambda: first in manager.made)
    manager.queue.look("one", "b", 1.0)
    assert [(one["subject"], one["away"]) for one in listed(server, "two")] == [("of a", True)]


def test_who_names_no_page_is_refused(server):
    client = server.test_client()
    for address in ("/all-jobs", "/all-jobs?page=", f"/all-jobs?page={'x' * 1001}"):
        assert client.get(address).status_code == 400
    assert client.get("/all-jobs?page=one").headers["Cache-Control"] == "no-store"
