"""The station of the network: the river of the chosen triplet, or another picture of its datapaths."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import plotly.graph_objects as go
from dash import Dash, Input, Output, ctx, no_update

from aevis_dash import ids
from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.network.words import (
    CAUTION,
    Pairs,
    band_of_nulls,
    beside_other_measures,
    beside_other_targets,
    course,
    datapath_in_words,
    distances_apart,
    ends_by_measure,
    lost_label,
    missing_nulls,
    others_of,
)
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import triplet_of
from aevis_dash.callbacks.view.marks import mark, mark_output, mark_state
from aevis_dash.callbacks.view.opening import telling_maps
from aevis_dash.callbacks.view.state import ALL, FIRST, NULLS, View, datapaths_of, wanted_of
from aevis_dash.core.datapath import most_passes
from aevis_dash.domain import (
    AevisError,
    DatapathDistance,
    Role,
    Stretch,
    unsolved_note,
)
from aevis_dash.figures.dots import similarity
from aevis_dash.figures.drawing import Drawing
from aevis_dash.figures.network import (
    HEIGHT,
    Drawn,
    Ground,
    column_hovers,
    dots_figure,
    drawn_river,
    far_from_both,
    river_figure,
    small_picture,
)
from aevis_dash.figures.notice import notice
from aevis_dash.figures.theme import Theme, theme
from aevis_dash.geometry.dag import Columns, Group, columns, groups
from aevis_dash.geometry.focus import closed_groups, interest, quiet
from aevis_dash.geometry.river import LEAST_NULLS, River, even_out, river, stretches
from aevis_dash.geometry.strands import even_out as strands_evened
from aevis_dash.geometry.strands import strands
from aevis_dash.layouts.network import extract_again, extract_now, minimap
from aevis_dash.layouts.sentences import Sentence, sentences
from aevis_dash.layouts.story import Member, triplet
from aevis_dash.workbench import Triplet, Workbench

RIVER = {
    "figure": Output(ids.RIVER, "figure"),
    "note": Output(ids.RIVER_NOTE, "children"),
    "minimap": Output(ids.MINIMAP, "children"),
    "wanted": Output(ids.WANTED, "data"),
}
"""The outputs that are drawn at every answer."""
PATHS = {
    "members": Output(ids.TRIPLET, "children"),
    "targets": Output(ids.TARGET, "options"),
    "target": Output(ids.TARGET, "value"),
    "beside": Output(ids.BESIDE, "options"),
    "compared": Output(ids.BESIDE, "value"),
}
"""The outputs that are drawn anew only where other datapaths are shown."""
OF = ("example", "method", "share")
"""The fields of the view that say which river is shown. Clicks on it count for no other river (assets/controls.js,
`shows`)."""
_DOTS = Sentence("Each dot is a layer. Its height says how similar adv's datapath is to another's; 1 is the same.")
_NONE = "The datapaths of this example are not extracted."
_LONG = 90
"""The number of seconds from which a duration is told in minutes."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the network station."""

    @app.callback(
        output={**RIVER, **PATHS, "mark": mark_output(ids.TRIPLET)},
        inputs={
            "data": Input(ids.NETWORK_VIEW, "data"),
            "chosen": Input(ids.PATHS_VIEW, "data"),
            "ready": Input(ids.READY, "data"),
            "nulls": Input(ids.NULLS_READY, "data"),
        },
        state={"before": mark_state(ids.TRIPLET)},
        prevent_initial_call=True,
    )
    def show_network(data, chosen, ready, nulls, before):
        """Draw the network. The images, and the choice among them, are sent only where other datapaths are shown."""
        by = {changed["prop_id"].split(".")[0] for changed in ctx.triggered}
        landed = {part for part, store in ((FIRST, ids.READY), (NULLS, ids.NULLS_READY)) if store in by}
        answer = draw(bench, data, landed if ready or nulls else set(), failure(ready, data))
        answer["figure"].update_layout(height=height_of(data))
        now = mark(chosen, ready, nulls)
        if now == before:
            return answer | dict.fromkeys((*PATHS, "mark"), no_update)
        return answer | {"figure": without_motion(answer["figure"]), "mark": now}


