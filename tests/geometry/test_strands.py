"""The curves of two to eight datapaths: never crossing, exact where they can be, and the best there are else."""

from itertools import combinations, permutations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.domain import DatapathDistance, further
from aevis_dash.geometry.river import river
from aevis_dash.geometry.strands import best_order, best_places, even_out, falling, fit, strands, stress_of

KEYS = ("source", "adversarial", "target", *map(further, range(2, 7)))
LENGTHS = st.floats(0, 10).map(lambda d: 0.0 if d < 1e-3 else d)


def pairs_of(keys, apart):
    """The mapping of distances (L, m, m)."""
    return {(a, b): apart[:, i, j] for (i, a), (j, b) in combinations(enumerate(keys), 2)}


def on_a_line(points):
    return np.abs(points[:, :, None] - points[:, None, :])


@st.composite
def many(draw, lengths=LENGTHS, least=2, most=8, layers=6):
    """Keys, among them the adversarial, and distances (L, m, m) between them, which need not fit any space."""
    m, depth = draw(st.integers(least, most)), draw(st.integers(1, layers))
    others = draw(st.permutations([key for key in KEYS if key != "adversarial"]))
    half = np.triu(draw(arrays(float, (depth, m, m), elements=lengths)), 1)
    return ["adversarial", *others[: m - 1]], half + half.transpose(0, 2, 1)


@settings(deadline=None, max_examples=60)
@given(many(LENGTHS | st.just(np.nan)))
def test_curves_never_cross_and_stay_inside_whatever_the_distances(drawn):
    keys, apart = drawn
    found = strands(pairs_of(keys, apart))
    assert sorted(found.order) == sorted(found.y) == sorted(keys)
    rows = np.array([found.y[key] for key in found.order])
    assert np.isfinite(rows).all()
    assert (np.diff(rows, axis=0) <= 1e-12).all()
    np.testing.assert_allclose(rows[0], -rows[-1], atol=1e-12)
    assert rows.max() <= 1 + 1e-12
    assert rows.max() == pytest.approx(1) or not rows.any()
    np.testing.assert_array_equal(found.measured, ~np.isnan(apart.sum((1, 2)) - np.trace(apart, axis1=1, axis2=2)))
    if {"source", "target"} <= set(keys):
        assert found.order.index("source") < found.order.index("target")


@settings(deadline=None, max_examples=40)
@given(many(LENGTHS | st.just(np.nan), most=7), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_and_their_direction_say_nothing(drawn, chance):
    pairs = list(pairs_of(*drawn).items())
    first = strands(dict(pairs))
    chance.shuffle(pairs)
    again = strands({(pair if chance.random() < 0.5 else pair[::-1]): d for pair, d in pairs})
    assert first.order == again.order
    assert first.stress == again.stress
    for key in first.order:
        np.testing.assert_array_equal(first.y[key], again.y[key])


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 8))
def test_distances_on_a_line_come_out_as_they_are(data, m):
    """At every layer other places in one order; exact, and so in that order."""
    keys = data.draw(st.permutations(KEYS[:m]))
    gaps = data.draw(arrays(float, (data.draw(st.integers(1, 5)), m), elements=st.floats(0.1, 5)))
    apart = on_a_line(np.cumsum(gaps, axis=1))
    found = strands(pairs_of(keys, apart), smoothness=0)
    assert list(found.order) in (list(keys), list(keys)[::-1])
    assert found.stress == pytest.approx(0, abs=1e-12)
    scale = 2 / apart.max()
    for (a, b), d in pairs_of(keys, apart).items():
        np.testing.assert_allclose(np.abs(found.y[a] - found.y[b]), scale * d, atol=1e-7)


def test_smoothness_leaves_what_does_not_change_and_holds_what_jumps():
    still, jumps = np.ones((4, 1)) * [0, 1, 3, 4], np.array([[0, 1.0], [0, 1], [0, 3], [0, 1]])
    assert strands(pairs_of(KEYS[:4], on_a_line(still))).stress == pytest.approx(0, abs=1e-12)
    free, held = (strands(pairs_of(KEYS[:2], on_a_line(jumps)), smoothness=s).y["source"] for s in (0, 0.5))
    np.testing.assert_allclose(free, [1 / 3, 1 / 3, 1, 1 / 3])
    assert np.abs(np.diff(held / held.sum())).sum() < 0.7 * np.abs(np.diff(free / free.sum())).sum()


