"""Clicks and keys on the network lead where they say; what is compared is drawn, as faithfully as is said."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from dash import no_update

from aevis_dash import ids
from aevis_dash.callbacks.network import river as network
from aevis_dash.callbacks.network.clicks import compared_in, follow, innermost, targets_of
from aevis_dash.callbacks.network.river import picture_of, placed_of
from aevis_dash.callbacks.network.search import findable
from aevis_dash.callbacks.network.words import (
    MEASURES,
    beside_other_measures,
    beside_other_targets,
    course,
    datapath_in_words,
    lost_label,
)
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.opening import carried_area, most_raised, settle
from aevis_dash.callbacks.view.state import View
from aevis_dash.core.datapath import FIXED
from aevis_dash.domain import DatapathDistance, Pattern, Role, Stretch
from aevis_dash.figures.theme import LIGHT
from aevis_dash.layouts.sentences import Sentence
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(drawn_world):
    return open_workbench(drawn_world)


@pytest.fixture(scope="module")
def found(bench):
    return bench.datapaths.triplet(bench.workspace.settings.opens_on)


@pytest.fixture
def view(bench):
    return settle(bench, View(example=bench.workspace.settings.opens_on))


def test_each_layer_is_shown_first_with_the_critical_map_that_was_raised_most(bench, found):
    best = most_raised(bench, found)
    for layer in bench.layers.layers:
        critical = np.flatnonzero(bench.layers.part(found.adversarial.critical, layer.index))
        raised = bench.maps.difference(found, layer.index, Role.ADVERSARIAL, Role.SOURCE)
        assert best[layer.index] == max(critical, key=lambda c: raised[c], default=0)
        there = settle(bench, View(example=found.plan.example.id, layer=layer.name, question="became"))
        assert there.map == best[layer.index]


def test_a_layer_without_critical_maps_is_shown_with_the_map_that_was_raised_most(bench, found):
    critical = found.adversarial.critical.copy()
    bench.layers.part(critical, 3)[:] = False
    nothing = replace(found, adversarial=replace(found.adversarial, critical=critical))
    raised = bench.maps.difference(found, 3, Role.ADVERSARIAL, Role.SOURCE)
    assert most_raised(bench, nothing)[3] == int(raised.argmax()) != 0


def test_a_layer_that_was_clicked_takes_the_neurons_that_feed_the_area_along(bench, found, view):
    at = view.but(layer="layer3.1.relu_1", area=(1, 1, 2, 2))
    there = follow(bench, found, at, ids.RIVER_ASKED, {"layer": "layer2.0.relu"})
    assert there.layer == "layer2.0.relu"
    assert there.area == carried_area(bench, at, bench.layers.find("layer2.0.relu").index)
    assert there.area is not None


def test_the_image_on_which_an_area_was_chosen_goes_with_the_area_alone(bench, found, view):
    there = {"layer": "layer2.0.relu"}
    whole = view.but(layer="layer3.1.relu_1", on="source")
    assert follow(bench, found, whole, ids.RIVER_ASKED, there).on == "", "a step of the trail had set it"
    assert follow(bench, found, whole.but(area=(1, 1, 2, 2)), ids.RIVER_ASKED, there).on == "source"


def test_keys_go_from_column_to_column_and_fold_the_innermost_group(bench, found, view):
    at = view.but(layer="layer2.0.relu")
    here = bench.layers.find("layer2.0.relu").index
    right = follow(bench, found, at, ids.RIVER_ASKED, {"step": 1, "at": 1})
    assert right.layer == bench.layers.layers[here + 1].name
    first = follow(bench, found, view.but(layer=bench.layers.layers[0].name), ids.RIVER_ASKED, {"step": -1})
    assert first.layer == bench.layers.layers[0].name
    shut = follow(bench, found, at, ids.RIVER_ASKED, {"fold": True})
    placed = placed_of(bench, found, shut)
    assert innermost(placed_of(bench, found, at), here) == "layer2.0"
    assert placed.columns[placed.of_layer[here]].group == "layer2.0"
    assert shut.layer == at.layer
    again = follow(bench, found, shut, ids.RIVER_ASKED, {"fold": True})
    assert not placed_of(bench, found, again).columns[placed_of(bench, found, again).of_layer[here]].group
    beyond = follow(bench, found, shut, ids.RIVER_ASKED, {"step": 1})
    assert bench.layers.find(beyond.layer).index == placed.columns[placed.of_layer[here] + 1].first


def test_a_layer_that_is_found_by_name_is_opened_to(bench, found, view):
    hidden = view.but(folds=())
    there = follow(bench, found, hidden, ids.FIND, "layer4.0.relu")
    assert there.layer == "layer4.0.relu"


def test_a_part_is_looked_for_by_the_maps_that_detect_it_best(bench, found, view, monkeypatch):
    """At most three for each part, best first, after all layers; the map that is found is shown in its layer."""
    names = ["" for _ in range(bench.layers.n_maps)]
    second, third = (bench.layers.offsets[i] for i in (1, 2))
    for place, said in [(0, "ear 0.08"), (second + 3, "ear 0.30"), (third + 2, "ear 0.09"), (third + 4, "ear 0.10")]:
        names[place] = said
    names[third + 1] = "left wheel 0.50"
    monkeypatch.setattr(bench.learning, "part_names", lambda: tuple(names))
    layers = [layer.name for layer in bench.layers.layers]
    options = findable(bench)
    assert [option["value"] for option in options[: len(layers)]] == layers
    wanted = [f"{layers[1]}:3", f"{layers[2]}:4", f"{layers[2]}:2", f"{layers[2]}:1"]
    assert [option["value"] for option in options[len(layers) :]] == wanted
    assert options[len(layers)]["label"] == f"ear 0.30 · map 3 of {layers[1]}"
    assert options[-1]["label"].startswith("left wheel 0.50")
    there = follow(bench, found, view, ids.FIND, wanted[1])
    assert (there.layer, there.map) == (layers[2], 4)


def test_nothing_but_layers_is_looked_for_where_no_parts_are_known(bench, monkeypatch):
    monkeypatch.setattr(bench.learning, "part_names", lambda: None)
    assert len(findable(bench)) == len(bench.layers)


def test_the_triplet_itself_is_no_choice_and_seven_others_are_the_most(found):
    own = [found.image(Role.TARGET), found.image(Role.SOURCE)]
    assert compared_in(found, own) == ()
    assert compared_in(found, own[:1]) == (own[0],)
    assert len(compared_in(found, list("abcdefghij"))) == 7
    assert compared_in(None, own) == ()


def traces(picture):
    return [t.name for t in picture.figure.data]


def test_what_is_compared_is_drawn_in_one_order(bench, found, view):
    names = [found.plan.example.source, *found.plan.candidates, *found.plan.nulls]
    many = picture_of(bench, found, view.but(compared=tuple(names)), LIGHT)
    assert {"source", "adversarial", "target", "target 2", "target 3 other"} <= set(traces(many))
    assert "cannot be shown so" in words(many.note)
    assert "null" not in traces(many)
    two = picture_of(bench, found, view.but(compared=(names[0],)), LIGHT)
    assert {"source", "adversarial"} <= set(traces(two))
    assert "target" not in traces(two)
    triplet = picture_of(bench, found, view, LIGHT)
    assert "null" in traces(triplet)
    assert triplet.small.startswith("data:image/svg")


@pytest.mark.parametrize("distance", ["activations", "gates", "gates-raw", "sets"])
def test_a_closed_network_is_drawn_by_every_distance_and_as_dots(bench, found, view, distance):
    shut = view.but(distance=distance, folds=("-layer1", "-layer2", "-layer3", "-layer4"))
    for plot, wanted in (("river", "target"), ("dots", "adversarial–target")):
        picture = picture_of(bench, found, shut.but(plot=plot, gap="equal"), LIGHT)
        assert wanted in traces(picture)
        (layers,) = [t for t in picture.figure.data if t.name == "layers"]
        assert [c[2] for c in layers.customdata if c[2]] == ["layer1", "layer2", "layer3", "layer4"]


def test_an_image_of_a_random_other_class_is_called_other(bench, found, view):
    picture = picture_of(bench, found, view.but(compared=(found.image(Role.SOURCE), found.plan.nulls[0])), LIGHT)
    (layers,) = [trace for trace in picture.figure.data if trace.name == "layers"]
    ends = [note.text for note in picture.figure.layout.annotations if note.text]
    assert "between adv and other it is " in words(picture.said)
    assert any(end.startswith("other · ") for end in ends)
    assert all("other" in hover for hover in layers.hovertext)
    assert "tar" not in words(picture.said)
    assert not any(end.startswith("tar") for end in ends)


def test_closing_moves_no_other_curve_up_or_down(bench, found, view):
    """The scale is that of the layers, so that a layer far from what was closed keeps its height."""
    apart = bench.datapaths.distances(found, "activations").d1
    for closed, kept in ((("layer1", "layer2"), -1), (("layer3", "layer4"), 0)):
        shut = view.but(folds=tuple(f"-{name}" for name in closed))
        before, after = (picture_of(bench, found, v, LIGHT).figure for v in (view, shut))
        for role in Role:
            (a,), (b,) = ([t for t in f.data if t.name == role] for f in (before, after))
            assert b.y[kept] == pytest.approx(a.y[kept], abs=1e-6)
    assert np.argmax(apart) >= bench.layers.find("layer3.0.relu").index, "the widest gap was closed away"


def test_a_target_is_one_of_the_shown_example(bench, found, view):
    assert view.target in targets_of(bench, view)
    assert targets_of(bench, view) == tuple(found.plan.candidates)
    assert targets_of(bench, View()) == (), "that of the example before is none while there are no datapaths"


def told(bench, d2, d3, null=0.2, rows=20):
    layers = len(bench.layers)
    measured = DatapathDistance("test", np.ones(layers), d2, d3, np.full((rows, layers), null))
    return measured, lambda marks: course(bench.layers, marks, measured)


def words(told):
    return " ".join(sentence.text for sentence in told)


def exact(told):
    return " ".join(sentence.exact for sentence in told)


def test_the_stretches_are_told_with_the_distances_that_say_so(bench):
    d2, d3 = np.linspace(0.1, 0.85, len(bench.layers)), np.linspace(0.9, 0.15, len(bench.layers))
    measured, say = told(bench, d2, d3)
    names = [layer.name for layer in bench.layers.layers]
    diverging, merging, end = say([Stretch(Pattern.DIVERGING, 1, 3), Stretch(Pattern.MERGING, 5, 6)])
    assert diverging == Sentence(
        f"From {names[1]} on, adv leaves src (diverging).",
        f"The distance between src and adv is {d2[1]:.2g} at {names[1]} and {d2[3]:.2g} at {names[3]}.",
    )
    assert merging == Sentence(
        f"From {names[5]} on, adv nears tar (merging).",
        f"The distance between adv and tar is {d3[5]:.2g} at {names[5]} and {d3[6]:.2g} at {names[6]}.",
    )
    assert end.text == (
        "At the end adv is 85% of the way from src to tar; with random images of other classes in tar's place it is "
        "20% to 20%."
    )
    assert f"At {names[-1]} the distance between src and adv is 0.85, that between adv and tar 0.15." in end.exact
    assert "quantile of 20 random images" in end.exact
    many = [Stretch(Pattern.MERGING, i, i + i % 2) for i in range(0, 12, 2)]
    assert words(say(many)).count("nears") == 3
    assert "3 more such stretches" in words(say(many))
    assert "1 more such stretch." in words(say(many[:4]))
    late, back = (say([Stretch(Pattern.TRANSITION, at, at, at + 1, tar)])[0] for at, tar in ((20, True), (2, False)))
    assert late.text == f"At {names[21]} adv has become nearer to tar than to src (transition)."
    assert late.exact.startswith(f"At {names[21]} adv is {measured.share[21]:.0%} of the way from src to tar.")
    assert back.text == f"At {names[3]} adv has become nearer to src than to tar (transition)."


def test_what_the_adversarial_never_does_is_said_with_chance_beside_it(bench):
    layers = len(bench.layers)
    _, say = told(bench, np.full(layers, 0.57), np.full(layers, 0.43), null=0.6)
    assert words(say([])) == (
        "No layer is marked at which adv leaves src. It is not shown that adv joins tar: at the end it is 57% of the "
        "way from src, and with random images of other classes in tar's place it is 60% to 60%."
    )
    assert "nowhere grows enough" in exact(say([]))
    _, say = told(bench, np.full(layers, 0.57), np.full(layers, 0.43), null=0.4)
    assert "not shown" not in words(say([])), "it is nearer to tar than random targets have it"
    assert "No layer is marked at which adv joins tar, but at the end it is 57% of the way" in words(say([]))
    _, say = told(bench, np.full(layers, 0.57), np.full(layers, 0.43), rows=4)
    assert words(say([])) == (
        "Nothing is marked: 4 random images of other classes cannot tell a pattern from chance (20 can)."
    )
    _, say = told(bench, np.full(layers, np.nan), np.full(layers, np.nan))
    assert "undefined at every layer" in words(say([]))


@pytest.mark.parametrize(
    ("shares", "shown", "said"),
    [
        (
            {"activations": 0.84, "gates": 0.61, "sets": 0.55},
            "activations",
            "Measured by gates 61%, by critical sets 55%, on the same side of the middle.",
        ),
        (
            {"activations": 0.84, "gates": 0.45, "sets": 0.55},
            "activations",
            "by critical sets 55%: the measures disagree on which of the two adv ends nearer to.",
        ),
        ({"activations": 0.84, "gates": 0.45, "sets": 0.55}, "gates-raw", "Measured by activations 84%, by critical"),
        ({"activations": 0.3, "gates": 0.2}, "gates", "Measured by activations 30%, on the same side of the middle."),
        (
            {"activations": 0.69, "gates": 0.48, "sets": 0.66},
            "activations",
            "by critical sets 66%: the measures disagree, by some of them adv ends near the middle.",
        ),
        ({"activations": 0.51, "gates": 0.5}, "activations", "Measured by gates 50%."),
        ({"activations": 0.3}, "activations", ""),
        ({"gates": 0.3, "sets": 0.9}, "activations", ""),
    ],
)
def test_whether_all_measures_tell_one_story_is_said(shares, shown, said):
    text = " ".join(sentence.text for sentence in beside_other_measures(shares, shown))
    assert said in text
    assert bool(text) == bool(said)


def test_how_much_the_choice_of_the_target_matters_is_said():
    (told,) = beside_other_targets(np.array([0.9, 0.5, 0.7, np.nan]), 0, [9.9, 9.5, 9.0, 8.0])
    assert told.text == "With its 2 other targets it is 50% to 70%."
    assert "most similar target is 9.9, that of the next 9.5" in told.exact
    (same,) = beside_other_targets(np.array([0.9, 0.501, 0.504]), 0, [9.0, 9.5, 9.0])
    assert same.text == "With its 2 other targets it is 50%."
    assert beside_other_targets(np.array([0.9, 0.5]), 0, [9.0, 9.5])[0].text == "With the one other target it is 50%."
    assert beside_other_targets(np.array([0.9]), 0, [9.0]) == []


def test_the_end_of_the_story_is_that_of_all_measures_and_targets(bench, found, view):
    """The sentences under the river, against distances that are asked for one by one."""
    said = " ".join(sentence.text for sentence in picture_of(bench, found, view, LIGHT).said)
    for name, words in MEASURES.items():
        end = bench.datapaths.distances(found, name).share[-1]
        assert (f"by {words} {end:.0%}" in said) == (name != "activations")
    assert f"At the end adv is {bench.datapaths.distances(found, 'activations').share[-1]:.0%} of the way" in said
    other = 1 - found.target
    alone = bench.datapaths.distances(replace(found, target=other), "activations").share[-1]
    assert len(found.candidates) == 2
    assert f"With the one other target it is {alone:.0%}." in said


def test_a_datapath_in_words_has_its_figures_behind_them(found):
    path = found.adversarial
    told = datapath_in_words(path, "monkey")
    share = path.critical.sum() / path.critical.size
    assert told.text == f"{share:.0%} of the maps alone give {path.p_hard:.0%}"
    for figure in (f"{path.critical.sum():,} of {path.critical.size:,} feature maps", f"{share:.1%}"):
        assert figure in told.exact
    assert f"a probability of {path.p_hard:.1%}; with all open, {path.p_full:.1%}" in told.exact
    core = int(path.core.sum())
    few = "1 map is enough by itself" if core == 1 else f"{core} maps are enough by themselves"
    assert f"Where they may come from any layers, {few} to keep monkey the prediction" in told.exact
    assert told.exact.endswith("(the core).")
    one = replace(path, core=np.arange(path.core.size) < 1)
    assert ", 1 map is enough by itself to keep monkey" in datapath_in_words(one, "monkey").exact
    some = replace(path, core=np.arange(path.core.size) < 3)
    assert ", 3 maps are enough by themselves to keep monkey" in datapath_in_words(some, "monkey").exact
    assert lost_label(path, "monkey") == ""
    failed = replace(path, kept=0)
    assert lost_label(failed, "monkey").endswith("the prediction is no longer monkey.")


@pytest.mark.parametrize("left_out", [Role.TARGET, Role.SOURCE])
def test_what_is_not_compared_is_not_spoken_of(bench, found, view, left_out, monkeypatch):
    """Of a triplet whose distances would mark stretches."""
    share = np.linspace(0, 1, len(bench.layers))
    clear = DatapathDistance("test", np.ones_like(share), share, 1 - share, np.zeros((20, len(share))))
    real = bench.datapaths.distances
    monkeypatch.setattr(bench.datapaths, "distances", lambda *asked: clear if len(asked) == 2 else real(*asked))
    whole = picture_of(bench, found, view, LIGHT)
    assert sum(len(t.x) for t in whole.figure.data if t.name == "stretches") > 0
    (layers,) = [t for t in whole.figure.data if t.name == "layers"]
    assert all(left_out.short in hover for hover in layers.hovertext)
    kept = Role.SOURCE if left_out is Role.TARGET else Role.TARGET
    picture = picture_of(bench, found, view.but(compared=(found.image(kept),)), LIGHT)
    assert left_out.short not in words([*picture.said, *picture.note]) + exact([*picture.said, *picture.note])
    assert f"{kept.short} and adv" in words(picture.said) or f"adv and {kept.short}" in words(picture.said)
    drawn = {t.name: t for t in picture.figure.data}
    assert not any(t.name == "stretches" and len(t.x) for t in picture.figure.data)
    assert not any(left_out.short in hover for hover in drawn["layers"].hovertext)


def test_folds_of_another_network_are_no_harm(bench, found, view):
    other = replace(view, folds=("+attic", "-cellar"))
    assert placed_of(bench, found, other).closed == placed_of(bench, found, view).closed


def test_images_of_another_example_are_told_and_are_not_kept(bench, view):
    """As a link may name them: an answer in the picture's place, and a view that has settled goes on without."""
    plan = stored_triplet(bench, view).plan
    own = {plan.example.source, *plan.candidates, *plan.nulls}
    stranger = next(image.file for image in bench.workspace.images if image.file not in own)
    foreign = view.but(compared=(stranger,))
    answer = network.draw(bench, foreign.to_data(), {network.FIRST})
    assert f"{stranger!r} has no datapath" in answer["note"]
    assert "no river" in answer["figure"].layout.annotations[0].text
    assert settle(bench, foreign) == view
    found = stored_triplet(bench, view)
    good = view.but(compared=(found.plan.example.source,))
    assert settle(bench, good) == good
    assert set(network.draw(bench, good.to_data())) == set(answer) == {*network.RIVER, *network.PATHS}


