"""The background callbacks: functions that run in a job's process, and so hold no state of the server."""

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dash import Dash, Input, NoUpdate, Output, State, no_update, set_props

from aevis_dash import ids, jobs
from aevis_dash.callbacks.queueing import Ended
from aevis_dash.callbacks.view.address import check, checked_view
from aevis_dash.callbacks.view.state import FIRST, View, flip_of, from_data, wanted_of
from aevis_dash.callbacks.view.steps import cause_of, intervention_of, maps_in, step_from_data, steps_of
from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.domain import AevisError

SetProgress = Callable[[tuple[float, str]], None]
Answer = dict[str, Any] | NoUpdate
"""The `result` of a job, if it has one, and its `message` with whether it is `open`; no_update for none of them."""
_FINISHED = (0, "")
NAMES = {
    ids.EXTRACTION: "The extraction",
    ids.CONTRIBUTIONS: "The contribution analysis",
    ids.FLIP_BACK: "The flip-back",
    ids.SEARCH: "The search for a trail",
    ids.COMPARISON: "The comparison of the pairs",
    ids.VISUALISATION: "The visualisation",
}
SHARED = ("learn_job",)
"""Jobs that make room for others themselves, once for everybody."""


def register(app: Dash, manager: Any) -> None:
    """Add the jobs to the page."""

    def add(job: Callable[..., Answer], kind: str, result: str, *given: Input | State, button: str = "") -> None:
        """A job whose result goes to the store `result`; the `button` that begins it is off meanwhile."""
        running = [(Output(ids.job(kind), "style"), {"display": "flex"}, {"display": "none"})]
        app.callback(
            *given,
            State(ids.PAGE, "data"),
            output={"result": Output(result, "data"), **_message()},
            background=True,
            manager=manager,
            running=[*running, (Output(button, "disabled"), True, False)] if button else running,
            progress=[Output(ids.job_bar(kind), "value"), Output(ids.job_text(kind), "children")],
            progress_default=list(_FINISHED),
            cancel=[Input(ids.cancel(kind), "n_clicks")],
            interval=150,
            on_error=lambda error: _ended(error, kind),
            prevent_initial_call=True,
        )(job)

    add(extract_job, ids.EXTRACTION, ids.DONE, Input(ids.WANTED, "data"))
    add(solve_job, ids.CONTRIBUTIONS, ids.SOLVE_DONE, Input(ids.SOLVE, "data"))
    flipping = (Input(ids.FLIP, "n_clicks"), State(ids.MAPS, "value"), State(ids.VIEW, "data"))
    add(flip_job, ids.FLIP_BACK, ids.FLIPPED, *flipping)
    suggesting = (Input(ids.SUGGEST, "n_clicks"), State(ids.VIEW, "data"))
    add(suggest_job, ids.SEARCH, ids.SUGGESTED, *suggesting, button=ids.SUGGEST)
    add(compare_job, ids.COMPARISON, ids.COMPARED, Input(ids.COMPARE, "n_clicks"), button=ids.COMPARE)
    picturing = (Input(ids.VISUALISE, "n_clicks"), State(ids.NEURON_VIEW, "data"))
    add(visualise_job, ids.VISUALISATION, ids.VISUALISED, *picturing, button=ids.VISUALISE)
    app.callback(
        Input(ids.LEARN, "data"),
        State(ids.PAGE, "data"),
        output=_message(),
        background=True,
        manager=manager,
        interval=2000,
        on_error=lambda error: message(_why(error, "Finding the learned features")),
        prevent_initial_call=True,
    )(learn_job)


def extract_job(set_progress: SetProgress, wanted: dict | None, _page: str) -> Answer:
    """Extract the wanted example's datapaths.

    What is wanted is the part of the view that names the datapaths (`datapaths_of` in `callbacks/view/state.py`), and
    which `part` of them. The method and the share are among it, so that two visitors who ask for different ones are two
    jobs.
    The result goes to a store of its own: drawing the network asked for this job, and Dash lets no callback start
    itself anew through others, so the browser says that they are ready (see `callbacks/view/browser.py`).
    """
    if not wanted:
        return no_update
    try:
        asked = checked_view(wanted, jobs.workbench())
        nulls = wanted["part"] != FIRST
        jobs.extract(wanted["example"], asked.target, _wanted(asked), _told(set_progress), nulls=nulls)
    except Exception as error:  # whatever ends a job is told to the user in a sentence
        sentence = _sentence(error, NAMES[ids.EXTRACTION])
        return {"result": failure(sentence), **message(sentence)}
    return {"result": {"ready": wanted}, **message()}


def solve_job(set_progress: SetProgress, wanted: dict | None, _page: str) -> Answer:
    """Find the contributions that the layer's view asked for; until then it shows the quadratic approximation.

    The result lands through the browser, as an extraction's does.
    """
    if not wanted:
        return no_update
    try:
        view, graph = checked_view(wanted, jobs.workbench()), jobs.workbench().layers
        step = step_from_data(wanted["step"])
        jobs.contribute(
            wanted["example"], view.target, _wanted(view), *cause_of(graph, step), wanted["how"], _told(set_progress)
        )
    except Exception as error:  # as above
        sentence = _sentence(error, NAMES[ids.CONTRIBUTIONS])
        return {"result": failure(sentence), **message(sentence)}
    return {"result": wanted, **message()}


