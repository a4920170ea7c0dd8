"""The addresses of the page's pictures, and the routes that serve them.

An address holds a digest of what the picture shows. So browsers may keep the picture, and an address with another
digest is not found. Addresses are relative to the page, which may be served under a prefix. They name files in the
query, because a path would lose the slash that an absolute path begins with, and the dots of `../`.

The patches of a map that was clicked travel inside the answer to the click (`patch_inside`): several pictures that are
asked for afterwards take longer.
"""

import base64
import hashlib
import threading
from collections.abc import Callable
from urllib.parse import quote

import numpy as np
from cachetools import LRUCache
from flask import Flask, Response, abort, request

from aevis_dash.domain import AevisError, Example, FeatureMap
from aevis_dash.float_images import eight_bit
from aevis_dash.images import png_bytes, smaller, spotlight
from aevis_dash.workbench import Workbench

_AMPLIFIED = 10
_SMALL = 128
"""The pixels of the longer side of a thumbnail or a patch. That is twice what is shown of them, for fine screens."""

RECENT = 2048
"""The number of small pictures, of 10 to 40 kB, that stay in memory."""


def image(bench: Workbench, name: str) -> str:
    """The address of an image of the workspace."""
    return f"image/{_seen(bench, name)}?file={quote(name)}"


def thumbnail(bench: Workbench, name: str) -> str:
    """The address of a small picture of an image, which takes a third of the time to make and of the bytes to send."""
    return f"thumbnail/{_seen(bench, name)}?file={quote(name)}"


def difference(bench: Workbench, example: Example) -> str:
    """The address of the amplified difference between an example's images."""
    return f"difference/{_digests(bench, example)}?example={quote(example.id)}"


def first_crop(bench: Workbench, chosen: FeatureMap, example: str | None) -> str:
    """The address of the best patch of a map that may stand beside an example; "" where there is none, or none yet."""
    learned = bench.learning.stored_features()
    ranks = [] if learned is None else bench.learning.ranks(learned, chosen, example)
    found = learned.neuron(bench.layers.place(chosen), ranks[0]) if learned is not None and ranks else None
    if found is None:
        return ""
    image, row, col = found
    return seen_by(bench, bench.workspace.images[image].file, chosen.layer, row, col)


def seen_by(bench: Workbench, name: str, layer: int, row: int, col: int) -> str:
    """The address of the pixels of a normal image that a neuron sees. It stays the same while the index grows."""
    return f"patch/{_seen(bench, name)}/{layer}/{row}/{col}?file={quote(name)}"


def patch_inside(bench: Workbench, name: str, layer: int, row: int, col: int) -> str:
    """The pixels of a normal image that a neuron sees, as an address that holds the picture itself (a data URL). Where
    the image cannot be read, it is the address of `seen_by`, at which nothing is found."""
    digest = _seen(bench, name)
    make = lambda: _patch(bench, name, layer, row, col)  # noqa: E731
    sent = _bytes(make, digest, lambda: _seen(bench, name), (digest, layer, row, col, name))
    if sent is None:
        return seen_by(bench, name, layer, row, col)
    return f"data:image/png;base64,{base64.b64encode(sent).decode()}"


def lit(bench: Workbench, name: str, chosen: FeatureMap, most: float) -> str:
    """The address of an image of the workspace, lit where a map fires; at the activation `most` it is brightest."""
    return f"lit/{_seen(bench, name)}/{chosen.layer}/{chosen.channel}?most={most:.4g}&file={quote(name)}"


def picture(bench: Workbench, chosen: FeatureMap) -> str:
    """The address of the picture made to fire a map."""
    return f"feature/{_made(bench, chosen)}/{chosen.layer}/{chosen.channel}"


