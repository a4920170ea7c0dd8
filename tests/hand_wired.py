"""Tiny nets whose only route to the prediction is known, and random ones that the slow twins can follow.

Every net is 3x3 convolutions, each followed by a call of ONE ReLU module, then the mean over positions and a linear
head. Class 1 has a small bias: with every map at 0 the net says class 1.
"""

from itertools import pairwise

import numpy as np
import reference
import torch
from torch import nn

from aevis_dash.config import ExtractionParameters
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.problem import Problem
from aevis_dash.domain import Preprocessing

SIZE = 8
CLASSES = ("zero", "one", "two")


class Chain(nn.Module):
    """conv -> relu, as often as `widths` has entries; with `skip` the first output is added before the last ReLU."""

    def __init__(self, widths, skip=False):
        super().__init__()
        ends = [3, *widths]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(ends))
        self.relu = nn.ReLU()
        self.head = nn.Linear(widths[-1], len(CLASSES))
        self.skip = skip

    def forward(self, x):
        first = None
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.skip and i == len(self.convs) - 1:
                x = x + first
            x = self.relu(x)
            first = x if first is None else first
        return self.head(x.mean((2, 3)))


class Inplace(nn.Module):
    """Writes in place in every way there is, also as a bare statement whose result nobody takes."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), *(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))])
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, len(CLASSES))

    def forward(self, x):
        x = self.relu(nn.functional.gelu(self.convs[0](x)))
        y = self.convs[1](x)
        y += x
        y = torch.relu_(y)
        y = nn.functional.relu(self.convs[2](y), inplace=True).mul_(0.5)
        z = self.convs[3](y)
        self.relu(z)
        w = self.convs[4](z)
        w.add_(z)
        w.relu_()
        return self.head(w.mean((2, 3)))


class Branching(nn.Module):
    """Not traceable: the forward branches on a value."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        if x.sum() > 0:  # the line that the error must name
            x = -x
        return torch.relu(self.conv(x)).mean((2, 3))


def classifier(model, size=SIZE, class_names=CLASSES, **preprocessing):
    """A Classifier of a model in eval mode."""
    return Classifier(model.eval(), Preprocessing((size, size), **preprocessing), class_names)


def images(seed, count=2, size=SIZE):
    """8-bit images (count, size, size, 3) of four coloured squares and a little noise, every pixel above black."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(60, 236, (count, 2, 2, 3)).repeat(size // 2, 1).repeat(size // 2, 2)
    return (squares + rng.integers(0, 20, squares.shape)).astype(np.uint8)


def random_net(seed, widths=(5, 6, 5), skip=False):
    """A net with random weights whose maps fire and whose prediction depends on the picture."""
    torch.manual_seed(seed)
    net = Chain(widths, skip)
    with torch.no_grad():
        for conv in net.convs:
            nn.init.kaiming_normal_(conv.weight)
            conv.bias.uniform_(0, 0.05)
        nn.init.normal_(net.head.weight, std=3.0)
        net.head.bias.zero_()
    return net.eval()


def weights(net):
    """A net's numbers as the slow twins want them."""
    layers = [*net.convs, net.head]
    arrays = [(layer.weight.detach().numpy().astype(float), layer.bias.detach().numpy()) for layer in layers]
    return {"convs": arrays[:-1], "head": arrays[-1]}


def _silent(widths, skip=False):
    net = Chain(widths, skip)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.head.bias[1] = 0.5
    return net.eval()


def _wire(conv, source, target, weight=1.0):
    """Channel `target` takes on the centre pixel of channel `source`."""
    with torch.no_grad():
        conv.weight[target, source, 1, 1] = weight


def route(a, b, c):
    """4 maps in each of 3 layers; image -> a -> b -> c is the only way to class 0; other maps feed class 1 or 2."""
    net = _silent((4, 4, 4))
    others = [[i for i in range(4) if i != at] for at in (a, b, c)]
    _wire(net.convs[0], 0, a)
    _wire(net.convs[1], a, b)
    _wire(net.convs[2], b, c)
    for colour in range(3):
        _wire(net.convs[0], colour, others[0][colour])
        _wire(net.convs[1], others[0][colour], others[1][colour])
        _wire(net.convs[2], others[1][colour], others[2][colour])
    with torch.no_grad():
        net.head.weight[0, c] = 8.0
        for i, other in enumerate(others[2]):
            net.head.weight[1 + i % 2, other] = 1.0
    return net


