"""Sends hostile requests to a served copy of a workspace, and says what came back.

    python benchmarks/hostile.py WORKSPACE

The copy is served on this machine alone, once without users and once with them; to the latter nobody, a reader and an
analyst send the same requests. They are wrong methods, paths with dots and odd signs, large and odd bodies, forged
cookies and IDs, foreign hosts and origins, and every callback with values that no page sends. No job is started: the
queue of this script takes none, and counts which were asked for.

The script ends with status 1 where the server failed, or gave somebody what they may not have.
"""

import argparse
import json
import re
import shutil
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.queueing import Queue
from aevis_dash.callbacks.visitors import Access
from aevis_dash.domain import AevisError
from aevis_dash.listening import Listener
from aevis_dash.users import ANALYST, READER, Users
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench

EVERYBODY, NOBODY = "without users", "nobody"
PASSWORD = "hostile and long"
PATIENCE = 5.0
"""The seconds that an answer is waited for."""
UPDATE = "/_dash-update-component"
OPEN = ("/login", "/logout", "/health", "/ready")
"""The addresses that are answered without a session."""
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO")
ENDS = ("/..", "/../../../../etc/passwd", "/%2e%2e/%2e%2e/workspace.toml", "/..%5c..%5cwin.ini", "%00", "%ff%fe%80")
ENDS += (";x=y", "?" + "a" * 5000, "?example=%00%ff", "/%252e%252e/x", "#x", "%0d%0aX-Evil:%20yes")
NAMES = ("x", "session", "aevis")
NESTED = b"[" * 50_000
BODIES: tuple[bytes, ...] = (
    *(b"", b"null", b"[]", b"{}", b'"x"', b"17", b"NaN", b"\xff\xfe", b"\0" * 1000, NESTED, b'{"output": ' + NESTED),
    *(b'{"output": null}', b'{"output": "../x"}', b'{"output": {"a": 1}}', b'{"output": "' + b"x" * 300_000 + b'"}'),
    *(
        b"a=b&c=d",
        b"name=ada&password=x&token=y",
        b"name=" + b"n" * 20_000,
        b"%ff=%00",
        b"{" + b'"a":1,' * 20_000 + b"}",
    ),
    b'{"page": "p", "example": "../../x", "at": 1}',
    b'{"page": 1, "example": [], "at": "x"}',
)
ODD: tuple[Any, ...] = (
    *(None, 1, -(10**30), "x", "../../../etc/passwd", [], [[]], {}, True, 1e308, "<script>alert(1)</script>", "\0"),
    {"example": "../../x", "layer": "x", "map": -1, "steps": [{}], "area": [1]},
    {"name": "x", "who": "y", "link": "javascript:alert(1)"},
)
"""Values that no page sends, for the arguments of callbacks."""


@dataclass(frozen=True)
class Hostile:
    """A request: the endpoint that it is meant for, and the bytes that are sent."""

    endpoint: str
    sent: bytes


@dataclass
class Came:
    """What came back: how often each endpoint gave each status, how many requests were sent, and what was wrong."""

    statuses: Counter = field(default_factory=Counter)
    sent: int = 0
    wrong: list[str] = field(default_factory=list)


