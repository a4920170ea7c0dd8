"""Datapath extraction: Eq. 5, the hard set, known routes, coherence, stability."""

import dataclasses

import hand_wired
import numpy as np
import pytest
import reference
import torch
import torchvision

from aevis_dash.config import ExtractionParameters
from aevis_dash.core.datapath import METHODS, Problem, distance, extract, representative
from aevis_dash.core.execution import Network
from aevis_dash.domain import AevisError

P = ExtractionParameters()


def twin_logits(model, image, gates, widths):
    parts = np.split(np.asarray(gates, float), np.cumsum(widths)[:-1])
    x = image.transpose(2, 0, 1) / 255
    return reference.logits(hand_wired.weights(model), x, parts, model.skip)


def widths_of(model):
    return [conv.out_channels for conv in model.convs]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("given", [0, 1, 2])
def test_the_objective_is_eq_5(given, skip):
    rng, model, images = np.random.default_rng(given), hand_wired.random_net(given, skip=skip), hand_wired.images(given)
    widths, n = widths_of(model), sum(widths_of(model))
    z, known = rng.uniform(size=(2, n)), rng.uniform(size=(given, n))
    problem = Problem(hand_wired.classifier(model), images, list(known), P)
    with torch.no_grad():
        loss, accepted = problem.objective(torch.tensor(z, dtype=torch.float32))
    for i in range(2):
        full, gated = (twin_logits(model, images[i], g, widths) for g in (np.ones(n), z[i]))
        p, q = reference.softmax(full), reference.softmax(gated)
        wanted = reference.eq5(p, q, z[i], known, P.sparsity / n, P.coherence / np.sqrt(n))
        assert float(loss[i]) == pytest.approx(wanted, abs=1e-4)
        assert bool(accepted[i]) == (p.argmax() == q.argmax())


@pytest.mark.parametrize("seed", range(3))
def test_the_rank_is_what_a_little_less_of_a_map_takes_from_the_labels_logit(seed):
    model, images, step = hand_wired.random_net(seed, skip=True), hand_wired.images(seed), 1e-5
    widths, n = widths_of(model), sum(widths_of(model))
    rank = Problem(hand_wired.classifier(model), images, [], P).rank()
    for i in range(2):
        whole = twin_logits(model, images[i], np.ones(n), widths)
        label = whole.argmax()
        for k in range(n):
            less = np.ones(n)
            less[k] -= step
            change = (whole - twin_logits(model, images[i], less, widths))[label] / step
            assert float(rank[i, k]) == pytest.approx(change, abs=1e-3)


@pytest.mark.parametrize("route", [(0, 0, 0), (1, 2, 3), (3, 0, 1), (2, 3, 2)])
def test_the_only_route_is_the_datapath(route):
    paths = list(extract(hand_wired.classifier(hand_wired.route(*route)), hand_wired.images(1), [], P))
    wanted = hand_wired.flat(*enumerate(route), widths=(4, 4, 4))
    for path in paths:
        assert path.label == 0
        assert path.keeps_hard
        np.testing.assert_array_equal(path.critical, wanted)
        assert path.gates[wanted].min() > 10 * path.gates[~wanted].max()


@pytest.mark.parametrize("a", [0, 1, 2])
def test_the_only_route_may_be_a_skip_connection(a):
    """Every layer gives at least one map; which one the bypassed layer gives is all the same."""
    path = next(extract(hand_wired.classifier(hand_wired.skip_route(a)), hand_wired.images(1), [], P))
    first, bypassed, last = np.split(path.critical, 3)
    assert np.flatnonzero(first).tolist() == np.flatnonzero(last).tolist() == [a]
    assert bypassed.sum() == 1
    assert np.argsort(-path.gates)[:2].tolist() in ([a, 6 + a], [6 + a, a])


@pytest.mark.parametrize("need", [1, 2, 3, 4, 5])
def test_the_smallest_share_of_every_layer_is_found(need):
    """The label holds once `need` of the first layer's 5 maps are in; the 6 maps of the second go along."""
    problem = Problem(hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0, 1), [], P)
    problem._holds = lambda critical, hold: critical[:, :5].sum(1) >= need
    score = torch.rand(1, 16, generator=torch.Generator().manual_seed(need))
    first, second, third = problem.smallest_share(score, 0.5)[0].split((5, 6, 5))
    counts = [need, sum(k / 6 <= (need - 1) / 5 + 1e-3 for k in range(6)), need]
    for chosen, own, count in zip((first, second, third), score[0].split((5, 6, 5)), counts, strict=True):
        assert set(torch.nonzero(chosen).flatten().tolist()) == set(own.argsort(descending=True)[:count].tolist())


