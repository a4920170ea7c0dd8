"""The page can be read, heard and worked by keys; axe-core finds nothing serious on it."""

from pathlib import Path

import pytest
from browser.walking import WHERE_BAR, Walker
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RUN = """
const done = arguments[arguments.length - 1];
axe.run({exclude: [["#compared-with"]]}, {resultTypes: ["violations"]}).then(({violations}) => done(
  violations.filter(({impact}) => ["serious", "critical"].includes(impact))
    .map(({id, nodes}) => [id, nodes.slice(0, 3).map(({html}) => html.slice(0, 120))])));
"""
"""The names that Dash gives to its dropdowns with several values are left out: they are not the page's own."""


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm ci)")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(served, dash_br, dark):
    walker = Walker(dash_br, served.story)
    walker.drawn("activations")
    if dark:
        walker.press("theme-switch")
    for folded in ("how-cells", "how-paths", "drawer", "layer-table-switch"):
        walker.press(folded)
    walker.press("trace")
    walker.says("winners", "contribute most")
    walker.idle("all is drawn", 500)
    walker.driver.execute_script(AXE.read_text(encoding="utf-8"))
    assert walker.driver.execute_async_script(RUN) == []
    assert walker.complaints() == []


def test_the_cells_are_reached_by_arrow_keys(served, dash_br):
    """The first key chooses a cell, the next ones go to a cell that lies on their side of it."""
    walker = Walker(dash_br, served.story)
    walker.drawn("treemap")
    walker.drawn("activations")
    cells = walker.channels("treemap", "maps")
    shown = lambda: int(walker.text("neuron-title").split(" ")[1])  # noqa: E731
    walker.driver.execute_script("document.getElementById('treemap-keys').focus()")

    def pressed(key: str) -> tuple[float, float]:
        before = shown()
        ActionChains(walker.driver).send_keys(key).perform()
        now = walker.until(lambda: shown() in set(cells) - {before} and shown(), "another cell is shown")
        return tuple(walker.driver.execute_script(WHERE_BAR, "treemap", "maps", now))

    first = pressed(Keys.ARROW_RIGHT) if shown() not in cells else (-1.0, -1.0)
    right = pressed(Keys.ARROW_RIGHT)
    assert right[0] > first[0]
    assert pressed(Keys.ARROW_DOWN)[1] > right[1]
    below = walker.driver.execute_script(WHERE_BAR, "treemap", "maps", shown())
    assert pressed(Keys.ARROW_LEFT)[0] < below[0]


def test_the_evidence_is_skipped_to(served, dash_br):
    walker = Walker(dash_br, served.story)
    walker.drawn("activations")
    skip = walker.driver.find_element("css selector", "[data-skip]")
    walker.driver.execute_script("arguments[0].focus()", skip)
    ActionChains(walker.driver).send_keys(Keys.ENTER).perform()
    assert walker.driver.execute_script("return document.activeElement.id") == "evidence"
    assert walker.driver.execute_script("return document.documentElement.lang") == "en"
