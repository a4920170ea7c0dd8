"""Tells a page which jobs run and wait, its own and those of others, so that people see why theirs waits."""

from flask import Flask, Response, jsonify, request

from aevis_dash.callbacks.background import JOBS
from aevis_dash.callbacks.guard import refusal
from aevis_dash.callbacks.looking import LONGEST
from aevis_dash.callbacks.processes import JobManager
from aevis_dash.layouts.jobs import NAMES

ADDRESS = "/all-jobs"
LEARNING = "Learned features"
"""What the list calls the search for every map's best patches."""


def register(server: Flask, manager: JobManager) -> None:
    """Answer `/all-jobs?page=NAME` with a list of all jobs as that page sees them, in the order of their turns.

    Each has the `kind` in words, the `subject`, whether it is `mine`, the `user` where one is known, the `percent`, the
    `text` and the time `left`, the number of jobs `before` it, and whether it is `away`: an extraction that was left.
    """

    @server.get(ADDRESS)
    def _all_jobs() -> Response:
        page = request.args.get("page", "")
        if not page or len(page) > LONGEST:
            return refusal(400, "This does not name a page.")
        answer = jsonify([_as_told(one._asdict()) for one in manager.listing(page)])
        answer.headers["Cache-Control"] = "no-store"
        return answer


def _as_told(job: dict[str, object]) -> dict[str, object]:
    kind = JOBS[name][1] if (name := str(job.pop("job"))) in JOBS else ""
    return {"kind": NAMES.get(kind, LEARNING), **job}
