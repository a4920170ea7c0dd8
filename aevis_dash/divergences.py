"""All examples at once: where every adversarial leaves its source, and which maps recur as culprits.

The cheap way compares activations, which takes a few forward runs a pair, for thousands of pairs. The full way compares
activations only on the critical maps of the pair's datapaths by an extraction method, for a sample.

A pair is compared with two bands (`core.divergence`): what noise of the same size does, and how other pictures of src's
class lie. Adv *leaves* a band at the first layer from which on, to the last layer, it is farther from src than the
band.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aevis_dash import method_comparison
from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.core import datapath, divergence, features
from aevis_dash.core.divergence import Divergence
from aevis_dash.domain import Example
from aevis_dash.image_pair import ImagePair
from aevis_dash.sample import Sample, choose, do_each
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench

NEVER = "never"
REST = -1
"""Stands in a matrix of classes for all classes that have no row, or no column, of their own."""
CLASSES = 25
"""The number of rows, and of columns, that a matrix of classes has at most."""
VERSION = 5
LISTING_VERSION = 5
"""The version of stored listings. It is raised when the columns of `rows`, or how they are found, change."""
NOISES, OTHERS = 8, 8
"""The number of draws of noise, and of other clean images of src's class at most, that a pair is compared with."""


@dataclass(frozen=True)
class Pair:
    """The question of one task.

    Attributes:
        example: the ID of the example.
        wanted: the extraction parameters of the full way; None for the cheap way.
    """

    example: str
    wanted: ExtractionParameters | None = None


@dataclass(frozen=True)
class Divergences:
    """What was found for some examples.

    Attributes:
        examples: the examples.
        found: where each of them leaves its source, in the same order.
    """

    examples: tuple[Example, ...]
    found: tuple[Divergence, ...]


@dataclass(frozen=True)
class Listing:
    """The comparison of every misclassified example of a workspace, by the cheap way.

    Attributes:
        rows: one row for each example; see `rows`.
    """

    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Confusions:
    """How often adversarials of each class are taken for each other class.

    Attributes:
        sources: the classes of the sources, of most examples first, for the r rows; at the end REST, where there are
            more classes than rows.
        taken_for: the classes that the adversarials are taken for, alike, for the c columns.
        counts: the number of examples, int (r, c).
        more: how many classes of sources, and how many that are taken for, stand together as REST.
    """

    sources: tuple[int, ...]
    taken_for: tuple[int, ...]
    counts: np.ndarray
    more: tuple[int, int]


def divergences(
    bench: Workbench, sample: Sample, method: str | None = None, progress: Progress = silent
) -> Divergences:
    """Compare the pairs of a sample.

    Args:
        bench: the workbench of the workspace.
        sample: which examples are compared, and where the tasks run.
        method: an extraction method, on whose critical maps the pairs are compared; None to compare all activations.
        progress: is told the share of the work that is done.

    Raises:
        AevisError: for an unknown method, and where no example is misclassified.
    """
    datapath.check_methods([method] if method else [])
    examples = choose(bench, sample)
    wanted = method_comparison.method_of(bench, method) if method else None
    pairs = [Pair(e.id, wanted) for e in examples]
    return Divergences(tuple(examples), tuple(do_each(bench, diverge, pairs, sample, progress)))


@one_sight()
def diverge(bench: Workbench, pair: Pair) -> Divergence:
    """The task for one pair: where its adversarial leaves its source; from the store where it is stored."""
    example = bench.workspace.example(pair.example)
    others = _others(bench, example)
    hashes = [bench.workspace.image_hash(name) for name in (example.adversarial, example.source, *others)]
    wanted = pair.wanted and datapath.used_parameters(pair.wanted)
    key = key_of("divergence", VERSION, model=bench.classifier.fingerprint, images=hashes, wanted=wanted)
    return bench.store.remember(key, Divergence, lambda: _diverge(bench, example, others, pair.wanted))


@one_sight()
def listing(bench: Workbench, progress: Progress = silent) -> Listing:
    """Compare every misclassified example the cheap way, in this process; pairs that are stored are not compared
    again."""
    examples = misclassified(bench)
    found = []
    for i, example in enumerate(examples):
        progress(i / len(examples), f"comparing pair {i + 1} of {len(examples)}")
        found.append(diverge(bench, Pair(example.id)))
    listed = Listing(rows(bench, Divergences(tuple(examples), tuple(found))))
    bench.store.put(_listing_key(bench, examples), listed)
    return listed


