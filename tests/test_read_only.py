"""A workspace on a disk that cannot be written: everything is computed, nothing is stored, and one line says so."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from aevis_dash import jobs
from aevis_dash.callbacks import health
from aevis_dash.callbacks.queueing import Queue
from aevis_dash.cli import main
from aevis_dash.config import silent
from aevis_dash.domain import AevisError
from aevis_dash.files import is_writable, part_prefix
from aevis_dash.make_workspace import make_embedded_world
from aevis_dash.store import SPARE_VARIABLE
from aevis_dash.workbench import open_workbench


@pytest.fixture
def read_only(drawn_world, disk):
    """The drawn world on a disk of its own, mounted without leave to write."""
    shutil.copytree(drawn_world, disk / "world")
    shutil.rmtree(disk / "world" / "cache" / "datapath")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    return disk / "world"


def test_a_verb_computes_without_storing_and_says_so_once(read_only, capsys):
    story = open_workbench(read_only).workspace.settings.opens_on
    assert main(["extract", str(read_only), "--example", story, "--no-features", "--json"]) == 0
    said = capsys.readouterr()
    (warning,) = [line for line in said.err.splitlines() if "cannot be stored" in line]
    assert f"Results cannot be stored in {read_only / 'cache'} (Read-only file system)" in warning
    assert json.loads(said.out)["examples"][0]["example"] == story
    assert [text for text in json.loads(said.out)["warnings"] if "cannot be stored" in text] != []
    assert not (read_only / "cache" / "datapath").exists()


@pytest.fixture(params=["a file", "no folder", "a dead link"])
def no_cache(world, request):
    """A world in whose cache's place stands something in which no folder can be made."""
    cache = world / "cache"
    shutil.rmtree(cache)
    if request.param == "a file":
        cache.write_text("")
    else:
        cache.symlink_to("/proc/nothing" if request.param == "no folder" else cache.with_name("gone") / "away")
    return world


def test_where_no_folder_can_be_made_all_is_computed_and_one_line_says_so(no_cache, capsys):
    if os.path.islink(no_cache / "cache") and "gone" in os.readlink(no_cache / "cache"):
        (no_cache / "gone").write_text("")
    assert main(["score", str(no_cache), "--json"]) == 0
    said = capsys.readouterr()
    (warning,) = [line for line in said.err.splitlines() if "cannot be stored" in line]
    assert f"Results cannot be stored in {no_cache / 'cache'} (" in warning
    assert len(json.loads(said.out)["examples"]) == 60
    assert not is_writable(no_cache / "cache")


@pytest.mark.parametrize("place", ["a file", "/proc"])
def test_a_drawn_world_that_can_be_made_nowhere_is_refused_by_the_variable(tmp_path, monkeypatch, place):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("AEVIS_CACHE", str(tmp_path / place))
    with pytest.raises(AevisError, match=r"drawn world cannot be made in .*/drawn-world \(.*AEVIS_CACHE"):
        make_embedded_world()


def test_a_job_hands_its_results_to_the_server_all_the_same(read_only, monkeypatch, tmp_path):
    """Its locks, too, lie where it may write; what a killed server left is swept, as is this when it ends."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(SPARE_VARIABLE, "")
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    monkeypatch.setenv(jobs.WORKSPACE_VARIABLE, str(read_only))
    left = tmp_path / f"{part_prefix()}{2**22 + 1}-x"
    (left / "datapath").mkdir(parents=True)
    jobs.workbench.cache_clear()
    jobs.share_spare_cache(read_only)
    assert not left.exists()
    spare = Path(os.environ[SPARE_VARIABLE])
    assert spare.parent == tmp_path
    server = open_workbench(read_only)
    assert any("cannot be stored" in text for text in server.warnings)
    story = server.workspace.settings.opens_on
    assert server.datapaths.triplet(story) is None
    try:
        jobs.extract(story, None, server.workspace.settings.extraction, silent)
    finally:
        jobs.workbench.cache_clear()
    assert server.datapaths.triplet(story) is not None


def test_a_disk_that_can_be_written_needs_no_other_folder(world, monkeypatch):
    monkeypatch.delenv(SPARE_VARIABLE, raising=False)
    jobs.share_spare_cache(world)
    assert SPARE_VARIABLE not in os.environ


def test_a_server_whose_store_became_read_only_is_not_ready_unless_results_lie_elsewhere(
    read_only, monkeypatch, tmp_path
):
    bench = open_workbench(read_only)
    monkeypatch.setenv(SPARE_VARIABLE, "")
    assert health.troubles(bench, Queue(), 0)["store"] == "Results cannot be stored."
    monkeypatch.setenv(SPARE_VARIABLE, str(tmp_path / "spare"))
    assert health.troubles(bench, Queue(), 0)["store"] == ""
    assert bench.store.place() == tmp_path / "spare"
