"""Patching one run's maps into another, against the slow twin, plain torch and nets whose answer is known."""

import hand_wired
import numpy as np
import pytest
import reference
import torch
import torchvision
from torch import nn

from aevis_dash.core.intervention import (
    STEPS,
    Exchange,
    Measured,
    best_first,
    control_strengths,
    flip_sizes,
    random_order,
    single_map_effects,
)
from aevis_dash.workbench import open_workbench

B = 3
WIDTHS = (5, 6, 5)


def pair(seed, count=B):
    return hand_wired.images(seed, count), hand_wired.images(seed + 100, count)


def chosen_maps(seed, n_maps, count=B):
    return np.random.default_rng(seed).uniform(size=(count, n_maps)) < 0.5


def tensors(c, *images):
    return [c.inputs(x).numpy() for x in images]


def torchvision_net(architecture, seed=0):
    torch.manual_seed(seed)
    model = torchvision.models.get_model(architecture, weights=None).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("layer_scale"):  # born at 1e-6, where no block matters
                parameter.fill_(1)
    return model, hand_wired.classifier(model, 32, tuple(map(str, range(1000))))


def noise(seed, count=B, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_a_patch_equals_the_twin(skip, layer):
    net = hand_wired.random_net(layer, WIDTHS, skip)
    c, (into, out_of) = hand_wired.classifier(net), pair(layer)
    chosen = chosen_maps(layer, WIDTHS[layer])
    found = Exchange(c, into, out_of, layer).logits(chosen)
    for i, (receiver, donor) in enumerate(zip(*tensors(c, into, out_of), strict=True)):
        twin = reference.patched_logits(hand_wired.weights(net), receiver, donor, layer, chosen[i], skip)
        np.testing.assert_allclose(found[i], twin, atol=1e-4)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_no_map_or_the_receivers_own_maps_change_nothing(layer):
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(1, WIDTHS, skip=True)), pair(1)
    own = c.network.logits(c.inputs(into)).detach().numpy()
    nothing = np.zeros((B, WIDTHS[layer]), bool)
    np.testing.assert_allclose(Exchange(c, into, out_of, layer).logits(nothing), own, atol=1e-5)
    for chosen in (~nothing, chosen_maps(2, WIDTHS[layer])):
        np.testing.assert_allclose(Exchange(c, into, into, layer).logits(chosen), own, atol=1e-5)


@pytest.mark.parametrize(
    ("skip", "layer", "cut"), [(False, 0, True), (False, 1, True), (True, 0, True), (True, 1, False)]
)
def test_a_whole_cut_gives_the_donors_logits_and_what_is_bypassed_does_not(skip, layer, cut):
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(2, WIDTHS, skip)), pair(2)
    found = Exchange(c, into, out_of, layer).logits(np.ones((B, WIDTHS[layer]), bool))
    donor = c.network.logits(c.inputs(out_of)).detach().numpy()
    assert np.allclose(found, donor, atol=1e-5) == cut


def test_rows_may_repeat_and_come_in_any_order():
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(3, WIDTHS, skip=True)), pair(3)
    rows, chosen = np.array([2, 0, 2, 1, 2]), chosen_maps(3, 6, 5)
    found = Exchange(c, into, out_of, 1, batch=2).logits(chosen, rows)
    for row, mask, logits in zip(rows, chosen, found, strict=True):
        alone = Exchange(c, into[row : row + 1], out_of[row : row + 1], 1).logits(mask[None])
        np.testing.assert_allclose(logits, alone[0], atol=1e-5)


def test_model_inputs_do_as_well_as_images():
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(4, WIDTHS)), pair(4)
    chosen = chosen_maps(4, 5)
    found = [Exchange(c, *two, 0).logits(chosen) for two in ((into, out_of), (c.inputs(into), c.inputs(out_of)))]
    assert np.array_equal(*found)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_single_maps_equal_the_twin_one_by_one(skip, layer):
    net = hand_wired.random_net(5 + layer, WIDTHS, skip)
    c, (into, out_of) = hand_wired.classifier(net), pair(5 + layer)
    channels = random_order(B, WIDTHS[layer], 5)[:, :4]
    up, down = np.array([0, 1, 2]), np.array([1, 2, 0])
    found = single_map_effects(c, into, out_of, layer, channels, up, down, batch=5)
    assert found.values.shape == (B, 4)
    for i, (receiver, donor) in enumerate(zip(*tensors(c, into, out_of), strict=True)):

        def margin(chosen, i=i, receiver=receiver, donor=donor):
            logits = reference.patched_logits(hand_wired.weights(net), receiver, donor, layer, chosen, skip)
            return logits[up[i]] - logits[down[i]]

        for j, channel in enumerate(channels[i]):
            alone = np.arange(WIDTHS[layer]) == channel
            wanted = margin(alone) - margin(np.zeros(WIDTHS[layer], bool))
            np.testing.assert_allclose(found.values[i, j], wanted, atol=2e-4)
    assert np.abs(found.values).max() > 0.1


