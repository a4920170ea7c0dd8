"""Flip-back: sets that turn a prediction, beside brute force, nets whose cause is known, and chance."""

from itertools import combinations

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.core import flipback
from aevis_dash.core.flipback import ANY, Bench, FlipQuestion, smallest, thin, verify
from aevis_dash.core.random_sets import random_sets
from aevis_dash.domain import DISJOINT, AevisError, Intervention, Verdict, Verification

WIDTHS = (5, 6, 5)


def drawn(seed, layer=1, skip=False, widths=WIDTHS):
    """A net, a receiver, a donor that it predicts otherwise, and the question that turns the one into the other."""
    net, images = hand_wired.random_net(seed, widths, skip), hand_wired.images(seed, 24)
    return net, *asked(net, images, layer)


def asked(net, images, layer):
    """The classes are made equally likely over the images, so that some pair of them differs."""
    with torch.no_grad():
        net.head.bias -= net(torch.from_numpy(images).movedim(-1, 1) / 255).mean(0)
    c = hand_wired.classifier(net)
    labels = [p.label for p in c.predict(images)]
    other = next(i for i, label in enumerate(labels) if label != labels[0])
    return c, FlipQuestion(images[:1], images[other : other + 1], layer, labels[0], labels[other])


def patched(net, c, question, chosen):
    receiver, donor = (c.inputs(image)[0].numpy() for image in (question.receiver, question.donor))
    return np.array(
        reference.patched_logits(hand_wired.weights(net), receiver, donor, question.layer, chosen, net.skip)
    )


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_margins_and_labels_are_those_of_the_twin(layer, skip):
    net, c, question = drawn(layer, layer, skip)
    chosen = np.random.default_rng(layer).uniform(size=(4, WIDTHS[layer])) < 0.5
    for wanted in (question.wanted, ANY):
        either = FlipQuestion(question.receiver, question.donor, layer, question.before, wanted)
        margins, labels = Bench(c, either).measure(chosen)
        for row, margin, label in zip(chosen, margins, labels, strict=True):
            logits = patched(net, c, question, row)
            others = np.delete(logits, question.before)
            better = others.max() if wanted == ANY else logits[wanted]
            assert margin == pytest.approx(better - logits[question.before], abs=1e-4)
            assert label == logits.argmax()


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_slopes_are_the_derivative_of_the_margin_by_the_exchange(layer):
    net, c, question = drawn(layer + 3, layer)
    bench, chosen = Bench(c, question), np.arange(WIDTHS[layer]) % 3 == 0

    own, other = (
        reference.activations(hand_wired.weights(net), c.inputs(image)[0].numpy())[layer]
        for image in (question.receiver, question.donor)
    )

    def margin(z):
        value = torch.from_numpy(np.array(own) + np.reshape(z, (-1, 1, 1)) * (np.array(other) - np.array(own)))[None]
        for conv in net.convs[layer + 1 :]:
            value = torch.nn.functional.conv2d(value, conv.weight.double(), conv.bias.double(), padding=1).clamp_min(0)
        logits = torch.nn.functional.linear(value.mean((2, 3)), net.head.weight.double(), net.head.bias.double())[0]
        return float((logits[question.wanted] - logits[question.before]).detach())

    wanted = reference.slopes(margin, chosen.astype(float))
    np.testing.assert_allclose(bench.slopes(chosen), wanted, atol=2e-3)


def by_force(bench):
    """The size of the smallest of all sets that turns the label, None where none does."""
    for size in range(bench.width + 1):
        sets = np.array([np.isin(np.arange(bench.width), some) for some in combinations(range(bench.width), size)])
        if bench.turns(sets).any():
            return size
    return None


def count_disjoint(bench, found):
    """How many sets turn the label one after another, each searched among the maps that no set before holds."""
    left, count = ~found, 0
    while count < DISJOINT and (other := smallest(bench, left)) is not None:
        assert other.any()
        left, count = left & ~other, count + 1
    return count


