"""Figures as plotly.js reads them, for those figures that are drawn at every click."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Drawing = dict[str, Any]
"""A figure's `data` and `layout`. Checking them as a go.Figure takes up to 0.2 s, so only the tests do that."""
MANY = 50_000
"""The count of a figure's numbers up to which they travel as floats. More numbers travel as whole numbers of 16
bits."""
_LEVELS = 65535


def typed_array(values: np.ndarray, dtype: str = "f4") -> dict[str, str]:
    """A grid (H, W) as plotly.js takes arrays of bytes: 4-byte floats, or numbers of another `dtype`."""
    grid = np.ascontiguousarray(values, f"<{dtype}")
    shape = ", ".join(str(n) for n in grid.shape)
    return {"dtype": dtype, "bdata": base64.b64encode(grid.tobytes()).decode(), "shape": shape}


@dataclass(frozen=True)
class Coding:
    """How a value is drawn: as it is, or with a step as the whole number of steps that it lies above the base."""

    base: float = 0.0
    step: float = 0.0

    def of(self, value: float) -> float:
        """The number that is drawn for a value."""
        return (value - self.base) / self.step if self.step else value

    def encode(self, values: np.ndarray) -> dict[str, str]:
        """A grid (H, W) as it is sent; assets/neuron.js decodes it in the browser."""
        return typed_array(np.rint((values - self.base) / self.step), "u2") if self.step else typed_array(values)


def coding(grids: Sequence[np.ndarray]) -> Coding:
    """How grids travel: as they are, or with more than MANY finite numbers in steps, at most half a step off."""
    if sum(grid.size for grid in grids) <= MANY or not all(np.isfinite(grid).all() for grid in grids):
        return Coding()
    least, most = float(min(grid.min() for grid in grids)), float(max(grid.max() for grid in grids))
    return Coding(least, (most - least) / _LEVELS)


def ticks(least: float, most: float, wanted: int = 5) -> list[float]:
    """About `wanted` round numbers from `least` to `most`, which are 1, 2 or 5 times a power of ten apart, 0 among
    them."""
    rough = (most - least) / wanted
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(nice for nice in (1, 2, 5, 10) if nice * power >= rough * (1 - 1e-9))
    first, last = np.ceil(least / step - 1e-9), np.floor(most / step + 1e-9)
    return [float(f"{n * step:.12g}") + 0.0 for n in np.arange(first, last + 1)]  # no -0
