"""A user's way through the page, by mouse, in a real browser, under the production server, with the network off."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from browser.conftest import serve
from browser.walking import BARS, MARK, MARKED, OPTIONS, SLOW, Walker
from filelock import FileLock
from selenium.webdriver.common.keys import Keys

from aevis_dash.workbench import open_workbench

pytestmark = pytest.mark.browser
SLIDE = "dash_clientside.set_props('score-range', {value: [-9, 1]})"
CHOOSE = "dash_clientside.set_props('chosen-example', {data: {example: arguments[0], at: Date.now()}})"


@pytest.fixture
def walker(dash_br, served) -> Walker:
    return Walker(dash_br, served.story)


def test_from_the_slider_to_the_cause(walker):
    """Slider, example, layer, map, area, contribution, and a click on the winner."""
    walker.drawn("river")
    walker.drawn("treemap")
    assert "panda" in walker.text("triplet")
    assert "monkey" in walker.text("triplet"), "the page opens on a panda that became a monkey"
    assert "Next:" in walker.text("hint")
    first_address = walker.driver.current_url

    walker.says("gallery-count", "of 120 examples")
    _move_slider(walker)

    opened = walker.text("triplet")
    card = walker.driver.find_elements("css selector", ".card-button:not(.chosen)")[0]
    chosen = card.get_attribute("data-example")
    card.click()
    walker.until(lambda: f"example={chosen}" in walker.driver.current_url, "the address names the example")
    walker.until(lambda: walker.text("triplet") != opened, "the triplet changed")
    walker.until(
        lambda: walker.text("triplet").count("of the maps alone give") == 3, "three datapaths extracted by a job"
    )
    walker.drawn("river")

    walker.click_bar("river", "layers", 16)
    walker.says("layer-title", "layer3.1.relu_1")
    walker.drawn("treemap")

    channel = walker.channels("treemap", "maps")[-1]
    walker.click_bar("treemap", "maps", channel)
    walker.says("neuron-title", f"map {channel} of layer3.1.relu_1")
    walker.until(lambda: len(walker.driver.find_elements("css selector", "#learned img")) >= 5, "learned features")
    walker.still("activations")

    walker.drag_box("activations", 1, (0.1, 0.1), (0.6, 0.6))
    walker.says("area-text", "rows 1 to 4, columns 1 to 4")

    walker.press("trace")
    walker.says("layer-title", "layer3.1.relu ")
    walker.until(lambda: walker.text("winners"), "the contributions are there at once")
    walker.until(lambda: "being found" not in walker.text("winners"), "and solved by a job")
    assert "Found by the solver" in walker.text("winners") or "does not make" in walker.text("winners")
    assert f"map {channel}, rows 1-4, columns 1-4" in walker.text("trail")

    walker.click_any("#trail .step")
    walker.says("area-text", "rows 1 to 4, columns 1 to 4")
    walker.driver.get(first_address)
    walker.drawn("river")
    walker.says("triplet", "monkey")

    assert walker.foreign_addresses() == []
    assert walker.complaints() == []


def test_the_page_opens_on_what_was_lost_and_says_why(dash_br, served):
    walker = Walker(dash_br, served.url)
    walker.says("neuron-title", "the one that is estimated to bring panda back most")
    walker.drawn("activations")
    walker.until(lambda: walker.text("trace") == "Trace contributions on src", "it is traced where it fires")
    assert walker.complaints() == []


def test_the_story_traces_to_winners(walker):
    """Its map fires, so tracing it names winners, the same ones from the link, and shows the strongest at once."""
    walker.drawn("activations")
    walker.driver.find_element("id", "area-words").send_keys("rows 2-5, columns 2-5")
    walker.press("trace")
    first = walker.says("winners", "Found by the solver")
    assert "map 0, rows 2-5, columns 2-5" in walker.text("trail"), "what is typed counts for the next click"
    assert "★" in first
    walker.says("area-text", "rows ")
    strongest = first[first.index("★") :].split()[1].rstrip(":")
    walker.says("neuron-title", f"map {strongest} of ")
    another = walker.click_any(".winner", 1).split()[1].rstrip(":")
    walker.says("neuron-title", f"map {another} of ")
    assert len(walker.driver.find_elements("css selector", "#seen-on-images img")) == 3
    walker.driver.get(walker.driver.current_url)
    walker.drawn("treemap")
    assert walker.until(lambda: walker.text("winners"), "winners from the link") == first
    walker.choose("how", "quadratic")
    walker.says("winners", "Found by the quadratic approximation")
    walker.choose("how", "exact (slow)")
    walker.says("winners", "Found by exchanging each map alone")
    walker.press("trace-prediction")
    walker.says(
        "winners", "contribute most to how the margin of 'monkey' over 'panda' on the adversarial image differs"
    )
    assert walker.complaints() == []


def test_the_layer_is_flipped_back_beside_chance(walker):
    """A job finds the maps that give the panda back; the answer stays with the layer, its maps can be looked at."""
    walker.drawn("activations")
    walker.press("flip-back")
    said = walker.says("flip-text", "give panda back")
    assert "random sets" in said
    assert any(words in said for words in ("Not proven to be the cause: ", "may be the cause"))
    named = walker.click_any("#flip-text .culprit", -1)
    walker.says("neuron-title", f"{named} of layer3.2.relu")
    marked = "return document.querySelector('#flip-text .chosen')?.textContent"
    walker.until(lambda: walker.driver.execute_script(marked) == named, "it is marked")
    walker.driver.get(walker.driver.current_url)
    assert walker.says("flip-text", "give panda back") == said
    assert walker.complaints() == []


def test_neurons_are_chosen_one_by_one_and_maps_for_a_flip_back(walker):
    """Clicked neurons, the most active ones, winners as the maps to flip: all of it in the address and the trail."""
    walker.drawn("activations")
    walker.click_cell("activations", 1, 3, 2)
    walker.says("area-text", "rows 2 to 2, columns 3 to 3")
    walker.click_cell("activations", 1, 5, 5)
    walker.says("area-text", "2 neurons in rows 2 to 5, columns 3 to 5")
    walker.until(lambda: len(walker.driver.find_elements("css selector", "#seen-on-images img")) == 3, "what they see")
    walker.click_cell("activations", 1, 5, 5)
    walker.says("area-text", "rows 2 to 2, columns 3 to 3")
    walker.choose("most-active", "5 most active")
    walker.says("area-text", "5 neurons in")
    address = walker.driver.current_url
    walker.driver.get(address)
    walker.says("area-text", "5 neurons in")

    walker.press("trace")
    walker.says("winners", "Found by the solver")
    walker.press("take-winners")
    walker.until(lambda: "maps=" in walker.driver.current_url, "the winners are chosen")
    walker.choose("replacement", "set them to zero in adv")
    walker.press("flip-back")
    walker.says("flip-text", "set to zero in adv")
    walker.until(lambda: "random sets as large" in walker.text("flip-text"), "beside chance")
    walker.driver.find_element("css selector", ".tree-panel summary").click()
    walker.says("tree", ", 5 neurons")
    walker.says("tree", "flip ")
    assert any(words in walker.text("tree") for words in ("random sets", "turn it, ", "turns it, "))

    note = walker.driver.find_element("css selector", ".node input")
    note.send_keys("the ear?", Keys.ENTER)
    walker.until(lambda: "ear" in walker.driver.current_url, "the note is in the address")
    walker.driver.get(walker.driver.current_url)
    walker.drawn("treemap")
    noted = "return document.querySelector('.node input').value"
    walker.until(lambda: walker.driver.execute_script(noted) == "the ear?", "and there again")
    assert walker.complaints() == []


def test_what_is_chosen_on_an_image_is_traced_on_it(walker):
    """By a click, a box and the link: src, where the map itself names adv."""
    walker.drawn("activations")
    walker.until(lambda: walker.text("trace") == "Trace contributions on adv", "the opening map serves adv")
    walker.click_cell("activations", 0, 3, 3)
    walker.until(lambda: walker.text("trace") == "Trace contributions on src", "a neuron of src was clicked")
    assert "on=source" in walker.driver.current_url
    walker.drag_box("activations", 2, (0.1, 0.1), (0.6, 0.6))
    walker.until(lambda: walker.text("trace") == "Trace contributions on tar", "a box was drawn on tar")
    walker.click_cell("activations", 0, 6, 6)
    walker.until(lambda: walker.text("trace") == "Trace contributions on src", "and again")
    walker.driver.get(walker.driver.current_url)
    walker.until(lambda: walker.text("trace") == "Trace contributions on src", "from the link")
    walker.press("trace")
    assert "source image" in walker.until(lambda: walker.text("winners"), "winners")
    walker.until(lambda: "cause=source" in walker.driver.current_url, "the cells show what contributes on src")
    walker.driver.back()
    walker.until(lambda: walker.text("trace") == "Trace contributions on src", "back")
    walker.press("whole-map")
    walker.until(lambda: walker.text("trace") == "Trace contributions on adv", "the whole map names its own image")
    assert walker.complaints() == []


def test_neurons_are_typed_pointed_at_and_looked_at_closely(walker):
    """By keyboard: the area, the look, the larger view; under the pointer at once what a neuron sees."""
    walker.drawn("activations")
    images = "return document.querySelector('#seen-on-images').getBoundingClientRect().toJSON()"
    before = walker.driver.execute_script(images)
    words = walker.driver.find_element("id", "area-words")
    words.send_keys("rows 5-6, columns 2", Keys.ENTER)
    walker.says("area-text", "rows 5 to 6, columns 2 to 2")
    assert "area=5,2,7,3" in walker.driver.current_url
    boxes = "return document.querySelectorAll('#seen-on-images .area-box').length"
    assert walker.driver.execute_script(boxes) == 3
    assert walker.driver.execute_script(images) == before, "nothing moves when an area is chosen"
    walker.drag_box("activations", 1, (0.1, 0.1), (0.6, 0.6))
    walker.says("area-text", "rows 1 to 4")
    walker.until(
        lambda: words.get_attribute("value") == "rows 1-4, columns 1-4", "what is drawn is written, to be changed"
    )
    words.send_keys(Keys.CONTROL, "a")
    words.send_keys("rows 5-6, columns 2", Keys.ENTER)
    walker.says("area-text", "rows 5 to 6, columns 2 to 2")
    words.send_keys(Keys.CONTROL, "a")
    words.send_keys("rows 5-60", Keys.ENTER)
    walker.says("message", "outside layer")

    walker.point_at_cell("activations", 1, 4, 1)
    said = walker.says("hovered-neuron", "row 1, column 4 sees pixel rows")
    assert all(name in said for name in ("src ", "adv ", "tar "))
    shown = "return Array.from(document.querySelectorAll('.hover-box')).map((box) => getComputedStyle(box).display)"
    assert walker.driver.execute_script(shown) == ["block"] * 3
    walker.click_at(5, 5)
    walker.until(lambda: walker.driver.execute_script(shown) == ["none"] * 3, "the boxes leave with the pointer")

    walker.driver.find_element("css selector", "#look input:checked").send_keys(Keys.ARROW_RIGHT)
    walker.until(lambda: "look=over" in walker.driver.current_url, "over the image, by an arrow key")
    pictures = """
    const all = Array.from(document.querySelectorAll(`#${arguments[0]} .imagelayer image`));
    const addresses = all.map((one) => one.href.baseVal).filter(Boolean);
    return addresses.filter((address) => !address.startsWith("data:image/svg")).length; // without the colour bar
    """
    walker.until(lambda: walker.driver.execute_script(pictures, "activations") == 3, "the images below the maps")
    walker.driver.find_element("id", "enlarge").send_keys(Keys.ENTER)
    walker.says("large-title", "map 0 of layer3.2.relu")
    walker.until(lambda: walker.driver.execute_script(pictures, "large-activations") == 3, "the larger view")
    walker.point_at_cell("large-activations", 2, 3, 3)
    walker.says("large-hovered-neuron", "row 3, column 3 sees")
    walker.click_cell("large-activations", 0, 2, 1)
    walker.says("area-text", "3 neurons in rows 1 to 6")
    walker.keys(Keys.ESCAPE)
    walker.until(lambda: not walker.driver.find_elements("css selector", ".modal"), "Esc closes it")
    assert walker.complaints() == []


def test_back_and_forward_lead_through_all_that_was_clicked(walker):
    """Also a second time, and back to the link that the page was opened with."""
    walker.drawn("activations")
    opened = walker.says("neuron-title", "map ")
    first, second = [c for c in walker.channels("treemap", "maps") if f"map {c} of" not in opened][-2:]

    def shown(channel):
        walker.says("neuron-title", f"map {channel} of")

    for channel in (first, second):
        walker.click_bar("treemap", "maps", channel)
        shown(channel)
    walker.driver.back()
    shown(first)
    walker.driver.back()
    walker.says("neuron-title", opened)
    walker.driver.forward()
    shown(first)
    walker.click_bar("treemap", "maps", second)
    shown(second)
    walker.driver.back()
    shown(first)
    walker.driver.get(walker.driver.current_url)
    walker.drawn("activations")
    shown(first)
    walker.click_bar("treemap", "maps", second)
    shown(second)
    walker.driver.back()
    shown(first)
    assert walker.complaints() == []


def test_the_map_that_detects_an_ear_is_found_by_its_part(walker):
    walker.drawn("activations")
    walker.search("find-layer", "ear")
    names = lambda: walker.texts(OPTIONS)  # noqa: E731
    walker.until(lambda: names() and all(name.startswith("detects ear (0.") for name in names()), "ears alone")
    place = walker.click_any(OPTIONS).split(" · map ")[1]
    channel, layer = place.split(" of ")
    walker.says("neuron-title", f"map {channel} of {layer}")
    walker.says("learned-note", "detects: ear 0.")
    assert f"layer={layer}&map={channel}" in walker.driver.current_url
    assert walker.complaints() == []


def test_a_map_is_found_by_what_it_is_named_after_with_the_keys_alone(walker):
    """Also where the answer that shows it comes after the one that offers all layers again."""
    walker.drawn("activations")
    walker.idle("the page is there")
    walker.driver.execute_script(SLOW)
    walker.search("find-layer", "that speak for panda")
    names = lambda: [text for text in walker.texts(OPTIONS) if " · map " in text]  # noqa: E731
    walker.until(lambda: names() and all("speaks for panda (" in name for name in names()), "maps of all layers", 30)
    assert len({name.split(" of ")[-1] for name in names()}) > 1
    walker.idle("what is offered for all that was typed", after=500)
    channel, layer = names()[0].split(" · map ")[1].split(" of ")
    walker.keys(Keys.ARROW_DOWN)
    walker.until(
        lambda: walker.driver.switch_to.active_element.get_attribute("value") == f"{layer}:{channel}", "first", 30
    )
    walker.keys(Keys.ENTER)
    walker.says("neuron-title", f"map {channel} of {layer} · ")
    assert "speaks for panda" in walker.says("learned-note", "speaks for")
    assert f"layer={layer}&map={channel}" in walker.driver.current_url
    assert walker.complaints() == []


def test_a_trail_is_suggested(walker):
    """The assistant's steps, each with its figures; a click shows what came of one; a step can be taken out."""
    walker.drawn("activations")
    walker.press("suggest")
    walker.until(lambda: len(walker.driver.find_elements("css selector", ".node")) > 5, "steps of several depths")
    walker.until(lambda: walker.driver.execute_script("return document.getElementById('tree-panel').open"), "shown")
    said = walker.says("tree", "the prediction ← layer4.2.relu_1")
    assert any(words in said for words in ("other maps", "turns it, "))
    walker.click_any(".node .step")
    walker.says("layer-title", "layer4.2.relu_1 ")
    walker.says(
        "winners", "contribute most to how the margin of 'monkey' over 'panda' on the adversarial image differs"
    )
    walker.driver.execute_script("document.querySelector('.node > button:last-child').click()")
    walker.until(lambda: not walker.driver.find_elements("css selector", ".node"), "the branch is gone")
    assert walker.complaints() == []


