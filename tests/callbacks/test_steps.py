"""The tree of steps: branches grow, are walked, annotated and cut, and stand in an address as they were."""

from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aevis_dash.assistant import propose
from aevis_dash.callbacks.trail.stops import stops, turn_of
from aevis_dash.callbacks.trail.words import crumbs, hint, in_words, nodes
from aevis_dash.callbacks.view.opening import carried_area
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import (
    Step,
    add_steps,
    area_of,
    cause_of,
    intervention_of,
    path_to,
    step_from_text,
    steps_of,
)
from aevis_dash.domain import (
    PREDICTION,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    FeatureMap,
    Role,
    Way,
    area_of_neurons,
)
from aevis_dash.workbench import open_workbench

TREE = (
    Step("layer3.0.relu", 1, None, "layer2.0.relu"),
    Step("layer2.0.relu", 2, None, "layer1.0.relu", parent=0),
    Step("layer2.0.relu", 3, None, "layer1.0.relu", parent=0),
    Step("layer1.0.relu", 4, maps=(4,), replacement="source", parent=1),
    Step("", None, None, "layer2.0.relu"),
)


def test_a_path_leads_from_the_first_step():
    assert [path_to(TREE, i) for i in (-1, 0, 3, 4)] == [[], [0], [0, 1, 3], [4]]


def test_a_step_that_is_there_is_found_again():
    steps, number = add_steps(TREE, [Step("layer2.0.relu", 3, None, "layer1.0.relu", parent=0, note="again")])
    assert (steps, number) == (TREE, 2)
    steps, number = add_steps(TREE, [Step("layer2.0.relu", 3, None, "layer1.0.relu")])
    assert (len(steps), number) == (6, 5), "as the first of a branch it is another"


def test_steps_that_follow_one_another_are_added_together():
    new = [Step("", None, None, "layer2.0.relu"), Step("layer2.0.relu", 9, None, "relu", parent=5)]
    steps, number = add_steps(TREE, new)
    assert steps == (*TREE, Step("layer2.0.relu", 9, None, "relu", parent=4)), "the first one was there"
    assert number == 5


def test_a_new_step_follows_what_is_shown_or_begins_a_branch():
    here = View(layer="layer1.0.relu", map=4, steps=TREE, at=1)
    after = here.after(Step("layer1.0.relu", 4, None, "relu"))
    assert (after.steps[-1].parent, after.at, after.layer, after.map) == (1, 5, "relu", None)
    assert (here.sort, after.sort) == ("fill", "contribution"), "what a trace found comes first"
    assert here.but(sort="channel").after(Step("layer1.0.relu", 4, None, "relu")).sort == "channel"
    elsewhere = here.but(layer="layer4.0.relu").after(Step("layer4.0.relu", 4, None, "relu"))
    assert elsewhere.steps[-1].parent == -1
    flipped = here.after(Step("layer1.0.relu", 5, maps=(5,), replacement="zero"))
    assert (flipped.steps[-1].parent, flipped.at, flipped.layer) == (1, 1, "layer1.0.relu"), "a flip-back stays"


def test_a_trace_of_the_prediction_begins_a_branch_and_the_line_goes_one_way():
    """A link from before may hold one that follows another step: what came first did not lead here."""
    here = View(layer="layer1.0.relu", map=4, steps=TREE, at=1)
    after = here.after(Step("", None, None, "layer1.0.relu"))
    assert after.steps[-1].parent == -1
    assert [words for _, words in crumbs(after)] == ["the prediction"]
    assert [words for _, words in crumbs(here)] == ["layer3.0.relu map 1", "layer2.0.relu map 2"]
    steps = (TREE[0], Step("", None, None, "layer2.0.relu", parent=0), replace(TREE[1], parent=1))
    before = View(layer="layer1.0.relu", steps=steps, at=2)
    assert crumbs(before) == [(1, "the prediction"), (2, "layer2.0.relu map 2")]


def test_neurons_are_counted_in_words():
    assert in_words(Step("relu", 5, (1, 1, 3, 4, 0), "relu")) == "relu map 5, 1 neuron"
    assert in_words(Step("relu", 5, (1, 1, 3, 4, 0, 2), "relu")) == "relu map 5, 2 neurons"


