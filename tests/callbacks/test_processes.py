"""The manager of job processes: no result is lost between two questions, and nothing of others is killed."""

import subprocess
import sys
import time

import diskcache
import psutil
import pytest

from aevis_dash.callbacks.processes import DIED, JobManager

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def manager(tmp_path):
    with diskcache.Cache(str(tmp_path)) as cache:
        yield JobManager(cache)


@pytest.fixture
def job():
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def test_a_result_that_comes_while_the_job_ends_is_not_lost(manager, job):
    """Dash asks for the result, then whether the job runs: the second answer must fit the first."""
    assert manager.get_result("key", job.pid) is manager.UNDEFINED
    job.kill()
    job.wait()
    manager.handle.set("key", [1])
    assert manager.job_running(job.pid), "as it was when the result was asked for"
    assert manager.get_result("key", job.pid) == [1]


def test_a_job_that_ended_without_a_result_is_an_error(manager, job):
    job.kill()
    job.wait()
    assert manager.get_result("key", job.pid) == DIED
    assert not manager.job_running(job.pid)


def test_a_running_job_is_ended_and_an_ended_one_is_no_error(manager, job):
    manager.terminate_job(job.pid)
    assert not psutil.pid_exists(job.pid)
    manager.terminate_job(job.pid)
    manager.terminate_job(None)


def test_processes_of_others_are_left_alone(manager):
    """A grandchild that was left behind belongs to nobody here, whatever its number."""
    script = f"import subprocess as s; print(s.Popen({SLEEP!r}, stdout=s.DEVNULL, stderr=s.DEVNULL).pid, flush=True)"
    number = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    stranger = psutil.Process(number)
    try:
        manager.terminate_job(number)
        time.sleep(0.2)
        assert stranger.is_running()
        assert stranger.status() != psutil.STATUS_ZOMBIE
    finally:
        stranger.kill()
