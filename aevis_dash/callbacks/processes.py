"""Dash's manager of background jobs, replaced so that jobs wait in a queue and their processes may end at any
moment."""

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import diskcache
import psutil
from dash import DiskcacheManager
from filelock import FileLock, Timeout
from flask import has_request_context, request

from aevis_dash import jobs, logs
from aevis_dash.broker import WAITS, Asked
from aevis_dash.callbacks import visitors
from aevis_dash.callbacks.ending import Running
from aevis_dash.callbacks.handing_over import BrokerQueue, RemoteRun
from aevis_dash.callbacks.progress import STARTING, JobLine, JobOfAll
from aevis_dash.callbacks.queueing import CANCELLED, DIED, ELSEWHERE, UNKNOWN, Ended, Place, Queue
from aevis_dash.callbacks.work import Job, Manners
from aevis_dash.domain import AevisError, so_many

_FOLDERS, _LOCK = "aevis-jobs-", "server.lock"
SETTLING = 60
"""The seconds that a server which has just made its folder is given to take the folder's lock."""
_logger = logging.getLogger(__name__)
_held: list[FileLock] = []
"""The locks of this process's folders. They are kept here because a lock that nothing refers to is released."""


def _uncounted(_kind: str, _outcome: str, _seconds: float) -> None:
    """What is done with the ends of jobs where nobody counts them."""


