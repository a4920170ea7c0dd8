"""A user's hands and eyes: drawn graphs are waited for, clicks go to viewport coordinates after a mouse move."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains

DRAWN = """
const graph = document.querySelector('#' + arguments[0] + ' .js-plotly-plot');
return Boolean(graph && graph.calcdata && graph.data.length && !graph._replotting);
"""
WHERE_BAR = """
const graph = document.querySelector('#' + arguments[0] + ' .js-plotly-plot');
const trace = graph._fullData.find((t) => t.name === arguments[1]);
const at = trace.customdata.findIndex((c) => c[0] === arguments[2]);
const box = graph.getBoundingClientRect(), size = graph._fullLayout._size;
const x = graph._fullLayout.xaxis.d2p(trace.x[at]);
const of = (values) => (values === undefined ? 0 : typeof values === "number" ? values : values[at]);
const y = graph._fullLayout.yaxis.d2p(of(trace.base) + of(trace.y) / 2);
return [box.x + size.l + x, box.y + size.t + y];
"""
SLOW = """
const ask = window.fetch;
window.fetch = (address, ...rest) => {
  const slow = rest[0] && ['view-changes.data@', 'arrived.data'].some((name) => String(rest[0].body).includes(name));
  return ask(address, ...rest).then((answer) => new Promise((done) => setTimeout(() => done(answer), slow ? 1500 : 0)));
};
"""
"""Holds back answers of the server that change the view."""
HIDDEN = "return document.querySelector('#treemap .js-plotly-plot').layout.meta.hidden"
"""The shown layer's maps that have no cell."""
CHANNELS = """
const graph = document.querySelector('#' + arguments[0] + ' .js-plotly-plot');
return graph.data.find((t) => t.name === arguments[1]).customdata.map((c) => c[0]);
"""
DRAWING = """
const graph = document.querySelector('#' + arguments[0] + ' .js-plotly-plot');
return JSON.stringify(graph.data.map((t) => [t.name, t.x, t.y]));
"""
BARS = """
const graph = document.querySelector('#' + arguments[0] + ' .js-plotly-plot');
return graph._fullData.filter((t) => t.type === "bar").map((t) => [t.name, t.customdata, Array.from(t.y)]);
"""
MARK = "document.querySelector('#' + arguments[0] + ' .js-plotly-plot').calcdata.marked = true;"
MARKED = "return Boolean(document.querySelector('#' + arguments[0] + ' .js-plotly-plot').calcdata.marked);"
TEXTS = "return [...document.querySelectorAll(arguments[0])].map((element) => element.innerText)"
OPTIONS = ".dash-dropdown-content .dash-options-list-option"
PANEL = """
const box = document.querySelectorAll('#' + arguments[0] + ' .nsewdrag')[arguments[1]].getBoundingClientRect();
return [box.x, box.y, box.width, box.height];
"""

FOLDED = """
const inside = arguments[0].closest("details:not([open])");
return inside && !arguments[0].closest("summary") ? inside.querySelector("summary") : null;
"""
CELL = """
const graph = document.querySelector('#' + arguments[0] + ' .js-plotly-plot');
const suffix = arguments[1] ? arguments[1] + 1 : '', x = graph._fullLayout['xaxis' + suffix];
const y = graph._fullLayout['yaxis' + suffix], box = graph.getBoundingClientRect();
return [box.x + x._offset + x.d2p(arguments[2]), box.y + y._offset + y.d2p(arguments[3])];
"""


