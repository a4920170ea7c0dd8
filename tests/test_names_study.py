"""The study of names: counted as defined, beside its nulls; one half's names hold on the other in a trained network."""

import csv
import json

import numpy as np
import pytest

from aevis_dash.cli import main
from aevis_dash.core.names import THRESHOLDS, Guesses, NameKind
from aevis_dash.domain import AevisError
from aevis_dash.names_study import DEPTHS, LEAST_RIGHT, JudgedNames, count, depth_of, estimate_share, judge_names
from aevis_dash.workbench import open_workbench

NAN = float("nan")


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def found(bench):
    return judge_names(bench, 12)


def judged(label, score, right, truth, layer):
    layer = np.array(layer)
    guesses = Guesses(np.array(label), np.array(score))
    return JudgedNames(layer // 2, layer, guesses, np.array(right, float), np.array(truth), np.full(len(layer), 0.1))


def test_clear_names_are_counted_and_the_nulls_are_those_of_the_same_maps():
    names = judged(
        label=[1, 1, 2, 3, -1, 4],
        score=[1.0, 0.95, 0.9, 0.5, 0.0, 0.92],
        right=[1, 0, 1, 1, NAN, 0],
        truth=[1, 2, 2, 3, 7, 5],
        layer=[0, 0, 0, 0, 8, 8],
    )
    lines = count(names, NameKind.FOR).by_score[0.9]
    assert lines["named"].mean == pytest.approx(4 / 6)
    assert (lines["right"].mean, lines["right"].n) == (0.5, 4)
    # of the other clear names of the layer: map 0 has (1, 2), of which one is its truth; map 1 and map 2 likewise
    assert lines["shuffled"].mean == pytest.approx(np.mean([1 / 2, 1 / 2, 0 / 2]))
    assert lines["shuffled"].n == 3, "the last map's layer has no other clear name"
    assert lines["chance"].mean == pytest.approx(0.1)
    by_depth = count(names, NameKind.FOR).by_depth
    assert by_depth[0]["right"].n == 3
    assert by_depth[4]["named"].mean == 0.5
    assert by_depth[2]["named"].n == 0


@pytest.mark.parametrize("right", [1.0, 0.0])
def test_a_threshold_is_proposed_where_enough_is_right_for_certain(right):
    score = np.linspace(0, 1, 400)
    names = judged([1] * 400, score, np.where(score < 0.55, 0.0, right), [1] * 400, [0] * 400)
    assert count(names, NameKind.FOR).proposed == (0.5 if right else None)
    lines = count(names, NameKind.FOR).by_score
    assert (lines[0.5]["right"].low >= LEAST_RIGHT) == bool(right)
    assert lines[0.4]["right"].low < LEAST_RIGHT


@pytest.mark.parametrize(("hits", "n"), [(5, 5), (0, 3), (13, 16), (40, 42)])
def test_the_interval_of_few_maps_stays_wide(hits, n):
    """Wilson's interval: the shares p at which the observed one lies 1.96 standard deviations from p."""
    found = estimate_share(np.array([1.0] * hits + [0.0] * (n - hits) + [NAN]))
    assert (found.mean, found.n) == (hits / n, n)
    for p in (found.low, found.high):
        if 1e-9 < p < 1 - 1e-9:
            assert abs(hits / n - p) / np.sqrt(p * (1 - p) / n) == pytest.approx(1.96, abs=0.001)
    assert found.high - found.low > 0.1
    assert np.isnan(estimate_share(np.zeros(0)).mean)
    parts = estimate_share(np.array([0.5, 0.25, 1.0, 0.0]))
    assert parts.low < parts.mean == 0.4375 < parts.high


def test_depths_are_fifths_of_the_layers(bench):
    depths = [depth_of(bench.layers, i) for i in range(len(bench.layers))]
    assert [depths.count(d) for d in range(DEPTHS)] == [5] * 5
    assert depths == sorted(depths)


def test_names_hold_on_the_other_half_and_shuffled_ones_do_not(found, bench):
    assert set(found) == set(NameKind)
    last = found[NameKind.FOR].by_depth[4]
    assert last["named"].n == 12
    assert last["right"].mean > 0.8 > last["shuffled"].mean + 0.3
    assert last["chance"].mean == pytest.approx(1 / len(bench.class_names))
    images = found[NameKind.IMAGES].by_score[THRESHOLDS[NameKind.IMAGES]]
    assert images["right"].mean > 3 * images["chance"].mean
    parts = found[NameKind.PART].by_score[THRESHOLDS[NameKind.PART]]
    assert parts["right"].mean > parts["shuffled"].mean > parts["chance"].mean
    again = judge_names(bench, 12)
    assert again[NameKind.FOR].by_score == found[NameKind.FOR].by_score, "the same seed gives the same answer"


def test_what_the_other_half_says_is_the_mean_over_its_images(filling_world, monkeypatch):
    """Where closing does one thing on every image, every name is right; where the halves disagree, none is."""

    class OneClass:
        def __init__(self, *_):
            pass

        def effects(self, image, maps):
            wanted = np.zeros((len(maps), 10), np.float32)
            wanted[:, 3], wanted[:, 5] = 2, -1
            return wanted

    monkeypatch.setattr("aevis_dash.names_study.Closer", OneClass)
    found = judge_names(open_workbench(filling_world), 2)
    for kind in (NameKind.FOR, NameKind.AGAINST):
        lines = found[kind].by_score[0.95]
        assert (lines["named"].mean, lines["right"].mean, lines["right"].n) == (1, 1, 2 * DEPTHS)

    def unlike(_self, image, maps):
        return np.eye(10, dtype=np.float32)[[int(image.sum()) % 10] * len(maps)]

    OneClass.effects = unlike
    lines = judge_names(open_workbench(filling_world), 2)[NameKind.FOR].by_score
    assert lines[0.9]["named"].mean < 0.2, "every image says something else"


def test_too_few_images_are_refused(world):
    table = world / "images.csv"
    table.write_text("".join(table.read_text().splitlines(True)[:6]))
    with pytest.raises(AevisError, match="has 5 images"):
        judge_names(open_workbench(world))


def test_the_verb_prints_writes_and_refuses(filling_world, found, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("aevis_dash.cli.name_studies.judge_names", lambda *_: found)
    table = tmp_path / "names.csv"
    said = ["benchmark", "names", str(filling_world), "--examples", "12", "--quiet"]
    assert main([*said, "--csv", str(table)]) == 0
    text = capsys.readouterr().out
    right = found[NameKind.FOR].by_depth[4]["right"]
    assert f"{right.mean:.2f} [{right.low:.2f}, {right.high:.2f}] of {right.n}" in text
    assert "12 maps of each fifth" in text
    with table.open() as file:
        rows = list(csv.DictReader(file))
    of = [r for r in rows if (r["kind"], r["depth"], r["line"]) == ("for", "last fifth", "right")]
    assert float(of[0]["mean"]) == pytest.approx(right.mean)
    assert main([*said, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["thresholds"]["for"] == THRESHOLDS[NameKind.FOR]
    assert len(document["lines"]) == len(rows)
    assert main([*said, "--weakest"]) == 2
    assert "Leave out --methods, --weakest" in capsys.readouterr().err
