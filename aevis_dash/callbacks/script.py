"""The shown view as a Python script: the lines that draw its figures, and that do the steps of its trail, again."""

import importlib.metadata

from flask import Flask, Response, request

from aevis_dash.callbacks.guard import refusal
from aevis_dash.callbacks.view.address import check, from_search
from aevis_dash.callbacks.view.state import View, wanted_of
from aevis_dash.callbacks.view.steps import Step, cause_of, intervention_of
from aevis_dash.domain import AevisError
from aevis_dash.workbench import Workbench

ADDRESS = "/script"
FIGURES = ("river", "layer", "activations")


def register(server: Flask, bench: Workbench) -> None:
    """Add the route that answers the address of a page, from its question mark on, with the script of its view. An
    address that names no view is refused with 400 and the reason."""

    @server.get(ADDRESS)
    def _script() -> Response:
        link = "?" + request.query_string.decode("ascii", "replace")
        try:
            view = from_search(link)
            check(view, bench)
            return Response(script(bench, view, link), mimetype="text/plain")
        except AevisError as error:
            return refusal(400, str(error))


def script(bench: Workbench, view: View, link: str) -> str:
    """The lines of Python that make the figures of a view and do the steps of its trail.

    Args:
        bench: the workbench of the workspace.
        view: the view.
        link: the view in the address of a page, from the question mark on.

    Raises:
        AevisError: where no example is shown, and for a method or a share that the page does not offer.
    """
    if view.example is None:
        raise AevisError("No example is shown. Choose one, and ask for the script again.")
    model = bench.workspace.settings.model
    given = ", model=model" if model.in_memory else ""
    drawn = FIGURES if view.map is not None else FIGURES[:-1] if view.layer is not None else FIGURES[:1]
    steps = _steps(bench, view)
    return "\n".join(
        [
            f"# A view of AEVis Dash {importlib.metadata.version('aevis-dash')}; the model is {model.source}.",
            *(["from dataclasses import replace", ""] if any("replace(" in line for line in steps) else []),
            "import aevis_dash",
            *([f"from aevis_dash.domain import {_names(view)}"] if steps else []),
            "",
            f"bench = aevis_dash.open_workspace({str(bench.workspace.root.resolve())!r}{given})",
            "# The view as the page's address has it. Further arguments, such as layer=... or map=..., change it.",
            f"link = {link!r}",
            *(f"aevis_dash.{figure}(bench, link=link).show()" for figure in drawn),
            *steps,
            "",
        ]
    )


def _steps(bench: Workbench, view: View) -> list[str]:
    """The lines that do the steps of the trail; none where there are no steps."""
    lines = []
    if any(not step.is_flip for step in view.steps):
        lines += ["", "# src, adv and tar with their datapaths", f"triplet = {_extraction(bench, view)}"]
    for number, step in enumerate(view.steps):
        lines += [
            "",
            f"# step {number + 1} of the trail: {_in_words(step)}",
            f"step_{number + 1} = {_call(bench, view, step)}",
        ]
        if step.is_flip:
            lines += [f"print(step_{number + 1}.maps, step_{number + 1}.margins)  # without, and with them"]
        else:
            lines += [f"print(step_{number + 1}.share)  # of each map, on src, adv and tar"]
    return lines


def _extraction(bench: Workbench, view: View) -> str:
    own, target = bench.workspace.settings.extraction, f", {view.target!r}" if view.target else ""
    wanted = wanted_of(view, own)
    if wanted == own:
        return f"bench.datapaths.extract({view.example!r}{target})"
    changes = f"method={wanted.method!r}, share={wanted.share!r}"
    return (
        f"bench.datapaths.extract(\n    {view.example!r}{target}, "
        f"wanted=replace(bench.workspace.settings.extraction, {changes})\n)"
    )


def _call(bench: Workbench, view: View, step: Step) -> str:
    if step.is_flip:
        return f"bench.flips.verify({view.example!r}, {intervention_of(bench.layers, step)!r})"
    target, area, earlier = cause_of(bench.layers, step)
    return f"bench.contributions.contribute(\n    triplet, {target!r}, {area!r}, {earlier}, {view.way!r}\n)"


def _in_words(step: Step) -> str:
    if step.is_flip:
        return f"maps of {step.layer} are replaced"
    traced = f"map {step.map} of {step.layer}" if step.layer else "the prediction"
    return f"{traced} is traced to {step.source}"


def _names(view: View) -> str:
    """What the steps' lines need of `aevis_dash.domain`."""
    names = {"Intervention"} if any(step.is_flip for step in view.steps) else set()
    names |= {"AreaOfInterest", "FeatureMap", "Way"} if any(not step.is_flip for step in view.steps) else set()
    return ", ".join(sorted(names))
