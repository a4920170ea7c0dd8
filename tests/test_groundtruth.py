"""The ground truth: parts and their detectors are found where they are known, and verdicts are right by hand."""

from dataclasses import asdict
from pathlib import Path

import hand_wired
import numpy as np
import pytest
import torch

from aevis_dash import groundtruth
from aevis_dash.config import ExtractionParameters
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.receptive import field_on_image
from aevis_dash.domain import AevisError, AreaOfInterest, DatapathDistance, Layer, LayerGraph, Preprocessing
from aevis_dash.groundtruth import (
    DIFFERENCE,
    RANDOM,
    PartAttack,
    Truth,
    detectors,
    divergence_layer,
    diverging,
    ground_truth,
    judge,
    part_attacks,
    triplet,
    truth,
)
from aevis_dash.world import train
from aevis_dash.world.draw import CLASSES, PARTS, SIZE, Drawing, draw_set
from aevis_dash.world.network import MEAN, STD
from aevis_dash.world.truth import overlap, part_numbers

WHEEL, NET = PARTS.index("wheel"), PARTS.index("net")
WEIGHTS = Path(__file__).parents[1] / "models" / "drawn-world.safetensors"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier(train.load(WEIGHTS), Preprocessing((SIZE, SIZE), MEAN, STD), CLASSES)


@pytest.fixture(scope="module")
def iou(shipped: Classifier) -> np.ndarray:
    return detectors(shipped, list(draw_set(20, 20001)))


@pytest.fixture(scope="module")
def attacks(shipped: Classifier, iou: np.ndarray) -> list[PartAttack]:
    return part_attacks(shipped, iou, 4, 0)


# Detectors


def painted(seed: int) -> Drawing:
    """A red wheel and a blue net, somewhere on grey."""
    rng = np.random.default_rng(seed)
    image, parts = np.full((SIZE, SIZE, 3), 90, np.uint8), {}
    for part, colour, left in (("wheel", 0, 2), ("net", 2, 34)):
        mask = np.zeros((SIZE, SIZE), bool)
        row, col = rng.integers(0, 40), left + rng.integers(0, 14)
        mask[row : row + 12, col : col + 10] = True
        image[mask, colour] = 220
        parts[part] = mask
    return Drawing(image, 0, parts)


