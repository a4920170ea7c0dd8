"""Two models side by side: the dialog by mouse, by keys and by its address, and the job that compares a pair."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.conftest import Served, serve
from browser.test_accessible import AXE, RUN
from browser.walking import Walker
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from two_worlds import second_world, tuned

from aevis_dash.workspace import Workspace

pytestmark = pytest.mark.browser
TRACES = """
const graph = document.querySelector('#' + arguments[0] + ' .js-plotly-plot');
return graph ? graph.data.map((trace) => trace.name) : [];
"""
OVERFLOW = """
const body = document.querySelector('.two-models .modal-body');
return [document.documentElement.scrollHeight - window.innerHeight, body.scrollHeight - body.clientHeight];
"""


@pytest.fixture(scope="module")
def beside(browsed_world, tmp_path_factory) -> Iterator[Served]:
    """The page on a world, with a fine-tuned network beside it."""
    folder = tmp_path_factory.mktemp("two-models")
    root = Path(shutil.copytree(browsed_world, folder / "standard"))
    second_world(folder / "robust", root, tuned(root))
    yield from serve(folder, [str(root), "--beside", str(folder / "robust")])


def test_two_models_are_compared_on_the_open_pair(beside, dash_br):
    walker = Walker(dash_br, beside.url)
    walker.drawn("river")
    walker.press("two-models-switch")
    walker.says("two-models-note", "This pair is not compared yet.")
    assert "beside=on" in walker.driver.current_url
    walker.press("two-models-compare")
    walker.says("two-models-maps", "Map k of standard is map k of robust")
    names = lambda graph: walker.driver.execute_script(TRACES, graph)  # noqa: E731
    walker.until(lambda: "way robust this pair" in names("two-models-profiles"), "both models' profiles")
    assert {"adversarial standard", "adversarial robust"} <= set(names("two-models-rivers"))
    walker.says("two-models-note", "1 of ")
    assert walker.driver.execute_script(OVERFLOW) == [0, 0]
    link = walker.driver.current_url

    ActionChains(walker.driver).send_keys(Keys.ESCAPE).perform()
    closed = lambda: not walker.driver.find_elements("id", "two-models")  # noqa: E731
    walker.until(closed, "the dialog closes", 20)
    walker.until(lambda: "beside" not in walker.driver.current_url, "the address follows")
    walker.driver.back()
    walker.says("two-models-note", "robust sees")
    walker.driver.forward()
    walker.until(closed, "the dialog closes again", 20)
    walker.driver.get(link)
    walker.says("two-models-maps", "Map k of standard is map k of robust")
    assert walker.complaints() == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm ci)")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious_in_the_dialog(beside, dash_br, dark):
    story = Workspace(beside.workspace).settings.opens_on
    walker = Walker(dash_br, f"{beside.url}/?example={story}")
    walker.drawn("activations")
    if dark:
        walker.press("theme-switch")
    walker.press("two-models-switch")
    walker.says("two-models-note", "sees")
    walker.still("two-models-rivers")
    walker.idle("all is drawn", 500)
    walker.driver.execute_script(AXE.read_text(encoding="utf-8"))
    assert walker.driver.execute_async_script(RUN) == []


def test_a_page_without_a_second_model_says_so(served, dash_br):
    walker = Walker(dash_br, f"{served.story}&beside=on")
    walker.says("two-models-note", "served without a second model")
    assert walker.complaints() == []
