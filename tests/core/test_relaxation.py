"""Eq. 3 and 5 and the published variants: their objectives, starts and whole descents against slow twins."""

import functools
import itertools

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash import domain
from aevis_dash.config import ExtractionParameters, silent
from aevis_dash.core import datapath, relaxation
from aevis_dash.core.datapath import ABLATIONS, METHODS, distance, extract
from aevis_dash.core.elimination import against_foils, by_place, cohering
from aevis_dash.core.hard_sets import smallest_complete
from aevis_dash.core.measures import jaccard
from aevis_dash.core.modelled import Modelled
from aevis_dash.core.optimize import Descent, Settled, settle
from aevis_dash.core.problem import NO_RIVAL, Foil, label_logit, supported_first
from aevis_dash.core.ranking import first_order
from aevis_dash.workbench import open_workbench

P = ExtractionParameters()
FAR = {"learning_rate": 0.1, "sparsity": 0.3}
"""Long steps and a small price, so that the distance between datapaths decides where the gates end."""
OF_EQ_5 = ("needed", "constrained", "joint", "unconstrained", "size-squared")


@pytest.fixture
def asked(monkeypatch):
    """What a method asks of the solver: objective, start, descent; and what it makes of the gates that come back."""

    def ask(name, problem, answer=None, methods=METHODS):
        seen = []

        def solve(*arguments):
            seen.extend(arguments[:3])
            return arguments[1] if answer is None else answer

        def settle(objective, start, iterations, learning_rate, _told, climbs):
            assert climbs
            seen.extend((objective, start, Descent(iterations, learning_rate)))
            nothing = torch.zeros(len(start))
            return Settled(start if answer is None else answer, nothing, nothing)

        def descend(parts, start, iterations, radius, _told):
            def objective(z):
                far, rest, accepted = parts(z)
                return far + rest, accepted

            seen.extend((objective, start, Descent(iterations, radius)))
            nothing = torch.zeros(len(start))
            return Modelled(start if answer is None else answer, nothing, nothing, nothing)

        with monkeypatch.context() as patch:
            patch.setattr(relaxation, "solve", solve)
            patch.setattr(relaxation, "settle", settle)
            patch.setattr(relaxation, "descend", descend)
            found = methods[name](problem, silent)
        return (*seen, found)

    return ask


def gates(seed, rows, n=16):
    return np.random.default_rng(seed).uniform(size=(rows, n))


def predictions(model, image, z):
    return [reference.softmax(hand_wired.logits_twin(model, image, g)) for g in (None, z)]


def size_term(name, z):
    mean = sum(abs(v) for v in z) / len(z)
    return P.sparsity * mean * (mean if name == "size-squared" else 1)


def labels_of(model, images):
    return [int(hand_wired.logits_twin(model, image).argmax()) for image in images]


@torch.no_grad()
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("given", [0, 1, 2])
@pytest.mark.parametrize("name", OF_EQ_5)
def test_the_objective_is_the_papers(asked, name, given, skip):
    """Eq. 5; Eq. 3 with every pair from both sides; gamma 0; the size squared."""
    model, images = hand_wired.random_net(given, skip=skip), hand_wired.images(given, 3)
    z, known = gates(given, 3), gates(given + 9, given)
    objective = asked(name, hand_wired.problem(model, images, known))[0]
    loss, accepted = objective(torch.tensor(z, dtype=torch.float32))
    for i, image in enumerate(images):
        p, q = predictions(model, image, z[i])
        others = [*known, *(z[j] for j in range(3) if j != i)] if name == "joint" else known
        gamma = 0.0 if name == "unconstrained" else P.coherence / 4
        wanted = reference.eq5(p, q, z[i], others, 0.0, gamma) + size_term(name, z[i])
        assert float(loss[i]) == pytest.approx(wanted, abs=1e-4)
        assert bool(accepted[i]) == (p.argmax() == q.argmax())


