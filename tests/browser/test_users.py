"""A page with users: logging in, what a reader is refused, and a trail that one saves and another one opens."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.conftest import Served, serve
from browser.test_accessible import AXE, RUN
from browser.walking import Walker
from logging_in import PASSWORDS, two_users

from aevis_dash.shared_trails import SharedTrails

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def guarded(browsed_world, tmp_path_factory) -> Iterator[Served]:
    """The drawn world, served to ada, an analyst, and ben, a reader."""
    cache = tmp_path_factory.mktemp("guarded")
    root = Path(shutil.copytree(browsed_world, cache / "world"))
    users = two_users(cache)
    yield from serve(cache, [str(root), "--users", str(users.path)])


def log_in(walker: Walker, name: str, password: str | None = None) -> None:
    """Log in by the page, in a browser that shows it."""
    for field, text in (("name", name), ("password", PASSWORDS[name] if password is None else password)):
        box = walker.driver.find_element("id", field)
        box.clear()
        box.send_keys(text)
    walker.driver.find_element("css selector", "button[type=submit]").click()


def log_out(walker: Walker) -> None:
    walker.driver.find_element("class name", "log-out").click()
    walker.until(lambda: walker.driver.find_elements("id", "password"), "the login")


def open_drawer(walker: Walker) -> None:
    walker.driver.find_element("css selector", ".tree-panel summary").click()
    walker.until(lambda: walker.text("saved-trails"), "the list of saved trails")


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm ci)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_login(guarded, dash_br, scheme):
    told = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    dash_br.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
    try:
        walker = Walker(dash_br, guarded.url)
        for _ in range(2):  # also with what is said of a wrong password
            walker.driver.execute_script(AXE.read_text(encoding="utf-8"))
            assert walker.driver.execute_async_script(RUN) == []
            back = walker.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert back == {"light": "rgb(243, 245, 247)", "dark": "rgb(13, 15, 18)"}[scheme]
            log_in(walker, "ada", "wrong password")
            walker.until(lambda: walker.driver.find_elements("class name", "wrong"), "what was wrong")
    finally:
        dash_br.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_login_works_without_javascript(guarded, dash_br):
    dash_br.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        walker = Walker(dash_br, guarded.url + "/?layer=x")
        walker.until(lambda: "/login" in walker.driver.current_url, "the way to the login")
        log_in(walker, "ben")
        walker.until(lambda: "/login" not in walker.driver.current_url, "the way back")
        assert walker.driver.current_url == guarded.url + "/?layer=x"
    finally:
        dash_br.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_an_analyst_saves_a_trail_and_a_reader_opens_it_and_starts_nothing(guarded, dash_br):
    walker = Walker(dash_br, guarded.story)
    log_in(walker, "ada")
    walker.drawn("activations")
    walker.press("trace")
    walker.says("winners", "Found by")
    walker.idle("the trace is drawn")
    wanted = walker.driver.execute_script("return window.location.search")
    assert "steps=" in wanted
    open_drawer(walker)
    assert walker.text("saved-trails") == "No trail is saved yet."
    assert not walker.driver.find_element("id", "save-who").is_displayed()
    walker.driver.find_element("id", "save-name").send_keys("<b>the ears</b>")
    walker.driver.find_element("id", "save-trail").click()
    walker.says("saved-trails", "<b>the ears</b>")
    walker.says("saved-trails", "ada · ")
    assert walker.driver.find_elements("css selector", ".saved-trail button")
    (trail,) = SharedTrails(guarded.workspace / "cache").all()[0]
    assert (trail.who, trail.link) == ("ada", wanted)

    log_out(walker)
    walker.driver.get(guarded.story)
    log_in(walker, "ben")
    walker.drawn("activations")
    open_drawer(walker)
    walker.says("saved-trails", "<b>the ears</b>")
    assert not walker.driver.find_elements("css selector", ".saved-trail button"), "it is ada's"
    assert not walker.driver.find_element("id", "save-trail").is_displayed()
    walker.driver.find_element("css selector", ".saved-trail a").click()
    walker.until(lambda: walker.driver.execute_script("return window.location.search") == wanted, "the saved view")
    walker.drawn("activations")
    walker.says("winners", "Found by")

    walker.idle("all is drawn")
    walker.press("suggest")
    assert walker.says("message", "You are logged in as a reader").endswith("to start it.")
    walker.idle("the refusal")
    assert not walker.driver.find_elements("css selector", ".stale"), "the page goes on"
    assert walker.complaints() == []


def test_a_session_that_has_ended_is_told_on_an_open_page(guarded, dash_br):
    walker = Walker(dash_br, guarded.story)
    log_in(walker, "ada")
    walker.drawn("activations")
    walker.idle("all is drawn")
    walker.driver.delete_all_cookies()
    walker.click_bar("treemap", "maps", walker.channels("treemap", "maps")[1])
    walker.says("server-gone", "Reload the page; its address keeps what you see.")
    address = walker.driver.current_url
    walker.driver.refresh()
    log_in(walker, "ada")
    walker.drawn("activations")
    assert walker.driver.current_url == address
