"""The view of all examples at once, a dialog as large as the window: where adversarials leave their sources, which
class is taken for which, and which maps recur."""

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


@dataclass(frozen=True)
class RecurrentRow:
    """A line of the list of gained, or lost, maps.

    Attributes:
        layer: the name of the map's layer.
        map: its channel.
        examples: the number of examples in which it is gained, or lost.
        chance: the number that chance gives on average, in words.
        others: the number that pictures of random other classes give on average, in words.
        beyond: whether the examples are more than chance gives to any map.
        classes: the most frequent pair of classes of the examples, in words, and all of them.
        here: whether the shown example is among them.
    """

    layer: str
    map: int
    examples: int
    chance: str
    others: str
    beyond: bool
    classes: tuple[str, str]
    here: bool


@dataclass(frozen=True)
class RecurrentList:
    """The gained, or lost, maps: which of both, what chance gives in a sentence, of how many examples, and the rows."""

    side: str
    verdict: str
    count: int
    rows: Sequence[RecurrentRow]


def divergences_panel() -> html.Div:
    """The button in the left column, and the dialog that it opens."""
    return html.Div(
        [
            dbc.Button(
                "All examples at once …",
                id=ids.DIVERGENCES_SWITCH,
                n_clicks=0,
                size="sm",
                color="secondary",
                outline=True,
                title="Where adversarials leave their sources, which class is taken for which, and which maps recur",
            ),
            _dialog(),
            dcc.Store(id=ids.CONFUSED),
            dcc.Store(id=ids.RECURRENT_VIEW),
        ],
        className="whole-set-button",
    )


def _dialog() -> dbc.Modal:
    title = dbc.ModalTitle("All examples at once", id=ids.WHOLE_SET_TITLE)
    body = [_layers(), html.Div([_classes(), _maps()], className="whole-set-lower")]
    return dbc.Modal(
        [dbc.ModalHeader(title), dbc.ModalBody(body)],
        id=ids.WHOLE_SET,
        is_open=False,
        labelledby=ids.WHOLE_SET_TITLE,
        class_name="whole-set",
        scrollable=True,
    )


def _layers() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.H3("Where they leave their sources"),
                    _choice("farther than", ids.BAND, BANDS),
                    _choice("by", ids.BY, GROUPINGS),
                    html.Div(id=ids.LEGEND, className="legend"),
                ],
                className="whole-set-head",
            ),
            html.Div(
                [
                    html.Span(id=ids.DIVERGENCES_NOTE, className="quiet"),
                    dbc.Button(
                        "Compare all pairs", id=ids.COMPARE, size="sm", color="primary", style={"display": "none"}
                    ),
                    html.Div(id=ids.CULPRITS, className="culprits"),
                ],
                className="whole-set-words",
            ),
            _picture(waiting_graph(ids.DIVERGENCES, 150), "how many pairs leave their sources at each layer"),
        ]
    )


def _classes() -> html.Section:
    return html.Section(
        [
            html.H3("Which class is taken for which"),
            html.Div(id=ids.CONFUSIONS_NOTE, className="quiet"),
            _picture(waiting_graph(ids.CONFUSIONS, 150), "how many examples of each class are taken for each other"),
        ]
    )


def _maps() -> html.Section:
    return html.Section(
        [
            html.H3("Maps that recur"),
            html.Div("Reading the stored datapaths …", id=ids.RECURRENT_NOTE, className="quiet", role="status"),
            html.Div(id=ids.RECURRENT, className="recurrent-lists"),
        ]
    )


def _choice(words: str, name: str, options: list[dict[str, str]]) -> html.Label:
    """A list to choose from, which begins with its first option."""
    chosen = dcc.Dropdown(options, options[0]["value"], id=name, clearable=False, searchable=False)
    return html.Label([html.Span(words), chosen])


def _picture(graph: dcc.Graph, words: str) -> html.Div:
    """A graph with a name for those who do not see it."""
    return html.Div(graph, role="group", **{"aria-label": words})  # type: ignore[arg-type]


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
            className="culprit",
            title=f"{culprit.pairs} pairs differ most in map {culprit.name} where they leave. Click to list them.",
            **{"data-culprit": culprit.name},  # type: ignore[arg-type]
        )
        for culprit in found
    ]


def recurrent_list(found: RecurrentList) -> html.Div:
    """The gained, or lost, maps as a table. Its buttons show a map, or list the examples in which it recurs."""
    heads = [
        ("map", "click to show it in the shown example"),
        (
            f"in … of {found.count}",
            f"in how many of {found.count} examples the map is {found.side}; click to list them",
        ),
        ("chance", f"the mean if the same number of maps of each layer were {found.side} at random"),
        ("other images", "the mean if pictures of random other classes stood in the place of the adversarials"),
        ("classes", "the pair of classes that most of these examples have"),
    ]
    head = html.Tr([html.Th(name, title=words, scope="col") for name, words in heads])
    rows = [_row(row, found.side) for row in found.rows]
    return html.Div(
        [
            html.H4(found.side),
            html.Div(found.verdict, className="quiet"),
            html.Table([html.Thead(head), html.Tbody(rows)], className="recurrent-table") if rows else None,
        ]
    )


def _row(row: RecurrentRow, side: str) -> html.Tr:
    named = {"data-layer": row.layer, "data-map": str(row.map), "data-side": side}
    words = f"map {row.map} of {row.layer}"
    chance = ", more than chance gives to any map" if row.beyond else ""
    here = f"; it is {side} in the shown example" if row.here else f"; it is not {side} in the shown example"
    show = html.Button(
        f"{row.layer} {row.map}" + (" •" if row.here else ""),
        className="recurrent-map",
        title=f"Show {words}{here}",
        **named,  # type: ignore[arg-type]
    )
    those = html.Button(
        str(row.examples),
        className="recurrent-examples",
        title=f"List the {row.examples} examples in which {words} is {side}{chance}",
        **named,  # type: ignore[arg-type]
    )
    cells = [show, those, row.chance, row.others, html.Span(row.classes[0], title=row.classes[1])]
    return html.Tr([html.Td(cell) for cell in cells], className="beyond" if row.beyond else None)
