"""The trail in words, and what to do next. The moves that it names are those of assets/trail.js."""

from collections.abc import Sequence

from aevis_dash.callbacks.layer.contents import more_than_all
from aevis_dash.callbacks.trail.flips import verdict
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.roles import traced_on
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import THE_PREDICTION, Area, Step, cause_of, intervention_of, path_to
from aevis_dash.domain import Role, Verification, Way, so_many
from aevis_dash.layouts.layer import part_of_all
from aevis_dash.layouts.trail import Node
from aevis_dash.workbench import Workbench
from aevis_dash.workbench.flips import Choice

_SWAPPED = {"adversarial": ", adv into src", "zero": " to zero", "mean": " to the mean", "resample": ", another image"}
"""What a flip-back put in place of the maps, where it is not what src has."""


def in_words(step: Step) -> str:
    """What a step asks, as a short text."""
    if step.is_flip:
        return f"flip {_maps(step.maps)} of {step.layer}{_SWAPPED.get(step.replacement, '')}"
    if _is_of_prediction(step):
        return "the prediction"
    return f"{step.layer} map {step.map}{_area(step.area)}"


def nodes(bench: Workbench, view: View) -> list[Node]:
    """Every step of the tree with what came of it, each under the step that it follows."""
    path, order = set(view.path), _in_order(view.steps)
    donors = bench.flips.donors(view.example) if view.example and any(map(_is_of_one_map, view.steps)) else ()
    return [
        Node(
            number=i,
            depth=len(path_to(view.steps, i)) - 1,
            words=in_words(view.steps[i]) + ("" if view.steps[i].is_flip else f" ← {view.steps[i].source}"),
            verdict=_verdict(bench, view, view.steps[i], donors),
            note=view.steps[i].note,
            here=i in path,
        )
        for i in order
    ]


def crumbs(view: View) -> list[tuple[int, str]]:
    """The steps that led here, by number and in words, from what was traced first to what is nearest to the image.

    What came before the prediction was traced did not lead here, and is left out.
    """
    path = view.path
    begin = max((i for i, number in enumerate(path) if _is_of_prediction(view.steps[number])), default=0)
    return [(number, in_words(view.steps[number])) for number in path[begin:]]


def here(view: View) -> str:
    """Where the user is now, as a short text."""
    if view.layer is None:
        return ""
    return view.layer + (f" map {view.map}" if view.map is not None else "")


def hint(bench: Workbench, view: View) -> str:
    """What to do next, as one sentence."""
    if view.example is None:
        return "Choose an example on the left."
    if stored_triplet(bench, view) is None:
        return "This example has no datapaths yet; the network's panel says whether they are being extracted."
    if view.traced is not None and view.map is None:
        return "Next: click a starred winner to see what it detects and where it fires."
    if view.layer is None:
        return "Next: click the layer where adv turns from src to tar."
    if view.map is None:
        return "Next: click a feature map in the treemap; the fullest changed most."
    if not bench.contributions.sources(bench.layers.find(view.layer).index):
        return "This is the first layer: nothing before it can be traced. Flip its maps back to test them."
    if any(step.is_flip and step.layer == view.layer for step in view.steps):
        return f"Next: trace what makes map {view.map} fire, or flip an earlier layer back; all steps are kept."
    if view.area is None and bench.layers.find(view.layer).height > 1:
        on = traced_on(bench, view).short
        return f"Next: draw a box around the bright spot on the {on} map, then trace where it comes from."
    return "Next: trace the contributions to this area, or flip this layer's maps back to test them."


def _verdict(bench: Workbench, view: View, step: Step, donors: Sequence[str]) -> str:
    return _flip_verdict(bench, view, step, donors) if step.is_flip else traced_words(bench, view, step)


def _flip_verdict(bench: Workbench, view: View, step: Step, donors: Sequence[str]) -> str:
    found = bench.flips.find_stored(view.example or "", intervention_of(bench.layers, step))
    if found is None:
        return "not tested here"
    return verdict(found) + _chosen_alike(bench, view, step, found, donors)


def _chosen_alike(bench: Workbench, view: View, step: Step, found: Verification, donors: Sequence[str]) -> str:
    """What the control says of a map that a search chose, where the same choice was made with donors; "" otherwise."""
    before = view.steps[step.parent] if step.parent >= 0 and _is_of_one_map(step) else None
    triplet = stored_triplet(bench, view)
    if before is None or before.source != step.layer or before.on != Role.ADVERSARIAL or triplet is None:
        return ""
    cause = cause_of(bench.layers, before)
    choices = (Choice(*cause, way, step.maps[0]) for way in _ways(view))
    known = (bench.flips.stored_choice(triplet, choice, donors) for choice in choices)
    alike = next((found for found in known if found is not None), None)
    if alike is None or not len(alike):
        return ""
    as_much = int((alike >= found.margins[-1] - found.margins[0]).sum())
    images = so_many(len(alike), "other clean image")
    return f"; chosen alike with {images} in src's place, the map moves it at least as much for {as_much}"


def _ways(view: View) -> tuple[Way, ...]:
    """The ways of finding contributions whose results are told, first the one that the view names."""
    return tuple(dict.fromkeys(Way(how, view.against) for how in (view.how, "solved", "quadratic")))


def _is_of_one_map(step: Step) -> bool:
    return step.is_flip and len(step.maps) == 1 and step.replacement == "source"


def traced_words(bench: Workbench, view: View, step: Step) -> str:
    """What a trace found, in one line: its two strongest contributors; "" where that is not stored."""
    triplet = stored_triplet(bench, view)
    if triplet is None:
        return ""
    cause, role = cause_of(bench.layers, step), Role(step.on)
    row = tuple(Role).index(role)
    for way in _ways(view):
        found = bench.contributions.find_stored(triplet, *cause, way)
        if found is not None and found.change[row] > 0:
            strength = found.strength(row)
            best = [c for c in found.ranking(row)[:2].tolist() if strength[c] > 0]
            if not best:
                return f"on {role.short} nothing speaks for it"
            named = ", ".join(f"map {c} {part_of_all(float(strength[c]))}" for c in best)
            return f"on {role.short}: {named}{more_than_all(strength[best])}"
    return ""


def _in_order(steps: Sequence[Step], parent: int = -1) -> list[int]:
    """The numbers of the steps in the order in which a tree is read: each is followed by the steps that follow it."""
    return [n for i, step in enumerate(steps) if step.parent == parent for n in (i, *_in_order(steps, i))]


def _is_of_prediction(step: Step) -> bool:
    return not step.is_flip and (step.layer == THE_PREDICTION or step.map is None)


def _maps(maps: Sequence[int]) -> str:
    if not maps:
        return "the smallest set"
    return f"map {maps[0]}" if len(maps) == 1 else f"{len(maps)} maps"


def _area(area: Area | None) -> str:
    if not area:
        return ""
    top, left, bottom, right, *picked = area
    return (
        f", {so_many(len(picked), 'neuron')}"
        if picked
        else f", rows {_ends(top, bottom)}, columns {_ends(left, right)}"
    )


def _ends(first: int, end: int) -> str:
    return f"{first}-{end - 1}" if end - first > 1 else f"{first}"
