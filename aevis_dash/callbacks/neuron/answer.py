"""The neuron: all that is said of a map, the trail that led to it, and what a flip-back of its layer found."""

from dataclasses import replace

from dash import Dash, Input, Output, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks.neuron import activations, learned
from aevis_dash.callbacks.trail.flips import SHOWN, in_words, question
from aevis_dash.callbacks.trail.words import crumbs, here, hint, nodes
from aevis_dash.callbacks.view.address import checked
from aevis_dash.callbacks.view.marks import mark, telling, told
from aevis_dash.callbacks.view.opening import is_lost_map, stored_triplet
from aevis_dash.callbacks.view.roles import traced_on
from aevis_dash.callbacks.view.state import View, flip_of
from aevis_dash.callbacks.view.steps import Step, intervention_of
from aevis_dash.domain import Role
from aevis_dash.figures.neuron import COLUMN, Room
from aevis_dash.figures.theme import Theme, theme
from aevis_dash.layouts.neuron import flips
from aevis_dash.layouts.trail import trail, tree
from aevis_dash.workbench import Workbench

_LINE = tuple(Output(name, "children") for name in (ids.TRAIL, ids.HINT, ids.TRACE))
_STEPS = (
    *(Output(name, "children") for name in (ids.TREE, ids.FLIP_TEXT)),
    *(Output(name, "disabled") for name in (ids.FLIP, ids.TRACE_PREDICTION)),
)
_NOTHING = (no_update,) * 4
MAP, AREA, FEATURES, TRAIL = PARTS = (ids.NEURON_TITLE, ids.AREA_TEXT, ids.LEARNED, ids.TREE)
"""The parts of the answer, each named after a component of it."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the neuron station."""

    @app.callback(
        Output(ids.NEURON_TITLE, "children"),
        Output(ids.TRACE, "disabled"),
        *activations.MAPS,
        *activations.AREA,
        *learned.OUTPUTS,
        *_LINE,
        *_STEPS,
        *(told(part) for part in PARTS),
        Input(ids.NEURON_VIEW, "data"),
        Input(ids.AREA_VIEW, "data"),
        Input(ids.TRAIL_VIEW, "data"),
        Input(ids.READY, "data"),
        Input(ids.SEEN_SO_FAR, "data"),
        Input(ids.VISUALISED, "data"),
        Input(ids.FLIP_KEPT, "data"),
        State(ids.VIEW, "data"),
        *(telling(part) for part in PARTS),
        prevent_initial_call=True,
    )
    def show_neuron(data, area, trailed, ready, seen, made, flipped, whole, *before):
        """All that is said of a map in one answer, a click's only one; no more of it than there are news."""
        page = data or {}
        seen_by = mark(area, ready, page.get("map") is None)
        marks = mark(data, ready), seen_by, mark(data, ready, seen, made), mark(trailed, ready, flipped)
        news = frozenset(part for part, now, then in zip(PARTS, marks, before, strict=True) if now != then)
        room = replace(COLUMN, width=int(page.get("room") or COLUMN.width))
        answer = said(bench, checked(whole, bench), theme(page.get("theme") == "dark"), news, room)
        return *answer, *(now if part in news else no_update for part, now in zip(PARTS, marks, strict=True))


def said(bench: Workbench, view: View, colours: Theme, news: frozenset[str], room: Room = COLUMN) -> tuple:
    """What the station's outputs are for a view, no_update for those of PARTS that are not in `news`."""
    firing = activations.firing_of(bench, view) if news & {MAP, AREA} else None
    if MAP in news:
        maps = (
            _title(bench, firing),
            not _traceable(bench, firing),
            *activations.shown_maps(bench, firing, view, colours, room),
        )
    else:
        maps = (
            no_update,
            no_update,
            *(activations.outlined(firing, view.look, colours) if AREA in news else _NOTHING[:2]),
        )
    area = activations.shown_area(bench, firing) if AREA in news else _NOTHING[:3]
    features = learned.shown_features(bench, view) if FEATURES in news else _NOTHING[:4]
    line = _line(bench, view) if news & {MAP, AREA, TRAIL} else _NOTHING[:3]
    steps = (tree(nodes(bench, view)), *_flip(bench, view)) if TRAIL in news else _NOTHING[:4]
    return *maps, *area, *features, *line, *steps


def _line(bench: Workbench, view: View) -> tuple:
    steps = trail(crumbs(view), len(view.steps), here(view))
    button = "Trace contributions" + (f" on {traced_on(bench, view).short}" if view.map is not None else "")
    return steps, hint(bench, view), button


def _flip(bench: Workbench, view: View) -> tuple:
    """What is stored of a flip-back; where it is no step of the trail yet, the button makes it one."""
    if view.example is None or view.layer is None or stored_triplet(bench, view) is None:
        return [], True, True
    found = bench.flips.stored(view.example, intervention_of(bench.layers, flip_of(view)))
    if found is None:
        return flips([question(view.maps, view.replacement)], view.layer, [], None), False, False
    kept = any(step.is_flip and replace(step, parent=-1, map=None, note="") == _bare(view) for step in view.steps)
    return flips(in_words(found, bench.class_names), view.layer, found.maps.tolist()[:SHOWN], view.map), kept, False


def _bare(view: View) -> Step:
    return replace(flip_of(view), parent=-1, map=None)


def _traceable(bench: Workbench, firing: activations.Firing | None) -> bool:
    """Whether there is a map, and a layer that it can be traced to."""
    return firing is not None and bool(bench.contributions.sources(firing.layer.index))


def _title(bench: Workbench, firing: activations.Firing | None) -> str:
    if firing is None:
        return ""
    layer, channel = firing.layer, firing.channel
    roles = [r.short for r in Role if bench.layers.part(firing.found.path(r).critical, layer.index)[channel]]
    lost = bench.class_names[firing.found.source.label]
    why = f" · of src's maps that fire less on adv, this one, put back into adv, is estimated to speak most for {lost}"
    told = why if is_lost_map(bench, firing.found, layer.index, channel) else ""
    return f"map {channel} of {layer.name} · critical to {', '.join(roles) or 'none of the three'}{told}"
