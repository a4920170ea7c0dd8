"""The maps of one layer that an example's datapaths hold or that turn much back, as a document and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aevis_dash.cli.names import facts_of
from aevis_dash.cli.output import decimals, table
from aevis_dash.domain import FeatureMap, Layer, Role, Turning
from aevis_dash.workbench import Triplet, Workbench

LEAST_SHARE = 0.01
"""The part of the margin's change from which on a map is listed that no datapath holds."""


def maps_of_layer(bench: Workbench, triplet: Triplet, layer: Layer, turning: Turning) -> list[dict[str, Any]]:
    """The maps of a layer that are critical to adv, src or the target, or turn back much (LEAST_SHARE), as a document.

    The largest turning effect comes first.

    `gates` holds each datapath's gate, and `critical` tells whose hard set the map is in. `turns_back` is the part of
    the margin's change that the map turns back.
    """
    part = bench.layers.part
    paths = {role.short: triplet.path(role) for role in Role}
    critical = {name: part(path.critical, layer.index) for name, path in paths.items()}
    gates = {name: part(path.gates, layer.index) for name, path in paths.items()}
    shares = part(turning.shares, layer.index)
    difference = bench.maps.difference(triplet, layer.index, Role.ADVERSARIAL, Role.SOURCE)
    inside = np.flatnonzero(np.logical_or.reduce([*critical.values(), shares >= LEAST_SHARE]))
    return [
        {
            "map": int(channel),
            "critical": [name for name, chosen in critical.items() if chosen[channel]],
            "gates": {name: float(gate[channel]) for name, gate in gates.items()},
            "turns_back": float(shares[channel]),
            "adv_minus_src": float(difference[channel]),
            **facts_of(bench, FeatureMap(layer.index, int(channel)), triplet.plan.example.id),
        }
        for channel in inside[np.argsort(-shares[inside], kind="stable")]
    ]


def maps_text(maps: Sequence[Mapping[str, Any]]) -> str:
    """What `maps_of_layer` gives, as a table."""
    names = [role.short for role in Role]
    rows = [
        [
            each["map"],
            " ".join(each["critical"]) or None,
            *(decimals(each["gates"][name], 2) for name in names),
            f"{each['turns_back']:+.1%}",
            decimals(each["adv_minus_src"], 3),
            each["name"],
        ]
        for each in maps
    ]
    head = ["map", "critical to", *(f"gate of {name}" for name in names), "turns back", "adv - src", "name"]
    return table(head, rows)
