"""A real server in its own process, and a real browser."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import once_per_run
from dash.testing.browser import Browser
from selenium.webdriver.chrome.options import Options

from aevis_dash import learning, naming
from aevis_dash.learning import DISSECTED
from aevis_dash.naming import FEW
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


@pytest.fixture(scope="session", autouse=True)
def few_dissected() -> None:
    """As many as the servers look at, which are other processes: what is stored here is complete for them."""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of a process. It waits for nothing by itself: `Walker` does."""
    folder = str(tmp_path_factory.mktemp("downloads"))
    with Browser("Chrome", options=[pytest_setup_options()], download_path=folder, percy_run=False) as browser:
        browser.driver.implicitly_wait(0)
        yield browser


@pytest.fixture
def dash_br(chromium: Browser) -> Browser:
    """A new window of that Chromium, which remembers and has saved nothing of earlier tests."""
    driver, before = chromium.driver, chromium.driver.current_window_handle
    driver.switch_to.new_window("window")
    window = driver.current_window_handle
    driver.switch_to.window(before)
    driver.close()
    driver.switch_to.window(window)
    driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    driver.set_script_timeout(30)
    for saved in Path(chromium.download_path).iterdir():
        saved.unlink()
    chromium.get_logs()
    return chromium


@pytest.fixture(scope="session")
def browsed_world(drawn_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small drawn world with attacks of three strengths, so that its scores spread, and with all that is
    learned from it; to be copied."""

    def make(root: Path) -> None:
        shutil.copytree(drawn_world, root)
        bench = open_workbench(root)
        for epsilon in (3.0, 5.0):
            parameters = replace(bench.workspace.settings.attack, epsilon=epsilon)
            bench.attacks.attack(bench.workspace.images[:30], parameters=parameters)
        bench.judging.judged_examples()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(learning, "DISSECTED", DISSECTED)
            patch.setattr(naming, "FEW", FEW)
            bench.naming.learn()  # else every server would, beside its tests

    return once_per_run(tmp_path_factory, "browsed-world", make)


@pytest.fixture(scope="session")
def served(browsed_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`python app.py` on the drawn world of its cache, under the production server."""
    cache = tmp_path_factory.mktemp("cache")
    shutil.copytree(browsed_world, cache / "drawn-world")
    yield from serve(cache, [])


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
def photographs(photographed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page on a ResNet-18 and four photographs, one of them attacked and explained."""
    cache = tmp_path_factory.mktemp("photographs")
    root = Path(shutil.copytree(photographed / "workspace", cache / "workspace"))
    extracted = json.loads((photographed / "extract.json").read_text())["examples"][0]["example"]
    for served in serve(cache, [str(root)]):
        yield replace(served, url=f"{served.url}/?example={extracted}")


@pytest.fixture(params=["served", "photographs"])
def both(request) -> Served:
    """The drawn world and the photographs, one after the other."""
    return request.getfixturevalue(request.param)
