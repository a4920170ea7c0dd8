"""The measurement of the page without a browser: its lines, its refusals, and what it prints."""

import csv
import json
import os
import subprocess
import sys

import pytest

from aevis_dash.cli import main, studies
from aevis_dash.config import silent
from aevis_dash.domain import AevisError, Role
from aevis_dash.images import write_image
from aevis_dash.pagespeed import chromium, large, measuring, places
from aevis_dash.pagespeed.timing import Line, from_clicks, growth
from aevis_dash.workbench import open_workbench


def test_95_percent_must_be_under_the_limit_by_a_time_that_was_measured():
    """19 of 20 at 100 ms and one at 900: the 95th percentile must not be a mean of the two, nor hide the slow one."""
    fast, slow = (100.0,) * 19, (900.0,)
    assert Line("click", "ms", fast + slow, 200.0).high == 900.0
    assert Line("click", "ms", fast + slow, 200.0).verdict == "missed"
    assert Line("click", "ms", fast * 2 + slow, 200.0).high == 100.0
    assert Line("click", "ms", fast * 2 + slow, 200.0).verdict == "held"
    assert Line("click", "ms", (200.0,), 200.0).verdict == "missed", "under the limit is not at it"


def test_what_was_not_measured_is_not_held():
    assert Line("group", "ms", (), 500.0, "no groups").verdict == "not measured"
    assert Line("load again", "ms", (5000.0,)).verdict == "-", "nothing is promised of it"
    document = Line("group", "ms", (), 500.0, "no groups").document()
    assert (document["n"], document["note"], document["verdict"]) == (0, "no groups", "not measured")


def test_a_click_that_changes_nothing_is_no_fast_one():
    found = from_clicks("map", [300.0, None, 100.0, None], 200.0, "seeded")
    assert found.values == (300.0, 100.0)
    assert found.note == "seeded; 2 clicks changed nothing"
    assert from_clicks("map", [None], 200.0).verdict == "not measured"


def test_growth_is_of_what_was_held_before():
    assert growth("server", 400, 500, 20, 3).values == (25.0,)
    assert growth("server", 400, 500, 20, 3).verdict == "missed"
    assert growth("server", 400, 300, 20, 3).verdict == "held"


def test_growth_that_was_not_measured_is_not_held():
    """A kind of click that changed nothing in one of the two workspaces has no middle to compare."""
    assert growth("map clicked", float("nan"), 100, 20, 0, "ms").verdict == "not measured"
    assert growth("map clicked", 100, 119, 20, 5, "ms").note == "100 to 119 ms, 5 samples"


def test_an_enlarged_world_has_the_examples_of_the_small_one_and_goes_on_where_it_stopped(world, monkeypatch):
    bench = open_workbench(world)
    drawn = []

    def drawing(path, image):
        drawn.append(path.name)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return write_image(path, image)

    monkeypatch.setattr(large, "write_image", drawing)
    with pytest.raises(KeyboardInterrupt):
        large.enlarged(bench, 64, silent)
    drawn[:] = [""] * 9
    root = large.enlarged(bench, 64, silent)
    assert len(drawn) == 9 + 2, "the two drawings that were written are not written again"
    found = open_workbench(root)
    assert len(found.workspace.images) == 64
    assert found.workspace.examples() == bench.workspace.examples()
    assert found.learning.complete
    assert measuring.stored_examples(found)
    assert large.enlarged(bench, 64, silent) == root
    assert len(drawn) == 9 + 2


def test_a_workspace_that_is_no_drawn_world_is_not_enlarged(world):
    settings = world / "workspace.toml"
    settings.write_text(settings.read_text().replace("aevis_dash.world.network:drawn_world_resnet", "some:net"))
    with pytest.raises(AevisError, match="is no drawn world"):
        large.enlarged(open_workbench(world), 64, silent)