WEIGHTS = st.sampled_from([(0.0, 0.0), (0.1, 1.0), (0.7, 0.0), (0.3, 4.0)])


@settings(deadline=None, max_examples=40)
@given(many(most=5, layers=3), WEIGHTS)
def test_no_gap_can_be_moved_for_the_better(drawn, weights):
    """Karush, Kuhn and Tucker: no slope at an open gap, none that falls at a closed one. The problem is convex."""
    _, apart = drawn
    y = fit(apart, 1, *weights)
    np.testing.assert_allclose(y.sum(1), 0, atol=1e-9)

    def cost(gaps):
        rows = -np.pad(gaps.reshape(len(y), -1).cumsum(1), ((0, 0), (1, 0)))
        return reference.strands_objective(rows.tolist(), apart.tolist(), 1, *weights)

    gaps = -np.diff(y, axis=1).ravel()
    slopes = reference.slopes(cost, gaps, 1e-4)
    size = 1e-3 * (1 + apart.max())
    assert (slopes >= -size).all()
    assert (np.abs(slopes[gaps > 1e-3]) <= size).all()


@settings(deadline=None, max_examples=60)
@given(many(most=6, layers=3), WEIGHTS, st.integers(0, 1000))
def test_no_other_falling_places_cost_less(drawn, weights, seed):
    _, apart = drawn
    rng = np.random.default_rng(seed)
    y = fit(apart, 0, *weights)
    best = reference.strands_objective(y.tolist(), apart.tolist(), 0, *weights)
    for spread in (0.01, 0.3, 3):
        other = np.sort(y + rng.normal(0, spread, y.shape), axis=1)[:, ::-1]
        assert best <= reference.strands_objective(other.tolist(), apart.tolist(), 0, *weights) + 1e-9


@settings(deadline=None, max_examples=80)
@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 6)), elements=st.floats(-5, 5)))
def test_falling_is_the_nearest_that_falls(values):
    """The projection on a cone: what is left over is at no angle below a right one to any row that falls."""
    found = falling(values)
    assert (np.diff(found, axis=1) <= 1e-12).all()
    left = values - found
    np.testing.assert_allclose((left * found).sum(1), 0, atol=1e-9)
    np.testing.assert_allclose(left.sum(1), 0, atol=1e-9)
    assert (left.cumsum(1) <= 1e-9).all()


@settings(deadline=None, max_examples=15)
@given(many(most=5, layers=3))
def test_no_order_is_under_less_stress(drawn):
    _, apart = drawn
    m = apart.shape[1]

    def stress(order):
        seen = apart[:, order][:, :, order]
        return stress_of(falling(best_places(seen)), seen)

    order = best_order(apart, (0, 1))
    assert order.index(0) < order.index(1)
    assert stress(order) <= min(stress(list(o)) for o in permutations(range(m))) + 1e-6


@pytest.mark.parametrize("seed", [0, 1, 6, 10, 13, 25])
def test_of_more_than_six_no_path_can_be_moved_for_the_better(seed):
    """From the seed 6 on the moves turn the order over, which is then turned back."""
    points = np.random.default_rng(seed).normal(size=(3, 8, 4)).cumsum(0)
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)

    def stress(order):
        seen = apart[:, order][:, :, order]
        return stress_of(falling(best_places(seen)), seen)

    order = best_order(apart, (2, 5))
    assert order.index(2) < order.index(5)
    for path in order:
        rest = [p for p in order if p != path]
        assert all(stress(order) <= stress([*rest[:i], path, *rest[i:]]) + 1e-9 for i in range(8))
    by_chance = [stress(np.random.default_rng(i).permutation(8)) for i in range(50)]
    assert stress(order) < min(by_chance)


def test_stress_is_the_share_of_the_squares_that_is_left():
    apart = on_a_line(np.array([[0.0, 1, 3]]))
    assert stress_of(np.array([[2.0, 1, -1]]), apart) == 0
    assert stress_of(np.array([[2.0, 2, -1]]), apart) == pytest.approx((1**2 + 1**2 + 0**2) / (1**2 + 2**2 + 3**2))
    assert stress_of(np.zeros((1, 3)), apart) == 1
    assert stress_of(np.zeros((1, 3)), np.zeros((1, 3, 3))) == 0


