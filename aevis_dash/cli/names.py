"""The verb `names`: which maps have a clear name, and which speak for a class; names beside the numbers of maps."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aevis_dash.cli.opening import on_workspace
from aevis_dash.cli.output import Answer, table
from aevis_dash.config import Progress
from aevis_dash.core.names import MapName, NameKind
from aevis_dash.domain import AevisError, FeatureMap
from aevis_dash.naming import LayerNames
from aevis_dash.workbench import Workbench

_KINDS = {
    NameKind.FOR: "for a class",
    NameKind.AGAINST: "against a class",
    NameKind.IMAGES: "by images",
    NameKind.PART: "by a part",
}
_OPTIONS = {NameKind.FOR: "for_class", NameKind.AGAINST: "against", NameKind.IMAGES: "images_of", NameKind.PART: "part"}


@on_workspace
def names(bench: Workbench, args: argparse.Namespace, _progress: Progress) -> Answer:
    """List the maps whose clear names fit the options, or without any how many maps of each layer have one.

    Names are read from the store alone.

    Raises:
        AevisError: for an unknown class, part, layer or example, and where no names are stored yet.
    """
    wanted = _wanted(bench, args)
    if bench.learning.whole_index() is None:
        raise AevisError(f"Nothing is known of the maps of {args.workspace} yet. Give `aevis learn {args.workspace}`.")
    layers = bench.layers.layers if args.layer is None else (bench.layers.find(args.layer),)
    found = {layer.name: bench.naming.of_layer(layer.index, args.example) for layer in layers}
    if not wanted and args.layer is None:
        counts = [_counts(layer, of_layer) for layer, of_layer in found.items()]
        return Answer({"layers": counts, "complete": bench.naming.complete}, _counts_text(counts, bench))
    maps = [
        {"layer": layer, "map": channel, **_facts(of_layer, channel)}
        for layer, of_layer in found.items()
        for channel, own in enumerate(of_layer.names)
        if own and all(any(name.kind is kind and name.name == text for name in own) for kind, text in wanted.items())
    ]
    first = next(iter(wanted), None)
    maps.sort(key=lambda each: -max(n["score"] for n in each["names"] if first is None or n["kind"] == str(first)))
    return Answer({"maps": maps, "complete": bench.naming.complete}, _maps_text(maps, bench))


def facts_of(bench: Workbench, chosen: FeatureMap, example_id: str | None) -> dict[str, Any]:
    """The names of a map as a document, beside an example whose images name no map.

    `name` says them in words; it is None where they are not known yet. `names` lists the clear ones.
    """
    return _facts(bench.naming.of_layer(chosen.layer, example_id), chosen.channel)


def in_brief(facts: Mapping[str, Any]) -> str:
    """The first clear name of a map in words, from what `facts_of` gives; "" where it has none."""
    first = next(iter(facts["names"]), None)
    return "" if first is None else str(MapName(NameKind(first["kind"]), first["name"], first["score"]))


def told_names(layer: str, ranked: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each of some maps of a layer that has a clear name; each map once, by its number."""
    told = {each["map"]: each["name"] for each in ranked if each["names"]}
    return [f"map {number} of {layer} {told[number]}" for number in sorted(told)]


def _facts(found: LayerNames, channel: int) -> dict[str, Any]:
    return {"name": found.said(channel) or None, "names": [_fact(name) for name in found.names[channel]]}


def _fact(name: MapName) -> dict[str, Any]:
    return {"kind": str(name.kind), "name": name.name, "score": name.score}


def _wanted(bench: Workbench, args: argparse.Namespace) -> dict[NameKind, str]:
    """The names that the options ask for, by their kind."""
    wanted: dict[NameKind, str] = {}
    for kind, option in _OPTIONS.items():
        text = getattr(args, option)
        if text is not None:
            wanted[kind] = _part(bench, text) if kind is NameKind.PART else _class(bench, text, option)
    if args.example is not None:
        bench.workspace.example(args.example)
    return wanted


def _class(bench: Workbench, text: str, option: str) -> str:
    said = f"--{option.removesuffix('_class').replace('_', '-')}"
    label = bench.workspace.classes.label(text, said)
    if label is None:
        raise AevisError(f"{said} is empty. Give the name of a class or its index.")
    return bench.class_names[label]


def _part(bench: Workbench, text: str) -> str:
    parts = bench.workspace.parts
    if text not in parts:
        known = f"Choose one of: {', '.join(parts)}." if parts else "This workspace knows no parts."
        raise AevisError(f"There is no part {text!r}. {known}")
    return text


def _counts(layer: str, found: LayerNames) -> dict[str, Any]:
    kinds = [{name.kind for name in own} for own in found.names]
    return {
        "layer": layer,
        "maps": len(kinds),
        "classes_looked_at": found.classes_known,
        "named": sum(map(bool, kinds)),
        **{str(kind): sum(kind in own for own in kinds) for kind in NameKind},
    }


def _counts_text(counts: Sequence[Mapping[str, Any]], bench: Workbench) -> str:
    """What `_counts` gives of every layer, as a table; a dash stands where classes were not looked at."""
    rows = []
    for each in counts:
        by_class = [each[str(kind)] if each["classes_looked_at"] else None for kind in (NameKind.FOR, NameKind.AGAINST)]
        rest = [each[str(kind)] for kind in (NameKind.IMAGES, NameKind.PART)]
        rows.append([each["layer"], each["maps"], each["named"], *by_class, *rest])
    return f"{table(['layer', 'maps', 'with a clear name', *_KINDS.values()], rows)}\n{_how_far(bench)}"


def _maps_text(maps: Sequence[Mapping[str, Any]], bench: Workbench) -> str:
    rows = [[each["layer"], each["map"], each["name"]] for each in maps]
    said = table(["layer", "map", "name"], rows) if rows else "No map has such a clear name."
    return f"{said}\n{_how_far(bench)}"


def _how_far(bench: Workbench) -> str:
    """Of which layers it is known what classes their maps speak for."""
    count, total = bench.naming.layers_looked_at, len(bench.layers)
    if not bench.naming.complete:
        return f"The names are not complete: classes of {count} of {total} layers are known. `aevis learn` goes on."
    if count == total:
        return "Which classes the maps speak for was looked at in all layers."
    first = bench.layers.layers[total - count].name
    return (
        f"Which classes the maps speak for was looked at from {first} to the end ({count} of {total} layers); hardly "
        f"any map of the first of these has a clear one, so the layers before were left out."
    )