def test_the_search_is_nearly_as_good_as_brute_force_and_none_of_its_maps_can_be_spared():
    sizes, without = [], []
    for seed in range(12):
        _, c, question = drawn(seed, layer=seed % 3, widths=(10, 10, 10))
        bench = Bench(c, question)
        found, best = smallest(bench), by_force(bench)
        assert found is not None
        assert best is not None
        assert bench.turns(found[None])[0]
        for channel in np.flatnonzero(found):
            assert not bench.turns((found & (np.arange(10) != channel))[None])[0]
        sizes.append((int(found.sum()), best))
        others = smallest(bench, ~found)
        without.append(others is not None)
        if others is None:
            assert not bench.turns((~found)[None])[0]
        else:
            assert not (others & found).any()
            assert bench.turns(others[None])[0]
        told = verify(c, question, Intervention(question.layer, tuple(np.flatnonzero(found)), randoms=1))
        assert told.others == (-1 if others is None else others.sum())
        assert all(needed < 0 or needed >= found.sum() for needed in told.needed), "no order alone finds a smaller set"
        assert len(told.disjoint) == count_disjoint(bench, found)
        alone = np.flatnonzero(found)[:, None] == np.arange(10)
        expected = bench.measure(alone)[0] - bench.measure(np.zeros((1, 10), bool))[0]
        np.testing.assert_allclose(told.alone, expected, atol=1e-5)
        both = bench.measure(np.stack([np.zeros(10, bool), found]))[0]
        assert told.joint == pytest.approx(both[1] - both[0], abs=1e-5)
    assert 0 < sum(without) < 12
    found, best = np.array(sizes, float).T
    assert (found >= best).all()
    assert (found / np.maximum(best, 1)).mean() <= 1.25


def test_nothing_is_replaced_where_the_label_is_the_wanted_one_already():
    _, c, question = drawn(0)
    content = FlipQuestion(question.receiver, question.donor, 1, question.wanted, question.before)
    found = smallest(Bench(c, content))
    assert found is not None
    assert not found.any()


def test_a_layer_that_cannot_turn_the_label_says_so():
    """All of the class's evidence goes around the second layer by the skip."""
    net = hand_wired.skip_route(0)
    c, images = hand_wired.classifier(net), np.full((2, 8, 8, 3), 20, np.uint8)
    images[0, ..., 0], images[1, ..., 1] = 200, 200
    labels = [p.label for p in c.predict(images)]
    assert labels == [0, 2]
    assert smallest(Bench(c, FlipQuestion(images[:1], images[1:], 1, 0, 2))) is None
    none = verify(c, FlipQuestion(images[:1], images[1:], 1, 0, 2), Intervention(1, randoms=4))
    assert (len(none.maps), len(none.margins), none.turned, none.others) == (0, 1, False, -1)
    assert none.verdict is Verdict.NO_SET
    assert none.needed.tolist() == [-1, -1, -1]
    assert (len(none.chance), none.chance_turned) == (0, 0)
    assert np.isnan(none.percentile)
    bare = verify(c, FlipQuestion(images[:1], images[1:], 1, 0, 2), Intervention(1, (0,), randoms=0))
    assert len(bare.chance) == 0
    found = smallest(Bench(c, FlipQuestion(images[:1], images[1:], 0, 0, 2)))
    assert found is not None
    assert np.flatnonzero(found).tolist() in ([0], [0, 1])


def test_the_smaller_of_two_ways_to_grow_is_thinned(monkeypatch):
    _, c, question = drawn(1, widths=(5, 10, 5))
    bench, asked = Bench(c, question), []
    small, large = np.arange(10) < 3, np.ones(10, bool)
    monkeypatch.setattr(flipback, "thin", lambda bench, chosen: asked.append(chosen) or chosen)
    for one, other in ((small, large), (large, small), (None, small)):
        monkeypatch.setattr(flipback, "grow", lambda bench, allowed, one=one: one)
        monkeypatch.setattr(flipback, "shortest_prefix", lambda bench, allowed, other=other: other)
        assert smallest(bench) is small


