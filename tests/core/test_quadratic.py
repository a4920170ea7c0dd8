"""The quadratic approximation: the exact gates for one output, FISTA for several."""

import pytest
import reference
import torch

from aevis_dash.core.quadratic import exact, fista, objective

SPARSITIES = [0.0, 1e-3, 0.1, 1.0, 10.0, 1e6]


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """q of both signs, over three orders of magnitude, with zeros and, in the last two gates, a tie."""
    random = torch.Generator().manual_seed(seed)
    q = torch.randn(shape, generator=random, dtype=torch.float64)
    q *= 10 ** (1.5 * torch.rand(shape[0], *[1] * (len(shape) - 2), shape[-1], generator=random, dtype=torch.float64))
    if shape[-1] > 3:
        q[::2, ..., 0] = 0
        q[..., -1] = q[..., -2]
    return q


def loss(q: torch.Tensor, z: torch.Tensor, sparsity: float) -> torch.Tensor:
    return objective(q[:, None], z, sparsity)


def inside(z: torch.Tensor) -> torch.Tensor:
    """Gates strictly between 0 and 1, per row."""
    return ((z > 0) & (z < 1)).sum(1)


def test_the_objective_is_the_formula():
    q, z = drawn(0, 3, 2, 5), torch.rand(3, 5, dtype=torch.float64)
    wanted = [reference.quadratic(a, b, 0.7) for a, b in zip(q.tolist(), z.tolist(), strict=True)]
    torch.testing.assert_close(objective(q, z, 0.7), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_exact_equals_the_enumeration_of_every_active_set(n, sparsity):
    q = drawn(n, 24, n)
    wanted = torch.tensor([reference.quadratic_by_enumeration(row, sparsity) for row in q.tolist()])
    torch.testing.assert_close(loss(q, exact(q, sparsity), sparsity), wanted.double(), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("n", [1, 7, 400])
def test_nothing_is_better_than_exact(n, sparsity, sign):
    q = sign * drawn(n, 8, n)
    z = exact(q, sparsity)
    assert z.min() >= 0
    assert z.max() <= 1
    assert inside(z).max() <= 1
    for row, gates in zip(q.tolist(), z.tolist(), strict=True):
        assert reference.quadratic_excess([row], gates, sparsity) < 1e-9


def test_the_excess_of_worse_gates_is_seen():
    q = drawn(3, 8, 7)
    for row, gates in zip(q.tolist(), (exact(q, 1.0) * 0.9 + 0.03).tolist(), strict=True):
        gain = reference.quadratic([row], gates, 1.0) - reference.quadratic_by_enumeration(row, 1.0)
        assert reference.quadratic_excess([row], gates, 1.0) >= gain > 1e-6


def test_exact_has_no_better_neighbour_on_a_fine_grid():
    q = drawn(5, 16, 2)
    best = loss(q, exact(q, 0.5), 0.5)
    steps = torch.linspace(0, 1, 41, dtype=torch.float64)
    for point in torch.cartesian_prod(steps, steps):
        assert (loss(q, point.expand(16, 2), 0.5) >= best - 1e-12).all()


def test_a_map_of_negative_q_makes_up_for_one_of_positive_q():
    q = torch.tensor([[2.0, -2.0, 5.0]])
    for signed in (q, -q):
        assert exact(signed, 0.03).tolist() == [[0.0, 0.0, pytest.approx(1 - 0.01 / 50)]]


@pytest.mark.parametrize("q", [2.0, -2.0])
def test_one_gate_closes_in_part(q):
    assert exact(torch.tensor([[q]]), 2.0).item() == pytest.approx(0.75)
    assert fista(torch.tensor([[[q]]]), 2.0).item() == pytest.approx(0.75)


def test_of_equal_maps_the_lower_index_is_kept():
    q = torch.ones(1, 4)
    for signed in (q, -q):
        assert exact(signed, 12.0).tolist() == [[1.0, 1.0, 0.5, 0.0]]


def test_at_sparsity_0_everything_is_kept():
    q = drawn(1, 6, 3, 9)
    assert torch.equal(exact(q[:, 0], 0.0), torch.ones(6, 9, dtype=torch.float64))
    assert torch.equal(fista(q, 0.0), torch.ones(6, 9, dtype=torch.float64))


def test_at_a_huge_sparsity_and_where_nothing_matters_everything_is_closed():
    q = drawn(1, 6, 3, 9)
    assert not exact(q[:, 0], 1e6).any()
    assert not fista(q, 1e6).any()
    assert not exact(torch.zeros(2, 5), 1e-9).any()
    assert not fista(torch.zeros(2, 3, 5), 1e-9).any()


def test_rows_do_not_see_each_other():
    q = drawn(8, 5, 3, 6)
    together = exact(q[:, 0], 3.0), fista(q, 3.0)
    for row in range(5):
        torch.testing.assert_close(exact(q[row : row + 1, 0], 3.0)[0], together[0][row])
        torch.testing.assert_close(fista(q[row : row + 1], 3.0)[0], together[1][row])
    assert exact(torch.zeros(0, 4), 1.0).shape == fista(torch.zeros(0, 2, 4), 1.0).shape == (0, 4)


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_fista_with_one_output_equals_exact(sparsity):
    q = drawn(4, 16, 40)
    found, best = fista(q[:, None], sparsity), exact(q, sparsity)
    torch.testing.assert_close(loss(q, found, sparsity), loss(q, best, sparsity), atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize(("sparsity", "iterations"), [(1.0, 3000), (30.0, 1500), (1e3, 500), (1e6, 100)])
@pytest.mark.parametrize(("m", "n"), [(2, 1), (2, 6), (4, 8), (5, 3)])
def test_nothing_is_better_than_fista(m, n, sparsity, iterations):
    q = drawn(m, 6, m, n)
    z = fista(q, sparsity, iterations)
    assert z.min() >= 0
    assert z.max() <= 1
    for rows, gates in zip(q.tolist(), z.tolist(), strict=True):
        excess = reference.quadratic_excess(rows, gates, sparsity)
        assert excess < 1e-6 * reference.quadratic(rows, gates, sparsity) + 1e-9


@pytest.mark.parametrize("sparsity", [0.1, 10.0])
def test_fista_never_gets_worse_and_moves_on(sparsity):
    q = drawn(2, 8, 3, 30)
    losses = torch.stack([objective(q, fista(q, sparsity, steps), sparsity) for steps in range(40)])
    assert (losses.diff(dim=0) <= 1e-12).all()
    assert (losses[-1] < losses[0]).all()


def test_the_gates_have_the_type_of_q_and_no_gradient():
    q = torch.randn(2, 3, 50, requires_grad=True)
    for z in (exact(q[:, 0], 0.1), fista(q, 0.1, 5)):
        assert z.dtype == torch.float32
        assert not z.requires_grad


def test_what_fits_no_problem_is_refused():
    q = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match="sparsity is -1"):
        exact(q[:, 0], -1.0)
    with pytest.raises(ValueError, match="sparsity is nan"):
        fista(q, float("nan"))
    with pytest.raises(ValueError, match="shape"):
        exact(q, 1.0)
    with pytest.raises(ValueError, match="shape"):
        fista(torch.ones(2, 3, 0), 1.0)
    with pytest.raises(ValueError, match="not finite"):
        exact(q[:, 0] / 0, 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        objective(q, torch.ones(2, 3), 1.0)
