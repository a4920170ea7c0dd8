"""The benchmark measures everything from scratch and leaves the workspace as it is."""

import json
import math
import pickle

import pytest

from aevis_dash import benchmark as measuring
from aevis_dash.cli import main, studies
from aevis_dash.domain import AevisError
from aevis_dash.workbench import open_workbench


def files(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_it_measures_from_scratch_and_touches_nothing(drawn_world, capsys):
    before = files(drawn_world)
    assert main(["benchmark", str(drawn_world), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert files(drawn_world) == before
    costs = {cost["what"]: cost for cost in found["costs"]}
    assert all(cost["seconds"] > 0 for cost in costs.values())
    bench = open_workbench(drawn_world)
    triplet = bench.datapaths.triplet(bench.workspace.settings.opens_on)
    assert triplet is not None
    assert costs["extraction"]["passes"] == pytest.approx(sum(path.passes for path in triplet.paths))
    assert costs["extraction"]["detail"] == f"5 datapaths of {triplet.plan.example.id}"
    assert costs["a datapath"]["passes"] == pytest.approx(costs["extraction"]["passes"] / 5)
    assert costs["reading a stored triplet"]["seconds"] < costs["extraction"]["seconds"]
    assert costs["judging everything"]["passes"] is None
    names = [layer.name for layer in bench.layers.layers]
    near, far = (costs[f"contribution, {which}"] for which in ("neighbours", "half the network"))
    assert near["detail"].endswith(f"from {names[23]}, 128 maps")
    assert far["detail"].endswith(f"from {names[12]}, 32 maps")
    assert near["passes"] > 0
    assert {"torch", "torchvision", "numpy", "python", "threads", "cores", "device"} <= found.keys()
    assert (found["layers"], found["feature_maps"]) == (25, bench.layers.n_maps)


def as_if_sent(work, *given):
    """What a process would be sent, called here."""
    work, given = pickle.loads(pickle.dumps((work, given)))
    return work(*given)


def test_the_costs_of_an_explanation(drawn_world, capsys, monkeypatch):
    """The memory is measured here and not in fresh processes, which take seconds to start (`test_comparison` does)."""
    before, measured, measure = files(drawn_world), [], studies.benchmark_contributions
    monkeypatch.setattr(measuring, "in_fresh_process", as_if_sent)
    monkeypatch.setattr(
        studies, "benchmark_contributions", lambda *given: measured.append(measure(*given)) or measured[0]
    )
    assert main(["benchmark", "contributions", str(drawn_world), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert files(drawn_world) == before
    costs = found["costs"]
    assert all(cost["seconds"] > 0 for cost in costs)
    names = [cost["what"] for cost in costs]
    for how in ("quadratic", "solved"):
        for place in ("neighbours", "one stage", "half the network", "the network", "the prediction, the network"):
            assert f"{how}, {place}" in names
    passes = {cost["what"]: cost["passes"] for cost in costs}
    assert passes["quadratic, the network"] < 4.1 < 24 < passes["solved, the network"] < 2 * 41 + 6
    assert passes["exact, every map of a layer"] > 128 / 3
    assert names.count("flip-back, search and controls") == 5
    assert names[-1] == "assistant, a way back"
    assert list(found["memory"]) == ["solved, the network", "a training step"]
    assert all(mebibytes >= 0 for mebibytes in found["memory"].values())
    monkeypatch.setattr(studies, "benchmark_contributions", lambda *_: measured[0])
    assert main(["benchmark", "contributions", str(drawn_world)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[-len(costs) :]] == names
    assert any(line.startswith("MiB of a training step") for line in lines)


def test_what_learning_costs(drawn_world, capsys):
    before = files(drawn_world)
    assert main(["benchmark", "learned", str(drawn_world), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert files(drawn_world) == before
    few, all_of_them = found["costs"]
    assert few["detail"].endswith("maps on 15 images")
    assert all_of_them["detail"].endswith("maps on 60 images")
    assert min(few["seconds"], all_of_them["seconds"]) > 0
    first, last = found["memory"].values()
    assert first > 100, "of the whole process, torch included"
    assert abs(last - first) < 100, "it does not grow with the images"


def test_a_pass_is_forward_and_backward(drawn_world, monkeypatch):
    bench = open_workbench(drawn_world)
    runs = []
    monkeypatch.setattr(measuring, "run_pass", lambda classifier, images: runs.append(images.shape))
    example = bench.judging.judged_examples()[0]
    assert measuring.seconds_of_a_pass(bench, example) >= 0
    assert runs == [(1, 64, 64, 3)] * (measuring.REPEATS + 1)
    monkeypatch.undo()
    gradient = measuring.run_pass(bench.classifier, bench.workspace.read([example.example.adversarial]))
    assert math.isfinite(gradient)
    assert gradient != 0


def test_a_workspace_without_misclassified_examples_is_refused(world):
    (world / "examples.csv").unlink()
    with pytest.raises(AevisError, match=r"no misclassified example to measure on\. Make some with `aevis attack`"):
        measuring.benchmark(open_workbench(world))
