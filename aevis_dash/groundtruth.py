"""Ground truth for datapaths, from the drawn world: the pixels of one part only are attacked, then the cause is asked
for.

What is known for certain: the perturbation lies in one part (an ear, a wheel, a net), so only maps that see the part
carry it. Two questions follow. (1) Are the maps that a method names as cause detectors of that part, rather than of
other parts in the picture? (2) Does the river say that adv leaves src where the perturbation really comes to more than
noise?

What it cannot say: a detector is known by where it fires on normal drawings, not by what it does. The attack may also
wake maps that detect a part of the wrong class there, and these count as errors here. So even a perfect method stays
far below a precision of 1. Compare methods with one another, with the base rate and with the two controls. Nor is there
one true layer at which a perturbation begins to matter: it exceeds equally large noise from the first layer on and
grows steadily, so the layer depends on the factor (`LOUDER`) from which it is called more than noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aevis_dash.config import AttackParameters, ExtractionParameters, Progress, part_of, silent
from aevis_dash.core import datapath, distance, evaluation, features, measures
from aevis_dash.core.attack import perturb
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.problem import Foil
from aevis_dash.domain import AevisError, Datapath, DatapathDistance, LayerGraph, Pattern
from aevis_dash.geometry.river import stretches
from aevis_dash.world.draw import CLASSES, PARTS, SIZE, Drawing, draw_set
from aevis_dash.world.truth import overlap, part_numbers

EPSILONS = (16.0, 32.0, 64.0)
"""Grey levels of 255 that an attack tries in turn. They are large, because a part is small and nothing has to be
hidden."""
DETECTS = 0.1
"""The intersection over union from which a map is a detector of a part; chance gives less than 0.04 for every part."""
NAMED = 0.1
"""The share of each layer's maps, best first, that count as named by a method."""
LOUDER = 2.0
"""How many times the largest noise adv's difference from src must be. Noise then explains less than half of it."""
DIFFERENCE, RANDOM = "control: largest difference", "control: random"
REFERENCE = 60
"""The number of drawings by which detectors are told. The candidate targets are among them too."""
_LEAST_PIXELS, _LEAST_DETECTORS, _NOISES, _CANDIDATES, _BATCH = 40, 10, 8, 3, 20
_DRAWINGS_EACH = 6


@dataclass(frozen=True)
class PartAttack:
    """A drawing and its misclassified adversarial, uint8 (H, W, 3) each, which differ within one part only.

    `region` (H, W) bool are the pixels of `part`, and `others` the parts that are seen elsewhere in the drawing. The
    two labels are what the classifier predicts. `epsilon` is the largest allowed change, in grey levels of 255.
    """

    source: np.ndarray
    adversarial: np.ndarray
    part: str
    others: tuple[str, ...]
    region: np.ndarray
    label: int
    adversarial_label: int
    epsilon: float


@dataclass(frozen=True)
class Truth:
    """What is known of an attack, whatever the method; n is the number of feature maps of the network.

    Attributes:
        detects: the maps that detect the attacked part, bool (n,).
        elsewhere: the maps that detect another part of the drawing, and not this one, bool (n,).
        fires: the maps that are not 0 everywhere on both images, bool (n,).
        difference: the l2 norm over positions of adv - src at each map, (n,). It is 0 outside the part's cone.
        diverges: the layer from which on adv differs from src by more than noise; NaN for none (see
            `divergence_layer`).
    """

    detects: np.ndarray
    elsewhere: np.ndarray
    fires: np.ndarray
    difference: np.ndarray
    diverges: float


@dataclass(frozen=True)
class TruthVerdict:
    """How the maps that a method names stand to the truth; a number is NaN where there is nothing to count.

    Attributes:
        precision: the share of the named maps that detect the attacked part.
        base_rate: the precision to be expected where as many firing maps of every layer are named at random.
        recall: the share of the firing detectors that are named. Divided by its expectation at random, it is the same
            number as precision over base rate.
        recall_elsewhere: the same for detectors of the drawing's other parts, whose pixels nobody touched. A method
            reaches it that names whatever the picture makes fire.
        carried: how much of adv's difference from src the named maps carry, over the most that as many maps could; the
            mean over the layers. The control by the largest difference has 1.
        unmoved: the share of the named maps that are the same on adv and src, and so are certainly no causes.
    """

    precision: float
    base_rate: float
    recall: float
    recall_elsewhere: float
    carried: float
    unmoved: float


