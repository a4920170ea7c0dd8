"""The manager of job processes: no result is lost between two questions, nobody reads another's, no folder stays."""

import os
import subprocess
import sys
import time
from typing import Any

import diskcache
import psutil
import pytest
from filelock import FileLock
from flask import Flask

from aevis_dash.callbacks import processes
from aevis_dash.callbacks.background import manners
from aevis_dash.callbacks.processes import JobManager, job_folder
from aevis_dash.callbacks.progress import STARTING
from aevis_dash.callbacks.queueing import CANCELLED, DIED, ELSEWHERE, Ended, Queue
from aevis_dash.callbacks.view.state import ALL, NULLS
from aevis_dash.callbacks.work import LONG, NEEDED, Manners

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


class Manager(JobManager):
    """A manager whose jobs are processes that sleep; `made` has them by ticket."""

    def __init__(self, *given):
        super().__init__(*given)
        self.made: dict[str, subprocess.Popen] = {}

    def _start(self, job_fn, key, args, context):
        self.made[key] = subprocess.Popen(SLEEP)
        return psutil.Process(self.made[key].pid)


def extract(*_):
    """Stands for a job's function."""


@pytest.fixture
def manager(tmp_path):
    queue = Queue()
    with diskcache.Cache(str(tmp_path)) as cache:
        made = Manager(cache, queue)
        yield made
        queue.end()
    for process in made.made.values():
        process.kill()
        process.wait()


def ask(manager, *args):
    key = manager.build_cache_key(extract, args, [], None)
    assert manager.call_job_fn(key, None, args, {}) == key
    return key


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def running(manager, key):
    until(lambda: key in manager.made)
    return manager.made[key]


def test_null_targets_and_learning_run_beside_the_queue_and_everything_else_in_turn(tmp_path):
    class Named(Manager):
        def ask(self, name, *args):
            return self.call_job_fn(f"{name}.{len(str(args))}.ticket", None, args, {})

    queue = Queue()
    with diskcache.Cache(str(tmp_path)) as cache:
        manager = Named(cache, queue, manners)
        first = manager.ask("extract_job", {"example": "a", "part": NULLS}, "page")
        second = manager.ask("flip_job", 1, {}, "page")
        third = manager.ask("learn_job", {}, "page")
        waits = manager.ask("extract_job", {"example": "another", "part": ALL}, "page")
        assert queue.before(queue.job(waits)) == 1, "a flip-back takes seconds"
        try:
            for key in (first, second, third):
                running(manager, key)
            assert queue.before(queue.job(waits)) == 1
            assert waits not in manager.made
        finally:
            queue.end()
            for process in manager.made.values():
                process.kill()
                process.wait()


def test_a_result_that_comes_while_the_job_ends_is_not_lost(manager):
    """Dash asks for the result, then whether the job runs: the second answer must fit the first."""
    key = ask(manager, {"example": "a"}, "page")
    process = running(manager, key)
    assert manager.get_result(key, key) is manager.UNDEFINED
    process.kill()
    process.wait()
    manager.handle.set(key, [1])
    assert manager.job_running(key), "as it was when the result was asked for"
    assert manager.get_result(key, key) == [1]
    assert not manager.job_running(key)
    assert key not in manager.handle, "nothing stays"


def test_a_job_that_ended_without_a_result_is_an_error(manager):
    key = ask(manager, 1, "page")
    process = running(manager, key)
    process.kill()
    process.wait()
    with pytest.raises(Ended) as said:
        manager.get_result(key, key)
    assert str(said.value) == DIED
    assert not manager.job_running(key)


def test_a_cancelled_job_is_ended_and_says_so(manager):
    key = ask(manager, 1, "page")
    process = running(manager, key)
    manager.terminate_job(key)
    assert manager.get_progress(key) is None
    with pytest.raises(Ended) as said:
        manager.get_result(key, key)
    assert str(said.value) == CANCELLED
    until(lambda: process.poll() is not None)
    for nothing in (key, None, "1", str(os.getpid())):
        manager.terminate_job(nothing)