def test_layers_are_visited_where_adv_has_critical_maps_and_what_holds_them_is_opened(drawn_world):
    bench = open_workbench(drawn_world)
    name = bench.workspace.settings.opens_on
    layers = places.critical_layers(bench, name)
    critical = bench.datapaths.triplet(name).path(Role.ADVERSARIAL).critical
    assert [bool(part.any()) for part in bench.layers.parts(critical)] == [
        i in layers for i in range(len(bench.layers))
    ]
    last = bench.layers.find("layer3.1.relu_1").index
    assert places.groups_around(bench, [0, last, last - 1]) == ["layer3.1"]


def test_memory_is_that_of_a_process_with_what_it_started():
    program = "import sys; held = bytearray(64 * 1024 * 1024); print('ready', flush=True); sys.stdin.read()"
    before = chromium.memory(os.getpid(), itself=False)
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alone, all_ = chromium.memory(os.getpid(), itself=False), chromium.memory(os.getpid())
        child.communicate(b"")
    assert 64 < alone - before < 128
    assert all_ > alone


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("selenium", "pip install selenium"),
        ("chromium", "no Chromium is on the path. Install chromium"),
        ("chromedriver", "no chromedriver is on the path. Install chromium"),
    ],
)
def test_a_missing_browser_is_told_before_anything_is_measured(drawn_world, lacking, words, monkeypatch, capsys):
    monkeypatch.setattr(chromium, "find_spec", lambda name: None if lacking == "selenium" else "there")
    there = {"chromium": "/bin/chromium", "chromedriver": "/bin/chromedriver"}
    there.pop(lacking, None)
    monkeypatch.setattr(chromium.shutil, "which", there.get)
    monkeypatch.setattr(measuring, "stored_examples", lambda bench: pytest.fail("measured"))
    assert main(["benchmark", "page", str(drawn_world)]) == 2
    assert words in capsys.readouterr().err


def test_a_browser_that_does_not_start_is_told(tmp_path, monkeypatch):
    pytest.importorskip("selenium")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(chromium, "check_browser", lambda: (str(broken), str(broken)))
    with pytest.raises(AevisError, match="Chromium does not start"), chromium.open_browser():
        pass


def test_a_server_that_does_not_start_is_told(tmp_path):
    with pytest.raises(AevisError, match=r"did not start: aevis: .*workspace\.toml"), chromium.serve(tmp_path):
        pass


def test_only_what_is_stored_is_clicked(world):
    """The opening example alone is extracted; without learned features, or without any, the way on is told."""
    bench = open_workbench(world)
    with pytest.raises(AevisError, match=r"no learned features stored.*aevis extract"):
        measuring.stored_examples(bench)
    bench.learning.features()
    assert measuring.stored_examples(bench) == (bench.workspace.settings.opens_on,)
    for path in (world / "cache" / "datapath").iterdir():
        path.unlink()
    with pytest.raises(AevisError, match=r"no example's datapaths stored.*aevis extract"):
        measuring.stored_examples(open_workbench(world))


def test_the_table_says_what_was_held_missed_and_left_out(drawn_world, tmp_path, monkeypatch, capsys):
    asked = []
    lines = [Line("map clicked", "ms", (150.0, 250.0), 200.0), Line("group", "ms", (), 500.0, "no groups")]

    def measured(bench, clicks, minutes, images, seed, progress):
        asked.append((clicks, minutes, images, seed))
        return {"model": "some:model", "lines": [line.document() for line in lines]}

    monkeypatch.setattr(studies, "page_speed", measured)
    said, into = ["benchmark", "page", str(drawn_world), "--clicks", "7", "--minutes", "0.5"], tmp_path / "lines.csv"
    assert main([*said, "--seed", "3", "--csv", str(into)]) == 0
    printed = capsys.readouterr().out
    assert "map clicked  2     200   250   250    200  ms    missed" in printed
    assert "not measured  no groups" in printed
    assert main([*said, "--json", "--images", "10000"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"][1]["median"] is None
    assert asked == [(7, 0.5, 0, 3), (7, 0.5, 10000, 0)]
    with into.open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["missed", "not measured"]
