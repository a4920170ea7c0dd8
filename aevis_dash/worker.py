"""A worker: it computes the jobs that servers hand over by way of a broker, until it is told to stop.

A worker is a server without pages. It has the same queue and the same fork server, which keeps the model loaded, and
each run that it takes is a page that waits for a job. So jobs have their ranks here too: one computes at a time, and a
survey pauses while a trace is there. For each rank a Celery consumer takes one run at a time, so a trace need not wait
until a survey that was taken before it has ended.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from plotly.utils import PlotlyJSONEncoder

from aevis_dash import jobs, logs, questions
from aevis_dash.broker import RANKS, TASK, Asked, BrokerAway, celery_app, package, served, shown
from aevis_dash.callbacks import background
from aevis_dash.callbacks.handing_over import PRESENT
from aevis_dash.callbacks.processes import JobManager, job_folder
from aevis_dash.callbacks.progress import STARTING
from aevis_dash.callbacks.queueing import ABANDONED, DIED, FORGOTTEN, HOURS, Ended, Queue
from aevis_dash.domain import AevisError, so_many
from aevis_dash.ledger import Ledger, connect
from aevis_dash.workbench import open_workbench

MOST_TAKEN = 4
"""How often a run is taken at most. A run whose process dies that often would most likely die again."""
UNKNOWN_FOR = 10.0
"""The seconds after which a run that the broker does not know is ended. A broker that lost its memory is told of the
run again by the server long before."""
TICK = 0.25
"""The seconds between two looks at the runs."""
_logger = logging.getLogger(__name__)
_setting_up = threading.Lock()


class _ToldToStop(BaseException):
    """Raised where the worker is told to stop. It is no SystemExit, which would be taken for one of the model's
    code."""


@dataclass
class _Held:
    """A run that this worker has taken.

    Attributes:
        run: its ID.
        asked: what it is about.
        taken: how often it was taken by now.
        freed: set as soon as its queue may bring the next run.
        progress: how far it is.
        outcome: what it ended with; None before.
        told: what the servers that want it told last.
        changed: when they told something new, in seconds.
    """

    run: str
    asked: Asked
    taken: int
    freed: threading.Event = field(default_factory=threading.Event)
    progress: tuple[Any, ...] = (0.0, STARTING, "")
    outcome: dict[str, Any] | None = None
    told: list[str] = field(default_factory=list)
    changed: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> str:
        """Its ticket in the worker's queue."""
        return f"{self.asked.work}.{self.run}"


class Worker:
    """What a worker does with the runs that it takes. Its methods may be called from several threads.

    Args:
        ledger: the runs as they stand at the broker.
        queue: the worker's own queue.
        manager: runs jobs by way of that queue.
    """

    def __init__(self, ledger: Ledger, queue: Queue, manager: JobManager):
        self._ledger, self._queue, self._manager = ledger, queue, manager
        self.name = f"{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}"
        self._held: dict[str, _Held] = {}
        self._jobs = {
            name: manager.make_job_fn(job, job is not background.learn_job)
            for name, (job, _) in background.JOBS.items()
        }
        self._away, self._stopping, self._present = False, False, float("-inf")

    def take(self, run: str) -> None:
        """Compute a run. Gives back once it has ended, or once no page shows its example any more.

        Nothing is done where the run has ended, where another worker has it, and where the broker is away; a message
        that was lost so is sent again by the server.
        """
        if self._stopping:
            return
        try:
            found = self._ledger.claim(run, self.name)
            if found is None:
                return
            held = _Held(run, *found)
            if held.taken > MOST_TAKEN:
                self._ledger.end(run, {"ended": DIED})
                return
        except BrokerAway:
            return
        try:
            self._manager.call_job_fn(held.key, self._jobs[held.asked.job], [*held.asked.given, run], {})
        except (AevisError, KeyError) as error:
            held.outcome = {"ended": f"could not be started ({error})"}
        self._held[run] = held
        held.freed.wait()

    def tend(self) -> None:
        """Tell the broker how the runs stand, and hear which are wanted no more."""
        try:
            if time.monotonic() - self._present > PRESENT:
                self._ledger.appear("worker", self.name)
                self._present = time.monotonic()
            for held in list(self._held.values()):
                self._look_at(held)
        except BrokerAway as error:
            if not self._away:
                _logger.warning("The broker at %s does not answer (%s).", shown(self._ledger.url), error)
            self._away = True
            for held in list(self._held.values()):
                held.changed = time.monotonic()  # what nobody could tell does not count
            return
        if self._away:
            _logger.warning("The broker at %s answers again.", shown(self._ledger.url))
        self._away = False

    def stop(self) -> None:
        """Hand all runs to other workers, and take none any more."""
        self._stopping = True
        self._queue.end()
        try:
            for held in list(self._held.values()):
                self._ledger.give_back(held.run, self.name, held.asked.rank, died=False)
            self._ledger.disappear("worker", self.name)
        except BrokerAway as error:
            _logger.warning("The broker does not answer (%s); servers hand the jobs to other workers.", error)

    def _look_at(self, held: _Held) -> None:
        if held.outcome is None:
            if told := self._manager.get_progress(held.key):
                held.progress = told[:3]
            held.outcome = self._outcome(held)
        if held.outcome is None:
            self._renew(held)
        elif held.outcome.get("ended") == DIED and held.taken < MOST_TAKEN:
            self._ledger.give_back(held.run, self.name, held.asked.rank, died=True)
            self._let_go(held)
        else:
            self._ledger.end(held.run, held.outcome)
            self._let_go(held)

    def _outcome(self, held: _Held) -> dict[str, Any] | None:
        try:
            result = self._manager.get_result(held.key, held.key)
        except Ended as error:
            return {"ended": str(error)}
        if result is self._manager.UNDEFINED:
            return None
        return {"answer": json.loads(json.dumps(result, cls=PlotlyJSONEncoder))}

    def _renew(self, held: _Held) -> None:
        """Renew the lease of a run, and end the run where nobody wants it any more."""
        told, now = self._ledger.beat(held.run, self.name, held.progress), time.monotonic()
        if told is None:
            self._end(held)
            return
        if told != held.told:
            held.told, held.changed = told, now
        silent = now - held.changed
        if silent > (ABANDONED if told else UNKNOWN_FOR):
            self._ledger.end(held.run, {"ended": FORGOTTEN})
            self._end(held)
            return
        left = bool(told) and all(one.endswith(" left") for one in told)
        self._queue.look(held.run, "" if left else held.asked.example, now)
        if left and held.asked.example:
            held.freed.set()

    def _end(self, held: _Held) -> None:
        self._manager.terminate_job(held.key)
        self._outcome(held)  # which forgets it
        self._let_go(held)

    def _let_go(self, held: _Held) -> None:
        del self._held[held.run]
        held.freed.set()


