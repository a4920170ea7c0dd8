"""Groups follow the modules, columns stand in order whatever is closed, branches get lanes of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aevis_dash.domain import Layer, LayerGraph
from aevis_dash.geometry.dag import BLOCK_GAP, GROUP_GAP, STEP, Group, boxes, columns, groups, lanes


def graph(modules, edges=None):
    """A chain of layers, by the path of the module around each: "a.0" is module 0 inside module a."""
    parts = [path.split(".") if path else [] for path in modules]
    around = [tuple(".".join(p[: i + 1]) for i in range(len(p))) for p in parts]
    layers = tuple(Layer(i, f"call{i}", group, 4, 1, 1) for i, group in enumerate(around))
    return LayerGraph(layers, tuple((i, i + 1) for i in range(len(layers) - 1)) if edges is None else tuple(edges))


def flat(tree):
    return [(g.name, g.first, g.last, g.level, g.parent) for g in tree]


MODULES = st.lists(st.sampled_from(["", "a", "a.0", "a.0.x", "a.0.y", "a.1", "b.0", "b.1", "c"]), max_size=30)


def test_groups_follow_the_modules_level_by_level():
    net = graph(["stem", "a.0", "a.0", "a.1", "a.1", "b", "b", "head"])
    assert flat(groups(net)) == [
        ("a", 1, 4, 0, ""),
        ("a.0", 1, 2, 1, "a"),
        ("a.1", 3, 4, 1, "a"),
        ("b", 5, 6, 0, ""),
    ]


def test_a_module_that_is_the_network_gives_way_to_what_is_inside():
    net = graph(["features.a"] * 10 + ["features.b"] * 10 + ["head"])
    assert flat(groups(net)) == [("features.a", 0, 9, 0, ""), ("features.b", 10, 19, 0, "")]
    alone = graph(["features"] * 10)
    assert flat(groups(alone)) == [("features", 0, 9, 0, "")], "nothing inside to take its place"
    most = graph(["a.0"] * 4 + ["a.1"] * 4 + ["b"] * 2)
    assert [g.name for g in groups(most)] == ["a", "a.0", "a.1", "b"], "eight in ten are not the network"


def test_a_module_around_the_same_layers_is_left_out():
    net = graph(["a.x.0", "a.x.0", "a.x.1", "a.x.1", "b", "b"])
    assert [g.name for g in groups(net)] == ["a", "a.x.0", "a.x.1", "b"]


def test_a_module_that_is_come_back_to_is_a_group_of_its_own():
    assert [g.name for g in groups(graph(["a", "a", "b", "b", "a", "a"]))] == ["a", "b", "a#2"]


@settings(deadline=None, max_examples=80)
@given(MODULES)
def test_groups_are_nested_and_hold_neighbours(modules):
    tree = groups(graph(modules))
    by_name = {g.name: g for g in tree}
    assert len(by_name) == len(tree)
    for group in tree:
        assert group.size >= 2
        if group.parent:
            around = by_name[group.parent]
            assert around.holds(group.first, group.last)
            assert around.level == group.level - 1
            assert around.size > group.size


@settings(deadline=None, max_examples=80)
@given(MODULES.filter(bool), st.data())
def test_columns_cover_every_layer_once_and_never_overlap(modules, data):
    net = graph(modules)
    tree = groups(net)
    closed = data.draw(st.sets(st.sampled_from([g.name for g in tree]))) if tree else set()
    placed = columns(net, tree, closed)
    assert [i for c in placed.columns for i in range(c.first, c.last + 1)] == list(range(len(modules)))
    right, left = placed.x + placed.width / 2, placed.x - placed.width / 2
    assert np.all(left[1:] >= right[:-1] - 1e-9)
    assert left[0] == pytest.approx(0)
    assert right[-1] == pytest.approx(placed.extent)
    assert np.all(np.diff(placed.layer_x) > 0)
    assert np.all(placed.borders[:-1] < placed.x)
    assert np.all(placed.x < placed.borders[1:])
    for column in placed.columns:
        low, high = placed.span(column.first, column.last)
        assert column.group in closed or column.group == ""
        assert (low, high) == (
            pytest.approx(left[placed.of_layer[column.first]]),
            pytest.approx(right[placed.of_layer[column.first]]),
        )
    assert [c for box in boxes(placed) for c in range(box[0], box[1] + 1)] == list(range(len(placed.columns)))


def test_gap_is_larger_between_groups_than_between_blocks():
    net = graph(["", "a.0", "a.0", "a.1", "a.1", "b", "b"])
    placed = columns(net, groups(net))
    steps = np.diff(placed.x) / placed.width[0]
    np.testing.assert_allclose(steps, [STEP + GROUP_GAP, STEP, STEP + BLOCK_GAP, STEP, STEP + GROUP_GAP, STEP])


def test_a_small_network_fills_the_window_and_a_large_one_runs_out_of_it():
    small, large = graph(["a"] * 5), graph(["a"] * 200)
    assert columns(small, groups(small)).extent == 1
    assert columns(large, groups(large), room=50).extent == pytest.approx(4)
    assert columns(large, groups(large), ["a"], room=50).extent == 1


def test_what_is_inside_a_closed_group_is_not_shown():
    net = graph(["a.0", "a.0", "a.1", "a.1", "b", "b"])
    placed = columns(net, groups(net), ["a", "a.0"])
    assert [g.name for g in placed.groups] == ["a", "b"]
    assert [(c.first, c.last, c.group) for c in placed.columns] == [(0, 3, "a"), (4, 4, ""), (5, 5, "")]


def test_branches_part_into_lanes_and_a_chain_with_skips_has_one():
    # 0 -> {1, 2 -> 3, 4} -> 5: three branches between a fork and a join
    fork = graph([""] * 6, [(0, 1), (0, 2), (2, 3), (0, 4), (1, 5), (3, 5), (4, 5)])
    assert lanes(columns(fork, ()), fork) == (0, 0, 1, 1, 2, 0)
    skips = graph([""] * 5, [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (2, 4)])
    assert lanes(columns(skips, ()), skips) == (0,) * 5


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.data())
def test_neighbours_in_a_lane_feed_each_other(count, data):
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    edges = data.draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    net = graph([""] * count, sorted(edges))
    lane = lanes(columns(net, ()), net)
    reach = {(a, b) for a, b in edges}
    for _ in range(count):
        reach |= {(a, d) for a, b in reach for c, d in reach if b == c}
    for b in range(count):
        before = [a for a in range(b) if lane[a] == lane[b]]
        assert not before or (before[-1], b) in reach


def test_groups_name_themselves_by_the_last_part():
    assert Group("layer1.0", 0, 2, 1, "layer1").label == "0"
