"""FGSM, PGD in L2 and restarts: against the papers' formulas, their balls after rounding, and what is kept."""

from dataclasses import replace

import hand_wired
import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.config import FGSM, L2, MI_FGSM, PGD, AttackParameters
from aevis_dash.core.attack import perturb
from aevis_dash.core.attack_steps import pgd_step, random_start, step_length
from aevis_dash.core.rounding import quantise_l2, rounded
from aevis_dash.domain import AevisError


def gradients(c, images, labels):
    """The gradients of the cross-entropy at the pixels, (B, 3, H, W), by torch's own backward pass."""
    pixels = c.pixels(images).requires_grad_()
    torch.nn.functional.cross_entropy(
        c.network.logits(c.normalise(pixels)), torch.tensor(labels), reduction="sum"
    ).backward()
    return pixels.grad.numpy()


# FGSM


@pytest.mark.parametrize("target", [None, 2])
@pytest.mark.parametrize("epsilon", [1.0, 8.0, 120.0])
def test_fgsm_is_the_formula_pixel_by_pixel(target, epsilon):
    c = hand_wired.classifier(hand_wired.random_net(1))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    aims = None if target is None else np.full(3, target)
    labels = [p.label for p in c.predict(images)] if target is None else aims
    away = 1 if target is None else -1
    steps = gradients(c, images, labels) * away
    p = AttackParameters(epsilon, steps=7, step=3.0, attack=FGSM)
    for result, image, gradient in zip(perturb(c, images, p, aims), images, steps, strict=True):
        wanted = reference.fgsm(image.transpose(2, 0, 1) / 255, gradient, epsilon / 255)
        np.testing.assert_array_equal(result.image, np.round(wanted * 255).transpose(1, 2, 0))
        assert result.steps == 1, "there is one step, whatever the parameters of other attacks say"


