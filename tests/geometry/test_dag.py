"""Columns stand in order, groups cover the layers, gaps grow with the level."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.domain import Layer, LayerGraph
from aevis_dash.geometry.dag import BLOCK_GAP, GROUP_GAP, STEP, columns


def graph(groups):
    layers = tuple(Layer(i, f"call{i}", tuple(group), 4, 1, 1) for i, group in enumerate(groups))
    return LayerGraph(layers, tuple((i, i + 1) for i in range(len(layers) - 1)))


GROUPS = st.lists(st.sampled_from([(), ("a",), ("a", "a.0"), ("a", "a.1"), ("b", "b.0")]), max_size=30)


@settings(deadline=None, max_examples=60)
@given(GROUPS)
def test_groups_and_blocks_cover_every_layer_once_in_order(groups):
    placed = columns(graph(groups))
    for runs in (placed.groups, placed.blocks):
        assert [i for _, first, last in runs for i in range(first, last + 1)] == list(range(len(groups)))
    assert len(placed.x) == len(groups)
    assert np.all(np.diff(placed.x) >= STEP - 1e-9)


def test_gap_is_larger_between_groups_than_between_blocks():
    names = [(), ("a", "a.0"), ("a", "a.0"), ("a", "a.1"), ("b", "b.0")]
    placed = columns(graph(names))
    np.testing.assert_allclose(np.diff(placed.x), [STEP + GROUP_GAP, STEP, STEP + BLOCK_GAP, STEP + GROUP_GAP])
    assert placed.groups == (("call0", 0, 0), ("a", 1, 3), ("b", 4, 4))
    assert placed.blocks == (("call0", 0, 0), ("a.0", 1, 2), ("a.1", 3, 3), ("b.0", 4, 4))


def test_layers_outside_groups_do_not_join():
    assert columns(graph([(), ()])).groups == (("call0", 0, 0), ("call1", 1, 1))


@settings(deadline=None, max_examples=30)
@given(GROUPS.filter(bool))
def test_borders_enclose_each_layer(groups):
    placed = columns(graph(groups))
    assert len(placed.borders) == len(groups) + 1
    assert np.all(placed.borders[:-1] < placed.x)
    assert np.all(placed.x < placed.borders[1:])
