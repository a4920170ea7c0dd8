"""The first maps of each set have cells, and all of them where that is chosen; and all fits into the window."""

import pytest
from browser.walking import HIDDEN, MARK, MARKED, Walker

pytestmark = pytest.mark.browser

REST = """
const graph = document.querySelector('#treemap .js-plotly-plot'), box = graph.getBoundingClientRect();
const rest = graph._fullData.find((t) => t.name === 'rest'), { xaxis: x, yaxis: y, _size: size } = graph._fullLayout;
if (!rest) return null;
const at = rest.text.map((text) => Number(text.slice(1))).reduce((best, n, i, all) => (n > all[best] ? i : best), 0);
return [rest.text[at], box.x + size.l + x.d2p(rest.x[at]), box.y + size.t + y.d2p(rest.base[at] + rest.y[at] / 2)];
"""
CELLS = "new URLSearchParams(window.location.search).get('cells')"
ASKED = """
const ask = window.fetch;
window.layers = 0;
window.fetch = (address, ...rest) => {
  window.layers += Boolean(rest[0] && String(rest[0].body).includes('treemap.figure'));
  return ask(address, ...rest);
};
"""


@pytest.fixture
def walker(dash_br, served) -> Walker:
    walker = Walker(dash_br, served.story)
    walker.drawn("treemap")
    walker.drawn("activations")
    walker.idle("the page is there", after=300)
    return walker


def test_a_click_on_the_number_of_the_others_shows_all_and_a_button_few_again(walker):
    few, hidden = walker.channels("treemap", "maps"), walker.driver.execute_script(HIDDEN)
    text, *place = walker.driver.execute_script(REST)
    assert text.startswith("+")
    assert not walker.driver.find_element("id", "fewer-cells").is_displayed()
    walker.click_at(*place)
    walker.until(lambda: walker.driver.execute_script(f"return {CELLS}") == "all", "it is in the address")
    walker.until(lambda: len(walker.channels("treemap", "maps")) == len(few) + len(hidden), "a cell for every map")
    assert set(walker.channels("treemap", "maps")) == {*few, *hidden}
    assert walker.driver.execute_script(REST) is None
    walker.driver.refresh()
    walker.drawn("treemap")
    walker.until(lambda: len(walker.channels("treemap", "maps")) == len(few) + len(hidden), "a link keeps it")
    walker.driver.back()
    walker.until(lambda: walker.channels("treemap", "maps") == few, "so do back and forward")
    walker.driver.forward()
    walker.until(lambda: len(walker.channels("treemap", "maps")) > len(few), "all again")
    walker.press("fewer-cells")
    walker.until(lambda: walker.channels("treemap", "maps") == few, "the button takes it back")
    assert walker.driver.execute_script(f"return {CELLS}") is None
    assert walker.complaints() == []


def test_a_map_without_a_cell_gets_one_where_it_is_chosen_elsewhere(walker):
    """A row of the table, typed maps; a click on a cell asks nothing."""
    hidden = walker.driver.execute_script(HIDDEN)
    walker.press("layer-table-switch")
    walker.until(lambda: walker.driver.find_elements("css selector", ".layer-table tbody tr"), "the table")
    walker.driver.execute_script(ASKED)
    row = walker.driver.find_element("css selector", f'.layer-table [data-map="{hidden[-1]}"] button')
    walker.driver.execute_script("arguments[0].click()", row)
    walker.says("neuron-title", f"map {hidden[-1]} of")
    walker.until(lambda: hidden[-1] in walker.channels("treemap", "maps"), "it has a cell")
    walker.idle("all follows", after=500)
    assert walker.driver.execute_script("return window.layers") == 1
    walker.driver.execute_script(MARK, "treemap")
    first = next(c for c in walker.channels("treemap", "maps") if c != hidden[-1])
    walker.click_bar("treemap", "maps", first)
    walker.says("neuron-title", f"map {first} of")
    walker.idle("all follows", after=500)
    assert walker.driver.execute_script("return window.layers") == 1
    assert walker.driver.execute_script(MARKED, "treemap"), "no cell is drawn anew for a click on one"
    walker.driver.find_element("id", "chosen-maps").send_keys(f"{hidden[0]}\t")
    walker.until(lambda: hidden[0] in walker.channels("treemap", "maps"), "what is typed has a cell")
    assert walker.complaints() == []


FITS = """
const middle = document.querySelector('.middle'), last = document.querySelector('.layer-table').getBoundingClientRect();
const graph = document.querySelector('#treemap .js-plotly-plot'), own = graph.getBoundingClientRect();
const evidence = document.querySelector('.neuron');
return [middle.scrollHeight - middle.clientHeight, evidence.scrollHeight - evidence.clientHeight > 2,
  Math.max(last.bottom - window.innerHeight, 0), Math.abs(graph.layout.yaxis.range[0] + 4 - own.height)];
"""


def test_the_layer_fits_into_the_window_with_and_without_what_was_traced(walker):
    """At 1440 x 900 nothing is scrolled to; the treemap is laid out once, for the height that is left to it."""
    size = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    walker.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        walker.until(lambda: walker.driver.execute_script(FITS) == [0, False, 0, 0], "it fits")
        walker.driver.execute_script(ASKED)
        walker.press("trace-prediction")
        walker.says("winners", "contribute most")
        walker.says("winners", "Found by the solver")
        walker.idle("all follows", after=700)
        assert walker.driver.execute_script(FITS) == [0, False, 0, 0]
        assert walker.driver.execute_script("return window.layers") == 2, "at once, and when it is solved"
    finally:
        walker.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert walker.complaints() == []
