"""What a few edges carry over a workspace's examples, and the verb that lists them for one."""

import json

import numpy as np
import pytest

from aevis_dash.cli import main
from aevis_dash.domain import AevisError, EdgeSet
from aevis_dash.edge_study import COUNT, FROM, LINES, compare_edges, judge
from aevis_dash.workbench import open_workbench

FOUND = EdgeSet(
    begin=np.array([3, 1]),
    end=np.array([2, 2]),
    effects=np.array([0.5, 0.25]),
    before=-3.0,
    carried=-1.0,
    all_carried=1.0,
    chance=np.array([-3.0, -2.5, -2.0]),
    by_difference=-2.0,
)


def test_parts_are_of_what_all_edges_move():
    assert judge(FOUND, 8.0) == pytest.approx([0.5, 0.5, 0.25, 0.125])
    nothing = EdgeSet(**(vars(FOUND) | {"begin": np.zeros(0, int)}))
    assert np.isnan(judge(nothing, 8.0)).all()
    alone = EdgeSet(**(vars(FOUND) | {"chance": np.zeros(0)}))
    assert np.isnan(judge(alone, 8.0)).all(), "no control"


def test_every_example_is_asked_about_one_stage(filling_world, capsys):
    bench = open_workbench(filling_world)
    examples = [j.example for j in bench.judging.judged_examples() if j.misclassified][:3]
    found = compare_edges(bench, examples)
    assert list(found) == list(FROM)
    assert list(found["the stage before"]) == list(LINES)
    random, depths = np.random.default_rng(0), bench.flips.depths()
    rows = []
    for example in examples:
        place = int(random.integers(1, len(depths)))
        edges = bench.flips.edges(example.id, depths[place - 1], depths[place], COUNT)
        rows.append(judge(edges, bench.flips.turning(example.id).change))
    wanted = np.mean(rows, axis=0)
    assert [found["the stage before"][line].mean for line in LINES] == pytest.approx(wanted.tolist())
    assert wanted[1] > wanted[3], "the strongest keep more than random ones"
    assert main(["benchmark", "edges", str(filling_world), "--examples", "2", "--quiet", "--processes", "1"]) == 2
    assert "Leave out --processes" in capsys.readouterr().err
    assert main(["benchmark", "edges", str(filling_world), "--examples", "2", "--quiet"]) == 0
    assert "2 examples, 20 edges of each" in capsys.readouterr().out


def test_the_verb_tells_the_edges_of_an_example_and_what_they_carry(filling_world, capsys):
    bench = open_workbench(filling_world)
    example, layers = bench.workspace.settings.opens_on, bench.layers
    assert main(["edges", str(filling_world), "--count", "7", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    last = len(layers) - 1
    found = bench.flips.edges(example, bench.contributions.sources(last)[0], last, 7)
    assert (told["example"], told["layer"]) == (example, layers.layers[last].name)
    assert [(e["from"], e["to"]) for e in told["edges"]] == list(zip(found.begin, found.end, strict=True))
    change = bench.flips.turning(example).change
    assert [e["share"] for e in told["edges"]] == pytest.approx((found.effects / change).tolist())
    assert told["kept"] == pytest.approx((found.carried - found.before) / (found.all_carried - found.before))
    assert main(["edges", str(filling_world), "--count", "7"]) == 0
    assert f"so these keep {told['kept']:.0%}." in capsys.readouterr().out


def test_a_network_of_one_stage_has_no_edges_between_stages(filling_world, monkeypatch):
    bench = open_workbench(filling_world)
    monkeypatch.setattr(bench.flips, "depths", lambda: (5,))
    with pytest.raises(AevisError, match="one stage only"):
        compare_edges(bench, [])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--layer", "relu"], "No layer feeds 'relu'"),
        (["--layer", "layer1.0.relu", "--from", "layer4.0.relu"], "no edge leads there"),
        (["--layer", "nope"], "nope"),
        (["--example", "nope"], "nope"),
    ],
)
def test_edges_that_cannot_be_are_refused(filling_world, capsys, argv, words):
    assert main(["edges", str(filling_world), *argv]) == 2
    assert words in capsys.readouterr().err
