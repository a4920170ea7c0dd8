"""Activations, their maxima, and the reference patches that fire a map most."""

import hand_wired
import numpy as np
import pytest
import reference

from aevis_dash.core.features import activation_maps, learned_features, maximum_activations


def twin_activations(model, images):
    weights = hand_wired.weights(model)
    return [reference.activations(weights, image.transpose(2, 0, 1) / 255) for image in images]


@pytest.mark.parametrize(("patches", "batch"), [(1, 16), (3, 2), (5, 1)])
def test_learned_features_equal_a_search_of_everything(patches, batch):
    model, images = hand_wired.random_net(0, widths=(3, 2)), hand_wired.images(0, 5)
    found = learned_features(hand_wired.classifier(model), images, patches, batch=batch)
    every = twin_activations(model, images)
    at = 0
    for layer, width in enumerate((3, 2)):
        for channel in range(width):
            peaks = []
            for i in range(5):
                grid = every[i][layer][channel]
                row, col = max(np.ndindex(grid.shape), key=lambda place, grid=grid: grid[place])
                peaks.append((float(grid[row, col]), i, row, col))
            best = sorted((p for p in peaks if p[0] > 0), reverse=True)[:patches]
            np.testing.assert_allclose(found.value[at, : len(best)], [p[0] for p in best], atol=1e-5)
            assert found.image[at].tolist() == [p[1] for p in best] + [-1] * (patches - len(best))
            assert [*zip(found.row[at], found.col[at], strict=True)][: len(best)] == [p[2:] for p in best]
            at += 1


def test_every_image_gives_a_map_one_patch_and_missing_ones_are_marked():
    c = hand_wired.classifier(hand_wired.route(0, 0, 0))
    found = learned_features(c, hand_wired.images(1, 3), 5, batch=2)
    assert found.image.shape == found.value.shape == (12, 5)
    for row in found.image:
        assert sorted(row[:3]) == [0, 1, 2]
        assert row[3:].tolist() == [-1, -1]


def test_a_silent_map_has_no_patch():
    c = hand_wired.classifier(hand_wired.skip_route(0))
    images = hand_wired.images(2, 3)
    images[..., 1] = 0
    found = learned_features(c, images, 2)
    assert found.image[1].tolist() == [-1, -1]
    assert found.value[1].tolist() == [0, 0]
    assert (found.image[0] >= 0).all()


def test_rows_and_columns_are_not_swapped():
    c = hand_wired.classifier(hand_wired.route(0, 0, 0))
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[0, 2, 5] = 255
    found = learned_features(c, images, 1)
    assert (found.row[0, 0], found.col[0, 0]) == (2, 5)


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
