"""Six walks through the three stations, on the drawn world and on photographs that a ResNet-18 was attacked with."""

import csv
from pathlib import Path

import pytest
from browser.walking import HIDDEN, Walker
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.browser, pytest.mark.real]

LAYERS = "return document.querySelector('#river .js-plotly-plot')._fullData.find((t) => t.name === 'layers').customdata"
ROWS = "return document.querySelectorAll('.layer-table tbody tr').length"
GROUP = """
const graph = document.querySelector('#river .js-plotly-plot');
return graph._fullData.find((t) => t.name === 'groups').customdata.filter(([name]) => name === arguments[0]);
"""


@pytest.fixture
def walker(dash_br, both) -> Walker:
    found = Walker(dash_br, both.url)
    for graph in ("river", "treemap", "activations"):
        found.drawn(graph)
    return found


def another_layer(walker: Walker) -> tuple[int, str]:
    """A column of the river that is one layer, not the shown one."""
    shown = walker.text("layer-title").split(" ")[0]
    columns = walker.driver.execute_script(LAYERS)
    found = [(first, name) for first, name, group, _ in columns if not group and name != shown]
    return found[len(found) // 2]


def test_from_the_river_to_a_neuron_and_back_by_the_link(walker):
    first, name = another_layer(walker)
    walker.click_bar("river", "layers", first)
    walker.says("layer-title", name)
    walker.until(lambda: f"layer={name}" in walker.driver.current_url, "the layer in the address")
    channel = walker.channels("treemap", "maps")[-1]
    walker.click_bar("treemap", "maps", channel)
    walker.says("neuron-title", f"map {channel} of {name}")
    walker.click_cell("activations", 1, 0, 0)
    area = walker.says("area-text", "rows 0 to 0, columns 0 to 0")
    address = walker.driver.current_url
    walker.driver.back()
    walker.says("area-text", "the whole map")
    walker.driver.get(address)
    assert walker.says("area-text", "rows 0 to 0") == area
    assert f"map {channel} of {name}" in walker.text("neuron-title")
    assert walker.complaints() == []


EVIDENCE = "return Array.from(document.querySelectorAll('#story .evidence')).map((one) => JSON.parse(one.id).index)"


def test_both_questions_are_answered_with_their_evidence(walker):
    """Each has its map and its sentences; a sentence leads to what it speaks of; the link keeps the question."""
    walker.says("story", " that keep ")
    lost, shown = walker.text("story"), walker.text("neuron-title")
    walker.click_any("#question .form-check:nth-child(2) label")
    walker.says("story", "critical on adv and not on src")
    walker.until(lambda: "question=became" in walker.driver.current_url, "the question in the address")
    assert walker.text("story") != lost
    told = [place.partition(":")[2].rpartition(":") for place in walker.driver.execute_script(EVIDENCE)]
    number, (layer, _, channel) = next((i, place) for i, place in enumerate(told) if place[2])
    walker.until(lambda: walker.text("neuron-title") != shown, "the map of that question")
    _, elsewhere = another_layer(walker)
    walker.choose("find-layer", elsewhere)
    walker.says("layer-title", elsewhere)
    walker.click_any("#story .evidence", number)
    walker.says("neuron-title", f"map {channel} of {layer}")
    walker.driver.get(walker.driver.current_url)
    walker.says("story", "critical on adv and not on src")
    walker.click_any("#question .form-check:nth-child(1) label")
    walker.until(lambda: walker.text("story") == lost, "the first question again")
    assert walker.complaints() == []


def test_the_network_is_searched_folded_and_drawn_as_dots(walker):
    _, name = another_layer(walker)
    walker.choose("find-layer", name)
    walker.says("layer-title", name)
    walker.drawn("river")
    before = walker.driver.execute_script(GROUP, "layer1")
    walker.click_bar("river", "groups", "layer1")
    walker.until(lambda: walker.driver.execute_script(GROUP, "layer1") != before, "the first stage opens or closes")
    walker.driver.find_elements("css selector", "#plot input")[1].click()
    walker.until(lambda: "plot=dots" in walker.driver.current_url, "the dots are in the address")
    assert walker.complaints() == []


def test_many_maps_are_chosen_by_a_lasso_and_the_table_is_saved(walker, dash_br):
    walker.press_on_graph("treemap", "lasso")
    walker.drag_around("treemap", ((0.03, 0.05), (0.97, 0.05), (0.97, 0.97), (0.03, 0.97)))
    chosen = walker.until(lambda: walker.driver.find_element("id", "chosen-maps").get_attribute("value"), "maps chosen")
    known = set(walker.channels("treemap", "maps"))
    assert len(chosen.split()) > 1
    assert set(map(int, chosen.split())) <= known
    walker.driver.find_element("id", "layer-table-switch").send_keys(Keys.ENTER)
    walker.until(lambda: walker.driver.execute_script(ROWS), "rows")
    walker.press("layer-csv")
    folder = Path(dash_br.download_path)
    (saved,) = walker.until(lambda: list(folder.glob("*.csv")), "a file was saved")
    with saved.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[:2] == ["map", "sets"]
    assert {int(row[0]) for row in rows} == known | set(walker.driver.execute_script(HIDDEN))
    assert walker.complaints() == []


def test_an_area_is_traced_to_an_earlier_layer_and_the_trail_leads_back(walker):
    here = walker.text("neuron-title")
    walker.press("trace")
    walker.until(lambda: walker.text("winners"), "what makes it fire")
    assert "layer=" in walker.driver.current_url
    walker.until(lambda: walker.driver.find_elements("css selector", "#trail .step"), "a step")
    walker.click_any("#trail .step")
    walker.until(lambda: walker.text("neuron-title") == here, "back where it began")
    assert walker.complaints() == []


def test_maps_are_looked_at_over_the_image_and_enlarged_in_the_dark(walker):
    walker.driver.find_element("id", "theme-switch").send_keys(Keys.SPACE)
    theme = "return document.documentElement.getAttribute('data-bs-theme')"
    walker.until(lambda: walker.driver.execute_script(theme) == "dark", "it is dark")
    walker.idle("all of it")
    walker.driver.find_element("css selector", "#look input:checked").send_keys(Keys.ARROW_RIGHT)
    walker.until(lambda: "look=over" in walker.driver.current_url, "over the image")
    walker.driver.find_element("id", "enlarge").send_keys(Keys.ENTER)
    walker.says("large-title", "map ")
    walker.still("large-activations")
    walker.click_cell("large-activations", 0, 1, 1)
    walker.says("area-text", "rows 1 to 1, columns 1 to 1")
    ActionChains(walker.driver).send_keys(Keys.ESCAPE).perform()
    walker.until(lambda: not walker.driver.find_elements("css selector", ".modal"), "Esc closes it")
    walker.driver.find_element("id", "theme-switch").send_keys(Keys.SPACE)
    walker.until(lambda: walker.driver.execute_script(theme) == "light", "and light again")
    assert walker.complaints() == []