def test_the_hint_names_the_map_that_is_shown(filling_world):
    """A flip-back of this layer is in the trail, of another map than the one shown."""
    bench = open_workbench(filling_world)
    example = bench.workspace.settings.opens_on
    bench.datapaths.extract(example)
    steps = (Step("layer1.0.relu", 5, maps=(5,), replacement="source"),)
    said = hint(bench, View(example=example, layer="layer1.0.relu", map=4, steps=steps))
    assert said.startswith("Next: trace what makes map 4 fire")


@given(st.lists(st.booleans(), min_size=35, max_size=35))
def test_any_neurons_are_an_area(bits):
    chosen = np.array(bits).reshape(5, 7)
    area = area_of_neurons(0, chosen)
    if area is None:
        assert not chosen.any()
        return
    again = np.zeros_like(chosen)
    again[area.top : area.bottom, area.left : area.right] = area.chosen
    np.testing.assert_array_equal(again, chosen)
    assert area.neurons == chosen.sum()


def test_a_step_names_what_the_workbench_takes(drawn_world):
    graph = open_workbench(drawn_world).layers
    layer, earlier = graph.find("layer3.0.relu"), graph.find("layer2.0.relu").index
    whole = AreaOfInterest(layer.index, 0, 0, layer.height, layer.width)
    assert cause_of(graph, TREE[0]) == (FeatureMap(layer.index, 1), whole, earlier)
    assert cause_of(graph, TREE[4]) == (PREDICTION, WHOLE_PREDICTION, earlier)
    assert area_of(graph, "layer3.0.relu", (0, 1, 2, 3, 1)).picked == (1,)
    single, several = (intervention_of(graph, Step("relu", None, maps=m, replacement="zero")) for m in [(1,), (1, 2)])
    assert (single.maps, single.replacement) == ((1,), "zero")
    assert single.randoms < several.randoms
    assert intervention_of(graph, Step("relu", None, replacement="zero")).maps is None


def test_the_tree_says_what_came_of_each_step_and_no_more(filling_world):
    bench = open_workbench(filling_world)
    example = bench.workspace.settings.opens_on
    triplet = bench.datapaths.extract(example)
    view = View(example=example, target=triplet.image("target"), steps=TREE, at=0)
    told = {node.number: node for node in nodes(bench, view)}
    assert [node.number for node in nodes(bench, view)] == [0, 1, 3, 2, 4], "as a tree is read"
    assert [told[i].depth for i in (0, 1, 3, 4)] == [0, 1, 2, 0]
    assert told[3].verdict == "not tested here"
    assert (told[0].verdict, told[0].here, told[1].here) == ("", True, False)
    bench.flips.verify(example, intervention_of(bench.layers, TREE[3]))
    cause = cause_of(bench.layers, TREE[0])
    found = bench.contributions.contribute(triplet, *cause, Way("quadratic"))
    told = {node.number: node for node in nodes(bench, view)}
    assert told[3].verdict.startswith("margin ")
    assert "does not turn it" in told[3].verdict
    assert found.effect[1] > 0
    assert told[0].verdict.startswith(f"on adv: map {int(found.ranking(1)[0])} ")


def test_the_way_is_told_in_pictures_with_what_was_tested(filling_world):
    bench = open_workbench(filling_world)
    example = bench.workspace.settings.opens_on
    triplet = bench.datapaths.extract(example)
    view = View(example=example, layer="layer1.0.relu", map=4, steps=TREE, at=1)
    first, second, here = stops(bench, view)
    assert (first.number, second.number, here.number) == (0, 1, None)
    assert (first.words, here.words) == ("layer3.0.relu map 1", "layer1.0.relu map 4")
    lit = [address for address, _ in here.pictures if address.startswith("lit/")]
    files = [address.partition("file=")[2] for address in lit]
    assert files == [quote(triplet.image(role)) for role in Role]
    place = bench.layers.place(bench.layers.feature_map("layer1.0.relu", 4))
    most = max(float(bench.maps.maxima(triplet.image(role))[place]) for role in Role)
    assert all(f"?most={most:.4g}&" in address for address in lit), "one scale for the three"
    tested = bench.flips.verify(example, intervention_of(bench.layers, TREE[3]))
    (*_, here) = stops(bench, view)
    assert (here.turn, here.linked) == (turn_of(tested), True)
    (*_, elsewhere) = stops(bench, view.but(layer="layer2.0.relu"))
    assert (elsewhere.linked, elsewhere.pictures) == (False, ()), "no step leads there"


