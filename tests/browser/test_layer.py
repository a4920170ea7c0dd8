"""The layer's station in the browser: maps are chosen, layers stand side by side, the table is the treemap's."""

import pytest
from browser.walking import HIDDEN, MARK, MARKED, SLOW, Walker
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser

NAMES = "return Array.from(document.querySelectorAll('.slot-head')).map((slot) => slot.firstChild?.textContent)"
FIRST_CELL = """
const graph = document.querySelector('.pinned-layers .js-plotly-plot'), size = graph._fullLayout._size;
const maps = graph._fullData.find((t) => t.name === "maps"), box = graph.getBoundingClientRect();
const y = graph._fullLayout.yaxis.d2p(maps.base[0] + maps.y[0] / 2);
return [maps.customdata[0][0], box.x + size.l + graph._fullLayout.xaxis.d2p(maps.x[0]), box.y + size.t + y];
"""
ROWS = """
const rows = Array.from(document.querySelectorAll('.layer-table tbody tr'));
return rows.map((row) => Array.from(row.cells).map((cell) => cell.textContent).join('|'));
"""
CHOSEN = "return Array.from(document.querySelectorAll('.layer-table tr.chosen'), (row) => row.cells[0].textContent)"
FOCUS_LAST = "Array.from(document.querySelectorAll('.layer-table td button')).at(-1).focus()"
FITTED = """
const graphs = Array.from(document.querySelectorAll('.treemaps .js-plotly-plot'));
return graphs.length === 2 && graphs.every((g) => g._fullLayout && Math.abs(g._fullLayout.width - g.clientWidth) < 2
  && Math.abs(g.layout.xaxis.range[1] - g.clientWidth) < 16);
"""
"""Both treemaps are laid out for the width that they have."""
MARK_PINNED = "document.querySelector('.pinned-layers .js-plotly-plot').calcdata.marked = true"
PINNED_MARKED = "return Boolean(document.querySelector('.pinned-layers .js-plotly-plot').calcdata.marked)"


@pytest.fixture
def walker(dash_br, served) -> Walker:
    return Walker(dash_br, served.story)


FRAMED = """
const graph = document.querySelector('#treemap .js-plotly-plot'), at = graph._fullLayout.shapes.findIndex(
  (shape) => shape.name === arguments[0]);
const line = graph.querySelector(`.shapelayer path[data-index="${at}"]`);
const maps = graph._fullData.find((t) => t.name === "maps");
const { xaxis: x, yaxis: y } = graph._fullLayout;
return maps.customdata.map(([channel], i) => {
  const point = line.ownerSVGElement.createSVGPoint();
  Object.assign(point, { x: x._offset + x.d2p(maps.x[i]), y: y._offset + y.d2p(maps.base[i] + maps.y[i] / 2) });
  return [channel, line.isPointInFill(point)];
}).filter(([, inside]) => inside).map(([channel]) => channel);
"""
"""The channels of the cells that the drawn frames of a name stand around."""


def framed(walker: Walker, name: str) -> list[int]:
    order = walker.driver.execute_script("return new URLSearchParams(window.location.search).get('maps') || ''")
    found = walker.driver.execute_script(FRAMED, name)
    return sorted(found, key=lambda c: order.split(",").index(str(c)) if str(c) in order.split(",") else -1)


def address(walker: Walker, part: str) -> None:
    walker.until(lambda: part in walker.driver.current_url, f"{part} in the address")


def test_maps_are_chosen_by_click_shift_and_box(walker):
    walker.drawn("treemap")
    first, second, third = walker.channels("treemap", "maps")[4:7]
    walker.click_bar("treemap", "maps", first)
    address(walker, f"map={first}")
    walker.driver.execute_script(MARK, "treemap")
    chosen_then = ((second, f"maps={second}"), (third, f"maps={second},{third}"), (second, f"maps={third}"))
    for key, (channel, chosen) in zip((Keys.SHIFT, Keys.CONTROL, Keys.SHIFT), chosen_then, strict=True):
        walker.click_bar_with(key, "treemap", "maps", channel)
        walker.until(lambda chosen=chosen: walker.driver.current_url.endswith(chosen), chosen)
        numbers = [int(number) for number in chosen.removeprefix("maps=").split(",")]
        walker.until(lambda numbers=numbers: framed(walker, "picked") == numbers, f"frames around {numbers}")
    assert f"map={first}&" in walker.driver.current_url, "a map that is chosen is not shown"
    assert framed(walker, "selected") == [first]
    assert walker.driver.execute_script(MARKED, "treemap"), "frames move without a cell being drawn anew"
    walker.drag_box("treemap", 0, (0.2, 0.1), (0.8, 0.9))
    walker.until(lambda: walker.driver.current_url.count(",") > 3, "many by a box")
    assert walker.complaints() == []


