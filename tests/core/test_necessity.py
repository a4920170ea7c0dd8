"""What is lost without a hard set: on nets whose only route is known, and against runs by hand."""

import dataclasses

import hand_wired
import numpy as np
import pytest
import torch

from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath, necessity
from aevis_dash.core.necessity import DRAWS
from aevis_dash.core.problem import Foil

RATES = dataclasses.replace(ExtractionParameters(), method="gradient", share=0.5)


def pair(seed, skip=False):
    """A random net, two images that it takes for different classes, and the datapath of the first against the other."""
    for at in range(100 * seed, 100 * seed + 100):
        classifier = hand_wired.classifier(hand_wired.random_net(at, skip=skip))
        images = hand_wired.images(at, 24)
        labels = [p.label for p in classifier.predict(images)]
        if len(set(labels)) > 1:
            break
    other = next(i for i, label in enumerate(labels) if label != labels[0])
    adv, src = images[:1], images[other : other + 1]
    path = next(datapath.extract(classifier, adv, [], RATES, foils=[Foil(labels[other], src[0])]))
    return classifier, adv, src, path


def by_hand(classifier, adv, src, path, chosen):
    """What is lost of the margin, and whether the label is, without the maps `chosen`: closed, or with src's values."""
    network, graph = classifier.network, classifier.layers
    x, y = classifier.inputs(adv), classifier.inputs(src)
    with torch.no_grad():
        before, there = network.logits(x)[0], network.logits(y)[0]
        donors = network.record(y, range(len(graph)))[1]
        closed = network.logits(x, torch.from_numpy(~chosen)[None].float())[0]

        def exchange(layer, value):
            value = value.clone()
            channels = np.flatnonzero(graph.part(chosen, layer))
            value[:, channels] = donors[layer][:, channels]
            return value

        exchanged = network.run_watched(x, exchange)[0]
    margin = lambda logits: float(logits[path.label] - logits[path.rival])  # noqa: E731
    unit = margin(before) - margin(there)
    return [((margin(before) - margin(z)) / unit, float(int(z.argmax()) != path.label)) for z in (closed, exchanged)]


@pytest.mark.parametrize(("seed", "skip"), [(0, False), (1, True), (2, False)])
def test_what_is_lost_is_what_runs_by_hand_lose(seed, skip):
    classifier, adv, src, path = pair(seed, skip)
    found = necessity.necessity(classifier, adv, src, path)
    for way, (lost, turned) in enumerate(by_hand(classifier, adv, src, path, path.critical)):
        assert found.lost[way] == pytest.approx(lost, abs=1e-4)
        assert found.turned[way] == turned
    first = np.flatnonzero(path.critical)
    first = first[np.argsort(-path.hard_order[first], kind="stable")][: necessity.FIRST]
    alone = [by_hand(classifier, adv, src, path, np.arange(len(path.gates)) == k) for k in first]
    wanted = np.mean([[lost for lost, _ in ways] for ways in alone], axis=0)
    np.testing.assert_allclose(found.single, wanted, atol=1e-4)


def test_the_random_sets_have_as_many_maps_in_each_layer_and_fire(monkeypatch):
    classifier, adv, src, path = pair(1)
    seen = []
    real = necessity.RunsWithout.without
    monkeypatch.setattr(
        necessity.RunsWithout, "without", lambda self, sets: seen.append((self.fires, sets)) or real(self, sets)
    )
    found = necessity.necessity(classifier, adv, src, path, [3])
    fires, sets = seen[0]
    graph = classifier.layers
    sizes = [graph.part(path.critical, i).sum() for i in range(len(graph))]
    drawn = sets[1 : 1 + DRAWS]
    assert len({each.tobytes() for each in drawn}) > 3
    for each in drawn:
        assert [graph.part(each, i).sum() for i in range(len(graph))] == sizes
        for i in range(len(graph)):
            enough = graph.part(fires, i).sum() >= sizes[i]
            assert not enough or graph.part(fires & each, i).sum() == sizes[i]
    many = np.array([by_hand(classifier, adv, src, path, each) for each in drawn])
    np.testing.assert_allclose(found.lost_null, np.median(many[:, :, 0], axis=0), atol=1e-4)
    np.testing.assert_allclose(found.turned_null, many[:, :, 1].mean(axis=0))
    ones, random_ones = np.split(sets[1 + DRAWS :], 2)
    assert (ones.sum(1) == 1).all()
    at = [
        [int(np.searchsorted(graph.offsets, k, side="right")) for k in each.argmax(1)] for each in (ones, random_ones)
    ]
    assert at[0] == at[1], "of the same layers"
    alone = np.array([by_hand(classifier, adv, src, path, each) for each in random_ones])
    np.testing.assert_allclose(found.single_null, alone[:, :, 0].mean(axis=0), atol=1e-4)


def test_the_only_route_is_needed_and_maps_beside_it_are_not():
    net, image = hand_wired.route(1, 2, 0), hand_wired.images(3, 1)
    classifier = hand_wired.classifier(net)
    black = np.zeros_like(image)
    assert [p.label for p in classifier.predict(np.concatenate([image, black]))] == [0, 1]
    path = next(datapath.extract(classifier, image, [], RATES, foils=[Foil(1, black[0])]))
    width = len(path.gates)
    route = np.isin(np.arange(width), (1, 4 + 2, 8 + 0))
    beside = np.isin(np.arange(width), (0, 4 + 0, 8 + 1))
    on, off = (
        necessity.necessity(classifier, image, black, dataclasses.replace(path, critical=chosen))
        for chosen in (route, beside)
    )
    assert on.turned.tolist() == [1, 1]
    assert off.turned.tolist() == [0, 0]
    assert (on.lost > 0.9).all()
    assert (off.lost < 0.2).all()
    assert (on.single > 0.9).all(), "one map of a chain is enough to break it"
    assert (on.single > on.single_null).all()


def test_the_seed_decides_the_random_maps():
    classifier, adv, src, path = pair(2)
    one, same, other = (necessity.necessity(classifier, adv, src, path, [seed]) for seed in (0, 0, 5))
    np.testing.assert_array_equal(one.lost_null, same.lost_null)
    assert (one.lost_null != other.lost_null).any()
    np.testing.assert_allclose(one.lost, other.lost)
