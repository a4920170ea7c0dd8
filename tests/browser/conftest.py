"""A real server in its own process, and a real browser."""

import csv
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import shrink
from filelock import FileLock
from selenium.webdriver.chrome.options import Options

from aevis_dash.cli import main
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
# Without a screen Chromium has no mouse, and Plotly takes a press for a touch: its cover for drags is left out.
_MOUSE = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Served:
    """A running dashboard."""

    url: str
    workspace: Path
    process: subprocess.Popen

    @property
    def story(self) -> str:
        """The address of a map of 8 x 8 neurons in the example that the page opens on."""
        return f"{self.url}/?example={Workspace(self.workspace).settings.opens_on}&layer=layer3.2.relu&map=0"


def pytest_setup_options() -> Options:
    """Chromium without a screen; as root it runs without its sandbox."""
    options = Options()
    options.binary_location = next((path for name in _BROWSERS if (path := shutil.which(name))), "")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1440,1040"):
        options.add_argument(argument)
    options.add_argument(f"--blink-settings={_MOUSE}")
    return options


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    """`python app.py` on the drawn world, under the production server.

    The first process of a run starts in a fresh cache, so that the server makes the world; the others, which wait for
    that, start with a copy of it.
    """
    cache, made = tmp_path_factory.mktemp("cache"), _of_the_run(tmp_path_factory) / "drawn-world"
    with FileLock(f"{made}.lock"):
        if made.exists():
            shutil.copytree(made, cache / made.name)
        running = serve(cache, [])
        server = next(running)
        if not made.exists():
            shutil.copytree(server.workspace, made, ignore=shutil.ignore_patterns("jobs", "*.lock", ".part-*"))
    yield server
    running.close()


def _of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run share (pytest-xdist gives each its own)."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def serve(cache: Path, arguments: list[str], port: int | None = None) -> Iterator[Served]:
    """Start the server, on a free port or that one, wait until it says its address, stop it at the end."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    log = (cache / "server.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "app.py", *arguments, "--port", str(port)],
        cwd=ROOT,
        env=os.environ | {"AEVIS_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "http://" in line, f"the server did not start: {(cache / 'server.log').read_text()}"
        yield Served(f"http://127.0.0.1:{port}", Path(arguments[0]) if arguments else cache / "drawn-world", process)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
        log.close()


@pytest.fixture(scope="session")
def photographs(shared_data, tmp_path_factory) -> Iterator[Served]:
    """A ResNet-18 on four photographs, one of them attacked and explained; skips where they are absent."""
    cache, data = tmp_path_factory.mktemp("photographs"), shared_data / "nips17-dev"
    photos, root = cache / "photos", cache / "workspace"
    photos.mkdir()
    with (data / "images.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    for label in ("1", next(r["label"] for r in rows if r["label"] != "1")):
        for row in [r for r in rows if r["label"] == label][:2]:
            shutil.copy(data / "images" / f"{row['image_id']}.png", photos)
    model = ["--model", "torchvision:resnet18", "--weights", str(data.parent / "weights/resnet18-imagenet.safetensors")]
    run = lambda *argv: main([*map(str, argv), "--quiet"])  # noqa: E731
    assert run("init", root, *model, "--images", photos, "--labels", data / "images.csv") == 0
    shrink(Workspace(root), candidates=1, null_targets=0)
    assert run("attack", root, "--target", "nearest") == 0
    bench = open_workbench(root)
    fooled = next(e.example.id for e in bench.judging.judged_examples() if e.misclassified)
    bench.datapaths.extract(fooled)
    assert run("learn", root) == 0
    for served in serve(cache, [str(root)]):
        yield replace(served, url=f"{served.url}/?example={fooled}")


@pytest.fixture(params=["served", "photographs"])
def both(request) -> Served:
    """The drawn world and the photographs, one after the other."""
    return request.getfixturevalue(request.param)
