"""What the methods are given: rows of images, outputs, effects against foils, the count of passes."""

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.core.problem import NO_RIVAL, Foil, contrast, label_logit, margin, odds
from aevis_dash.domain import AevisError

GROUPED = (1, 0, 1, 0, 1)


def grouped(seed, skip=False, **parameters):
    """A problem of two rows, five images of one class, and what it was made of."""
    model = hand_wired.random_net(seed, skip=skip)
    images = hand_wired.of_one_class(model, seed, len(GROUPED))
    return hand_wired.problem(model, images, groups=GROUPED, **parameters), model, images


def random_gates(seed, shape):
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=shape)).float()


def foils(*labels_and_images):
    return [Foil(label, image) for label, image in labels_and_images]


@pytest.mark.parametrize("skip", [False, True])
def test_the_plain_run_of_these_tests_equals_the_slow_twin(skip):
    model, image = hand_wired.random_net(0, skip=skip), hand_wired.images(0, 1)[0]
    gates = random_gates(0, (3, 16))
    found = hand_wired.plain_logits(model, image, gates)
    np.testing.assert_allclose(found, [hand_wired.logits_twin(model, image, z) for z in gates], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("skip", [False, True])
def test_each_row_puts_its_gates_on_its_images(skip):
    problem, model, images = grouped(1, skip)
    z = random_gates(1, problem.shape)
    assert problem.shape == (2, 16)
    assert problem.count.tolist() == [2, 3]
    wanted = [hand_wired.logits_twin(model, image, z[row]) for image, row in zip(images, GROUPED, strict=True)]
    np.testing.assert_allclose(problem.logits(z), wanted, atol=1e-4)
    np.testing.assert_allclose(problem.probabilities(z), [reference.softmax(v) for v in wanted], atol=1e-4)
    whole = [hand_wired.logits_twin(model, image) for image in images]
    np.testing.assert_allclose(problem.logits(None), whole, atol=1e-4)
    np.testing.assert_allclose(problem.logits(problem.whole()), whole, atol=1e-4)
    np.testing.assert_allclose(problem.full, [reference.softmax(v) for v in whole], atol=1e-4)
    assert problem.labels.tolist() == [int(np.argmax(whole[0]))] * 2
    elsewhere = problem.logits(z, problem.x.flip(0))
    turned = zip(images[::-1], GROUPED, strict=True)
    np.testing.assert_allclose(
        elsewhere, [hand_wired.logits_twin(model, image, z[row]) for image, row in turned], atol=1e-4
    )


def test_means_and_counts_of_rows_equal_loops():
    problem, _, _ = grouped(2)
    label = int(problem.labels[0])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    assert problem.mean(values).tolist() == [5.0, 7.0]
    logits = torch.zeros(5, 3)
    logits[:, label] = torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0])
    assert problem.count_kept(logits).tolist() == [2, 2]
    assert problem.keeps(logits).tolist() == [True, False]


@pytest.mark.parametrize("seed", range(3))
def test_a_hard_set_holds_where_every_image_keeps_its_label_and_enough_of_it(seed):
    problem, model, images = grouped(seed)
    rng, said = np.random.default_rng(seed), []
    whole = [reference.softmax(hand_wired.logits_twin(model, image)) for image in images]
    for hold in (0.0, 0.5, 0.9):
        for _ in range(12):
            chosen = rng.uniform(size=problem.shape) < rng.uniform(0.6, 1)
            wanted = [True, True]
            for image, full, row in zip(images, whole, GROUPED, strict=True):
                hard = reference.softmax(hand_wired.logits_twin(model, image, chosen[row]))
                label = full.argmax()
                wanted[row] &= bool(hard.argmax() == label and hard[label] >= hold * full[label])
            assert problem.holds(torch.from_numpy(chosen), hold).tolist() == wanted
            said += wanted
    assert len(set(said)) == 2, "sets of both kinds were tried"
    assert problem.holds(torch.ones(problem.shape, dtype=torch.bool), 1.0).tolist() == [True, True]


def test_images_of_one_row_that_are_predicted_differently_are_refused():
    model, images = hand_wired.random_net(3), hand_wired.images(3, 8)
    labels = [p.label for p in hand_wired.classifier(model).predict(images)]
    other = next(i for i in range(8) if labels[i] != labels[0])
    pair = images[[0, other]]
    names = sorted({hand_wired.CLASSES[labels[0]], hand_wired.CLASSES[labels[other]]})
    with pytest.raises(AevisError, match=f"{names[0]}, {names[1]}"):
        hand_wired.problem(model, pair, groups=[0, 0])
    assert hand_wired.problem(model, pair, groups=[0, 1]).labels.tolist() == [labels[0], labels[other]]
    assert hand_wired.problem(model, pair[::-1]).labels.tolist() == [labels[other], labels[0]]


