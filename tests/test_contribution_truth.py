"""Contributions beside the exact effect of exchanging every map: the truth is that of patching by hand."""

import json

import numpy as np
import pytest
import torch

from aevis_dash import contribution_truth
from aevis_dash.cli import main
from aevis_dash.contribution_truth import (
    CHANCE,
    DIFFERENCE,
    LINES,
    PATCHING,
    TRUTH,
    ask,
    compare_ways,
    judge,
    least_loss,
    patch,
)
from aevis_dash.core.contribution_problem import ContributionProblem, FoilRun
from aevis_dash.core.optimize import Descent, solve
from aevis_dash.core.receptive import neurons_that_feed
from aevis_dash.domain import AevisError
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


def test_what_is_traced_is_what_the_attack_raised_most(bench):
    example = choose(bench, Sample(1))[0]
    asked = ask(bench, example, np.random.default_rng(0))
    assert (asked.images[0] == bench.workspace.read([example.source])[0]).all()
    depths = list(bench.flips.depths())
    assert depths.index(asked.layer) + 1 == depths.index(asked.effect.layer)
    src, adv = bench.classifier.network.activation(bench.classifier.inputs(asked.images), asked.effect.layer)
    raised = (adv - src).detach().numpy()
    channel, row, column = np.unravel_index(raised.argmax(), raised.shape)
    assert asked.effect.channel == channel
    assert asked.area.top <= row < asked.area.bottom <= asked.area.top + 3
    assert asked.area.left <= column < asked.area.right <= asked.area.left + 3


@pytest.fixture(scope="module")
def asked(bench):
    return ask(bench, choose(bench, Sample(1))[0], np.random.default_rng(3))


@pytest.fixture(scope="module")
def by_hand(bench, asked):
    """The area on adv, by plain runs with hooks, with every map moved towards src's: f(gates)."""
    network, x = bench.classifier.network, bench.classifier.inputs(asked.images)
    inside = neurons_that_feed(network.traced, asked.area, asked.layer)
    theirs = network.activation(x[:1], asked.layer).detach()

    def f(gates):
        """The area with each map k at gates[k] of the way from src's to its own, inside the receptive field."""
        seen = {}

        def put(index, value):
            if index == asked.layer:
                gate = gates[:, None, None]
                value = torch.where(inside, gate * value + (1 - gate) * theirs, value)
            if index == asked.effect.layer:
                seen["f"] = value[0, asked.effect.channel]
            return value

        network.run_watched(x[1:], put)
        area = asked.area
        return seen["f"][area.top : area.bottom, area.left : area.right].flatten()

    return f


def test_the_truth_is_that_of_patching_by_hand(bench, by_hand, monkeypatch):
    example = choose(bench, Sample(1))[0]
    judged = []
    monkeypatch.setattr(contribution_truth, "judge", lambda *given: judged.append(given) or judge(*given))
    compare_ways(bench, [example], seed=3)
    truth = judged[0][2]
    n = len(truth)
    with torch.no_grad():
        whole, *others = [by_hand(gates) for gates in (torch.ones(n), torch.zeros(n), *(1 - torch.eye(n)))]
    change = whole - others[0]
    wanted = [float(((whole - each) * change).sum() / (change**2).sum()) for each in others[1:]]
    np.testing.assert_allclose(truth, wanted, atol=1e-4)
    assert max(wanted) > 0.02


def test_patching_estimates_by_slopes_at_adv_and_between_src_and_adv(bench, asked, by_hand):
    n = bench.layers.layers[asked.layer].channels
    change = (by_hand(torch.ones(n)) - by_hand(torch.zeros(n))).detach()

    def slopes(place):
        gates = torch.full((n,), place, requires_grad=True)
        part = by_hand(gates) @ change / change.square().sum()
        return torch.autograd.grad(part, gates)[0].numpy()

    at_adv, _, passes = patch(bench, asked, PATCHING["attribution patching"])
    np.testing.assert_allclose(at_adv, slopes(1.0), atol=1e-4)
    assert passes == pytest.approx(4 / 3), "a run of adv itself, and one without a gradient of all maps exchanged"
    between, *_ = patch(bench, asked, PATCHING["integrated attribution patching"])
    np.testing.assert_allclose(between, np.mean([slopes(k / 16) for k in range(1, 16, 2)], axis=0), atol=1e-4)
    assert between.sum() == pytest.approx(1, abs=0.05), "together they make the whole change"
    assert np.abs(at_adv - between).max() > 0.01


