"""Receptive fields against the gradient: the hull of what can move an area, never less."""

import hand_wired
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from aevis_dash.core.execution import Network
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.core.receptive import field_of, field_on_image, field_on_layer, fields_on_image, neurons_that_feed
from aevis_dash.domain import AevisError, AreaOfInterest


class Stack(nn.Module):
    """Convolutions and pools, each followed by a ReLU; equal shapes may be joined by a skip connection.

    Every weight is positive and `twin` replaces each maximum by a sum over the same window, so the gradient of
    the twin is nonzero exactly where a position can be read.
    """

    def __init__(self, specs, twin):
        super().__init__()
        self.steps = nn.ModuleList(self._step(twin, *spec[:-1]) for spec in specs)
        self.skips = [spec[-1] for spec in specs]
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)

    @staticmethod
    def _step(twin, kind, kernel, stride, padding, dilation):
        if kind == "conv" or (kind == "max" and twin):
            return nn.Conv2d(3, 3, kernel, stride, padding, dilation, bias=False)
        if kind == "max":
            return nn.MaxPool2d(kernel, stride, padding, dilation)
        return nn.AvgPool2d(kernel, stride, padding)

    def forward(self, x):
        for step, skip in zip(self.steps, self.skips, strict=True):
            y = step(x)
            x = F.relu(y + x) if skip else F.relu(y)
        return x.mean((2, 3))


