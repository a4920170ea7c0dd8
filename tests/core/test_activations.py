"""Activations are found by what they compute: as many layers as by name, with the same values; gates are none."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from aevis_dash.core.execution import Network
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AevisError


class Net(nn.Module):
    """conv, `activation`, conv, and a residual sum that the activation follows."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.a(x))
        return self.head(self.activation(self.b(x) + x).mean((2, 3)))


def traced(activation):
    return trace_model(Net(activation).eval(), (8, 8))


def kinds(found):
    return [layer.name.rstrip("_0123456789").split(".")[-1] for layer in found.layers.layers]


HOME_MADE = {
    "silu": (lambda x: x * torch.sigmoid(x), nn.SiLU()),
    "silu, method": (lambda x: x.sigmoid() * x, nn.SiLU()),
    "silu, in place": (lambda x: x.mul_(x.sigmoid()), nn.SiLU()),
    "silu by hand": (lambda x: x / (1 + torch.exp(-x)), nn.SiLU()),
    "hard swish": (lambda x: x * F.relu6(x + 3) / 6, nn.Hardswish()),
    "hard swish by modules": (lambda x: x * F.hardsigmoid(x), nn.Hardswish()),
    "mish": (lambda x: x * torch.tanh(F.softplus(x)), nn.Mish()),
    "gelu": (lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), nn.GELU()),
    "gelu by tanh": (
        lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3)))),
        nn.GELU(approximate="tanh"),
    ),
    "softsign by hand": (lambda x: x / (1 + x.abs()), nn.Softsign()),
    "clamp": (lambda x: x.clamp(min=0), nn.ReLU()),
    "clamp to 6": (lambda x: torch.clamp(x, 0, 6), nn.ReLU6()),
    "clamp_min": (lambda x: torch.clamp_min(x, 0), nn.ReLU()),
    "maximum": (lambda x: torch.maximum(x, torch.zeros(())), nn.ReLU()),
    "hardtanh": (F.hardtanh, nn.Hardtanh()),
    "tanh": (torch.tanh, nn.Tanh()),
    "sigmoid": (lambda x: x.sigmoid(), nn.Sigmoid()),
    "logsigmoid": (F.logsigmoid, nn.LogSigmoid()),
    "threshold": (lambda x: F.threshold(x, 0.1, 0.0), nn.Threshold(0.1, 0.0)),
    "hardshrink": (F.hardshrink, nn.Hardshrink()),
}


@pytest.mark.parametrize("way", HOME_MADE)
def test_a_home_made_activation_is_the_layer_that_its_module_is(way):
    home_made, module = HOME_MADE[way]
    found, wanted = traced(home_made), traced(module)
    assert len(found.layers) == len(wanted.layers) == 2
    assert found.ungated == wanted.ungated == ()
    x, gates = torch.randn(2, 3, 8, 8), torch.rand(1, 8)
    for given in (None, gates):
        values = [Network(t).record(x, (0, 1), given) for t in (found, wanted)]
        torch.testing.assert_close(values[0], values[1])


def swish(x):
    return x * torch.sigmoid(x)


class Swish(nn.Module):
    def forward(self, x):
        return swish(x)


def test_an_efficientnet_with_a_home_made_swish_has_the_layers_and_results_of_the_library():
    torch.manual_seed(0)
    model = torchvision.models.efficientnet_b0(weights=None).eval()
    home_made = copy.deepcopy(model)
    for module in list(home_made.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, Swish())
    found, wanted = trace_model(home_made, (64, 64)), trace_model(model, (64, 64))
    assert len(found.layers) == len(wanted.layers) > 48
    assert [x.channels for x in found.layers.layers] == [x.channels for x in wanted.layers.layers]
    assert found.layers.edges == wanted.layers.edges
    x, gates = torch.randn(1, 3, 64, 64), torch.rand(1, wanted.layers.n_maps)
    with torch.no_grad():
        for given in (None, gates):
            torch.testing.assert_close(Network(found).logits(x, given), Network(wanted).logits(x, given))
    gates_of_squeeze = "Sigmoid (features.1.0.block.1.scale_activation and 15 more)"
    products = "mul (features.1.0.block.1.mul and 15 more)"
    assert found.ungated_in_words == wanted.ungated_in_words == f"{gates_of_squeeze}, {products}"


def test_a_gate_of_the_models_own_is_no_layer_and_is_listed():
    gate = lambda x: torch.relu(x) * torch.sigmoid(x.mean((2, 3), keepdim=True) * 2 + 1)  # noqa: E731
    found = traced(gate)
    assert kinds(found) == ["relu", "add", "relu"]
    assert found.ungated_in_words == "sigmoid (sigmoid and 1 more), mul (mul_1 and 1 more)"


@torch.fx.wrap
def roots_of_positive_numbers(x):
    if (x < -100).any():
        raise ValueError("no root of a negative number")
    return x.sqrt()


@torch.fx.wrap
def positives(x):
    return x[x > 0].mean()


@torch.fx.wrap
def as_many_as_fire(x):
    return [x] * (1 + int((x > 0).sum() % 3))


@torch.fx.wrap
def squared_in_a_dict(x):
    return {"a": x * x}


@torch.fx.wrap
def first_number(x):
    return float(x.abs().max())