def test_how_far_a_map_turns_the_margin_is_told_beside_the_best_other_map():
    found = SimpleNamespace(margins=np.array([-4.0, -1.0]), chance=np.array([-3.0, -5.0]))
    turn = turn_of(found)
    assert (turn.part, turn.chance) == (0.75, 0.25)
    assert turn.words.endswith("it goes 75% of the way to turning the label; the best of 2 other maps goes 25%.")
    alone = turn_of(SimpleNamespace(margins=np.array([-4.0, -6.0]), chance=np.zeros(0)))
    assert (alone.part, alone.chance) == (-0.5, 0.0)


def test_the_longest_way_of_a_suggested_trail_is_shown_where_no_step_led_here(filling_world):
    bench = open_workbench(filling_world)
    example = bench.workspace.settings.opens_on
    bench.datapaths.extract(example)
    view = View(example=example, layer="relu", map=0, steps=TREE, at=-1)
    assert [(stop.number, stop.words) for stop in stops(bench, view)] == [
        (0, "layer3.0.relu map 1"),
        (1, "layer2.0.relu map 2"),
        (None, "layer1.0.relu map 4"),
    ]


def test_a_proposed_map_stands_beside_the_choice_that_other_images_give(filling_world):
    bench = open_workbench(filling_world)
    triplet = bench.datapaths.extract(bench.workspace.settings.opens_on)
    hops = propose(bench, triplet)
    steps = steps_of(bench.layers, hops)
    view = View(example=triplet.plan.example.id, target=triplet.image("target"), steps=tuple(steps))
    flips = [node.verdict for node in sorted(nodes(bench, view), key=lambda n: n.number) if steps[node.number].is_flip]
    assert len(flips) == len(hops) > 0
    for said, hop in zip(flips, hops, strict=True):
        as_much = sum(gain >= hop.gain for gain in hop.alike)
        images = f"{len(hop.alike)} other clean images in src's place"
        assert said.endswith(f"chosen alike with {images}, the map moves it at least as much for {as_much}")
    other = next(m for m in range(bench.layers.layers[hops[0].layer].channels) if m not in {hop.map for hop in hops})
    by_hand = replace(steps[1], maps=(other,), parent=-1)
    bench.flips.verify(view.example, intervention_of(bench.layers, by_hand))
    (node,) = nodes(bench, replace(view, steps=(by_hand,)))
    assert "another clean image" not in node.verdict, "nothing was chosen"


@pytest.mark.parametrize("text", ["", "1", "1:2:3", "x:relu:1:::::", "-1:relu:y:::::", "-1:relu:1:1,2,3::::"])
def test_what_is_no_step_is_refused(text):
    with pytest.raises(AevisError, match=r"its `steps` says .* is expected"):
        step_from_text(text)


def test_a_proposed_way_back_is_a_trace_and_a_flip_for_each_hop(filling_world):
    bench = open_workbench(filling_world)
    triplet = bench.datapaths.extract(bench.workspace.settings.opens_on)
    hops = propose(bench, triplet)
    steps = steps_of(bench.layers, hops)
    traces = [s for s in steps if not s.is_flip]
    assert traces[0] == Step("", None, source=bench.layers.layers[hops[0].layer].name)
    assert [s.maps for s in steps if s.is_flip] == [(hop.map,) for hop in hops]
    assert len({(s.layer, s.map, s.area, s.source) for s in traces}) == len(traces), "what was traced once is once"
    for step in steps:
        if step.is_flip:
            assert steps[step.parent].source == step.layer
            assert bench.flips.find_stored(triplet.plan.example.id, intervention_of(bench.layers, step)) is not None
        else:
            cause = cause_of(bench.layers, step)
            assert bench.contributions.find_stored(triplet, *cause, Way("quadratic")) is not None


def test_an_area_follows_to_the_neurons_that_feed_it(drawn_world):
    bench = open_workbench(drawn_world)
    view = View(layer="layer4.2.relu", map=1, area=(1, 1, 2, 2))
    before = bench.layers.find("layer4.1.relu_1").index
    assert carried_area(bench, view, before) == (0, 0, 3, 3), "a 3x3 convolution reads it"
    assert carried_area(bench, view, bench.layers.find("layer4.2.relu").index) == (1, 1, 2, 2)
    assert carried_area(bench, view, bench.layers.find("layer4.2.relu_1").index) is None, "a later layer"
    assert carried_area(bench, view, bench.layers.find("relu").index) is None, "all of it"
    assert carried_area(bench, view.but(area=None), before) is None
