"""The verb `trail`: tells an example's way back from its wrong prediction, with figures and numbers."""

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aevis_dash import assistant
from aevis_dash.assistant import Hop
from aevis_dash.cli import verifications
from aevis_dash.cli.edges import edges_between_depths, edges_table
from aevis_dash.cli.names import facts_of, in_brief
from aevis_dash.cli.opening import example_of, on_workspace
from aevis_dash.cli.output import Answer, check_writable, decimals
from aevis_dash.config import Progress, part_of
from aevis_dash.domain import (
    CONTROLS,
    PREDICTION,
    FeatureMap,
    Role,
    Verification,
    Way,
    others_drawn,
    so_many,
)
from aevis_dash.files import write_atomically
from aevis_dash.float_images import eight_bit
from aevis_dash.images import as_colours
from aevis_dash.workbench import Triplet, Workbench

_DIFFERENCE = CONTROLS.index("difference")


@on_workspace
def trail(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The verb `trail`: proposes a way back from an example's prediction, and flips the label back at every depth."""
    example = example_of(bench, args)
    check_writable(args.figure)
    way = Way(args.how, args.foil)
    if args.allow_large:
        bench.judging.allow_large([example])
    bench.contributions.check(PREDICTION, bench.flips.depths()[-1], way)
    triplet = bench.datapaths.extract(example, args.target, part_of(progress, 0, 0.3), nulls=False)
    hops = assistant.propose(bench, triplet, way, args.beam, part_of(progress, 0.3, 0.4))
    flips = assistant.whole_flips(bench, example, part_of(progress, 0.7, 0.2))
    edges = edges_between_depths(bench, example, part_of(progress, 0.9, 0.1))
    document = _document(bench, triplet, hops, flips) | {"edges": edges}
    if args.figure:
        if not args.no_images:
            bench.learning.features(progress)
        _draw(args, bench, triplet, hops, flips)
    return Answer(document, _text(document))


def _document(bench: Workbench, triplet: Triplet, hops: Sequence[Hop], flips: Sequence[Verification]) -> dict[str, Any]:
    names: dict[str, str] = {role: bench.class_names[triplet.path(role).label] for role in Role}
    line = assistant.best_line(hops)
    return {
        "example": triplet.plan.example.id,
        "target": triplet.image(Role.TARGET),
        "labels": {str(role): name for role, name in names.items()},
        "probabilities": {str(role): triplet.path(role).p_full for role in Role},
        "hops": [_hop(bench, hop, triplet.plan.example.id) | {"told": hop in line} for hop in hops],
        "depths": verifications.verification(bench, triplet.plan.example.id, "source", flips)["layers"],
    }


def _hop(bench: Workbench, hop: Hop, example: str | None = None) -> dict[str, Any]:
    layers = bench.layers.layers
    return {
        "parent": hop.parent,
        "effect": None
        if hop.effect == PREDICTION
        else {"layer": layers[hop.effect.layer].name, "map": hop.effect.channel, "neurons": hop.area.neurons},
        "layer": layers[hop.layer].name,
        "map": hop.map,
        **facts_of(bench, FeatureMap(hop.layer, hop.map), example),
        "share": hop.share,
        "unexplained": hop.unexplained,
        "effect_on_source": hop.on_source,
        "foil": hop.foil,
        "margin_before": hop.tested.margins[0],
        "margin": hop.tested.margins[-1],
        "label": bench.class_names[int(hop.tested.labels[-1])],
        "percentile": hop.tested.percentile,
        "beaten": _count_weaker(hop),
        "randoms": len(hop.tested.chance),
        "alike": hop.alike,
        "alike_beaten": int((hop.alike < hop.gain).sum()),
        "largest_difference": hop.tested.controls[_DIFFERENCE],
        "same_map": bool(hop.tested.controls_same[_DIFFERENCE]),
    }


def _text(document: Mapping[str, Any]) -> str:
    labels, hops = document["labels"], document["hops"]
    head = (
        f"{document['example']}: {labels['source']} taken for {labels['adversarial']}; the margin is "
        f"logit[{labels['source']}] - logit[{labels['adversarial']}]"
    )
    told = [f"{i}. {words}" for i, words in enumerate((hop_in_words(h) for h in hops if h["told"]), 1)]
    beside = sum(not hop["told"] for hop in hops)
    more = [f"({beside} more of the search with --json)"] if beside else []
    depths = verifications.verification_text(
        {"example": "Flip-back at every depth", "replacement": "source", "layers": document["depths"]}
    )
    edges = []
    if document["edges"]:
        about = (
            "Edges between these layers: the strongest one with its estimated part of the margin's change, and how "
            "much of what all edges carry these few keep, beside as many others:"
        )
        edges = ["", about, edges_table(document["edges"])]
    return "\n".join([head, *(told or ["No contributor that differs moves the margin."]), *more, "", depths, *edges])


def hop_in_words(hop: Mapping[str, Any]) -> str:
    """What the numbers of a hop say, in sentences."""
    effect = hop["effect"]
    of = (
        f"{so_many(effect['neurons'], 'neuron')} of map {effect['map']} of {effect['layer']}"
        if effect
        else "the prediction"
    )
    part = f"{hop['share']:.0%} of {of} on adv"
    if hop["foil"] != "zero":
        part = f"{hop['share']:.0%} of how {of} on adv differs from {'src' if hop['foil'] == 'source' else hop['foil']}"
    notes = [] if math.isnan(hop["unexplained"]) else [f"{hop['unexplained']:.0%} unexplained"]
    notes += [_on_source(hop["effect_on_source"])] if effect else []
    said = f" ({'; '.join(notes)})" if notes else ""
    named = f", which {in_brief(hop)}" if hop["names"] else ""
    largest = "it is itself the one" if hop["same_map"] else f"{decimals(hop['largest_difference'], 2)} by the one"
    return (
        f"{hop['layer']} map {hop['map']}{named}: {part}{said}. "
        f"Put from src into adv it alone moves the margin from {decimals(hop['margin_before'], 2)} to "
        f"{decimals(hop['margin'], 2)}, more than {hop['beaten']} of {others_drawn(hop['randoms'])}; {largest} of "
        f"largest difference. {_alike_in_words(hop)}"
    )


def _on_source(ratio: float) -> str:
    """How the explained neurons fire on src beside adv, from the ratio of the two; NaN where they are silent on adv."""
    if math.isnan(ratio):
        return "on adv they do not fire"
    return f"on src they fire at {ratio:.0%} of that" if ratio <= 1 else f"on adv they fire at {1 / ratio:.0%} of src"


def _alike_in_words(hop: Mapping[str, Any]) -> str:
    """What the control says that was chosen in the same way as the hop, in sentences."""
    among = f"It was chosen for that among up to {assistant.CANDIDATES} contributors of each map that was followed here"
    if not len(hop["alike"]):
        return f"{among}; there is no clean image of a third class to make the same choice with."
    return (
        f"{among}: the same choice with another clean image in src's place moves the margin less for "
        f"{hop['alike_beaten']} of {len(hop['alike'])} images (to {decimals(_median_alike(hop), 2)} in the median)."
    )


def _median_alike(hop: Mapping[str, Any]) -> float:
    return float(hop["margin_before"] + np.median(hop["alike"]))


def _count_weaker(hop: Hop) -> int:
    """The number of the other maps that move the margin less, each alone."""
    return int((hop.tested.chance < hop.tested.margins[-1]).sum())


def _draw(
    args: argparse.Namespace, bench: Workbench, triplet: Triplet, hops: Sequence[Hop], flips: Sequence[Verification]
) -> None:
    """Write the figure. Plotly is loaded only here."""
    from aevis_dash.figures.theme import LIGHT
    from aevis_dash.figures.trail import trail_figure

    shown = () if args.no_images else Role
    images = {role: as_colours(eight_bit(bench.workspace.read([triplet.image(role)])[0])) for role in shown}
    names: dict[str, str] = {role: bench.class_names[triplet.path(role).label] for role in Role}
    line = assistant.best_line(hops)
    words = _head(bench, triplet, names, flips[-1])
    stops = [_stop(bench, triplet, hop, not args.no_images) for hop in line]
    figure = trail_figure(words, images, names, stops, [depth_of(bench, flip) for flip in flips], LIGHT)
    text = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
    write_atomically(args.figure, lambda file: file.write(text.encode()))


def _head(bench: Workbench, triplet: Triplet, names: Mapping[str, str], flip: Verification) -> list[str]:
    surest = {role: f"{names[role]} ({triplet.path(role).p_full:.0%})" for role in Role}
    return [
        f"<b>{surest[Role.SOURCE]} taken for {surest[Role.ADVERSARIAL]}</b>",
        triplet.plan.example.id,
        triplet.plan.example.attack,
        f"margin: logit of {names[Role.SOURCE]} less that of {names[Role.ADVERSARIAL]}, {flip.margins[0]:.2f} on adv",
        f"{bench.workspace.settings.model.source}, {bench.layers.n_maps} maps in {len(bench.layers)} layers",
    ]


def _stop(bench: Workbench, triplet: Triplet, hop: Hop, with_images: bool):
    from aevis_dash.figures.trail import Stop

    chosen = FeatureMap(hop.layer, hop.map)
    crops: list[np.ndarray | None] = []
    if with_images:
        learned = bench.learning.features()
        ranks = bench.learning.ranks(learned, chosen, triplet.plan.example.id)
        crops = [bench.maps.crop(learned, chosen, rank) for rank in ranks]
    maps = {role: bench.maps.activation_maps(triplet.image(role), hop.layer)[hop.map] for role in Role}
    found = [as_colours(crop) for crop in crops if crop is not None]
    return Stop(_words(bench, hop), found, maps, assistant.changed_area(bench, triplet, chosen, hop.foil))


def _words(bench: Workbench, hop: Hop) -> list[str]:
    told, effect = _hop(bench, hop), "the prediction"
    if hop.effect != PREDICTION:
        effect = f"map {hop.effect.channel}, {so_many(hop.area.neurons, 'neuron')}"
    return [
        f"<b>{told['layer']} · map {hop.map}</b>",
        f"{hop.share:.0%} of {effect}, on adv" if hop.foil == "zero" else f"{hop.share:.0%} of the change in {effect}",
        f"from src: margin {decimals(told['margin_before'], 2)} to {decimals(told['margin'], 2)}",
        f"more than {told['beaten']} of {others_drawn(told['randoms'])}",
        *([f"and than {told['alike_beaten']} of {len(hop.alike)} chosen from other images"] if len(hop.alike) else []),
    ]


def depth_of(bench: Workbench, flip: Verification):
    """The flip-back of a layer in the form that the trail's figure draws."""
    from aevis_dash.figures.trail import Depth

    width, layer = flip.width, bench.layers.layers[flip.layer].name
    integrated = int(flip.needed[CONTROLS.index("integrated")])
    return Depth(layer, len(flip.maps), width, flip.others, integrated, flip.verdict)
