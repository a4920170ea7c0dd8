"""The datapaths that a view names, where they are stored."""

from aevis_dash.callbacks.view.state import View, wanted_of
from aevis_dash.domain import AevisError
from aevis_dash.workbench import Triplet, Workbench


def triplet_of(bench: Workbench, view: View) -> Triplet | None:
    """The view's triplet, extracted as the view says; None where the datapaths that it shows are not stored.

    Raises:
        AevisError: where the view can have no triplet.
    """
    wanted = wanted_of(view, bench.workspace.settings.extraction)
    found = bench.datapaths.triplet(view.example, view.target, wanted) if view.example else None
    missing = found is not None and found.pending and not set(view.compared).isdisjoint(found.plan.nulls)
    return None if missing else found


def stored_triplet(bench: Workbench, view: View) -> Triplet | None:
    """The view's triplet where its datapaths are stored; None also where the view can have no triplet."""
    try:
        return triplet_of(bench, view)
    except AevisError:
        return None