@torch.no_grad()
def test_of_a_set_the_objective_takes_the_mean_difference_and_the_label_of_all(asked):
    model = hand_wired.random_net(1)
    images, said = hand_wired.of_one_class(model, 1, 3), []
    for seed in range(12):
        z = np.maximum(1 - gates(seed, 1) * 0.12 * seed, 0)
        objective = asked("constrained", hand_wired.problem(model, images, groups=[0, 0, 0]))[0]
        loss, accepted = objective(torch.tensor(z, dtype=torch.float32))
        pairs = [predictions(model, image, z[0]) for image in images]
        wanted = np.mean([((p - q) ** 2).sum() for p, q in pairs]) + size_term("constrained", z[0])
        assert float(loss) == pytest.approx(wanted, abs=1e-4)
        said.append(sum(bool(p.argmax() == q.argmax()) for p, q in pairs))
        assert bool(accepted) == (said[-1] == 3)
    assert len(set(said)) > 1


@pytest.mark.parametrize("name", OF_EQ_5)
def test_the_start_is_the_smallest_complete_set_of_the_gradient(asked, name):
    problem = hand_wired.problem(hand_wired.random_net(2), hand_wired.images(2), iterations=7, learning_rate=0.25)
    _, start, descent, _ = asked(name, problem)
    wanted = smallest_complete(problem, first_order(problem, label_logit), P.hold)
    assert torch.equal(start, wanted.float())
    assert descent == Descent(7, 0.25)


@torch.no_grad()
@pytest.mark.parametrize(("name", "price"), [("soft", 3.0 / 16), ("straight-through", 3.0 / 16), ("dgr", 0.05)])
def test_the_objective_is_soft_cross_entropy_and_the_size_or_the_size_of_hard_gates(asked, name, price):
    model, images = hand_wired.random_net(3), hand_wired.images(3, 3)
    z = gates(3, 3)
    objective, start, descent, _ = asked(name, hand_wired.problem(model, images, coherence=9.0, sparsity=9.0))
    loss, accepted = objective(torch.tensor(z, dtype=torch.float32))
    run = (z > 0.5).astype(float) if name == "straight-through" else z
    for i, image in enumerate(images):
        p, q = predictions(model, image, run[i])
        wanted = (
            run[i].mean() if name == "straight-through" else reference.soft_cross_entropy(p, q) + price * run[i].sum()
        )
        assert float(loss[i]) == pytest.approx(wanted, abs=1e-3)
        assert bool(accepted[i]) == (p.argmax() == q.argmax())
    if name == "dgr":
        assert descent == Descent(30, 0.1, momentum=0.9, upper=5.0)
    else:
        assert (descent.learning_rate, descent.momentum, descent.upper) == (0.1, None, 1.0)
        assert descent.iterations == 19
    if name == "straight-through":
        assert 0.5 <= start.min() < start.max() <= 0.6
        assert torch.equal(start[0], start[2])
    else:
        assert torch.equal(start, torch.ones(3, 16))


def test_straight_through_runs_hard_gates_and_passes_their_gradient_straight(asked):
    model, images = hand_wired.random_net(4), hand_wired.images(4, 1)
    problem = hand_wired.problem(model, images)
    objective = asked("straight-through", problem)[0]
    z = torch.tensor(gates(4, 1), dtype=torch.float32, requires_grad=True)
    (found,) = torch.autograd.grad(objective(z)[0].sum(), z)
    p = reference.softmax(hand_wired.logits_twin(model, images[0]))

    def loss(v):
        q = hand_wired.plain_logits(model, images[0], torch.tensor(v)[None]).softmax(1)[0]
        return reference.soft_cross_entropy(p, q.tolist()) + 3.0 * np.mean(v)

    hard = (z[0] > 0.5).double().detach().numpy()
    np.testing.assert_allclose(found[0], reference.slopes(loss, hard), atol=2e-3)


def test_straight_through_starts_by_the_seed(asked):
    starts = [
        asked("straight-through", hand_wired.problem(hand_wired.random_net(4), hand_wired.images(4), seed=s))[1]
        for s in (0, 0, 1)
    ]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize("skip", [False, True])