def test_two_jobs_at_once_both_become_steps_and_other_stations_answer_meanwhile(walker):
    """A flip-back and a search run one after the other; neither is lost, and the first is told when it ends."""
    walker.drawn("activations")
    address = lambda: walker.driver.current_url  # noqa: E731
    walker.press("flip-back")
    walker.press("suggest")
    walker.until(lambda: "steps=" in address(), "the flip-back's step")
    walker.until(lambda: len(walker.driver.find_elements("css selector", ".node")) > 6, "and those of the search")
    shown = walker.text("neuron-title")
    walker.press("visualise")
    first = int(shown.split("map ")[1].split()[0])
    walker.click_bar("treemap", "maps", next(c for c in walker.channels("treemap", "maps") if c != first))
    walker.until(lambda: walker.text("neuron-title") not in ("", shown), "another map while a picture is made", 20)
    assert walker.complaints() == []


def test_another_method_is_another_river(walker):
    """The method and the size are chosen, extracted by jobs, kept in the address, and there again after a reload."""
    walker.drawn("river")
    walker.driver.find_element("id", "how-paths").click()
    assert walker.text("method") == "elimination"
    own, opened = walker.drawing("river"), walker.text("triplet")

    walker.choose("method", "gradient")
    walker.until(lambda: "method=gradient" in walker.driver.current_url, "the address names the method")
    walker.until(
        lambda: walker.text("triplet").count("of the maps alone give") == 3, "three datapaths extracted by a job"
    )
    walker.choose("share", "5 % of each layer")
    walker.until(lambda: "share=0.05" in walker.driver.current_url, "the address names the size")
    walker.until(
        lambda: walker.text("triplet").count("of the maps alone give") == 3, "three datapaths extracted by a job"
    )
    rounded = "6% of the maps alone"
    walker.until(lambda: walker.text("triplet").count(rounded) == 3, "5 % of each layer, and no map cut in two")
    walker.until(lambda: walker.drawing("river") != own, "the river is another")
    walker.until(lambda: not walker.text("jobs"), "the band's datapaths are extracted, too")
    walker.idle("the river with its band", after=500)
    chosen, words, address = walker.drawing("river"), walker.text("triplet"), walker.driver.current_url

    walker.driver.get(address)
    walker.drawn("river")
    walker.until(lambda: walker.drawing("river") == chosen, "the same river from the link")
    assert "gradient · 5 % of each layer" in walker.text("how-paths")
    walker.driver.find_element("id", "how-paths").click()
    assert walker.text("triplet") == words
    assert (walker.text("method"), walker.text("share")) == ("gradient", "5 % of each layer")
    assert walker.driver.current_url == address

    walker.choose("share", "as few as keep the label")
    walker.choose("method", "elimination")
    walker.until(lambda: walker.text("triplet") == opened, "the workspace's own again")
    walker.until(lambda: walker.drawing("river") == own, "its river")
    assert "method=" not in walker.driver.current_url
    assert "share=" not in walker.driver.current_url
    walker.driver.back()
    walker.until(lambda: "method=gradient" in walker.driver.current_url, "one step back")
    walker.until(lambda: walker.text("method") == "gradient", "the dropdown goes back too")
    walker.until(lambda: walker.text("triplet") not in ("", opened), "and the datapaths")
    assert walker.complaints() == []


