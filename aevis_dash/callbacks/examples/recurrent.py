"""All examples at once: which class is taken for which, and which maps recur. A click narrows the gallery or shows a
map (assets/divergences.js)."""

import math
from collections.abc import Sequence
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, no_update

from aevis_dash import divergences, ids, recurrence
from aevis_dash.callbacks.view import received
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.state import View, wanted_of
from aevis_dash.config import ExtractionParameters
from aevis_dash.divergences import Confusions
from aevis_dash.domain import AevisError, so_many
from aevis_dash.figures.confusions import OTHERS, confusion_figure
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.layouts.divergences import RecurrentList, RecurrentRow, recurrent_list
from aevis_dash.recurrence import ClassPair, RecurrentMap, RecurrentMaps, Recurring
from aevis_dash.workbench import Workbench

HEIGHT = 150


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the classes and of the maps that recur."""

    @app.callback(
        Input(ids.DIVERGENCES_ASKED, "data"),
        output={
            "figure": Output(ids.CONFUSIONS, "figure"),
            "size": Output(ids.CONFUSIONS, "style"),
            "note": Output(ids.CONFUSIONS_NOTE, "children"),
        },
        prevent_initial_call=True,
    )
    def show_confusions(asked):
        shade = theme(asked["theme"] == "dark")
        examples = divergences.misclassified(bench)
        if not examples:
            figure = notice("No example is misclassified.", shade, HEIGHT)
            return {"figure": figure, "size": {"height": f"{HEIGHT}px"}, "note": ""}
        found = divergences.confusions(divergences.class_pairs(bench, examples))
        rows, columns = (_names(bench, labels) for labels in (found.sources, found.taken_for))
        labels = [[None if n == divergences.REST else n for n in side] for side in (found.sources, found.taken_for)]
        figure = confusion_figure(rows, columns, found.counts, labels, shade)
        size = {"height": f"{figure.layout['height']}px", "width": f"{figure.layout['width']}px"}
        return {"figure": figure, "size": size, "note": confusions_note(found)}

    @app.callback(
        Input(ids.RECURRENT_VIEW, "data"),
        output={"lists": Output(ids.RECURRENT, "children"), "note": Output(ids.RECURRENT_NOTE, "children")},
        prevent_initial_call=True,
    )
    def show_recurrent(data):
        if not data:
            return no_update
        view = checked_view(data, bench)
        wanted = wanted_of(view, bench.workspace.settings.extraction)
        found = recurrence.recurring(bench, divergences.misclassified(bench), wanted)
        return {"lists": recurrent_lists(found, view), "note": recurrent_note(found, wanted)}

    app.clientside_callback(
        ClientsideFunction("wholeSet", "choose"),
        Output(ids.CLASS_FROM, "value"),
        Output(ids.CLASS_TO, "value"),
        Output(ids.ONLY_MISCLASSIFIED, "value"),
        Output(ids.PICKED, "data", allow_duplicate=True),
        Input(ids.CONFUSED, "data"),
        State(ids.RANGE, "min"),
        State(ids.RANGE, "max"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )


def confusions_note(found: Confusions) -> str:
    """What the matrix of classes counts, and what stands together in it."""
    count = so_many(int(found.counts.sum()), "misclassified example")
    sides = (("source classes", found.more[0]), ("classes taken for", found.more[1]))
    together = [f"{more} rarer {name}" for name, more in sides if more]
    others = f" {' and '.join(together)} stand together as {OTHERS}." if together else ""
    return f"{count}.{others} Click a cell to list its examples, of all scores and margins."


def recurrent_note(found: Recurring, wanted: ExtractionParameters) -> str:
    """Of which examples the maps are, and what a map of these lists means."""
    size = f"{wanted.share:.1%} of each layer" if wanted.share else "fewest maps"
    said = recurrence.how_many(found, f"{wanted.method}, {size}")
    if len(found.examples) < 2:
        return f"{said} Maps recur from two examples on: open more, or store many with the command aevis extract."
    beside = "" if found.beside == len(found.examples) else f" (known for {found.beside} of them)"
    return (
        f"{said} Gained: critical to adv and not to src; lost: the other way round. Bold: more than chance. A map that "
        f"other images{beside} would gain or lose as often says little of the attack. • : in the shown example too."
    )


def recurrent_lists(found: Recurring, view: View) -> list:
    """The lists of gained and of lost maps; none where nothing can recur."""
    count = len(found.examples)
    sides = (found.gained, found.lost) if count > 1 else ()
    return [recurrent_list(_list(side, count, view.example)) for side in sides]


def picked_examples(bench: Workbench, picked: dict[str, Any]) -> set[str] | None:
    """The IDs of the examples in which a map was picked that is gained or lost.

    Args:
        bench: the workbench of the workspace.
        picked: the `layer`, the `map` and the `side`, and the `method` and `share` of the datapaths, as
            assets/divergences.js puts them together.

    Returns:
        None where nothing fits, as where the examples have changed since.

    Raises:
        AevisError: for values that the page never makes.
    """
    view = View(method=_text(picked, "method"), share=_share(picked))
    wanted = wanted_of(view, bench.workspace.settings.extraction)
    layer, side = received.text(picked.get("layer"), "layer"), received.text(picked.get("side"), "side")
    if side not in recurrence.SIDES:
        raise AevisError(f"A map is never {side!r}. It is one of: {', '.join(recurrence.SIDES)}.")
    channel = received.number(picked.get("map"), "map")
    return set(recurrence.examples_with(bench, divergences.misclassified(bench), wanted, side, layer, channel)) or None


def picked_words(picked: dict[str, Any]) -> str:
    """What the examples that were picked by a map have in common."""
    return f"map {picked['map']} of {picked['layer']} is {picked['side']}"


def _text(picked: dict[str, Any], name: str) -> str | None:
    return None if picked.get(name) is None else received.text(picked[name], name)


def _share(picked: dict[str, Any]) -> float | None:
    return None if picked.get("share") is None else received.share(picked["share"], "share")


def _names(bench: Workbench, labels: Sequence[int]) -> list[str]:
    return [OTHERS if label == divergences.REST else bench.class_names[label] for label in labels]


def _list(found: RecurrentMaps, count: int, shown: str | None) -> RecurrentList:
    more = found.recurring - len(found.maps)
    said = f"{recurrence.verdict(found, count)} {more} more recur." if more else recurrence.verdict(found, count)
    return RecurrentList(found.side, said, count, [_row(each, shown) for each in found.maps])


def _row(each: RecurrentMap, shown: str | None) -> RecurrentRow:
    numbers = (f"{value:.1f}" if math.isfinite(value) else "–" for value in (each.chance, each.others))
    chance, others = numbers
    every = "; ".join(map(_pair, each.pairs))
    first = f"{_pair(each.pairs[0])}, …" if each.pairs[0].examples > 1 else f"{len(each.pairs)} different pairs"
    named = first if len(each.pairs) > 1 else every
    here = shown in each.examples
    return RecurrentRow(each.layer, each.map, len(each.examples), chance, others, each.beyond, (named, every), here)


def _pair(pair: ClassPair) -> str:
    return f"{pair.source} → {pair.adversarial} ×{pair.examples}"
