"""Where a view begins: a link is opened, and the layer and the map are found that are worth a look first."""

import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks.view.address import check, checked_view, foreign, from_search, list_names, remainder
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import LOST, NULLS, QUESTIONS, View, changes, wanted_of, without_own
from aevis_dash.callbacks.view.steps import Area, area_of, plain_area
from aevis_dash.domain import DATAPATHS, AevisError, Role, shorten
from aevis_dash.workbench import Triplet, Workbench


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks that set where a view begins: when a link is opened, and when datapaths were extracted."""
    own = bench.workspace.settings.extraction

    @app.callback(
        Input(ids.URL, "search"),
        Input(ids.WENT, "data"),
        output={
            "view": Output(ids.ARRIVED, "data"),
            "message": Output(ids.MESSAGE, "children"),
            "open": Output(ids.MESSAGE, "is_open"),
        },
    )
    def open_link(search, went):
        """Show the view of the address: at first, and when the visitor goes back or forward.

        Dash hears of going back or forward only where it knows the address, so the browser says it too (ids.WENT).
        """
        address = went["search"] if went and ctx.triggered_id == ids.WENT else search
        try:
            view, beside = comparable(bench, from_search(address))
            check(view, bench)
            view = without_own(view, own)
            view = settle(bench, view) if view.example else opening(bench, view)
            check(view, bench)
        except AevisError as error:
            said = [str(error), *remainder(address, refused=True)]
            return {"view": opening(bench).to_data(), "message": " ".join(said), "open": True}
        left_out = [*remainder(address), *beside]
        return {"view": view.to_data(), "message": " ".join(left_out), "open": bool(left_out)}

    app.clientside_callback(
        ClientsideFunction("aevis", "arrive"),
        Output(ids.VIEW, "data"),
        Input(ids.ARRIVED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.QUESTION, "value"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def ask(question, data):
        """Ask the other question: the shown layer is told anew, with the map that tells most about it."""
        view = checked_view(data, bench)
        if question not in QUESTIONS or question == view.question:
            return no_update
        return changes(view, settle(bench, view.asking(question)))

    @app.callback(
        Output(ids.CHANGES, "data", allow_duplicate=True),
        Input(ids.LANDED, "data"),
        State(ids.VIEW, "data"),
        prevent_initial_call=True,
    )
    def land(landed, data):
        """Settle the view after datapaths were extracted: it gets a layer and a map where it has none.

        With the change of the view all stations hear of the datapaths; of those of the null targets only the network
        hears.
        """
        view = checked_view(data, bench)
        try:
            after = settle(bench, view)
        except AevisError:  # the stations are drawn next, and say why
            after = view
        heard = ids.NULLS_READY if landed["part"] == NULLS else ids.READY
        return changes(view, after, then={heard: landed})


def settle(bench: Workbench, view: View) -> View:
    """The view with all that can be told where it has none: the representative target, a layer and a map.

    Without a layer it is the one where src and adv part most, with the map that tells most about the class that was
    lost, or else with the one that tells most about the question (`telling_maps`), as in any layer without a map.
    Compared images that have no datapath beside this example are left out. The view is unchanged where its datapaths
    are not stored.
    """
    triplet = stored_triplet(bench, view)
    if triplet is None:
        return view
    view = view.but(target=triplet.image(Role.TARGET), compared=_comparable(triplet, view.compared))
    bench.flips.turning(triplet.plan.example.id)  # the layer's cells show it, and it tells which map was lost
    if view.layer is None:
        view = view.but(layer=bench.layers.layers[parting_layer(bench, triplet)].name)
    return view if view.map is not None or view.traced is not None else with_map(bench, triplet, view)


def comparable(bench: Workbench, view: View) -> tuple[View, list[str]]:
    """The view without compared images that have no datapath beside its example, and a sentence where there were any.

    Where the view compares too many, it compares the triplet's images, and the sentence says so.
    """
    if not view.example:  # compared images belong to an example, as `remainder` tells the visitor
        return view.but(compared=()), []
    if not view.compared:
        return view, []
    missing = foreign(view, bench)
    try:
        plan = bench.datapaths.plan(
            bench.workspace.example(view.example), wanted_of(view, bench.workspace.settings.extraction)
        )
        known = (plan.example.source, *plan.candidates, *plan.nulls)
        missing = tuple(name for name in view.compared if name not in known)
    except AevisError:  # there is nothing to compare, and the stations say why
        pass
    there = tuple(name for name in view.compared if name not in missing)
    if len(there) >= DATAPATHS:
        return view.but(compared=()), [
            f"The link compares {len(there) + 1} datapaths, and {DATAPATHS} are the most; the triplet's are shown."
        ]
    named = list_names([repr(shorten(name)) for name in missing])
    said = [f"The link compares with {named}, which this example has no datapath of; the rest is shown."]
    return view.but(compared=there), said if missing else []


def _comparable(triplet: Triplet, compared: tuple[str, ...]) -> tuple[str, ...]:
    """The images where all of them can be compared here; () otherwise, which stands for the triplet's images."""
    try:
        triplet.members(compared)
    except AevisError:
        return ()
    return compared


