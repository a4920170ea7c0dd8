"""The steps of the attacks in a ball around the source: where they start, how they move, and where they may not go."""

import zlib

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import L2, PGD, AttackParameters


def thresholds(image: np.ndarray, parameters: AttackParameters) -> np.ndarray:
    """Draw the changes from which on the values of an image move where epsilon is below 1 (see `quantise`).

    They are uniform from 0 to 1 and drawn once for an image, by the seed and the image's own bytes, so that a value
    that has moved stays moved while its change grows.

    Args:
        image: an 8-bit image, (H, W, C).
        parameters: the seed of the attack.

    Returns:
        Changes in grey levels, (H, W, C).
    """
    return _random(image, parameters, 1).uniform(0, 1, image.shape)


def _random(image: np.ndarray, parameters: AttackParameters, purpose: int, run: int = 0) -> np.random.Generator:
    own = [parameters.seed, zlib.crc32(np.ascontiguousarray(image).tobytes()), purpose]
    return np.random.default_rng([*own, run] if run else own)


def random_start(image: np.ndarray, parameters: AttackParameters, run: int = 0) -> np.ndarray:
    """Draw the noise from which PGD starts: uniform within the epsilon ball, by the seed and the image's own bytes.

    Args:
        image: an 8-bit image, (H, W, C).
        parameters: norm, epsilon and seed of the attack.
        run: which run it is, from 0; each restart is another one.

    Returns:
        The noise that is added to pixels from 0 to 1, (H, W, C).
    """
    draws = _random(image, parameters, 0, run)
    if parameters.norm != L2:
        return draws.uniform(-1, 1, image.shape) * parameters.epsilon / 255
    direction = draws.normal(size=image.shape)
    return direction / np.linalg.norm(direction) * parameters.epsilon * draws.uniform() ** (1 / image.size)


def momentum_step(
    x: Tensor,
    current: Tensor,
    momentum: Tensor,
    gradient: Tensor,
    parameters: AttackParameters,
    free: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do one step of MI-FGSM: g <- mu g + grad / ||grad||_1, then x <- x + alpha sign g, clipped.

    The result is clipped to the epsilon ball around the source and to pixels from 0 to 1; alpha is epsilon / steps
    unless the parameters say otherwise. An image whose gradient is zero goes on by its momentum, which decays by mu.

    Args:
        x: the sources, pixels from 0 to 1, (B, C, H, W).
        current: the attacked images so far, (B, C, H, W).
        momentum: the accumulated gradient g, (B, C, H, W).
        gradient: the gradient of the loss at `current`, (B, C, H, W).
        parameters: epsilon, step length and momentum mu of the attack.
        free: the pixels that may change, bool (B, 1, H, W); None for all. The others stay as they are, and their
            gradient counts as zero, also in the norm.

    Returns:
        The new images and the new accumulated gradient, (B, C, H, W) each.
    """
    free = torch.ones_like(gradient, dtype=torch.bool) if free is None else free
    gradient = torch.where(free, gradient, torch.zeros_like(gradient))
    norm = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
    momentum = parameters.momentum * momentum + gradient / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return _moved(x, current, momentum.sign(), parameters, free), momentum


def pgd_step(
    x: Tensor, current: Tensor, gradient: Tensor, parameters: AttackParameters, free: Tensor | None = None
) -> Tensor:
    """Do one step of PGD (Madry et al., ICLR 2018), or the one of FGSM (Goodfellow et al., ICLR 2015).

    In l_inf it is x <- x + alpha sign grad, clipped to the epsilon ball and to pixels from 0 to 1. In L2 it is
    x <- x + alpha grad / ||grad||_2, then the change is shortened to epsilon where it is longer, and the pixels are
    clipped. An image whose gradient is zero stays where it is.

    Args:
        x: the sources, pixels from 0 to 1, (B, C, H, W).
        current: the attacked images so far, (B, C, H, W).
        gradient: the gradient of the loss at `current`, (B, C, H, W).
        parameters: norm, epsilon and step length alpha of the attack.
        free: the pixels that may change, bool (B, 1, H, W); None for all. The others stay as they are.

    Returns:
        The new images, (B, C, H, W).
    """
    free = torch.ones_like(gradient, dtype=torch.bool) if free is None else free
    if parameters.norm != L2:
        return _moved(x, current, gradient.sign(), parameters, free)
    gradient = torch.where(free, gradient, torch.zeros_like(gradient))
    change = current + step_length(parameters) * gradient / _length(gradient) - x
    shortened = change * (parameters.epsilon / _length(change)).clamp_max(1)
    return torch.where(free, (x + shortened).clamp(0, 1), current)


def _length(values: Tensor) -> Tensor:
    """The L2 norm of each image's values, (B, 1, 1, 1), at least the smallest normal number.

    The values are divided by their largest one first, so that the squares of small gradients are not lost.
    """
    largest = values.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    return largest * (values / largest).square().sum(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(1)


def step_length(parameters: AttackParameters) -> float:
    """Give the length alpha of one step, for pixels from 0 to 1, in the norm of the attack.

    It is the one that the parameters name; where they name none it is epsilon / T by MI-FGSM (Dong et al.), 2.5 times
    that by PGD, so that T steps reach the edge of the ball from any start and move along it (Madry et al.), and epsilon
    by the one step of FGSM.
    """
    unit = 1 if parameters.norm == L2 else 255
    rule = parameters.epsilon / unit / parameters.steps * (2.5 if parameters.attack == PGD else 1)
    return parameters.step / unit or rule


def _moved(x: Tensor, current: Tensor, sign: Tensor, parameters: AttackParameters, free: Tensor) -> Tensor:
    epsilon = parameters.epsilon / 255
    moved = current + step_length(parameters) * sign
    return torch.where(free, moved.clamp(x - epsilon, x + epsilon).clamp(0, 1), current)
