"""The application without a browser: what it serves, what it refuses, and what it sends along."""

import csv
import io
import re
import shutil
import socket
import threading
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cachetools import LRUCache
from conftest import shrink
from dash import dcc
from PIL import Image
from plotly.offline import get_plotlyjs_version
from torchvision.transforms import functional

from aevis_dash import make_workspace, serving
from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.guard import Guard
from aevis_dash.config import resource
from aevis_dash.domain import AevisError, AreaOfInterest, FeatureMap
from aevis_dash.images import DIM, spotlight, write_image
from aevis_dash.listening import LARGEST_REQUEST, listening
from aevis_dash.sight import current_sight
from aevis_dash.web import SCRIPTS, create_app
from aevis_dash.workbench import Workbench, open_workbench
from aevis_dash.workspace import Workspace


@pytest.fixture(scope="module")
def bench(drawn_world):
    return open_workbench(drawn_world)


@pytest.fixture(scope="module")
def server(bench):
    return create_app(bench).server


@pytest.fixture(scope="module")
def client(server):
    return server.test_client()


@pytest.fixture(scope="module")
def port(server):
    """The port on which the production server answers, in a thread of this process."""
    listener = listening(server, "127.0.0.1", 0)
    threading.Thread(target=listener.run, daemon=True).start()
    yield listener.port
    listener.close()


UPDATE = "/_dash-update-component"


def test_the_docs_name_every_store_of_the_page(bench):
    """In the first column of their table, and none that the page does not have."""
    app = create_app(bench)
    stores = {part.id for part in app.layout()._traverse() if isinstance(part, dcc.Store)}
    text = Path("docs/architecture.md").read_text(encoding="utf-8")
    part = text[text.index("## What the page keeps in the browser") : text.index("\n## Files\n")]
    first = [row.split("|")[1] for row in part.splitlines() if row.startswith("| `")]
    assert {name for cell in first for name in re.findall(r"`([^`]+)`", cell)} == stores


def test_the_page_asks_for_nothing_outside(client):
    page = client.get("/").get_data(as_text=True)
    assert "/assets/page.js" in page
    assert "https://" not in page.replace("https://dash.plotly.com", "")
    with client.get("/assets/bootstrap.min.css") as answer:
        assert answer.status_code == 200


def test_every_answer_carries_the_security_headers(client):
    headers = client.get("/").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_images_of_the_tables_are_served_for_keeps(client, bench):
    answer = client.get("/" + pictures.image(bench, bench.workspace.images[0].file))
    assert answer.status_code == 200
    assert answer.data.startswith(b"\x89PNG")
    assert "immutable" in answer.headers["Cache-Control"]


def test_an_image_that_the_network_sees_otherwise_has_another_address(world):
    """The browser keeps what it has for good: after another fit it must not show the old crop."""
    bench = open_workbench(world)
    example, settings = bench.workspace.examples()[0], world / "workspace.toml"
    ask = (pictures.image, pictures.thumbnail)
    before = [one(bench, example.adversarial) for one in ask] + [pictures.difference(bench, example)]
    text = settings.read_text()
    assert 'fit = "squeeze"' in text
    settings.write_text(text.replace('fit = "squeeze"', 'fit = "pad"'))
    bench = open_workbench(world)
    after = [one(bench, example.adversarial) for one in ask] + [pictures.difference(bench, example)]
    assert not set(before) & set(after)
    client = create_app(bench).server.test_client()
    assert [client.get("/" + address).status_code for address in (*before, *after)] == [404] * 3 + [200] * 3


def test_a_thumbnail_is_its_image_made_small(client, bench):
    name = bench.workspace.examples()[0].adversarial
    answer = client.get("/" + pictures.thumbnail(bench, name))
    assert "immutable" in answer.headers["Cache-Control"]
    shown = np.asarray(Image.open(io.BytesIO(answer.data))).astype(int)
    whole = bench.workspace.read([name])[0]
    assert max(shown.shape[:2]) == min(128, max(whole.shape[:2]))
    assert np.abs(shown.mean((0, 1)) - whole.mean((0, 1))).max() < 3


