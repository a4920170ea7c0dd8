"""Rankings without a search: gradient x activation, integrated gradients, activation, random."""

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.config import silent
from aevis_dash.core import ranking

SEEDS = (0, 1, 2)


def label_logit(model, image):
    """The logit of the image's label as a function of the gates, by the plain run."""
    label = hand_wired.logits_twin(model, image).argmax()
    return lambda z: float(hand_wired.plain_logits(model, image, torch.as_tensor(z)[None])[0, label])


def agrees(gates, effects, within=1e-3):
    """The gates are the effects over their largest, 0 below 0, moved by at most a thousandth, and keep their order."""
    np.testing.assert_allclose(gates, np.clip(effects / effects.max(), 0, 1), atol=1e-3 + within)
    assert 0 <= gates.min() <= gates.max() <= 1
    for i in range(len(gates)):
        for j in range(len(gates)):
            if effects[i] - effects[j] > within * effects.max():
                assert gates[i] > gates[j]


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_is_what_a_little_less_of_a_map_takes_from_the_labels_logit(seed):
    model, images = hand_wired.random_net(seed, skip=True), hand_wired.images(seed)
    gates = ranking.gradient(hand_wired.problem(model, images), silent).gates
    for row, image in zip(gates, images, strict=True):
        agrees(row.numpy(), reference.slopes(label_logit(model, image), np.ones(16)))


@pytest.mark.parametrize("seed", SEEDS)
def test_integrated_sums_the_slopes_at_the_middles_of_the_path(seed):
    model, images = hand_wired.random_net(seed), hand_wired.images(seed)
    gates = ranking.integrated(hand_wired.problem(model, images), silent).gates
    steps = ranking.STEPS
    for row, image in zip(gates, images, strict=True):
        logit = label_logit(model, image)
        sums = sum(reference.slopes(logit, np.full(16, (k + 0.5) / steps)) for k in range(steps)) / steps
        agrees(row.numpy(), sums)
        wide = model.convs[-1].out_channels
        assert sums[-wide:].sum() == pytest.approx(logit(np.ones(16)) - logit(np.zeros(16)), rel=0.7), "near complete"


def test_of_a_set_effects_and_peaks_are_means():
    model = hand_wired.random_net(1)
    images = hand_wired.of_one_class(model, 1, 3)
    together = hand_wired.problem(model, images, groups=[0, 0, 0])
    alone = hand_wired.problem(model, images)
    mean = ranking.first_order(alone, ranking.label_logit).mean(0, keepdim=True)
    torch.testing.assert_close(ranking.first_order(together, ranking.label_logit), mean)
    for method in (ranking.gradient, ranking.integrated):
        assert method(together, silent).gates.shape == (1, 16)
    peaks = ranking.activation(alone, silent).gates.mean(0, keepdim=True)
    torch.testing.assert_close(ranking.activation(together, silent).gates, peaks)


@pytest.mark.parametrize("skip", [False, True])
def test_activation_is_the_peak_of_a_map_over_its_layers_largest(skip):
    model, images = hand_wired.random_net(3, skip=skip), hand_wired.images(3)
    gates = ranking.activation(hand_wired.problem(model, images), silent).gates
    for row, image in zip(gates, images, strict=True):
        maps = reference.activations(hand_wired.weights(model), hand_wired.pixels(image), skip=skip)
        for found, layer in zip(hand_wired.parts(model, row), maps, strict=True):
            peaks = np.array([m.max() for m in layer])
            np.testing.assert_allclose(found, peaks / peaks.max(), atol=1e-5)


def test_random_is_the_seeds_and_no_images():
    model, images = hand_wired.random_net(0), hand_wired.images(0, 3)
    gates = [ranking.random(hand_wired.problem(model, images, seed=seed), silent).gates for seed in (0, 0, 1)]
    assert gates[0].shape == (3, 16)
    assert torch.equal(gates[0], gates[1])
    assert torch.equal(gates[0][0], gates[0][2])
    assert (gates[0][0] - gates[2][0]).abs().max() > 0.1
    assert len(set(gates[0][0].tolist())) == 16


def test_what_works_against_the_label_is_last_with_its_order():
    effect = torch.tensor([[2.0, -1.0, 0.0, -3.0, 1.0, 0.0], [-1.0, -2.0, -1.5, -4.0, -3.0, -1.0]])
    gates = ranking.strengths(effect)
    for row, values in zip(gates.tolist(), effect.tolist(), strict=True):
        assert (
            reference.best_first([round(v, 7) for v in row])[:5] == sorted(range(6), key=lambda i: (-values[i], -i))[:5]
        )
        assert 0 <= min(row) <= max(row) <= 1
    assert gates[0, 0] == pytest.approx(1)
    assert gates[0, [1, 2, 3, 5]].max() <= 1e-3
    assert gates[1].max() <= 1e-3


def test_ties_are_broken_within_a_thousandth_and_nothing_else_is_moved():
    gates = torch.tensor([[0.5, 0.5, 0.0, 1.0, 1.0]])
    found = ranking.break_ties(gates, torch.tensor([[1.0, 2.0, 9.0, 4.0, 3.0]]))[0]
    assert found.argsort(descending=True).tolist() == [3, 4, 1, 0, 2]
    assert (found - gates[0]).abs().max() <= 1e-3
    assert found.max() <= 1
    alone = ranking.break_ties(torch.tensor([[0.3]]), torch.tensor([[1.0]]))
    assert float(alone) == pytest.approx(0.3, abs=1e-3)