def test_pages_that_ask_the_same_get_the_same_and_no_other(manager):
    """Each of them, though Dash takes a result out when it is read."""
    one, two, other = ask(manager, {"x": 1}, "one"), ask(manager, {"x": 1}, "two"), ask(manager, {"x": 2}, "two")
    assert len({one, two, other}) == 3
    running(manager, one)
    manager.handle.set(manager._make_progress_key(one), (40.0, "half", "about 10 s left"))
    assert manager.get_progress(one) == (40.0, "half", "about 10 s left", "", "")
    assert manager.get_progress(one) is None, "it is said once"
    assert manager.get_progress(two) == (40.0, "half", "about 10 s left", "", "")
    assert manager.get_progress(other) == (0.0, "waits behind 1 other", "", "", "")
    manager.handle.set(one, ["x = 1"])
    assert manager.get_result(two, two) == ["x = 1"]
    assert manager.get_result(one, one) == ["x = 1"]
    assert manager.get_result(other, other) is manager.UNDEFINED
    assert list(manager.made)[:1] == [one]
    assert two not in manager.made
    again = ask(manager, {"x": 1}, "one")
    assert manager.get_result(again, again) is manager.UNDEFINED, "nobody reads an old result"


def test_the_list_says_what_a_job_is_about_and_how_many_come_before_it(tmp_path):
    told = lambda name, given: (f"{name} of {given[0]['example']}", "a file")  # noqa: E731
    queue = Queue()
    with diskcache.Cache(str(tmp_path)) as cache:
        manager = Manager(cache, queue, lambda _name, _given: Manners(LONG), told)
        try:
            first, *others = (ask(manager, {"example": name}, f"page {name}") for name in "abc")
            running(manager, first)
            assert manager.get_progress(first) == (0.0, STARTING, "", "extract of a", "a file")
            assert manager.get_progress(others[0]) == (0.0, "waits behind 1 other", "", "extract of b", "a file")
            assert manager.get_progress(others[1]) == (0.0, "waits behind 2 others", "", "extract of c", "a file")
        finally:
            queue.end()
            for process in manager.made.values():
                process.kill()
                process.wait()


def test_a_survey_is_told_to_pause_by_a_file_as_long_as_a_trace_is_there(tmp_path):
    rank = lambda _name, given: Manners(LONG if given[0] == "survey" else NEEDED)  # noqa: E731
    queue = Queue()
    with diskcache.Cache(str(tmp_path)) as cache:
        manager = Manager(cache, queue, rank)
        try:
            survey = ask(manager, "survey", "page")
            running(manager, survey)
            assert not manager.pause_file(survey).exists()
            trace = ask(manager, "trace", "page")
            process = running(manager, trace)
            until(manager.pause_file(survey).exists)
            assert not manager.pause_file(trace).exists()
            process.kill()
            process.wait()
            until(lambda: not manager.pause_file(survey).exists())
        finally:
            queue.end()
            for process in manager.made.values():
                process.kill()
                process.wait()


def test_an_extraction_that_dash_replaces_by_another_stays_and_one_that_is_cancelled_does_not(tmp_path):
    """Dash names the jobs that it ends in the request's address: as "oldJob", or as "cancelJob"."""
    queue = Queue()
    with diskcache.Cache(str(tmp_path)) as cache:
        manager = Manager(cache, queue, lambda _name, given: Manners(NEEDED, given[0]))
        try:
            for argument, why in (("oldJob", ELSEWHERE), ("cancelJob", CANCELLED)):
                key = ask(manager, argument, "page")
                process = running(manager, key)
                with Flask("test").test_request_context(f"/?{argument}=signed"):
                    manager.terminate_job(key)
                with pytest.raises(Ended, match=why):
                    manager.get_result(key, key)
                time.sleep(1.0)  # much longer than the queue goes on with what nobody waits for
                assert (process.poll() is None) == (why == ELSEWHERE)
        finally:
            queue.end()
            for process in manager.made.values():
                process.kill()
                process.wait()


HOLD = """
import sys, time
from aevis_dash.callbacks.processes import job_folder
print(job_folder().directory, flush=True)
time.sleep(60)
"""


def test_folders_of_killed_servers_are_swept_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(processes, "SETTLING", -1)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    servers: list[Any] = [
        subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    try:
        killed, alive = [tmp_path / server.stdout.readline().strip() for server in servers]
        servers[0].kill()
        servers[0].wait()
        stranger = tmp_path / "aevis-jobs-of-another-version"
        stranger.mkdir()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        FileLock(elsewhere / "server.lock").acquire()
        (tmp_path / "aevis-jobs-link").symlink_to(elsewhere)
        assert killed.is_dir()
        with job_folder() as ours:
            assert not killed.exists()
            assert alive.is_dir()
            assert stranger.is_dir()
            assert elsewhere.is_dir()
            job_folder().close()
            assert os.path.isdir(ours.directory), "its own is held"
            assert os.stat(ours.directory).st_mode & 0o077 == 0, "what lies there is unpickled"
    finally:
        for server in servers:
            server.kill()
            server.communicate()
