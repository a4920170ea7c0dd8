"""The view of all examples: where adversarials leave their sources, which maps recur, and what was picked there."""

from collections.abc import Sequence
from dataclasses import dataclass

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.layouts.graph import waiting_graph

BANDS = [
    {"label": "other images of the class", "value": "class"},
    {"label": "noise of the attack's size", "value": "noise"},
]
GROUPINGS = [
    {"label": "perturbation", "value": "perturbation"},
    {"label": "attack", "value": "attack"},
    {"label": "source class", "value": "source"},
    {"label": "taken for", "value": "adversarial"},
]


@dataclass(frozen=True)
class Culprit:
    """A map that recurs where adversarials leave their sources: its name LAYER:CHANNEL, and how many pairs name it."""

    name: str
    pairs: int


def divergences_panel() -> html.Details:
    """The part of the left column for the view of all examples, which opens on a click."""
    return html.Details(
        [
            html.Summary("Where they leave their sources", id=ids.DIVERGENCES_SWITCH, n_clicks=0),
            html.Label(["farther than ", dcc.Dropdown(BANDS, "class", id=ids.BAND, clearable=False, searchable=False)]),
            html.Label(["by ", dcc.Dropdown(GROUPINGS, "perturbation", id=ids.BY, clearable=False, searchable=False)]),
            waiting_graph(ids.DIVERGENCES, 150),
            html.Div(id=ids.LEGEND, className="legend"),
            html.Div(id=ids.DIVERGENCES_NOTE, className="quiet"),
            dbc.Button("Compare all pairs", id=ids.COMPARE, size="sm", color="primary", style={"display": "none"}),
            html.Div(id=ids.CULPRITS, className="culprits"),
        ],
        className="divergences",
        id=ids.DIVERGENCES_PANEL,
    )


def narrowing() -> html.Div:
    """A line that says to what the gallery is narrowed, with a button that widens it again."""
    return html.Div(
        [
            html.Span(id=ids.PICKED_TEXT),
            html.Button("×", id=ids.UNPICK, title="Show all again", n_clicks=0),
        ],
        id=ids.PICKED_LINE,
        className="picked",
        style={"display": "none"},
    )


def legend(groups: Sequence[tuple[str, str]]) -> list[html.Span]:
    """What the colours mean, from pairs of a group's name and its colour."""
    return [html.Span([html.Span(style={"background": colour}), name], title=name) for name, colour in groups]


def culprits(found: Sequence[Culprit]) -> list:
    """The maps that recur, as buttons that narrow the gallery to the pairs that name them."""
    return [
        html.Button(
            f"{culprit.name} ×{culprit.pairs}",
            id=ids.culprit(culprit.name),
            className="culprit",
            title=f"{culprit.pairs} pairs differ most in map {culprit.name} where they leave. Click to list them.",
            n_clicks=0,
        )
        for culprit in found
    ]
