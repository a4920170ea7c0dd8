"""The station of the network: the river, and how it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from dash import dcc, html

from aevis_dash import ids
from aevis_dash.figures.network import HEIGHT
from aevis_dash.layouts.graph import waiting_graph
from aevis_dash.layouts.radio import radio

DISTANCES = [
    {"label": "activations", "value": "activations"},
    {"label": "gates, by width", "value": "gates"},
    {"label": "gates, raw (paper)", "value": "gates-raw"},
    {"label": "critical sets", "value": "sets"},
]
PLOTS = [{"label": "river", "value": "river"}, {"label": "dots", "value": "dots"}]
FIND, FIND_SHORT = "find a layer by its name, or maps by what they are named after", "find layer, map"
_WIDE = "19rem"
KEYS = "The network: arrows go from layer to layer, Enter opens or closes the group of the layer that is shown"


GAPS = [
    {"label": "gap as measured", "value": "measured"},
    {"label": "equal gaps", "value": "equal"},
]


@dataclass(frozen=True)
class Methods:
    """The extraction methods, the workspace's own first; the sizes of the hard set; and `share`, which is the
    workspace's own."""

    names: Sequence[str]
    shares: Sequence[float]
    share: float


def network_panel(methods: Methods, findable: Sequence[dict[str, str]]) -> html.Section:
    """The upper half of the middle column; `findable` are the options of the search."""
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Network"),
                    radio(ids.PLOT, "how the network is drawn", PLOTS, "river", "switch"),
                    html.Label([_hidden_text(FIND), _search(findable)], className="find", title=FIND),
                    _how(methods),
                ],
                className="head one-line",
            ),
            html.Div(
                [waiting_graph(ids.RIVER, HEIGHT), html.Div(id=ids.MINIMAP, className="minimap")],
                id=ids.RIVER_KEYS,
                tabIndex=0,
                role="group",
                **{"aria-label": KEYS},  # type: ignore[arg-type]
                title="",
            ),
            html.Div(id=ids.RIVER_NOTE, className="quiet", role="status", tabIndex=0),
        ],
        className="panel network",
    )


def minimap(picture: str) -> list:
    """A small picture of the whole network, with the window that is shown, which assets/network.js moves."""
    return [html.Img(src=picture, alt="the whole network"), html.Span(className="window")]


def extract_again(why: str) -> list:
    """The reason why there are no datapaths, and a button by which their extraction goes on (assets/page.js): datapaths
    that are stored already are not extracted again."""
    return _with_button(why, "Go on", ids.EXTRACT_AGAIN)


def extract_now(cost: str) -> list:
    """What extracting the datapaths of an example costs, and a button that begins it (assets/page.js)."""
    return _with_button(cost, "Extract", ids.EXTRACT_NOW)


def _with_button(sentence: str, words: str, name: str) -> list:
    return [html.Span(sentence), " ", html.Button(words, id=name, className="step")]


def _search(findable: Sequence[dict[str, str]]) -> dcc.Dropdown:
    return dcc.Dropdown(list(findable), id=ids.FIND, placeholder=FIND_SHORT, searchable=True, optionHeight=28)


def _how(methods: Methods) -> html.Details:
    """Which datapaths are compared, and how they are extracted and drawn, folded away behind what is chosen."""
    choices = [
        html.Label(["target ", dcc.Dropdown(id=ids.TARGET, clearable=False, style={"width": _WIDE})]),
        html.Label(
            [
                "compare ",
                dcc.Dropdown(
                    id=ids.BESIDE, multi=True, clearable=False, placeholder="datapaths", style={"width": _WIDE}
                ),
            ]
        ),
        html.Label(["method ", _choice(ids.METHOD, methods.names, methods.names[0], _WIDE)]),
        html.Label(["size ", _choice(ids.SHARE, _sizes(methods.shares), methods.share, _WIDE)]),
        html.Label(["distance by ", _choice(ids.DISTANCE, DISTANCES, "activations", _WIDE)]),
        html.Label(["river ", _choice(ids.GAP, GAPS, "measured", _WIDE)]),
    ]
    return html.Details([html.Summary("how", id=ids.HOW_PATHS), html.Div(choices, className="drop")], className="how")


def _hidden_text(text: str) -> html.Span:
    return html.Span(text, className="visually-hidden")


def _sizes(shares: Sequence[float]) -> list[dict]:
    return [{"label": f"{100 * s:g} % of each layer" if s else "as few as keep the label", "value": s} for s in shares]


def _choice(name: str, options: Sequence, value: str | float, width: str) -> dcc.Dropdown:
    return dcc.Dropdown(list(options), value, id=name, clearable=False, searchable=False, style={"width": width})