BENDING = {
    "as many numbers as fire": lambda x: x + positives(x),
    "as many tensors as fire": lambda x: as_many_as_fire(x)[0],
    "a dict": lambda x: squared_in_a_dict(x)["a"],
    "times a plain number of the image": lambda x: x * first_number(x),
    "spectrum": lambda x: torch.fft.fft2(x).abs(),
    "square of complex numbers": lambda x: (torch.fft.fft2(x) * torch.fft.fft2(x).conj()).real,
    "clamp very far away": lambda x: x.clamp(max=5000.0),
    "what refuses some numbers": lambda x: roots_of_positive_numbers(x),
    "softmax": lambda x: torch.softmax(x, 1),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "einsum": lambda x: torch.einsum("bchw,bchw->bchw", x, x),
    "maximum": lambda x: torch.maximum(x[:, :2], x[:, 2:]),
    "fmax": lambda x: torch.fmax(x, x.flip(1)),
    "amax": lambda x: torch.stack([x, x.flip(1)]).amax(0),
    "max of channels": lambda x: torch.max(x, dim=1, keepdim=True).values,
    "normalize": lambda x: F.normalize(x, dim=1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "mul": lambda x: x * x.mean(),
    "square": lambda x: x * x,
    "addcmul": lambda x: torch.addcmul(x, x, x),
    "floor": torch.floor,
    "round": lambda x: x.round(),
    "remainder": lambda x: torch.remainder(x, 1.0),
    "whole numbers": lambda x: x.int().float(),
    "exp2": torch.exp2,
    "cosh": torch.cosh,
    "atan2": lambda x: torch.atan2(x, x.flip(1)),
    "hypot": lambda x: torch.hypot(x, x.flip(1)),
    "logaddexp": lambda x: torch.logaddexp(x, x.flip(1)),
    "sort": lambda x: torch.sort(x, 1).values,
    "clamp from above": lambda x: x.clamp(max=6.0),
    "clamp far away": lambda x: x.clamp(-100.0, 100.0),
    "mask": lambda x: torch.where(x > 0, x, 0.1 * x),
    "abs": torch.abs,
    "reciprocal": lambda x: 1 / (x + 10),
}
STRAIGHT = {
    "sums": lambda x: x - x.mean((2, 3), keepdim=True) + 3 * x.sum(1, keepdim=True) - 1,
    "reshaping": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4).transpose(1, 2).flatten(1)[..., None, None],
    "parts": lambda x: torch.cat([torch.chunk(x, 2, 1)[1], torch.split(x, 2, 1)[0]], 1).flip(3).roll(1, 2),
    "pooling": lambda x: F.max_pool2d(x, 2) + F.adaptive_max_pool2d(x, 4) + F.lp_pool2d(x, 2, 2),
    "resizing": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "padding": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "convolution": lambda x: F.conv_transpose2d(x, torch.ones(4, 4, 2, 2)),
    "batch norm": lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4)),
    "its shape alone": lambda x: x * x.shape[2] + torch.zeros_like(x).exp(),
    "fourier transform": lambda x: torch.fft.ifft2(2 * torch.fft.fft2(x)).real,
    "what the output does not need": lambda x: (torch._assert((x >= 0).any(), "never"), torch.softmax(x, 1), x)[2],
    "other type": lambda x: x.double().contiguous().float(),
}


@pytest.mark.parametrize("way", BENDING)
def test_whatever_bends_the_numbers_without_a_gate_is_listed(way):
    """Between a ReLU and a residual sum, so that the net has layers that are gated whatever stands between."""
    assert traced(lambda x: torch.relu(BENDING[way](x)).mean((1, 2, 3), keepdim=True) + x).ungated


@pytest.mark.parametrize("way", STRAIGHT)
def test_what_is_straight_pooling_or_reshaping_is_not_listed(way):
    found = traced(lambda x: torch.relu(STRAIGHT[way](x)).mean((1, 2, 3), keepdim=True) + x)
    assert found.ungated_in_words == ""


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "shufflenet_v2_x0_5"])
def test_in_a_network_of_convolutions_nothing_is_without_a_gate(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    assert trace_model(torchvision.models.get_model(name, **options).eval(), (64, 64)).ungated == ()


def test_the_attention_of_a_transformer_is_listed():
    model = torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3).eval()
    wanted = "LayerNorm (encoder.layers.encoder_layer_0.ln and 2 more), MultiheadAttention"
    assert trace_model(model, (32, 32)).ungated_in_words.startswith(wanted)


def test_a_named_activation_before_a_home_made_one_stays_a_layer():
    found = traced(lambda x: swish(torch.relu(x)))
    assert kinds(found) == ["relu", "mul", "relu", "mul"]


@pytest.mark.parametrize(
    "steady",
    [
        lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=0),
        lambda x: x * x.mean(1, keepdim=True),
        lambda x: x * 2 + 1,
    ],
)
def test_what_bends_nothing_by_itself_is_no_layer(steady):
    assert kinds(traced(lambda x: torch.relu(steady(x)))) == ["relu", "add", "relu"]


def test_a_net_whose_functions_are_unknown_is_not_said_to_have_none():
    class Waves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(torch.sin(self.a(x)).mean((2, 3)))

    with pytest.raises(AevisError, match=r"its functions \(sin\) cannot be gated here"):
        trace_model(Waves().eval(), (8, 8))
