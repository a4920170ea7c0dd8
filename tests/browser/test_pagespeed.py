"""The stopwatch in a real browser: it times what is painted, and the whole measurement runs."""

import http.server
import threading
import time

import pytest
from browser.walking import Walker

from aevis_dash.pagespeed import chromium
from aevis_dash.pagespeed.visitor import Visitor

pytestmark = pytest.mark.browser

PAGE = b"""<!doctype html><body style="margin:0"><p id="said">before</p>
<div class="hoverlayer" id="hover"></div>
<script>
addEventListener("pointerup", async (event) => {
  window.pressed = event.timeStamp;
  await fetch("/_dash-update-component");
  document.getElementById("said").textContent = "first";
  setTimeout(() => { document.getElementById("said").textContent = "last"; window.last = performance.now(); }, 100);
  setTimeout(() => { document.getElementById("hover").textContent = "hover"; window.hover = performance.now(); }, 250);
});
</script>"""


class SlowPage(http.server.BaseHTTPRequestHandler):
    """Answers a click after 400 ms, longer than the quiet after which a page counts as still."""

    def do_GET(self):
        asked = self.path.startswith("/_dash-update-component")
        time.sleep(0.4 if asked else 0)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}" if asked else PAGE)

    def log_message(self, format, *args):
        """Nothing is printed."""


@pytest.fixture
def slow_page():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowPage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_time_is_that_of_the_last_change_painted(slow_page):
    """From the pointer on, over the server's answer, to what is drawn a while after it; what only hovers counts not."""
    with chromium.open_browser() as driver:
        visitor = Visitor(driver, slow_page)
        driver.get(slow_page)
        ms = visitor.click_at(50, 20)
        pressed, last, hover = driver.execute_script("return [window.pressed, window.last, window.hover]")
        assert last - pressed >= 490
        assert last <= pressed + ms < hover
        driver.get(slow_page.replace("127.0.0.1", "localhost"))
        driver.execute_script("stopwatch.arm()")
        assert visitor.settle(()) is None, "without a change there is no time"


ASKED = """
window.asked = [];
const ask = window.fetch;
window.fetch = (address, options) => {
  if (String(address).includes("_dash-update-component")) {
    window.asked.push(JSON.parse(options.body).output);
  }
  return ask(address, options);
};
"""


def test_a_click_asks_once_and_never_for_the_view(dash_br, served):
    """The browser changes the view itself, and the controls that follow it say nothing new."""
    walker = Walker(dash_br, served.url)
    walker.drawn("activations")
    walker.idle("the page is there")
    walker.driver.execute_script(ASKED)
    channel = walker.channels("treemap", "maps")[-1]
    walker.click_bar("treemap", "maps", channel)
    walker.says("neuron-title", f"map {channel} of")
    walker.idle("all follows")
    asked = walker.driver.execute_script("return window.asked")
    assert len([outputs for outputs in asked if "activations.figure" in outputs]) == 1
    assert not [outputs for outputs in asked if "view.data" in outputs or "view-changes.data" in outputs]

    walker.driver.execute_script("window.asked = []")
    walker.click_cell("activations", 1, 0, 0)
    walker.says("area-text", "rows 0 to 0, columns 0 to 0")
    walker.idle("all follows")
    assert len(walker.driver.execute_script("return window.asked")) == 1
