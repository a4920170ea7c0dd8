"""Edges between the maps of two layers, against plain torch; what edges carry, against runs by hand."""

import hand_wired
import numpy as np
import pytest
import torch

from aevis_dash.core.edges import CHANCE, EdgeBench, strongest_edges
from aevis_dash.core.turning import turning_effects
from aevis_dash.domain import AevisError

WIDTHS = (4, 5, 4)


def pair(seed, skip=False):
    """A model, and two images (1, H, W, 3) that it predicts as classes 0 and 1, whichever is which."""
    model, (adv, src) = hand_wired.random_net(seed, WIDTHS, skip), hand_wired.images(seed)
    apart = [logits[0] - logits[1] for logits in (hand_wired.logits_twin(model, image) for image in (adv, src))]
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([-sum(apart) / 2, 0.0, -1e3]))
    return model, adv[None], src[None]


def tensor(image):
    return torch.from_numpy(hand_wired.pixels(image[0])).float()[None]


def layers_of(model, x):
    """The activations of the three layers, by the plain model."""
    found = []
    for i, conv in enumerate(model.convs):
        x = conv(x) + (found[0] if model.skip and i == 2 else 0)
        found.append(x := torch.relu(x))
    return found


def rest(model, value, layer, first):
    """The logits from the activations of a layer on; `first` are those of the first layer, for the skip."""
    for i in range(layer + 1, 3):
        value = torch.relu(model.convs[i](value) + (first if model.skip and i == 2 else 0))
    return model.head(value.mean((2, 3)))


def margins(model, adv, src):
    before, wanted = (int(model(tensor(image)).argmax()) for image in (adv, src))
    return lambda logits: logits[:, wanted] - logits[:, before]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("earlier", "later"), [(0, 1), (1, 2), (0, 2)])
def test_effects_are_what_their_definition_says(skip, earlier, later):
    model, adv, src = pair(1, skip)
    a, s, margin = tensor(adv), tensor(src), margins(model, adv, src)
    difference = (layers_of(model, s)[earlier] - layers_of(model, a)[earlier]).detach()
    into, points = [0, 3], 3
    expected = np.zeros((WIDTHS[earlier], len(into)))
    for k in range(points):
        x = a + (k + 0.5) / points * (s - a)
        values = [value.detach() for value in layers_of(model, x)]
        end = values[later].clone().requires_grad_()
        (slope,) = torch.autograd.grad(margin(rest(model, end, later, values[0])).sum(), end)
        begin, others = values[earlier].clone().requires_grad_(), values[0]
        value = begin
        for i in range(earlier + 1, later + 1):
            first = begin if earlier == 0 else others
            value = torch.relu(model.convs[i](value) + (first if skip and i == 2 else 0))
        for place, channel in enumerate(into):
            through = (value[:, channel] * slope[:, channel]).sum()
            (back,) = torch.autograd.grad(through, begin, retain_graph=True)
            expected[:, place] += (back * difference).sum((0, 2, 3)).numpy() / points
    found = EdgeBench(hand_wired.classifier(model), adv, src, earlier, later).effects(into, points)
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1e-3, np.abs(expected).max()))
    assert np.abs(expected).max() > 1e-3


def test_through_all_maps_of_a_cut_an_edge_carries_the_turning_effect_of_its_map():
    model, adv, src = pair(2)
    classifier = hand_wired.classifier(model)
    effects = EdgeBench(classifier, adv, src, 0, 1).effects(range(5), 8)
    turning = classifier.layers.part(turning_effects(classifier, adv, src, 8).effects, 0)
    np.testing.assert_allclose(effects.sum(1), turning, atol=1e-4 * np.abs(turning).max())


@pytest.mark.parametrize("skip", [False, True])
def test_what_edges_carry_is_what_a_run_by_hand_gives(skip):
    """Each map at an edge's end is computed from its own mixture; the maps without an edge stay as on adv."""
    model, adv, src = pair(3, skip)
    a, s, margin = tensor(adv), tensor(src), margins(model, adv, src)
    with torch.no_grad():
        own, other = layers_of(model, a), layers_of(model, s)
        bench = EdgeBench(hand_wired.classifier(model), adv, src, 0, 1)
        edges = [(0, 1), (2, 1), (3, 4)]
        value = own[1].clone()
        for end, begins in ((1, [0, 2]), (4, [3])):
            mixed = own[0].clone()
            mixed[:, begins] = other[0][:, begins]
            value[:, end] = torch.relu(model.convs[1](mixed))[:, end]
        assert bench.carried(edges) == pytest.approx(float(margin(rest(model, value, 1, own[0]))), abs=1e-4)
        assert bench.carried([]) == pytest.approx(float(margin(model(a))), abs=1e-4)
        whole = torch.relu(model.convs[1](other[0]))
        assert bench.carried_by_all() == pytest.approx(float(margin(rest(model, whole, 1, own[0]))), abs=1e-4)
        every = [(k, m) for k in range(4) for m in range(5)]
        assert bench.carried(every) == pytest.approx(bench.carried_by_all(), abs=1e-4)


