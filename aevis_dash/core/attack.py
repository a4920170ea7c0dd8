"""MI-FGSM (Dong et al., CVPR 2018), the paper's attack.

A result counts only as the 8-bit image as which it is stored: the attack is run, the image is rounded, and then the
classifier is asked.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aevis_dash.config import AttackParameters, Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError


@dataclass(frozen=True)
class Attacked:
    """An attacked image, and whether it fools the classifier.

    Attributes:
        image: the attacked image, uint8 (H, W, 3).
        success: whether the image as it is stored fools the classifier.
        unrounded: whether it did so before it was rounded to 8 bits.
    """

    image: np.ndarray
    success: bool
    unrounded: bool

    @property
    def lost(self) -> bool:
        """Whether the attack had succeeded, and rounding to 8 bits undid it."""
        return self.unrounded and not self.success


def mi_fgsm(
    classifier: Classifier,
    images: np.ndarray,
    parameters: AttackParameters,
    targets: np.ndarray | None = None,
    progress: Progress = silent,
    region: np.ndarray | None = None,
) -> list[Attacked]:
    """Attack images by MI-FGSM, away from the model's own prediction or towards given classes.

    The attack succeeds where the stored 8-bit image is predicted as another class than the clean one, or as its target.
    A batch adds sums up in another order, which changes the sign of small gradients. So an image may come out by up to
    twice epsilon different with other images beside it: to have the same bytes again, attack the same images together.

    Args:
        classifier: the classifier to fool.
        images: 8-bit images, (B, H, W, 3).
        parameters: epsilon, steps and momentum of the attack.
        targets: the class that each image shall be taken for, (B,); None to attack away from each image's own
            prediction.
        progress: is told how far the attack is.
        region: the pixels that may change, bool (B, H, W); None for all.

    Returns:
        The attacked images, in the order of the images.

    Raises:
        AevisError: epsilon is below one grey level, there are no steps, or the model gives NaN.
        ValueError: the region does not have the shape of the images, or is not bool.
    """
    _check(parameters)
    x, free = classifier.pixels(images), _free(classifier, images, region)
    clean = _predict(classifier, x)
    wanted = clean if targets is None else torch.as_tensor(targets, device=x.device)
    sign = 1.0 if targets is None else -1.0
    adversarial, momentum = x, torch.zeros_like(x)
    for step in range(parameters.steps):
        progress(step / parameters.steps, "attacking")
        gradient = sign * _loss_gradient(classifier, adversarial, wanted)
        adversarial, momentum = momentum_step(x, adversarial, momentum, gradient, parameters, free)
    stored = quantise(adversarial, x, parameters.epsilon)
    labels = [_predict(classifier, pixels) for pixels in (stored.to(x.dtype) / 255, adversarial)]
    success, unrounded = (label != clean if targets is None else label == wanted for label in labels)
    return [
        Attacked(_image(image), bool(fooled), bool(before))
        for image, fooled, before in zip(stored, success, unrounded, strict=True)
    ]


def momentum_step(
    x: Tensor,
    current: Tensor,
    momentum: Tensor,
    gradient: Tensor,
    parameters: AttackParameters,
    free: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do one step of MI-FGSM: g <- mu g + grad / ||grad||_1, then x <- x + alpha sign g, clipped.

    The result is clipped to the epsilon ball around the source and to pixels from 0 to 1; alpha is epsilon / steps. An
    image whose gradient is zero goes on by its momentum, which decays by mu.

    Args:
        x: the sources, pixels from 0 to 1, (B, 3, H, W).
        current: the attacked images so far, (B, 3, H, W).
        momentum: the accumulated gradient g, (B, 3, H, W).
        gradient: the gradient of the loss at `current`, (B, 3, H, W).
        parameters: epsilon, steps and momentum mu of the attack.
        free: the pixels that may change, bool (B, 1, H, W); None for all. The others stay as they are, and their
            gradient counts as zero, also in the norm.

    Returns:
        The new images and the new accumulated gradient, (B, 3, H, W) each.
    """
    free = torch.ones_like(gradient, dtype=torch.bool) if free is None else free
    gradient = torch.where(free, gradient, torch.zeros_like(gradient))
    norm = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
    momentum = parameters.momentum * momentum + gradient / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    epsilon = parameters.epsilon / 255
    moved = current + epsilon / parameters.steps * momentum.sign()
    return torch.where(free, moved.clamp(x - epsilon, x + epsilon).clamp(0, 1), current), momentum


def quantise(pixels: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """Find the 8-bit images that are nearest to some attacked ones and still within `epsilon` of their sources.

    Args:
        pixels: attacked images, from 0 to 1, (B, 3, H, W).
        x: their sources, 8-bit values divided by 255, (B, 3, H, W).
        epsilon: the largest change allowed, in grey levels of 255.

    Returns:
        Grey levels from 0 to 255, uint8 (B, 3, H, W).
    """
    source, reach = (x * 255).round(), math.floor(epsilon)
    return (pixels * 255).round().clamp(source - reach, source + reach).clamp(0, 255).to(torch.uint8)


def _check(parameters: AttackParameters) -> None:
    if not parameters.epsilon >= 1 or parameters.steps < 1:
        raise AevisError(
            f"The attack needs an epsilon of at least 1 grey level of 255, as less is rounded away, and at least 1 "
            f"step, not epsilon {parameters.epsilon:g} and {parameters.steps} steps. Mend the [attack] table of "
            "workspace.toml or the options."
        )


def _free(classifier: Classifier, images: np.ndarray, region: np.ndarray | None) -> Tensor | None:
    """Check the region and give it the shape (B, 1, H, W)."""
    if region is None:
        return None
    if region.shape != images.shape[:3] or region.dtype != bool:
        raise ValueError(f"region is {region.dtype} {region.shape}, not bool {images.shape[:3]}")
    return torch.from_numpy(np.ascontiguousarray(region[:, None])).to(classifier.device)


def _predict(classifier: Classifier, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        logits = classifier.network.logits(classifier.normalise(pixels))
    if torch.isnan(logits).any():
        raise AevisError(
            f"The model gives NaN for {int(torch.isnan(logits).any(1).sum())} of {len(logits)} images, "
            "so nothing can be said of them. Check its weights and the preprocessing in workspace.toml."
        )
    return logits.argmax(1)


def _loss_gradient(classifier: Classifier, pixels: Tensor, label: Tensor) -> Tensor:
    pixels = pixels.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(classifier.network.logits(classifier.normalise(pixels)), label, reduction="sum")
        return torch.autograd.grad(loss, pixels)[0]


def _image(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels.movedim(0, -1).cpu().numpy())
