"""A batch of images in one array: which axis holds the channels, and which values are black and white.

What can be read in two ways is refused and never guessed, because a batch that is read wrongly still gives predictions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aevis_dash.core.array_files import choose_array, in_words, read_arrays
from aevis_dash.domain import AevisError
from aevis_dash.images import SMALLEST

LAYOUTS = ("NHWC", "NCHW")
"""The orders of a batch's axes: images, height, width and channels, or images, channels, height and width."""
_STEP = 64
"""The number of images that are looked at together."""
_SLIP = 1e-4
"""By how much of its range a value may lie outside, because of the rounding of a computation; it is cut off."""
_DARK = 16.0
"""Up to which largest value a batch is not taken for grey levels of 255, as all its images would be nearly black."""


@dataclass(frozen=True)
class ArrayReading:
    """How the user says that an array is to be read; None where the array itself tells.

    Attributes:
        key: the array's name in its file.
        layout: one of LAYOUTS.
        span: the values of black and of white.
    """

    key: str | None = None
    layout: str | None = None
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class ImageBatch:
    """Images of one array.

    Attributes:
        name: the array in words, for messages.
        array: its values, (N, H, W, C).
        span: the values of black and of white.
        words: says how the array was read.
        channels: the number of channels of the model's input. It is C, or 3 for grey images.
    """

    name: str
    array: np.ndarray
    span: tuple[float, float]
    words: str
    channels: int = 3

    def __len__(self) -> int:
        return len(self.array)

    @property
    def size(self) -> tuple[int, int]:
        """The height and the width of the images."""
        return self.array.shape[1], self.array.shape[2]

    @property
    def is_rounded(self) -> bool:
        """Whether the array holds whole numbers, so that nothing is rounded when its images are stored."""
        return self.array.dtype.kind in "iu"

    def pixels(self, first: int, last: int) -> np.ndarray:
        """The images from `first` up to `last` as given, float32 (B, H, W, C) from 0 to 1; grey ones in three equal
        channels where the model's input has three."""
        low, high = self.span
        part = (self.array[first:last].astype(np.float64) - low) / (high - low)
        return np.repeat(part, self.channels // part.shape[3], axis=3).clip(0, 1).astype(np.float32)

    def images(self, first: int, last: int) -> np.ndarray:
        """The same images as they are stored, uint8 (B, H, W, C)."""
        return np.rint(self.pixels(first, last) * 255).astype(np.uint8)


def read_batch(path: Path, what: str, reading: ArrayReading, channels: int = 3) -> ImageBatch:
    """Read a batch of images from a file of arrays.

    Args:
        path: the file, of numpy, torch or safetensors.
        what: what the images are, `array_files.ADVERSARIALS` or `SOURCES`.
        reading: what the user says of the array.
        channels: the number of channels of the model's input.

    Raises:
        AevisError: where the file or the array cannot be read, holds values that are no numbers, or can be read in two
            ways.
    """
    arrays = read_arrays(path)
    key = choose_array(path, arrays, what, reading.key)
    return as_batch(arrays[key], in_words(path, key), reading, channels)


def as_batch(array: np.ndarray, name: str, reading: ArrayReading, channels: int = 3) -> ImageBatch:
    """Take an array (N, H, W, C), (N, C, H, W) or, of grey images, (N, H, W) as a batch of images.

    Args:
        array: the array.
        name: the array in words, for messages.
        reading: what the user says of it.
        channels: the number of channels of the model's input.

    Raises:
        AevisError: as `read_batch`.
    """
    if array.dtype.kind not in "iuf":
        raise AevisError(f"{name} holds values of type {array.dtype}, which are no pixels. Save them as float32.")
    possible = (1, 3) if channels == 3 else (channels,)
    flat = array.ndim == 3 and 1 in possible and reading.layout is None
    if flat and array.shape[2] in (1, 3):
        raise AevisError(
            f"{name} has the shape {_shape(array)}, which looks like a single image. Save a batch, with the images "
            "along the first axis."
        )
    taken = array[..., None] if flat else array
    layout = "NHWC" if flat else reading.layout or _layout(taken, name, possible)
    found = taken.shape[-1 if layout == "NHWC" else 1] if taken.ndim == 4 else 0
    if found not in possible:
        raise AevisError(f"{name} has the shape {_shape(array)}, which is no {layout} of {_or(possible)}.")
    ordered = taken if layout == "NHWC" else np.moveaxis(taken, 1, -1)
    if not len(ordered):
        raise AevisError(f"{name} holds no image: its shape is {_shape(array)}.")
    if min(ordered.shape[1:3]) < SMALLEST:
        raise AevisError(
            f"The images of {name} have {ordered.shape[1]} x {ordered.shape[2]} pixels; under {SMALLEST} on a side "
            "nothing is seen."
        )
    least, most = _extremes(ordered, name)
    span = reading.span or _span(ordered.dtype, least, most, name)
    _refuse_outside(span, least, most, name)
    words = f"{name}: {len(ordered)} images, read as " + " x ".join(
        str(found) if axis == "C" else axis for axis in (layout[:-1] if flat else layout)
    )
    return ImageBatch(name, ordered, span, f"{words}, {array.dtype.name}, {span[0]:g} to {span[1]:g}", channels)


def _layout(array: np.ndarray, name: str, channels: tuple[int, ...]) -> str:
    """The order of a batch's axes, where only one of them can hold channels."""
    if array.ndim == 4:
        possible = [layout for layout in LAYOUTS if array.shape[-1 if layout == "NHWC" else 1] in channels]
        if len(possible) == 1:
            return possible[0]
        if possible:
            raise AevisError(
                f"{name} has the shape {_shape(array)}, where the second axis or the last may hold the channels. Say "
                "--layout NHWC or --layout NCHW."
            )
    raise AevisError(
        f"{name} has the shape {_shape(array)}. A batch of images has four axes, N x H x W x C or N x C x H x W, with "
        f"{_or(channels)}."
    )


def _or(channels: tuple[int, ...]) -> str:
    return f"{' or '.join(map(str, channels))} channel{'s' if channels[-1] > 1 else ''}"


def _extremes(ordered: np.ndarray, name: str) -> tuple[float, float]:
    """The least and the largest value of images (N, H, W, C). What is no number, or a mix of two ranges, is refused."""
    lows, highs = [], []
    for first in range(0, len(ordered), _STEP):
        flat = np.asarray(ordered[first : first + _STEP]).reshape(len(ordered[first : first + _STEP]), -1)
        lows.append(flat.min(1).astype(np.float64))
        highs.append(flat.max(1).astype(np.float64))
    low, high = np.concatenate(lows), np.concatenate(highs)
    bad = ~(np.isfinite(low) & np.isfinite(high))
    if bad.any():
        raise AevisError(
            f"{name} holds NaN or infinite values in {bad.sum()} of its {len(low)} images, first in image "
            f"{int(bad.argmax())}, counted from 0. Leave those out."
        )
    mixed = (high > 0) & (high <= 1) & (high.max() > _DARK)
    if mixed.any() and ordered.dtype.kind == "f":
        raise AevisError(
            f"{name} mixes two ranges: the largest value of image {int(mixed.argmax())}, counted from 0, is "
            f"{high[mixed.argmax()]:g}, and another image's is {high.max():g}. Save all of them in one range."
        )
    return float(low.min()), float(high.max())


def _span(dtype: np.dtype, least: float, most: float, name: str) -> tuple[float, float]:
    """The values of black and white that a batch has by its type and extremes; what can be doubted is refused."""
    seen = f"{name} holds values from {least:g} to {most:g} ({dtype})"
    ask = "Say what black and white are, such as --array-range 0,1 or --array-range 0,255."
    if dtype.kind in "iu":
        if least >= 0 and 1 < most <= 255:
            return 0.0, 255.0
        raise AevisError(f"{seen}, which are not surely grey levels of 255. {ask}")
    if least < -_SLIP:
        raise AevisError(
            f"{seen}, so they may be normalised. Undo that before saving (x * std + mean), so that they run from 0 to "
            "1; or, where they run evenly from black to white, say so, such as --array-range=-1,1."
        )
    if 2 / 255 < most <= 1 + _SLIP:
        return 0.0, 1.0
    if _DARK < most <= 255 * (1 + _SLIP):
        return 0.0, 255.0
    raise AevisError(f"{seen}, which is neither 0 to 1 nor 0 to 255. Cut off what lies outside, or scale it. {ask}")


def _refuse_outside(span: tuple[float, float], least: float, most: float, name: str) -> None:
    low, high = span
    if not (low < high and np.isfinite(high - low)):
        raise AevisError(f"--array-range {low:g},{high:g} is no range. Give the value of black, then that of white.")
    slip = _SLIP * (high - low)
    if least < low - slip or most > high + slip:
        raise AevisError(
            f"{name} holds values from {least:g} to {most:g}, outside of the range {low:g} to {high:g}. Give the "
            "range that the values have, or cut off what lies outside."
        )


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "of a single number"
