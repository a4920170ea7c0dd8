"""What readers may ask of the server: each callback of the page draws something, starts a job, or saves something.

A callback that is in none of these lists is refused to readers, and a test asks for its place in one of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dash import Dash
from flask import Response, g

from aevis_dash.callbacks import bodies, visitors
from aevis_dash.callbacks.guard import refusal
from aevis_dash.callbacks.rates import Rates
from aevis_dash.callbacks.visitors import READERS, Access
from aevis_dash.domain import AevisError
from aevis_dash.store import Store

DRAWS = frozenset(
    {
        *("examples.clicks.choose_example", "examples.divergences.show_divergences"),
        *("examples.divergences.say_what_is_picked", "examples.gallery.show_examples", "examples.gallery.mark_ready"),
        *("examples.recurrent.show_confusions", "examples.recurrent.show_recurrent"),
        *("layer.clicks.go", "layer.clicks.choose_maps"),
        *("layer.table.show_table", "layer.table.sort", "layer.table.save", "layer.treemap.show_layer"),
        *("network.clicks.look_for", "network.clicks.go", "network.clicks.choose", "network.river.show_network"),
        *("neuron.activations.show_larger", "neuron.answer.show_neuron", "neuron.clicks.choose_area"),
        *("neuron.connections.show_connections", "neuron.learned.look"),
        *("saved_trails.show_saved", "story.telling.tell", "story.telling.show"),
        *("trail.clicks.trace", "trail.clicks.keep_flip", "trail.clicks.keep_trail"),
        *("two_models.show_two_models", "view.opening.open_link", "view.opening.ask", "view.opening.land"),
        "warnings.say",
    }
)
"""The callbacks that draw what is stored, or change what is shown. `save` of the table hands a file to the visitor."""
JOBS = frozenset(
    f"background.{name}_job"
    for name in ("extract", "solve", "flip", "edge", "suggest", "compare", "second", "visualise", "learn")
)
"""The callbacks that start jobs. A reader is told on the page why not, by `guarded`."""
CHANGES = frozenset({"saved_trails.save", "saved_trails.delete", "dash.dash.cancel_call"})
"""The callbacks that write, or end a job (which Dash adds)."""
JOBS_WITHIN = 600
"""The seconds of the window in which the jobs of a user are counted."""


def name_of(callback: Callable) -> str:
    """The name of a callback in the lists: its module below `callbacks`, and its function."""
    return f"{callback.__module__.removeprefix('aevis_dash.callbacks.')}.{callback.__name__}"


def names_of(callbacks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The names of the callbacks that the server answers, by their outputs.

    Args:
        callbacks: Dash's callbacks by their outputs (`Dash.callback_map`).
    """
    return {output: name_of(one["callback"]) for output, one in callbacks.items() if "callback" in one}


def register(app: Dash) -> None:
    """Refuse to readers the callbacks that write, and those that no list names."""

    @app.server.before_request
    def _allowed() -> Response | None:
        output = g.get(bodies.OUTPUT)
        if output is None or visitors.may_change():
            return None
        name = name_of(app.callback_map[output]["callback"])
        return None if name in DRAWS | JOBS else refusal(403, READERS)


def guarded(manager: Any, access: Access, rates: Rates) -> Any:
    """The manager of jobs, which from now on refuses the jobs of readers, and those of users who ask for too many.

    The refusal is an AevisError, which the page shows as it shows that the queue is full.
    """
    ask = manager.call_job_fn

    def asked(*given: Any) -> Any:
        if not visitors.may_change():
            raise AevisError(READERS)
        name = visitors.name_of_current()
        if name and not rates.allows(f"jobs:{name}", access.jobs, JOBS_WITHIN):
            raise AevisError(
                f"You have asked for {access.jobs} jobs within ten minutes, which is as many as one user may. Go on in "
                "a few minutes."
            )
        return ask(*given)

    manager.call_job_fn = asked
    return manager


def keep_from_readers(store: Store) -> None:
    """Let the store of results keep nothing from now on of what is computed for a reader."""
    put = store.put

    def kept(key: str, value: Any) -> bool:
        return visitors.may_change() and put(key, value)

    store.put = kept  # type: ignore[method-assign]
