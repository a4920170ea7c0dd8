"""Access to a page that has users: what nobody sees, what a session shows, and what ends it."""

import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from logging_in import PASSWORDS, hidden, log_in, two_users
from test_logs import written  # noqa: F401
from test_web import UPDATE, asked_of

from aevis_dash import serving
from aevis_dash.callbacks import access, kept, pictures, rates, rights, visitors
from aevis_dash.callbacks.guard import Guard
from aevis_dash.callbacks.login import CHECKED_AT_ONCE, TRIES
from aevis_dash.callbacks.queueing import Queue
from aevis_dash.callbacks.rates import Rates
from aevis_dash.callbacks.request_log import RequestLog
from aevis_dash.callbacks.rights import CHANGES, DRAWS, JOBS, names_of
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.visitors import Access
from aevis_dash.domain import AevisError
from aevis_dash.users import ANALYST, READER, Users
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench

PROXY = "10.0.0.7"


@pytest.fixture(scope="module")
def bench(drawn_world):
    return open_workbench(drawn_world)


@pytest.fixture
def users(tmp_path) -> Users:
    return two_users(tmp_path)


@pytest.fixture
def app(bench, users):
    return create_app(bench, who=Access(users))


@pytest.fixture
def client(app):
    return app.server.test_client()


@pytest.fixture
def analyst(app):
    return logged_in(app, "ada")


@pytest.fixture
def reader(app):
    return logged_in(app, "ben")


def logged_in(app, name: str):
    client = app.server.test_client()
    assert log_in(client, name).status_code == 303
    return client


def shown_to(client) -> bool:
    return client.get("/_dash-layout").status_code == 200


def test_a_login_at_one_of_several_servers_counts_at_all_of_them(bench, tmp_path):
    """Where they have the same file of users, and nowhere else."""
    users = two_users(tmp_path)
    one, other = (create_app(bench, who=Access(each)) for each in (users, Users(users.path)))
    (tmp_path / "others").mkdir()
    foreign = create_app(bench, who=Access(two_users(tmp_path / "others")))
    name = one.server.config["SESSION_COOKIE_NAME"]
    cookie = logged_in(one, "ada").get_cookie(name).value
    for app, lets_in in ((other, True), (foreign, False)):
        client = app.server.test_client()
        assert not shown_to(client)
        client.set_cookie(app.server.config["SESSION_COOKIE_NAME"], cookie)
        client.set_cookie(name, cookie)
        assert shown_to(client) == lets_in


def test_nobody_is_shown_anything_without_a_session(app, client, bench):
    """Every route, by every method, and addresses that are none."""
    picture = "/" + pictures.image(bench, bench.workspace.images[0].file)
    sample = {"digest": "0" * 40, "layer": 0, "row": 0, "col": 0, "channel": 0, "path": "x", "fingerprint": "x.js"}
    sample |= {"package_name": "dash", "fingerprinted_path": "dcc/dash_core_components.js", "filename": "page.js"}
    with app.server.test_request_context():
        rules = list(app.server.url_map.iter_rules())
    addresses = {re.sub(r"<(?:\w+:)?(\w+)>", lambda m: str(sample[m[1]]), rule.rule) for rule in rules}
    addresses |= {picture, "/assets/page.js", "/assets/", "/no/such", "/.env", "/_dash-layout/", "/static/x"}
    assert {"/", "/_dash-layout", "/_dash-dependencies", "/_reload-hash", UPDATE, "/script", "/looks-at"} <= addresses
    open_ones = {"/login", "/logout", "/health", "/ready"}
    assert open_ones < addresses
    for address in sorted(addresses - open_ones):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = client.open(address, method=method)
            to_login = address == "/" and method in ("GET", "HEAD")
            assert answer.status_code == (303 if to_login else 401), (method, address)
            assert "AEVis-Serves" not in answer.headers
            if not to_login:
                assert method == "HEAD" or answer.text.startswith("You are not logged in"), (method, address)


