"""How often the hops of trails exceed their controls, over a workspace's examples."""

import csv
import json

import numpy as np
import pytest

from aevis_dash import hop_study
from aevis_dash.assistant import Hop, best_line, line_of, propose
from aevis_dash.cli import main
from aevis_dash.core.evaluation import bootstrap
from aevis_dash.domain import PREDICTION, WHOLE_PREDICTION, FeatureMap, Verification
from aevis_dash.hop_study import ALL, BEST, LINES, TOLD, compare_hops, judge, judged_hops, summary
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench


def hop(parent, channel, gain, chance=(), alike=(), margin=-4.0):
    """A hop whose map alone moves a margin by `gain`, where other maps lead to the margins `chance`."""
    none = np.zeros(0)
    tested = Verification(
        layer=0,
        replacement="source",
        before=0,
        wanted=1,
        maps=np.array([channel]),
        margins=np.array([margin, margin + gain]),
        labels=np.zeros(2, int),
        turned=False,
        chance=np.array(chance, float),
        chance_turned=0.0,
        controls=none,
        controls_turned=none,
        controls_same=none,
        needed=none,
        whole=0.0,
        whole_turned=False,
        disjoint=none,
        alone=none,
        width=8,
        runs=0,
    )
    effect = PREDICTION if parent < 0 else FeatureMap(1, 0)
    return Hop(parent, effect, WHOLE_PREDICTION, 0, channel, 0.1, 0.1, 1.0, tested, np.array(alike, float))


# the line leads from the second best hop of the first depth over that of the second depth to the third
TRAIL = [
    hop(-1, 5, 2.0, chance=[-3.0, -3.5, -2.5], alike=[0.5, 1.9]),
    hop(-1, 6, 1.0, chance=[-3.0, -3.5, -2.5], alike=[0.5, 1.9]),
    hop(0, 2, 0.8, chance=[-3.9] * 38 + [-3.1, -3.0], alike=[0.1, -np.inf]),
    hop(1, 3, 0.4, chance=[-3.9] * 38 + [-3.1, -3.0], alike=[0.5, -np.inf]),
    hop(3, 1, 3.0, chance=[-3.9], alike=[4.0, 3.0]),
]
SHORT = [hop(-1, 5, 0.5, chance=[-1.0, -2.9], alike=[], margin=-1.0)]
NAMES = ["last", "middle", "first"]


def test_a_trail_is_counted_hop_by_hop():
    found = judge(TRAIL)
    assert found.depth.tolist() == [0, 0, 1, 1, 2]
    assert found.told.tolist() == [False, True, False, True, True]
    assert found.best.tolist() == [True, False, True, False, True]
    assert found.gain.tolist() == pytest.approx([0.5, 0.25, 0.2, 0.1, 0.75])
    assert found.weaker.tolist() == [3, 1, 38, 38, 1]
    assert found.randoms.tolist() == [3, 3, 40, 40, 1]
    assert found.beaten.tolist() == [2, 1, 2, 1, 0], "a donor without a contributor is exceeded, an equal one is not"
    assert found.donors.tolist() == [2] * 5
    assert judge([]).depth.tolist() == []


def test_the_lines_are_means_over_the_hops_of_an_example_and_then_over_examples():
    found = summary([judge(TRAIL), judge(SHORT), judge([])], NAMES)
    assert list(found) == [f"{kind}, {name}" for kind in (TOLD, BEST) for name in [*NAMES, ALL]]

    def means(kind, name):
        return [found[f"{kind}, {name}"][line].mean for line in LINES]

    third = pytest.approx(1 / 3)
    assert means(TOLD, "last") == [pytest.approx(2 / 3), 0.5, 0.5, 0, third, 0.5, 0.375]
    assert means(TOLD, "middle") == pytest.approx([1 / 3, 0, 1, 0, 1 / 3, 0.5, 0.1])
    assert means(TOLD, "first") == [third, 1, 1, 0, third, 0, 0.75]
    assert means(TOLD, ALL) == [
        pytest.approx(4 / 3),
        pytest.approx(2 / 3),
        pytest.approx(5 / 6),
        0,
        third,
        third,
        0.375,
    ]
    assert means(BEST, "last") == [pytest.approx(2 / 3), 1, 1, 1, third, 1, 0.5]
    assert means(BEST, "middle") == pytest.approx([1 / 3, 0, 1, 1, 1 / 3, 1, 0.2])
    assert [found[f"{TOLD}, last"][line].n for line in LINES] == [3, 2, 2, 1, 1, 1, 2], "what there is"


