"""Draws the pictures of the page for the docs anew: `make pictures`. A test says when they are older than the page."""

import hashlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from aevis_dash.make_workspace import make_embedded_world
from aevis_dash.pagespeed.chromium import open_browser, serve
from aevis_dash.pagespeed.visitor import Visitor
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace

DOCS = Path(__file__).resolve().parent
DRAWN_FROM = DOCS / "pictures.sha256"
WINDOW = (1440, 900)
JOB = 8
"""The seconds that a job of contributions may take."""


def look_of_the_page() -> str:
    """A digest of all that the page looks like: its scripts, styles, layouts, figures, and the words of the story."""
    root = DOCS.parent
    places = [root / "assets", *(root / "aevis_dash" / name for name in ("layouts", "figures", "callbacks/story"))]
    files = sorted(path for place in places for path in place.rglob("*") if path.suffix in (".py", ".css", ".js"))
    whole = hashlib.sha256()
    for path in files:
        whole.update(str(path.relative_to(root)).encode() + b"\n" + path.read_bytes())
    return whole.hexdigest()


def draw(folder: Path) -> None:
    """Draw every picture of the page on a copy of the drawn world."""
    world = shutil.copytree(make_embedded_world(), folder / "drawn-world")
    example = Workspace(world).settings.opens_on
    bench = open_workbench(world)
    bench.datapaths.extract(example)
    bench.naming.learn()  # so that no picture depends on how much was learned when it was taken
    with serve(world) as (address, _), open_browser() as driver:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": WINDOW[0],
                "height": WINDOW[1],
                "deviceScaleFactor": 1,
                "mobile": False,
            },
        )
        visitor = Visitor(driver, address)
        visitor.load(example, cold=True)
        driver.save_screenshot(str(DOCS / "page.png"))
        for button in ("#question .form-check:nth-child(2) input", "#trace-prediction", "#trace"):
            driver.execute_script("stopwatch.arm()")
            driver.find_element("css selector", button).click()
            visitor.settle(())
            time.sleep(JOB)
        driver.save_screenshot(str(DOCS / "page-why.png"))
    DRAWN_FROM.write_text(look_of_the_page() + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        draw(Path(made))
    print(f"drawn: {DOCS / 'page.png'}, {DOCS / 'page-why.png'}")
    sys.exit(0)
