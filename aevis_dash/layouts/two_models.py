"""The view of two models side by side, a dialog as large as the window: the rivers of the open example, numbers, and
layer profiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import dash_bootstrap_components as dbc
from dash import dcc, html

from aevis_dash import ids
from aevis_dash.domain import so_many
from aevis_dash.figures.beside import PROFILES_HEIGHT, RIVERS_HEIGHT
from aevis_dash.layouts.graph import waiting_graph


@dataclass(frozen=True)
class NumberRow:
    """A line of the table of numbers, in words: what it is; of this pair, both models; the medians of both models and
    of the difference; and the intervals of these three with the numbers of pairs."""

    name: str
    pair: tuple[str, str]
    medians: tuple[str, str, str]
    exact: tuple[str, str, str]


def two_models_button(second: str) -> dbc.Button:
    """The button in the bar on top that opens the dialog; it is hidden where the page has no second model."""
    return dbc.Button(
        f"Beside {second} …",
        id=ids.TWO_SWITCH,
        n_clicks=0,
        size="sm",
        color="secondary",
        outline=True,
        title="This model and that of another workspace side by side, on the same pairs",
        className="two-button",
        style={} if second else {"display": "none"},
    )


def two_models_dialog(second: str) -> html.Div:
    """The dialog, and the stores that it is drawn from."""
    title = dbc.ModalTitle(f"Beside {second}" if second else "Beside another model", id=ids.TWO_TITLE)
    compare = dbc.Button(
        "Compare this pair", id=ids.TWO_COMPARE, n_clicks=0, size="sm", color="primary", style={"display": "none"}
    )
    rivers = _picture(waiting_graph(ids.TWO_RIVERS, RIVERS_HEIGHT), "the rivers of the open example in both models")
    profiles = _picture(waiting_graph(ids.TWO_PROFILES, PROFILES_HEIGHT), "profiles of both models over their layers")
    body = [
        html.Div([html.Div(id=ids.TWO_NOTE, role="status"), compare], className="two-head"),
        html.Div([rivers, html.Div(id=ids.TWO_NUMBERS)], className="two-upper"),
        html.Div(id=ids.TWO_LEGEND, className="legend two-legend"),
        profiles,
        html.Div(id=ids.TWO_MAPS, className="quiet"),
    ]
    dialog = dbc.Modal(
        [dbc.ModalHeader(title), dbc.ModalBody(body)],
        id=ids.TWO,
        is_open=False,
        labelledby=ids.TWO_TITLE,
        class_name="whole-set two-models",
        scrollable=True,
    )
    return html.Div([dialog, dcc.Store(id=ids.TWO_VIEW), dcc.Store(id=ids.TWO_COMPARED)])


def numbers_table(models: tuple[str, str], pairs: int, rows: Sequence[NumberRow]) -> html.Table:
    """The numbers of the open pair, and the medians over the pairs that were compared."""
    over = [html.Td(), html.Th("this pair", colSpan=2, scope="colgroup")]
    over += [html.Th(f"median of {so_many(pairs, 'pair')}", colSpan=3, scope="colgroup")]
    head = [html.Td(), *(html.Th(name, scope="col") for name in (*models, *models)), html.Th("difference", scope="col")]
    body = [
        html.Tr(
            [
                html.Th(row.name, scope="row"),
                *(html.Td(cell) for cell in row.pair),
                *(html.Td(cell, title=exact) for cell, exact in zip(row.medians, row.exact, strict=True)),
            ]
        )
        for row in rows
    ]
    return html.Table([html.Thead([html.Tr(over), html.Tr(head)]), html.Tbody(body)], className="two-numbers")


def _picture(graph: dcc.Graph, words: str) -> html.Div:
    """A graph with a name for those who do not see it."""
    return html.Div(graph, role="group", **{"aria-label": words})  # type: ignore[arg-type]