def test_the_strongest_edges_keep_more_than_random_ones_and_are_told_with_these():
    model, adv, src = pair(4)
    classifier = hand_wired.classifier(model)
    bench = EdgeBench(classifier, adv, src, 0, 1)
    turning = classifier.layers.part(turning_effects(classifier, adv, src).effects, 1)
    found = strongest_edges(bench, turning, 4)
    effects = bench.effects(range(5))
    best = np.sort(effects[effects > 0])[::-1][:4]
    np.testing.assert_allclose(found.effects, best, atol=1e-5)
    assert [effects[k, m] for k, m in zip(found.begin, found.end, strict=True)] == pytest.approx(best.tolist())
    assert found.carried == pytest.approx(bench.carried(list(zip(found.begin, found.end, strict=True))))
    assert len(found.chance) == CHANCE
    assert found.kept(found.before) == 0
    assert found.kept(found.all_carried) == 1
    assert found.kept(found.carried) > np.median(found.kept(found.chance))
    assert set(found.end) <= set(range(5))
    every = strongest_edges(bench, turning, 1000)
    assert len(every.begin) == (effects > 0).sum()
    again = strongest_edges(bench, turning, 4)
    np.testing.assert_array_equal(found.chance, again.chance)


def test_where_there_are_no_other_edges_none_are_drawn():
    model, adv, src = pair(4)
    classifier = hand_wired.classifier(model)
    bench = EdgeBench(classifier, adv, src, 0, 1)
    effects, turning = bench.effects(range(5)), np.zeros(5, np.float32)
    one = int(np.argmax((effects > 0).sum(0)))
    turning[one] = 1.0
    found = strongest_edges(bench, turning, 1000)
    whole = (bench.difference > 0).sum()
    assert set(found.end) == {one}
    assert (len(found.chance) == 0) == (len(found.begin) == whole)


def test_controls_end_where_the_found_edges_end(monkeypatch):
    model, adv, src = pair(2)
    bench, carried = EdgeBench(hand_wired.classifier(model), adv, src, 0, 1), []
    real = bench.carried
    monkeypatch.setattr(bench, "carried", lambda edges: carried.append(list(edges)) or real(edges))
    found = strongest_edges(bench, np.array([0.5, -0.2, 0.3, 0.1, 0.2], np.float32), 3)
    beside = [edges for edges in carried if edges and set(edges) != set(zip(found.begin, found.end, strict=True))]
    assert len(beside) >= CHANCE
    assert all({m for _, m in edges} <= set(found.end.tolist()) for edges in beside)
    assert all(len(set(edges)) == len(found.begin) for edges in beside)


def test_there_are_no_edges_between_equal_images_and_from_a_layer_that_does_not_feed():
    model, adv, _ = pair(0)
    classifier = hand_wired.classifier(model)
    found = strongest_edges(EdgeBench(classifier, adv, adv, 0, 1), np.zeros(5, np.float32), 4)
    assert len(found.begin) == len(found.end) == len(found.chance) == 0
    assert np.isnan(found.kept(found.carried))
    with pytest.raises(AevisError, match="no edge leads there"):
        EdgeBench(classifier, adv, adv, 2, 1)


@pytest.mark.parametrize(("earlier", "later"), [(0, 1), (1, 2)])
def test_layers_without_positions_have_edges_too(earlier, later):
    """Every layer is a cut, so that over all maps of the later one the edges add up to the turning effects."""
    torch.manual_seed(3)
    flat = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5), torch.nn.ReLU())
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), *flat, torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
    )
    adv, src = (image[None] for image in hand_wired.images(3))
    with torch.no_grad():
        apart = [float(logits[0] - logits[1]) for logits in (model(tensor(image))[0] for image in (adv, src))]
        model[-1].bias.add_(torch.tensor([-sum(apart) / 2, 0.0, -1e3]))
    classifier = hand_wired.classifier(model)
    bench = EdgeBench(classifier, adv, src, earlier, later)
    effects = bench.effects(range((4, 5, 6)[later]), 8)
    turning = classifier.layers.part(turning_effects(classifier, adv, src, 8).effects, earlier)
    np.testing.assert_allclose(effects.sum(1), turning, atol=1e-5)
    assert np.abs(turning).max() > 1e-4
    assert bench.difference.shape == ((4, 5, 6)[earlier],)
    before, wanted = (int(model(tensor(image)).argmax()) for image in (adv, src))
    logits = model(tensor(adv))[0].detach()
    assert before != wanted
    assert bench.carried([]) == pytest.approx(float(logits[wanted] - logits[before]), abs=1e-5)