def test_a_dead_map_has_no_effect_and_costs_nothing():
    net = hand_wired.random_net(6, WIDTHS)
    with torch.no_grad():
        net.convs[1].weight[2] = 0
        net.convs[1].bias[2] = -1
    c, (into, out_of) = hand_wired.classifier(net), pair(6)
    every, labels = np.tile(np.arange(6), (B, 1)), np.zeros(B, int)
    found = single_map_effects(c, into, out_of, 1, every, labels, labels + 1)
    assert not found.values[:, 2].any()
    assert found.values[:, [c for c in range(6) if c != 2]].any()
    dead = single_map_effects(c, into, out_of, 1, every[:, 2:3], labels, labels + 1)
    assert not dead.values.any()
    assert dead.passes == pytest.approx(1)
    same = single_map_effects(c, into, into, 1, every, labels, labels + 1)
    assert not same.values.any()
    assert same.passes == pytest.approx(1)


def counting_net(bias):
    """One layer of 8 maps, all alike and brightness itself; class 0 by their sum, class 1 by `bias`."""
    net = hand_wired.Chain((8,)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.convs[0].weight[:, 0, 1, 1] = 1
        net.head.weight[0] = 1
        net.head.bias[1] = bias
    return net


@pytest.mark.parametrize(("bias", "wanted"), [(-1.0, 0), (0.5, 1), (2.5, 3), (4.5, 5), (6.5, 7), (7.5, 8), (8.5, 9)])
def test_as_many_maps_as_it_takes_are_found(bias, wanted):
    c = hand_wired.classifier(counting_net(bias))
    dark, white = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    orders = np.stack([random_order(2, 8, seed) for seed in range(3)])
    found = flip_sizes(c, dark, white, 0, orders, np.zeros(2, int))
    assert found.values.tolist() == [[wanted] * 2] * 3
    assert found.passes <= (2 + 2 + 3 * np.log2(8)) / 3 + 1e-6


def test_the_order_decides_how_many_maps_it_takes():
    c = hand_wired.classifier(hand_wired.route(1, 2, 3))
    colours = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])[:, :, None, None].expand(2, 3, 8, 8)
    into, out_of = colours[:1], colours[1:]
    orders = np.array([[[2, 0, 1, 3]], [[0, 2, 1, 3]], [[0, 1, 3, 2]]])
    assert flip_sizes(c, into, out_of, 1, orders, np.array([0])).values.tolist() == [[1], [2], [4]]


def test_the_size_found_flips_and_one_map_less_does_not():
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(8, (12, 12))), pair(8, 8)
    labels = c.network.logits(c.inputs(out_of)).detach().numpy().argmax(1)
    orders = np.stack([random_order(8, 12, seed) for seed in range(4)])
    found = flip_sizes(c, into, out_of, 0, orders, labels, batch=3).values
    exchange = Exchange(c, into, out_of, 0)
    between = (found > 0) & (found <= 12)
    assert between.any()
    for size, order in zip(found, orders, strict=True):
        for less, says in ((0, True), (1, False)):
            chosen = order.argsort(1) < (size - less)[:, None]
            here = (size > 0) & (size <= 12)
            assert ((exchange.logits(chosen).argmax(1) == labels) == says)[here].all()


def test_the_batch_does_not_matter():
    _, c = torchvision_net("convnext_tiny")
    into, out_of, layer = noise(1), noise(2), 3
    n_maps = c.layers.layers[layer].channels
    channels, up, down = random_order(B, n_maps, 0)[:, :4], np.array([3, 4, 5]), np.array([6, 7, 8])
    labels = Exchange(c, into, out_of, layer).logits(np.ones((B, n_maps), bool)).argmax(1)
    orders = random_order(B, n_maps, 1)[None]

    def run(batch):
        effects = single_map_effects(c, into, out_of, layer, channels, up, down, batch)
        return effects, flip_sizes(c, into, out_of, layer, orders, labels, batch)

    (effects, sizes), *others = [run(batch) for batch in (1, 2, 5, 64)]
    assert np.abs(effects.values).max() > 1e-4
    assert 0 < sizes.values.min() < sizes.values.max() <= n_maps, "every label is turned, and not by as many maps"
    for other_effects, other_sizes in others:
        np.testing.assert_allclose(other_effects.values, effects.values, atol=1e-5)
        assert np.array_equal(other_sizes.values, sizes.values)
        assert other_effects.passes == pytest.approx(effects.passes)
        assert other_sizes.passes == pytest.approx(sizes.passes)


