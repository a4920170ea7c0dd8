"""Corruptions of images, and patches.

The corruptions are those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) with its numbers for images of 224 pixels,
whatever the size of the model's input: their gaussian_noise, gaussian_blur (one of their additional kinds),
jpeg_compression, contrast and brightness. Their images were cut off to 8 bits, and ours are rounded.
"""

import io
import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from aevis_dash.config import (
    BLUR,
    BRIGHTNESS,
    CONTRAST,
    JPEG,
    LINF,
    NOISE,
    PGD,
    AttackParameters,
    Progress,
    silent,
)
from aevis_dash.core.attack import perturb
from aevis_dash.core.attacked import Attacked, judged, logits_of
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.inputs import channels_first
from aevis_dash.domain import AevisError
from aevis_dash.images import as_picture

SEVERITIES: Mapping[str, tuple[float, ...]] = {
    NOISE: (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation, of pixels from 0 to 1
    BLUR: (1, 2, 3, 4, 6),  # standard deviation of the Gaussian, in pixels
    JPEG: (25, 18, 15, 10, 7),  # quality
    CONTRAST: (0.4, 0.3, 0.2, 0.1, 0.05),  # what remains of the distance from each channel's mean
    BRIGHTNESS: (0.1, 0.2, 0.3, 0.4, 0.5),  # what is added to the value of HSV
}
"""What each corruption does at the severities 1 to 5."""


def corrupted(image: np.ndarray, parameters: AttackParameters) -> np.ndarray:
    """Corrupt an image.

    Args:
        image: an 8-bit image, (H, W, C).
        parameters: which corruption, its severity, and the seed of the noise.

    Returns:
        Pixels from 0 to 1, (H, W, C), not rounded.
    """
    kind, amount, x = parameters.attack, SEVERITIES[parameters.attack][parameters.severity - 1], image / 255
    if kind == NOISE:
        own = zlib.crc32(np.ascontiguousarray(image).tobytes())
        x = x + np.random.default_rng([parameters.seed, own, 2]).normal(scale=amount, size=x.shape)
    elif kind == BLUR:
        x = gaussian_filter(x, sigma=(amount, amount, 0), mode="nearest", truncate=4.0)
    elif kind == JPEG:
        x = _through_jpeg(image, int(amount)) / 255
    elif kind == CONTRAST:
        mean = x.mean(axis=(0, 1), keepdims=True)
        x = (x - mean) * amount + mean
    else:
        x = _brighter(x, amount)
    return np.clip(x, 0, 1)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An image (H, W, C) saved as JPEG and read again; each channel by itself where a picture has not so many."""
    if image.shape[2] not in (1, 3):
        return np.concatenate([_through_jpeg(image[..., i : i + 1], quality) for i in range(image.shape[2])], axis=2)
    file = io.BytesIO()
    as_picture(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)


def _brighter(x: np.ndarray, amount: float) -> np.ndarray:
    """Add to the value of HSV, which is the largest channel; hue and saturation stay, so all channels are scaled."""
    value = x.max(axis=2, keepdims=True)
    brighter = np.clip(value + amount, 0, 1)
    return np.where(value > 0, x * (brighter / np.where(value > 0, value, 1)), brighter)


def corrupt(classifier: Classifier, images: np.ndarray, parameters: AttackParameters) -> list[Attacked]:
    """Corrupt images, and judge each as it is stored: it counts as a success where the model's prediction changes.

    Args:
        classifier: the classifier that predicts.
        images: 8-bit images, (B, H, W, C).
        parameters: which corruption, its severity, and the seed of the noise.

    Returns:
        The corrupted images, in the order of the images.

    Raises:
        AevisError: the model gives NaN.
    """
    x = classifier.pixels(images)
    found = np.stack([corrupted(image, parameters) for image in images])
    pixels = channels_first(torch.from_numpy(found)).to(x)
    stored = channels_first(torch.from_numpy(np.round(found * 255).astype(np.uint8))).to(x.device)
    return judged(classifier, stored, pixels, logits_of(classifier, x).argmax(1), False, 0)


def patch_side(parameters: AttackParameters, height: int, width: int) -> int:
    """The side of a patch in pixels, on images of this size: a quarter of their shorter side where it is not named."""
    return parameters.patch_size or max(1, min(height, width) // 4)


def patch(
    classifier: Classifier,
    images: np.ndarray,
    parameters: AttackParameters,
    targets: np.ndarray | None = None,
    progress: Progress = silent,
) -> list[Attacked]:
    """Attack images by changing a square of pixels at will: PGD that is bounded by nothing but black and white there.

    Args:
        classifier: the classifier to fool.
        images: 8-bit images, (B, H, W, C).
        parameters: the square, and how PGD runs.
        targets: the class that each image shall be taken for, (B,); None to attack away from each image's own
            prediction.
        progress: is told how far the attack is.

    Returns:
        The attacked images, in the order of the images.

    Raises:
        AevisError: the square is not inside of the image, or as for `perturb`.
    """
    height, width = images.shape[1:3]
    side, top, left = patch_side(parameters, height, width), parameters.patch_top, parameters.patch_left
    if top + side > height or left + side > width:
        raise AevisError(
            f"A patch of {side} x {side} pixels with {top} rows above and {left} columns to its left does not fit into "
            f"an image of {height} rows and {width} columns. Mend --patch-size, --patch-top or --patch-left."
        )
    region = np.zeros(images.shape[:3], bool)
    region[:, top : top + side, left : left + side] = True
    within = replace(parameters, attack=PGD, epsilon=255.0, norm=LINF)
    return perturb(classifier, images, within, targets, progress, region)
