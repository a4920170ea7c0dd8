"""The page opens where src and adv part, on the map that tells of the lost class, and says why."""

import dataclasses

import numpy as np
import pytest

from aevis_dash.callbacks.neuron.answer import MAP, describe
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.opening import comparable, is_lost_map, lost_map, opening, parting_layer, settle
from aevis_dash.callbacks.view.state import View
from aevis_dash.core.intervention import single_map_effects
from aevis_dash.domain import DatapathDistance, Role
from aevis_dash.figures.theme import LIGHT
from aevis_dash.settings import write_settings
from aevis_dash.workbench import open_workbench
from aevis_dash.workbench.opening import by_nearness_to_medium


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def found(bench):
    return stored_triplet(bench, View(example=bench.workspace.settings.opens_on))


def test_it_opens_where_src_and_adv_part_most(bench, found, monkeypatch):
    d2, d3 = np.array([0.1, 0.5, 0.9, 0.3, np.nan]), np.array([0.9, 0.1, 0.9, 0.1, np.nan])
    distance = DatapathDistance("activations", np.ones(5), d2, d3, np.zeros((0, 5)))
    monkeypatch.setattr(bench.datapaths, "distances", lambda *_: distance)
    assert parting_layer(bench, found) == 2


def test_the_first_map_is_one_that_src_lost_and_that_gives_its_class_back(bench, found):
    """Its true effect, one map at a time, is large among all of the layer; it fires more on src, which needs it."""
    view = settle(bench, View(example=found.plan.example.id))
    layer = bench.layers.find(view.layer).index
    assert layer == parting_layer(bench, found)
    assert bench.maps.difference(found, layer, Role.SOURCE, Role.ADVERSARIAL)[view.map] > 0
    assert bench.layers.part(found.source.critical, layer)[view.map]
    images = [bench.workspace.read([found.image(role)]) for role in (Role.ADVERSARIAL, Role.SOURCE)]
    labels = [np.array([found.path(role).label]) for role in (Role.SOURCE, Role.ADVERSARIAL)]
    every = np.arange(bench.layers.layers[layer].channels)[None]
    true = single_map_effects(bench.classifier, *images, layer, every, *labels).values[0]
    assert true[view.map] > 0
    assert (true > true[view.map]).sum() <= 0.05 * len(true)


def test_turning_effects_are_about_what_the_two_images_differ_by(bench, found):
    """The change of the margin against two plain runs; at the last layer the effects nearly sum to it."""
    said = [p.probabilities for p in bench.judging.predict([found.image(r) for r in (Role.SOURCE, Role.ADVERSARIAL)])]
    margins = [float(np.log(p[found.source.label]) - np.log(p[found.adversarial.label])) for p in said]
    turning = bench.flips.turning(found.plan.example.id)
    assert turning.change == pytest.approx(margins[0] - margins[1], rel=1e-3)
    assert bench.layers.part(turning.shares, len(bench.layers) - 1).sum() == pytest.approx(1, abs=0.1)


def test_a_map_that_no_exchange_speaks_for_is_none(bench, found):
    layer = parting_layer(bench, found)
    channels = bench.layers.layers[layer].channels
    higher = bench.maps.difference(found, layer, Role.SOURCE, Role.ADVERSARIAL) > 0
    assert lost_map(bench, found, layer, -np.ones(channels)) is None
    assert lost_map(bench, found, layer, np.where(higher, 0, 9)) is None, "what fires less on src is no loss"


def test_the_page_says_why_that_map_is_shown_and_of_no_other(bench, found, monkeypatch):
    view = settle(bench, View(example=found.plan.example.id))
    layer = bench.layers.find(view.layer).index
    title = describe(bench, view, LIGHT, frozenset({MAP}))["title"]
    assert title.endswith("the one that is estimated to bring panda back most")
    other = next(c for c in range(bench.layers.layers[layer].channels) if c != view.map)
    assert "speak most" not in describe(bench, view.but(map=other), LIGHT, frozenset({MAP}))["title"]
    monkeypatch.setattr(bench.flips, "stored_turning", lambda _: None)
    assert not is_lost_map(bench, found, layer, view.map), "what is not stored is not said"


def test_a_link_without_an_example_opens_like_none_but_for_how_things_are_shown(bench):
    plain = opening(bench)
    assert opening(bench, View(layer="layer4.0.relu", map=3, sort="contribution")) == plain.but(sort="contribution")
    assert opening(bench, View(gap="equal", plot="dots")) == plain.but(gap="equal", plot="dots")
    assert opening(bench, View(method="gradient")) == View(example=plain.example, method="gradient")
    assert comparable(bench, View(compared=("nowhere.png",))) == (View(), []), "`remainder` tells of them"


def test_it_opens_on_an_example_that_is_ready_and_on_the_workspaces_own(world):
    bench = open_workbench(world)
    story, judged = bench.workspace.settings.opens_on, bench.judging.judged_examples()
    assert opening(bench).example == story
    write_settings(world, dataclasses.replace(bench.workspace.settings, opens_on=""))
    bench = open_workbench(world)
    near = by_nearness_to_medium(judged)
    scores = [e.score for e in near]
    assert scores[0] == sorted(scores)[len(scores) // 2]
    assert near[0].example.id != story, "else the median one would have passed"
    assert bench.opening(judged).example.id == story, "it alone has its datapaths"
    far = [e for e in judged if e.example.id != story]
    assert bench.opening(far) == by_nearness_to_medium(far)[0], "none of these is ready"
    assert settle(bench, View(example=near[0].example.id)).layer is None
