"""The server's log: in which form it is written, and which request or job a line belongs to.

As text, the log holds failures and warnings only, as Python's logging writes them by default. As JSON, each line is one
object; it then also holds a line for each request and for each job's beginning and end.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

JSON, TEXT, OFF = FORMS = ("json", "text", "off")
"""The forms of the log. OFF writes nothing, not even failures."""
VARIABLE = "AEVIS_LOG"
"""The environment variable that holds the log's form, from which jobs learn it. The server sets it."""


@dataclass
class Work:
    """What a process or a thread is at.

    Attributes:
        kind: "request" or "job".
        name: its ID.
        failed: whether it ended in an error that the log tells of.
    """

    kind: str
    name: str
    failed: bool = False


_current: ContextVar[Work | None] = ContextVar("work", default=None)


def start(form: str) -> None:
    """Write this process's log in that form, one of FORMS, and that of all processes that it starts from now on."""
    os.environ[VARIABLE] = form
    take_form()


def take_form() -> None:
    """Write this process's log in the form that the environment names."""
    if _form() == OFF:
        logging.disable(logging.CRITICAL)
    if _form() == JSON:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        logging.getLogger("aevis_dash").setLevel(logging.INFO)


def is_json() -> bool:
    """Whether the log is written as JSON."""
    return _form() == JSON


@contextmanager
def at_work(work: Work) -> Iterator[None]:
    """Let the lines that are written meanwhile belong to that request or job."""
    token = _current.set(work)
    try:
        yield
    finally:
        _current.reset(token)


def pointer() -> str:
    """A sentence that leads from what a visitor reads to the log: which request or job tells more there. It begins with
    a blank; "" where nothing is logged."""
    work = _current.get()
    if _form() == OFF:
        return ""
    return " The server's log tells more" + (f" under {work.kind} {work.name}." if work else ".")


def has_failed() -> bool:
    """Whether a failure was told of the request or job that this thread is at."""
    work = _current.get()
    return work is not None and work.failed


def tell_failure(logger: logging.Logger, what: str, error: BaseException, level: int = logging.ERROR) -> None:
    """Log once that a request or a job failed, and why.

    Args:
        logger: the logger of the module that noticed it.
        what: what failed, such as "an answer failed".
        error: why it failed.
        level: how grave it is. Only for errors and worse, the traceback is logged too.
    """
    work = _current.get()
    if work is not None:
        work.failed = True
    grave = level >= logging.ERROR
    told = what if work is None or is_json() else f"{what} ({work.kind} {work.name})"
    facts = {"error": type(error).__name__, "why": str(error)}
    logger.log(level, told, exc_info=error if grave else None, extra={"facts": facts})


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: `time`, `level`, `source`, `what`, the request or job that it belongs to,
    the record's `facts`, and the `traceback` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        work, facts = _current.get(), getattr(record, "facts", {})
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "source": record.name,
            "what": record.getMessage(),
        }
        if work is not None:
            line[work.kind] = work.name
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line |= {"error": type(error).__name__, "why": str(error)}
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line | facts, default=str)


def _form() -> str:
    return os.environ.get(VARIABLE, TEXT)
