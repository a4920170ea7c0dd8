"""The dialog of two models side by side: what it says before and after a pair was compared, and without a model."""

import os
import shutil

import numpy as np
import pytest
from dash import html
from two_worlds import second_world, tuned

from aevis_dash import ids, jobs
from aevis_dash.callbacks import background
from aevis_dash.callbacks.two_models import draw
from aevis_dash.callbacks.view.address import checked_view, from_search
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import AevisError
from aevis_dash.pairs_of_two import shared_pairs
from aevis_dash.two_models import stored_pair
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(drawn_world, tmp_path_factory):
    return open_workbench(shutil.copytree(drawn_world, tmp_path_factory.mktemp("page") / "standard"))


@pytest.fixture(scope="module")
def second(bench):
    root = bench.workspace.root
    return second_world(root.parent / "robust", root, tuned(root))


@pytest.fixture
def job(bench, second, monkeypatch):
    monkeypatch.setattr(jobs, "workbench", lambda: bench)
    monkeypatch.setattr(jobs, "second_workbench", lambda: second)
    monkeypatch.setenv(jobs.SERVER_VARIABLE, str(os.getpid()))
    jobs.server_process.cache_clear()

    def run(example):
        data = View(example=example, beside="on").to_data()
        return background.second_job(lambda _: None, 1, data, "page")

    return run


def seen(bench, second, example):
    return draw(bench, second, {"example": example, "method": None, "share": None, "theme": "light"})


def text(parts):
    return "".join(part.children for part in parts)


def test_without_a_second_model_the_page_says_how_to_serve_one(bench):
    said = seen(bench, None, bench.workspace.examples()[0].id)
    assert "aevis serve A --beside B" in said["note"]
    assert said["compare"] == {"display": "none"}
    app = create_app(bench)
    assert ids.TWO in str(app.layout())
    assert "display" in str(find(app.layout(), ids.TWO_SWITCH).style)


def find(component, name):
    found = [component[key] for key in component if getattr(component[key], "id", None) == name]
    return found[0]


def test_the_button_names_the_second_model(bench, second):
    button = find(create_app(bench, second=second).layout(), ids.TWO_SWITCH)
    assert button.children == "Beside robust …"
    assert button.style == {}


def test_a_pair_is_offered_then_compared_by_a_job_then_shown(bench, second, job):
    pair = next(p for p in shared_pairs(bench, second).values() if p.resists)
    example = pair.first.example.id
    before = seen(bench, second, example)
    assert "This pair is not compared yet." in text(before["note"])
    assert before["compare"] == {}
    assert before["numbers"] == []
    answer = job(example)
    assert answer["result"] == 1
    after = seen(bench, second, example)
    found = stored_pair(bench, second, pair, bench.workspace.settings.extraction)
    said = text(after["note"])
    names = bench.class_names
    assert f"standard sees {names[pair.first.source.label]} → {names[pair.first.adversarial.label]}" in said
    assert f"robust sees {names[pair.second.source.label]} (not fooled)" in said
    assert "1 of " in said
    assert after["compare"] == {"display": "none"}
    rows = after["numbers"].children[1].children
    cells = [cell.children for cell in rows[2].children]
    assert cells[0] == "depth at which adv joins tar"
    assert cells[1:3] == [f"{found.first.joins_at:.3g}", f"{found.second.joins_at:.3g}"]
    curves = {trace.name: trace for trace in after["profiles"].data}
    np.testing.assert_allclose(curves["way robust this pair"].y, found.second.way, atol=1e-5)
    rivers = {trace.name for trace in after["rivers"].data}
    assert {"source standard", "adversarial standard", "target robust"} <= rivers
    assert "Map k of standard is map k of robust in all 25 layers" in text(after["maps"])
    assert "These explain two predictions of adv" in text(after["maps"])
    assert [part.children[-1] for part in after["legend"][:2] if isinstance(part, html.Span)] == ["standard", "robust"]


def test_what_is_not_shared_is_said(bench, second, tmp_path):
    shared = shared_pairs(bench, second)
    unfooled = next((e.id for e in bench.workspace.examples() if e.id not in shared), None)
    if unfooled is not None:
        assert "does not fool standard" in seen(bench, second, unfooled)["note"]
    root = shutil.copytree(second.workspace.root, tmp_path / "fewer")
    lines = (root / "examples.csv").read_text().splitlines()
    gone = next(iter(shared))
    (root / "examples.csv").write_text("".join(f"{line}\n" for line in lines if not line.startswith(f"{gone},")))
    assert "fewer does not have this pair" in seen(bench, open_workbench(root), gone)["note"]
    assert seen(bench, second, None)["note"] == "Choose an example first."


def test_a_job_without_a_second_model_or_pair_ends_with_a_sentence(bench, second, job, monkeypatch):
    unknown = job("nobody")
    assert "no example 'nobody'" in unknown["ended"]
    monkeypatch.undo()
    monkeypatch.setenv(jobs.SECOND_VARIABLE, "")
    jobs.second_workbench.cache_clear()
    with pytest.raises(AevisError, match="served without a second model"):
        jobs.second_workbench()


def test_the_view_holds_whether_the_dialog_is_open(bench):
    assert checked_view({"beside": "on"}, bench).beside == "on"
    assert from_search("?beside=on").beside == "on"
    with pytest.raises(AevisError, match="no beside 'maybe'"):
        checked_view({"beside": "maybe"}, bench)
