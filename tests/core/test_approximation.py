"""Eq. 5 on the expansion of the logits at z = 1."""

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.config import silent
from aevis_dash.core import approximation
from aevis_dash.core.approximation import quadratic, quadratic_several


def slopes_of(model, image, label):
    """(n,) what a little less of each map takes from one logit, by the plain run."""

    def logit(z):
        return hand_wired.plain_logits(model, image, torch.tensor(z)[None])[0, label].item()

    return reference.slopes(logit, np.ones(sum(hand_wired.widths(model))))


@pytest.mark.parametrize("sparsity", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_one_output_is_solved_exactly_in_units_of_the_whole_effect(seed, sparsity):
    model, images = hand_wired.random_net(seed, (4, 3, 4)), hand_wired.images(seed)
    found = quadratic(hand_wired.problem(model, images, sparsity=sparsity), silent)
    for z, gates, image in zip(found.soft, found.gates, images, strict=True):
        q = slopes_of(model, image, hand_wired.logits_twin(model, image).argmax())
        q = q / abs(q.sum())
        assert reference.quadratic([q], z.tolist(), sparsity) <= reference.quadratic_by_enumeration(q, sparsity) + 1e-4
        assert (gates - z).abs().max() <= 1e-3
        assert 0 <= gates.min() <= gates.max() <= 1


@pytest.mark.parametrize("sparsity", [0.3, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_several_outputs_are_the_label_and_the_likeliest_others(monkeypatch, seed, sparsity):
    """Of three classes two are asked for: the label's logit first, the runner-up's second, image by image."""
    monkeypatch.setattr(approximation, "OUTPUTS", 2)
    solved = []
    fista = approximation.fista
    monkeypatch.setattr(approximation, "fista", lambda q, lam: solved.append((q, lam)) or fista(q, lam))
    model, images = hand_wired.random_net(seed), hand_wired.images(seed, 3)
    found = quadratic_several(hand_wired.problem(model, images, sparsity=sparsity), silent)
    q, lam = solved[0]
    assert lam == sparsity
    for i, image in enumerate(images):
        classes = reference.best_first(hand_wired.logits_twin(model, image))[:2]
        wanted = np.array([slopes_of(model, image, k) for k in classes])
        wanted /= abs(wanted[0].sum())
        np.testing.assert_allclose(q[i], wanted, atol=2e-3 * np.abs(wanted).max())
        z = found.soft[i].tolist()
        assert reference.quadratic_excess(wanted, z, sparsity) < 0.1 * reference.quadratic(wanted, z, sparsity)
    assert (found.gates - found.soft).abs().max() <= 1e-3


@pytest.mark.parametrize("method", [quadratic, quadratic_several])
def test_ties_go_by_the_effect_on_the_label(method):
    model, images = hand_wired.random_net(0), hand_wired.images(0, 1)
    found = method(hand_wired.problem(model, images), silent)
    q = slopes_of(model, images[0], hand_wired.logits_twin(model, images[0]).argmax())
    closed = np.flatnonzero(found.soft[0].numpy() == 0)
    assert len(closed) > 3
    order = [k for k in reference.best_first(q) if k in closed and q[k] != 0]
    gates = found.gates[0].numpy()
    assert [k for k in reference.best_first(gates) if k in order] == order


def test_a_set_takes_the_classes_of_its_mean_prediction_and_the_mean_effects(monkeypatch):
    solved = []
    fista = approximation.fista
    monkeypatch.setattr(approximation, "fista", lambda q, lam: solved.append(q) or fista(q, lam))
    model = hand_wired.random_net(1)
    images = hand_wired.of_one_class(model, 1, 3)
    quadratic_several(hand_wired.problem(model, images, groups=[0, 0, 0]), silent)
    p = np.mean([reference.softmax(hand_wired.logits_twin(model, image)) for image in images], axis=0)
    wanted = np.array([np.mean([slopes_of(model, i, k) for i in images], axis=0) for k in reference.best_first(p)])
    wanted /= abs(wanted[0].sum())
    np.testing.assert_allclose(solved[0][0], wanted, atol=2e-3 * np.abs(wanted).max())


def test_an_approximation_costs_a_pass_for_each_output():
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0))
    before = problem.passes
    quadratic(problem, silent)
    assert problem.passes - before == pytest.approx(1)
    quadratic_several(problem, silent)
    assert problem.passes - before == pytest.approx(4)