def test_the_whole_set_is_compared_and_a_bar_lists_its_examples(walker):
    """A job compares all pairs; a click on a bar, then on a map that recurs, narrows the gallery."""
    walker.drawn("scores")
    everything = walker.says("gallery-count", "of 120 examples")
    walker.press("divergences-switch")
    walker.press("compare-pairs")
    walker.says("divergences-note", "pairs, by the layer where")
    walker.still("divergences")
    figure = walker.driver.execute_script(BARS, "divergences")
    assert sorted(name for name, _, _ in figure) == ["3", "5", "8"], "by perturbation"
    name, layer, pairs = max(
        ((n, c, y) for n, cs, ys in figure for c, y in zip(cs, ys, strict=True)), key=lambda b: b[2]
    )

    walker.click_bar("divergences", name, layer[0])
    walker.says("picked-text", f"leave at {layer[0]} · perturbation {name}")
    walker.says("gallery-count", f"{pairs} of 120 examples")
    walker.press("divergences-switch")
    walker.choose("divergences-by", "source class")
    walker.says("gallery-count", everything)

    named, times = walker.click_any("#culprits .culprit").split(" ×")
    walker.says("picked-text", f"differ most in map {named}")
    walker.says("gallery-count", f"{times} of 120 examples")
    walker.press("unpick")
    walker.says("gallery-count", everything)
    assert walker.complaints() == []


