"""Attacks by gradients within a ball: MI-FGSM (Dong et al., CVPR 2018), the paper's; FGSM (Goodfellow et al., ICLR
2015); and PGD (Madry et al., ICLR 2018), in l_inf and in L2.

A result counts only as the 8-bit image as which it is stored: the attack is run, the image is rounded, and then the
classifier is asked. An attack may stop for each image at the first step whose stored image is far enough on the wrong
side (the margin; see `core.attacked`).
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aevis_dash.config import BY_GRADIENT, FGSM, L2, MI_FGSM, PGD, AttackParameters, Progress, part_of, silent
from aevis_dash.core.attack_steps import momentum_step, pgd_step, random_start, thresholds
from aevis_dash.core.attacked import Attacked, judged, logits_of
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.halving import by_halves
from aevis_dash.core.inputs import channels_first
from aevis_dash.core.rounding import rounded
from aevis_dash.domain import AevisError

LEAST = 0.01
"""The least epsilon: of 0.01 grey levels not one value in a hundred would be stored otherwise, and an L2 norm of 0.01
is that of a single value changed by 3 levels."""


@dataclass(frozen=True)
class _Batch:
    """The b images whose attack goes on.

    Attributes:
        places: which of the images they are, int (b,).
        x: the sources, pixels from 0 to 1, (b, C, H, W).
        current: the attacked images so far, (b, C, H, W).
        momentum: the accumulated gradient, (b, C, H, W).
        label: the class to get away from, or with a target to get to, int (b,).
        free: the pixels that may change, bool (b, 1, H, W).
        thresholds: from which change on a value moves where epsilon is below 1, (b, C, H, W); see `quantise`.
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
    """Attack images by MI-FGSM, FGSM or PGD, away from the model's own prediction or towards given classes.

    The attack succeeds where the stored 8-bit image is predicted as another class than the clean one, or as its target.
    With `parameters.stop` it ends for each image at the first step whose stored image succeeds with the margin, and
    otherwise after all steps. With restarts, PGD begins anew from other places of the ball, and the result of largest
    margin is kept of each image, the first of several such; what has stopped is not attacked again.

    A batch adds sums up in another order, which changes the sign of small gradients. So an image may come out by up to
    twice epsilon different with other images beside it: to have the same bytes again, attack the same images together.

    Args:
        classifier: the classifier to fool.
        images: 8-bit images, (B, H, W, C).
        parameters: which attack it is, and its parameters.
        targets: the class that each image shall be taken for, (B,); None to attack away from each image's own
            prediction.
        progress: is told how far the attack is.
        region: the pixels that may change, bool (B, H, W); None for all.

    Returns:
        The attacked images, in the order of the images.

    Raises:
        AevisError: there is no such attack, epsilon is below LEAST, there are no steps or runs, the norm is one that
            the attack does not have, or the model gives NaN.
        ValueError: the region does not have the shape of the images, or is not bool.
    """
    _check(parameters)
    if region is not None and (region.shape != images.shape[:3] or region.dtype != bool):
        raise ValueError(f"region is {region.dtype} {region.shape}, not bool {images.shape[:3]}")
    runs = parameters.restarts if parameters.attack == PGD else 1
    kept: dict[int, Attacked] = {}
    left = np.arange(len(images))
    for run in range(runs):
        inner = part_of(progress, run / runs, 1 / runs)
        parts = (None if each is None else each[left] for each in (targets, region))
        for place, found in zip(left, _run(classifier, images[left], parameters, *parts, inner, run), strict=True):
            if int(place) not in kept or found.margin > kept[int(place)].margin:
                kept[int(place)] = found
        if parameters.stop:
            left = np.array([place for place in left if not kept[int(place)].reaches(parameters.margin)], int)
        if not left.size:
            break
    return [kept[place] for place in range(len(images))]


