"""Pinned layers: their treemaps stand beside the shown layer's, in the order in which they were pinned."""

from typing import Any

from aevis_dash.callbacks.layer.contents import contents, contribution_to, drawing, strongest
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import Step
from aevis_dash.domain import AevisError
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import theme
from aevis_dash.layouts.layer import HEIGHT, pinned_layer
from aevis_dash.workbench import Triplet, Workbench

GAP = 8
"""The pixels between treemaps that stand side by side."""


def pinned_ones(bench: Workbench, found: Triplet | None, view: View, data: dict[str, Any]) -> dict[str, Any]:
    """The pinned layers that stand beside the shown one.

    Returns:
        The layers as `pinned`; the `place` of the shown layer among them; and its `name`, where any layer stands beside
        it.
    """
    if found is None:
        return {"pinned": [], "place": {"order": 0}, "name": []}
    slots = [pinned_layer(n, figure_of(bench, found, view, n, data), view.pinned.index(n)) for n in beside(view)]
    place = view.pinned.index(view.layer) if view.layer in view.pinned else len(view.pinned)
    return {"pinned": slots, "place": {"order": place}, "name": view.layer if slots else []}


def beside(view: View) -> tuple[str, ...]:
    """The names of the pinned layers that stand beside the shown one."""
    return tuple(name for name in view.pinned if name != view.layer)


def width_of(data: dict[str, Any], view: View) -> float:
    """The width of each treemap in pixels, where pinned layers stand beside the shown one; None otherwise."""
    columns = len(beside(view)) + 1
    return ((data.get("width") or 760) - GAP * (columns - 1)) / columns


def height_of(data: dict[str, Any] | None) -> int:
    """The height of each treemap in pixels, as the page says it."""
    return int((data or {}).get("height") or HEIGHT)


def figure_of(bench: Workbench, found: Triplet, view: View, name: str, data: dict[str, Any]) -> Any:
    """The treemap of a pinned layer.

    It shows the contributions of the step that led there, and marks the map that the trail led on from.
    """
    colours = theme(data.get("theme") == "dark")
    try:
        traced = contribution_to(bench, found, step_to(view, name), view.way)
        shown = contents(bench, found, view, bench.layers.find(name), traced)
    except AevisError as error:
        return notice(str(error), colours, height_of(data))
    size = (width_of(data, view), height_of(data))
    return drawing(bench, shown, view, colours, size, map_in(view, name), strongest(shown.contribution))


def step_to(view: View, layer: str) -> Step | None:
    """The last step on the way here that traced to the layer; None where no step did."""
    steps = [view.steps[number] for number in view.path]
    return next((s for s in reversed(steps) if not s.is_flip and s.source == layer), None)


def map_in(view: View, layer: str) -> int | None:
    """The map of the layer from which the last step on the way here traced on; None where no step did."""
    steps = [view.steps[number] for number in view.path]
    return next((s.map for s in reversed(steps) if not s.is_flip and s.layer == layer), None)
