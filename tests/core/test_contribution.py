"""Contribution analysis: Eq. 7 and 8, known causes, the receptive field, the coupling of the compared images."""

import hand_wired
import numpy as np
import pytest
import reference
import torch
from torch import nn

from aevis_dash.config import ContributionParameters
from aevis_dash.core import contribution, quadratic
from aevis_dash.core.contribution import contribute
from aevis_dash.core.contribution_problem import ContributionProblem, FoilRun
from aevis_dash.domain import (
    CONTRIBUTIONS,
    LEFT,
    PREDICTION,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    FeatureMap,
)

P = ContributionParameters()
WHOLE = (0, 0, 8, 8)


def f_twin(model, image, first, last, channel, area, gate, inside=None):
    """The selected neurons with `gate` on layer `first`, by the slow twin of the whole net."""
    gates = [np.ones(conv.out_channels) for conv in model.convs]
    weights, x = hand_wired.weights(model), image.transpose(2, 0, 1) / 255
    if inside is None:
        gates[first] = gate
        value = reference.activations(weights, x, gates, model.skip)[last]
    else:  # between neighbours: gate the first layer by hand, inside the field alone
        value = reference.activations(weights, x, skip=model.skip)[first]
        factor = np.where(inside[None], np.asarray(gate)[:, None, None], 1.0)
        value = np.maximum(reference.conv3x3(value * factor, *weights["convs"][last]), 0)
    top, left, bottom, right = area
    return value[channel][top:bottom, left:right]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("first", "last", "skip"), [(0, 1, False), (0, 2, False), (0, 2, True), (1, 2, True)])
def test_the_objective_is_eq_7_and_8(first, last, skip, count):
    model, images = hand_wired.random_net(count, skip=skip), hand_wired.images(count, count)
    n = model.convs[first].out_channels
    full = [f_twin(model, i, first, last, c, WHOLE, np.ones(n)) for c in range(5) for i in images]
    channel = next(c for c in range(5) if all(full[c * count + i].any() for i in range(count)))
    problem = ContributionProblem(
        hand_wired.classifier(model), images, FeatureMap(last, channel), AreaOfInterest(last, *WHOLE), first, P
    )
    z = np.random.default_rng(count).uniform(size=(count, n))
    f = [f_twin(model, i, first, last, channel, WHOLE, np.ones(n)) for i in images]
    gated = [f_twin(model, i, first, last, channel, WHOLE, g) for i, g in zip(images, z, strict=True)]
    size = [reference.norm(values.ravel()) for values in f]
    np.testing.assert_allclose(problem.effect, size, rtol=1e-4)
    scaled = [[v / s for v, s in zip(side, size, strict=True)] for side in (f, gated)]
    wanted = reference.eq7_8(*scaled, z, P.sparsity / n, P.coherence / np.sqrt(n))
    with torch.no_grad():
        far, rest, accepted = problem.parts(torch.tensor(z, dtype=torch.float32))
    assert float((far + rest).sum()) == pytest.approx(wanted, rel=1e-4)
    pairs = list(zip(*scaled, strict=True))
    np.testing.assert_allclose(far, [((f - gated) ** 2).sum() for f, gated in pairs], rtol=1e-3, atol=1e-6)
    assert far.shape == rest.shape == (count,)
    assert accepted.all()


@pytest.mark.parametrize("area", [(0, 0, 1, 1), (3, 2, 5, 6), (7, 7, 8, 8)])
def test_gates_hold_inside_the_receptive_field_alone(area):
    model, images = hand_wired.random_net(0), hand_wired.images(0, 1)
    top, left, bottom, right = area
    inside = np.zeros((8, 8), bool)
    inside[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = True
    channel = next(c for c in range(6) if f_twin(model, images[0], 0, 1, c, area, np.ones(5), ~inside).any())
    problem = ContributionProblem(
        hand_wired.classifier(model), images, FeatureMap(1, channel), AreaOfInterest(1, *area), 0, P
    )
    np.testing.assert_array_equal(problem.mask.numpy(), inside)
    z = np.random.default_rng(0).uniform(size=(1, 5))
    f, gated = (f_twin(model, images[0], 0, 1, channel, area, g, inside) for g in (np.ones(5), z[0]))
    scale = reference.norm(f.ravel())
    with torch.no_grad():
        loss = sum(problem.parts(torch.tensor(z, dtype=torch.float32))[:2])
    wanted = reference.eq7_8([f / scale], [gated / scale], z, P.sparsity / 5, P.coherence)
    assert float(loss) == pytest.approx(wanted, rel=1e-4)


class Mixed(nn.Module):
    """A map of the second layer takes 1, 0.5, 0.25, 0 times those of the first; a side branch feeds none of it."""

    def __init__(self, weights=(1.0, 0.5, 0.25, 0.0), colours=(0, 0, 0, 0)):
        super().__init__()
        self.first, self.second, self.side = (nn.Conv2d(a, b, 1, bias=False) for a, b in ((3, 4), (4, 2), (4, 2)))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            for channel, colour in enumerate(colours):
                self.first.weight[channel, colour] = 1.0
            self.second.weight[0, :, 0, 0] = torch.tensor(weights)
            self.side.weight.fill_(1.0)
        self.relu, self.head = nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.first(x))
        side, main = self.relu(self.side(x)), self.relu(self.second(x))
        return self.head(torch.cat([main, side], 1).mean((2, 3)))


