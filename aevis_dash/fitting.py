"""How an image is brought to the model's input size: to the pixel as torchvision's and timm's transforms do it."""

import numpy as np
from PIL import Image

from aevis_dash.domain import Preprocessing


def fit(image: Image.Image, wanted: Preprocessing) -> Image.Image:
    """A coloured or grey image at the model's input size, where that has as many channels. An image that has that size
    already is returned as it is."""
    border = wanted.border if wanted.channels > 1 else wanted.border[0]
    return _fit(image, wanted, Image.Resampling[wanted.interpolation.upper()], border)


def fit_bands(bands: np.ndarray, wanted: Preprocessing) -> np.ndarray:
    """An 8-bit image (H, W, C) of any number of channels at the model's input size; each channel is fitted as `fit`
    does with a grey image."""
    by = Image.Resampling[wanted.interpolation.upper()]
    pictures = (Image.fromarray(np.ascontiguousarray(bands[..., i])) for i in range(bands.shape[2]))
    fitted = (_fit(picture, wanted, by, border) for picture, border in zip(pictures, wanted.border, strict=True))
    return np.stack([np.asarray(picture) for picture in fitted], axis=2)


def fit_mask(mask: Image.Image, wanted: Preprocessing) -> Image.Image:
    """A mask of part numbers (mode L), fitted as its image is. Numbers are never mixed, and borders are 0."""
    return _fit(mask, wanted, Image.Resampling.NEAREST, 0)


def scaled_size(size: tuple[int, int], wanted: Preprocessing) -> tuple[int, int]:
    """The (width, height) that an image is scaled to, before its centre is kept.

    With "crop" and a square `resize_size` it follows torchvision, which rounds the longer side down. In all other cases
    it follows timm.

    Args:
        size: the (width, height) of the image, in pixels.
        wanted: the preprocessing.
    """
    (width, height), (to_height, to_width) = size, wanted.scaled_to
    if wanted.fit == "squeeze":
        return to_width, to_height
    if wanted.fit == "crop" and to_width == to_height:
        shorter = to_width
        return (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
    ratio = (min if wanted.fit == "crop" else max)(height / to_height, width / to_width)
    return max(round(width / ratio), 1), max(round(height / ratio), 1)


def _fit(
    image: Image.Image, wanted: Preprocessing, resampling: Image.Resampling, border: int | tuple[int, ...]
) -> Image.Image:
    height, width = wanted.input_size
    if image.size == (width, height):
        return image
    scaled = image.resize(scaled_size(image.size, wanted), resampling)
    found = Image.new(image.mode, (width, height), border)
    found.paste(scaled, (_place(scaled.width, width), _place(scaled.height, height)))
    return found


def _place(length: int, kept: int) -> int:
    """Where a side begins along the side that is kept; negative where it is longer. Both libraries round in this
    way."""
    return (kept - length) // 2 if length < kept else -round((length - kept) / 2)
