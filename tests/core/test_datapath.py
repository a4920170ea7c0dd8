"""Datapath extraction through its one interface: every method, known routes, sets of images, what the results say."""

import dataclasses
import functools
from types import SimpleNamespace

import hand_wired
import numpy as np
import pytest
import reference
import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode

from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath, ranking
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.datapath import (
    METHODS,
    datapaths,
    distance,
    extract,
    extract_set,
    most_passes,
    representative,
    used_parameters,
)
from aevis_dash.core.problem import NO_RIVAL, Foil, Found
from aevis_dash.domain import AevisError

P = ExtractionParameters()
FIND_THE_ROUTE = [name for name in METHODS if name not in ("straight-through", "activation", "random")]
"""Straight-through gates have no way back once the route is closed; the other two do not look for it."""
SETTLING, MOST_SETTLING = ("needed", "constrained", "joint", "unconstrained", "size-squared"), 90
"""The methods that end when the last image of a batch has settled, and the passes that these spend at most."""
METHOD = pytest.mark.parametrize("method", METHODS)


def found(model, images, given=(), foils=None, **parameters):
    chosen = ExtractionParameters(**parameters)
    return list(extract(hand_wired.classifier(model), images, given, chosen, foils=foils))


def same(first, second):
    np.testing.assert_allclose(first.gates, second.gates, atol=1e-5)
    np.testing.assert_array_equal(first.critical, second.critical)
    np.testing.assert_array_equal(first.core, second.core)


def test_the_default_method_is_the_first():
    assert next(iter(METHODS)) == P.method


@METHOD
def test_every_method_has_one_interface(method):
    model, images = hand_wired.random_net(0, skip=True), hand_wired.images(0, 3)
    rivals = [Foil(1, images[1]), Foil(), Foil(NO_RIVAL, images[0])]
    paths = found(model, images, [np.full(16, 0.5, np.float32)], rivals, method=method)
    assert [path.label for path in paths] == [hand_wired.logits_twin(model, image).argmax() for image in images]
    assert [path.rival for path in paths] == [1, NO_RIVAL, NO_RIVAL]
    for path in paths:
        assert (path.method, path.images) == (method, 1)
        assert (path.gates.dtype, path.gates.shape) == (np.float32, (16,))
        assert 0 <= path.gates.min() < path.gates.max() <= 1
        for chosen in (path.critical, path.core):
            assert (chosen.dtype, chosen.shape) == (bool, (16,))
        assert path.keeps_hard
        assert path.size == path.critical.sum()
        assert path.seconds > 0
        assert path.supports.all() or method == "elimination"
        order = np.where(path.supports, path.gates, path.gates - 2)
        np.testing.assert_array_equal(path.hard_order, order)
        for z, chosen in zip(hand_wired.parts(model, order), hand_wired.parts(model, path.critical), strict=True):
            inside = chosen > 0
            assert inside.any()
            assert z[inside].min() >= z[~inside].max(initial=-2)


@METHOD
def test_what_is_said_of_the_hard_sets_is_true(method):
    model, images = hand_wired.random_net(1, skip=True), hand_wired.images(1, 3)
    for image, path in zip(images, found(model, images, method=method, hold=0.6), strict=True):
        full, hard, core = (
            reference.softmax(hand_wired.logits_twin(model, image, z)) for z in (None, path.critical, path.core)
        )
        assert path.label == full.argmax()
        assert [path.p_full, path.p_hard] == pytest.approx([p[path.label] for p in (full, hard)], abs=1e-4)
        assert (path.kept, path.keeps_hard) == (1, True)
        assert path.p_hard >= 0.6 * path.p_full - 1e-5
        assert hard.argmax() == core.argmax() == path.label