def test_the_page_shows_what_the_network_sees(world):
    """A photograph of another form is shown as it is cropped, whole and in patches, beside its adversarial image."""
    toml = world / "workspace.toml"
    toml.write_text(toml.read_text().replace('fit = "squeeze"', 'fit = "crop"\nresize_size = [72, 72]'))
    name = open_workbench(world).workspace.examples()[0].source
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8))
    photo.save(world / "images" / name)
    bench = open_workbench(world)
    example, client = bench.workspace.examples()[0], create_app(bench).server.test_client()

    def shown(address):
        return np.asarray(Image.open(io.BytesIO(client.get(address).data))).astype(int)

    cropped = np.asarray(functional.center_crop(functional.resize(photo, [72]), [64, 64])).astype(int)
    stored = np.asarray(Image.open(world / example.adversarial)).astype(int)
    np.testing.assert_array_equal(shown(pictures.image(bench, name)), cropped)
    np.testing.assert_array_equal(shown(pictures.thumbnail(bench, name)), cropped)
    np.testing.assert_array_equal(shown(pictures.image(bench, example.adversarial)), stored)
    amplified = np.clip(128 + 10 * (stored - cropped), 0, 255)
    np.testing.assert_array_equal(shown(pictures.difference(bench, example)), amplified)
    field = bench.maps.receptive_field(AreaOfInterest(20, 1, 2, 2, 3))
    patch = cropped[field.top : field.bottom, field.left : field.right]
    np.testing.assert_array_equal(shown(pictures.seen_by(bench, name, 20, 1, 2)), patch)
    np.testing.assert_allclose(
        bench.classifier.pixels(bench.workspace.read([name]))[0] * 255, cropped.transpose(2, 0, 1)
    )


@pytest.mark.parametrize("route", ["image", "thumbnail"])
@pytest.mark.parametrize(
    "name", ["../workspace.toml", "..%2Fworkspace.toml", "workspace.toml", "adversarial/../classes.txt"]
)
def test_nothing_else_of_the_disk_is_served(client, route, name):
    assert client.get(f"/{route}/0?file={name}").status_code == 404
    assert client.get(f"/{route}/0/{name}").status_code in (308, 404)


def test_a_patch_is_what_a_neuron_sees_of_a_normal_image(client, bench):
    name = bench.workspace.images[3].file
    answer = client.get("/" + pictures.seen_by(bench, name, 20, 1, 2))
    picture = np.asarray(Image.open(io.BytesIO(answer.data)))
    field = bench.maps.receptive_field(AreaOfInterest(20, 1, 2, 2, 3))
    whole = bench.workspace.read([name])[0]
    np.testing.assert_array_equal(picture, whole[field.top : field.bottom, field.left : field.right])
    assert "immutable" in answer.headers["Cache-Control"]


def test_a_picture_is_the_brighter_the_more_a_map_fires():
    """Each neuron lights its quarter; silence and less leave DIM of the brightness, `most` and more leave all of it."""
    lit = spotlight(np.full((4, 4, 3), 200, np.uint8), np.array([[0.0, 1.0], [2.0, -3.0]]), 2.0, 4)
    half = DIM + (1 - DIM) / 2
    expected = np.kron([[DIM, half], [1.0, DIM]], np.ones((2, 2)))[..., None] * [200, 200, 200]
    np.testing.assert_allclose(lit, expected, atol=1)
    dark = spotlight(np.full((2, 4, 3), 200, np.uint8), np.ones((1, 1)), 0.0, 8)
    assert dark.shape == (4, 8, 3), "in the image's proportions"
    np.testing.assert_allclose(dark, 200 * DIM, atol=1)


def test_an_image_is_lit_where_a_map_fires(client, bench):
    name, chosen = bench.workspace.examples()[0].adversarial, FeatureMap(20, 1)
    values = bench.maps.activation_maps(name, 20)[1]
    answer = client.get("/" + pictures.lit(bench, name, chosen, 2.0))
    shown = np.asarray(Image.open(io.BytesIO(answer.data)))
    np.testing.assert_array_equal(shown, spotlight(bench.workspace.read([name])[0], values, 2.0, 128))
    assert "immutable" in answer.headers["Cache-Control"]
    for wrong in ("99/0?most=1", "20/9999?most=1", "20/1?most=nan"):
        assert client.get(f"/lit/{answer.request.path.split('/')[2]}/{wrong}&file={name}").status_code == 404
    assert client.get("/lit/0/20/1?most=1&file=..%2Fworkspace.toml").status_code == 404