class JobManager(DiskcacheManager):
    """Runs Dash's background jobs by way of the queue.

    Dash names a job by the number of its process, and its result by its arguments. Then equal questions of two pages
    would read each other's answers, and a number may belong to another program by now. Here both names are a ticket
    that is used once, and the queue knows the process.

    Args:
        cache: through which the server and its jobs exchange progress and results.
        queue: in which jobs wait.
        manners: tells how a job stands to others, by the name of its function and its arguments.
        subject: tells what a job is about, by the same: in words, and more exactly, for the list of jobs.
        ended: is told the kind, the outcome and the seconds of each job whose end a page is told of.
    """

    def __init__(
        self,
        cache,
        queue: Queue,
        manners: Callable[[str, Sequence], Manners] = lambda _name, _given: Manners(),
        subject: Callable[[str, Sequence], tuple[str, str]] = lambda _name, _given: ("", ""),
        ended: Callable[[str, str, float], None] = _uncounted,
    ):
        super().__init__(cache)
        self._queue, self._manners, self._subject = queue, manners, subject
        self._about: dict[str, tuple[str, str]] = {}
        self._told: dict[str, object] = {}
        self._asked: dict[str, float] = {}
        self._counted = ended

    def build_cache_key(self, fn, args, cache_args_to_ignore, triggered) -> str:
        """A new ticket. It holds a name of the work that is the same for all pages, from all arguments but the page,
        the last."""
        *given, page = args
        work = hashlib.sha256(repr([one for one in given if one != page]).encode()).hexdigest()[:32]
        return f"{fn.__name__}.{work}.{uuid4().hex}"

    def call_job_fn(self, key, job_fn, args, context) -> str:
        """Put a job into the queue, and give its ticket. Raises AevisError where the queue is full."""
        work, name = key.rpartition(".")[0], key.partition(".")[0]
        self._about[key] = self._subject(name, args[:-1])
        start = partial(self._start, job_fn, key, args, context)
        pause = partial(_flag, self.pause_file(key))
        try:
            user = visitors.name_of_current()
            self._queue.ask(key, work, str(args[-1]), start, self._manners(name, args[:-1]), pause, user)
        except AevisError:
            del self._about[key]
            raise
        self._asked[key] = time.monotonic()
        _tell("job asked for", key)
        return key

    def pause_file(self, key: str) -> Path:
        """The file that is there while the job of a ticket has to pause (see `jobs.obey`)."""
        return Path(self.handle.directory) / f"{key}.pause"

    def get_progress(self, key):
        """What the list of jobs shows of a job, as the values of `progress.JobLine`, where that is new; None otherwise.

        A job that waits tells how many others come before it.
        """
        try:
            job = self._queue.job(key)
        except Ended:
            return None  # the page is told of the end with the result
        found = JobLine(*self._progress(job), *self._about.get(key, ("", "")))
        if found == self._told.get(key):
            return None
        self._told[key] = found
        return tuple(found)

    def listing(self, page: str) -> list[JobOfAll]:
        """All jobs that run or wait, in the order in which they have their turns, as a page sees them.

        Args:
            page: the name of the page.
        """
        return [self._row(place, page) for place in self._queue.places()]

    def _row(self, place: Place, page: str) -> JobOfAll:
        job = place.job
        name, subject = job.key.partition(".")[0], self._about.get(job.key, ("", ""))[0]
        users, told = ", ".join(place.users), self._progress(job)
        return JobOfAll(name, subject, job.watched_by(page), users, *told, place.before, place.left)

    def _progress(self, job: Job) -> tuple[float, str, str]:
        """How far a job is, in percent, what it does or waits for, and the time left in words."""
        if waits := self._queue.says(job):
            return 0.0, waits, ""
        told: Any = self.handle.get(self._make_progress_key(job.key)) or (0.0, STARTING, "")
        percent, text, left = told
        return percent, text, left

    def get_result(self, key, job):
        """The result of a job; UNDEFINED while the job waits or runs. Raises Ended for a job that ended without a
        result."""
        result, why = self.UNDEFINED, DIED
        try:
            found = self._queue.job(key)
            runs = self._queue.runs(found)  # asked first: a result may come while the process ends
            result = self.handle.get(found.key, self.UNDEFINED)
            if result is self.UNDEFINED and runs:
                return result
        except Ended as error:
            found, why = None, str(error)
        for known in (self._told, self._about):
            known.pop(key, None)
        if self._queue.done(key) and found is not None:
            for entry in (found.key, self._make_progress_key(found.key)):
                self.clear_cache_entry(entry)
        if result is self.UNDEFINED:
            self._tell_end(key, why)
            raise Ended(why)
        failed = isinstance(result, dict) and bool(result.get("ended") or "background_callback_error" in result)
        self._tell_end(key, "failed" if failed else "done")
        return result

    def _tell_end(self, ticket: str, outcome: str) -> None:
        since = self._asked.pop(ticket, None)
        if since is not None:
            self._counted(ticket.partition(".")[0], outcome, time.monotonic() - since)
        _tell("job ended", ticket, outcome=outcome)

    def get_updated_props(self, key):
        """What the job changed of the page beside its result. Raises Ended for a ticket that is not one of this
        server."""
        if key is None:  # Dash takes names of the server before for forged ones, and would tell the page nothing
            raise Ended(UNKNOWN)
        return super().get_updated_props(key)

    def job_running(self, job) -> bool:
        """Whether the job's page still has to be told how the job ended."""
        return self._queue.knows(str(job))

    def terminate_job(self, job) -> None:
        """Let a page wait for a job no more: it was cancelled, or the page asks for another one of its kind.

        Dash tells the two apart in the request's address.
        """
        replaced = has_request_context() and request.args.getlist("oldJob")
        self._queue.leave(str(job), ELSEWHERE if replaced else CANCELLED)

    def _start(self, job_fn, key, args, context) -> Running:
        from multiprocess import Process  # type: ignore[attr-defined]

        given = (str(self.pause_file(key)), job_fn, key, self._make_progress_key(key), args, context)
        process = Process(target=_run, args=given)
        process.start()
        return psutil.Process(process.pid)


class BrokerManager(JobManager):
    """Runs Dash's background jobs at the workers of a broker.

    Dash's own `CeleryManager` is not used. It sends a callback's arguments with the request's cookies and headers; its
    progress is gone once one page has read it; a ticket that the broker has forgotten runs for ever; and it knows
    neither ranks nor that two pages ask the same.

    Args:
        cache: through which the queue hands on what workers tell.
        queue: hands jobs over.
        manners, subject, ended: as for `JobManager`.
    """

    def __init__(
        self,
        cache,
        queue: BrokerQueue,
        manners: Callable[[str, Sequence], Manners],
        subject: Callable[[str, Sequence], tuple[str, str]],
        ended: Callable[[str, str, float], None] = _uncounted,
    ):
        super().__init__(cache, queue, manners, subject, ended)
        self._remote = queue

    def listing(self, page: str) -> list[JobOfAll]:
        """All jobs of this server and of others that run or wait, as a page sees them."""
        places = self._queue.places()
        own = {place.job.process.id: place for place in places if isinstance(place.job.process, RemoteRun)}
        found: list[JobOfAll] = []
        runs = self._remote.known().runs
        for i, run in enumerate(runs):
            if (place := own.get(run.id)) is not None:
                found.append(self._row(place, page))
                places.remove(place)
                continue
            asked, told, before = run.asked, run.progress, 0
            if run.state == WAITS:
                before = sum(other.asked.rank <= asked.rank for other in runs[:i])
                told = (0.0, f"waits behind {so_many(before, 'other')}" if before else "waits for a free worker", "")
            found.append(JobOfAll(asked.job, asked.subject, False, asked.user, *told, before, False))
        return found + [self._row(place, page) for place in places]  # those of which the broker was not told yet

    def _start(self, job_fn, key, args, context) -> Running:
        work, name = key.rpartition(".")[0], key.partition(".")[0]
        manners = self._manners(name, args[:-1])
        asked = Asked(
            work,
            name,
            list(args[:-1]),
            manners.rank,
            manners.example,
            *self._about.get(key, ("", "")),
            self._queue.user(key),
        )
        told = partial(self.handle.set, self._make_progress_key(key))
        return self._remote.hand_over(asked, told, partial(self.handle.set, key))


def manager_of(
    cache: diskcache.Cache,
    queue: Queue,
    manners: Callable[[str, Sequence], Manners],
    subject: Callable[[str, Sequence], tuple[str, str]],
    ended: Callable[[str, str, float], None] = _uncounted,
) -> JobManager:
    """The manager that fits a queue; the arguments are those of `JobManager`."""
    if isinstance(queue, BrokerQueue):
        return BrokerManager(cache, queue, manners, subject, ended)
    return JobManager(cache, queue, manners, subject, ended)


def _run(pauses: str, job_fn: Callable[..., None], *given) -> None:
    """What a job's process does: the job, which pauses whenever the file `pauses` is there."""
    logs.take_form()
    jobs.obey(Path(pauses))
    with logs.at_work(logs.Work("job", _short(given[0]))):
        job_fn(*given)


def _short(ticket: str) -> str:
    """The ID of a job in the log."""
    return ticket.rpartition(".")[2][:16]


def _tell(what: str, ticket: str, **facts: str) -> None:
    """Log a line about a job."""
    facts = {"job": _short(ticket), "kind": ticket.partition(".")[0], **facts}
    _logger.info(what, extra={"facts": facts})


def _flag(file: Path, pauses: bool) -> None:
    with suppress(OSError):  # a job that cannot be told goes on, and the others wait for it as for any job
        file.touch() if pauses else file.unlink(missing_ok=True)


def job_folder() -> diskcache.Cache:
    """A cache in a new folder of this server's own, by which it talks to its jobs.

    Nobody else may write there, because what lies there is unpickled. Folders of servers that were killed are removed.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDERS))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _held.append(FileLock(folder / _LOCK))
    _held[-1].acquire()  # the system frees the lock when this process ends, however it ends
    return diskcache.Cache(str(folder))


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*"):
        try:
            lock = folder / _LOCK
            ours = not folder.is_symlink() and (os.name != "posix" or folder.stat().st_uid == os.getuid())
            if not ours or time.time() - lock.stat().st_mtime < SETTLING:
                continue
            with FileLock(lock, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):  # it is gone, unreadable or in use
            continue
