"""MI-FGSM against its formula, its bounds, and what counts as a success."""

import hand_wired
import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.config import AttackParameters
from aevis_dash.core.attack import mi_fgsm, momentum_step, quantise
from aevis_dash.domain import AevisError


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
def test_a_step_equals_the_formula_pixel_by_pixel(seed, mu):
    rng = np.random.default_rng(seed)
    shape = (2, 3, 4, 4)
    p = AttackParameters(epsilon=8.0, steps=4, momentum=mu)
    source = rng.integers(0, 256, shape) / 255
    current = np.clip(source + rng.uniform(-1, 1, shape) * 8 / 255, 0, 1)
    momentum = rng.normal(size=shape) * 0.02
    gradient = rng.normal(size=shape) * np.array([1e-6, 1e3]).reshape(2, 1, 1, 1)
    tensors = [torch.from_numpy(a) for a in (source, current, momentum, gradient)]
    moved, kept = momentum_step(*tensors, p)
    for i in range(2):
        own = [a[i] for a in (source, current, momentum, gradient)]
        wanted = reference.mi_fgsm_step(*own, 8 / 255, 8 / 255 / 4, mu)
        np.testing.assert_allclose(moved[i], wanted[0], atol=1e-12)
        np.testing.assert_allclose(kept[i], wanted[1], atol=1e-12)


def test_a_zero_gradient_keeps_the_momentum_of_that_image_alone():
    x = torch.full((2, 3, 4, 4), 0.5)
    gradient = torch.zeros_like(x)
    gradient[1] = 2.0
    moved, momentum = momentum_step(x, x, torch.full_like(x, -0.3), gradient, AttackParameters(momentum=0.5))
    assert torch.isfinite(moved).all()
    torch.testing.assert_close(momentum[0], torch.full((3, 4, 4), -0.15))
    torch.testing.assert_close(momentum[1], torch.full((3, 4, 4), -0.15 + 1 / 48))


def test_an_image_without_any_gradient_stays_as_it_is_and_is_a_failure():
    model = hand_wired.random_net(0)
    with torch.no_grad():
        model.head.weight.zero_()
    images = hand_wired.images(0, 3)
    for result, image in zip(mi_fgsm(hand_wired.classifier(model), images, AttackParameters()), images, strict=True):
        assert np.array_equal(result.image, image)
        assert not result.success


@settings(deadline=None, max_examples=25)
@given(
    epsilon=st.one_of(st.integers(1, 40).map(float), st.floats(1, 40)),
    steps=st.integers(1, 5),
    momentum=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_the_stored_image_stays_within_epsilon_grey_levels(epsilon, steps, momentum, seed):
    c = hand_wired.classifier(hand_wired.random_net(seed))
    images = np.random.default_rng(seed).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    for result, image in zip(mi_fgsm(c, images, AttackParameters(epsilon, steps, momentum)), images, strict=True):
        assert result.image.dtype == np.uint8
        assert result.image.shape == image.shape
        assert np.abs(result.image.astype(int) - image).max() <= epsilon


def test_one_step_moves_every_pixel_with_a_gradient_by_epsilon():
    c = hand_wired.classifier(hand_wired.random_net(1))
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    result = mi_fgsm(c, image, AttackParameters(8.0, 1, 1.0))[0]
    assert set(np.unique(result.image)) <= {92, 100, 108}
    assert (result.image != 100).mean() > 0.9


def test_pixels_are_stored_as_the_nearest_grey_level_within_epsilon():
    levels = torch.arange(256) / 255
    assert torch.equal(quantise(levels, levels, 1.0), torch.arange(256, dtype=torch.uint8))
    source = torch.tensor([0.0, 1.0, 99.0, 99.0, 0.0, 255.0]) / 255
    pixels = torch.tensor([0.49, 0.51, 99.49, 99.51, -3.0, 270.0]) / 255
    assert quantise(pixels, source, 1.0).tolist() == [0, 1, 99, 100, 0, 255]
    assert quantise(pixels, source, 0.9).tolist() == [0, 1, 99, 99, 0, 255]


def labels(c, images):
    return [p.label for p in c.predict(np.stack(images))]


@pytest.mark.parametrize(("seed", "epsilon"), [(0, 64.0), (1, 64.0), (2, 128.0)])
def test_success_is_what_the_stored_image_is_predicted_as(seed, epsilon):
    c = hand_wired.classifier(hand_wired.random_net(seed))
    images = hand_wired.images(seed, 8)
    results = mi_fgsm(c, images, AttackParameters(epsilon=epsilon))
    after, before = labels(c, [r.image for r in results]), labels(c, images)
    outcomes = [a != b for a, b in zip(after, before, strict=True)]
    assert set(outcomes) == {True, False}
    assert [r.success for r in results] == outcomes


def test_both_outcomes_occur():
    c = hand_wired.classifier(hand_wired.random_net(1))
    outcomes = [
        r.success for e in (1.0, 64.0) for r in mi_fgsm(c, hand_wired.images(1, 4), AttackParameters(epsilon=e))
    ]
    assert set(outcomes) == {True, False}


def test_an_adversarial_that_dies_in_the_8_bit_round_trip_is_a_failure():
    """1.4 grey levels flip the real-valued image, of which 1 is stored; where 1 is enough nothing is lost."""
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    for needed, outcome in [(1.2, (False, True, True)), (0.9, (True, True, False)), (1.6, (False, False, False))]:
        model = hand_wired.route(0, 0, 0)
        with torch.no_grad():
            model.head.weight.zero_()
            model.head.weight[0, 0] = 1.0
            model.head.bias.copy_(torch.tensor([0.0, (100 + needed) / 255, -9.0]))
        c = hand_wired.classifier(model)
        assert c.predict(image)[0].label == 1
        result = mi_fgsm(c, image, AttackParameters(epsilon=1.4, steps=1))[0]
        assert result.image[..., 0].max() == 101
        assert (result.success, result.unrounded, result.lost) == outcome


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_targeted_attack_goes_to_its_target(target):
    c = hand_wired.classifier(hand_wired.random_net(5))
    images = hand_wired.images(2, 4)
    before = [p.probabilities[target] for p in c.predict(images)]
    small = mi_fgsm(c, images, AttackParameters(epsilon=4.0), np.full(4, target))
    after = [p.probabilities[target] for p in c.predict(np.stack([r.image for r in small]))]
    assert all(b > a for a, b in zip(before, after, strict=True))
    large = mi_fgsm(c, images, AttackParameters(epsilon=128.0), np.full(4, target))
    assert [r.success for r in large] == [label == target for label in labels(c, [r.image for r in large])]
    assert any(r.success for r in large)


def test_an_untargeted_attack_lowers_the_models_own_prediction():
    c = hand_wired.classifier(hand_wired.random_net(1))
    images = hand_wired.images(2, 4)
    results = mi_fgsm(c, images, AttackParameters(epsilon=2.0))
    for before, after in zip(c.predict(images), c.predict(np.stack([r.image for r in results])), strict=True):
        assert after.probabilities[before.label] < before.confidence


def test_an_image_alone_is_attacked_as_in_a_batch():
    c = hand_wired.classifier(hand_wired.random_net(3))
    images = hand_wired.images(3, 3)
    together = mi_fgsm(c, images, AttackParameters())
    for i in range(3):
        alone = mi_fgsm(c, images[i : i + 1], AttackParameters())[0]
        np.testing.assert_array_equal(alone.image, together[i].image)


@pytest.mark.parametrize(
    "parameters",
    [
        AttackParameters(epsilon=0.0),
        AttackParameters(epsilon=0.99),
        AttackParameters(epsilon=-1.0),
        AttackParameters(epsilon=float("nan")),
        AttackParameters(steps=0),
    ],
    ids=str,
)
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(AevisError, match="epsilon of at least 1 grey level"):
        mi_fgsm(hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0), parameters)


