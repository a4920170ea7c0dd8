"""The default: the ranking against foils, the raising of given maps, elimination, the gates by place."""

import math

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.config import ExtractionParameters as P
from aevis_dash.config import silent
from aevis_dash.core.datapath import extract
from aevis_dash.core.elimination import against_foils, by_place, cohering, eliminate, elimination
from aevis_dash.core.hard_sets import smallest_complete, smallest_core
from aevis_dash.core.problem import NO_RIVAL, Foil, odds
from aevis_dash.core.ranking import gradient

SAMPLES = 2


@pytest.mark.parametrize(("seed", "skip"), [(0, False), (1, True)])
def test_the_ranking_is_the_mean_of_two_effects_along_the_path_from_the_foil(seed, skip):
    model = hand_wired.random_net(seed, (4, 5, 4), skip)
    images, other = hand_wired.images(seed, 2), hand_wired.images(seed + 20, 1)[0]
    label = hand_wired.logits_twin(model, images[0]).argmax()
    against = [Foil((label + 1) % 3, other), Foil()]
    problem = hand_wired.problem(model, images, foils=against, samples=SAMPLES)
    (found, supports), weights, n = against_foils(problem, silent), hand_wired.weights(model), 13
    for i, foil in enumerate(against):
        image = hand_wired.pixels(images[i])
        start = image if foil.image is None else hand_wired.pixels(foil.image)
        own = reference.activations(weights, image, skip=skip)
        beside = [0.0] * 3 if foil.image is None else reference.activations(weights, start, skip=skip)
        differences = [a - b for a, b in zip(own, beside, strict=True)]
        own_label = int(problem.labels[i])
        sides = []
        for side in range(2):
            total = np.zeros(n)
            for k in range(SAMPLES):
                x = start + (k + 0.5) / SAMPLES * (image - start)

                def value(z, x=x, side=side, differences=differences, foil=foil, own_label=own_label):
                    vectors = [np.ones(n), np.ones(n)]
                    vectors[side] = z
                    inside = (hand_wired.parts(model, v) for v in vectors)
                    logits = reference.steered_logits(weights, x, *inside, differences, skip)
                    return reference.contrast(logits, own_label, foil.label)

                total += reference.slopes(value, np.ones(n))
            sides.append(total)
        fires = [m.max() > 0 for layer in own for m in layer]
        np.testing.assert_allclose(found[i], reference.against_foil(*sides, fires), atol=1e-3)
        assert supports[i].tolist() == [f and having > 0 for f, having in zip(fires, sides[0], strict=True)]
    assert found[0].abs().sum() <= 1 + 1e-5
    assert found[1].abs().sum() == pytest.approx(1, abs=1e-5), "without a foil both effects are one"


def test_maps_that_do_not_fire_have_no_effect_whatever_their_foil_does():
    """Green fires map b alone on the foil; the image is red."""
    model = hand_wired.route(0, 0, 0)
    image, foil = np.zeros((2, 8, 8, 3), np.uint8)
    image[..., 0], foil[..., 1] = 200, 200
    problem = hand_wired.problem(model, image[None], foils=[Foil(NO_RIVAL, foil)])
    beside = problem.contrast()
    assert beside.differences[0][0, 2].abs().max() > 0
    effect, supports = against_foils(problem, silent)
    assert effect[0, ~beside.fires[0]].abs().max() == 0
    assert not supports[0, ~beside.fires[0]].any()