def test_it_agrees_with_a_slow_twin():
    """Loops over a hundred drawn trails, all of one line with a better hop beside each, now and then a short one."""
    random, trails = np.random.default_rng(0), []
    for _ in range(100):
        hops = []
        for depth in range(int(random.integers(1, 4))):
            gains = sorted(random.uniform(0.1, 2, 2))[::-1]
            chance, alike = random.uniform(-5, -2, 20), random.uniform(0, 2.5, int(random.integers(1, 6)))
            parent = int(random.integers(2)) + 2 * depth - 2 if depth else -1
            hops += [hop(parent, i, gain, chance, alike) for i, gain in enumerate(gains)]
        trails.append(hops)
    found = summary([judge(hops) for hops in trails], NAMES, 7)
    for depth in (0, 1, 2, None):
        for kind in (TOLD, BEST):
            values = {line: [] for line in LINES}
            for hops in trails:
                line = best_line(hops)
                if kind == BEST:
                    at = [len(line_of(hops, i)) for i in range(len(hops))]
                    line = [max((h for h, d in zip(hops, at, strict=True) if d == k), key=lambda h: h.gain)
                            for k in sorted(set(at))]  # fmt: skip
                some = line if depth is None else line[depth : depth + 1]
                values["hops"].append(len(some))
                if not some:
                    continue
                margins = [(h.tested.margins[-1], h.tested.chance) for h in some]
                values["all random maps"].append(np.mean([all(m > c) for m, c in margins]))
                values["most random maps"].append(np.mean([np.mean(m > c) > 0.949 for m, c in margins]))
                values["all donors"].append(np.mean([h.gain > max(h.alike) for h in some]))
                values["by chance"].append(np.mean([1 / (1 + len(h.alike)) for h in some]))
                values["part of donors"].append(np.mean([np.mean(h.gain > h.alike) for h in some]))
                values["gain"].append(np.median([h.gain / 4 for h in some]))
            name = ALL if depth is None else NAMES[depth]
            for line in LINES:
                wanted = bootstrap(values[line], 7, statistic="median" if line == "gain" else "mean")
                told = found[f"{kind}, {name}"][line]
                assert (told.mean, told.low, told.high) == pytest.approx((wanted.mean, wanted.low, wanted.high))
                assert told.n == wanted.n


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


def test_the_trail_of_every_example_is_judged_and_kept(bench, filling_world, tmp_path, monkeypatch, capsys):
    examples, found = compare_hops(bench, Sample(2, processes=1))
    assert examples == tuple(e.id for e in choose(bench, Sample(2)))
    trails = [propose(bench, bench.datapaths.extract(e, nulls=False)) for e in examples]
    names = [bench.layers.layers[layer].name for layer in bench.flips.depths()[::-1]]
    assert found == summary([judge(hops) for hops in trails], names)
    assert found[f"{TOLD}, {names[0]}"]["hops"].mean == 1
    assert found[f"{BEST}, {ALL}"]["by chance"].mean == pytest.approx(1 / 21)
    for hops, example in zip(trails, examples, strict=True):
        assert judged_hops(bench, example).gain.tolist() == judge(hops).gain.tolist()

    def again(*_args):
        raise AssertionError("proposed again")

    monkeypatch.setattr(hop_study, "propose", again)
    table = tmp_path / "hops.csv"
    asked = ["benchmark", "hops", str(filling_world), "--examples", "2", "--processes", "1"]
    assert main([*asked, "--csv", str(table), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {(line["method"], line["line"]) for line in document["lines"]} == {(n, of) for n in found for of in LINES}
    with table.open(newline="") as file:
        listed = {(row["method"], row["line"]): float(row["mean"]) for row in csv.DictReader(file)}
    assert listed[f"{TOLD}, {ALL}", "part of donors"] == pytest.approx(found[f"{TOLD}, {ALL}"]["part of donors"].mean)
    assert main([*asked, "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "2 examples; the share of their trails' hops" in told
    row = next(line for line in told.splitlines() if line.startswith(f"{TOLD}, {ALL}"))
    assert f" {sum(len(best_line(hops)) for hops in trails)} " in row
    assert main([*asked, "--methods", "needed"]) == 2
    assert "Leave out --methods" in capsys.readouterr().err


def test_another_search_is_not_taken_for_the_stored_one(bench, monkeypatch):
    example = choose(bench, Sample(1))[0].id
    kept = judged_hops(bench, example)
    monkeypatch.setattr(hop_study.assistant, "CANDIDATES", 1)
    fewer = judged_hops(bench, example)
    assert fewer.depth.tolist() != kept.depth.tolist() or fewer.gain.tolist() != kept.gain.tolist()