def test_the_page_leads_to_the_login_and_back_to_the_view(client):
    answer = client.get("/?example=a%20b&layer=layer1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "login?example=a%20b&layer=layer1")
    page = client.get("/login?example=a%20b&layer=layer1")
    assert page.headers["Cache-Control"] == "no-store"
    assert "<script" not in page.text
    fields = hidden(page.text)
    assert fields["query"] == "example=a%20b&amp;layer=layer1"
    told = fields | {"query": "example=a%20b&layer=layer1", "name": "ada", "password": PASSWORDS["ada"]}
    answer = client.post("/login", data=told)
    assert (answer.status_code, answer.headers["Location"]) == (303, "./?example=a%20b&layer=layer1")
    assert client.get("/").status_code == 200
    assert client.get("/login?example=a").headers["Location"] == "./?example=a"


@pytest.mark.parametrize("query", ["//evil.example", "https://evil.example", "x\r\nSet-Cookie: a=b", "\\evil", "\0"])
def test_the_login_leads_to_the_page_alone(client, query):
    told = hidden(client.get("/login").text) | {"query": query, "name": "ada", "password": PASSWORDS["ada"]}
    answer = client.post("/login", data=told)
    assert answer.status_code == 303
    assert answer.headers["Location"].split("?")[0] == "./"
    assert "\n" not in answer.headers["Location"]


def test_what_the_login_shows_is_escaped(client):
    page = client.get('/login?"><script>alert(1)</script>').text
    told = hidden(page) | {"name": '"><script>alert(2)</script>', "password": "wrong password"}
    page += client.post("/login", data=told).text
    assert "alert(2)" in page
    assert "<script" not in page


def test_a_wrong_password_is_told_in_one_way(client):
    answers = [log_in(client, name, "wrong password") for name in ("ada", "eve", "ADA", "")]
    assert [answer.status_code for answer in answers] == [401] * 4
    assert all("The name or the password is wrong." in answer.text for answer in answers)
    assert not shown_to(client)


def test_a_login_needs_the_form_that_this_browser_was_given(client, app):
    told = {"name": "ada", "password": PASSWORDS["ada"]}
    others = hidden(app.server.test_client().get("/login").text)
    client.get("/login")
    for token in ("", "x", others["token"], "ü"):
        assert client.post("/login", data=told | {"token": token}).status_code == 400
    assert app.server.test_client().post("/login", data=told | others).status_code == 400, "no cookie at all"
    assert client.post("/login", data=told, headers={"Origin": "https://evil.example"}).status_code == 403
    assert not shown_to(client)


def test_the_cookie_is_out_of_scripts_reach_and_of_other_pages(bench, users):
    app = create_app(bench, prefix="/aevis/", who=Access(users, proxies=(PROXY,)))
    plain = log_in(app.server.test_client(), "ada", at="/aevis/login")
    assert plain.status_code == 303
    plain = plain.headers["Set-Cookie"]
    assert "; HttpOnly" in plain
    assert "; SameSite=Lax" in plain
    assert "; Path=/aevis/" in plain
    assert "Secure" not in plain
    for address, told, secure in ((PROXY, "https", True), (PROXY, "http", False), ("10.0.0.8", "https", False)):
        client = app.server.test_client()
        client.environ_base["REMOTE_ADDR"] = address
        cookie = client.get("/aevis/login", headers={"X-Forwarded-Proto": told}).headers["Set-Cookie"]
        assert ("; Secure" in cookie) == secure, (address, told)


def test_a_session_outlives_the_server_and_holds_for_every_web_process(bench, users):
    first, second = (create_app(bench, who=Access(Users(users.path))) for _ in range(2))
    client = logged_in(first, "ada")
    (cookie,) = client._cookies.values()
    other = second.server.test_client()
    other.set_cookie(cookie.key, cookie.value)
    assert shown_to(other)


@pytest.mark.parametrize(
    "end",
    [
        lambda users: users.remove("ada"),
        lambda users: users.set_role("ada", READER),
        lambda users: users.set_password("ada", PASSWORDS["ada"]),
        lambda users: users.path.unlink(),
        lambda users: users.path.write_text("{"),
        lambda users: users.path.chmod(0o644),
    ],
    ids=["removed", "role", "password", "file gone", "file damaged", "file open"],
)
def test_a_session_ends_with_what_it_was_given_for(users, analyst, app, end):
    assert shown_to(analyst)
    end(Users(users.path))
    assert not shown_to(analyst)
    assert analyst.get("/health").status_code == 200, "the server itself runs on"
    assert log_in(analyst, "ada", "x").status_code in (401, 503)


def test_a_session_ends_after_its_hours(bench, users, monkeypatch):
    client = logged_in(create_app(bench, who=Access(users, hours=2)), "ada")
    now = time.time()
    for hours, shown in ((1.9, True), (2.1, False)):
        monkeypatch.setattr(visitors, "time", SimpleNamespace(time=lambda hours=hours: now + 3600 * hours))
        assert shown_to(client) == shown


def test_logging_out_ends_the_session_of_that_browser(analyst, app):
    second = logged_in(app, "ada")
    answer = analyst.post("/logout")
    assert (answer.status_code, answer.headers["Location"]) == (303, "login")
    assert not shown_to(analyst)
    assert shown_to(second)
    assert analyst.get("/logout").status_code == 401, "a picture's address logs nobody out"


def test_a_forged_cookie_shows_nothing(app, analyst, client):
    from flask.sessions import SecureCookieSessionInterface
    from itsdangerous import URLSafeTimedSerializer

    (cookie,) = analyst._cookies.values()
    head, _, tail = cookie.value.partition(".")
    told = {"name": "ada", "stamp": "0" * 32, "since": int(time.time())}
    forged = URLSafeTimedSerializer("guessed", salt=SecureCookieSessionInterface.salt).dumps(told)
    signed = SecureCookieSessionInterface().get_signing_serializer(app.server).dumps(told)
    for value in ("", "x", head, f"{head[:-2]}AA.{tail}", cookie.value[:-1], forged, signed, "." * 3000):
        client.set_cookie(cookie.key, value)
        assert not shown_to(client), value[:60]
    for since in (None, "soon", 1.5, True):
        value = SecureCookieSessionInterface().get_signing_serializer(app.server).dumps(told | {"since": since})
        client.set_cookie(cookie.key, value)
        assert not shown_to(client), since


def test_passwords_are_not_tried_for_ever(bench, users, monkeypatch):
    monkeypatch.setattr(rates, "time", SimpleNamespace(time=lambda: 1_000_000.0))  # no window ends meanwhile
    app = create_app(bench, who=Access(users, proxies=(PROXY,)))
    most = TRIES[0][0]

    def tries(name: str, address: str) -> int:
        client = app.server.test_client()
        client.environ_base["REMOTE_ADDR"] = PROXY
        return log_in(client, name, "wrong password", **{"X-Forwarded-For": address}).status_code

    assert [tries("ada", "192.0.2.1") for _ in range(most + 1)] == [401] * most + [429]
    assert tries("ben", "192.0.2.1") == 401
    assert tries("ada", "192.0.2.2") == 401, "nobody locks another one out"
    client = app.server.test_client()
    client.environ_base["REMOTE_ADDR"] = PROXY
    refused = log_in(client, "ada", **{"X-Forwarded-For": "192.0.2.1"})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 300
    assert "too many tries" in refused.text


def test_many_who_try_passwords_at_once_do_not_hold_up_others(bench, users, monkeypatch):
    """As many are checked at once as may be, and all others are sent away at once."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(self, name, password):
        begun.release()
        assert go_on.wait(60)

    monkeypatch.setattr(Users, "let_in", slow)
    app = create_app(bench, who=Access(users))
    with ThreadPoolExecutor(CHECKED_AT_ONCE) as pool:
        tries = [pool.submit(log_in, app.server.test_client(), f"name {i}", "x") for i in range(CHECKED_AT_ONCE)]
        for _ in tries:
            assert begun.acquire(timeout=60)
        refused = log_in(app.server.test_client(), "ada", "x")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert "Others are logging in" in refused.text
        go_on.set()
        assert [one.result().status_code for one in tries] == [401] * CHECKED_AT_ONCE
    assert log_in(app.server.test_client(), "ada", "x").status_code == 401


def test_a_form_may_not_be_large(client):
    told = hidden(client.get("/login").text) | {"name": "a" * 20_000, "password": "x"}
    assert client.post("/login", data=told).status_code == 413


def test_whoever_watches_the_server_is_told_no_reasons(client, analyst):
    assert (client.get("/health").json, client.get("/ready").json.keys()) == ({"status": "ok"}, {"ready"})
    assert analyst.get("/ready").json.keys() == {"ready", "model", "store", "disk", "queue"}


def test_the_page_says_who_is_logged_in(analyst, reader, bench):
    for client, words in ((analyst, ('"ada"', "analyst")), (reader, ('"ben"', "reader"))):
        page = client.get("/_dash-layout").text
        assert all(word in page for word in words)
        assert '"action":"logout"' in page.replace(": ", ":")
    assert "logout" not in create_app(bench).server.test_client().get("/_dash-layout").text


def test_what_is_shown_to_a_user_is_kept_by_no_proxy(analyst, bench):
    picture = "/" + pictures.image(bench, bench.workspace.images[0].file)
    for address in ("/", "/_dash-layout", picture):
        kept = analyst.get(address).headers["Cache-Control"]
        assert kept.startswith("private")
        assert "public" not in kept


def test_without_users_nothing_changes(bench):
    client = create_app(bench).server.test_client()
    answer = client.get("/")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert client.get("/login").status_code == 404
    assert visitors.may_change()


# The header of a proxy


@pytest.fixture
def behind(bench, users):
    """Ask a server behind a proxy that names the visitors."""
    app = create_app(bench, who=Access(users, "X-Remote-User", proxies=(PROXY, "::1")))
    return lambda address="/_dash-layout", name="ada", by=PROXY: app.server.test_client().get(
        address, headers={} if name is None else {"X-Remote-User": name}, environ_overrides={"REMOTE_ADDR": by}
    )


def test_a_header_counts_from_the_proxy_alone(behind):
    assert behind().status_code == behind(by="0:0:0:0:0:0:0:1").status_code == 200
    for by in ("10.0.0.8", "127.0.0.1", "", "10.0.0.77"):
        assert behind(by=by).status_code == 403, by
    for name in (None, "", "eve", " ada", "ada,eve", "a" * 65, "Ada"):
        assert behind(name=name).status_code == 403, name
    assert '"logout"' not in behind().text
    assert behind("/login").status_code == 404
    assert "Set-Cookie" not in behind("/").headers


def test_a_default_role_is_for_those_who_are_in_no_file(bench, users):
    app = create_app(bench, who=Access(users, "X-Remote-User", default_role=READER, proxies=(PROXY,)))
    for name, role in (("eve", READER), ("ada", ANALYST), ("Jörg", READER)):
        given = {"X-Remote-User": name.encode().decode("latin-1")}
        page = app.server.test_client().get("/_dash-layout", headers=given, environ_overrides={"REMOTE_ADDR": PROXY})
        assert name in json.dumps(page.json, ensure_ascii=False)
        assert f" · {role}" in json.dumps(page.json, ensure_ascii=False)


# What readers may do


def test_every_callback_of_the_server_has_its_place(bench, drawn_world):
    """A new callback has to be named in one of the lists of callbacks/rights.py."""
    app = create_app(bench, second=open_workbench(drawn_world))
    found = set(names_of(app.callback_map).values())
    assert found == DRAWS | JOBS | CHANGES
    assert not DRAWS & JOBS | DRAWS & CHANGES | JOBS & CHANGES
    background = {rights.name_of(one["callback"]) for one in app.callback_map.values() if one.get("background")}
    assert background == JOBS


def test_a_callback_that_no_list_names_is_refused_to_readers(reader, analyst, monkeypatch):
    body = asked_of(reader, "warnings.children")
    assert reader.post(UPDATE, json=body).status_code == 200
    monkeypatch.setattr(rights, "DRAWS", DRAWS - {"warnings.say"})
    refused = reader.post(UPDATE, json=body)
    assert (refused.status_code, refused.text.startswith("You are logged in as a reader")) == (403, True)
    assert analyst.post(UPDATE, json=body).status_code == 200


JOB_OUTPUTS = ("extraction-done", "solve-done", "flipped-end", "suggested-end", "pairs-compared-end")
JOB_OUTPUTS += ("visualised-end", "connections-found-end", "two-models-compared-end")


@pytest.mark.parametrize("output", JOB_OUTPUTS)
def test_a_reader_starts_no_job_and_is_told_why(reader, analyst, output, monkeypatch):
    asked = []
    monkeypatch.setattr(Queue, "ask", lambda self, *given: asked.append(given))
    body = asked_of(reader, f"{output}.data")
    for place in (*body["inputs"], *body["state"]):
        place["value"] = {"example": "x", "part": "first"} if place["property"] == "data" else 1
    body["changedPropIds"] = [f"{body['inputs'][0]['id']}.{body['inputs'][0]['property']}"]
    answer = reader.post(UPDATE, json=body)
    assert answer.status_code == 200
    assert "You are logged in as a reader" in answer.json["response"]["message"]["children"]
    assert answer.json["response"]["message"]["is_open"] is True
    assert asked == []
    assert "job" in analyst.post(UPDATE, json=body).json
    assert len(asked) == 1


def test_a_reader_ends_no_job(app, reader, analyst):
    body = asked_of(reader, next(o for o, name in names_of(app.callback_map).items() if name.endswith("cancel_call")))
    assert reader.post(UPDATE, json=body).status_code == 403
    assert analyst.post(UPDATE, json=body).status_code in (200, 204)


def test_a_readers_page_asks_for_no_learning(reader, analyst, monkeypatch):
    from aevis_dash.naming import Naming

    monkeypatch.setattr(Naming, "complete", False)
    body = asked_of(reader, "learn-wanted.data")
    for place, value in ((body["inputs"][0], 0), (body["state"][1], "page")):
        place["value"] = value
    wanted = [client.post(UPDATE, json=body).json["response"].get("learn-wanted") for client in (reader, analyst)]
    assert wanted == [None, {"data": "page"}]


def test_what_is_computed_for_a_reader_is_not_stored(world, tmp_path, monkeypatch):
    """Nor is the reader's answer sent to an analyst, for whom it has to be computed and stored."""
    monkeypatch.setattr(kept, "SETTLED", -1.0)
    shutil.rmtree(world / "cache" / "maxima", ignore_errors=True)  # another test may have computed what is asked here
    bench = open_workbench(world)
    app = create_app(bench, who=Access(two_users(tmp_path)))
    asked = {"example": bench.workspace.settings.opens_on, "layer": "layer3.2.relu"}
    files = lambda: {p: p.stat().st_mtime_ns for p in world.rglob("*") if p.is_file() and p.suffix != ".lock"}  # noqa: E731
    before = files()
    for name, changes in (("ben", False), ("ada", True)):
        client = logged_in(app, name)
        body = asked_of(client, "treemap.figure")
        view = {**View().__dict__, **asked, "width": 760, "height": 240, "called": []}
        for place in body["inputs"] + body["state"]:
            place["value"] = view if place["id"] == "layer-view" else None
        answer = client.post(UPDATE, json=body)
        assert answer.status_code == 200
        assert "treemap" in answer.json["response"]
        assert (files() != before) == changes, name


def test_a_user_asks_for_so_many_jobs_at_most(bench, users, monkeypatch):
    monkeypatch.setattr(Queue, "ask", lambda self, *given: None)
    app = create_app(bench, who=Access(users, jobs=3))
    client = logged_in(app, "ada")
    body = asked_of(client, "pairs-compared-end.data")
    body["inputs"][0]["value"], body["state"][0]["value"] = 1, "page"
    body["changedPropIds"] = ["compare-pairs.n_clicks"]
    answers = [client.post(UPDATE, json=body).json for _ in range(4)]
    assert ["job" in answer for answer in answers] == [True, True, True, False]
    assert "3 jobs within ten minutes" in answers[3]["response"]["message"]["children"]


# The rest


def test_a_line_of_the_log_names_the_user(app, analyst, client, written):  # noqa: F811
    analyst.get("/_dash-layout")
    client.get("/_dash-layout")
    client.get("/health")
    lines = [(line["route"], line["status"], line.get("user")) for line in written()]
    assert lines == [("/_dash-layout", 200, "ada"), ("/_dash-layout", 401, None), ("/health", 200, None)]


def test_a_proxys_word_on_addresses_counts_from_trusted_ones_alone(bench, users, written):  # noqa: F811
    log = RequestLog((PROXY,), addresses=True)
    client = create_app(bench, log=log, who=Access(users, proxies=(PROXY,))).server.test_client()
    for by in (PROXY, "10.0.0.8"):
        client.get("/health", headers={"X-Forwarded-For": "192.0.2.9"}, environ_overrides={"REMOTE_ADDR": by})
    assert [line["address"] for line in written()] == ["192.0.2.9", "10.0.0.8"]


def test_a_page_with_users_is_warned_of_only_where_passwords_travel_openly(monkeypatch, capsys, tmp_path, users):
    def stop(*_):
        raise AevisError("not now")

    monkeypatch.setattr(serving.signal, "signal", lambda *_: None)
    monkeypatch.setattr(serving, "refuse_busy_port", lambda *_: None)
    monkeypatch.setattr(serving.jobs, "start", stop)
    for host, proxies, warned in (("0.0.0.0", (), True), ("0.0.0.0", (PROXY,), False), ("127.0.0.1", (), False)):
        with pytest.raises(AevisError, match="not now"):
            serving.serve(tmp_path, host, who=Access(users, proxies=proxies))
        assert ("passwords travel unencrypted" in capsys.readouterr().err) == warned


def test_names_of_a_proxy_are_warned_of_where_there_are_no_users(users):
    said = access.warning(Guard(names=("lab.example", "lab")), None, insecure=False)
    assert said.startswith("the page answers to lab.example, lab without users.")
    assert access.warning(Guard(names=("lab.example",)), None, insecure=True) == ""
    assert access.warning(Guard(names=("lab.example",)), Access(users), insecure=False) == ""
    assert access.warning(Guard(), None, insecure=False) == ""


def test_the_login_below_a_prefix_and_under_the_names_of_the_server(bench, users):
    app = create_app(bench, Guard(names=("lab.example",)), prefix="/aevis/", who=Access(users))
    client = app.server.test_client()
    assert client.get("/aevis/", headers={"Host": "lab.example"}).headers["Location"] == "login"
    assert client.get("/aevis/login", headers={"Host": "evil.example"}).status_code == 400
    assert Rates("").allows("x", 1, 60)