@pytest.mark.parametrize("method", ["elimination", "soft", "gradient"])
def test_the_soft_prediction_is_of_the_gates(method):
    model, images = hand_wired.random_net(3), hand_wired.images(3, 3)
    for image, path in zip(images, found(model, images, method=method), strict=True):
        soft = reference.softmax(hand_wired.logits_twin(model, image, path.gates))
        assert path.p_soft == pytest.approx(soft[path.label], abs=1e-4)
        assert path.keeps_soft == (soft.argmax() == path.label)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 1.0])
def test_the_users_share_is_taken_of_every_layer_whether_it_holds_or_not(share):
    model, images, kept = hand_wired.random_net(2), hand_wired.images(2, 6), []
    with torch.no_grad():  # the classes are made equally likely over the images, so that few maps lose some labels
        model.head.bias -= model(torch.from_numpy(images).movedim(-1, 1) / 255).mean(0)
    for image, path in zip(images, found(model, images, share=share), strict=True):
        order = [z if s else z - 9 for z, s in zip(path.gates, path.supports, strict=True)]
        assert path.critical.tolist() == reference.complete_set(hand_wired.parts(model, order), share)
        hard = reference.softmax(hand_wired.logits_twin(model, image, path.critical))
        assert path.p_hard == pytest.approx(hard[path.label], abs=1e-4)
        assert path.keeps_hard == (hard.argmax() == path.label)
        assert path.kept == int(path.keeps_hard)
        kept.append(path.keeps_hard)
    assert set(kept) == ({True, False} if share < 0.5 else {True})


OTHER = {"coherence": 9.0, "samples": 1, "rounds": 1, "sparsity": 90.0, "iterations": 3, "learning_rate": 0.4}
OTHER |= {"seed": 5, "candidates": 1, "null_targets": 0, "batch": 1, "hold": 0.3}


@functools.cache
def of_wide_net(method, changed=None):
    """The datapaths of a net of 60 maps by a method, one of its parameters changed to that of OTHER."""
    model, images = hand_wired.random_net(3, (20, 20, 20)), hand_wired.images(3, 3)
    given = [np.random.default_rng(1).uniform(size=60).astype(np.float32)]
    foils, other = [Foil(-1, image) for image in images[::-1]], {changed: OTHER[changed]} if changed else {}
    return found(model, images, given, foils, method=method, share=0.2, **other)


@METHOD
@pytest.mark.parametrize("parameter", OTHER)
def test_gates_depend_on_the_parameters_that_their_method_is_said_to_use_and_on_no_others(method, parameter):
    one, other = of_wide_net(method), of_wide_net(method, parameter)
    moved = max(np.abs(a.gates - b.gates).max() for a, b in zip(one, other, strict=True))
    uses = used_parameters(ExtractionParameters(method=method, share=0.2))
    assert (moved > 1e-4) == (parameter in uses)
    assert set(used_parameters(ExtractionParameters(method=method))) == {*uses, "hold"}


def test_more_hold_takes_larger_sets():
    model, images = hand_wired.random_net(2), hand_wired.images(2, 4)
    sizes = [[path.size for path in found(model, images, hold=hold, method="gradient")] for hold in (0.0, 0.9)]
    assert np.less(*sizes).all()


@pytest.mark.parametrize("method", FIND_THE_ROUTE)
@pytest.mark.parametrize("route", [(0, 0, 0), (1, 2, 3), (3, 0, 1)])
def test_the_only_route_is_the_datapath(route, method):
    wanted = hand_wired.flat(*enumerate(route), widths=(4, 4, 4))
    for path in found(hand_wired.route(*route), hand_wired.images(1), method=method):
        assert path.label == 0
        np.testing.assert_array_equal(path.critical, wanted)
        np.testing.assert_array_equal(path.core, wanted)
        assert path.gates[wanted].min() > 1.2 * path.gates[~wanted].max()