def stored_listing(bench: Workbench) -> Listing | None:
    """The stored listing, where it is of the examples that there are now; None otherwise."""
    return bench.store.get(_listing_key(bench, misclassified(bench)), Listing)


def rows(bench: Workbench, found: Divergences) -> list[dict[str, Any]]:
    """One row for every pair: its classes, its attack, where it leaves each band, and the culprits there.

    A layer is "never" where adv stays within the band, and "" where there is no other image of the class to compare
    with. The columns that begin with `innocent_` list where the band's own images leave the band of the other ones.
    """
    labels = [bench.judging.predict([e.source, e.adversarial]) for e in found.examples]
    return [
        {
            "example": example.id,
            "source": bench.class_names[source.label],
            "adversarial": bench.class_names[adversarial.label],
            "attack": _attack(bench, example),
            "perturbation": bench.judging.perturbation(example).linf,
            **{f"leaves_{band}": _layer_name(bench, each.point(band).layer) for band in divergence.BANDS},
            **{f"culprits_{band}": _names(bench, each.point(band).culprits) for band in divergence.BANDS},
            **{f"innocent_{band}": _layer_names(bench, each.innocents(band)) for band in divergence.BANDS},
        }
        for example, each, (source, adversarial) in zip(found.examples, found.found, labels, strict=True)
    ]


def culprits(listed: Sequence[dict[str, Any]], band: str) -> list[tuple[str, int]]:
    """The maps, as LAYER:CHANNEL, with the number of pairs that name them as culprits; the most frequent first.

    Args:
        listed: rows of `rows`.
        band: one of `core.divergence.BANDS`.
    """
    counted = Counter(name for row in listed for name in row[f"culprits_{band}"].split())
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def by_layer(bench: Workbench, listed: Sequence[dict[str, Any]], band: str, group: str) -> list[dict[str, Any]]:
    """How many pairs leave a band at every layer; the last row is for those that never do.

    How many innocent images leave the band at all is no finding: by construction it is half of the class band's and one
    of the noise band's. Where they leave it is one. Pairs without a band are counted nowhere (see `without_band`).

    Args:
        bench: the workbench of the workspace.
        listed: rows of `rows`.
        band: one of `core.divergence.BANDS`.
        group: the column of `listed` by whose values the pairs are counted apart.

    Returns:
        For every layer "layer", its name; "pairs", the number of pairs by the value of the group; and "innocent", the
        number of pairs there would be if adv were one of the band's own images, compared with the others of them.
    """
    groups = sorted({row[group] for row in listed})
    layers = [*(layer.name for layer in bench.layers.layers), NEVER]
    counted = Counter((row[f"leaves_{band}"], row[group]) for row in listed)
    innocent = dict.fromkeys(layers, 0.0)
    compared = [row[f"innocent_{band}"].split() for row in listed if row[f"innocent_{band}"]]
    for names in compared:
        for name in names:
            innocent[name] += 1 / len(names)
    scale = (len(listed) - without_band(listed, band)) / max(len(compared), 1)
    return [
        {"layer": layer, "pairs": {str(g): counted[layer, g] for g in groups}, "innocent": innocent[layer] * scale}
        for layer in layers
    ]


def without_band(listed: Sequence[dict[str, Any]], band: str) -> int:
    """The number of pairs that have no other image of the class to compare with."""
    return sum(row[f"leaves_{band}"] == "" for row in listed)


def those(
    listed: Sequence[dict[str, Any]], band: str, layer: str = "", by: str = "", group: str = "", culprit: str = ""
) -> list[str]:
    """The IDs of the examples that fit all conditions; a condition that is "" asks nothing.

    Args:
        listed: rows of `rows`.
        band: one of `core.divergence.BANDS`.
        layer: the name of the layer at which the pair leaves the band.
        by: the column that `group` is a value of.
        group: the value, as text.
        culprit: a map, as LAYER:CHANNEL, that the pair names as a culprit.
    """
    return [
        row["example"]
        for row in listed
        if layer in ("", row[f"leaves_{band}"])
        and (not by or group in ("", str(row[by])))
        and (not culprit or culprit in row[f"culprits_{band}"].split())
    ]