def test_the_whole_set_is_drawn_anew_when_the_examples_change_only(dash_br, served, tmp_path):
    """Not at a move of the slider. Examples that changed since they were compared are told until they are again."""
    copy = shutil.copytree(served.workspace, tmp_path / "copy", ignore=shutil.ignore_patterns("listing", "job.lock"))
    running = serve(tmp_path, [str(copy)])
    try:
        walker = Walker(dash_br, next(running).url)
        walker.drawn("scores")
        everything = walker.says("gallery-count", "of 120 examples")
        walker.press("divergences-switch")
        walker.press("compare-pairs")
        walker.says("divergences-note", "pairs, by the layer where")
        walker.drawn("divergences")
        walker.driver.execute_script(MARK, "divergences")
        walker.driver.execute_script(SLIDE)
        walker.until(lambda: walker.text("gallery-count") not in ("", everything), "the slider changes the gallery")
        walker.idle("the page follows", after=500)
        assert walker.driver.execute_script(MARKED, "divergences"), "it is as it was drawn before"

        walker.click_any("#culprits .culprit")
        walker.says("picked-text", "differ most in map")
        table = copy / "examples.csv"
        rows = table.read_text().splitlines(keepends=True)
        table.write_text("".join(rows[:-40]))
        _move_slider(walker)
        walker.says("picked-text", "the examples changed: compare all pairs again")
        walker.press("divergences-switch")
        walker.says("divergences-note", "Compares every misclassified pair")
        walker.press("compare-pairs")
        walker.says("divergences-note", "pairs, by the layer where")
        walker.says("picked-text", "differ most in map")
        walker.says("gallery-count", "of 80 examples")
        gone = [row.split(",")[0] for row in rows[-40:]]  # a card's picture may be asked for after its example went
        assert [said for said in walker.complaints() if not any(f"/{name}.png" in said for name in gone)] == []
    finally:
        running.close()


