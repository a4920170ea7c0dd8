"""What the list of jobs shows of a job: how far it is, and how long it will still take."""

import time
from collections.abc import Callable
from typing import NamedTuple

STARTING = "starts"
"""What a job does before it has told anything."""
LEAST_SECONDS, LEAST_SHARE = 2.0, 0.05
"""The seconds that a job has to work, and the share of its work that it has to do, before the time left is said."""


class JobLine(NamedTuple):
    """What the list shows of a job.

    Attributes:
        percent: the percent of the work that is done.
        text: what is being done.
        left: the time left, in words; "" where it is not known.
        subject: what the job is about.
        exact: the same more exactly, such as the image's file.
    """

    percent: float
    text: str
    left: str
    subject: str
    exact: str


class JobOfAll(NamedTuple):
    """What the list of all jobs shows of a job.

    Attributes:
        job: the name of the job's function.
        subject: what the job is about.
        mine: whether the page that looks at the list waits for it.
        user: the names of the users who wait for it; "" where none is known.
        percent: the percent of the work that is done.
        text: what is being done, or what it waits for.
        left: the time left, in words; "" where it is not known.
        before: the number of jobs that come before it.
        away: whether it is an extraction that was left.
    """

    job: str
    subject: str
    mine: bool
    user: str
    percent: float
    text: str
    left: str
    before: int
    away: bool


class Remaining:
    """The time that a job still takes, if it goes on as fast as it went so far.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._first: float | None = None
        self._last = self._worked = self._share = 0.0
        self._held = True

    def seconds(self, share: float, held: bool = False) -> float | None:
        """Note how far the job is, and estimate the time left.

        With w the seconds that it has worked, without those for which it was held up, s the share that is done and s_0
        the share at which it began, the estimate is w (1 - s) / (s - s_0).

        Args:
            share: the share of the work that is done, from 0 to 1. Where it is smaller than before, another part of
                the work has begun, and the estimate begins anew.
            held: whether the job waits from now on.

        Returns:
            The seconds; None where the job is held up, and while too little is done to tell.
        """
        now = self._clock()
        self._worked += 0.0 if self._held else now - self._last
        self._last, self._held = now, held
        if held:
            return None
        if self._first is None or share < self._share:
            self._first, self._worked = share, 0.0
        self._share = share
        gained = share - self._first
        if self._worked < LEAST_SECONDS or gained < LEAST_SHARE * (1 - self._first) or gained <= 0:
            return None
        return self._worked * (1 - share) / gained


def in_words(seconds: float | None) -> str:
    """The time left, as roughly as it is known: "about 40 s left". "" where it is not known."""
    if seconds is None:
        return ""
    if seconds < 7.5:
        return "a few seconds left"
    if seconds < 57.5:
        return f"about {5 * round(seconds / 5)} s left"
    if seconds < 3570:
        return f"about {max(1, round(seconds / 60))} min left"
    return f"about {seconds / 3600:.1f} h left"
