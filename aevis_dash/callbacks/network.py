"""The network: the river of the chosen triplet."""

import numpy as np
from dash import Dash, Input, Output, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks import addresses
from aevis_dash.callbacks.settle import triplet_of
from aevis_dash.callbacks.view import View, from_data
from aevis_dash.domain import AevisError, Datapath, DatapathDistance, Role
from aevis_dash.figures.network import river_figure
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import Theme, theme
from aevis_dash.geometry.dag import columns
from aevis_dash.geometry.river import evened, river, stretches
from aevis_dash.layouts.network import Member, triplet
from aevis_dash.workbench import Triplet, Workbench

_HEIGHT = 250
_CAUTION = "Hard sets say their label of almost any image: no proof of cause."


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the network station."""

    @app.callback(
        Output(ids.RIVER, "figure"),
        Output(ids.RIVER_NOTE, "children"),
        Output(ids.TRIPLET, "children"),
        Output(ids.TARGET, "options"),
        Output(ids.TARGET, "value"),
        Output(ids.WANTED, "data"),
        Input(ids.NETWORK_VIEW, "data"),
        Input(ids.READY, "data"),
    )
    def show_network(data, _ready):
        view, colours = from_data(data), theme((data or {}).get("theme") == "dark")
        if view.example is None:
            return notice("Choose an example on the left.", colours, _HEIGHT), "", [], [], None, no_update
        try:
            found = triplet_of(bench, view)
        except AevisError as error:
            return notice("There is no river to draw.", colours, _HEIGHT), str(error), [], [], None, no_update
        if found is None and any(t["prop_id"].startswith(ids.READY) for t in ctx.triggered):
            changed = "The workspace changed while its datapaths were extracted. Reload the page to try again."
            return notice(changed, colours, _HEIGHT), "", [], [], None, no_update
        if found is None:
            waiting = notice("Extracting the datapaths of this example …", colours, _HEIGHT)
            return waiting, _cost(bench, view), _members_of_plan(bench, view), [], None, datapaths_of(view)
        distance = bench.distances(found, view.distance)
        figure = _river(bench, found, distance, view, colours)
        options, value = _targets(bench, found), found.image(Role.TARGET)
        return figure, _note(found), triplet(_members(bench, found)), options, value, no_update


def datapaths_of(view: View) -> dict[str, str | float | None]:
    """The part of the view that says which datapaths are shown: what a job is asked for."""
    return {"example": view.example, "target": view.target, "method": view.method, "share": view.share}


def _river(bench: Workbench, found: Triplet, distance: DatapathDistance, view: View, colours: Theme):
    graph = bench.layers
    sizes = {role: np.array([p.sum() for p in graph.parts(found.path(role).critical)]) for role in Role}
    selected = graph.find(view.layer).index if view.layer else None
    names = {role: bench.class_names[found.path(role).label] for role in Role}
    drawn = river(evened(distance) if view.gap == "equal" else distance)
    return river_figure(graph, columns(graph), drawn, distance, stretches(distance), selected, sizes, colours, names)


def _note(found: Triplet) -> str:
    nulls = f" Faint band: adv's place for {len(found.nulls)} targets of other classes." if found.nulls else ""
    return f"adv splits the gap as its distances to src and tar.{nulls} Click a layer. {_CAUTION}"


def _cost(bench: Workbench, view: View) -> str:
    plan = bench.plan(bench.workspace.example(view.example or ""))
    return f"{2 + len(plan.candidates) + len(plan.nulls)} datapaths to extract; they are kept for the next time."


def _members(bench: Workbench, found: Triplet) -> list[Member]:
    return [
        Member(
            role,
            addresses.image(bench, found.image(role)),
            bench.class_names[found.path(role).label],
            found.path(role).p_full,
            _path(found.path(role)),
            _warning(found.path(role)),
        )
        for role in Role
    ]


def _path(path: Datapath) -> str:
    share = path.size / path.gates.size
    return f"hard set {_maps(path.size)}, {share:.1%}; alone {path.p_hard:.0%}; core {_maps(int(path.core.sum()))}"


def _maps(count: int) -> str:
    return f"{count} map" + "s" * (count != 1)


def _warning(path: Datapath) -> str:
    return "" if path.keeps_hard else "The hard set alone does not keep the label."


def _members_of_plan(bench: Workbench, view: View) -> list:
    example = bench.workspace.example(view.example or "")
    names = {Role.SOURCE: example.source, Role.ADVERSARIAL: example.adversarial}
    predictions = bench.predict(list(names.values()))
    members = [
        Member(role, addresses.image(bench, name), bench.class_names[p.label], p.confidence, "")
        for (role, name), p in zip(names.items(), predictions, strict=True)
    ]
    return triplet(members)


def _targets(bench: Workbench, found: Triplet) -> list[dict[str, str]]:
    ranked = sorted(zip(found.plan.candidates, found.similarity, strict=True), key=lambda pair: -pair[1])
    best = ranked[0][0]
    return [
        {"label": f"{name} · similarity {value:.1f}" + (" · representative" if name == best else ""), "value": name}
        for name, value in ranked
    ]
