"""The adversarial score and its AUROC."""

import math

import hand_wired
import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from aevis_dash.core.adversarial_score import (
    DRAWS,
    adversarial_score,
    auroc,
    bandwidth,
    direction,
    head_features,
    separation,
)
from aevis_dash.domain import AevisError


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_minus_log_k_density(seed, count):
    rng = np.random.default_rng(seed)
    features, known, sigma = rng.normal(size=(4, 5)), rng.normal(size=(count, 5)), rng.uniform(0.5, 3)
    wanted = [-math.log(reference.k_density(f, known, sigma)) for f in features]
    np.testing.assert_allclose(adversarial_score(features, known, sigma), wanted, rtol=1e-9)


def test_far_images_score_by_their_nearest_reference_and_never_underflow():
    known = np.array([[0.0, 0.0], [3000.0, 0.0]])
    found = adversarial_score(np.array([[1000.0, 0.0], [0.0, 2000.0]]), known, 1.0)
    np.testing.assert_allclose(found, [1000.0**2 + math.log(2), 2000.0**2 + math.log(2)], rtol=1e-12)


def test_without_references_there_is_no_score():
    assert np.isnan(adversarial_score(np.zeros((3, 4)), np.zeros((0, 4)), 1.0)).tolist() == [True] * 3


def test_sigma_is_the_median_distance_within_a_class():
    features = np.array([[0.0], [1.0], [5.0], [100.0], [107.0]])
    labels = np.array([0, 0, 0, 1, 1])
    assert bandwidth(features, labels) == pytest.approx(np.median([1, 5, 4, 7]))


@pytest.mark.parametrize(
    ("features", "labels", "sigma"),
    [
        ([[0.0], [1.0], [3.0]], [0, 1, 2], 2.0),
        ([[4.0]], [0], 1.0),
        ([], [], 1.0),
        ([[0.1, 0.7], [0.1, 0.7], [0.1, 0.7]], [0, 0, 0], 1.0),
        ([[1e3 + 0.1] * 64] * 4, [0, 0, 1, 1], 1.0),
    ],
    ids=["no class with two", "one image", "no image", "equal images", "equal large images"],
)
def test_sigma_where_the_rule_has_nothing_to_go_by(features, labels, sigma):
    array = np.array(features, np.float32).reshape(len(features), len(features[0]) if features else 3)
    assert bandwidth(array, np.array(labels)) == pytest.approx(sigma)


SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=8)


@given(SCORES, SCORES)
def test_auroc_counts_pairs_and_ties(normal, adversarial):
    assert auroc(normal, adversarial) == pytest.approx(reference.auroc(normal, adversarial))


def test_auroc_at_its_ends():
    assert auroc([1, 2], [3, 4]) == 1
    assert auroc([3, 4], [1, 2]) == 0
    assert auroc([1, float("nan")], [2, float("nan")]) == 1
    assert math.isnan(auroc([], [1.0]))
    assert math.isnan(auroc([1.0], [float("nan")]))


@pytest.mark.parametrize("batch", [2, 32])
def test_head_features_are_the_input_of_the_last_linear_layer(batch):
    model = hand_wired.random_net(0)
    seen = []
    handle = model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.from_numpy(hand_wired.images(0, 3)).permute(0, 3, 1, 2) / 255)
    handle.remove()
    found = head_features(hand_wired.classifier(model), hand_wired.images(0, 3), batch)
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found, seen[0].numpy(), atol=1e-6)


def test_a_model_without_a_head_is_refused():
    class Headless(nn.Module):
        def forward(self, x):
            return torch.relu(x).mean((2, 3))

    with pytest.raises(AevisError, match="head"):
        head_features(hand_wired.classifier(Headless()), hand_wired.images(0))


@pytest.mark.parametrize("seed", range(3))
def test_the_direction_has_unit_length_and_its_score_is_that_of_the_formula(seed):
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(4, 5)) * np.array([1e-3, 1.0, 1e3, 1.0])[:, None]).astype(np.float32)
    features[3] = 0
    known = rng.normal(size=(6, 5)).astype(np.float32)
    found, others = direction(features), direction(known)
    np.testing.assert_allclose(found, [reference.direction(row) for row in features], rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 0], rtol=1e-12)
    np.testing.assert_allclose(direction(7.5 * features), found, rtol=1e-6, err_msg="whatever the length")
    sigma = bandwidth(others, np.zeros(6, int))
    wanted = [
        -math.log(reference.k_density(reference.direction(row), [reference.direction(r) for r in known], sigma))
        for row in features
    ]
    np.testing.assert_allclose(adversarial_score(found, others, sigma), wanted, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_an_auroc_is_that_of_resampled_sources(seed, monkeypatch):
    monkeypatch.setattr("aevis_dash.core.adversarial_score.DRAWS", 60)
    rng = np.random.default_rng(seed)
    normal = rng.integers(0, 6, 7).astype(float)
    source = rng.integers(0, 7, 12)
    adversarial = rng.integers(1, 8, 12).astype(float)
    normal[0], adversarial[2] = np.nan, np.inf
    found = separation(normal.tolist(), adversarial.tolist(), source.tolist(), seed)
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(7, size=7) for _ in range(60)]
    resampled = reference.bootstrap_auroc(normal, adversarial, source, drawn)
    assert found.auroc == pytest.approx(auroc(normal, adversarial))
    np.testing.assert_allclose([found.low, found.high], np.quantile(resampled, [0.025, 0.975]), rtol=1e-12)
    assert found.n == 11
    limit = sorted(normal[1:])[-1] * 0.75 + sorted(normal[1:])[-2] * 0.25  # 0.95 of the way over six scores
    finite = [value for value in adversarial if np.isfinite(value)]
    assert found.among == pytest.approx(sum(value <= limit for value in finite) / 11)


def test_adversarials_among_the_sources_do_not_stand_out():
    found = separation(list(map(float, range(101))), [0.0, 94.0, 95.0, 95.5, 200.0], [0, 1, 2, 3, 4])
    assert found.among == pytest.approx(3 / 5)


def test_an_interval_narrows_with_more_sources_and_is_none_without_scores():
    rng = np.random.default_rng(0)
    widths = []
    for count in (20, 320):
        found = separation(rng.normal(size=count).tolist(), (rng.normal(size=count) + 1).tolist(), range(count))
        widths.append(found.high - found.low)
        assert found.low <= found.auroc <= found.high
    assert widths[1] < 0.5 * widths[0]
    assert DRAWS == 2000
    nothing = separation([float("nan")], [1.0], [0])
    assert math.isnan(nothing.auroc)
    assert math.isnan(nothing.low)