def height_of(data: dict[str, Any] | None) -> int:
    """The height of the river in pixels, as the page says it: more in a high window."""
    return min(max(int((data or {}).get("height") or HEIGHT), HEIGHT), 2 * HEIGHT)


def without_motion(figure: go.Figure) -> Drawing:
    """The figure, without the animation by which a changed figure comes out of the one before, as this is another
    river."""
    drawn = figure.to_plotly_json()
    drawn["layout"].pop("transition", None)
    return drawn


def failure(ready: dict[str, Any] | None, data: dict[str, Any] | None) -> str:
    """The reason why the last extraction gave nothing, where it was one of what the view shows; "" otherwise."""
    same = all((ready or {}).get(name) == (data or {}).get(name) for name in OF)
    return (ready or {}).get("failed", "") if same else ""


def draw(
    bench: Workbench, data: dict[str, Any] | None, landed: Collection[str] = (), failed: str = ""
) -> dict[str, Any]:
    """The values of RIVER and PATHS for a view.

    Args:
        bench: the workbench of the workspace.
        data: the part of the view that the network is drawn from.
        landed: which parts an extraction has just ended with, FIRST and NULLS.
        failed: the reason why the last extraction gave nothing; "" where it did not fail.
    """
    view, colours = checked_view(data, bench), theme((data or {}).get("theme") == "dark")
    if view.example is None:
        return _nothing("Choose an example on the left.", "", [], colours)
    try:
        found = triplet_of(bench, view)
        members = found.members(view.compared) if found is not None else {}
    except AevisError as error:
        return _nothing("There is no river to draw.", str(error), [], colours)
    if found is None and failed:
        return _nothing(_NONE, extract_again(failed), _members_of_plan(bench, view), colours)
    if found is None and FIRST in landed:
        changed = "The workspace changed while its datapaths were extracted. Reload the page to try again."
        return _nothing(changed, "", [], colours)
    offered = (data or {}).get("offered") and view.example != bench.workspace.settings.opens_on
    if found is None and offered:
        return _nothing(_NONE, extract_now(_cost(bench, view)), _members_of_plan(bench, view), colours)
    if found is None:
        words, planned = _cost(bench, view), _members_of_plan(bench, view)
        wanted = datapaths_of(view) | {"part": ALL if view.compared else FIRST}
        return _nothing("Extracting the datapaths of this example …", words, planned, colours, wanted)
    asks = bool(found.pending) and not failed and NULLS not in landed
    picture = picture_of(bench, found, view, colours, coming=asks)
    again = [*extract_again(failed), " "] if found.pending and failed else []
    return {
        "figure": picture.figure,
        "note": [*sentences(picture.said), *again, *sentences(picture.note)],
        "minimap": minimap(picture.small),
        "wanted": datapaths_of(view) | {"part": NULLS} if asks else no_update,
        "members": triplet(_members(bench, found)),
        "targets": _targets(bench, found),
        "target": found.image(Role.TARGET),
        "beside": _beside(bench, found),
        "compared": [image for key, image in members.items() if key != Role.ADVERSARIAL],
    }


def _nothing(text: str, note: Any, members: list, colours: Theme, wanted: Any = no_update) -> dict[str, Any]:
    """The values of RIVER and PATHS while there is no river. The reason stands in the picture and under it."""
    river = {"figure": notice(text, colours, HEIGHT), "note": note, "minimap": minimap(""), "wanted": wanted}
    return river | {"members": members, "targets": [], "target": None, "beside": [], "compared": []}


@dataclass(frozen=True)
class Picture:
    """What the network station shows.

    Attributes:
        figure: the river or the dots.
        said: sentences on what the picture shows.
        note: sentences on how to read it.
        small: the address of a picture of the whole network; "" for none.
    """

    figure: go.Figure
    said: list[Sentence]
    note: list[Sentence]
    small: str