def ground_truth(
    classifier: Classifier,
    methods: Sequence[str],
    count: int = 24,
    seed: int = 0,
    wanted: ExtractionParameters | None = None,
    progress: Progress = silent,
) -> dict[str, dict[str, evaluation.Estimate]]:
    """The table of all lines, as means with bootstrap intervals, for each method and for the two controls.

    Lines beside those of `TruthVerdict`: "excess", precision - base rate; "beyond difference", precision - that of the
    largest difference; "specific", recall - recall elsewhere; "diverging found", the share of attacks where the river
    has a diverging stretch; "diverging error", its first layer minus the true one; "diverging off", the size of that
    error; "constant off", the size that it would have if the median true layer were always named.

    Args:
        classifier: a classifier of the drawn world.
        methods: the names of extraction methods.
        count: the number of part attacks.
        seed: of the drawings, the noise and the bootstrap.
        wanted: the extraction parameters; None for the defaults.
        progress: is told the share of the work that is done.

    Raises:
        AevisError: where the classifier is not one of the drawn world, for an unknown method, or where no attack
            succeeds.
    """
    _check(classifier, methods, count, seed)
    wanted = wanted or ExtractionParameters()
    reference = list(draw_set(REFERENCE, _reference_set(seed)))
    iou = detectors(classifier, reference, part_of(progress, 0, 0.05))
    attacks = part_attacks(classifier, iou, count, seed, part_of(progress, 0.05, 0.15))
    truths = [truth(classifier, attack, iou, seed + i) for i, attack in enumerate(attacks)]
    orders = {
        DIFFERENCE: [t.difference for t in truths],
        RANDOM: [t.fires * (1 + np.random.default_rng([seed, i]).random(len(t.fires))) for i, t in enumerate(truths)],
    }
    diverging: dict[str, list[float]] = {}
    for i, method in enumerate(methods):
        inner = part_of(progress, 0.2 + 0.8 * i / len(methods), 0.8 / len(methods))
        rivers = _rivers(classifier, attacks, reference, replace(wanted, method=method), inner)
        orders[method] = [order for order, _ in rivers]
        diverging[method] = [first for _, first in rivers]
    verdicts = {
        name: [judge(classifier.layers, order, t) for order, t in zip(of_name, truths, strict=True)]
        for name, of_name in orders.items()
    }
    difference = np.array([v.precision for v in verdicts[DIFFERENCE]])
    diverges = np.array([t.diverges for t in truths])
    return {
        name: _lines(verdicts[name], difference, seed) | _layer_lines(diverging.get(name), diverges, seed)
        for name in (*methods, DIFFERENCE, RANDOM)
    }


def detectors(classifier: Classifier, drawings: Sequence[Drawing], progress: Progress = silent) -> np.ndarray:
    """How well each feature map detects each part, over some drawings: intersection over union (n, P); P parts as in
    PARTS."""
    graph, images = classifier.layers, np.stack([drawing.image for drawing in drawings])
    numbers, found = part_numbers(drawings), []
    for layer in graph.layers:
        progress(layer.index / len(graph), "finding what the feature maps detect")
        chunks = [
            features.activation_maps(classifier, images[i : i + _BATCH], layer.index)
            for i in range(0, len(images), _BATCH)
        ]
        found.append(overlap(np.concatenate(chunks).astype(np.float32), numbers))
    return np.concatenate(found)


def part_attacks(
    classifier: Classifier, iou: np.ndarray, count: int, seed: int, progress: Progress = silent
) -> list[PartAttack]:
    """Up to `count` misclassified attacks, one for each drawing, on the part of it that was tried least so far.

    A part is tried where it has at least 40 pixels and at least 10 maps detect it. The smallest of EPSILONS that fools
    the classifier is taken. `iou` (n, P) is what `detectors` gives. Raises AevisError where no attack succeeds.
    """
    known = {part for part, maps in zip(PARTS, (iou >= DETECTS).sum(0), strict=True) if maps >= _LEAST_DETECTORS}
    tries, made = dict.fromkeys(PARTS, 0), []
    for drawing in draw_set(_DRAWINGS_EACH * count, _attacked_set(seed)):
        progress(len(made) / count, f"{len(made)} of {count} parts attacked")
        large = [p for p in PARTS if p in known and p in drawing.parts and drawing.parts[p].sum() >= _LEAST_PIXELS]
        if large and classifier.predict(drawing.image[None])[0].label == drawing.label:
            part = min(large, key=tries.__getitem__)
            tries[part] += 1
            made += _attack_part(classifier, drawing, part)
        if len(made) == count:
            break
    if not made:
        raise AevisError(
            "No attack on a single part fooled this network, so there is nothing to judge. Train the drawn world's "
            "network for longer, or attack more parts."
        )
    return made


