"""What a hard set is worth, against loops."""

import dataclasses

import hand_wired
import numpy as np
import pytest
import reference

from aevis_dash.config import ExtractionParameters
from aevis_dash.core.datapath import extract
from aevis_dash.core.measures import Gauge, complete_set, jaccard, rank_correlation
from aevis_dash.method_lines import SHARES


@pytest.mark.parametrize("seed", range(5))
def test_jaccard_counts_what_is_common_and_what_is_in_either(seed):
    a, b = np.random.default_rng(seed).uniform(size=(2, 40)) < 0.4
    first, second = set(np.flatnonzero(a)), set(np.flatnonzero(b))
    assert jaccard(a, b) == pytest.approx(len(first & second) / len(first | second))
    assert jaccard(a, a) == 1
    assert jaccard(a, ~a) == 0
    assert jaccard(a & ~a, a & ~a) == 1


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_shares_the_ranks_of_ties(seed):
    a, b = np.random.default_rng(seed).integers(0, 6, (2, 30))
    assert rank_correlation(a, b) == pytest.approx(reference.spearman(a, b))
    assert rank_correlation(a, a * 3 + 1) == pytest.approx(1)
    assert rank_correlation(a, -np.exp(a)) == pytest.approx(-1)
    assert rank_correlation(a, np.ones(30)) == rank_correlation(np.zeros(30), b) == 0
    assert rank_correlation(np.zeros(0), np.zeros(0)) == 0
    assert np.isnan(rank_correlation(np.append(a, np.nan), np.append(b, 0)))


@pytest.mark.parametrize("seed", range(3))
def test_the_gauge_says_what_hard_sets_do_on_the_image_and_on_others(seed):
    model, images = hand_wired.random_net(seed, skip=seed == 1), hand_wired.images(seed, 6)
    c, image, others = hand_wired.classifier(model), images[0], images[1:]
    path = next(extract(c, images[:1], [], ExtractionParameters(method="random", seed=seed)))
    gauge, shares = Gauge(c, images[:1], others), (*SHARES, 0.5, 0.8, 1.0)
    kept, kl = gauge.at_shares(path, shares)
    p = reference.softmax(hand_wired.logits_twin(model, image))
    for i, share in enumerate(shares):
        chosen = complete_set(c.layers, path.hard_order, share)
        q = reference.softmax(hand_wired.logits_twin(model, image, chosen))
        assert kept[i] == float(q.argmax() == p.argmax())
        assert kl[i] == pytest.approx(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-4)
        said = [hand_wired.logits_twin(model, other, chosen).argmax() == path.label for other in others]
        assert gauge.said_of_others(chosen, path.label) == pytest.approx(np.mean(said))
    assert kl[-1] == pytest.approx(0, abs=1e-5)
    assert np.isnan(Gauge(c, images[:1], others[:0]).said_of_others(chosen, path.label))


def test_the_label_is_the_paths_own():
    """A path that explains another class than the image's is gauged by its own label."""
    c, images = hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0, 1)
    path = next(extract(c, images, [], ExtractionParameters()))
    other = dataclasses.replace(path, label=(path.label + 1) % 3)
    gauge = Gauge(c, images, images[:0])
    assert [gauge.at_shares(p, (1.0,))[0].tolist() for p in (path, other)] == [[1.0], [0.0]]


def test_the_share_of_maps_that_do_not_fire():
    dead = [(0, 1), (0, 4), (1, 0), (2, 2)]
    model, images = hand_wired.with_dead_maps(2, dead), hand_wired.images(2, 1)
    gauge = Gauge(hand_wired.classifier(model), images, images[:0])
    maps = reference.activations(hand_wired.weights(model), hand_wired.pixels(images[0]))
    silent = np.array([not m.any() for layer in maps for m in layer])
    assert silent[hand_wired.flat(*dead, widths=(5, 6, 5))].all()
    for seed in range(5):
        chosen = np.random.default_rng(seed).uniform(size=16) < 0.5
        assert gauge.dead_share(chosen) == pytest.approx(silent[chosen].mean())
    assert gauge.dead_share(np.zeros(16, bool)) == 0
