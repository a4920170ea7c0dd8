"""The story says what was measured to the question that is asked, and leads to its evidence."""

import dataclasses
import re

import numpy as np
import pytest

from aevis_dash.callbacks.story import words
from aevis_dash.callbacks.story.telling import told, why_became, why_lost
from aevis_dash.callbacks.trail.flips import verdict
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.opening import lost_map, most_raised, parting_layer, settle, telling_maps
from aevis_dash.callbacks.view.state import ASKED, BECAME, LOST, View
from aevis_dash.core.names import MapName, NameKind
from aevis_dash.domain import DatapathDistance, Intervention, Pattern, Role, Stretch, Turning
from aevis_dash.geometry.river import NULL_QUANTILES
from aevis_dash.naming import LayerNames
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def found(bench):
    return stored_triplet(bench, View(example=bench.workspace.settings.opens_on))


@pytest.fixture(scope="module")
def view(bench):
    return settle(bench, View(example=bench.workspace.settings.opens_on))


def distance(end, nulls):
    """A distance over three layers, at whose end adv is `end` of the way from src to tar; and of so many nulls."""
    d2, d3 = np.array([0.1, 0.2, end]), np.array([0.1, 0.2, 1 - end])
    return DatapathDistance(
        "activations", np.ones(3), d2, d3, np.tile(np.linspace(0.3, 0.5, max(nulls, 1)), (3, 1)).T[:nulls]
    )


def test_an_end_within_chance_is_not_said_to_join(bench):
    said = lambda end: words.joining(bench.layers, distance(end, 20), "panda", "monkey").told.text  # noqa: E731
    assert said(0.9).startswith(f"At {bench.layers.layers[2].name} adv is 90% of the way from panda to monkey by")
    assert "to monkey by activations; random images" in said(0.9)
    assert said(0.45).startswith("It is not shown that adv joins monkey: ")
    low, high = np.quantile(np.linspace(0.3, 0.5, 20), NULL_QUANTILES)
    assert f"random images in tar's place give {low:.0%} to {high:.0%}" in said(0.45)


def test_without_chance_nothing_is_said_to_leave_or_to_join(bench):
    few = distance(0.9, 4)
    for telling in (words.leaving(bench.layers, (), few, "panda"), words.joining(bench.layers, few, "panda", "monkey")):
        assert telling.told.text.endswith("chance takes 20 random images of other classes, and there are 4.")
        assert telling.layer is None


def test_leaving_names_the_first_layer_of_the_diverging_stretch_or_none(bench):
    marks = (Stretch(Pattern.MERGING, 0, 2), Stretch(Pattern.DIVERGING, 1, 2))
    telling = words.leaving(bench.layers, marks, distance(0.9, 20), "panda")
    name = bench.layers.layers[1].name
    assert (telling.told.text, telling.layer) == (f"adv leaves panda from {name} on.", name)
    nowhere = words.leaving(bench.layers, marks[:1], distance(0.9, 20), "panda")
    assert nowhere.told.text == "No layer is marked at which adv leaves panda."


def test_the_maps_that_were_lost_and_gained_are_counted(bench):
    before, now, target = (np.array(bits, bool) for bits in ([1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]))
    assert words.lost_maps("relu", before, now, "panda").told.text == (
        "2 of the 3 maps of relu that keep panda on src are not critical on adv, no more than chance gives (about 1)."
    )
    assert words.gained_maps("relu", now, target, before, "monkey").told.text == (
        "2 maps of relu are critical on adv and not on src; 1 of them keep monkey on tar too, no more than chance "
        "gives (about 1)."
    )


def test_a_count_is_more_than_chance_where_a_draw_seldom_gives_as_many():
    """Of 40 maps 20 are critical to src, and 20 to adv. If none is shared, a draw of 20 among the other 20 is all but
    impossible; of 11 that are lost a random draw gives as many in 38 % of cases."""
    src = np.arange(40) < 20
    said = lambda adv: words.lost_maps("relu", src, adv, "panda").told.text  # noqa: E731
    assert said(~src).endswith(
        "20 of the 20 maps of relu that keep panda on src are not critical on adv, more than chance gives (about 10)."
    )
    mixed = np.roll(src, 11)
    assert (src & ~mixed).sum() == 11
    assert said(mixed).endswith(
        "11 of the 20 maps of relu that keep panda on src are not critical on adv, no more than "
        "chance gives (about 10)."
    )
    draws = np.random.default_rng(0).permuted(np.tile(~src, (20000, 1)), axis=1)[:, :20].sum(1)
    assert 0.3 < (draws >= 11).mean() < 0.45
    assert (draws >= 14).mean() < words.RARE < (draws >= 13).mean()
    assert "no more" in said(np.roll(src, 13))
    assert "no more" not in said(np.roll(src, 14))