class Sized(nn.Module):
    """Uses a size taken before the layer, and a tensor without a row per image, after it."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(256, 3)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x):
        count = x.shape[0]
        return self.head((torch.relu(self.conv(x)) * self.scale).reshape(count, -1))


def test_sizes_and_parameters_at_the_border_fit_the_rows():
    torch.manual_seed(0)
    c = hand_wired.classifier(Sized())
    into, out_of = pair(9, 4)
    rows, chosen = np.array([3, 1, 1, 0, 2, 3]), chosen_maps(9, 4, 6)
    found = Exchange(c, into, out_of, 0).logits(chosen, rows)
    for row, mask, logits in zip(rows, chosen, found, strict=True):
        alone = Exchange(c, into[row : row + 1], out_of[row : row + 1], 0).logits(mask[None])
        np.testing.assert_allclose(logits, alone[0], atol=1e-5)


def resnet_by_hand(model, x, block, call, patch):
    """The logits of a ResNet-18, with `patch` on what the ReLU of one basic block gives at its first or second call."""
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    blocks = [b for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for b in stage]
    for i, b in enumerate(blocks):
        first = b.relu(b.bn1(b.conv1(x)))
        first = patch(first) if (i, call) == (block, 0) else first
        x = b.relu(b.bn2(b.conv2(first)) + (x if b.downsample is None else b.downsample(x)))
        x = patch(x) if (i, call) == (block, 1) else x
    return model.fc(torch.flatten(model.avgpool(x), 1))


@torch.no_grad()
@pytest.mark.parametrize("call", [0, 1])
@pytest.mark.parametrize("block", [1, 6])
def test_a_call_site_is_patched_and_not_its_module(block, call):
    model, c = torchvision_net("resnet18")
    layer = 1 + 2 * block + call
    into, out_of, kept = noise(3), noise(4), []
    resnet_by_hand(model, out_of, block, call, lambda value: kept.append(value) or value)
    chosen = chosen_maps(5, c.layers.layers[layer].channels)
    mask = torch.from_numpy(chosen)[:, :, None, None]
    wanted = resnet_by_hand(model, into, block, call, lambda value: torch.where(mask, kept[0], value))
    found = Exchange(c, into, out_of, layer).logits(chosen)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert (wanted - model(into)).abs().max() > 1e-2


@torch.no_grad()
def test_channels_last_maps_are_patched_by_channel():
    model, c = torchvision_net("convnext_tiny")
    gelus = [name for name, module in model.named_modules() if isinstance(module, nn.GELU)]
    layer = next(i for i, entry in enumerate(c.layers.layers) if entry.name == gelus[1])
    into, out_of, kept = noise(6), noise(7), []
    chosen = chosen_maps(8, c.layers.layers[layer].channels)
    mask = torch.from_numpy(chosen)[:, None, None, :]
    module = model.get_submodule(gelus[1])
    with module.register_forward_hook(lambda *call: kept.append(call[2])):
        model(out_of)
    with module.register_forward_hook(lambda *call: torch.where(mask, kept[0], call[2])):
        wanted = model(into)
    np.testing.assert_allclose(Exchange(c, into, out_of, layer).logits(chosen), wanted, atol=1e-5)
    assert (wanted - model(into)).abs().max() > 1e-2


def first_logit(logits):
    return logits[:, 0]


def test_the_largest_difference_comes_first():
    net = hand_wired.random_net(9, WIDTHS)
    c, (into, out_of) = hand_wired.classifier(net), pair(9)
    found = best_first(control_strengths(Exchange(c, into, out_of, 1, batch=2), first_logit))[0]
    for order, receiver, donor in zip(found, *tensors(c, into, out_of), strict=True):
        one, other = (reference.activations(hand_wired.weights(net), x)[1] for x in (receiver, donor))
        apart = [reference.norm((a - b).ravel()) for a, b in zip(one, other, strict=True)]
        assert order.tolist() == sorted(range(6), key=lambda channel, apart=apart: -apart[channel])
    same = control_strengths(Exchange(c, into, into, 1), first_logit)
    assert best_first(same).tolist() == [[list(range(6))] * B] * 3, "equal ones stay in the order of the channels"


@pytest.mark.parametrize("skip", [False, True])
def test_attribution_patching_is_a_control_at_one_point_and_integrated(skip):
    net, (into, out_of) = hand_wired.random_net(19, WIDTHS, skip), pair(19)
    c = hand_wired.classifier(net)
    found = control_strengths(Exchange(c, into, out_of, 1), first_logit)
    for i, (receiver, donor) in enumerate(zip(*tensors(c, into, out_of), strict=True)):
        logits = on_the_way(net, receiver, donor, 1)
        first = lambda shares, logits=logits: logits(shares)[0]  # noqa: E731
        np.testing.assert_allclose(found[1, i], reference.slopes(first, np.zeros(6)), atol=1e-3)
        np.testing.assert_allclose(found[2, i], reference.integrated(first, 6, STEPS), atol=1e-3)
    assert STEPS == 8


def on_the_way(net, receiver, donor, layer):
    """The logits (K,) of the slow twin where map k of a layer is shares[k] of the way from receiver to donor."""
    weights, skip = hand_wired.weights(net), net.skip
    start, end = (reference.activations(weights, x, skip=skip) for x in (receiver, donor))

    def logits(shares):
        values = list(start)
        values[layer] = start[layer] + shares[:, None, None] * (end[layer] - start[layer])
        for later in range(layer + 1, len(values)):
            value = reference.conv3x3(values[later - 1], *weights["convs"][later])
            values[later] = np.maximum(value + (values[0] if skip and later == len(values) - 1 else 0), 0)
        return weights["head"][0] @ values[-1].mean((1, 2)) + weights["head"][1]

    return logits


def lead(up, down):
    """What the logits (B, K) give as margins (B,) of the labels `up` over `down`."""
    rows = np.arange(len(up))
    return lambda logits: logits[rows, up] - logits[rows, down]


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_integrated_effects_are_the_twins_mean_slope_on_the_way(skip, layer):
    net, (into, out_of) = hand_wired.random_net(11 + layer, WIDTHS, skip), pair(11 + layer)
    c, up, down = hand_wired.classifier(net), np.array([0, 1, 2]), np.array([1, 2, 0])
    found = Exchange(c, into, out_of, layer, batch=7).integrate(lead(up, down), steps=4)
    assert found.shape == (B, WIDTHS[layer])
    for i, (receiver, donor) in enumerate(zip(*tensors(c, into, out_of), strict=True)):
        logits = on_the_way(net, receiver, donor, layer)
        np.testing.assert_allclose(
            logits(np.ones(WIDTHS[layer])),
            reference.patched_logits(hand_wired.weights(net), receiver, donor, layer, np.ones(WIDTHS[layer]), skip),
        )
        places = [np.full(WIDTHS[layer], share) for share in (0.125, 0.375, 0.625, 0.875)]
        slopes = [reference.slopes(lambda z, i=i, at=logits: at(z)[up[i]] - at(z)[down[i]], z) for z in places]
        np.testing.assert_allclose(found[i], np.mean(slopes, axis=0), atol=1e-4)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_integrated_effects_sum_to_what_exchanging_the_layer_changes(skip, layer):
    """Also where the layer is no cut, and what bypasses it stays the receiver's."""
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(12, WIDTHS, skip)), pair(12)
    exchange, margin = Exchange(c, into, out_of, layer), lead(np.array([0, 1, 2]), np.array([1, 2, 0]))
    none, every = (margin(exchange.logits(np.full((B, WIDTHS[layer]), chosen))) for chosen in (False, True))
    np.testing.assert_allclose(exchange.integrate(margin, 400).sum(1), every - none, rtol=0.01)


