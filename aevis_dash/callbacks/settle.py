"""Where a view begins: the layer and the map that are worth a look first."""

import numpy as np

from aevis_dash.callbacks.view import View, foreign, listed, wanted_of
from aevis_dash.domain import DATAPATHS, AevisError, Role, shortened
from aevis_dash.workbench import Triplet, Workbench


def settled(bench: Workbench, view: View) -> View:
    """The view with its representative target, a layer and a map where it has none and they can be told, and without
    compared images that have no datapath beside this example.

    Without a layer: the one where src and adv part most, and there the map that tells most about the class that was
    lost. In another layer without a map: the critical one whose activation the attack raised most. Unchanged where the
    datapaths are not extracted or cannot be.
    """
    triplet = stored_triplet(bench, view)
    if triplet is None:
        return view
    view = view.but(target=triplet.image(Role.TARGET), compared=_comparable(triplet, view.compared))
    if view.layer is None:
        layer = parting_layer(bench, triplet)
        effects = bench.exchange_effects(triplet.plan.example.id, layer)
        view = view.but(layer=bench.layers.layers[layer].name, map=lost_map(bench, triplet, layer, effects))
    return view if view.map is not None or view.traced is not None else with_map(bench, triplet, view)


def comparable(bench: Workbench, view: View) -> tuple[View, list[str]]:
    """The view without compared images that have no datapath beside its example, and a sentence where there were any,
    or too many."""
    if not view.example:  # they go with one, which says `unread`
        return view.but(compared=()), []
    if not view.compared:
        return view, []
    missing = foreign(view, bench)
    try:
        plan = bench.plan(bench.workspace.example(view.example), wanted_of(view, bench.workspace.settings.extraction))
        known = (plan.example.source, *plan.candidates, *plan.nulls)
        missing = tuple(name for name in view.compared if name not in known)
    except AevisError:  # there is nothing to compare, of which the stations say why
        pass
    there = tuple(name for name in view.compared if name not in missing)
    if len(there) >= DATAPATHS:
        return view.but(compared=()), [
            f"The link compares {len(there) + 1} datapaths, and {DATAPATHS} are the most; the triplet's are shown."
        ]
    named = listed([repr(shortened(name)) for name in missing])
    said = [f"The link compares with {named}, which this example has no datapath of; the rest is shown."]
    return view.but(compared=there), said if missing else []


def _comparable(triplet: Triplet, compared: tuple[str, ...]) -> tuple[str, ...]:
    """The images where all can be compared here, else none, which stands for the triplet's."""
    try:
        triplet.members(compared)
    except AevisError:
        return ()
    return compared


def parting_layer(bench: Workbench, triplet: Triplet) -> int:
    """The layer where the activations of src and adv lie farthest apart (d2)."""
    apart = bench.distances(triplet, "activations").d2
    return int(np.argmax(np.where(np.isfinite(apart), apart, -np.inf)))


def lost_map(bench: Workbench, triplet: Triplet, layer: int, effects: np.ndarray) -> int | None:
    """The map of a layer that tells most about the class that was lost: of those in src's datapath that fire less on
    adv, the one whose exchange moves the margin most towards src's class by its (n_l,) `effects`
    (`Workbench.exchange_effects`). None where no such map moves it there."""
    higher = bench.difference(triplet, layer, Role.SOURCE, Role.ADVERSARIAL) > 0
    telling = np.where(higher & bench.layers.part(triplet.source.critical, layer), effects, -np.inf)
    best = int(np.argmax(telling))
    return best if telling[best] > 0 else None


def is_lost_map(bench: Workbench, triplet: Triplet, layer: int, channel: int) -> bool:
    """Whether that is the layer's `lost_map`, as far as its effects are stored."""
    effects = bench.stored_exchange_effects(triplet.plan.example.id, layer)
    return effects is not None and lost_map(bench, triplet, layer, effects) == channel


def with_map(bench: Workbench, triplet: Triplet, view: View) -> View:
    """The view with the map of its layer that `most_raised` names."""
    return view.but(map=most_raised(bench, triplet)[bench.layers.find(view.layer or "").index])


def most_raised(bench: Workbench, triplet: Triplet) -> list[int]:
    """(L,) of each layer the map, critical to adv, that fires most more on adv than on src."""
    raised = bench.maxima(triplet.image(Role.ADVERSARIAL)) - bench.maxima(triplet.image(Role.SOURCE))
    raised = np.where(triplet.adversarial.critical, raised, -np.inf)
    return [int(np.argmax(bench.layers.part(raised, layer.index))) for layer in bench.layers.layers]


def triplet_of(bench: Workbench, view: View) -> Triplet | None:
    """The view's triplet, extracted as the view says, where the datapaths that it shows are stored; raises AevisError
    where it can have none."""
    wanted = wanted_of(view, bench.workspace.settings.extraction)
    found = bench.triplet(view.example, view.target, wanted) if view.example else None
    missing = found is not None and found.pending and not set(view.compared).isdisjoint(found.plan.nulls)
    return None if missing else found


def stored_triplet(bench: Workbench, view: View) -> Triplet | None:
    """The view's triplet where its datapaths are stored and it has any."""
    try:
        return triplet_of(bench, view)
    except AevisError:
        return None