def parting_layer(bench: Workbench, triplet: Triplet) -> int:
    """The index of the layer where the activations of src and adv lie farthest apart (d2)."""
    apart = bench.datapaths.distances(triplet, "activations").d2
    return int(np.argmax(np.where(np.isfinite(apart), apart, -np.inf)))


def lost_map(bench: Workbench, triplet: Triplet, layer: int, effects: np.ndarray) -> int | None:
    """The map of a layer that tells most about the class that was lost; None where no map does.

    Of the maps that are critical to src and fire less on adv, it is the one that moves the margin most towards src's
    class when it is put from src into adv.

    Args:
        bench: the workbench of the workspace.
        triplet: the example's datapaths.
        layer: the index of the layer.
        effects: by how much each map moves the margin, (n_l,); see `Flips.turning`.
    """
    telling = np.where(bench.layers.part(_may_be_lost(bench, triplet), layer), effects, -np.inf)
    best = int(np.argmax(telling))
    return best if telling[best] > 0 else None


def _may_be_lost(bench: Workbench, triplet: Triplet) -> np.ndarray:
    """Which maps are critical to src and fire less on adv than on src, bool (n,)."""
    lower = bench.maps.maxima(triplet.image(Role.SOURCE)) > bench.maps.maxima(triplet.image(Role.ADVERSARIAL))
    return lower & triplet.source.critical


def is_lost_map(bench: Workbench, triplet: Triplet, layer: int, channel: int) -> bool:
    """Whether the channel is the layer's `lost_map`. It is not taken to be where the turning effects are not stored."""
    found = bench.flips.stored_turning(triplet.plan.example.id)
    return found is not None and lost_map(bench, triplet, layer, bench.layers.part(found.effects, layer)) == channel


def with_map(bench: Workbench, triplet: Triplet, view: View) -> View:
    """The view with the map of its layer that tells most about its question."""
    return view.but(map=telling_maps(bench, triplet, view.question)[bench.layers.find(view.layer or "").index])


def telling_maps(bench: Workbench, triplet: Triplet, question: str) -> list[int]:
    """For each of the L layers the map that tells most about a question.

    For the lost class it is the layer's `lost_map`. For the new class, in a layer without a lost map, and while the
    turning effects are not stored, it is the map that `most_raised` names.
    """
    raised = most_raised(bench, triplet)
    found = bench.flips.stored_turning(triplet.plan.example.id) if question == LOST else None
    if found is None:
        return raised
    effects = bench.layers.parts(np.where(_may_be_lost(bench, triplet), found.effects, -np.inf))
    return [int(np.argmax(own)) if own.max() > 0 else other for own, other in zip(effects, raised, strict=True)]


def most_raised(bench: Workbench, triplet: Triplet) -> list[int]:
    """For each of the L layers the map, critical to adv, whose activation is most above that on src.

    In a layer without critical maps it is any map whose activation is most above that on src.
    """
    raised = bench.maps.maxima(triplet.image(Role.ADVERSARIAL)) - bench.maps.maxima(triplet.image(Role.SOURCE))
    of_layers = zip(bench.layers.parts(triplet.adversarial.critical), bench.layers.parts(raised), strict=True)
    return [int(np.argmax(np.where(critical | ~critical.any(), own, -np.inf))) for critical, own in of_layers]


def carried_area(bench: Workbench, view: View, layer: int) -> Area | None:
    """The view's area of interest in another layer, which is the neurons that feed it; None where none do, or all."""
    if view.layer is None or view.area is None:
        return None
    if bench.layers.find(view.layer).index == layer:
        return view.area
    area = bench.contributions.carry(area_of(bench.layers, view.layer, view.area), layer)
    extent = bench.layers.layers[layer]
    return None if area is None or area.neurons == extent.height * extent.width else plain_area(area)


def at_layer(bench: Workbench, view: View, layer: int, chosen: int | None = None) -> View:
    """The view at another layer, with the area of interest carried there and all else settled.

    Args:
        bench: the workbench of the workspace.
        view: the view before.
        layer: the index of the layer.
        chosen: the map of that layer; None to let `settle` choose.
    """
    area = carried_area(bench, view, layer)
    on = view.on if area is not None else ""  # the image on which an area was chosen goes with it
    return settle(bench, view.edit(layer=bench.layers.layers[layer].name, map=chosen, area=area, on=on))


def opening(bench: Workbench, like: View | None = None) -> View:
    """The view that a visitor without a link begins with, which shows the workbench's opening example.

    Args:
        bench: the workbench of the workspace.
        like: a view whose ways to show things are kept; None for those of a new page.
    """
    found = bench.opening(bench.judging.judged_examples())
    like = like or View()
    plain = like.at_example(found.example.id if found is not None else None).but(sort=like.sort)
    return settle(bench, plain) if found is not None else plain