def test_layers_stand_side_by_side_and_stay_as_they_are(walker):
    walker.drawn("treemap")
    shown = walker.text("layer-title").split(" ")[0]
    walker.press("pin-layer")
    address(walker, f"pinned={shown}")
    walker.click_bar("river", "layers", 16)
    walker.says("layer-title", "layer3.1.relu_1")
    walker.until(lambda: walker.driver.execute_script(NAMES) == [shown, "layer3.1.relu_1"], "both with their names")
    walker.until(lambda: walker.driver.execute_script(FITTED), "both treemaps drawn")
    walker.idle("nothing is on its way")
    walker.driver.execute_script(MARK_PINNED)
    channel = walker.channels("treemap", "maps")[2]
    walker.click_bar("treemap", "maps", channel)
    walker.says("neuron-title", f"map {channel} of layer3.1.relu_1")
    walker.idle("all follows")
    assert walker.driver.execute_script(PINNED_MARKED), "another map is none of its business"

    cell, *place = walker.driver.execute_script(FIRST_CELL)
    walker.click_at(*place)
    walker.says("neuron-title", f"map {cell} of {shown}")
    walker.until(lambda: walker.text("pin-layer") == "unpin", "it is the shown one now")
    walker.press("pin-layer")
    walker.until(lambda: "pinned=" not in walker.driver.current_url, "unpinned")
    assert walker.complaints() == []


DRAWN_DURING_PRESS = """
const graph = document.querySelector('#treemap .js-plotly-plot'), [clientX, clientY] = arguments;
const look = () => Plotly.Fx.hover(graph, { target: graph.querySelector('.nsewdrag'), clientX, clientY }, 'xy');
window.told = [];
graph.on('plotly_click', ({ points }) => window.told.push(points[0].customdata[0]));
graph.once('plotly_unhover', () => { window.forgotten = true; });
look();
document.addEventListener('pointerup', look, { capture: true, once: true });
"""


def test_a_press_counts_when_the_graph_is_drawn_during_it(walker):
    """Plotly looks for what lies under the pointer after a drawing, finds nothing while a button is down, and does not
    look again within 50 ms. What was pressed counts all the same, once."""
    walker.drawn("activations")
    walker.idle("the page is there")
    channel, another = walker.channels("treemap", "maps")[3:6:2]
    with walker.held_on_bar("treemap", "maps", channel) as place:
        walker.driver.execute_script(DRAWN_DURING_PRESS, *place)
        walker.until(lambda: walker.driver.execute_script("return window.forgotten"), "Plotly finds nothing")
    walker.says("neuron-title", f"map {channel} of")
    walker.idle("all follows")
    walker.click_bar("treemap", "maps", another)
    walker.says("neuron-title", f"map {another} of")
    assert walker.driver.execute_script("return window.told") == [channel, another]
    assert walker.complaints() == []


TWICE = """
const graph = document.querySelector('#treemap .js-plotly-plot'), [first, second] = arguments;
graph.emit('plotly_click', { points: [{ customdata: [first] }] });
setTimeout(() => {
  document.dispatchEvent(new PointerEvent('pointerdown', { shiftKey: true }));
  graph.emit('plotly_click', { points: [{ customdata: [second] }] });
}, 30);
"""
STALE = """
const graph = document.querySelector('#treemap .js-plotly-plot');
graph.layout.meta = { ...graph.layout.meta, layer: 'another' };
document.dispatchEvent(new PointerEvent('pointerdown', { shiftKey: false }));
graph.emit('plotly_click', { points: [{ customdata: [arguments[0]] }] });
"""


