"""The paper's evaluation over a workspace: what it says is what Eq. 9 and 10 say of the stored datapaths."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import reference

from aevis_dash import paper_evaluation as surveys
from aevis_dash.cli import main
from aevis_dash.config import ExtractionParameters
from aevis_dash.core.evaluation import levels
from aevis_dash.domain import AevisError
from aevis_dash.paper_evaluation import Question, lines, rows, survey
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench

ASKED = Question(r=2, granularity="stage")
HERE = Sample(3, processes=1)


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def found(bench):
    return survey(bench, ["gradient", "random"], 2, HERE, ASKED)


def test_every_outcome_is_that_of_eq_9_and_10(bench, found):
    graph = bench.layers
    grouping = levels(graph, "stage")
    wanted = dataclasses.replace(
        bench.workspace.settings.extraction, method="gradient", candidates=2, null_targets=2, seed=0
    )
    said = set()
    for example, outcome in zip(found.examples, found.methods["gradient"].outcomes, strict=True):
        triplet = bench.datapaths.triplet(example, wanted=wanted)
        assert triplet is not None, "the datapaths are kept"
        assert len(triplet.nulls) == 2
        adv, src, tar = (p.gates for p in (triplet.adversarial, triplet.source, triplet.candidates[0]))
        diff = []
        for level in grouping:
            at = np.concatenate([np.arange(graph.offsets[i], graph.offsets[i + 1]) for i in level])
            diff.append(reference.eq4_distance(adv[at], src[at]) - reference.eq4_distance(adv[at], tar[at]))
        np.testing.assert_allclose(outcome.targets.diff[0], diff, atol=1e-6)
        grows = diff[-1] > diff[-2] > diff[-3] and diff[-1] == max(diff)
        assert bool(outcome.targets.pattern[0]) == grows
        said.add(bool(grows))
    assert said == {True, False}


def test_every_method_has_score_null_and_excess(found):
    for evaluated in found.methods.values():
        named = lines(evaluated)
        assert [name for name in named if name.startswith("top-1")] == ["top-1 score", "top-1 null", "top-1 excess"]
        assert named["drift excess"].mean == pytest.approx(named["drift score"].mean - named["drift null"].mean), (
            "every example here has both"
        )
    random = lines(found.methods["random"])["drift excess"]
    assert random.mean == 0, "the same gates for every image: no river at all"


def test_the_rows_say_what_was_found_for_every_pair(bench, found):
    names = [layer.name for layer in bench.layers.layers]
    listed = rows(found, names)
    assert len(listed) == sum(
        len(o.targets.pattern) + len(o.nulls.pattern) for m in found.methods.values() for o in m.outcomes
    )
    mine = [
        r
        for r in listed
        if r["method"] == "gradient" and r["example"] == found.examples[0] and r["against"] == "target"
    ]
    assert [r["rank"] for r in mine] == list(range(1, len(mine) + 1))
    assert [r["similarity"] for r in mine] == sorted((r["similarity"] for r in mine), reverse=True)
    outcome = found.methods["gradient"].outcomes[0].targets
    order = np.argsort(-outcome.similarity, kind="stable")
    last = len(found.methods["gradient"].levels) - 1
    for row, i in zip(mine, order, strict=True):
        assert (row["starts"] == "") == (outcome.growth_start[i] == last)
    assert {r["starts"] for r in listed} <= {*names, ""}
    assert "" in {r["starts"] for r in listed}, "random gates never grow"


def test_targets_and_nulls_are_as_many(bench, monkeypatch):
    """The most similar of many are more similar than the most similar of few."""
    seen, real = [], surveys.evaluation.outcome
    monkeypatch.setattr(
        surveys.evaluation, "outcome", lambda g, levels, trial, *a: seen.append(trial) or real(g, levels, trial, *a)
    )
    example = choose(bench, HERE)[0]
    for candidates, nulls in ((2, 1), (1, 2), (2, 0)):
        wanted = ExtractionParameters(method="gradient", candidates=candidates, null_targets=nulls)
        surveys.examine(bench, surveys.Item(example.id, wanted, ASKED))
        shared = min(candidates, nulls) if nulls else candidates
        assert (len(seen[-1].targets), len(seen[-1].nulls)) == (shared, shared if nulls else 0)


def test_a_second_run_extracts_nothing(bench, found, monkeypatch):
    def again(*_args, **_kwargs):
        raise AssertionError("extracted again")

    monkeypatch.setattr("aevis_dash.core.datapath.extract", again)
    same = survey(bench, ["gradient", "random"], 2, HERE, Question(r=1, granularity="layer", norm="cosine"))
    assert same.examples == found.examples
    assert len(same.methods["gradient"].levels) == len(bench.layers)


def test_examples_without_targets_are_left_out_in_words(bench, monkeypatch):
    ids = [e.id for e in choose(bench, HERE)]
    plan = bench.datapaths.plan

    def refusing(example, *asked):
        if example.id == ids[1]:
            raise AevisError("no target")
        return plan(example, *asked)

    monkeypatch.setattr(bench.datapaths, "plan", refusing)
    monkeypatch.setattr(surveys.tasks, "run", lambda task, root, items, *rest: enumerate(attempt(task, bench, items)))
    found = survey(bench, ["gradient"], 2, HERE, ASKED)
    assert found.refused == {ids[1]: "no target"}
    assert list(found.examples) == [ids[0], *ids[2:]]
    assert len(found.methods["gradient"].outcomes) == HERE.count - 1
    monkeypatch.setattr(bench.datapaths, "plan", lambda example, *_: refusing(dataclasses.replace(example, id=ids[1])))
    with pytest.raises(AevisError, match=rf"None of {HERE.count} examples can be evaluated\. no target"):
        survey(bench, ["gradient"], 2, HERE, ASKED)


def attempt(task, bench, items):
    for item in items:
        try:
            yield task(bench, item)
        except AevisError as error:
            yield surveys.tasks.Refused(str(error))


@pytest.mark.parametrize(
    ("methods", "question", "words"),
    [
        (["magic"], ASKED, "no method 'magic'"),
        (["gradient"], Question(r=2, granularity="galaxy"), "galaxy"),
        (["gradient"], Question(r=2, granularity="stage", norm="l7"), "no norm 'l7'"),
        (["gradient"], Question(r=99, granularity="stage"), "r = 99"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_computed(bench, methods, question, words, monkeypatch):
    monkeypatch.setattr(surveys.tasks, "run", None)
    with pytest.raises(AevisError, match=words):
        survey(bench, methods, 2, HERE, question)


def test_the_verb_prints_the_table_and_writes_the_pairs(filling_world, found, tmp_path, capsys):
    into = tmp_path / "pairs.csv"
    said = [
        "--methods",
        "gradient",
        "--examples",
        str(HERE.count),
        "--targets",
        "2",
        "--r",
        "2",
        "--granularity",
        "stage",
    ]
    assert main(["evaluate", str(filling_world), *said, "--processes", "1", "--csv", str(into)]) == 0
    text = capsys.readouterr().out
    score = lines(found.methods["gradient"])["drift score"]
    assert f"{score.mean:.3f} [{score.low:.3f}, {score.high:.3f}]" in text
    with into.open() as file:
        listed = list(csv.DictReader(file))
    assert {row["example"] for row in listed} == set(found.examples)
    assert main(["evaluate", str(filling_world), *said, "--processes", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {line["line"] for line in document["lines"]} == set(lines(found.methods["gradient"]))
    assert len(document["outcomes"]) == len(listed)
