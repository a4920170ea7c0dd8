"""The application without a browser: what it serves, what it refuses, and what it sends along."""

import io

import numpy as np
import pytest
from PIL import Image

from aevis_dash.callbacks import addresses
from aevis_dash.domain import AreaOfInterest
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


def test_a_thumbnail_is_its_image_made_small(client, bench):
    name = bench.workspace.examples()[0].adversarial
    answer = client.get(addresses.thumbnail(bench, name))
    assert "immutable" in answer.headers["Cache-Control"]
    shown = np.asarray(Image.open(io.BytesIO(answer.data))).astype(int)
    whole = bench.workspace.read([name])[0]
    assert max(shown.shape[:2]) == min(128, max(whole.shape[:2]))
    assert np.abs(shown.mean((0, 1)) - whole.mean((0, 1))).max() < 3


@pytest.mark.parametrize("route", ["image", "thumbnail"])
@pytest.mark.parametrize(
    "name", ["../workspace.toml", "..%2Fworkspace.toml", "workspace.toml", "adversarial/../classes.txt"]
)
def test_nothing_else_of_the_disk_is_served(client, route, name):
    assert client.get(f"/{route}/0/{name}").status_code == 404


def test_a_patch_is_what_a_neuron_sees_of_a_normal_image(client, bench):
    name = bench.workspace.images[3].file
    answer = client.get(addresses.seen_by(bench, name, 20, 1, 2))
    picture = np.asarray(Image.open(io.BytesIO(answer.data)))
    field = bench.receptive_field(AreaOfInterest(20, 1, 2, 2, 3))
    whole = bench.workspace.read([name])[0]
    np.testing.assert_array_equal(picture, whole[field.top : field.bottom, field.left : field.right])
    assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("place", ["0/32/0/{}", "0/0/32/{}", "99/0/0/{}", "0/0/0/..%2Fworkspace.toml", "0/0/0/{}x"])
def test_patches_that_are_not_there_are_not_found(client, bench, place):
    """Positions outside a layer, layers outside the network, and files that the table does not name."""
    name, last = bench.workspace.images[0].file, bench.layers.layers[0].height - 1
    assert client.get(f"/patch/0/0/{last}/{last}/{name}").status_code == 200
    assert client.get(f"/patch/0/{place.format(name)}").status_code == 404


@pytest.mark.parametrize("place", ["0/0", "99/0", "0/9999"])
def test_pictures_that_were_not_made_are_not_found(client, place):
    assert client.get(f"/feature/0/{place}").status_code == 404


def test_an_unknown_example_has_no_difference(client):
    assert client.get("/difference/0/nobody").status_code == 404
