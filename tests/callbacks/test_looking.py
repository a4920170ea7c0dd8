"""Pages tell the server which example they show; nothing else is taken for that."""

import json

import pytest
from flask import Flask

from aevis_dash.callbacks import looking
from aevis_dash.callbacks.looking import ADDRESS, LONGEST


class Heard:
    """Stands for a queue that is told what pages show."""

    def __init__(self):
        self.looks = []

    def look(self, *told):
        self.looks.append(told)


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def client(heard):
    server = Flask("test")
    looking.register(server, heard)
    return server.test_client()


def test_what_a_page_shows_is_handed_to_the_queue(client, heard):
    for example, at in (("panda-1", 17), ("", 18.5)):
        told = json.dumps({"page": "p", "example": example, "at": at})
        assert client.post(ADDRESS, data=told, content_type="text/plain").status_code == 204
    assert heard.looks == [("p", "panda-1", 17.0), ("p", "", 18.5)]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "[" * 100_000,
        '{"page": "p", "example": "a"}',
        '{"page": "p", "example": null, "at": 1}',
        '{"page": 3, "example": "a", "at": 1}',
        '{"page": "p", "example": "a", "at": "1"}',
        '{"page": "p", "example": "a", "at": true}',
        '{"page": "p", "example": "a", "at": NaN}',
        '{"page": "p", "example": "a", "at": 1e300}',
        '{"page": "p", "example": "a", "at": -1e300}',
        json.dumps({"page": "p" * (LONGEST + 1), "example": "a", "at": 1}),
    ],
)
def test_what_no_page_sends_is_refused(client, heard, body):
    assert client.post(ADDRESS, data=body).status_code == 400
    assert client.get(ADDRESS).status_code == 405
    assert heard.looks == []
