"""A job that is asked to pause gives its turn to others, and then gives what it would have given anyway."""

import os
import shutil
import threading
import time

import numpy as np
import pytest
from filelock import FileLock, Timeout

from aevis_dash import divergences, jobs
from aevis_dash.config import counted
from aevis_dash.domain import AevisError, Intervention
from aevis_dash.workbench import open_workbench


@pytest.fixture
def job(world, tmp_path, monkeypatch):
    """A job's process, which is this one: its workbench, and the file that lets it pause."""
    found, pauses = open_workbench(world), tmp_path / "job.pause"
    monkeypatch.setattr(jobs, "workbench", lambda: found)
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    jobs.server_process.cache_clear()
    jobs.obey(pauses)
    yield found, pauses
    jobs.obey(tmp_path / "none such")
    jobs.server_process.cache_clear()


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def new_example(bench):
    """An example whose datapaths are not stored."""
    known = [each.example.id for each in bench.judging.judged_examples() if each.misclassified]
    return next(name for name in known if bench.datapaths.triplet(name) is None)


class Run(threading.Thread):
    """A job that runs beside the test. It is asked to pause when it says `at` for the first time."""

    def __init__(self, work, pauses, at):
        super().__init__(daemon=True)
        self._work, self._pauses, self._at = work, pauses, at
        self.said: list[tuple[float, str]] = []
        self.result = None

    def run(self):
        self.result = self._work(self.told)

    def told(self, share, what):
        if self._at in what and not any(self._at in text for _, text in self.said):
            self._pauses.touch()
        self.said.append((share, what))

    @property
    def pauses(self):
        return bool(self.said) and self.said[-1][1] == jobs.PAUSES


def test_an_extraction_pauses_in_its_middle_and_extracts_the_same(job, tmp_path):
    """Meanwhile another job has the turn, and what was finished is stored."""
    bench, pauses = job
    example, wanted = new_example(bench), bench.workspace.settings.extraction
    shutil.copytree(bench.workspace.root, tmp_path / "straight")
    straight = open_workbench(tmp_path / "straight").datapaths.extract(example, nulls=False)

    count = 2 + len(straight.candidates)
    run = Run(
        lambda told: jobs.extract(example, None, wanted, told, nulls=False), pauses, counted("datapath", 2, 2, count)
    )
    run.start()
    until(lambda: run.pauses)
    keys = bench.datapaths.path_keys(straight.plan, wanted)
    stored = [bench.store.has(key) for key in keys[:count]]
    with FileLock(bench.workspace.cache / "job.lock", timeout=5):
        time.sleep(1.2)
        assert run.pauses, "as long as it is asked to"
        pauses.unlink()
        until(lambda: run.said[-1][1] == jobs.WAITS)
        assert [bench.store.has(key) for key in keys[:count]] == stored == [True] + [False] * (count - 1)
    run.join(120)
    assert not run.is_alive()

    assert len(run.result.paths) == len(straight.paths) == count
    for path, other in zip(run.result.paths, straight.paths, strict=True):
        assert np.array_equal(path.gates, other.gates)
        assert np.array_equal(path.critical, other.critical)
    shares = [share for share, _ in run.said]
    assert shares == sorted(shares), "it goes on from where it was"
    paused = [share for share, what in run.said if what in (jobs.PAUSES, jobs.WAITS)]
    assert min(paused[1:]) >= 1 / count, "the bar stays while it pauses"
    texts = [what for _, what in run.said]
    assert any(text.startswith(f"datapath 1 of {count}: ") for text in texts)
    assert any(text.startswith(f"datapaths 3 to {min(9, count)} of {count}: ") for text in texts)
    with pytest.raises(Timeout), FileLock(bench.workspace.cache / "job.lock"):
        FileLock(bench.workspace.cache / "job.lock").acquire(timeout=0)


def test_the_comparison_of_all_pairs_lets_a_flip_back_in_between_two_pairs(job, tmp_path):
    """What takes seconds is there while the comparison still runs, which gives the same rows."""
    bench, pauses = job
    count = len(divergences.misclassified(bench))
    shutil.copytree(bench.workspace.root, tmp_path / "straight")
    straight = divergences.listing(open_workbench(tmp_path / "straight"))
    run = Run(jobs.compare_pairs, pauses, f"comparing pair 3 of {count}")
    run.start()
    until(lambda: run.pauses)
    with FileLock(bench.workspace.cache / "job.lock", timeout=5):
        bench.flips.verify(bench.workspace.settings.opens_on, Intervention(3, (1,)))
        assert run.pauses
        assert divergences.stored_listing(bench) is None, "the comparison is not done"
    pauses.unlink()
    run.join(120)
    assert divergences.stored_listing(bench) == straight
    assert next(what for _, what in run.said if what.startswith("comparing")) == f"comparing pair 1 of {count}"


def test_a_job_that_is_asked_to_pause_before_it_begins_does_not_begin(job):
    bench, pauses = job
    pauses.touch()
    run = Run(jobs.compare_pairs, pauses, "never said")
    run.start()
    until(lambda: run.pauses)
    with FileLock(bench.workspace.cache / "job.lock", timeout=0):
        time.sleep(0.5)
    assert {what for _, what in run.said} == {jobs.PAUSES}
    pauses.unlink()
    run.join(120)
    assert divergences.stored_listing(bench) is not None


def test_a_job_that_fails_while_it_has_the_turn_gives_it_back(job, monkeypatch):
    bench, _ = job
    with pytest.raises(AevisError):
        jobs.extract("none such", None, bench.workspace.settings.extraction, lambda *_: None, nulls=False)
    FileLock(bench.workspace.cache / "job.lock").acquire(timeout=0)
