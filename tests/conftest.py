"""Shared by all tests: a small drawn world, and the real photographs where they lie beside the project."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

from aevis_dash import learning, make_workspace, naming
from aevis_dash.callbacks import kept
from aevis_dash.cli import main
from aevis_dash.settings import write_settings
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

hypothesis.settings.register_profile("patient", deadline=None)  # a first call may load a library
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def changes_count_at_once() -> Iterator[None]:
    """Whether images or examples have changed is looked at at each request, and not once a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "GLANCE", -1.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_dissected() -> Iterator[None]:
    """Which parts maps detect is told by 8 images, and classes are looked at in the last block alone, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "DISSECTED", 8)
        patch.setattr(naming, "FEW", 2.0)
        yield


def once_per_run(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of a test run makes and that the others wait for (pytest-xdist runs several).

    All processes look into this one folder: copy what a test or a server writes into.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    made = folder.with_suffix(".made")
    with FileLock(folder.with_suffix(".lock")):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def drawn_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn world of 60 images, all attacked and judged, the opening example extracted; for reading only."""
    made = once_per_run(tmp_path_factory, "drawn-world", make_drawn_world)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("world") / "small"))


def make_drawn_world(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_workspace, "WORLD_IMAGES", 60)
        patch.setattr(make_workspace, "WORLD_ATTACKED", 60)
        patch.setattr(make_workspace, "WORLD_EPSILONS", (8.0,))
        made = make_workspace.make_world(root)
    shrink(made)
    bench = open_workbench(root)
    bench.judging.judged_examples()
    bench.datapaths.extract(bench.workspace.settings.opens_on)


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


@pytest.fixture(scope="session")
def photographed(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `workspace` of a ResNet-18 and four photographs, which the commands took from init to learn, and
    the JSON document of each of them; to be copied. Skips where there are no photographs."""

    def make(folder: Path) -> None:
        data, photos, root = shared_data / "nips17-dev", folder / "photos", folder / "workspace"
        photos.mkdir(parents=True)
        for name in _four_photographs(data / "images.csv"):
            shutil.copy(data / "images" / f"{name}.png", photos)

        def run(verb: str, *argv: object) -> dict[str, Any]:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                assert main([verb, str(root), *map(str, argv), "--json"]) == 0
            (folder / f"{verb}.json").write_text(said.getvalue())
            return json.loads(said.getvalue())

        weights = shared_data / "weights" / "resnet18-imagenet.safetensors"
        model = ["--model", "torchvision:resnet18", "--weights", weights]
        run("init", *model, "--images", photos, "--labels", data / "images.csv")
        shrink(Workspace(root), candidates=1, null_targets=0)
        run("attack", "--target", "nearest")
        scored = run("score")["examples"]
        fooled = next(e["example"] for e in scored if e["misclassified"] and e["source"] == "goldfish")
        run("extract", "--example", fooled, "--no-features")
        run("learn")

    return once_per_run(tmp_path_factory, "photographed", make)


def _four_photographs(table: Path) -> list[str]:
    """Two goldfish and two of another class that a ResNet-18 gets right."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = {row["label"]: [r["image_id"] for r in rows if r["label"] == row["label"]] for row in rows}
    other = next(label for label, ids in labels.items() if label != "1" and len(ids) >= 2)
    return [*labels["1"][:2], *labels[other][:2]]


def shrink(workspace: Workspace, candidates: int = 2, null_targets: int = 1, method: str = "elimination") -> None:
    """Let a workspace's extractions compare with few images, by a quick method, for speed."""
    settings = workspace.settings
    few = dataclasses.replace(settings.extraction, candidates=candidates, null_targets=null_targets, method=method)
    write_settings(workspace.root, dataclasses.replace(settings, extraction=few))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a disk of 200 MB of its own; only the superuser may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
