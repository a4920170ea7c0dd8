"""MI-FGSM and PGD against their formulas, their bounds, what counts as a success, and when they stop."""

import dataclasses

import hand_wired
import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.config import MI_FGSM, PGD, AttackParameters
from aevis_dash.core.attack import perturb
from aevis_dash.core.attack_steps import momentum_step, pgd_step, random_start, step_length, thresholds
from aevis_dash.core.attacked import kept_under_noise, margins
from aevis_dash.core.rounding import quantise
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
    for result, image in zip(perturb(hand_wired.classifier(model), images, AttackParameters()), images, strict=True):
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
    for result, image in zip(perturb(c, images, AttackParameters(epsilon, steps, momentum)), images, strict=True):
        assert result.image.dtype == np.uint8
        assert result.image.shape == image.shape
        assert np.abs(result.image.astype(int) - image).max() <= epsilon


def test_one_step_moves_every_pixel_with_a_gradient_by_epsilon():
    c = hand_wired.classifier(hand_wired.random_net(1))
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    result = perturb(c, image, AttackParameters(8.0, 1, 1.0))[0]
    assert set(np.unique(result.image)) <= {92, 100, 108}
    assert (result.image != 100).mean() > 0.9


def test_pixels_are_stored_as_the_nearest_grey_level_within_epsilon():
    levels = torch.arange(256) / 255
    assert torch.equal(quantise(levels, levels, 1.0), torch.arange(256, dtype=torch.uint8))
    source = torch.tensor([0.0, 1.0, 99.0, 99.0, 0.0, 255.0]) / 255
    pixels = torch.tensor([0.49, 0.51, 99.49, 99.51, -3.0, 270.0]) / 255
    assert quantise(pixels, source, 1.0).tolist() == [0, 1, 99, 100, 0, 255]


def labels(c, images):
    return [p.label for p in c.predict(np.stack(images))]


@pytest.mark.parametrize(("seed", "epsilon"), [(0, 64.0), (1, 64.0), (2, 128.0)])
def test_success_is_what_the_stored_image_is_predicted_as(seed, epsilon):
    c = hand_wired.classifier(hand_wired.random_net(seed))
    images = hand_wired.images(seed, 8)
    results = perturb(c, images, AttackParameters(epsilon=epsilon))
    after, before = labels(c, [r.image for r in results]), labels(c, images)
    outcomes = [a != b for a, b in zip(after, before, strict=True)]
    assert set(outcomes) == {True, False}
    assert [r.success for r in results] == outcomes


def test_both_outcomes_occur():
    c = hand_wired.classifier(hand_wired.random_net(1))
    outcomes = [
        r.success for e in (1.0, 64.0) for r in perturb(c, hand_wired.images(1, 4), AttackParameters(epsilon=e))
    ]
    assert set(outcomes) == {True, False}


def flipped_by(needed):
    """A classifier that says class 0 in place of 1 of a picture of grey level 100 that is made brighter by so much."""
    model = hand_wired.route(0, 0, 0)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[0, 0] = 1.0
        model.head.bias.copy_(torch.tensor([0.0, (100 + needed) / 255, -9.0]))
    return hand_wired.classifier(model)


def test_an_attack_that_rounding_undoes_is_kept_as_floats_where_that_is_asked_for():
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    asked = AttackParameters(epsilon=1.4, steps=1, floats=True)
    (kept,) = perturb(flipped_by(1.2), image, asked)
    assert (kept.success, kept.unrounded, kept.lost) == (True, True, False)
    assert kept.floats.dtype == np.float32
    assert (kept.floats.max(), kept.image.max()) == (pytest.approx(101.4 / 255, abs=1e-6), 101)
    assert kept.margin == pytest.approx(0.2 / 255, abs=1e-6)
    for needed, success in ((0.9, True), (1.6, False)):
        (other,) = perturb(flipped_by(needed), image, asked)
        assert (other.success, other.floats) == (success, None)


def test_an_attack_that_stops_goes_on_while_8_bits_may_still_do():
    """After the first of two steps, of 1.4 grey levels each, only the floats fool the model; after both 8 bits do."""
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    asked = AttackParameters(epsilon=3, steps=2, step=1.4, stop=True, margin=0, floats=True)
    (found,) = perturb(flipped_by(1.2), image, asked)
    assert (found.success, found.floats, found.steps, found.image.max()) == (True, None, 2, 103)
    (found,) = perturb(flipped_by(1.2), image, dataclasses.replace(asked, steps=1))
    assert (found.success, found.steps, found.floats is None) == (True, 1, False)


