"""Distances between datapaths at every layer, or level of layers."""

from itertools import combinations

import hand_wired
import numpy as np
import pytest
import reference

from aevis_dash.config import ExtractionParameters
from aevis_dash.core.datapath import extract
from aevis_dash.core.distance import DISTANCES, Trace, between, by_activations, by_gates
from aevis_dash.core.features import maximum_activations
from aevis_dash.domain import Datapath, Layer, LayerGraph, share

WIDTHS = (4, 9, 2)
GRAPH = LayerGraph(tuple(Layer(i, f"l{i}", (), w, 1, 1) for i, w in enumerate(WIDTHS)), ((0, 1), (1, 2)))


def trace(seed, critical=None):
    rng, n = np.random.default_rng(seed), sum(WIDTHS)
    chosen = rng.uniform(size=n) < 0.5 if critical is None else critical
    gates = rng.uniform(size=n).astype(np.float32)
    path = Datapath(gates, chosen | True, chosen, chosen, 0, -1, 1, 1, 1, True, 1, 1, "test", 1, 1)
    return Trace(path, rng.uniform(size=n).astype(np.float32))


def layers(flat):
    return np.split(np.asarray(flat, float), np.cumsum(WIDTHS)[:-1])


def gates_twin(a, b):
    pairs = zip(layers(a.datapath.gates), layers(b.datapath.gates), strict=True)
    return [reference.eq4_distance(u, v) / np.sqrt(len(u)) for u, v in pairs]


def cosine_twin(a, b, three):
    found = []
    union = layers(np.any([t.datapath.critical for t in three], axis=0))
    for u, v, at in zip(layers(a.activation), layers(b.activation), union, strict=True):
        keep = [i for i in range(len(at)) if at[i]]
        dot = sum(u[i] * v[i] for i in keep)
        found.append(1 - dot / (reference.norm(u[keep]) * reference.norm(v[keep])) if keep else np.nan)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_distances_equal_their_twins_and_each_null_takes_the_targets_place(seed):
    adv, src, tar, *nulls = (trace(10 * seed + i) for i in range(5))
    gates, cosine = by_gates(GRAPH, adv, src, tar, nulls), by_activations(GRAPH, adv, src, tar, nulls)
    for found, pair in ((gates.d1, (src, tar)), (gates.d2, (adv, src)), (gates.d3, (adv, tar))):
        np.testing.assert_allclose(found, gates_twin(*pair), rtol=1e-5)
    for found, pair in ((cosine.d1, (src, tar)), (cosine.d2, (adv, src)), (cosine.d3, (adv, tar))):
        np.testing.assert_allclose(found, cosine_twin(*pair, (adv, src, tar)), atol=1e-6)
    assert gates.null_share.shape == cosine.null_share.shape == (2, 3)
    for row, other in enumerate(nulls):
        d2, d3 = np.array(gates_twin(adv, src)), np.array(gates_twin(adv, other))
        np.testing.assert_allclose(gates.null_share[row], d2 / (d2 + d3), rtol=1e-5)
        d2, d3 = (np.array(cosine_twin(adv, b, (adv, src, other))) for b in (src, other))
        np.testing.assert_allclose(cosine.null_share[row], d2 / (d2 + d3), atol=1e-5)


LEVELS = ((0, 2), (1,))


def together(flat):
    first, second, third = layers(flat)
    return [[*first, *third], [*second]]


