"""All examples at once: which feature maps adversarials gain, or lose, again and again, beside what chance gives.

Only stored datapaths are used; nothing is extracted here. A map is *gained* in an example where it is critical to adv
and not to src, and *lost* where it is critical to src and not to adv. Attacks of several strengths on one source are
nearly one and the same example, so of each source only one example counts: of those whose datapaths are stored, the one
of smallest perturbation.

Two numbers stand beside a map's count. One is what chance gives (`core.recurrence`). The other says how many examples
would gain (or lose) the map if a picture of a random other class stood in adv's place: the mean over the example's null
targets. Chance alone would call every map conspicuous that many pictures need.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aevis_dash.config import ExtractionParameters
from aevis_dash.core.recurrence import recurrence
from aevis_dash.domain import Datapath, Example, so_many
from aevis_dash.sight import one_sight
from aevis_dash.workbench import Workbench
from aevis_dash.workbench.triplet import PathPair

GAINED, LOST = SIDES = ("gained", "lost")
SHOWN = 12
"""The number of maps of each side that are listed at most."""


@dataclass(frozen=True)
class ClassPair:
    """The class of a source and the class that its adversarial is taken for, by name, and in how many examples."""

    source: str
    adversarial: str
    examples: int


@dataclass(frozen=True)
class RecurrentMap:
    """A feature map that is gained, or lost, in some examples.

    Attributes:
        layer: the name of its layer.
        map: its channel.
        examples: the IDs of the examples.
        chance: the number of examples that chance gives on average.
        others: the number of examples that there would be if pictures of random other classes stood in the place of the
            adversarials, on average; NaN where no datapaths of such pictures are stored.
        beyond: whether the examples are more than chance gives to any map in 95 % of draws.
        pairs: the pairs of classes of the examples, the most frequent first.
    """

    layer: str
    map: int
    examples: tuple[str, ...]
    chance: float
    others: float
    beyond: bool
    pairs: tuple[ClassPair, ...]


@dataclass(frozen=True)
class RecurrentMaps:
    """The maps that are gained, or lost, in the most examples.

    Attributes:
        side: one of SIDES.
        most: in 95 % of draws by chance no map at all is gained, or lost, in more examples than this.
        maps: the maps, at most as many as were asked for; only those that recur, in two examples or more.
        recurring: how many maps recur.
        beyond: how many maps are gained, or lost, in more than `most` examples.
    """

    side: str
    most: int
    maps: tuple[RecurrentMap, ...]
    recurring: int
    beyond: int


@dataclass(frozen=True)
class Recurring:
    """What recurs among the examples whose datapaths are stored.

    Attributes:
        examples: the IDs of the examples that count, one for each source.
        stored: the number of examples whose datapaths are stored.
        asked: the number of examples that were asked for.
        beside: the number of the examples that count whose null targets' datapaths are stored too.
        gained: the gained maps.
        lost: the lost maps.
    """

    examples: tuple[str, ...]
    stored: int
    asked: int
    beside: int
    gained: RecurrentMaps
    lost: RecurrentMaps


@one_sight()
def recurring(
    bench: Workbench, examples: Sequence[Example], wanted: ExtractionParameters, shown: int = SHOWN
) -> Recurring:
    """Find the maps that recur among some examples.

    Args:
        bench: the workbench of the workspace.
        examples: the examples, of which those count that are stored.
        wanted: the extraction parameters of the datapaths.
        shown: the number of maps of each side that are listed at most.
    """
    stored = _stored(bench, examples, wanted)
    counted = _one_for_each_source(bench, stored)
    gained, lost = (_side(bench, counted, side, shown) for side in SIDES)
    beside = sum(bool(pair.nulls) for _, pair in counted)
    return Recurring(tuple(e.id for e, _ in counted), len(stored), len(examples), beside, gained, lost)


@one_sight()
def examples_with(
    bench: Workbench, examples: Sequence[Example], wanted: ExtractionParameters, side: str, layer: str, channel: int
) -> list[str]:
    """The IDs of the examples that count and in which a map is gained, or lost.

    Args:
        bench: the workbench of the workspace.
        examples: the examples, of which those count that are stored.
        wanted: the extraction parameters of the datapaths.
        side: one of SIDES.
        layer: the name of the map's layer.
        channel: the map's channel.

    Raises:
        AevisError: for a map that the network does not have.
    """
    place = bench.layers.place(bench.layers.feature_map(layer, channel))
    counted = _one_for_each_source(bench, _stored(bench, examples, wanted))
    return [e.id for e, pair in counted if _changed(pair.source, pair.adversarial, side)[1][place]]


def documents(found: RecurrentMaps) -> list[dict[str, Any]]:
    """The listed maps as JSON values, with the fields of `RecurrentMap` by their names."""
    return [asdict(each) for each in found.maps]


def how_many(found: Recurring, method: str) -> str:
    """A sentence on how many examples the lists are made of, of how many."""
    of = so_many(found.asked, "misclassified example")
    one = f"; of each source one counts, so {so_many(len(found.examples), 'example')}" * (
        len(found.examples) != found.stored
    )
    return f"Datapaths of {found.stored} of {of} are stored ({method}){one}."


def verdict(found: RecurrentMaps, count: int) -> str:
    """A sentence on what chance gives, beside what was found.

    Args:
        found: the maps of one side.
        count: the number of examples that count.
    """
    limit = f"Chance gives no map more than {found.most} of {so_many(count, 'example')} (in 95 % of draws)."
    if not found.beyond:
        return f"{limit} No map is {found.side} in more."
    are = "map is" if found.beyond == 1 else "maps are"
    return f"{limit} {found.beyond} {are} {found.side} in more."


def _stored(
    bench: Workbench, examples: Sequence[Example], wanted: ExtractionParameters
) -> list[tuple[Example, PathPair]]:
    found = ((example, bench.datapaths.stored_pair(example, wanted)) for example in examples)
    return [(example, pair) for example, pair in found if pair is not None]


def _one_for_each_source(
    bench: Workbench, stored: Sequence[tuple[Example, PathPair]]
) -> list[tuple[Example, PathPair]]:
    """Of each source the example of smallest perturbation, the first of several such; in the order of the examples."""
    smallest: dict[str, tuple[float, str]] = {}
    for example, _ in stored:
        size = bench.judging.perturbation(example).linf
        if example.source not in smallest or size < smallest[example.source][0]:
            smallest[example.source] = size, example.id
    taken = {chosen for _, chosen in smallest.values()}
    return [(example, pair) for example, pair in stored if example.id in taken]


def _changed(source: Datapath, other: Datapath, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Which maps could be gained (or lost) from src to another image, and which are, bool (n,) each."""
    could = ~source.critical if side == GAINED else source.critical
    return could, could & (other.critical if side == GAINED else ~other.critical)


