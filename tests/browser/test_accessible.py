"""The page can be read, heard and worked by keys; axe-core finds nothing serious on it."""

from pathlib import Path

import pytest
from browser.walking import WHERE_BAR, Walker
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from aevis_dash.glossary import GLOSSARY

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
    walker.says("winners", "Found by")
    walker.idle("all is drawn", 500)
    walker.driver.execute_script(AXE.read_text(encoding="utf-8"))
    assert walker.driver.execute_async_script(RUN) == []
    walker.press("glossary")
    told = walker.driver.execute_script("return [...document.querySelectorAll('dt, dd')].map(e => e.textContent)")
    assert told == [part for pair in GLOSSARY.items() for part in pair]
    assert walker.driver.execute_async_script(RUN) == [], "the words of the page"
    walker.press("script")
    walker.says("script-text", "aevis_dash.open_workspace(")
    search = walker.driver.execute_script("return window.location.search")
    assert f"link = {search!r}" in walker.text("script-text")
    assert walker.driver.execute_async_script(RUN) == [], "the script"
    assert walker.complaints() == []


KEYS = ((Keys.ARROW_LEFT, 0, -1), (Keys.ARROW_RIGHT, 0, 1), (Keys.ARROW_DOWN, 1, 1), (Keys.ARROW_UP, 1, -1))


def test_the_cells_are_reached_by_arrow_keys(served, dash_br):
    """Each key leads to a cell on its side of the shown one; at an edge it leads nowhere."""
    walker = Walker(dash_br, served.story)
    walker.drawn("treemap")
    walker.drawn("activations")
    first = walker.channels("treemap", "maps")[0]
    walker.click_bar("treemap", "maps", first)
    walker.says("neuron-title", f"map {first} of")
    place = lambda: walker.driver.execute_script(WHERE_BAR, "treemap", "maps", shown())  # noqa: E731
    shown = lambda: int(walker.text("neuron-title").split(" ")[1])  # noqa: E731
    walker.driver.execute_script("document.getElementById('treemap-keys').focus()")
    moved = set()
    for key, axis, sign in KEYS:
        before, there = shown(), place()
        ActionChains(walker.driver).send_keys(key).perform()
        walker.idle("the map of another cell", after=500)
        if shown() != before:
            moved.add(key)
            assert sign * (place()[axis] - there[axis]) > 0
    assert len(moved) >= 2
    assert walker.complaints() == []


def test_the_evidence_is_skipped_to(served, dash_br):
    walker = Walker(dash_br, served.story)
    walker.drawn("activations")
    skip = walker.driver.find_element("css selector", "[data-skip]")
    walker.driver.execute_script("arguments[0].focus()", skip)
    ActionChains(walker.driver).send_keys(Keys.ENTER).perform()
    assert walker.driver.execute_script("return document.activeElement.id") == "evidence"
    assert walker.driver.execute_script("return document.documentElement.lang") == "en"
