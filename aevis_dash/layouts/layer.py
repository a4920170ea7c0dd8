"""The station of the layer: its treemap of critical maps, and the strongest contributors where it was traced to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.domain import Role, shorten
from aevis_dash.figures.theme import graph_config
from aevis_dash.layouts.graph import waiting_graph
from aevis_dash.layouts.sentences import Sentence, sentences

HEIGHT = 236
NAME_LENGTH = 44
"""The most characters of a map's name that stand in a button; the button's title has all of it."""
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
AGAINST = [
    {"label": "difference", "value": "source"},
    {"label": "firing", "value": "zero"},
    {"label": "beside mean", "value": "mean"},
]
CAUSES = [{"label": role.short, "value": role.value} for role in Role]
SORTS = [
    {"label": "by difference", "value": "fill"},
    {"label": "by contribution", "value": "contribution"},
    {"label": "by turning back", "value": "turning"},
    {"label": "by channel", "value": "channel"},
]
KEEPS = [
    {"label": "all", "value": "all"},
    *({"label": f"{role.short} only", "value": role.short} for role in Role),
    {"label": "shared", "value": "shared"},
    {"label": "top 50", "value": "top"},
]
CELLS = [{"label": "12 per set", "value": "few"}, {"label": "all", "value": "all"}]
_TURNING = (
    "bar at the foot: how much src's map, put into adv's run, is estimated to turn the prediction back (to the right) "
    "or farther away (to the left)"
)
_FEWER = "Draw only the first 12 maps of each set again"
_PINNING = "Keep this layer's treemap beside those of other layers (three at most)"

_IN_NONE = (
    ". It contributes, and yet stands in no set: none of the datapaths needs it, for example because other maps can do "
    "the same."
)
KEYS = "The feature maps of the layer: arrows go from map to map"
_WIDE = "12rem"

Value = int | float | str
Row = Sequence[Value]
"""A map in the table: its channel, and then its values."""


@dataclass(frozen=True)
class Winner:
    """One of the strongest contributors: its part of the effect, its best patch, whether a datapath holds it, and its
    first clear name in words, "" where it has none."""

    channel: int
    value: float
    crop: str
    critical: bool
    name: str = ""


def layer_panel() -> html.Section:
    """The lower half of the middle column: the layer's treemap, pinned ones beside it, and the table of the same
    maps."""
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Layer"),
                    html.Span(id=ids.LAYER_TITLE, className="title", role="status"),
                    html.Button("12 per set", id=ids.FEWER_CELLS, className="pin", hidden=True, title=_FEWER),
                    html.Button("pin", id=ids.PIN, className="pin", n_clicks=0, title=_PINNING),
                    _settings(),
                ],
                className="head one-line",
            ),
            html.Div(id=ids.WINNERS, className="winners"),
            html.Div(
                [
                    html.Div(id=ids.PINNED, className="pinned-layers"),
                    html.Div(
                        [
                            html.Div(id=ids.SHOWN_NAME, className="slot-head"),
                            html.Div(
                                waiting_graph(ids.TREEMAP, HEIGHT, "select2d", "lasso2d"),
                                id=ids.TREEMAP_KEYS,
                                tabIndex=0,
                                role="group",
                                **{"aria-label": KEYS},  # type: ignore[arg-type]
                            ),
                        ],
                        id=ids.SHOWN,
                        className="slot",
                    ),
                ],
                id=ids.TREEMAPS,
                className="treemaps",
            ),
            _legend(),
            html.Details(
                [
                    html.Summary("table: values, and what each map is named after", id=ids.TABLE_SWITCH, n_clicks=0),
                    html.Div(id=ids.TABLE),
                    html.Button("CSV of all", id=ids.CSV, className="pin", n_clicks=0),
                    dcc.Download(id=ids.CSV_FILE),
                ],
                className="layer-table",
            ),
        ],
        className="panel layer",
    )


def _settings() -> html.Details:
    """What fills the cells, their order, which are kept, and their faces, folded away behind a word."""
    choices = [
        html.Label(["solid fill ", _choice(ids.PAIR, PAIRS, "adv-src", _WIDE)], title="difference of activation"),
        html.Label(
            ["contributions on ", _choice(ids.CAUSE_ROLE, CAUSES, "adversarial", _WIDE)],
            title="dotted fill, where the layer was traced to",
        ),
        html.Label(["contributions against ", _choice(ids.AGAINST, AGAINST, "source", _WIDE)]),
        html.Label(["contributions found ", _choice(ids.HOW, HOWS, "solved", _WIDE)]),
        html.Label(["order ", _choice(ids.SORT, SORTS, "fill", _WIDE)]),
        html.Label(["shown ", _choice(ids.KEEP, KEEPS, "all", _WIDE)], title="which maps are shown"),
        html.Label(
            ["cells ", _choice(ids.CELLS, CELLS, "few", _WIDE)],
            title="the first 12 maps of each set in their order, or all of them with areas in exact proportion",
        ),
        dbc.Checkbox(id=ids.FACES, label="faces", value=True),
    ]
    return html.Details(
        [html.Summary("settings", id=ids.HOW_CELLS), html.Div(choices, className="drop")], className="how"
    )


def _legend() -> html.Div:
    """What the marks of the cells mean, in one line."""
    marks = [
        html.Span(
            [
                html.Span("▄", className="more"),
                " more and ",
                html.Span("▀", className="less"),
                " less active, ",
                html.Span("adv - src", id=ids.LEGEND_PAIR),
            ]
        ),
        html.Span("▬ src's map turns adv back ▸ or ◂ away", title=_TURNING),
        html.Span("⣿ contribution"),
    ]
    return html.Div(marks, className="cell-legend")


def pinned_layer(layer: str, figure: Any, place: int) -> html.Div:
    """The treemap of a pinned layer under its name, at a place of the row."""
    return html.Div(
        [
            html.Div(
                [
                    html.Button(layer, id=ids.pinned_title(layer), className="pinned-title", n_clicks=0, title=layer),
                    html.Button("×", id=ids.unpin(layer), className="unpin", n_clicks=0, title=f"unpin {layer}"),
                ],
                className="slot-head",
            ),
            dcc.Graph(
                id=ids.pinned_treemap(layer), figure=figure, config=graph_config(), style={"height": f"{HEIGHT}px"}
            ),
        ],
        className="slot",
        style={"order": place},
    )


def table(layer: str, columns: Sequence[str], rows: Sequence[Row], total: int, order: tuple[str, bool]) -> list:
    """The first of a layer's maps with their values, under buttons that sort them.

    assets/layer.js marks the row of the shown map. The table is not drawn anew for that, as it would lose the
    keyboard's focus.

    Args:
        layer: the name of the layer.
        columns: the names of the columns.
        rows: the maps that are shown.
        total: the number of all maps of the table.
        order: the column by which the maps are sorted, and whether upwards.
    """
    heads = [_column(name, order[1] if name == order[0] else None) for name in columns]
    body = [html.Tr(_cells(layer, row), **{"data-map": str(row[0])}) for row in rows]  # type: ignore[arg-type]
    count = f"{len(rows)} of {total} maps" if len(rows) < total else f"{total} maps"
    return [
        html.Div(html.Table([html.Thead(html.Tr(heads)), html.Tbody(body)]), className="rows"),
        html.Div(count, className="foot"),
    ]


def _column(name: str, up: bool | None) -> html.Th:
    sorting = {None: "none", True: "ascending", False: "descending"}[up]
    arrow = {None: "", True: " ▲", False: " ▼"}[up]
    button = html.Button(name + arrow, id=ids.table_column(name), n_clicks=0)
    told: dict[str, Any] = {"aria-sort": sorting}
    return html.Th(button, **told)


def _cells(layer: str, row: Row) -> list[html.Td]:
    channel = html.Button(str(row[0]), id=ids.table_row(layer, int(row[0])), n_clicks=0)
    return [html.Td(channel), *(html.Td(_words(value)) for value in row[1:])]


def _words(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def winners(layer: str, found: Sequence[Winner], told: Sequence[Sentence]) -> list:
    """What was traced, in sentences, and a button for each of the strongest contributors."""
    return [html.Span(sentences(told), className="sentence"), *(_winner(layer, w) for w in found)]


def _winner(layer: str, found: Winner) -> html.Button:
    place = "" if found.critical else " · in no datapath"
    words = [html.Span(f"★ {found.channel}: {part_of_all(found.value)}{place}")]
    words += [html.Span(shorten(found.name, NAME_LENGTH), className="quiet")] if found.name else []
    return html.Button(
        [html.Img(src=found.crop, alt=""), html.Span(words, className="winner-words")],
        id=ids.winner(layer, found.channel),
        className="winner",
        title=f"map {found.channel} {found.name}".strip() + ("" if found.critical else _IN_NONE),
        n_clicks=0,
    )


def part_of_all(value: float) -> str:
    """A part of an effect in percent, with one decimal where it is small."""
    return f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"


def _choice(name: str, options: list, value: str, width: str) -> dcc.Dropdown:
    return dcc.Dropdown(options, value, id=name, clearable=False, searchable=False, style={"width": width})
