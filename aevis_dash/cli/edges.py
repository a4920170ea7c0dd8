"""The verb `edges`: through which maps of a later layer the maps of an earlier one turn a wrong prediction back."""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aevis_dash.cli.opening import earlier_layer, example_of, on_workspace
from aevis_dash.cli.output import Answer, decimals, table
from aevis_dash.config import Progress
from aevis_dash.domain import AevisError, EdgeSet, Layer
from aevis_dash.workbench import Workbench


@on_workspace
def edges(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Find the strongest edges between two layers, and carry them alone, beside random ones."""
    example = example_of(bench, args)
    if args.allow_large:
        bench.judging.allow_large([example])
    if len(bench.layers) == 1:
        raise AevisError("This network has one layer only, so it has no edges.")
    later = bench.layers.layers[-1] if args.layer is None else bench.layers.find(args.layer)
    earlier = earlier_layer(bench, later.index, args.earlier)
    found = bench.flips.edges(example, earlier.index, later.index, args.count, progress)
    document = edges_document(bench, example, earlier, later, found)
    return Answer(document, _text(document))


def edges_between_depths(bench: Workbench, example: str, progress: Progress) -> list[dict[str, Any]]:
    """The strongest edges between the last layers of neighbouring stages, as documents; the last stage comes first.

    Of stages that lie side by side none feeds the other, so each begins at the nearest earlier one that feeds it.
    """
    depths, layers = bench.flips.depths(), bench.layers.layers
    feeding = ((next((i for i in bench.contributions.sources(k) if i in depths), None), k) for k in reversed(depths))
    pairs = [(earlier, later) for earlier, later in feeding if earlier is not None]
    found = []
    for i, (earlier, later) in enumerate(pairs):
        progress(i / len(pairs), f"measuring the edges into {layers[later].name}")
        told = bench.flips.edges(example, earlier, later)
        found.append(edges_document(bench, example, layers[earlier], layers[later], told))
    return found


def edges_table(found: Sequence[Mapping[str, Any]]) -> str:
    """What `edges_between_depths` gives, as a table with a line for each pair of layers."""
    head = ["edges from", "to", "the strongest", "edges", "kept", "by difference", "at random"]
    rows = []
    for each in found:
        first = each["edges"][0] if each["edges"] else None
        named = f"map {first['from']} to map {first['to']}, {first['share']:.1%}" if first else "none"
        kept = (each["kept"], each["kept_by_difference"], each["kept_by_random"]["median"])
        parts = [f"{part:.0%}" if math.isfinite(part) else None for part in kept]
        rows.append([each["from"], each["layer"], named, len(each["edges"]), *parts])
    return table(head, rows)


def edges_document(bench: Workbench, example: str, earlier: Layer, later: Layer, found: EdgeSet) -> dict[str, Any]:
    """The edges between two layers, and what they carry beside the controls, as a document."""
    change = bench.flips.turning(example).change
    chance = np.asarray(found.kept(found.chance))
    return {
        "example": example,
        "from": earlier.name,
        "layer": later.name,
        "edges": [
            {"from": int(k), "to": int(m), "effect": float(e), "share": float(e / change)}
            for k, m, e in zip(found.begin, found.end, found.effects, strict=True)
        ],
        "margin": {"before": found.before, "carried": found.carried, "all_carried": found.all_carried},
        "kept": float(found.kept(found.carried)),
        "kept_by_difference": float(found.kept(found.by_difference)),
        "kept_by_random": {
            "median": float(np.median(chance)) if chance.size else float("nan"),
            "most": float(chance.max(initial=-np.inf)) if chance.size else float("nan"),
            "sets": len(chance),
        },
    }


def _text(document: Mapping[str, Any]) -> str:
    first = f"{document['example']}: edges from {document['from']} to {document['layer']}"
    if not document["edges"]:
        return f"{first}\nNo edge between these layers is estimated to turn the prediction back."
    rows = [
        [f"map {each['from']}", f"map {each['to']}", decimals(each["effect"], 3), f"{each['share']:.1%}"]
        for each in document["edges"]
    ]
    margin, random = document["margin"], document["kept_by_random"]
    them, these = ("this edge moves", "it keeps") if len(rows) == 1 else (f"these {len(rows)} edges move", "these keep")
    chance = (
        f"as many random ones {random['median']:.0%} (median of {random['sets']}), {random['most']:.0%} at most."
        if random["sets"]
        else "no other edges lead there that could be drawn at random."
    )
    return (
        f"{first}\n{table(['from', 'to', 'effect', 'of the change'], rows)}\n"
        f"Carried alone, {them} the margin from {margin['before']:.2f} to "
        f"{margin['carried']:.2f}. All edges between the two layers move it to {margin['all_carried']:.2f}, so "
        f"{these} {document['kept']:.0%}.\nAs many edges into the same maps, by the size of the difference times the "
        f"later map's turning effect, keep {document['kept_by_difference']:.0%}, and {chance}"
    )
