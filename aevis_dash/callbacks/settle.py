"""Where a view begins: the layer and the map that are worth a look first."""

import numpy as np

from aevis_dash.callbacks.view import View, wanted_of
from aevis_dash.domain import AevisError, Pattern, Role
from aevis_dash.geometry.river import stretches
from aevis_dash.workbench import Triplet, Workbench


def settled(bench: Workbench, view: View) -> View:
    """The view with its representative target, a layer and a map where it has none and they can be told, and without
    compared images that have no datapath beside this example.

    Without a layer: the one where the adversarial begins to merge with the target. Without a map: the critical one
    whose activation the attack raised most. Unchanged where the datapaths are not extracted or cannot be.
    """
    triplet = stored_triplet(bench, view)
    if triplet is None:
        return view
    view = view.but(target=triplet.image(Role.TARGET), compared=_comparable(triplet, view.compared))
    if view.layer is None:
        view = view.but(layer=bench.layers.layers[telling_layer(bench, triplet)].name)
    return view if view.map is not None or view.traced is not None else with_map(bench, triplet, view)


def _comparable(triplet: Triplet, compared: tuple[str, ...]) -> tuple[str, ...]:
    """The images where all can be compared here, else none, which stands for the triplet's."""
    try:
        triplet.members(compared)
    except AevisError:
        return ()
    return compared


def telling_layer(bench: Workbench, triplet: Triplet) -> int:
    """The first layer where adv merges with tar, else of the transition, else the last one."""
    found = {s.pattern: s for s in reversed(stretches(bench.distances(triplet, "activations")))}
    for pattern in (Pattern.MERGING, Pattern.TRANSITION):
        if pattern in found:
            return found[pattern].first
    return len(bench.layers) - 1


def with_map(bench: Workbench, triplet: Triplet, view: View) -> View:
    """The view with the map of its layer that `most_raised` names."""
    return view.but(map=most_raised(bench, triplet)[bench.layers.find(view.layer or "").index])


def most_raised(bench: Workbench, triplet: Triplet) -> list[int]:
    """(L,) of each layer the map, critical to adv, that fires most more on adv than on src."""
    raised = bench.maxima(triplet.image(Role.ADVERSARIAL)) - bench.maxima(triplet.image(Role.SOURCE))
    raised = np.where(triplet.adversarial.critical, raised, -np.inf)
    return [int(np.argmax(bench.layers.part(raised, layer.index))) for layer in bench.layers.layers]


def triplet_of(bench: Workbench, view: View) -> Triplet | None:
    """The view's triplet, extracted as the view says, where its datapaths are stored; raises AevisError where it
    can have none."""
    wanted = wanted_of(view, bench.workspace.settings.extraction)
    return bench.triplet(view.example, view.target, wanted) if view.example else None


def stored_triplet(bench: Workbench, view: View) -> Triplet | None:
    """The view's triplet where its datapaths are stored and it has any."""
    try:
        return triplet_of(bench, view)
    except AevisError:
        return None
