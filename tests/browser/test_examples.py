"""The examples are narrowed by a range that is drawn; one that is not ready is offered; the evidence can be widened."""

import shutil
from dataclasses import replace

import pytest
from browser.conftest import serve
from browser.walking import Walker
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from aevis_dash.settings import write_settings
from aevis_dash.workspace import Workspace

pytestmark = pytest.mark.browser

SLIDER = "return window.dash_component_api.getLayout('score-range').props"
READY = "return Array.from(document.querySelectorAll('#gallery .ready')).map((card) => card.dataset.example)"


@pytest.fixture
def walker(dash_br, served):
    found = Walker(dash_br, served.url)
    found.drawn("river")
    found.idle("the page")
    return found


def test_a_range_drawn_across_the_histogram_is_the_sliders_and_the_addresss(walker, served):
    before, count = walker.driver.current_url, walker.text("gallery-count")
    walker.unfold("score-range")
    walker.still("scores")
    walker.drag_box("scores", 0, (0.25, 0.5), (0.75, 0.6))
    walker.until(lambda: "scores=" in walker.driver.current_url, "the range stands in the address")
    slider = walker.driver.execute_script(SLIDER)
    low, high = (slider["min"] + share * (slider["max"] - slider["min"]) for share in (0.25, 0.75))
    assert slider["value"] == pytest.approx([low, high], abs=0.02 * (slider["max"] - slider["min"]))
    steps = [(value - slider["min"]) / slider["step"] for value in slider["value"]]
    assert steps == pytest.approx([round(step) for step in steps], abs=1e-6), "as a handle could be drawn"
    walker.until(lambda: walker.text("gallery-count") not in ("", count), "the gallery follows")
    narrowed = walker.text("gallery-count")

    walker.driver.refresh()
    walker.says("gallery-count", narrowed)
    walker.driver.back()
    walker.until(lambda: walker.driver.current_url == before, "one step back")
    walker.says("gallery-count", count)
    assert walker.complaints() == []


def test_the_example_that_is_extracted_is_marked(walker, served):
    story = Workspace(served.workspace).settings.opens_on
    walker.until(lambda: walker.driver.execute_script(READY) == [story], "only the story is ready")


def test_the_evidence_is_widened_by_keys_and_stays_so(walker):
    width = lambda: walker.driver.find_element(By.ID, "evidence").size["width"]  # noqa: E731
    before = width()
    walker.driver.find_element(By.ID, "splitter").send_keys(Keys.ARROW_RIGHT)
    walker.until(lambda: width() == pytest.approx(before - 32, abs=2), "the bar moves to the right")
    walker.idle("the layer is drawn in its new width", after=500)
    walker.driver.refresh()
    walker.drawn("treemap")
    walker.until(lambda: width() == pytest.approx(before - 32, abs=2), "it stands where it was")
    for _ in range(40):
        walker.driver.find_element(By.ID, "splitter").send_keys(Keys.ARROW_LEFT)
    middle = walker.driver.find_element(By.CSS_SELECTOR, ".middle").size["width"]
    assert middle >= 430, "the other column keeps its least width"
    assert walker.complaints() == []


def test_an_example_that_nobody_chose_is_offered_and_extracted_when_it_is_asked_for(
    dash_br, browsed_world, tmp_path_factory
):
    cache = tmp_path_factory.mktemp("offered")
    root = cache / "drawn-world"
    shutil.copytree(browsed_world, root, ignore=shutil.ignore_patterns("datapath"))
    write_settings(root, replace(Workspace(root).settings, opens_on=""))
    running = serve(cache, [str(root)])
    try:
        walker = Walker(dash_br, next(running).url)
        walker.says("river-note", "on this machine")
        walker.idle("nothing is begun", after=1000)
        assert "the datapaths of this example are not extracted" in walker.text("river").lower()
        assert "extraction" not in walker.text("jobs").lower()
        walker.click_any("#extract-now")
        walker.says("layer-title", "maps are critical")
        assert walker.complaints() == []
    finally:
        running.close()