def test_a_search_that_needs_the_whole_cut_names_no_maps():
    """Two maps through which everything passes: either one of them does it, or there is nothing to name."""
    whole = []
    for seed in range(12):
        _, c, question = drawn(seed, layer=0, widths=(2, 6, 5))
        bench = Bench(c, question)
        chosen, found = smallest(bench), verify(c, question, Intervention(0, randoms=2))
        assert chosen is not None
        whole.append(bool(chosen[bench.difference() > 0].all()))
        assert found.maps.tolist() == ([] if whole[-1] else np.flatnonzero(chosen).tolist())
        assert (found.turned, found.whole_turned) == (not whole[-1], True)
    assert 0 < sum(whole) < 12


def test_large_sets_are_thinned_by_slopes_and_end_where_every_map_is_needed():
    _, c, question = drawn(1, layer=1, widths=(6, 150, 6))
    bench = Bench(c, question)
    found = thin(bench, np.ones(150, bool))
    assert bench.turns(found[None])[0]
    assert found.sum() < 150
    assert not any(bench.turns((found & (np.arange(150) != k))[None])[0] for k in np.flatnonzero(found))


def test_the_steps_of_a_verification_and_its_controls():
    net, c, question = drawn(2, layer=1)
    maps = [4, 0, 3]
    found = verify(c, question, Intervention(1, tuple(maps), randoms=40, seed=1))
    assert found.maps.tolist() == maps
    for k in range(4):
        logits = patched(net, c, question, np.isin(np.arange(6), maps[:k]))
        assert found.margins[k] == pytest.approx(logits[question.wanted] - logits[question.before], abs=1e-4)
        assert found.labels[k] == logits.argmax()
    assert found.turned == (found.labels[-1] == question.wanted)
    every = Bench(c, question)
    all_of_three = np.array([np.isin(np.arange(6), some) for some in combinations(range(6), 3)])
    margins, said = every.measure(all_of_three)
    assert len(found.chance) == 19, "every other set of three"
    assert all(np.abs(margins - value).min() < 1e-4 for value in found.chance)
    assert len({round(float(value), 4) for value in found.chance}) > 5
    assert found.percentile == pytest.approx(np.mean([value < found.margins[-1] for value in found.chance]))
    largest = np.isin(np.arange(6), np.argsort(-every.difference(), kind="stable")[:3])
    margin, label = every.measure(largest[None])
    assert found.controls[0] == pytest.approx(float(margin[0]), abs=1e-4)
    assert found.controls_turned[0] == (label[0] == question.wanted)
    same, other = (tuple(np.flatnonzero(some).tolist()) for some in (largest, ~largest))
    told = [
        verify(c, question, Intervention(1, maps, randoms=2)).controls_same[0] for maps in (same, same[::-1], other)
    ]
    assert told == [True, True, False]
    places = [int(np.abs(margins - value).argmin()) for value in found.chance]
    assert found.chance_turned == pytest.approx(np.mean([said[place] == question.wanted for place in places]))
    assert (found.whole_turned, found.width) == (True, 6)
    again = verify(c, question, Intervention(1, tuple(maps), randoms=40, seed=1))
    np.testing.assert_array_equal(found.chance, again.chance)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("either", [False, True])
def test_the_controls_are_orders_of_the_twins_slopes_and_take_as_many_maps_as_they_need(layer, either):
    """Each order against finite differences of the slow twin, and each size against adding its maps one by one."""
    net, c, question = drawn(layer + 7, layer)
    question = FlipQuestion(
        question.receiver, question.donor, layer, question.before, ANY if either else question.wanted
    )
    weights, width = hand_wired.weights(net), WIDTHS[layer]
    own, other = (
        np.array(reference.activations(weights, c.inputs(image)[0].numpy())[layer])
        for image in (question.receiver, question.donor)
    )

    def margin(z):
        value = own + np.reshape(z, (-1, 1, 1)) * (other - own)
        for kernel, bias in weights["convs"][layer + 1 :]:
            value = np.maximum(reference.conv3x3(value, kernel, bias), 0)
        logits = weights["head"][0] @ value.mean((1, 2)) + weights["head"][1]
        return reference.flip_margin(logits, question.before, question.wanted)

    strengths = [
        [reference.norm((a - b).ravel()) for a, b in zip(own, other, strict=True)],
        reference.slopes(margin, np.zeros(width)),
        reference.integrated(margin, width, 8),
    ]
    found = verify(c, question, Intervention(layer, (1, 3), randoms=0))
    bench = Bench(c, question)
    for k, values in enumerate(strengths):
        order = reference.best_first(values)
        first = np.isin(np.arange(width), order[:2])
        margins, said = bench.measure(first[None])
        assert found.controls[k] == pytest.approx(float(margins[0]), abs=1e-4)
        turned = said[0] != question.before if either else said[0] == question.wanted
        assert found.controls_turned[k] == turned
        assert found.controls_same[k] == (set(order[:2]) == {1, 3})
        size = int(found.needed[k])
        beside = np.array([np.isin(np.arange(width), order[:n]) for n in (size - 1, size)])
        assert bench.turns(beside).tolist() == [False, True]


