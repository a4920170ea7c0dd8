"""The station of evidence: what a feature map has learned, how it fires, the area of interest, and the way back."""

from collections.abc import Sequence

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.layouts.activations import activations_block
from aevis_dash.layouts.connections import connections_block
from aevis_dash.layouts.learned import learned_block

SWAPS = [
    {"label": "put them from src into adv", "value": "source"},
    {"label": "put them from adv into src", "value": "adversarial"},
    {"label": "set them to zero in adv", "value": "zero"},
    {"label": "set them to the mean of other images", "value": "mean"},
    {"label": "take them from one other image", "value": "resample"},
]


def neuron_panel() -> html.Section:
    """The widest column of the page."""
    return html.Section(
        [
            html.Div(
                [html.H2("Evidence"), html.Div(id=ids.NEURON_TITLE, role="status")],
                className="head one-line evidence-head",
            ),
            learned_block(),
            activations_block(),
            html.Div(
                [
                    html.H3("where does it come from?"),
                    html.Label("to the maps of", htmlFor=ids.SOURCE_LAYER),
                    dcc.Dropdown(id=ids.SOURCE_LAYER, clearable=False),
                    dbc.Button(
                        "Trace contributions",
                        id=ids.TRACE,
                        color="primary",
                        size="sm",
                        disabled=True,
                        title="Which earlier maps make this map fire; first choose a map",
                    ),
                    dbc.Button(
                        "Trace the prediction here",
                        id=ids.TRACE_PREDICTION,
                        color="primary",
                        outline=True,
                        size="sm",
                        disabled=True,
                        title="Which maps of this layer make the prediction",
                    ),
                ],
                className="trace",
            ),
            html.Div(
                [
                    html.H3("do maps of this layer cause it?"),
                    html.Label(
                        [
                            html.Span("how the maps are replaced", className="visually-hidden"),
                            dcc.Dropdown(SWAPS, "source", id=ids.REPLACEMENT, clearable=False, searchable=False),
                        ]
                    ),
                    html.Label("maps to replace", htmlFor=ids.MAPS, className="visually-hidden"),
                    html.Div(
                        [
                            dcc.Input(id=ids.MAPS, placeholder="empty: search", debounce=True, type="text"),
                            dbc.Button("+ this", id=ids.ADD_MAP, size="sm", color="secondary", outline=True),
                            dbc.Button("winners", id=ids.TAKE_WINNERS, size="sm", color="secondary", outline=True),
                        ],
                        className="maps",
                    ),
                    dbc.Button("Flip back", id=ids.FLIP, color="primary", size="sm", disabled=True),
                    html.Span(
                        "being tested … (jobs, at the top, tells how far it is)",
                        id=ids.FLIPPING,
                        className="quiet",
                        role="status",
                        style={"display": "none"},
                    ),
                ],
                className="trace flips-block",
            ),
            html.Div(id=ids.FLIP_TEXT, className="flips"),
            connections_block(),
        ],
        className="panel neuron",
        id=ids.EVIDENCE,
        tabIndex=-1,
        **{"aria-label": "Evidence"},  # type: ignore[arg-type]
    )


def flips(words: Sequence[str], layer: str, channels: Sequence[int], here: int | None) -> list:
    """What a flip-back of a layer found, in sentences, and its maps as buttons.

    Args:
        words: the sentences.
        layer: the name of the layer.
        channels: the maps that become buttons.
        here: the shown map, whose button is marked; None for none.
    """
    buttons = [
        html.Button(
            f"map {c}",
            id=ids.flip(layer, c),
            className="culprit chosen" if c == here else "culprit",
            n_clicks=0,
            **{"data-map": str(c)},  # type: ignore[arg-type]
        )
        for c in channels
    ]
    return [*(html.Div(sentence) for sentence in words), html.Div(buttons, className="culprits")]