@pytest.fixture
def without_nulls(bench, found, monkeypatch):
    pending = replace(found, nulls=())
    monkeypatch.setattr(bench.datapaths, "triplet", lambda *_: pending)
    return pending


def test_the_river_is_drawn_before_the_datapaths_of_other_classes_and_asks_for_them(bench, view, found, without_nulls):
    """They mark it and draw its band; where they could not be extracted the page says so and asks no more by itself."""
    assert without_nulls.pending == len(found.nulls) > 0
    wanted = json.loads(json.dumps(network.datapaths_of(view))) | {"part": network.NULLS}
    answer = network.draw(bench, view.to_data(), {network.FIRST})
    note = read(answer["note"])
    assert answer["wanted"] == wanted
    drawn = {trace.name: trace for trace in answer["figure"].data}
    assert "null" not in drawn
    assert not len(drawn["stretches"].x)
    assert "the datapaths of 1 random image of another class are being extracted" in note
    assert "chance" in note
    assert "Nothing is marked" not in note
    beside = {option["value"] for option in answer["beside"]}
    assert beside == {found.plan.example.source, *found.plan.candidates}
    for landed, failed in (({network.NULLS}, ""), ((), "The extraction was cancelled.")):
        answer = network.draw(bench, view.to_data(), landed, failed)
        assert answer["wanted"] is no_update
        words = read(answer["note"])
        assert words.startswith(
            "Nothing is marked, because the datapaths of 1 random image of another class were not extracted."
        )
        assert ("extracted. The extraction was cancelled. Go on Critical maps" in words) == bool(failed)
        assert "as soon as" not in words


