"""Trains, measures, stores and loads the network of the drawn world."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor, nn
from torch.nn import functional

from aevis_dash.files import write_atomically
from aevis_dash.world.draw import CLASSES, SIZE, draw_set
from aevis_dash.world.network import MEAN, STD, drawn_world_resnet

Progress = Callable[[float, str], None]
"""Told the share done, in [0, 1], and what is being done."""

_BATCH: Final = 64
_PEAK_RATE: Final = 3e-3
_WEIGHT_DECAY: Final = 0.02
_SMOOTHING: Final = 0.05
_NOISE: Final = 0.03
_DRAWING_SHARE: Final = 0.1


def _silent(share: float, text: str) -> None:
    """Report to nobody."""


def train(seed: int = 0, drawings: int = 8000, epochs: int = 3, progress: Progress = _silent) -> nn.Module:
    """A network trained on `drawings` drawings shown `epochs` times each, in eval mode.

    The seed settles the drawings, the first weights and the order; torch's global random state is untouched.

    Raises:
        ValueError: drawings, epochs or seed is out of range.
    """
    if drawings < _BATCH or epochs < 1 or seed < 0:
        raise ValueError(f"train needs drawings >= {_BATCH}, epochs >= 1 and seed >= 0")
    generator = torch.Generator().manual_seed(seed)
    images, labels = _draw_images(drawings, _training_set(seed), progress, _DRAWING_SHARE)
    model = _new_network()
    _initialise(model, generator)
    _fit(model, images, labels, epochs, generator, progress)
    progress(1.0, "trained")
    return model.eval()


def accuracy(model: nn.Module, drawings: int, seed: int) -> float:
    """The share, in [0, 1], of fresh drawings that the model names rightly; no training seed yields them.

    The model runs in eval mode and is left in the mode it came in.
    """
    images, labels = _draw_images(drawings, _fresh_set(seed))
    was_training = model.training
    model.eval()
    with torch.no_grad():
        hits = [
            (model(_normalise(some)).argmax(dim=1) == truth).sum().item()
            for some, truth in zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
        ]
    model.train(was_training)
    return sum(hits) / drawings


def save(model: nn.Module, path: Path, **facts: object) -> None:
    """Write the weights to `path` and the facts, as JSON, beside it; each file appears whole or not at all.

    Kernels and matrices are stored as float16, biases and batch statistics as they are.
    """
    state = {name: _compact(value) for name, value in model.state_dict().items()}
    write_atomically(path, lambda file: file.write(serialised(state)))
    text = json.dumps(facts, indent=2) + "\n"
    write_atomically(path.with_suffix(".json"), lambda file: file.write(text.encode("utf-8")))


def load(path: Path) -> nn.Module:
    """The network whose weights `save` wrote, in float32 and eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the file holds the weights of another network.
    """
    model = _new_network()
    model.load_state_dict(load_file(path))
    return model.eval()


def _training_set(seed: int) -> int:
    return 2 * seed


def _fresh_set(seed: int) -> int:
    return 2 * seed + 1


def _draw_images(count: int, seed: int, progress: Progress = _silent, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """Images uint8 (count, 3, SIZE, SIZE) and labels (count,) of a set of drawings."""
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    labels = np.empty(count, np.int64)
    for index, drawing in enumerate(draw_set(count, seed)):
        images[index], labels[index] = drawing.image, drawing.label
        if index % 200 == 0:
            progress(share * index / count, f"drawing {index} of {count}")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def _normalise(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def _new_network() -> nn.Module:
    """A network whose making leaves the global random state alone."""
    with torch.random.fork_rng(devices=[]):
        return drawn_world_resnet(len(CLASSES))


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=generator)
            nn.init.zeros_(module.bias)


def _fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    steps = epochs * (len(images) // _BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_PEAK_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _PEAK_RATE, total_steps=steps, pct_start=0.2)
    model.train()
    for step, batch in enumerate(_batches(len(images), epochs, generator)):
        logits = model(_noisy(_normalise(images[batch]), generator))
        loss = functional.cross_entropy(logits, labels[batch], label_smoothing=_SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        done = _DRAWING_SHARE + (1 - _DRAWING_SHARE) * (step + 1) / steps
        progress(done, f"step {step + 1} of {steps}, loss {loss.item():.3f}")


def _noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """Normalised images with pixel noise; each draws its deviation, up to _NOISE on the scale of [0, 1]."""
    deviation = torch.rand(len(images), 1, 1, 1, generator=generator) * (_NOISE / STD[0])
    return images + deviation * torch.randn(images.shape, generator=generator)


def _batches(count: int, epochs: int, generator: torch.Generator) -> list[Tensor]:
    """The places of each batch's images, every epoch in a new order, each batch full."""
    orders = (torch.randperm(count, generator=generator) for _ in range(epochs))
    return [batch for order in orders for batch in order.split(_BATCH) if len(batch) == _BATCH]


def _compact(value: Tensor) -> Tensor:
    return value.half() if value.ndim > 1 else value
