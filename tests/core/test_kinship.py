"""Whether map k is the same map in two networks is tested: it passes where the weights share an ancestor, else not."""

import itertools
from math import factorial

import numpy as np
import pytest
import reference
import torch
from hand_wired import classifier, images, random_net
from hypothesis import given
from hypothesis import strategies as st

from aevis_dash.core import features
from aevis_dash.core.kinship import LayerKinship, kinship, overlap

WIDTHS = (12, 14, 12)


def seen(net, pictures):
    return features.maximum_activations(classifier(net), pictures)


def parts(flat):
    return np.split(flat, np.cumsum(WIDTHS)[:-1], axis=1)


def moved(net, by):
    """The net with its weights moved a little at random, as fine-tuning does."""
    other = random_net(0, WIDTHS)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for to, weight in zip(other.parameters(), net.parameters(), strict=True):
            to.copy_(weight + by * weight.std() * torch.randn(weight.shape, generator=generator))
    return other


def renumbered(net):
    """The same function with the maps of every layer in another order."""
    other, before = random_net(0, WIDTHS), torch.arange(3)
    with torch.no_grad():
        for conv, to in zip(net.convs, other.convs, strict=True):
            order = torch.roll(torch.arange(conv.out_channels), 1)
            to.weight.copy_(conv.weight[order][:, before])
            to.bias.copy_(conv.bias[order])
            before = order
        other.head.weight.copy_(net.head.weight[:, before])
        other.head.bias.copy_(net.head.bias)
    return other


@pytest.fixture(scope="module")
def pictures():
    return images(3, 60)


def layer_tests(first, second, pictures):
    return [kinship(a, b) for a, b in zip(parts(seen(first, pictures)), parts(seen(second, pictures)), strict=True)]


def test_maps_of_a_net_that_was_moved_a_little_are_the_same(pictures):
    net = random_net(5, WIDTHS)
    for test in layer_tests(net, moved(net, 0.1), pictures):
        assert test.passes(3)
        assert test.share > 0.8


def test_maps_of_nets_of_other_seeds_are_not(pictures):
    for seed in (6, 7, 8):
        for test in layer_tests(random_net(5, WIDTHS), random_net(seed, WIDTHS), pictures):
            assert not test.passes(1)
            assert test.share < 0.4


def test_the_same_function_with_other_numbers_does_not_pass(pictures):
    net = random_net(5, WIDTHS)
    other = renumbered(net)
    for own, its in zip(parts(seen(net, pictures)), parts(seen(other, pictures)), strict=True):
        np.testing.assert_allclose(np.roll(own, 1, axis=1), its, atol=1e-4)
    for test in layer_tests(net, other, pictures):
        assert not test.passes(1)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(0, 2))
def test_partners_are_those_of_the_slow_twin(seed, width, flat):
    """Also where maps do not change in one of the networks."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, 7, width))
    second = 0.7 * first + second
    first[:, random.integers(width, size=flat)] = 0.0
    second[:, random.integers(width, size=flat)] = 2.5
    found = kinship(first, second)
    changing = (first.std(0) > 0) & (second.std(0) > 0)
    assert found.changing.tolist() == changing.tolist()
    assert found.own.tolist() == [
        bool(a and b) for a, b in zip(reference.own_partners(first, second), changing, strict=True)
    ]


@given(st.integers(0, 2**32 - 1))
def test_chance_is_bounded_over_all_numberings(seed):
    """Of all ways to number the maps of the other network, at most 1 in h! gives h own partners; one on average."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, 6, 5))
    first[:, : random.integers(5)] = first[:, 4:]  # several maps may have one partner
    counts = [int(kinship(first, second[:, list(order)]).own.sum()) for order in itertools.permutations(range(5))]
    assert np.mean(counts) <= 1 + 1e-9
    for h in range(1, 6):
        assert np.mean([count >= h for count in counts]) <= 1 / factorial(h) + 1e-9
    own = np.arange(5) < 3
    assert LayerKinship(np.ones(5, bool), own).chance == pytest.approx(1 / 6)


def test_a_layer_passes_by_both_rules():
    def test(own, changing=20):
        return LayerKinship(np.arange(20) < changing, np.arange(20) < own)

    assert test(11).passes(25)
    assert not test(10).passes(25), "half of the maps is not more than half"
    assert test(5, 5).passes(1)
    assert not test(5, 5).passes(25), "1 / 5! is more than chance may give in any of 25 layers"
    assert not test(0, 0).passes(1)
    assert np.isnan(test(0, 0).share)


def test_activations_of_other_layers_are_refused():
    with pytest.raises(ValueError, match="not of one layer"):
        kinship(np.zeros((3, 4)), np.zeros((3, 5)))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=7))
def test_the_overlap_by_chance_is_the_mean_over_all_draws(rows):
    first, second, same = np.array(rows, bool).T
    both, chance = overlap(first, second, same)
    assert both == sum(all(row) for row in rows)
    assert chance == pytest.approx(reference.common_by_chance(first, second, same))
