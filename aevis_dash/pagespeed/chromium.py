"""A Chromium to measure in, the memory that processes hold, and the server that the browser visits."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from aevis_dash.domain import AevisError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MOUSE = "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
"""Without a screen Chromium has no mouse either, and pages behave as on a telephone. This option gives it a mouse."""
_ARGUMENTS = ("--headless=new", "--disable-dev-shm-usage", "--window-size=1440,1040", _MOUSE)
_SERVE = "import sys; from aevis_dash.cli import main; sys.exit(main(sys.argv[1:]))"
_MEBI = 1024 * 1024


def check_browser() -> tuple[str, str]:
    """The paths of the programs chromium and chromedriver.

    Raises:
        AevisError: where one of them, or selenium, is missing.
    """
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if find_spec("selenium") is None:
        raise AevisError("The page is measured in a browser that selenium drives. Install it: pip install selenium.")
    if browser is None or driver is None:
        raise AevisError(
            f"The page is measured in Chromium, and {'no Chromium' if browser is None else 'no chromedriver'} is on "
            "the path. Install chromium and chromium-driver (Debian) or chromium-browser and chromium-chromedriver "
            "(Ubuntu)."
        )
    return browser, driver


@contextmanager
def open_browser() -> Iterator[Any]:
    """A fresh Chromium without a screen, as selenium's driver; it ends with the context.

    Raises:
        AevisError: as `check_browser`, and where Chromium does not start.
    """
    browser, path = check_browser()
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0  # as root it runs without its sandbox
    for argument in (*_ARGUMENTS, *(["--no-sandbox"] if as_root else [])):
        options.add_argument(argument)
    try:
        driver = webdriver.Chrome(service=Service(path), options=options)
    except WebDriverException as error:
        reason = (error.msg or "no reason given").splitlines()[0]
        raise AevisError(f"Chromium does not start ({reason}). Its version must be that of chromedriver.") from error
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def serve(workspace: Path) -> Iterator[tuple[str, int]]:
    """Serve a workspace by the production server in a process of its own, as `aevis serve` does; it ends with the
    context.

    Yields:
        The server's address and the number of its process.

    Raises:
        AevisError: where the server does not start, with what it says.
    """
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-c", _SERVE, "serve", str(workspace), "--port", str(_free_port())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as server:
            try:
                yield _address(server, said), server.pid
            finally:
                server.terminate()


def _address(server: subprocess.Popen, said: Any) -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    if "http://" not in line:
        said.seek(0)
        told = said.read().strip().splitlines()
        raise AevisError(f"The server did not start: {told[-1] if told else 'it said nothing'}")
    return line[line.index("http://") :].split()[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory(process: int, itself: bool = True) -> float:
    """The MiB that a process and its descendants hold. What they share with one another is counted once.

    Linux says which part of shared memory is whose (PSS). Elsewhere shared memory is left out (USS).

    Args:
        process: the number of the process.
        itself: whether the process itself counts, or its descendants alone.
    """
    root = psutil.Process(process)
    held = 0
    for each in [*([root] if itself else []), *root.children(recursive=True)]:
        try:
            full = each.memory_full_info()
        except psutil.NoSuchProcess:  # a process that has just ended holds nothing
            continue
        held += getattr(full, "pss", full.uss)
    return held / _MEBI
