"""The application without a browser: what it serves, what it refuses, and what it sends along."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs_version

from aevis_dash.callbacks import addresses
from aevis_dash.domain import AreaOfInterest
from aevis_dash.web import _Packed, create_app
from aevis_dash.workbench import Workbench, open_workbench


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


def test_a_small_picture_is_made_once(client, bench, monkeypatch):
    address = addresses.thumbnail(bench, bench.workspace.images[1].file)
    first = client.get(address).data
    monkeypatch.setattr(addresses, "_read", lambda *_: pytest.fail("it was made already"))
    assert client.get(address).data == first
    kept = addresses._Recent(2)
    for number in range(3):
        kept.put((number,), b"%d" % number)
        assert kept.get((0,)) in (b"0", None)
    assert [kept.get((number,)) for number in range(3)] == [b"0", None, b"2"], "what was asked for last stays"


def test_warnings_stand_on_the_page_as_long_as_they_hold(client, monkeypatch):
    def strip(tree):
        found = [tree] if tree.get("props", {}).get("id") == "warnings" else []
        inside = tree.get("props", {}).get("children")
        for child in inside if isinstance(inside, list) else [inside]:
            found += strip(child) if isinstance(child, dict) else []
        return found

    def shown():
        (found,) = strip(client.get("/_dash-layout").json)
        return found["props"]["is_open"], [p["props"]["children"] for p in found["props"]["children"]]

    assert shown() == (False, [])
    said = ["The labels look shifted.", "The disk is full."]
    monkeypatch.setattr(Workbench, "warnings", property(lambda _: tuple(said)))
    assert shown() == (True, said)

    output = next(d["output"] for d in client.get("/_dash-dependencies").json if "warnings.children" in d["output"])
    outputs = [dict(zip(("id", "property"), part.split("."), strict=True)) for part in output.strip(".").split("...")]
    inputs = [{"id": name, "property": "data"} for name in ("paths-view", "extraction-ready", "solve-done")]
    body = {"output": output, "outputs": outputs, "inputs": inputs, "changedPropIds": ["extraction-ready.data"]}
    said.pop(0)
    told = client.post("/_dash-update-component", json=body).json["response"]["warnings"]
    assert (told["is_open"], len(told["children"])) == (True, 1)
    said.clear()
    told = client.post("/_dash-update-component", json=body).json["response"]["warnings"]
    assert (told["is_open"], told["children"]) == (False, [])


def test_scripts_are_packed_once_and_answers_each_time(client):
    packed = _Packed()
    packed.set("gzip;/assets/page.js", b"packed")
    packed.set("gzip;/_dash-update-component", b"an answer")
    assert (packed.get("gzip;/assets/page.js"), packed.get("gzip;/_dash-update-component")) == (b"packed", None)
    page = client.get("/").get_data(as_text=True)
    parts = [part for part in ("graph", "dropdown", "slider") if f"/dash/dcc/async-{part}.js" in page]
    assert parts == ["graph", "dropdown", "slider"], "else they are drawn last"
    for part in parts:
        with client.get(f"/_dash-component-suites/dash/dcc/async-{part}.js") as answer:
            assert answer.status_code == 200


def test_the_page_draws_with_a_plotly_of_its_own_that_is_as_new_as_the_librarys(client):
    with client.get("/assets/plotly-cartesian.min.js") as answer:
        head = answer.get_data(as_text=True)[:200]
    ours = re.search(r"plotly.js \(cartesian - minified\) v(\d+)\.", head)
    assert ours is not None
    assert int(ours[1]) == int(get_plotlyjs_version().split(".")[0]), "take that of npm's plotly.js-cartesian-dist-min"


def test_an_error_nobody_foresaw_is_told_to_the_visitor(client, caplog):
    """In a sentence and in the log, and all else stays as it is."""
    output = next(d["output"] for d in client.get("/_dash-dependencies").json if "departures.figure" in d["output"])
    outputs = [dict(zip(("id", "property"), part.split("."), strict=True)) for part in output.strip(".").split("...")]
    asked = {"id": "departures-asked", "property": "data", "value": {"band": "class"}}
    body = {"output": output, "outputs": outputs, "inputs": [asked], "changedPropIds": ["departures-asked.data"]}
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200
    assert answer.json["response"] == {}
    told = answer.json["sideUpdate"]["message"]
    assert told["is_open"]
    assert "KeyError: 'by'" in told["children"]
    assert "KeyError" in caplog.text