def test_the_lost_class_is_told_with_the_map_that_turns_most_and_with_its_test(bench, found, view):
    answer = list(why_lost(bench, found, view))
    index = parting_layer(bench, found)
    turning = bench.flips.stored_turning(found.plan.example.id)
    share = turning.shares[bench.layers.offsets[index] + view.map]
    (turned,) = [telling for telling in answer if telling.told.text.startswith(f"Map {view.map}")]
    assert (turned.layer, turned.map) == (view.layer, view.map)
    assert re.match(f"Map {view.map}(, which .*,)? alone, put from src", turned.told.text)
    most = int(np.argmax(bench.layers.part(turning.effects, index)))
    assert (most == view.map) != any(telling.told.text.startswith("Of all its maps, ") for telling in answer)
    assert f"turn back {share:.0%} of what the attack changed" in turned.told.text
    result = bench.flips.verify(found.plan.example.id, Intervention(index))
    tested = list(why_lost(bench, found, view))[1]
    assert tested.told.text == f"Tested at {view.layer}, maps put from src into adv: {verdict(result)}."
    assert tested.map == int(result.maps[0])


def test_the_new_class_is_told_with_its_own_test(bench, found, view):
    """Maps of src in adv say nothing of why adv became what it is; maps of adv in src do."""
    asked = view.asking(BECAME)
    assert asked.replacement == "adversarial"
    assert asked.asking(LOST).replacement == "source"
    index = parting_layer(bench, found)
    bench.flips.verify(found.plan.example.id, Intervention(index))
    before = [telling.told.text for telling in why_became(bench, found, asked)]
    assert not any(text.startswith("Tested") for text in before)
    assert words.NOT_TESTED.told.text in before
    result = bench.flips.verify(found.plan.example.id, Intervention(index, replacement="adversarial"))
    after = [telling.told.text for telling in why_became(bench, found, asked)]
    assert f"Tested at {view.layer}, maps put from adv into src: {verdict(result)}." in after


def test_another_map_that_turns_more_back_is_told_too(bench, found, view, monkeypatch):
    """The lost map fires less on adv; one that adv raised may do more."""
    index = parting_layer(bench, found)
    turning = bench.flips.stored_turning(found.plan.example.id)
    higher = bench.maps.difference(found, index, Role.ADVERSARIAL, Role.SOURCE)
    best = int(higher.argmax())
    effects = turning.effects.copy()
    bench.layers.part(effects, index)[best] = effects.max() + 1
    more = dataclasses.replace(turning, effects=effects)
    monkeypatch.setattr(bench.flips, "stored_turning", lambda *_: more)
    (said,) = [t for t in why_lost(bench, found, view) if t.told.text.startswith("Of all its maps, map")]
    share = (effects.max()) / turning.change
    assert said.map == best
    assert said.told.text.endswith(f" turns most back: {share:.0%}; adv raised it.")


def test_what_speaks_for_another_class_is_no_name_in_the_story(bench, found, view, monkeypatch):
    names = [MapName(NameKind.FOR, "bicycle", 1.0), MapName(NameKind.IMAGES, "monkey", 0.8)]
    width = bench.layers.find(view.layer).channels
    monkeypatch.setattr(bench.naming, "of_layer", lambda *_: LayerNames((tuple(names),) * width, True))
    texts = [telling.told.text for telling in why_became(bench, found, view.asking(BECAME))]
    assert any(f", which {names[1]}, is raised most" in text for text in texts)
    names.insert(0, MapName(NameKind.FOR, bench.class_names[found.adversarial.label], 0.9))
    monkeypatch.setattr(bench.naming, "of_layer", lambda *_: LayerNames((tuple(names),) * width, True))
    texts = [telling.told.text for telling in why_became(bench, found, view.asking(BECAME))]
    assert any(f", which {names[0]}, is raised most" in text for text in texts)


def test_a_solver_that_did_not_settle_is_said_before_the_critical_maps_are_counted(bench, found, view, monkeypatch):
    bad = dataclasses.replace(found, source=dataclasses.replace(found.source, left=1e9))
    monkeypatch.setattr("aevis_dash.callbacks.story.telling.stored_triplet", lambda *_: bad)
    texts = [str(part) for part in told(bench, view)["told"]]
    (doubt,) = [i for i, text in enumerate(texts) if "the solver of 1 of the 3 datapaths did not settle" in text]
    (count,) = [i for i, text in enumerate(texts) if "that keep panda on src are not critical" in text]
    assert doubt < count
    monkeypatch.setattr("aevis_dash.callbacks.story.telling.stored_triplet", lambda *_: found)
    assert "the solver" not in str(told(bench, view)["told"])


