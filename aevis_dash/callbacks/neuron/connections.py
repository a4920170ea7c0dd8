"""The connections of the shown layer: through which of its maps the maps of an earlier layer turn the prediction back.

They are the edges of `core.edges`. Finding them takes seconds, so a job does it when it is asked for. What is stored
also stands in the hover of the treemap's cells (`callbacks/layer/links.py`).
"""

import math

import numpy as np
from dash import Dash, Input, Output, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks.view.address import checked_view
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import EdgeSet
from aevis_dash.layouts.connections import Link, connections
from aevis_dash.layouts.sentences import Sentence
from aevis_dash.workbench import Workbench

SHOWN = 6
"""The number of connections of the shown map that become buttons, at most; and of the layer, where none is of it."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callback that tells the connections which are stored."""

    @app.callback(
        output={"told": Output(ids.EDGE_TEXT, "children"), "done": Output(ids.FIND_EDGES, "disabled")},
        inputs={
            "data": Input(ids.EDGES_VIEW, "data"),
            "source": Input(ids.SOURCE_LAYER, "value"),
            "_ready": Input(ids.READY, "data"),
            "_found": Input(ids.EDGES_FOUND, "data"),
        },
        state={"whole": State(ids.VIEW, "data")},
        prevent_initial_call=True,
    )
    def show_connections(data, source, _ready, _found, whole):
        """Tell the stored connections between the chosen earlier layer and the shown one. While they are folded away
        there is nothing to tell."""
        if not data:
            return {"told": no_update, "done": no_update}
        return told(bench, checked_view(whole, bench), source)


def told(bench: Workbench, view: View, source: str | None) -> dict[str, object]:
    """The connections of a view as parts of the page, as "told"; and whether there is nothing to find, as "done".

    Args:
        bench: the workbench of the workspace.
        view: the view.
        source: the name of the earlier layer.
    """
    if view.layer is None or stored_triplet(bench, view) is None:
        return {"told": [], "done": True}
    later = bench.layers.find(view.layer)
    feeding = [bench.layers.layers[i].name for i in bench.contributions.sources(later.index)]
    if source not in feeding:
        return {"told": [] if feeding else "No earlier layer feeds this one.", "done": True}
    earlier = bench.layers.find(source)
    found = bench.flips.find_stored_edges(view.example or "", earlier.index, later.index)
    if found is None:
        asked = f"Through which maps of {later.name} do the maps of {earlier.name} turn the prediction back?"
        return {"told": asked, "done": False}
    change = bench.flips.turning(view.example or "").change
    ours = [i for i, end in enumerate(found.end.tolist()) if end == view.map]
    links = [
        Link(int(found.begin[i]), int(found.end[i]), float(found.effects[i] / change))
        for i in (ours or range(len(found.end)))[:SHOWN]
    ]
    said = in_words(found, earlier.name, later.name, view.map, len(ours))
    return {"told": connections(said, earlier.name, links), "done": True}


def in_words(found: EdgeSet, earlier: str, later: str, shown: int | None, count: int) -> list[Sentence]:
    """What the connections carry beside their controls, and how many of them end in the shown map.

    Args:
        found: the strongest connections.
        earlier: the name of the layer where they begin.
        later: the name of the layer where they end.
        shown: the shown map; None for none.
        count: how many of them end in it.
    """
    if not len(found.end):
        return [Sentence(f"No connection from {earlier} to {later} is estimated to turn the prediction back.")]
    kept, by_size, chance = (found.kept(each) for each in (found.carried, found.by_difference, found.chance))
    exact = (
        f"Carried alone, they move the margin from {found.before:.2f} to {found.carried:.2f}; all connections between "
        f"the two layers move it to {found.all_carried:.2f}."
    )
    many = len(found.end)
    said = f"The {many} strongest connections" if many > 1 else "The strongest connection"
    if not math.isfinite(float(kept)):
        return [Sentence(f"{said} cannot be judged, as all connections together move nothing.", exact)]
    size = f"as many chosen by difference keep {float(by_size):.0%}"
    drawn = np.asarray(chance)
    random = f", as many random ones {float(np.median(drawn)):.0%}" if drawn.size else ""
    keep = "keep" if many > 1 else "keeps"
    sentences = [Sentence(f"{said} {keep} {float(kept):.0%} of what all of them carry; {size}{random}.", exact)]
    if shown is not None:
        into = f"{count} of them {'ends' if count == 1 else 'end'}" if count else "None of them ends"
        sentences.append(Sentence(f"{into} in map {shown}" + (":" if count else "; the strongest of the layer are:")))
    return sentences