def skip_route(a):
    """3 layers of 3 maps; only map a of the first layer, carried around the second by the skip, gives class 0."""
    net = _silent((3, 3, 3), skip=True)
    for channel in range(3):
        _wire(net.convs[0], channel, channel)
        _wire(net.convs[1], channel, channel)
    with torch.no_grad():
        net.head.weight[0, a] = 8.0
        net.head.weight[2, (a + 1) % 3] = 1.0
    return net


def twins():
    """Maps 0 and 1 of the first layer do the same job, one a little better on green images, the other on blue ones."""
    net = _silent((3, 2))
    _wire(net.convs[0], 0, 0)
    _wire(net.convs[0], 1, 0, 0.2)
    _wire(net.convs[0], 0, 1)
    _wire(net.convs[0], 2, 1, 0.2)
    _wire(net.convs[0], 0, 2)
    _wire(net.convs[1], 0, 0)
    _wire(net.convs[1], 1, 0)
    _wire(net.convs[1], 2, 1)
    with torch.no_grad():
        net.head.weight[0, 0] = 12.0
        net.head.weight[2, 1] = 1.0
    return net


def against():
    """One layer of 3 maps: a (red) makes class 0, b (green) works against it, c (blue) helps it a little."""
    net = _silent((3,))
    for colour in range(3):
        _wire(net.convs[0], colour, colour)
    with torch.no_grad():
        net.head.weight[0] = torch.tensor([8.0, -6.0, 0.5])
    return net


def flat(*picks, widths):
    """A bool vector over all maps, true at the (layer, channel) pairs in `picks`."""
    starts = np.cumsum([0, *widths])
    chosen = np.zeros(starts[-1], bool)
    for layer, channel in picks:
        chosen[starts[layer] + channel] = True
    return chosen


def with_dead_maps(seed, dead, widths=(5, 6, 5)):
    """A random net whose channels `dead` (layer, channel) never fire."""
    net = random_net(seed, widths)
    with torch.no_grad():
        for layer, channel in dead:
            net.convs[layer].weight[channel] = 0
            net.convs[layer].bias[channel] = -1
    return net


def duplicated(seed, widths=(4, 5, 4)):
    """A random net each of whose maps stands twice, at k and at n_l + k: either of a pair does the job of both."""
    single, double = random_net(seed, widths), Chain([2 * width for width in widths])
    with torch.no_grad():
        for i, (one, two) in enumerate(zip(single.convs, double.convs, strict=True)):
            inputs = 1 if i == 0 else 2
            two.weight.copy_(one.weight.repeat(2, inputs, 1, 1) / inputs)
            two.bias.copy_(one.bias.repeat(2))
        double.head.weight.copy_(single.head.weight.repeat(1, 2) / 2)
        double.head.bias.copy_(single.head.bias)
    return double.eval()


def problem(model, pictures, given=(), foils=None, groups=None, **parameters):
    """An extraction problem of a net of this module."""
    return Problem(classifier(model), pictures, given, ExtractionParameters(**parameters), foils, groups)


def widths(model):
    return [conv.out_channels for conv in model.convs]


def parts(model, flat):
    """The entries of every layer of a flat array (n,)."""
    return np.split(np.asarray(flat, float), np.cumsum(widths(model))[:-1])


def pixels(image):
    """(3, H, W) as `classifier` gives an 8-bit image to its net."""
    return image.transpose(2, 0, 1) / 255


def logits_twin(model, image, gates=None):
    """(K,) of an 8-bit image with gates (n,), by the slow twin."""
    inside = None if gates is None else parts(model, gates)
    return reference.logits(weights(model), pixels(image), inside, model.skip)


def plain_logits(model, image, gates):
    """(m, K) float64 of one 8-bit image with each of the gates (m, n), in plain torch; differentiable by the gates."""
    value = torch.from_numpy(pixels(image))[None].expand(len(gates), -1, -1, -1)
    first, last = None, len(model.convs) - 1
    for i, (conv, gate) in enumerate(zip(model.convs, gates.double().split(widths(model), 1), strict=True)):
        value = nn.functional.conv2d(value, conv.weight.detach().double(), conv.bias.detach().double(), padding=1)
        value = value + first if model.skip and i == last else value
        value = value.clamp_min(0) * gate[:, :, None, None]
        first = value if first is None else first
    return nn.functional.linear(
        value.mean((2, 3)), model.head.weight.detach().double(), model.head.bias.detach().double()
    )


def of_one_class(model, seed, count):
    """`count` images that the net predicts as one class."""
    found = images(seed, 12 * count)
    labels = np.array([p.label for p in classifier(model).predict(found)])
    return found[labels == np.bincount(labels).argmax()][:count]
