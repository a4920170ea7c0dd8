"""What is true of a feature map because every part is known per pixel: which parts it detects."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from aevis_dash.world.draw import PARTS, SIZE, Drawing

_MAPS = 32
"""Maps that are compared with the parts at once, to bound the memory."""


def part_numbers(drawings: Sequence[Drawing]) -> np.ndarray:
    """(B, SIZE, SIZE) the number of the part at each pixel, counted from 1 as in PARTS; 0 where there is none."""
    numbers = np.zeros((len(drawings), SIZE, SIZE), np.int64)
    for image, drawing in zip(numbers, drawings, strict=True):
        for part, visible in drawing.parts.items():
            image[visible] = PARTS.index(part) + 1
    return numbers


def overlap(activations: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """How well each map detects each part: (n, P) intersection over union, in [0, 1], over all pixels of all images.

    As in network dissection (Bau et al., CVPR 2017) a map's activations (B, n, h, w) are upsampled to the images and
    cut at a high quantile of its own. Theirs is 0.5 % for every concept; here parts cover from 0.07 % to 5.5 % of the
    pixels, so the quantile is the share of pixels that the part has: a perfect detector reaches 1 for every part,
    and a map that fires anywhere at random s / (2 - s) for a part of share s. A map counts as firing above 0 only.
    `numbers` (B, H, W) as `part_numbers` gives them; 0 for parts that do not occur.
    """
    where = torch.from_numpy(numbers).flatten()
    sizes = torch.bincount(where, minlength=len(PARTS) + 1)[1:]
    chunks = torch.from_numpy(activations).split(_MAPS, dim=1)
    return torch.cat([_overlap(some, where, sizes, numbers.shape[1:]) for some in chunks]).numpy()


def _overlap(activations: Tensor, where: Tensor, sizes: Tensor, extent: tuple[int, ...]) -> Tensor:
    fine = functional.interpolate(activations, size=extent, mode="bilinear", align_corners=False)
    strongest = fine.transpose(0, 1).flatten(1).topk(int(sizes.max()), dim=1)
    fires = strongest.values > 0
    found = where[strongest.indices] * fires
    chosen = torch.minimum(sizes, fires.sum(1, keepdim=True))
    hits = [(found[:, :size] == number).sum(1) for number, size in enumerate(sizes.tolist(), 1)]
    both = torch.stack(hits, dim=1)
    return both / (sizes + chosen - both).clamp_min(1)
