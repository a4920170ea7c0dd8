"""Network dissection tells which part of the pictures each map detects (Bau et al., CVPR 2017).

A map's activations are upsampled to the picture and cut at a high quantile of their own. How well the map detects a
part is the intersection over union of the pixels above the cut with the part's pixels, over all pictures. The paper
keeps the highest 0.5 % of the pixels for every part. Here as large a share of a map's pixels is kept as the part has,
so that a perfect detector reaches 1 for large parts and small ones. A map that fires anywhere at random reaches s / (2
- s) for a part of share s.

One run over the pictures is enough: for every map and part the pixels are counted by how strongly the map fires there,
which gives the quantiles and the intersections afterwards. So the memory does not grow with the number of pictures.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from aevis_dash.core.classifier import Classifier

GRID = 64
"""The most pixels along a side of the grid on which maps and parts are compared."""
BINS = 256
"""The number of steps between 0 and a map's largest activation; within a step the pixels count as evenly spread."""
_MAPS = 64
"""The number of maps that are upsampled at once, which bounds the memory."""


class Dissection:
    """Counts where maps fire while pictures are shown to it.

    Args:
        maxima: the largest activation of each map on all the pictures that will be shown, (n,).
        parts: P, the number of parts.
    """

    def __init__(self, classifier: Classifier, maxima: np.ndarray, parts: int):
        self._classifier, self._parts = classifier, parts
        height, width = classifier.preprocessing.input_size
        self._grid = (min(height, GRID), min(width, GRID))
        self._maxima = [torch.tensor(np.asarray(m, np.float32)) for m in classifier.layers.parts(maxima)]
        self._counts = [torch.zeros(len(m), parts + 1, BINS, dtype=torch.int64) for m in self._maxima]
        self._sizes = torch.zeros(parts, dtype=torch.int64)

    def see(self, images: np.ndarray, numbers: np.ndarray) -> None:
        """Take in some pictures. Maps of layers that do not lie on the image detect no part.

        Args:
            images: 8-bit images, (B, H, W, C).
            numbers: the number of the part at each pixel, from 1 to P, and 0 for no part, (B, H, W).
        """
        where = functional.interpolate(torch.from_numpy(numbers.astype(np.float32))[:, None], self._grid)[:, 0].long()
        self._sizes += torch.bincount(where.flatten(), minlength=self._parts + 1)[1:]

        def look(layer: int, value: Tensor) -> Tensor:
            shape = self._classifier.layers.layers[layer]
            if not shape.on_image:
                return value
            at_places = value.reshape(len(value), shape.channels, -1)[:, :, shape.special :].cpu()
            grids = at_places.reshape(len(value), shape.channels, -1, shape.width)
            for first in range(0, shape.channels, _MAPS):
                self._count(layer, first, grids[:, first : first + _MAPS], where)
            return value

        with torch.no_grad():
            self._classifier.network.run_watched(self._classifier.inputs(images), look)

    def overlaps(self) -> np.ndarray:
        """Give the intersection over union of every map with every part.

        Returns:
            Numbers from 0 to 1, (n, P); 0 for parts that were not seen.
        """
        return np.concatenate([_overlaps(counts, self._sizes).numpy() for counts in self._counts])

    def _count(self, layer: int, first: int, grids: Tensor, where: Tensor) -> None:
        fine = functional.interpolate(grids, size=self._grid, mode="bilinear", align_corners=False)
        most = self._maxima[layer][first : first + _MAPS].clamp_min(1e-30)
        steps = (fine * (BINS / most)[:, None, None]).ceil_().clamp_(0, BINS).to(torch.int32)
        rows = torch.arange(len(most), dtype=torch.int32)[:, None, None] * (self._parts + 1)
        places = (rows + where[:, None].to(torch.int32)) * (BINS + 1) + steps
        found = torch.bincount(places.flatten(), minlength=len(most) * (self._parts + 1) * (BINS + 1))
        self._counts[layer][first : first + _MAPS] += found.reshape(len(most), self._parts + 1, BINS + 1)[..., 1:]


def _overlaps(counts: Tensor, sizes: Tensor) -> Tensor:
    """Give the overlaps (n, P) from the pixels of every map and part by strength (n, P + 1, BINS), those of no part
    first.
    """
    inside = functional.pad(counts.flip(2).cumsum(2), (1, 0)).double()  # The strongest steps come first.
    fires = inside.sum(1)
    chosen = torch.minimum(sizes, fires[:, -1:])
    step = torch.searchsorted(fires, chosen.contiguous()).clamp(1, BINS)
    before, after = fires.gather(1, step - 1), fires.gather(1, step)
    of_part = inside[:, 1:]
    low, high = (of_part.gather(2, at[..., None])[..., 0] for at in (step - 1, step))
    both = low + (high - low) * (chosen - before) / (after - before).clamp_min(1)
    return (both / (sizes + chosen - both).clamp_min(1)).float()