def test_datapaths_that_are_coming_are_not_said_to_be_none(bench):
    said = words.joining(bench.layers, distance(0.9, 0), "panda", "monkey", 20).told.text
    assert said.endswith("the datapaths of 20 random images of other classes, which tell chance, are not there yet.")


def test_what_was_not_tested_is_said_so(bench, found, view, monkeypatch):
    monkeypatch.setattr(bench.flips, "find_stored", lambda *_: None)
    assert list(why_lost(bench, found, view))[1] == words.NOT_TESTED


def test_a_layer_without_a_lost_map_says_so():
    turning = Turning(np.array([0.5, 1.0]), 4.0)
    assert words.turning_back("relu", None, turning, 0, "panda").told.text.startswith("No single map that keeps panda")
    assert "turn back 25% of what the attack changed" in words.turning_back("relu", 7, turning, 1, "panda").told.text
    named = words.turning_back("relu", 7, turning, 1, "panda", "speaks for panda (0.98)").told.text
    assert named.startswith("Map 7, which speaks for panda (0.98), alone")


def test_the_new_class_is_told_with_the_map_that_was_raised_most(bench, found, view):
    index = parting_layer(bench, found)
    best = most_raised(bench, found)[index]
    place = bench.layers.offsets[index] + best
    was, is_ = (float(bench.maps.maxima(found.image(role))[place]) for role in (Role.SOURCE, Role.ADVERSARIAL))
    assert is_ > was
    texts = [telling.told.text for telling in why_became(bench, found, view.asking(BECAME))]
    (said,) = [text for text in texts if text.startswith(f"Of its critical maps, map {best}")]
    assert said.endswith(f" is raised most, from {was:.2g} to {is_:.2g}.")


def test_the_questions_name_the_classes_and_sentences_with_evidence_are_buttons(bench, view):
    answer = told(bench, view)
    assert [option["label"] for option in answer["questions"]] == ["Why not panda?", "Why monkey?"]
    buttons = [part for part in answer["told"] if getattr(part, "className", "") == "evidence"]
    places = [button.id["index"].partition(":")[2].rpartition(":") for button in buttons]
    named = [bench.layers.feature_map(layer, int(channel)) for layer, _, channel in places if channel]
    assert named
    assert told(bench, View())["told"] == []


def test_asking_the_other_question_shows_its_map_and_its_ways(bench, found, view):
    other = settle(bench, view.but(at=-1, maps=(1,), area=(0, 0, 1, 1)).asking(BECAME))
    assert (other.layer, other.maps, other.area) == (view.layer, (), None)
    index = bench.layers.find(view.layer).index
    assert other.map == most_raised(bench, found)[index] != view.map
    assert {name: getattr(other, name) for name in ASKED[BECAME]} == dict(ASKED[BECAME])
    assert settle(bench, other.asking(LOST)) == view


def test_each_layer_has_its_lost_map_or_else_the_one_raised_most(bench, found, monkeypatch):
    turning = bench.flips.stored_turning(found.plan.example.id)
    told_by = telling_maps(bench, found, LOST)
    raised = most_raised(bench, found)
    lost = [lost_map(bench, found, i, part) for i, part in enumerate(bench.layers.parts(turning.effects))]
    assert told_by == [other if best is None else best for best, other in zip(lost, raised, strict=True)]
    assert any(best not in (None, other) for best, other in zip(lost, raised, strict=True))
    assert telling_maps(bench, found, BECAME) == raised
    worse = dataclasses.replace(turning, effects=-np.abs(turning.effects))
    monkeypatch.setattr(bench.flips, "stored_turning", lambda *_: worse)
    assert telling_maps(bench, found, LOST) == raised, "where no map turns adv back"
    monkeypatch.setattr(bench.flips, "stored_turning", lambda *_: None)
    assert telling_maps(bench, found, LOST) == raised, "where nothing is known"


@pytest.mark.parametrize("answer", [why_lost, why_became])
def test_both_answers_tell_where_the_measures_disagree_and_only_there(bench, found, view, monkeypatch, answer):
    for ends, wanted in (
        ({"activations": 0.69, "gates": 0.48, "sets": 0.66}, 1),
        ({"activations": 0.69, "gates": 0.32, "sets": 0.66}, 1),
        ({"activations": 0.69, "gates": 0.58, "sets": 0.66}, 0),
    ):
        monkeypatch.setattr("aevis_dash.callbacks.story.telling.ends_by_measure", lambda *_, ends=ends: ends)
        texts = [telling.told.text for telling in answer(bench, found, view)]
        assert sum("the measures disagree" in text for text in texts) == wanted
