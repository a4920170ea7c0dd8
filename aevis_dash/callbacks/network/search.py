"""What the search of layers and maps offers: layers by their names, maps by what they are named after."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from aevis_dash.domain import LayerGraph
from aevis_dash.sight import one_sight
from aevis_dash.workbench import Workbench

BEST = 3
"""The number of maps, at most, that are offered for a part before anything is typed."""
MOST = 40
"""The number of maps that are listed at most."""
_FILLING = frozenset({"find", "maps", "that", "which"})
"""Words of a question that name nothing: "maps that speak for gorilla"."""

Option = dict[str, Any]


def findable(bench: Workbench) -> list[Option]:
    """The options before anything is typed: the layers, and where parts are known, the maps that detect each best."""
    layers = [{"label": layer.name, "value": layer.name} for layer in bench.layers.layers]
    return [*layers, *_detectors(bench.layers, bench.learning.part_names() or ())]


def _detectors(graph: LayerGraph, names: Sequence[str]) -> Iterator[Option]:
    by_part = defaultdict(list)
    for layer in graph.layers:
        for channel, said in enumerate(names[graph.offsets[layer.index] :][: layer.channels]):
            if said:
                part, overlap = said.rsplit(" ", 1)
                by_part[part].append((float(overlap), layer.name, channel))
    for part, found in sorted(by_part.items()):
        for overlap, layer, channel in sorted(found, reverse=True)[:BEST]:
            yield {"label": f"{part} {overlap:.2f} · map {channel} of {layer}", "value": f"{layer}:{channel}"}


@one_sight()
def found(bench: Workbench, typed: str, example: str | None) -> list[Option]:
    """The options for what is typed: the layers, and then the maps of all layers, that have all of its words.

    A map is found by its names and by its number: first those that have the words whole, of these those of the highest
    score, and of these those of the last layers. What cannot be told yet, and how many more maps there are, is said in
    options that cannot be chosen.

    Args:
        bench: the workbench of the workspace.
        typed: what was typed.
        example: the example beside which maps are named; None for none.
    """
    words = [word for word in typed.casefold().split() if word not in _FILLING]
    if not words:
        return findable(bench)
    layers = [layer.name for layer in bench.layers.layers if all(word in layer.name.casefold() for word in words)]
    maps = sorted(_maps(bench, words, example), key=lambda each: each[0], reverse=True)
    options: list[Option] = [{"label": name, "value": name} for name in layers]
    options += [{"label": label, "value": value} for _, label, value in maps[:MOST]]
    if len(maps) > MOST:
        options.append(_note(f"{len(maps) - MOST} more maps: type another word"))
    elif not maps:
        options.append(_note("no map's name has these words"))
    options += [_note(sentence) for sentence in _unknown(bench)]
    return [option | {"search": f"{typed} {option['label']}"} for option in options]  # the browser looks for it again


def _maps(bench: Workbench, words: Sequence[str], example: str | None) -> Iterator[tuple[tuple[bool, float], str, str]]:
    """The maps with a name, or with a number, that has all words together with the map's place.

    Each comes with its rank, which is whether it has the words whole and then the score; with the words of the option;
    and with the option's value.
    """
    for layer in reversed(bench.layers.layers):
        of_layer = bench.naming.of_layer(layer.index, example)
        for channel, own in enumerate(of_layer.names):
            place = f"map {channel} of {layer.name}"
            named = [name for name in own if _fits(words, str(name).casefold(), place.casefold())]
            by_number = str(channel) in words and all(word in place.casefold() for word in words)
            if named or by_number:
                said = "; ".join(map(str, named)) or of_layer.said(channel)
                whole = frozenset(words) <= frozenset(f"{said} {place}".casefold().split())
                rank = (whole, max((name.score for name in named), default=0.0))
                yield rank, f"{said} · {place}" if said else place, f"{layer.name}:{channel}"


def _fits(words: Sequence[str], name: str, place: str) -> bool:
    """Whether some word is in the name, and each of them in the name or in the place."""
    return any(word in name for word in words) and all(word in name or word in place for word in words)


def _unknown(bench: Workbench) -> list[str]:
    """A sentence where the names of maps are not complete; none where they are."""
    if bench.naming.complete:
        return []
    if bench.learning.whole_index() is None:
        return ["The names of maps are not learned yet: the page learns them by and by, or give `aevis learn`."]
    count, total = bench.naming.layers_looked_at, len(bench.layers)
    return [f"Names are still being learned: classes of {count} of {total} layers so far."]


def _note(text: str) -> Option:
    return {"label": text, "value": text, "disabled": True}
