"""How a map fires: the activation maps, what the area of interest sees, and a larger view of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.figures.neuron import columns
from aevis_dash.figures.theme import graph_config
from aevis_dash.layouts.graph import empty

HEIGHT = 161
"""The pixels that three square maps with their titles and the colour bar need. Their place is kept before they
arrive."""
LOOKS = {"maps": "maps", "over": "over image", "difference": "adv − others"}
MOST = [{"label": f"{k} most active", "value": k} for k in (1, 5, 10, 25)]
_ZOOMING = ("zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "resetScale2d")


@dataclass(frozen=True)
class Sight:
    """One compared image on the page.

    It has the image's address, its name in words, and the box (left, top, width, height), in parts of the image, that
    the area of interest sees; None without an area.
    """

    image: str
    words: str
    box: tuple[float, float, float, float] | None


def activations_block() -> html.Div:
    """The maps with the choice of their look, the area of interest in words, and the images with what the area sees."""
    return html.Div(
        [
            html.Div(
                [
                    html.H3("where it fires: draw a box or click"),
                    _looks(ids.LOOK),
                    html.Button("enlarge", id=ids.ENLARGE, n_clicks=0),
                ],
                className="looks",
            ),
            _graph(ids.ACTIVATIONS, graph_config("select2d", "lasso2d"), {"height": f"{HEIGHT}px"}),
            html.Div(
                [
                    html.Div(id=ids.SEEN, className="seen"),
                    html.Div([_area(), html.Div(id=ids.HOVERED, className="hovered")]),
                ],
                className="sights",
            ),
            _larger(),
            dcc.Store(id=ids.FIELDS),
        ]
    )


def _graph(name: str, config: Any, style: dict[str, str]) -> dcc.Graph:
    """A graph that also tells when the pointer leaves it."""
    return dcc.Graph(id=name, figure=empty(HEIGHT), config=config, style=style, clear_on_unhover=True)


def _looks(name: str) -> html.Fieldset:
    choice = dbc.RadioItems(
        id=name,
        name=name,
        options=[{"label": words, "value": look} for look, words in LOOKS.items()],
        value="maps",
        className="btn-group look",
        inputClassName="btn-check",
        labelClassName="btn btn-sm btn-outline-secondary",
        labelCheckedClassName="active",
    )
    return html.Fieldset(
        [html.Legend("how activations are shown", className="visually-hidden"), choice], className="choice"
    )


def _area() -> html.Div:
    return html.Div(
        [
            html.Div(id=ids.AREA_TEXT, className="area-text"),
            html.Label("area", htmlFor=ids.AREA_WORDS),
            dcc.Input(id=ids.AREA_WORDS, placeholder="rows 2-4, columns 3-5", debounce=True, type="text"),
            html.Label(
                [
                    html.Span("neurons most active on the traced image", className="visually-hidden"),
                    dcc.Dropdown(MOST, id=ids.MOST_ACTIVE, placeholder="most active …", searchable=False),
                ]
            ),
            dbc.Button("Whole map", id=ids.WHOLE_MAP, size="sm", color="secondary", outline=True),
        ],
        className="area",
    )


def _larger() -> dbc.Modal:
    config = graph_config(*_ZOOMING) | {"scrollZoom": True, "doubleClick": "reset", "doubleClickDelay": 300}
    config["displayModeBar"] = True
    title = [dbc.ModalTitle(id=ids.LARGE_TITLE), _looks(ids.LARGE_LOOK)]
    body = [
        _graph(ids.LARGE_ACTIVATIONS, config, {"height": "68vh"}),
        html.Div(id=ids.LARGE_HOVERED, className="hovered"),
    ]
    return dbc.Modal([dbc.ModalHeader(title), dbc.ModalBody(body)], id=ids.LARGE, is_open=False, className="large")


def row_style(count: int, size: tuple[int, int]) -> dict[str, str | int]:
    """The style of `count` images of (height, width) pixels below their maps, which keeps their place before they
    arrive."""
    return {"--across": columns(count), "--shape": f"{size[1]} / {size[0]}"}


def large_style(count: int) -> dict[str, str]:
    """The style of the larger view: as much of the window as rows of `count` square maps can fill."""
    rows = -(-count // columns(count))
    return {"height": f"min(70vh, {rows} * ({82 / min(count, columns(count)):.1f}vw + 34px) + 30px)"}


def sights(found: Sequence[Sight]) -> list[html.Span]:
    """The images, each with the box that the area of interest sees, and with a box that follows the pointer."""
    return [html.Span([html.Img(src=s.image, alt=s.words), *_boxes(s)], className="sight") for s in found]


def _boxes(sight: Sight) -> list[html.Span]:
    own = [] if sight.box is None else [html.Span(className="area-box", style=_box(sight.box))]
    return [*own, html.Span(className="hover-box")]


def _box(box: tuple[float, float, float, float]) -> dict[str, str]:
    return {side: f"{100 * part:.1f}%" for side, part in zip(("left", "top", "width", "height"), box, strict=True)}
