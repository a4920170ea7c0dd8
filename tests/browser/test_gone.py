"""A page whose server is gone for a while says so, dims what is old and loses no click."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser.conftest import serve
from browser.walking import Walker

pytestmark = pytest.mark.browser

STRIP = "server-gone"
TRYING = "The server does not answer. What is shown is older than your last click; trying again …"
DIM = "return Number(getComputedStyle(document.querySelector('.stations')).opacity)"
PICTURES = "return [...document.querySelectorAll('#learned img')].filter((one) => one.naturalWidth).length"
ABSENT = "net::ERR_CONNECTION_REFUSED"


def ours(walker: Walker) -> list[str]:
    """What the console says, but for the browser's own lines on requests that nobody took."""
    return [line for line in walker.complaints() if not line.endswith(ABSENT)]


def test_clicks_on_a_page_whose_server_is_gone_are_answered_when_it_is_back(dash_br, served, tmp_path):
    running = serve(tmp_path, [str(served.workspace)])
    try:
        server = next(running)
        walker = Walker(dash_br, server.url)
        for graph in ("river", "treemap", "activations"):
            walker.drawn(graph)
        walker.idle("the page before the server goes", after=500)
        assert not walker.text(STRIP)
        before = walker.text("neuron-title")
        running.close()

        channels = [c for c in walker.channels("treemap", "maps") if f"map {c} " not in before]
        for channel in channels[:2]:
            walker.click_bar("treemap", "maps", channel)
            walker.until(lambda c=channel: f"map={c}" in walker.driver.current_url, "the map's cell is the chosen one")
        walker.says(STRIP, TRYING)
        assert walker.text("neuron-title") == before, "its evidence cannot be there"
        assert walker.driver.execute_script(DIM) < 1
        assert ours(walker) == []

        running = serve(tmp_path, [str(served.workspace)], urlsplit(server.url).port)
        next(running)
        walker.says("neuron-title", f"map {channels[1]} of ")
        walker.until(lambda: not walker.text(STRIP), "the strip is gone")
        assert walker.driver.execute_script(DIM) == 1
        walker.idle("all that was asked is answered", after=500)
        assert f"map {channels[1]} of " in walker.text("neuron-title"), "an older click's answer does not come last"
        walker.until(lambda: walker.driver.execute_script(PICTURES) >= 5, "its pictures are there")
        assert ours(walker) == []
    finally:
        running.close()


SCRIPT = Path(__file__).parents[2].joinpath("assets", "gone.js").read_text(encoding="utf-8")
ASK = """
const [script, ...given] = arguments, done = given.pop(), [answers, address, count] = given;
const real = window.fetch, seen = [], strip = () => document.getElementById("server-gone");
const types = { json: "application/json", html: "text/html", text: "text/plain; charset=utf-8", advice: "text/plain" };
const cut = () => new ReadableStream({ start: (stream) => stream.error(new TypeError("cut off")) });
window.fetch = async (...asked) => {
  seen.push([asked[1].body, strip() && !strip().hidden ? strip().textContent : ""]);
  const [status, type, by] = answers.shift();
  if (status === 0) throw new TypeError("Failed to fetch");
  const said = { cut: cut(), text: "Say why.\\n", advice: "Say why. Do this.\\n" };
  const body = status === 204 ? null : said[type] || '{"a": 1}';
  const headers = { "content-type": types[type] || types.json, ...(by === "" ? {} : { "aevis-serves": by || "a" }) };
  return new Response(body, { status, headers });
};
try { new Function(script)(); } finally { var wrapped = window.fetch; window.fetch = real; }
const ask = (number) => wrapped(address, { method: "POST", body: JSON.stringify({ output: "x" + number }) });
Promise.all(Array.from({ length: count }, (_, i) => ask(i)))
  .then((found) => Promise.all(found.map(async (one) => [one.status, await one.text()])))
  .catch((error) => String(error))
  .then((found) => done([found, seen, strip() && !strip().hidden ? strip().textContent : "", document.body.className]));
"""
UPDATE = "/_dash-update-component"
GIVEN = '{"a": 1}'


@pytest.fixture
def asked(dash_br, served):
    """What of scripted answers the page gets: (status, text) each; what was asked; the strip and the body's class."""

    def ask(*answers, address=UPDATE, count=1):
        dash_br.driver.get(f"{served.url}/assets/press.js")
        dash_br.driver.set_script_timeout(60)
        return dash_br.driver.execute_async_script(ASK, SCRIPT, list(answers), address, count)

    return ask


@pytest.mark.parametrize("failing", [(0, ""), (502, "html"), (503, "html"), (504, "html"), (200, "cut")])
def test_what_is_not_answered_is_asked_again_as_it_was(asked, failing):
    found, seen, strip, dimmed = asked(failing, failing, (200, "json"))
    assert found == [[200, GIVEN]]
    assert seen == [['{"output":"x0"}', told] for told in ("", TRYING, TRYING)]
    assert (strip, dimmed) == ("", "")


def test_what_waits_is_asked_again_together_and_not_more_often(asked):
    found, seen, strip, _ = asked(*[(0, "")] * 6, *[(200, "json")] * 3, count=3)
    assert found == [[200, GIVEN]] * 3
    assert [body[-3] for body, _ in seen] == list("012012012")
    assert strip == ""


def test_an_answer_without_a_change_is_one(asked):
    assert asked((204, "json")) == [[[204, ""]], [['{"output":"x0"}', ""]], "", ""]


@pytest.mark.parametrize(
    ("answer", "given", "why"),
    [
        ((500, "html"), [500, GIVEN], "refused what was asked (500)"),
        ((404, "html"), [404, GIVEN], "refused what was asked (404)"),
        ((200, "html"), [502, ""], "sent no answer"),
        ((403, "text"), [403, "Say why.\n"], "refused what was asked (403): Say why"),
        ((403, "text", ""), [403, "Say why.\n"], "refused what was asked (403)"),
    ],
)
def test_a_page_that_the_server_does_not_know_any_more_is_to_be_reloaded(asked, answer, given, why):
    found, _, strip, dimmed = asked(answer)
    assert (found, dimmed) == ([given], "stale")
    older = "What is shown is older than your last click. Reload the page; its address keeps what you see."
    assert strip == f"The server {why}. {older}"


def test_where_the_server_says_what_to_do_the_page_advises_nothing_else(asked):
    _, _, strip, _ = asked((400, "advice"))
    assert strip.startswith("The server refused what was asked (400): Say why. Do this. What is shown is older")
    assert strip.endswith("than your last click.")


def test_what_another_workspace_or_version_answers_is_not_shown(asked):
    found, _, strip, dimmed = asked((200, "json"), (200, "json", "b"), count=2)
    assert (found, dimmed) == ([[200, GIVEN], [502, ""]], "stale")
    assert strip.startswith("The server has another workspace, model or version now. What is shown is older")


def test_other_requests_of_the_page_are_left_alone(asked):
    assert asked((0, ""), address="/image?a=b")[0] == "TypeError: Failed to fetch"
    assert asked((500, "html"), address="/_dash-layout")[::2] == [[[500, GIVEN]], ""]