def _move_slider(walker: Walker) -> None:
    """Move the upper end of the scores' slider and wait until all that follows is drawn."""
    before = walker.text("gallery-count")
    walker.unfold("score-range")
    handle = walker.driver.find_elements("css selector", "#score-range [role=slider]")[1]
    handle.send_keys(*[Keys.ARROW_LEFT] * 5)
    walker.until(lambda: walker.text("gallery-count") not in ("", before), "the slider changes the gallery")
    walker.idle("the page follows")


BAD_LINKS = {
    "?example=nobody": "no example 'nobody'",
    "?layer=layer9.relu": "no layer 'layer9.relu'",
    "?layer=layer3.0.relu&map=999": "no map 999",
    "?layer=layer3.0.relu&map=1&area=0,0,99,99": "outside layer",
    "?map=panda": "link cannot be read: its `map` says 'panda'",
    "?layer=relu&maap=3": "The link names no example, and `layer` belongs to an example: it is left out.",
    "?distance=euclid": "no distance 'euclid'",
    "?method=guess": "no method 'guess'. It is one of: elimination, needed,",
    "?share=0.3": "no share 0.3. It is one of: 0, 0.005, 0.01,",
}


def test_a_bad_link_is_said_and_the_story_shown(walker, served):
    for search, said in BAD_LINKS.items():
        walker.driver.get(served.url + "/" + search)
        walker.says("message", said)
        walker.drawn("river")
    assert walker.complaints() == []


