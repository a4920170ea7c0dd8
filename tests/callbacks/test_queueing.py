"""The queue of jobs: the quick ones first, within bounds; what nobody waits for, or takes too long, is ended."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from aevis_dash.callbacks import queueing
from aevis_dash.callbacks.queueing import (
    ABANDONED,
    CANCELLED,
    ELSEWHERE,
    FORGOTTEN,
    MOST,
    MOST_LEFT,
    MOST_OF_A_PAGE,
    PATIENCE,
    Ended,
    Queue,
)
from aevis_dash.callbacks.work import LEARNING, LONG, NEEDED, NULLS, QUICK, Manners
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
        self.told: list[tuple[str, bool]] = []

    def pause_of(self, name):
        return lambda pauses: self.told.append((name, pauses))

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


def ask(queue, started, name, page="page", rank=QUICK, example=""):
    queue.ask(name, f"work of {name}", page, started.of(name), Manners(rank, example), started.pause_of(name))


def end(queue, started, name):
    """Let a job end by itself, and its page be told; then let the next ones begin."""
    started.finish(name)
    queue.tend()
    queue.done(name)
    queue.tend()


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
        queue.ask(f"learn {i}", "learn", f"page {i}", started.of(f"learn {i}"), Manners(LEARNING))
    queue.tend()
    assert sorted(started.alive()) == ["a", "learn 0"]
    for i in range(29):
        queue.leave(f"learn {i}", CANCELLED)
    queue.tend()
    assert sorted(started.alive()) == ["a", "learn 0"], "one page is still there"


def test_few_shared_jobs_run_at_once_and_the_others_wait(queue, started):
    for name in ("learn", "nulls 1", "nulls 2", "nulls 3"):
        queue.ask(name, name, f"page of {name}", started.of(name), Manners(LEARNING if name == "learn" else NULLS))
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
    queue.ask("learn", "learn", "page", started.of("learn"), Manners(LEARNING))
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


def test_what_takes_seconds_overtakes_what_takes_minutes(queue, started):
    """The comparison, the search and the null targets pause until the traces are done, and go on then."""
    queue.ask("nulls", "nulls", "other", started.of("nulls"), Manners(NULLS, "a"), started.pause_of("nulls"))
    ask(queue, started, "comparison", rank=LONG)
    queue.tend()
    queue.tend()
    assert sorted(started.alive()) == ["comparison", "nulls"]
    assert started.told == [("nulls", True)], "as before, null targets come between the turns of other jobs"
    ask(queue, started, "search", rank=LONG)
    ask(queue, started, "trace", page="other")
    ask(queue, started, "flip-back", page="other")
    assert [queue.before(queue.job(name)) for name in ("search", "trace", "flip-back")] == [3, 0, 1]
    queue.tend()
    assert sorted(started.alive()) == ["comparison", "nulls", "trace"]
    assert started.told == [("nulls", True), ("comparison", True)]
    assert [queue.before(queue.job(name)) for name in ("search", "trace", "flip-back")] == [3, 0, 1]
    end(queue, started, "trace")
    assert sorted(started.alive()) == ["comparison", "flip-back", "nulls"]
    assert started.told[2:] == [], "it pauses for the next one, too"
    end(queue, started, "flip-back")
    assert sorted(started.alive()) == ["comparison", "nulls"]
    assert started.told[2:] == [("comparison", False)]
    assert queue.before(queue.job("search")) == 1
    end(queue, started, "comparison")
    assert sorted(started.alive()) == ["nulls", "search"]
    end(queue, started, "search")
    assert started.told[3:] == [("nulls", False)]


def test_an_extraction_goes_before_a_survey_and_after_a_trace(queue, started):
    """Those that wait start by rank, and within a rank in the order in which they were asked for."""
    ask(queue, started, "running")
    queue.tend()
    ranks = [("survey 1", LONG), ("needed 1", NEEDED), ("survey 2", LONG), ("quick", QUICK), ("needed 2", NEEDED)]
    for name, rank in ranks:
        ask(queue, started, name, page=f"page of {name}", rank=rank)
    order = ["quick", "needed 1", "needed 2", "survey 1", "survey 2"]
    assert [queue.before(queue.job(name)) for name in order] == [1, 2, 3, 4, 5]
    end(queue, started, "running")
    for name in order:
        assert started.alive() == [name]
        end(queue, started, name)
    assert started.told == [], "none of them had to pause"


def test_an_extraction_that_was_left_gives_way_and_goes_on_when_the_visitor_comes_back(queue, started):
    queue.look("page", "a", 1)
    ask(queue, started, "a", rank=NEEDED, example="a")
    queue.tend()
    queue.look("page", "b", 2)
    queue.look("page", "a", 1)  # what was told before comes late
    queue.tend()
    assert (started.alive(), started.told) == (["a"], []), "nothing else is to be done"
    ask(queue, started, "survey", page="other", rank=LONG)
    queue.tend()
    assert sorted(started.alive()) == ["a", "survey"]
    assert started.told == [("a", True)]
    queue.look("page", "a", 3)
    queue.tend()
    assert started.told[1:] == [("a", False), ("survey", True)] or started.told[1:] == [("survey", True), ("a", False)]
    queue.look("page", "", 4)  # the page was closed
    queue.tend()
    assert dict(started.told[3:]) == {"a": True, "survey": False}
    end(queue, started, "survey")
    assert started.told[5:] == [("a", False)]
    assert started.alive() == ["a"]


def test_an_extraction_that_one_of_two_pages_shows_is_not_left(queue, started):
    for page in ("one", "two"):
        queue.look(page, "a", 1)
        queue.ask(page, "work", page, started.of(page), Manners(NEEDED, "a"), started.pause_of(page))
    queue.tend()
    queue.look("one", "b", 2)
    ask(queue, started, "survey", page="one", rank=LONG)
    queue.tend()
    assert (started.alive(), started.told) == (["one"], [])
    queue.look("two", "c", 2)
    queue.tend()
    queue.tend()
    assert sorted(started.alive()) == ["one", "survey"]
    assert started.told == [("one", True)]


def test_the_extraction_of_another_example_takes_the_place_of_one_that_stays_and_is_asked_for_again(
    queue, started, clock
):
    """Dash ends the wait for the first one before it asks for the second. No work is lost, and none is done twice."""
    ask(queue, started, "a", rank=NEEDED, example="a")
    queue.tend()
    queue.leave("a", ELSEWHERE)
    ask(queue, started, "b", rank=NEEDED, example="b")
    queue.tend()
    assert sorted(started.alive()) == ["a", "b"]
    assert started.told == [("a", True)]
    with pytest.raises(Ended, match=ELSEWHERE):
        queue.job("a")
    assert not queue.done("a"), "the page was told, and the job stays"
    clock.now += 60
    queue.job("b")
    queue.tend()
    assert sorted(started.alive()) == ["a", "b"]
    end(queue, started, "b")
    assert started.told[1:] == [("a", False)], "now there is nothing else to do"
    queue.ask("again", "work of a", "page", started.of("again"), Manners(NEEDED, "a"))
    assert queue.job("again").key == "a", "it goes on where it was"
    clock.now += ABANDONED - 1
    queue.tend()
    assert started.alive() == ["a"]
    queue.leave("again", CANCELLED)
    clock.now += 1
    queue.tend()
    assert started.alive() == [], "a job that is cancelled is ended"


def test_what_was_left_and_not_asked_for_again_is_ended(queue, started, clock):
    names = [f"{i}" for i in range(MOST_LEFT + 1)]
    for name in names:
        ask(queue, started, name, rank=NEEDED, example=name)
        queue.tend()
        clock.now += 1
        queue.leave(name, ELSEWHERE)
    queue.tend()
    assert sorted(started.alive()) == names[1:], "the one that was left first is ended"
    clock.now += PATIENCE - 0.5
    queue.tend()
    assert sorted(started.alive()) == names[2:]
    clock.now += 1
    queue.tend()
    assert started.alive() == []


def test_what_waits_only_or_is_no_extraction_does_not_stay(queue, started, clock):
    ask(queue, started, "trace")
    queue.tend()
    ask(queue, started, "waits", rank=NEEDED, example="a")
    queue.leave("trace", ELSEWHERE)
    queue.leave("waits", ELSEWHERE)
    clock.now += 1
    queue.tend()
    assert (started.alive(), list(started.processes)) == ([], ["trace"])


def test_the_time_for_which_a_job_pauses_is_not_counted(queue, started, clock):
    """Here a job may take two hours."""

    def pass_by(seconds, *names):
        for _ in range(seconds // 100):
            clock.now += 100
            for name in names:
                queue.job(name)
            queue.tend()

    ask(queue, started, "survey", rank=LONG)
    queue.tend()
    pass_by(3600, "survey")
    ask(queue, started, "trace", page="other")
    queue.tend()
    pass_by(6000, "survey", "trace")
    end(queue, started, "trace")
    pass_by(3600, "survey")
    assert started.alive() == ["survey"], "it has worked for two hours"
    clock.now += 1
    queue.tend()
    assert started.alive() == []
