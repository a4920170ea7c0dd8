"""What happens stands open, what is quiet is closed, and what the visitor opened or closed stays so."""

import numpy as np
from geometry.test_dag import graph
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.domain import DatapathDistance
from aevis_dash.geometry.dag import columns, groups
from aevis_dash.geometry.focus import closed_groups, interest, quiet, toggle

DEEP = graph([f"s{i // 20}.{i // 4}" for i in range(100)])
TREE = groups(DEEP)


def distance(share, d1=None):
    share = np.asarray(share, float)
    d1 = np.ones_like(share) if d1 is None else np.asarray(d1, float)
    return DatapathDistance("test", d1, share, 1 - share, np.zeros((0, len(share))))


def test_interest_is_the_change_of_the_way_where_the_paths_are_apart():
    found = interest(distance([0.0, 0.0, 0.5, 0.5, 0.9], [2, 2, 2, 2, 1]))
    np.testing.assert_allclose(found, [0, 0, 0.5, 0, 0.2])
    assert np.all(interest(distance([np.nan, np.nan])) == 0)


def test_a_network_that_fits_stands_open():
    assert quiet(DEEP, TREE, np.zeros(100), room=200) == frozenset()


def test_the_group_where_something_happens_is_open_and_the_others_are_closed():
    where = np.zeros(100)
    where[45:48] = 1
    closed = quiet(DEEP, TREE, where, room=30)
    assert {"s0", "s1", "s3", "s4"} <= closed
    assert not {"s2", "s2.11"} & closed
    assert "s2.14" in closed


def test_every_layer_of_a_group_counts():
    """Room for one group alone: that of the layer where something happens, be it the group's first or last."""
    for layer in (40, 59):
        where = np.zeros(100)
        where[layer] = 1
        assert "s2" not in quiet(DEEP, TREE, where, room=24)
        assert {"s0", "s1", "s3", "s4"} <= quiet(DEEP, TREE, where, room=24)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=100, max_size=100), st.floats(5, 150))
def test_what_stands_open_fits_where_anything_does(values, room):
    closed = quiet(DEEP, TREE, np.array(values), room)
    needed = columns(DEEP, TREE, closed, room=1.0).extent
    least = columns(DEEP, TREE, [g.name for g in TREE], room=1.0).extent
    assert needed <= max(room, least) + 1e-9


def test_a_shown_layer_is_never_closed_away_but_by_hand():
    every = {g.name for g in TREE}
    assert {"s0", "s0.0"} & closed_groups(TREE, every, (), [2]) == set()
    assert "s1" in closed_groups(TREE, every, (), [2])
    assert "s0.0" in closed_groups(TREE, every, ("-s0.0",), [2])


def test_folds_override_and_opening_opens_what_is_around():
    every = {g.name for g in TREE}
    assert every - closed_groups(TREE, every, ("+s3.17",), ()) == {"s3", "s3.17"}
    assert closed_groups(TREE, (), ("-s1",), ()) == {"s1"}
    assert closed_groups(TREE, (), ("+attic", "-attic"), ()) == frozenset(), "a group of another model is none"


def test_toggling_twice_gives_the_state_back():
    group = TREE[0]
    closed = closed_groups(TREE, (), (), ())
    once = toggle((), group, closed)
    assert group.name in closed_groups(TREE, (), once, ())
    twice = toggle(once, group, closed_groups(TREE, (), once, ()))
    assert closed_groups(TREE, (), twice, ()) == closed
    assert len(twice) == 1