def _run(
    classifier: Classifier,
    images: np.ndarray,
    parameters: AttackParameters,
    targets: np.ndarray | None,
    region: np.ndarray | None,
    progress: Progress,
    run: int,
) -> list[Attacked]:
    """Attack the images once, from the start of this run."""
    if parameters.attack == FGSM:
        parameters = replace(parameters, steps=1, step=0.0)
    targeted = targets is not None
    batch, found = _begin(classifier, images, parameters, targets, region, run), {}
    for step in range(1, parameters.steps + 1):
        progress((step - 1) / parameters.steps, "attacking")
        batch = _step(classifier, batch, parameters, targeted)
        if not (parameters.stop or step == parameters.steps):
            continue
        stored = rounded(batch.current, batch.x, parameters, batch.thresholds)
        keep_floats = parameters.floats and step == parameters.steps  # until then an 8-bit image may still succeed
        ended = judged(classifier, stored, batch.current, batch.label, targeted, step, keep_floats)
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
    run: int,
) -> _Batch:
    """The batch of all images before the first step."""
    x = classifier.pixels(images)
    free = torch.ones_like(x[:, :1], dtype=torch.bool) if region is None else _free(region, x)
    label = logits_of(classifier, x).argmax(1) if targets is None else torch.as_tensor(targets, device=x.device)
    current = x
    if parameters.attack == PGD:
        noise = np.stack([random_start(image, parameters, run) for image in images])
        moved = (x + channels_first(torch.from_numpy(noise)).to(x)).clamp(0, 1)
        current = torch.where(free, moved, x)
    drawn = np.stack([thresholds(image, parameters) for image in images])
    levels = channels_first(torch.from_numpy(drawn)).to(x)
    return _Batch(torch.arange(len(x), device=x.device), x, current, torch.zeros_like(x), label, free, levels)


def _step(classifier: Classifier, batch: _Batch, parameters: AttackParameters, targeted: bool) -> _Batch:
    gradient = (-1.0 if targeted else 1.0) * _loss_gradient(classifier, batch.current, batch.label)
    if parameters.attack == MI_FGSM:
        current, momentum = momentum_step(batch.x, batch.current, batch.momentum, gradient, parameters, batch.free)
        return replace(batch, current=current, momentum=momentum)
    return replace(batch, current=pgd_step(batch.x, batch.current, gradient, parameters, batch.free))


def _check(parameters: AttackParameters) -> None:
    if parameters.attack not in BY_GRADIENT:
        raise AevisError(
            f"There is no attack {parameters.attack!r} by gradients. Choose one of: {', '.join(BY_GRADIENT)}, in the "
            "[attack] table of workspace.toml or by --attack."
        )
    if parameters.norm == L2 and parameters.attack != PGD:
        raise AevisError(
            f"{parameters.attack} attacks within an l_inf ball only. Choose --norm linf, or --attack pgd, which has "
            "both, also in the [attack] table of workspace.toml."
        )
    if not parameters.epsilon >= LEAST or parameters.steps < 1 or parameters.restarts < 1:
        raise AevisError(
            f"The attack needs an epsilon of at least {LEAST:g}, in l_inf in grey levels of 255, as less is rounded "
            f"away, and at least 1 step and 1 restart, not epsilon {parameters.epsilon:g}, {parameters.steps} steps "
            f"and {parameters.restarts} restarts. Mend the [attack] table of workspace.toml or the options."
        )


def _free(region: np.ndarray, x: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(region[:, None])).to(x.device)


def _loss_gradient(classifier: Classifier, pixels: Tensor, label: Tensor) -> Tensor:
    """The gradient of each image's own loss, (B, C, H, W), in halves where all images do not fit into memory."""

    def found(at: slice) -> Tensor:
        some = pixels[at].detach().requires_grad_()
        with torch.enable_grad():
            logits = classifier.network.logits(classifier.normalise(some))
            return torch.autograd.grad(F.cross_entropy(logits, label[at], reduction="sum"), some)[0]

    return torch.cat(by_halves(found, len(pixels)))