class Walker:
    """One visitor."""

    def __init__(self, browser, url: str):
        self.browser, self.driver = browser, browser.driver
        self.driver.get(url)

    def until(self, condition, what: str, seconds: float = 180):
        """Wait for a condition, a job's end on a busy machine included; its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds} s in vain for: {what}; {self._said()}")

    def _said(self) -> str:
        return f"page says: {self.text('message')!r}, its jobs: {self.text('jobs')!r}, area {self.text('area-text')!r}"

    def drawn(self, graph: str) -> None:
        self.until(lambda: self.driver.execute_script(DRAWN, graph), f"{graph} drawn")

    def still(self, graph: str) -> None:
        """Wait until a graph is drawn and moves no more, as one in a panel that comes in does."""
        self.drawn(graph)
        where = lambda: self.driver.execute_script(PANEL, graph, 0)  # noqa: E731
        self.until(lambda: where() == (time.sleep(0.15), where())[1], f"{graph} still")

    def text(self, element: str) -> str:
        """What an element shows, "" where there is none; it is found anew where the page has just drawn it again."""
        try:
            found = self.driver.find_elements("id", element)
            return found[0].text if found else ""
        except StaleElementReferenceException:
            return self.text(element)

    def texts(self, selector: str) -> list[str]:
        """What the elements of a CSS selector show, all at one moment, as the page may draw them again at any time."""
        return self.driver.execute_script(TEXTS, selector)

    def says(self, element: str, part: str) -> str:
        """Wait until an element's text holds `part`; the text."""
        return self.until(lambda: part in self.text(element) and self.text(element), f"{element} says {part!r}")

    def job_says(self, kind: str, part: str) -> str:
        """Open the list of jobs where it is closed, and wait until the text of a job's line holds `part`; the text."""

        def said() -> str:
            if not self.driver.find_elements("css selector", "#jobs > details[open]"):
                self.press("jobs-chip")
            return self.text(f"{kind}-text")

        return self.until(lambda: part in said() and said(), f"the job {kind} says {part!r}")

    def click_at(self, x: float, y: float) -> None:
        self._pointer(x, y).pause(0.1).click().perform()  # the hover that a click needs takes 50 ms

    def click_bar(self, graph: str, trace: str, first: int) -> None:
        """Click the bar of a trace whose customdata begins with `first`."""
        self.click_at(*self.driver.execute_script(WHERE_BAR, graph, trace, first))

    def click_bar_with(self, key: str, graph: str, trace: str, first: int) -> None:
        """Click that bar with a key held."""
        ActionChains(self.driver).key_down(key).perform()
        self.click_bar(graph, trace, first)
        ActionChains(self.driver).key_up(key).perform()

    @contextmanager
    def held_on_bar(self, graph: str, trace: str, first: int) -> Iterator[tuple[float, float]]:
        """Hold the mouse's button down on that bar; its place."""
        x, y = self.driver.execute_script(WHERE_BAR, graph, trace, first)
        self._pointer(x, y).pause(0.2).click_and_hold().perform()
        yield x, y
        ActionChains(self.driver).release().perform()

    def channels(self, graph: str, trace: str) -> list[int]:
        return self.driver.execute_script(CHANNELS, graph, trace)

    def drag_box(self, graph: str, panel: int, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a box on a subplot, its corners as shares of the subplot's size."""
        x, y, width, height = self.driver.execute_script(PANEL, graph, panel)
        pointer = self._pointer(x + start[0] * width, y + start[1] * height).click_and_hold()
        across, down = (end[0] - start[0]) * width, (end[1] - start[1]) * height
        pointer.move_by_offset(int(across / 2), int(down / 2))
        pointer.move_by_offset(int(across) - int(across / 2), int(down) - int(down / 2)).release().perform()

    def press_on_graph(self, graph: str, mode: str) -> None:
        """Choose what a drag on a graph does, in its mode bar."""
        self.driver.find_element("css selector", f'#{graph} [data-attr="dragmode"][data-val="{mode}"]').click()

    def drag_around(self, graph: str, corners: Sequence[tuple[float, float]]) -> None:
        """Draw a lasso on the first subplot by way of corners, as shares of its size."""
        x, y, width, height = self.driver.execute_script(PANEL, graph, 0)
        places = [(x + across * width, y + down * height) for across, down in (*corners, corners[0])]
        pointer = self._pointer(*places[0]).click_and_hold()
        for there in places[1:]:
            pointer.w3c_actions.pointer_action.move_to_location(int(there[0]), int(there[1]))
        pointer.release().perform()

    def click_cell(self, graph: str, panel: int, column: int, row: int) -> None:
        """Click a cell of a heatmap that is drawn."""
        self.drawn(graph)
        self.click_at(*self.driver.execute_script(CELL, graph, panel, column, row))

    def point_at_cell(self, graph: str, panel: int, column: int, row: int) -> None:
        """Move the pointer over a cell of a heatmap, by way of its neighbour."""
        self.drawn(graph)
        for x, y in ((column - 1, row), (column, row)):
            self._pointer(*self.driver.execute_script(CELL, graph, panel, x, y)).pause(0.1).perform()

    def choose(self, dropdown: str, label: str) -> None:
        """Open a dropdown and take the option of that label."""
        self.press(dropdown)
        options = lambda: [o for o in self.driver.find_elements("css selector", OPTIONS) if o.text == label]  # noqa: E731
        self.until(options, f"{dropdown} offers {label!r}")[0].click()

    def drawing(self, graph: str) -> str:
        """What a graph shows, to be compared with another drawing."""
        return self.driver.execute_script(DRAWING, graph)

    def idle(self, what: str, after: int = 0) -> None:
        """Wait until the page waits for no answer, from so many ms on."""
        self.driver.execute_async_script("setTimeout(arguments[1], arguments[0])", after)
        self.until(lambda: not self.browser.redux_state_is_loading, what)

    def press(self, element: str) -> None:
        """Click an element that is shown and enabled, found anew where the page has just drawn it again."""

        def pressed() -> bool:
            try:
                found = self.driver.find_element("id", element)
                self._unfold(found)
                if not (found.is_displayed() and found.is_enabled()):
                    return False
                found.click()
            except (NoSuchElementException, StaleElementReferenceException):
                return False
            return True

        self.until(pressed, f"{element} shown and enabled")

    def keys(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    @contextmanager
    def second_window(self) -> Iterator[None]:
        """A second window, which is left and closed at the end, whatever happened in it."""
        first = self.driver.current_window_handle
        self.driver.switch_to.new_window("window")
        try:
            yield
        finally:
            self.driver.close()
            self.driver.switch_to.window(first)

    def search(self, dropdown: str, text: str) -> None:
        """Open a dropdown, and type into its field for searching once that has the focus."""
        self.press(dropdown)
        field = lambda: self.driver.switch_to.active_element  # noqa: E731
        self.until(lambda: field().tag_name == "input", f"{dropdown} takes what is typed")
        field().send_keys(text)

    def unfold(self, element: str) -> None:
        """Open what an element is folded away in."""
        self._unfold(self.driver.find_element("id", element))

    def _unfold(self, found) -> None:
        folded = self.driver.execute_script(FOLDED, found)
        if folded is not None:
            folded.click()

    def click_any(self, selector: str, which: int = 0) -> str:
        """Click one of the elements of a CSS selector, found anew where the page has just drawn it again; its text."""

        def clicked() -> str | None:
            try:
                element = self.driver.find_elements("css selector", selector)[which]
                text = element.text
                element.click()
                return text
            except (StaleElementReferenceException, IndexError):
                return None

        return self.until(clicked, f"{selector} clicked")

    def complaints(self) -> list[str]:
        """What the browser's console says of errors, and what the page says of an answer that failed."""
        told = self.text("message")
        failed = [told] if told.startswith("This could not be shown") else []
        return failed + [entry["message"] for entry in self.browser.get_logs() or [] if entry["level"] == "SEVERE"]

    def foreign_addresses(self) -> list[str]:
        """Addresses outside the server that the page asked for."""
        script = "return performance.getEntriesByType('resource').map((e) => e.name)"
        here = self.driver.execute_script("return window.location.origin")
        return [n for n in self.driver.execute_script(script) if not n.startswith((here, "data:", "blob:"))]

    def _pointer(self, x: float, y: float) -> ActionChains:
        actions = ActionChains(self.driver)
        actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        return actions