FIRST, SIDE, MAIN = 0, 1, 2


def run(model, images, area=WHOLE, target=(MAIN, 0), layer=FIRST, **parameters):
    c = hand_wired.classifier(model)
    return contribute(
        c, images, FeatureMap(*target), AreaOfInterest(target[0], *area), layer, ContributionParameters(**parameters)
    )


def test_maps_rank_by_what_they_really_contribute():
    found = run(Mixed(), hand_wired.images(0), iterations=200, learning_rate=0.05)
    for row in range(2):
        assert found.ranking(row).tolist() == [0, 1, 2, 3]
        assert found.values[row, 0] > 0.9
        assert found.values[row, 3] < 0.01
    np.testing.assert_allclose(found.residual, 0, atol=0.05)
    assert found.values.shape == (2, 4)
    assert found.values.dtype == np.float32


@pytest.mark.parametrize(("a", "b", "c"), [(0, 0, 0), (1, 2, 3), (3, 0, 1)])
@pytest.mark.parametrize("layer", [0, 1])
def test_on_the_only_route_one_map_contributes(layer, a, b, c):
    found = run(hand_wired.route(a, b, c), hand_wired.images(1), target=(2, c), layer=layer)
    wanted = np.zeros((2, 4), bool)
    wanted[:, (a, b)[layer]] = True
    np.testing.assert_array_equal(found.values > 0.5, wanted)
    assert found.values[~wanted].max() < 0.02


def test_the_least_residual_is_told_truly():
    model, images = hand_wired.random_net(2), hand_wired.images(2)
    channel = next(c for c in range(5) if all(f_twin(model, i, 0, 2, c, WHOLE, np.ones(5)).any() for i in images))
    found = run(model, images, target=(2, channel), layer=0)
    for i in range(2):
        f, gated = (f_twin(model, images[i], 0, 2, channel, WHOLE, g) for g in (np.ones(5), found.values[i]))
        assert found.residual[i] == pytest.approx(((f - gated) ** 2).sum() / (f**2).sum(), abs=1e-4)


def test_a_map_that_fires_outside_the_field_alone_contributes_nothing():
    """Red fires at the left, green at the right; both maps feed the target alike."""
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[:, :, :4, 0], images[:, :, 4:, 1] = 200, 220
    model = Mixed((1.0, 1.0, 0.0, 0.0), (0, 1, 2, 2))
    whole, left, right = (run(model, images, area) for area in (WHOLE, (0, 0, 8, 3), (2, 6, 4, 8)))
    assert (whole.values[0, :2] > 0.8).all()
    assert (left.values[0] > 0.8).tolist() == [True, False, False, False]
    assert (right.values[0] > 0.8).tolist() == [False, True, False, False]
    assert left.values[0, 1:].max() < 0.01
    assert whole.ranking(0)[0] == 1
    assert left.ranking(0)[0] == 0


def test_an_image_without_an_effect_gives_zeros_and_takes_no_part():
    images = hand_wired.images(3)
    images[1] = 0
    both, alone = run(Mixed(), images), run(Mixed(), images[:1])
    assert both.effect[1] == 0
    assert not both.values[1].any()
    assert both.residual[1] == 0
    np.testing.assert_allclose(both.values[0], alone.values[0], atol=1e-5)
    nothing = run(Mixed(), np.zeros((2, 8, 8, 3), np.uint8))
    assert not nothing.values.any()
    assert not nothing.effect.any()
    assert np.isfinite(nothing.residual).all()


