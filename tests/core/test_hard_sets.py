"""Complete sets and cores: their sizes, their order, and that the smallest is found."""

from types import SimpleNamespace

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.core.hard_sets import of_share, places, places_in_layer, smallest_complete, smallest_core
from aevis_dash.core.measures import complete_set
from aevis_dash.domain import Layer, LayerGraph
from aevis_dash.method_lines import SHARES


def only_layers(*widths):
    """Stands for a problem of a network with these layers, where nothing is run."""
    layers = LayerGraph(tuple(Layer(i, f"l{i}", (), w, 1, 1) for i, w in enumerate(widths)), ())
    return SimpleNamespace(network=SimpleNamespace(layers=layers))


def holding(problem, holds):
    """The problem with another answer to which sets hold the label."""
    problem.holds = holds
    return problem


def drawn(seed, *shape):
    """Random orders with ties."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-20, 20, shape) / 7).float()


@pytest.mark.parametrize("share", [*SHARES, 1e-6, 1 / 3, 0.5, 0.6, 0.999, 1.0])
@pytest.mark.parametrize("widths", [(1, 2, 3, 5), (7, 10, 50, 25), (64, 100, 512), (96, 200, 1000, 2048)])
def test_a_complete_set_has_its_share_of_every_layer_by_torch_by_numpy_and_by_the_twin(widths, share):
    problem, order = only_layers(*widths), drawn(sum(widths), 2, sum(widths))
    found = of_share(problem, order, share)
    for row in range(2):
        by_numpy = complete_set(problem.network.layers, order[row].numpy(), share)
        np.testing.assert_array_equal(found[row], by_numpy)
        sizes = [part.sum() for part in problem.network.layers.parts(by_numpy)]
        assert sizes == [max(1, int(np.ceil(share * w - 1e-9))) for w in widths]
        if sum(widths) < 200:
            parts = np.split(order[row].numpy(), np.cumsum(widths)[:-1])
            assert found[row].tolist() == reference.complete_set(parts, share)


def test_places_count_from_the_best_and_ties_go_by_index():
    order = torch.tensor([[1.0, 3.0, 3.0, -1.0, 5.0, 9.0], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]])
    assert (places(order) * 6).round().tolist() == [[4, 2, 3, 5, 1, 0], [2, 3, 4, 5, 1, 0]]
    inside = places_in_layer(only_layers(4, 2), order)
    wanted = [[2 / 4, 0, 1 / 4, 3 / 4, 1 / 2, 0], [0, 1 / 4, 2 / 4, 3 / 4, 1 / 2, 0]]
    torch.testing.assert_close(inside, torch.tensor(wanted))


@pytest.mark.parametrize("need", [1, 2, 3, 4, 5])
def test_the_smallest_share_of_every_layer_is_found(need):
    """The label holds once `need` of the first layer's 5 maps are in; the 6 maps of the second go along."""
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0, 1))
    holding(problem, lambda critical, hold: critical[:, :5].sum(1) >= need)
    order = torch.rand(1, 16, generator=torch.Generator().manual_seed(need))
    parts = smallest_complete(problem, order, 0.5)[0].split((5, 6, 5))
    counts = [need, sum(k / 6 <= (need - 1) / 5 + 1e-3 for k in range(6)), need]
    for chosen, own, count in zip(parts, order[0].split((5, 6, 5)), counts, strict=True):
        assert set(torch.nonzero(chosen).flatten().tolist()) == set(own.argsort(descending=True)[:count].tolist())


def test_rows_search_for_themselves():
    """The first row needs one map of a layer, the second three, the third is never content."""
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0, 3))
    needs = torch.tensor([1, 3, 99])
    order = drawn(1, 3, 16)
    holding(problem, lambda critical, hold: critical[:, :5].sum(1) >= needs)
    assert smallest_complete(problem, order, 0.5)[:, :5].sum(1).tolist() == [1, 3, 5]
    holding(problem, lambda critical, hold: critical.sum(1) >= needs)
    assert smallest_core(problem, order).sum(1).tolist() == [1, 3, 16]


@pytest.mark.parametrize("need", range(1, 17))
def test_the_smallest_core_is_found_best_first_across_layers(need):
    problem = hand_wired.problem(hand_wired.random_net(0), hand_wired.images(0, 1))
    asked = []
    holding(problem, lambda critical, hold: asked.append(hold) or critical.sum(1) >= need)
    order = drawn(need, 1, 16)
    found = smallest_core(problem, order)[0]
    assert set(torch.nonzero(found).flatten().tolist()) == set(reference.best_first(order[0].tolist())[:need])
    assert set(asked) == {0.0}, "a core keeps the label and nothing more"


@pytest.mark.parametrize("hold", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_holds_and_is_complete(seed, hold):
    model, images = hand_wired.random_net(seed, skip=seed % 2 == 1), hand_wired.images(seed, 3)
    problem = hand_wired.problem(model, images)
    order = torch.from_numpy(np.random.default_rng(seed).uniform(size=(3, 16))).float()
    complete, core = smallest_complete(problem, order, hold), smallest_core(problem, order)
    for i, image in enumerate(images):
        full, hard, few = (
            reference.softmax(hand_wired.logits_twin(model, image, z)) for z in (None, complete[i], core[i])
        )
        label = full.argmax()
        assert hard.argmax() == few.argmax() == label
        assert hard[label] >= hold * full[label] - 1e-6
        sizes = [part.sum() for part in hand_wired.parts(model, complete[i])]
        assert min(sizes) >= 1
        shares = sorted({k / w for w in (5, 6) for k in range(1, w + 1)})
        fits = [
            s for s in shares if reference.complete_set(hand_wired.parts(model, order[i]), s) == complete[i].tolist()
        ]
        assert fits, "it takes one share of every layer"
        assert core[i].tolist() == [k in reference.best_first(order[i].tolist())[: core[i].sum()] for k in range(16)]