def test_dgr_is_clamped_by_the_kind_of_the_network_and_its_gates_are_over_their_largest(asked, skip):
    problem = hand_wired.problem(hand_wired.random_net(5, skip=skip), hand_wired.images(5))
    raw = torch.full((2, 16), 0.5)
    raw[0, 3], raw[0, 4] = 4.0, 0.0
    _, _, descent, found = asked("dgr", problem, raw)
    assert descent.upper == (100.0 if skip else 5.0)
    assert torch.equal(found.soft, raw)
    torch.testing.assert_close(found.gates[0], raw[0] / 4)
    torch.testing.assert_close(found.gates[1], raw[1])


def look(model, image, objective):
    """Loss, acceptance and slopes at gates, in float64 by the plain run: objective(p, q, z) is a tensor."""
    full = hand_wired.plain_logits(model, image, torch.ones(1, 16)).softmax(1)[0]

    def at(z):
        gate = torch.tensor(z, requires_grad=True)
        q = hand_wired.plain_logits(model, image, gate[None])[0].softmax(0)
        loss = objective(full, q, gate)
        (slope,) = torch.autograd.grad(loss, gate)
        return loss.item(), bool(q.argmax() == full.argmax()), slope.numpy()

    return at


def look_at_parts(model, image, parts):
    """The two parts of a loss, acceptance and the parts' slopes, as `look`."""

    def at(z):
        halves = [look(model, image, lambda p, q, z, i=i: parts(p, q, z)[i])(z) for i in range(2)]
        (far, accepted, far_slope), (rest, _, rest_slope) = halves
        return far, rest, accepted, far_slope, rest_slope

    return at


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_whole_descent_of_dgr_equals_the_twin(seed, skip):
    """30 steps of SGD with momentum, a fresh one for each image, the lowest loss that keeps the top class."""
    model, images = hand_wired.random_net(seed, skip=skip), hand_wired.images(seed, 3)
    found = METHODS["dgr"](hand_wired.problem(model, images), silent)
    for row, image in zip(found.soft, images, strict=True):
        run = look(model, image, lambda p, q, z: -(p * q.log()).sum() + 0.05 * z.sum())
        wanted = reference.sgd(run, np.ones(16), 30, 0.1, 0.9, 100.0 if skip else 5.0)
        np.testing.assert_allclose(row, wanted, atol=2e-3)
    assert (found.soft < 0.9).any()


@pytest.mark.parametrize("seed", [0, 3])
def test_the_whole_descent_of_the_soft_gates_equals_the_twin(seed):
    model, images = hand_wired.random_net(seed), hand_wired.images(seed, 3)
    found = METHODS["soft"](hand_wired.problem(model, images), silent)
    for row, image in zip(found.gates, images, strict=True):
        run = look(model, image, lambda p, q, z: -(p * q.log()).sum() + 3.0 * z.mean())
        np.testing.assert_allclose(row, reference.adam(run, np.ones(16), 19, 0.1), atol=5e-3)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("name", ["needed", "constrained"])
