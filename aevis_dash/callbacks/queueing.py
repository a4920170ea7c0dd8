"""The queue of jobs: which job computes, which pages wait for it, and when it is ended.

One job computes at a time, since each takes all cores. The same work asked for twice is one job with two pages that
wait for it. Every job has a rank. The job of the lowest rank goes first, and jobs of one rank go in the order in which
they were asked for. A job that is asked for while one of a higher rank runs is started at once, and the other one is
asked to pause until no job of a lower rank is left. Shared jobs, which are learning and the datapaths of null targets,
run beside the queue and are asked to pause in the same way.

An extraction whose example no page shows any more is *left*. It then has the rank LEFT, so it goes on only while
nothing else is to be done. A page that asks for it again gets the job as far as it has come.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil
from cachetools import LRUCache

from aevis_dash.callbacks.ending import alive, kill
from aevis_dash.callbacks.work import LEFT, PLAIN, Job, Manners, Pause, Start, Waiting, never_pause
from aevis_dash.domain import AevisError, so_many

MOST, MOST_OF_A_PAGE = 16, 4
"""The number of jobs that may run or wait at once, of all pages and of one page."""
BESIDE = 2
"""The number of shared jobs that run at once; others wait."""
HOURS = 4.0
"""The hours that a job may run where nothing else is said."""
ABANDONED = 180.0
"""The seconds without a question after which a page is taken to be gone. Browsers let a hidden page ask once a
minute."""
PATIENCE, MOST_LEFT = 600.0, 2
"""The seconds after which an extraction that was left, and that nobody asked for again, is ended; and the number of
extractions that may be left at once. The one that was left first is ended first."""
PAGES = 1000
"""The number of pages of which the queue knows what they show; of others it takes what they asked for."""
_AGAIN, _LOOK = 0.3, 0.25
"""The seconds that a job goes on after nobody waits for it, as it may be asked for again at once; and the seconds
between two looks at the jobs."""

CANCELLED = "was cancelled"
ELSEWHERE = "was left for another one"
DIED = "ended without a result (killed, or out of memory)"
STOPPED = "was ended, because the server is being stopped"
FORGOTTEN = "was ended, because the page did not ask for it for a while"
UNKNOWN = "is unknown to the server, which was started anew meanwhile"


class Ended(Exception):
    """Raised for a job that ended without a result. Its text says how it ended, and follows the job's name in a
    sentence."""


class Place(NamedTuple):
    """A job in the order of the queue.

    Attributes:
        job: the job.
        before: the number of jobs that come before it; 0 for one that has begun.
        users: the names of the users whose pages wait for it, as far as they are known.
        left: whether it is an extraction that was left.
    """

    job: Job
    before: int
    users: tuple[str, ...]
    left: bool


class Queue:
    """The jobs of one server. All methods may be called from several threads. Tickets are names that the caller gives.

    Args:
        hours: how long a job may run.
        clock: tells the time in seconds.
        command: the command whose option says how long a job may run.
    """

    def __init__(self, hours: float = HOURS, clock: Callable[[], float] = time.monotonic, command: str = "aevis serve"):
        self._hours, self._clock, self._command = hours, clock, command
        self._jobs: list[Job] = []
        self._shown: LRUCache[str, tuple[float, str]] = LRUCache(PAGES)
        self._lock, self._wake = threading.RLock(), threading.Event()
        self._keeper: threading.Thread | None = None
        self._closed = False

    def ask(
        self,
        ticket: str,
        work: str,
        page: str,
        start: Start,
        manners: Manners = PLAIN,
        pause: Pause = never_pause,
        user: str = "",
    ) -> None:
        """Let a page wait for a piece of work, which is started in its turn unless it is under way already.

        Args:
            ticket: a new name, by which the page asks for the job from now on.
            work: the name of the work, which is the same for all pages.
            page: the name of the page.
            start: starts the work, and gives its process.
            manners: how the work stands to other jobs.
            pause: tells the work to pause, or with False to go on.
            user: the name of the page's user; "" where none is known.

        Raises:
            AevisError: where too many jobs run or wait, and where the queue has ended.
        """
        with self._lock:
            job = next((job for job in self._jobs if job.work == work and not job.over), None)
            if job is None:
                if not manners.shared or self._closed:
                    self._refuse(page)
                job = Job(work, ticket, start, pause, manners)
                self._jobs.append(job)
            job.pages[ticket], job.left, job.kept = Waiting(page, self._clock(), user=user), None, False
            if self._keeper is None and not self._closed:
                self._keeper = threading.Thread(target=self.keep, name="jobs", daemon=True)
                self._keeper.start()
        self._wake.set()

    def look(self, page: str, example: str, at: float) -> None:
        """Note which example a page shows. An extraction of an example that none of its pages shows is left.

        Args:
            page: the name of the page.
            example: the ID of the example; "" where the page shows none, or is closed.
            at: when the page told this, by its own clock. What comes late is not taken for what is.
        """
        with self._lock:
            if page not in self._shown or at >= self._shown[page][0]:
                self._shown[page] = (at, example)
        self._wake.set()

    def job(self, ticket: str) -> Job:
        """The job that a ticket waits for; its page counts as there. Raises Ended where the ticket waits no more."""
        with self._lock:
            job = self._find(ticket)
            if job is None:
                raise Ended(FORGOTTEN)
            job.pages[ticket].asked = self._clock()
            if job.pages[ticket].why:
                raise Ended(job.pages[ticket].why)
            return job

    def runs(self, job: Job) -> bool:
        """Whether a job waits or runs."""
        with self._lock:
            return not job.over and (job.process is None or alive(job.process))

    def before(self, job: Job) -> int:
        """The number of jobs that come before a waiting job; 0 for a job that runs or has ended."""
        with self._lock:
            if job.begun is not None or job not in self._jobs:
                return 0
            others = [other for other in self._jobs if not other.over and self._beside(other) == self._beside(job)]
            return sum(self._turn(other) < self._turn(job) for other in others)

    def says(self, job: Job) -> str:
        """Why a job does not run yet, in words; "" for one that runs or has ended."""
        before = self.before(job)
        return f"waits behind {so_many(before, 'other')}" if before else ""

    def places(self) -> list[Place]:
        """The jobs that run or wait, in the order in which they have their turns; those beside the queue come last."""
        with self._lock:
            open_jobs = [job for job in self._jobs if not job.over]
            open_jobs.sort(key=lambda job: (self._beside(job), job.begun is None, self._turn(job)))
            users = [sorted({one.user for one in job.pages.values() if one.user and not one.why}) for job in open_jobs]
            return [
                Place(job, self.before(job), tuple(names), self._is_left(job) or job.kept)
                for job, names in zip(open_jobs, users, strict=True)
            ]

    def user(self, ticket: str) -> str:
        """The name of the user of a ticket's page; "" where none is known."""
        job = self._find(ticket)
        return job.pages[ticket].user if job is not None else ""

    def trouble(self) -> str:
        """Why jobs cannot be computed now, in a sentence; "" where they can."""
        return ""

    def knows(self, ticket: str) -> bool:
        """Whether the page of a ticket still has to be told how its job ended."""
        return self._find(ticket) is not None

    def leave(self, ticket: str, why: str) -> None:
        """Let a ticket wait no more. Its page is told why when it asks next.

        A job that nobody waits for is ended. Only an extraction that is under way stays as one that was left, where its
        last page waits no more because it went on ELSEWHERE.
        """
        with self._lock:
            job = self._find(ticket)
            if job is not None:
                job.pages[ticket].why = job.pages[ticket].why or why
                self._note_if_left(job, kept=why == ELSEWHERE)

    def done(self, ticket: str) -> bool:
        """Note that the page of a ticket was told how its job ended.

        Returns:
            Whether it was the last page that waited for the job, and the job is gone.
        """
        with self._lock:
            job = self._find(ticket)
            if job is None:
                return False
            del job.pages[ticket]
            if job.watched_by() or job.kept:
                return False
            self._end(job)
            return True

    def tend(self) -> None:
        """End jobs that are abandoned or take too long, ask jobs to pause or to go on, and start those whose turn it
        is."""
        with self._lock:
            now = self._clock()
            for job in self._jobs:
                for ticket in [ticket for ticket, one in job.pages.items() if now - one.asked > ABANDONED]:
                    del job.pages[ticket]
                self._note_if_left(job)
                hours = 0.0 if job.begun is None or job.paused is not None else (now - job.begun) / 3600
                if job.left is not None and now - job.left > (PATIENCE if job.kept else _AGAIN):
                    self._end(job)
                elif not job.manners.shared and hours > self._hours:
                    self._stop(
                        job, f"took longer than {self._hours:g} hours and was ended ({self._command} --job-hours)"
                    )
                elif job.process is not None and not alive(job.process):
                    job.over = True
            kept = sorted((one for one in self._jobs if one.kept and not one.over), key=_since_when)
            for job in kept[:-MOST_LEFT]:
                self._end(job)
            begun = [job for job in self._jobs if job.begun is not None]
            told = [job for job in begun if self._pauses(job) != (job.paused is not None)]
            for job in told:
                self._note_pause(job, now)
            self._jobs = [job for job in self._jobs if job.pages or not job.over]
            new = [] if self._closed else self._next()
            for job in new:
                job.begun = now
        for job in told:
            job.pause(job.paused is not None)
        for job in new:  # not under the lock: the fork server may be busy, and pages ask meanwhile
            self._begin(job)

    def end(self) -> None:
        """End all jobs, and start none any more. What they finished is stored, so they go on from there when they are
        asked for again."""
        with self._lock:
            self._closed = True
            for job in self._jobs:
                if not job.over:
                    self._stop(job, STOPPED)
        self._wake.set()

    def keep(self) -> None:
        """Tend the queue until its end: whenever something was asked of it, and now and then while there are jobs."""
        while not self._closed:
            self._wake.wait(_LOOK if self._jobs else None)
            self._wake.clear()
            self.tend()

    def refusal(self) -> str:
        """Why a page that has no job yet could not ask for one now; "" where it could."""
        with self._lock:
            if self._closed:
                return "The server is being stopped and takes no more jobs. Try again when it runs again."
            busy = len(self._busy())
        return f"{busy} jobs run or wait already, as many as may. Try again when one has ended." if busy >= MOST else ""

    def counts(self) -> tuple[int, int]:
        """The numbers of jobs that wait, and that run."""
        with self._lock:
            begun = [job.begun is not None for job in self._jobs if not job.over]
        return begun.count(False), begun.count(True)

    def _busy(self) -> list[Job]:
        return [job for job in self._jobs if job.watched_by() and not job.over and not job.manners.shared]

    def _refuse(self, page: str) -> None:
        own = sum(job.watched_by(page) for job in self._busy())
        if own >= MOST_OF_A_PAGE:
            raise AevisError(f"This page has {own} jobs, as many as it may. Wait until one ends, or cancel one.")
        if why := self.refusal():
            raise AevisError(why)

    def _find(self, ticket: str) -> Job | None:
        return next((job for job in self._jobs if ticket in job.pages), None)

    def _note_if_left(self, job: Job, kept: bool = False) -> None:
        if job.watched_by():
            job.left, job.kept = None, False
        elif job.left is None:
            job.left = self._clock()
            job.kept = kept and bool(job.manners.example) and job.begun is not None and not job.over

    def _is_left(self, job: Job) -> bool:
        """Whether it is an extraction of an example that no page shows of those that wait for it."""
        if not job.manners.example:
            return False
        pages = [one.page for one in job.pages.values() if not one.why]
        return all(page in self._shown and self._shown[page][1] != job.manners.example for page in pages)

    def _rank(self, job: Job) -> int:
        return LEFT if self._is_left(job) else job.manners.rank

    def _beside(self, job: Job) -> bool:
        return job.manners.shared and not self._is_left(job)

    def _turn(self, job: Job) -> tuple[int, int]:
        """By what the jobs are ordered: the rank, and the order in which they were asked for."""
        beside = self._beside(job)  # these take no turns by rank, as they run at once
        return (0 if beside else self._rank(job), self._jobs.index(job))

    def _pauses(self, job: Job) -> bool:
        """Whether a job that runs has to pause, since one of a lower rank waits or runs."""
        return not job.over and any(not other.over and self._rank(other) < self._rank(job) for other in self._jobs)

    def _note_pause(self, job: Job, now: float) -> None:
        if job.paused is None or job.begun is None:
            job.paused = now
        else:
            job.begun, job.paused = job.begun + now - job.paused, None

    def _next(self) -> list[Job]:
        """The jobs that are to be started now: those beside the queue for which there is room, and the first one of the
        queue, where none of its rank or of a lower one runs."""
        running = [job for job in self._jobs if job.begun is not None and not job.over]
        waiting = sorted((job for job in self._jobs if job.begun is None and not job.over), key=self._turn)
        room = max(0, BESIDE - sum(map(self._beside, running)))
        first = [job for job in waiting if not self._beside(job)][:1]
        blocked = any(not self._beside(one) and self._rank(one) <= self._rank(job) for job in first for one in running)
        return [job for job in waiting if self._beside(job)][:room] + ([] if blocked else first)

    def _begin(self, job: Job) -> None:
        try:
            process = job.start()
        except psutil.NoSuchProcess:  # it has ended already; its result is there
            job.over = True
            return
        except Exception as error:  # whatever it is, the thread that starts all jobs must go on
            with self._lock:
                self._stop(job, f"could not be started ({error})")
            return
        with self._lock:
            job.process = process
            if job.over:  # it was ended while it was started
                kill(process)

    def _stop(self, job: Job, why: str) -> None:
        for one in job.pages.values():
            one.why = one.why or why
        self._end(job)

    def _end(self, job: Job) -> None:
        job.over = True
        if job.process is not None:
            kill(job.process)


def _since_when(left: Job) -> float:
    return 0.0 if left.left is None else left.left