def judged(**fields):
    """Two maps that turn the label, with nothing else that does, but for the fields."""
    nothing = np.zeros(3, bool)
    facts = {"maps": np.array([4, 2]), "turned": True, "chance": np.full(200, -2.0), "chance_turned": 0.02}
    facts |= {"controls": np.zeros(3), "controls_turned": nothing, "controls_same": nothing, "needed": np.ones(3, int)}
    facts |= {"layer": 0, "replacement": "source", "before": 1, "wanted": 0, "margins": np.array([-1.0, 1.0, 2.0])}
    facts |= {"labels": np.array([1, 0, 0]), "whole": 1.0, "whole_turned": True, "width": 9, "runs": 1}
    facts |= {"disjoint": np.zeros(0, int), "alone": np.array([1.0, 1.0])}
    return Verification(**(facts | fields))


FIRST, LAST = np.array([True, False, False]), np.array([False, False, True])


@pytest.mark.parametrize(
    ("fields", "verdict", "rivals"),
    [
        ({}, Verdict.ALONE, ()),
        ({"controls_turned": FIRST}, Verdict.CONTROL, ("difference",)),
        ({"controls_turned": FIRST, "controls_same": FIRST}, Verdict.ALONE, ()),
        ({"controls_turned": ~FIRST, "controls_same": LAST}, Verdict.CONTROL, ("patching",)),
        ({"controls_turned": ~FIRST, "controls_same": ~FIRST}, Verdict.SAME, ()),
        ({"controls_same": ~FIRST, "maps": np.array([4])}, Verdict.ALONE, ()),
        ({"controls_same": LAST}, Verdict.ALONE, ()),
        ({"chance_turned": 0.06}, Verdict.CONTROL, ("random",)),
        ({"disjoint": np.array([3])}, Verdict.OTHERS, ("others",)),
        ({"disjoint": np.array([3]), "controls_turned": LAST}, Verdict.CONTROL, ("integrated", "others")),
        ({"chance": np.full(19, -2.0)}, Verdict.TOO_FEW, ()),
        ({"chance": np.full(19, -2.0), "disjoint": np.array([1])}, Verdict.OTHERS, ("others",)),
        ({"chance": np.full(1, -2.0), "maps": np.array([4])}, Verdict.ALONE, ()),
        ({"chance": np.zeros(0), "maps": np.array([4])}, Verdict.TOO_FEW, ()),
        ({"turned": False, "controls_turned": FIRST, "chance_turned": 0.5}, Verdict.NOT_TURNED, ()),
        ({"turned": False, "maps": np.zeros(0, int), "controls_turned": FIRST}, Verdict.WHOLE_LAYER, ()),
        ({"turned": False, "maps": np.zeros(0, int), "whole_turned": False}, Verdict.NO_SET, ()),
    ],
)
def test_there_is_one_verdict(fields, verdict, rivals):
    found = judged(**fields)
    assert (found.verdict, found.rivals) == (verdict, rivals)