OUTSIDE = [
    "0/32/0?file={}",
    "0/0/32?file={}",
    "99/0/0?file={}",
    "0/0/0?file=..%2Fworkspace.toml",
    "0/0/0?file={}x",
    "0/0/0",
]


@pytest.mark.parametrize("place", OUTSIDE)
def test_patches_that_are_not_there_are_not_found(client, bench, place):
    """Positions outside a layer, layers outside the network, and files that the table does not name."""
    name, last = bench.workspace.images[0].file, bench.layers.layers[0].height - 1
    there = pictures.seen_by(bench, name, 0, last, last)
    assert client.get("/" + there).status_code == 200
    assert client.get(f"/patch/{there.split('/')[1]}/{place.format(name)}").status_code == 404


@pytest.mark.parametrize("place", ["0/0", "99/0", "0/9999"])
def test_pictures_that_were_not_made_are_not_found(client, place):
    assert client.get(f"/feature/0/{place}").status_code == 404


def test_an_unknown_example_has_no_difference(client):
    assert client.get("/difference/0?example=nobody").status_code == 404


def test_a_picture_with_another_digest_is_not_found(world):
    """Browsers keep a picture for good, so it must be the one that its address names."""
    bench = open_workbench(world)
    client = create_app(bench).server.test_client()
    example, chosen = bench.workspace.examples()[0], FeatureMap(20, 1)
    bench.learning.visualise(chosen)
    there = [
        pictures.image(bench, example.adversarial),
        pictures.thumbnail(bench, example.adversarial),
        pictures.difference(bench, example),
        pictures.seen_by(bench, bench.workspace.images[0].file, 20, 0, 0),
        pictures.picture(bench, chosen),
        pictures.lit(bench, example.adversarial, chosen, 1.0),
    ]
    for address in there:
        assert client.get("/" + address).status_code == 200, address
        kind, digest, *rest = re.split(r"([/?])", address, maxsplit=2)[::2]
        for other in ("0" * len(digest), digest[:-1], digest + "0", digest.upper() + "-"):
            answer = client.get("/" + address.replace(digest, other))
            assert answer.status_code == 404, (kind, rest)
            assert "immutable" not in answer.headers.get("Cache-Control", "")
    write_image(world / example.adversarial, 255 - bench.workspace.read([example.adversarial])[0])
    assert client.get("/" + there[0]).status_code == 404, "the file is another one now"
    assert client.get("/" + there[2]).status_code == 404
    assert client.get("/" + pictures.image(bench, example.adversarial)).status_code == 200


def test_images_are_served_wherever_the_table_says_that_they_are(world, tmp_path):
    """An absolute path, one that leaves the workspace, and names that an address has other meanings for."""
    names = [str(tmp_path / "absolute.png"), "../outside.png", "a b%20?#&+=.png", "./x//é.png"]
    bench = open_workbench(world)
    example = bench.workspace.examples()[0]
    for name in names:
        place = bench.workspace.path(name)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(world / example.adversarial, place)
    table = world / "examples.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    cells = next(row for row in csv.DictReader(lines) if row["id"] == example.id)
    with table.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(cells))
        writer.writerows(cells | {"id": f"new{i}", "adversarial": name} for i, name in enumerate(names))
    bench = open_workbench(world)
    client = create_app(bench).server.test_client()
    for i, name in enumerate(names):
        seen = bench.workspace.example(f"new{i}")
        for address in (pictures.image(bench, name), pictures.thumbnail(bench, name)):
            assert client.get("/" + address).status_code == 200, address
        assert client.get("/" + pictures.difference(bench, seen)).status_code == 200


def test_a_small_picture_is_made_once(client, bench, monkeypatch):
    address = "/" + pictures.thumbnail(bench, bench.workspace.images[1].file)
    first = client.get(address).data
    monkeypatch.setattr(Workspace, "read", lambda *_: pytest.fail("it was made already"))
    assert client.get(address).data == first


