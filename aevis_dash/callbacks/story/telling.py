"""Tells the story of the shown example, and goes where a sentence's evidence is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from dash import ALL, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.network.words import beside_other_measures, disagree, ends_by_measure
from aevis_dash.callbacks.story import words
from aevis_dash.callbacks.trail.flips import verdict
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.opening import at_layer, lost_map, most_raised, parting_layer
from aevis_dash.callbacks.view.state import LOST, View, changes
from aevis_dash.core.names import NameKind
from aevis_dash.domain import AevisError, DatapathDistance, Intervention, Role
from aevis_dash.geometry.river import stretches
from aevis_dash.layouts.story import QUESTIONS, Telling, questions, story
from aevis_dash.workbench import Triplet, Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the story."""

    @app.callback(
        Input(ids.STORY_VIEW, "data"),
        Input(ids.READY, "data"),
        Input(ids.NULLS_READY, "data"),
        Input(ids.FLIP_KEPT, "data"),
        State(ids.VIEW, "data"),
        output={"told": Output(ids.STORY, "children"), "questions": Output(ids.QUESTION, "options")},
        prevent_initial_call=True,
    )
    def tell(_data, _ready, _nulls, _flipped, whole):
        """Tell the story anew, for another example or question, and when more of it is known."""
        return told(bench, checked_view(whole, bench))

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input({"type": "evidence", "index": ALL}, "n_clicks"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def show(_clicks, data):
        """Show the layer and the map that a sentence speaks of."""
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not ctx.triggered[0]["value"]:
            return no_update
        view = checked_view(data, bench)
        layer, _, channel = pressed["index"].partition(":")[2].rpartition(":")
        shown = at_layer(bench, view, bench.layers.find(layer).index, int(channel) if channel else None)
        return changes(view, shown)


def told(bench: Workbench, view: View) -> dict[str, Any]:
    """The story of a view as parts of the page, and the options of the questions, by "told" and "questions"."""
    found = stored_triplet(bench, view)
    if found is None:
        return {"told": [], "questions": _questions(bench, view)}
    lost, became = (bench.class_names[found.path(role).label] for role in (Role.SOURCE, Role.ADVERSARIAL))
    answer = why_lost(bench, found, view) if view.question == LOST else why_became(bench, found, view)
    return {"told": story(list(answer)), "questions": questions(lost, became)}


def _questions(bench: Workbench, view: View) -> list[dict[str, str]]:
    """The options of the questions by the classes that are predicted; in general words without an example."""
    if view.example is None:
        return QUESTIONS
    example = bench.workspace.example(view.example)
    lost, became = (bench.class_names[p.label] for p in bench.judging.predict([example.source, example.adversarial]))
    return questions(lost, became)


def why_lost(bench: Workbench, found: Triplet, view: View) -> Iterator[Telling]:
    """What the results say to why src's class was lost, at the layer where src and adv lie farthest apart."""
    lost = bench.class_names[found.source.label]
    distance = bench.datapaths.distances(found, view.distance)
    yield words.leaving(bench.layers, stretches(distance), distance, lost, found.pending)
    yield from _other_measures(bench, found, view, distance)
    index = parting_layer(bench, found)
    layer = bench.layers.layers[index].name
    yield from _tested(bench, found, view, index, "source", lost)
    turning = bench.flips.stored_turning(found.plan.example.id)
    if turning is not None:
        effects, offset = bench.layers.part(turning.effects, index), bench.layers.offsets[index]
        best, most = lost_map(bench, found, index, effects), int(np.argmax(effects))
        name = "" if best is None else _name(bench, found, index, best, lost)
        yield words.turning_back(layer, best, turning, offset + (best or 0), lost, name)
        if most != best and effects[most] > 0:
            higher = bench.maps.difference(found, index, Role.ADVERSARIAL, Role.SOURCE)[most] > 0
            named = _name(bench, found, index, most, lost)
            yield words.turns_most(layer, most, float(turning.shares[offset + most]), bool(higher), named)
    yield from _doubt(found)
    before, now = (bench.layers.part(found.path(r).critical, index) for r in (Role.SOURCE, Role.ADVERSARIAL))
    yield words.lost_maps(layer, before, now, lost)


def why_became(bench: Workbench, found: Triplet, view: View) -> Iterator[Telling]:
    """What the results say to why adv became tar's class, at the layer where src and adv lie farthest apart."""
    lost, became = (bench.class_names[found.path(role).label] for role in (Role.SOURCE, Role.TARGET))
    distance = bench.datapaths.distances(found, view.distance)
    yield words.joining(bench.layers, distance, lost, became, found.pending)
    yield from _other_measures(bench, found, view, distance)
    index = parting_layer(bench, found)
    layer = bench.layers.layers[index].name
    yield from _tested(bench, found, view, index, "adversarial", became)
    yield from _doubt(found)
    before, now, target = (bench.layers.part(found.path(role).critical, index) for role in Role)
    yield words.gained_maps(layer, now, target, before, became)
    best = most_raised(bench, found)[index]
    place = bench.layers.offsets[index] + best
    was, is_ = (float(bench.maps.maxima(found.image(role))[place]) for role in (Role.SOURCE, Role.ADVERSARIAL))
    if is_ > was:
        yield words.raised(layer, best, was, is_, _name(bench, found, index, best, became))


def _name(bench: Workbench, found: Triplet, index: int, channel: int, label: str) -> str:
    """The name of a map beside the example that tells most about a class, as far as it is stored; "" for none.

    That it speaks for the class itself comes first, then what it sees. That it speaks for another class stands in its
    title, and would only lead astray here.
    """
    names = bench.naming.of_layer(index, found.plan.example.id).names[channel]
    asked = [name for name in names if name.kind is NameKind.FOR and name.name == label]
    seen = [name for name in names if name.kind in (NameKind.IMAGES, NameKind.PART)]
    return next(map(str, asked + seen), "")


def _other_measures(bench: Workbench, found: Triplet, view: View, distance: DatapathDistance) -> Iterator[Telling]:
    """A sentence where the measures of distance disagree on where adv ends."""
    known = np.flatnonzero(np.isfinite(distance.share))
    if known.size:
        ends = ends_by_measure(bench, found, int(known[-1]))
        if disagree(ends):
            yield from (Telling(sentence) for sentence in beside_other_measures(ends, view.distance))


def _doubt(found: Triplet) -> Iterator[Telling]:
    """A sentence where the solver of some of the triplet's datapaths did not settle."""
    paths = [found.path(role) for role in Role]
    count = sum(path.unsolved for path in paths)
    if count:
        yield words.unsolved(count, len(paths))


def _tested(
    bench: Workbench, found: Triplet, view: View, index: int, replacement: str, label: str
) -> Iterator[Telling]:
    """What the stored flip-back of a layer found: of this layer, else of the latest layer that has one.

    Args:
        bench: the workbench of the workspace.
        found: the example's datapaths.
        view: the view, whose trail has flip-backs.
        index: the index of the layer.
        replacement: whose maps are put into the other's run: "source", or "adversarial" where the new class is asked
            for.
        label: the name of the class that they are to give.
    """
    flipped = [bench.layers.find(step.layer).index for step in view.steps if step.is_flip]
    for layer in dict.fromkeys([index, *sorted({*flipped, *bench.flips.depths()}, reverse=True)]):
        try:
            result = bench.flips.find_stored(found.plan.example.id, Intervention(layer, replacement=replacement))
        except AevisError:  # where nothing is to be explained, there is no flip-back
            return
        if result is not None:
            yield words.tested(bench.layers.layers[layer].name, result, verdict(result), label)
            return
    yield words.NOT_TESTED