@torch.no_grad()
def test_outputs_equal_their_formulas():
    model, images = hand_wired.random_net(3), hand_wired.images(3, 6)
    labels = [p.label for p in hand_wired.classifier(model).predict(images)]
    assert len(set(labels)) > 1
    rivals = [NO_RIVAL if i % 3 == 0 else (labels[i] + i % 3) % 3 for i in range(6)]
    problem = hand_wired.problem(model, images, foils=foils(*((r, None) for r in rivals)))
    z = random_gates(3, problem.shape)
    logits = problem.logits(z)
    for output in (label_logit, odds, margin, contrast):
        assert output(problem, logits).shape == (6,)
    for i, (label, rival) in enumerate(zip(labels, rivals, strict=True)):
        twin = hand_wired.logits_twin(model, images[i], z[i])
        lead = reference.odds(twin, label) if rival < 0 else twin[label] - twin[rival]
        wanted = (twin[label], reference.odds(twin, label), lead, reference.contrast(twin, label, rival))
        found = [float(output(problem, logits)[i]) for output in (label_logit, odds, margin, contrast)]
        assert found == pytest.approx(wanted, abs=1e-3)


def test_a_row_has_the_rival_of_its_first_image():
    model = hand_wired.random_net(0)
    images = hand_wired.of_one_class(model, 0, 3)
    problem = hand_wired.problem(model, images, foils=foils((0, None), (1, None), (2, None)), groups=[1, 0, 1])
    assert problem.rivals.tolist() == [1, 0]
    assert hand_wired.problem(model, images).rivals.tolist() == [NO_RIVAL] * 3


@pytest.mark.parametrize("output", [label_logit, odds])
@pytest.mark.parametrize("skip", [False, True])
def test_the_gradient_is_what_a_little_less_of_a_map_takes_from_the_mean_output(skip, output):
    problem, model, images = grouped(4, skip)
    at = random_gates(4, problem.shape).round() * 0.5 + 0.5
    gradient, keeps = problem.gradient(at, output)
    assert not gradient.requires_grad
    label = int(problem.labels[0])
    for row in range(2):
        own = [image for image, r in zip(images, GROUPED, strict=True) if r == row]

        def value(z, own=own):
            logits = [hand_wired.plain_logits(model, image, torch.tensor(z)[None])[0].numpy() for image in own]
            return np.mean([v[label] if output is label_logit else reference.odds(v, label) for v in logits])

        np.testing.assert_allclose(gradient[row], reference.slopes(value, at[row].numpy()), atol=2e-3)
        assert bool(keeps[row]) == all(hand_wired.logits_twin(model, image, at[row]).argmax() == label for image in own)


def beside(model, image, foil):
    """The differences of the activations of an image and its foil by the slow twin, all of it without a foil."""
    own = reference.activations(hand_wired.weights(model), hand_wired.pixels(image), skip=model.skip)
    if foil is None:
        return own
    other = reference.activations(hand_wired.weights(model), hand_wired.pixels(foil), skip=model.skip)
    return [a - b for a, b in zip(own, other, strict=True)]


@pytest.mark.parametrize("skip", [False, True])
def test_the_contrast_of_images_and_foils_equals_the_twin(skip):
    model, images, other = hand_wired.random_net(5, skip=skip), hand_wired.images(5, 3), hand_wired.images(6, 1)[0]
    pictures = (None, other, images[0])
    problem = hand_wired.problem(model, images, foils=foils(*((NO_RIVAL, p) for p in pictures)))
    found = problem.contrast()
    for i, (image, foil) in enumerate(zip(images, pictures, strict=True)):
        twin = image if foil is None else foil
        np.testing.assert_allclose(found.foils[i], hand_wired.pixels(twin), atol=1e-6)
        for layer, wanted in enumerate(beside(model, image, foil)):
            np.testing.assert_allclose(found.differences[layer][i], wanted, atol=1e-5)
        peaks = [
            v.max() > 0
            for layer in reference.activations(hand_wired.weights(model), hand_wired.pixels(image), skip=skip)
            for v in layer
        ]
        assert found.fires[i].tolist() == peaks


