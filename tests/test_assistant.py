"""The assistant: a beam search back from the prediction that says no more than contributions and patching do."""

import numpy as np
import pytest
import torch

from aevis_dash import assistant
from aevis_dash.assistant import FIRST_ORDER, Hop, best_line, changed_area, line_of, propose, whole_flips
from aevis_dash.core.contribution import contribute
from aevis_dash.core.contribution_problem import FoilRun
from aevis_dash.domain import PREDICTION, FeatureMap, Intervention, Role
from aevis_dash.workbench import open_workbench
from aevis_dash.workbench.flips import DONORS, Choice


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def triplet(bench):
    return bench.datapaths.extract(bench.workspace.settings.opens_on)


@pytest.fixture(scope="module")
def hops(bench, triplet):
    return propose(bench, triplet)


def test_every_hop_is_a_contributor_whose_exchange_moves_the_margin(bench, triplet, hops):
    adv = tuple(Role).index(Role.ADVERSARIAL)
    for hop in hops:
        found = bench.contributions.find_stored(triplet, hop.effect, hop.area, hop.layer, FIRST_ORDER)
        assert found.strength(adv)[hop.map] == pytest.approx(hop.share)
        assert hop.map in found.ranking(adv)[: assistant.CANDIDATES]
        assert hop.unexplained == pytest.approx(float(found.residual[adv]))
        asked = Intervention(hop.layer, (hop.map,), randoms=assistant.RANDOMS)
        tested = bench.flips.find_stored(triplet.plan.example.id, asked)
        assert hop.gain == pytest.approx(float(tested.margins[1] - tested.margins[0]))
        assert hop.gain > 0


def test_hops_lead_from_the_prediction_through_the_stages(bench, hops):
    depths = bench.flips.depths()[::-1]
    assert [hop.layer for hop in hops if hop.parent < 0] == [depths[0]] * assistant.BEAM
    for hop in hops:
        line = line_of(hops, hops.index(hop))
        assert [h.layer for h in line] == list(depths[: len(line)])
        assert line[0].effect == PREDICTION
        for earlier, later in zip(line[1:], line[:-1], strict=True):
            assert earlier.effect == FeatureMap(later.layer, later.map)
    assert all(sum(h.layer == layer for h in hops) <= assistant.BEAM for layer in depths)
    longest = best_line(hops)
    assert len(longest) == max(len(line_of(hops, i)) for i in range(len(hops)))
    assert best_line([]) == []


def test_of_the_contributors_the_beam_keeps_those_that_move_the_margin_most(bench, triplet, hops):
    first = [hop for hop in hops if hop.parent < 0]
    found = bench.contributions.find_stored(triplet, PREDICTION, first[0].area, first[0].layer, FIRST_ORDER)
    tried = found.ranking(1)[: assistant.CANDIDATES].tolist()
    gains = bench.flips.single_effects(triplet.plan.example.id, first[0].layer, tried)
    best = [tried[i] for i in np.argsort(-gains)[: assistant.BEAM]]
    assert [hop.map for hop in first] == best
    np.testing.assert_allclose([hop.gain for hop in first], sorted(gains, reverse=True)[: len(first)], atol=1e-4)


def test_beside_a_hop_stands_the_same_choice_with_other_images_in_the_place_of_src(bench, triplet, hops):
    """Each of them put into adv by a plain run: the best of the same contributors, not of all maps."""
    example = bench.workspace.example(triplet.plan.example.id)
    source, adversarial = (p.label for p in bench.judging.predict([example.source, example.adversarial]))
    donors = bench.flips.donors(example.id)
    third = {p.label for p in bench.judging.predict(donors)}
    assert len(donors) == DONORS
    assert not third & {source, adversarial}
    assert set(donors) <= set(bench.judging.clean().files)
    for hop in (hops[0], hops[-1]):
        assert hop.map in tried_with(bench, triplet, hops, hop)
        wanted = []
        for donor in donors:
            among = tried_with(bench, triplet, hops, hop, donor)
            before, *margins = [
                float(logits[source] - logits[adversarial])
                for logits in (patched(bench, example.adversarial, donor, hop.layer, m) for m in (None, *among))
            ]
            wanted.append(max(margins, default=-np.inf) - before)
        np.testing.assert_allclose(hop.alike, wanted, atol=1e-4)
        choice = Choice(hop.effect, hop.area, hop.layer, FIRST_ORDER, hop.map)
        np.testing.assert_array_equal(bench.flips.stored_choice(triplet, choice, donors), hop.alike)
    assert len([hop for hop in hops if hop.layer == hops[-1].effect.layer]) == 2, "the choice was made from two traces"