def test_integrated_effects_do_not_depend_on_the_batch_and_count_their_runs():
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(13, WIDTHS, skip=True)), pair(13)
    exchanges = [Exchange(c, into, out_of, 1, batch) for batch in (32, 7, 1)]
    found = [exchange.integrate(lead(np.array([0, 1, 2]), np.array([1, 2, 0])), 10) for exchange in exchanges]
    assert [exchange.runs for exchange in exchanges] == [2 * B + 3 * 10 * B] * 3
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)
    with pytest.raises(ValueError, match="at least 1 step"):
        exchanges[0].integrate(lambda logits: logits[:, 0], 0)


@pytest.fixture(scope="module")
def fooled(drawn_world):
    """The shipped network's classifier, eight of its real adversarials, their sources, and the labels of both."""
    bench = open_workbench(drawn_world)
    chosen = [judged for judged in bench.judging.judged_examples() if judged.misclassified][:8]
    adv, src = ([getattr(j.example, kind) for j in chosen] for kind in ("adversarial", "source"))
    labels = [np.array([p.label for p in bench.judging.predict(names)]) for names in (adv, src)]
    return bench.classifier, *(bench.workspace.read(names) for names in (adv, src)), *labels


@pytest.mark.parametrize("layer", [0, 6, 12, 18, 22])
def test_on_a_cut_of_the_drawn_world_effects_sum_to_the_change_of_the_margin(fooled, layer):
    """Within 1 %, which the slope at the source alone misses on every pair, by half on the average."""
    c, adv, src, adv_labels, src_labels = fooled
    margin = lead(src_labels, adv_labels)
    exchange = Exchange(c, src, adv, layer)
    assert exchange.is_cut
    before, after = (margin(c.network.logits(c.inputs(images)).detach().numpy()) for images in (src, adv))
    assert (after - before < -1).all()
    first_order = exchange.slopes(np.zeros(exchange.shape, bool), margin)
    off, slopes_off = (
        abs(effects.sum(1) / (after - before) - 1) for effects in (exchange.integrate(margin, 32), first_order)
    )
    assert off.max() < 0.01
    assert slopes_off.min() > 0.01
    assert slopes_off.mean() > 0.25


