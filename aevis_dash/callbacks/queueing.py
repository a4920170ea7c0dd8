"""The queue of jobs: which job runs, which pages wait for it, and when it is ended.

One job runs at a time, since each takes all cores. The others start in the order in which they were asked for. The same
work asked for twice is one job with two pages that wait for it. Shared jobs, which are learning and the datapaths of
null targets, make room for others themselves and run beside the queue.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from aevis_dash.domain import AevisError

MOST, MOST_OF_A_PAGE = 16, 4
"""The number of jobs that may run or wait at once, of all pages and of one page."""
BESIDE = 2
"""The number of shared jobs that run at once; others wait."""
HOURS = 4.0
"""The hours that a job may run where nothing else is said."""
ABANDONED = 180.0
"""The seconds without a question after which a page is taken to be gone. Browsers let a hidden page ask once a
minute."""
_LEFT, _LOOK = 0.3, 0.25
"""The seconds that a job goes on after nobody waits for it, as it may be asked for again at once; and the seconds
between two looks at the jobs."""

CANCELLED = "was cancelled"
DIED = "ended without a result (killed, or out of memory)"
FORGOTTEN = "was ended, because the page did not ask for it for a while"
UNKNOWN = "is unknown to the server, which was started anew meanwhile"
Start = Callable[[], psutil.Process]


class Ended(Exception):
    """Raised for a job that ended without a result. Its text says how it ended, and follows the job's name in a
    sentence."""


@dataclass
class _Waiting:
    """A page that waits for a job, when it last asked, and why it waits no more ("" while it waits)."""

    page: str
    asked: float
    why: str = ""


@dataclass
class Job:
    """A piece of work. It waits (`begun` is None), runs, and ends; then its process is gone.

    Attributes:
        work: the name of the work, which is the same for all pages.
        key: the ticket of the page that asked first, under which the result lies.
        start: starts the work, and gives its process.
        shared: whether it runs beside the queue.
        pages: the pages that wait for it, by their tickets.
        begun: when it was started, in seconds; None while it waits.
        left: since when nobody waits for it, in seconds; None where somebody does.
        process: its process; None before it is started.
        over: whether it has ended.
    """

    work: str
    key: str
    start: Start
    shared: bool
    pages: dict[str, _Waiting] = field(default_factory=dict)
    begun: float | None = None
    left: float | None = None
    process: psutil.Process | None = None
    over: bool = False

    def watched_by(self, page: str | None = None) -> bool:
        """Whether that page waits for the job; for None, whether any page does."""
        return any(not one.why and page in (None, one.page) for one in self.pages.values())


class Queue:
    """The jobs of one server. All methods may be called from several threads. Tickets are names that the caller gives.

    Args:
        hours: how long a job may run.
        clock: tells the time in seconds.
    """

    def __init__(self, hours: float = HOURS, clock: Callable[[], float] = time.monotonic):
        self._hours, self._clock = hours, clock
        self._jobs: list[Job] = []
        self._lock, self._wake = threading.RLock(), threading.Event()
        self._keeper: threading.Thread | None = None
        self._closed = False

    def ask(self, ticket: str, work: str, page: str, start: Start, shared: bool = False) -> None:
        """Let a page wait for a piece of work, which is started in its turn unless it is under way already.

        Args:
            ticket: a new name, by which the page asks for the job from now on.
            work: the name of the work, which is the same for all pages.
            page: the name of the page.
            start: starts the work, and gives its process.
            shared: whether the work runs beside the queue.

        Raises:
            AevisError: where too many jobs run or wait.
        """
        with self._lock:
            job = next((job for job in self._jobs if job.work == work and not job.over), None)
            if job is None:
                if not shared:
                    self._refuse(page)
                job = Job(work, ticket, start, shared)
                self._jobs.append(job)
            job.pages[ticket], job.left = _Waiting(page, self._clock()), None
            if self._keeper is None and not self._closed:
                self._keeper = threading.Thread(target=self.keep, name="jobs", daemon=True)
                self._keeper.start()
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
            return not job.over and (job.process is None or _alive(job.process))

    def before(self, job: Job) -> int:
        """The number of jobs that come before a waiting job; 0 for a job that runs or has ended."""
        with self._lock:
            if job.begun is not None:
                return 0
            return sum(not other.over and other.shared == job.shared for other in self._jobs[: self._jobs.index(job)])

    def knows(self, ticket: str) -> bool:
        """Whether the page of a ticket still has to be told how its job ended."""
        return self._find(ticket) is not None

    def leave(self, ticket: str, why: str) -> None:
        """Let a ticket wait no more. Its page is told why when it asks next, and a job that nobody waits for is
        ended."""
        with self._lock:
            job = self._find(ticket)
            if job is not None:
                job.pages[ticket].why = job.pages[ticket].why or why
                self._note_if_left(job)

    def done(self, ticket: str) -> bool:
        """Note that the page of a ticket was told how its job ended.

        Returns:
            Whether it was the last page that waited for the job.
        """
        with self._lock:
            job = self._find(ticket)
            if job is None:
                return False
            del job.pages[ticket]
            if job.watched_by():
                return False
            self._end(job)
            return True

    def tend(self) -> None:
        """End jobs that are abandoned or take too long, and start those whose turn it is."""
        with self._lock:
            now = self._clock()
            for job in self._jobs:
                for ticket in [ticket for ticket, one in job.pages.items() if now - one.asked > ABANDONED]:
                    del job.pages[ticket]
                self._note_if_left(job)
                if job.left is not None and now - job.left > _LEFT:
                    self._end(job)
                elif not job.shared and job.begun is not None and now - job.begun > 3600 * self._hours:
                    self._stop(job, f"took longer than {self._hours:g} hours and was ended (aevis serve --job-hours)")
                elif job.process is not None and not _alive(job.process):
                    job.over = True
            self._jobs = [job for job in self._jobs if job.pages or not job.over]
            new = [] if self._closed else self._next()
            for job in new:
                job.begun = now
        for job in new:  # not under the lock: the fork server may be busy, and pages ask meanwhile
            self._begin(job)

    def end(self) -> None:
        """End all jobs, and start none any more."""
        with self._lock:
            self._closed = True
            for job in self._jobs:
                self._end(job)
        self._wake.set()

    def keep(self) -> None:
        """Tend the queue until its end: whenever something was asked of it, and now and then while there are jobs."""
        while not self._closed:
            self._wake.wait(_LOOK if self._jobs else None)
            self._wake.clear()
            self.tend()

    def _refuse(self, page: str) -> None:
        busy = [job for job in self._jobs if job.watched_by() and not job.over and not job.shared]
        own = sum(job.watched_by(page) for job in busy)
        if own >= MOST_OF_A_PAGE:
            raise AevisError(f"This page has {own} jobs, as many as it may. Wait until one ends, or cancel one.")
        if len(busy) >= MOST:
            raise AevisError(f"{len(busy)} jobs run or wait already, as many as may. Try again when one has ended.")

    def _find(self, ticket: str) -> Job | None:
        return next((job for job in self._jobs if ticket in job.pages), None)

    def _note_if_left(self, job: Job) -> None:
        if job.watched_by():
            job.left = None
        elif job.left is None:
            job.left = self._clock()

    def _next(self) -> list[Job]:
        waiting = [job for job in self._jobs if job.begun is None and not job.over]
        busy = any(job.begun is not None and not job.over and not job.shared for job in self._jobs)
        beside = sum(job.begun is not None and not job.over and job.shared for job in self._jobs)
        shared = [job for job in waiting if job.shared][: max(0, BESIDE - beside)]
        return shared + [job for job in waiting if not job.shared and not busy][:1]

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
                _kill(process)

    def _stop(self, job: Job, why: str) -> None:
        for one in job.pages.values():
            one.why = one.why or why
        self._end(job)

    def _end(self, job: Job) -> None:
        job.over = True
        if job.process is not None:
            _kill(job.process)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(process: psutil.Process) -> None:
    """End a process and all that it started. psutil makes sure that the number still belongs to the same process."""
    try:
        for one in [*process.children(recursive=True), process]:
            one.kill()
        process.wait(1)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        return
