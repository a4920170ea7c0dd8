"""The examples: scores, filters and the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.layouts.departures import departures_panel, picked
from aevis_dash.layouts.graph import waiting_graph


@dataclass(frozen=True)
class ScoreRange:
    """Ends of the slider, the range it begins with, and what is said of the scores."""

    low: float
    high: float
    start: tuple[float, float]
    note: str


@dataclass(frozen=True)
class Card:
    """What the gallery shows of an example; the amplified difference is fetched when the mouse is on the card."""

    id: str
    source: str
    adversarial: str
    difference: str
    labels: tuple[str, str]
    confidences: tuple[float, float]
    score: float
    fooled: bool


def examples_panel(class_names: Sequence[str], scores: ScoreRange) -> html.Section:
    """The left column."""
    classes = [{"label": name, "value": i} for i, name in enumerate(class_names)]
    return html.Section(
        [
            html.H2("Examples"),
            html.Div("adversarial score: medium ones tell most", className="quiet"),
            waiting_graph(ids.SCORES, 120),
            dcc.RangeSlider(
                id=ids.RANGE,
                min=scores.low,
                max=scores.high,
                value=list(scores.start),
                step=round((scores.high - scores.low) / 100, 6),
                marks=None,
                allow_direct_input=False,
                tooltip={"placement": "bottom"},
            ),
            html.Div(
                [
                    dcc.Dropdown(classes, id=ids.CLASS_FROM, placeholder="source class"),
                    dcc.Dropdown(classes, id=ids.CLASS_TO, placeholder="taken for"),
                ],
                className="filters",
            ),
            dbc.Switch(id=ids.ONLY_MISCLASSIFIED, label="misclassified only", value=True),
            departures_panel(),
            picked(),
            html.Div(id=ids.COUNT, className="quiet"),
            html.Div(id=ids.GALLERY, className="gallery"),
        ],
        className="panel examples",
    )


def gallery(cards: Sequence[Card]) -> list[html.Button]:
    """Cards to click, in the order given."""
    return [_card(card) for card in cards]


def _card(card: Card) -> html.Button:
    source, adversarial = card.labels
    verdict = "" if card.fooled else " · attack failed" if source == adversarial else " · source misclassified"
    return html.Button(
        [
            html.Img(src=card.source, alt=f"source, {source}"),
            html.Span(
                [
                    html.Img(src=card.adversarial, alt=f"adversarial, {adversarial}"),
                    html.Span(className="over"),
                ],
                className="stack",
                style={"--difference": f"url({card.difference})"},
            ),
            html.Span(
                [
                    html.Span(f"{source} {card.confidences[0]:.0%}", className="src"),
                    html.Span(f"→ {adversarial} {card.confidences[1]:.0%}", className="adv"),
                    html.Span(_score(card.score) + verdict, className="quiet"),
                ],
                className="words",
            ),
        ],
        id=ids.card(card.id),
        className="card-button" + ("" if card.fooled else " failed"),
        title=card.id,
        n_clicks=0,
        **{"data-example": card.id},  # type: ignore[arg-type]
    )


def _score(score: float) -> str:
    return f"score {score:.2f}" if isfinite(score) else "no score (no clean image of that class)"