def test_fgsm_does_not_depend_on_the_seed_or_the_momentum():
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(1, 3)
    first, other = (
        perturb(c, images, AttackParameters(4.0, attack=FGSM, momentum=m, seed=s)) for m, s in [(0, 1), (1, 2)]
    )
    for a, b in zip(first, other, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


# PGD in L2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [0.0, 0.05, 3.0])
def test_a_step_of_pgd_in_l2_equals_the_formula_pixel_by_pixel(seed, step):
    rng = np.random.default_rng(seed)
    shape, p = (3, 3, 4, 4), AttackParameters(epsilon=0.5, steps=4, attack=PGD, norm=L2, step=step)
    source = rng.integers(0, 256, shape) / 255
    region = rng.random((3, 4, 4)) < 0.7
    noise = rng.normal(size=shape) * region[:, None]
    noise *= 0.5 / np.sqrt((noise**2).sum((1, 2, 3), keepdims=True)) * rng.uniform(0, 1, (3, 1, 1, 1))
    current = np.clip(source + noise, 0, 1)
    gradient = rng.normal(size=shape) * np.array([1e-200, 1.0, 0.0]).reshape(3, 1, 1, 1)
    alpha = step or 2.5 * 0.5 / 4
    assert step_length(p) == pytest.approx(alpha)
    tensors = [torch.from_numpy(a) for a in (source, current, gradient)]
    moved = pgd_step(*tensors, p, torch.from_numpy(region[:, None]))
    for i in range(3):
        scaled = gradient[i] * (1e200 if i == 0 else 1)  # squares of 1e-200 are no numbers, and only its sign counts
        wanted = reference.pgd_l2_step(source[i], current[i], scaled, 0.5, alpha, region[i])
        np.testing.assert_allclose(moved[i], wanted, atol=1e-12)
        assert np.array_equal(moved.numpy()[i][:, ~region[i]], current[i][:, ~region[i]])
        assert reference.l2_length(moved.numpy()[i] - source[i]) <= 0.5 + 1e-12


def test_the_random_start_in_l2_is_uniform_in_the_ball_by_the_seed_and_each_images_own():
    """A share r^D of a ball of D dimensions is nearer to its centre than r of its radius."""
    p = AttackParameters(epsilon=0.5, attack=PGD, norm=L2)
    small = [np.full((1, 2, 1), i, np.uint8) for i in range(250)]
    starts = np.array([random_start(image, replace(p, seed=s)) for image in small for s in range(4)]).reshape(-1, 2)
    lengths = np.sqrt((starts**2).sum(1))
    assert lengths.max() <= 0.5
    for radius in (0.2, 0.5, 0.9):
        assert (lengths < radius * 0.5).mean() == pytest.approx(radius**2, abs=0.05)
    assert np.abs(np.mean(np.sign(starts), axis=0)).max() < 0.1
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(random_start(image, p), random_start(image, p, 0))
    others = [random_start(image, replace(p, seed=1)), random_start(image, p, 1), random_start(image, p, 2)]
    assert not any(np.allclose(random_start(image, p), other) for other in others)
    assert not np.allclose(others[1], others[2])


@pytest.mark.parametrize("scale", [0.05, 0.6, 3.0, 40.0])
def test_rounding_in_an_l2_ball_equals_its_slow_twin(scale):
    rng = np.random.default_rng(3)
    source = rng.integers(0, 256, (3, 5, 6)).astype(float)
    pixels = np.clip(source + rng.normal(size=source.shape) * scale, 0, 255)
    own = reference.l2_length(pixels - source) / 255
    for epsilon in (own, 0.7 * own, 5 * own):
        found = quantise_l2(torch.from_numpy(pixels / 255)[None], torch.from_numpy(source / 255)[None], epsilon)[0]
        np.testing.assert_array_equal(found, reference.l2_rounding(pixels, source, epsilon))
        length = reference.l2_length(found.numpy().astype(float) - source) / 255
        assert length <= min(epsilon, own * 1.0005) * (1 + 1e-9) or epsilon < own


def test_rounding_in_an_l2_ball_keeps_whole_levels_and_loses_no_small_attack():
    source = torch.full((1, 3, 20, 20), 100 / 255)
    whole = source.clone()
    whole[0, 0, 0, :3] += torch.tensor([3.0, -2.0, 1.0]) / 255
    stored = quantise_l2(whole, source, 14**0.5 / 255)
    assert (stored.int() - 100)[0, 0, 0, :4].tolist() == [3, -2, 1, 0]
    assert (stored.int() - 100).abs().sum() == 6
    faint = source + torch.linspace(0.2, 0.4, 1200).reshape(1, 3, 20, 20) / 255
    moved = (quantise_l2(faint, source, 1.0).int() - 100).flatten()
    length = float(((faint - source) * 255).square().sum())
    assert int(moved.sum()) == int(moved.abs().sum()) == int(length * 1.001), "as long as it was, and the largest first"
    assert moved[-int(moved.sum()) :].tolist() == [1] * int(moved.sum())


@settings(deadline=None, max_examples=25)
@given(
    epsilon=st.one_of(st.sampled_from([0.01, 1 / 255, 2**0.5 / 255, 0.5]), st.floats(0.01, 8)),
    steps=st.integers(1, 4),
    targeted=st.booleans(),
    seed=st.integers(0, 100),
)
def test_the_stored_image_stays_within_the_l2_ball(epsilon, steps, targeted, seed):
    c = hand_wired.classifier(hand_wired.random_net(seed % 7))
    images = np.random.default_rng(seed).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    p = AttackParameters(max(epsilon, 0.01), steps, attack=PGD, norm=L2, seed=seed)
    for result, image in zip(perturb(c, images, p, np.array([1, 2]) if targeted else None), images, strict=True):
        assert reference.l2_length((result.image.astype(int) - image) / 255) <= p.epsilon + 1e-9


def test_pgd_in_l2_succeeds_where_it_may_move_far_and_uses_its_ball():
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(1, 6)
    right = [each.label for each in c.predict(images)]
    p = AttackParameters(4.0, 20, attack=PGD, norm=L2)
    results = perturb(c, images, p)
    after = [each.label for each in c.predict(np.stack([r.image for r in results]))]
    assert [r.success for r in results] == [a != b for a, b in zip(after, right, strict=True)]
    assert any(r.success for r in results)
    lengths = [reference.l2_length((r.image.astype(int) - i) / 255) for r, i in zip(results, images, strict=True)]
    assert max(lengths) > 0.9 * 4
    assert (p.bound, replace(p, epsilon=0.5).bound) == (255, 127.5), "one pixel may change by the whole norm"
    assert replace(p, attack=MI_FGSM).bound == 4, "only pgd has the norm"


def test_rounding_goes_by_the_norm():
    source, pixels = torch.full((1, 3, 2, 2), 0.4), torch.full((1, 3, 2, 2), 0.4 + 0.6 / 255)
    assert (rounded(pixels, source, AttackParameters(1.0)).int() - 102).sum() == 12
    assert (rounded(pixels, source, AttackParameters(1.0, attack=PGD, norm=L2)).int() - 102).sum() == 4


@pytest.mark.parametrize("attack", [FGSM, MI_FGSM])
def test_only_pgd_attacks_in_l2(attack):
    with pytest.raises(AevisError, match=rf"{attack} attacks within an l_inf ball only\. Choose --norm linf"):
        perturb(
            hand_wired.classifier(hand_wired.random_net(0)),
            hand_wired.images(0),
            AttackParameters(attack=attack, norm=L2),
        )


# Restarts


@pytest.mark.parametrize("norm", ["linf", L2])
@pytest.mark.parametrize("target", [None, 0])
def test_the_restart_of_the_largest_margin_is_kept_of_each_image(norm, target):
    """Each run alone is an attack of one step from its own start, by the formula."""
    c, images = hand_wired.classifier(hand_wired.random_net(2)), hand_wired.images(1, 5)
    p = AttackParameters(24.0 if norm == "linf" else 1.0, 3, attack=PGD, norm=norm, restarts=4)
    aims = None if target is None else np.full(5, target)
    kept = [perturb(c, images, replace(p, restarts=n), aims) for n in (1, 2, 3, 4)]
    margins = np.array([[each.margin for each in results] for results in kept])
    assert (np.diff(margins, axis=0) >= 0).all()
    assert (np.diff(margins, axis=0) > 0).any()
    assert (np.diff(margins, axis=0) == 0).any(), "an earlier run may have been the best"
    right = [each.label for each in c.predict(images)] if aims is None else aims
    logits = [np.log(each.probabilities.astype(float)) for each in c.predict(np.stack([r.image for r in kept[3]]))]
    wanted = [reference.attack_margin(row, y, target is not None) for row, y in zip(logits, right, strict=True)]
    np.testing.assert_allclose(margins[3], wanted, atol=1e-4)


def test_a_restart_is_only_made_of_images_that_have_not_stopped():
    c, images = hand_wired.classifier(hand_wired.random_net(1)), hand_wired.images(1, 6)
    p = AttackParameters(64.0, 6, attack=PGD)
    margin = float(np.median([each.margin for each in perturb(c, images, p)]))
    p = replace(p, stop=True, margin=margin)
    once, often = perturb(c, images, p), perturb(c, images, replace(p, restarts=5))
    stopped = [each.reaches(margin) for each in once]
    assert set(stopped) == {True, False}
    for one, many, had_stopped in zip(once, often, stopped, strict=True):
        assert many.margin >= one.margin
        if had_stopped:
            np.testing.assert_array_equal(many.image, one.image)


def test_restarts_tell_their_progress_as_a_whole():
    shares = []
    c = hand_wired.classifier(hand_wired.random_net(0))
    p = AttackParameters(1.0, 2, attack=PGD, restarts=2)
    perturb(c, hand_wired.images(0), p, progress=lambda share, _: shares.append(share))
    assert shares == [0.0, 0.25, 0.5, 0.75]
    perturb(c, hand_wired.images(0), replace(p, attack=MI_FGSM), progress=lambda share, _: shares.append(share))
    assert shares[4:] == [0.0, 0.5], "only pgd has random starts"
