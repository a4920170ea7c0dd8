"""The examples: scores, filters and the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.layouts.divergences import divergences_panel, narrowing
from aevis_dash.layouts.graph import waiting_graph
from aevis_dash.layouts.sentences import Sentence, sentences

ORDERS = [
    {"label": "medium scores", "value": "medium"},
    {"label": "low scores", "value": "low"},
    {"label": "high scores", "value": "high"},
    {"label": "small margins", "value": "close"},
    {"label": "large margins", "value": "far"},
]
"""The options of the order in which examples are listed."""


@dataclass(frozen=True)
class ScoreRange:
    """The ends and the step of the slider of scores, the range it begins with, a note on the scores, and what they
    mean; and the ends and the step of the slider of margins, which begins with all."""

    low: float
    high: float
    step: float
    start: tuple[float, float]
    note: str
    meaning: Sentence
    margins: tuple[float, float, float] = (0.0, 1.0, 0.01)


@dataclass(frozen=True)
class Card:
    """What the gallery shows of an example, as assets/gallery.js draws it.

    It has the addresses of both images and of their amplified difference, which is fetched when the mouse is on the
    card; both labels; the lines beside them; and the reason why the example is not misclassified, or not as its attack
    declares.
    """

    id: str
    source: str
    adversarial: str
    difference: str
    labels: tuple[str, str]
    lines: tuple[str, str, str, str]
    warnings: tuple[str, ...]
    fooled: bool


@dataclass(frozen=True)
class ClassChoices:
    """The classes by which examples are chosen, by number and name: those of sources, and those that they are taken
    for."""

    sources: Sequence[tuple[int, str]]
    taken_for: Sequence[tuple[int, str]]


def examples_panel(classes: ClassChoices, scores: ScoreRange) -> html.Section:
    """The left column."""
    return html.Section(
        [
            html.H2("Examples"),
            html.Details(
                [
                    html.Summary("choose", id=ids.DRAWER),
                    html.Div(sentences([scores.meaning]), className="quiet"),
                    waiting_graph(ids.SCORES, 120),
                    dcc.RangeSlider(
                        id=ids.RANGE,
                        min=scores.low,
                        max=scores.high,
                        value=list(scores.start),
                        step=scores.step,
                        marks=None,
                        allow_direct_input=False,
                        tooltip={"placement": "bottom"},
                    ),
                    html.Div(
                        [
                            html.Span(
                                "margin",
                                className="quiet",
                                title="by how much the class that adv is taken for is ahead of the source's, in logits",
                            ),
                            _margins(*scores.margins),
                        ],
                        className="ranged",
                    ),
                    html.Div(
                        [
                            dcc.Dropdown(_options(classes.sources), id=ids.CLASS_FROM, placeholder="source class"),
                            dcc.Dropdown(_options(classes.taken_for), id=ids.CLASS_TO, placeholder="taken for"),
                        ],
                        className="filters",
                    ),
                    dbc.Switch(id=ids.ONLY_MISCLASSIFIED, label="misclassified only", value=True),
                    html.Label(
                        ["first ", dcc.Dropdown(ORDERS, "medium", id=ids.ORDER, clearable=False, searchable=False)],
                        className="ranged",
                    ),
                    divergences_panel(),
                ],
                className="drawer",
            ),
            narrowing(),
            html.Div(id=ids.COUNT, className="quiet"),
            html.Div(
                id=ids.GALLERY,
                className="gallery",
                role="group",
                **{"aria-label": "examples"},  # type: ignore[arg-type]
            ),
        ],
        className="panel examples",
    )


def _margins(low: float, high: float, step: float) -> dcc.RangeSlider:
    return dcc.RangeSlider(
        id=ids.MARGINS,
        min=low,
        max=high,
        value=[low, high],
        step=step,
        marks=None,
        allow_direct_input=False,
        tooltip={"placement": "bottom"},
    )


def _options(classes: Sequence[tuple[int, str]]) -> list[dict[str, int | str]]:
    return [{"label": name, "value": number} for number, name in classes]
