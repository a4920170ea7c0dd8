"""The names that evidence gives, beside slow twins from their definitions, and where it gives none."""

import hand_wired
import numpy as np
import pytest

from aevis_dash.core.closing import Closer
from aevis_dash.core.learned import Learner
from aevis_dash.core.names import (
    FIRED,
    LEAST_IMAGES,
    LISTED,
    THRESHOLDS,
    MapName,
    NameKind,
    beyond_chance,
    guess_classes,
    guess_images,
    largest_effects,
)
from aevis_dash.domain import FeatureMap


def class_twin(image, effects, without):
    """The class and the score of one map from its effects on all classes, {image: (K,)}."""
    counted = [i for i in image if i >= 0 and i not in without][:FIRED]
    if len(counted) < LEAST_IMAGES:
        return -1, 0.0
    sums, largest = {}, 0.0
    for i in counted:
        best = sorted(range(len(effects[i])), key=lambda c: (-effects[i][c], c))[:LISTED]
        largest += max(effects[i].max(), 0.0)
        for c in best:
            sums[c] = sums.get(c, 0.0) + max(effects[i][c], 0.0)
    if not largest:
        return -1, 0.0
    named = min(sums, key=lambda c: (-sums[c], c))
    return named, sums[named] / largest


@pytest.mark.parametrize("seed", range(4))
def test_the_class_is_the_one_of_the_largest_sum(seed):
    random = np.random.default_rng(seed)
    image = np.array([random.permutation(12)[:7] for _ in range(20)])
    image[3, 4:], image[4, 2:], image[5] = -1, -1, -1
    effects = random.normal(size=(20, 12, 9)) + random.normal(size=(20, 1, 9))
    effects[6] = -1.0  # It speaks for nothing.
    lists = [largest_effects(effects[m][np.maximum(image[m], 0)]) for m in range(20)]
    classes, values = (np.stack([each[part] for each in lists]) for part in (0, 1))
    without = frozenset({0, 5})
    found = guess_classes(image, classes, values, without)
    wanted = [class_twin(image[m], effects[m], without) for m in range(20)]
    assert found.label.tolist() == [label for label, _ in wanted]
    np.testing.assert_allclose(found.score, [score for _, score in wanted], rtol=1e-5)
    assert (found.label[[4, 5, 6]] == -1).all()
    assert found.clear(0.6).tolist() == [label >= 0 and score >= 0.6 for label, score in wanted]
    assert 0 < found.clear(0.6).sum() < 17


def images_twin(image, labels, most, without):
    counted = [i for i in image if i >= 0 and i not in without][:most]
    every = [labels[i] for i in range(len(labels)) if labels[i] >= 0 and i not in without]
    of = [labels[i] for i in counted if labels[i] >= 0]
    if not of:
        return -1, 0.0
    named = min(set(of), key=lambda c: (-of.count(c), c))
    hits, drawn, size = of.count(named), len(of), every.count(named)
    chance = drawn * size / len(every)
    possible = min(drawn, size)
    if hits < LEAST_IMAGES or hits * 2 <= drawn or possible - chance < 1e-9 or hits <= chance:
        return -1, 0.0
    return named, (hits - chance) / (possible - chance)


@pytest.mark.parametrize("seed", range(4))
def test_images_name_a_map_beyond_chance(seed):
    random = np.random.default_rng(seed)
    labels = random.choice(4, 40, p=[0.55, 0.2, 0.15, 0.1])
    labels[random.permutation(40)[:5]] = -1
    image = np.array([random.permutation(40)[:12] for _ in range(30)])
    image[2, 3:] = -1
    found = guess_images(image, labels, 9, frozenset({1, 7}))
    wanted = [images_twin(row, labels, 9, {1, 7}) for row in image]
    assert found.label.tolist() == [label for label, _ in wanted]
    np.testing.assert_allclose(found.score, [score for _, score in wanted])
    assert (found.label >= 0).sum() > 5


def test_all_images_of_a_class_are_the_whole_score_and_chance_is_none():
    assert beyond_chance(np.array([5, 1, 3]), np.array([9, 9, 3]), np.array([5, 9, 3]), 81).tolist() == [1, 0, 1]
    assert beyond_chance(np.array([4]), np.array([4]), np.array([10]), 10).tolist() == [0]


def test_where_all_images_are_of_one_class_no_map_is_named_after_it():
    image = np.array([[0, 1, 2, 3, 4]])
    assert guess_images(image, np.zeros(5, int), 5).label.tolist() == [-1]
    assert guess_images(image, np.array([0, 0, 0, 1, 1, 1, 1]), 3).label.tolist() == [0]


def test_without_images_there_are_no_names():
    none = np.full((3, 6), -1)
    lists = np.full((3, 6, 2), -1), np.zeros((3, 6, 2))
    assert guess_classes(none, *lists).label.tolist() == [-1] * 3
    assert guess_images(none, np.array([1, 1, 1]), 9).label.tolist() == [-1] * 3
    assert guess_images(none, np.zeros(0, int), 9).label.tolist() == [-1] * 3
    assert guess_images(np.array([[0, 1, 2]]), np.array([-1, -1, -1]), 9).label.tolist() == [-1]


def test_effects_that_are_no_numbers_name_nothing():
    classes, values = largest_effects(np.array([[1.0, np.nan, 2.0], [0.5, -1.0, 3.0], [np.inf, 0.0, 0.0]]))
    assert classes.tolist() == [[-1, -1, -1], [2, 0, -1], [-1, -1, -1]]
    assert values.tolist() == [[0, 0, 0], [3, 0.5, 0], [0, 0, 0]]


def test_names_say_of_which_kind_they_are():
    said = {kind: str(MapName(kind, "gorilla", 0.714)) for kind in NameKind}
    assert said[NameKind.FOR] == "speaks for gorilla (0.71)"
    assert len(set(said.values())) == len(THRESHOLDS) == 4


def test_the_maps_of_a_net_wired_by_hand_speak_for_the_classes_that_they_feed():
    """Of every layer only map 1, 2, 3 leads to class 0; the others lead to class 1 or 2."""
    net = hand_wired.route(1, 2, 3)
    c, images = hand_wired.classifier(net), hand_wired.images(5, 6)
    maps = [FeatureMap(layer, channel) for layer in range(3) for channel in range(4)]
    learner, closer = Learner(c, 6), Closer(c, range(3))
    learner.see(images, range(6))
    image = learner.index().activation.image
    effects = np.stack([closer.effects(images[i : i + 1], maps) for i in range(6)], axis=1)
    lists = [largest_effects(effects[m][np.maximum(image[m], 0)]) for m in range(12)]
    found = guess_classes(image, *(np.stack([each[part] for each in lists]) for part in (0, 1)))
    others = [[i for i in range(4) if i != at] for at in (1, 2, 3)]
    for layer, at in enumerate((1, 2, 3)):
        assert found.label[4 * layer + at] == 0
        assert [found.label[4 * layer + other] for other in others[layer]] == [1, 2, 1]
    assert found.score == pytest.approx(np.ones(12)), "each speaks for one class alone"