def test_a_map_fires_for_a_row_where_it_fires_on_one_of_its_images():
    """Red fires map 0 alone, green map 1; map 3 fires on nothing, and what the foil fires counts for nothing."""
    model = hand_wired.route(0, 0, 0)
    with torch.no_grad():
        model.convs[0].weight.zero_()
        for colour in range(2):
            model.convs[0].weight[colour, colour, 1, 1] = 1
        model.head.weight.zero_()
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[0, ..., 0] = images[1, ..., 1] = 200
    white = np.full((8, 8, 3), 255, np.uint8)
    problem = hand_wired.problem(model, images, foils=foils(*[(NO_RIVAL, white)] * 3), groups=[0, 0, 1])
    assert problem.contrast().fires[:, :4].tolist() == [[True, True, False, False], [False] * 4]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("rival", [NO_RIVAL, 1])
def test_effects_are_the_derivatives_by_having_a_map_and_by_its_difference_from_the_foil(rival, skip):
    """Two rows, one of two images, at pictures between images and foils; one image has no foil."""
    model = hand_wired.random_net(7, widths=(4, 5, 3), skip=False)
    if skip:
        model = hand_wired.random_net(7, widths=(4, 5, 4), skip=True)
    images, other = hand_wired.of_one_class(model, 7, 3), hand_wired.images(8, 3)
    label = hand_wired.classifier(model).predict(images)[0].label
    against = rival if rival == NO_RIVAL else (label + rival) % 3
    pictures = (other[0], None, other[2])
    rows = (0, 1, 1)
    problem = hand_wired.problem(model, images, foils=foils(*((against, p) for p in pictures)), groups=rows)
    shown = (images // 2 + other // 2).astype(np.uint8)
    having, differing = problem.effects(problem.classifier.inputs(shown), problem.contrast(), contrast)
    weights, n = hand_wired.weights(model), problem.shape[1]
    one = np.ones(n)
    sides = [np.zeros((2, n)), np.zeros((2, n))]
    for i in range(3):
        differences = beside(model, images[i], pictures[i])

        def value(gates, steps, i=i, differences=differences):
            inside = (hand_wired.parts(model, v) for v in (gates, steps))
            logits = reference.steered_logits(weights, hand_wired.pixels(shown[i]), *inside, differences, skip)
            return reference.contrast(logits, label, against)

        share = 1 / rows.count(rows[i])
        sides[0][rows[i]] += share * reference.slopes(lambda z, value=value: value(z, one), one)
        sides[1][rows[i]] += share * reference.slopes(lambda z, value=value: value(one, z), one)
    np.testing.assert_allclose(having, sides[0], atol=5e-3)
    np.testing.assert_allclose(differing, sides[1], atol=5e-3)
    assert np.abs(sides[0] - sides[1]).max() > 0.1


def test_without_a_foil_both_effects_are_one():
    model, images = hand_wired.random_net(8), hand_wired.images(8)
    problem = hand_wired.problem(model, images)
    having, differing = problem.effects(problem.x, problem.contrast(), contrast)
    torch.testing.assert_close(having, differing)
    torch.testing.assert_close(having, problem.gradient(problem.whole(), contrast)[0])


def test_a_foil_that_is_the_image_itself_has_no_effect():
    model, images = hand_wired.random_net(9), hand_wired.images(9)
    problem = hand_wired.problem(model, images, foils=foils(*((NO_RIVAL, image) for image in images)))
    assert not problem.effects(problem.x, problem.contrast(), contrast)[1].any()


@pytest.mark.parametrize("given", [0, 1, 3])
def test_coherence_is_the_sum_of_the_distances_of_eq_5(given):
    known = np.random.default_rng(given + 50).uniform(size=(given, 16))
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0), given=list(known))
    z = random_gates(given, (2, 16))
    wanted = [sum(reference.eq4_distance(k, row.numpy()) for k in known) / 4 for row in z]
    np.testing.assert_allclose(problem.coherence(z), wanted, rtol=1e-5)


def test_every_question_costs_what_it_runs():
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0))
    whole, costs = problem.whole(), []
    beside = problem.contrast()
    for ask in (
        lambda: problem.probabilities(whole),
        lambda: problem.holds(whole > 0, 0.5),
        lambda: problem.gradient(whole, odds),
        problem.contrast,
        lambda: problem.effects(problem.x, beside, odds),
    ):
        before = problem.passes
        ask()
        costs.append(problem.passes - before)
    assert costs == pytest.approx([1 / 3, 1 / 3, 1, 2 / 3, 1])