def test_a_failed_attack_is_shown_as_failed(walker):
    walker.drawn("river")
    walker.press("only-misclassified")
    walker.until(lambda: walker.driver.find_elements("css selector", ".card-button.failed"), "failed attacks listed")
    card = walker.driver.find_element("css selector", ".card-button.failed")
    assert "failed" in card.text
    card.click()
    walker.says("river-note", "nothing to explain")
    assert walker.complaints() == []


@pytest.fixture
def busy(served, tmp_path) -> Iterator[tuple[Path, FileLock]]:
    """A copy of the workspace with all that is computed but contributions, and the lock for which its jobs wait."""
    copied = tmp_path / "busy"
    shutil.copytree(served.workspace, copied, ignore=shutil.ignore_patterns("jobs", "job.lock", "contribution"))
    open_workbench(copied).learning.features()  # else the page's own job for them would wait for the lock, too
    with FileLock(copied / "cache" / "job.lock") as lock:
        yield copied, lock


def test_jobs_that_are_cancelled_or_killed(dash_br, busy, tmp_path):
    """A job is gone a moment after the click; a killed one is told; the next works, and ends with its server."""
    running = serve(tmp_path, [str(busy[0])])
    try:
        server = next(running)
        walker = Walker(dash_br, server.url)
        walker.drawn("activations")
        idle = set(_processes(server.process.pid))
        walker.press("trace")
        walker.job_says("contributions", "waits for another job to end")
        walker.says("winners", "The solved ones are being found")
        assert set(_processes(server.process.pid)) > idle
        walker.press("contributions-cancel")
        walker.until(lambda: set(_processes(server.process.pid)) == idle, "the job's process is gone")
        walker.until(lambda: "being found" not in walker.text("winners"), "and the page says so")
        walker.says("message", "The contribution analysis was cancelled. What was finished is kept.")
        walker.until(lambda: not walker.text("jobs"), "no job is listed")

        _ask_again(walker)
        for pid in set(_processes(server.process.pid)) - idle:
            psutil.Process(pid).send_signal(signal.SIGKILL)
        walker.says("message", "ended without a result")

        _ask_again(walker)
        assert walker.complaints() == []
        started = [psutil.Process(pid) for pid in _processes(server.process.pid)]
        assert {process.pid for process in started} > idle, "the last job's among them"
    finally:
        running.close()
    assert psutil.wait_procs(started, timeout=15)[1] == [], "jobs and fork server end with the server"


