"""The background callbacks. They run in a job's process, so they are plain functions and hold no state of the
server."""

import errno
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from dash import Dash, Input, NoUpdate, Output, State, no_update, set_props

from aevis_dash import ids, jobs, logs
from aevis_dash.callbacks.progress import Remaining, in_words
from aevis_dash.callbacks.queueing import Ended
from aevis_dash.callbacks.view.address import check, checked_view
from aevis_dash.callbacks.view.state import FIRST, NULLS, View, flip_of, from_data, wanted_of
from aevis_dash.callbacks.view.steps import cause_of, intervention_of, maps_in, step_from_data, steps_of
from aevis_dash.callbacks.work import LEARNING, LONG, NEEDED, QUICK, Manners
from aevis_dash.callbacks.work import NULLS as OF_NULLS
from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.domain import AevisError, Way
from aevis_dash.workbench import Workbench

SetProgress = Callable[[tuple[float, str, str]], None]
Answer = dict[str, Any] | NoUpdate
"""A job's answer: its `result`, where it has one; a `message` with whether it is `open`; and why it `ended` without a
result. no_update for none of them."""
_FINISHED = (0, "", "", "", "")
_logger = logging.getLogger(__name__)
NAMES = {
    ids.EXTRACTION: "The extraction",
    ids.CONTRIBUTIONS: "The contribution analysis",
    ids.FLIP_BACK: "The flip-back",
    ids.SEARCH: "The search for a trail",
    ids.COMPARISON: "The comparison of the pairs",
    ids.VISUALISATION: "The visualisation",
    ids.EDGES: "The search for connections",
    ids.SECOND: "The comparison of the two models",
}


def manners(name: str, given: Sequence[Any]) -> Manners:
    """How a job stands to others: what takes seconds goes before an extraction, and this before what takes minutes.

    Args:
        name: the name of the job's function.
        given: what it is given, without the page.
    """
    wanted = given[0] if given and isinstance(given[0], dict) else {}
    if name == learn_job.__name__:
        return Manners(LEARNING)
    if name == extract_job.__name__:
        return Manners(OF_NULLS if wanted.get("part") == NULLS else NEEDED, str(wanted.get("example") or ""))
    exact = name == solve_job.__name__ and wanted.get("how") == "exact"  # it closes every map of a layer alone
    long = (suggest_job.__name__, compare_job.__name__, second_job.__name__)
    return Manners(LONG if exact or name in long else QUICK)


def subject(bench: Workbench, name: str, given: Sequence[Any]) -> tuple[str, str]:
    """What a job is about, for the list of jobs: the classes of its example as the model sees them, and the file.

    Args:
        bench: the workbench of the workspace.
        name: the name of the job's function.
        given: what it is given, without the page.

    Returns:
        The words, such as "panda → monkey", or "map 3 of layer1.0.relu" for a picture; and what they stand for more
        exactly. "" for both where the job is about no example, or about one that cannot be read.
    """
    asked = next((one for one in given if isinstance(one, dict) and isinstance(one.get("example"), str)), None)
    if asked is None:
        return "", ""
    if name == visualise_job.__name__:
        return f"map {asked.get('map')} of {asked.get('layer')}", ""
    try:
        example = bench.workspace.example(asked["example"])
        seen = bench.judging.predict([example.source, example.adversarial])
    except AevisError:  # the job says what is wrong
        return "", ""
    exact = f"{example.adversarial}, made from {example.source}"
    return " → ".join(bench.class_names[one.label] for one in seen), exact


