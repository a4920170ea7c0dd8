"""Shared by all tests: a small drawn world, and the real photographs where they lie beside the project."""

import dataclasses
import shutil
from pathlib import Path

import hypothesis
import pytest

from aevis_dash import make_workspace
from aevis_dash.settings import write_settings
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

hypothesis.settings.register_profile("patient", deadline=None)  # a first call may load a library
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def drawn_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn world of 60 images, all attacked and judged, the opening example extracted; for reading only."""
    root = tmp_path_factory.mktemp("world") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_workspace, "WORLD_IMAGES", 60)
        patch.setattr(make_workspace, "WORLD_ATTACKED", 60)
        patch.setattr(make_workspace, "WORLD_EPSILONS", (8.0,))
        made = make_workspace.make_world(root)
    shrink(made)
    bench = open_workbench(root)
    bench.judging.judged_examples()
    bench.datapaths.extract(bench.workspace.settings.opens_on)
    return root


@pytest.fixture(scope="session")
def filling_world(drawn_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small drawn world to whose store tests add results; its tables and images stay as they are."""
    return Path(shutil.copytree(drawn_world, tmp_path_factory.mktemp("filling") / "world"))


@pytest.fixture
def world(drawn_world: Path, tmp_path: Path) -> Path:
    """A copy of the small drawn world, to do with as a test likes."""
    return Path(shutil.copytree(drawn_world, tmp_path / "world"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real photographs and weights; skips where they are absent."""
    if not (SHARED / "nips17-dev" / "images.csv").is_file():
        pytest.skip(f"the real photographs and weights are not at {SHARED}")
    return SHARED


def shrink(workspace: Workspace, candidates: int = 2, null_targets: int = 1) -> None:
    """Let a workspace's extractions compare with few images, for speed."""
    settings = workspace.settings
    few = dataclasses.replace(settings.extraction, candidates=candidates, null_targets=null_targets)
    write_settings(workspace.root, dataclasses.replace(settings, extraction=few))
