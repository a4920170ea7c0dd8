"""The bench on the command line: a table for people, every figure for machines, a picture."""

import csv
import json

import pytest

from aevis_dash.cli import main, studies
from aevis_dash.core.evaluation import Estimate
from aevis_dash.method_comparison import compare
from aevis_dash.sample import Sample
from aevis_dash.workbench import open_workbench

SAID = ["--methods", "gradient", "random", "--examples", "3", "--repeats", "1", "--processes", "1"]


@pytest.fixture(scope="module")
def found(filling_world):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aevis_dash.method_comparison.peak_memory", memory)
        return compare(open_workbench(filling_world), ["gradient", "random"], 1, Sample(3, processes=1))


def memory(_bench, _example, wanted):
    return Estimate(float(len(wanted.method)), 1.0, 99.0, 1)


@pytest.fixture(autouse=True)
def same_memory(monkeypatch):
    """A fresh process for the memory costs seconds and gives another figure each time."""
    monkeypatch.setattr("aevis_dash.method_comparison.peak_memory", memory)


def test_the_table_holds_the_figures(filling_world, found, tmp_path, capsys):
    table, picture = tmp_path / "bench.csv", tmp_path / "bench.html"
    files = ["--csv", str(table), "--figure", str(picture)]
    assert main(["benchmark", "datapaths", str(filling_world), *SAID, *files]) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if line.startswith("gradient")]
    gradient = found.methods["gradient"]
    assert rows[0][1] == f"{100 * gradient['core'].mean:.2f}"
    assert rows[1][7] == f"{gradient['causal'].mean:.2f}"
    core = gradient["core"]
    assert rows[2][1:3] == [f"{100 * gradient[line].mean:.1f}" for line in ("lost closed", "lost_null closed")]
    assert " ".join(rows[3][1:4]) == f"{100 * core.low:.2f} to {100 * core.high:.2f}"
    assert rows[4][1:] == [f"{100 * gradient[f'flips {i}'].mean:.1f}" for i in range(5)]
    assert "(difference)" in text
    with table.open() as file:
        lines = {(row["method"], row["line"]): row for row in csv.DictReader(file)}
    assert float(lines["gradient", "core"]["mean"]) == pytest.approx(gradient["core"].mean)
    assert float(lines["gradient", "core"]["low"]) == pytest.approx(gradient["core"].low)
    assert int(lines["random", "noise"]["n"]) == 1
    assert "causal rank agreement" in picture.read_text()


def test_machines_get_every_line(filling_world, found, capsys):
    assert main(["benchmark", "datapaths", str(filling_world), *SAID, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["examples"] == list(found.examples)
    assert {line["line"] for line in document["lines"] if line["method"] == "random"} == set(found.methods["random"])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["benchmark", "magic", "folder"], "no benchmark 'magic'"),
        (["benchmark", "datapaths", "WORLD", "--methods", "magic"], "no method 'magic'"),
        (["benchmark", "datapaths", "no-such-folder"], "no-such-folder"),
    ],
)
def test_what_is_not_there_is_refused(filling_world, said, words, capsys):
    assert main([str(filling_world) if word == "WORLD" else word for word in said]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--weakest"], ["--processes", "2"], ["--scheduler", "tcp://here:1"]])
def test_options_that_mean_nothing_to_a_bench_are_refused(filling_world, option, capsys):
    assert main(["benchmark", "truth", str(filling_world), "--examples", "1", *option]) == 2
    assert "makes its own attacks" in capsys.readouterr().err


def test_a_table_that_cannot_be_written_is_refused_before_anything_is_measured(filling_world, tmp_path, capsys):
    for verb in (["benchmark", "datapaths"], ["evaluate"], ["diverge"]):
        assert main([*verb, str(filling_world), "--csv", str(tmp_path)]) == 2
        assert "is a folder, which is not replaced by a file" in capsys.readouterr().err


def test_the_costs_are_written_where_asked(filling_world, monkeypatch, tmp_path, capsys):
    cost = {"what": "a pass", "seconds": 0.5, "passes": 1.0, "detail": "one image"}
    monkeypatch.setattr(studies, "measure", lambda bench, progress: {"workspace": "here", "costs": [cost]})
    into = tmp_path / "new" / "costs.csv"
    assert main(["benchmark", str(filling_world), "--csv", str(into)]) == 0
    with into.open() as file:
        assert [row["what"] for row in csv.DictReader(file)] == ["a pass"]


def test_a_workspace_alone_is_measured_for_its_costs(filling_world, monkeypatch, capsys):
    monkeypatch.setattr(
        studies, "measure", lambda bench, progress: {"workspace": str(bench.workspace.root), "costs": []}
    )
    assert main(["benchmark", str(filling_world), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workspace"] == str(filling_world)
    assert main(["benchmark", "costs", str(filling_world), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workspace"] == str(filling_world)


def test_the_truth_is_printed_beside_its_controls(filling_world, monkeypatch, tmp_path, capsys):
    estimate = Estimate(0.25, 0.125, 0.5, 3)
    every = dict.fromkeys(studies.TRUTH, estimate)
    asked = {}

    def measured(classifier, methods, count, seed, wanted, progress):
        asked.update(methods=methods, count=count, seed=seed)
        return {"gradient": every, "control: random": {k: v for k, v in every.items() if k != "diverging off"}}

    monkeypatch.setattr(studies, "ground_truth", measured)
    picture = tmp_path / "truth.html"
    said = ["--methods", "gradient", "--examples", "5", "--seed", "3", "--figure", str(picture)]
    assert main(["benchmark", "truth", str(filling_world), *said]) == 0
    text = capsys.readouterr().out
    assert asked == {"methods": ["gradient"], "count": 5, "seed": 3}
    assert text.count("0.250 [0.125, 0.500]") == 2 * len(studies.TRUTH) - 1
    assert "carried" in picture.read_text()