def test_two_clicks_in_a_breath_are_both_shown(walker):
    """The second asks again before the first is answered, and Dash drops that answer. A figure that still shows the
    layer before takes no click."""
    walker.drawn("activations")
    walker.idle("the page is there")
    shown = walker.text("neuron-title")
    first, second, third = [c for c in walker.channels("treemap", "maps") if f"map {c} of" not in shown][:3]
    walker.driver.execute_script(TWICE, first, second)
    walker.says("neuron-title", f"map {first} of")
    chosen = walker.driver.find_element("id", "chosen-maps")
    walker.until(lambda: chosen.get_attribute("value") == str(second), "the other one is chosen")
    walker.idle("all follows")
    assert f"map {first} of" in walker.text("neuron-title")
    walker.driver.execute_script(STALE, third)
    assert f"map={first}" in walker.driver.current_url
    assert walker.complaints() == []


def slowed(walker: Walker) -> int:
    """Hold back answers of the server that change the view; a map of the layer that is not shown."""
    walker.drawn("activations")
    walker.idle("the page is there")
    walker.driver.execute_script(SLOW)
    shown = walker.text("neuron-title")
    return next(c for c in walker.channels("treemap", "maps") if f"map {c} of" not in shown)


def test_an_answer_that_comes_late_undoes_no_click(walker):
    channel = slowed(walker)
    box = walker.driver.find_element("id", "chosen-maps")
    box.send_keys("3 14", Keys.TAB)
    walker.click_bar("treemap", "maps", channel)
    address(walker, f"map={channel}")
    assert "maps=" not in walker.driver.current_url, "the click came before the answer"
    address(walker, "maps=3,14")
    walker.idle("all follows")
    assert f"map={channel}" in walker.driver.current_url
    assert f"map {channel} of" in walker.text("neuron-title")
    cards = {
        card.get_attribute("data-example"): card
        for card in walker.driver.find_elements("css selector", "#gallery button")
        if card.is_displayed()
    }
    example, card = next((name, card) for name, card in cards.items() if name not in walker.driver.current_url)
    box.send_keys(" 15", Keys.TAB)
    card.click()
    address(walker, f"example={example}")
    walker.idle("all follows", after=2000)
    assert f"example={example}" in walker.driver.current_url
    assert "maps=" not in walker.driver.current_url, "what was typed is of the example before"
    assert walker.complaints() == []


def test_the_newer_of_two_choices_stays(walker):
    """A choice and a click on a map right after it; a key that is on its way while another layer is clicked."""
    channel = slowed(walker)
    walker.press("layer-faces")
    walker.driver.find_element("css selector", ".layer h2").click()
    walker.until(
        lambda: not walker.driver.find_element("id", "layer-faces").is_displayed(), "a click elsewhere closes it"
    )
    walker.click_bar("treemap", "maps", channel)
    address(walker, f"map={channel}")
    address(walker, "faces=off")
    walker.idle("all follows")
    assert "faces=off" in walker.driver.current_url
    assert f"map={channel}" in walker.driver.current_url

    walker.driver.execute_script("document.getElementById('river-keys').focus()")
    walker.keys(Keys.ARROW_LEFT)
    walker.click_bar("river", "layers", 16)
    address(walker, "layer=layer3.1.relu_1")
    walker.idle("all follows", after=2000)
    assert "layer=layer3.1.relu_1" in walker.driver.current_url, "the click came after the key"
    assert walker.complaints() == []


def test_what_was_typed_for_a_layer_is_not_for_the_next(walker):
    slowed(walker)
    walker.driver.find_element("id", "chosen-maps").send_keys("3 14", Keys.TAB)
    walker.click_bar("river", "layers", 16)
    address(walker, "layer=layer3.1.relu_1")
    walker.idle("all follows", after=2000)
    box = walker.driver.find_element("id", "chosen-maps")
    assert box.get_attribute("value") == ""
    assert "maps=" not in walker.driver.current_url
    box.send_keys("99999", Keys.TAB)
    walker.says("message", "99999")
    assert box.get_attribute("value") == "99999", "it can be mended"
    walker.click_bar("river", "layers", 14)
    walker.until(lambda: box.get_attribute("value") == "", "another layer has others")
    box.send_keys("3", Keys.TAB)
    address(walker, "&maps=3")
    walker.until(lambda: not walker.text("message"), "it is mended")
    assert walker.complaints() == []


