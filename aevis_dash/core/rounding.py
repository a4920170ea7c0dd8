"""Rounding attacked images to 8 bits so that they stay within the ball around their sources."""

import math

import torch
from torch import Tensor

from aevis_dash.config import L2, AttackParameters


def rounded(pixels: Tensor, x: Tensor, parameters: AttackParameters, levels: Tensor | None = None) -> Tensor:
    """Round attacked images to 8 bits, by `quantise` in an l_inf ball and by `quantise_l2` in an L2 ball.

    Args:
        pixels: attacked images, from 0 to 1, (B, C, H, W).
        x: their sources, 8-bit values divided by 255, (B, C, H, W).
        parameters: norm and epsilon of the attack.
        levels: the thresholds of `quantise`, in grey levels, (B, C, H, W).

    Returns:
        Grey levels from 0 to 255, uint8 (B, C, H, W).
    """
    if parameters.norm == L2:
        return quantise_l2(pixels, x, parameters.epsilon)
    return quantise(pixels, x, parameters.epsilon, levels)


def quantise(pixels: Tensor, x: Tensor, epsilon: float, levels: Tensor | None = None) -> Tensor:
    """Find the 8-bit images that are nearest to some attacked ones and still within `epsilon` of their sources.

    An 8-bit image cannot carry an epsilon below 1, and to the nearest level it would be all or nothing. There the
    change of each value is rounded at random instead (stochastic rounding): a value that was changed by c levels is
    stored one level off its source, on that side, where |c| is at least its threshold, which is uniform from 0 to 1.
    So it moves with the chance |c|, the mean of the stored change is that of the attack, and at most about the share
    epsilon of the values moves. The stored change is 1 grey level all the same (`AttackParameters.bound`), and it is
    never told to be less.

    Args:
        pixels: attacked images, from 0 to 1, (B, C, H, W).
        x: their sources, 8-bit values divided by 255, (B, C, H, W).
        epsilon: the largest change allowed, in grey levels of 255.
        levels: the thresholds, in grey levels, (B, C, H, W); used where epsilon is below 1, and needed there.

    Returns:
        Grey levels from 0 to 255, uint8 (B, C, H, W).

    Raises:
        ValueError: epsilon is below 1 and there are no thresholds.
    """
    source, reach = (x * 255).round(), math.floor(epsilon)
    if epsilon >= 1:
        near = (pixels * 255).round().clamp(source - reach, source + reach)
    elif levels is None:
        raise ValueError(f"an epsilon of {epsilon:g} is rounded by thresholds, and none are given")
    else:
        change = pixels * 255 - source
        near = source + torch.where(change.abs() >= levels.clamp_min(_NOTHING), change.sign(), 0.0)
    return near.clamp(0, 255).to(torch.uint8)


_NOTHING = 1e-3
"""The change in grey levels below which a value counts as unchanged, above the rounding error of 32-bit numbers."""


def quantise_l2(pixels: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """Find 8-bit images near some attacked ones that are still within an L2 ball around their sources.

    To the nearest level an L2 attack on a large image would vanish, because it changes each value by less than half a
    level. So each change is first shortened to whole levels. Then values move one level further, those with the largest
    remainder first, until the next one would make the change longer than the attack's own was before rounding. (It may
    come out longer by up to 0.05 % of that, which covers the rounding error of 32-bit numbers, but never than epsilon.)

    Args:
        pixels: attacked images, from 0 to 1, (B, C, H, W).
        x: their sources, 8-bit values divided by 255, (B, C, H, W).
        epsilon: the largest L2 norm of the change, for pixels from 0 to 1.

    Returns:
        Grey levels from 0 to 255, uint8 (B, C, H, W).
    """
    source = (x.cpu().double() * 255).round()  # on the CPU, because not every device has 64 bits
    change = (pixels.cpu().double() * 255 - source).flatten(1)
    size = torch.where(change.abs() < _NOTHING, 0.0, change.abs())
    whole = size.floor()
    most = (size.square().sum(1) * 1.001).clamp_max((255 * epsilon) ** 2 + 1e-6)
    left = most - whole.square().sum(1)
    remainder, order = (size - whole).sort(dim=1, descending=True, stable=True)
    cost = torch.where(remainder > 0, 2 * whole.gather(1, order) + 1, math.inf)
    further = (cost.cumsum(1) <= left[:, None]).double()
    moved = (whole + torch.zeros_like(whole).scatter(1, order, further)) * change.sign()
    return (source + moved.reshape(source.shape)).clamp(0, 255).to(torch.uint8).to(x.device)