def test_a_map_that_is_critical_by_firing_less_than_on_the_foil_is_in_no_small_set():
    """Map a makes class 0, map b works against it; the foil is greener, so that b is why the image is of class 0."""
    model = hand_wired.against()
    image, foil = np.full((2, 8, 8, 3), 20, np.uint8)
    image[..., 0] = foil[..., 0] = 200
    foil[..., 1] = 250
    problem = hand_wired.problem(model, image[None], foils=[Foil(1, foil)])
    found = elimination(problem, silent)
    assert found.gates[0].argmax() == found.core[0].nonzero() == 0
    assert found.gates[0].argsort(descending=True).tolist() == [0, 1, 2]
    assert found.supports.tolist() == [[True, False, True]]
    assert found.hard_order[0].argsort(descending=True).tolist() == [0, 2, 1]
    for share, taken in ((0.3, [0]), (0.6, [0, 2]), (1.0, [0, 1, 2])):
        path = next(extract(problem.classifier, image[None], [], P(share=share), foils=problem.foils))
        assert np.flatnonzero(path.critical).tolist() == taken
        assert np.flatnonzero(reference.complete_set([path.hard_order], share)).tolist() == taken


@pytest.mark.parametrize("gamma", [0.0, 0.2, 3.0])
def test_given_maps_of_good_effect_are_raised_and_maps_without_effect_come_last(gamma):
    held = [np.linspace(0, 1, 16), np.full(16, 0.5)]
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0), held, coherence=gamma)
    effect = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 16))).float()
    effect[:, 3:6] = 0
    order = cohering(problem, effect)
    for row, values in zip(order.tolist(), effect.tolist(), strict=True):
        for k, value in enumerate(values):
            mean = (held[0][k] + held[1][k]) / 2
            if value:
                assert row[k] == pytest.approx(value * (1 + gamma * mean) if value > 0 else value, rel=1e-5)
            else:
                assert row[k] < min(r for r, v in zip(row, values, strict=True) if v)
    alone = cohering(hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0), coherence=9.0), effect)
    assert torch.equal(alone[effect != 0], effect[effect != 0])


@pytest.mark.parametrize("rounds", [0, 1, 4, 12])
@pytest.mark.parametrize("seed", range(2))
def test_elimination_equals_the_twin(seed, rounds):
    """Drop the lowest third by the gradient of the gated network, keep the drop where the label holds, else halve."""
    model, images = hand_wired.random_net(seed, skip=seed == 1), hand_wired.images(seed, 3)
    problem = hand_wired.problem(model, images, rounds=rounds)
    start = torch.ones(3, 16, dtype=torch.bool)
    start[1] = smallest_complete(problem, gradient(problem, silent).gates, 0.0)[1]
    left, before = eliminate(problem, start, silent), problem.passes
    assert hand_wired.problem(model, images, rounds=rounds).passes + rounds <= before
    for i, image in enumerate(images):
        label = hand_wired.logits_twin(model, image).argmax()

        def look(chosen, image=image, label=label):
            def value(z):
                return reference.odds(hand_wired.plain_logits(model, image, torch.tensor(z)[None])[0].tolist(), label)

            logits = hand_wired.logits_twin(model, image, chosen)
            return logits.argmax() == label, reference.slopes(value, chosen.astype(float))

        wanted = reference.eliminated(start[i].tolist(), rounds, look)
        assert left[i].tolist() == wanted


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_keeps_the_label_lies_in_the_start_and_shrinks_with_the_rounds(seed):
    model, images = hand_wired.random_net(seed, (8, 8, 8)), hand_wired.images(seed, 3)
    start, sizes = torch.ones(3, 24, dtype=torch.bool), []
    for rounds in range(0, 16, 3):
        left = eliminate(hand_wired.problem(model, images, rounds=rounds), start, silent)
        for chosen, image in zip(left, images, strict=True):
            assert (
                hand_wired.logits_twin(model, image, chosen).argmax() == hand_wired.logits_twin(model, image).argmax()
            )
        sizes.append(left.sum(1))
    sizes = torch.stack(sizes)
    assert (sizes.diff(dim=0) <= 0).all()
    assert sizes.min() >= 1
    assert (sizes[-1] < 12).any()


