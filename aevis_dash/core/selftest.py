"""The self-test: whether a model says the same of an image at every call, alone and among others, and in its graph.

Explanations are made from the graph that torch.fx traced, which is run many times and in batches. They mean nothing
where the model as its author wrote it answers otherwise: at random, depending on the other images of the batch, or
because tracing has lost something.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.heads import GIVES, Head
from aevis_dash.core.layer_graph import TracedModel
from aevis_dash.core.outputs import logits_in
from aevis_dash.core.probes import probe_images
from aevis_dash.domain import AevisError, reason_of

VERSION = 4
"""The number of this version of the test; raising it lets models that passed an earlier version be tested again."""
_TOLERANCE = {"cpu": 1e-3}
"""The largest difference of two outputs that counts as rounding, as a share of the outputs' range, by kind of
device."""
_REPEATED = {"cpu": 1e-6}
"""The tolerance for two calls with the same images, between which nothing is added up in another order."""
_TOLERANCE_ELSEWHERE = 1e-2
"""The tolerance on a GPU, where convolutions may be rounded to ten bits, differently for each batch size."""
_DRAWING = (
    "{} draws random numbers when it predicts, though they changed nothing in a few calls. Where they ever do, "
    "explanations are chance: make sure that dropout and noise are off outside training."
)

_FLAT = (
    "No pixel of a few made-up pictures changes any output of {} by its gradient. Attacks and most explanations follow "
    "it and would find nothing: check that the weights are trained, and that no step rounds or is a constant."
)


_OTHER_BACKWARD = (
    "{} has another gradient by its own code than by the graph that was traced of it, which every attack and every "
    "explanation follows. A backward of its own (torch.autograd.Function) and torch.no_grad() are not traced. If the "
    "own one is meant, keep the module whole that has it: --leaf MODULE."
)
_BY_GRADIENT = 1e-2
"""The share of the range of a gradient by which two may differ from rounding alone."""
_SATURATED = 1e-6
"""The largest slope of probabilities that are too close to 0 and 1 for their gradients to be compared."""


MANY, FEW = 32, 8
"""The images of the largest batch tried, and the fewest of large inputs.

