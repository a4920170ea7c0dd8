"""The table of a layer: the maps of its treemap with their values, sorted by any column, and as CSV."""

from collections.abc import Sequence
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, no_update

from aevis_dash import ids
from aevis_dash.callbacks.layer.contents import Contents, contents, contribution_to, names_of, pair_of, said_of
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import AevisError, short_of
from aevis_dash.figures.cells import together
from aevis_dash.layouts.layer import Row, table
from aevis_dash.workbench import Workbench

CONTRIBUTION, TURNS = "% of the traced effect", "% of the margin turned back"
"""The columns of parts of a whole, in percent: of the effect that was traced to this layer, and of how far the margin
of adv is to go back to that of src."""
ROWS = 200
"""The number of rows that are shown at most. The CSV has all rows."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the table. Nothing is asked for while the table is closed."""

    @app.callback(
        Output(ids.TABLE, "children"),
        Input(ids.TABLE_VIEW, "data"),
        Input(ids.TABLE_ORDER, "data"),
        Input(ids.READY, "data"),
        Input(ids.SOLVED, "data"),
        prevent_initial_call=True,
    )
    def show_table(data, order, _ready, _solved):
        if not data:
            return no_update
        view = checked_view(data, bench)
        columns, rows = table_of(bench, view)
        return table(
            view.layer or "", columns, in_order_of(columns, rows, order)[:ROWS], len(rows), order_of(columns, order)
        )

    app.clientside_callback(
        ClientsideFunction("aevisLayer", "mark"), Input(ids.TABLE, "children"), State(ids.VIEW, "data")
    )

    @app.callback(
        Output(ids.TABLE_ORDER, "data"),
        Input({"type": "table-column", "index": ALL}, "n_clicks"),
        State(ids.TABLE_ORDER, "data"),
        prevent_initial_call=True,
    )
    def sort(_clicks, before):
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not ctx.triggered[0]["value"]:
            return no_update
        return order_after(before, pressed["index"])

    @app.callback(
        Output(ids.CSV_FILE, "data"),
        Input(ids.CSV, "n_clicks"),
        State(ids.TABLE_ORDER, "data"),
        State(ids.LAYER_VIEW, "data"),
        prevent_initial_call=True,
    )
    def save(clicks, order, data):
        view = checked_view(data, bench)
        if not clicks or view.layer is None:
            return no_update
        columns, rows = table_of(bench, view)
        return dcc.send_string(csv_of(columns, in_order_of(columns, rows, order)), f"{view.example}-{view.layer}.csv")


def table_of(bench: Workbench, view: View) -> tuple[tuple[str, ...], list[Row]]:
    """The table's columns and all its rows, in the treemap's order; no rows where there is no layer to show."""
    found = stored_triplet(bench, view)
    if found is None or view.layer is None:
        return ("map",), []
    try:
        traced = contribution_to(bench, found, view.traced, view.way)
        shown = contents(bench, found, view, bench.layers.find(view.layer), traced)
    except AevisError:
        return ("map",), []
    first, second = pair_of(view)
    columns = ("map", "sets", *(short_of(key) for key in shown.members), f"{first.short} - {second.short}")
    columns += (CONTRIBUTION,) if shown.contribution is not None else ()
    columns += (TURNS,) if shown.turning is not None else ()
    names = said_of(names_of(bench, shown.layer, view.example))
    columns += ("name",) if names else ()
    return columns, _rows(bench, shown, names)


def _rows(bench: Workbench, shown: Contents, names: dict[int, str]) -> list[Row]:
    sets = {channel: together(region.paths) for region in shown.regions for channel in region.channels}
    activations = [bench.layers.part(bench.maps.maxima(image), shown.layer.index) for image in shown.members.values()]
    further = [100 * values for values in (shown.contribution, shown.turning) if values is not None]
    columns = [*activations, shown.difference, *further]
    named = (lambda channel: [names.get(channel, "")]) if names else (lambda _: [])
    channels = sorted(sets, key=lambda channel: -shown.order[channel])
    return [[c, sets[c], *(float(values[c]) for values in columns), *named(c)] for c in channels]


def order_of(columns: Sequence[str], order: dict[str, Any] | None) -> tuple[str, bool]:
    """The column by which the table is sorted, and whether upwards; no column where it follows the treemap."""
    return (order["column"], order["up"]) if order and order["column"] in columns else ("", False)


def in_order_of(columns: Sequence[str], rows: list[Row], order: dict[str, Any] | None) -> list[Row]:
    """The rows sorted by a column. Rows that are equal there keep the treemap's order."""
    column, up = order_of(columns, order)
    if not column:
        return rows
    place = list(columns).index(column)
    return sorted(rows, key=lambda row: row[place], reverse=not up)


def order_after(before: dict[str, Any] | None, column: str) -> dict[str, Any]:
    """The order after a click on a column.

    Numbers begin with the largest, words and channels with the smallest. The order is reversed where the table was
    already sorted by that column.
    """
    if before and before["column"] == column:
        return {"column": column, "up": not before["up"]}
    return {"column": column, "up": column in ("map", "sets", "name")}


def csv_of(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """The table as comma-separated values, with a first line of names."""
    import pandas as pd  # loading it takes half a second, and few visitors take the table with them

    return pd.DataFrame(rows, columns=list(columns)).to_csv(index=False, lineterminator="\n", na_rep="nan")
