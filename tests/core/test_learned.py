"""The reference patches that are best of a map, by activation and by relevance, whatever the batches and breaks."""

from dataclasses import astuple

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.core.learned import Learner


def learn(classifier, images, patches, batch=16, start=None):
    learner = Learner(classifier, patches, start)
    for first in range(learner.seen, len(images), batch):
        learner.see(images[first : first + batch], range(first, min(first + batch, len(images))))
    return learner.index()


def ranked(grids, patches):
    """The best (value, image, row, column) of one map's grids, one for each image, as a search of everything."""
    peaks = []
    for i, grid in enumerate(grids):
        row, col = max(np.ndindex(grid.shape), key=grid.__getitem__)
        peaks.append((float(grid[row, col]), i, row, col))
    return sorted((p for p in peaks if p[0] > 1e-6), reverse=True)[:patches]


def assert_equal(found, at, best):
    count = len(best)
    np.testing.assert_allclose(found.value[at, :count], [p[0] for p in best], rtol=2e-3, atol=1e-5)
    assert found.image[at].tolist() == [p[1] for p in best] + [-1] * (found.image.shape[1] - count)
    assert [*zip(found.row[at], found.col[at], strict=True)][:count] == [p[2:] for p in best]


@pytest.mark.parametrize(("patches", "batch", "skip"), [(1, 16, False), (3, 2, True), (5, 1, False)])
def test_both_sets_equal_a_search_of_everything(patches, batch, skip):
    widths = (2, 2)
    model, images = hand_wired.random_net(0, widths, skip), hand_wired.images(0, 3)
    found = learn(hand_wired.classifier(model), images, patches, batch)
    weights, pixels = hand_wired.weights(model), [hand_wired.pixels(image) for image in images]
    every = [reference.activations(weights, x, skip=skip) for x in pixels]
    places = [(layer, channel) for layer, width in enumerate(widths) for channel in range(width)]
    for at, (layer, channel) in enumerate(places):
        fires = [of_image[layer][channel] for of_image in every]
        speaks = [reference.relevances(weights, x, layer, channel, skip) for x in pixels]
        assert_equal(found.activation, at, ranked(fires, patches))
        assert_equal(found.relevance, at, ranked(speaks, patches))
    assert not np.allclose(found.activation.value, found.relevance.value), "one set is not the other"


def test_relevance_is_towards_the_predicted_class_and_not_where_the_map_fires_most():
    """Green works against the red class: on the image where it fires more it speaks against, so only blue ones stay."""
    c = hand_wired.classifier(hand_wired.against())
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0, ..., 0], images[0, 3, 4, 1] = 255, 250  # red, class 0, and a green spot against it
    images[1, ..., 1], images[1, ..., 2] = 100, 20  # class 1 by its bias, which no map moves
    found = learn(c, images, 2)
    assert found.activation.image[1].tolist() == [0, 1]
    assert (found.activation.row[1, 0], found.activation.col[1, 0]) == (3, 4)
    assert found.relevance.image[1].tolist() == [-1, -1]
    assert found.relevance.image[0].tolist() == [0, -1]
    np.testing.assert_allclose(found.relevance.value[0, 0], 8 / 64, rtol=1e-5)


def test_every_image_gives_a_map_one_patch_and_missing_ones_are_marked():
    c = hand_wired.classifier(hand_wired.route(0, 0, 0))
    found = learn(c, hand_wired.images(1, 3), 5, batch=2).activation
    assert found.image.shape == found.value.shape == (12, 5)
    for row in found.image:
        assert sorted(row[:3]) == [0, 1, 2]
        assert row[3:].tolist() == [-1, -1]


def test_a_silent_map_has_no_patch():
    c = hand_wired.classifier(hand_wired.skip_route(0))
    images = hand_wired.images(2, 3)
    images[..., 1] = 0
    found = learn(c, images, 2).activation
    assert found.image[1].tolist() == [-1, -1]
    assert found.value[1].tolist() == [0, 0]
    assert (found.image[0] >= 0).all()


def test_rows_and_columns_are_not_swapped():
    c = hand_wired.classifier(hand_wired.route(0, 0, 0))
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[0, 2, 5] = 255
    found = learn(c, images, 1).activation
    assert (found.row[0, 0], found.col[0, 0]) == (2, 5)


def test_going_on_is_the_same_as_not_having_stopped():
    c, images = hand_wired.classifier(hand_wired.random_net(4)), hand_wired.images(4, 9)
    whole = learn(c, images, 3, batch=2)
    half = learn(c, images[:4], 3, batch=2)
    assert half.seen == 4
    resumed = learn(c, images, 3, batch=2, start=half)
    assert resumed.seen == whole.seen == 9
    for one, other in zip(astuple(whole)[:2], astuple(resumed)[:2], strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_places_are_those_given_not_the_order_of_seeing():
    c, images = hand_wired.classifier(hand_wired.random_net(5)), hand_wired.images(5, 4)
    learner = Learner(c, 4)
    learner.see(images[[2, 0]], [2, 0])
    learner.see(images[[3, 1]], [3, 1])
    np.testing.assert_array_equal(learner.index().activation.image, learn(c, images, 4).activation.image)


def test_nothing_of_the_model_is_touched():
    model = hand_wired.random_net(6)
    learn(hand_wired.classifier(model), hand_wired.images(6, 2), 1)
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()