@pytest.mark.parametrize("method", FIND_THE_ROUTE)
@pytest.mark.parametrize("a", [0, 1, 2])
def test_the_only_route_may_be_a_skip_connection(a, method):
    """Every layer gives at least one map; which one the bypassed layer gives is all the same."""
    path = found(hand_wired.skip_route(a), hand_wired.images(1), method=method)[0]
    first, bypassed, last = np.split(path.critical, 3)
    assert np.flatnonzero(first).tolist() == np.flatnonzero(last).tolist() == [a]
    assert bypassed.sum() == 1
    assert np.flatnonzero(path.core).tolist() == [a, 6 + a]
    assert set(np.argsort(-path.gates)[:2].tolist()) == {a, 6 + a}


def test_a_hard_set_that_fails_is_not_said_to_hold():
    problem = hand_wired.problem(hand_wired.route(1, 2, 3), hand_wired.images(0, 1))
    wrong, all_maps = torch.zeros(1, 12, dtype=torch.bool), torch.ones(1, 12, dtype=torch.bool)
    wrong[0, 0] = True
    path = datapaths(problem, Found(torch.ones(1, 12)), wrong, all_maps, 0.0)[0]
    assert (path.label, path.keeps_soft, path.keeps_hard, path.kept) == (0, True, False, 0)
    assert path.p_hard < 0.5 < path.p_soft == pytest.approx(path.p_full)
    assert path.core.all()
    other = datapaths(problem, Found(torch.zeros(1, 12)), all_maps, wrong, 0.0)[0]
    assert (other.keeps_soft, other.keeps_hard) == (False, True)
    softened = datapaths(problem, Found(torch.zeros(1, 12), soft=torch.ones(1, 12)), all_maps, wrong, 0.0)[0]
    assert softened.keeps_soft, "the soft gates, where a method has them, make the soft prediction"
    assert not softened.gates.any()


class Convolutions(TorchDispatchMode):
    """Counts what really runs."""

    forward = backward = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.forward += func is torch.ops.aten.convolution.default
        self.backward += func is torch.ops.aten.convolution_backward.default
        return func(*args, **(kwargs or {}))


@METHOD
def test_passes_are_those_that_run(method):
    """A net of 3 convolutions: a forward run makes all, a backward run those behind the first layer's gates."""
    c, images = hand_wired.classifier(hand_wired.random_net(0)), hand_wired.images(0, 3)
    with Convolutions() as seen:
        paths = list(extract(c, images, [np.zeros(16, np.float32)], ExtractionParameters(method=method)))
    assert seen.forward % 3 == seen.backward % 2 == 0
    assert [path.passes for path in paths] == pytest.approx([seen.forward / 3 / 3 + seen.backward / 2 * 2 / 3] * 3)
    first, rest = (extract(c, part, [], ExtractionParameters(method=method)) for part in (images[:1], images[1:]))
    alone = next(first).passes
    assert alone <= min(MOST_SETTLING, most_passes(ExtractionParameters(method=method)))
    assert alone == pytest.approx(next(rest).passes) or method in SETTLING, "of an image, however many go together"


def test_elimination_costs_at_most_25_passes():
    model = torchvision.models.resnet18(weights=None, num_classes=3).eval()
    c, images = hand_wired.classifier(model, size=32), hand_wired.images(0, 1, 32)
    against = [Foil((p.label + 1) % 3, images[0]) for p in c.predict(images)]
    with Convolutions() as seen:
        paths = list(
            extract(
                c, images, [np.zeros(c.layers.n_maps)] * 2, ExtractionParameters(method="elimination"), foils=against
            )
        )
    assert [path.passes for path in paths] == pytest.approx([seen.forward / 20 / 3 + seen.backward / 19 * 2 / 3])
    assert paths[0].passes <= 25 + 1e-9
    assert paths[0].passes <= most_passes(ExtractionParameters(method="elimination"))


