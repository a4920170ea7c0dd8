"""Projected Adam and SGD over the box."""

import numpy as np
import pytest
import reference
import torch

from aevis_dash.core.optimize import PATIENCE, Descent, root_mean_square, settle, solve

GOAL = torch.tensor([[-1.0, 0.25, 0.5, 3.0], [0.75, 2.0, -0.5, 1.0]])


def quadratic(z):
    return (z - GOAL).square().sum(1), torch.ones(2, dtype=torch.bool)


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
def test_a_quadratic_is_solved_to_its_projection_on_the_box(start):
    found = solve(quadratic, torch.full((2, 4), start), Descent(300, 0.05))
    torch.testing.assert_close(found, GOAL.clamp(0, 1), atol=2e-3, rtol=0)


def test_no_iterate_leaves_the_box():
    seen = []

    def objective(z):
        seen.append(z.detach().clone())
        return quadratic(z)

    solve(objective, torch.full((2, 4), 0.5), Descent(20, 0.3))
    assert len(seen) == 21
    assert all(z.min() >= 0 and z.max() <= 1 for z in seen)


@pytest.mark.parametrize("upper", [1.0, 5.0])
def test_sgd_with_momentum_equals_the_twin_and_stays_in_its_box(upper):
    seen, goal = [], GOAL[0] * 4

    def objective(z):
        seen.append(z.detach().clone())
        return (z - goal).square().sum(1), z.detach()[:, 2] > 0.5

    def look(z):
        return ((z - goal.numpy()) ** 2).sum(), z[2] > 0.5, 2 * (z - goal.numpy())

    found = solve(objective, torch.full((1, 4), 0.7), Descent(12, 0.1, momentum=0.9, upper=upper))
    wanted = reference.sgd(look, np.full(4, 0.7), 12, 0.1, 0.9, upper)
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert max(float(z.max()) for z in seen) == upper, "the box is reached"
    assert min(float(z.min()) for z in seen) == 0


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_adam_equals_the_twin(steps):
    scale = torch.tensor([[1.0, 5.0, 0.2, 3.0]])

    def look(z):
        side = (scale.double() * (torch.from_numpy(z) - GOAL[0]))[0].numpy()
        return (side**2).sum(), True, 2 * side * scale[0].double().numpy()

    found = solve(
        lambda z: ((scale * (z - GOAL[0])).square().sum(1), torch.ones(1, dtype=torch.bool)),
        torch.full((1, 4), 0.7),
        Descent(steps, 0.1),
    )
    np.testing.assert_allclose(found[0], reference.adam(look, np.full(4, 0.7), steps, 0.1), atol=1e-5)


def test_the_best_accepted_iterate_of_each_row_is_kept():
    seen = []

    def objective(z):
        loss = torch.stack([z[0].sum(), -z[1].sum()])
        accepted = torch.tensor([bool(z[0].sum() > 1.0), bool(z[1].sum() < 2.5)])
        seen.append((z.detach().clone(), loss.detach(), accepted))
        return loss, accepted

    found = solve(objective, torch.full((2, 4), 0.5), Descent(10, 0.1))
    for row in range(2):
        accepted = [(float(loss[row]), z[row]) for z, loss, ok in seen if ok[row]]
        assert len(accepted) < len(seen)
        assert torch.equal(found[row], min(accepted, key=lambda pair: pair[0])[1])


@pytest.mark.parametrize("broken", ["never accepted", "nan"])
def test_the_start_where_nothing_is_acceptable(broken):
    def objective(z):
        loss = z.sum(1)
        return (loss * float("nan"), loss > -1) if broken == "nan" else (loss, loss < -1)

    start = torch.full((2, 3), 0.7)
    assert torch.equal(solve(objective, start, Descent(5, 0.1)), start)
    assert torch.equal(start, torch.full((2, 3), 0.7))


def test_an_earlier_better_iterate_beats_the_last():
    def objective(z):
        return (z - 0.5).square().sum(1), torch.ones(1, dtype=torch.bool)

    assert torch.equal(solve(objective, torch.full((1, 3), 0.5), Descent(1, 0.3)), torch.full((1, 3), 0.5))
    far = solve(objective, torch.full((1, 3), 0.6), Descent(1, 0.9))
    assert torch.equal(far, torch.full((1, 3), 0.6))