def read(note):
    """A note as the visitor reads it."""
    if isinstance(note, str):
        return note
    return "".join(map(read, note if isinstance(note, list) else note.children))


def test_with_them_the_river_is_marked_and_asks_for_nothing(bench, view, found):
    answer = network.draw(bench, view.to_data())
    assert answer["wanted"] is no_update
    assert any(trace.name == "null" for trace in answer["figure"].data)
    assert read(answer["note"]).startswith("Nothing is marked: 1 random image of another class cannot tell")
    assert len(answer["beside"]) == 1 + len(found.plan.candidates) + len(found.plan.nulls)


def test_a_river_beside_one_of_them_waits_for_all(bench, view, found, without_nulls):
    beside = view.but(compared=(found.plan.nulls[0],))
    answer = network.draw(bench, beside.to_data())
    assert answer["wanted"]["part"] == network.ALL
    assert "Extracting" in answer["figure"].layout.annotations[0].text
    count = 2 + len(found.plan.candidates)
    assert re.match(rf"{count + 1} datapaths to extract: at most about \d+ s on this machine\. They", answer["note"])
    assert settle(bench, beside) == beside, "what the link names is not forgotten meanwhile"
    assert network.draw(bench, view.to_data())["wanted"]["part"] == network.NULLS


def test_what_is_extracted_before_the_river_is_told(bench, view, found):
    """By a method that solves each apart the null targets come after it; by the one that solves all together before."""
    count = 2 + len(found.plan.candidates)
    for method, told in (
        ("gradient", f"{count} datapaths to extract, and then"),
        ("joint", f"{count + 1} datapaths to extract:"),
    ):
        assert network.draw(bench, view.but(method=method).to_data())["note"].startswith(told)


