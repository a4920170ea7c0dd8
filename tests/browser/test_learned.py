"""Learned features in the browser: they come by themselves, by activation or relevance, and a picture on a click."""

import pytest
from browser.walking import Walker

pytestmark = pytest.mark.browser


@pytest.fixture
def walker(dash_br, served) -> Walker:
    return Walker(dash_br, served.url)


def patches(walker):
    return walker.driver.execute_script("return [...document.querySelectorAll('#learned img')].map(i => i.title)")


def test_both_sets_come_by_themselves_and_a_picture_is_made(walker):
    walker.drawn("treemap")
    walker.until(lambda: patches(walker), "patches, before the index is complete or after")
    places = "return document.querySelectorAll('#learned > *').length"
    assert walker.driver.execute_script(places) == 9, "the empty ones keep their place"
    walker.until(lambda: "…" not in walker.text("learn-text"), "the index is complete", 200)
    walker.says("learn-text", "learned from 60 images")
    walker.says("learned-note", "detects")
    by_activation = walker.until(lambda: patches(walker), "patches of the whole index")
    assert all(" · activation " in title and "row " in title for title in by_activation)

    walker.click_any("#best-by label", 1)
    walker.until(lambda: (p := patches(walker)) and all(" · relevance " in t for t in p), "the other set")
    assert "best=relevance" in walker.driver.current_url
    by_relevance = patches(walker)
    walker.driver.get(walker.driver.current_url)
    walker.until(lambda: patches(walker) == by_relevance, "the same from the link")

    walker.press("visualise")
    walker.says("feature-picture", "fires it by")
    loaded = "const i = document.querySelector('#feature-picture img'); return i && i.complete && i.naturalWidth"
    walker.until(lambda: walker.driver.execute_script(loaded) == 64, "the picture")
    assert walker.foreign_addresses() == []
    assert walker.complaints() == []
