"""The station of the layer: its treemap of critical maps, with contributions where the layer was traced to."""

import json
from dataclasses import asdict
from typing import Any

from dash import Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.layer.contents import (
    Contents,
    contents,
    contribution_to,
    drawing,
    more_than_all,
    names_of,
    strongest,
)
from aevis_dash.callbacks.layer.pinned import height_of, pinned_ones, width_of
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View, changes
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Step
from aevis_dash.domain import AevisError, Contribution, FeatureMap, Role
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.layouts.layer import Winner, winners
from aevis_dash.layouts.sentences import Sentence
from aevis_dash.workbench import Triplet, Workbench

_WAYS = {"solved": "the solver", "quadratic": "the quadratic approximation", "exact": "closing each map alone"}
"""The words for the ways of finding contributions."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that draw the shown layer."""

    @app.callback(
        output={
            "figure": Output(ids.TREEMAP, "figure"),
            "title": Output(ids.LAYER_TITLE, "children"),
            "winners": Output(ids.WINNERS, "children"),
            "wanted": Output(ids.SOLVE, "data"),
            "asked": Output(ids.ASKED, "data"),
            "pinned": Output(ids.PINNED, "children"),
            "place": Output(ids.SHOWN, "style"),
            "name": Output(ids.SHOWN_NAME, "children"),
            "sources": Output(ids.SOURCE_LAYER, "options"),
            "source": Output(ids.SOURCE_LAYER, "value"),
            "fields": Output(ids.FIELDS, "data"),
            "best": Output(ids.CHANGES, "data", allow_duplicate=True),
        },
        inputs={
            "data": Input(ids.LAYER_VIEW, "data"),
            "_ready": Input(ids.READY, "data"),
            "solved": Input(ids.SOLVED, "data"),
            "_faces": Input(ids.FACES_READY, "data"),
            "_edges": Input(ids.EDGES_FOUND, "data"),
        },
        state={
            "before": State(ids.ASKED, "data"),
            "known": State(ids.SOURCE_LAYER, "options"),
            "whole": State(ids.VIEW, "data"),
        },
        prevent_initial_call=True,
    )
    def show_layer(data, _ready, solved, _faces, _edges, before, known, whole):
        """Draw the shown layer. The browser itself moves the frames of chosen maps, and asks nothing for that."""
        view, colours = checked_view(data, bench), theme((data or {}).get("theme") == "dark")
        found = stored_triplet(bench, view)

        def instead(text: str) -> dict[str, Any]:
            """The values of the outputs where a text stands in the treemap's place."""
            figure = notice(text, colours, height_of(data))
            none = dict.fromkeys(("wanted", "asked", "best"), no_update)
            return {"figure": figure, "title": "", "winners": [], **none}

        if found is None or view.layer is None:
            text = "No datapaths yet." if found is None else "Click a layer of the river to see its feature maps."
            none = {"sources": [], "source": None, "fields": None}
            return instead(text) | pinned_ones(bench, None, view, data) | none
        others = pinned_ones(bench, found, view, data) | sources_of(bench, view.layer, known)
        others["fields"] = fields(bench, view.layer)
        try:
            traced = contribution_to(bench, found, view.traced, view.way)
            shown = contents(bench, found, view, bench.layers.find(view.layer), traced)
        except AevisError as error:
            return instead(str(error)) | others
        named, framed = strongest(shown.contribution), checked_view(whole, bench)
        size = (width_of(data, view), height_of(data))
        figure = drawing(bench, shown, view, colours, size, framed.map, named, framed.maps)
        # assets/layer.js takes clicks only on the figure of this layer.
        figure["layout"]["meta"] |= {"example": view.example, "layer": view.layer}
        ended = any(by["prop_id"] == f"{ids.SOLVED}.data" for by in ctx.triggered)
        state = asked_for(view, traced, before, solved, ended and "failed" in (solved or {}))
        return {
            "figure": figure,
            "title": _title(shown),
            "winners": traced_winners(bench, found, view, traced, shown, state["waiting"]),
            "wanted": state["what"] if state["anew"] else no_update,
            "asked": state,
            "best": with_winner(view, framed, named),
            **others,
        }


def with_winner(view: View, whole: View, named: list[int]) -> Any:
    """The change of the view that shows the strongest contributor, where a layer was traced to and no map is shown.

    Args:
        view: the view that the layer is drawn from.
        whole: the view with its map.
        named: the channels of the strongest contributors, the strongest first.
    """
    if not named or whole.map is not None or whole.traced is None or whole.layer != view.layer:
        return no_update
    return changes(whole, whole.edit(map=named[0]))


def sources_of(bench: Workbench, layer: str, known: Any) -> dict[str, Any]:
    """The layers that a map of this layer can be traced to, as `sources`, and the nearest of them as the `source`.

    Neither changes where the page knows these sources already, because another source may have been chosen among them.
    """
    names = [bench.layers.layers[i].name for i in bench.contributions.sources(bench.layers.find(layer).index)]
    if names == known:
        return {"sources": no_update, "source": no_update}
    return {"sources": names, "source": names[0] if names else None}


