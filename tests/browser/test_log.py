"""The server's log of a page that is really open."""

import json

import pytest
from browser.conftest import serve
from browser.walking import Walker

pytestmark = pytest.mark.browser


def test_each_line_of_the_log_is_json_and_names_the_page_that_asks(dash_br, served, tmp_path):
    running = serve(tmp_path, [str(served.workspace), "--log", "json"])
    try:
        walker = Walker(dash_br, next(running).url)
        walker.drawn("river")
        walker.idle("the page", after=500)
        page = walker.driver.execute_script("return dash_clientside.controls.shown('page-load', 'data')")
    finally:
        running.close()
    lines = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
    callbacks = [line for line in lines if (line.get("route") or "").startswith("callback ")]
    assert len(callbacks) > 5
    assert {line["page"] for line in callbacks} == {page}
    assert {line["status"] for line in callbacks} <= {200, 204}
    looks = [line["page"] for line in lines if line.get("route") == "/looks-at"]
    assert set(looks) == {page}
