"""The connections of a layer's maps with those of an earlier layer, folded away under the flip-back."""

from collections.abc import Sequence
from dataclasses import dataclass

import dash_bootstrap_components as dbc
from dash import html

from aevis_dash import ids
from aevis_dash.layouts.sentences import Sentence, sentences


@dataclass(frozen=True)
class Link:
    """A connection: the map of the earlier layer where it begins, the map where it ends, and the part of the margin's
    change that it is estimated to turn back."""

    begin: int
    end: int
    share: float


def connections_block() -> html.Details:
    """The button that asks for the connections, and what was found."""
    return html.Details(
        [
            html.Summary("how are maps connected?", id=ids.EDGES_FOLD, n_clicks=0),
            html.Div(
                [
                    dbc.Button(
                        "Find connections",
                        id=ids.FIND_EDGES,
                        color="primary",
                        outline=True,
                        size="sm",
                        disabled=True,
                        title="From the maps of the layer that stands under 'where does it come from?'",
                    ),
                    html.Div(id=ids.EDGE_TEXT, role="status"),
                ],
                className="edges",
            ),
        ],
        className="connections",
    )


def connections(told: Sequence[Sentence], earlier: str, links: Sequence[Link]) -> list:
    """What was found in sentences, and a button for each connection, which shows the map of the earlier layer.

    Args:
        told: the sentences.
        earlier: the name of the earlier layer.
        links: the connections that become buttons.
    """
    return [html.Span(sentences(told)), html.Div([_button(link, earlier) for link in links], className="culprits")]


def _button(link: Link, earlier: str) -> html.Button:
    return html.Button(
        f"{link.begin} → {link.end}: {link.share:.1%}",
        id=ids.connection(earlier, link.begin, link.end),
        className="culprit",
        n_clicks=0,
        title=f"map {link.begin} of {earlier} turns {link.share:.1%} of the margin back by way of map {link.end}",
    )