def test_an_adversarial_that_dies_in_the_8_bit_round_trip_is_a_failure():
    """1.4 grey levels flip the real-valued image, of which 1 is stored; where 1 is enough nothing is lost."""
    image = np.full((1, 8, 8, 3), 100, np.uint8)
    for needed, outcome in [(1.2, (False, True, True)), (0.9, (True, True, False)), (1.6, (False, False, False))]:
        c = flipped_by(needed)
        assert c.predict(image)[0].label == 1
        result = perturb(c, image, AttackParameters(epsilon=1.4, steps=1))[0]
        assert result.image[..., 0].max() == 101
        assert (result.success, result.unrounded, result.lost) == outcome


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_targeted_attack_goes_to_its_target(target):
    c = hand_wired.classifier(hand_wired.random_net(5))
    images = hand_wired.images(2, 4)
    before = [p.probabilities[target] for p in c.predict(images)]
    small = perturb(c, images, AttackParameters(epsilon=4.0), np.full(4, target))
    after = [p.probabilities[target] for p in c.predict(np.stack([r.image for r in small]))]
    assert all(b > a for a, b in zip(before, after, strict=True))
    large = perturb(c, images, AttackParameters(epsilon=128.0), np.full(4, target))
    assert [r.success for r in large] == [label == target for label in labels(c, [r.image for r in large])]
    assert any(r.success for r in large)


def test_an_untargeted_attack_lowers_the_models_own_prediction():
    c = hand_wired.classifier(hand_wired.random_net(1))
    images = hand_wired.images(2, 4)
    results = perturb(c, images, AttackParameters(epsilon=2.0))
    for before, after in zip(c.predict(images), c.predict(np.stack([r.image for r in results])), strict=True):
        assert after.probabilities[before.label] < before.confidence


def test_an_image_alone_is_attacked_as_in_a_batch():
    c = hand_wired.classifier(hand_wired.random_net(3))
    images = hand_wired.images(3, 3)
    together = perturb(c, images, AttackParameters())
    for i in range(3):
        alone = perturb(c, images[i : i + 1], AttackParameters())[0]
        np.testing.assert_array_equal(alone.image, together[i].image)


@pytest.mark.parametrize(
    "parameters",
    [
        AttackParameters(epsilon=0.0),
        AttackParameters(epsilon=0.009),
        AttackParameters(epsilon=-1.0),
        AttackParameters(epsilon=float("nan")),
        AttackParameters(steps=0),
        AttackParameters(restarts=0),
    ],
    ids=str,
)
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(AevisError, match=r"epsilon of at least 0\.01, in l_inf in grey levels of 255"):
        perturb(hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0), parameters)


def test_a_cancel_from_progress_gets_through():
    class Cancelled(Exception):
        pass

    def cancel(share, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        perturb(
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
    results = perturb(c, images, AttackParameters(epsilon=epsilon), region=region)
    for result, image, inside in zip(results, images, region, strict=True):
        assert np.array_equal(result.image[~inside], image[~inside])
        assert np.abs(result.image.astype(int) - image).max() <= epsilon
        assert (result.image[inside] != image[inside]).any() == inside.any()
    assert not results[4].success


def test_the_whole_picture_as_region_is_no_region():
    c, images = hand_wired.classifier(hand_wired.random_net(4)), hand_wired.images(4, 3)
    anywhere = perturb(c, images, AttackParameters())
    for a, b in zip(anywhere, perturb(c, images, AttackParameters(), region=np.ones((3, 8, 8), bool)), strict=True):
        assert np.array_equal(a.image, b.image)
        assert a.success == b.success


@pytest.mark.parametrize("region", [np.ones((1, 8, 8), bool), np.ones((2, 8, 8))], ids=["shape", "type"])
def test_a_region_that_is_not_one_of_the_images_is_refused(region):
    with pytest.raises(ValueError, match=r"not bool \(2, 8, 8\)"):
        perturb(hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0), AttackParameters(), None,
                region=region)  # fmt: skip


def test_the_label_under_noise_is_that_of_every_copy_one_grey_level_off():
    c = hand_wired.classifier(hand_wired.random_net(1))
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    near = [
        r.image for r in perturb(c, sources, AttackParameters(64.0, 40, step=1.0, stop=True, margin=0.0)) if r.success
    ]
    shares = [kept_under_noise(c, image, 30, seed=5) for image in near]
    assert min(shares) < 1, "an image at the border keeps its label in some noise only"
    for image, share in zip(near[:6], shares, strict=False):
        noise = np.random.default_rng(5).integers(-1, 2, (30, 8, 8, 3))
        assert set(np.unique(noise)) == {-1, 0, 1}
        own = labels(c, [image])[0]
        kept = [labels(c, [np.clip(image.astype(int) + each, 0, 255).astype(np.uint8)])[0] == own for each in noise]
        assert share == sum(kept) / 30


# Below one grey level


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.99])
def test_an_epsilon_below_1_moves_the_values_whose_change_reaches_their_threshold(epsilon):
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (3, 40, 40)).astype(np.float64)
    pixels = np.clip(source + rng.choice([-1, -0.5, 0.0, 0.2, 1], source.shape) * epsilon, 0, 255)
    levels = rng.uniform(0.01, 1, source.shape)
    tensors = [torch.from_numpy(each)[None] for each in (pixels / 255, source / 255)]
    found = quantise(*tensors, epsilon, torch.from_numpy(levels)[None])[0]
    np.testing.assert_array_equal(found, reference.stochastic_rounding(pixels, source, levels))
    moved = found.numpy().astype(int) - source
    assert np.abs(moved).max() == 1
    assert np.abs(moved).mean() <= epsilon
    np.testing.assert_allclose(moved.mean(), (pixels - source).mean(), atol=0.02, err_msg="the mean change is kept")
    with pytest.raises(ValueError, match="rounded by thresholds"):
        quantise(*tensors, epsilon)