def colour_net() -> hand_wired.Chain:
    """Two layers of three maps: what is more red than green, what is more blue than green, and nothing."""
    net = hand_wired.Chain((3, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        for channel, colour in ((0, 0), (1, 2)):
            net.convs[0].weight[channel, colour, 1, 1] = 1
            net.convs[0].weight[channel, 1, 1, 1] = -1
            net.convs[1].weight[channel, channel, 1, 1] = 1
        net.head.weight[0, 0], net.head.weight[2, 1] = 8, 8
    return net


def test_a_map_that_sees_one_colour_detects_the_part_of_that_colour_alone():
    found = detectors(hand_wired.classifier(colour_net(), SIZE), [painted(seed) for seed in range(25)])
    wanted = np.zeros((6, len(PARTS)))
    wanted[[0, 3], WHEEL] = wanted[[1, 4], NET] = 1
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("seed", range(3))
def test_overlap_equals_sets_of_pixels_counted_by_hand(seed):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 4, (3, 6, 5))
    values = rng.normal(size=(3, 40, 6, 5)).astype(np.float32)
    found = overlap(values, numbers)
    assert found.shape == (40, len(PARTS))
    assert not found[:, 3:].any()
    for n in range(40):
        flat = values[:, n].ravel()
        for part in range(3):
            own = {i for i in range(flat.size) if numbers.ravel()[i] == part + 1}
            best = sorted(range(flat.size), key=lambda i: -flat[i])[: len(own)]
            top = {i for i in best if flat[i] > 0}
            assert found[n, part] == pytest.approx(len(own & top) / len(own | top))


def test_part_numbers_tell_every_part_at_its_pixels():
    drawings = list(draw_set(10, 3))
    for drawing, numbers in zip(drawings, part_numbers(drawings), strict=True):
        assert all((numbers[mask] == PARTS.index(part) + 1).all() for part, mask in drawing.parts.items())
        assert (numbers > 0).sum() == sum(mask.sum() for mask in drawing.parts.values())


def test_the_shipped_network_has_detectors_that_hold_on_other_drawings(shipped, iou):
    again = detectors(shipped, list(draw_set(20, 20005)))
    share = (part_numbers(list(draw_set(20, 20001)))[..., None] == np.arange(1, len(PARTS) + 1)).mean((0, 1, 2))
    assert (share / (2 - share) < 0.04).all()
    for part in ("muzzle", "barrel", "canopy", "crown"):
        best = iou[:, PARTS.index(part)].argsort()[-10:]
        assert again[best, PARTS.index(part)].mean() > 5 * share[PARTS.index(part)]


# Attacks on one part


def test_part_attacks_stay_inside_the_part_and_fool_the_network(shipped, attacks):
    assert len(attacks) == 4
    assert len({a.part for a in attacks}) >= 3
    for a in attacks:
        changed = (a.source != a.adversarial).any(-1)
        assert changed.any()
        assert not (changed & ~a.region).any()
        assert a.region.sum() >= 40
        labels = [p.label for p in shipped.predict(np.stack([a.source, a.adversarial]))]
        assert labels == [a.label, a.adversarial_label]
        assert a.label != a.adversarial_label
        assert np.abs(a.source.astype(int) - a.adversarial).max() <= a.epsilon


def test_nothing_changes_outside_the_parts_cone(shipped, attacks):
    a = min(attacks, key=lambda a: a.region.sum())
    rows, cols = np.nonzero(a.region)
    for layer in (0, 4, 9):
        shape = shipped.layers.layers[layer]
        with torch.no_grad():
            both = shipped.network.activation(shipped.inputs(np.stack([a.source, a.adversarial])), layer)
        moved, outside = (both[0] != both[1]).any(0).numpy(), 0
        for row in range(0, shape.height, 3):
            for col in range(0, shape.width, 3):
                f = field_on_image(shipped.network.traced, AreaOfInterest(layer, row, col, row + 1, col + 1))
                if not a.region[f.top : f.bottom, f.left : f.right].any():
                    outside += 1
                    assert not moved[row, col]
        assert moved.any()
        assert outside or layer == 9
    assert len(rows) == len(cols) == a.region.sum()


def test_the_default_method_names_detectors_of_the_attacked_part_above_their_base_rate(shipped, iou, attacks):
    verdicts = []
    for a in attacks:
        adv, src, _, _ = triplet(shipped, a, a.source[None], ExtractionParameters())
        verdicts.append(judge(shipped.layers, adv.gates + src.gates, truth(shipped, a, iou)))
    ratios = [v.precision / v.base_rate for v in verdicts]
    assert np.mean(ratios) > 1.25
    assert np.mean([v.precision for v in verdicts]) > np.mean([v.base_rate for v in verdicts])


def test_where_no_attack_succeeds_it_says_so(shipped, iou, monkeypatch):
    monkeypatch.setattr(groundtruth, "EPSILONS", (1.0,))
    with pytest.raises(AevisError, match="No attack on a single part"):
        part_attacks(shipped, iou, 1, 0)


# The truth of an attack, and the verdict


def red_attack() -> PartAttack:
    drawing = painted(0)
    adversarial = drawing.image.copy()
    adversarial[drawing.parts["wheel"], 0] = 120
    return PartAttack(drawing.image, adversarial, "wheel", ("net",), drawing.parts["wheel"], 0, 2, 100.0)


def test_the_hand_wired_net_names_the_red_map_and_nothing_else():
    c = hand_wired.classifier(colour_net(), SIZE)
    known = truth(c, red_attack(), detectors(c, [painted(seed) for seed in range(25)]))
    assert known.detects.tolist() == [True, False, False] * 2
    assert known.elsewhere.tolist() == [False, True, False] * 2
    assert known.fires.tolist() == [True, True, False] * 2
    assert (known.difference > 0).tolist() == known.detects.tolist()
    assert known.difference[0] == pytest.approx(100 / 255 * np.sqrt(120), rel=1e-5)
    red, blue, dead = (judge(c.layers, np.tile(np.eye(3)[i], 2), known) for i in range(3))
    for verdict, right, wrong in ((red, 1, 0), (blue, 0, 1), (dead, 0, 0)):
        wanted = {"precision": right, "base_rate": 0.5, "recall": right, "recall_elsewhere": wrong}
        assert asdict(verdict) == wanted | {"carried": right, "unmoved": 1 - right}


def test_elimination_finds_the_hand_wired_cause():
    """Eq. 5 need not: it keeps the label with as few maps as can be, here with hardly any."""
    c, a = hand_wired.classifier(colour_net(), SIZE), red_attack()
    assert [p.label for p in c.predict(np.stack([a.source, a.adversarial]))] == [0, 2]
    known = truth(c, a, detectors(c, [painted(seed) for seed in range(25)]))
    adv, src, _, chosen = triplet(c, a, np.stack([a.adversarial]), ExtractionParameters(method="elimination"))
    assert chosen == 0
    assert judge(c.layers, src.gates, known).precision == 1
    assert judge(c.layers, adv.gates + src.gates, known).unmoved <= 0.5


def test_a_verdict_counted_by_hand():
    graph = LayerGraph(tuple(Layer(i, f"l{i}", (), w, 1, 1) for i, w in enumerate((20, 10))), ((0, 1),))
    detects, elsewhere, fires, difference = np.zeros(30, bool), np.zeros(30, bool), np.ones(30, bool), np.ones(30)
    elsewhere[[1, 4, 22, 23]] = True  # 3 of them fire: 1, 22 and 23
    detects[[0, 2, 3, 20, 21]] = True  # 4 of them fire: 0, 2, 20 and 21
    fires[3:11] = False
    difference[[1, 2]], difference[3] = 0, 3
    order = np.zeros(30)
    order[[0, 1, 20]] = 3, 2, 1  # names 0 (right), 1 (unmoved), 20 (right)
    v = judge(graph, order, Truth(detects, elsewhere, fires, difference, 1.0))
    assert v.precision == pytest.approx(2 / 3)
    assert v.base_rate == pytest.approx((2 * 2 / 12 + 1 * 2 / 10) / 3)
    assert v.recall == pytest.approx(2 / 4)
    assert v.recall_elsewhere == pytest.approx(1 / 3)
    assert v.carried == pytest.approx((1 / 4 + 1 / 1) / 2)
    assert v.unmoved == pytest.approx(1 / 3)


def test_the_base_rate_is_what_random_naming_reaches():
    graph = LayerGraph(tuple(Layer(i, f"l{i}", (), 40, 1, 1) for i in range(3)), ())
    rng = np.random.default_rng(0)
    known = Truth(rng.random(120) < 0.3, np.zeros(120, bool), rng.random(120) < 0.7, rng.random(120), 0.0)
    verdicts = [judge(graph, known.fires * (1 + rng.random(120)), known) for _ in range(800)]
    assert np.mean([v.precision for v in verdicts]) == pytest.approx(verdicts[0].base_rate, abs=0.012)


def blurring() -> hand_wired.Chain:
    """Copies red, then sums it twice over 3 x 3: what has one sign adds up, noise does not."""
    net = hand_wired.Chain((1, 1, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.convs[0].weight[0, 0, 1, 1] = 1
        net.convs[1].weight[:] = 1
        net.convs[2].weight[:] = 1
    return net


def test_the_layer_of_divergence_is_the_first_layer_that_tells_the_perturbation_from_noise():
    c = hand_wired.classifier(blurring(), SIZE)
    source, adversarial = (np.full((SIZE, SIZE, 3), 120, np.uint8) for _ in range(2))
    region = np.zeros((SIZE, SIZE), bool)
    region[10:40, 10:40] = True
    adversarial[region, 0] = 130
    assert divergence_layer(c, PartAttack(source, adversarial, "wheel", (), region, 0, 1, 10.0)) == 1
    assert np.isnan(divergence_layer(c, PartAttack(source, source, "wheel", (), region, 0, 1, 10.0)))


def test_the_river_says_where_it_diverges_or_nothing():
    way = np.array([0, 0, 0, 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1, 1, 1])
    found = diverging(DatapathDistance("test", np.ones(12), way, 1 - way, np.zeros((0, 12))))
    assert 3 <= found <= 4
    flat = np.full(12, 0.2)
    assert np.isnan(diverging(DatapathDistance("test", np.ones(12), flat, 1 - flat, np.zeros((0, 12)))))


# The table


def test_the_table_of_a_small_run_is_in_range_and_follows_from_its_seed(shipped, monkeypatch):
    monkeypatch.setattr(groundtruth, "REFERENCE", 10)
    told = []
    first = ground_truth(shipped, ["gradient", "random"], 2, 1, progress=lambda share, what: told.append(share))
    assert list(first) == ["gradient", "random", DIFFERENCE, RANDOM]
    assert told == sorted(told)
    for name, lines in first.items():
        for line in ("precision", "base rate", "recall", "recall elsewhere", "carried", "unmoved"):
            assert 0 <= lines[line].low <= lines[line].mean <= lines[line].high <= 1
            assert lines[line].n == 2
        assert lines["base rate"] == first["random"]["base rate"]
        assert ("diverging error" in lines) == (name in ("gradient", "random"))
    assert first[DIFFERENCE]["carried"].mean == pytest.approx(1)
    assert first[DIFFERENCE]["beyond difference"].mean == 0
    again = ground_truth(shipped, ["random"], 2, 1)
    assert {line: e for line, e in again["random"].items() if e.n} == {
        line: e for line, e in first["random"].items() if e.n
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"methods": ["nonsense"]}, "no method 'nonsense'"),
        ({"count": 0}, "At least 1 attack"),
        ({"seed": -1}, "seed of 0 or above"),
    ],
)
def test_what_cannot_be_asked_is_refused(shipped, given, words):
    with pytest.raises(AevisError, match=words):
        ground_truth(shipped, **{"methods": ["random"], **given})


def test_another_classifier_than_the_drawn_worlds_is_refused():
    with pytest.raises(AevisError, match="drawn world"):
        ground_truth(hand_wired.classifier(hand_wired.random_net(0)), ["random"])
