"""A flip-back in words: no more than its figures say."""

import numpy as np
import pytest

from aevis_dash.callbacks.trail.flips import in_words, question, verdict
from aevis_dash.domain import Verdict, Verification

FOUND = Verification(
    layer=3,
    replacement="source",
    before=1,
    wanted=0,
    maps=np.array([4, 2]),
    margins=np.array([-3.0, -1.0, 0.5]),
    labels=np.array([1, 1, 0]),
    turned=True,
    chance=np.full(200, -2.0),
    chance_turned=0.02,
    controls=np.array([-0.5, 0.25, -0.125]),
    controls_turned=np.zeros(3, bool),
    controls_same=np.zeros(3, bool),
    needed=np.array([9, 5, -1]),
    whole=4.0,
    whole_turned=True,
    disjoint=np.zeros(0, int),
    alone=np.array([1.0, 1.0]),
    width=64,
    runs=300,
)
NAMES = ("panda", "monkey")


LARGEST = np.array([True, False, False])
"""Of the orders of CONTROLS the largest difference alone."""


def changed(**fields):
    return " ".join(in_words(Verification(**(vars(FOUND) | fields)), NAMES))


def test_figures_are_said_and_a_cause_only_where_no_others_do_it():
    text = changed()
    assert "2 of 64 maps, put from src into adv, give panda back (margin -3.00 to 0.50)" in text
    assert "Of the 200 random sets as large, 2% do it; the 2 of largest difference, first by attribution" in text
    assert "first by integrated attribution patching do not." in text
    assert "needs 9 by difference and 5 by attribution patching. No set was found in the order by integrated." in text
    assert "they may be the cause at this layer" in text
    alone = changed(maps=np.array([4]))
    assert "1 of 64 maps, put from src into adv, gives panda back" in alone
    assert "first by integrated attribution patching does not" in alone
    assert "it may be the cause" in alone
    assert "The first 24:" in changed(maps=np.arange(25))
    assert "The first" not in changed(maps=np.arange(24))
    assert "The first 24:" in changed(maps=np.arange(25), turned=False)


def test_that_a_linear_head_adds_maps_up_is_no_finding():
    """Together the maps of FOUND move the margin by 3.5."""
    said = lambda alone, at_end: " ".join(  # noqa: E731
        in_words(Verification(**(vars(FOUND) | {"alone": np.array(alone)})), NAMES, at_end)
    )
    assert "add up to 3.50. That they are the same is no finding: behind its last layer" in said([1.5, 2.0], True)
    assert "no finding" not in said([1.5, 2.0], False)
    assert "no finding" not in said([1.5, 2.1], True)


@pytest.mark.parametrize(("others", "named"), [(1, "one other"), (17, "17 others")])
def test_other_sets_that_do_it_too_are_told(others, named):
    text = changed(disjoint=np.array([others]), controls_turned=LARGEST)
    assert f"Not proven to be the cause: the 2 of largest difference and {named} without them do it too." in text
    assert "the 2 of largest difference do it; the 2 first by attribution patching" in text
    assert "may be the cause" not in text
    does = "does" if others == 1 else "do"
    assert f"Not proven to be the cause: {named} without it {does} it too." in changed(
        disjoint=np.array([others]), maps=np.array([4])
    )


def test_sets_that_have_no_map_in_common_are_counted():
    text = changed(disjoint=np.array([3, 7, 9]))
    assert "3 other sets without them (of 3, 7 and 9 maps, none in common) do it too" in text
    assert "at least 4 other sets without them" in changed(disjoint=np.array([3, 7, 9, 9]))


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        ([1.5, 2.0], "Together they move the margin by 3.50; each alone, these moves add up to 3.50."),
        ([0.5, 1.0], "add up to 1.50, so single maps tell little of what they do together."),
        ([-0.5, 0.25], "add up to -0.25, so single maps tell little of what they do together."),
        ([3.0, 2.0], "add up to 5.00, so they do in part the same."),
    ],
)
def test_what_maps_do_together_stands_beside_what_each_does_alone(alone, said):
    assert said in changed(alone=np.array(alone))
    assert "Together" not in changed(maps=np.array([4]), alone=np.array([1.0]))


def test_maps_are_no_control_of_themselves():
    same = {"controls_turned": LARGEST, "controls_same": LARGEST}
    text = changed(**same)
    assert "2% do it; the 2 of largest difference are these same maps, and so no control; the 2 first by" in text
    assert "may be the cause at this layer" in text
    assert verdict(Verification(**(vars(FOUND) | same))) == "2 of 64 maps turn it, no control does it"
    assert "so does" not in verdict(Verification(**(vars(FOUND) | same | {"maps": np.array([4])})))
    short = changed(**same, turned=False, maps=np.array([4]))
    assert "the one of largest difference is this same map, and so no control; the one first by" in short


def test_where_both_orders_by_patching_are_the_maps_themselves_the_cause_stays_open():
    same = {"controls_turned": ~LARGEST, "controls_same": ~LARGEST}
    text = changed(**same)
    assert "may be the cause" not in text
    assert "the cause stays open" in text
    assert verdict(Verification(**(vars(FOUND) | same))).endswith("but those by patching are the same maps")


