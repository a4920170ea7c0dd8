"""Corruptions against their definitions in ImageNet-C, and patches."""

import io
from dataclasses import replace

import hand_wired
import numpy as np
import pytest
import reference
from PIL import Image

from aevis_dash.config import CORRUPTIONS, AttackParameters
from aevis_dash.core.attack import perturb
from aevis_dash.core.corruptions import corrupt, corrupted, patch
from aevis_dash.domain import AevisError

SEVERITY = pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])


def picture(seed=0, height=12, width=15):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def of(kind, severity, **more):
    return AttackParameters(attack=kind, severity=severity, **more)


@SEVERITY
def test_noise_is_gaussian_and_the_same_again(severity):
    sigma = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    grey = np.full((120, 120, 3), 128, np.uint8)
    noise = corrupted(grey, of("noise", severity)) - 128 / 255
    inside = np.abs(noise) < 127 / 255  # what was not clipped
    for within in (0.5, 1.0):
        wanted = {0.5: 0.3829, 1.0: 0.6827}[within]  # shares of a normal distribution
        assert (np.abs(noise) < within * sigma).mean() == pytest.approx(wanted, abs=0.01)
    assert noise[inside].mean() == pytest.approx(0, abs=0.01)
    np.testing.assert_array_equal(corrupted(grey, of("noise", severity)) - 128 / 255, noise)
    others = [corrupted(grey, of("noise", severity, seed=1)), corrupted(grey + np.uint8(1), of("noise", severity))]
    assert not any(np.allclose(noise, other - 128 / 255, atol=0.01) for other in others)


@SEVERITY
def test_blur_is_gaussian(severity):
    image = picture()
    wanted = reference.gaussian_blur(image / 255, (1, 2, 3, 4, 6)[severity - 1])
    np.testing.assert_allclose(corrupted(image, of("blur", severity)), wanted, atol=1e-12)


@SEVERITY
def test_jpeg_is_that_of_the_quality(severity):
    image = picture(height=40, width=40)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="jpeg", quality=(25, 18, 15, 10, 7)[severity - 1])
    np.testing.assert_array_equal(corrupted(image, of("jpeg", severity)) * 255, np.asarray(Image.open(file)))


@SEVERITY
def test_contrast_is_the_distance_from_the_channels_mean(severity):
    image = picture()
    wanted = reference.less_contrast(image / 255, (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1])
    np.testing.assert_allclose(corrupted(image, of("contrast", severity)), wanted, atol=1e-12)


@SEVERITY
def test_brightness_is_added_to_the_value_of_hsv(severity):
    image = picture()
    image[:2] = [[[0, 0, 0]], [[255, 0, 255]]]
    wanted = reference.brighter(image / 255, severity / 10)
    np.testing.assert_allclose(corrupted(image, of("brightness", severity)), wanted, atol=1e-12)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corrupted_images_are_rounded_and_judged_as_they_are_stored(kind):
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(2, 6)
    before = [p.label for p in c.predict(images)]
    results = [corrupt(c, images, of(kind, severity)) for severity in (1, 5)]
    for severity, found in zip((1, 5), results, strict=True):
        after = [p.label for p in c.predict(np.stack([r.image for r in found]))]
        assert [r.success for r in found] == [a != b for a, b in zip(after, before, strict=True)]
        assert {r.steps for r in found} == {0}
        for result, image in zip(found, images, strict=True):
            assert result.image.dtype == np.uint8
            np.testing.assert_array_equal(result.image, np.round(corrupted(image, of(kind, severity)) * 255))
    change = [np.abs(np.stack([r.image for r in found]).astype(int) - images).mean() for found in results]
    assert change[1] > change[0] > 0


# Patches


@pytest.mark.parametrize("target", [None, 0])
def test_a_patch_is_pgd_without_a_bound_in_its_square(target):
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(2, 6)
    p = AttackParameters(attack="patch", steps=20, patch_size=4, patch_top=1, patch_left=3, seed=2, epsilon=1.0)
    aims = None if target is None else np.full(6, target)
    region = np.zeros((6, 8, 8), bool)
    region[:, 1:5, 3:7] = True
    results = patch(c, images, p, aims)
    wanted = perturb(c, images, replace(p, attack="pgd", epsilon=255.0), aims, region=region)
    for result, same, image in zip(results, wanted, images, strict=True):
        np.testing.assert_array_equal(result.image, same.image)
        assert (result.success, result.margin) == (same.success, same.margin)
        assert np.array_equal(result.image[~region[0]], image[~region[0]])
        assert np.abs(result.image.astype(int) - image).max() > 32
    assert any(r.success for r in results)


def test_a_patch_is_a_quarter_of_the_side_unless_said():
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(2, 2)
    for result, image in zip(patch(c, images, AttackParameters(attack="patch")), images, strict=True):
        changed = (result.image != image).any(2)
        assert changed[:2, :2].all()
        assert changed.sum() == 4


@pytest.mark.parametrize("square", [{"patch_size": 9}, {"patch_top": 7}, {"patch_left": 7, "patch_size": 2}])
def test_a_patch_outside_of_the_image_is_refused(square):
    c = hand_wired.classifier(hand_wired.random_net(1))
    with pytest.raises(AevisError, match=r"does not fit into an image of 8 rows and 8 columns\. Mend --patch-size"):
        patch(c, hand_wired.images(2), AttackParameters(attack="patch", **square))