def test_the_compared_images_are_coupled():
    """Red explains the first image and green the second; a strong coupling makes them give one answer."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0, ..., 0], images[1, ..., 1] = 200, 200
    model = Mixed((1.0, 1.0, 0.0, 0.0), (0, 1, 2, 2))
    apart, tied = (run(model, images, coherence=gamma) for gamma in (0.0, 3.0))
    assert (apart.values > 0.5).tolist() == [[True, False, False, False], [False, True, False, False]]
    assert np.abs(tied.values[0] - tied.values[1]).max() < 0.1
    assert np.abs(apart.values[0] - apart.values[1]).max() > 0.8


def test_the_order_of_the_images_does_not_matter():
    images = hand_wired.images(4, 3)
    images[1, ..., 0] = 61
    there, back = run(Mixed(), images), run(Mixed(), images[::-1])
    # ||z_j - z_i|| has a kink where two images agree, which makes rounding visible
    np.testing.assert_allclose(there.values, back.values[::-1], atol=0.03)


def test_neurons_that_half_gates_silence_are_explained_too():
    """The target fires only above 0.6 of the red image: at gates of one half it is dead and has no gradient."""
    model, images = Mixed((1.0, 0.0, 0.0, 0.0)), np.full((2, 8, 8, 3), 200, np.uint8)
    model.second.bias = nn.Parameter(torch.tensor([-0.6 * 200 / 255, 0.0]))
    found = run(model, images)
    assert (found.values > 0.6).tolist() == [[True, False, False, False]] * 2
    assert found.residual.max() < 0.3


def test_a_start_without_a_way_out_is_not_the_answer(monkeypatch):
    """Where no gate is open the target is dead and has no gradient: the second start, from all ones, finds the map."""
    monkeypatch.setattr(ContributionProblem, "start", lambda problem: torch.zeros_like(problem.share))
    model, images = Mixed((1.0, 0.0, 0.0, 0.0)), np.full((2, 8, 8, 3), 200, np.uint8)
    model.second.bias = nn.Parameter(torch.tensor([-0.6 * 200 / 255, 0.0]))
    found = run(model, images)
    assert (found.values > 0.6).tolist() == [[True, False, False, False]] * 2
    assert found.loss < 0.5
    assert not found.unsolved


def test_the_loss_is_that_of_the_gates_and_what_is_left_says_whether_it_is_solved():
    model, images = hand_wired.random_net(2), hand_wired.images(2)
    channel = next(c for c in range(5) if all(f_twin(model, i, 0, 2, c, WHOLE, np.ones(5)).any() for i in images))
    found, short = (run(model, images, target=(2, channel), layer=0, **few) for few in ({}, {"iterations": 1}))
    f = [f_twin(model, i, 0, 2, channel, WHOLE, np.ones(5)) for i in images]
    size = [reference.norm(values.ravel()) for values in f]

    def loss(z):
        gated = [f_twin(model, i, 0, 2, channel, WHOLE, g) for i, g in zip(images, z.reshape(2, 5), strict=True)]
        scaled = [[v / s for v, s in zip(side, size, strict=True)] for side in (f, gated)]
        return reference.eq7_8(*scaled, z.reshape(2, 5), P.sparsity / 5, P.coherence / np.sqrt(5))

    for each in (found, short):
        assert each.loss == pytest.approx(loss(each.values.astype(float).ravel()) / 2, rel=1e-3)
    assert found.loss <= short.loss
    other = asked("quadratic", model, images, target=(2, channel), layer=0)
    assert np.isnan([other.loss, other.left]).all()
    assert found.left <= LEFT
    assert short.unsolved
    assert not other.unsolved


@pytest.mark.parametrize("a", [0, 1, 2])
def test_through_a_skip_connection(a):
    """In the skip net the target is fed by the first layer alone, around the second."""
    model, images = hand_wired.skip_route(a), hand_wired.images(5)
    first = run(model, images, target=(2, a), layer=0)
    assert (first.values > 0.5).tolist() == [[c == a for c in range(3)]] * 2
    bypassed = run(model, images, target=(2, a), layer=1)
    assert bypassed.values.max() < 0.01
    np.testing.assert_allclose(bypassed.residual, 0, atol=1e-6)


@pytest.mark.parametrize(("layer", "target"), [(MAIN, FIRST), (SIDE, MAIN), (MAIN, MAIN)])
def test_a_layer_that_does_not_feed_the_target_is_refused(layer, target):
    with pytest.raises(AevisError, match="does not feed"):
        run(Mixed(), hand_wired.images(0), target=(target, 0), layer=layer)


def test_a_target_without_positions():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 3)
    ).eval()
    with torch.no_grad():
        model[3].weight.abs_()
    found = run(model, hand_wired.images(0), area=(0, 0, 1, 1), target=(1, 2), layer=0)
    assert found.values.shape == (2, 4)
    assert (found.effect > 0).all()
    assert (found.residual < 1).all()


# The three ways to ask


def asked(method, model, images, area=WHOLE, target=(MAIN, 0), layer=FIRST, picked=()):
    place = AreaOfInterest(target[0], *area, picked)
    return contribute(hand_wired.classifier(model), images, FeatureMap(*target), place, layer, P, method=method)


@pytest.mark.parametrize("method", CONTRIBUTIONS)
def test_all_three_agree_where_the_answer_is_known(method):
    """Red alone fires on the first image, green on the second. Eq. 7 leaves a gate a little below 1: lambda / 2 n."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0, ..., 0], images[1, ..., 1] = 200, 120
    found = asked(method, Mixed((1.0, 0.5, 0.25, 0.0), (0, 1, 2, 2)), images)
    assert found.method == method
    np.testing.assert_allclose(found.share, [[1, 0, 0, 0], [0, 1, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(found.strength(0), [1, 0, 0, 0], atol=0.08)
    np.testing.assert_allclose(found.strength(1), [0, 1, 0, 0], atol=0.08)
    np.testing.assert_allclose(found.residual, np.nan if method == "exact" else 0, atol=0.05)


@pytest.mark.parametrize("method", CONTRIBUTIONS)
def test_shares_of_a_linear_part_are_the_parts_of_the_effect(method):
    found = asked(method, Mixed(), hand_wired.images(0))
    np.testing.assert_allclose(found.share, np.tile([4 / 7, 2 / 7, 1 / 7, 0], (2, 1)), atol=1e-5)
    assert [found.ranking(row).tolist() for row in range(2)] == [[0, 1, 2, 3]] * 2


def test_exact_shares_are_what_is_lost_without_the_map():
    model, images = hand_wired.random_net(2), hand_wired.images(2)
    channel = next(c for c in range(5) if all(f_twin(model, i, 0, 2, c, WHOLE, np.ones(5)).any() for i in images))
    found = asked("exact", model, images, target=(2, channel), layer=0)
    for i, k in np.ndindex(2, 5):
        f, without = (f_twin(model, images[i], 0, 2, channel, WHOLE, g) for g in (np.ones(5), np.arange(5) != k))
        assert found.share[i, k] == pytest.approx((f * (f - without)).sum() / (f * f).sum(), abs=1e-4)
    assert (found.values == 1).all()
    assert np.isnan(found.residual).all()


def test_first_order_shares_are_slopes():
    model, images = hand_wired.random_net(2), hand_wired.images(2)
    channel = next(c for c in range(5) if all(f_twin(model, i, 0, 2, c, WHOLE, np.ones(5)).any() for i in images))
    found = asked("quadratic", model, images, target=(2, channel), layer=0)
    step = 1e-4
    for i, k in np.ndindex(2, 5):
        f, less = (f_twin(model, images[i], 0, 2, channel, WHOLE, 1 - e * (np.arange(5) == k)) for e in (0, step))
        assert found.share[i, k] == pytest.approx((f * (f - less)).sum() / step / (f * f).sum(), abs=1e-2)


def test_a_map_that_works_against_the_effect_has_no_strength():
    images = np.full((1, 8, 8, 3), 200, np.uint8)
    found = asked("exact", Mixed((1.0, -0.5, 0.0, 0.0), (0, 1, 2, 2)), images)
    np.testing.assert_allclose(found.share, [[1, -1, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(found.strength(0), [1, 0, 0, 0], atol=1e-5)


@pytest.mark.parametrize("method", CONTRIBUTIONS)
def test_single_neurons_are_an_area(method):
    """Of the box around both spots only the two corners are chosen: the red spot and the green one, not the blue."""
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[0, 1, 1, 0], images[0, 5, 6, 1], images[0, 3, 3, 2] = 200, 200, 255
    model = Mixed((1.0, 1.0, 1.0, 0.0), (0, 1, 2, 2))
    spots = asked(method, model, images, (1, 1, 6, 7), picked=(0, 29))
    box = asked(method, model, images, (1, 1, 6, 7))
    assert spots.effect[0] == pytest.approx(np.sqrt(2) * 200 / 255, rel=1e-5)
    np.testing.assert_allclose(spots.share, [[0.5, 0.5, 0, 0]], atol=1e-5)
    assert box.share[0, 2] > 0.3


@pytest.mark.parametrize("method", CONTRIBUTIONS)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_final_prediction_comes_from_the_only_route(layer, method):
    model, images = hand_wired.route(1, 2, 3), hand_wired.images(1)
    found = contribute(hand_wired.classifier(model), images, PREDICTION, WHOLE_PREDICTION, layer, P, method=method)
    on_the_route = np.arange(4) == (1, 2, 3)[layer]
    np.testing.assert_array_equal(found.strength(0) > 0.1, on_the_route)
    logits = hand_wired.classifier(model).network.logits(hand_wired.classifier(model).inputs(images)).detach().numpy()
    np.testing.assert_allclose(found.effect, logits.max(1) - logits.mean(1), rtol=1e-4)


def test_exact_interventions_do_not_depend_on_the_batch(monkeypatch):
    model, images = hand_wired.random_net(2), hand_wired.images(2)
    together = asked("exact", model, images, target=(2, 1), layer=0)
    monkeypatch.setattr(contribution, "ROWS", 2)
    told = []
    question = (hand_wired.classifier(model), images, FeatureMap(2, 1), AreaOfInterest(2, *WHOLE), 0, P)
    apart = contribute(*question, lambda share, what: told.append(share), "exact").share
    np.testing.assert_allclose(together.share, apart, atol=1e-5)
    assert told == sorted(told)
    assert len(told) == 2 * 3, "five maps of two images, two at a time"
    assert told[-1] < 1


@pytest.mark.parametrize("seed", range(6))
def test_the_descent_starts_from_the_best_of_three_by_eq_7(seed):
    model, images = hand_wired.random_net(seed), hand_wired.images(seed)
    channel = next(c for c in range(5) if all(f_twin(model, i, 0, 2, c, WHOLE, np.ones(5)).any() for i in images))
    problem = ContributionProblem(
        hand_wired.classifier(model), images, FeatureMap(2, channel), AreaOfInterest(2, *WHOLE), 0, P
    )
    loss = lambda z: problem.unexplained_by(z) + P.sparsity * z.mean(1)  # noqa: E731
    found = loss(problem.start())
    for other in (problem.fewest(), quadratic.exact(problem.share, P.sparsity), torch.ones_like(problem.share)):
        assert (found <= loss(other) + 1e-6).all()


def test_a_strength_is_the_gate_times_the_share():
    """Equal shares, and a solver that keeps one of two maps that do the same: the closed one has no strength."""
    found = asked("solved", Mixed((1.0, 0.05, 0.0, 0.0)), hand_wired.images(0))
    assert found.share[0, 1] > 0.04
    assert found.values[0, 1] < 0.5, "it is not worth its price"
    np.testing.assert_allclose(found.strength(0), found.values[0] * found.share[0], rtol=1e-5)
    assert found.strength(0)[1] < 0.5 * found.share[0, 1]


def test_gates_hold_where_the_single_neurons_look_and_nowhere_between():
    corners = AreaOfInterest(1, 0, 0, 8, 8, (0, 63))
    problem = ContributionProblem(
        hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0, 1), FeatureMap(1, 0), corners, 0, P
    )
    wanted = np.zeros((8, 8), bool)
    wanted[:2, :2] = wanted[6:, 6:] = True
    np.testing.assert_array_equal(problem.mask.numpy(), wanted)


def test_the_quadratic_way_names_maps_where_first_order_shares_sum_to_less_than_nothing():
    """Above its threshold the target falls as fast as its maps rise: the whole slope is negative, one map's is not."""
    images = np.full((1, 8, 8, 3), 200, np.uint8)
    model = Mixed((0.5, -3.0, 0.0, 0.0), (0, 1, 2, 2))
    model.second.bias = nn.Parameter(torch.tensor([2.5, 0.0]))
    found = asked("quadratic", model, images)
    assert found.share.sum() < 0 < found.share[0, 0]
    assert found.values.tolist() == [[1, 0, 0, 0]]
    assert found.ranking(0)[0] == 0


# Against a foil: what makes the difference


def run_against(images, foils, model, target, layer, method="quadratic", labels=None, **parameters):
    c = hand_wired.classifier(model)
    activation = c.network.activation(c.inputs(foils), layer).detach()
    named = c.network.logits(c.inputs(foils)).argmax(1) if labels is None else torch.tensor(labels)
    foil = FoilRun("source", activation, named)
    area = WHOLE_PREDICTION if target == PREDICTION else AreaOfInterest(target.layer, *WHOLE)
    return contribute(c, images, target, area, layer, ContributionParameters(**parameters), method=method, foil=foil)


class Pair:
    """Two images of a net, one the other's foil, and what the slow twin says of a map of the last layer."""

    def __init__(self, seed, layer, skip):
        self.model, self.layer, self.skip = hand_wired.random_net(seed, skip=skip), layer, skip
        self.images = hand_wired.images(seed, 2)
        self.weights, self.x = hand_wired.weights(self.model), self.images.transpose(0, 3, 1, 2) / 255
        self.own = [reference.activations(self.weights, x, skip=skip) for x in self.x]
        self.last = len(self.own[0]) - 1
        apart = [np.abs(a - b).sum() for a, b in zip(self.own[0][-1], self.own[1][-1], strict=True)]
        self.channel, self.n = int(np.argmax(apart)), len(self.own[0][layer])

    def f(self, i, gates):
        """The map on image i where the layer's maps are moved from the other image's."""
        value = reference.between(self.own[1 - i][self.layer], self.own[i][self.layer], gates)
        after = reference.activations_after(self.weights, self.x[i], self.layer, value, self.skip)
        return after[-1][self.channel].ravel()

    def change(self, i):
        return self.f(i, np.ones(self.n)) - self.f(i, np.zeros(self.n))

    def found(self, method, **parameters):
        target = FeatureMap(self.last, self.channel)
        return run_against(self.images, self.images[::-1], self.model, target, self.layer, method, **parameters)


PAIRS = pytest.mark.parametrize(("layer", "skip"), [(0, False), (0, True), (1, False), (1, True)])


@PAIRS
def test_the_share_of_a_difference_is_the_mean_of_the_slopes_at_the_image_and_on_the_way(layer, skip):
    pair, step = Pair(2, layer, skip), 1e-5
    found = pair.found("quadratic")
    assert found.foil == "source"
    assert found.is_of_difference
    for i in range(2):
        change = pair.change(i)
        assert found.change[i] == pytest.approx(reference.norm(change), rel=1e-4)
        assert found.effect[i] == pytest.approx(reference.norm(pair.f(i, np.ones(pair.n))), rel=1e-4)
        for k in range(pair.n):
            one, slopes = (np.arange(pair.n) == k).astype(float), []
            for place in (1.0, 1.0, (1 - 3**-0.5) / 2, (1 + 3**-0.5) / 2):  # the image itself, and Gauss's two points
                at = np.full(pair.n, place)
                moved = pair.f(i, at + step * one) - pair.f(i, at - step * one)
                slopes.append((change * moved).sum() / (2 * step) / (change**2).sum())
            assert found.share[i, k] == pytest.approx(np.mean(slopes), abs=2e-3)


def test_shares_of_a_difference_of_a_linear_part_are_those_of_patching():
    images = hand_wired.images(5, 2)
    found, exact = (
        run_against(images, images[::-1], Mixed(), FeatureMap(MAIN, 0), FIRST, m) for m in ("quadratic", "exact")
    )
    np.testing.assert_allclose(found.share, exact.share, atol=1e-5)
    np.testing.assert_allclose(found.share.sum(1), 1, atol=1e-5)


@PAIRS
def test_the_exact_share_of_a_difference_is_that_of_patching_the_map(layer, skip):
    pair = Pair(3, layer, skip)
    found = pair.found("exact")
    for i in range(2):
        change, whole = pair.change(i), pair.f(i, np.ones(pair.n))
        for k in range(pair.n):
            patched = pair.f(i, (np.arange(pair.n) != k).astype(float))
            assert found.share[i, k] == pytest.approx((change * (whole - patched)).sum() / (change**2).sum(), abs=1e-4)


@PAIRS
def test_the_objective_against_a_foil_is_eq_8_between_the_two(layer, skip):
    """Eq. 7 and 8 of the path from the foil to the image, divided by what exchanging the layer changes."""
    pair = Pair(4, layer, skip)
    c = hand_wired.classifier(pair.model)
    activation = c.network.activation(c.inputs(pair.images[::-1]), layer).detach()
    foil = FoilRun("source", activation, torch.zeros(2, dtype=torch.long))
    area = AreaOfInterest(pair.last, *WHOLE)
    problem = ContributionProblem(c, pair.images, FeatureMap(pair.last, pair.channel), area, layer, P, foil)
    z = np.random.default_rng(layer).uniform(size=(2, pair.n))
    size = [reference.norm(pair.change(i)) for i in range(2)]
    f, gated = ([pair.f(i, g) / size[i] for i, g in enumerate(gates)] for gates in (np.ones_like(z), z))
    wanted = reference.eq7_8(f, gated, z, P.sparsity / pair.n, P.coherence / np.sqrt(pair.n))
    with torch.no_grad():
        loss = sum(problem.parts(torch.tensor(z, dtype=torch.float32))[:2])
    assert float(loss.sum()) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("method", CONTRIBUTIONS)
def test_a_map_that_fires_alike_on_both_images_makes_no_difference(method):
    """Red is the same on both, green is not: against silence red comes first, against the foil green alone counts."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[:, ..., 0], images[0, ..., 1] = 220, 100
    model = Mixed((1.0, 1.0, 0.0, 0.0), (0, 1, 2, 2))
    fires = asked(method, model, images)
    assert fires.ranking(0)[0] == 0
    differs = run_against(images, images[::-1], model, FeatureMap(MAIN, 0), FIRST, method)
    np.testing.assert_allclose(differs.share, [[0, 1, 0, 0]] * 2, atol=1e-5)
    np.testing.assert_allclose(differs.strength(0), [0, 1, 0, 0], atol=0.08)
    assert differs.change == pytest.approx([8 * 100 / 255] * 2, rel=1e-5)
    assert differs.effect == pytest.approx([8 * 320 / 255, 8 * 220 / 255], rel=1e-5)


@pytest.mark.parametrize("method", CONTRIBUTIONS)
def test_what_does_not_fire_and_would_with_the_foil_is_explained_too(method):
    """The area is silent on the first image and fires on the second: the map that the first lacks is named."""
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1, ..., 1] = 200
    found = run_against(images, images[::-1], Mixed((1, 1, 0, 0), (0, 1, 2, 2)), FeatureMap(MAIN, 0), FIRST, method)
    assert found.effect[0] == 0
    assert found.ranking(0)[0] == 1
    least = 0.9 if method == "exact" else 0.2  # half of the slopes are taken where all is silent
    assert found.strength(0)[1] > least
    assert found.strength(0)[0] == 0


@pytest.mark.parametrize("method", CONTRIBUTIONS)
def test_an_image_that_is_its_own_foil_has_nothing_to_explain(method):
    images = hand_wired.images(1)
    found = run_against(images, images, Mixed(), FeatureMap(MAIN, 0), FIRST, method)
    assert not found.change.any()
    assert not found.share.any()
    assert found.effect.all()


def test_a_prediction_is_told_from_the_foils_class_and_from_all_where_the_classes_are_one():
    model = hand_wired.random_net(6)
    images, weights = hand_wired.images(6, 2), hand_wired.weights(model)
    x = images.transpose(0, 3, 1, 2) / 255
    own = [reference.activations(weights, one) for one in x]

    def logits(i, gates):
        last = reference.activations_after(weights, x[i], 1, reference.between(own[1 - i][1], own[i][1], gates))[-1]
        return np.array([(w * last.mean((1, 2))).sum() for w in weights["head"][0]]) + weights["head"][1]

    n = len(own[0][1])
    labels = [int(logits(i, np.ones(n)).argmax()) for i in range(2)]
    rivals = [(label + 1) % 3 for label in labels]
    for named in (rivals, labels):
        found = run_against(images, images[::-1], model, PREDICTION, 1, "exact", labels=named)
        for i in range(2):

            def f(gates, i=i, named=named):
                z = logits(i, gates)
                return z[labels[i]] - (z.mean() if named is labels else z[named[i]])

            change = f(np.ones(n)) - f(np.zeros(n))
            assert found.change[i] == pytest.approx(abs(change), rel=1e-3)
            for k in range(n):
                part = (f(np.ones(n)) - f((np.arange(n) != k).astype(float))) / change
                assert found.share[i, k] == pytest.approx(part, abs=1e-3)
