"""How often maps recur by chance, against slow twins that try every draw."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.core.recurrence import RARE, more_than, recurrence
from aevis_dash.domain import Layer, LayerGraph

LAYERS = LayerGraph((Layer(0, "a", (), 3, 1, 1), Layer(1, "b", (), 4, 1, 1)), ((0, 1),))
SIZES = (3, 4)


@st.composite
def choices(draw):
    """For up to four examples which of the 3 + 4 maps could be chosen, and which of those are."""
    bits = st.lists(st.integers(0, 2), min_size=7, max_size=7)
    rows = np.array(draw(st.lists(bits, min_size=1, max_size=4)))
    return rows > 0, rows > 1


@settings(deadline=None, max_examples=60)
@given(choices())
def test_chance_is_that_of_all_draws(case):
    could, chosen = case
    found = recurrence(LAYERS, could, chosen)
    assert found.counts.tolist() == [sum(bool(row[m]) for row in chosen) for m in range(7)]
    np.testing.assert_allclose(found.expected, reference.expected_recurrence(could, chosen, SIZES), atol=1e-12)
    above = reference.recurrence_above(could, chosen, SIZES)
    assert found.most == next(k for k, total in enumerate(above) if total <= RARE + 1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=1, max_size=6))
def test_the_sum_of_draws_is_distributed_as_all_outcomes_say(chances):
    found = more_than(np.array(chances))
    assert found.shape == (2, len(chances) + 1)
    for column in range(2):
        own = [row[column] for row in chances]
        np.testing.assert_allclose(found[column], reference.more_than(own), atol=1e-12)


def test_no_map_is_drawn_more_often_in_95_of_100_draws():
    """The limit is that of the largest count of all maps: draws of whole examples seldom exceed it."""
    rng = np.random.default_rng(0)
    graph = LayerGraph((Layer(0, "a", (), 40, 1, 1), Layer(1, "b", (), 60, 1, 1)), ((0, 1),))
    could = rng.random((25, 100)) < 0.7
    chosen = could & (rng.random((25, 100)) < 0.25)
    found = recurrence(graph, could, chosen)
    largest = []
    for _ in range(2000):
        counts = np.zeros(100, int)
        for open_, taken in zip(could, chosen, strict=True):
            for part in (slice(0, 40), slice(40, 100)):
                places = np.flatnonzero(open_[part]) + part.start
                counts[rng.choice(places, taken[part].sum(), replace=False)] += 1
        largest.append(counts.max())
    assert np.mean(np.array(largest) > found.most) <= RARE + 0.01
    assert np.mean(np.array(largest) > found.most - 1) > RARE, "a smaller limit would be exceeded more often"


def test_a_map_that_every_example_had_to_choose_is_no_surprise():
    """Where all maps that could be are chosen, chance gives just what was found."""
    could = np.zeros((8, 7), bool)
    could[:, 2] = could[:, 5] = True
    found = recurrence(LAYERS, could, could)
    assert found.counts.tolist() == found.expected.tolist() == [0, 0, 8, 0, 0, 8, 0]
    assert found.most == 8


def test_of_no_example_nothing_recurs():
    none = np.zeros((0, 7), bool)
    found = recurrence(LAYERS, none, none)
    assert found.most == 0
    assert not found.counts.any()


def test_a_map_that_could_not_be_chosen_is_refused():
    with pytest.raises(ValueError, match="could not be"):
        recurrence(LAYERS, np.zeros((1, 7), bool), np.ones((1, 7), bool))
