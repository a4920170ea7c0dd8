"""The saved trails on the page: who saves, who sees, and who deletes."""

import json
from urllib.parse import urlencode

import pytest
from logging_in import log_in, two_users
from test_web import UPDATE, asked_of

from aevis_dash.callbacks.visitors import Access
from aevis_dash.shared_trails import SharedTrails
from aevis_dash.users import ANALYST
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench


@pytest.fixture
def bench(world):
    return open_workbench(world)


@pytest.fixture
def shelf(world):
    return SharedTrails(world / "cache")


@pytest.fixture
def link(bench):
    return "?" + urlencode({"example": bench.workspace.settings.opens_on, "layer": "layer3.2.relu"})


@pytest.fixture
def visitors_of(bench, tmp_path):
    """Browsers in which ada and cem, analysts, and ben, a reader, are logged in."""
    users = two_users(tmp_path)
    users.add("cem", ANALYST, "analyst of the lab")
    app = create_app(bench, who=Access(users))
    clients = [app.server.test_client() for _ in range(3)]
    for client, name in zip(clients, ("ada", "cem", "ben"), strict=True):
        assert log_in(client, name, None if name != "cem" else "analyst of the lab").status_code == 303
    return clients


def save(client, name: str, link: str, who: str = ""):
    body = asked_of(client, "save-name.value")
    body["inputs"][0]["value"] = {"name": name, "who": who, "link": link, "clicks": 1}
    body["changedPropIds"] = ["save-asked.data"]
    return client.post(UPDATE, json=body)


def listed(client) -> str:
    body = asked_of(client, "saved-trails.children")
    return json.dumps(client.post(UPDATE, json=body).json, ensure_ascii=False)


def delete(client, key: str):
    found = next(d for d in client.get("/_dash-dependencies").json if "saved-drop" in json.dumps(d["inputs"]))
    place = {"id": {"type": "saved-drop", "index": key}, "property": "n_clicks", "value": 1}
    changed = f'{{"index":"{key}","type":"saved-drop"}}.n_clicks'
    told = dict(zip(("id", "property"), found["output"].rsplit(".", 1), strict=True))
    body = {"output": found["output"], "outputs": told, "inputs": [[place]], "state": [], "changedPropIds": [changed]}
    return client.post(UPDATE, json=body)


def test_what_one_saves_the_others_see_and_only_they_delete(visitors_of, shelf, link):
    ada, cem, ben = visitors_of
    assert save(ada, "<b>ears</b>", link, who="cem").status_code == 200
    (trail,) = shelf.all()[0]
    assert (trail.name, trail.who, trail.link) == ("<b>ears</b>", "ada", link), "who is logged in, not what was sent"
    for client, own in ((ada, True), (cem, False), (ben, False)):
        told = listed(client)
        assert '"href": "' + link in told
        assert f"ada · {trail.when[:10]}" in told
        assert ("saved-drop" in told) == own
    assert "saved by ada" in delete(cem, trail.key).text
    assert delete(ben, trail.key).status_code == 403
    assert len(shelf.all()[0]) == 1
    assert delete(ada, trail.key).status_code == 200
    assert shelf.all() == ([], 0)


def test_a_reader_saves_nothing(visitors_of, shelf, link):
    refused = save(visitors_of[2], "ears", link)
    assert (refused.status_code, "as a reader" in refused.text) == (403, True)
    assert shelf.all() == ([], 0)
    assert "Analysts save." in visitors_of[2].get("/_dash-layout").text


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("", None, "has no name"),
        ("x", "", "No example is shown"),
        ("x", "?layer=relu", "No example is shown"),
        ("x", "?example=none", "none"),
        ("x", "javascript:alert(1)", "No example"),
        (3, None, "names no trail to save"),
        ("x" * 81, None, "more than 80 characters"),
    ],
)
def test_what_cannot_be_saved_is_told_on_the_page(visitors_of, shelf, link, name, wrong, words):
    answer = save(visitors_of[0], name, link if wrong is None else wrong)
    assert words in answer.json["sideUpdate"]["message"]["children"]
    assert shelf.all() == ([], 0)


def test_without_users_who_is_typed_and_everybody_deletes(bench, shelf, link):
    client = create_app(bench).server.test_client()
    save(client, "ears", link, who="Ada L.")
    save(client, "paws", link)
    assert {(trail.name, trail.who) for trail in shelf.all()[0]} == {("ears", "Ada L."), ("paws", "")}
    assert listed(client).count('"type": "saved-drop"') == 2
    for trail in shelf.all()[0]:
        assert delete(client, trail.key).status_code == 200
    assert "No trail is saved yet." in listed(client)
