"""A map is traced on the image whose prediction needs it to fire, or on which its area was chosen."""

from dataclasses import replace

import numpy as np
import pytest

from aevis_dash.callbacks.neuron.answer import TRAIL, describe
from aevis_dash.callbacks.neuron.clicks import chosen_area
from aevis_dash.callbacks.trail.words import hint, nodes
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.roles import traced_on
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import Step, cause_of
from aevis_dash.domain import FeatureMap, Role, Way
from aevis_dash.figures.theme import LIGHT
from aevis_dash.layouts.layer import part_of_all
from aevis_dash.workbench import open_workbench

LAYER, BEFORE = "layer3.2.relu", "layer2.0.relu"


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def found(bench):
    return stored_triplet(bench, View(example=bench.workspace.settings.opens_on))


def alone(bench, found, role):
    """Every map that only the role's datapath needs to fire, and that fires on its image: layer and channel."""
    index = bench.layers.find(LAYER).index
    part = lambda values: bench.layers.part(values, index)  # noqa: E731
    only = part(found.path(role).critical & found.path(role).supports) & (
        part(bench.maps.maxima(found.image(role))) > 0
    )
    for other in Role:
        if other != role:
            only = only & ~part(found.path(other).critical)
    assert only.any(), "the layer has such a map"
    return [int(c) for c in np.flatnonzero(only)]


@pytest.mark.parametrize("role", Role)
def test_a_map_of_one_datapath_alone_is_traced_on_its_image(bench, found, role):
    for channel in alone(bench, found, role):
        view = View(example=found.plan.example.id, layer=LAYER, map=channel)
        assert traced_on(bench, view) is role
        assert traced_on(bench, view.but(on="target")) is Role.TARGET, "an area that was drawn elsewhere says so"
        assert f"on the {role.short} map" in hint(bench, view)
        answer = describe(bench, view, LIGHT, frozenset({TRAIL}))
        assert answer["trace"] == f"Trace contributions on {role.short}"


def test_the_most_active_neurons_are_those_of_the_traced_image(bench, found):
    index = bench.layers.find(LAYER).index
    different = 0
    for role in Role:
        for channel in alone(bench, found, role):
            view = View(example=found.plan.example.id, layer=LAYER, map=channel)
            strongest = {r: int(np.argmax(bench.maps.activation_maps(found.image(r), index)[channel])) for r in Role}
            area = chosen_area(bench, view, {"value": 1})
            width = bench.layers.layers[index].width
            assert (area.top * width + area.left, area.neurons) == (strongest[role], 1)
            different += role is not Role.ADVERSARIAL and strongest[role] != strongest[Role.ADVERSARIAL]
    assert different, "else the neurons of adv would have passed"


def with_paths(found, bench, place, needed, fires, monkeypatch):
    """The triplet in which the roles `needed` (role to whether they need the map to fire) hold the map at `place`, and
    the map fires so much on each role's image."""

    def path(role):
        own, critical, supports = found.path(role), found.path(role).critical.copy(), found.path(role).supports.copy()
        critical[place], supports[place] = role in needed, needed.get(role, True)
        return replace(own, critical=critical, supports=supports)

    changed = replace(
        found,
        adversarial=path(Role.ADVERSARIAL),
        source=path(Role.SOURCE),
        candidates=(path(Role.TARGET),),
        target=0,
        plan=replace(found.plan, candidates=(found.image(Role.TARGET),)),
    )
    values = {changed.image(role): np.full(len(found.source.gates), fires.get(role, 0.0)) for role in Role}
    monkeypatch.setattr(bench.maps, "maxima", values.__getitem__)
    return changed


SRC, ADV, TAR = Role


@pytest.mark.parametrize(
    ("needed", "fires", "first", "expected"),
    [
        ({SRC: True, ADV: True, TAR: True}, {SRC: 9, ADV: 1, TAR: 9}, None, ADV),
        ({SRC: True, ADV: True, TAR: True}, {SRC: 9, ADV: 1, TAR: 9}, SRC, SRC),
        ({SRC: True, TAR: True}, {SRC: 1, ADV: 9, TAR: 2}, None, SRC),
        ({ADV: True}, {SRC: 9, ADV: 1}, SRC, ADV),
        ({ADV: False}, {SRC: 9, ADV: 1}, None, SRC),
        ({ADV: True, SRC: True}, {SRC: 9, ADV: 0}, None, SRC),
        ({}, {SRC: 1, ADV: 2, TAR: 3}, None, TAR),
        ({}, {SRC: 1, ADV: 2, TAR: 3}, SRC, SRC),
        ({}, {ADV: 2}, SRC, ADV),
        ({ADV: True}, {}, SRC, ADV),
    ],
)
def test_the_image_is_one_that_needs_the_map_to_fire(bench, found, monkeypatch, needed, fires, first, expected):
    chosen = FeatureMap(bench.layers.find(LAYER).index, 0)
    changed = with_paths(found, bench, bench.layers.place(chosen), needed, fires, monkeypatch)
    assert bench.maps.role_of(changed, chosen, first) is expected


def test_a_trail_stays_on_its_image(bench, found):
    """What was traced on src leads to maps that are traced on src, where their own datapath needs them there."""
    index = bench.layers.find(LAYER).index
    needs = lambda role: bench.layers.part(found.path(role).critical & found.path(role).supports, index)  # noqa: E731
    fires = bench.layers.part(bench.maps.maxima(found.image(SRC)), index) > 0
    shared = int(np.flatnonzero(needs(SRC) & needs(ADV) & fires)[0])
    step = Step("layer4.0.relu", 0, None, LAYER, on=SRC.value)
    view = View(example=found.plan.example.id, layer="layer4.0.relu", map=0).after(step)
    assert (view.cause, view.on, view.traced) == (SRC.value, "", step)
    assert traced_on(bench, view.but(map=shared)) is SRC
    assert traced_on(bench, view.but(map=shared, at=-1)) is ADV


def test_a_verdict_is_of_the_image_that_was_traced(bench, found):
    channel = alone(bench, found, SRC)[0]
    steps = tuple(Step(LAYER, channel, None, BEFORE, on=role.value) for role in Role)
    traced = bench.contributions.contribute(found, *cause_of(bench.layers, steps[0]), Way("quadratic"))
    told = [n.verdict for n in nodes(bench, View(example=found.plan.example.id, how="quadratic", steps=steps))]
    for row, role in enumerate(Role):
        strongest = int(traced.ranking(row)[0])
        says = f"on {role.short}: map {strongest} {part_of_all(float(traced.strength(row)[strongest]))}"
        assert traced.effect[row] > 0
        assert told[row].startswith(says)
    assert told[0].startswith("on src: map ")
