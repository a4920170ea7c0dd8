"""Clicks on the network that need the server: for the layer, for open groups, and for the datapaths that are
compared."""

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.network.river import groups_of, placed_of
from aevis_dash.callbacks.network.search import found
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.opening import at_layer, settle
from aevis_dash.callbacks.view.state import View, changes, without_own
from aevis_dash.domain import DATAPATHS, Role
from aevis_dash.geometry.dag import Columns, Group
from aevis_dash.geometry.focus import toggle
from aevis_dash.workbench import Triplet, Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that change the network's part of the view."""
    own = bench.workspace.settings.extraction

    @app.callback(
        Output(ids.FIND, "options"),
        Input(ids.FIND, "search_value"),
        Input(ids.FIND, "value"),
        Input(ids.FACES_READY, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def look_for(typed, chosen, _ready, data):
        """Offer what has the words that are typed so far, with names that were learned meanwhile.

        What is chosen stays among the options until it is shown (`go` then takes it away): Dash would take it away
        itself, and drop the answer that shows it.
        """
        return found(bench, typed or "", checked_view(data, bench).example) if chosen is None else no_update

    @app.callback(
        Input(ids.RIVER_ASKED, "data"),
        Input(ids.FIND, "value"),
        State(ids.VIEW, "data"),
        output={
            "changes": Output(ids.CHANGES, "data", allow_duplicate=True),
            "found": Output(ids.FIND, "value"),
            "answered": Output(ids.RIVER_ANSWERED, "data"),
        },
        prevent_initial_call=True,
    )
    def go(key, name, data):
        """Follow a key, a click on a layer while an area is chosen, or a found name. The browser handles all other
        clicks."""
        view, by = checked_view(data, bench), str(ctx.triggered_id)
        triplet = stored_triplet(bench, view)
        keyed = by == ids.RIVER_ASKED
        answer = {"found": None, "answered": key["at"] if key and keyed else no_update}
        if triplet is None or not ctx.triggered[0]["value"]:
            return {"changes": no_update, **answer}
        return {"changes": changes(view, follow(bench, triplet, view, by, key if keyed else name)), **answer}

    app.clientside_callback(ClientsideFunction("network", "answered"), Input(ids.RIVER_ANSWERED, "data"))

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.TARGET, "value"),
        Input(ids.BESIDE, "value"),
        Input(ids.METHOD, "value"),
        Input(ids.SHARE, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def choose(target, beside, method, share, data):
        """Show other datapaths. Only the workbench knows what may follow from them, such as another layer."""
        view = checked_view(data, bench)
        changed = view.edit(method=method, share=float(share))
        if target != view.target and target in targets_of(bench, view):  # its own request may have been dropped
            changed = changed.edit(target=target, compared=())
        if ctx.triggered_id == ids.BESIDE and beside:
            changed = changed.edit(compared=compared_in(stored_triplet(bench, view), beside))
        changed = without_own(changed, own)
        return changes(view, settle(bench, changed)) if changed != view else no_update


def targets_of(bench: Workbench, view: View) -> tuple[str, ...]:
    """The file names of the images that may be the view's target; none where the datapaths are not stored."""
    triplet = stored_triplet(bench, view)
    return tuple(triplet.plan.candidates) if triplet is not None else ()


def follow(bench: Workbench, triplet: Triplet, view: View, by: str, what: Any) -> View:
    """The view after a key or a click on the river, or after something was found by the search.

    Args:
        bench: the workbench of the workspace.
        triplet: the view's datapaths.
        view: the view before.
        by: the ID of the component; ids.FIND for the search.
        what: the option that was found, LAYER or LAYER:CHANNEL; else the key or click, as assets/network.js sends it.
    """
    tree, placed = groups_of(bench), placed_of(bench, triplet, view)
    if by == ids.FIND:
        name, _, channel = what.partition(":")
        return at_layer(bench, view, bench.layers.find(name).index, int(channel) if channel else None)
    group, layer = _keyed(bench, view, placed, what)
    if group:
        known = next((g for g in tree if g.name == group), None)
        return view.edit(folds=toggle(view.folds, known, placed.closed)) if known is not None else view
    return view if layer is None else at_layer(bench, view, layer)


def _keyed(bench: Workbench, view: View, placed: Columns, key: dict[str, Any]) -> tuple[str, int | None]:
    """The name of the group that a key toggles, "" for none, and the layer that it leads to, None for none.

    A key leads some columns on ("step"), to a "layer" by name, or else to the group around the shown layer.
    """
    if "layer" in key:
        return "", bench.layers.find(key["layer"]).index
    here = bench.layers.find(view.layer).index if view.layer else 0
    column = int(placed.of_layer[here])
    if "step" in key:
        there = min(max(column + int(key["step"]), 0), len(placed.columns) - 1)
        return "", placed.columns[there].first
    return placed.columns[column].group or innermost(placed, here), None


def innermost(placed: Columns, layer: int) -> str:
    """The name of the smallest group that is shown around a layer; "" where there is none."""
    around: list[Group] = [g for g in placed.groups if g.holds(layer, layer)]
    return min(around, key=lambda g: g.size).name if around else ""


def compared_in(triplet: Triplet | None, chosen: list[str]) -> tuple[str, ...]:
    """The images to compare with, as many as are possible; () where they are the triplet's own, or there is no
    triplet."""
    if triplet is None or set(chosen) == {triplet.image(Role.SOURCE), triplet.image(Role.TARGET)}:
        return ()
    return tuple(chosen[: DATAPATHS - 1])