def work(
    root: Path,
    url: str,
    beside: Path | None = None,
    hours: float = HOURS,
    threads: int | None = None,
    form: str = logs.TEXT,
) -> None:
    """Compute jobs on a workspace until the process is told to stop, by SIGTERM or Ctrl-C.

    Args:
        root: the folder of the workspace.
        url: the broker's address.
        beside: the folder of the workspace whose model the servers show beside; None for none.
        hours: the time after which a job is ended.
        threads: the number of threads with which a job computes; None for one for each core.
        form: the form of the log, one of `logs.FORMS`.

    Raises:
        AevisError: where the packages are missing, nothing answers at the address, the workspace cannot be opened or
            its results cannot be stored, and where the servers at the broker serve something else.
    """
    logs.start(form)
    connect(url).close()
    for name in ("celery", "kombu"):  # this module says in a sentence what they would say in pages
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, _raise_stopped)
    try:
        folder = job_folder()
        second = None if beside is None else beside.resolve()
        jobs.start(root.resolve(), "aevis_dash.preload", second, Path(folder.directory), threads)
        bench = open_workbench(root)
        ledger = Ledger(url, served(bench, None if beside is None else open_workbench(beside)))
        refuse_unlike(ledger)
        questions.sweep(bench.workspace.cache)
        queue = Queue(hours, command="aevis worker")
        worker = Worker(ledger, queue, JobManager(folder, queue, background.manners))
        _keep(worker, ledger)
    except _ToldToStop:
        return
    finally:
        jobs.end()


def _keep(worker: Worker, ledger: Ledger) -> None:
    def take(run: str) -> None:
        worker.take(run)

    package("celery").shared_task(name=TASK, ignore_result=True, acks_late=True)(
        take
    )  # of the applications of all ranks
    for rank in RANKS:
        threading.Thread(target=_consume, args=(worker, ledger, rank), name=f"rank {rank}", daemon=True).start()
    worker.tend()
    print(
        f"AEVis Dash worker {worker.name} computes jobs for the broker at {shown(ledger.url)}  (Ctrl-C ends it)",
        flush=True,
    )
    try:
        while True:
            time.sleep(TICK)
            worker.tend()
    except _ToldToStop:
        worker.stop()


def refuse_unlike(ledger: Ledger) -> None:
    """Raise AevisError where there are servers at the broker, and none of them hands its jobs to a worker like this."""
    servers = ledger.there("server")
    if servers and ledger.serves not in servers.values():
        unlike = sorted({ledger.serves.unlike(serves) for serves in servers.values()})
        many = so_many(len(servers), "server")
        raise AevisError(
            f"The broker at {shown(ledger.url)} has {many}, but none that this worker can help; the difference "
            f"is {unlike[0]}. Start the worker on the same workspace, with the same settings, version and --beside."
        )


def _consume(worker: Worker, ledger: Ledger, rank: int) -> None:
    """Take runs of a rank for ever, one at a time.

    Celery's shortcut to its tasks knows those of the application that was set up last, which may not be this thread's,
    so it is not taken.
    """
    app = celery_app(ledger.url, ledger.queue(rank))
    while True:
        with _setting_up:
            controller = app.WorkController(
                hostname=f"{rank}@{worker.name}",
                pool="solo",
                concurrency=1,
                queues=[ledger.queue(rank)],
                use_eventloop=False,
                without_heartbeat=True,
                without_mingle=True,
                without_gossip=True,
                loglevel="CRITICAL",
            )
            app.use_fast_trace_task = False
        controller.start()
        time.sleep(2.0)  # it gives back only where something failed that it could not mend itself


def _raise_stopped(*_: object) -> None:
    raise _ToldToStop
