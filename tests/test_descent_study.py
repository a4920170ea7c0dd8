"""How fast the two solvers of Eq. 5 come to their ends, beside long runs."""

import numpy as np
import pytest

from aevis_dash import descent_study
from aevis_dash.cli import main
from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath
from aevis_dash.core.measures import jaccard
from aevis_dash.core.problem import Foil
from aevis_dash.descent_study import LONG, MARKS, SOLVERS, Descents, compare_descents, descents, descents_of, summary
from aevis_dash.image_pair import ImagePair
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def example(bench):
    return bench.workspace.example(bench.workspace.settings.opens_on)


@pytest.fixture(scope="module")
def found(bench, example):
    return descents_of(ImagePair(bench, example.id).problem(ExtractionParameters()), (5, 12, 151), 150)


def test_it_is_the_datapath_of_the_method_needed_that_is_descended_to(bench, example, found):
    adv, src = (bench.workspace.read([name]) for name in (example.adversarial, example.source))
    foils = [Foil(bench.judging.predict([example.source])[0].label, src[0])]

    def path(steps):
        return next(datapath.extract(bench.classifier, adv, [], ExtractionParameters(iterations=steps), foils=foils))

    early, end = path(11), path(150)
    least = end.loss / found.loss[0, 2]
    assert found.loss[0, 1] == pytest.approx(early.loss / least, rel=1e-4)
    assert found.jaccard[0, 1] == pytest.approx(jaccard(early.critical, end.critical), abs=0.02)
    assert found.warned[1] == early.unsolved
    assert found.warned.tolist()[::2] == [1, 0]


def test_the_solver_by_models_is_there_with_fewer_passes(found):
    assert (np.diff(found.loss, axis=1) <= 0).all()
    assert found.loss[:, -1].tolist() == found.ends.tolist()
    assert found.ends.min() == 1
    assert (found.jaccard[:, -1] == 1).all()
    assert found.near[1] <= found.passes[1]
    assert found.passes[0] < 0.5 * found.passes[1]
    assert (found.loss[0, :2] < 0.95 * found.loss[1, :2]).all()
    reached = found.ends[0] <= 1.01 * found.ends[1]
    assert found.near[0] < found.near[1] if reached else found.near[0] == 150
    assert 0.5 < found.same <= 1


def test_a_loss_that_is_never_reached_counts_as_the_longest_run():
    trail = descent_study.Trail(lambda z: z)
    trail.losses = [3.0, 2.0, 2.0, 1.0]
    assert [trail.passes_to(loss, 99) for loss in (3, 2.5, 1, 0.5)] == [1, 2, 4, 99]
    assert [trail.at(passes) for passes in (1, 4, 9)] == [0, 3, 3]


def test_the_summary_takes_medians_and_tells_how_often_the_solver_warns():
    def made(loss, warned):
        ends = np.array([loss, 1.0])
        many = np.full((2, len(MARKS)), loss)
        return Descents(many, many / 4, np.full(len(MARKS), warned), ends * 9, ends * 20, ends, loss / 4)

    lines = summary([made(1.0, 1.0), made(1.2, 0.0), made(2.0, 0.0)], 0)
    assert lines["loss 30"].mean == 1.2
    assert lines["jaccard 60"].mean == pytest.approx(0.3)
    assert lines["warned 10"].mean == pytest.approx(1 / 3)
    assert (lines["near"].mean, lines["passes"].mean, lines["ends"].mean) == pytest.approx((10.8, 24, 1.2))
    assert lines["same"].mean == pytest.approx(0.3)
    assert summary([made(1.0, 1.0)], 1)["warned 10"].n == 0, "the solver before said it otherwise"


def test_every_example_is_kept_and_the_verb_prints_the_table(bench, filling_world, monkeypatch, capsys):
    monkeypatch.setattr(descent_study, "descents_of", lambda problem, real=descents_of: real(problem, MARKS, 60))
    examples, lines = compare_descents(bench, Sample(2, processes=1))
    assert examples == tuple(e.id for e in choose(bench, Sample(2)))
    assert list(lines) == list(SOLVERS)
    wanted = np.median([descents(bench, e).loss[1, 1] for e in examples])
    assert lines["along the gradient"]["loss 20"].mean == pytest.approx(wanted)

    def again(*_args):
        raise AssertionError("measured again")

    monkeypatch.setattr(descent_study, "descents_of", again)
    assert main(["benchmark", "solver", str(filling_world), "--examples", "2", "--processes", "1", "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "2 adversarials, medians" in told
    assert "Jaccard with its own long run" in told
    assert all(told.count(name) >= 4 for name in SOLVERS)
    asked = ["benchmark", "solver", str(filling_world), "--methods", "needed", "--quiet"]
    assert main(asked) == 2
    assert "Leave out --methods" in capsys.readouterr().err
    assert max(MARKS) < LONG
