"""Sentences about the river and its datapaths."""

from collections.abc import Mapping, Sequence

import numpy as np

from aevis_dash.domain import Datapath, DatapathDistance, LayerGraph, Pattern, Role, Stretch, short_of, so_many
from aevis_dash.geometry.river import LEAST_NULLS, NULL_QUANTILES, SIDE_MARGIN
from aevis_dash.layouts.sentences import Sentence
from aevis_dash.workbench import Triplet, Workbench

Pairs = Mapping[tuple[str, str], np.ndarray]
"""The distances (C,) of two datapaths at every column, by the datapaths' keys."""
MOST_STRETCHES = 3
"""The number of stretches that are told in words; the longest ones are."""
MEASURES = {"activations": "activations", "gates": "gates", "sets": "critical sets"}
"""The distances that are set beside one another, with their words."""
_ABOUT_MEASURES = (
    "Activations say what the image does to the signal, gates how far open each map is in the small set that was found "
    "to keep the prediction, and critical sets which maps alone keep it. They need not agree; where they do not, none "
    "of them should be trusted alone."
)
CAUTION = Sentence("Critical maps are no proof of a cause; flip-back tests that.")


def course(graph: LayerGraph, found: Sequence[Stretch], distance: DatapathDistance) -> list[Sentence]:
    """Sentences on where adv's datapath leaves src's, crosses over and joins tar's, and on which of these it does
    nowhere.

    Args:
        graph: the layers of the network.
        found: the stretches of layers that show a pattern.
        distance: the distances of the triplet at every layer.
    """
    nulls = len(distance.null_share)
    if not np.isfinite(distance.d2 + distance.d3).any():
        return [Sentence("The distances of adv to src and tar are undefined at every layer.")]
    if nulls < LEAST_NULLS:
        if not nulls:
            return [Sentence("Nothing is marked: without random images of other classes chance is not known.")]
        few = f"{others_of(nulls)} cannot tell a pattern from chance"
        return [Sentence(f"Nothing is marked: {few} ({LEAST_NULLS} can).")]
    widest = sorted(found, key=lambda s: s.first - s.last)[:MOST_STRETCHES]
    said = [_stretch(graph, stretch, distance) for stretch in found if stretch in widest]
    if len(found) > MOST_STRETCHES:
        more = len(found) - MOST_STRETCHES
        said.append(Sentence(f"adv goes to and fro: the picture marks {more} more such stretch{'es' * (more > 1)}."))
    return [*said, *_rest(graph, distance, {stretch.pattern for stretch in found})]


def _stretch(graph: LayerGraph, stretch: Stretch, distance: DatapathDistance) -> Sentence:
    first, last = graph.layers[stretch.first].name, graph.layers[stretch.last].name
    if stretch.pattern is Pattern.TRANSITION:
        nearer, other = ("tar", "src") if stretch.to_target else ("src", "tar")
        where = graph.layers[stretch.after].name
        exact = (
            f"At {where} adv is {distance.share[stretch.after]:.0%} of the way from src to tar. Sides are told after "
            "smoothing over neighbouring layers."
        )
        return Sentence(f"At {where} adv has become nearer to {nearer} than to {other} (transition).", exact)
    words, pair, values = {
        Pattern.DIVERGING: (f"From {first} on, adv leaves src (diverging).", "src and adv", distance.d2),
        Pattern.MERGING: (f"From {first} on, adv nears tar (merging).", "adv and tar", distance.d3),
    }[stretch.pattern]
    before, after = values[stretch.first], values[stretch.last]
    return Sentence(words, f"The distance between {pair} is {before:.2g} at {first} and {after:.2g} at {last}.")


def _rest(graph: LayerGraph, distance: DatapathDistance, patterns: set[Pattern]) -> list[Sentence]:
    """Sentences on what adv does nowhere, and on how far from src to tar it is at the last layer, beside chance."""
    last, share, low, high = end_beside_chance(distance)
    chance = f"with random images of other classes in tar's place it is {low:.0%} to {high:.0%}"
    exact = (
        f"At {graph.layers[last].name} the distance between src and adv is {distance.d2[last]:.3g}, that between adv "
        f"and tar {distance.d3[last]:.3g}. The range is from the {NULL_QUANTILES[0]:.0%} to the "
        f"{NULL_QUANTILES[1]:.0%} quantile of {so_many(len(distance.null_share), 'random image')}."
    )
    leaves = (
        []
        if Pattern.DIVERGING in patterns
        else [
            Sentence(
                "No layer is marked at which adv leaves src.",
                "The distance between src and adv nowhere grows enough, or no more than random images would have it.",
            )
        ]
    )
    if Pattern.MERGING in patterns:
        return [*leaves, Sentence(f"At the end adv is {share:.0%} of the way from src to tar; {chance}.", exact)]
    if share > high:
        unmarked = "No layer is marked at which adv joins tar, but at the end it is"
        near = f"{unmarked} {share:.0%} of the way from src to tar; {chance}."
        return [*leaves, Sentence(near, exact)]
    never = f"It is not shown that adv joins tar: at the end it is {share:.0%} of the way from src, and {chance}."
    return [*leaves, Sentence(never, exact)]


def end_beside_chance(distance: DatapathDistance) -> tuple[int, float, float, float]:
    """The index of the last layer at which chance is known, the part of the way from src to tar that adv is there, and
    the lower and the upper end of what chance gives (NULL_QUANTILES)."""
    last = int(np.flatnonzero(np.isfinite(distance.d2 + distance.d3) & np.isfinite(distance.null_share).any(0))[-1])
    low, high = np.nanquantile(distance.null_share[:, last], NULL_QUANTILES)
    return last, float(distance.share[last]), float(low), float(high)


