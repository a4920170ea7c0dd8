"""A visitor who clicks layers, maps and neurons at random, and waits each time until all that follows is painted."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aevis_dash import ids
from aevis_dash.geometry.focus import OPEN

QUIET, LATE = 250, 30_000
"""The ms without a change after which the page has answered, and the ms after which waiting is given up. What is given
up counts as that long."""
GRAPHS = (ids.RIVER, ids.TREEMAP, ids.ACTIVATIONS, ids.SCORES)
"""The graphs that must be drawn before the page counts as loaded."""
LAYERS, GROUPS, MAPS = "layers", "groups", "maps"
"""The names of the traces whose bars are clicked."""
LEAST = 4.0
"""The width and the height in pixels that a bar needs to be clicked."""
_SCRIPT = Path(__file__).with_name("stopwatch.js")


class Visitor:
    """One page in a browser. Times are in ms, and None where a click changed nothing.

    Args:
        driver: the browser, as selenium's driver.
        address: the address of the server.
        seed: of what is clicked.
    """

    def __init__(self, driver: Any, address: str, seed: int = 0):
        self.driver, self.address, self.draw = driver, address, random.Random(seed)
        self.sizes: dict[str, int] = {}
        script = {"source": _SCRIPT.read_text(encoding="utf-8")}
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        driver.set_script_timeout(2 * LATE / 1000)
        self._last: dict[tuple[str, str], Any] = {}

    def load(self, example: str, cold: bool, opened: Sequence[str] = ()) -> float | None:
        """Open the page on an example, and wait until all of it is painted.

        Args:
            example: the ID of the example.
            cold: whether the browser's cache is emptied first.
            opened: the names of the network's groups that stand open.
        """
        if cold:
            self.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        folds = quote("~".join(quote(OPEN + name, safe="") for name in opened), safe="")
        self.driver.get(f"{self.address}/?example={quote(example, safe='')}" + (f"&folds={folds}" if folds else ""))
        return self.settle(GRAPHS)

    def weigh(self, wanted: bool) -> None:
        """From now on, over loads too, note in `sizes` the bytes of the largest JSON sent of each figure; or stop doing
        so."""
        self.driver.execute_script("stopwatch.weigh(arguments[0])", wanted)

    def bars(self, graph: str, trace: str) -> dict[Any, tuple[float, float]]:
        """The places (x, y) of the bars of a trace that are large enough to click, by the first value of their
        customdata.

        There are none where the graph has no such trace.
        """
        found = self.driver.execute_script("return stopwatch.bars(arguments[0], arguments[1])", graph, trace)
        return {key: (x, y) for key, x, y, width, height in found if width >= LEAST and height >= LEAST}

    def click_bar(self, graph: str, trace: str, among: Sequence[Any] | None = None) -> float | None:
        """Click a random bar of a trace other than the one clicked last. Only the bars `among` are clicked, where they
        are given."""
        found, last = self.bars(graph, trace), self._last.get((graph, trace))
        choice = [key for key in found if (among is None or key in among) and key != last]
        if not choice:
            return None
        chosen = self._last[graph, trace] = self.draw.choice(choice)
        return self.click_at(*found[chosen])

    def click_cell(self) -> float | None:
        """Click a random neuron of the first activation map, which joins the area of interest or leaves it."""
        script = "return stopwatch.cell(arguments[0], arguments[1], arguments[2])"
        place = self.driver.execute_script(script, ids.ACTIVATIONS, self.draw.random(), self.draw.random())
        return self.click_at(*place) if place is not None else None

    def click_card(self, example: str) -> float | None:
        """Choose an example in the gallery. The time is None too where the gallery does not list it."""
        cards = self.driver.find_elements("css selector", f'#{ids.GALLERY} [data-example="{example}"]')
        if not cards:
            return None
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'}); stopwatch.arm()", cards[0])
        cards[0].click()
        return self.settle(GRAPHS)

    def move_slider(self) -> float | None:
        """Move both ends of the slider of scores to a random range, as releasing its handle does."""
        script = "return stopwatch.slide(arguments[0], arguments[1], arguments[2])"
        self.driver.execute_script(script, ids.RANGE, self.draw.uniform(0.0, 0.4), self.draw.uniform(0.6, 1.0))
        return self.settle(())

    def thumbnails(self, count: int, mark: str) -> dict[str, float] | None:
        """Fetch pictures of the gallery anew and wait until they are shown.

        Args:
            count: the number of pictures.
            mark: a text by which the pictures are fetched anew, and not taken from the cache.

        Returns:
            The time as "ms", and how many of the pictures are "different"; None where the gallery is empty.
        """
        script = "stopwatch.thumbnails(arguments[0], arguments[1]).then(arguments[2])"
        return self.driver.execute_async_script(script, count, mark)

    def heap(self) -> float:
        """The MiB of JavaScript's heap, after its garbage was collected."""
        self.driver.execute_cdp_cmd("HeapProfiler.enable", {})
        self.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        return self.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"] / 1024**2

    def click_at(self, x: float, y: float) -> float | None:
        """Click a place of the page, in pixels, and wait until all that changed is painted. None where nothing
        changed."""
        from selenium.webdriver.common.action_chains import ActionChains

        actions = ActionChains(self.driver, duration=20)
        actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        actions.pause(0.1).perform()  # the hover that Plotly needs for a click takes 50 ms
        self.driver.execute_script("stopwatch.arm()")
        ActionChains(self.driver).click().perform()
        return self.settle(())

    def settle(self, graphs: Sequence[str]) -> float | None:
        """The ms from the last click or load until all is painted, the named graphs among it; None where nothing
        changed."""
        script = "stopwatch.settle(arguments[0], arguments[1], arguments[2], arguments[3])"
        found = self.driver.execute_async_script(script, QUIET, LATE, list(graphs))
        for graph, size in (found.get("sizes") or {}).items():
            self.sizes[graph] = max(size, self.sizes.get(graph, 0))
        return float(LATE) if found.get("late") else found["ms"]
