"""Feature visualisation by optimisation: a picture, made from noise, that fires one map as much as it can.

The method is that of Olah, Mordvintsev and Schubert, "Feature visualization" (Distill 2017). Gradient ascent changes
the picture's Fourier coefficients, scaled so that every frequency has the same energy at first. Its colours are
decorrelated as in natural images where it has three channels, and it is moved at random by some pixels in each step.

Such a picture shows what suffices to fire the map, not what fires it in the data: the patches do that.
"""

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import Progress, VisualisationParameters, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.features import activation_maps
from aevis_dash.domain import FeatureMap, Visualisation

_COLOURS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""The square root of the covariance of red, green and blue over ImageNet, as published with Distill's lucid."""
_START = 0.01
"""The standard deviation of the noise from which the Fourier coefficients start."""
_PART = 4
"""The number of a map's neurons for each one that is driven: driving all would ask for a texture that fills the
picture."""


def visualise(
    classifier: Classifier,
    chosen: FeatureMap,
    parameters: VisualisationParameters | None = None,
    progress: Progress = silent,
) -> Visualisation:
    """Make a picture that fires one map.

    What is raised is the input of the map's activation function, which has a gradient even where the map is silent. It
    is averaged over the quarter of the map's neurons where it is largest. The same seed gives the same picture on the
    same machine.

    Args:
        chosen: the map.
        parameters: the steps of the optimisation and its seed; None for the defaults.
        progress: is told how far the work is.
    """
    wanted = parameters or VisualisationParameters()
    chance = torch.Generator().manual_seed(wanted.seed)
    channels, height, width = classifier.preprocessing.input_shape
    spectrum = _START * torch.randn(channels, height, width // 2 + 1, 2, generator=chance)
    spectrum = spectrum.to(classifier.device).requires_grad_()
    solver = torch.optim.AdamW([spectrum], lr=wanted.learning_rate, weight_decay=wanted.decay)
    for step in range(wanted.steps):
        progress(step / wanted.steps, f"visualising map {chosen.channel}, step {step + 1} of {wanted.steps}")
        moves = torch.randint(-wanted.jitter, wanted.jitter + 1, (2,), generator=chance).tolist()
        with torch.enable_grad():
            moved = _picture(spectrum, height, width).roll(moves, (1, 2))
            drive = classifier.network.drive(classifier.normalise(moved[None]), chosen.layer)[:, chosen.channel]
            strongest = drive.flatten().topk(max(1, drive.numel() // _PART)).values.mean()
            (spectrum.grad,) = torch.autograd.grad(-strongest, spectrum)
        solver.step()
    image = (_picture(spectrum.detach(), height, width) * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
    reached = activation_maps(classifier, image[None], chosen.layer)[0, chosen.channel]
    return Visualisation(image, float(reached.max()))


def _picture(spectrum: Tensor, height: int, width: int) -> Tensor:
    """Make a picture (C, H, W) from 0 to 1 of Fourier coefficients (C, H, W // 2 + 1, 2)."""
    down = torch.fft.fftfreq(height, device=spectrum.device)[:, None]
    across = torch.fft.rfftfreq(width, device=spectrum.device)
    frequency = torch.hypot(down, across).clamp_min(1 / max(height, width))
    scaled = torch.view_as_complex(spectrum) / frequency * np.sqrt(height * width)
    waves = torch.fft.irfft2(scaled, s=(height, width)) / 4
    if len(waves) != len(_COLOURS):
        return waves.sigmoid()
    colours = _COLOURS / _COLOURS.norm(dim=0).max()
    return torch.einsum("cd,dhw->chw", colours.to(waves), waves).sigmoid()
