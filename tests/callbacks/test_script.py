"""The script of a view draws the page's figures and does the steps of its trail, with the same outcomes."""

import numpy as np
import plotly.graph_objects as go
import pytest

import aevis_dash
from aevis_dash.callbacks.script import script
from aevis_dash.callbacks.view.address import from_search
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import AevisError, AreaOfInterest, FeatureMap, Intervention, Way
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench

STEPS = (
    "-1::::layer3.0.relu:::",
    "0:layer3.0.relu:7:0,0,2,2:layer2.0.relu:::it%27s",
    "-1:layer3.2.relu:::: 3,9:source:",
    "-1:layer3.2.relu:::::source:",
)


@pytest.fixture
def bench(world):
    return open_workbench(world)


def link_of(bench, **further):
    fields = {"example": bench.workspace.settings.opens_on, "layer": "layer3.2.relu", "map": 9, "how": "quadratic"}
    return "?" + "&".join(f"{name}={value}" for name, value in (fields | further).items())


def run(text, monkeypatch):
    """What the script names, and the figures that it shows."""
    shown, names = [], {}
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure.to_json()))
    exec(text, names)
    return names, shown


def test_the_script_draws_the_page_s_figures(bench, monkeypatch):
    link = link_of(bench, look="difference")
    _, shown = run(script(bench, from_search(link), link), monkeypatch)
    wanted = [getattr(aevis_dash, name)(bench, link=link) for name in ("river", "layer", "activations")]
    assert shown == [figure.to_json() for figure in wanted]
    without = link.replace("&map=9", "")
    assert script(bench, from_search(without), without).count(".show()") == 2


def test_the_script_does_the_steps_of_the_trail(bench, monkeypatch):
    link = link_of(bench, steps="~".join(STEPS).replace(" ", ""))
    view = from_search(link)
    names, _ = run(script(bench, view, link), monkeypatch)
    example = view.example
    triplet = bench.datapaths.extract(example)
    stage, last = bench.layers.find("layer2.0.relu").index, bench.layers.find("layer3.2.relu").index
    traced = bench.layers.find("layer3.0.relu").index
    area = AreaOfInterest(traced, 0, 0, 2, 2)
    wanted = bench.contributions.contribute(triplet, FeatureMap(traced, 7), area, stage, Way("quadratic", "source"))
    assert names["step_1"].layer == traced
    np.testing.assert_array_equal(names["step_2"].share, wanted.share)
    tested = bench.flips.verify(example, Intervention(last, (3, 9)))
    np.testing.assert_array_equal(names["step_3"].margins, tested.margins)
    assert names["step_3"].maps.tolist() == [3, 9]
    np.testing.assert_array_equal(names["step_4"].maps, bench.flips.verify(example, Intervention(last)).maps)
    assert sorted(name for name in names if name.startswith("step_")) == [f"step_{i}" for i in (1, 2, 3, 4)]


def test_another_method_s_datapaths_are_extracted_by_it(bench, monkeypatch):
    link = link_of(bench, steps=STEPS[0], method="gradient", share=0.05)
    names, _ = run(script(bench, from_search(link), link), monkeypatch)
    assert names["triplet"].paths[0].method == "gradient"


def test_the_page_asks_for_it_by_its_own_address(bench):
    client = create_app(bench).server.test_client()
    link = link_of(bench)
    answer = client.get("/script" + link)
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    assert answer.text == script(bench, from_search(link), link)
    nowhere = link.replace("layer3.2.relu", "nowhere")
    for wrong in ("?example=nobody", "?example=%27%0Aimport os", "?map=x", "", nowhere):
        answer = client.get("/script" + wrong)
        assert answer.status_code == 400, wrong
        assert answer.text.count("\n") == 1


def test_what_stands_in_a_link_stays_within_its_string(bench):
    """A link that a stranger sends cannot add lines to the script."""
    link = link_of(bench) + "&steps=" + "-1:layer3.2.relu:::::source:%27%0Aimport%20os%0A"
    text = script(bench, from_search(link), link)
    assert not [line for line in text.splitlines() if line.startswith("import") and line != "import aevis_dash"]
    with pytest.raises(AevisError, match="No example is shown"):
        script(bench, View(), "?")
