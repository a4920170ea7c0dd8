"""The page below a path of another server, as a reverse proxy shows it."""

import csv
import shutil
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from browser.conftest import serve
from browser.walking import Walker

pytestmark = pytest.mark.browser

PREFIX = "/tools/aevis"
NAME = "lab.localhost"  # every such name leads to this machine
LOADED = """
const shown = Array.from(document.images).filter((image) => image.getBoundingClientRect().width);
const waits = (image) => image.loading === "lazy" && !image.complete;
const loaded = shown.filter((image) => image.naturalWidth);
return loaded.length > arguments[0] && shown.every((image) => image.naturalWidth || waits(image));
"""


def proxy(behind: int, strips: bool) -> tuple[ThreadingHTTPServer, list[tuple[int, str]]]:
    """A proxy that takes the path away and asks under the server's own name, or leaves both; and what it answered."""
    answered: list[tuple[int, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            below = self.path.startswith(f"{PREFIX}/")
            kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            if strips:
                kept["Host"] = f"127.0.0.1:{behind}"
            asking = HTTPConnection("127.0.0.1", behind, timeout=120)
            try:
                if not below:
                    self.send_error(404)
                    return
                asking.request(self.command, self.path.removeprefix(PREFIX) if strips else self.path, body, kept)
                answer = asking.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            finally:
                asking.close()

        def log_request(self, code="-", size="-"):
            answered.append((int(code), self.path))

        do_GET = do_POST = forward

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, answered


@pytest.mark.parametrize("strips", [True, False])
def test_all_is_found_below_a_proxys_path(dash_br, served, tmp_path, strips):
    """The table names the adversarial images by absolute paths."""
    copied = tmp_path / "copied"
    shutil.copytree(served.workspace, copied, ignore=shutil.ignore_patterns("job.lock"))
    with (copied / "examples.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    with (copied / "examples.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"adversarial": str(copied / row["adversarial"])} for row in rows)
    running = serve(tmp_path, [str(copied), "--prefix", PREFIX, "--allow-host", NAME])
    try:
        inner = next(running)
        outer, answered = proxy(urlsplit(inner.url).port, strips)
        walker = Walker(dash_br, f"http://{NAME}:{outer.server_address[1]}{PREFIX}/")
        walker.until(lambda: len(walker.driver.find_elements("css selector", "#gallery img")) > 20, "cards shown")
        walker.drawn("activations")
        walker.until(lambda: walker.driver.execute_script(LOADED, 6), "every picture loaded")
        walker.click_any("#gallery .card-button:not(.chosen)")
        walker.until(lambda: any("/difference/" in path for _, path in answered), "the difference under the mouse")
        walker.drawn("activations")
        walker.until(lambda: walker.driver.execute_script(LOADED, 6), "every picture loaded")
        walker.idle("answers")
        assert f"{PREFIX}/?example=" in walker.driver.current_url
        assert {path for code, path in answered if code not in (200, 204, 304)} == set()
        assert any(f"file={copied}" in path for _, path in answered), "an absolute path"
        assert walker.complaints() == []
        outer.shutdown()
        outer.server_close()
    finally:
        running.close()


def test_a_page_behind_a_proxy_that_the_server_was_not_told_of_says_what_to_do(dash_br, served, tmp_path):
    """The proxy asks under the server's own name, so that the page comes, but none of its answers."""
    running = serve(tmp_path, [str(served.workspace), "--prefix", PREFIX])
    try:
        inner = next(running)
        outer, _ = proxy(urlsplit(inner.url).port, strips=True)
        walker = Walker(dash_br, f"http://{NAME}:{outer.server_address[1]}{PREFIX}/")
        walker.says("server-gone", "Start the server with --allow-host NAME if it should.")
        assert f"A page of 'http://{NAME}:" in walker.text("server-gone")
        outer.shutdown()
        outer.server_close()
    finally:
        running.close()
