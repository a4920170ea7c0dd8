"""Layers are call sites of the traced graph, with their channel axis and the edges between neighbours."""

import inspect
from collections import Counter
from pathlib import Path

import hand_wired
import pytest
import torch
import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode

from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AevisError

ACTIVATIONS = {"relu", "relu_", "gelu", "silu", "silu_", "hardswish", "hardswish_", "hardtanh", "hardtanh_"}


class Calls(TorchDispatchMode):
    """Counts the aten operators that really run."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count[func.__name__.split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def from_torchvision(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, **options).eval()


@pytest.mark.parametrize(
    ("name", "sites", "maps"), [("resnet18", 17, 3904), ("resnet50", 49, 22720), ("resnet101", 100, 48832)]
)
def test_a_resnet_has_a_layer_for_each_call_of_relu(name, sites, maps):
    layers = trace_model(from_torchvision(name), (64, 64)).layers
    assert (len(layers), layers.n_maps) == (sites, maps)
    assert layers.offsets[-1] == sum(layer.channels for layer in layers.layers)


FAMILIES = {
    "densenet121": 0,
    "googlenet": 0,
    "mobilenet_v3_small": 6,
    "efficientnet_b0": 9,
    "convnext_tiny": 18,
    "shufflenet_v2_x0_5": 0,
    "squeezenet1_1": 0,
    "regnet_y_400mf": 0,
    "swin_t": 24,
}


@pytest.mark.parametrize(("name", "sums"), FAMILIES.items())
def test_every_activation_that_runs_is_a_layer(name, sums):
    model = from_torchvision(name)
    with torch.no_grad(), Calls() as calls:
        model(torch.zeros(1, 3, 64, 64))
    ran = sum(calls.count[a] for a in ACTIVATIONS)
    assert len(trace_model(model, (64, 64)).layers) == ran + sums


def test_one_relu_module_called_three_times_is_three_layers():
    traced = trace_model(hand_wired.random_net(0), (8, 8))
    assert [layer.name for layer in traced.layers.layers] == ["relu", "relu_1", "relu_2"]
    assert [layer.channels for layer in traced.layers.layers] == [5, 6, 5]
    assert {(layer.height, layer.width) for layer in traced.layers.layers} == {(8, 8)}


class Sum(nn.Module):
    """A residual sum written in one of four ways, then what `after` makes of it."""

    def __init__(self, way, after):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.way, self.after = way, after

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        if self.way == "+=":
            a += b
        elif self.way == "add_":
            a.add_(b)
        else:
            a = a + b if self.way == "+" else torch.add(a, b)
        return self.after(a).mean((2, 3))


@pytest.mark.parametrize("way", ["+", "+=", "add", "add_"])
@pytest.mark.parametrize(
    ("after", "names"),
    [
        (torch.relu, ["relu"]),
        (lambda x: x, ["sum"]),
        (lambda x: torch.relu(x) + x, ["sum", "relu", "sum"]),
    ],
    ids=["relu", "nothing", "both"],
)
def test_a_residual_sum_is_a_layer_unless_an_activation_alone_follows(way, after, names):
    layers = trace_model(Sum(way, after).eval(), (8, 8)).layers.layers
    assert ["relu" if "relu" in layer.name else "sum" for layer in layers] == names


def test_a_bias_or_a_number_added_is_no_residual_sum():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, x):
            return torch.relu(x + self.shift + 1).mean((2, 3)) + x.size(0)

    assert len(trace_model(Shifted().eval(), (8, 8)).layers) == 1


class ChannelsLast(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.linear, self.tokens = nn.Linear(3, 7), tokens

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        x = nn.functional.gelu(self.linear(x.flatten(1, 2) if self.tokens else x))
        return x.flatten(1, -2).mean(1)


class FixedSize(ChannelsLast):
    """Tokens with a position embedding: accepts one image size only."""

    def __init__(self):
        super().__init__(tokens=True)
        self.place = nn.Parameter(torch.zeros(64, 3))

    def forward(self, x):
        return nn.functional.gelu(self.linear(x.flatten(2).transpose(1, 2) + self.place)).mean(1)


@pytest.mark.parametrize(
    ("model", "axis", "extent"),
    [(ChannelsLast(False), 3, (8, 8)), (ChannelsLast(True), 2, (8, 8)), (FixedSize(), 2, (8, 8))],
    ids=["map", "tokens", "fixed size"],
)
def test_channels_last(model, axis, extent):
    traced = trace_model(model.eval(), (8, 8))
    layer = traced.layers.layers[-1]
    assert traced.axes[-1] == axis
    assert (layer.channels, layer.height, layer.width) == (7, *extent)


def test_a_layer_without_positions_is_one_neuron_wide():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    layer = trace_model(model, (8, 8)).layers.layers[0]
    assert (layer.channels, layer.height, layer.width) == (5, 1, 1)


@pytest.mark.parametrize(("skip", "edges"), [(False, {(0, 1), (1, 2)}), (True, {(0, 1), (1, 2), (0, 2)})])
def test_edges_follow_the_skip_connection(skip, edges):
    assert set(trace_model(hand_wired.random_net(0, skip=skip), (8, 8)).layers.edges) == edges


def test_edges_of_a_resnet_lead_from_every_block_to_the_next_and_the_next_but_one():
    edges = set(trace_model(from_torchvision("resnet18"), (64, 64)).layers.edges)
    assert edges == {(i, i + 1) for i in range(16)} | {(i, i + 2) for i in range(0, 15, 2)}


def test_groups_are_the_modules_around_the_site():
    layers = trace_model(from_torchvision("resnet50"), (64, 64)).layers
    assert layers.find("layer1.0.relu_2").group == ("layer1", "layer1.0")
    assert layers.find("relu").group == ()
    with pytest.raises(AevisError, match=r"layer1\.0\.relu"):
        layers.find("layer1.0.gelu")


def test_the_error_of_an_untraceable_model_names_file_and_line():
    lines = Path(hand_wired.__file__).read_text().splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if "the line that the error must name" in text)
    with pytest.raises(AevisError) as caught:
        trace_model(hand_wired.Branching().eval(), (8, 8))
    assert "Branching" in str(caught.value)
    assert f"{inspect.getfile(hand_wired)}, line {line} " in str(caught.value)


class Outer(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.relu(self.inner(x))


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (nn.DataParallel, r"class DataParallel, spreads .*Hand over the module inside, `\.module`"),
        (AveragedModel, r"class AveragedModel, averages .*Hand over the module inside, `\.module`"),
        (torch.compile, r"class OptimizedModule, was wrapped by torch\.compile.*`\._orig_mod`"),
        (
            torch.jit.script,
            r"class RecursiveScriptModule, is compiled TorchScript.*Hand over the module it was made from",
        ),
        (
            lambda model: torch.jit.trace(model, torch.zeros(1, 3, 8, 8)),
            r"class TopLevelTracedModule, is compiled TorchScript",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_wraps_a_model_is_called_by_its_name_also_inside_one(wrap, words):
    wrapped = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval())
    for model, where in ((wrapped, "the model, of the "), (Outer(wrapped), "the module 'inner', of the ")):
        with pytest.raises(AevisError, match=where + words) as said:
            trace_model(model.eval(), (8, 8))
        assert "branching" not in str(said.value)


def test_a_forward_that_ends_the_program_is_not_told_to_branch_less():
    class Leaving(nn.Module):
        def forward(self, x):
            raise SystemExit(3)

    with pytest.raises(AevisError, match=r"Leaving cannot be run at .*it ends the program \(SystemExit: 3\)") as said:
        trace_model(Leaving().eval(), (8, 8))
    assert "branching" not in str(said.value)


def test_a_model_without_any_feature_map_is_refused():
    with pytest.raises(AevisError, match="no activation function"):
        trace_model(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval(), (8, 8))


class Squares(nn.Module):
    """Its only function is a product of a tensor with itself."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last((x * x).mean((2, 3)))


def test_a_function_that_cannot_be_gated_is_named_and_not_denied():
    with pytest.raises(AevisError, match=r"its functions \(mul\) cannot be gated here") as caught:
        trace_model(Squares().eval(), (8, 8))
    assert "no activation function" not in str(caught.value)


def test_a_gated_linear_unit_is_told_to_have_no_gate():
    """Its halves are other maps than what it gives, so it is no activation of one map, and no silence either."""
    halves = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GLU(1), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    traced = trace_model(halves.eval(), (8, 8))
    assert [traced.describe(node) for node in traced.ungated] == ["1 (GLU)"]
    assert len(traced.layers) == 1


def test_a_timm_model_traces():
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_resnet", pretrained=False).eval()
    with torch.no_grad(), Calls() as calls:
        model(torch.zeros(1, 3, 64, 64))
    assert len(trace_model(model, (64, 64)).layers) == sum(calls.count[a] for a in ACTIVATIONS) > 0