def register(app: Dash, manager: Any) -> None:
    """Add the jobs to the page.

    Args:
        app: the application.
        manager: starts the jobs and fetches their results (`processes.JobManager`).
    """

    def add(
        job: Callable[..., Answer], kind: str, result: str, *given: Input | State, button: str = "", sign: str = ""
    ) -> None:
        """Add a job whose result goes to the store `result`. The `button` that begins the job is off while it runs, and
        the `sign`, a text beside such a button, is shown."""
        running: list[tuple[Output, Any, Any]] = [
            (Output(ids.job(kind), "style"), {"display": "flex"}, {"display": "none"})
        ]
        if button:
            running.append((Output(button, "disabled"), True, False))
        if sign:
            running.append((Output(sign, "style"), {"display": "inline"}, {"display": "none"}))
        app.callback(
            *given,
            State(ids.PAGE, "data"),
            output={"result": Output(result, "data"), **_message(), "ended": Output(ids.job_ended(kind), "children")},
            background=True,
            manager=manager,
            running=running,
            progress=[
                Output(ids.job_bar(kind), "value"),
                *(Output(name(kind), "children") for name in (ids.job_text, ids.job_left, ids.job_subject)),
                Output(ids.job_subject(kind), "title"),
            ],
            progress_default=list(_FINISHED),
            cancel=[Input(ids.cancel(kind), "n_clicks")],
            interval=150,
            on_error=lambda error: _ended(error, kind),
            prevent_initial_call=True,
        )(job)

    add(extract_job, ids.EXTRACTION, ids.DONE, Input(ids.WANTED, "data"))
    add(solve_job, ids.CONTRIBUTIONS, ids.SOLVE_DONE, Input(ids.SOLVE, "data"))
    flipping = (Input(ids.FLIP, "n_clicks"), State(ids.MAPS, "value"), State(ids.VIEW, "data"))
    add(flip_job, ids.FLIP_BACK, ids.job_end(ids.FLIPPED), *flipping, sign=ids.FLIPPING)
    suggesting = (Input(ids.SUGGEST, "n_clicks"), State(ids.VIEW, "data"))
    add(suggest_job, ids.SEARCH, ids.job_end(ids.SUGGESTED), *suggesting, button=ids.SUGGEST)
    add(compare_job, ids.COMPARISON, ids.job_end(ids.COMPARED), Input(ids.COMPARE, "n_clicks"), button=ids.COMPARE)
    picturing = (Input(ids.VISUALISE, "n_clicks"), State(ids.NEURON_VIEW, "data"))
    add(visualise_job, ids.VISUALISATION, ids.job_end(ids.VISUALISED), *picturing, button=ids.VISUALISE)
    joining = (Input(ids.FIND_EDGES, "n_clicks"), State(ids.SOURCE_LAYER, "value"), State(ids.VIEW, "data"))
    add(edge_job, ids.EDGES, ids.job_end(ids.EDGES_FOUND), *joining)
    beside = (Input(ids.TWO_COMPARE, "n_clicks"), State(ids.VIEW, "data"))
    add(second_job, ids.SECOND, ids.job_end(ids.TWO_COMPARED), *beside, button=ids.TWO_COMPARE)
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
    """Extract the datapaths of the wanted example.

    The result goes to a store of its own. Drawing the network asked for this job, and Dash lets no callback start
    itself anew through others; so the browser says that the datapaths are ready (see `callbacks/view/browser.py`).

    Args:
        set_progress: is told the percent of the work that is done, and what is being done.
        wanted: the part of the view that names the datapaths (`state.datapaths_of`), and which `part` of them. Method
            and share are among it, so visitors who ask for different ones get different jobs.
        _page: the name of the page, by which its jobs are told from those of other pages.
    """
    if not wanted:
        return no_update
    try:
        asked = checked_view(wanted, jobs.workbench())
        nulls = wanted["part"] != FIRST
        jobs.extract(wanted["example"], asked.target, _wanted(asked), _told(set_progress), nulls=nulls)
    except Exception as error:  # whatever ends a job is told to the user in a sentence
        sentence = _sentence(error, NAMES[ids.EXTRACTION])
        return _answer(failure(sentence), sentence)
    return _answer({"ready": wanted})


def solve_job(set_progress: SetProgress, wanted: dict | None, _page: str) -> Answer:
    """Find the contributions that the layer's view asked for; until then it shows the quadratic approximation.

    The result is drawn by way of the browser, as that of `extract_job` is.
    """
    if not wanted:
        return no_update
    try:
        view, graph = checked_view(wanted, jobs.workbench()), jobs.workbench().layers
        step = step_from_data(wanted["step"])
        jobs.contribute(
            wanted["example"], view.target, _wanted(view), *cause_of(graph, step), view.way, _told(set_progress)
        )
    except Exception as error:  # as above
        sentence = _sentence(error, NAMES[ids.CONTRIBUTIONS])
        return _answer(failure(sentence), sentence)
    return _answer(wanted)


