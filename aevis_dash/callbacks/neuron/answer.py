"""The station of evidence: all that is said of a map, the trail that led to it, and a flip-back of its layer."""

from dataclasses import replace
from typing import Any

from dash import Dash, Input, Output, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks.neuron import activations, learned
from aevis_dash.callbacks.trail.flips import SHOWN, in_words, question
from aevis_dash.callbacks.trail.stops import stops
from aevis_dash.callbacks.trail.words import hint, nodes
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.marks import mark, mark_output, mark_state
from aevis_dash.callbacks.view.opening import is_lost_map
from aevis_dash.callbacks.view.roles import traced_on
from aevis_dash.callbacks.view.state import View, flip_of
from aevis_dash.callbacks.view.steps import Step, intervention_of
from aevis_dash.domain import Role
from aevis_dash.figures.neuron import COLUMN, Room
from aevis_dash.figures.theme import Theme, theme
from aevis_dash.layouts.neuron import flips
from aevis_dash.layouts.trail import trail, tree
from aevis_dash.workbench import Workbench

OUTPUTS = {
    "title": Output(ids.NEURON_TITLE, "children"),
    "no_trace": Output(ids.TRACE, "disabled"),
    **activations.MAPS,
    **activations.AREA,
    **learned.FEATURES,
    "trail": Output(ids.TRAIL, "children"),
    "hint": Output(ids.HINT, "children"),
    "trace": Output(ids.TRACE, "children"),
    "tree": Output(ids.TREE, "children"),
    "flip": Output(ids.FLIP_TEXT, "children"),
    "no_flip": Output(ids.FLIP, "disabled"),
    "flip_button": Output(ids.FLIP, "children"),
    "no_prediction": Output(ids.TRACE_PREDICTION, "disabled"),
}
MAP, AREA, FEATURES, TRAIL = PARTS = (ids.NEURON_TITLE, ids.AREA_TEXT, ids.LEARNED, ids.TREE)
"""The parts of the answer, each named after one of its components."""
_FLIP, _FLIPPED = "Flip back", "Tested: see below"
"""The words of the button before and after the flip-back that it asks for was made a step of the trail."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the station of evidence."""

    @app.callback(
        output={**OUTPUTS, "marks": {part: mark_output(part) for part in PARTS}},
        inputs={
            "data": Input(ids.NEURON_VIEW, "data"),
            "area": Input(ids.AREA_VIEW, "data"),
            "steps": Input(ids.TRAIL_VIEW, "data"),
            "ready": Input(ids.READY, "data"),
            "seen": Input(ids.SEEN_SO_FAR, "data"),
            "made": Input(ids.VISUALISED, "data"),
            "flipped": Input(ids.FLIP_KEPT, "data"),
            "solved": Input(ids.SOLVED, "data"),
        },
        state={"whole": State(ids.VIEW, "data"), "before": {part: mark_state(part) for part in PARTS}},
        prevent_initial_call=True,
    )
    def show_neuron(data, area, steps, ready, seen, made, flipped, solved, whole, before):
        """Say all that there is to say of a map, in the one answer to a click. Only the parts that are news are
        sent."""
        page = data or {}
        marks = {
            MAP: mark(data, ready, bool(seen and seen[2])),
            AREA: mark(area, ready, page.get("map") is None),
            FEATURES: mark(data, ready, seen, made),
            TRAIL: mark(steps, ready, flipped, solved),
        }
        news = frozenset(part for part in PARTS if marks[part] != before[part])
        room = replace(COLUMN, width=int(page.get("room") or COLUMN.width))
        answer = describe(bench, checked_view(whole, bench), theme(page.get("theme") == "dark"), news, room)
        known = {part: marks[part] if part in news else no_update for part in PARTS}
        return dict.fromkeys(OUTPUTS, no_update) | answer | {"marks": known}


def describe(bench: Workbench, view: View, colours: Theme, news: frozenset[str], room: Room = COLUMN) -> dict[str, Any]:
    """The values of those OUTPUTS that belong to some parts of the answer.

    Args:
        bench: the workbench of the workspace.
        view: the view.
        colours: the colours of the page.
        news: the parts that are wanted, some of PARTS.
        room: the pixels that the figure of the activations has.
    """
    firing, answer = activations.firing_of(bench, view) if news & {MAP, AREA} else None, {}
    if MAP in news:
        answer |= {"title": _title(bench, firing), "no_trace": not _traceable(bench, firing)}
        answer |= activations.shown_maps(bench, firing, view, colours, room)
    elif AREA in news:
        answer |= activations.moved_outline(firing, view.look, colours)
    if AREA in news:
        answer |= activations.shown_area(bench, firing)
    if FEATURES in news:
        answer |= learned.shown_features(bench, view)
    if news & {MAP, AREA, TRAIL}:
        answer |= _line(bench, view)
    if TRAIL in news:
        answer |= {"tree": tree(nodes(bench, view)), **_flip(bench, view)}
    return answer


def _line(bench: Workbench, view: View) -> dict[str, Any]:
    return {
        "trail": trail(stops(bench, view), len(view.steps)),
        "hint": hint(bench, view),
        "trace": "Trace contributions" + (f" on {traced_on(bench, view).short}" if view.map is not None else ""),
    }


def _flip(bench: Workbench, view: View) -> dict[str, Any]:
    """What is stored of the flip-back that the view asks for. Where it is no step of the trail yet, the button makes it
    one."""
    if view.example is None or view.layer is None or stored_triplet(bench, view) is None:
        return {"flip": [], "no_flip": True, "flip_button": _FLIP, "no_prediction": True}
    found = bench.flips.find_stored(view.example, intervention_of(bench.layers, flip_of(view)))
    if found is None:
        asked = flips([question(view.maps, view.replacement)], view.layer, [], None)
        return {"flip": asked, "no_flip": False, "flip_button": _FLIP, "no_prediction": False}
    kept = any(step.is_flip and replace(step, parent=-1, map=None, note="") == _bare(view) for step in view.steps)
    at_end = bench.layers.find(view.layer).index == len(bench.layers) - 1
    words = flips(in_words(found, bench.class_names, at_end), view.layer, found.maps.tolist()[:SHOWN], view.map)
    return {"flip": words, "no_flip": kept, "flip_button": _FLIPPED if kept else _FLIP, "no_prediction": False}


def _bare(view: View) -> Step:
    return replace(flip_of(view), parent=-1, map=None)


def _traceable(bench: Workbench, firing: activations.Firing | None) -> bool:
    """Whether there is a map, and a layer that it can be traced to."""
    return firing is not None and bool(bench.contributions.sources(firing.layer.index))


def _title(bench: Workbench, firing: activations.Firing | None) -> str:
    if firing is None:
        return ""
    layer, channel = firing.layer, firing.channel
    names = bench.naming.of_layer(layer.index, firing.found.plan.example.id)
    name = names.brief(channel) or names.said(channel)
    named = f" · {name}" if name else ""
    roles = [r.short for r in Role if bench.layers.part(firing.found.path(r).critical, layer.index)[channel]]
    said = f"map {channel} of {layer.name}{named} · critical to {', '.join(roles) or 'none of the three'}"
    if not is_lost_map(bench, firing.found, layer.index, channel):
        return said
    lost = bench.class_names[firing.found.source.label]
    return f"{said} · of the maps that fire less on adv, the one that is estimated to bring {lost} back most"
