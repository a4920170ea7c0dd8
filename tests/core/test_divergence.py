"""Where a signal leaves its source's for good: on made-up signals whose answer is known."""

import numpy as np
import pytest

from aevis_dash.core.distance import cosine_distance
from aevis_dash.core.divergence import BANDS, diverge, leaves, shuffle_perturbation
from aevis_dash.domain import Layer, LayerGraph

GRAPH = LayerGraph(tuple(Layer(i, f"l{i}", (), 3, 2, 2) for i in range(4)), ((0, 1), (1, 2), (2, 3)))


def turned(*angles):
    """A signal (12,) whose layers are turned away from (1, 0, 0) by these angles, in degrees."""
    return np.concatenate([[np.cos(a), np.sin(a), 0] for a in np.radians(angles)])


SRC = turned(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("distance", "band", "layer"),
    [
        ([1, 2, 3, 4], [2, 2, 2, 2], 2),
        ([3, 1, 3, 4], [2, 2, 2, 2], 2),
        ([3, 3, 3, 3], [2, 2, 2, 2], 0),
        ([3, 3, 3, 1], [2, 2, 2, 2], 4),
        ([3, 3, 2, 3], [2, 2, 2, 2], 3),
        ([1, np.nan, 3, 3], [2, 2, 2, 2], 2),
        ([3, 1, np.nan, np.nan], [2, 2, 2, 2], 4),
        ([1, 3, 3, np.nan], [2, 2, 2, 2], 1),
        ([3, 3, 3, 3], [np.nan] * 4, 4),
    ],
)
def test_leaving_is_for_good(distance, band, layer):
    assert leaves(np.array(distance, float), np.array(band, float)) == layer


def test_the_class_is_left_at_the_median_and_the_noise_at_its_largest():
    adv = turned(5, 20, 40, 80)
    others = np.stack([turned(10, 10, 10, 10), turned(30, 30, 30, 30), turned(90, 90, 90, 90)])
    noise = np.stack([turned(1, 1, 1, 1), turned(10, 10, 10, 10)])
    found = diverge(GRAPH, SRC, adv, noise, others)
    assert found.point("class").layer == 2
    assert found.point("noise").layer == 1
    for i, angle in enumerate((5, 20, 40, 80)):
        assert found.adversarial[i] == pytest.approx(1 - np.cos(np.radians(angle)))
    assert found.others.shape == (3, 4)
    assert found.noise.shape == (2, 4)


def test_culprits_are_the_maps_that_moved_most_beyond_the_band():
    adv, noise = SRC.copy(), np.stack([SRC, SRC])
    adv[6:9] = 0.2, 0.9, 0.5
    adv[9:12] = 0, 1, 0
    noise[0, 7] = 0.8
    found = diverge(GRAPH, SRC, adv, noise, np.zeros((0, 12)))
    assert found.point("noise").layer == 2
    assert found.point("noise").culprits.tolist() == [6, 8, 7], "0.8, 0.5 and 0.9 less the noise's 0.8"
    assert found.point("class").layer == -1
    assert found.point("class").culprits.size == 0
    one = diverge(GRAPH, SRC, adv, noise, np.zeros((0, 12)), count=1)
    assert one.point("noise").culprits.tolist() == [6]


def test_innocents_are_the_bands_own_images_each_held_against_the_others():
    far = [turned(5, 5, 5, 5), turned(9, 9, 9, 30), turned(1, 1, 1, 25)]
    found = diverge(GRAPH, SRC, SRC, np.stack(far), np.stack(far))
    # against the larger of the two others: inside; beyond at every layer; inside, as 25 < 30
    assert found.innocents("noise").tolist() == [4, 0, 4]
    # against the mean of the two: inside; beyond; beyond at the last layer, as 1 - cos 25 > that of 5 and 30
    assert found.innocents("class").tolist() == [4, 0, 3]
    assert diverge(GRAPH, SRC, SRC, np.stack(far[:1]), np.zeros((0, 12))).innocents("noise").size == 0
    assert diverge(GRAPH, SRC, SRC, np.stack(far[:1]), np.zeros((0, 12))).innocents("class").size == 0


def test_a_signal_that_stays_has_no_culprit():
    found = diverge(GRAPH, SRC, SRC, np.stack([turned(1, 1, 1, 1)]), np.stack([turned(9, 9, 9, 9)]))
    for band in BANDS:
        assert found.point(band).layer == 4
        assert found.point(band).culprits.size == 0


def test_only_the_critical_maps_count():
    adv = turned(80, 80, 80, 80)
    critical = np.ones(12, bool)
    critical[1] = critical[4] = False
    found = diverge(GRAPH, SRC, adv, SRC[None], SRC[None], critical)
    assert found.adversarial[:2] == pytest.approx([0, 0]), "the map that turned is not critical there"
    assert found.point("noise").layer == 2
    assert 7 in found.point("noise").culprits


def test_the_noise_is_the_perturbation_shuffled():
    random = np.random.default_rng(0)
    source = random.integers(60, 190, (8, 8, 3)).astype(np.uint8)
    adversarial = (source + random.integers(-9, 10, source.shape)).astype(np.uint8)
    noisy = shuffle_perturbation(source, adversarial, 3, seed=1)
    assert noisy.shape == (3, 8, 8, 3)
    wanted = np.sort(np.abs(adversarial.astype(int) - source), axis=None)
    for image in noisy:
        step = image.astype(int) - source
        np.testing.assert_array_equal(np.sort(np.abs(step), axis=None), wanted)
        assert (step != adversarial.astype(int) - source).mean() > 0.5
    assert not np.array_equal(noisy[0], noisy[1])
    np.testing.assert_array_equal(noisy, shuffle_perturbation(source, adversarial, 3, seed=1))
    dark = np.zeros((8, 8, 3), np.uint8)
    assert shuffle_perturbation(dark, dark + np.uint8(4), 2, seed=0).max() == 4, "no wrap below black"


def test_the_cosine_distance_of_signals():
    assert cosine_distance(np.array([1.0, 0]), np.array([0, 2.0])) == pytest.approx(1)
    assert cosine_distance(np.zeros(2), np.zeros(2)) == 0
    assert cosine_distance(np.zeros(2), np.ones(2)) == 1
    assert np.isnan(cosine_distance(np.zeros(0), np.zeros(0)))