def flip_job(set_progress: SetProgress, clicks: int | None, maps: str | None, view_data: dict, _page: str) -> Answer:
    """Replace the maps that stand in the box, or search for maps that turn the prediction. The result is a step of the
    trail.

    The maps are read from the box itself, because a click that leaves it may come before the view knows what was typed.
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
        return _answer(no_update, _sentence(error, NAMES[ids.FLIP_BACK]))
    return _answer({"example": view.example, "steps": [asdict(step)], "clicks": clicks})


def edge_job(set_progress: SetProgress, clicks: int | None, source: str | None, view_data: dict, _page: str) -> Answer:
    """Find the strongest connections from the maps of an earlier layer to those of the shown one."""
    view = from_data(view_data)
    if not clicks or view.example is None or view.layer is None or not source:
        return no_update
    try:
        check(view, jobs.workbench())
        earlier, later = (jobs.workbench().layers.find(name).index for name in (source, view.layer))
        jobs.connect(view.example, earlier, later, _told(set_progress))
    except Exception as error:  # as above
        return _answer(no_update, _sentence(error, NAMES[ids.EDGES]))
    return _answer(clicks)


def suggest_job(set_progress: SetProgress, clicks: int | None, view_data: dict, _page: str) -> Answer:
    """Search for a way back from the prediction, and give it as steps of the trail."""
    view = from_data(view_data)
    if not clicks or view.example is None:
        return no_update
    try:
        check(view, jobs.workbench())
        how = "solved" if view.how == "exact" else view.how  # exact ones take minutes in a wide layer
        way = Way(how, view.against)
        hops = jobs.propose(view.example, view.target, _wanted(view), way, _told(set_progress))
    except Exception as error:  # as above
        return _answer(no_update, _sentence(error, NAMES[ids.SEARCH]))
    if not hops:
        none = "No map that contributes to the prediction moves the margin when src's takes its place."
        return _answer(no_update, none)
    steps = [asdict(step) for step in steps_of(jobs.workbench().layers, hops)]
    return _answer({"example": view.example, "steps": steps, "clicks": clicks})


def compare_job(set_progress: SetProgress, clicks: int | None, _page: str) -> Answer:
    """Compare all pairs of the workspace. The number of the click tells the page that there is something new to
    draw."""
    if not clicks:
        return no_update
    try:
        jobs.compare_pairs(_told(set_progress))
    except Exception as error:  # as above
        return _answer(no_update, _sentence(error, NAMES[ids.COMPARISON]))
    return _answer(clicks)


def second_job(set_progress: SetProgress, clicks: int | None, view_data: dict, _page: str) -> Answer:
    """Compare the two models on the shown pair."""
    view = from_data(view_data)
    if not clicks or view.example is None:
        return no_update
    try:
        check(view, jobs.workbench())
        jobs.compare_models(view.example, _wanted(view), _told(set_progress))
    except Exception as error:  # as above
        return _answer(no_update, _sentence(error, NAMES[ids.SECOND]))
    return _answer(clicks)


def visualise_job(set_progress: SetProgress, clicks: int | None, shown: dict | None, _page: str) -> Answer:
    """Make a picture that fires the shown map."""
    if not clicks or not shown or shown.get("layer") is None or shown.get("map") is None:
        return no_update
    try:
        chosen = jobs.workbench().layers.feature_map(shown["layer"], shown["map"])
        jobs.visualise(chosen, _told(set_progress))
    except Exception as error:  # as above
        return _answer(no_update, _sentence(error, NAMES[ids.VISUALISATION]))
    return _answer(clicks)


def learn_job(wanted: str | None, _page: str) -> Answer:
    """Complete the learned features, in the background and for everybody. The page looks at the store as they grow."""
    if not wanted:
        return no_update
    try:
        jobs.learn(silent)
    except Exception as error:  # as above
        return message(_sentence(error, "Finding the learned features"))
    return no_update


JOBS: dict[str, tuple[Callable[..., Answer], str]] = {
    job.__name__: (job, kind)
    for job, kind in (
        (extract_job, ids.EXTRACTION),
        (solve_job, ids.CONTRIBUTIONS),
        (flip_job, ids.FLIP_BACK),
        (suggest_job, ids.SEARCH),
        (compare_job, ids.COMPARISON),
        (visualise_job, ids.VISUALISATION),
        (edge_job, ids.EDGES),
        (second_job, ids.SECOND),
        (learn_job, ""),
    )
}
"""All jobs by the names of their functions, with their kinds; learning has none, as no line of the page shows it."""


def say_it_failed(error: Exception) -> None:
    """Show the visitor why an answer ended in an error; the page stays as it was.

    An AevisError is shown as it is. Any other error is shown with its name and the ID of the request, under which the
    log tells more.
    """
    if isinstance(error, AevisError):
        logs.tell_failure(_logger, "a request was refused", error, logging.INFO)
        set_props(ids.MESSAGE, {"children": str(error), "is_open": True})
        return
    logs.tell_failure(_logger, "an answer failed", error)
    reason = f"{type(error).__name__}: {error}"
    sentence = f"This could not be shown ({reason}). The page is as it was before.{logs.pointer()}"
    set_props(ids.MESSAGE, {"children": sentence, "is_open": True})


def failure(sentence: str) -> dict[str, Any]:
    """The result of a failed job whose work the page shows to be under way. The time in it makes it differ from the one
    before."""
    return {"failed": sentence, "at": time.time()}


def message(sentence: str = "") -> dict[str, Any]:
    """The part of an answer that shows a sentence at the page's top, or takes away the one that stands there."""
    return {"message": sentence, "open": bool(sentence)}


def _answer(result: Any, sentence: str = "") -> dict[str, Any]:
    """A job's answer; the sentence says why there is no result."""
    return {"result": result, **message(sentence), "ended": sentence}


def _ended(error: Exception, kind: str) -> dict[str, Any]:
    """The answer of a job that was refused, or that ended without a result: only the reason."""
    sentence = _why(error, NAMES[kind])
    awaited = kind in (ids.EXTRACTION, ids.CONTRIBUTIONS)  # the page says that they are under way
    return _answer(failure(sentence) if awaited else no_update, sentence)


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
    """The progress of a job, which is told in percent, in words, and with the time left."""
    remaining = Remaining()

    def told(share: float, what: str) -> None:
        left = in_words(remaining.seconds(share, held=what in (jobs.WAITS, jobs.PAUSES)))
        set_progress((round(100 * share, 1), what, left))

    return told


def _sentence(error: Exception, what: str) -> str:
    if isinstance(error, AevisError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{what} failed: the disk is full. Free some space and try again; what was finished is kept."
    logs.tell_failure(_logger, "job failed", error)
    reason = f"{type(error).__name__}: {error}"
    return f"{what} failed ({reason}). What was finished is kept, so try again.{logs.pointer()}"
