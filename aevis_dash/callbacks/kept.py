"""Answers that are kept in memory and sent again where the same is asked and nothing has changed since.

Where many look at one server, they often ask the same: each page loads the same scripts, and each visitor of an example
the same figures. What is kept is what was sent, compressed, up to a bound; the one unused for longest goes first. An
answer is made once also where several ask for it at the same time.

Kept are the page's frame, scripts and styles by their address, and the answers of callbacks that only draw, by all that
the page sent and by the *moment*: which results are stored, and which examples and images there are. Every new result,
image or row makes another moment. Requests are checked (guard, bodies) before anything is looked up here.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from cachetools import LRUCache
from flask import Flask, Response, g, request
from flask_compress import Compress

from aevis_dash import ids, logs
from aevis_dash.callbacks import bodies, visitors
from aevis_dash.domain import AevisError
from aevis_dash.workbench import Workbench

BOUND = 96 * 1024 * 1024
"""The bytes that kept answers take at most."""
LASTS = 60.0
"""The seconds for which the answer of a callback is kept. What it says of a file that cannot be read just now lasts no
longer."""
SETTLED = 2.0
"""The seconds for which the moment has to have lasted. Before, another result might still get the same time."""
PATIENCE = 10.0
"""The seconds for which somebody waits for another one's answer to the same question, before asking too."""
GLANCE = 1.0
"""The seconds for which it is not looked again whether images or examples have changed."""
DRAWN = frozenset(
    {
        *(ids.RIVER, ids.TREEMAP, ids.NEURON_TITLE, ids.STORY, ids.CARDS, ids.READY_CARDS, ids.ARRIVED, ids.TABLE),
        *(ids.LARGE_ACTIVATIONS, ids.EDGE_TEXT),
    }
)
"""A component of each callback that only draws, by which the callback is known."""
COMPUTED_ANYWAY = frozenset({"digests", "judgement", "lineup", "maps", "maxima", "pair", "references", "selftest"})
"""The kinds of results that are computed where they are missing, so that no answer depends on whether they are
stored."""
VERSION = "m"
"""The argument of a script's or a style's address that changes with its content, as Dash names it. Browsers keep such a
file and do not ask for it again."""
_FILES = ("/assets/", "/_dash-component-suites/")
_PAGE = ("/", "/_dash-dependencies", "/_favicon.ico")
"""What every visitor is sent alike, whatever the address names beside it."""
_OF_JOBS = "endId"
"""The argument by which Dash knows which jobs a page may end. It changes nothing of what is drawn."""
_HEADERS = ("Content-Type", "Content-Encoding", "Cache-Control", "ETag", "Last-Modified", "Vary")
_KEY = "kept_key"


@dataclass(frozen=True)
class _Sent:
    """What was sent, and until when it may be sent again."""

    body: bytes
    headers: tuple[tuple[str, str], ...]
    until: float