def truth(classifier: Classifier, attack: PartAttack, iou: np.ndarray, seed: int = 0) -> Truth:
    """What is known of an attack; `iou` (n, P) is what `detectors` gives, and `seed` that of the noise in
    `departure`."""
    detect = iou >= DETECTS
    here, other = detect[:, PARTS.index(attack.part)], detect[:, [PARTS.index(part) for part in attack.others]]
    both = _activations(classifier, np.stack([attack.source, attack.adversarial]))
    return Truth(
        detects=here,
        elsewhere=other.any(1) & ~here,
        fires=np.concatenate([value.any(axis=(0, 2)) for value in both]),
        difference=np.concatenate([np.linalg.norm(value[1] - value[0], axis=1) for value in both]),
        diverges=divergence_layer(classifier, attack, seed),
    )


def divergence_layer(classifier: Classifier, attack: PartAttack, seed: int = 0) -> float:
    """The first layer from which, to the last, adv differs from src at least LOUDER times as much as any noise does.

    Noise is the same perturbation with a random sign for every pixel and colour: within the same region and of the
    same size by every norm (8 draws; not clipped to the colours there are). Differences are l2 over all maps and
    positions of a layer, which are those of the part's cone. NaN where not even the last layer differs so much.
    """
    source, adversarial = (image[None].astype(np.float32) for image in (attack.source, attack.adversarial))
    signs = np.random.default_rng(seed).choice((-1, 1), (_NOISES, *attack.source.shape)).astype(np.float32)
    every = _activations(classifier, np.concatenate([source, adversarial, source + (adversarial - source) * signs]))
    sizes = np.array([np.linalg.norm((a[1:] - a[:1]).reshape(len(a) - 1, -1), axis=1) for a in every])
    loud = (sizes[:, 0] > 0) & (sizes[:, 0] >= LOUDER * sizes[:, 1:].max(axis=1))
    quiet = np.flatnonzero(~loud)
    first = int(quiet[-1]) + 1 if quiet.size else 0
    return float(first) if first < len(loud) else float("nan")


def judge(graph: LayerGraph, order: np.ndarray, known: Truth) -> TruthVerdict:
    """How the maps that an order (n,) names, which are the best share NAMED of every layer's maps, stand to the truth.

    For a method the order is the sum of adv's and src's gates, as in the bench's flip-back: what either prediction
    rests on. It is not multiplied by the difference of the activations, which would mix the method with a control.
    """
    named = measures.complete_set(graph, order, NAMED)
    right, elsewhere = known.detects & known.fires, known.elsewhere & known.fires
    most = measures.complete_set(graph, known.difference, NAMED)
    expected, carried = [], []
    for layer in graph.layers:
        chosen, fires, true, moved, largest = (
            graph.part(values, layer.index) for values in (named, known.fires, right, known.difference, most)
        )
        expected.append(chosen.sum() * true.sum() / fires.sum() if fires.any() else 0.0)
        carried.append(_ratio(moved[chosen].sum(), moved[largest].sum()))
    return TruthVerdict(
        precision=_ratio((right & named).sum(), named.sum()),
        base_rate=_ratio(float(np.sum(expected)), named.sum()),
        recall=_ratio((right & named).sum(), right.sum()),
        recall_elsewhere=_ratio((elsewhere & named).sum(), elsewhere.sum()),
        carried=_known_mean(carried),
        unmoved=_ratio((named & (known.difference == 0)).sum(), named.sum()),
    )


def diverging(found: DatapathDistance) -> float:
    """The first layer of the river's first diverging stretch; NaN where the river has none."""
    firsts = [stretch.first for stretch in stretches(found, nulls=0) if stretch.pattern is Pattern.DIVERGING]
    return float(firsts[0]) if firsts else float("nan")


def triplet(
    classifier: Classifier, attack: PartAttack, candidates: np.ndarray, wanted: ExtractionParameters
) -> tuple[Datapath, Datapath, Datapath, int]:
    """Extract the datapaths of an attack and of candidate targets, in the order of the paper's chain.

    Returns:
        The datapaths of adv, of src given adv, and of the most similar target given both; and that target's place among
        `candidates` (t, H, W, 3).
    """
    against_src, against_adv = Foil(attack.label, attack.source), Foil(attack.adversarial_label, attack.adversarial)
    foils = [against_src, against_adv, *[against_src] * len(candidates)]
    images = np.stack([attack.adversarial, attack.source, *candidates])
    paths: list[Datapath] = []
    for first, last in [(0, len(images))] if wanted.method == "joint" else [(0, 1), (1, 2), (2, len(images))]:
        given = [path.gates for path in paths]
        paths += datapath.extract(classifier, images[first:last], given, wanted, foils=foils[first:last])
    chosen = datapath.representative(paths[0], paths[2:])
    return paths[0], paths[1], paths[2 + chosen], chosen


