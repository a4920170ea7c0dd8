"""The background callbacks: functions that run in a job's process, and so hold no state of the server."""

import logging
from collections.abc import Callable
from typing import Any

from dash import Dash, Input, Output, State, no_update, set_props

from aevis_dash import ids, jobs
from aevis_dash.callbacks.settle import settled
from aevis_dash.callbacks.view import Step, View, cause_of, from_data, wanted_of
from aevis_dash.config import ExtractionParameters, Progress
from aevis_dash.domain import AevisError

SetProgress = Callable[[tuple[float, str]], None]
_FINISHED = (0, "")


def register(app: Dash, manager: Any) -> None:
    """Add the jobs to the page."""
    common: dict[str, Any] = {
        "background": True,
        "manager": manager,
        "progress": [Output(ids.JOB_BAR, "value"), Output(ids.JOB_TEXT, "children")],
        "progress_default": list(_FINISHED),
        "cancel": [Input(ids.CANCEL, "n_clicks")],
        "interval": 150,
        "on_error": say_it_died,
        "prevent_initial_call": True,
    }
    visible, hidden = {"visibility": "visible"}, {"visibility": "hidden"}
    running = [
        (Output(ids.CANCEL, "disabled"), False, True),
        (Output(ids.JOB_BAR, "style"), visible, hidden),
    ]
    app.callback(
        Output(ids.DONE, "data"),
        *_message(),
        Input(ids.WANTED, "data"),
        State(ids.VIEW, "data"),
        State(ids.PAGE, "data"),
        running=running,
        **common,
    )(extract_job)
    app.callback(
        Output(ids.VIEW, "data", allow_duplicate=True),
        *_message(),
        Input(ids.TRACE, "n_clicks"),
        State(ids.VIEW, "data"),
        State(ids.SOURCE_LAYER, "value"),
        State(ids.PAGE, "data"),
        running=[*running, (Output(ids.TRACE, "disabled"), True, False)],
        **common,
    )(trace_job)
    app.callback(
        Output(ids.FLIPPED, "data"),
        *_message(),
        Input(ids.FLIP, "n_clicks"),
        State(ids.VIEW, "data"),
        State(ids.PAGE, "data"),
        running=running,
        **common,
    )(flip_job)
    app.callback(
        Output(ids.COMPARED, "data"),
        *_message(),
        Input(ids.COMPARE, "n_clicks"),
        State(ids.PAGE, "data"),
        running=[*running, (Output(ids.COMPARE, "disabled"), True, False)],
        **common,
    )(compare_job)


def extract_job(set_progress: SetProgress, wanted: dict | None, view_data: dict, _page: str) -> tuple:
    """Extract the wanted example's datapaths; the view then gets a layer and a map to begin with.

    What is wanted is the part of the view that names the datapaths: see `network.datapaths_of`. The method and the
    share are among it, so that two visitors who ask for different ones are two jobs.
    The result goes to a store of its own: drawing the network asked for this job, and Dash lets no callback start
    itself anew through others, so the browser takes the view from that store (see `browser.py`).
    """
    if not wanted:
        return no_update, no_update, no_update
    try:
        asked = from_data(wanted)
        jobs.extract(wanted["example"], asked.target, _wanted(asked), _told(set_progress))
        view = settled(jobs.workbench(), from_data(view_data))
    except Exception as error:  # whatever ends a job is told to the user in a sentence
        return no_update, _sentence(error, "The extraction"), True
    return {"view": view.to_data(), "ready": wanted}, "", False


def trace_job(set_progress: SetProgress, clicks: int | None, view_data: dict, source: str, _page: str) -> tuple:
    """Trace the area of interest to an earlier layer and go there."""
    view = from_data(view_data)
    if not clicks or view.example is None or view.layer is None or view.map is None or not source:
        return no_update, no_update, no_update
    step = Step(view.layer, view.map, view.area, source)
    try:
        effect, area, layer = cause_of(jobs.workbench().layers, step)
        jobs.contribute(view.example, view.target, _wanted(view), effect, area, layer, _told(set_progress))
    except Exception as error:  # as above
        return no_update, _sentence(error, "The contribution analysis"), True
    kept = view.steps if view.traced is not None or not view.steps else ()
    return view.but(layer=source, map=None, area=None, steps=(*kept, step)).to_data(), "", False


def flip_job(set_progress: SetProgress, clicks: int | None, view_data: dict, _page: str) -> tuple:
    """Search the maps of the shown layer that give the source's label back."""
    view = from_data(view_data)
    if not clicks or view.example is None or view.layer is None:
        return no_update, no_update, no_update
    try:
        jobs.verify(view.example, jobs.workbench().layers.find(view.layer).index, _told(set_progress))
    except Exception as error:  # as above
        return no_update, _sentence(error, "The flip-back"), True
    return clicks, "", False


def compare_job(set_progress: SetProgress, clicks: int | None, _page: str) -> tuple:
    """Compare all pairs of the workspace; the number of the click tells the page that there is something to draw."""
    if not clicks:
        return no_update, no_update, no_update
    try:
        jobs.compare_pairs(_told(set_progress))
    except Exception as error:  # as above
        return no_update, _sentence(error, "The comparison of the pairs"), True
    return clicks, "", False


def say_it_died(_error: Exception) -> None:
    """Tell the visitor of a job whose process was killed."""
    sentence = "The job ended without a result (killed, or out of memory). What was finished is kept; try again."
    set_props(ids.MESSAGE, {"children": sentence, "is_open": True})


def _wanted(view: View) -> ExtractionParameters:
    return wanted_of(view, jobs.workbench().workspace.settings.extraction)


def _message() -> list[Output]:
    return [
        Output(ids.MESSAGE, "children", allow_duplicate=True),
        Output(ids.MESSAGE, "is_open", allow_duplicate=True),
    ]


def _told(set_progress: SetProgress) -> Progress:
    return lambda share, what: set_progress((round(100 * share, 1), what))


def _sentence(error: Exception, what: str) -> str:
    if isinstance(error, AevisError):
        return str(error)
    logging.getLogger(__name__).exception("job failed")
    reason = f"{type(error).__name__}: {error}"
    return f"{what} failed ({reason}). The server's log tells more; what was finished is kept, so try again."