class Kept:
    """The kept answers of one server.

    Args:
        bound: the bytes that they take at most.
        clock: tells the time in seconds.
    """

    def __init__(self, bound: int = BOUND, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._sent: LRUCache[Hashable, _Sent] = LRUCache(bound, getsizeof=lambda sent: len(sent.body) + 1024)
        self._made: dict[Hashable, threading.Event] = {}
        self._lock = threading.Lock()

    @property
    def size(self) -> float:
        """The bytes that they take."""
        return self._sent.currsize

    def find(self, key: Hashable) -> Response | None:
        """The answer to a question; None where the caller has to make it, and to say `done` afterwards.

        Where somebody else is making it, it is waited for.
        """
        end = self._clock() + PATIENCE
        while True:
            with self._lock:
                sent = self._sent.get(key)
                if sent is not None and self._clock() < sent.until:
                    return Response(sent.body, 200, list(sent.headers))
                making = self._made.get(key)
                if making is None:
                    self._made[key] = threading.Event()
                    return None
            if self._clock() >= end or not making.wait(max(0.0, end - self._clock())):
                return None

    def keep(self, key: Hashable, answer: Response, lasts: float) -> None:
        """Keep an answer that was made, unless it would push out too much."""
        body = answer.get_data()
        if len(body) > self._sent.maxsize // 8:
            return
        headers = tuple((name, answer.headers[name]) for name in _HEADERS if name in answer.headers)
        with self._lock:
            self._sent[key] = _Sent(body, headers, self._clock() + lasts)

    def done(self, key: Hashable) -> None:
        """Let those go on who wait for the answer to a question, whether it was kept or not."""
        with self._lock:
            made = self._made.pop(key, None)
        if made is not None:
            made.set()


class Moment:
    """Tells whether anything has changed on which drawn answers depend.

    Args:
        bench: the workbench of the workspace.
    """

    def __init__(self, bench: Workbench):
        self._bench = bench
        self._glance: tuple[float, str] | None = None

    def now(self) -> Hashable | None:
        """What is there now, as a value to compare; None where it has changed in the last seconds, or something could
        not be read or stored."""
        if self._bench.store.warnings:
            return None
        folders = self._bench.store.folder_times(COMPUTED_ANYWAY)
        if any(abs(time.time() - moment / 1e9) < SETTLED for moment in folders.values()):
            return None
        try:
            return tuple(sorted(folders.items())), self._examples()
        except AevisError:  # the answer says what is wrong
            return None

    def _examples(self) -> str:
        known = self._glance
        if known is None or time.monotonic() - known[0] > GLANCE:
            said = f"{self._bench.judging.examples_digest()} {self._bench.workspace.parts_digest()}"
            known = self._glance = (time.monotonic(), said)
        return known[1]


def register(server: Flask, bench: Workbench, kept: Kept | None = None) -> None:
    """Compress answers, keep them, and send them again.

    It is called after all checks of requests are registered.

    Args:
        server: the server.
        bench: the workbench of the workspace.
        kept: the answers; None for a new, empty collection.
    """
    answers, moment = kept or Kept(), Moment(bench)

    def question() -> Hashable | None:
        """What is asked, where its answer may be kept."""
        coded = request.headers.get("Accept-Encoding", "")
        if request.method == "GET" and (request.path in _PAGE or request.path.startswith(_FILES)):
            plain = "If-None-Match" not in request.headers and "Range" not in request.headers
            asked = request.path if request.path in _PAGE else request.full_path
            return ("file", asked, coded) if plain else None
        output = g.get(bodies.OUTPUT)
        if output is None or not draws(output) or not set(request.args) <= {_OF_JOBS}:
            return None
        now = moment.now()
        of_all = visitors.may_change()  # what is computed for a reader is not stored, so others compute it again
        return None if now is None else (hashlib.sha256(request.get_data()).digest(), coded, of_all, now)

    @server.before_request
    def _find() -> Response | None:
        key = question()
        if key is None:
            return None
        found = answers.find(key)
        if found is None:
            setattr(g, _KEY, key)
        return found

    @server.after_request
    def _keep(response: Response) -> Response:
        if request.path.startswith("/assets/") and VERSION in request.args and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        key = g.get(_KEY)
        if key is None or response.status_code != 200 or logs.has_failed():
            return response
        if key[0] == "file":
            answers.keep(key, response, float("inf"))
        elif moment.now() == key[-1]:
            answers.keep(key, response, LASTS)
        return response

    Compress(server)  # what is registered later changes an answer earlier

    @server.after_request
    def _read(response: Response) -> Response:
        """Read a file that is to be kept, since a stream is not compressed for every browser."""
        if _KEY in g and response.direct_passthrough:
            response.direct_passthrough = False
            content = response.get_data()
            response.close()  # the file
            response.set_data(content)
        return response

    @server.teardown_request
    def _done(_error: BaseException | None) -> None:
        key = g.pop(_KEY, None)
        if key is not None:
            answers.done(key)


def draws(output: str) -> bool:
    """Whether the callback with that output only draws."""
    return any(one.rpartition(".")[0] in DRAWN for one in output.strip(".").split("..."))