def _rivers(
    classifier: Classifier,
    attacks: Sequence[PartAttack],
    reference: Sequence[Drawing],
    wanted: ExtractionParameters,
    progress: Progress,
) -> list[tuple[np.ndarray, float]]:
    """For each attack the order in which the method names maps, and the layer where its river diverges.

    Each attack has a seed of its own. With one seed a random method would have one draw for all attacks.
    """
    found = []
    for i, attack in enumerate(attacks):
        progress(i / len(attacks), f"judging {wanted.method}")
        targets = _targets(classifier, reference, attack.adversarial_label)
        own = replace(wanted, seed=wanted.seed + i)
        adv, src, tar, chosen = triplet(classifier, attack, targets, own)
        images = np.stack([attack.adversarial, attack.source, targets[chosen]])
        peaks = features.maximum_activations(classifier, images)
        of_adv, of_src, of_tar = (distance.Trace(p, peak) for p, peak in zip((adv, src, tar), peaks, strict=True))
        apart = distance.by_activations(classifier.layers, of_adv, of_src, of_tar)
        found.append((adv.gates + src.gates, diverging(apart)))
    return found


def _targets(classifier: Classifier, reference: Sequence[Drawing], label: int) -> np.ndarray:
    """The first drawings of the class, (t, H, W, 3); those that are predicted as the class come first."""
    drawn = [drawing.image for drawing in reference if drawing.label == label]
    right = [p.label == label for p in classifier.predict(np.stack(drawn))]
    order = np.argsort(~np.array(right), kind="stable")[:_CANDIDATES]
    return np.stack(drawn)[order]


def _attack_part(classifier: Classifier, drawing: Drawing, part: str) -> list[PartAttack]:
    """The weakest successful attack on the part, in a list; an empty list where none succeeds."""
    region = drawing.parts[part]
    for epsilon in EPSILONS:
        found = perturb(classifier, drawing.image[None], AttackParameters(epsilon=epsilon), region=region[None])[0]
        if found.success:
            label = classifier.predict(found.image[None])[0].label
            others = tuple(name for name in drawing.parts if name != part)
            return [PartAttack(drawing.image, found.image, part, others, region, drawing.label, label, epsilon)]
    return []


def _activations(classifier: Classifier, images: np.ndarray) -> list[np.ndarray]:
    """The activations (B, n_l, positions) of every layer for images (B, H, W, 3) of grey levels, which need not be
    whole."""
    _, found = classifier.network.record(classifier.inputs(images), range(len(classifier.layers)))
    shapes = [(len(images), layer.channels, -1) for layer in classifier.layers.layers]
    return [found[i].detach().reshape(shape).cpu().numpy() for i, shape in enumerate(shapes)]


def _lines(verdicts: Sequence[TruthVerdict], difference: np.ndarray, seed: int) -> dict[str, evaluation.Estimate]:
    of = {name: np.array([getattr(v, name) for v in verdicts]) for name in TruthVerdict.__dataclass_fields__}
    lines = {name.replace("_", " "): values for name, values in of.items()}
    lines["excess"] = of["precision"] - of["base_rate"]
    lines["specific"] = of["recall"] - of["recall_elsewhere"]
    lines["beyond difference"] = of["precision"] - difference
    return {name: evaluation.bootstrap(values, seed) for name, values in lines.items()}


def _layer_lines(found: Sequence[float] | None, diverges: np.ndarray, seed: int) -> dict[str, evaluation.Estimate]:
    if found is None:
        return {}
    firsts = np.array(found)
    error = firsts - diverges
    both = np.isfinite(error)
    constant = np.abs(diverges[both] - np.median(diverges[both])) if both.any() else diverges[both]
    lines = {
        "diverging found": np.isfinite(firsts).astype(float),
        "diverging error": error,
        "diverging off": np.abs(error),
        "constant off": constant,
    }
    return {name: evaluation.bootstrap(values, seed) for name, values in lines.items()}


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _reference_set(seed: int) -> int:
    """An odd seed, because no training draws its sets with an odd one."""
    return 20001 + 4 * seed


def _attacked_set(seed: int) -> int:
    return 20003 + 4 * seed


def _check(classifier: Classifier, methods: Sequence[str], count: int, seed: int) -> None:
    if classifier.class_names != CLASSES or classifier.preprocessing.input_size != (SIZE, SIZE):
        raise AevisError(
            "The truth about parts is known for the drawn world only, and this is another classifier. "
            "Give a workspace of the drawn world."
        )
    datapath.check_methods(methods)
    if count < 1 or seed < 0:
        raise AevisError(f"At least 1 attack and a seed of 0 or above are needed, not {count} and {seed}.")