def test_no_random_set_is_no_comparison():
    none = {"chance": np.zeros(0), "chance_turned": 0.0}
    for maps in (np.arange(2), np.arange(1)):
        text = changed(**none, maps=maps)
        assert "There is no random set as large; " in text
        assert "too few random sets" in text
    assert "nan" not in changed(**none, turned=False)


@pytest.mark.parametrize("control", [{"controls_turned": LARGEST}, {"chance_turned": 0.3}])
def test_what_a_control_does_as_well_is_no_cause(control):
    text = changed(**control)
    assert "may be the cause" not in text
    assert "Not proven to be the cause: " in text


@pytest.mark.parametrize(
    ("fields", "too"),
    [
        ({}, "no control does it"),
        ({"disjoint": np.array([7])}, "so do 7 others without them"),
        ({"controls_turned": LARGEST}, "so do the 2 of largest difference"),
        (
            {"controls_turned": ~LARGEST},
            "so do the 2 first by attribution patching and the 2 first by integrated attribution patching",
        ),
        (
            {"controls_turned": LARGEST, "chance_turned": 0.3, "disjoint": np.array([7])},
            "so do 30% of the random sets, the 2 of largest difference and 7 others without them",
        ),
        ({"chance": np.full(19, -2.0)}, "too few controls"),
    ],
)
def test_the_verdict_in_a_line_names_what_does_it_too(fields, too):
    found = Verification(**(vars(FOUND) | fields))
    assert verdict(found) == f"2 of 64 maps turn it, {too}"
    text = changed(**fields)
    assert ("may be the cause" in text) == (found.verdict is Verdict.ALONE)
    assert ("Not proven" in text) == too.startswith("so do")


def test_one_map_is_spoken_of_as_one():
    assert question((14,), "source") == "Does map 14, put from src into adv, turn the prediction?"
    assert question((3, 14), "zero") == "Do maps 3, 14, set to zero in adv, turn the prediction?"
    assert question((), "source") == "Which maps, put from src into adv, turn the prediction?"
    alone = Verification(**(vars(FOUND) | {"maps": np.array([4]), "controls_turned": LARGEST}))
    assert "Not proven to be the cause: the one of largest difference does it too." in in_words(alone, NAMES)
    assert verdict(alone) == "1 of 64 maps turns it, so does the one of largest difference"


def test_a_layer_without_such_maps_says_what_all_of_it_does():
    text = changed(maps=np.zeros(0, int), margins=np.array([-3.0]), turned=False, whole=-1.25, whole_turned=False)
    assert text == (
        "No set of this layer's 64 maps was found that gives panda back: with all of them put from src into adv the "
        "margin is -1.25."
    )


def test_a_whole_cut_is_told_apart_from_nothing():
    text = changed(maps=np.zeros(0, int), margins=np.array([-3.0]), turned=False, whole=4.0)
    assert text.startswith(
        "No set was found that gives panda back but that of all maps of this layer that differ, which"
    )


def test_chosen_maps_that_do_not_turn_it_are_told_beside_chance():
    text = changed(margins=np.array([-3.0, -2.5, -2.0]), turned=False, chance=np.array([-2.5] * 3 + [-1.0]))
    assert "2 of 64 maps, put from src into adv, do not give panda back (margin -3.00 to -2.00)." in text
    assert (
        "Of the 4 random sets as large, 75% move it less; the 2 of largest difference give -0.50; the 2 first by"
        in text
    )


@pytest.mark.parametrize(
    ("maps", "sets", "said"),
    [
        (1, 40, "more than 40 of the 40 other maps that were drawn"),
        (1, 1, "more than 1 of the one other map that was drawn"),
        (2, 4, "more than 4 of the 4 random sets"),
        (2, 1, "more than 1 of the one random set"),
    ],
)
def test_maps_that_were_drawn_are_not_taken_for_all_others(maps, sets, said):
    fields = {"maps": np.arange(maps), "turned": False, "chance": np.full(sets, -9.0)}
    line = verdict(Verification(**(vars(FOUND) | fields)))
    assert line.endswith(f"does not turn it; {said}")
    assert f"Of {said.split(' of ')[1]}{' as large' * (maps > 1)}, 100% move it less" in changed(**fields)
    none = verdict(Verification(**(vars(FOUND) | fields | {"chance": np.zeros(0)})))
    assert none.endswith("does not turn it"), "nothing was drawn"


def test_maps_that_are_ablated_take_the_class_away():
    text = changed(replacement="zero", wanted=-1)
    assert "2 of 64 maps, set to zero in adv, take monkey away (margin -3.00 to 0.50)." in text


def test_in_one_line_a_layer_that_does_not_turn_it_says_what_all_of_it_does():
    none = {"maps": np.zeros(0, int), "margins": np.array([-5.33]), "turned": False, "whole_turned": False}
    said = verdict(Verification(**(vars(FOUND) | none | {"whole": -2.44})))
    assert said == "no set turns it, not even all 64 maps of the layer (margin -5.33 → -2.44)"
    whole = verdict(Verification(**(vars(FOUND) | none | {"whole": 1.0, "whole_turned": True})))
    assert whole == "only the whole layer turns it"