def scripted(problem, answers):
    """The problem, with told answers to whether the label holds in each round, and the sets that it is asked of."""
    seen = []

    def ask(gates, _output):
        good = answers[len(seen)]
        seen.append(gates.clone())
        effects = torch.arange(16.0) if good else torch.arange(16.0).flip(0)  # of a failing set: not to be heard
        return effects[None], torch.tensor([good])

    problem.gradient = ask
    return problem, seen


def test_the_step_halves_where_the_label_is_lost_and_no_failing_set_is_returned():
    problem, seen = scripted(
        hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0, 1), rounds=6),
        [True, False, False, True, True, False],
    )
    left = eliminate(problem, torch.ones(1, 16, dtype=torch.bool), silent)
    # of 16 maps 35 % are 5; lost: half the step, 2; lost again: 1; held: 1 of 15; held: 1 of 14; lost: the one before
    assert [int(z.sum()) for z in seen] == [16, 11, 14, 15, 14, 13]
    assert int(left.sum()) == 14
    assert left[0].tolist() == [k >= 2 for k in range(16)]


def test_one_map_is_never_dropped():
    problem, seen = scripted(
        hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0, 1), rounds=30), [True] * 30
    )
    assert eliminate(problem, torch.ones(1, 16, dtype=torch.bool), silent).sum() == 1
    assert min(int(z.sum()) for z in seen) == 1


@pytest.mark.parametrize("n", [1, 2, 16, 4000, 22720])
def test_gates_fall_with_the_logarithm_of_the_place(n):
    order = torch.from_numpy(np.random.default_rng(n).permutation(n)).float()[None]
    gates = by_place(order)[0].double()
    wanted = [1 - math.log(n - int(v)) / math.log(max(n, 2)) for v in order[0]]
    np.testing.assert_allclose(gates, wanted, atol=1e-5)
    assert len(set(gates.tolist())) == n
    assert 0 <= gates.min() <= gates.max() == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_core_comes_first_and_the_order_of_the_ranking_is_kept_elsewhere(seed):
    model, images = hand_wired.random_net(seed, (8, 8, 8)), hand_wired.images(seed, 2)
    against = [Foil(NO_RIVAL, image) for image in images[::-1]]
    problem = hand_wired.problem(model, images, foils=against)
    found, order = elimination(problem, silent), cohering(problem, against_foils(problem, silent)[0])
    for z, core, rank in zip(found.gates, found.core, order, strict=True):
        assert z[core].min() > z[~core].max()
        for inside in (core, ~core):
            close = rank[inside].argsort(descending=True, stable=True)
            assert torch.equal(z[inside].argsort(descending=True, stable=True), close)


@pytest.mark.parametrize("seed", range(6))
def test_dead_maps_come_last_and_are_critical_only_where_their_layer_has_nothing_else(seed):
    dead = [(0, 1), (0, 4), (1, 0), (1, 5), (2, 2)]
    model, images = hand_wired.with_dead_maps(seed, dead), hand_wired.images(seed, 2)
    gone = hand_wired.flat(*dead, widths=(5, 6, 5))
    problem = hand_wired.problem(model, images, foils=[Foil(NO_RIVAL, image) for image in images[::-1]])
    found, fires = elimination(problem, silent), problem.contrast().fires.numpy()
    assert not fires[:, gone].any()
    complete = smallest_complete(problem, found.hard_order, 0.9).numpy()
    for z, chosen, alive, core in zip(found.gates.numpy(), complete, fires, found.core.numpy(), strict=True):
        assert z[~alive].max() < z[alive].min()
        assert not core[~alive].any()
        for layer, fire in zip(hand_wired.parts(model, chosen), hand_wired.parts(model, alive), strict=True):
            assert not (layer > fire).any() or layer[fire > 0].all()


@pytest.mark.parametrize("seed", range(4))
def test_a_layer_that_is_all_dead_still_gives_one_map(seed):
    """The second layer is silent, so that the bias decides; its one map is forced."""
    model = hand_wired.with_dead_maps(seed, [(1, c) for c in range(6)])
    problem = hand_wired.problem(model, hand_wired.images(seed, 1))
    complete = smallest_complete(problem, elimination(problem, silent).hard_order, 0.9)[0]
    assert hand_wired.parts(model, complete)[1].sum() >= 1
    assert problem.holds(complete[None], 0.9)