@st.composite
def step(draw):
    kind = draw(st.sampled_from(["conv", "max", "avg"]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    if draw(st.booleans()) and kind == "conv":
        dilation = draw(st.integers(1, 2))
        odd = tuple(k | 1 for k in kernel)
        return kind, odd, 1, tuple(dilation * (k - 1) // 2 for k in odd), dilation, True
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    return kind, kernel, stride, padding, 1 if kind == "avg" else draw(st.integers(1, 2)), False


def hull(gradient):
    moved = gradient.abs().sum((0, 1)) > 0
    rows, columns = moved.any(1).nonzero().flatten(), moved.any(0).nonzero().flatten()
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def _covers(outer, inner):
    return all(a <= b for a, b in zip(outer[:2], inner[:2], strict=True)) and all(
        a >= b for a, b in zip(outer[2:], inner[2:], strict=True)
    )


def corners(area):
    return area.top, area.left, area.bottom, area.right


def sensitivity(model, x, start, area):
    """Gradient of the area's sum towards the values after step `start` (-1: the image), in double precision."""
    value = x.double().requires_grad_()
    wanted = value
    for i, (layer, skip) in enumerate(zip(model.double().steps, model.skips, strict=True)):
        after = layer(value)
        value = F.relu(after + value) if skip else F.relu(after)
        wanted = value if i == start else wanted
    total = value[:, :, area.top : area.bottom, area.left : area.right].sum()
    return torch.autograd.grad(total, wanted)[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(step(), min_size=1, max_size=4), st.integers(9, 17), st.integers(9, 17), st.data())
def test_the_field_is_the_hull_of_what_the_gradient_reaches(specs, height, width, data):
    x = torch.ones(1, 3, height, width)
    try:
        traced = trace_model(Stack(specs, twin=False).eval(), (height, width))
    except (RuntimeError, AevisError):  # a window larger than what is left of the image
        assume(False)
    last = traced.layers.layers[-1]
    top, left = data.draw(st.integers(0, last.height - 1)), data.draw(st.integers(0, last.width - 1))
    bottom, right = data.draw(st.integers(top + 1, last.height)), data.draw(st.integers(left + 1, last.width))
    area = AreaOfInterest(last.index, top, left, bottom, right)
    twin, checked = Stack(specs, twin=True), 0
    for start in range(-1, len(specs) - 1):
        gradient = sensitivity(twin, x, start, area)
        if not gradient.any():  # the area reads nothing but padding
            continue
        checked += 1
        found = field_on_image(traced, area) if start < 0 else field_on_layer(traced, area, start)
        if any(dilation > 1 and any(padding) for _, _, _, padding, dilation, _ in specs):
            assert _covers(corners(found), hull(gradient))  # may begin in a gap of the dilation
        else:
            assert corners(found) == hull(gradient)
    assume(checked)


class Functional(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, x):
        return F.relu(self.pool(F.relu(x))).mean((2, 3))


WHOLE, OWN = (0, 0, 8, 8), (1, 2, 2, 3)


@pytest.mark.parametrize(
    ("function", "field"),
    [
        (lambda x: F.max_pool2d(x, 2), (2, 4, 4, 6)),
        (lambda x: F.avg_pool2d(x, 2), (2, 4, 4, 6)),
        (lambda x: torch.max_pool2d(x, 2), (2, 4, 4, 6)),
        (lambda x: F.max_pool2d(x, 3, 2, 1), (1, 3, 4, 6)),
        (lambda x: F.max_pool2d(x, kernel_size=(3, 1), stride=2, padding=(1, 0)), (1, 4, 4, 5)),
        (lambda x: F.avg_pool2d(x, 3, stride=2, padding=1), (1, 3, 4, 6)),
        (lambda x: F.max_pool2d(x, 3, 1, 1, 2), (0, 1, 5, 6)),
        (lambda x: F.adaptive_avg_pool2d(x, 4), WHOLE),
        (lambda x: F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), WHOLE),
        (lambda x: x * x.mean((2, 3), keepdim=True), WHOLE),
        (lambda x: torch.roll(x, 1, 2), WHOLE),
        (lambda x: x.flip(3), WHOLE),
        (lambda x: x.transpose(2, 3), WHOLE),
        (lambda x: x.softmax(3), WHOLE),
        (lambda x: x @ x, WHOLE),
        (lambda x: torch.sigmoid(x).mul(2).clamp(0, 1) - x * 0.5, OWN),
        (lambda x: F.batch_norm(x, torch.zeros(3), torch.ones(3)), OWN),
        (lambda x: torch.cat([x, x], 1), OWN),
        (lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), OWN),
    ],
)
def test_functions_are_read_as_modules_are_and_mixing_ones_as_a_whole(function, field):
    traced = trace_model(Functional(function).eval(), (8, 8))
    area = AreaOfInterest(traced.layers.layers[-1].index, *OWN)
    assert corners(field_on_layer(traced, area, 0)) == field


@pytest.mark.parametrize("pool", [lambda x: x.mean((2, 3), keepdim=True), lambda x: F.adaptive_avg_pool2d(x, 1)])
def test_global_pooling_reads_everything(pool):
    traced = trace_model(Functional(pool).eval(), (8, 8))
    assert corners(field_on_layer(traced, AreaOfInterest(1, 0, 0, 1, 1), 0)) == WHOLE
    assert corners(field_on_image(traced, AreaOfInterest(1, 0, 0, 1, 1))) == WHOLE


class Coordinates(nn.Module):
    """Coordinate attention: the map times what its rows and its columns hold on average."""

    def __init__(self):
        super().__init__()
        self.rows, self.columns = nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d((1, None))
        self.row_gate, self.column_gate = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.row_gate(self.rows(x))) * torch.sigmoid(self.column_gate(self.columns(x)))


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(3), nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Squeeze(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.gate(self.pool(x)))


