"""Dash's manager of background jobs, for processes that may end at any moment."""

import os

import psutil
from dash import DiskcacheManager


class JobManager(DiskcacheManager):
    """A job forked from the fork server is gone the moment it ends, so looking for it may fail between two lines.

    Dash's own manager takes such a job for an error and loses its result. Nor is anything killed here that is not
    a job of this server: a process number may belong to another program by now.
    """

    def terminate_job(self, job) -> None:
        """End a job's process, where it still runs."""
        if self.job_running(job):
            try:
                super().terminate_job(job)
            except psutil.NoSuchProcess:
                return

    def job_running(self, job) -> bool:
        """Whether a job's process runs; False for numbers that are no job of this server."""
        try:
            process = psutil.Process(int(job))
            ours = os.getpid() in (parent.pid for parent in process.parents())
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, TypeError, ValueError):
            return False
