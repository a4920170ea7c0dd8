"""How often the page asks the server: each station once for each click, and once where a job has ended."""

import pytest
from browser.walking import Walker

pytestmark = pytest.mark.browser

LISTEN = """
const ask = window.fetch;
window.asked = [];
window.fetch = (address, given) => {
  if (String(address).endsWith("/_dash-update-component") || /_dash-update-component\\?endId=[^&]*$/.test(address)) {
    const { output, changedPropIds } = JSON.parse(given.body);
    window.asked.push([output, changedPropIds]);
  }
  return ask(address, given);
};
"""
RIVER, LAYER, NEURON = "river.figure", "treemap.figure", "neuron-title.children"
GROWING = {"learned-seen.data", "faces-ready.data"}


@pytest.fixture
def walker(dash_br, served) -> Walker:
    found = Walker(dash_br, served.story)
    for graph in ("river", "treemap", "activations"):
        found.drawn(graph)
    found.idle("the page before it is listened to", after=1000)
    found.driver.execute_script(LISTEN)
    return found


def asked(walker: Walker, station: str) -> list[list[str]]:
    """By what a station was asked since; learned features that are found meanwhile are left out."""
    found = walker.driver.execute_script("return window.asked")
    return [by for output, by in found if station in output.strip(".").split("...") and not set(by) <= GROWING]


def test_the_end_of_an_extraction_asks_each_station_once(walker):
    opened = walker.text("triplet")
    walker.click_any("#gallery .card-button:not(.chosen):not(.failed)", 1)
    walker.until(lambda: walker.text("triplet") != opened, "another example is shown")
    walker.until(lambda: walker.text("triplet").count("maps alone give") == 3, "its datapaths were extracted by a job")
    walker.drawn("activations")
    walker.until(lambda: "layer=" in walker.driver.current_url, "it has a layer")
    walker.idle("all is drawn", after=1000)
    found = {station: asked(walker, station) for station in (RIVER, LAYER, NEURON)}
    assert [len(by) for by in found.values()] == [3, 2, 2], f"at the click and at the end: {found}"
    assert found[RIVER][2] == ["nulls-ready.data"], "the river once more, when its band can be drawn"
    assert all("extraction-ready.data" in by[1] for by in found.values()), found
    assert walker.complaints() == []


def test_the_end_of_a_flip_back_asks_the_neuron_once(walker):
    walker.press("flip-back")
    walker.says("flip-text", "give panda back")
    walker.idle("all is drawn", after=1000)
    assert len(asked(walker, NEURON)) == 1, asked(walker, NEURON)
    assert walker.complaints() == []