def fields(bench: Workbench, name: str) -> dict[str, Any]:
    """The receptive fields of a layer's neurons for the page: pixels by rows and by columns, and the input's size."""
    rows, across = bench.maps.receptive_fields(bench.layers.find(name).index)
    size = bench.workspace.settings.preprocessing.input_size
    return {"layer": name, "rows": rows.tolist(), "columns": across.tolist(), "size": list(size)}


def _title(shown: Contents) -> str:
    layer = shown.layer
    return (
        f"{layer.name} · {int(shown.critical.sum())} of {layer.channels} maps are critical · "
        f"{layer.neurons_in_words} each"
    )


def asked_for(
    view: View, traced: Contribution | None, before: dict | None, solved: dict | None, cancelled: bool
) -> dict[str, Any]:
    """Whether a job is to be asked for the view's contributions. It is asked for once, until another way is chosen.

    Args:
        view: the view.
        traced: the contributions that are known so far.
        before: what this function gave last.
        solved: what a job ended with.
        cancelled: whether the job was cancelled or has failed, after which it is not asked for again.

    Returns:
        `what` is missing, None for nothing; whether its job was `cancelled`; whether the page is `waiting` for it; and
        whether the job is to be asked for `anew`.
    """
    missing = traced is not None and traced.way != view.way
    what = json.loads(json.dumps(contributions_of(view))) if missing else None
    last = before or {"what": None, "cancelled": False}
    known = last["what"] == what
    cancelled = what is not None and (cancelled or (known and last["cancelled"]))
    waiting = what is not None and not cancelled and what != solved
    return {"what": what, "cancelled": cancelled, "waiting": waiting, "anew": waiting and not known}


def contributions_of(view: View) -> dict[str, Any]:
    """The question of a job: the contributions, on all images at once, that the view's step and its way of finding
    name."""
    step = asdict(view.traced) if view.traced is not None else {}
    named = {"example": view.example, "target": view.target, "method": view.method, "share": view.share}
    return named | {"how": view.how, "against": view.against, "step": step | {"note": "", "parent": -1, "on": ""}}


def traced_winners(
    bench: Workbench, found: Triplet, view: View, traced: Contribution | None, shown: Contents, waiting: bool
) -> list:
    """What was traced, on which image, and the strongest contributors, as parts of the page."""
    step, values = view.traced, shown.contribution
    if traced is None or step is None or values is None:
        return []
    role = Role(view.cause)
    other = Role.ADVERSARIAL if role is Role.SOURCE else Role.SOURCE
    label, rival = (bench.class_names[found.path(r).label] for r in (role, other))
    row, effect = tuple(Role).index(role), _effect(step, label, rival if traced.foil == "source" else "")
    foil = foil_in_words(traced, role)
    if traced.change[row] == 0:
        return winners(step.source, [], [_nothing(traced, step.source, effect, role, foil)])
    named, how = strongest(values), _how(traced, row, view.how if waiting else None)
    if not named:
        nothing = f"No map of {step.source} speaks for {effect} on the {role} image."
        if traced.is_of_difference:
            nothing = f"No map of {step.source} makes {effect} on the {role} image differ from {foil}."
        return winners(step.source, [], [Sentence(nothing), *how])
    names = names_of(bench, shown.layer, view.example)
    strong = [
        Winner(
            c,
            float(values[c]),
            pictures.first_crop(bench, FeatureMap(shown.layer.index, c), view.example),
            bool(shown.critical[c]),
            names.brief(c),
        )
        for c in named
    ]
    more = more_than_all(values[named])
    words = f"These maps of {step.source} contribute most to {effect} on the {role} image{more}."
    if traced.is_of_difference:
        words = (
            f"Of the maps of {step.source} these contribute most to how {effect} on the {role} image differs from "
            f"{foil}{more}."
        )
    return winners(step.source, strong, [Sentence(words), *how])


def foil_in_words(traced: Contribution, role: Role) -> str:
    """What the maps were moved towards, as the page says it; "" for silence."""
    if traced.foil == "zero":
        return ""
    if traced.foil == "mean":
        return "the mean over images of third classes"
    return "the adversarial image" if role is Role.SOURCE else "the source image"


def _nothing(traced: Contribution, source: str, effect: str, role: Role, foil: str) -> Sentence:
    """Says that there is nothing to explain."""
    if not traced.is_of_difference:
        return Sentence(f"The {role} image does not make {effect} fire at all.")
    return Sentence(f"With the maps of {source} as on {foil}, {effect} on the {role} image stays as it is.")


def _effect(step: Step, label: str, rival: str) -> str:
    if step.layer == THE_PREDICTION:
        return f"the margin of {label!r} over {rival!r}" if rival else f"the prediction {label!r}"
    return f"{'the area of' if step.area else 'all of'} map {step.map} of {step.layer}"


def _how(traced: Contribution, row: int, coming: str | None) -> list[Sentence]:
    """Sentences on how the shown contributions were found, what they leave unexplained, and what a job will still
    find."""
    left = "" if traced.method == "exact" else f"; {traced.residual[row]:.0%} is left unexplained"
    by = _WAYS[traced.method]
    if traced.method == "exact" and traced.is_of_difference:
        by = "exchanging each map alone"
    said = [Sentence(f"Found by {by}{left}.")]
    if traced.unsolved:
        said.append(Sentence("The solver was ended while it could still lower its loss, so trust the values little."))
    return [*said, Sentence(f"The {coming} ones are being found.")] if coming else said
