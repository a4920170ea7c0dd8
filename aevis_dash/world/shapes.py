"""Shape primitives: a posed, supersampled pen that keeps, beside the colours, which part each pixel shows.

Objects are drawn in object coordinates: x to the right, y downwards, the object filling about [-1, 1].
"""

import colorsys
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE: Final = 64
"""Side of a drawing in pixels."""
SUPERSAMPLING: Final = 4
"""Subpixels along each side of a pixel."""

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""
Points = Sequence[tuple[float, float]] | NDArray[np.float64]
"""Vertices, shape (n, 2), in object coordinates."""

_TURN = np.linspace(0, 2 * math.pi, 28, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_TURN), np.sin(_TURN)])
_FINE = SIZE * SUPERSAMPLING


def vary(rng: Generator, colour: Colour, spread: float = 0.06) -> Colour:
    """The colour with each channel moved by at most `spread`, clipped to [0, 1]."""
    red, green, blue = np.clip(np.array(colour) + rng.uniform(-spread, spread, 3), 0, 1).tolist()
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or lighter (above 1)."""
    red, green, blue = (min(1.0, channel * factor) for channel in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """The colour `weight` of the way from the first to the second."""
    red, green, blue = (a + weight * (b - a) for a, b in zip(first, second, strict=True))
    return red, green, blue


def any_hue(rng: Generator, saturation: float, value: float) -> Colour:
    """A colour of random hue with the given saturation and value."""
    return colorsys.hsv_to_rgb(rng.uniform(), saturation, value)


def arc(x: float, y: float, radius: float, start: float, stop: float, count: int = 14) -> NDArray[np.float64]:
    """Points (count, 2) on a circle about (x, y) from angle `start` to `stop` in radians, clockwise."""
    angle = np.linspace(start, stop, count)
    return np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])


def curve(*controls: tuple[float, float], count: int = 12) -> NDArray[np.float64]:
    """Points (count, 2) on the Bezier curve of the given control points."""
    t = np.linspace(0, 1, count)[:, None]
    layers = [np.broadcast_to(np.array(point, dtype=float), (count, 2)) for point in controls]
    while len(layers) > 1:
        layers = [(1 - t) * a + t * b for a, b in itertools.pairwise(layers)]
    return np.array(layers[0])


@dataclass(frozen=True)
class Pose:
    """Where an object stands: subpixel position = points @ matrix.T + offset."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def sample(cls, rng: Generator, *, tilt: float = 0.3) -> Self:
        """A random pose: rotation within `tilt` radians, mirrored or not, scaled and moved within view."""
        angle = rng.uniform(-tilt, tilt)
        scale = rng.uniform(0.66, 0.92)
        side = rng.choice((-1.0, 1.0))
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = np.array([[cos * side, -sin], [sin * side, cos]]) * scale * _FINE / 2
        reach = 1.03 - scale
        return cls(matrix, _FINE / 2 * (1 + rng.uniform(-reach, reach, 2)))


class Pen:
    """Draws opaque shapes of named parts; a later shape hides what lies beneath it."""

    def __init__(self, pose: Pose) -> None:
        self._pose = pose
        self._map = Image.new("L", (_FINE, _FINE))
        self._draw = ImageDraw.Draw(self._map)
        self._inks: dict[tuple[str, Colour], int] = {}

    def polygon(self, part: str, colour: Colour, points: Points) -> None:
        """Fill a polygon (even-odd rule)."""
        ink = self._inks.setdefault((part, colour), len(self._inks) + 1)
        placed = np.asarray(points, dtype=float) @ self._pose.matrix.T + self._pose.offset
        self._draw.polygon(placed.ravel().tolist(), fill=ink)

    def blob(self, part: str, colour: Colour, x: float, y: float, rx: float, ry: float = 0, tilt: float = 0) -> None:
        """Fill an ellipse about (x, y), tilted by radians; a circle when `ry` is 0."""
        across = _CIRCLE * (rx, ry or rx)
        cos, sin = math.cos(tilt), math.sin(tilt)
        self.polygon(part, colour, across @ np.array([[cos, sin], [-sin, cos]]) + (x, y))

    def ring(self, part: str, colour: Colour, x: float, y: float, rx: float, ry: float, width: float) -> None:
        """Fill the band of the given width inside the upright ellipse about (x, y); its hole stays open."""
        closed = np.vstack([_CIRCLE, _CIRCLE[:1]])
        outer, inner = closed * (rx, ry), closed[::-1] * (rx - width, ry - width)
        self.polygon(part, colour, np.add(np.vstack([outer, inner]), (x, y)))

    def stroke(self, part: str, colour: Colour, points: Points, width: float) -> None:
        """Draw a line of the given width through the points."""
        path = np.asarray(points, dtype=float)
        along = np.gradient(path, axis=0)
        normal = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True)
        left, right = path + normal * width / 2, path - normal * width / 2
        self.polygon(part, colour, np.vstack([left, right[::-1]]))

    def picture(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Colour times coverage (SIZE, SIZE, 3) and coverage (SIZE, SIZE, 1), both float32 in [0, 1]."""
        palette = [round(255 * channel) for _, colour in self._inks for channel in colour]
        painted = self._map.copy()
        painted.putpalette([0, 0, 0, *palette])
        coverage = self._map.point([0] + [255] * 255)
        colour, cover = (image.reduce(SUPERSAMPLING) for image in (painted.convert("RGB"), coverage))
        return _unit(colour), _unit(cover)[..., None]

    def parts(self) -> dict[str, NDArray[np.bool_]]:
        """The visible pixels of each part, (SIZE, SIZE) each: those where it has the most subpixels."""
        names = list(dict.fromkeys(part for part, _ in self._inks))
        table = [0, *(names.index(part) + 1 for part, _ in self._inks)]
        fine = np.array(table)[np.asarray(self._map)]
        cells = fine.reshape(SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING).swapaxes(1, 2).reshape(SIZE * SIZE, -1)
        keys = cells + np.arange(SIZE * SIZE)[:, None] * (len(names) + 1)
        votes = np.bincount(keys.ravel(), minlength=SIZE * SIZE * (len(names) + 1))
        winner = votes.reshape(SIZE, SIZE, -1).argmax(axis=-1)
        masks = {name: winner == index for index, name in enumerate(names, start=1)}
        return {name: mask for name, mask in masks.items() if mask.any()}


def _unit(image: Image.Image) -> NDArray[np.float32]:
    return (np.asarray(image, np.float32) / 255).astype(np.float32)
