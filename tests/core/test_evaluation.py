"""The paper's evaluation: Eq. 9, Eq. 10, Top-K, drift, nulls and intervals."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from aevis_dash.core.evaluation import (
    ComparedGates,
    Estimate,
    bootstrap,
    compare,
    distances_by_level,
    drift,
    evaluate,
    growth_start,
    levels,
    pattern,
    similarity,
    top_k,
)
from aevis_dash.domain import AevisError, Layer, LayerGraph

STEM, HEAD = (), ()
GROUPS = (STEM, ("a", "a.0"), ("a", "a.0"), ("a", "a.1"), ("b", "b.0"), ("a", "a.1"), HEAD, HEAD)
WIDTHS = (3, 4, 9, 2, 1, 5, 2, 6)
GRAPH = LayerGraph(
    tuple(Layer(i, f"l{i}", g, w, 1, 1) for i, (g, w) in enumerate(zip(GROUPS, WIDTHS, strict=True))), ()
)
BLOCKS = ((0,), (1, 2), (3,), (4,), (5,), (6,), (7,))
N = sum(WIDTHS)


def gates(rng, *shape):
    """Random gates, a third of them 0, so that small levels are sometimes silent."""
    return (rng.uniform(size=(*shape, N)) * (rng.uniform(size=(*shape, N)) > 0.33)).astype(np.float32)


def by_level(flat, grouping):
    layers = np.split(np.asarray(flat, float), np.cumsum(WIDTHS)[:-1])
    return [np.concatenate([layers[i] for i in level]) for level in grouping]


def flat_graph(count, width):
    return LayerGraph(tuple(Layer(i, f"l{i}", (), width, 1, 1) for i in range(count)), ())


def rising(count, start=0):
    """Gates of `count` layers of one map each, on a line: the source at 0, the target at 1, the river between."""
    return np.concatenate([np.zeros(start), np.linspace(0, 1, count - start)])


# levels


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        ("layer", tuple((i,) for i in range(8))),
        ("block", BLOCKS),
        ("stage", ((0,), (1, 2, 3), (4,), (5,), (6,), (7,))),
    ],
)
def test_levels_join_neighbours_of_one_group_and_no_others(granularity, expected):
    assert levels(GRAPH, granularity) == expected


def test_an_unknown_granularity_is_answered_with_the_choices():
    with pytest.raises(AevisError, match=r"'module'.*layer, block, stage"):
        levels(GRAPH, "module")


# Eq. 9


@pytest.mark.parametrize("norm", ["l2", "width", "cosine"])
@pytest.mark.parametrize("granularity", ["layer", "block", "stage"])
def test_distances_equal_their_twins_for_one_vector_and_for_many(norm, granularity):
    rng, grouping = np.random.default_rng(1), levels(GRAPH, granularity)
    a, b = gates(rng), gates(rng, 20)
    pairs = [
        [
            reference.eq9_distance(u, v, norm)
            for u, v in zip(by_level(a, grouping), by_level(row, grouping), strict=True)
        ]
        for row in b
    ]
    np.testing.assert_allclose(distances_by_level(GRAPH, grouping, a, b, norm), pairs, atol=1e-12)
    np.testing.assert_allclose(distances_by_level(GRAPH, grouping, a, b[3], norm), pairs[3], atol=1e-12)
    assert distances_by_level(GRAPH, grouping, a, b[:0], norm).shape == (0, len(grouping))


def test_silent_levels_are_equal_to_silent_ones_and_one_away_from_any_other():
    silent, loud = np.zeros(N), np.ones(N)
    found = distances_by_level(GRAPH, BLOCKS, silent, np.stack([silent, loud]), "cosine")
    assert found.tolist() == [[0.0] * 7, [1.0] * 7]


@pytest.mark.parametrize("norm", ["l2", "width", "cosine"])
def test_equal_gates_are_exactly_zero_apart(norm):
    a = gates(np.random.default_rng(2))
    assert distances_by_level(GRAPH, BLOCKS, a, a, norm).tolist() == [0.0] * 7


def test_an_unknown_norm_and_gates_of_another_network_are_refused():
    with pytest.raises(AevisError, match=r"'l1'.*l2, width, cosine"):
        distances_by_level(GRAPH, BLOCKS, np.zeros(N), np.zeros(N), "l1")
    for a, b in ((np.zeros(N + 1), np.zeros(N)), (np.zeros(N), np.zeros((2, N - 1)))):
        with pytest.raises(AevisError, match=f"network of {N} feature maps"):
            distances_by_level(GRAPH, BLOCKS, a, b)


def test_similarity_is_the_inverse_of_the_rms_distance():
    rng = np.random.default_rng(3)
    adv, others = gates(rng), gates(rng, 4)
    expected = [np.sqrt(N) / reference.eq4_distance(adv.tolist(), other.tolist()) for other in others]
    np.testing.assert_allclose(similarity(adv, others), expected, rtol=1e-12)
    assert similarity(adv, adv[None]).tolist() == [np.inf]


# Eq. 10


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=12), st.data())
def test_pattern_and_growth_start_equal_their_twins(diff, data):
    r = data.draw(st.integers(1, len(diff) - 1))
    assert pattern(np.array(diff, float), r) == reference.eq10(diff, r)
    assert growth_start(np.array(diff, float)) == reference.growth_start(diff)


@given(st.lists(st.integers(0, 9), min_size=3, max_size=9, unique=True), st.integers(0, 3))
def test_mostly_growing_diffs_show_the_pattern_as_their_twins_do(values, dropped):
    diff = sorted(values)
    diff.insert(0, diff.pop(min(dropped, len(diff) - 1)))
    for r in range(1, len(diff)):
        assert pattern(np.array(diff, float), r) == reference.eq10(diff, r)


@pytest.mark.parametrize(
    ("diff", "r", "expected", "start"),
    [
        ([-3, -2, -1, 0, 1], 4, True, 0),
        ([9, -2, -1, 0, 1], 3, False, 1),  # every step grows, but an early level is nearer to the target
        ([1, -2, -1, 0, 1], 3, True, 1),  # an equal maximum earlier is still the maximum
        ([-3, -2, -1, -1, 1], 3, False, 3),  # one step stands still
        ([-3, -2, -1, -1, 1], 1, True, 3),
        ([-3, -2, 0, -1, 1], 3, False, 3),  # one step falls
        ([0, -1, 0, 1, 2], 3, True, 1),  # the fall is outside the last r
        ([0, -1, 0, 1, 2], 4, False, 1),  # and inside
        ([-1, 0, 1, 0], 1, False, 3),  # the last step falls
        ([np.nan, 0, 1, 2], 2, False, 1),  # the maximum is not known
    ],
)
def test_the_strict_pattern_by_hand(diff, r, expected, start):
    rows = np.array([diff, diff[::-1]], float)
    assert pattern(rows, r)[0] == expected
    assert growth_start(rows)[0] == start
    assert pattern(rows, r).shape == growth_start(rows).shape == (2,)


@pytest.mark.parametrize(
    ("r", "count", "says"),
    [
        (0, 5, "at least 1"),
        (-1, 5, "at least 1"),
        (5, 5, "needs 6 levels and there are 5.*finer.* or a smaller r .--r 4"),
        (1, 1, "there is 1. Choose a finer granularity .--granularity..$"),
    ],
)
def test_a_pattern_longer_than_the_network_is_refused(r, count, says):
    with pytest.raises(AevisError, match=says):
        pattern(np.arange(count, dtype=float), r)
    with pytest.raises(AevisError, match=says):
        evaluate(flat_graph(count, 2), [], r=r)


# Top-K


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=8), st.data())
def test_top_k_equals_its_twin_ties_included(targets, data):
    k = data.draw(st.integers(1, len(targets)))
    patterns, similarities = zip(*targets, strict=True)
    assert top_k(np.array(patterns), np.array(similarities), k) == reference.top_k(patterns, similarities, k)


def test_top_k_counts_the_most_similar_only():
    patterns, similarities = np.array([True, False, True, True]), np.array([1.0, np.inf, 3.0, 2.0])
    assert [top_k(patterns, similarities, k) for k in (1, 2, 3, 4, 5)] == [0, 1, 2, 3, 3]
    with pytest.raises(AevisError, match="K = 0"):
        top_k(patterns, similarities, 0)


# Drift


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9, 17])
def test_drift_equals_its_twin(count):
    rng = np.random.default_rng(count)
    to_src, to_tar = rng.integers(0, 3, count).astype(float), rng.integers(0, 3, (30, count)).astype(float)
    expected = [reference.drift(to_src, row) for row in to_tar]
    np.testing.assert_allclose(drift(to_src, to_tar), expected, atol=1e-12)
    np.testing.assert_allclose(drift(to_src, to_tar[0]), expected[0], atol=1e-12)


def test_drift_is_one_from_source_to_target_and_minus_one_back():
    way = np.array([0.0, 0.0, 0.4, 0.6, 1.0, 1.0])
    assert drift(way, 1 - way) == 1
    assert drift(way[::-1], 1 - way[::-1]) == -1


def test_drift_leaves_out_levels_that_are_not_known():
    to_src = np.array([np.nan, 0.2, 0.5, 0.5, 1.0, np.nan])
    assert drift(to_src, 1 - to_src) == pytest.approx(0.8)
    to_src[1] = np.nan
    assert np.isnan(drift(to_src, 1 - to_src))


# Bootstrap


def test_the_bootstrap_says_the_same_twice_and_not_for_another_seed():
    values = np.random.default_rng(4).normal(size=30)
    assert bootstrap(values, 7) == bootstrap(values, 7)
    assert bootstrap(values, 7) != bootstrap(values, 8)


def test_the_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    for level, low, high in ((0.95, 0.90, 0.98), (0.5, 0.40, 0.60)):
        found = [bootstrap(rng.exponential(size=60), i, 300, level) for i in range(300)]
        assert low < np.mean([e.low <= 1 <= e.high for e in found]) < high


def test_the_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(6).normal(2, 3, 400)
    found, half = bootstrap(values, 0, 20000), 1.96 * values.std() / 20
    np.testing.assert_allclose(
        [found.mean, found.low, found.high], values.mean() + np.array([0, -half, half]), atol=0.01
    )
    assert found.n == 400


def test_the_bootstrap_of_a_median():
    found = bootstrap([0, 0, 0, 1, 1000], 0, statistic="median")
    assert (found.mean, found.low, found.n) == (0, 0, 5)
    assert found.high in (1, 1000)
    assert bootstrap([1, 2, 3, 4, 1000], 0, statistic="median").mean == 3
    with pytest.raises(AevisError, match=r"'mode'.*mean, median"):
        bootstrap([1.0], 0, statistic="mode")


def test_the_bootstrap_of_one_value_of_none_and_of_unknown_ones():
    assert bootstrap([0.1, np.nan], 0) == Estimate(0.1, 0.1, 0.1, 1)
    for empty in ([], [np.nan]):
        found = bootstrap(empty, 0)
        assert found.n == 0
        assert np.isnan([found.mean, found.low, found.high]).all()


def test_the_excess_is_resampled_in_pairs():
    score = np.random.default_rng(7).normal(size=40)
    found = compare(np.append(score, [np.nan, 5]), np.append(score - 0.25, [1, np.nan]), 0)
    np.testing.assert_allclose([found.excess.mean, found.excess.low, found.excess.high], 0.25)
    assert (found.score.n, found.null.n, found.excess.n) == (41, 41, 40)
    assert found.score.high - found.score.low > 0.3


# All together


def trials(seed, count, t=5, u=5):
    rng = np.random.default_rng(seed)
    return [ComparedGates(gates(rng), gates(rng), gates(rng, t), gates(rng, u)) for _ in range(count)]


def twin_scores(trial, others, r, norm, k):
    """Top-K and mean drift of one trial against the others, from the slow twins."""
    adv, src = by_level(trial.adv, BLOCKS), by_level(trial.src, BLOCKS)
    patterns, similarities, drifts = [], [], []
    for other in others:
        tar = by_level(other, BLOCKS)
        patterns.append(reference.eq10(reference.eq9(adv, src, tar, norm), r))
        similarities.append(1 / reference.eq4_distance(trial.adv, other))
        to_src, to_tar = ([reference.eq9_distance(a, b, norm) for a, b in zip(adv, x, strict=True)] for x in (src, tar))
        drifts.append(reference.drift(to_src, to_tar))
    return reference.top_k(patterns, similarities, k), sum(drifts) / len(drifts), patterns


@pytest.mark.parametrize("norm", ["l2", "width", "cosine"])
def test_the_table_equals_its_slow_twin(norm):
    given_trials, r = trials(8, 30), 1
    found = evaluate(GRAPH, given_trials, r=r, norm=norm, ks=(1, 3))
    for k in (1, 3):
        targets = [twin_scores(t, t.targets, r, norm, k) for t in given_trials]
        nulls = [twin_scores(t, t.nulls, r, norm, k) for t in given_trials]
        top = found.top_k[k]
        means = [np.mean([hits for hits, _, _ in rows]) for rows in (targets, nulls)]
        np.testing.assert_allclose([top.score.mean, top.null.mean, top.excess.mean], [*means, means[0] - means[1]])
        means = [np.mean([way for _, way, _ in rows]) for rows in (targets, nulls)]
        drifts = found.drift
        np.testing.assert_allclose(
            [drifts.score.mean, drifts.null.mean, drifts.excess.mean], [*means, means[0] - means[1]], atol=1e-12
        )
        assert means[0] != pytest.approx(means[1])
        assert [o.targets.count for o in found.outcomes] == [sum(p) for _, _, p in targets]
        assert [o.nulls.pattern.tolist() for o in found.outcomes] == [p for _, _, p in nulls]
    assert sum(o.targets.count + o.nulls.count for o in found.outcomes) > 10
    assert (found.levels, found.r, found.norm) == (BLOCKS, r, norm)


def merging(count):
    """A river that leaves the source at the first level and joins the target exactly; its null stays where it was."""
    adv, src, tar = rising(count), np.zeros(count), np.ones(count)
    return ComparedGates(adv, src, tar[None], np.full((1, count), -1.0))


def test_a_river_that_merges_exactly_counts_and_its_null_does_not():
    found = evaluate(flat_graph(9, 1), [merging(9)] * 4, granularity="layer", ks=(1,))
    assert found.top_k[1].score == found.top_k[1].excess == Estimate(1, 1, 1, 4)
    assert found.top_k[1].null == Estimate(0, 0, 0, 4)
    assert found.drift.score.mean == pytest.approx(0.75)
    river, null = found.outcomes[0].targets, found.outcomes[0].nulls
    np.testing.assert_allclose(river.diff, [2 * np.linspace(0, 1, 9) - 1], atol=1e-12)
    assert (river.growth_start.tolist(), river.count, null.count) == ([0], 1, 0)
    assert found.drift.score.mean > found.drift.null.mean


def test_growth_starts_where_the_river_leaves_the_source():
    trial = ComparedGates(rising(9, start=4), np.zeros(9), np.ones((2, 9)), np.zeros((0, 9)))
    found = evaluate(flat_graph(9, 1), [trial], r=4, granularity="layer")
    assert found.outcomes[0].targets.growth_start.tolist() == [4, 4]
    assert evaluate(flat_graph(9, 1), [trial], r=5, granularity="layer").outcomes[0].targets.count == 0


def test_targets_and_nulls_are_scored_on_the_same_number():
    """Every image shows the pattern, so that the count is the number of images looked at."""
    full = merging(9)
    for t, u, k, count in ((5, 2, 3, 2), (2, 5, 3, 2), (4, 4, 3, 3), (1, 9, 5, 1)):
        trial = ComparedGates(full.adv, full.src, np.ones((t, 9)), np.ones((u, 9)))
        top = evaluate(flat_graph(9, 1), [trial], granularity="layer", ks=(k,)).top_k[k]
        assert (top.score.mean, top.null.mean, top.excess.mean) == (count, count, 0)


def test_without_nulls_there_is_a_score_but_neither_null_nor_excess():
    river = merging(9)
    alone = ComparedGates(river.adv, river.src, np.ones((3, 9)), np.zeros((0, 9)))
    found = evaluate(flat_graph(9, 1), [alone, river], granularity="layer", ks=(3,))
    for comparison in (found.top_k[3], found.drift):
        assert (comparison.score.n, comparison.null.n, comparison.excess.n) == (2, 1, 1)
    assert (found.top_k[3].score.mean, found.top_k[3].excess.mean) == (2, 1)


def test_without_adversarials_there_is_nothing_to_report():
    found = evaluate(GRAPH, [], r=3)
    assert found.outcomes == ()
    assert [c.excess.n for c in (*found.top_k.values(), found.drift)] == [0] * 4


def test_the_paper_s_setting_is_the_default():
    found = evaluate(flat_graph(9, 2), [], seed=3)
    assert (found.r, found.norm, tuple(found.top_k)) == (8, "l2", (1, 3, 5))


def test_evaluation_is_repeatable_and_the_seed_moves_the_intervals_only():
    given_trials = trials(9, 8)
    first, again, other = (evaluate(GRAPH, given_trials, r=1, seed=seed).drift.excess for seed in (0, 0, 1))
    assert first == again
    assert other.mean == first.mean
    assert other.low != first.low