def level_twin(name, a, b, every):
    """One number a level of LEVELS, of its layers' maps strung together."""
    if name == "activations":
        found, union = [], together(np.any([t.datapath.critical for t in every], axis=0))
        for u, v, at in zip(together(a.activation), together(b.activation), union, strict=True):
            u, v = ([value for value, chosen in zip(w, at, strict=True) if chosen] for w in (u, v))
            dot = sum(x * y for x, y in zip(u, v, strict=True))
            found.append(1 - dot / (reference.norm(u) * reference.norm(v)) if u else np.nan)
        return found
    if name == "sets":
        found = []
        for u, v in zip(together(a.datapath.critical), together(b.datapath.critical), strict=True):
            first, second = ({i for i, chosen in enumerate(w) if chosen} for w in (u, v))
            found.append(1 - len(first & second) / len(first | second) if first | second else np.nan)
        return found
    pairs = list(zip(together(a.datapath.gates), together(b.datapath.gates), strict=True))
    raw = [reference.eq4_distance(u, v) for u, v in pairs]
    return raw if name == "gates-raw" else [d / np.sqrt(len(u)) for d, (u, _) in zip(raw, pairs, strict=True)]


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("count", [2, 8])
def test_any_two_of_many_on_levels_equal_their_twins_over_the_union_of_all(name, count):
    traces = {f"path {i}": trace(i, np.arange(15) % 9 == i) for i in range(count)}
    found = between(GRAPH, traces, name, LEVELS)
    assert list(found) == list(combinations(traces, 2))
    for (first, second), d in found.items():
        twin = level_twin(name, traces[first], traces[second], traces.values())
        np.testing.assert_allclose(d, twin, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_triplet_on_levels_is_any_two_of_its_three_and_of_the_null_in_its_place(name):
    adv, src, tar, other = (trace(i) for i in range(4))
    found = DISTANCES[name](GRAPH, adv, src, tar, [other], LEVELS)
    for d, pair in ((found.d1, (src, tar)), (found.d2, (adv, src)), (found.d3, (adv, tar))):
        np.testing.assert_allclose(d, level_twin(name, *pair, (adv, src, tar)), rtol=1e-5, atol=1e-6)
    d2, d3 = (np.array(level_twin(name, adv, b, (adv, src, other))) for b in (src, other))
    np.testing.assert_allclose(found.null_share, [d2 / (d2 + d3)], rtol=1e-4)


@pytest.mark.parametrize("name", DISTANCES)
def test_every_layer_alone_is_the_level_that_none_is_given(name):
    three = [trace(i) for i in range(3)]
    alone, every = (DISTANCES[name](GRAPH, *three, [trace(4)], levels) for levels in ([(0,), (1,), (2,)], None))
    for attribute in ("d1", "d2", "d3", "null_share"):
        np.testing.assert_array_equal(getattr(alone, attribute), getattr(every, attribute))


def test_raw_gates_are_what_the_paper_prints_and_the_others_are_them_by_width():
    three = [trace(i) for i in range(3)]
    raw, by_width = (DISTANCES[name](GRAPH, *three) for name in ("gates-raw", "gates"))
    np.testing.assert_allclose(raw.d1, by_width.d1 * np.sqrt(WIDTHS))
    assert (raw.d1 > by_width.d1).all()


@pytest.mark.parametrize("name", DISTANCES)
def test_without_null_targets_there_is_no_null_row(name):
    found = DISTANCES[name](GRAPH, trace(0), trace(1), trace(2), [])
    assert found.null_share.shape == (0, 3)
    assert found.name == name
    np.testing.assert_allclose(found.share, found.d2 / (found.d2 + found.d3))


@pytest.mark.parametrize("name", DISTANCES)
def test_the_adversarial_that_is_the_source_or_the_target_is_at_an_end(name):
    src, tar = trace(1, np.ones(15, bool)), trace(2, np.arange(15) % 2 > 0)
    np.testing.assert_allclose(DISTANCES[name](GRAPH, src, src, tar, []).share, 0, atol=1e-7)
    np.testing.assert_allclose(DISTANCES[name](GRAPH, tar, src, tar, []).share, 1, atol=1e-7)


@pytest.mark.parametrize("name", DISTANCES)
def test_identical_images_are_nowhere_apart(name):
    c = hand_wired.classifier(hand_wired.random_net(0))
    images = np.repeat(hand_wired.images(0, 1), 3, axis=0)
    paths, peaks = extract(c, images, [], ExtractionParameters()), maximum_activations(c, images)
    found = DISTANCES[name](c.layers, *(Trace(p, a) for p, a in zip(paths, peaks, strict=True)), [])
    for d in (found.d1, found.d2, found.d3):
        np.testing.assert_allclose(d, 0, atol=1e-9)


def test_a_layer_without_critical_maps_has_no_cosine_distance():
    critical = np.ones(15, bool)
    critical[4:13] = False
    found = by_activations(GRAPH, *(trace(i, critical) for i in range(3)), [trace(3, critical)])
    for d in (found.d1, found.d2, found.d3, found.share, found.null_share[0]):
        assert np.isnan(d).tolist() == [False, True, False]


def test_sets_are_apart_by_the_share_of_their_maps_that_only_one_of_them_holds():
    first, second, empty = (np.zeros(15, bool) for _ in range(3))
    first[[0, 1, 2, 4]], second[[1, 2, 3, 5]] = True, True
    found = DISTANCES["sets"](GRAPH, trace(0, first), trace(1, second), trace(2, empty), [])
    np.testing.assert_allclose(found.d2, [0.5, 1, np.nan])
    np.testing.assert_allclose(found.d3, [1, 1, np.nan])


def test_silent_maps_are_equal_to_silent_ones_and_far_from_any_other():
    silent, loud = (Trace(trace(0, np.ones(15, bool)).datapath, np.full(15, v, np.float32)) for v in (0.0, 1.0))
    found = by_activations(GRAPH, silent, silent, loud)
    assert (found.d1.tolist(), found.d2.tolist(), found.d3.tolist()) == ([1] * 3, [0] * 3, [1] * 3)


def test_share_goes_from_the_source_to_the_target_by_the_middle():
    np.testing.assert_array_equal(share(np.array([0.0, 1, 3, 0]), np.array([2.0, 1, 1, 0])), [0, 0.5, 0.75, 0.5])
