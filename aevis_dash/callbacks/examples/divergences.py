"""All examples at once: where adversarials leave their sources, and to what a click there narrows the gallery.

The clicks themselves are handled in the browser (assets/divergences.js).
"""

from typing import Any

import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State

from aevis_dash import divergences, ids
from aevis_dash.callbacks.examples.recurrent import picked_examples, picked_words
from aevis_dash.domain import so_many
from aevis_dash.figures.divergences import HEIGHT, colours_of, divergence_figure, largest
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.geometry.dag import Group, groups
from aevis_dash.layouts.divergences import Culprit, culprits, legend
from aevis_dash.workbench import Workbench

SHOWN = 12
"""The number of culprits that are shown at most."""
_HIDDEN = {"display": "none"}


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the view of all examples."""

    app.clientside_callback(
        ClientsideFunction("wholeSet", "open"),
        Output(ids.WHOLE_SET, "is_open"),
        Input(ids.DIVERGENCES_SWITCH, "n_clicks"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("wholeSet", "asked"),
        Output(ids.DIVERGENCES_ASKED, "data"),
        Input(ids.WHOLE_SET, "is_open"),
        Input(ids.BAND, "value"),
        Input(ids.BY, "value"),
        Input(ids.PICKED, "data"),
        Input(ids.COMPARED, "data"),
        Input(ids.EXAMPLES, "data"),
        Input(ids.THEME, "data"),
    )

    @app.callback(
        Input(ids.DIVERGENCES_ASKED, "data"),
        output={
            "figure": Output(ids.DIVERGENCES, "figure"),
            "height": Output(ids.DIVERGENCES, "style"),
            "note": Output(ids.DIVERGENCES_NOTE, "children"),
            "legend": Output(ids.LEGEND, "children"),
            "culprits": Output(ids.CULPRITS, "children"),
            "compare": Output(ids.COMPARE, "style"),
        },
        prevent_initial_call=True,
    )
    def show_divergences(asked):
        band, by, picked = asked["band"], asked["by"], asked["picked"]
        stored, shade = divergences.stored_listing(bench), theme(asked["theme"] == "dark")
        if stored is None:
            figure = notice("Not compared yet.", shade, HEIGHT)
            height = {"height": f"{HEIGHT}px"}
            return {"figure": figure, "height": height, "note": _COST, "legend": [], "culprits": [], "compare": {}}
        counted = divergences.by_layer(bench, stored.rows, band, by)
        names = list(counted[0]["pairs"])
        counts = np.array([[row["pairs"][name] for row in counted] for name in names], int).reshape(-1, len(counted))
        layers, innocent = [row["layer"] for row in counted], np.array([row["innocent"] for row in counted])
        chosen, stages = _chosen(picked, by), stages_of(bench)
        figure = divergence_figure(layers, names, counts, innocent, chosen, shade, stages)
        named = recurring_culprits(stored.rows, band)
        named_groups = zip(largest(names, counts)[0], colours_of(shade), strict=False)
        return {
            "figure": figure,
            "height": {"height": f"{figure.layout['height']}px"},
            "note": _note(stored.rows, band, named),
            "legend": legend(list(named_groups)),
            "culprits": culprits(named),
            "compare": _HIDDEN,
        }

    app.clientside_callback(
        ClientsideFunction("wholeSet", "widen"),
        Output(ids.PICKED, "data"),
        Input(ids.UNPICK, "n_clicks"),
        Input(ids.BAND, "value"),
        Input(ids.BY, "value"),
        State(ids.PICKED, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Input(ids.PICKED, "data"),
        Input(ids.COMPARED, "data"),
        Input(ids.EXAMPLES, "data"),
        output={"text": Output(ids.PICKED_TEXT, "children"), "line": Output(ids.PICKED_LINE, "style")},
    )
    def say_what_is_picked(picked, _compared, _examples):
        """Say what is picked. This is said anew when the examples change, as they may no longer be those that were
        compared."""
        if not picked:
            return {"text": "", "line": _HIDDEN}
        known = narrow(bench, picked) is not None
        return {"text": _words(picked) if known else "the examples changed: compare all pairs again", "line": {}}


def recurring_culprits(listed: list[dict[str, Any]], band: str) -> list[Culprit]:
    """The maps that two pairs or more name as culprits, the most frequent first; SHOWN at most.

    Args:
        listed: rows of `divergences.rows`.
        band: one of `core.divergence.BANDS`.
    """
    return [Culprit(*pair) for pair in divergences.culprits(listed, band)[:SHOWN] if pair[1] > 1]


def stages_of(bench: Workbench) -> list[Group]:
    """The outermost groups of the network's layers."""
    return [group for group in groups(bench.layers) if group.level == 0]


def narrow(bench: Workbench, picked: dict[str, Any] | None) -> set[str] | None:
    """The IDs of the examples that were picked in the view of all examples; None where nothing was picked or is
    stored."""
    if picked and "side" in picked:
        return picked_examples(bench, picked)
    stored = divergences.stored_listing(bench) if picked else None
    return set(divergences.those(stored.rows, **picked)) if stored is not None and picked else None


_COST = "Compares every misclassified pair by its activations: a few forward runs each, kept for the next time."


def _note(listed: list[dict[str, Any]], band: str, named: list[Culprit]) -> str:
    without = divergences.without_band(listed, band)
    missing = f", {without} without another image of the class" if without else ""
    recurring = " Maps that recur where they leave:" if named else ""
    innocent = "Dotted: as many innocent pictures, each against the others."
    return (
        f"{so_many(len(listed), 'pair')}{missing}, by the layer where they leave. {innocent} Click a bar to list them."
        f"{recurring}"
    )


def _chosen(picked: dict[str, Any] | None, by: str) -> tuple[str, str] | None:
    if not picked or "layer" not in picked:
        return None
    return picked["layer"], picked["group"] if picked["by"] == by else ""


def _words(picked: dict[str, Any]) -> str:
    if "side" in picked:
        return picked_words(picked)
    if "culprit" in picked:
        return f"differ most in map {picked['culprit']}"
    where = "never leave" if picked["layer"] == divergences.NEVER else f"leave at {picked['layer']}"
    return f"{where} · {picked['by']} {picked['group']}" if picked["group"] else where
