"""The neuron: what a map has learned, how it fires, the area of interest, and the way back from it."""

from collections.abc import Sequence

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.layouts.graph import waiting_graph


def neuron_panel() -> html.Section:
    """The right column."""
    return html.Section(
        [
            html.H2("Feature map"),
            html.Div(id=ids.NEURON_TITLE),
            html.H3("learned features"),
            html.Div(id=ids.LEARNED, className="learned"),
            html.H3("activation maps: draw a box for the area of interest"),
            waiting_graph(ids.ACTIVATIONS, 200),
            html.Div(
                [
                    html.Span(id=ids.AREA_TEXT),
                    dbc.Button("Whole map", id=ids.WHOLE_MAP, size="sm", color="secondary", outline=True),
                ],
                className="area",
            ),
            html.H3("where does it come from?"),
            html.Div(
                [
                    html.Label("trace to the maps of", htmlFor=ids.SOURCE_LAYER),
                    dcc.Dropdown(id=ids.SOURCE_LAYER, clearable=False),
                    dbc.Button("Trace contributions", id=ids.TRACE, color="primary", disabled=True),
                ],
                className="trace",
            ),
            html.H3("do maps of this layer cause it?"),
            html.Div(
                [
                    dbc.Button("Flip back", id=ids.FLIP, color="primary", outline=True, disabled=True),
                    html.Div(id=ids.FLIP_TEXT, className="flips"),
                ],
                className="trace",
            ),
        ],
        className="panel neuron",
    )


def flips(words: Sequence[str], channels: Sequence[int], here: int | None) -> list:
    """What a flip-back found, in sentences, and its maps as buttons, the shown one marked."""
    buttons = [
        html.Button(f"map {c}", id=ids.flip(c), className="culprit chosen" if c == here else "culprit", n_clicks=0)
        for c in channels
    ]
    return [*(html.Div(sentence) for sentence in words), html.Div(buttons, className="culprits")]


def learned(patches: Sequence[str]) -> list:
    """The patches that activate a map most, best first."""
    return [html.Img(src=src, alt=f"patch {i + 1}") for i, src in enumerate(patches)]