def _side(bench: Workbench, counted: Sequence[tuple[Example, PathPair]], side: str, shown: int) -> RecurrentMaps:
    graph = bench.layers
    both = [_changed(pair.source, pair.adversarial, side) for _, pair in counted]
    could, chosen = (np.array([one[i] for one in both], bool).reshape(-1, graph.n_maps) for i in (0, 1))
    found, others = recurrence(graph, could, chosen), _others(counted, side, graph.n_maps)
    order = np.lexsort((np.arange(graph.n_maps), found.expected, -found.counts))
    recur = int((found.counts > 1).sum())
    maps = []
    for flat in order[: min(shown, recur)]:
        layer = int(np.searchsorted(graph.offsets, flat, side="right")) - 1
        those = [example_pair for example_pair, has in zip(counted, chosen[:, flat], strict=True) if has]
        maps.append(
            RecurrentMap(
                layer=graph.layers[layer].name,
                map=int(flat) - graph.offsets[layer],
                examples=tuple(example.id for example, _ in those),
                chance=float(found.expected[flat]),
                others=float(others[flat]),
                beyond=bool(found.counts[flat] > found.most),
                pairs=_class_pairs(bench, [pair for _, pair in those]),
            )
        )
    return RecurrentMaps(side, found.most, tuple(maps), recur, int((found.counts > found.most).sum()))


def _others(counted: Sequence[tuple[Example, PathPair]], side: str, n_maps: int) -> np.ndarray:
    """In how many examples each map would be gained (or lost) with a null target in adv's place, (n,).

    It is the mean over the examples whose nulls are stored, times the number of examples that count.
    """
    shares = [
        np.mean([_changed(pair.source, null, side)[1] for null in pair.nulls], axis=0)
        for _, pair in counted
        if pair.nulls
    ]
    return np.mean(shares, axis=0) * len(counted) if shares else np.full(n_maps, np.nan)


def _class_pairs(bench: Workbench, pairs: Sequence[PathPair]) -> tuple[ClassPair, ...]:
    names = bench.class_names
    labels = Counter((pair.source.label, pair.adversarial.label) for pair in pairs)
    ordered = sorted(labels.items(), key=lambda found: (-found[1], found[0]))
    return tuple(ClassPair(names[source], names[taken], count) for (source, taken), count in ordered)
