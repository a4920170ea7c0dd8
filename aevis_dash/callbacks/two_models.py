"""Two models side by side: the dialog that shows the open example in both, and the medians over the compared pairs.

It opens and closes in the browser (assets/beside.js). A pair is compared by a job (`second_job` of
callbacks/background.py).
"""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State, html, no_update

from aevis_dash import ids
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.state import wanted_of
from aevis_dash.config import ExtractionParameters
from aevis_dash.core.evaluation import Estimate
from aevis_dash.domain import AevisError, JudgedExample, Role
from aevis_dash.figures.beside import (
    PROFILES_HEIGHT,
    RIVERS_HEIGHT,
    ShownRiver,
    colours,
    profiles_figure,
    rivers_figure,
)
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import Theme, theme
from aevis_dash.layouts.divergences import legend
from aevis_dash.layouts.two_models import NumberRow, numbers_table
from aevis_dash.pair_profile import PairAsked, PairProfile, distances, stored_triplet
from aevis_dash.pairs_of_two import SharedPair, asked_first, asked_second, shared_pairs
from aevis_dash.same_maps import stored_kinship
from aevis_dash.two_models import LINES, ComparedPair, MedianLine, TwoModels, alike, model_names, of_pairs, stored_pair
from aevis_dash.two_words import common_words, course_words, kinship_words, outcome_words
from aevis_dash.workbench import Workbench

_HIDDEN = {"display": "none"}
_NOT_YET = "not compared yet"
_WITHOUT = "This page is served without a second model. Serve it with `aevis serve A --beside B`."