@METHOD
def test_an_image_alone_has_the_datapath_it_has_in_a_batch(method):
    """All methods but the joint one, in which a neighbour counts."""
    model, images = hand_wired.random_net(3), hand_wired.images(3, 8)[1:6:2]
    assert len({hand_wired.logits_twin(model, image).argmax() for image in images}) == 2
    given = [np.random.default_rng(0).uniform(size=16).astype(np.float32)]
    foils = [Foil(), Foil(1, images[0]), Foil(2, images[1])]
    wanted = {"method": method, "sparsity": 0.3}
    alone = [found(model, images[i : i + 1], given, foils[i : i + 1], **wanted)[0] for i in range(3)]
    together = found(model, images, given, foils, **wanted, batch=2)
    assert len(together) == 3
    if method == "joint":
        assert max(distance(a, b) for a, b in zip(alone, together, strict=True)) > 1e-3
    else:
        for one, other in zip(alone, together, strict=True):
            same(one, other)


def test_the_joint_method_takes_all_images_at_once():
    model, images = hand_wired.random_net(3), hand_wired.images(3, 4)
    small, large = (found(model, images, method="joint", batch=batch) for batch in (1, 7))
    for one, other in zip(small, large, strict=True):
        np.testing.assert_array_equal(one.gates, other.gates)
    back = found(model, images[::-1].copy(), method="joint")
    for one, other in zip(small, back[::-1], strict=True):
        assert distance(one, other) < 0.05, "the order does not matter, but for rounding at the kink of the distance"


@METHOD
def test_identical_images_have_identical_paths(method):
    images = np.repeat(hand_wired.images(4, 1), 2, axis=0)
    first, second = found(hand_wired.random_net(4), images, method=method)
    np.testing.assert_array_equal(first.gates, second.gates)
    np.testing.assert_array_equal(first.critical, second.critical)
    np.testing.assert_array_equal(first.core, second.core)
    assert distance(first, second) == 0


@METHOD
def test_the_same_question_has_the_same_answer(method):
    model, images = hand_wired.random_net(4), hand_wired.images(4)
    for one, other in zip(*(found(model, images, method=method) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one.gates, other.gates)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("random", "straight-through")])
def test_other_weights_destroy_the_path(method):
    images = hand_wired.images(5, 1)
    routes = [found(hand_wired.route(*r), images, method=method)[0] for r in ((0, 1, 2), (3, 2, 1))]
    if method in FIND_THE_ROUTE:
        assert not (routes[0].critical & routes[1].critical).any()
    ranks = [found(hand_wired.random_net(s, (12, 12, 12)), images, method=method)[0].gates for s in (0, 1, 2)]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert reference.spearman(ranks[i], ranks[j]) < 0.5


@pytest.mark.parametrize("method", ["needed", "elimination", "constrained", "joint", "size-squared"])
@pytest.mark.parametrize("seed", range(3))
def test_given_datapaths_move_the_methods_that_hear_of_them(seed, method):
    model, images = hand_wired.random_net(seed), hand_wired.images(seed, 1)
    given = np.random.default_rng(seed).uniform(size=16).astype(np.float32)
    free, held = (found(model, images, [given], method=method, coherence=gamma)[0] for gamma in (0.0, 20.0))
    assert reference.spearman(held.gates, given) > reference.spearman(free.gates, given)


@pytest.mark.parametrize(
    "method", [n for n in METHODS if n not in ("needed", "elimination", "constrained", "joint", "size-squared")]
)
def test_the_other_methods_do_not_hear_of_given_datapaths(method):
    model, images = hand_wired.random_net(1), hand_wired.images(1)
    given = [np.random.default_rng(1).uniform(size=16).astype(np.float32)]
    for one, other in zip(*(found(model, images, g, method=method, coherence=20.0) for g in ([], given)), strict=True):
        same(one, other)


