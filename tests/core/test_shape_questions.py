"""Models that ask for the shapes of their tensors are traced where the answer is the same for every image."""

import math

import pytest
import torch
from torch import nn

from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AevisError


class Asking(nn.Module):
    """Two convolutions, and a head; what is asked between them is the matter of the subclasses."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu, self.head = nn.ReLU(), nn.Linear(8, 3)

    def ask(self, x):
        return x

    def forward(self, x):
        return self.head(self.ask(self.relu(self.first(x))).mean((2, 3)))


class Checks(Asking):
    """Checks its input as many networks do, and pads what is of odd height."""

    def forward(self, x):
        if x.dim() != 4 or len(x.shape) != 4:
            raise ValueError("no batch of images")
        _, channels, height, width = x.shape
        if channels != 3 or width > 64:
            raise ValueError(f"images of {channels} channels, {width} columns")
        if height % 2:
            x = nn.functional.pad(x, (0, 0, 0, 1))
        if x.dtype != torch.float32:
            x = x.float()
        return super().forward(x)


class Counts(Asking):
    """Repeats a layer as often as the size of the image says."""

    def ask(self, x):
        for _ in range(int(math.sqrt(x.size(2) * x.shape[3])) // 8):
            x = self.relu(self.second(x))
        return x


class Kept(nn.Module):
    """Has a shape that only running it tells."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(8, 6, 3)

    def forward(self, x):
        return self.inner(x) if x.mean() > -1 else x


class OfKept(Asking):
    """Asks for the shape of what a module gives that is kept whole."""

    def __init__(self):
        super().__init__()
        self.kept, self.head = Kept(), nn.Linear(6, 3)

    def ask(self, x):
        x = self.kept(x)
        return self.relu(x) if x.shape[1] == 6 else self.relu(self.second(x))


@pytest.mark.parametrize(("kind", "layers"), [(Checks, 1), (Counts, 3), (OfKept, 2)])
def test_what_depends_on_sizes_alone_is_traced(kind, layers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = kind().eval(), torch.randn(5, 3, 17, 17)
    names = [name for name, _ in model.named_parameters()]
    traced = trace_model(model, (17, 17), ("Kept",) if kind is OfKept else ())
    assert len(traced.layers) == layers
    for images in (x, x[:1], x * 3):
        torch.testing.assert_close(traced.module(images), model(images))
    assert [name for name, _ in model.named_parameters()] == names


def test_a_model_that_takes_no_such_images_says_so_itself():
    with pytest.raises(AevisError, match="images of 3 channels, 80 columns"):
        trace_model(Checks().eval(), (16, 80))


class OfBatch(Asking):
    """Does something else for a single image."""

    def ask(self, x):
        return x * 2 if x.shape[0] == 1 else x


class OfLength(Asking):
    """Asks for the number of images in another way."""

    def ask(self, x):
        return torch.cat([x[i : i + 1] for i in range(len(x))])


class OfValue(Asking):
    """Branches on the image."""

    def ask(self, x):
        return x * 2 if x.mean() > 0 else x


class OfValuesSize(Asking):
    """Asks how many values are positive, which is a shape made of values."""

    def ask(self, x):
        return x * 2 if x[x > 0].shape[0] > 4 else x


class OfNumber(Asking):
    """Makes a number of the image."""

    def ask(self, x):
        return x * float(x.max())


@pytest.mark.parametrize("kind", [OfBatch, OfLength, OfValue, OfValuesSize, OfNumber])
def test_what_depends_on_the_image_or_their_number_is_refused(kind):
    with pytest.raises(AevisError, match=r"torch\.fx cannot trace .* at .*test_shape_questions\.py, line"):
        trace_model(kind().eval(), (16, 16))