def test_thresholds_are_uniform_by_the_seed_and_each_images_own():
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    first, other = (thresholds(image, AttackParameters()) for image in images)
    np.testing.assert_allclose(np.quantile(first, [0, 0.25, 0.5, 0.75, 1]), [0, 0.25, 0.5, 0.75, 1], atol=0.03)
    assert not np.allclose(first, other)
    assert not np.allclose(first, thresholds(images[0], AttackParameters(seed=1)))
    np.testing.assert_array_equal(first, thresholds(images[0], AttackParameters(epsilon=0.5)))


def test_with_an_epsilon_below_1_more_values_move_from_step_to_step_and_none_outside_the_region():
    c = hand_wired.classifier(hand_wired.random_net(1))
    images = np.random.default_rng(3).integers(1, 255, (2, 8, 8, 3), dtype=np.uint8)
    region = np.random.default_rng(1).random((2, 8, 8)) < 0.7
    p = AttackParameters(0.5, step=0.05)
    moved = []
    for steps in (1, 4, 10):
        results = perturb(c, images, dataclasses.replace(p, steps=steps), region=region)
        change = np.stack([r.image for r in results]).astype(int) - images
        assert not change[~region].any()
        moved.append(np.abs(change[region]).mean())
    np.testing.assert_allclose(moved, [0.05, 0.2, 0.5], atol=0.08)


@pytest.mark.parametrize("attack", [MI_FGSM, PGD])
def test_what_is_stored_with_an_epsilon_below_1_is_one_level_off_and_told_so(attack):
    c = hand_wired.classifier(hand_wired.random_net(1))
    images = np.random.default_rng(3).integers(1, 255, (4, 8, 8, 3), dtype=np.uint8)
    p = AttackParameters(0.5, attack=attack)
    for result, image in zip(perturb(c, images, p), images, strict=True):
        assert np.abs(result.image.astype(int) - image).max() == p.bound == 1
    assert AttackParameters(2.5).bound == 2.5


# PGD


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [0.0, 0.3, 20.0])
def test_a_step_of_pgd_equals_the_formula_pixel_by_pixel(seed, step):
    rng = np.random.default_rng(seed)
    shape, p = (2, 3, 4, 4), AttackParameters(epsilon=8.0, steps=4, attack=PGD, step=step)
    source = rng.integers(0, 256, shape) / 255
    current = np.clip(source + rng.uniform(-1, 1, shape) * 8 / 255, 0, 1)
    gradient = rng.normal(size=shape) * rng.choice([0.0, 1e-30, 1.0], shape)
    region = rng.random((2, 4, 4)) < 0.7
    alpha = (step or 2.5 * 8 / 4) / 255
    assert step_length(p) == pytest.approx(alpha)
    tensors = [torch.from_numpy(a) for a in (source, current, gradient)]
    moved = pgd_step(*tensors, p, torch.from_numpy(region[:, None]))
    for i in range(2):
        wanted = reference.pgd_step(source[i], current[i], gradient[i], 8 / 255, alpha, region[i])
        np.testing.assert_allclose(moved[i], wanted, atol=1e-12)