def test_no_more_than_so_many_small_pictures_stay_in_memory(client, bench, monkeypatch):
    monkeypatch.setattr(pictures, "recent", LRUCache(2))
    first, second, third = ("/" + pictures.thumbnail(bench, image.file) for image in bench.workspace.images[:3])
    made = []
    read = Workspace.read
    monkeypatch.setattr(Workspace, "read", lambda self, names: made.extend(names) or read(self, names))
    for address in (first, second, first, third, first):
        assert client.get(address).status_code == 200
    assert len(made) == 3, "what was asked for last stays"
    client.get(second)
    assert len(made) == 4


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


def test_scripts_of_components_that_are_shown_at_once_are_loaded_with_the_page(client):
    page = client.get("/").get_data(as_text=True)
    parts = [part for part in ("graph", "dropdown", "slider") if f"/dash/dcc/async-{part}.js" in page]
    assert parts == ["graph", "dropdown", "slider"], "else they are drawn last"
    for part in parts:
        with client.get(f"/_dash-component-suites/dash/dcc/async-{part}.js") as answer:
            assert answer.status_code == 200


def test_scripts_are_loaded_in_their_order_and_no_other(client):
    page, folder = client.get("/").get_data(as_text=True), resource("assets")
    loaded = re.findall(r'<script src="/assets/([^"?]+)', page)
    assert loaded == list(SCRIPTS)
    assert set(SCRIPTS) == {path.name for path in folder.glob("*.js")}
    users = [name for name in SCRIPTS if "dash_clientside.controls" in (folder / name).read_text(encoding="utf-8")]
    assert len(users) > 4
    assert all(SCRIPTS.index("controls.js") <= SCRIPTS.index(name) for name in users)
    for name in SCRIPTS:
        with client.get(f"/assets/{name}") as answer:
            assert answer.status_code == 200


def test_the_page_draws_with_a_plotly_of_its_own_that_is_as_new_as_the_librarys(client):
    with client.get("/assets/plotly-cartesian.min.js") as answer:
        head = answer.get_data(as_text=True)[:200]
    ours = re.search(r"plotly.js \(cartesian - minified\) v(\d+)\.", head)
    assert ours is not None
    assert int(ours[1]) == int(get_plotlyjs_version().split(".")[0]), "take that of npm's plotly.js-cartesian-dist-min"


def test_an_error_nobody_foresaw_is_told_to_the_visitor(client, caplog):
    """In a sentence and in the log, and all else stays as it is."""
    output = next(d["output"] for d in client.get("/_dash-dependencies").json if "divergences.figure" in d["output"])
    outputs = [dict(zip(("id", "property"), part.split("."), strict=True)) for part in output.strip(".").split("...")]
    asked = {"id": "divergences-asked", "property": "data", "value": {"band": "class"}}
    body = {"output": output, "outputs": outputs, "inputs": [asked], "changedPropIds": ["divergences-asked.data"]}
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200
    assert answer.json["response"] == {}
    told = answer.json["sideUpdate"]["message"]
    assert told["is_open"]
    assert "KeyError: 'by'" in told["children"]
    assert "KeyError" in caplog.text


def test_answers_tell_another_workspace_or_model_from_the_same_one(world, client):
    """A page that stays open while its server is started anew takes answers of the same kind only."""
    serves = lambda asked: asked.get("/").headers["AEVis-Serves"]  # noqa: E731
    named = lambda: serves(create_app(open_workbench(world)).server.test_client())  # noqa: E731
    first = named()
    assert named() == first
    assert serves(client) != first
    shrink(open_workbench(world).workspace, candidates=1)
    assert named() != first


def test_a_page_that_asks_for_a_job_of_the_server_before_is_told(client):
    """Dash answers with nothing, so that the page would say for ever that the job is under way."""
    output = next(d["output"] for d in client.get("/_dash-dependencies").json if "extraction-done.data" in d["output"])
    outputs = [dict(zip(("id", "property"), part.split("."), strict=True)) for part in output.strip(".").split("...")]
    given = {
        "inputs": [{"id": "extraction-wanted", "property": "data"}],
        "state": [{"id": "page-load", "property": "data"}],
    }
    body = {"output": output, "outputs": outputs, "changedPropIds": ["extraction-wanted.data"]} | given
    told = client.post("/_dash-update-component?cacheKey=a.b&job=a.c&endId=d", json=body).json["response"]
    sentence = "The extraction is unknown to the server, which was started anew meanwhile. What was finished is kept."
    assert told["extraction-done"]["data"]["failed"] == sentence
    (message,) = [given for name, given in told.items() if name.startswith("message")]
    assert sentence in message.values()


