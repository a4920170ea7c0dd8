"""Maps that are gained or lost again and again: counted from stored datapaths only, one example for each source."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import reference

from aevis_dash import divergences, recurrence
from aevis_dash.cli import main
from aevis_dash.core import datapath
from aevis_dash.core.recurrence import RARE
from aevis_dash.domain import AevisError
from aevis_dash.workbench import open_workbench

EXTRACTED = 4


@pytest.fixture(scope="module")
def bench(filling_world):
    """The small world with the datapaths of a few examples; one source has a second, weaker attack."""
    bench = open_workbench(filling_world)
    for example in divergences.misclassified(bench)[:EXTRACTED]:
        bench.datapaths.extract(example.id)
    return bench


@pytest.fixture(scope="module")
def asked(bench):
    return divergences.misclassified(bench)


@pytest.fixture
def wanted(bench):
    return bench.workspace.settings.extraction


@pytest.fixture
def found(bench, asked, wanted):
    return recurrence.recurring(bench, asked, wanted, shown=10_000)


def triplets(bench, asked):
    return {e.id: t for e in asked if (t := bench.datapaths.triplet(e.id)) is not None}


def changed(side, source, other):
    """By its definition, map by map."""
    could, is_ = [], []
    for a, b in zip(source.critical.tolist(), other.critical.tolist(), strict=True):
        could.append(not a if side == "gained" else a)
        is_.append((b and not a) if side == "gained" else (a and not b))
    return could, is_


def test_only_stored_datapaths_count(bench, asked, found):
    stored = triplets(bench, asked)
    assert EXTRACTED <= len(stored) < len(asked)
    assert found.stored == len(stored)
    assert found.asked == len(asked)
    assert set(found.examples) == set(stored), "each has a source of its own here"
    assert found.beside == sum(not t.pending for t in stored.values())


@pytest.mark.parametrize("side", recurrence.SIDES)
def test_counts_and_what_stands_beside_them(bench, asked, found, side):
    stored = [triplets(bench, asked)[name] for name in found.examples]
    graph, listed = bench.layers, getattr(found, side)
    each = [changed(side, t.source, t.adversarial) for t in stored]
    could, chosen = (np.array([one[i] for one in each]) for i in (0, 1))
    counts = chosen.sum(axis=0)
    assert listed.recurring == len(listed.maps) == (counts >= 2).sum()
    assert [len(m.examples) for m in listed.maps] == sorted(counts[counts >= 2].tolist(), reverse=True)
    expected = [
        sum(sum(chosen[e][lo:hi]) / sum(could[e][lo:hi]) if could[e][m] else 0.0 for e in range(len(stored)))
        for lo, hi in zip(graph.offsets, graph.offsets[1:], strict=False)
        for m in range(lo, hi)
    ]
    nulls = [[changed(side, t.source, null)[1] for null in t.nulls] for t in stored if t.nulls]
    others = np.mean([np.mean(of, axis=0) for of in nulls], axis=0) * len(stored)
    tails = np.zeros(len(stored) + 1)
    for lo, hi in zip(graph.offsets, graph.offsets[1:], strict=False):
        for m in range(lo, hi):
            shares = [sum(chosen[e][lo:hi]) / max(sum(could[e][lo:hi]), 1) * could[e][m] for e in range(len(stored))]
            tails += reference.more_than(shares)
    assert listed.most == int(np.flatnonzero(tails <= RARE + 1e-9)[0])
    assert listed.beyond == (counts > listed.most).sum()
    for one in listed.maps:
        place = graph.place(graph.feature_map(one.layer, one.map))
        assert one.examples == tuple(found.examples[e] for e in range(len(stored)) if chosen[e][place])
        assert one.chance == pytest.approx(expected[place])
        assert one.others == pytest.approx(others[place])
        assert one.beyond == (counts[place] > listed.most)
        named = Counter(
            (bench.class_names[stored[e].source.label], bench.class_names[stored[e].adversarial.label])
            for e in range(len(stored))
            if chosen[e][place]
        )
        assert {(p.source, p.adversarial): p.examples for p in one.pairs} == named
        assert [p.examples for p in one.pairs] == sorted(named.values(), reverse=True)


def test_the_first_of_as_frequent_ones_are_those_that_chance_gives_least(found):
    for side in (found.gained, found.lost):
        order = [(-len(m.examples), m.chance) for m in side.maps]
        assert order == sorted(order)
    assert len({len(m.examples) for m in found.gained.maps}) < len(found.gained.maps)


def test_a_list_is_as_long_as_it_was_asked_for(bench, asked, wanted, found):
    short = recurrence.recurring(bench, asked, wanted, shown=3)
    assert short.gained.maps == found.gained.maps[:3]
    assert short.gained.recurring == found.gained.recurring


def test_the_examples_of_a_map_are_found(bench, asked, wanted, found):
    for side in (found.gained, found.lost):
        for one in side.maps[:3]:
            args = (bench, asked, wanted, side.side, one.layer, one.map)
            assert tuple(recurrence.examples_with(*args)) == one.examples
    with pytest.raises(AevisError, match="no map 9999"):
        recurrence.examples_with(bench, asked, wanted, "gained", bench.layers.layers[0].name, 9999)


def test_other_datapaths_are_not_taken_for_these(bench, asked, wanted):
    """Of a method by which nothing was extracted there is nothing to count."""
    other = recurrence.recurring(bench, asked, replace(wanted, method="size-squared"))
    assert (other.stored, other.examples, other.gained.maps, other.gained.most) == (0, (), (), 0)
    assert other.beside == 0


def test_of_each_source_the_smallest_perturbation_counts(bench, asked, wanted, monkeypatch):
    """Two attacks on one source are nearly the same example, and would recur by that alone."""
    first, second, *_ = [e for e in asked if bench.datapaths.triplet(e.id) is not None]
    twin = replace(second, source=first.source)
    pairs = {e.id: bench.datapaths.stored_pair(e, wanted) for e in (first, second)}
    sizes = {first.id: 8.0, second.id: 3.0}
    monkeypatch.setattr(bench.datapaths, "stored_pair", lambda example, _wanted: pairs[example.id])
    monkeypatch.setattr(bench.judging, "perturbation", lambda example: replace(_perturbation, linf=sizes[example.id]))
    _perturbation = type(bench.judging).perturbation(bench.judging, first)
    found = recurrence.recurring(bench, [first, twin], wanted)
    assert (found.stored, found.examples) == (2, (second.id,))
    assert "of each source one counts, so 1 example" in recurrence.how_many(found, "elimination")
    sizes[second.id] = 8.0
    assert recurrence.recurring(bench, [first, twin], wanted).examples == (first.id,), "of equal ones the first"
    assert recurrence.recurring(bench, [first, second], wanted).examples == (first.id, second.id)


def test_pairs_are_found_where_their_own_two_datapaths_are(bench, asked, wanted, monkeypatch):
    example = next(e for e in asked if bench.datapaths.triplet(e.id) is not None)
    triplet = bench.datapaths.triplet(example.id)
    pair = bench.datapaths.stored_pair(example)
    np.testing.assert_array_equal(pair.adversarial.critical, triplet.adversarial.critical)
    np.testing.assert_array_equal(pair.source.critical, triplet.source.critical)
    assert len(pair.nulls) == len(triplet.nulls) > 0
    more = bench.datapaths.stored_pair(example, replace(wanted, null_targets=2))
    assert more is not None
    assert more.nulls == (), "of two nulls one is stored, and one alone would count for both"
    keys = bench.datapaths.path_keys(triplet.plan, wanted)
    get = bench.store.get
    monkeypatch.setattr(bench.store, "get", lambda key, kind: None if key == keys[2] else get(key, kind))
    assert bench.datapaths.stored_pair(example) is not None, "targets are not asked for"
    monkeypatch.setattr(bench.store, "get", lambda key, kind: None if key == keys[-1] else get(key, kind))
    assert bench.datapaths.stored_pair(example).nulls == (), "all nulls or none"
    monkeypatch.setattr(bench.store, "get", lambda key, kind: None if key == keys[1] else get(key, kind))
    assert bench.datapaths.stored_pair(example) is None


def test_an_example_with_nothing_to_explain_has_no_pair(bench):
    failed = next(j.example for j in bench.judging.judged_examples() if not j.misclassified)
    unsaid = replace(failed, adversarial=failed.source)
    assert bench.datapaths.stored_pair(unsaid) is None


def test_nothing_is_extracted(bench, asked, wanted, monkeypatch):
    monkeypatch.setattr(datapath, "extract", None)
    assert recurrence.recurring(bench, asked, wanted).stored >= EXTRACTED


def test_what_chance_gives_is_said(found):
    side = replace(found.gained, most=3, beyond=0)
    assert recurrence.verdict(side, 9).endswith("(in 95 % of draws). No map is gained in more.")
    assert "more than 3 of 9 examples" in recurrence.verdict(side, 9)
    assert recurrence.verdict(replace(side, beyond=1), 9).endswith("1 map is gained in more.")
    assert recurrence.verdict(replace(side, beyond=4), 9).endswith("4 maps are gained in more.")


def test_the_verb_prints_classes_and_maps(filling_world, bench, asked, found, capsys):
    said = [str(filling_world), "--processes", "1"]
    assert main(["diverge", *said, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    told = document["recurring"]
    assert set(told["examples"]) == set(found.examples)
    assert (told["stored"], told["asked"], told["with_other_images"]) == (found.stored, found.asked, found.beside)
    for side in (found.gained, found.lost):
        of = told[side.side]
        assert (of["most_by_chance"], of["recurring"], of["beyond"]) == (side.most, side.recurring, side.beyond)
        assert {(m["layer"], m["map"]) for m in of["maps"]} == {(m.layer, m.map) for m in side.maps[:12]}
    pairs = Counter(divergences.class_pairs(bench, asked))
    names = bench.class_names
    assert {(c["source"], c["adversarial"]): c["examples"] for c in document["confusions"]} == {
        (names[a], names[b]): count for (a, b), count in pairs.items()
    }
    assert main(["diverge", *said]) == 0
    text = capsys.readouterr().out
    first = found.gained.maps[0]
    line = next(line for line in text.splitlines() if line.startswith(f"{first.layer}:{first.map} "))
    assert line.split()[1:4] == [str(len(first.examples)), f"{first.chance:.1f}", f"{first.others:.1f}"]
    assert recurrence.verdict(found.lost, len(found.examples)) in text
    assert main(["diverge", *said, "--method", "gradient", "--examples", "1"]) == 0
    assert "Maps recur from two on: store more with `aevis extract`." in capsys.readouterr().out


def test_classes_are_counted_and_the_rarest_stand_together():
    pairs = [(0, 1)] * 3 + [(2, 1)] * 2 + [(3, 4), (5, 4), (5, 6), (7, 0)]
    whole = divergences.confusions(pairs)
    assert whole.sources == (0, 2, 5, 3, 7), "the most frequent first, then by number"
    assert whole.taken_for == (1, 4, 0, 6)
    assert whole.more == (0, 0)
    for a, row in zip(whole.sources, whole.counts, strict=True):
        assert row.tolist() == [pairs.count((a, b)) for b in whole.taken_for]
    small = divergences.confusions(pairs, most=3)
    assert small.sources == (0, 2, divergences.REST)
    assert small.taken_for == (1, 4, divergences.REST)
    assert small.more == (3, 2)
    assert small.counts.tolist() == [[3, 0, 0], [2, 0, 0], [0, 2, 2]]
    assert divergences.confusions(pairs, most=5).more == (0, 0), "as many classes as rows need no others"
    assert divergences.confusions([]).counts.shape == (0, 0)
