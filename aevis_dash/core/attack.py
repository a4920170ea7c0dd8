"""Attacks within an l_inf ball: MI-FGSM (Dong et al., CVPR 2018), the paper's, and PGD (Madry et al., ICLR 2018).

A result counts only as the 8-bit image as which it is stored: the attack is run, the image is rounded, and then the
classifier is asked. An attack may stop for each image at the first step whose stored image is far enough on the wrong
side. The *margin* of an attacked image is the largest logit of a wrong class less the logit of the right one, or where
the attack has a target class the target's logit less the largest other one (Carlini and Wagner, S&P 2017). It is above
0 where the attack has succeeded.
"""

import math
import zlib
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aevis_dash.config import ATTACKS, PGD, AttackParameters, Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError

LEAST = 0.01
"""The least epsilon, in grey levels of 255: with less not one value in a hundred would be stored otherwise."""


@dataclass(frozen=True)
class Attacked:
    """An attacked image, and whether it fools the classifier.

    Attributes:
        image: the attacked image, uint8 (H, W, 3).
        success: whether the image as it is stored fools the classifier.
        unrounded: whether it did so before it was rounded to 8 bits.
        margin: the margin of the image as it is stored, in logits; see the module.
        steps: the number of steps that were taken.
    """

    image: np.ndarray
    success: bool
    unrounded: bool
    margin: float
    steps: int

    @property
    def lost(self) -> bool:
        """Whether the attack had succeeded, and rounding to 8 bits undid it."""
        return self.unrounded and not self.success

    def reaches(self, margin: float) -> bool:
        """Tell whether the image as it is stored fools the classifier with at least this margin, in logits."""
        return self.success and self.margin >= margin


@dataclass(frozen=True)
class _Batch:
    """The b images whose attack goes on.

    Attributes:
        places: which of the images they are, int (b,).
        x: the sources, pixels from 0 to 1, (b, 3, H, W).
        current: the attacked images so far, (b, 3, H, W).
        momentum: the accumulated gradient, (b, 3, H, W).
        label: the class to get away from, or with a target to get to, int (b,).
        free: the pixels that may change, bool (b, 1, H, W).
        thresholds: from which change on a value moves where epsilon is below 1, (b, 3, H, W); see `quantise`.
    """

    places: Tensor
    x: Tensor
    current: Tensor
    momentum: Tensor
    label: Tensor
    free: Tensor
    thresholds: Tensor

    def part(self, chosen: Tensor) -> "_Batch":
        """The chosen ones of the images, bool (b,)."""
        return _Batch(*(getattr(self, field.name)[chosen] for field in fields(self)))


def perturb(
    classifier: Classifier,
    images: np.ndarray,
    parameters: AttackParameters,
    targets: np.ndarray | None = None,
    progress: Progress = silent,
    region: np.ndarray | None = None,
) -> list[Attacked]:
    """Attack images by MI-FGSM or PGD, away from the model's own prediction or towards given classes.

    The attack succeeds where the stored 8-bit image is predicted as another class than the clean one, or as its target.
    With `parameters.stop` it ends for each image at the first step whose stored image succeeds with the margin, and
    otherwise after all steps. A batch adds sums up in another order, which changes the sign of small gradients. So an
    image may come out by up to twice epsilon different with other images beside it: to have the same bytes again,
    attack the same images together.

    Args:
        classifier: the classifier to fool.
        images: 8-bit images, (B, H, W, 3).
        parameters: which attack it is, and its parameters.
        targets: the class that each image shall be taken for, (B,); None to attack away from each image's own
            prediction.
        progress: is told how far the attack is.
        region: the pixels that may change, bool (B, H, W); None for all.

    Returns:
        The attacked images, in the order of the images.

    Raises:
        AevisError: there is no such attack, epsilon is below LEAST, there are no steps, or the model gives
            NaN.
        ValueError: the region does not have the shape of the images, or is not bool.
    """
    _check(parameters)
    targeted = targets is not None
    batch, found = _begin(classifier, images, parameters, targets, region), {}
    for step in range(1, parameters.steps + 1):
        progress((step - 1) / parameters.steps, "attacking")
        batch = _step(classifier, batch, parameters, targeted)
        if not (parameters.stop or step == parameters.steps):
            continue
        ended = _judged(classifier, batch, parameters, targeted, step)
        goes_on = torch.tensor(
            [step < parameters.steps and not each.reaches(parameters.margin) for each in ended],
            device=batch.places.device,
        )
        places = batch.places.tolist()
        found |= {place: each for place, each, on in zip(places, ended, goes_on.tolist(), strict=True) if not on}
        if not goes_on.any():
            break
        if not goes_on.all():
            batch = batch.part(goes_on)
    return [found[place] for place in range(len(images))]