def asked_of(client, part):
    """A body as the page sends it for the callback whose output has that part."""
    found = next(d for d in client.get("/_dash-dependencies").json if part in d["output"])
    places = [
        dict(zip(("id", "property"), part.split("."), strict=True)) for part in found["output"].strip(".").split("...")
    ]
    return {
        "output": found["output"],
        "outputs": places if found["output"].startswith("..") else places[0],
        "inputs": [{"id": one["id"], "property": one["property"]} for one in found["inputs"]],
        "state": [{"id": one["id"], "property": one["property"]} for one in found["state"]],
        "changedPropIds": [],
    }


def refusal(answer):
    """The one line that a refusal is."""
    told = answer.get_data(as_text=True)
    assert answer.mimetype == "text/plain"
    assert told.count("\n") == 1
    return answer.status_code, told.strip()


@pytest.mark.parametrize("body", [b"[1]", b"null", b"not JSON", b"", b"\xff", b'"text"', b"[" * 20000, b'{"a":' * 5000])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_a_request_that_is_no_json_object_is_refused_in_a_line(client, body, kind):
    answer = client.post(UPDATE, data=body, content_type=kind)
    assert refusal(answer) == (400, "What was asked is no JSON object. Reload the page.")


PLACE = {"id": "view", "property": "data"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(({"output": output}, "no `output` that the server knows") for output in (None, "x.y", 7, ["view.data"], {})),
        ({"output": "view.data"}, "no `output` that the server knows"),
        *(({"inputs": given}, "for its `inputs`") for given in ([], "abc", {}, [PLACE] * 9, [7], [[7]])),
        *(({"state": given}, "for its `state`") for given in (None, [PLACE] * 9, [{"id": "x"}])),
        *(
            ({"outputs": given}, "for its `outputs`")
            for given in (None, [], PLACE, [PLACE] * 9, [7], "ab", [[PLACE]] * 2)
        ),
        *(({"changedPropIds": given}, "`changedPropIds`") for given in (None, "view.data", [3], {})),
    ],
)
def test_a_request_that_no_page_sends_is_refused_in_a_line(client, change, said):
    good = asked_of(client, "warnings.children")
    assert client.post(UPDATE, json=good).status_code == 200
    status, told = refusal(client.post(UPDATE, json=good | change))
    assert status == 400
    assert re.search(said, told)


def test_a_request_for_what_the_browser_does_itself_is_refused(client):
    """Dash lists those callbacks too, but the server has no function for them."""
    own = asked_of(client, "theme.data")
    assert refusal(client.post(UPDATE, json=own))[0] == 400


def test_an_error_of_dash_with_a_callbacks_answer_stays_an_error(server, caplog, monkeypatch):
    """Only what was asked is refused with 400; what goes wrong afterwards is the server's own fault, and logged."""
    client = server.test_client()
    asked = asked_of(client, "warnings.children")
    monkeypatch.setitem(server.config, "PROPAGATE_EXCEPTIONS", False)
    monkeypatch.setattr(Workbench, "warnings", property(lambda _: (object(),)))
    assert client.post(UPDATE, json=asked).status_code == 500
    assert "Exception on /_dash-update-component" in caplog.text


@pytest.mark.parametrize("path", ["dash/nope.js", "nope/x.js", "dash/%00.js", "dash/../web.py", "sys/x.js"])
def test_a_script_that_there_is_not_is_not_found(client, path):
    assert refusal(client.get(f"/_dash-component-suites/{path}")) == (404, "The page has no such script.")