@pytest.mark.parametrize(
    ("step", "exact"),
    [
        (nn.AdaptiveAvgPool2d((None, 1)), False),
        (Coordinates(), False),
        (nn.ZeroPad2d((2, 0, 0, 0)), False),
        (nn.LayerNorm([3, 12, 12]), True),
        (nn.LayerNorm(12), False),
        (nn.Linear(12, 12), False),
        (Squeeze(), True),
        (ChannelsLast(), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_field_covers_what_moves_other_positions(step, exact):
    net = nn.Sequential(nn.ReLU(), step, nn.ReLU()).double().eval()
    x = torch.rand(1, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    after = net[:2](x)
    left = min(5, after.shape[3] - 1)
    (gradient,) = torch.autograd.grad(after[:, 1, 5, left].sum(), x)
    traced = trace_model(nn.Sequential(*net).float(), (12, 12))
    found = corners(field_on_image(traced, AreaOfInterest(1, 5, left, 6, left + 1)))
    assert found == hull(gradient) if exact else _covers(found, hull(gradient))


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_with_the_images_own_pixels_is_part_of_the_field(mode):
    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, padding_mode=mode), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    nn.init.constant_(net[0].weight, 1.0)
    traced, x = trace_model(net.eval(), (8, 8)), torch.ones(1, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(net[:2](x)[:, :, 0, 0].sum(), x)
    top, left, bottom, right = corners(field_on_image(traced, AreaOfInterest(0, 0, 0, 1, 1)))
    assert _covers((top, left, bottom, right), hull(gradient))


@pytest.mark.parametrize(
    "name",
    ["resnet18", "densenet121", "googlenet", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "swin_t"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_field_is_never_too_small_in_a_real_network(name, seed):
    options = {"init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(seed)
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    traced, rng = trace_model(model, (96, 64)), np.random.default_rng(seed)
    spatial = [layer for layer in traced.layers.layers if layer.height * layer.width > 1]
    for index in sorted(rng.choice(len(spatial), 4, replace=False)):
        layer = spatial[index]
        top, left = (int(rng.integers(0, extent)) for extent in (layer.height, layer.width))
        area = AreaOfInterest(layer.index, top, left, top + 1, left + 1)
        x = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        value = Network(traced).activation(x, layer.index)
        assert value.shape[2:] == (layer.height, layer.width)
        (gradient,) = torch.autograd.grad(value[:, :, top, left].sum(), x)
        assert gradient.any(), layer.name
        field = field_on_image(traced, area)
        outside = gradient.clone()
        outside[:, :, field.top : field.bottom, field.left : field.right] = 0
        assert not outside.any(), layer.name


def test_an_area_that_the_layer_does_not_feed_has_no_field():
    traced = trace_model(Functional(lambda x: x).eval(), (8, 8))
    with pytest.raises(ValueError, match="does not feed"):
        field_on_layer(traced, AreaOfInterest(0, 0, 0, 1, 1), 1)


def test_single_neurons_are_fed_by_their_own_fields_alone():
    """Two far corners of a 3x3 convolution's map: two corners of the earlier one, nothing in between."""
    traced = trace_model(hand_wired.random_net(0), (8, 8))
    corners = AreaOfInterest(1, 0, 0, 8, 8, (0, 63))
    wanted = np.zeros((8, 8), bool)
    wanted[:2, :2] = wanted[6:, 6:] = True
    np.testing.assert_array_equal(neurons_that_feed(traced, corners, 0), wanted)


def test_neurons_picked_one_by_one_are_fed_like_their_rectangle():
    traced = trace_model(hand_wired.random_net(0), (8, 8))
    whole = AreaOfInterest(2, 2, 3, 5, 7)
    picked = AreaOfInterest(2, 2, 3, 5, 7, tuple(range(12)))
    np.testing.assert_array_equal(*(neurons_that_feed(traced, area, 0) for area in (whole, picked)))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "swin_t"])
def test_fields_of_all_neurons_at_once_are_those_of_each(name):
    """Also where an operation reads the whole of what it is given, as swin_t's attention does."""
    traced = trace_model(torchvision.models.get_model(name, weights=None).eval(), (96, 64))
    chosen = {0, len(traced.layers) // 2, len(traced.layers) - 1}
    for layer in (traced.layers.layers[i] for i in chosen):
        rows, columns = fields_on_image(traced, layer.index)
        assert (rows.shape, columns.shape) == ((layer.height, 2), (layer.width, 2))
        for row, column in [(0, 0), (layer.height // 2, layer.width // 3), (layer.height - 1, layer.width - 1)]:
            one = field_on_image(traced, AreaOfInterest(layer.index, row, column, row + 1, column + 1))
            assert corners(one) == (rows[row, 0], columns[column, 0], rows[row, 1], columns[column, 1])
        area = AreaOfInterest(layer.index, layer.height // 3, layer.width // 2, layer.height, layer.width)
        assert field_of((rows, columns), area) == field_on_image(traced, area)
