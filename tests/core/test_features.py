"""Activations of maps, and their maxima over positions."""

import hand_wired
import numpy as np
import pytest
import reference

from aevis_dash.core.features import activation_maps, maximum_activations


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_maxima_are_the_maxima_of_the_activation_maps(batch):
    model, images = hand_wired.random_net(3, skip=True), hand_wired.images(3, 3)
    c = hand_wired.classifier(model)
    peaks = maximum_activations(c, images, batch)
    assert peaks.shape == (3, c.layers.n_maps)
    for layer in c.layers.layers:
        maps = activation_maps(c, images, layer.index)
        assert maps.shape == (3, layer.channels, layer.height, layer.width)
        own = c.layers.part(peaks, layer.index)
        np.testing.assert_array_equal(own.astype(np.float16), maps.max((2, 3)))
        weights = hand_wired.weights(model)
        twin = [reference.activations(weights, i.transpose(2, 0, 1) / 255, skip=True)[layer.index] for i in images]
        np.testing.assert_allclose(maps, twin, atol=5e-3)
        np.testing.assert_allclose(own, np.max(twin, (2, 3)), atol=1e-5)
