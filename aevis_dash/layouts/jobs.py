"""The jobs: a chip in the top bar while some run or wait, and the list that it opens, of this page's and of others."""

import dash_bootstrap_components as dbc
from dash import html

from aevis_dash import ids

NAMES = {
    ids.EXTRACTION: "Extraction",
    ids.CONTRIBUTIONS: "Contributions",
    ids.FLIP_BACK: "Flip-back",
    ids.SEARCH: "Trail",
    ids.COMPARISON: "All pairs",
    ids.VISUALISATION: "Picture",
    ids.EDGES: "Connections",
    ids.SECOND: "Two models",
}
"""What the list calls the kinds of jobs."""
RESUMED = (ids.EXTRACTION, ids.COMPARISON)
"""The kinds that go on where they ended, as all that they finished is kept."""


def jobs_chip() -> html.Div:
    """The chip and the list. Dash fills the lines of this page's jobs; `assets/queue.js` asks for the jobs of others
    (`callbacks/all_jobs.py`); `assets/jobs.js` shows the chip, and says in it how many jobs there are and how far one
    is."""
    lines = [part for kind in NAMES for part in (_line(kind), _end(kind))]
    return html.Div(
        [
            html.Details(
                [
                    html.Summary(id=ids.JOBS_CHIP, className="chip", title="The jobs that run and wait"),
                    html.Div([*lines, html.Div(id=ids.JOBS_OF_OTHERS)], className="drop"),
                ],
            ),
            html.Span(id=ids.JOBS_SAID, className="visually-hidden", role="status"),
        ],
        id=ids.JOBS,
        className="jobs",
    )


def _line(kind: str) -> html.Div:
    """A job, which is shown while it runs or waits."""
    name = NAMES[kind]
    return html.Div(
        [
            html.Div([html.B(name), " ", html.Span(id=ids.job_subject(kind), className="subject")], className="name"),
            dbc.Button(
                "Cancel", id=ids.cancel(kind), size="sm", color="secondary", outline=True, title=f"Cancel: {name}"
            ),
            dbc.Progress(id=ids.job_bar(kind), value=0, max=100),
            html.Span(id=ids.job_text(kind), className="text quiet"),
            html.Span(id=ids.job_left(kind), className="left quiet"),
        ],
        id=ids.job(kind),
        className="job",
        style={"display": "none"},
    )


def _end(kind: str) -> html.Div:
    """Why the last job of a kind ended without a result; shown until another begins, or another example is chosen."""
    said = html.Span(id=ids.job_ended(kind))
    if kind not in RESUMED:
        return html.Div(said, className="ended")
    again = dbc.Button("Go on", id=ids.go_on(kind), size="sm", color="primary", outline=True)
    return html.Div([said, again], className="ended")