def test_the_whole_descent_of_eq_5_equals_the_twin(seed, skip, name):
    """The two methods differ in the ranking that they start from, and by which equal gates are told apart."""
    model, images = hand_wired.random_net(seed, skip=skip), hand_wired.images(seed, 3)
    known = gates(seed, 2)
    foils = [Foil((label + 1) % 3, image) for label, image in zip(labels_of(model, images), images[::-1], strict=True)]
    problem = hand_wired.problem(model, images, known, foils=foils)
    found = METHODS[name](problem, silent)
    if name == "needed":
        effect, supports = against_foils(problem, silent)
        order = supported_first(by_place(cohering(problem, effect)), supports)
    else:
        order = first_order(problem, label_logit)
    starts = smallest_complete(problem, order, P.hold)

    def parts(p, q, z):
        far = sum(torch.linalg.vector_norm(torch.tensor(k) - z) for k in known) / 4
        return (p - q).square().sum(), P.sparsity * z.mean() + P.coherence * far

    compared = []
    for row, start, image in zip(found.soft, starts, images, strict=True):
        at = look_at_parts(model, image, parts)
        wanted, loss, _ = reference.modelled(at, start.double().numpy(), P.iterations, P.learning_rate)
        far, rest, kept, *_ = at(row.double().numpy())
        assert kept
        assert far + rest == pytest.approx(loss, rel=0.02)
        assert float(found.loss[len(compared)]) == pytest.approx(loss, rel=0.02)
        compared.append(float(np.abs(row.numpy() - wanted).max()))
    assert np.median(compared) < 0.03, "rounding may turn a step that hardly lowers the loss into one that does not"
    assert float(found.left.max()) < domain.LEFT
    assert (found.gates - found.soft).abs().max() <= 1e-3
    for row, soft, ranks in zip(found.gates, found.soft, order, strict=True):
        closed = (soft == 0).nonzero()[:, 0]
        assert len(closed) > 2
        assert row[closed].argsort(descending=True).tolist() == ranks[closed].argsort(descending=True).tolist()


def test_the_ablations_of_the_default_leave_out_one_thing_each(asked):
    """The start, the order of equal gates, or Eq. 5 itself; the page does not offer them."""
    model, images = hand_wired.random_net(2), hand_wired.images(2)
    foils = [Foil(NO_RIVAL, image) for image in images[::-1]]
    problem = hand_wired.problem(model, images, foils=foils)
    effect, supports = against_foils(problem, silent)
    order = supported_first(by_place(cohering(problem, effect)), supports)
    answer = torch.zeros(2, 16)
    answer[:, 3] = 0.5
    made = {}
    for name in ("needed", "needed-from-ones", "needed-untied"):
        _, start, _, made[name] = asked(name, problem, answer, {**METHODS, **ABLATIONS})
        wanted = torch.ones(2, 16) if name == "needed-from-ones" else smallest_complete(problem, order, P.hold).float()
        assert torch.equal(start, wanted), name
    assert torch.equal(made["needed-untied"].gates, answer)
    assert torch.equal(made["needed-from-ones"].gates, made["needed"].gates)
    for row, ranks in zip(made["needed"].gates, order, strict=True):
        closed = [k for k in range(16) if k != 3]
        assert row[closed].argsort().tolist() == ranks[closed].argsort().tolist()
    assert torch.equal(ABLATIONS["needed-ranking"](problem, silent).gates, by_place(order))
    assert not set(ABLATIONS) & set(METHODS)
    used = datapath.used_parameters(ExtractionParameters(method="needed-from-ones"))
    assert used | {"method": "needed"} == datapath.used_parameters(ExtractionParameters(method="needed"))


def test_joint_solves_all_rows_to_one_answer_where_only_their_distance_counts():
    model, images = hand_wired.random_net(5), hand_wired.images(5, 3)
    apart, tied = (
        METHODS["joint"](hand_wired.problem(model, images, coherence=gamma, **FAR), silent).soft for gamma in (0.0, 0.5)
    )
    spread = [float((z[:, None] - z[None]).square().mean().sqrt()) for z in (apart, tied)]
    assert spread[1] < 0.6 * spread[0]


@pytest.mark.parametrize(("name", "seed"), [("constrained", 0), ("constrained", 1), ("joint", 2), ("size-squared", 2)])
def test_more_coherence_brings_the_gates_nearer_to_the_given(name, seed):
    model, (adv, src) = hand_wired.random_net(seed), hand_wired.images(seed)
    given = METHODS[name](hand_wired.problem(model, adv[None]), silent).gates[0].numpy()
    for known in (given, 1 - given):
        found = [
            METHODS[name](hand_wired.problem(model, src[None], [known], coherence=gamma, **FAR), silent)
            .gates[0]
            .numpy()
            for gamma in (0.0, 1.0, 20.0)
        ]
        far = [reference.eq4_distance(known, z) for z in found]
        assert far[2] < 0.7 * far[0]