def test_the_last_iterate_counts():
    found = solve(lambda z: (z.sum(1), torch.ones(1, dtype=torch.bool)), torch.ones(1, 3), Descent(1, 0.25))
    torch.testing.assert_close(found, torch.full((1, 3), 0.75))


def test_an_exception_of_on_step_cancels():
    class Stop(Exception):
        pass

    steps = []

    def on_step(step):
        steps.append(step)
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        solve(quadratic, torch.zeros(2, 4), Descent(10, 0.1), on_step)
    assert steps == [0, 1, 2]


# The careful descent


@pytest.mark.parametrize("steps", [1, 2, 9, 40])
def test_the_careful_descent_equals_the_twin(steps):
    """Rows of their own: one goes down at once, the other climbs over a narrow valley and has to shorten its steps."""
    scale = torch.tensor([[1.0, 5.0, 0.2, 3.0], [0.5, 40.0, 30.0, 0.1]])

    def look(row):
        def at(z):
            side = scale[row].double().numpy() * (z - GOAL[row].numpy())
            return (side**2).sum(), True, 2 * side * scale[row].double().numpy()

        return at

    found = settle(
        lambda z: ((scale * (z - GOAL)).square().sum(1), torch.ones(2, dtype=torch.bool)),
        torch.full((2, 4), 0.7),
        steps,
        0.2,
    )
    for row in range(2):
        z, loss, _ = reference.careful(look(row), np.full(4, 0.7), steps, 0.2)
        assert float(found.loss[row]) == pytest.approx(loss, rel=1e-3, abs=1e-3)
        if steps < 40:  # at the end of a long descent rounding decides which step lowers the loss
            np.testing.assert_allclose(found.gates[row], z, atol=1e-3)


def test_a_step_that_loses_the_label_is_taken_back():
    """The plain descent from here returns its start: its first step leaves what is accepted, and the rest go on."""

    def objective(z):
        return z.sum(1), z.detach()[:, 0] > 0.45

    start = torch.full((1, 2), 0.5)
    assert torch.equal(solve(objective, start, Descent(40, 0.3)), start)
    found = settle(objective, start, 40, 0.3)
    assert 0.45 < float(found.gates[0, 0]) < 0.47


def test_it_tells_by_how_much_the_loss_still_fell_in_the_last_steps():
    scale = torch.tensor([[1.0, 3.0, 0.3, 2.0], [0.1, 1.0, 5.0, 0.7]])

    def descend(steps):
        objective = lambda z: (1 + (scale * (z - GOAL)).square().sum(1), torch.ones(2, dtype=torch.bool))  # noqa: E731
        return settle(objective, torch.full((2, 4), 0.7), steps, 0.02)

    before, after = descend(20), descend(20 + PATIENCE)
    torch.testing.assert_close(after.falling, (before.loss - after.loss) / after.loss)
    assert (after.falling > 0.01).all()
    assert (descend(300).falling < 0.01).all()
    assert descend(PATIENCE - 1).falling.isinf().all()


def test_it_ends_where_nothing_falls_any_more_and_tells_every_step():
    told = []
    settle(quadratic, torch.ones(2, 4), 200, 0.2, told.append)
    assert told == list(range(len(told)))
    assert PATIENCE < len(told) < 150
    told.clear()
    settle(lambda z: (0 * z.sum(1), z.sum(1) > -1), torch.ones(1, 3), 50, 0.1, told.append)
    assert told == list(range(PATIENCE + 1))


def test_nothing_acceptable_leaves_the_start_without_a_loss():
    found = settle(lambda z: (z.sum(1), z.sum(1) < -1), torch.full((1, 3), 0.7), 5, 0.1)
    assert torch.equal(found.gates, torch.full((1, 3), 0.7))
    assert bool(found.falling.isnan())


def test_root_mean_square_has_no_nan_gradient_at_zero():
    z = torch.zeros(2, 4, requires_grad=True)
    with torch.no_grad():
        z[1] = torch.tensor([3.0, 4.0, 0.0, 0.0])
    value = root_mean_square(z)
    torch.testing.assert_close(value, torch.tensor([0.0, 2.5]))
    (gradient,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(gradient, torch.tensor([[0.0] * 4, [0.3, 0.4, 0.0, 0.0]]))