def register(server: Flask, bench: Workbench) -> None:
    """Add the routes of the pictures. Only what the workspace's tables name is served; anything else is not found."""

    def argument(what: str) -> str:
        return request.args.get(what, "")

    @server.get("/image/<digest>")
    def _image(digest: str) -> Response:
        name = argument("file")
        return _png(lambda: _read(bench, name), digest, lambda: _seen(bench, name))

    @server.get("/thumbnail/<digest>")
    def _thumbnail(digest: str) -> Response:
        name = argument("file")
        small = lambda: smaller(_read(bench, name), _SMALL)  # noqa: E731
        return _png(small, digest, lambda: _seen(bench, name), (digest, name))

    @server.get("/difference/<digest>")
    def _difference(digest: str) -> Response:
        name = argument("example")
        now = lambda: _digests(bench, bench.workspace.example(name))  # noqa: E731
        return _png(lambda: _amplified(bench, name), digest, now)

    @server.get("/patch/<digest>/<int:layer>/<int:row>/<int:col>")
    def _crop(digest: str, layer: int, row: int, col: int) -> Response:
        name = argument("file")
        extent = bench.layers.layers[layer] if layer < len(bench.layers) else abort(404)
        if row >= extent.height or col >= extent.width or name not in bench.workspace.image_places:
            abort(404)
        small = lambda: _patch(bench, name, layer, row, col)  # noqa: E731
        return _png(small, digest, lambda: _seen(bench, name), (digest, layer, row, col, name))

    @server.get("/lit/<digest>/<int:layer>/<int:channel>")
    def _lit(digest: str, layer: int, channel: int) -> Response:
        name, most = argument("file"), request.args.get("most", 0.0, type=float)
        inside = layer < len(bench.layers) and channel < bench.layers.layers[layer].channels
        if not inside or not np.isfinite(most) or not bench.workspace.names(name):
            abort(404)
        shown = lambda: _fired(bench, name, FeatureMap(layer, channel), most)  # noqa: E731
        return _png(shown, digest, lambda: _seen(bench, name), (digest, layer, channel, most, name))

    @server.get("/feature/<digest>/<int:layer>/<int:channel>")
    def _feature(digest: str, layer: int, channel: int) -> Response:
        inside = layer < len(bench.layers) and channel < bench.layers.layers[layer].channels
        chosen = FeatureMap(layer, channel)
        found = bench.learning.stored_visualisation(chosen) if inside else None
        return _png(lambda: found.image, digest, lambda: _made(bench, chosen)) if found is not None else abort(404)


def _digests(bench: Workbench, example: Example) -> str:
    return "-".join(_seen(bench, name) for name in (example.source, example.adversarial))


def _seen(bench: Workbench, name: str) -> str:
    """A digest of an image as the network sees it: of its file, and of the model with its preprocessing."""
    text = f"{bench.classifier.fingerprint} {bench.workspace.image_hash(name)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _made(bench: Workbench, chosen: FeatureMap) -> str:
    return hashlib.sha256(bench.learning.picture_key(chosen).encode()).hexdigest()[:16]


def _read(bench: Workbench, name: str) -> np.ndarray | None:
    """An image that the tables name; None for any other file."""
    return eight_bit(bench.workspace.read([name])[0]) if bench.workspace.names(name) else None


def _patch(bench: Workbench, name: str, layer: int, row: int, col: int) -> np.ndarray | None:
    return smaller(bench.maps.seen_by(name, layer, row, col), _SMALL)


def _fired(bench: Workbench, name: str, chosen: FeatureMap, most: float) -> np.ndarray:
    values = bench.maps.activation_maps(name, chosen.layer)[chosen.channel]
    at_places = values[bench.layers.layers[chosen.layer].first_row :]
    return spotlight(eight_bit(bench.workspace.read([name])[0]), at_places, most, _SMALL)


def _amplified(bench: Workbench, example_id: str) -> np.ndarray:
    example = bench.workspace.example(example_id)
    source, adversarial = bench.workspace.read([example.source, example.adversarial]).astype(float)
    return eight_bit(np.clip(128 + _AMPLIFIED * (adversarial - source), 0, 255))


recent: LRUCache[tuple, bytes] = LRUCache(RECENT)
"""The small pictures that were asked for last, as they were sent, by what their addresses name."""
_recent_lock = threading.Lock()


def _png(
    make: Callable[[], np.ndarray | None], digest: str, now: Callable[[], str], key: tuple | None = None
) -> Response:
    """The answer that sends the picture of `_bytes`; "not found" where there is none."""
    sent = _bytes(make, digest, now, key)
    if sent is None:
        abort(404)
    answer = Response(sent, mimetype="image/png")
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer


def _bytes(
    make: Callable[[], np.ndarray | None], digest: str, now: Callable[[], str], key: tuple | None
) -> bytes | None:
    """The picture that `make` gives as a PNG file, where `digest` is what it has `now`; otherwise None, and also where
    `make` gives None or cannot read an image.

    With a key the picture is kept for the next visitor.
    """
    with _recent_lock:
        sent = recent.get(key) if key is not None else None
    if sent is not None:
        return sent
    try:
        picture = make()
        if picture is None or now() != digest:  # asked afterwards: a file may change while it is read
            return None
    except AevisError:
        return None
    sent = png_bytes(picture)
    if key is not None:
        with _recent_lock:
            recent[key] = sent
    return sent
