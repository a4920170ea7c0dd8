"""All examples at once: the dialog by mouse and by keys, what a click in it lists or shows, and the way back."""

import shutil
from collections import Counter
from collections.abc import Iterator

import pytest
from browser.conftest import Served, serve
from browser.walking import Walker
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from aevis_dash import divergences, recurrence
from aevis_dash.workbench import Workbench, open_workbench

pytestmark = pytest.mark.browser
EXTRACTED = 3
FULLEST = """
const graph = document.querySelector('#confusions .js-plotly-plot');
const trace = graph.data.find((t) => t.name === 'confusions');
let best = [0, 0, 0];
trace.z.forEach((row, y) => row.forEach((z, x) => (best = z > best[0] ? [z, x, y] : best)));
return [...best, trace.text[best[2]][best[1]]];
"""
SEES = "return document.activeElement && document.activeElement.id"
NAMES = """
return Array.from(document.querySelectorAll('#whole-set :is(button, [role=group], [role=dialog])'))
  .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.closest('label')))
  .map((one) => one.outerHTML.slice(0, 120));
"""
DIALOG = """
const dialog = document.querySelector('#whole-set').closest('[role=dialog]');
const title = document.getElementById(dialog.getAttribute('aria-labelledby'));
return [title && title.textContent, dialog.getAttribute('aria-modal')];
"""


@pytest.fixture(scope="module")
def extracted(browsed_world, tmp_path_factory) -> Iterator[tuple[Served, Workbench]]:
    """The page on a world with the datapaths of a few examples, each of a source of its own."""
    folder = tmp_path_factory.mktemp("whole-set")
    bench = open_workbench(shutil.copytree(browsed_world, folder / "world"))
    first = {e.source: e.id for e in reversed(divergences.misclassified(bench))}
    for example in sorted(first.values())[:EXTRACTED]:
        bench.datapaths.extract(example)
    for served in serve(folder, [str(folder / "world")]):
        yield served, bench


@pytest.fixture
def walker(dash_br, extracted) -> Walker:
    walker = Walker(dash_br, extracted[0].url)
    walker.drawn("river")
    walker.says("gallery-count", "of 120 examples")
    return walker


@pytest.fixture
def bench(extracted) -> Workbench:
    return extracted[1]


def open_dialog(walker: Walker) -> None:
    walker.press("divergences-switch")
    walker.still("confusions")
    walker.says("recurrent-note", "misclassified examples are stored")


def is_closed(walker: Walker) -> None:
    walker.until(lambda: not walker.driver.find_elements("id", "whole-set"), "the dialog closes", 20)


def test_a_cell_lists_its_examples_and_a_map_is_shown(walker, bench):
    shown = walker.text("neuron-title")
    open_dialog(walker)
    count, column, row, names = walker.driver.execute_script(FULLEST)
    fullest = Counter(divergences.class_pairs(bench, divergences.misclassified(bench))).most_common(1)[0]
    assert count == fullest[1]
    walker.click_cell("confusions", 0, column, row)
    is_closed(walker)
    walker.says("gallery-count", f"{count} of 120 examples")
    assert [walker.text(name) for name in ("class-from", "class-to")] == names.split(" → ")
    others = lambda: len(walker.driver.find_elements("css selector", "#gallery .card-button:not(.chosen)"))  # noqa: E731
    walker.until(lambda: others() in (count - 1, count), "the cards are those of the cell, and the shown one")

    before = walker.driver.current_url
    found = recurrence.recurring(bench, divergences.misclassified(bench), bench.workspace.settings.extraction)
    first = found.gained.maps[0]
    open_dialog(walker)
    assert walker.click_any(".recurrent-map").removesuffix(" •") == f"{first.layer} {first.map}"
    is_closed(walker)
    walker.says("neuron-title", f"map {first.map} of {first.layer}")
    walker.says("layer-title", first.layer)
    walker.until(lambda: f"layer={first.layer}&map={first.map}" in walker.driver.current_url, "the address names it")
    after = walker.driver.current_url

    walker.driver.back()
    walker.until(lambda: walker.driver.current_url == before, "one step back")
    walker.until(lambda: walker.text("neuron-title") == shown, "the map that was shown before")
    walker.driver.forward()
    walker.says("neuron-title", f"map {first.map} of {first.layer}")
    walker.driver.get(after)
    walker.says("neuron-title", f"map {first.map} of {first.layer}")
    assert walker.complaints() == []


def test_a_cell_is_listed_whole_whatever_was_left_out_before(walker):
    """The sliders, the lists and what was picked are set so that as many are listed as the cell says."""
    walker.driver.execute_script("dash_clientside.set_props('score-range', {value: [-9, -8]})")
    walker.driver.execute_script("dash_clientside.set_props('margin-range', {value: [-9, -8]})")
    walker.says("gallery-count", "None of 120")
    walker.until(lambda: "margins=" in walker.driver.current_url, "margins stand in the address")
    open_dialog(walker)
    count, column, row, _ = walker.driver.execute_script(FULLEST)
    for _ in range(2):
        walker.click_cell("confusions", 0, column, row)
        is_closed(walker)
        walker.says("gallery-count", f"{count} of 120 examples")
        assert "margins=" not in walker.driver.current_url
        open_dialog(walker)
        walker.click_any(".recurrent-examples")
        is_closed(walker)
        walker.says("picked-text", "is gained")
        walker.idle("the gallery follows", after=300)
        open_dialog(walker)
    assert walker.complaints() == []


def test_a_map_lists_the_examples_in_which_it_recurs(walker, bench):
    everything = walker.text("gallery-count")
    found = recurrence.recurring(bench, divergences.misclassified(bench), bench.workspace.settings.extraction)
    first = found.lost.maps[0]
    open_dialog(walker)
    selector = f'.recurrent-examples[data-side="lost"][data-map="{first.map}"][data-layer="{first.layer}"]'
    assert walker.click_any(selector) == str(len(first.examples))
    is_closed(walker)
    walker.says("picked-text", f"map {first.map} of {first.layer} is lost")
    walker.says("gallery-count", f"{len(first.examples)} of 120 examples")
    cards = {c.get_attribute("data-example") for c in walker.driver.find_elements("css selector", "#gallery button")}
    assert set(first.examples) <= cards
    walker.press("unpick")
    walker.says("gallery-count", everything)
    assert walker.complaints() == []


def test_the_dialog_is_reached_and_left_by_keys(walker):
    walker.unfold("divergences-switch")
    walker.driver.execute_script("document.getElementById('divergences-switch').focus()")
    ActionChains(walker.driver).send_keys(Keys.ENTER).perform()
    walker.still("confusions")
    walker.says("recurrent-note", "misclassified examples are stored")
    assert walker.driver.execute_script(DIALOG) == ["All examples at once", "true"]
    assert walker.driver.execute_script(NAMES) == []
    ActionChains(walker.driver).send_keys(Keys.ESCAPE).perform()
    is_closed(walker)
    walker.until(lambda: walker.driver.execute_script(SEES) == "divergences-switch", "the focus is back", 10)
    walker.press("divergences-switch")
    walker.still("confusions")
    assert walker.complaints() == []
