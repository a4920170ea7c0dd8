"""A picture made for a map: on a net whose best picture is known, and beside noise."""

import hand_wired
import numpy as np
import pytest
import torch

from aevis_dash.config import VisualisationParameters
from aevis_dash.core.features import maximum_activations
from aevis_dash.core.visualisation import visualise
from aevis_dash.domain import FeatureMap


@pytest.fixture
def red_not_green():
    net = hand_wired.against()
    with torch.no_grad():
        net.convs[0].weight[0, 1, 1, 1] = -1.0
        net.convs[0].bias[2] = -5.0  # the third map fires on no picture
    return hand_wired.classifier(net)


def test_the_best_picture_of_red_and_not_green_is_found(red_not_green):
    found = visualise(red_not_green, FeatureMap(0, 0))
    strongest = np.sort((found.image[..., 0].astype(float) - found.image[..., 1]).ravel())[-16:]
    assert strongest.min() > 180, "a quarter of the pixels is red with little green"
    assert found.activation == pytest.approx(strongest.max() / 255, abs=1e-3)


def test_a_silent_map_is_driven_though_it_never_fires(red_not_green):
    found = visualise(red_not_green, FeatureMap(0, 2))
    assert found.activation == 0
    assert np.sort(found.image[..., 2].ravel())[-16:].min() > 230, "it goes the way that would fire it"


@pytest.mark.parametrize("chosen", [FeatureMap(0, 1), FeatureMap(1, 3), FeatureMap(2, 2)])
def test_it_fires_more_than_noise_and_photographs_of_squares(chosen):
    c = hand_wired.classifier(hand_wired.random_net(1))
    found, rng = visualise(c, chosen), np.random.default_rng(0)
    others = np.concatenate([hand_wired.images(7, 20), rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)])
    peaks = maximum_activations(c, others)[:, c.layers.offsets[chosen.layer] + chosen.channel]
    assert found.activation > peaks.max()
    again = maximum_activations(c, found.image[None])[0, c.layers.offsets[chosen.layer] + chosen.channel]
    assert found.activation == pytest.approx(again, rel=1e-3), "what is said is what the picture does"


def test_the_seed_settles_the_picture():
    c, chosen = hand_wired.classifier(hand_wired.random_net(1)), FeatureMap(1, 0)
    few = [visualise(c, chosen, VisualisationParameters(steps=5, seed=seed)).image for seed in (0, 0, 1)]
    np.testing.assert_array_equal(few[0], few[1])
    assert not np.array_equal(few[0], few[2])


def test_progress_counts_the_steps_and_can_cancel():
    c, told = hand_wired.classifier(hand_wired.random_net(1)), []

    def stop(share, what):
        told.append((share, what))
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visualise(c, FeatureMap(0, 0), progress=stop)
    assert told[2] == (2 / 128, "visualising map 0, step 3 of 128")