def _begin(
    classifier: Classifier,
    images: np.ndarray,
    parameters: AttackParameters,
    targets: np.ndarray | None,
    region: np.ndarray | None,
) -> _Batch:
    """The batch of all images before the first step."""
    x = classifier.pixels(images)
    free = torch.ones_like(x[:, :1], dtype=torch.bool) if region is None else _free(classifier, images, region)
    label = _logits(classifier, x).argmax(1) if targets is None else torch.as_tensor(targets, device=x.device)
    current = x
    if parameters.attack == PGD:
        noise = np.stack([random_start(image, parameters) for image in images])
        moved = (x + torch.from_numpy(noise).movedim(-1, 1).to(x)).clamp(0, 1)
        current = torch.where(free, moved, x)
    drawn = np.stack([thresholds(image, parameters) for image in images])
    levels = torch.from_numpy(drawn).movedim(-1, 1).to(x)
    return _Batch(torch.arange(len(x), device=x.device), x, current, torch.zeros_like(x), label, free, levels)


def thresholds(image: np.ndarray, parameters: AttackParameters) -> np.ndarray:
    """Draw the changes from which on the values of an image move where epsilon is below 1 (see `quantise`).

    They are uniform from 0 to 1 and drawn once for an image, by the seed and the image's own bytes, so that a value
    that has moved stays moved while its change grows.

    Args:
        image: an 8-bit image, (H, W, 3).
        parameters: the seed of the attack.

    Returns:
        Changes in grey levels, (H, W, 3).
    """
    return _random(image, parameters, 1).uniform(0, 1, image.shape)


def _random(image: np.ndarray, parameters: AttackParameters, purpose: int) -> np.random.Generator:
    return np.random.default_rng([parameters.seed, zlib.crc32(np.ascontiguousarray(image).tobytes()), purpose])


def random_start(image: np.ndarray, parameters: AttackParameters) -> np.ndarray:
    """Draw the noise from which PGD starts: uniform within the epsilon ball, by the seed and the image's own bytes.

    Args:
        image: an 8-bit image, (H, W, 3).
        parameters: epsilon and seed of the attack.

    Returns:
        The noise that is added to pixels from 0 to 1, (H, W, 3).
    """
    return _random(image, parameters, 0).uniform(-1, 1, image.shape) * parameters.epsilon / 255


def _step(classifier: Classifier, batch: _Batch, parameters: AttackParameters, targeted: bool) -> _Batch:
    gradient = (-1.0 if targeted else 1.0) * _loss_gradient(classifier, batch.current, batch.label)
    if parameters.attack == PGD:
        current, momentum = pgd_step(batch.x, batch.current, gradient, parameters, batch.free), batch.momentum
    else:
        current, momentum = momentum_step(batch.x, batch.current, batch.momentum, gradient, parameters, batch.free)
    return replace(batch, current=current, momentum=momentum)


def _judged(
    classifier: Classifier, batch: _Batch, parameters: AttackParameters, targeted: bool, step: int
) -> list[Attacked]:
    """What the classifier says of the images as they would be stored after this step."""
    stored = quantise(batch.current, batch.x, parameters.epsilon, batch.thresholds)
    logits = [_logits(classifier, pixels) for pixels in (stored.to(batch.x.dtype) / 255, batch.current)]
    fooled, unrounded = ((each.argmax(1) == batch.label) == targeted for each in logits)
    margin = margins(logits[0], batch.label, targeted)
    return [
        Attacked(_image(image), bool(success), bool(before), float(ahead), step)
        for image, success, before, ahead in zip(stored, fooled, unrounded, margin, strict=True)
    ]


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
        image: an 8-bit image, (H, W, 3).
        draws: the number of copies.
        seed: of the noise, which is the same for all images of a size.

    Returns:
        A share from 0 to 1.
    """
    noise = np.random.default_rng(seed).integers(-1, 2, (draws, *image.shape))
    copies = np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)
    (own,) = classifier.predict(image[None])
    return float(np.mean([found.label == own.label for found in classifier.predict(copies)]))


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
        x: the sources, pixels from 0 to 1, (B, 3, H, W).
        current: the attacked images so far, (B, 3, H, W).
        momentum: the accumulated gradient g, (B, 3, H, W).
        gradient: the gradient of the loss at `current`, (B, 3, H, W).
        parameters: epsilon, step length and momentum mu of the attack.
        free: the pixels that may change, bool (B, 1, H, W); None for all. The others stay as they are, and their
            gradient counts as zero, also in the norm.

    Returns:
        The new images and the new accumulated gradient, (B, 3, H, W) each.
    """
    free = torch.ones_like(gradient, dtype=torch.bool) if free is None else free
    gradient = torch.where(free, gradient, torch.zeros_like(gradient))
    norm = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
    momentum = parameters.momentum * momentum + gradient / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return _moved(x, current, momentum.sign(), parameters, free), momentum


