"""Gated, recorded and partial runs against the model itself and the slow twin; the model is never touched."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import hand_wired
import numpy as np
import pytest
import reference
import torch
import torchvision
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from aevis_dash.config import ContributionParameters, ExtractionParameters
from aevis_dash.core.contribution import contribute
from aevis_dash.core.datapath import extract
from aevis_dash.core.execution import Network
from aevis_dash.core.gated_run import apply_gate
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AreaOfInterest, FeatureMap


def noise(seed, count=2, size=64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def random_gates(seed, network, count=2):
    return torch.rand(count, network.layers.n_maps, generator=torch.Generator().manual_seed(seed))


def resnet18(seed=0):
    torch.manual_seed(seed)
    return torchvision.models.resnet18(weights=None).eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (resnet18, 64),
        (lambda: torchvision.models.densenet121(weights=None).eval(), 64),
        (lambda: torchvision.models.convnext_tiny(weights=None).eval(), 64),
        (lambda: hand_wired.Inplace().eval(), 8),
    ],
    ids=["resnet18", "densenet121", "convnext_tiny", "inplace"],
)
def test_gates_at_one_give_the_models_own_logits(make, size):
    model, x = make(), noise(1, size=size)
    network = Network(trace_model(model, (size, size)))
    wanted = model(x.clone())
    assert torch.equal(network.logits(x), wanted)
    assert torch.equal(network.logits(x, torch.ones(1, network.layers.n_maps)), wanted)
    assert torch.equal(network.logits(x, torch.ones(2, network.layers.n_maps)), wanted)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 3, 16])
def test_gate_zero_kills_that_channel_and_no_other(layer):
    network = Network(trace_model(resnet18(), (64, 64)))
    gates = torch.ones(1, network.layers.n_maps)
    gates[0, network.layers.offsets[layer] + 5] = 0
    plain, gated = (network.record(noise(2), [layer], g)[1][layer] for g in (None, gates))
    assert not gated[:, 5].any()
    assert plain[:, 5].any()
    others = [c for c in range(plain.shape[1]) if c != 5]
    assert torch.equal(gated[:, others], plain[:, others])


@torch.no_grad()
def test_channels_last_gates_act_on_channels():
    network = Network(trace_model(torchvision.models.convnext_tiny(weights=None).eval(), (64, 64)))
    layer = next(layer for layer, axis in zip(network.layers.layers, network.traced.axes, strict=True) if axis == 3)
    gates = torch.ones(1, network.layers.n_maps)
    gates[0, network.layers.offsets[layer.index] + 7] = 0
    value = network.record(noise(3), [layer.index], gates)[1][layer.index]
    assert value.shape == (2, layer.channels, layer.height, layer.width)
    assert [c for c in range(layer.channels) if not value[:, c].any()] == [7]


@torch.no_grad()
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_gates_equal_the_twin(seed, skip):
    model = hand_wired.random_net(seed, skip=skip)
    network, x = Network(trace_model(model, (8, 8))), noise(seed, size=8)
    gates = random_gates(seed, network)
    found, recorded = network.record(x, range(3), gates)
    for i in range(2):
        parts = list(network.layers.parts(gates[i].numpy()))
        twin = reference.activations(hand_wired.weights(model), x[i].numpy(), parts, skip)
        for layer in range(3):
            np.testing.assert_allclose(recorded[layer][i], twin[layer], atol=1e-5)
        np.testing.assert_allclose(
            found[i], reference.logits(hand_wired.weights(model), x[i].numpy(), parts, skip), atol=1e-5
        )


@torch.no_grad()
@pytest.mark.parametrize("skip", [False, True])
def test_steered_runs_equal_the_twin(skip):
    """The net calls one ReLU module three times: what sits on modules in place of call sites is told apart here."""
    model = hand_wired.random_net(2, skip=skip)
    network, x, other = Network(trace_model(model, (8, 8))), noise(2, size=8), noise(3, size=8)
    gates, steps = random_gates(4, network), 2 * random_gates(5, network)
    own, foil = (network.record(v, range(3))[1] for v in (x, other))
    found = network.run_steered(x, gates, steps, {i: own[i] - foil[i] for i in range(3)})
    weights = hand_wired.weights(model)
    for i in range(2):
        sides = [reference.activations(weights, v[i].numpy(), skip=skip) for v in (x, other)]
        differences = [a - b for a, b in zip(*sides, strict=True)]
        inside = [list(network.layers.parts(v[i].numpy())) for v in (gates, steps)]
        twin = reference.steered_logits(weights, x[i].numpy(), *inside, differences, skip)
        np.testing.assert_allclose(found[i], twin, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("make", [resnet18, lambda: torchvision.models.convnext_tiny(weights=None).eval()])
def test_steering_by_nothing_changes_nothing_and_taking_the_whole_value_is_a_gate(make):
    network, x = Network(trace_model(make(), (64, 64))), noise(6)
    ones, some = torch.ones(2, network.layers.n_maps), random_gates(7, network)
    values = network.record(x, range(len(network.layers)))[1]
    assert torch.equal(network.run_steered(x, ones, ones, values), network.logits(x))
    last = {len(network.layers) - 1: values[len(network.layers) - 1]}
    start = network.layers.offsets[-2]
    gates = torch.cat([ones[:, :start], some[:, start:]], 1)
    torch.testing.assert_close(
        network.run_steered(x, ones, gates, last), network.logits(x, gates), atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 16), (2, 7), (7, 8), (15, 16)])
def test_a_partial_run_equals_the_whole_one(first, last):
    network, x = Network(trace_model(resnet18(), (64, 64))), noise(4)
    layer = network.layers.layers[first]
    start, stop = network.layers.offsets[first : first + 2]
    gates = torch.ones(2, network.layers.n_maps)
    gates[:, start:stop] = random_gates(5, network)[:, start:stop]
    part = network.part(first, last)
    state = part.prepare(x)
    for chosen in (torch.ones_like(gates), gates):
        whole = network.record(x, [last], chosen)[1][last]
        found = part.run_gated(state, chosen[:, start:stop])
        assert (found - whole).abs().max() <= 1e-6 * whole.abs().max()
    assert layer.channels == stop - start


@torch.no_grad()
def test_a_part_to_the_logits_takes_its_images_as_often_as_asked():
    network, x = Network(trace_model(resnet18(), (64, 64))), noise(4)
    gate = random_gates(5, network, 3)[:, : network.layers.offsets[1]]
    part = network.part(0, None)
    found = part.run_gated(part.prepare(x), gate, rows=torch.tensor([1, 0, 1]))
    whole = torch.ones(3, network.layers.n_maps)
    whole[:, : gate.shape[1]] = gate
    torch.testing.assert_close(found, network.logits(x[[1, 0, 1]], whole), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_bypasses_the_first_layer_is_held_fixed():
    model = hand_wired.random_net(3, widths=(5, 6, 5), skip=True)
    network, x = Network(trace_model(model, (8, 8))), noise(6, size=8)
    part = network.part(1, 2)
    gate = torch.rand(2, 6, generator=torch.Generator().manual_seed(7))
    found = part.run_gated(part.prepare(x), gate)
    for i in range(2):
        parts = [np.ones(5), gate[i].numpy(), np.ones(5)]
        twin = reference.activations(hand_wired.weights(model), x[i].numpy(), parts, skip=True)
        np.testing.assert_allclose(found[i], twin[2], atol=1e-5)


class Convolutions(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@torch.no_grad()
@pytest.mark.parametrize(("first", "last", "convolutions"), [(1, 2, 1), (0, 2, 2), (2, 4, 2), (0, 16, 19)])
def test_a_partial_run_runs_nothing_outside_the_part(first, last, convolutions):
    network = Network(trace_model(resnet18(), (64, 64)))
    part = network.part(first, last)
    state = part.prepare(noise(8))
    with Convolutions() as seen:
        part.run_gated(state, torch.ones(2, network.layers.layers[first].channels))
    assert seen.count == convolutions


@torch.no_grad()
def test_partial_runs_leave_their_state_alone():
    network = Network(trace_model(hand_wired.Inplace().eval(), (8, 8)))
    part = network.part(0, len(network.layers) - 1)
    state = part.prepare(noise(9, size=8))
    ones = torch.ones(2, 4)
    first = part.run_gated(state, ones)
    part.run_gated(state, 0 * ones)
    assert torch.equal(part.run_gated(state, ones), first)


def test_recorded_values_are_not_written_over():
    network, x = Network(trace_model(hand_wired.Inplace().eval(), (8, 8))), noise(10, size=8)
    with torch.no_grad():
        _, together = network.record(x, range(len(network.layers)))
        alone = {i: network.activation(x, i) for i in range(len(network.layers))}
    for i, value in together.items():
        assert torch.equal(value, alone[i]), network.layers.layers[i].name


@pytest.mark.parametrize(("first", "last"), [(2, 1), (1, 1)])
def test_a_part_that_leads_nowhere_is_refused(first, last):
    network = Network(trace_model(hand_wired.random_net(0), (8, 8)))
    with pytest.raises(ValueError, match="does not feed"):
        network.part(first, last)


@torch.no_grad()
def test_the_batch_does_not_matter():
    network, x = Network(trace_model(resnet18(), (64, 64))), noise(11, count=3)
    gates = random_gates(12, network, 3)
    together = network.logits(x, gates)
    alone = torch.cat([network.logits(x[i : i + 1], gates[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_apply_gate_acts_inside_the_mask_alone(seed, axis):
    rng = np.random.default_rng(seed)
    value, gate, mask = rng.normal(size=(2, 5, 4, 6)), rng.uniform(size=(2, 5)), rng.uniform(size=(4, 6)) < 0.5
    wanted = value.copy()
    for image, channel, row, col in np.ndindex(value.shape):
        wanted[image, channel, row, col] *= gate[image, channel] if mask[row, col] else 1.0
    tensors = torch.from_numpy(np.moveaxis(value, 1, axis)), torch.from_numpy(gate)
    found = apply_gate(*tensors, axis, torch.from_numpy(mask)).movedim(axis, 1)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    outside = found.movedim(1, -1)[:, ~torch.from_numpy(mask)]
    assert np.array_equal(outside, np.moveaxis(value, 1, -1)[:, ~mask])
    whole = apply_gate(*tensors, axis).movedim(axis, 1)
    np.testing.assert_allclose(whole, value * gate[:, :, None, None])


def _everything(model):
    """All that a careless tool leaves behind in a model."""
    hooks = [name for name in vars(nn.Module()) if name.endswith("_hooks")]
    modules = {
        name: (m.training, "forward" in vars(m), sorted(vars(m)), [len(getattr(m, hook)) for hook in hooks])
        for name, m in model.named_modules()
    }
    parameters = {name: (p.requires_grad, p.grad is None, id(p)) for name, p in model.named_parameters()}
    values = {name: v.cpu().numpy().tobytes() for name, v in model.state_dict().items()}
    return modules, parameters, values


class Cancelled(Exception):
    pass


def _cancel(share, what):
    if share > 0.2:
        raise Cancelled


def _success(c):
    for method in ("elimination", "constrained", "straight-through"):
        list(extract(c, hand_wired.images(0), [], ExtractionParameters(method, iterations=3, samples=2, rounds=3)))
    contribute(c, hand_wired.images(0), FeatureMap(2, 0), AreaOfInterest(2, 0, 0, 8, 8), 0, ContributionParameters())


def _error_in_the_middle(c):
    with pytest.raises(RuntimeError, match="While executing %"):
        c.network.logits(c.inputs(hand_wired.images(0, 2)), torch.ones(3, c.layers.n_maps))


def _cancelled_extraction(c):
    with pytest.raises(Cancelled):
        list(extract(c, hand_wired.images(0), [], ExtractionParameters(), _cancel))


def _cancelled_contribution(c):
    area = AreaOfInterest(2, 0, 0, 8, 8)
    with pytest.raises(Cancelled):
        contribute(c, hand_wired.images(0), FeatureMap(2, 0), area, 0, ContributionParameters(), _cancel)


@pytest.mark.parametrize("use", [_success, _error_in_the_middle, _cancelled_extraction, _cancelled_contribution])
@pytest.mark.parametrize("make", [lambda: hand_wired.random_net(0, skip=True), lambda: hand_wired.Inplace().eval()])
def test_the_model_is_not_touched(make, use):
    model = make()
    next(model.parameters()).requires_grad_(False)
    before = _everything(model)
    use(hand_wired.classifier(model))
    assert _everything(model) == before
    assert torch.is_grad_enabled()


def test_an_untraceable_model_is_not_touched():
    model = hand_wired.Branching().eval()
    before, call = _everything(model), nn.Module.__call__
    with pytest.raises(Exception, match="Branching"):
        trace_model(model, (8, 8))
    assert _everything(model) == before
    assert nn.Module.__call__ is call


def test_two_threads_record_at_once():
    network = Network(trace_model(resnet18(), (64, 64)))
    jobs = [(noise(seed), random_gates(seed, network)) for seed in (20, 21)]

    def record(x, gates, barrier=None):
        with torch.no_grad():
            if barrier:
                barrier.wait()
            return [network.record(x, [0, 8, 16], gates) for _ in range(3)]

    alone = [record(*job)[0] for job in jobs]
    barrier = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        both = [f.result() for f in [pool.submit(record, *job, barrier) for job in jobs]]
    for (logits, recorded), runs in zip(alone, both, strict=True):
        for found, values in runs:
            torch.testing.assert_close(found, logits, atol=1e-6, rtol=1e-5)
            for layer in recorded:
                torch.testing.assert_close(values[layer], recorded[layer], atol=1e-6, rtol=1e-5)


class Optional(nn.Module):
    """A network whose forward takes more than the image, each with a default."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x, mask=None, causal: bool = False, scale=2.0):
        """Give the logits; torch.fx keeps what is not the image as inputs of the graph."""
        x = torch.relu(self.conv(x)) * scale
        pooled = nn.functional.scaled_dot_product_attention(x.flatten(2), x.flatten(2), x.flatten(2), mask, 0.0, causal)
        return self.fc(pooled.mean(2))


@torch.no_grad()
def test_what_a_forward_takes_beside_the_image_keeps_its_default_in_partial_runs():
    model, x = Optional().eval(), noise(3, size=8)
    network = Network(trace_model(model, (8, 8)))
    wanted = torch.relu(model.conv(x))
    assert torch.equal(network.activation(x, 0), wanted)
    assert torch.equal(network.drive(x, 0), model.conv(x))
    part = network.part(0, None)
    state = part.prepare(x)
    torch.testing.assert_close(part.run(state, state.start), model(x))