def test_chance_is_counted_and_random_maps_are_of_those_that_differ():
    """Of 4 maps two are dead on both images; of the others map 3 is the cause and map 0 is not."""
    net = hand_wired.random_net(4, (4,))
    with torch.no_grad():
        for channel in (1, 2):
            net.convs[0].weight[channel], net.convs[0].bias[channel] = 0, -1
    c, question = asked(net, hand_wired.images(4, 30), 0)
    bench = Bench(c, question)
    assert set(np.flatnonzero(bench.difference() > 0)) == {0, 3}
    found = verify(c, question, Intervention(0, (0,), randoms=60))
    margins, said = bench.measure(np.eye(4, dtype=bool)[[3]])
    np.testing.assert_allclose(found.chance, margins, atol=1e-5)
    assert found.chance_turned == float(said[0] == question.wanted) == 1
    assert (found.turned, found.rivals) == (False, ()), "what turns nothing has no rival"
    cause = verify(c, question, Intervention(0, (3,), randoms=60))
    assert (cause.turned, cause.chance_turned, cause.rivals) == (True, 0, ())


def test_beside_a_single_map_stand_others_each_once():
    differ = np.arange(50) % 5 > 0
    sets = random_sets(differ, np.array([7]), 20, 3)
    drawn_maps = sets.argmax(1)
    assert (sets.sum(1) == 1).all()
    assert len(set(drawn_maps.tolist())) == 20
    assert differ[drawn_maps].all()
    assert 7 not in drawn_maps
    every = random_sets(differ, np.array([7]), 200, 3).argmax(1)
    assert sorted(every.tolist()) == [i for i in np.flatnonzero(differ) if i != 7]
    assert len(random_sets(differ, np.array([7, 8]), 60, 3)) == 60
    assert not len(random_sets(differ, np.array([], int), 60, 3))


def test_beside_a_set_stand_other_sets_each_once():
    """The set itself is no control of itself: among all 20 sets of 3 of 6 maps it would be 5 % that turn the label."""
    differ = np.array([True] * 6 + [False] * 2)
    own = np.array([5, 1, 2])
    every = random_sets(differ, own, 200, 3)
    found = {tuple(np.flatnonzero(each)) for each in every}
    assert len(every) == len(found) == 19
    assert found == {each for each in combinations(range(6), 3) if each != (1, 2, 5)}
    few = random_sets(differ, own, 10, 3)
    assert {tuple(np.flatnonzero(each)) for each in few} < found
    assert len({tuple(np.flatnonzero(each)) for each in few}) == len(few) == 10
    assert few.tolist() != random_sets(differ, own, 10, 4).tolist()
    wide = np.ones(64, bool)
    many = random_sets(wide, np.array([3, 4]), 200, 3)
    assert len({tuple(np.flatnonzero(each)) for each in many} - {(3, 4)}) == len(many) == 200
    assert (many.sum(1) == 2).all()
    assert random_sets(differ, np.arange(6), 200, 3).shape == (0, 8), "there is no other set as large"


def test_an_activation_may_be_the_donor():
    net, c, question = drawn(5, layer=1)
    zeros = torch.zeros_like(c.network.activation(c.inputs(question.receiver), 1))
    chosen = np.isin(np.arange(6), [1, 4])
    gates = np.ones(16)
    gates[5:11][chosen] = 0
    ablated = Bench(c, FlipQuestion(question.receiver, zeros, 1, question.before)).measure(chosen[None])
    logits = hand_wired.logits_twin(net, question.receiver[0], gates)
    others = np.delete(logits, question.before)
    assert ablated[0][0] == pytest.approx(others.max() - logits[question.before], abs=1e-4)
    with pytest.raises(ValueError, match="the donor is"):
        Bench(c, FlipQuestion(question.receiver, zeros[:, :3], 1, question.before))


def test_a_whole_cut_is_no_evidence_and_what_is_not_there_is_refused():
    _, c, question = drawn(6, layer=0, skip=True)
    with pytest.raises(AevisError, match="no evidence"):
        verify(c, question, Intervention(0, tuple(range(5))))
    bypassed = FlipQuestion(question.receiver, question.donor, 1, question.before, question.wanted)
    assert verify(c, bypassed, Intervention(1, tuple(range(6)), randoms=2)).width == 6, (
        "around this one a skip connection leads"
    )
    with pytest.raises(AevisError, match="there is no map 6"):
        verify(c, bypassed, Intervention(1, (1, 6)))
    with pytest.raises(AevisError, match="no feature map to replace"):
        verify(c, bypassed, Intervention(1, ()))
