"""The server's log: its lines, the requests that they belong to, and what it never holds."""

import io
import json
import logging
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from test_web import UPDATE, asked_of

from aevis_dash import logs
from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.request_log import RequestLog, shortened
from aevis_dash.domain import AevisError
from aevis_dash.web import create_app
from aevis_dash.workbench import Workbench, open_workbench


@pytest.fixture(scope="module")
def bench(drawn_world):
    return open_workbench(drawn_world)


@pytest.fixture
def written(monkeypatch):
    """The lines of a log that is written as JSON, as objects."""
    stream, root, own = io.StringIO(), logging.getLogger(), logging.getLogger("aevis_dash")
    monkeypatch.setenv(logs.VARIABLE, logs.JSON)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    level = own.level
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    own.setLevel(level)


@pytest.fixture(scope="module")
def client(bench):
    return create_app(bench).server.test_client()


def told_to_the_visitor(answer):
    """The message of an answer that could not be made."""
    return answer.json["sideUpdate"]["message"]["children"]


def test_a_request_is_a_line(client, written):
    before = datetime.now(UTC)
    answer = client.get("/health?file=panda.png")
    (line,) = written()
    assert abs(datetime.fromisoformat(line.pop("time")) - before) < timedelta(seconds=30)
    assert 0 < line.pop("ms") < 10_000
    assert line == {
        "level": "info",
        "source": "aevis_dash.callbacks.request_log",
        "what": "request",
        "request": answer.headers["X-Request-Id"],
        "method": "GET",
        "route": "/health",
        "status": 200,
        "bytes": len(answer.data),
        "page": None,
    }
    assert re.fullmatch("[0-9a-f]{16}", line["request"])
    assert client.get("/health").headers["X-Request-Id"] != line["request"]


def test_a_line_names_the_route_or_the_callback_and_no_image(client, bench, written):
    picture = pictures.image(bench, bench.workspace.images[0].file)
    client.get("/" + picture)
    client.get("/no/such/panda.png")
    client.get("/health", headers={"Host": "evil.example"})
    client.post(UPDATE, json=asked_of(client, "warnings.children"))
    client.post(UPDATE, json={"output": "panda.png"})
    lines = [line for line in written() if line["route"] != "/_dash-dependencies"]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/image/<digest>", 200),
        ("none", 404),
        ("/health", 400),
        ("callback warnings", 200),
        (UPDATE, 400),
    ]
    assert "panda" not in json.dumps(lines)
    assert bench.workspace.images[0].file not in json.dumps(lines)


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("view.data", "view"),
        ("..warnings.children...warnings.is_open..", "warnings"),
        ("..a.x...b.x...a.y..", "a, b"),
        ("..a.x...b.x...c.y...d.x...e.x..", "a, b +3"),
        ("message.children@0f3", "message"),
    ],
)
def test_a_callback_is_named_by_what_it_writes(output, name):
    assert shortened(output) == name


@pytest.mark.parametrize(("told", "name"), [("3f2a-B", "3f2a-B"), ("a b", None), ("x" * 65, None), ('"}', None)])
def test_a_line_names_the_page_that_asks(client, written, told, name):
    client.post(UPDATE, json=asked_of(client, "warnings.children"), headers={"AEVis-Page": told})
    client.post("/looks-at", json={"page": told, "example": "", "at": 1})
    assert [line["page"] for line in written() if line["method"] == "POST"] == [name, name]


def test_only_a_trusted_proxy_names_requests_and_visitors(bench, written):
    wanted = RequestLog(("10.0.0.7", "::1"), addresses=True)
    client = create_app(bench, log=wanted).server.test_client()
    asked = {"X-Request-Id": "from-the-proxy", "X-Forwarded-For": "6.6.6.6, 192.0.2.9"}
    ids = [
        client.get("/health", headers=asked | more, environ_overrides={"REMOTE_ADDR": address}).headers["X-Request-Id"]
        for address, more in (
            ("10.0.0.7", {}),
            ("0:0:0:0:0:0:0:1", {}),
            ("10.0.0.8", {}),
            ("10.0.0.7", {"X-Request-Id": "two words"}),
            ("10.0.0.7", {"X-Request-Id": "x" * 65}),
        )
    ]
    lines = written()
    assert [line["request"] for line in lines] == ids
    assert ids[:2] == ["from-the-proxy"] * 2
    assert [re.fullmatch("[0-9a-f]{16}", one) is not None for one in ids] == [False, False, True, True, True]
    assert [line["address"] for line in lines] == ["192.0.2.9", "192.0.2.9", "10.0.0.8", "192.0.2.9", "192.0.2.9"]