def tried_with(bench, triplet, hops, hop, donor=None):
    """The contributors to all effects that were followed to a hop's depth, against src or a donor in its place."""
    depth = len(line_of(hops, hops.index(hop)))
    before = [FeatureMap(h.layer, h.map) for h in hops if len(line_of(hops, hops.index(h))) == depth - 1]
    causes = [(effect, changed_area(bench, triplet, effect, "source")) for effect in before]
    example, network = triplet.plan.example, bench.classifier.network
    images = bench.workspace.read([donor or example.source])
    activation = network.activation(bench.classifier.inputs(images), hop.layer).detach()
    foil = FoilRun("source", activation, torch.tensor([triplet.plan.source_label]))
    adv, found = bench.workspace.read([example.adversarial]), set()
    parameters = bench.workspace.settings.contribution
    for effect, area in causes or [(hop.effect, hop.area)]:
        traced = contribute(bench.classifier, adv, effect, area, hop.layer, parameters, method="quadratic", foil=foil)
        strength, ranking = traced.strength(0), traced.ranking(0)[: assistant.CANDIDATES].tolist()
        found |= {m for m in ranking if strength[m] >= assistant.LEAST}
    return sorted(found)


def patched(bench, receiver, donor, layer, channel):
    """The logits of an image with one map (None: none) of another's run in its own."""
    network = bench.classifier.network
    into, out_of = (bench.classifier.inputs(bench.workspace.read([name])) for name in (receiver, donor))
    theirs = network.record(out_of, [layer])[1][layer]

    def put(index, value):
        if index == layer and channel is not None:
            value = value.clone()
            value[:, channel] = theirs[:, channel]
        return value

    with torch.no_grad():
        return network.run_watched(into, put)[0]


def test_without_an_image_of_a_third_class_there_is_no_such_choice(bench, triplet, hops, monkeypatch):
    monkeypatch.setattr(bench.flips, "donors", lambda example: ())
    assert [hop.alike.shape for hop in propose(bench, triplet)] == [(0,)] * len(hops)


def test_what_is_looked_for_next_is_what_adv_changed_most(bench, triplet, hops):
    """Raised neurons, or where adv lowered some more, those that it lowered; of what only fires, those it raised."""
    lowered = 0
    for hop in hops:
        chosen = FeatureMap(hop.layer, hop.map)
        src, adv = (
            bench.maps.activation_maps(triplet.image(r), hop.layer)[hop.map] for r in (Role.SOURCE, Role.ADVERSARIAL)
        )
        falls = (src - adv).max() > (adv - src).max()
        lowered += falls
        for foil, more in (("source", src - adv if falls else adv - src), ("zero", adv - src)):
            area = changed_area(bench, triplet, chosen, foil)
            inside = np.zeros(adv.shape, bool)
            if area is not None:
                inside[area.top : area.bottom, area.left : area.right] = area.chosen
                assert more[inside].min() > 0
                assert more[inside].min() >= more[~inside].max()
            assert inside.any() == (more.max() > 0)
            assert inside.sum() <= assistant.MOST
    assert 0 < lowered < len(hops)


def test_a_map_found_twice_counts_once():
    def hop(parent, channel, share, gain):
        class Tested:
            margins = (0.0, gain)

        return Hop(parent, PREDICTION, None, 3, channel, share, 0.0, 0.0, Tested())

    found = [hop(0, 7, 0.2, 1.0), hop(1, 7, 0.4, 1.0), hop(0, 8, 0.3, 2.0), hop(1, 9, 0.3, 0.5)]
    assert [(h.map, h.parent) for h in assistant.best(found, 2)] == [(8, 0), (7, 1)]


def test_the_whole_flip_is_the_search_at_every_depth(bench, triplet):
    told = []
    found = whole_flips(bench, triplet.plan.example.id, lambda share, what: told.append(share))
    assert [each.layer for each in found] == list(bench.flips.depths())
    assert told == sorted(told)
    stored = bench.flips.find_stored(triplet.plan.example.id, Intervention(bench.flips.depths()[0]))
    np.testing.assert_array_equal(stored.maps, found[0].maps)


def test_a_map_that_adv_raised_nowhere_has_no_area(bench, triplet, monkeypatch):
    falling = {triplet.image(Role.SOURCE): 2.0, triplet.image(Role.ADVERSARIAL): 1.0}
    monkeypatch.setattr(bench.maps, "activation_maps", lambda name, layer: np.full((3, 4, 4), falling.get(name, 0.0)))
    assert changed_area(bench, triplet, FeatureMap(5, 1), "zero") is None
    assert changed_area(bench, triplet, FeatureMap(5, 1), "source") is not None, "adv lowered it"


def test_maps_that_move_the_margin_away_are_no_hops(bench, triplet, monkeypatch):
    monkeypatch.setattr(bench.flips, "single_effects", lambda example, layer, maps: -np.ones(len(maps), np.float32))
    assert propose(bench, triplet) == ()
