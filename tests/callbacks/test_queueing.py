"""The queue of jobs: first come, first served, within bounds; what nobody waits for, or takes too long, is ended."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from aevis_dash.callbacks import queueing
from aevis_dash.callbacks.queueing import ABANDONED, CANCELLED, FORGOTTEN, MOST, MOST_OF_A_PAGE, Ended, Queue
from aevis_dash.domain import AevisError

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Started:
    """Processes that were started, by name."""

    def __init__(self):
        self.processes: dict[str, subprocess.Popen] = {}

    def of(self, name):
        def start():
            self.processes[name] = subprocess.Popen(SLEEP)
            return psutil.Process(self.processes[name].pid)

        return start

    def alive(self) -> list[str]:
        return [name for name, process in self.processes.items() if process.poll() is None]

    def finish(self, name):
        self.processes[name].kill()
        self.processes[name].wait()


@pytest.fixture
def started():
    made = Started()
    yield made
    for name in made.alive():
        made.finish(name)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock, monkeypatch):
    """A queue that is tended by the test alone."""
    monkeypatch.setattr(Queue, "keep", lambda self: None)
    made = Queue(hours=2, clock=clock)
    yield made
    made.end()


def ask(queue, started, name, page="page", **given):
    queue.ask(name, f"work of {name}", page, started.of(name), **given)


def test_jobs_run_one_after_the_other_in_the_order_they_were_asked_for(queue, started):
    names = [f"job {i}" for i in range(6)]
    for i, name in enumerate(names):
        ask(queue, started, name, page=f"page {i % 3}")
    assert started.alive() == [], "no process waits"
    for i, name in enumerate(names):
        queue.tend()
        queue.tend()
        assert started.alive() == [name]
        assert [queue.before(queue.job(other)) for other in names[i:]] == list(range(len(names) - i))
        started.finish(name)
        queue.tend()
        queue.done(name)


def test_shared_jobs_run_beside_and_once_for_all(queue, started):
    ask(queue, started, "a")
    for i in range(30):
        queue.ask(f"learn {i}", "learn", f"page {i}", started.of(f"learn {i}"), shared=True)
    queue.tend()
    assert sorted(started.alive()) == ["a", "learn 0"]
    for i in range(29):
        queue.leave(f"learn {i}", CANCELLED)
    queue.tend()
    assert sorted(started.alive()) == ["a", "learn 0"], "one page is still there"


def test_few_shared_jobs_run_at_once_and_the_others_wait(queue, started):
    for name in ("learn", "nulls 1", "nulls 2", "nulls 3"):
        queue.ask(name, name, f"page of {name}", started.of(name), shared=True)
    ask(queue, started, "a")
    queue.tend()
    assert sorted(started.alive()) == ["a", "learn", "nulls 1"]
    assert [queue.before(queue.job(name)) for name in ("a", "learn", "nulls 2", "nulls 3")] == [0, 0, 2, 3]
    started.finish("nulls 1")
    queue.tend()
    queue.tend()
    assert sorted(started.alive()) == ["a", "learn", "nulls 2"]


def test_what_is_asked_for_twice_is_one_job(queue, started, clock):
    for page in ("one", "two"):
        queue.ask(page, "work", page, started.of(page))
    queue.tend()
    assert started.alive() == ["one"]
    assert queue.job("one") is queue.job("two")
    queue.leave("one", CANCELLED)
    with pytest.raises(Ended, match=CANCELLED):
        queue.job("one")
    clock.now += 1
    queue.tend()
    assert started.alive() == ["one"], "the other page waits for it"
    assert queue.done("two")
    assert started.alive() == []


def test_a_job_that_is_asked_for_again_at_once_keeps_its_place(queue, started, clock):
    """As when a page is drawn anew meanwhile: Dash ends the job before it asks for it."""
    ask(queue, started, "first")
    queue.tend()
    queue.ask("second", "work of second", "page", started.of("second"))
    ask(queue, started, "third", page="other")
    queue.leave("second", CANCELLED)
    queue.tend()
    queue.ask("again", "work of second", "page", started.of("again"))
    clock.now += 1
    queue.tend()
    assert queue.before(queue.job("again")) == 1


def test_too_many_jobs_are_refused_in_a_sentence(queue, started):
    for i in range(MOST_OF_A_PAGE):
        ask(queue, started, f"mine {i}")
    with pytest.raises(AevisError, match=f"This page has {MOST_OF_A_PAGE} jobs, as many as it may"):
        ask(queue, started, "one more")
    for i in range(MOST - MOST_OF_A_PAGE):
        ask(queue, started, f"other {i}", page=f"page {i}")
    with pytest.raises(AevisError, match=f"{MOST} jobs run or wait already, as many as may"):
        ask(queue, started, "yet another", page="new page")
    queue.tend()
    assert started.alive() == ["mine 0"]
    queue.ask("same", "work of other 3", "new page", started.of("same"))
    queue.leave("mine 1", CANCELLED)
    queue.leave("mine 2", CANCELLED)
    ask(queue, started, "a free place", page="page")


def test_a_cancelled_job_is_ended_and_its_page_told(queue, started, clock):
    ask(queue, started, "a")
    ask(queue, started, "b")
    queue.tend()
    queue.leave("a", CANCELLED)
    queue.leave("b", CANCELLED)
    clock.now += 1
    queue.tend()
    assert started.alive() == []
    for name in "ab":
        assert queue.knows(name)
        with pytest.raises(Ended, match="was cancelled"):
            queue.job(name)
        queue.done(name)
        assert not queue.knows(name), "its page was told"
    assert list(started.processes) == ["a"], "what waited was never started"


def test_a_job_whose_page_is_gone_is_ended(queue, started, clock):
    ask(queue, started, "gone")
    ask(queue, started, "here")
    queue.tend()
    for _ in range(3):
        clock.now += ABANDONED / 2
        queue.tend()
        queue.job("here")
    clock.now += 1
    queue.tend()
    queue.tend()
    assert started.alive() == ["here"]
    with pytest.raises(Ended, match=FORGOTTEN):
        queue.job("gone")


def test_a_job_has_an_end_and_its_page_hears_of_it(queue, started, clock):
    ask(queue, started, "long")
    ask(queue, started, "next")
    queue.ask("learn", "learn", "page", started.of("learn"), shared=True)
    queue.tend()
    for _ in range(121):
        clock.now += 60
        for name in ("long", "next", "learn"):
            assert queue.runs(queue.job(name))
        queue.tend()
        if clock.now <= 7200:
            assert sorted(started.alive()) == ["learn", "long"]
    queue.tend()
    assert sorted(started.alive()) == ["learn", "next"]
    with pytest.raises(Ended, match=r"took longer than 2 hours and was ended \(aevis serve --job-hours\)"):
        queue.job("long")


def test_a_job_that_cannot_be_started_is_told(queue):
    def start():
        raise BlockingIOError("Resource temporarily unavailable")

    queue.ask("a", "work", "page", start)
    queue.tend()
    with pytest.raises(Ended, match=r"could not be started .*temporarily unavailable"):
        queue.job("a")


def test_an_orphan_is_ended_too(queue, clock):
    """A job whose fork server was killed has another parent now."""
    script = f"import subprocess as s; print(s.Popen({SLEEP!r}, stdout=s.DEVNULL, stderr=s.DEVNULL).pid, flush=True)"

    def start():
        told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        return psutil.Process(int(told))

    queue.ask("a", "work", "page", start)
    queue.tend()
    orphan = queue.job("a").process
    assert os.getpid() not in [parent.pid for parent in orphan.parents()]
    queue.leave("a", CANCELLED)
    clock.now += 1
    queue.tend()
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_what_the_queue_kills_is_what_it_started(queue, started, clock, monkeypatch):
    """A process's number may belong to another program by now."""
    ask(queue, started, "a")
    queue.tend()
    process = queue.job("a").process
    monkeypatch.setattr(process, "_ident", (process.pid, 1.0))
    queue.leave("a", CANCELLED)
    clock.now += 1
    queue.tend()
    assert started.alive() == ["a"]


def test_sixty_at_once_start_one_process(started, monkeypatch):
    """By the queue's own thread; all that were not refused come, one at a time."""
    monkeypatch.setattr(queueing, "MOST_OF_A_PAGE", MOST)
    queue, refused, most = Queue(), [], 0

    def visit(i):
        try:
            ask(queue, started, f"{i}", page=f"page {i}")
        except AevisError as error:
            refused.append(str(error))

    visitors = [threading.Thread(target=visit, args=(i,)) for i in range(60)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert len(refused) == 60 - MOST
    end = time.monotonic() + 120
    while len(started.processes) < MOST or started.alive():
        assert time.monotonic() < end
        alive = started.alive()
        most = max(most, len(alive))
        for name in alive:
            started.finish(name)
        time.sleep(0.01)
    assert most == 1
    queue.end()