ROUTES = [
    *("/", UPDATE, "/_dash-layout?x=%ff", "/_dash-dependencies", "/_reload-hash", "/_favicon.ico", "/%ff", "/%00"),
    *("/assets/%00", "/assets/../web.py", "/image/x?file=%00", "/image/x?file=%ff", "/thumbnail/x?file=" + "a" * 5000),
    *("/difference/x?example=%00", "/patch/x/1/99999999999999999999999/2?file=a", "/feature/x/99999999999999999999/1"),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_no_address_fails_whatever_is_asked_of_it(client, path, method):
    with client.open(path, method=method) as answer:
        assert answer.status_code < 500


@pytest.mark.parametrize("path", ["/nothing", "/assets/nothing.js", "/image", "/a/b/c", "/_dash-nothing"])
def test_unknown_paths_are_not_found(client, path):
    """Dash answers with its page for any path."""
    assert client.get(path).status_code == 404
    assert client.get("/?example=nobody").status_code == 200


NAMED = [
    *(
        (Guard(), host, True)
        for host in ("localhost", "LocalHost:8050", "127.0.0.1:1", "127.8.9.1", "[::1]:80", "[::1]")
    ),
    *(
        (Guard(), host, False)
        for host in ("", "evil.example", "evil.example:8050", "localhost.evil.example", "10.0.0.1")
    ),
    *(
        (Guard(), host, False)
        for host in ("localhost:x", "localhost:8050@evil", "evil localhost", "[::1", "local_host/")
    ),
    (Guard("lab"), "lab:8050", True),
    (Guard("lab"), "laboratory", False),
    (Guard(names=("Lab.example", "[fe80::2]")), "lab.example:443", True),
    (Guard(names=("Lab.example", "[fe80::2]")), "[fe80::2]", True),
    (Guard(names=("lab.example",)), "evil.lab.example", False),
    *((Guard(host), "192.168.1.5:8050", True) for host in ("0.0.0.0", "::", "192.168.1.5")),
    *((Guard(host), f"{socket.gethostname()}:8050", True) for host in ("0.0.0.0", "::")),
    *((Guard(host), "evil.example", False) for host in ("0.0.0.0", "::", "192.168.1.5", "")),
]


@pytest.mark.parametrize(("guard", "host", "known"), NAMED)
def test_a_server_answers_under_its_own_names_only(guard, host, known):
    """A name of the web that was pointed to this machine is none of them."""
    assert guard.knows(host) == known


def test_a_foreign_host_is_refused_on_every_address(client, bench):
    picture = "/" + pictures.image(bench, bench.workspace.images[0].file)
    for path in ("/", "/_dash-layout", "/_dash-dependencies", "/assets/page.js", "/nothing", picture):
        answer = client.get(path, headers={"Host": "evil.example:8050"})
        assert answer.status_code == 400, path
        assert "--allow-host" in answer.get_data(as_text=True)
        assert "Content-Security-Policy" in answer.headers
    assert client.post(UPDATE, json={}, headers={"Host": "evil.example"}).status_code == 400


ORIGINS = [
    ("localhost:8050", "http://localhost:8050", True),
    ("localhost:8050", "https://LOCALHOST:8050", True),
    ("localhost:8050", None, True),
    ("localhost:8050", "http://localhost:3000", False),
    ("localhost:8050", "http://evil.example", False),
    ("localhost:8050", "null", False),
    ("localhost:8050", "", False),
    ("localhost:8050", "file://localhost:8050", False),
    ("127.0.0.1:8050", "https://lab.example", True),
    ("127.0.0.1:8050", "https://lab.example.evil", False),
]


@pytest.mark.parametrize(("host", "origin", "trusted"), ORIGINS)
def test_pages_of_others_cannot_post(bench, host, origin, trusted):
    """Behind a proxy the Host may be the proxy's or this server's; the Origin is always the proxy's."""
    client = create_app(bench, Guard(names=("lab.example",))).server.test_client()
    asked = next(d for d in client.get("/_dash-dependencies").json if "divergences.figure" in d["output"])
    headers = {"Host": host} if origin is None else {"Host": host, "Origin": origin}
    answer = client.post(UPDATE, json={"output": asked["output"]}, headers=headers)
    assert (answer.status_code == 403) != trusted
    assert client.get("/", headers=headers).status_code == 200, "links from other pages are followed"


def test_many_open_browsers_lock_nobody_out(port):
    """Six connections each, as Chromium keeps them; waitress would take 100."""
    with ExitStack() as opened:
        for _ in range(400):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        asking = opened.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=20)))
        asking.request("GET", "/_dash-layout")
        assert asking.getresponse().status == 200