def test_an_example_that_nobody_asked_for_is_offered_with_what_it_costs(bench, view, found, monkeypatch):
    """Opening a new workspace does not begin work of minutes, unless the workspace itself says what the page opens
    on."""
    missing = view.but(method="gradient").to_data()
    assert network.draw(bench, missing | {"offered": True})["wanted"]["example"] == view.example, "opens_on asks for it"
    monkeypatch.setattr(bench.workspace, "settings", replace(bench.workspace.settings, opens_on=""))
    monkeypatch.setattr(bench.classifier, "seconds_of_pass", 0.5)
    offered = network.draw(bench, missing | {"offered": True})
    assert offered["wanted"] is no_update
    assert "not extracted" in offered["figure"].layout.annotations[0].text
    count = 2 + len(found.plan.candidates)
    first, then = count * 0.5 * FIXED, len(found.plan.nulls) * 0.5 * FIXED
    assert f"at most {in_time(first)} and {in_time(then)} on this machine" in read(offered["note"][0])
    assert offered["note"][-1].id == ids.EXTRACT_NOW
    assert network.draw(bench, missing | {"offered": False})["wanted"]["example"] == view.example


def in_time(seconds):
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def test_another_river_is_drawn_at_once_and_one_that_opens_moves(bench, view):
    figure = network.draw(bench, view.to_data())["figure"]
    still = network.without_motion(figure)
    assert figure.layout.transition.duration > 0
    assert "transition" not in still["layout"], "without a duration plotly takes half a second"
    assert len(still["data"]) == len(figure.data)
