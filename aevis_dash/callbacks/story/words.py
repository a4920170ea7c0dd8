"""What the results say to each of the two questions, as sentences with their evidence.

No sentence says more than was measured. What was not measured yet, and what the measurements do not tell, is said too.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import hypergeom

from aevis_dash.callbacks.network.words import end_beside_chance
from aevis_dash.domain import DatapathDistance, LayerGraph, Pattern, Stretch, Turning, Verification
from aevis_dash.geometry.river import LEAST_NULLS
from aevis_dash.layouts.sentences import Sentence
from aevis_dash.layouts.story import Telling

RARE = 0.05
"""The probability by chance up to which a count of maps is said to be more than chance gives."""


def leaving(
    graph: LayerGraph, marks: Sequence[Stretch], distance: DatapathDistance, lost: str, pending: int = 0
) -> Telling:
    """From which layer on adv leaves src.

    Args:
        graph: the layers of the network.
        marks: the stretches of layers that show a pattern.
        distance: the distances of the triplet at every layer.
        lost: the name of src's class.
        pending: the number of null targets without a datapath.
    """
    unknown = not_marked(distance, pending)
    if unknown:
        return Telling(Sentence(f"Where adv leaves {lost} is not marked: {unknown}."))
    first = next((s for s in marks if s.pattern is Pattern.DIVERGING), None)
    if first is None:
        exact = "The distance between src and adv nowhere grows enough, or no more than random images would have it."
        return Telling(Sentence(f"No layer is marked at which adv leaves {lost}.", exact))
    name, last = graph.layers[first.first].name, graph.layers[first.last].name
    exact = (
        f"The distance between src and adv is {distance.d2[first.first]:.2g} at {name} and "
        f"{distance.d2[first.last]:.2g} at {last}."
    )
    return Telling(Sentence(f"adv leaves {lost} from {name} on.", exact), name)


def joining(graph: LayerGraph, distance: DatapathDistance, lost: str, became: str, pending: int = 0) -> Telling:
    """How far from src to tar adv ends, beside chance.

    Args:
        graph: the layers of the network.
        distance: the distances of the triplet at every layer.
        lost: the name of src's class.
        became: the name of tar's class.
        pending: the number of null targets without a datapath.
    """
    unknown = not_marked(distance, pending)
    if unknown:
        return Telling(Sentence(f"Whether adv joins {became} cannot be told: {unknown}."))
    last, share, low, high = end_beside_chance(distance)
    name, by_chance = graph.layers[last].name, f"random images in tar's place give {low:.0%} to {high:.0%}"
    by = f"by {distance.name}"
    if share > high:
        way = f"{share:.0%} of the way from {lost} to {became} {by}"
        return Telling(Sentence(f"At {name} adv is {way}; {by_chance}."), name)
    return Telling(
        Sentence(
            f"It is not shown that adv joins {became}: at {name} it is {share:.0%} of the way {by}, and {by_chance}."
        ),
        name,
    )


def not_marked(distance: DatapathDistance, pending: int = 0) -> str:
    """Why nothing can be told from chance; "" where it can. `pending` null targets have no datapath yet."""
    if not np.isfinite(distance.d2 + distance.d3).any():
        return "the distances are undefined at every layer"
    nulls = len(distance.null_share)
    if nulls >= LEAST_NULLS:
        return ""
    if pending:
        return f"the datapaths of {pending} random images of other classes, which tell chance, are not there yet"
    return f"chance takes {LEAST_NULLS} random images of other classes, and there are {nulls}"


def lost_maps(layer: str, before: np.ndarray, now: np.ndarray, lost: str) -> Telling:
    """How many of the layer's maps that src's prediction needs are not needed on adv, and how many that would be if
    adv's critical maps were drawn at random.

    Args:
        layer: the name of the layer.
        before: which maps are critical to src, bool (n_l,).
        now: which maps are critical to adv, bool (n_l,).
        lost: the name of src's class.
    """
    count, gone = int(before.sum()), int((before & ~now).sum())
    exact = f"{count} of {before.size} maps of {layer} are critical to src, {int(now.sum())} to adv."
    beside = _beside_chance(gone, before.size, before.size - int(now.sum()), count)
    said = f"{gone} of the {count} maps of {layer} that keep {lost} on src are not critical on adv, {beside}."
    return Telling(Sentence(said, exact), layer)


def _beside_chance(count: int, width: int, marked: int, drawn: int) -> str:
    """Whether a count is more than chance gives: that of the `marked` ones among `drawn` of `width` maps, where a
    hypergeometric draw gives as many in at most 5 % of cases."""
    mean = drawn * marked / width
    more = drawn > 0 and hypergeom.sf(count - 1, width, marked, drawn) <= RARE
    return f"{'more than' if more else 'no more than'} chance gives (about {mean:.0f})"


def gained_maps(layer: str, now: np.ndarray, target: np.ndarray, before: np.ndarray, became: str) -> Telling:
    """How many of the layer's maps that adv's prediction needs and src's does not are needed on tar too, and how many
    that would be if tar's critical maps were drawn at random.

    Args:
        layer: the name of the layer.
        now: which maps are critical to adv, bool (n_l,).
        target: which maps are critical to tar, bool (n_l,).
        before: which maps are critical to src, bool (n_l,).
        became: the name of tar's class.
    """
    new = now & ~before
    exact = (
        f"{int(now.sum())} of {now.size} maps of {layer} are critical to adv, {int(target.sum())} to tar, "
        f"{int(before.sum())} to src."
    )
    shared = int((new & target).sum())
    said = (
        f"{int(new.sum())} maps of {layer} are critical on adv and not on src; {shared} of them keep {became} on tar "
        f"too, {_beside_chance(shared, now.size, int(target.sum()), int(new.sum()))}."
    )
    return Telling(Sentence(said, exact), layer)


def turning_back(layer: str, channel: int | None, found: Turning, place: int, lost: str, name: str = "") -> Telling:
    """What the map that tells most about the lost class is estimated to turn back.

    Args:
        layer: the name of the layer.
        channel: the map; None where no map of the layer is estimated to.
        found: the turning effects.
        place: the place of the map among all maps of the network.
        lost: the name of src's class.
        name: the name of the map; "" for none.
    """
    if channel is None:
        return Telling(
            Sentence(f"No single map that keeps {lost} and fires less on adv is estimated to turn adv back."), layer
        )
    exact = f"It is estimated to raise the margin by {found.effects[place]:.2f} of {found.change:.2f} logits."
    share = found.shares[place]
    which = f"Map {channel}{_named(name)} alone"
    said = f"{which}, put from src into adv, is estimated to turn back {share:.0%} of what the attack changed."
    return Telling(Sentence(said, exact), layer, channel)


def turns_most(layer: str, channel: int, share: float, now_higher: bool, name: str = "") -> Telling:
    """Which map of the layer turns most back, where that is not the map that `turning_back` tells of.

    Args:
        layer: the name of the layer.
        channel: the map.
        share: the part of the margin's change that it is estimated to turn back.
        now_higher: whether it fires more on adv than on src.
        name: the name of the map; "" for none.
    """
    how = "raised" if now_higher else "lowered"
    return Telling(
        Sentence(f"Of all its maps, map {channel}{_named(name)} turns most back: {share:.0%}; adv {how} it."),
        layer,
        channel,
    )


def unsolved(count: int, of: int) -> Telling:
    """Of how many datapaths the solver did not settle, so that what is said of critical maps holds little."""
    said = f"Trust the critical maps little: the solver of {count} of the {of} datapaths did not settle."
    return Telling(Sentence(said, "Their gates are no solution of Eq. 5 of the paper."))


def raised(layer: str, channel: int, before: float, now: float, name: str = "") -> Telling:
    """Which map critical to adv, of that name, the attack raised most, from its activation before to that now."""
    said = f"Of its critical maps, map {channel}{_named(name)} is raised most, from {before:.2g} to {now:.2g}."
    return Telling(Sentence(said), layer, channel)


def _named(name: str) -> str:
    return f", which {name}," if name else ""


def tested(layer: str, found: Verification, verdict: str, label: str) -> Telling:
    """What the flip-back of a layer found, beside its controls; `label` is the class that the maps are to give."""
    way = "from src into adv" if found.replacement == "source" else "from adv into src"
    said = Sentence(f"Tested at {layer}, maps put {way}: {verdict}.", f"Whether they give {label}.")
    return Telling(said, layer, int(found.maps[0]) if len(found.maps) else None)


NOT_TESTED = Telling(Sentence("No map was tested yet: press Flip back.", "Critical maps are no proof of a cause."))