class ClosedQueue(Queue):
    """A queue that takes no job, and notes which were asked for."""

    def __init__(self):
        super().__init__()
        self.wanted: list[str] = []

    def ask(self, ticket: str, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Note the ticket, and refuse it."""
        self.wanted.append(ticket)
        raise AevisError("This queue takes no job.")


def request(
    method: str, path: str, host: str | None, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def hostile(
    endpoints: Sequence[str], callbacks: Mapping[str, Mapping[str, Any]], host: str, cookie: str, every: int = 1
) -> Iterator[Hostile]:
    """The requests, each of them once.

    Args:
        endpoints: the addresses to which they are sent.
        callbacks: Dash's callbacks by their outputs.
        host: the name and port of the server.
        cookie: the cookie of who asks; "" for nobody.
        every: of the requests only each so-many-th is given.
    """
    own = {"Cookie": cookie} if cookie else {}
    all_of = [*_of_endpoints(endpoints, host, own), *_of_bodies(host, own), *_of_callbacks(callbacks, host, own)]
    yield from all_of[::every]


def _of_endpoints(endpoints: Sequence[str], host: str, own: dict[str, str]) -> Iterator[Hostile]:
    forged = [{"Cookie": f"{name}={value}"} for name in NAMES for value in ("x", "e30.e30.e30", "\xff" * 100)]
    headers: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"X-Remote-User": "ada", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"},
        {"Upgrade": "websocket", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"},
        {"Range": "bytes=0-99999999999", "If-None-Match": "*", "If-Modified-Since": "never"},
        {"Content-Type": "multipart/form-data; boundary=", "Accept-Encoding": "\xff, gzip;q=x"},
    ]
    for endpoint in endpoints:
        for method in METHODS:
            yield Hostile(endpoint, request(method, endpoint, host, own))
        for end in ENDS:
            yield Hostile(endpoint, request("GET", endpoint + end, host, own))
        yield Hostile(endpoint, request("GET", "/." + endpoint, host, own))
        yield Hostile(endpoint, request("GET", "/" + endpoint, host, own))
        yield Hostile(endpoint, request("GET", "http://evil.example" + endpoint, host, own))
        for name in ("evil.example", "127.0.0.1.evil.example", "", "[::1", "a" * 3000, None):
            yield Hostile(endpoint, request("GET", endpoint, name, own))
        for more in headers:
            for method in ("GET", "POST"):
                yield Hostile(endpoint, request(method, endpoint, host, own | more))
        for more in [] if own else forged:
            yield Hostile(endpoint, request("GET", endpoint, host, more))


def _of_bodies(host: str, own: dict[str, str]) -> Iterator[Hostile]:
    for endpoint in (UPDATE, "/looks-at", "/login", "/logout"):
        for body in BODIES:
            for kind in ("application/json", "application/x-www-form-urlencoded"):
                yield Hostile(endpoint, request("POST", endpoint, host, own | {"Content-Type": kind}, body))
        for told in ("-1", "99999999999999", "x", "1e3"):
            yield Hostile(endpoint, request("POST", endpoint, host, own | {"Content-Length": told}))
        chunked = own | {"Transfer-Encoding": "chunked"}
        yield Hostile(
            endpoint, request("PUT", endpoint, host, chunked).replace(b"Content-Length: 0\r\n", b"") + b"zz\r\n"
        )


def _of_callbacks(callbacks: Mapping[str, Mapping[str, Any]], host: str, own: dict[str, str]) -> Iterator[Hostile]:
    for output, one in callbacks.items():
        if "callback" not in one:
            continue
        several = output.startswith("..")
        places = [_place(part) for part in output.strip(".").split("...")]
        for value in ODD:
            given = {
                name: [
                    [_place(p["id"], p["property"], value)] if _is_many(p) else _place(p["id"], p["property"], value)
                    for p in one[name]
                ]
                for name in ("inputs", "state")
            }
            changed = [f"{p['id']}.{p['property']}" for p in one["inputs"][:1]]
            body = {"output": output, "outputs": places if several else places[0], "changedPropIds": changed, **given}
            ticket = {"cacheKey": "x", "job": "1", "cancelJob": "1", "oldJob": "1", "endId": "x"}
            asked = f"{UPDATE}?{urlencode(ticket)}" if value in (1, "x") else UPDATE
            kind = {"Content-Type": "application/json"}
            yield Hostile(UPDATE, request("POST", asked, host, own | kind, json.dumps(body).encode()))


def _is_many(place: Mapping[str, Any]) -> bool:
    return isinstance(place["id"], str) and place["id"].startswith("{")


def _place(component: str, prop: str | None = None, value: Any = None) -> dict[str, Any]:
    if prop is None:
        component, _, prop = component.rpartition(".")
    return {"id": component, "property": prop, "value": value}


def send(port: int, sent: bytes) -> tuple[int, bytes]:
    """The status and the whole answer to a request; 0 where the server closes the connection, or waits for more."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line,
        suppress(ConnectionError, TimeoutError),
    ):
        line.sendall(sent)
        while not _is_whole(answer, sent) and (part := line.recv(65536)):
            answer += part
    found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return (int(found[1]) if found else 0), answer