def picture_of(bench: Workbench, found: Triplet, view: View, colours: Theme, coming: bool = True) -> Picture:
    """What the network station shows of a view.

    Args:
        bench: the workbench of the workspace.
        found: the view's datapaths.
        view: the view.
        colours: the colours of the page.
        coming: whether missing datapaths of null targets are being extracted.
    """
    graph, placed = bench.layers, placed_of(bench, found, view)
    layers = bench.datapaths.distances(found, view.distance)
    members = found.members(view.compared)
    both = Role.SOURCE in members and Role.TARGET in members
    marks = stretches(layers) if both else ()
    levels = levels_of(placed)
    distance = None if view.compared else bench.datapaths.distances(found, view.distance, levels)
    seen = (
        distance.pairs if distance else bench.datapaths.distances_between(found, view.compared, view.distance, levels)
    )
    sizes = {key: np.array([p.sum() for p in graph.parts(found.path_of(n).critical)]) for key, n in members.items()}
    names = {key: bench.class_names[found.path_of(n).label] for key, n in members.items()}
    hovers = column_hovers(graph, placed, seen, sizes, distance)
    selected = graph.find(view.layer).index if view.layer else None
    ground = Ground(graph, groups_of(bench), placed, hovers, marks, selected, telling_maps(bench, found, view.question))
    if view.plot == "dots":
        similar = _similar(view.distance, seen)
        figure, drawn, note = dots_figure(ground, similar, names, colours), Drawn({}, names), [_DOTS]
    elif distance is not None:
        drawn = drawn_river(_river(view, distance, layers), names, far_from_both(distance))
        figure, note = river_figure(ground, drawn, colours), band_of_nulls(found)
    else:
        drawn, faithful = _strands(bench, found, view, seen, names)
        note = [faithful]
        figure = river_figure(ground, drawn, colours)
    meta = cast(dict[str, Any], figure.layout["meta"])
    of = {name: getattr(view, name) for name in OF}
    figure.update_layout(meta=meta | of)  # clicks are taken only on the figure of this river
    said = distances_apart(seen)
    if both:
        said = missing_nulls(found, coming) if found.pending else _course(bench, found, view, marks, layers)
    return Picture(figure, said, [*note, CAUTION, *_doubt(found)], small_picture(placed, drawn, colours))


def _course(
    bench: Workbench, found: Triplet, view: View, marks: Sequence[Stretch], layers: DatapathDistance
) -> list[Sentence]:
    """Sentences on the course of adv's datapath, and on whether other measures and other targets tell the same."""
    said = course(bench.layers, marks, layers)
    known = np.flatnonzero(np.isfinite(layers.share))
    if not known.size:
        return said
    last = int(known[-1])
    of_targets = bench.datapaths.target_shares(found, view.distance)[:, last]
    if len(layers.null_share) < LEAST_NULLS:  # then nothing else says where adv ends
        said = [*said, Sentence(f"At the end adv is {layers.share[last]:.0%} of the way from src to tar.")]
    return [
        *said,
        *beside_other_targets(of_targets, found.target, found.similarity),
        *beside_other_measures(ends_by_measure(bench, found, last), view.distance),
    ]


def _doubt(found: Triplet) -> list[Sentence]:
    """A sentence where the solver of some datapaths ended too early; none otherwise."""
    count = sum(path.unsolved for path in found.paths)
    return [Sentence(unsolved_note(f"{count} of {len(found.paths)} datapaths", "Eq. 5"))] if count else []


def groups_of(bench: Workbench) -> tuple[Group, ...]:
    """The module hierarchy of the workspace's network."""
    return groups(bench.layers)


def placed_of(bench: Workbench, found: Triplet, view: View) -> Columns:
    """Where the layers and groups of the network stand in a view, and which of the groups are open.

    By default groups are open where much happens by the distance of the activations.
    """
    graph, tree = bench.layers, groups_of(bench)
    default = quiet(graph, tree, interest(bench.datapaths.distances(found, "activations")))
    seen = [graph.find(name).index for name in (view.layer, *view.pinned) if name]
    return columns(graph, tree, closed_groups(tree, default, view.folds, seen))