def test_unconstrained_does_not_hear_of_the_given():
    model, images = hand_wired.random_net(7), hand_wired.images(7)
    alone, beside = (
        METHODS["unconstrained"](hand_wired.problem(model, images, known, coherence=5.0), silent).gates
        for known in ([], list(gates(7, 2)))
    )
    assert torch.equal(alone, beside)


# Where the default ends, on a network that was trained


@pytest.fixture(scope="module")
def solved(drawn_world):
    """The datapaths of some adv, and of a target of each held near it, by a method with so many and so long steps."""
    bench = open_workbench(drawn_world)
    fooled = [judged.example for judged in bench.judging.judged_examples() if judged.misclassified]

    @functools.cache
    def ask(iterations, learning_rate, method="constrained", pairs=2):
        found = []
        wanted = ExtractionParameters(method=method, iterations=iterations, learning_rate=learning_rate)
        for example in fooled[:pairs]:
            names = (example.adversarial, bench.datapaths.plan(example).candidates[0])
            adv, tar = (bench.workspace.read([name]) for name in names)
            path = next(extract(bench.classifier, adv, [], wanted))
            found.append((path, next(extract(bench.classifier, tar, [path.gates], wanted))))
        return found

    return ask


def losses(paths):
    return np.array([[path.loss for path in pair] for pair in paths])


def test_the_default_solver_ends_near_where_a_long_run_does(solved):
    default, long, short = solved(P.iterations, P.learning_rate), solved(150, 0.05), solved(3, P.learning_rate)
    assert (losses(default) / losses(long)).max() < 1.03
    assert np.median(losses(short) / losses(long)) > 1.2, "so few steps cannot close what has to be closed"
    assert not any(path.unsolved for pair in default for path in pair)
    assert any(path.unsolved for pair in short for path in pair)
    assert all(np.isnan([path.loss, path.left]).all() for path in solved(1, 0.1, "gradient")[0])


def test_the_loss_is_below_that_of_as_many_steps_along_the_gradient(solved, monkeypatch):
    """`settle` was the solver of Eq. 5 before; a third of its 60 steps are enough now."""
    few, many = solved(20, P.learning_rate, "unconstrained"), solved(60, P.learning_rate, "needed")

    def along_the_gradient(parts, start, iterations, radius, told):
        def objective(z):
            far, rest, accepted = parts(z)
            return far + rest, accepted

        found = settle(objective, start, iterations, radius, told)
        return Modelled(found.gates, found.loss, found.falling / 10, found.falling)

    monkeypatch.setattr(relaxation, "descend", along_the_gradient)
    for new, method in ((few, "unconstrained"), (many, "needed")):
        steps = 20 if new is few else 60
        old = losses(solved.__wrapped__(steps, P.learning_rate, method))
        assert (losses(new) <= old * 1.01).all(), method
        assert losses(new).mean() < old.mean(), method
    assert losses(few).mean() < 1.01 * losses(solved.__wrapped__(60, P.learning_rate, "unconstrained")).mean()


def test_the_variants_of_eq_5_are_different_answers(solved):
    """The constraint draws adv and tar together, and the squared size leaves other maps open."""
    apart = {}
    for method in ("constrained", "unconstrained"):
        apart[method] = np.mean([distance(*pair) for pair in solved(P.iterations, P.learning_rate, method, 4)])
    assert apart["constrained"] < 0.9 * apart["unconstrained"]
    named = {
        method: [pair[1].gates > 0.5 for pair in solved(P.iterations, P.learning_rate, method, 4)]
        for method in ("constrained", "unconstrained", "size-squared")
    }
    for one, other in itertools.combinations(named, 2):
        shared = [jaccard(a, b) for a, b in zip(named[one], named[other], strict=True)]
        assert np.mean(shared) < 0.95, (one, other)
