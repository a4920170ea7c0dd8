"""The layer: its treemap of critical maps, and the strongest contributors where it was traced."""

from collections.abc import Sequence
from dataclasses import dataclass

from dash import dcc, html

from aevis_dash import ids
from aevis_dash.domain import Role
from aevis_dash.layouts.graph import waiting_graph

PAIRS = [
    {"label": "adv - src", "value": "adv-src"},
    {"label": "adv - tar", "value": "adv-tar"},
    {"label": "src - tar", "value": "src-tar"},
]
HOWS = [
    {"label": "solved", "value": "solved"},
    {"label": "quadratic", "value": "quadratic"},
    {"label": "exact (slow)", "value": "exact"},
]
CAUSES = [{"label": f"to {role.short}", "value": role.value} for role in Role]


@dataclass(frozen=True)
class Winner:
    """A strongest contributor: its part of the effect, its best patch, and whether a datapath holds it."""

    channel: int
    value: float
    patch: str
    critical: bool


def layer_panel() -> html.Section:
    """The lower half of the middle column."""
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Layer"),
                    html.Span(id=ids.LAYER_TITLE),
                    html.Label(["■ activation ", _choice(ids.PAIR, PAIRS, "adv-src", "7.6rem")]),
                    html.Label(
                        [
                            "⣿ contribution ",
                            _choice(ids.CAUSE_ROLE, CAUSES, "adversarial", "6.2rem"),
                            _choice(ids.HOW, HOWS, "solved", "7.8rem"),
                        ]
                    ),
                ],
                className="head",
            ),
            html.Div(id=ids.WINNERS, className="winners"),
            waiting_graph(ids.TREEMAP, 270),
        ],
        className="panel layer",
    )


def winners(found: Sequence[Winner], sentence: str) -> list:
    """A line of what was traced, and a button for each strongest contributor."""
    return [html.Span(sentence, className="sentence"), *(_winner(w) for w in found)]


def _winner(found: Winner) -> html.Button:
    place = "" if found.critical else " · in no datapath"
    return html.Button(
        [html.Img(src=found.patch, alt=""), html.Span(f"★ map {found.channel}: {found.value:.0%}{place}")],
        id=ids.winner(found.channel),
        className="winner",
        n_clicks=0,
    )


def _choice(name: str, options: list, value: str, width: str) -> dcc.Dropdown:
    return dcc.Dropdown(options, value, id=name, clearable=False, searchable=False, style={"width": width})