def test_where_memory_is_short_fewer_images_are_taken_at_once(monkeypatch):
    """As many as fit, from all of them on a GPU: halved until they do; nothing is lost, nothing found twice."""
    model, images = hand_wired.random_net(1), hand_wired.images(1, 6)
    wanted, tried, room = found(model, images, method="gradient"), [], [2]

    def gradient(problem, progress):
        tried.append(len(problem.x))
        if len(problem.x) > room[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ranking.gradient(problem, progress)

    monkeypatch.setattr(datapath, "METHODS", dict(METHODS) | {"gradient": gradient, "joint": gradient})
    for one, other in zip(wanted, found(model, images, method="gradient", batch=6), strict=True):
        same(one, other)
    assert tried == [6, 3, 2, 2, 2]
    with pytest.raises(AevisError, match="too small for 6 images at once"):
        found(model, images, method="joint")
    room[0] = 0
    with pytest.raises(AevisError, match="too small for 1 image at once"):
        found(model, images, method="gradient")


def test_a_gpu_takes_all_images_at_once_unless_they_do_not_fit(monkeypatch):
    images, tried = hand_wired.images(1, 9), []
    c = hand_wired.classifier(hand_wired.random_net(1))
    gradient = lambda problem, progress: tried.append(len(problem.x)) or ranking.gradient(problem, progress)  # noqa: E731
    monkeypatch.setattr(datapath, "METHODS", dict(METHODS) | {"gradient": gradient})
    list(extract(c, images, [], ExtractionParameters(method="gradient", batch=4)))
    monkeypatch.setattr(Classifier, "device", SimpleNamespace(type="cuda"))
    monkeypatch.setattr(Classifier, "inputs", lambda self, some: torch.from_numpy(some).movedim(-1, 1) / 255)
    list(extract(c, images, [], ExtractionParameters(method="gradient", batch=4)))
    assert tried == [4, 4, 1, 9]


def test_foils_are_the_images_own_whatever_the_batch():
    model, images = hand_wired.random_net(7), hand_wired.images(7, 4)  # none of whose maps lies on the edge of a set
    foils = [Foil((i + 1) % 3, hand_wired.images(50 + i, 1)[0]) for i in range(4)]
    for batch in (1, 3):
        for i, path in enumerate(found(model, images, foils=foils, batch=batch)):
            same(path, found(model, images[i : i + 1], foils=foils[i : i + 1])[0])
            assert path.rival == (i + 1) % 3
    plain = found(model, images)
    assert max(distance(a, b) for a, b in zip(plain, found(model, images, foils=foils), strict=True)) > 0.05


@METHOD
def test_a_set_of_images_has_one_datapath(method):
    """The 2018 system's "11 of 11"."""
    model = hand_wired.random_net(1)
    images = hand_wired.of_one_class(model, 1, 4)
    c, chosen = hand_wired.classifier(model), ExtractionParameters(method=method)
    path = extract_set(c, images, [], chosen)
    assert (path.images, path.kept, path.keeps_hard) == (4, 4, True)
    assert path.gates.shape == path.critical.shape == path.core.shape == (16,)
    for image in images:
        for z in (path.critical, path.core):
            assert hand_wired.logits_twin(model, image, z).argmax() == path.label
    chances = [
        np.mean([reference.softmax(hand_wired.logits_twin(model, image, z))[path.label] for image in images])
        for z in (None, path.critical)
    ]
    assert [path.p_full, path.p_hard] == pytest.approx(chances, abs=1e-4)
    single = next(extract(c, images[:1], [], chosen))
    same(extract_set(c, images[:1], [], chosen), single)
    assert path.passes <= 4 * MOST_SETTLING
    assert path.passes == pytest.approx(4 * single.passes) or method in SETTLING


def test_a_set_says_on_how_many_of_its_images_it_holds():
    model, said, soft_labels = hand_wired.random_net(1), set(), set()
    brightness = np.linspace(0.2, 1, 6)[:, None, None, None]
    images = (hand_wired.images(2, 6) * brightness).astype(np.uint8)
    for share, seed in ((0.01, 0), (0.3, 0), (0.7, 2), (0.01, 3), (0.2, 5), (0.3, 5), (1.0, 5)):
        chosen = ExtractionParameters(share=share, method="random", seed=seed)
        path = extract_set(hand_wired.classifier(model), images, [], chosen)
        kept = sum(hand_wired.logits_twin(model, image, path.critical).argmax() == path.label for image in images)
        assert (path.images, path.kept, path.keeps_hard) == (6, kept, kept == 6)
        soft = [reference.softmax(hand_wired.logits_twin(model, image, path.gates)) for image in images]
        assert path.p_soft == pytest.approx(np.mean([p[path.label] for p in soft]), abs=1e-4)
        kept_soft = sum(p.argmax() == path.label for p in soft)
        assert path.keeps_soft == (kept_soft == 6)
        said.add(kept)
        soft_labels.add(kept_soft)
    assert {0, 6} < said, "also of some of the images"
    assert {0, 6} < soft_labels


def test_a_set_of_repeated_images_has_the_images_path():
    model, image = hand_wired.random_net(2), hand_wired.images(2, 1)
    alone = found(model, image)[0]
    path = extract_set(hand_wired.classifier(model), np.repeat(image, 3, axis=0), [], P)
    same(path, alone)
    assert path.p_full == pytest.approx(alone.p_full)


def test_a_set_of_different_predictions_or_of_nothing_is_refused():
    model, images = hand_wired.random_net(3), hand_wired.images(3, 8)
    c = hand_wired.classifier(model)
    assert len({p.label for p in c.predict(images)}) > 1
    with pytest.raises(AevisError, match="one predicted class"):
        extract_set(c, images, [], P)
    with pytest.raises(AevisError, match="at least one"):
        extract_set(c, images[:0], [], P)
    assert list(extract(c, images[:0], [], P)) == []
    assert list(extract(c, images[:0], [], ExtractionParameters(method="joint"))) == []


@pytest.mark.parametrize("ask", [lambda *a: next(extract(*a)), extract_set])
def test_an_unknown_method_is_refused(ask):
    c = hand_wired.classifier(hand_wired.random_net(0))
    with pytest.raises(AevisError, match=f"'magic'.*{next(iter(METHODS))}"):
        ask(c, hand_wired.images(0, 1), [], ExtractionParameters(method="magic"))


@METHOD
def test_progress_never_falls_and_finished_paths_come_before_the_rest(method):
    c, said = hand_wired.classifier(hand_wired.random_net(0)), []
    chosen = ExtractionParameters(batch=1, method=method)
    paths = extract(c, hand_wired.images(0, 3), [], chosen, lambda share, what: said.append((share, what)))
    assert next(paths).label in (0, 1, 2)
    first = len(said)
    assert said[-1][0] == pytest.approx(1.0 if method == "joint" else 1 / 3), "a third of the images are done"
    assert len(list(paths)) == 2
    if method in ("needed", "constrained", "unconstrained", "size-squared"):
        assert len(said) > first, "each image ends after as many steps as it takes"
    else:
        assert len(said) == first * (1 if method == "joint" else 3)
    shares = [share for share, _ in said]
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] == pytest.approx(1)
    assert all(what for _, what in said)


@METHOD
def test_progress_may_cancel(method):
    class Stop(Exception):
        pass

    def cancel(share, what):
        raise Stop

    with pytest.raises(Stop):
        next(
            extract(
                hand_wired.classifier(hand_wired.random_net(0)),
                hand_wired.images(0),
                [],
                ExtractionParameters(method=method),
                cancel,
            )
        )


@pytest.mark.parametrize("seed", range(3))
def test_the_representative_is_the_candidate_of_the_smallest_distance(seed):
    rng = np.random.default_rng(seed)
    path = found(hand_wired.random_net(0), hand_wired.images(0, 1))[0]
    adv, *candidates = (
        dataclasses.replace(path, gates=rng.uniform(size=len(path.gates)).astype(np.float32)) for _ in range(6)
    )
    far = [reference.eq4_distance(adv.gates, c.gates) for c in candidates]
    assert representative(adv, candidates) == far.index(min(far))
    root = np.sqrt(len(path.gates))
    np.testing.assert_allclose([distance(adv, c) * root for c in candidates], far, rtol=1e-5)
    assert representative(adv, [*candidates, adv]) == 5