def test_a_cancel_from_progress_gets_through():
    class Cancelled(Exception):
        pass

    def cancel(share, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        mi_fgsm(
            hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0), AttackParameters(), progress=cancel
        )


@pytest.mark.parametrize("seed", range(4))
def test_a_step_within_a_region_equals_the_formula_and_leaves_every_other_pixel(seed):
    rng = np.random.default_rng(seed)
    shape, p = (2, 3, 4, 4), AttackParameters(epsilon=8.0, steps=4, momentum=0.7)
    source = rng.integers(0, 256, shape) / 255
    current = np.clip(source + rng.uniform(-1, 1, shape) * 8 / 255, 0, 1)
    momentum, gradient = rng.normal(size=shape) * 0.02, rng.normal(size=shape)
    region = rng.random((2, 4, 4)) < 0.4
    tensors = [torch.from_numpy(a) for a in (source, current, momentum, gradient)]
    moved, kept = momentum_step(*tensors, p, torch.from_numpy(region[:, None]))
    for i in range(2):
        own = [a[i] for a in (source, current, momentum, gradient)]
        wanted = reference.mi_fgsm_step(*own, 8 / 255, 8 / 255 / 4, 0.7, region[i])
        np.testing.assert_allclose(moved[i], wanted[0], atol=1e-12)
        np.testing.assert_allclose(kept[i], wanted[1], atol=1e-12)
        assert np.array_equal(moved.numpy()[i][:, ~region[i]], current[i][:, ~region[i]])


@pytest.mark.parametrize("epsilon", [1.0, 8.0, 200.0])
def test_pixels_outside_the_region_are_the_same_to_the_bit(epsilon):
    c = hand_wired.classifier(hand_wired.random_net(2))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    region = np.random.default_rng(1).random((5, 8, 8)) < 0.3
    region[4] = False
    results = mi_fgsm(c, images, AttackParameters(epsilon=epsilon), region=region)
    for result, image, inside in zip(results, images, region, strict=True):
        assert np.array_equal(result.image[~inside], image[~inside])
        assert np.abs(result.image.astype(int) - image).max() <= epsilon
        assert (result.image[inside] != image[inside]).any() == inside.any()
    assert not results[4].success


def test_the_whole_picture_as_region_is_no_region():
    c, images = hand_wired.classifier(hand_wired.random_net(4)), hand_wired.images(4, 3)
    anywhere = mi_fgsm(c, images, AttackParameters())
    for a, b in zip(anywhere, mi_fgsm(c, images, AttackParameters(), region=np.ones((3, 8, 8), bool)), strict=True):
        assert np.array_equal(a.image, b.image)
        assert a.success == b.success


@pytest.mark.parametrize("region", [np.ones((1, 8, 8), bool), np.ones((2, 8, 8))], ids=["shape", "type"])
def test_a_region_that_is_not_one_of_the_images_is_refused(region):
    with pytest.raises(ValueError, match=r"not bool \(2, 8, 8\)"):
        mi_fgsm(hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0), AttackParameters(), None,
                region=region)  # fmt: skip
