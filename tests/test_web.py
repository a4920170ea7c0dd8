"""The application without a browser: what it serves, what it refuses, and what it sends along."""

import pytest

from aevis_dash.callbacks import addresses
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(drawn_world):
    return open_workbench(drawn_world)


@pytest.fixture(scope="module")
def client(bench):
    return create_app(bench).server.test_client()


def test_the_page_asks_for_nothing_outside(client):
    page = client.get("/").get_data(as_text=True)
    assert "https://" not in page.replace("https://dash.plotly.com", "")
    with client.get("/assets/bootstrap.min.css") as answer:
        assert answer.status_code == 200


def test_every_answer_carries_the_security_headers(client):
    headers = client.get("/").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_images_of_the_tables_are_served_for_keeps(client, bench):
    answer = client.get(addresses.image(bench, bench.workspace.images[0].file))
    assert answer.status_code == 200
    assert answer.data.startswith(b"\x89PNG")
    assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "name", ["../workspace.toml", "..%2Fworkspace.toml", "workspace.toml", "adversarial/../classes.txt"]
)
def test_nothing_else_of_the_disk_is_served(client, name):
    assert client.get(f"/image/0/{name}").status_code == 404


@pytest.mark.parametrize("place", ["0/0/99", "99/0/0", "0/9999/0", "0/0/0"])
def test_patches_that_are_not_there_are_not_found(client, place):
    """No learned features are stored in this workspace yet, and places outside the network never are."""
    assert client.get(f"/patch/0/{place}").status_code == 404


def test_an_unknown_example_has_no_difference(client):
    assert client.get("/difference/0/nobody").status_code == 404