def test_an_undefined_layer_is_read_off_its_neighbours_and_under_no_stress():
    d = {("source", "adversarial"): [1, np.nan, 3], ("adversarial", "target"): [1, 2, 1.0]}
    found = strands(d | {("source", "target"): [2, np.nan, 4.0]}, smoothness=0)
    assert found.order == ("source", "adversarial", "target")
    np.testing.assert_allclose(found.y["source"], [0.5, 7 / 8, 1], atol=0.1)
    assert found.measured.tolist() == [True, False, True]
    assert found.stress == pytest.approx(0, abs=1e-12)
    empty = strands(dict.fromkeys(d | {("source", "target"): 0}, np.full(3, np.nan)))
    assert not any(y.any() for y in empty.y.values())


def test_of_two_the_one_before_stands_above():
    d = np.array([1.0, 2])
    assert strands({("adversarial", "source"): d}).order == ("source", "adversarial")
    assert strands({("target 2", "adversarial"): d}).order == ("adversarial", "target 2")
    with pytest.raises(KeyError, match="'target', 'source'"):
        strands({("adversarial", "source"): d, ("adversarial", "target"): d})


@settings(deadline=None, max_examples=40)
@given(arrays(float, (5, 3), elements=st.floats(0, 1)), st.floats(0.5, 3))
def test_three_paths_are_as_near_as_in_the_papers_river(share, gap):
    """Where the triangle holds and adv lies between, the river's rule and the fit agree on who is nearer to adv."""
    d2, d3 = gap * share[:, 0], gap * (1 - share[:, 0])
    three = DatapathDistance("x", np.full(5, gap), d2, d3, np.empty((0, 5)))
    ours = strands(
        {("source", "target"): three.d1, ("source", "adversarial"): d2, ("adversarial", "target"): d3}, smoothness=0
    )
    theirs = river(three)
    for key, y in {"source": theirs.src, "adversarial": theirs.adv, "target": theirs.tar}.items():
        np.testing.assert_allclose(ours.y[key], y, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(many(least=3, most=6))
def test_the_nearer_to_the_adversarial_is_hardly_drawn_farther(drawn):
    """The more the penalty weighs, the less of the wrong order is left."""
    _, apart = drawn
    wrong = []
    for nearness in (0.0, 3.0, 300.0):
        y = fit(apart, 0, 0, nearness)
        far, true = np.abs(y - y[:, :1])[:, 1:], apart[:, 0, 1:]
        excess = np.maximum(far[:, :, None] - far[:, None, :], 0) * (true[:, :, None] < true[:, None, :])
        wrong.append(np.square(excess).sum())
    assert wrong[1] <= wrong[0] + 1e-9
    assert wrong[2] <= wrong[1] + 1e-9
    assert wrong[2] <= 1e-3 * np.square(apart).sum()


def test_closed_layers_keep_the_order_and_the_scale_of_all():
    apart = on_a_line(np.array([[0.0, 3, 6], [0, 1, 2], [1.2, 0, 2.4]]))
    whole, part = pairs_of(KEYS[:3], apart), pairs_of(KEYS[:3], apart[1:])
    alone, of_all = strands(part, smoothness=0), strands(whole, smoothness=0)
    kept = strands(part, of_all.order, of_all.widest, smoothness=0)
    assert of_all.order == kept.order != alone.order
    assert (of_all.widest, kept.widest) == (pytest.approx(6), pytest.approx(6))
    for key in of_all.order:
        np.testing.assert_allclose(kept.y[key], of_all.y[key][1:], atol=1e-9)
    assert strands(part, of_all.order, 1.0, smoothness=0).y["source"].max() == pytest.approx(1)


def test_evened_layers_are_as_wide_as_one_another():
    d = even_out(
        {("source", "adversarial"): np.array([1.0, 0, np.nan, 4]), ("adversarial", "target"): [2, 0, 3, np.nan]}
    )
    np.testing.assert_allclose(d["source", "adversarial"], [0.5, 0, np.nan, 1])
    np.testing.assert_allclose(d["adversarial", "target"], [1, 0, 1, np.nan])
