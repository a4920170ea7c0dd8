"""The neuron: a map's activation maps, and the area of interest drawn on them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from dash import Dash, Input, Output

from aevis_dash import ids
from aevis_dash.callbacks import addresses
from aevis_dash.callbacks.settle import stored_triplet
from aevis_dash.callbacks.steps import Step, area_of, intervention_of
from aevis_dash.callbacks.view import View, flip_of, from_data
from aevis_dash.domain import AreaOfInterest, Layer, Role, Verification
from aevis_dash.figures.neuron import activation_figure
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.layouts.neuron import Sight, flips, sights
from aevis_dash.workbench import Triplet, Workbench

_HEIGHT = 200
SHOWN = 24
"""Maps of a flip-back shown as buttons at most."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the neuron station."""

    @app.callback(
        Output(ids.NEURON_TITLE, "children"),
        Output(ids.ACTIVATIONS, "figure"),
        Output(ids.AREA_TEXT, "children"),
        Output(ids.WHOLE_MAP, "disabled"),
        Output(ids.SOURCE_LAYER, "options"),
        Output(ids.SOURCE_LAYER, "value"),
        Output(ids.TRACE, "disabled"),
        Output(ids.SEEN, "children"),
        Input(ids.NEURON_VIEW, "data"),
        Input(ids.READY, "data"),
    )
    def show_neuron(data, _ready):
        view, colours = from_data(data), theme((data or {}).get("theme") == "dark")
        found = stored_triplet(bench, view)
        if found is None or view.layer is None or view.map is None:
            empty = notice("Click a feature map in the treemap.", colours, _HEIGHT)
            return "", empty, "", True, [], None, True, []
        layer = bench.layers.find(view.layer)
        maps = {role: _grid(bench.activation_maps(found.image(role), layer.index)[view.map]) for role in Role}
        names = {role: bench.class_names[found.path(role).label] for role in Role}
        area = area_of(bench.layers, view.layer, view.area) if view.area else None
        figure = activation_figure(maps, area, colours, names)
        sources = [bench.layers.layers[i].name for i in bench.contribution_sources(layer.index)]
        return (
            _title(found, bench, layer, view.map),
            figure,
            _area_words(bench, view, layer),
            view.area is None,
            sources,
            sources[0] if sources else None,
            not sources,
            sights(_sights(bench, found, area)),
        )

    @app.callback(
        Output(ids.FLIP_TEXT, "children"),
        Output(ids.FLIP, "disabled"),
        Output(ids.TRACE_PREDICTION, "disabled"),
        Input(ids.VIEW, "data"),
        Input(ids.FLIPPED, "data"),
        Input(ids.READY, "data"),
    )
    def show_flip(data, _flipped, _ready):
        """What is stored but no step of the trail yet can be made one by the button."""
        view = from_data(data)
        if view.example is None or view.layer is None or stored_triplet(bench, view) is None:
            return [], True, True
        found = bench.stored_verification(view.example, intervention_of(bench.layers, flip_of(view)))
        if found is None:
            return flips([_question(view)], [], None), False, False
        kept = any(step.is_flip and replace(step, parent=-1, map=None, note="") == _bare(view) for step in view.steps)
        return flips(in_words(found, bench.class_names), found.maps.tolist()[:SHOWN], view.map), kept, False


def _bare(view: View) -> Step:
    return replace(flip_of(view), parent=-1, map=None)


_SWAPS = {
    "source": "put from src into adv",
    "adversarial": "put from adv into src",
    "zero": "set to zero in adv",
    "mean": "set to the mean of other images in adv",
    "resample": "taken from another image in adv",
}


def _question(view: View) -> str:
    maps = f"Do maps {' '.join(map(str, view.maps))}" if view.maps else "Which maps"
    return f"{maps}, {_SWAPS[view.replacement]}, turn the prediction?"


def in_words(found: Verification, class_names: Sequence[str]) -> list[str]:
    """A flip-back in sentences that say no more than the figures."""
    count, swap = len(found.maps), _SWAPS[found.replacement]
    turns, turn, gone = _turning(found, class_names)
    if not count and found.whole_turned:
        return [
            f"Only all {found.width} maps of this layer together {turn}, which proves nothing: everything "
            "passes through it."
        ]
    if not count:
        return [
            f"No set of this layer's {found.width} maps {turns}: with all of them {swap} the margin is "
            f"{found.whole:.2f}."
        ]
    single, those, do = (turns, "the one", "does") if count == 1 else (turn, f"the {count}", "do")
    margins = f"margin {found.margins[0]:.2f} to {found.margins[-1]:.2f}"
    if not found.turned:
        return [
            f"{count} of {found.width} maps, {swap}, {'does' if count == 1 else 'do'} not {gone} ({margins}).",
            f"{found.percentile:.0%} of {len(found.chance)} random sets as large move it less; {those} of largest "
            f"difference {'gives' if count == 1 else 'give'} {found.difference:.2f}.",
        ]
    said = [
        f"{count} of {found.width} maps, {swap}, {single} ({margins}).",
        f"Of {len(found.chance)} random sets as large, {found.chance_turned:.0%} do; "
        f"{those} of largest difference {do}{'' if found.difference_turned else ' not'}.",
    ]
    more = [f"The first {SHOWN}:"] if count > SHOWN else []
    if found.others >= 0:
        return [*said, f"Not these alone: without them, {found.others} others do it too.", *more]
    if not found.beats_chance:
        return [*said, "No set of the other maps does it, but chance or the plain difference finds one as well.", *more]
    each = "it" if count == 1 else "they"
    return [*said, f"No set of the other maps was found to do it, so {each} may be the cause at this layer.", *more]


def _turning(found: Verification, class_names: Sequence[str]) -> tuple[str, str, str]:
    """What turning the label is, said of one, of several, and after "not"."""
    if found.wanted < 0:
        name = class_names[found.before]
        return f"takes {name} away", f"take {name} away", f"take {name} away"
    name = class_names[found.wanted]
    back = "back" if found.replacement == "source" else "instead"
    return f"gives {name} {back}", f"give {name} {back}", f"give {name} {back}"


def _grid(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, -1) if values.ndim < 2 else values


def _sights(bench: Workbench, found: Triplet, area: AreaOfInterest | None) -> list[Sight]:
    """What the area sees of the three images; nothing without an area."""
    if area is None:
        return []
    field, (height, width) = bench.receptive_field(area), bench.workspace.settings.preprocessing.input_size
    across, down = field.right - field.left, field.bottom - field.top
    box = (field.left / width, field.top / height, across / width, down / height)
    return [Sight(addresses.image(bench, found.image(role)), role.value, box) for role in Role]


def _title(found: Triplet, bench: Workbench, layer: Layer, channel: int) -> str:
    roles = [r.short for r in Role if bench.layers.part(found.path(r).critical, layer.index)[channel]]
    return f"map {channel} of {layer.name} · critical to {', '.join(roles) or 'none of the three'}"


def _area_words(bench: Workbench, view: View, layer: Layer) -> str:
    if view.area is None:
        return f"area of interest: the whole map, {layer.height} x {layer.width} neurons"
    area = area_of(bench.layers, layer.name, view.area)
    field = bench.receptive_field(area)
    some = f"{area.neurons} neurons in " if area.picked else ""
    return (
        f"area of interest: {some}rows {area.top} to {area.bottom - 1}, columns {area.left} to {area.right - 1}; it "
        f"sees {field.bottom - field.top} x {field.right - field.left} pixels of the image"
    )