@pytest.mark.parametrize("hold", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_of_the_soft_and_the_hard_set_is_true(seed, hold):
    model, images = hand_wired.random_net(seed, skip=seed % 2 == 1), hand_wired.images(seed, 3)
    widths = widths_of(model)
    for image, path in zip(
        images, extract(hand_wired.classifier(model), images, [], ExtractionParameters(hold=hold)), strict=True
    ):
        full, soft, hard = (
            reference.softmax(twin_logits(model, image, z, widths))
            for z in (np.ones(sum(widths)), path.gates, path.critical)
        )
        assert path.label == full.argmax()
        assert [path.p_full, path.p_soft, path.p_hard] == pytest.approx(
            [p[path.label] for p in (full, soft, hard)], abs=1e-4
        )
        assert (path.keeps_soft, path.keeps_hard) == (soft.argmax() == path.label, hard.argmax() == path.label)
        assert path.keeps_soft
        assert path.keeps_hard
        assert path.p_hard >= hold * path.p_full
        for z, chosen in zip(np.split(path.gates, [5, 11]), np.split(path.critical, [5, 11]), strict=True):
            assert z[chosen].min() >= z[~chosen].max(initial=0)
        assert 0 <= path.gates.min() <= path.gates.max() <= 1
        assert path.size == path.critical.sum()


def test_a_hard_set_that_fails_is_not_said_to_hold():
    c = hand_wired.classifier(hand_wired.route(1, 2, 3))
    problem = Problem(c, hand_wired.images(0, 1), [], P)
    wrong = torch.zeros(1, 12, dtype=torch.bool)
    wrong[0, 0] = True
    path = problem.datapaths(torch.ones(1, 12), wrong, 0.0)[0]
    assert (path.label, path.keeps_soft, path.keeps_hard) == (0, True, False)
    assert path.p_hard < 0.5 < path.p_soft == pytest.approx(path.p_full)
    other = problem.datapaths(torch.zeros(1, 12), ~wrong | wrong, 0.0)[0]
    assert (other.keeps_soft, other.keeps_hard) == (False, True)


def test_passes_are_counted_and_few(monkeypatch):
    counted = {"forward": 0, "backward": 0}
    record, grad = Network.record, torch.autograd.grad

    def counting_record(*args, **kwargs):
        counted["forward"] += 1
        return record(*args, **kwargs)

    def counting_grad(*args, **kwargs):
        counted["backward"] += 1
        return grad(*args, **kwargs)

    model = torchvision.models.resnet18(weights=None, num_classes=3).eval()
    c, images = hand_wired.classifier(model, size=32), hand_wired.images(0, 3, 32)
    monkeypatch.setattr(Network, "record", counting_record)
    monkeypatch.setattr(torch.autograd, "grad", counting_grad)
    given = [np.zeros(c.layers.n_maps, np.float32)] * 2
    paths = list(extract(c, images, given, ExtractionParameters()))
    passes = counted["backward"] + (counted["forward"] - counted["backward"]) / 3
    assert counted["backward"] >= ExtractionParameters().iterations
    assert [path.passes for path in paths] == pytest.approx([passes] * 3)
    assert passes <= 25


@pytest.mark.parametrize("seed", range(3))
def test_more_coherence_brings_the_gates_nearer_to_the_given(seed):
    c, (adv, src) = hand_wired.classifier(hand_wired.random_net(seed)), hand_wired.images(seed)
    given = next(extract(c, adv[None], [], P))
    away = dataclasses.replace(given, gates=1 - given.gates)
    for known in (given, away):
        found = [
            distance(known, next(extract(c, src[None], [known.gates], ExtractionParameters(coherence=gamma))))
            for gamma in (0.0, 1.0, 20.0)
        ]
        assert found[2] < 0.7 * found[0]


def test_with_coherence_the_same_twin_is_picked_in_both_images():
    c, images = hand_wired.classifier(hand_wired.twins()), hand_wired.images(2)
    images[0, ..., 1:], images[1, ..., 1:] = (255, 20), (20, 255)
    adv = next(extract(c, images[:1], [], P))
    free, held = (
        next(extract(c, images[1:], [adv.gates], ExtractionParameters(coherence=gamma))) for gamma in (0.0, 5.0)
    )
    twins = [tuple(np.flatnonzero(path.critical[:2])) for path in (adv, free, held)]
    assert twins == [(0,), (1,), (0,)]


def test_given_datapaths_hold_all_images_of_a_batch_but_not_one_another():
    c, images = hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0, 2)
    given = [np.random.default_rng(0).uniform(size=c.layers.n_maps).astype(np.float32)]
    strong = ExtractionParameters(coherence=20.0)
    both = list(extract(c, images, given, strong))
    alone = [next(extract(c, images[i : i + 1], given, strong)) for i in range(2)]
    for a, b in zip(both, alone, strict=True):
        np.testing.assert_allclose(a.gates, b.gates, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("seed", [3, 5])
def test_an_image_alone_has_the_datapath_it_has_in_a_batch(seed, batch):
    c, images = hand_wired.classifier(hand_wired.random_net(seed)), hand_wired.images(seed, 8)[1:6:2]
    assert len({p.label for p in c.predict(images)}) == 2
    together = list(extract(c, images, [], ExtractionParameters(batch=batch)))
    assert len(together) == 3
    for i, path in enumerate(together):
        alone = next(extract(c, images[i : i + 1], [], P))
        np.testing.assert_allclose(path.gates, alone.gates, atol=1e-5)
        np.testing.assert_array_equal(path.critical, alone.critical)


def test_identical_images_have_identical_paths():
    images = np.repeat(hand_wired.images(4, 1), 2, axis=0)
    first, second = extract(hand_wired.classifier(hand_wired.random_net(4)), images, [], P)
    np.testing.assert_array_equal(first.gates, second.gates)
    np.testing.assert_array_equal(first.critical, second.critical)
    assert distance(first, second) == 0


def test_other_weights_give_another_path():
    images = hand_wired.images(5, 1)
    paths = [next(extract(hand_wired.classifier(hand_wired.route(*r)), images, [], P)) for r in ((0, 1, 2), (3, 2, 1))]
    assert not (paths[0].critical & paths[1].critical).any()
    random = [next(extract(hand_wired.classifier(hand_wired.random_net(s)), images, [], P)) for s in (0, 1)]
    assert distance(*random) > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_the_representative_is_the_candidate_of_the_smallest_distance(seed):
    rng = np.random.default_rng(seed)
    path = next(extract(hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0, 1), [], P))
    adv, *candidates = (
        dataclasses.replace(path, gates=rng.uniform(size=len(path.gates)).astype(np.float32)) for _ in range(6)
    )
    far = [reference.eq4_distance(adv.gates, c.gates) for c in candidates]
    assert representative(adv, candidates) == far.index(min(far))
    root = np.sqrt(len(path.gates))
    np.testing.assert_allclose([distance(adv, c) * root for c in candidates], far, rtol=1e-5)
    assert representative(adv, [*candidates, adv]) == 5


def test_an_unknown_method_is_refused():
    c = hand_wired.classifier(hand_wired.random_net(0))
    with pytest.raises(AevisError, match=f"'magic'.*{next(iter(METHODS))}"):
        next(iter(extract(c, hand_wired.images(0), [], ExtractionParameters(method="magic"))))


def test_progress_never_falls_and_finished_paths_come_before_the_rest():
    c, said = hand_wired.classifier(hand_wired.random_net(0)), []
    paths = extract(
        c, hand_wired.images(0, 3), [], ExtractionParameters(batch=1), lambda share, what: said.append(share)
    )
    assert next(paths).label in (0, 1, 2)
    first = len(said)
    assert said[-1] == pytest.approx(1 / 3), "a third of the images are done"
    assert len(list(paths)) == 2
    assert len(said) == 3 * first
    assert said == sorted(said)
    assert said[0] == 0
    assert said[-1] == pytest.approx(1)
