"""The verb that sets two models beside one another: what it does, and its answer as a document and as a text."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from aevis_dash.cli import attack_options
from aevis_dash.cli.opening import with_warnings
from aevis_dash.cli.output import Answer, check_writable, decimals, table
from aevis_dash.cli.reports import interval, write_csv
from aevis_dash.config import Progress
from aevis_dash.core.datapath import check_methods
from aevis_dash.domain import JudgedExample, LayerGraph
from aevis_dash.files import write_atomically
from aevis_dash.pair_profile import PairProfile
from aevis_dash.sample import Sample
from aevis_dash.two_models import CURVES, ComparedPair, TwoModels, common_maps, compare
from aevis_dash.two_words import kinship_words, outcome_words, pairs_words
from aevis_dash.workbench import Workbench, open_workbench

LISTED = 40
"""The number of pairs that are printed at most; the document has all."""


def beside(args: argparse.Namespace, progress: Progress) -> Answer:
    """Set two models beside one another on the pairs that their workspaces share.

    Raises:
        AevisError: where one of the folders is no workspace, and as `two_models.compare`.
    """
    for path in (args.csv, args.figure):
        check_writable(path)
    second, theirs = open_workbench(args.second), []

    def answer(first: Workbench) -> Answer:
        given = with_warnings(second, lambda other: _compared(first, other, args, progress))
        theirs.extend(given.document["warnings"])
        return given

    given = with_warnings(open_workbench(args.first), answer)
    return replace(given, document={**given.document, "warnings": (*given.document["warnings"], *theirs)})


def _compared(first: Workbench, second: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    wanted = attack_options.parameters_with(args, first.workspace.settings.extraction, ["method", "share"])
    check_methods([wanted.method])
    sample = Sample(args.examples, args.seed, args.weakest)
    found = compare(first, second, sample, wanted, args.example, progress)
    if args.csv:
        write_csv(args.csv, rows_of_layers(found))
    if args.figure:
        from aevis_dash.figures.beside import profiles_figure
        from aevis_dash.figures.theme import LIGHT

        text = profiles_figure(found, LIGHT).to_html(include_plotlyjs=True)
        write_atomically(args.figure, lambda file: file.write(text.encode()))
    return Answer(document(first, second, found), text_of(first, second, found))


def document(first: Workbench, second: Workbench, found: TwoModels) -> dict[str, Any]:
    """The comparison as one document."""
    benches = (first, second)
    return {
        "models": [
            {
                "workspace": str(bench.workspace.root),
                "model": bench.workspace.settings.model.source,
                "layers": [layer.name for layer in bench.layers.layers],
                "maps": bench.layers.n_maps,
            }
            for bench in benches
        ],
        "same_layers": found.alike,
        "fooled_pairs": found.fooled,
        "shared_pairs": found.shared,
        "lines": [asdict(line) for line in found.lines],
        "profiles": [_profiles(found, side) for side in (0, 1)],
        "kinship": {
            "images": found.kin.images,
            "layers": [
                {
                    "layer": name,
                    "maps": len(test.own),
                    "changing": int(test.changing.sum()),
                    "own_partners": int(test.own.sum()),
                    "chance_at_most": test.chance,
                    "same_maps": name in found.kin.passed,
                }
                for name, test in found.kin.tests.items()
            ],
        },
        "pairs": [_pair(benches, found, pair) for pair in found.pairs],
    }


def _profiles(found: TwoModels, side: int) -> dict[str, Any]:
    """The medians over pairs of each curve, at the layers that have it."""
    layers = found.graphs[side].layers
    document = {}
    for name in CURVES:
        places, values = found.medians(name, side)
        document[name] = {"layers": [layers[i].name for i in places], "median": values}
    return document


def _pair(benches: Sequence[Workbench], found: TwoModels, pair: ComparedPair) -> dict[str, Any]:
    sides = zip(benches, (pair.pair.first, pair.pair.second), (pair.first, pair.second), strict=True)
    models = [_side(bench, judged, profile) for bench, judged, profile in sides]
    document: dict[str, Any] = {
        "example": pair.pair.first.example.id,
        "models": models,
        "resists": pair.pair.resists,
        **({"refused": pair.refused} if pair.refused else {}),
    }
    if found.kin.passed and pair.first is not None and pair.second is not None:
        names = ("first", "second", "both", "both_by_chance")
        for role in ("source", "adversarial"):
            document[f"same_maps_of_{role}"] = dict(zip(names, common_maps(found, pair, role), strict=True))
    return document


def _side(bench: Workbench, judged: JudgedExample, profile: PairProfile | None) -> dict[str, Any]:
    said = {
        "example": judged.example.id,
        "source": bench.class_names[judged.source.label],
        "adversarial": bench.class_names[judged.adversarial.label],
        "margin": judged.margin.value,
        "margin_is": judged.margin.kind.value,
    }
    if profile is None:
        return said
    graph = bench.layers
    return said | {
        "target": profile.target,
        "leaves": _name(graph, profile.leaves),
        "leaves_at": profile.leaves_at,
        "joins": _name(graph, profile.joins),
        "joins_at": profile.joins_at,
        "source_maps": int(profile.source.sum()),
        "adversarial_maps": int(profile.adversarial.sum()),
        "core_maps": int(profile.core.sum()),
        "turned_at": [graph.layers[i].name for i in profile.depths],
        "turned": profile.turned,
        "turned_by_random": profile.random,
    }


def rows_of_layers(found: TwoModels) -> list[dict[str, Any]]:
    """One row for each pair, model and layer, with the values of all curves."""
    rows = []
    for pair in found.pairs:
        for side, profile in enumerate((pair.first, pair.second)):
            if profile is None:
                continue
            graph = found.graphs[side]
            curves = {name: by_layer(*of(graph, profile)) for name, of in CURVES.items()}
            rows += [
                {
                    "example": pair.pair.first.example.id,
                    "model": found.models[side],
                    "layer": layer.name,
                    "depth": layer.index / len(graph),
                    **{name: values.get(layer.index, float("nan")) for name, values in curves.items()},
                }
                for layer in graph.layers
            ]
    return rows


def text_of(first: Workbench, second: Workbench, found: TwoModels) -> str:
    """The comparison for people."""
    one, other = found.models
    lines = [
        [line.name, interval(line.first), interval(line.second), interval(line.difference), line.difference.n]
        for line in found.lines
    ]
    head = ["pair", one, "margin", "leaves", "joins", other, "margin", "leaves", "joins"]
    pairs = [_row(first, second, pair) for pair in found.pairs[:LISTED]]
    more = len(found.pairs) - len(pairs)
    refused = [f"{pair.pair.first.example.id}: {pair.refused}" for pair in found.pairs if pair.refused]
    words = [
        pairs_words(found),
        table(["median over pairs [95 % interval]", one, other, "difference", "pairs with both"], lines),
        "Depth is the share of the layers that lie before: 0 is the first layer, and 1 means nowhere.",
        _layer_table(found) if found.alike else "",
        " ".join(kinship_words(found)),
        table(head, pairs) + (f"\n({more} more pairs; --json lists them all)" if more else ""),
        *(["Not compared:\n" + "\n".join(refused)] if refused else []),
    ]
    return "\n\n".join(part for part in words if part)


def _layer_table(found: TwoModels) -> str:
    """The profiles of two models of the same layers, layer by layer: the distance of adv from src, its place on the way
    to tar, and whether the maps are the same."""
    curves = [by_layer(*found.medians(name, side)) for name in ("apart", "way", "core") for side in (0, 1)]
    rows = []
    for layer in found.graphs[0].layers:
        values = [curve.get(layer.index, float("nan")) for curve in curves]
        rows.append([layer.name, *(decimals(value, 3) for value in values), layer.name in found.kin.passed])
    one, other = found.models
    head = ["layer", *(f"{what} ({name})" for what in ("adv from src", "way to tar", "core") for name in (one, other))]
    return f"Medians over pairs at each layer:\n{table([*head, 'same maps'], rows)}"


def by_layer(layers: np.ndarray, values: np.ndarray) -> dict[int, float]:
    """Values (l,) by the indices (l,) of their layers."""
    return dict(zip(layers.tolist(), values.tolist(), strict=True))


def _row(first: Workbench, second: Workbench, pair: ComparedPair) -> list[Any]:
    shown = pair.pair
    row: list[Any] = [shown.first.example.id]
    for bench, judged, profile in ((first, shown.first, pair.first), (second, shown.second, pair.second)):
        depths = (float("nan"),) * 2 if profile is None else (profile.leaves_at, profile.joins_at)
        row += [outcome_words(bench, judged), str(judged.margin), *(decimals(depth, 2) for depth in depths)]
    return row


def _name(graph: LayerGraph, layer: int) -> str | None:
    """The name of a layer by its index; "never" for none, None where it is unknown."""
    return None if layer < 0 else "never" if layer == len(graph) else graph.layers[layer].name
