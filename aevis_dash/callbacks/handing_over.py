"""The queue of a server that computes nothing itself: it hands its jobs to workers by way of a broker.

Pages meet the same queue as without a broker: the same bounds, the same work once for all pages, jobs that are left or
abandoned. Only the turns are taken elsewhere. Every job is handed over at once, and each worker decides which of its
jobs computes and which pauses. What the broker knows is asked by one thread, so no answer to a page waits for it.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from dash import NoUpdate, no_update

from aevis_dash.broker import RUNS, WAITS, Asked, BrokerAway, Run, Snapshot, shown
from aevis_dash.callbacks.queueing import Queue
from aevis_dash.callbacks.work import Job
from aevis_dash.domain import so_many
from aevis_dash.ledger import Ledger

GOES_ON = "goes on at a worker, but the server is being stopped"
LOST = 5.0
"""The seconds after which a run that waits, while no message does, is taken to have lost its message."""
PRESENT = 1.0
"""The seconds between two signs of life of a server or a worker."""
_logger = logging.getLogger(__name__)


class RemoteRun:
    """A job that a worker computes, or will compute.

    Args:
        asked: what it is about.
        told: takes its progress.
        done: takes its answer.
        leave: lets this server want the run no more.
    """

    def __init__(
        self,
        asked: Asked,
        told: Callable[[tuple[float, str, str]], object],
        done: Callable[[object], object],
        leave: Callable[["RemoteRun"], None],
    ):
        self.asked, self.told, self.done, self._leave = asked, told, done, leave
        self.id, self.why, self.seen = uuid4().hex, "", time.monotonic()
        self.handed = self.over = False
        self._progress: tuple[float, str, str] | None = None

    def tell(self, progress: tuple[float, str, str]) -> None:
        """Hand on the progress, where it is news."""
        if progress != self._progress:
            self._progress = progress
            self.told(progress)

    def alive(self) -> bool:
        """Whether no outcome has come yet."""
        return not self.over

    def kill(self) -> None:
        """Want it no more."""
        if not self.over:
            self.over = True
            self._leave(self)


class BrokerQueue(Queue):
    """The queue of a server with a broker.

    Args:
        ledger: the runs as they stand at the broker.
    """

    def __init__(self, ledger: Ledger):
        super().__init__(hours=float("inf"))
        self._ledger, self._name, self._ticks = ledger, uuid4().hex, itertools.count()
        self._runs: list[RemoteRun] = []
        self._left: list[RemoteRun] = []
        self._known, self._away, self._present = Snapshot(), "", float("-inf")

    def begin(self) -> None:
        """Look at the broker, and look after it from now on."""
        self.poll()
        with self._lock:
            if self._keeper is None:
                self._keeper = threading.Thread(target=self.keep, name="jobs", daemon=True)
                self._keeper.start()

    def hand_over(self, asked: Asked, told: Callable, done: Callable) -> RemoteRun:
        """Let workers compute a job; see `RemoteRun`. The broker is told of it when it answers."""
        run = RemoteRun(asked, told, done, self._left.append)
        with self._lock:
            self._runs.append(run)
        return run

    def known(self) -> Snapshot:
        """How all runs stood, of this server and of others, when the broker answered last."""
        return self._known

    def workers(self) -> int:
        """The number of workers that were there for this server's jobs when the broker answered last."""
        return sum(serves == self._ledger.serves for serves in self._known.workers.values())

    def trouble(self) -> str:
        """Why jobs cannot be computed now, in a sentence; "" where they can."""
        if self._away:
            return f"The broker at {shown(self._ledger.url)} does not answer. Jobs go on when it does."
        if self.workers():
            return ""
        unlike = sorted({self._ledger.serves.unlike(serves) for serves in self._known.workers.values()})
        many = so_many(len(self._known.workers), "worker")
        others = f" The broker has {many} of another kind; the difference is {unlike[0]}." if unlike else ""
        return f"There is no worker for this workspace. Start one with `aevis worker WORKSPACE`.{others}"

    def says(self, job: Job) -> str:
        """Why a job does not run yet, in words; "" for one that runs or has ended."""
        run = job.process
        if not isinstance(run, RemoteRun) or run.over:
            return "" if job.begun is not None else super().says(job)
        if self._away:
            return "the broker does not answer; this goes on when it does"
        found = self._run(run.id)
        if found is None or found.state != WAITS:
            return "" if found is not None else "is handed to the workers"
        if not self.workers():
            return "waits for a worker, as none is there"
        before = self.before(job)
        return f"waits behind {so_many(before, 'other')}" if before else "waits for a free worker"

    def before(self, job: Job) -> int:
        """The number of jobs of all servers that come before a waiting job; 0 for one that runs or has ended."""
        run = job.process
        if not isinstance(run, RemoteRun):
            return super().before(job)
        runs = self._known.runs
        place = next((i for i, one in enumerate(runs) if one.id == run.id and one.state == WAITS), None)
        if place is None:
            return 0
        return sum(one.asked.rank <= run.asked.rank for one in runs[:place])

    def tend(self) -> None:
        """Ask the broker how the jobs stand, then do what every queue does."""
        self.poll()
        super().tend()

    def keep(self) -> None:
        """Tend the queue until its end, also while there is no job, so that `/ready` knows the broker and its
        workers."""
        while not self._closed:
            self._wake.wait(0.25 if self._jobs or self._left else PRESENT)
            self._wake.clear()
            self.tend()

    def poll(self) -> None:
        """Hand over what is to be handed over, and learn how the jobs stand; where the broker is away, try again next
        time."""
        with self._lock:
            left = {job.key: self._is_left(job) or job.kept for job in self._jobs}
            of = {job.process.id: job for job in self._jobs if isinstance(job.process, RemoteRun)}
            runs = [run for run in self._runs if not run.over]
        try:
            self._appear()
            self._say_what_was_left()
            for run in runs:
                if not run.handed:
                    self._hand(run)
            tick = next(self._ticks)
            told = {run.id: f"{tick}{' left' if self._was_left(of.get(run.id), left) else ''}" for run in runs}
            found = self._ledger.want(self._name, told)
            self._take(runs, found)
        except Exception as error:  # whatever it is, the thread that looks after all jobs must go on
            if not self._away:
                grave = None if isinstance(error, BrokerAway) else error
                _logger.warning(
                    "The broker at %s does not answer (%s).", shown(self._ledger.url), error, exc_info=grave
                )
            self._away = str(error) or "no answer"
            return
        if self._away:
            _logger.warning("The broker at %s answers again.", shown(self._ledger.url))
        self._known, self._away = found, ""

    def end(self) -> None:
        """End the queue. Workers go on with its jobs for some minutes, as the server may be started again."""
        with self._lock:
            self._closed = True
            for job in self._jobs:
                for one in job.pages.values():
                    one.why = one.why or GOES_ON
                job.over = True
            for run in self._runs:
                run.over = True  # so that it is not given up when its page is told
            self._runs = []
        self._wake.set()
        if not self._away:
            try:
                self._ledger.disappear("server", self._name)
            except BrokerAway as error:
                _logger.warning("The broker at %s does not answer (%s).", shown(self._ledger.url), error)

    @staticmethod
    def _was_left(job: Job | None, left: dict[str, bool]) -> bool:
        return job is not None and left.get(job.key, False)

    def _appear(self) -> None:
        if not self._closed and time.monotonic() - self._present > PRESENT:
            self._ledger.appear("server", self._name)
            self._present = time.monotonic()

    def _say_what_was_left(self) -> None:
        while self._left:
            run = self._left[0]
            if run.handed:
                self._ledger.leave(run.id, self._name)
            self._left.remove(run)
            with self._lock:
                self._runs = [one for one in self._runs if one is not run]

    def _hand(self, run: RemoteRun) -> None:
        found = self._ledger.ask(run.id, run.asked, self._name)
        run.id, run.handed, run.seen = found or uuid4().hex, bool(found), time.monotonic()

    def _run(self, name: str) -> Run | None:
        return next((one for one in self._known.runs if one.id == name), None)

    def _take(self, runs: list[RemoteRun], found: Snapshot) -> None:
        """Take what has become of the runs."""
        stands = {one.id: one for one in found.runs}
        for run in runs:
            outcome, one = found.outcomes.get(run.id), stands.get(run.id)
            if not run.handed:
                continue
            if outcome is not None:
                self._finish(run, outcome)
            elif one is None:
                run.handed = False  # the broker has lost it, such as by a restart
            elif one.state == WAITS:
                if found.lengths[run.asked.rank]:
                    run.seen = time.monotonic()
                elif time.monotonic() - run.seen > LOST:
                    self._ledger.send(run.id, run.asked.rank)
                    run.seen = time.monotonic()
            else:
                run.seen = time.monotonic()
                run.tell(one.progress)
                if not one.held:
                    self._ledger.revive(run.id, run.asked.rank)

    def _finish(self, run: RemoteRun, outcome: dict) -> None:
        if "answer" in outcome:
            run.done(_revived(outcome["answer"]))
        run.why, run.over = str(outcome.get("ended", "")), True
        with self._lock:
            self._runs = [one for one in self._runs if one is not run]
            for job in self._jobs:
                if job.process is run and run.why and not job.over:
                    self._stop(job, run.why)

    def _note_if_left(self, job: Job, kept: bool = False) -> None:
        found = self._run(job.process.id) if isinstance(job.process, RemoteRun) else None
        super()._note_if_left(job, kept and found is not None and found.state == RUNS)

    def _pauses(self, job: Job) -> bool:
        return False

    def _next(self) -> list[Job]:
        return [job for job in self._jobs if job.begun is None and not job.over]


def _revived(answer: Any) -> Any:
    """An answer that travelled as JSON, in which Dash's sign for no update became a dict."""
    if NoUpdate.is_no_update(answer):
        return no_update
    return {name: _revived(value) for name, value in answer.items()} if isinstance(answer, dict) else answer