def test_no_address_is_logged_unless_asked_for(client, written):
    client.get("/health", environ_overrides={"REMOTE_ADDR": "192.0.2.44"}, headers={"X-Forwarded-For": "192.0.2.44"})
    assert "192.0.2.44" not in json.dumps(written())


def fail(client, monkeypatch, error):
    def warnings(_):
        raise error

    asked = asked_of(client, "warnings.children")
    monkeypatch.setattr(Workbench, "warnings", property(warnings))
    return client.post(UPDATE, json=asked)


def test_a_request_that_failed_is_told_of_once_and_the_page_names_it(client, written, monkeypatch):
    answer = fail(client, monkeypatch, KeyError("by"))
    name = answer.headers["X-Request-Id"]
    failure, line = [one for one in written() if one.get("route") != "/_dash-dependencies"]
    assert (failure["level"], failure["what"], failure["request"]) == ("error", "an answer failed", name)
    assert (failure["error"], failure["why"]) == ("KeyError", "'by'")
    assert failure["traceback"].startswith("Traceback")
    assert (line["request"], line["status"], line["failed"]) == (name, 200, True)
    assert "error" not in line
    assert told_to_the_visitor(answer) == (
        "This could not be shown (KeyError: 'by'). The page is as it was before. "
        f"The server's log tells more under request {name}."
    )


def test_a_refusal_is_told_of_without_a_traceback_and_shown_as_it_is(client, written, monkeypatch):
    answer = fail(client, monkeypatch, AevisError("Name another."))
    failure, line = [one for one in written() if one.get("route") != "/_dash-dependencies"]
    assert (failure["level"], failure["error"], failure["why"]) == ("info", "AevisError", "Name another.")
    assert failure["request"] == line["request"] == answer.headers["X-Request-Id"]
    assert line["failed"]
    assert "traceback" not in failure
    assert told_to_the_visitor(answer) == "Name another."


def test_as_text_only_failures_are_written_with_the_id_that_the_page_shows(bench, caplog, monkeypatch):
    client = create_app(bench).server.test_client()
    caplog.clear()
    client.get("/health")
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []
    answer = fail(client, monkeypatch, KeyError("by"))
    name = answer.headers["X-Request-Id"]
    (failure,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert failure.getMessage() == f"an answer failed (request {name})"
    assert failure.exc_info[0] is KeyError
    assert told_to_the_visitor(answer).endswith(f" The server's log tells more under request {name}.")


def test_where_nothing_is_logged_the_page_does_not_send_to_the_log(bench, monkeypatch):
    monkeypatch.setenv(logs.VARIABLE, logs.OFF)
    answer = fail(create_app(bench).server.test_client(), monkeypatch, KeyError("by"))
    assert told_to_the_visitor(answer) == "This could not be shown (KeyError: 'by'). The page is as it was before."


PROGRAM = """
import logging, sys
from aevis_dash import logs
logs.start(sys.argv[1])
log = logging.getLogger("aevis_dash.some")
log.info("for your information")
with logs.at_work(logs.Work("job", "7")):
    logs.tell_failure(log, "job failed", ValueError("no\\nline"))
logging.getLogger("waitress.queue").info("too much")
logging.getLogger("waitress.queue").warning("Task queue depth is 1")
print(logs.pointer())
"""


@pytest.mark.parametrize("form", logs.FORMS)
def test_what_a_process_writes_in_each_form(form):
    done = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    if form == logs.OFF:
        assert (lines, done.stdout) == ([], "\n")
        return
    assert done.stdout == " The server's log tells more.\n"
    if form == logs.TEXT:
        assert lines[0] == "job failed (job 7)"
        assert lines[-3:] == ["ValueError: no", "line", "Task queue depth is 1"]
        return
    told = [json.loads(line) for line in lines]
    assert [(one["level"], one["what"]) for one in told] == [
        ("info", "for your information"),
        ("error", "job failed"),
        ("warning", "Task queue depth is 1"),
    ]
    assert (told[1]["job"], told[1]["error"], told[1]["why"]) == ("7", "ValueError", "no\nline")
    assert "job" not in told[0] | told[2]
