"""The models of test_fuzz.py, which `--model fuzz_models:NAME` finds: one small network, and its faults.

All share the names and shapes of the trunk's weights, so that one file of them fits nearly all.
"""

import itertools
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CALLS = itertools.count(1)
Step = Callable[[Tensor], Any]


class Net(nn.Module):
    """Three convolutions and a linear head for images of 32 x 32; the three functions say what is unusual about it."""

    def __init__(self, act: Step = F.relu, between: Step = lambda x: x, end: Step = lambda x: x, outputs: int = 4):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.third, self.head = nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.Linear(16, outputs)
        self.act, self.between, self.end = act, between, end

    def forward(self, x: Tensor) -> Any:
        """The logits (B, outputs), or what `end` makes of them."""
        x = self.act(self.second(self.act(self.first(x))))
        x = self.act(self.third(self.between(x)))
        return self.end(self.head(x.mean((2, 3))))


class Stubborn(Net):
    """Stays in training mode, and drops at random there."""

    def __init__(self) -> None:
        super().__init__(between=lambda x: F.dropout(x, 0.5, self.training))

    def train(self, mode: bool = True) -> nn.Module:
        """Trains whatever is asked for."""
        return super().train(True)


class WithoutGradient(Net):
    """Forbids gradients inside its forward."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)


def _raise(error: BaseException) -> Any:
    raise error


def _written_over(x: Tensor) -> Tensor:
    x *= 0.5
    x += x
    return x


_ONE_BY_ONE = partial(F.batch_norm, running_mean=None, running_var=None, training=True)
_VARIANTS: dict[str, dict[str, Any]] = {
    "net": {},
    # ends
    "softmax": {"end": lambda x: x.softmax(1)},
    "softmax_over_the_batch": {"end": lambda x: x.softmax(0)},
    "softmax_by_hand": {"end": lambda x: x.exp() / x.exp().sum(1, keepdim=True)},
    "softmax_twice": {"end": lambda x: x.softmax(1).softmax(1)},
    "log_softmax": {"end": lambda x: F.log_softmax(x, dim=1)},
    "log_of_softmax": {"end": lambda x: torch.log(x.softmax(1) + 1e-9)},
    "sigmoid": {"end": torch.sigmoid},
    "negated_softmax": {"end": lambda x: -x.softmax(1)},
    "scaled_softmax": {"end": lambda x: 100 * x.softmax(1)},
    "two_outputs": {"outputs": 2},
    "one_output": {"outputs": 1},
    "five_outputs": {"outputs": 5},
    "a_tuple": {"end": lambda x: (x, x)},
    "a_tuple_of_one": {"end": lambda x: (x,)},
    "a_dict": {"end": lambda x: {"logits": x}},
    "a_list": {"end": lambda x: [x]},
    "nothing": {"end": lambda x: None},
    "a_number": {"end": lambda x: 3},
    "logits_for_pixels": {"end": lambda x: x[:, :, None, None]},
    "logits_without_a_batch": {"end": lambda x: x[0]},
    "half": {"end": lambda x: x.half()},
    "double": {"end": lambda x: x.double()},
    "whole_numbers": {"end": lambda x: x.long()},
    "a_class_index": {"end": lambda x: x.argmax(1)},
    "complex": {"end": lambda x: x.to(torch.complex64)},
    "nan": {"end": lambda x: x * float("nan")},
    "infinite": {"end": lambda x: x / 0},
    "constant": {"end": lambda x: x * 0},
    "vast": {"end": lambda x: x * 1e30},
    "minute": {"end": lambda x: x * 1e-30},
    "rounded": {"end": torch.round},
    "detached": {"end": lambda x: x.detach()},
    "one_hot": {"end": lambda x: F.one_hot(x.argmax(1), 4).float()},
    # random, or not of the image alone
    "dropout_on": {"between": lambda x: F.dropout(x, 0.5)},
    "dropout_of_little": {"between": lambda x: F.dropout(x, 0.002)},
    "dropout_of_maps": {"between": lambda x: F.dropout2d(x, 0.3, True)},
    "noise": {"between": lambda x: x + 0.1 * torch.randn_like(x)},
    "noise_of_numpy": {"between": lambda x: x * float(np.random.rand())},  # noqa: NPY002
    "noise_of_python": {"between": lambda x: x * random.random()},
    "a_counter": {"between": lambda x: x + 0.1 * next(CALLS)},
    "batch_statistics": {"between": lambda x: _ONE_BY_ONE(x)},
    "mean_of_the_batch": {"between": lambda x: x - x.mean(0, keepdim=True)},
    "largest_of_the_batch": {"between": lambda x: x / x.abs().max()},
    "cumulative": {"between": lambda x: x.cumsum(0)},
    "turned_batch": {"between": lambda x: x.flip(0)},
    "quiet_softmax_over_the_batch": {"between": lambda x: x * x.softmax(0)},
    # activations
    "no_activation": {"act": lambda x: x},
    "silu_by_hand": {"act": lambda x: x * torch.sigmoid(x)},
    "relu_by_maximum": {"act": lambda x: torch.maximum(x, torch.zeros_like(x))},
    "relu_by_where": {"act": lambda x: torch.where(x > 0, x, 0 * x)},
    "relu_by_clamp": {"act": lambda x: x.clamp(min=0)},
    "relu_by_mask": {"act": lambda x: x * (x > 0)},
    "mish_by_hand": {"act": lambda x: x * torch.tanh(F.softplus(x))},
    "hard_swish_by_hand": {"act": lambda x: x * (x + 3).clamp(0, 6) / 6},
    "tanh": {"act": torch.tanh},
    "square": {"act": lambda x: x * x},
    "magnitude": {"act": torch.abs},
    "sine": {"act": torch.sin},
    "steps": {"act": torch.sign},
    "in_place": {"act": F.relu_},
    "written_over": {"between": _written_over},
    # what tracing or calling cannot do
    "branches": {"between": lambda x: x if x.sum() > 0 else -x},
    "python_numbers": {"between": lambda x: x * float(x.mean())},
    "loops_over_images": {"between": lambda x: torch.stack([image for image in x])},  # noqa: C416
    "fixed_batch": {"between": lambda x: x.reshape(1, 12, 16, 16)},
    "raises": {"between": lambda x: _raise(RuntimeError("not today"))},
    "raises_nothing_to_say": {"between": lambda x: _raise(AssertionError())},
    "exits": {"between": lambda x: sys.exit(7)},
    "one_map_gone": {"between": lambda x: torch.cat([x, x], 1)},
    "numpys": {"between": lambda x: torch.from_numpy(x.numpy())},
}


def _maker(options: dict[str, Any]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        return Net(**options)

    return make


globals().update({name: _maker(options) for name, options in _VARIANTS.items()})


def stubborn() -> nn.Module:
    """In training mode for ever."""
    return Stubborn()


def without_gradient() -> nn.Module:
    """Runs, and gives no gradient."""
    return WithoutGradient()


def scripted() -> nn.Module:
    """Compiled, so that it cannot be traced."""
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 4)))


def returns_none():
    """No model."""


def exits_itself():
    """Leaves while it is made."""
    sys.exit(3)


def needs_more(depth):
    """Cannot be called without arguments."""
    return Net()


def endless():
    """Calls itself."""
    return endless()


NO_FUNCTION = 5
STEADY = (
    "net softmax softmax_by_hand softmax_twice log_softmax log_of_softmax sigmoid silu_by_hand in_place "
    "relu_by_maximum relu_by_clamp relu_by_mask mish_by_hand hard_swish_by_hand tanh written_over "
    "a_tuple_of_one a_dict a_list"
).split()
"""Those that are sound, if unusual: they must be explained, not refused."""
UNSOUND = (
    "softmax_over_the_batch one_output five_outputs a_tuple nothing a_number logits_for_pixels "
    "a_class_index logits_without_a_batch half double whole_numbers complex nan infinite detached one_hot "
    "dropout_on noise a_counter dropout_of_little dropout_of_maps noise_of_numpy noise_of_python "
    "batch_statistics mean_of_the_batch turned_batch largest_of_the_batch cumulative "
    "quiet_softmax_over_the_batch no_activation branches python_numbers raises exits fixed_batch "
    "raises_nothing_to_say one_map_gone stubborn returns_none exits_itself needs_more endless nowhere"
).split()
"""Those of which every answer would be chance or nonsense."""
OTHERS = (
    "stubborn without_gradient scripted returns_none exits_itself needs_more endless NO_FUNCTION Net nowhere".split()
)
NAMES = (*_VARIANTS, *OTHERS)
