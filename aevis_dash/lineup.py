"""What would line up two images that are no pair of source and adversarial.

It tries other parts, turns and moves of the images, and other sources, and names the first that brings the edges of the
source into place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from aevis_dash.domain import FITS, Example
from aevis_dash.float_images import eight_bit
from aevis_dash.images import read_image
from aevis_dash.pairs import edges_kept, has_swapped_channels
from aevis_dash.workspace import Workspace

VERSION = 3
"""The version of what is tried and said. It is raised when either changes."""
SHARES = (1.0, 0.95, 0.9, 0.875, 0.85, 0.8, 0.75, 0.7)
"""The shares of each side that the tried centres of an image keep; torchvision keeps 224 of 256 pixels."""
IN_PLACE = 0.75
"""The least share of the edges that a remedy has to bring into place; halfway measures reach 0.6."""
SOURCES = 500
"""The number of the workspace's images that are tried as the source, at most."""


@dataclass(frozen=True)
class Remedy:
    """What to do so that two images become a pair.

    Attributes:
        text: a sentence; "" where nothing that was tried makes them a pair, and nothing was left untried.
    """

    text: str


def remedy(workspace: Workspace, example: Example) -> Remedy:
    """Find what would make an example's two images a pair: the first kind of change after which the edges are in
    place."""
    source, adversarial = eight_bit(workspace.read([example.source, example.adversarial]))
    if has_swapped_channels(source, adversarial):
        return Remedy(
            "The colour channels of the two are in another order (blue, green, red for red, green, blue, say): save "
            "the adversarial again in the source's order."
        )
    ways = (
        _turns(source, adversarial),
        _other_parts(workspace, example, source, adversarial),
        _shifts(source, adversarial),
        _other_sources(workspace, example, adversarial),
    )
    for tried in ways:
        edges, text = max(tried, default=(0.0, ""))
        if edges >= IN_PLACE:
            return Remedy(f"{text}. Then {edges:.0%} of the source's edges are in place.")
    images = len(workspace.images)
    if images > SOURCES:
        return Remedy(
            f"Put the right files into examples.csv. As its source only the first {SOURCES} of the {images} images in "
            "images.csv were tried."
        )
    return Remedy("")


def _turns(source: np.ndarray, adversarial: np.ndarray) -> Iterator[tuple[float, str]]:
    """The adversarial mirrored and turned, where that keeps its shape."""
    turns = {
        "mirrored": adversarial[:, ::-1],
        "upside down": adversarial[::-1],
        "turned by 180 degrees": adversarial[::-1, ::-1],
        "transposed": adversarial.transpose(1, 0, 2),
        "turned by 90 degrees to the left": np.rot90(adversarial, -1),
        "turned by 90 degrees to the right": np.rot90(adversarial, 1),
        "transposed along the other diagonal": np.rot90(adversarial, 2).transpose(1, 0, 2),
    }
    for name, back in turns.items():
        if back.shape == source.shape:
            yield edges_kept(source, back), f"The adversarial is {name}: turn it back"


def _other_parts(
    workspace: Workspace, example: Example, source: np.ndarray, adversarial: np.ndarray
) -> Iterator[tuple[float, str]]:
    """The centre of either image, beside the whole of the other, read in every way."""
    for of_source in (True, False):
        one, other = ("adversarial", "source") if of_source else ("source", "adversarial")
        path = workspace.path(example.source if of_source else example.adversarial)
        for fit in FITS:
            whole = read_image(path, replace(workspace.settings.preprocessing, fit=fit, resize_size=None))
            for share in SHARES:
                part = "the whole" if share == 1 else f"the centre, about {share:.0%} of each side,"
                shown = _centre(whole, share)
                edges = edges_kept(shown, adversarial) if of_source else edges_kept(source, shown)
                yield (
                    edges,
                    f"The {one} fits {part} of the {other}, scaled as fit = {fit!r} does: save one as the other is, or "
                    "say in workspace.toml how images are read",
                )


def _shifts(source: np.ndarray, adversarial: np.ndarray) -> Iterator[tuple[float, str]]:
    """The adversarial moved to where the two images' phases agree best (Kuglin and Hines, 1975)."""
    first, second = (np.fft.rfft2(image.mean(-1)) for image in (source, adversarial))
    product = first * second.conj()
    agreement = np.fft.irfft2(product / np.maximum(np.abs(product), 1e-9), source.shape[:2])
    best = np.unravel_index(int(agreement.argmax()), agreement.shape)
    down, right = ((int(i) + n // 2) % n - n // 2 for i, n in zip(best, agreement.shape, strict=True))
    if (down, right) != (0, 0):
        edges = edges_kept(source, np.roll(adversarial, (down, right), (0, 1)))
        yield edges, f"The adversarial is moved by {-down} rows and {-right} columns: move it back"


def _other_sources(workspace: Workspace, example: Example, adversarial: np.ndarray) -> Iterator[tuple[float, str]]:
    """Other normal images of the workspace."""
    for entry in workspace.images[:SOURCES]:
        if entry.file != example.source:
            (source,) = workspace.read([entry.file])
            yield edges_kept(source, adversarial), f"The adversarial fits {entry.file}: make that its source"


def _centre(image: np.ndarray, share: float) -> np.ndarray:
    """The centre of an image (H, W, C), which holds that share of each side, as large as the whole."""
    height, width, _ = image.shape
    down, right = height * (1 - share) / 2, width * (1 - share) / 2
    box = (right, down, width - right, height - down)
    bands = (Image.fromarray(np.ascontiguousarray(image[..., i])) for i in range(image.shape[2]))
    size, by = (width, height), Image.Resampling.BILINEAR
    return np.stack([np.asarray(band.resize(size, by, box)) for band in bands], axis=2)
