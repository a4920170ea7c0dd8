"""Dash's manager of background jobs, for processes that may end at any moment."""

import os
import threading

import psutil
from dash import DiskcacheManager

DIED = {"background_callback_error": {"msg": "the job's process ended without a result", "tb": ""}}


class JobManager(DiskcacheManager):
    """A job forked from the fork server is gone the moment it ends, so looking for it may fail between two lines.

    Dash asks for a result, then whether the job runs, and takes "no result" and "does not run" for a cancelled job;
    a job that ends in between would lose its result, and one that is killed would end without a word. Nor is
    anything killed here that is not a job of this server: a process number may belong to another program by now.
    """

    def __init__(self, cache):
        super().__init__(cache)
        self._asked = threading.local()

    def get_result(self, key, job):
        """The result; UNDEFINED while the job runs; an error for a job that ended without one."""
        running = self._runs(job)
        result = super().get_result(key, job)
        if result is self.UNDEFINED and job and not running:
            result = DIED
        self._asked.answer = (job, running)
        return result

    def job_running(self, job) -> bool:
        """Whether a job runs, as it was when its result was last asked for by the same request."""
        asked, self._asked.answer = getattr(self._asked, "answer", None), None
        return asked[1] if asked is not None and asked[0] == job else self._runs(job)

    def terminate_job(self, job) -> None:
        """End a job's process, where it still runs."""
        if self._runs(job):
            try:
                super().terminate_job(job)
            except psutil.NoSuchProcess:
                return

    def _runs(self, job) -> bool:
        try:
            process = psutil.Process(int(job))
            ours = os.getpid() in (parent.pid for parent in process.parents())
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, TypeError, ValueError):
            return False