@pytest.mark.parametrize("foil", ["source", "zero"])
def test_descents_from_random_gates_end_no_lower_than_the_least_loss(bench, asked, foil):
    parameters = bench.workspace.settings.contribution
    other = None
    if foil == "source":
        theirs = bench.classifier.network.activation(bench.classifier.inputs(asked.images[::-1]), asked.layer)
        other = FoilRun("source", theirs.detach(), torch.zeros(2, dtype=torch.long))
    problem = ContributionProblem(
        bench.classifier, asked.images, asked.effect, asked.area, asked.layer, parameters, other
    )

    def objective(z):
        far, rest, accepted = problem.parts(z)
        return (far + rest).sum().expand(2), accepted

    least, generator = least_loss(bench, asked, foil), torch.Generator().manual_seed(0)
    for _ in range(4):
        start = torch.rand(problem.share.shape, generator=generator)
        gates = solve(objective, start, Descent(60, 0.1))
        with torch.no_grad():
            assert float(objective(gates)[0][0]) / 2 >= least * 0.99


@pytest.mark.parametrize(
    ("strength", "share", "told"),
    [
        ([0.5, 0.3, 0.0], [0.5, 0.3, -0.2], [1.0, 1.0, 1.0, 0.5]),
        ([0.0, 0.3, 0.0], [0.5, 0.3, -0.2], [0.0, 1.0, 1.0, 0.3]),
        ([0.1, 0.2, 0.9], [-0.5, -0.3, 0.2], [0.0, -1.0, -1.0, -0.2]),
    ],
)
def test_the_first_is_judged_by_what_is_named_and_the_correlation_by_shares(strength, share, told):
    assert judge(*map(np.array, (strength, share, [0.5, 0.3, -0.2]))) == pytest.approx(told)


def test_the_difference_is_told_better_than_by_the_controls(bench, filling_world, capsys):
    found = compare_ways(bench, choose(bench, Sample(6)), seed=0)
    assert list(found["quadratic, source"]) == list(LINES)
    assert [found[TRUTH][line].mean for line in LINES[:3]] == [1.0, 1.0, pytest.approx(1.0)]
    assert list(found["attribution patching"]) == list(LINES)
    for control in (DIFFERENCE, CHANCE, "quadratic, zero"):
        assert found["quadratic, source"]["correlation"].low > found[control]["correlation"].mean
    assert found["solved, source"]["carried by the first"].mean <= found[TRUTH]["carried by the first"].mean
    assert found["quadratic, source"]["passes"].mean < 5 < found["solved, source"]["passes"].mean
    for way in ("solved, source", "solved, zero"):
        assert 1 <= found[way]["loss"].mean < 1.1
    assert np.isnan(found["quadratic, source"]["loss"].mean)
    assert main(["benchmark", "tracing", str(filling_world), "--examples", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {(line["method"], line["line"]) for line in document["lines"]} == {
        (m, line) for m in found for line in LINES
    }
    assert len(document["examples"]) == 2
    assert main(["benchmark", "tracing", str(filling_world), "--processes", "2"]) == 2
    assert "runs in one process" in capsys.readouterr().err


def test_without_an_example_that_was_attacked_there_is_nothing_to_compare(bench, monkeypatch):
    monkeypatch.setattr(bench.judging, "judged_examples", list)
    with pytest.raises(AevisError, match="is misclassified"):
        choose(bench, Sample(2))
