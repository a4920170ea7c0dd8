"""What closing a map does to the logits, beside a slow run of the whole net with the map closed."""

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.core.closing import ROWS, Closer
from aevis_dash.domain import FeatureMap


def twin(model, image, chosen):
    """(K,) the effects of one map, from the definition: beside the mean, the open run less the closed one."""
    gates = [np.ones(width) for width in hand_wired.widths(model)]
    gates[chosen.layer][chosen.channel] = 0
    weights, pixels = hand_wired.weights(model), hand_wired.pixels(image)
    whole = reference.logits(weights, pixels, None, model.skip)
    closed = reference.logits(weights, pixels, gates, model.skip)
    return (whole - whole.mean()) - (closed - closed.mean())


@pytest.mark.parametrize("skip", [False, True])
def test_effects_are_those_of_running_without_the_map(skip):
    model, image = hand_wired.random_net(2, (5, 6, 5), skip), hand_wired.images(2, 1)
    maps = [FeatureMap(layer, channel) for layer in (2, 0, 1) for channel in range(5)]
    found = Closer(hand_wired.classifier(model), range(3)).effects(image, maps)
    wanted = np.array([twin(model, image[0], chosen) for chosen in maps])
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert np.abs(wanted).max() > 0.1


def test_more_maps_than_run_at_once():
    width = ROWS + 5
    model, image = hand_wired.random_net(3, (width, 4)), hand_wired.images(3, 1)
    maps = [FeatureMap(0, channel) for channel in range(width)]
    found = Closer(hand_wired.classifier(model), [0]).effects(image, maps)
    np.testing.assert_allclose(found[-1], twin(model, image[0], maps[-1]), atol=2e-4)
    np.testing.assert_allclose(found[ROWS], twin(model, image[0], maps[ROWS]), atol=2e-4)


def test_a_silent_map_does_nothing_at_all():
    """Not even a rounding error is left, which would be taken for a class that it speaks for."""
    model, image = hand_wired.with_dead_maps(1, [(1, 2)]), hand_wired.images(1, 1)
    found = Closer(hand_wired.classifier(model), [1]).effects(image, [FeatureMap(1, 2), FeatureMap(1, 0)])
    assert (found[0] == 0).all()
    assert (found[1] != 0).any()


def test_no_maps_and_numbers_that_are_none():
    c = hand_wired.classifier(hand_wired.random_net(4))
    assert Closer(c, [0]).effects(hand_wired.images(4, 1), []).shape == (0, 3)
    model = hand_wired.random_net(4)
    c = hand_wired.classifier(model)
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    found = Closer(c, [1]).effects(hand_wired.images(4, 1), [FeatureMap(1, 0)])
    assert np.isnan(found).all()