def register(app: Dash, bench: Workbench, second: Workbench | None) -> None:
    """Add the callbacks of the dialog; `second` is the workbench of the second model, None for none."""
    app.clientside_callback(
        ClientsideFunction("twoModels", "open"),
        Input(ids.TWO_SWITCH, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("twoModels", "closed"),
        Input(ids.TWO, "is_open"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Input(ids.TWO_VIEW, "data"),
        Input(ids.TWO_COMPARED, "data"),
        output={
            "note": Output(ids.TWO_NOTE, "children"),
            "compare": Output(ids.TWO_COMPARE, "style"),
            "rivers": Output(ids.TWO_RIVERS, "figure"),
            "numbers": Output(ids.TWO_NUMBERS, "children"),
            "legend": Output(ids.TWO_LEGEND, "children"),
            "profiles": Output(ids.TWO_PROFILES, "figure"),
            "maps": Output(ids.TWO_MAPS, "children"),
        },
        prevent_initial_call=True,
    )
    def show_two_models(data, _compared):
        return draw(bench, second, data) if data else no_update


def draw(bench: Workbench, second: Workbench | None, data: dict[str, Any]) -> dict[str, Any]:
    """What the dialog shows of a view.

    Args:
        bench: the workbench of the workspace.
        second: that of the second model; None for none.
        data: the part of the view that the dialog is drawn from.
    """
    shade = theme(data.get("theme") == "dark")
    if second is None:
        return _nothing(_WITHOUT, shade)
    view = checked_view(data, bench)
    wanted = wanted_of(view, bench.workspace.settings.extraction)
    try:
        shared = shared_pairs(bench, second)
    except AevisError as error:
        return _nothing(str(error), shade)
    kin = stored_kinship(bench, second)
    if view.example not in shared:
        return _nothing(_why_not_shared(bench, second, view.example), shade)
    pair = shared[view.example]
    shown = stored_pair(bench, second, pair, wanted)
    compared = [found for one in shared.values() if (found := stored_pair(bench, second, one, wanted)) is not None]
    found = of_pairs(bench, second, compared, kin) if kin is not None and compared else None
    rivers = _rivers(bench, second, pair, shown, wanted)
    profiles = notice("Profiles are drawn of the pairs that were compared.", shade, PROFILES_HEIGHT)
    table, named, maps = [], [], []
    if found is not None:
        profiles, table = profiles_figure(found, shade, shown), numbers(found, shown)
        thick = "thick: this pair, faint: the median of the compared pairs" if shown else "the median of the pairs"
        named = [*legend(list(zip(found.models, colours(shade), strict=True))), html.Span(thick)]
        maps = _sentences([*kinship_words(found), *(common_words(found, shown) if shown is not None else [])])
    return {
        "note": _note(bench, second, pair, shown, len(compared), len(shared)),
        "compare": {} if shown is None or kin is None else _HIDDEN,
        "rivers": rivers_figure(rivers, alike(bench.layers, second.layers), shade),
        "numbers": table,
        "legend": named,
        "profiles": profiles,
        "maps": maps,
    }


def numbers(found: TwoModels, shown: ComparedPair | None) -> html.Table:
    """The table of numbers of one pair and over all compared pairs."""
    return numbers_table(found.models, len(found.pairs), [_row(line, shown) for line in found.lines])


def _nothing(text: str, shade: Theme) -> dict[str, Any]:
    empty = go.Figure(notice("", shade, PROFILES_HEIGHT))
    rivers = notice("There is nothing to compare.", shade, RIVERS_HEIGHT)
    none = {"numbers": [], "legend": [], "maps": []}
    return {"note": text, "compare": _HIDDEN, "rivers": rivers, "profiles": empty, **none}


def _why_not_shared(bench: Workbench, second: Workbench, example: str | None) -> str:
    if example is None:
        return "Choose an example first."
    one, other = model_names(bench, second)
    judged = bench.judging.judged_examples(among=[bench.workspace.example(example)])[0]
    if not judged.misclassified:
        return f"The adversarial of this example does not fool {one}, so it is not compared."
    return f"{other} does not have this pair: none of its examples has a source and an adversarial of the same bytes."


def _note(
    bench: Workbench, second: Workbench, pair: SharedPair, shown: ComparedPair | None, compared: int, shared: int
) -> list:
    """What the models make of the pair, where adv leaves and joins in both, and what is still to be compared."""
    benches, judged = (bench, second), (pair.first, pair.second)
    names = model_names(bench, second)
    said = [
        f"{name} sees {outcome_words(one, of).replace('->', '→')}, margin {of.margin}."
        for name, one, of in zip(names, benches, judged, strict=True)
    ]
    if shown is None:
        said.append("This pair is not compared yet. Both models' datapaths are extracted for it where they are not.")
    else:
        profiles = (shown.first, shown.second)
        said += [course_words(n, one.layers, of) for n, one, of in zip(names, benches, profiles, strict=True) if of]
    folders = " ".join(str(one.workspace.root) for one in benches)
    said.append(f"{compared} of {shared} shared pairs are compared; `aevis beside {folders}` compares many at once.")
    return _sentences(said)


def _sentences(said: Sequence[str]) -> list:
    return [html.Span(f"{sentence} ") for sentence in said]


def _rivers(
    bench: Workbench, second: Workbench, pair: SharedPair, shown: ComparedPair | None, wanted: ExtractionParameters
) -> list[ShownRiver]:
    profiles = (None, None) if shown is None else (shown.first, shown.second)
    one, other = model_names(bench, second)
    first = _river(one, bench, asked_first(pair, wanted), pair.first, profiles[0])
    if profiles[0] is None:
        return [first, ShownRiver(other, second.layers, None, {}, note=_NOT_YET)]
    asked = asked_second(bench, second, pair, wanted, profiles[0].target)
    return [first, _river(other, second, asked, pair.second, profiles[1])]


def _river(
    name: str, bench: Workbench, asked: PairAsked, judged: JudgedExample, profile: PairProfile | None
) -> ShownRiver:
    try:
        triplet = stored_triplet(bench, asked)
    except AevisError as error:
        return ShownRiver(name, bench.layers, None, {}, note=str(error))
    if triplet is None:
        return ShownRiver(name, bench.layers, None, {}, note=_NOT_YET)
    labels = {
        Role.SOURCE: judged.source.label,
        Role.ADVERSARIAL: judged.adversarial.label,
        Role.TARGET: triplet.plan.adversarial_label,
    }
    classes = {role: bench.class_names[label] for role, label in labels.items()}
    places = (-1, len(bench.layers)) if profile is None else (profile.leaves, profile.joins)
    return ShownRiver(name, bench.layers, distances(bench, triplet), classes, *places)


def _row(line: MedianLine, shown: ComparedPair | None) -> NumberRow:
    of = LINES[line.name]
    sides = [] if shown is None else [(shown.pair.first, shown.first), (shown.pair.second, shown.second)]
    pair = [_said(float("nan") if profile is None else of(judged, profile)) for judged, profile in sides]
    estimates = (line.first, line.second, line.difference)
    return NumberRow(
        line.name,
        (pair[0], pair[1]) if pair else ("–", "–"),
        (_said(line.first.mean), _said(line.second.mean), _said(line.difference.mean)),
        (_exact(estimates[0]), _exact(estimates[1]), _exact(estimates[2])),
    )


def _said(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _exact(estimate: Estimate) -> str:
    return f"95 % interval {_said(estimate.low)} to {_said(estimate.high)}, of {estimate.n} pairs"
