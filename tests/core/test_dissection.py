"""Which part a map detects: against a count of single pixels, on nets whose maps are one colour's detectors."""

import hand_wired
import numpy as np
import pytest
import reference

from aevis_dash.core.dissection import Dissection
from aevis_dash.core.features import maximum_activations


def dissect(classifier, images, numbers, parts, batch=2):
    found = Dissection(classifier, maximum_activations(classifier, images).max(0), parts)
    for first in range(0, len(images), batch):
        found.see(images[first : first + batch], numbers[first : first + batch])
    return found.overlaps()


@pytest.fixture
def painted():
    """Images whose red square is part 1 and whose green square is part 2, and the numbers of the parts."""
    images, numbers = np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 8, 8), np.uint8)
    for i in range(3):
        images[i, i : i + 2, 1:4, 0], numbers[i, i : i + 2, 1:4] = 200, 1
        images[i, 5, 4 : 6 + i, 1], numbers[i, 5, 4 : 6 + i] = 150, 2
    images[..., 2] = 30
    return images, numbers


def test_a_detector_of_a_part_has_all_of_it_whatever_its_size(painted):
    found = dissect(hand_wired.classifier(hand_wired.against()), *painted, 3)
    np.testing.assert_allclose(found[:2], [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    assert found.shape == (3, 3)
    assert 0 < found[2, 0] < 0.15, "blue is everywhere: no more than chance, which is s / (2 - s)"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_it_equals_a_count_of_single_pixels(batch):
    rng = np.random.default_rng(3)
    model = hand_wired.random_net(2, widths=(4, 3))
    images = hand_wired.images(3, 5)
    numbers = rng.integers(0, 3, (5, 2, 2)).repeat(4, 1).repeat(4, 2)
    numbers[:, 1] = 2
    found = dissect(hand_wired.classifier(model), images, numbers, 2, batch)
    weights = hand_wired.weights(model)
    every = [reference.activations(weights, hand_wired.pixels(image)) for image in images]
    for layer, channels, at in ((0, 4, 0), (1, 3, 4)):
        for channel in range(channels):
            maps = np.stack([of_image[layer][channel] for of_image in every])
            twin = [reference.part_overlap(maps, numbers, part) for part in (1, 2)]
            np.testing.assert_allclose(found[at + channel], twin, atol=0.02)


def test_a_silent_map_detects_nothing(painted):
    images, numbers = painted
    images[..., 1] = 0
    found = dissect(hand_wired.classifier(hand_wired.against()), images, numbers, 2)
    assert found[1].tolist() == [0, 0]


def test_a_coarse_map_is_upsampled_between_its_neurons():
    """On images of twice the grid's size masks are sampled and maps are brought to the same pixels."""
    images, numbers = np.zeros((1, 128, 128, 3), np.uint8), np.zeros((1, 128, 128), np.uint8)
    images[0, 32:64, 64:96, 0], numbers[0, 32:64, 64:96] = 255, 1
    found = dissect(hand_wired.classifier(hand_wired.against(), size=128), images, numbers, 1)
    assert found[0, 0] > 0.95
