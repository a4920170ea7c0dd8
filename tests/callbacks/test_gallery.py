"""The slider of scores begins where there is something to see."""

from dataclasses import replace

import numpy as np
import pytest
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.callbacks.examples.gallery import (
    FEW,
    has_margin,
    in_order_of,
    in_range,
    score_meaning,
    score_range,
    with_shown,
)
from aevis_dash.config import ScoreParameters
from aevis_dash.figures.scores import bounds
from aevis_dash.layouts.examples import ORDERS, ClassChoices, examples_panel
from aevis_dash.settings import write_settings
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace


@pytest.mark.parametrize("count", [0, 1, FEW - 1, FEW])
def test_the_slider_begins_at_the_middle_half_and_at_all_of_few(drawn_world, monkeypatch, count):
    bench = open_workbench(drawn_world)
    fooled = [e for e in bench.judging.judged_examples() if e.misclassified and np.isfinite(e.score)][:count]
    monkeypatch.setattr(bench.judging, "judged_examples", lambda: fooled)
    found = score_range(bench)
    seen = [e for e in fooled if in_range(e, list(found.start))]
    assert len(seen) == (count if count < FEW else FEW // 2)


@pytest.mark.parametrize("given", [[2.0], [2.0] * 5, [2.0, 2.0 + 3e-7], [-3.0, 1.0]])
def test_the_slider_moves_whatever_the_scores_are(drawn_world, monkeypatch, given):
    bench = open_workbench(drawn_world)
    fooled = [e for e in bench.judging.judged_examples() if e.misclassified and np.isfinite(e.score)][: len(given)]
    alike = [replace(e, score=score) for e, score in zip(fooled, given, strict=True)]
    monkeypatch.setattr(bench.judging, "judged_examples", lambda: alike)
    monkeypatch.setattr(bench.judging, "source_scores", lambda examples: [given[0]] * len(examples))
    found = score_range(bench)
    panel = examples_panel(ClassChoices([], []), found).to_plotly_json()["props"]["children"]
    (drawer,) = [part for part in panel if isinstance(part, html.Details)]
    (slider,) = [part for part in drawer.children if isinstance(part, dcc.RangeSlider)]
    assert slider.min <= min(given) <= max(given) <= slider.max  # type: ignore[attr-defined]
    assert 100 <= round((slider.max - slider.min) / slider.step) <= 1002  # type: ignore[attr-defined]
    assert all(in_range(e, slider.value) for e in alike)  # type: ignore[attr-defined]


def test_the_slider_has_the_range_of_the_examples_as_they_are_now(world):
    """Each page that is loaded asks anew: examples may have been added since the server began."""
    bench = open_workbench(world)
    table = world / "examples.csv"
    whole = table.read_text(encoding="utf-8")
    judged = sorted(bench.judging.judged_examples(), key=lambda e: e.score)
    highest = judged[-1].example.id
    table.write_text("\n".join(row for row in whole.splitlines() if highest not in row) + "\n", encoding="utf-8")
    app = create_app(bench)
    layout = lambda: app.server.test_client().get("/_dash-layout").get_data(as_text=True)  # noqa: E731
    before = layout()
    table.write_text(whole, encoding="utf-8")
    end = f'"max":{bounds(np.array([e.score for e in judged]))[1]},'
    assert end not in before
    assert end in layout()


def test_examples_are_listed_in_the_order_that_is_chosen(drawn_world):
    judged = open_workbench(drawn_world).judging.judged_examples()
    odd = [replace(judged[0], score=float("nan")), *judged[1:]]
    order = lambda name: in_order_of(odd, name, 2.0)  # noqa: E731
    scores = {name: [e.score for e in order(name)] for name in ("medium", "low", "high")}
    assert all(np.isnan(found[-1]) and not np.isnan(found[:-1]).any() for found in scores.values())
    assert scores["low"][:-1] == sorted(scores["low"][:-1]) == scores["high"][-2::-1]
    far = [abs(score - 2.0) for score in scores["medium"][:-1]]
    assert far == sorted(far)
    margins = [e.margin.value for e in order("close")]
    assert margins == sorted(margins) == [e.margin.value for e in order("far")][::-1]
    assert {option["value"] for option in ORDERS} == {*scores, "close", "far"}


def test_cards_of_extracted_examples_are_marked(drawn_world):
    """The drawn world's story is extracted; the other examples are not."""
    bench = open_workbench(drawn_world)
    app = create_app(bench)
    judged = [e.example.id for e in bench.judging.judged_examples()]
    story = bench.workspace.settings.opens_on
    body = {
        "output": f"{ids.READY_CARDS}.data",
        "outputs": {"id": ids.READY_CARDS, "property": "data"},
        "inputs": [
            {"id": ids.CARDS, "property": "data", "value": [{"id": name} for name in judged]},
            {"id": ids.READY, "property": "data", "value": None},
            {"id": ids.NULLS_READY, "property": "data", "value": None},
        ],
        "changedPropIds": [f"{ids.CARDS}.data"],
    }
    answer = app.server.test_client().post("/_dash-update-component", json=body).get_json()
    marked = answer["response"][ids.READY_CARDS]["data"]
    assert story in marked
    assert marked == [name for name in judged if bench.datapaths.is_ready(bench.workspace.example(name))]
    assert len(marked) < len(judged)


def test_the_example_that_a_link_opens_is_among_the_cards(drawn_world):
    judged = open_workbench(drawn_world).judging.judged_examples()
    ids = lambda cards: [e.example.id for e in cards]  # noqa: E731
    far = judged[-1].example.id
    assert ids(with_shown(judged[:3], judged, far)) == [far, *ids(judged[:3])]
    assert with_shown(judged[:3], judged, judged[1].example.id) == judged[:3]
    assert with_shown(judged[:3], judged, None) == judged[:3]
    assert ids(with_shown([], judged, far)) == [far]


def test_what_the_score_means_is_said_by_its_figures(drawn_world):
    bench = open_workbench(drawn_world)
    judged = bench.judging.judged_examples()
    fooled = [e for e in judged if e.misclassified]
    sizes = [np.linalg.norm(j.features) for j in bench.judging.judge([e.example.adversarial for e in fooled])]
    ranks = [np.argsort(np.argsort(values)) for values in ([e.score for e in fooled], sizes)]
    assert bench.judging.score_follows_size(judged) == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
    overshooting = score_meaning(40, 1.0, 0.96)
    assert "overshoots" in overshooting.text
    assert (
        "40 misclassified adversarials: AUROC 1.00 against their sources, rank correlation 0.96" in overshooting.exact
    )
    assert "how small the features are" in score_meaning(40, 0.97, -0.76).text
    assert "none is ambiguous" in score_meaning(40, 0.995, 0.3).text
    assert "medium ones tell most" in score_meaning(40, 0.8, 0.3).text
    assert "too few" in score_meaning(FEW - 1, 1.0, 0.96).text
    assert "too few" in score_meaning(40, float("nan"), 0.96).text
    assert score_range(bench).meaning == score_meaning(
        len(fooled), bench.judging.auroc(judged), bench.judging.score_follows_size(judged), bench.judging.score_by
    )


@pytest.mark.parametrize("by", ["features", "direction"])
def test_the_page_says_what_the_score_is_taken_of(world, by):
    settings = Workspace(world).settings
    write_settings(world, replace(settings, score=ScoreParameters(by)))
    found = score_range(open_workbench(world))
    assert f"score by {by}: AUROC" in found.note
    of = {"features": "of the head's features.", "direction": "of the direction of the head's features."}
    assert found.meaning.exact.endswith(f"The score is taken {of[by]}")


def test_the_slider_of_margins_spans_them_all_and_restricts_the_cards(drawn_world):
    bench = open_workbench(drawn_world)
    judged = bench.judging.judged_examples()
    values = np.array([e.margin.value for e in judged])
    low, high, step = score_range(bench).margins
    assert (low, high, step) == bounds(values)
    assert all(has_margin(e, [low, high]) and has_margin(e, None) for e in judged)
    middle = float(np.median(values))
    assert [has_margin(e, [middle, high]) for e in judged] == (values >= middle).tolist()
    assert any(value < 0 for value in values), "a failed attack"
    panel = examples_panel(ClassChoices([], []), score_range(bench))
    (slider,) = [part for part in panel._traverse() if getattr(part, "id", "") == ids.MARGINS]
    assert slider.value == [low, high]


def gallery(app, **values):
    """What the gallery answers, by component, when the page holds these values."""
    output, declared = next(each for each in app.callback_map.items() if f".{ids.COUNT}." in f".{each[0]}")
    given = {
        part: [each | {"value": values.get(each["id"])} for each in declared[part]] for part in ("inputs", "state")
    }
    outputs = [{"id": each.component_id, "property": each.component_property} for each in declared["output"]]
    asked = given | {"output": output, "outputs": outputs, "changedPropIds": []}
    return app.server.test_client().post("/_dash-update-component", json=asked).json["response"]


def test_a_card_tells_the_margin_and_the_range_of_margins_narrows_the_gallery(drawn_world):
    bench = open_workbench(drawn_world)
    app = create_app(bench)
    judged = {e.example.id: e for e in bench.judging.judged_examples()}
    fooled = [e for e in judged.values() if e.misclassified]
    middle = float(np.median([e.margin.value for e in fooled]))
    said = {}
    for margins in (None, [middle, 1e3]):
        values = {ids.RANGE: [-1e9, 1e9], ids.MARGINS: margins, ids.ONLY_MISCLASSIFIED: True}
        said[str(margins)] = gallery(app, **values)
    cards = said["None"][ids.CARDS]["data"]
    assert all(f"· margin {judged[card['id']].margin}" in card["lines"][2] for card in cards)
    wide = [e for e in fooled if e.margin.value >= middle]
    assert said[str([middle, 1e3])][ids.COUNT]["children"].startswith(f"{len(wide)} of {len(judged)} examples")
    assert {card["id"] for card in said[str([middle, 1e3])][ids.CARDS]["data"]} <= {e.example.id for e in wide}