def test_each_job_has_its_own_line_and_cancel(dash_br, busy, tmp_path):
    """One runs, the other waits its turn; a cancelled extraction says so, and is begun again by its button."""
    copied, lock = busy
    bench = open_workbench(copied)
    new = next(
        e.example.id
        for e in bench.judging.judged_examples()
        if e.misclassified and bench.datapaths.triplet(e.example.id) is None
    )
    running = serve(tmp_path, [str(copied)])
    try:
        walker = Walker(dash_br, next(running).url)
        walker.drawn("activations")
        walker.press("trace")
        walker.job_says("contributions", "waits for another job to end")
        walker.driver.execute_script(CHOOSE, new)
        walker.job_says("extraction", "waits behind 1 other")
        walker.job_says("contributions", "waits for another job to end")
        walker.press("extraction-cancel")
        walker.says("river-note", "The extraction was cancelled. What was finished is kept.")
        walker.job_says("contributions", "waits for another job to end")
        assert not walker.text("extraction-job")
        assert "Extracting" not in walker.driver.page_source
        walker.press("theme-switch")
        theme = "return document.documentElement.getAttribute('data-bs-theme')"
        walker.until(lambda: walker.driver.execute_script(theme) == "dark", "the page in the dark")
        time.sleep(2)  # a job's line is asked for without end, so the page is never idle
        assert "was cancelled" in walker.text("river-note"), "another look at it does not begin it"
        walker.press("extract-again")
        walker.job_says("extraction", "waits behind 1 other")
        walker.says("river-note", "datapaths to extract")
        lock.release()
        walker.press("contributions-cancel")
        walker.job_says("extraction", " of ")
        assert not walker.text("contributions-job"), "the next one runs"
        walker.until(lambda: not walker.text("jobs"), "and ends")
        walker.drawn("activations")
        walker.says("river-note", "The faint band")
        assert open_workbench(copied).datapaths.triplet(new).pending == 0
        assert walker.complaints() == []
    finally:
        running.close()


def _ask_again(walker: Walker) -> None:
    walker.choose("how", "quadratic")
    walker.until(lambda: "how=quadratic" in walker.driver.current_url, "the address says how")
    walker.choose("how", "solved")
    walker.job_says("contributions", "waits for another job to end")


