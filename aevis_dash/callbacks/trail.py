"""The trail in words, and what to do next."""

from aevis_dash.callbacks.settle import stored_triplet
from aevis_dash.callbacks.view import Area, View
from aevis_dash.workbench import Workbench


def steps_in_words(view: View) -> list[str]:
    """Each step, as a short text."""
    return [
        f"{s.layer} map {s.map}" + (f" [{s.area[0]}:{s.area[2]}, {s.area[1]}:{s.area[3]}]" if s.area else "")
        for s in view.steps
    ]


def here(view: View) -> str:
    """Where the user is now."""
    if view.layer is None:
        return ""
    return view.layer + (f" map {view.map}" if view.map is not None else "")


def hint(bench: Workbench, view: View) -> str:
    """The next step, as one sentence."""
    if view.example is None:
        return "Choose an example on the left; medium scores tell most."
    if stored_triplet(bench, view) is None:
        return "Wait for the datapaths, or choose another example."
    if view.traced is not None and view.map is None:
        return "Next: click a starred winner to see what it detects and where it fires."
    if view.layer is None:
        return "Next: click the layer where adv turns from src to tar."
    if view.map is None:
        return "Next: click a feature map in the treemap; the fullest changed most."
    if view.area is None and bench.layers.find(view.layer).height > 1:
        return "Next: draw a box around the bright spot on the adv map, then trace where it comes from."
    return "Next: trace the contributions of an earlier layer to this area."


def _area(area: Area | None) -> str:
    return f" [{area[0]}:{area[2]}, {area[1]}:{area[3]}]" if area else ""
