"""Running an attack that is not built in on the model, and checking what it gives and what it leaves behind.

The attack gets a copy of the model that takes pixels from 0 to 1, so whatever it does to it, the model of the workspace
stays as it is. What it draws at random it draws by the seed, so that the same attack on the same images gives the same
again.
"""

import contextlib
import copy
import random
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aevis_dash.core.attacked import Attacked, judged, logits_of
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError, reason_of, shorten

SLACK = 1e-4
"""How far pixels may lie outside 0 to 1 and count as rounding errors: a fortieth of a grey level."""


@dataclass(frozen=True)
class ForeignAttack:
    """An attack that is not built in.

    Attributes:
        name: its name for people, such as "mine.py:attack".
        made_of: what its results depend on beside the images and the seed, for the store's key.
        call: is called with the model, the pixels x (B, C, H, W), the predicted classes y (B,) and, for an attack that
            is aimed, the target classes (B,), else None. It gives the attacked pixels.
        file: the file whose line is named where it fails; "" for wherever that is.
        slug: a word for IDs, such as "attack".
    """

    name: str
    made_of: Mapping[str, Any]
    call: Callable[["PixelModel", Tensor, Tensor, Tensor | None], Any]
    file: str = ""
    slug: str = "attack"


class PixelModel(nn.Module):
    """A copy of a classifier's model that takes pixels from 0 to 1, (B, C, H, W), and gives logits, (B, K); the
    preprocessing is inside. Its weights have no gradients.

    Raises:
        AevisError: the model cannot be copied.
    """

    def __init__(self, classifier: Classifier):
        super().__init__()
        try:
            self.network = copy.deepcopy(classifier.network.traced.module)
        except Exception as error:  # A module of the user's may hold anything.
            raise AevisError(
                f"The model cannot be copied for the attack ({reason_of(error)}). Let its modules hold what "
                "copy.deepcopy can copy."
            ) from error
        self._normalise = classifier.normalise
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits (B, K) of pixels from 0 to 1, (B, C, H, W), of any float type."""
        return self.network(self._normalise(x.to(torch.float32)))


def run_foreign(
    classifier: Classifier,
    foreign: ForeignAttack,
    images: np.ndarray,
    targets: np.ndarray | None,
    seed: int,
    keep_floats: bool = False,
) -> list[Attacked]:
    """Attack images together by an attack that is not built in.

    The images are rounded to the nearest grey level. What the attack leaves switched on, such as gradients, and the
    random numbers that it draws, change nothing outside.

    Args:
        classifier: the classifier to fool.
        foreign: the attack.
        images: 8-bit images, (B, H, W, C).
        targets: the class that each image shall be taken for, (B,); None to attack away from each image's own
            prediction.
        seed: of what the attack draws at random.
        keep_floats: as for `attacked.judged`.

    Returns:
        The attacked images, in the order of the images.

    Raises:
        AevisError: the attack fails, gives anything but pixels from 0 to 1, leaves its model in training mode, or
            changes its weights.
    """
    x = classifier.pixels(images).contiguous()  # libraries look at them as N x 3 x H x W in memory too
    y = logits_of(classifier, x).argmax(1)
    target = None if targets is None else torch.as_tensor(targets, device=x.device)
    model = PixelModel(classifier)
    with _undisturbed(seed, images, x.device), torch.enable_grad():
        found = _called(foreign, model, x.clone(), y.clone(), None if target is None else target.clone())
    _refuse_changed_model(foreign, model, classifier)
    pixels = _pixels(foreign, found, x)
    stored = (pixels * 255).round().to(torch.uint8)
    aim = y if target is None else target
    return judged(classifier, stored, pixels, aim, target is not None, 0, keep_floats)


@contextlib.contextmanager
def _undisturbed(seed: int, images: np.ndarray, device: torch.device) -> Iterator[None]:
    """Let code draw by a seed of its own, and set back what it switched or drew, the current folder included; what it
    prints goes to stderr."""
    own = zlib.crc32(np.ascontiguousarray(images).tobytes(), seed)
    of_numpy, of_python, dtype = np.random.get_state(), random.getstate(), torch.get_default_dtype()  # noqa: NPY002
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), contextlib.redirect_stdout(sys.stderr), contextlib.chdir("."):
            torch.manual_seed(own)
            np.random.seed(own)  # noqa: NPY002 - the code of others draws by it
            random.seed(own)
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        torch.set_default_dtype(dtype)


def _called(foreign: ForeignAttack, model: PixelModel, x: Tensor, y: Tensor, target: Tensor | None) -> Any:
    try:
        return foreign.call(model, x, y, target)
    except AevisError:
        raise
    except (Exception, SystemExit) as error:  # The code of others may raise anything.
        frames = traceback.extract_tb(error.__traceback__)
        last = [frame for frame in frames if frame.filename == foreign.file] or list(frames)
        mend = "Mend it there, or what it is called with" if foreign.file else "Look at what it is made with"
        raise AevisError(
            f"The attack {foreign.name} failed with {type(error).__name__}: {shorten(reason_of(error), 300)}. It "
            f"happened in {last[-1].filename}, line {last[-1].lineno}: {last[-1].line!r}. {mend} "
            "(--attack-args)."
        ) from error


def _refuse_changed_model(foreign: ForeignAttack, model: PixelModel, classifier: Classifier) -> None:
    training = [name for name, module in model.network.named_modules() if module.training]
    if training:
        raise AevisError(
            f"The attack {foreign.name} leaves the model in training mode (first {training[0] or 'the model itself'!r})"
            ", where batch norm and dropout change with every call. Leave it as it is, in eval mode."
        )
    before, after = classifier.network.traced.module.state_dict(), model.network.state_dict()
    changed = [name for name, tensor in before.items() if not _same(tensor, after.get(name))]
    if changed:
        raise AevisError(
            f"The attack {foreign.name} changed the model's {changed[0]!r}, so it attacked another model. An attack "
            "may change nothing but its images; batch norm counts images where the model is in training mode meanwhile."
        )


def _same(before: Tensor, after: Tensor | None) -> bool:
    return (
        after is not None
        and before.shape == after.shape
        and before.dtype == after.dtype
        and torch.equal(before, after.detach().to(before.device))
    )


def _pixels(foreign: ForeignAttack, found: Any, x: Tensor) -> Tensor:
    """What the attack gave, checked, as pixels (B, C, H, W) from 0 to 1 of the type of x."""
    wanted = "Let it return the attacked pixels as a float tensor of the shape of x, from 0 to 1."
    if not isinstance(found, Tensor):
        raise AevisError(f"The attack {foreign.name} gave a {type(found).__name__}, not a torch.Tensor. {wanted}")
    if not found.is_floating_point():
        raise AevisError(f"The attack {foreign.name} gave numbers of type {found.dtype}. {wanted}")
    if found.shape != x.shape:
        raise AevisError(
            f"The attack {foreign.name} gave a tensor of shape {tuple(found.shape)} for images of shape "
            f"{tuple(x.shape)}. {wanted}"
        )
    if found.is_meta or found.layout != torch.strided:
        kind = "on the device 'meta', which holds no numbers" if found.is_meta else f"of the layout {found.layout}"
        raise AevisError(f"The attack {foreign.name} gave a tensor {kind}. {wanted}")
    pixels = found.detach().to(x)
    bad = ~torch.isfinite(pixels).flatten(1).all(1)
    if bad.any():
        raise AevisError(
            f"The attack {foreign.name} gave NaN or infinite pixels in {int(bad.sum())} of {len(x)} images. A gradient "
            "of zero that is divided by its length is the usual cause."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < -SLACK or high > 1 + SLACK:
        raise AevisError(
            f"The attack {foreign.name} gave pixels from {low:.4g} to {high:.4g}, and no image has those. End it with "
            "x_adv.clamp(0, 1). If it works on other values, such as normalised ones, let it change them back."
        )
    return pixels.clamp(0, 1)