def _processes(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def test_a_closed_groups_column_opens_it_and_a_layer_is_shown_with_its_map(walker):
    """Clicks that the browser answers itself, and the one that it asks for: which neurons feed the area."""
    walker.drawn("activations")
    walker.click_bar("river", "groups", "layer2")
    columns = lambda: walker.driver.execute_script(COLUMNS)  # noqa: E731
    column = walker.until(lambda: next((c for c in columns() if c[2] == "layer2"), None), "layer2 is one column")
    walker.drawn("river")
    walker.click_bar("river", "layers", column[0])
    walker.until(lambda: "folds=%252Blayer2" in walker.driver.current_url, "its column opens it")
    walker.until(lambda: "layer2" not in [c[2] for c in columns()], "it stands open")

    walker.drawn("river")
    there = next(c for c in columns() if c[1] == "layer3.1.relu_1")
    walker.click_bar("river", "layers", there[0])
    walker.says("neuron-title", f"map {there[3]} of layer3.1.relu_1")
    walker.drawn("activations")
    walker.click_cell("activations", 1, 0, 0)
    walker.until(lambda: "area=0,0,1,1" in walker.driver.current_url, "the neuron is the area")
    before = next(c for c in columns() if c[1] == "layer2.1.relu")
    walker.click_bar("river", "layers", before[0])
    walker.says("neuron-title", f"map {before[3]} of layer2.1.relu")
    walker.until(lambda: "area=0,0," in walker.driver.current_url, "what feeds the area is the area")
    assert "area=0,0,1,1" not in walker.driver.current_url
    assert walker.complaints() == []


def test_the_network_opens_closes_is_walked_by_keys_and_searched(walker):
    """Groups by click and by keyboard, a layer by name, more datapaths, dots, the tour; all of it in the address."""
    walker.drawn("river")
    walker.click_bar("river", "groups", "layer2")
    walker.until(lambda: "folds=-layer2" in walker.driver.current_url, "layer2 is closed")
    closed = lambda: [c[2] for c in walker.driver.execute_script(COLUMNS)]  # noqa: E731
    walker.until(lambda: "layer2" in closed(), "it is one column")
    walker.drawn("river")
    walker.choose("find-layer", "layer2.1.relu")
    walker.says("layer-title", "layer2.1.relu ")
    assert "layer2" in closed(), "what was closed by hand stays closed"
    walker.driver.execute_script("document.getElementById('river-keys').focus()")
    walker.keys(Keys.ENTER)
    walker.until(lambda: "layer2" not in closed(), "Enter opens it")
    walker.keys(Keys.ARROW_RIGHT)
    walker.says("layer-title", "layer2.1.relu_1 ")
    walker.keys(Keys.ENTER)
    walker.until(lambda: "layer2.1" in closed(), "Enter closes the block")

    walker.driver.find_elements("css selector", "#plot input")[1].click()
    walker.until(lambda: "plot=dots" in walker.driver.current_url, "the dots are in the address")
    walker.press("compared-with")
    walker.click_any(OPTIONS, 2)
    walker.until(lambda: "compared=" in walker.driver.current_url, "another target is compared")
    address = walker.driver.current_url
    walker.driver.get(address)
    walker.drawn("river")
    walker.until(lambda: "layer2.1" in closed(), "the link opens as it was")
    walker.until(lambda: "adversarial–target 2" in (walker.driver.execute_script(NAMES) or []), "both dots are drawn")
    assert walker.driver.execute_script(WIDER) == [], "no column scrolls sideways"

    walker.press("tour-button")
    walker.says("tour", "Read the story")
    for title in ("Choose an example", "part and meet", "differ", "evidence", "to the test"):
        walker.click_any("[data-tour=next]")
        walker.says("tour", title)
    walker.keys(Keys.ESCAPE)
    walker.until(lambda: not walker.driver.find_element("id", "tour").is_displayed(), "Escape ends the tour")
    assert walker.complaints() == []


COLUMNS = """
const graph = document.querySelector('#river .js-plotly-plot');
return (graph && graph.data.find((t) => t.name === 'layers') || { customdata: [] }).customdata;
"""
WIDER = """
const columns = [...document.querySelectorAll('.page, .examples, .middle, .neuron')];
return columns.filter((c) => c.scrollWidth > c.clientWidth).map((c) => c.className);
"""
NAMES = "return document.querySelector('#river .js-plotly-plot').data.map((t) => t.name)"
