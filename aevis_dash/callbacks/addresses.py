"""Where the page's pictures are served: addresses hold a digest of what they show, so browsers may keep them."""

import hashlib
from urllib.parse import quote

import numpy as np
from flask import Flask, Response, abort

from aevis_dash.domain import AevisError, Example, FeatureMap
from aevis_dash.workbench import Workbench
from aevis_dash.workspace import png_bytes

_AMPLIFIED = 10


def image(bench: Workbench, name: str) -> str:
    """Address of an image of the workspace."""
    return f"/image/{bench.workspace.image_hash(name)}/{quote(name)}"


def difference(bench: Workbench, example: Example) -> str:
    """Address of the amplified difference between an example's images."""
    digests = [bench.workspace.image_hash(name) for name in (example.source, example.adversarial)]
    return f"/difference/{'-'.join(digests)}/{quote(example.id, safe='')}"


def patch(bench: Workbench, chosen: FeatureMap, rank: int) -> str:
    """Address of a learned feature's patch."""
    digest = hashlib.sha256(bench.learned_key.encode()).hexdigest()[:16]
    return f"/patch/{digest}/{chosen.layer}/{chosen.channel}/{rank}"


def register(server: Flask, bench: Workbench) -> None:
    """Add the routes. Only what the workspace's tables name is served; anything else is not found."""

    @server.get("/image/<digest>/<path:name>")
    def _image(digest: str, name: str) -> Response:
        examples = bench.workspace.examples()
        known = {e.file for e in bench.workspace.images} | {n for e in examples for n in (e.source, e.adversarial)}
        return _png(lambda: bench.workspace.read([name])[0]) if name in known else abort(404)

    @server.get("/difference/<digest>/<path:example_id>")
    def _difference(digest: str, example_id: str) -> Response:
        return _png(lambda: _amplified(bench, example_id))

    @server.get("/patch/<digest>/<int:layer>/<int:channel>/<int:rank>")
    def _patch(digest: str, layer: int, channel: int, rank: int) -> Response:
        learned = bench.stored_learned_features()
        inside = layer < len(bench.layers) and channel < bench.layers.layers[layer].channels
        if learned is None or not inside or rank >= learned.image.shape[1]:
            abort(404)
        return _png(lambda: bench.patch(learned, FeatureMap(layer, channel), rank))


def _amplified(bench: Workbench, example_id: str) -> np.ndarray:
    example = bench.workspace.example(example_id)
    source, adversarial = bench.workspace.read([example.source, example.adversarial]).astype(int)
    return np.clip(128 + _AMPLIFIED * (adversarial - source), 0, 255).astype(np.uint8)


def _png(make) -> Response:
    try:
        picture = make()
    except AevisError:
        picture = None
    if picture is None:
        abort(404)
    answer = Response(png_bytes(picture), mimetype="image/png")
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer
