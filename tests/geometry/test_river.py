"""The river keeps the distances, the curve does not overshoot, the stretches are what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.domain import DatapathDistance, Pattern
from aevis_dash.geometry.river import SIDE_MARGIN, even_out, fill, river, stretches, way

DISTANCES = st.floats(0, 10).map(lambda d: 0.0 if d < 1e-3 else d)


def distance(d1, d2, d3, null=None):
    d1, d2, d3 = (np.asarray(d, float) for d in (d1, d2, d3))
    return DatapathDistance("test", d1, d2, d3, np.zeros((0, len(d1))) if null is None else np.asarray(null))


def shared(share, null=0.0):
    """Distances with d1 = 1 at every layer; with each of 20 random targets adv is at the share `null`."""
    share = np.asarray(share, float)
    return distance(np.ones_like(share), share, 1 - share, np.full((20, len(share)), null))


@st.composite
def distances(draw, values=DISTANCES):
    size = draw(st.integers(1, 20))
    d1, d2, d3 = (draw(arrays(float, size, elements=values)) for _ in range(3))
    null = draw(arrays(float, (draw(st.integers(0, 4)), size), elements=st.floats(0, 1) | st.just(np.nan)))
    return distance(d1, d2, d3, null)


@settings(deadline=None, max_examples=80)
@given(distances())
def test_gap_is_proportional_to_d1_and_split_as_d2_to_d3(d):
    r = river(d)
    gap = r.src - r.tar
    largest = d.d1.max()
    np.testing.assert_allclose(gap * largest, 2 * d.d1, atol=1e-9)
    np.testing.assert_allclose((r.src - r.adv) * d.d3, (r.adv - r.tar) * d.d2, atol=1e-9)
    np.testing.assert_allclose(r.src, -r.tar)
    if largest > 0:
        assert r.src.max() == pytest.approx(1)


def test_adversarial_runs_at_the_source_where_they_agree_and_in_the_middle_without_any_distance():
    r = river(distance([2, 2, 1], [0, 2, 0], [2, 0, 0]))
    np.testing.assert_allclose(r.adv, [1, -1, 0])


@settings(deadline=None, max_examples=80)
@given(distances(DISTANCES | st.just(np.nan)))
def test_no_nan_comes_out_and_the_order_is_kept(d):
    r = river(d)
    assert np.all(np.isfinite(np.stack([r.src, r.adv, r.tar])))
    assert np.all(r.src >= r.adv - 1e-12)
    assert np.all(r.adv >= r.tar - 1e-12)
    np.testing.assert_array_equal(r.measured, ~np.isnan(d.d1 + d.d2 + d.d3))
    if r.band_low is not None:
        assert np.all(r.tar - 1e-9 <= r.band_low)
        assert np.all(r.band_low <= r.band_high + 1e-9)
        assert np.all(r.band_high <= r.src + 1e-9)


def test_an_undefined_layer_is_read_off_its_neighbours_not_pinched():
    r = river(distance([1, np.nan, 1], [0, np.nan, 1], [1, np.nan, 0]))
    np.testing.assert_allclose([r.src[1], r.adv[1], r.tar[1]], [1, 0, -1])
    assert not river(distance([np.nan] * 3, [np.nan] * 3, [np.nan] * 3)).src.any()


def test_band_holds_the_middle_eighty_percent_of_the_null():
    null = np.linspace(0, 1, 11)[:, None] * np.ones((11, 2))
    r = river(distance([1, 0.5], [1, 1], [1, 1], null))
    np.testing.assert_allclose(r.band_high, [0.8, 0.4])
    np.testing.assert_allclose(r.band_low, [-0.8, -0.4])
    assert river(distance([1.0], [1.0], [1.0])).band_low is None


def named(found):
    return [s.pattern for s in found]


# d2 grows along the first half, where src and tar lie apart, and d3 declines along the second.
LEAVES = np.interp(np.arange(25), [0, 6, 12, 24], [0.02, 0.05, 0.6, 0.6])
JOINS = np.interp(np.arange(25), [0, 13, 22, 24], [0.6, 0.6, 0.1, 0.1])


def walk(null=0.0, rows=20, d1=1.0):
    return distance(np.full(25, d1), LEAVES, JOINS, np.full((rows, 25), null))


def test_a_river_that_leaves_and_joins():
    diverging, merging = (s for s in stretches(walk()) if s.pattern is not Pattern.TRANSITION)
    assert diverging.pattern is Pattern.DIVERGING
    assert (6 <= diverging.first <= 8, 11 <= diverging.last <= 12) == (True, True)
    assert merging.pattern is Pattern.MERGING
    assert (13 <= merging.first <= 15, 21 <= merging.last <= 22) == (True, True)


def test_the_nearer_of_the_two_changes_in_a_transition():
    """The share passes one half where d2 = d3, at layer 12 to 13; a transition stands where the changes leave room."""
    turn = distance(np.ones(9), [0.1] * 4 + [0.3] * 5, [0.12] * 4 + [0.12] * 5, np.zeros((20, 9)))
    (diverging,) = [s for s in stretches(turn) if s.pattern is Pattern.DIVERGING]
    slow = distance(np.ones(25), np.full(25, 0.3), np.linspace(0.34, 0.26, 25), np.zeros((20, 25)))
    assert named(stretches(slow)) == [Pattern.TRANSITION]
    (transition,) = stretches(slow)
    assert transition.first <= 12 <= transition.last
    assert diverging.first <= 4 <= diverging.last


@pytest.mark.parametrize("seed", range(8))
def test_stretches_survive_noise(seed):
    clean = walk()
    noise = np.random.default_rng(seed).normal(0, 0.01, (2, 25))
    noisy = distance(clean.d1, (clean.d2 + noise[0]).clip(0), (clean.d3 + noise[1]).clip(0), clean.null_share)
    assert [p for p in named(stretches(noisy)) if p is not Pattern.TRANSITION] == [Pattern.DIVERGING, Pattern.MERGING]


def test_diverging_is_a_growth_of_d2_and_merging_a_decline_of_d3_whatever_the_share_does():
    """The share of the way rises in both; only what it is made of tells them apart."""
    only_d3_shrinks = distance(np.ones(12), np.full(12, 0.4), np.linspace(0.9, 0.2, 12), np.zeros((20, 12)))
    assert Pattern.DIVERGING not in named(stretches(only_d3_shrinks))
    assert Pattern.MERGING in named(stretches(only_d3_shrinks))
    only_d2_grows = distance(np.ones(12), np.linspace(0.1, 0.9, 12), np.full(12, 0.3), np.zeros((20, 12)))
    assert Pattern.MERGING not in named(stretches(only_d2_grows))
    assert Pattern.DIVERGING in named(stretches(only_d2_grows))
    both_grow = distance(np.ones(12), np.linspace(0.1, 0.9, 12), np.linspace(0.1, 0.3, 12), np.zeros((20, 12)))
    assert Pattern.MERGING not in named(stretches(both_grow)), "adv goes away from tar"


def test_a_change_of_a_blip_is_none():
    """As in a network whose first layers see all images alike: the share rises there from 0 to 0.8 over nothing."""
    early = np.linspace(0, 0.8, 12)
    d1 = np.r_[np.full(12, 0.005), np.ones(12)]
    d2 = np.r_[0.002 * early, np.full(12, 0.3)]
    d3 = np.r_[0.002 * (1 - early), np.full(12, 0.9)]
    assert stretches(distance(d1, d2, d3, np.zeros((20, 24)))) == (), "src and tar are not apart in the first 12 layers"
    assert Pattern.DIVERGING in named(stretches(distance(np.ones(12), early, 1 - early, np.zeros((20, 12)))))


@pytest.mark.parametrize(("null", "marked"), [(0.0, True), (0.7, True), (0.95, False)])
def test_what_random_targets_show_too_is_no_evidence(null, marked):
    """adv ends at 0.86 of the way from src to tar."""
    assert (Pattern.MERGING in named(stretches(walk(null)))) is marked


@pytest.mark.parametrize(("rows", "marked"), [(19, False), (20, True)])
def test_few_random_targets_are_no_null(rows, marked):
    assert bool(stretches(walk(rows=rows))) is marked
    assert stretches(walk(rows=rows), nulls=0) != ()


def test_nothing_is_marked_without_distances():
    assert stretches(distance(np.zeros(6), np.zeros(6), np.zeros(6)), nulls=0) == ()
    assert stretches(distance(np.full(6, np.nan), np.full(6, np.nan), np.full(6, np.nan)), nulls=0) == ()


@pytest.mark.parametrize("share", [np.zeros(9), np.full(9, 0.5), np.full(9, 0.2), np.full(9, 0.9)])
def test_nothing_is_marked_where_nothing_changes(share):
    assert stretches(shared(share)) == ()


def test_the_way_back_is_a_transition_too():
    back = shared([0.9] * 5 + [0.1] * 5, null=0.3)
    assert named(stretches(back)) == [Pattern.TRANSITION]
    assert stretches(shared([0.9] * 5 + [0.1] * 5, null=0.0)) == (), "random targets turn back as far"


@settings(deadline=None, max_examples=150)
@given(distances(DISTANCES | st.just(np.nan)))
def test_stretches_are_ordered_and_do_not_overlap(d):
    found = stretches(d, nulls=0)
    layers = [layer for s in found for layer in range(s.first, s.last + 1)]
    assert all(s.first <= s.last for s in found)
    assert layers == sorted(set(layers))
    assert set(layers) <= set(range(len(d.d1)))


@settings(deadline=None, max_examples=30)
@given(distances(DISTANCES | st.just(np.nan)), st.floats(0.01, 100))
def test_neither_the_unit_of_length_nor_who_is_called_the_source_changes_the_picture(d, unit):
    plain, longer = river(d), river(distance(unit * d.d1, unit * d.d2, unit * d.d3))
    turned = river(distance(d.d1, d.d3, d.d2))
    for one, other in ((plain.src, longer.src), (plain.adv, longer.adv), (plain.adv, -turned.adv)):
        np.testing.assert_allclose(one, other, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(distances(DISTANCES | st.just(np.nan)))
def test_evened_gaps_are_all_one_and_split_as_before(d):
    even = even_out(d)
    known = np.isfinite(d.d1)
    np.testing.assert_array_equal(even.d1, np.where(known, 1, np.nan))
    split = known & np.isfinite(d.d2 + d.d3)
    np.testing.assert_allclose(even.share[split], d.share[split])
    np.testing.assert_allclose((even.d2 + even.d3)[split], 1)
    assert np.isnan(even.d2[~split]).all()
    if known.any():
        np.testing.assert_allclose(river(even).src, 1)


@settings(deadline=None, max_examples=30)
@given(arrays(float, st.integers(1, 12), elements=st.floats(-9, 9) | st.just(np.nan)))
def test_filled_keeps_what_is_known_and_reads_the_rest_off_a_straight_line(values):
    found, known = fill(values, 0.7), np.flatnonzero(np.isfinite(values))
    if known.size == 0:
        np.testing.assert_array_equal(found, 0.7)
    for i, value in enumerate(found):
        before, after = known[known <= i], known[known >= i]
        if before.size and after.size:
            a, b = before[-1], after[0]
            expected = values[a] + (values[b] - values[a]) * (i - a) / max(b - a, 1)
        elif known.size:
            expected = values[before[-1] if before.size else after[0]]
        else:
            continue
        assert value == pytest.approx(expected)


@settings(deadline=None, max_examples=150)
@given(distances(DISTANCES | st.just(np.nan)))
def test_no_bracket_contradicts_the_distances(d):
    """Of every bracket: what it says of d2, or d3, or their order, holds between its own first and last layers."""
    scale, ways = fill(d.d1, 0.0).max(), way(d)
    calm = np.array([ways[max(i - 1, 0) : i + 2].mean() for i in range(len(ways))])
    for s in stretches(d, nulls=0):
        if s.pattern is Pattern.DIVERGING:
            assert fill(d.d2, 0.0)[s.last] - fill(d.d2, 0.0)[s.first] >= 0.079 * scale
        if s.pattern is Pattern.MERGING:
            assert fill(d.d3, 0.0)[s.first] - fill(d.d3, 0.0)[s.last] >= 0.079 * scale
        if s.pattern is Pattern.TRANSITION:
            assert calm.min() <= 0.5 - SIDE_MARGIN < 0.5 + SIDE_MARGIN <= calm.max()
            beyond = (ways[s.last :] > 0.5) == s.to_target
            assert (ways[s.after] > 0.5) == s.to_target or not beyond.any()