def _is_whole(answer: bytes, sent: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    told = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
    return bool(end) and (sent.startswith(b"HEAD ") or (told is not None and len(body) >= int(told[1])))


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Serve an application on a free port of this machine; the port."""
    listener = Listener(app.server, "127.0.0.1", 0)
    thread = threading.Thread(target=listener.run, daemon=True)
    thread.start()
    try:
        yield listener.port
    finally:
        listener.close()
        thread.join(20)


def cookie_of(app: Any, name: str) -> str:
    """The cookie of a user who has just logged in."""
    client = app.server.test_client()
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)">', client.get("/login").text))
    assert client.post("/login", data=fields | {"name": name, "password": PASSWORD}).status_code == 303
    (cookie,) = client._cookies.values()
    return f"{cookie.key}={cookie.value}"


def endpoints_of(app: Any, bench: Any) -> list[str]:
    """The addresses of an application: those of its rules, with pictures that are there and that are not, and files."""
    sample = {"layer": "0", "row": "0", "col": "0", "channel": "0", "path": "no/such", "package_name": "dash"}
    sample |= {"digest": "0" * 40, "fingerprinted_path": "dcc/dcc.js", "filename": "page.js"}
    rules = [
        re.sub(r"<(?:\w+:)?(\w+)>", lambda m: sample.get(m[1], "x"), r.rule) for r in app.server.url_map.iter_rules()
    ]
    picture = "/" + pictures.image(bench, bench.workspace.images[0].file).partition("?")[0]
    return sorted({*rules, picture, "/assets/page.js", "/login", "/workspace.toml", "/.git/config", "/cache"})


def attacked(root: Path, every: int = 1) -> dict[str, Came]:
    """What came back from a copy of a workspace, by who asked.

    Args:
        root: the workspace, which is written into.
        every: of the requests only each so-many-th is sent.
    """
    bench = open_workbench(root)
    users = Users(root.parent / "users.json")
    for name, role in ((ANALYST, ANALYST), (READER, READER)):
        users.add(name, role, PASSWORD)
    found = {}
    for who in (EVERYBODY, NOBODY, READER, ANALYST):
        queue = ClosedQueue()
        app = create_app(open_workbench(root), queue=queue, who=None if who == EVERYBODY else Access(users, jobs=10**9))
        cookie = cookie_of(app, who) if who in (READER, ANALYST) else ""
        with served(app) as port:
            before, came = _files(root), Came()
            asked = hostile(endpoints_of(app, bench), app.callback_map, f"127.0.0.1:{port}", cookie, every)
            secrets = _secrets(bench)
            for one in asked:
                status, answer = send(port, one.sent)
                came.sent += 1
                came.statuses[one.endpoint, status] += 1
                if wrong := _wrong(who, one, status, answer, secrets):
                    came.wrong.append(f"{wrong}: {one.sent[:160]!r}")
            if who in (NOBODY, READER):
                came.wrong += [f"a job was asked for: {ticket}" for ticket in queue.wanted]
                came.wrong += [f"a file was changed: {path}" for path in before.keys() ^ _files(root).keys()]
                came.wrong += [f"a file was changed: {p}" for p, at in _files(root).items() if before.get(p, at) != at]
        found[who] = came
    return found


def _files(root: Path) -> dict[Path, int]:
    return {
        p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.suffix != ".lock" and p.name != "lock"
    }


def _secrets(bench: Any) -> list[bytes]:
    """What stands in no answer to nobody: names of classes, files, examples and folders, pictures, and digests."""
    names = [*bench.class_names, bench.workspace.images[0].file, bench.workspace.root.name, str(bench.workspace.root)]
    names += [example.id for example in bench.workspace.examples()[:3]]
    return [
        b"\x89PNG",
        b"AEVis-Serves",
        b"_dash-",
        b"dash_clientside",
        *(name.encode() for name in names if len(name) > 4),
    ]


def _wrong(who: str, one: Hostile, status: int, answer: bytes, secrets: Sequence[bytes]) -> str:
    """What is wrong with an answer; "" for nothing."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if status in (500, 502, 504) or (status == 503 and not one.endpoint.startswith("/ready")):
        return f"the server failed ({status})"
    if b"\r\nX-Evil" in head:
        return "a header was put in"
    if b"root:x:0" in body or b"[model]" in body:
        return "a file of the machine was given"
    if who != NOBODY:
        return ""
    if status == 200 and not one.endpoint.startswith(OPEN):
        return "something was shown to nobody"
    leaked = [secret for secret in secrets if secret in answer and secret not in one.sent]
    return f"{leaked[0]!r} was told to nobody" if leaked else ""


def table(found: Mapping[str, Came]) -> str:
    """The numbers of answers by endpoint and status, for each who asked."""
    lines = []
    for who, came in found.items():
        statuses = sorted({status for _, status in came.statuses})
        lines += ["", f"{who}: {came.sent:,} requests, {len(came.wrong)} wrong answers", ""]
        lines.append(f"{'endpoint':<56}" + "".join(f"{status or 'closed':>8}" for status in statuses))
        for endpoint in sorted({endpoint for endpoint, _ in came.statuses}):
            row = "".join(f"{came.statuses[endpoint, status] or '':>8}" for status in statuses)
            lines.append(f"{endpoint[:55]:<56}{row}")
        lines += [f"  {wrong}" for wrong in came.wrong[:20]]
    return "\n".join(lines[1:])


def main() -> int:
    """Attack a copy of the workspace that the command names; 1 where something was wrong."""
    parser = argparse.ArgumentParser(description="Sends hostile requests to a served copy of a workspace.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--every", type=int, default=1, help="send only each so-many-th request (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(args.workspace, Path(folder) / "hostile-copy"))
        found = attacked(root, max(1, args.every))
    print(table(found))
    return 1 if any(came.wrong for came in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