def twin_pair(gates):
    """Which of the twins, maps 0 and 1 of the first layer, comes first."""
    return int(gates[1] > gates[0])


def test_with_coherence_the_same_twin_is_picked_in_both_images():
    """One twin is a little better on green images, the other on blue ones."""
    model, images = hand_wired.twins(), hand_wired.images(2)
    images[0, ..., 1:], images[1, ..., 1:] = (255, 20), (20, 255)
    adv = elimination(hand_wired.problem(model, images[:1]), silent).gates[0].numpy()
    free, held = (
        elimination(hand_wired.problem(model, images[1:], [adv], coherence=gamma), silent).gates[0] for gamma in (0, 5)
    )
    assert [twin_pair(z) for z in (adv, free, held)] == [0, 1, 0]


@pytest.mark.parametrize("seed", range(4))
def test_of_duplicated_maps_coherence_picks_the_ones_that_are_held(seed):
    """The paper's Fig. 3: of two maps that do the same, either will do; the given datapath tells which."""
    model, images = hand_wired.duplicated(seed), hand_wired.images(seed, 1)
    held = np.concatenate([np.repeat([0.0, 1.0], width) for width in (4, 5, 4)])
    order = cohering(
        problem := hand_wired.problem(model, images, [held], coherence=0.2), against_foils(problem, silent)[0]
    )[0]
    free = against_foils(hand_wired.problem(model, images), silent)[0][0]
    pairs = [part.split(len(part) // 2) for part in order.split((8, 10, 8))]
    equal = [part.split(len(part) // 2) for part in free.split((8, 10, 8))]
    for (first, second), (one, other) in zip(pairs, equal, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        useful = one > 1e-3
        assert (second[useful] > first[useful]).all()
    assert sum(int((one > 1e-3).sum()) for one, _ in equal) > 2


def smallest_by_force(model, image):
    """The size of the smallest of all 2^12 - 1 sets of maps that keeps the label."""
    subsets = (torch.arange(1, 4096)[:, None] >> torch.arange(12) & 1).double()
    label = hand_wired.logits_twin(model, image).argmax()
    holds = hand_wired.plain_logits(model, image, subsets).argmax(1) == label
    return int(subsets[holds].sum(1).min())


def test_the_core_is_nearly_the_smallest_of_all_sets_and_no_larger_than_the_gradients():
    """Against brute force over 2^12 sets; class 1 wins with all maps at 0, so images of class 1 are left out."""
    sizes = []
    for seed in range(20):
        model, images = hand_wired.random_net(seed, (4, 4, 4)), hand_wired.images(seed, 1)
        with torch.no_grad():
            model.head.bias[1] += 2.0
        problem = hand_wired.problem(model, images)
        if int(problem.labels[0]) == 1:
            continue
        core = elimination(problem, silent).core
        prefix = smallest_core(problem, gradient(problem, silent).gates)
        sizes.append((int(core.sum()), int(prefix.sum()), smallest_by_force(model, images[0])))
    found, by_gradient, best = np.array(sizes, float).T
    assert len(sizes) >= 8
    assert (found >= best).all()
    assert (found / best).max() <= 1.5
    assert (found / best).mean() <= 1.1
    assert found.mean() <= by_gradient.mean()


def test_elimination_takes_the_odds_gradient_of_the_gated_network():
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0, 1), rounds=4)
    asked, real = [], problem.gradient
    problem.gradient = lambda gates, output: asked.append((gates, output)) or real(gates, output)
    eliminate(problem, torch.ones(1, 16, dtype=torch.bool), silent)
    assert [output for _, output in asked] == [odds] * 4
    assert [int(gates.sum()) for gates, _ in asked][:2] == [16, 11]
