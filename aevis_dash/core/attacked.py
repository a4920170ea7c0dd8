"""An attacked image, judged as the 8-bit image as which it is stored, or, where the attack may keep floats and rounding
would undo it, as the floats that are stored in its place.

The *margin* of an attacked image is the largest logit of a wrong class less the logit of the right one, or where the
attack has a target class the target's logit less the largest other one (Carlini and Wagner, S&P 2017). It is above 0
where the attack has succeeded.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError


@dataclass(frozen=True)
class Attacked:
    """An attacked image, and whether it fools the classifier.

    Attributes:
        image: the attacked image, uint8 (H, W, C), rounded.
        success: whether the image as it is stored fools the classifier.
        unrounded: whether it did so before it was rounded to 8 bits.
        margin: the margin of the image as it is stored, in logits; see the module.
        steps: the number of steps that were taken.
        floats: the pixels from 0 to 1, float32 (H, W, C), that are stored in place of the rounded image; None for an
            8-bit image.
    """

    image: np.ndarray
    success: bool
    unrounded: bool
    margin: float
    steps: int
    floats: np.ndarray | None = None

    @property
    def lost(self) -> bool:
        """Whether the attack had succeeded, and rounding to 8 bits undid it."""
        return self.unrounded and not self.success

    def reaches(self, margin: float) -> bool:
        """Tell whether the image as it is stored fools the classifier with at least this margin, in logits."""
        return self.success and self.margin >= margin


def judged(
    classifier: Classifier,
    stored: Tensor,
    pixels: Tensor,
    label: Tensor,
    targeted: bool,
    steps: int,
    keep_floats: bool = False,
) -> list[Attacked]:
    """Judge attacked images as they would be stored, and as they were before they were rounded.

    Args:
        classifier: the classifier to fool.
        stored: grey levels from 0 to 255, uint8 (B, C, H, W).
        pixels: the same images before they were rounded, pixels from 0 to 1, (B, C, H, W).
        label: the class to get away from, or with a target to get to, int (B,).
        targeted: whether `label` is the target.
        steps: the number of steps that were taken.
        keep_floats: whether an image is stored as floats where rounding undoes its attack; it counts where the floats
            fool the classifier alone, without other images in the batch.

    Returns:
        Each image with what the classifier says of it, in their order.

    Raises:
        AevisError: the model gives NaN.
    """
    logits = [logits_of(classifier, each) for each in (stored.to(pixels.dtype) / 255, pixels)]
    fooled, unrounded = ((each.argmax(1) == label) == targeted for each in logits)
    margin = margins(logits[0], label, targeted)
    found = [
        Attacked(_image(image), bool(success), bool(before), float(ahead), steps)
        for image, success, before, ahead in zip(stored, fooled, unrounded, margin, strict=True)
    ]
    if not keep_floats:
        return found
    return [
        _as_floats(classifier, each, pixels[i : i + 1], label[i : i + 1], targeted) if each.lost else each
        for i, each in enumerate(found)
    ]


def _as_floats(classifier: Classifier, lost: Attacked, pixels: Tensor, label: Tensor, targeted: bool) -> Attacked:
    """An image whose attack rounding undoes as floats, where they fool the classifier; else as it is."""
    logits = logits_of(classifier, pixels)
    if bool((logits.argmax(1) == label) != targeted):
        return lost
    ahead = float(margins(logits, label, targeted))
    return replace(lost, success=True, margin=ahead, floats=_image(pixels[0]).astype(np.float32))


def margins(logits: Tensor, label: Tensor, targeted: bool = False) -> Tensor:
    """Give the margins of attacked images: max over i != y of o_i - o_y, or towards a target t o_t - max over i != t of
    o_i (Carlini and Wagner, S&P 2017, where their negative is bounded by the confidence kappa).

    Args:
        logits: the logits o of the K classes, (B, K).
        label: the right class y, or the target t, int (B,).
        targeted: whether `label` is the target.

    Returns:
        The margins, in logits, (B,).
    """
    own = logits.gather(1, label[:, None])[:, 0]
    others = logits.scatter(1, label[:, None], -math.inf).amax(1)
    return own - others if targeted else others - own


def kept_under_noise(classifier: Classifier, image: np.ndarray, draws: int, seed: int = 0) -> float:
    """Give the share of noisy copies of an image that are predicted as the image itself.

    In each copy every value of a pixel is one grey level higher, one lower or the same, each with a chance of a third,
    and clipped to 0 to 255.

    Args:
        classifier: the classifier that predicts.
        image: an 8-bit image, (H, W, C).
        draws: the number of copies.
        seed: of the noise, which is the same for all images of a size.

    Returns:
        A share from 0 to 1.
    """
    noise = np.random.default_rng(seed).integers(-1, 2, (draws, *image.shape))
    copies = np.clip(image.astype(float) + noise, 0, 255)
    copies = copies.astype(image.dtype)
    (own,) = classifier.predict(image[None])
    return float(np.mean([found.label == own.label for found in classifier.predict(copies)]))


def logits_of(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Give the logits (B, K) of pixels from 0 to 1, (B, C, H, W). Raises AevisError where one is NaN."""
    with torch.no_grad():
        logits = classifier.network.logits(classifier.normalise(pixels))
    if torch.isnan(logits).any():
        raise AevisError(
            f"The model gives NaN for {int(torch.isnan(logits).any(1).sum())} of {len(logits)} images, "
            "so nothing can be said of them. Check its weights and the preprocessing in workspace.toml."
        )
    return logits


def _image(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels.movedim(0, -1).cpu().numpy())
