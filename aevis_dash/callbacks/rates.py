"""How often something may be done within a time: logins, and the jobs of a user.

The counts lie in memory. Where there is a broker, they lie in its Redis, so that several web processes count together.
"""

import logging
import threading
import time
from typing import Any

from aevis_dash import logs
from aevis_dash.broker import package

MOST_KEPT = 10_000
"""The number of counts in memory at most. The oldest windows go first."""
_logger = logging.getLogger(__name__)


class Rates:
    """Counts what is done in windows of time.

    Args:
        broker: the address of a Redis; "" to count in memory.

    Raises:
        AevisError: a Redis is named, and the packages of the broker are not installed.
    """

    def __init__(self, broker: str = ""):
        self._redis: Any = None
        if broker:
            self._redis = package("redis").Redis.from_url(broker, socket_timeout=2, socket_connect_timeout=2)
        self._counts: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def allows(self, what: str, most: int, seconds: int) -> bool:
        """Count that something is done, and say whether it was done at most `most` times in this window.

        Args:
            what: what is done, and by whom.
            most: the number of times that it may be done.
            seconds: how long a window is.
        """
        return self._counted(what, int(time.time() // seconds), seconds) <= most

    @staticmethod
    def rest(seconds: int) -> int:
        """The seconds until the window ends."""
        return seconds - int(time.time() % seconds)

    def _counted(self, what: str, window: int, seconds: int) -> int:
        if self._redis is not None:
            try:
                steps = self._redis.pipeline()
                steps.incr(f"aevis:{what}:{window}")
                steps.expire(f"aevis:{what}:{window}", seconds)
                return int(steps.execute()[0])
            except Exception as error:  # where Redis is away, this process counts alone
                logs.tell_failure(_logger, "Redis does not count", error, logging.WARNING)
        with self._lock:
            key = (f"{what}/{seconds}", window)
            self._counts[key] = self._counts.pop(key, 0) + 1  # the last one counted stands last
            while len(self._counts) > MOST_KEPT:
                self._counts.pop(next(iter(self._counts)))
            return self._counts[key]
