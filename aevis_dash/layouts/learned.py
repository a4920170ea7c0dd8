"""What a map has learned: its best reference patches, the part it detects, and a picture made for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import dash_bootstrap_components as dbc
from dash import html

from aevis_dash import ids
from aevis_dash.layouts.radio import radio

_BY = [
    {"label": "activation", "value": "activation"},
    {"label": "relevance", "value": "relevance"},
]
_BY_WHAT = (
    "activation: what fires the map most; relevance: where it speaks most for the class that the network predicts "
    "(activation x gradient). The two often differ."
)


@dataclass(frozen=True)
class Crop:
    """A part that is cut from a reference image, which the page calls a patch.

    It has the image's address, and says in words where the patch is and how strongly the map fires there.
    """

    address: str
    image: str
    words: str


def learned_block() -> html.Div:
    """The block of learned features. It has its full height before anything is in it."""
    return html.Div(
        [
            html.Div(
                [
                    html.H3("what it has learned"),
                    html.Span(id=ids.LEARN_TEXT, className="quiet", role="status"),
                    radio(ids.BEST, "by what the patches are best", _BY, "activation", "two-way"),
                ],
                className="learned-head",
                title=_BY_WHAT,
            ),
            html.Div(
                [
                    html.Div(id=ids.LEARNED, className="learned"),
                    html.Div(id=ids.PICTURE, className="picture"),
                    dbc.Button(
                        "Visualise",
                        id=ids.VISUALISE,
                        size="sm",
                        color="secondary",
                        outline=True,
                        disabled=True,
                        title="Make a picture, from noise, that fires this map as much as it can",
                    ),
                ],
                className="patches",
            ),
            html.Div(id=ids.LEARNED_NOTE, className="detected"),
        ],
        className="learned-block",
    )


def crops(found: Sequence[Crop], count: int) -> list:
    """The patches of a map, best first, in `count` places of fixed size. Places without a patch are empty."""
    filled = [
        html.Img(src=p.address, alt=f"patch {i + 1}, of {p.image}", title=f"{p.image} · {p.words}")
        for i, p in enumerate(found)
    ]
    return [*filled, *(html.Span(className="no-patch") for _ in range(count - len(filled)))]


def picture(address: str | None, words: str) -> list:
    """The picture made for a map, with words beside it; an empty place where there is none."""
    shown = html.Img(src=address, alt="picture made to fire this map") if address else html.Span(className="no-patch")
    return [shown, html.Span(words, className="quiet")]