def test_a_body_that_no_page_sends_is_refused_before_it_came(port):
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as asking:
        asking.putrequest("POST", UPDATE)
        asking.putheader("Content-Length", str(LARGEST_REQUEST + 1))
        asking.endheaders()
        assert asking.getresponse().status == 413


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True)]
)
def test_a_page_that_others_reach_without_users_is_warned_of(monkeypatch, capsys, tmp_path, host, warned):
    def stop(*_):
        raise AevisError("not now")

    monkeypatch.setattr(serving.signal, "signal", lambda *_: None)
    monkeypatch.setattr(serving, "refuse_busy_port", lambda *_: None)
    monkeypatch.setattr(serving.jobs, "start", stop)
    with pytest.raises(AevisError, match="not now"):
        serving.serve(tmp_path, host, insecure=True)
    assert ("Everybody who reaches the port" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "lab.example"])
def test_nobody_is_served_beyond_this_machine_without_a_word_on_who_may_see(tmp_path, host):
    with pytest.raises(AevisError) as refused:
        serving.serve(tmp_path, host)
    assert "aevis user add NAME" in str(refused.value)
    assert "--users aevis-users.json" in str(refused.value)
    assert str(refused.value).endswith("--insecure")


def test_without_a_workspace_the_drawn_world_is_made_in_the_cache_and_served(monkeypatch, capsys, tmp_path):
    """As after the first `make run`; a smaller world, and a server that ends at once."""
    for name, value in (("WORLD_IMAGES", 20), ("WORLD_ATTACKED", 4), ("WORLD_EPSILONS", (8.0,))):
        monkeypatch.setattr(make_workspace, name, value)
    monkeypatch.setenv("AEVIS_CACHE", str(tmp_path))
    served = []
    monkeypatch.setattr(serving.signal, "signal", lambda *_: None)
    monkeypatch.setattr(serving, "refuse_busy_port", lambda *_: None)
    monkeypatch.setattr(serving.jobs, "start", lambda folder, *_: served.append(folder))
    monkeypatch.setattr(serving.jobs, "end", lambda: None)
    monkeypatch.setattr(serving, "listening", lambda *_: SimpleNamespace(run=lambda _: served.append("page")))
    serving.serve(None)
    assert served == [tmp_path / "drawn-world", "page"]
    assert len(open_workbench(tmp_path / "drawn-world").workspace.examples()) == 4
    assert f"AEVis Dash serves {tmp_path / 'drawn-world'} at http://127.0.0.1:8050" in capsys.readouterr().out


def test_below_a_prefix_all_is_found_whether_a_proxy_takes_it_away_or_not(bench):
    client = create_app(bench, prefix="/aevis/").server.test_client()
    page = client.get("/").get_data(as_text=True)
    own = re.findall(r'(?:src|href)="(/[^"]*)"', page)
    assert own
    assert all(address.startswith("/aevis/") for address in own)
    assert re.search(r"(requests_pathname_prefix|url_base_pathname)[^,]*/aevis/", page.replace("\\u002f", "/"))
    picture = pictures.image(bench, bench.workspace.images[0].file)
    for address in ("", "_dash-layout", "assets/page.js", picture):
        for path in ("/", "/aevis/"):
            with client.get(path + address) as answer:
                assert answer.status_code == 200, path + address
    assert client.get("/aevis").headers["Location"] == "/aevis/", "else the pictures are looked for beside the page"
    assert client.get("/aevisx").status_code == client.get("/aevis/nothing").status_code == 404
    with pytest.raises(AevisError, match="another --prefix"):
        create_app(bench, prefix="/assets/")


def test_a_request_is_one_sight(bench):
    """All parts of one answer are about the same images; the next request looks at them anew."""
    app, seen = create_app(bench).server, []
    for _ in range(2):
        app.before_request_funcs.setdefault(None, []).append(lambda: seen.append(current_sight()))
    for _ in range(2):
        app.test_client().get("/_dash-layout")
    assert len(seen) == 4
    assert seen[0] is seen[1] is not None
    assert seen[2] is seen[3] is not seen[0]
    assert current_sight() is None
