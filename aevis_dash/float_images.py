"""Images that are kept as floats, because rounding them to 8 bits would undo their attack.

Such an image is a file of numpy that holds float32 pixels from 0 to 1, as large as the model's input. Read, it has grey
levels from 0 to 255 as other images have, but not only whole ones.
"""

import io
from pathlib import Path

import numpy as np

from aevis_dash.domain import AevisError

SUFFIX = ".float.npy"
"""How the name of such a file ends."""


def float_bytes(pixels: np.ndarray) -> bytes:
    """The bytes of the file that holds these pixels from 0 to 1, float32 (H, W, C)."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(pixels, np.float32), allow_pickle=False)
    return file.getvalue()


def decode_floats(data: bytes, path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The grey levels from 0 to 255 that the bytes of such a file hold, float64 (H, W, C), so that dividing them by 255
    gives the pixels again.

    Args:
        data: the bytes of the file.
        path: the file, for error messages.
        shape: the (height, width, channels) of the model's input.

    Raises:
        AevisError: for what is no array of floats from 0 to 1 of this size.
    """
    try:
        pixels = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # on damaged files numpy raises ValueError, EOFError, SyntaxError and others
        raise AevisError(f"The image {path} cannot be read ({error}). Save or copy it again.") from error
    wanted = f"float32 pixels from 0 to 1, {shape[0]} x {shape[1]} x {shape[2]}"
    if not isinstance(pixels, np.ndarray) or pixels.dtype.kind != "f" or pixels.shape != shape:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else "several arrays"
        raise AevisError(f"The image {path} holds {found}, and not {wanted}. Save it so, or as a PNG.")
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise AevisError(f"The image {path} holds values outside of 0 to 1, or NaN. Save it as {wanted}.")
    return pixels.astype(np.float64) * 255


def eight_bit(images: np.ndarray) -> np.ndarray:
    """Images (..., H, W, C) with grey levels from 0 to 255 as 8-bit images, for looking at; those that are so already
    stay."""
    return images if images.dtype == np.uint8 else np.rint(images).clip(0, 255).astype(np.uint8)
