"""Draws the images of the drawn world: one object on a smooth background, its parts known."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray
from PIL import Image

from aevis_dash.world.objects import OBJECTS, PARTS
from aevis_dash.world.shapes import SIZE, Pen, Pose

__all__ = ["CLASSES", "PARTS", "SIZE", "Drawing", "draw", "draw_set"]

CLASSES: Final[tuple[str, ...]] = tuple(OBJECTS)
"""The class names; a label is a place in this tuple."""

_SET_STRIDE: Final = 2**32
_AXIS = np.linspace(-1, 1, SIZE, dtype=np.float32)


@dataclass(frozen=True)
class Drawing:
    """One image with the truth about it.

    `image` is uint8 of shape (SIZE, SIZE, 3), `label` a place in CLASSES, and `parts` holds for each part
    name the pixels where that part is seen, bool of shape (SIZE, SIZE). No two parts share a pixel and
    none is empty.
    """

    image: NDArray[np.uint8]
    label: int
    parts: dict[str, NDArray[np.bool_]]


def draw(label: int, seed: int) -> Drawing:
    """The drawing of class `label` that belongs to `seed` (0 or above); the same pair gives the same drawing.

    Raises:
        ValueError: the label is no place in CLASSES, or the seed is negative.
    """
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label must lie in 0..{len(CLASSES) - 1}, got {label}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or above, got {seed}")
    rng = np.random.default_rng(SeedSequence((label, seed)))
    pen = Pen(Pose.sample(rng))
    OBJECTS[CLASSES[label]](pen, rng)
    return Drawing(_expose(_compose(pen, rng), rng), label, pen.parts())


def draw_set(count: int, seed: int) -> Iterator[Drawing]:
    """`count` drawings, the classes in turn; a shorter set of the same seed is the beginning of a longer one.

    Sets of different seeds have no drawing in common, nor any with `draw` at a seed below 2**32.
    """
    first = (seed + 1) * _SET_STRIDE
    return (draw(index % len(CLASSES), first + index) for index in range(count))


def _compose(pen: Pen, rng: Generator) -> NDArray[np.float32]:
    colour, coverage = pen.picture()
    return (colour + (1 - coverage) * _background(rng)).astype(np.float32)


def _background(rng: Generator) -> NDArray[np.float32]:
    """A colour gradient with low-frequency colour noise, float32 (SIZE, SIZE, 3) in about [0, 1]."""
    hues = rng.uniform(0.15, 0.95, (2, 3)).astype(np.float32)
    here, there = hues + rng.uniform(0.2, 0.6) * (hues.mean(axis=1, keepdims=True) - hues)
    slope = (_plane(rng) / math.sqrt(2) + 1)[..., None] / 2
    coarse = rng.normal(0, rng.uniform(0.01, 0.08), (3, 5, 5)).astype(np.float32)
    layers = [Image.fromarray(layer).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for layer in coarse]
    ramp = here + (there - here) * slope
    return (ramp + np.stack([np.asarray(layer) for layer in layers], axis=-1)).astype(np.float32)


def _plane(rng: Generator) -> NDArray[np.float32]:
    """A ramp in a random direction, float32 (SIZE, SIZE), within [-sqrt 2, sqrt 2]."""
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.float32(math.cos(angle)) * _AXIS + np.float32(math.sin(angle)) * _AXIS[:, None]
    return ramp.astype(np.float32)


def _expose(scene: NDArray[np.float32], rng: Generator) -> NDArray[np.uint8]:
    """The scene under uneven light and with sensor noise, in 8 bits."""
    light = rng.uniform(0.8, 1.1) + rng.uniform(0, 0.16) * _plane(rng)
    noise = rng.standard_normal(scene.shape, dtype=np.float32) * np.float32(rng.uniform(0.004, 0.03))
    exposed = scene * light[..., None].astype(np.float32) + noise
    return np.clip(np.rint(exposed * 255), 0, 255).astype(np.uint8)
