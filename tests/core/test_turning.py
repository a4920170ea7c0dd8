"""Turning effects: how much each map, put from the source's run into the adversarial's, turns the margin back."""

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.core.intervention import single_map_effects
from aevis_dash.core.turning import turning_effects


def two_images(seed, skip):
    """A model, and two images (1, H, W, 3) that it predicts as classes 0 and 1, whichever is which."""
    model, (adv, src) = hand_wired.random_net(seed, (4, 5, 4), skip), hand_wired.images(seed)
    apart = [(logits[0] - logits[1]) for logits in (hand_wired.logits_twin(model, image) for image in (adv, src))]
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([-sum(apart) / 2, 0.0, -1e3]))
    return model, adv[None], src[None]


@pytest.mark.parametrize(("seed", "skip", "points"), [(3, False, 1), (1, True, 3), (2, True, 8)])
def test_effects_equal_the_twin_of_their_definition(seed, skip, points):
    model, adv, src = two_images(seed, skip)
    weights, n = hand_wired.weights(model), 13
    own, other = (hand_wired.pixels(image[0]) for image in (adv, src))
    before, wanted = (int(np.argmax(reference.logits(weights, x, skip=skip))) for x in (own, other))
    at = [reference.activations(weights, x, skip=skip) for x in (own, other)]
    differences = [b - a for a, b in zip(*at, strict=True)]
    expected = np.zeros(n)
    for k in range(points):
        x = own + (k + 0.5) / points * (other - own)

        def margin(steps, x=x):
            inside = (hand_wired.parts(model, v) for v in (np.ones(n), steps))
            logits = reference.steered_logits(weights, x, *inside, differences, skip)
            return logits[wanted] - logits[before]

        expected += reference.slopes(margin, np.ones(n)) / points
    found = turning_effects(hand_wired.classifier(model), adv, src, points)
    np.testing.assert_allclose(found.effects, expected, atol=2e-3 * np.abs(expected).max())
    margins = [
        logits[wanted] - logits[before] for logits in (reference.logits(weights, x, skip=skip) for x in (own, other))
    ]
    assert found.change == pytest.approx(margins[1] - margins[0], rel=1e-4)
    np.testing.assert_allclose(found.shares, expected / (margins[1] - margins[0]), atol=1e-2)


def test_at_the_last_layer_they_are_what_patching_each_map_alone_does():
    """Behind it the net is linear, so first order is exact; the effects sum to the whole change of the margin."""
    model, adv, src = two_images(0, False)
    classifier, last = hand_wired.classifier(model), 2
    found = turning_effects(classifier, adv, src)
    labels = [np.array([int(hand_wired.logits_twin(model, image[0]).argmax())]) for image in (src, adv)]
    true = single_map_effects(classifier, adv, src, last, np.arange(4)[None], *labels).values[0]
    part = classifier.layers.part(found.effects, last)
    np.testing.assert_allclose(part, true, atol=1e-3 * np.abs(true).max())
    assert np.abs(true).max() > 0.01
    assert part.sum() == pytest.approx(found.change, rel=1e-3)


def test_the_other_way_round_the_change_is_the_same_and_the_effects_too():
    """src into adv turns adv back by as much as adv into src turns src."""
    model, adv, src = two_images(1, True)
    classifier = hand_wired.classifier(model)
    there, back = turning_effects(classifier, adv, src), turning_effects(classifier, src, adv)
    assert there.change == pytest.approx(back.change, rel=1e-4)
    np.testing.assert_allclose(there.effects, back.effects, atol=1e-4 * np.abs(there.effects).max())
    assert (there.effects != 0).any()


def test_images_of_one_class_change_no_margin():
    model = hand_wired.random_net(0, (4, 5, 4))
    image = hand_wired.images(0, 1)
    found = turning_effects(hand_wired.classifier(model), image, image)
    assert found.change == 0
    assert not found.effects.any()
    assert not found.shares.any()