def ends_by_measure(bench: Workbench, found: Triplet, last: int) -> dict[str, float]:
    """The part of the way from src to tar that adv is at a layer, by each of MEASURES that is defined there."""
    ends = {name: float(bench.datapaths.distances(found, name).share[last]) for name in MEASURES}
    return {name: end for name, end in ends.items() if np.isfinite(end)}


def beside_other_measures(shares: Mapping[str, float], shown: str) -> list[Sentence]:
    """A sentence on whether all measures of distance tell the same end of the story; none without another measure.

    Args:
        shares: the part of the way from src to tar that adv is at the last layer, by each of MEASURES that is defined.
        shown: the distance that the river shows.
    """
    shown = "gates" if shown == "gates-raw" else shown
    others = {name: value for name, value in shares.items() if name != shown}
    if not others or shown not in shares:
        return []
    listed = ", ".join(f"by {MEASURES[name]} {value:.0%}" for name, value in others.items())
    said = f"Measured {listed}"
    if disagree(shares):
        both = {True, False} <= _sides(shares)
        how = " on which of the two adv ends nearer to" if both else ", by some of them adv ends near the middle"
        return [Sentence(f"{said}: the measures disagree{how}.", _ABOUT_MEASURES)]
    agree = "" if None in _sides(shares) else ", on the same side of the middle"
    return [Sentence(f"{said}{agree}.", _ABOUT_MEASURES)]


def disagree(shares: Mapping[str, float]) -> bool:
    """Whether the measures do not tell one end: some put it clearly on one side of the middle between src and tar, and
    others on the other side or near the middle.

    Args:
        shares: the part of the way from src to tar that adv is, by measure.
    """
    return len(_sides(shares)) > 1


def _sides(shares: Mapping[str, float]) -> set[bool | None]:
    """On which sides of the middle measures put adv's end: whether beyond it; None for near it."""
    return {share > 0.5 if _is_clear(share) else None for share in shares.values()}


def _is_clear(share: float) -> bool:
    return abs(share - 0.5) >= SIDE_MARGIN


def beside_other_targets(shares: np.ndarray, target: int, similarity: Sequence[float]) -> list[Sentence]:
    """A sentence on how much the choice among the candidate targets matters; none where there is one candidate.

    Args:
        shares: the part of the way from src to each of the m candidates that adv is at the last layer, (m,).
        target: the index of the candidate that is shown.
        similarity: the similarity of each candidate to adv, m of them.
    """
    others = np.delete(shares, target)
    others = others[np.isfinite(others)]
    if not others.size:
        return []
    low, high = others.min(), others.max()
    span = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
    first, second = sorted(similarity, reverse=True)[:2]
    others_named = "the one other target" if len(others) == 1 else f"its {len(others)} other targets"
    return [
        Sentence(
            f"With {others_named} it is {span}.",
            f"The similarity of the most similar target is {first:.3g}, that of the next {second:.3g}. Where these are "
            "close the choice of the target means little, and what differs between targets should not be read as a "
            "finding.",
        )
    ]


def distances_apart(seen: Pairs) -> list[Sentence]:
    """Sentences on how far adv is from each other datapath that is shown, at the first column and at the last."""
    said = []
    for pair, values in seen.items():
        known = values[np.isfinite(values)]
        if Role.ADVERSARIAL in pair and known.size:
            names = " and ".join(short_of(key) for key in pair)
            said.append(f"between {names} it is {known[0]:.2g} at the first layer and {known[-1]:.2g} at the last")
    return [Sentence(f"The distance: {'; '.join(said)}.")] if said else []


def missing_nulls(found: Triplet, coming: bool) -> list[Sentence]:
    """A sentence on why no stretches are marked yet, or at all: the datapaths of the null targets are missing."""
    others = others_of(found.pending)
    if not coming:
        return [Sentence(f"Nothing is marked, because the datapaths of {others} were not extracted.")]
    return [
        Sentence(
            "Where adv leaves src and joins tar is marked as soon as it can be told from chance. For that, the "
            f"datapaths of {others} are being extracted."
        )
    ]


def band_of_nulls(found: Triplet) -> list[Sentence]:
    """A sentence on what the faint band of the river is; none where there is no band."""
    count = len(found.nulls)
    if not count:
        return []
    exact = f"It is where adv would lie between src and {others_of(count)} in tar's place."
    return [Sentence("The faint band is adv's place if tar were random.", exact)]


def others_of(count: int) -> str:
    """The words for so many images of other classes that are drawn at random."""
    return "1 random image of another class" if count == 1 else f"{count} random images of other classes"


def datapath_in_words(path: Datapath, label: str) -> Sentence:
    """How large a share of the network an image's datapath is, and what it does alone, in a sentence.

    Args:
        path: the datapath.
        label: the name of the class that it explains.
    """
    share, total, core = path.size / path.gates.size, path.gates.size, int(path.core.sum())
    few = "1 map is enough by itself" if core == 1 else f"{core:,} maps are enough by themselves"
    exact = (
        f"{path.size:,} of {total:,} feature maps are critical, {share:.1%} (the hard set). With all others closed, "
        f"{label} has a probability of {path.p_hard:.1%}; with all open, {path.p_full:.1%}. Where they may come from "
        f"any layers, {few} to keep {label} the prediction, with whatever probability: the smallest such set that was "
        f"found (the core)."
    )
    return Sentence(f"{share:.0%} of the maps alone give {path.p_hard:.0%}", exact)


def lost_label(path: Datapath, label: str) -> str:
    """A sentence where the hard set alone does not keep the label; "" where it does."""
    return "" if path.keeps_hard else f"The critical maps alone are not enough: the prediction is no longer {label}."
