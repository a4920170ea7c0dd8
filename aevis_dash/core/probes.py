"""Made-up pictures on which a model is tried where no image of the user's is at hand."""

import numpy as np

_CELLS = (2, 5, 13)
"""The number of squares in a row of each picture: the first is coarse, and the other two are finer."""
_NOISE = 20
"""The most grey levels by which noise moves a pixel."""


def probe_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Make three pictures of coloured squares with a little noise, which are always the same.

    Args:
        shape: the (channels, height, width) of the pictures.

    Returns:
        8-bit images, (3, H, W, C).
    """
    rng = np.random.default_rng(0)
    return np.stack([_squares(rng, shape, cells) for cells in _CELLS])


def _squares(rng: np.random.Generator, shape: tuple[int, int, int], cells: int) -> np.ndarray:
    channels, height, width = shape
    colours = rng.integers(_NOISE, 256 - _NOISE, (cells, cells, channels))
    rows, columns = (np.arange(extent) * cells // extent for extent in (height, width))
    squares = colours[rows[:, None], columns[None, :]]
    return (squares + rng.integers(-_NOISE, _NOISE + 1, squares.shape)).astype(np.uint8)