def test_a_click_that_comes_after_going_back_stays(walker):
    channel = slowed(walker)
    shown = walker.driver.current_url
    walker.click_bar("treemap", "maps", channel)
    address(walker, f"map={channel}")
    other = next(c for c in walker.channels("treemap", "maps") if c != channel and f"map={c}" not in shown)
    walker.driver.back()
    walker.until(lambda: walker.driver.current_url == shown, "the address goes back first")
    walker.click_bar("treemap", "maps", other)
    address(walker, f"map={other}")
    walker.idle("all follows", after=2000)
    assert f"map={other}" in walker.driver.current_url
    assert f"map {other} of" in walker.text("neuron-title")
    walker.driver.back()
    walker.until(lambda: walker.driver.current_url == shown, "the entry before")
    walker.until(lambda: f"map {other} of" not in walker.text("neuron-title"), "and what it names")
    assert walker.complaints() == []


def test_going_back_is_not_undone_by_an_answer_to_what_came_before(walker):
    channel = slowed(walker)
    shown = walker.driver.current_url
    walker.click_bar("treemap", "maps", channel)
    address(walker, f"map={channel}")
    then = walker.driver.current_url
    walker.driver.execute_script("document.getElementById('river-keys').focus()")
    walker.keys(Keys.ARROW_LEFT)
    walker.driver.back()
    walker.idle("all follows", after=3500)
    assert walker.driver.current_url == shown
    assert f"map {channel} of" not in walker.text("neuron-title")
    walker.driver.forward()
    walker.says("neuron-title", f"map {channel} of")
    assert walker.driver.current_url == then
    assert walker.complaints() == []


def test_a_layer_is_pinned_right_after_it_was_clicked(walker):
    walker.drawn("activations")
    walker.press("pin-layer")
    address(walker, "pinned=layer3.2.relu")
    walker.click_bar("river", "layers", 16)
    walker.driver.find_element("id", "pin-layer").click()
    address(walker, "pinned=layer3.2.relu~layer3.1.relu_1")
    walker.idle("all follows")
    assert "pinned=layer3.2.relu~layer3.1.relu_1" in walker.driver.current_url
    assert walker.complaints() == []


def test_keys_beyond_the_end_of_the_network_need_not_be_taken_back(walker):
    walker.drawn("activations")
    last, before = sorted(walker.channels("river", "layers"))[:-3:-1]
    walker.click_bar("river", "layers", before)
    walker.idle("all follows")
    title = walker.text("layer-title")
    walker.click_bar("river", "layers", last)
    end = walker.until(lambda: walker.text("layer-title") != title and walker.text("layer-title"), "the last layer")
    walker.idle("all follows")
    walker.driver.execute_script("document.getElementById('river-keys').focus()")
    walker.keys(*[Keys.ARROW_RIGHT] * 3)
    walker.idle("there is no further layer", after=500)
    assert walker.text("layer-title") == end
    walker.keys(Keys.ARROW_LEFT)
    walker.says("layer-title", title)
    assert walker.complaints() == []


def test_the_table_opens_sorts_and_shows_maps_by_keyboard(walker):
    rows = lambda: walker.driver.execute_script(ROWS)  # noqa: E731
    walker.drawn("treemap")
    walker.driver.find_element("id", "layer-table-switch").send_keys(Keys.ENTER)
    walker.until(rows, "rows")
    without = walker.driver.execute_script(HIDDEN)
    assert len(rows()) == len(walker.channels("treemap", "maps")) + len(without), "maps without a cell have a row"
    heads = {head.text: head for head in walker.driver.find_elements("css selector", ".layer-table th button")}
    heads["map"].send_keys(Keys.ENTER)
    numbers = lambda: [int(row.split("|")[0]) for row in rows()]  # noqa: E731
    walker.until(lambda: numbers() == sorted(numbers()), "sorted by channel")
    last = numbers()[-1]
    walker.driver.execute_script(FOCUS_LAST)
    walker.keys(Keys.ENTER)
    walker.says("neuron-title", f"map {last} of")
    assert walker.driver.switch_to.active_element.text == str(last), "the keyboard stays where it was"
    assert walker.driver.execute_script(CHOSEN) == [str(last)]
    walker.choose("layer-keep", "shared")
    walker.until(lambda: rows() and all("∩" in row for row in rows()), "only shared maps, as in the treemap")
    assert walker.complaints() == []
