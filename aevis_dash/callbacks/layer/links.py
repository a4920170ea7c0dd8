"""What the hover of a map says of its strongest stored connections, to a later layer and from an earlier one."""

from collections.abc import Iterator

from aevis_dash.domain import EdgeSet, Layer
from aevis_dash.workbench import Workbench


def links_of(bench: Workbench, example: str | None, layer: Layer) -> dict[int, str]:
    """The strongest stored connection of each map of a layer in either direction, in words, by channel.

    Args:
        bench: the workbench of the workspace.
        example: the ID of the example; None for no connections.
        layer: the layer.
    """
    if not example:
        return {}
    change, said = None, {}
    for found, other, begins in _stored(bench, example, layer):
        change = change or bench.flips.turning(example).change
        ours, others = (found.begin, found.end) if begins else (found.end, found.begin)
        seen: set[int] = set()
        for own, its, effect in zip(ours.tolist(), others.tolist(), found.effects.tolist(), strict=True):
            if own not in seen:  # the strongest comes first
                seen.add(own)
                towards = "feeds" if begins else "fed by"
                words = f"{towards} map {its} of {other.name}: {effect / change:.1%} turned back"
                said[own] = f"{said[own]}<br>{words}" if own in said else words
    return said


def _stored(bench: Workbench, example: str, layer: Layer) -> Iterator[tuple[EdgeSet, Layer, bool]]:
    """The stored connections that begin or end in a layer, the other layer, and whether they begin in this one."""
    layers, sources = bench.layers.layers, bench.contributions.sources
    pairs = [(earlier, layer.index) for earlier in sources(layer.index)]
    pairs += [(layer.index, later.index) for later in layers[layer.index + 1 :] if layer.index in sources(later.index)]
    for earlier, later in pairs:
        found = bench.flips.find_stored_edges(example, earlier, later)
        if found is not None:
            begins = earlier == layer.index
            yield found, layers[later if begins else earlier], begins