def flip_job(set_progress: SetProgress, clicks: int | None, maps: str | None, view_data: dict, _page: str) -> Answer:
    """Replace the maps that stand in the box, or search those that turn the prediction; a step of the trail.

    The box is read itself: a click that leaves it comes before the view knows what was typed.
    """
    view = from_data(view_data)
    if not clicks or view.example is None or view.layer is None:
        return no_update
    try:
        check(view, jobs.workbench())
        graph = jobs.workbench().layers
        step = flip_of(view.but(maps=maps_in(graph, view.layer, maps)))
        jobs.verify(view.example, intervention_of(graph, step), _told(set_progress))
    except Exception as error:  # as above
        return {"result": no_update, **message(_sentence(error, NAMES[ids.FLIP_BACK]))}
    return {"result": {"example": view.example, "steps": [asdict(step)], "clicks": clicks}, **message()}


def suggest_job(set_progress: SetProgress, clicks: int | None, view_data: dict, _page: str) -> Answer:
    """Search a way back from the prediction and make it steps of the trail."""
    view = from_data(view_data)
    if not clicks or view.example is None:
        return no_update
    try:
        check(view, jobs.workbench())
        how = "solved" if view.how == "exact" else view.how  # exact ones take minutes in a wide layer
        hops = jobs.propose(view.example, view.target, _wanted(view), how, _told(set_progress))
    except Exception as error:  # as above
        return {"result": no_update, **message(_sentence(error, NAMES[ids.SEARCH]))}
    if not hops:
        none = "No map that contributes to the prediction moves the margin when src's takes its place."
        return {"result": no_update, **message(none)}
    steps = [asdict(step) for step in steps_of(jobs.workbench().layers, hops)]
    return {"result": {"example": view.example, "steps": steps, "clicks": clicks}, **message()}


def compare_job(set_progress: SetProgress, clicks: int | None, _page: str) -> Answer:
    """Compare all pairs of the workspace; the number of the click tells the page that there is something to draw."""
    if not clicks:
        return no_update
    try:
        jobs.compare_pairs(_told(set_progress))
    except Exception as error:  # as above
        return {"result": no_update, **message(_sentence(error, NAMES[ids.COMPARISON]))}
    return {"result": clicks, **message()}


def visualise_job(set_progress: SetProgress, clicks: int | None, shown: dict | None, _page: str) -> Answer:
    """Make a picture that fires the shown map."""
    if not clicks or not shown or shown.get("layer") is None or shown.get("map") is None:
        return no_update
    try:
        chosen = jobs.workbench().layers.feature_map(shown["layer"], shown["map"])
        jobs.visualise(chosen, _told(set_progress))
    except Exception as error:  # as above
        return {"result": no_update, **message(_sentence(error, NAMES[ids.VISUALISATION]))}
    return {"result": clicks, **message()}


def learn_job(wanted: str | None, _page: str) -> Answer:
    """Complete the learned features, in the background and for everybody; the page looks at the store as they grow."""
    if not wanted:
        return no_update
    try:
        jobs.learn(silent)
    except Exception as error:  # as above
        return message(_sentence(error, "Finding the learned features"))
    return no_update


def say_it_failed(error: Exception) -> None:
    """Tell the visitor of an answer that ended in an error: one that says what to do as it is, one that nobody foresaw
    with its name. The page stays as it was."""
    if isinstance(error, AevisError):
        set_props(ids.MESSAGE, {"children": str(error), "is_open": True})
        return
    logging.getLogger(__name__).error("an answer failed", exc_info=error)
    reason = f"{type(error).__name__}: {error}"
    sentence = f"This could not be shown ({reason}). The server's log tells more; the page is as it was before."
    set_props(ids.MESSAGE, {"children": sentence, "is_open": True})


def failure(sentence: str) -> dict[str, Any]:
    """What the page is told of a job without a result that it shows to be under way; the moment makes it news."""
    return {"failed": sentence, "at": time.time()}


def message(sentence: str = "") -> dict[str, Any]:
    """The part of an answer that says a sentence at the page's top, or takes the one away that stands there."""
    return {"message": sentence, "open": bool(sentence)}


def _ended(error: Exception, kind: str) -> dict[str, Any]:
    """The answer of a job that was refused, or ended without a result: nothing but why."""
    sentence = _why(error, NAMES[kind])
    awaited = kind in (ids.EXTRACTION, ids.CONTRIBUTIONS)  # the page says that they are under way
    return {"result": failure(sentence) if awaited else no_update, **message(sentence)}


def _why(error: Exception, what: str) -> str:
    return f"{what} {error}. What was finished is kept." if isinstance(error, Ended) else _sentence(error, what)


def _wanted(view: View) -> ExtractionParameters:
    return wanted_of(view, jobs.workbench().workspace.settings.extraction)


def _message() -> dict[str, Output]:
    return {
        "message": Output(ids.MESSAGE, "children", allow_duplicate=True),
        "open": Output(ids.MESSAGE, "is_open", allow_duplicate=True),
    }


def _told(set_progress: SetProgress) -> Progress:
    return lambda share, what: set_progress((round(100 * share, 1), what))


def _sentence(error: Exception, what: str) -> str:
    if isinstance(error, AevisError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{what} failed: the disk is full. Free some space and try again; what was finished is kept."
    logging.getLogger(__name__).exception("job failed")
    reason = f"{type(error).__name__}: {error}"
    return f"{what} failed ({reason}). The server's log tells more; what was finished is kept, so try again."