The first is as many as anything here runs at once, unless the setting `batch` says more. The second is one more than an
extraction runs at once unless it is told otherwise."""
_LARGE = 300 * 300
"""The pixels of an input from which on fewer images are tried at once."""


@dataclass(frozen=True)
class SelfTest:
    """The outcome for a model that passed: `warnings` say what makes it doubtful, a sentence or two each."""

    warnings: tuple[str, ...]


def examine(model: nn.Module, classifier: Classifier) -> SelfTest:
    """Try a model as its author wrote it, and the graph that was traced of it, on a few made-up images.

    Random numbers that the model draws are taken back at the end.

    Args:
        model: the model as its author wrote it.
        classifier: the classifier that was made of it.

    Returns:
        What makes the model doubtful although it passed.

    Raises:
        AevisError: the outputs differ from call to call, with the other images of the batch, or between model and
            graph; or the logits have no gradient.
    """
    name, traced, gives = type(model).__name__, classifier.network.traced, GIVES[classifier.head]
    x = classifier.inputs(probe_images(classifier.preprocessing.input_shape))
    scale = _Scale(_TOLERANCE.get(x.device.type, _TOLERANCE_ELSEWHERE))
    with torch.no_grad(), _draws_taken_back(x.device) as drawn:
        own = [_outputs(model, x, traced.output) for _ in range(2)]
        numbers_drawn = drawn()
        logits = [classifier.network.logits(x) for _ in range(2)]
        again = _Scale(_REPEATED.get(x.device.type, scale.share))
        if again.differ(*own, exactly=numbers_drawn) or again.differ(*logits, exactly=numbers_drawn):
            raise AevisError(
                f"{name} changes from call to call in evaluation: the same image gives other outputs"
                f"{_first(traced, (x, x), lambda a, b: not torch.equal(a, b))}. Explanations would not hold. Mend it: "
                "dropout needs training=self.training, noise belongs to training alone, and a call may leave no state "
                "behind that the next one reads, such as a counter."
            )
        if scale.differ(own[0], gives(logits[0])):
            raise AevisError(
                f"{name} gives other outputs than its traced graph, by up to {_largest(own[0], gives(logits[0])):.3g}. "
                "Either its forward fixes something while it is traced that changes between calls, such as a random "
                "number, a counter or the size of the batch; or it does what a graph does not hold: torch.autocast, a "
                "hook or another forward put on the whole model, or writing into a part of a tensor. Let the outputs "
                "depend on the image and the weights alone, and wrap a model with hooks in a module of its own."
            )
        own_alone = torch.cat([_outputs(model, image[None], traced.output) for image in x])
        logits_alone = torch.cat([classifier.network.logits(image[None]) for image in x])
        if scale.differ(own[0], own_alone) or scale.differ(logits[0], logits_alone):
            raise AevisError(_mixing(name, len(x), _first(traced, (x, x[:1]), _numbers_differ(scale), 0)))
        many = x[[i % len(x) for i in range(images_at_once(x))]]
        for row, one in enumerate(classifier.network.logits(many)):
            alone = row % len(x)
            if scale.differ(one[None], logits_alone[alone : alone + 1]):
                where = _first(traced, (many, x[alone : alone + 1]), _numbers_differ(scale), row)
                raise AevisError(_mixing(name, len(many), where))
    doubts = {
        _DRAWING: numbers_drawn,
        _FLAT: _is_flat(classifier, x, name),
        _OTHER_BACKWARD: _has_other_gradient(model, classifier, x),
    }
    return SelfTest(tuple(doubt.format(name) for doubt, holds in doubts.items() if holds))


@dataclass(frozen=True)
class _Scale:
    """A limit of what counts as rounding: values that differ by more than this share of their range are different."""

    share: float

    def differ(self, first: Tensor, second: Tensor, exactly: bool = False) -> bool:
        """Tell whether values differ by more than rounding, or at all where they are to be `exactly` equal."""
        if exactly or first.shape != second.shape:
            return not torch.equal(first, second)
        extent = float(first.max() - first.min()) + 1e-3 * float(first.abs().max())
        return not _largest(first, second) <= self.share * extent


def images_at_once(x: Tensor) -> int:
    """Tell how many images of the size of x (B, C, H, W) are tried in one batch."""
    return min(MANY, max(FEW, MANY * _LARGE // (x.shape[2] * x.shape[3])))


def _mixing(name: str, count: int, where: str) -> str:
    return (
        f"{name} says something else of an image when others are in the batch, here {count} in all{where}. "
        "Explanations would depend on what is computed together. An operation works across the images, dimension 0: "
        "let a softmax, flip, squeeze, mean or view keep each image to itself, and give batch norm running statistics "
        "(track_running_stats=True)."
    )


def _largest(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())


def _is_flat(classifier: Classifier, x: Tensor, name: str) -> bool:
    """Tell whether the gradient of the logits is 0 everywhere; raise AevisError where there is no gradient."""
    with torch.enable_grad():
        slope = _slope(classifier.network.logits, x)
        if slope is None:
            raise AevisError(
                f"{name} gives logits without a gradient, which attacks and explanations follow. Leave detach(), "
                "argmax and the like out of its forward."
            )
        return not bool(slope.any())


def _slope(outputs: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
    """The gradient of all outputs (B, K), each in another weight, by the images x; None where there is none."""
    at = x.clone().requires_grad_()
    found = outputs(at)
    if not found.requires_grad:
        return None
    weights = torch.arange(1, found.shape[1] + 1, device=x.device)
    (slope,) = torch.autograd.grad((found * weights).sum(), at, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope


def _has_other_gradient(model: nn.Module, classifier: Classifier, x: Tensor) -> bool:
    """Tell whether the model as its author wrote it has another gradient than its traced graph. A model that cannot be
    run backwards as it was written, as where it writes over its own values, has none to compare."""
    name, gives = classifier.network.traced.output, GIVES[classifier.head]
    with torch.enable_grad(), _draws_taken_back(x.device):
        try:
            own = _slope(lambda at: _outputs(model, at, name), x)
        except (AevisError, RuntimeError):
            return False
        other = _slope(lambda at: gives(classifier.network.logits(at)), x)
        own, other = (torch.zeros_like(x) if slope is None else slope for slope in (own, other))
        is_saturated = classifier.head is not Head.LOGITS and float(torch.maximum(own, other).abs().max()) < _SATURATED
        return not is_saturated and _Scale(_BY_GRADIENT).differ(own, other)


def _outputs(model: nn.Module, x: Tensor, name: str) -> Tensor:
    """Give what the model itself makes of normalised images, which it may write over: all of it, or the entry of that
    name."""
    try:
        return logits_in(model(x.clone()), name)
    except (Exception, SystemExit) as error:  # The author's own code may raise anything.
        raise AevisError(
            f"{type(model).__name__} cannot be run on {len(x)} images: {reason_of(error)}. Let its forward take a "
            "batch, any number of times."
        ) from error


@contextmanager
def _draws_taken_back(device: torch.device) -> Iterator[Callable[[], bool]]:
    """Tell whether anything in the block drew a random number of Python, numpy or torch, and undo that at the block's
    end.
    """

    def states() -> tuple[Any, ...]:
        _, numbers, *rest = cast(tuple[Any, ...], np.random.get_state())  # noqa: NPY002
        on_device = torch.cuda.get_rng_state(device).tolist() if device.type == "cuda" else []
        return random.getstate(), numbers.tolist(), rest, torch.get_rng_state().tolist(), on_device

    own, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before = states()
        try:
            yield lambda: states() != before
        finally:
            random.setstate(own)
            np.random.set_state(numpys)  # noqa: NPY002


def _numbers_differ(scale: _Scale) -> Callable[[Tensor, Tensor], bool]:
    return lambda a, b: a.shape == b.shape and a.is_floating_point() and scale.differ(a, b)


def _first(
    traced: TracedModel,
    inputs: tuple[Tensor, Tensor],
    differ: Callable[[Tensor, Tensor], bool],
    row: int | None = None,
) -> str:
    """Say in words where in the graph two runs first differ; empty where they differ nowhere in the graph.

    With a `row` only that image of the first run is compared, with the one image of the second run.
    """
    first, second = (_Values(traced.module).of(x, r) for x, r in zip(inputs, (row, None), strict=True))
    for node in traced.module.graph.nodes:
        a, b = first.get(node), second.get(node)
        if node.op != "placeholder" and isinstance(a, Tensor) and isinstance(b, Tensor) and differ(a, b):
            return f", first at {traced.describe(node)}"
    return ""


class _Values(fx.Interpreter):
    """One run that keeps the value of every node; of values with a row for each image it can keep one row only."""

    def of(self, x: Tensor, row: int | None) -> dict[fx.Node, Any]:
        """Give the value of every node for normalised images."""
        self.kept: dict[fx.Node, Any] = {}
        self.row, self.count = row, len(x)
        self.run(x)
        return self.kept

    def run_node(self, n: fx.Node) -> Any:
        """Run the node and keep its value."""
        value = super().run_node(n)
        by_image = isinstance(value, Tensor) and value.dim() > 0 and len(value) == self.count
        self.kept[n] = value[self.row : self.row + 1].clone() if by_image and self.row is not None else value
        return value