def levels_of(placed: Columns) -> list[range]:
    """The layers of every column. The layers of one column are measured as one level."""
    return [range(column.first, column.last + 1) for column in placed.columns]


def _river(view: View, distance: DatapathDistance, layers: DatapathDistance) -> River:
    """The paper's river. Its scale is that of single layers, whatever groups are closed."""
    if view.gap == "equal":
        return river(even_out(distance))
    return river(distance, float(np.max(layers.d1, where=np.isfinite(layers.d1), initial=0.0)))


def _strands(
    bench: Workbench, found: Triplet, view: View, seen: Pairs, names: Mapping[str, str]
) -> tuple[Drawn, Sentence]:
    """The curves of two to eight datapaths, in the order and on the scale of all layers, and a sentence on their
    fit."""
    every = bench.datapaths.distances_between(found, view.compared, view.distance)
    whole = strands(strands_evened(every) if view.gap == "equal" else every)
    here = strands(strands_evened(seen) if view.gap == "equal" else seen, whole.order, whole.widest)
    note = Sentence(
        f"The curves keep one order through the whole network; {whole.stress:.0%} of the distances cannot be shown so."
    )
    return Drawn({key: here.y[key] for key in here.order}, names), note


def _similar(name: str, seen: Pairs) -> dict[str, np.ndarray]:
    """The similarity (C,) of adv to every other datapath at each column, by the other datapath's key."""
    with_adv = {pair: d for pair, d in seen.items() if Role.ADVERSARIAL in pair}
    return {next(key for key in pair if key != Role.ADVERSARIAL): similarity(name, d) for pair, d in with_adv.items()}


def _beside(bench: Workbench, found: Triplet) -> list[dict[str, str]]:
    """The options of all images with a datapath that adv's can be compared with."""
    kinds = [
        ("src", [found.plan.example.source]),
        ("tar", found.plan.candidates),
        ("other", found.plan.nulls[: len(found.nulls)]),
    ]
    return [
        {"label": f"{kind} · {bench.class_names[found.path_of(name).label]} · {name}", "value": name}
        for kind, names in kinds
        for name in names
    ]


def _cost(bench: Workbench, view: View) -> str:
    """A sentence on what has to be extracted before the river can be drawn, and what after that, and how long both
    take at most."""
    wanted = wanted_of(view, bench.workspace.settings.extraction)
    plan = bench.datapaths.plan(bench.workspace.example(view.example or ""), wanted)
    count, nulls = 2 + len(plan.candidates), len(plan.nulls)
    if view.compared or wanted.method == "joint":  # then all are extracted at once
        count, nulls = count + nulls, 0
    more = f", and then those of {others_of(nulls)}" if nulls else ""
    seconds = most_passes(wanted) * bench.classifier.seconds_of_pass
    left = f"at most {_duration(count * seconds)}" + (f" and {_duration(nulls * seconds)}" if nulls else "")
    return f"{count} datapaths to extract{more}: {left} on this machine. They are kept for the next time."


def _duration(seconds: float) -> str:
    return f"about {max(1, round(seconds))} s" if seconds < _LONG else f"about {round(seconds / 60)} min"


def _members(bench: Workbench, found: Triplet) -> list[Member]:
    return [
        Member(
            role,
            pictures.image(bench, found.image(role)),
            bench.class_names[found.path(role).label],
            found.path(role).p_full,
            datapath_in_words(found.path(role), bench.class_names[found.path(role).label]),
            lost_label(found.path(role), bench.class_names[found.path(role).label]),
        )
        for role in Role
    ]


def _members_of_plan(bench: Workbench, view: View) -> list:
    example = bench.workspace.example(view.example or "")
    names = {Role.SOURCE: example.source, Role.ADVERSARIAL: example.adversarial}
    predictions = bench.judging.predict(list(names.values()))
    members = [
        Member(role, pictures.image(bench, name), bench.class_names[p.label], p.confidence)
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