def confusions(pairs: Sequence[tuple[int, int]], most: int = CLASSES) -> Confusions:
    """Count the examples by the class of their source and the class that they are taken for.

    Args:
        pairs: for every example the class of its source and the class of its adversarial.
        most: the number of rows, and of columns, at most.
    """
    sides = [_frequent([pair[side] for pair in pairs], most) for side in (0, 1)]
    counts = np.zeros([len(named) for named, _ in sides], int)
    for pair in pairs:
        row, column = (
            named.index(label if label in named else REST) for label, (named, _) in zip(pair, sides, strict=True)
        )
        counts[row, column] += 1
    (sources, more_sources), (taken_for, more_taken) = sides
    return Confusions(tuple(sources), tuple(taken_for), counts, (more_sources, more_taken))


def class_pairs(bench: Workbench, examples: Sequence[Example]) -> list[tuple[int, int]]:
    """For every example the class that its source is predicted as, and the class that it is taken for."""
    said = bench.judging.predict([name for e in examples for name in (e.source, e.adversarial)])
    return [(source.label, adversarial.label) for source, adversarial in zip(said[::2], said[1::2], strict=True)]


def map_name(bench: Workbench, flat: int) -> str:
    """The name LAYER:CHANNEL of a map, given by its place among all n maps of the network."""
    layer = int(np.searchsorted(bench.layers.offsets, flat, side="right")) - 1
    return f"{bench.layers.layers[layer].name}:{flat - bench.layers.offsets[layer]}"


def misclassified(bench: Workbench) -> list[Example]:
    """The misclassified examples of the workspace, which the listing is of."""
    return [judged.example for judged in bench.judging.judged_examples() if judged.misclassified]


def _frequent(labels: Sequence[int], most: int) -> tuple[list[int], int]:
    """The classes of most examples first, REST last where there are more than `most`, and how many REST are."""
    counted = Counter(labels)
    order = sorted(counted, key=lambda label: (-counted[label], label))
    if len(order) <= most:
        return order, 0
    return [*order[: most - 1], REST], len(order) - most + 1


def _listing_key(bench: Workbench, examples: Sequence[Example]) -> str:
    images = [[bench.workspace.image_hash(name) for name in (e.source, e.adversarial)] for e in examples]
    listed = bench.workspace.image_list()
    normal = [[digest, entry.label] for entry, digest in zip(listed.entries, listed.digests, strict=True)]
    words = [[e.id, e.attack, e.target_label] for e in examples]
    model = bench.classifier.fingerprint
    return key_of("listing", LISTING_VERSION, model=model, images=images, words=words, normal=normal)


def _attack(bench: Workbench, example: Example) -> str:
    """The attack in words, without the class that it aims at, which is another column."""
    aim = "" if example.target_label is None else f", towards {bench.class_names[example.target_label]}"
    return example.attack.removesuffix(aim) or "unnamed"


def _layer_name(bench: Workbench, layer: int) -> str:
    return "" if layer < 0 else NEVER if layer == len(bench.layers) else bench.layers.layers[layer].name


def _layer_names(bench: Workbench, layers: np.ndarray) -> str:
    return " ".join(_layer_name(bench, int(layer)) for layer in layers)


def _names(bench: Workbench, flats: np.ndarray) -> str:
    return " ".join(map_name(bench, int(flat)) for flat in flats)


def _others(bench: Workbench, example: Example) -> list[str]:
    """Other clean images of src's class, at most OTHERS, in the table's order."""
    label = bench.judging.predict([example.source])[0].label
    return [name for name in bench.judging.clean().of_class(label) if name != example.source][:OTHERS]


def _diverge(
    bench: Workbench, example: Example, others: Sequence[str], wanted: ExtractionParameters | None
) -> Divergence:
    source, adversarial = bench.workspace.read([example.source, example.adversarial])
    noisy = divergence.shuffle_perturbation(source, adversarial, NOISES, seed=0)
    critical = None
    if wanted is not None:
        adv, src = ImagePair(bench, example.id).chain(wanted)
        critical = adv.critical | src.critical
    return divergence.diverge(
        bench.layers,
        bench.maps.maxima(example.source),
        bench.maps.maxima(example.adversarial),
        features.maximum_activations(bench.classifier, noisy),
        np.array([bench.maps.maxima(name) for name in others]).reshape(-1, bench.layers.n_maps),
        critical,
    )