def pgd_step(
    x: Tensor, current: Tensor, gradient: Tensor, parameters: AttackParameters, free: Tensor | None = None
) -> Tensor:
    """Do one step of PGD (Madry et al., ICLR 2018): x <- x + alpha sign grad, clipped to the epsilon ball and [0, 1].

    Args:
        x: the sources, pixels from 0 to 1, (B, 3, H, W).
        current: the attacked images so far, (B, 3, H, W).
        gradient: the gradient of the loss at `current`, (B, 3, H, W).
        parameters: epsilon and step length alpha of the attack.
        free: the pixels that may change, bool (B, 1, H, W); None for all. The others stay as they are.

    Returns:
        The new images, (B, 3, H, W).
    """
    free = torch.ones_like(gradient, dtype=torch.bool) if free is None else free
    return _moved(x, current, gradient.sign(), parameters, free)


def step_length(parameters: AttackParameters) -> float:
    """Give the length alpha of one step, for pixels from 0 to 1.

    It is the one that the parameters name; where they name none it is epsilon / T by MI-FGSM (Dong et al.), and 2.5
    times that by PGD, so that T steps reach the edge of the ball from any start and move along it (Madry et al.).
    """
    rule = parameters.epsilon / 255 / parameters.steps * (2.5 if parameters.attack == PGD else 1)
    return parameters.step / 255 or rule


def _moved(x: Tensor, current: Tensor, sign: Tensor, parameters: AttackParameters, free: Tensor) -> Tensor:
    epsilon = parameters.epsilon / 255
    moved = current + step_length(parameters) * sign
    return torch.where(free, moved.clamp(x - epsilon, x + epsilon).clamp(0, 1), current)


def quantise(pixels: Tensor, x: Tensor, epsilon: float, levels: Tensor | None = None) -> Tensor:
    """Find the 8-bit images that are nearest to some attacked ones and still within `epsilon` of their sources.

    An 8-bit image cannot carry an epsilon below 1, and to the nearest level it would be all or nothing. There the
    change of each value is rounded at random instead (stochastic rounding): a value that was changed by c levels is
    stored one level off its source, on that side, where |c| is at least its threshold, which is uniform from 0 to 1.
    So it moves with the chance |c|, the mean of the stored change is that of the attack, and at most about the share
    epsilon of the values moves. The stored change is 1 grey level all the same (`AttackParameters.bound`), and it is
    never told to be less.

    Args:
        pixels: attacked images, from 0 to 1, (B, 3, H, W).
        x: their sources, 8-bit values divided by 255, (B, 3, H, W).
        epsilon: the largest change allowed, in grey levels of 255.
        levels: the thresholds, in grey levels, (B, 3, H, W); used where epsilon is below 1, and needed there.

    Returns:
        Grey levels from 0 to 255, uint8 (B, 3, H, W).

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


def _check(parameters: AttackParameters) -> None:
    if parameters.attack not in ATTACKS:
        raise AevisError(
            f"There is no attack {parameters.attack!r}. Choose one of: {', '.join(ATTACKS)}, in the [attack] table of "
            "workspace.toml or by --attack."
        )
    if not parameters.epsilon >= LEAST or parameters.steps < 1:
        raise AevisError(
            f"The attack needs an epsilon of at least {LEAST:g} grey levels of 255, as less is rounded away, and at "
            f"least 1 step, not epsilon {parameters.epsilon:g} and {parameters.steps} steps. Mend the [attack] table "
            "of workspace.toml or the options."
        )


def _free(classifier: Classifier, images: np.ndarray, region: np.ndarray) -> Tensor:
    """Check the region and give it the shape (B, 1, H, W)."""
    if region.shape != images.shape[:3] or region.dtype != bool:
        raise ValueError(f"region is {region.dtype} {region.shape}, not bool {images.shape[:3]}")
    return torch.from_numpy(np.ascontiguousarray(region[:, None])).to(classifier.device)


def _logits(classifier: Classifier, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        logits = classifier.network.logits(classifier.normalise(pixels))
    if torch.isnan(logits).any():
        raise AevisError(
            f"The model gives NaN for {int(torch.isnan(logits).any(1).sum())} of {len(logits)} images, "
            "so nothing can be said of them. Check its weights and the preprocessing in workspace.toml."
        )
    return logits


def _loss_gradient(classifier: Classifier, pixels: Tensor, label: Tensor) -> Tensor:
    pixels = pixels.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(classifier.network.logits(classifier.normalise(pixels)), label, reduction="sum")
        return torch.autograd.grad(loss, pixels)[0]


def _image(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels.movedim(0, -1).cpu().numpy())