@pytest.mark.parametrize("layer", [0, 6, 12, 18, 24])
def test_in_the_drawn_world_identical_runs_change_nothing_and_a_used_map_does(fooled, layer):
    c, adv, src, adv_labels, src_labels = fooled
    margin = lead(src_labels, adv_labels)
    same, exchange = Exchange(c, adv, adv, layer), Exchange(c, adv, src, layer)
    own = c.network.logits(c.inputs(adv)).detach().numpy()
    np.testing.assert_allclose(same.logits(chosen_maps(0, same.shape[1], len(adv))), own, atol=1e-4)
    assert not same.integrate(margin, 2).any()
    used = abs(exchange.integrate(margin, 4)).argmax(1)
    alone = used[:, None] == np.arange(exchange.shape[1])
    assert (abs(margin(exchange.logits(alone)) - margin(own)) > 0.01).all()


def test_a_random_order_holds_every_map_once_and_comes_again():
    found = random_order(50, 8, 3)
    assert (np.sort(found, axis=1) == np.arange(8)).all()
    assert len({tuple(order) for order in found}) > 40
    assert np.array_equal(found, random_order(50, 8, 3))
    assert not np.array_equal(found, random_order(50, 8, 4))


def test_results_are_numpy_and_the_model_is_left_alone():
    c, (into, out_of) = hand_wired.classifier(hand_wired.Inplace()), pair(10)
    before = {name: value.clone() for name, value in c.network.traced.module.state_dict().items()}
    exchange = Exchange(c, into, out_of, 1)
    everything = np.ones((B, 4), bool)
    first = exchange.logits(everything)
    exchange.logits(~everything)
    assert np.array_equal(exchange.logits(everything), first)
    assert exchange.runs == 5 * B
    assert isinstance(first, np.ndarray)
    found = single_map_effects(c, into, out_of, 1, np.zeros((B, 1), int), np.zeros(B, int), np.ones(B, int))
    assert isinstance(found, Measured)
    assert isinstance(found.values, np.ndarray)
    assert all(torch.equal(value, before[name]) for name, value in c.network.traced.module.state_dict().items())
    assert torch.is_grad_enabled()


class Unread(nn.Module):
    """Its second activation reaches no logit."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        torch.sigmoid(torch.relu(x - 1))
        return self.head(x.mean((2, 3)))


def test_what_does_not_fit_is_refused():
    c, (into, out_of) = hand_wired.classifier(hand_wired.random_net(0, WIDTHS)), pair(0)
    for two in ((into, out_of[:2]), (into[:2], out_of)):
        with pytest.raises(ValueError, match="not pairs"):
            Exchange(c, *two, 0)
    for chosen in (np.ones((B, 6), bool), np.ones((2, 5), bool), np.ones((B, 5))):
        with pytest.raises(ValueError, match="chosen"):
            Exchange(c, into, out_of, 0).logits(chosen)
    for orders in (np.zeros((1, B, 5), int), random_order(B, 6, 0)[None, :, :5]):
        with pytest.raises(ValueError, match="every channel"):
            flip_sizes(c, into, out_of, 0, orders, np.zeros(B, int))
    with pytest.raises(ValueError, match="does not feed the logits"):
        Exchange(hand_wired.classifier(Unread()), into, out_of, 1)
