"""Made-up pictures on which a model is tried where no image of the user's is at hand."""

import numpy as np

_CELLS = (2, 5, 13)
"""The number of squares in a row of each picture: the first is coarse, and the other two are finer."""
_NOISE = 20
"""The most grey levels by which noise moves a pixel."""


def probe_images(size: tuple[int, int]) -> np.ndarray:
    """Make three pictures of coloured squares with a little noise, which are always the same.

    Args:
        size: the (height, width) of the pictures in pixels.

    Returns:
        8-bit images, (3, H, W, 3).
    """
    rng, (height, width) = np.random.default_rng(0), size
    return np.stack([_squares(rng, height, width, cells) for cells in _CELLS])


def _squares(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    colours = rng.integers(_NOISE, 256 - _NOISE, (cells, cells, 3))
    rows, columns = (np.arange(extent) * cells // extent for extent in (height, width))
    squares = colours[rows[:, None], columns[None, :]]
    return (squares + rng.integers(-_NOISE, _NOISE + 1, squares.shape)).astype(np.uint8)