def test_pgd_starts_anywhere_in_the_ball_by_its_seed_and_each_image_elsewhere():
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    p = AttackParameters(epsilon=4.0, attack=PGD, seed=3)
    first, other = (random_start(image, p) * 255 for image in images)
    assert np.abs(first).max() <= 4
    np.testing.assert_allclose(np.quantile(first, [0.25, 0.5, 0.75]), [-2, 0, 2], atol=0.2)
    assert not np.allclose(first, other)
    assert not np.allclose(first, random_start(images[0], AttackParameters(epsilon=4.0, attack=PGD, seed=4)) * 255)
    np.testing.assert_array_equal(first, random_start(images[0], p) * 255)


def test_pgd_begins_at_its_start_and_stays_in_the_region():
    c = hand_wired.classifier(hand_wired.random_net(2))
    images = np.random.default_rng(5).integers(40, 200, (2, 8, 8, 3), dtype=np.uint8)
    p = AttackParameters(epsilon=16.0, steps=1, attack=PGD, step=1e-6)
    for result, image in zip(perturb(c, images, p), images, strict=True):
        np.testing.assert_array_equal(result.image, np.round(image + random_start(image, p) * 255))
    region = np.random.default_rng(1).random((2, 8, 8)) < 0.5
    for result, image, inside in zip(perturb(c, images, p, region=region), images, region, strict=True):
        assert np.array_equal(result.image[~inside], image[~inside])
        assert (result.image[inside] != image[inside]).any()


def test_pgd_moves_an_image_away_from_its_prediction():
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(2, 4)
    results = perturb(c, images, AttackParameters(epsilon=4.0, attack=PGD))
    for before, after in zip(c.predict(images), c.predict(np.stack([r.image for r in results])), strict=True):
        assert after.probabilities[before.label] < before.confidence


def test_an_attack_of_another_name_is_refused():
    with pytest.raises(AevisError, match=r"no attack 'deepfool' by gradients\. Choose one of: mi-fgsm, fgsm, pgd,"):
        perturb(
            hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0), AttackParameters(attack="deepfool")
        )


# Margins and stopping


@pytest.mark.parametrize("targeted", [False, True])
def test_margins_are_those_of_the_logits(targeted):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    found = margins(torch.from_numpy(logits), torch.from_numpy(labels), targeted)
    wanted = [reference.attack_margin(row, label, targeted) for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def stored_margins(c, results, right, target=None):
    logits = [np.log(p.probabilities.astype(float)) for p in c.predict(np.stack([r.image for r in results]))]
    labels = right if target is None else target
    return [reference.attack_margin(row, label, target is not None) for row, label in zip(logits, labels, strict=True)]


@pytest.mark.parametrize("attack", [MI_FGSM, PGD])
@pytest.mark.parametrize("target", [None, 0])
@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_an_attack_stops_at_the_first_step_whose_stored_image_has_the_margin(attack, target, margin):
    """An attack of t steps of the same length ends where the one that stops was after its step t."""
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(1, 6)
    p = AttackParameters(epsilon=64.0, steps=12, attack=attack, step=6.0, stop=True, margin=margin)
    right = [each.label for each in c.predict(images)]
    aim = None if target is None else np.full(6, target)
    stopped = perturb(c, images, p, aim)
    np.testing.assert_allclose([r.margin for r in stopped], stored_margins(c, stopped, right, aim), atol=1e-4)
    assert len({r.steps for r in stopped}) > 1
    for i, result in enumerate(stopped):
        own = None if aim is None else aim[i : i + 1]
        without_stop = [
            perturb(c, images[i : i + 1], dataclasses.replace(p, steps=steps, stop=False), own)[0]
            for steps in range(1, 13)
        ]
        reached = [each.success and each.margin >= margin for each in without_stop]
        first = reached.index(True) + 1 if any(reached) else 12
        assert result.steps == first
        assert result.reaches(margin) == any(reached)
        np.testing.assert_array_equal(result.image, without_stop[first - 1].image)


def test_with_a_margin_of_0_the_first_success_counts_and_a_larger_one_takes_longer():
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(1, 6)
    steps = {}
    for margin in (0.0, 0.02, 1000.0):
        p = AttackParameters(epsilon=128.0, steps=40, step=4.0, stop=True, margin=margin)
        results = perturb(c, images, p)
        steps[margin] = np.array([r.steps for r in results])
        assert [r.reaches(margin) for r in results] == [r.success and r.margin >= margin for r in results]
    assert (steps[0.0] <= steps[0.02]).all()
    assert (steps[0.0] < steps[0.02]).any()
    assert (steps[1000.0] == 40).all()


def test_what_takes_all_steps_does_not_look_at_the_margin():
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(1, 3)
    first, other = (perturb(c, images, AttackParameters(64.0, margin=margin)) for margin in (0.0, 50.0))
    for a, b in zip(first, other, strict=True):
        assert a.steps == b.steps == 10
        np.testing.assert_array_equal(a.image, b.image)
