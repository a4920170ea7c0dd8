"""What random masks say beside hard sets: the lines by hand, the labels against plain runs, and the verb."""

import csv
import dataclasses

import hand_wired
import numpy as np
import pytest
import torch

from aevis_dash import mask_study
from aevis_dash.cli import main
from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath
from aevis_dash.core.masked import firing, labels_of
from aevis_dash.core.problem import Foil
from aevis_dash.domain import AevisError
from aevis_dash.image_pair import ImagePair
from aevis_dash.mask_study import (
    AMONG,
    DRAWS,
    LINES,
    MASKS,
    OTHERS,
    WHOLE,
    MaskTrial,
    answers,
    compare_masks,
    lines_of,
    other_images,
)
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench

NEEDED = ExtractionParameters(method="gradient", share=0.0)


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def example(bench):
    return bench.workspace.example(bench.workspace.settings.opens_on)


@pytest.fixture(scope="module")
def found(bench, example):
    return answers(bench, MaskTrial(example.id, (NEEDED,), 0))


def plain(net, x, mask):
    """The labels of a `hand_wired` net whose maps outside the mask are 0, layer by layer and image by image."""
    said = []
    for image in x:
        value, first, at = image[None], None, 0
        for i, conv in enumerate(net.convs):
            value = conv(value)
            value = torch.relu(value + first if net.skip and i == len(net.convs) - 1 else value)
            value = value.clone()
            for channel in range(value.shape[1]):
                if not mask[at + channel]:
                    value[:, channel] = 0
            at += value.shape[1]
            first = value if first is None else first
        said.append(int(net.head(value.mean((2, 3))).argmax()))
    return said


@pytest.mark.parametrize("skip", [False, True])
def test_a_mask_says_what_a_run_says_whose_other_maps_are_set_to_0(skip):
    net = hand_wired.random_net(4, skip=skip)
    classifier, images = hand_wired.classifier(net), hand_wired.images(2, 30)
    masks = np.random.default_rng(0).random((9, 16)) < 0.7
    said = labels_of(classifier, images, masks)  # 270 rows, so several batches of them
    assert said.shape == (9, 30)
    with torch.no_grad():
        wanted = [plain(net, classifier.inputs(images), mask) for mask in masks]
    assert said.tolist() == wanted
    assert len(np.unique(said)) > 1, "a case that tells"
    assert (said != said[:1]).any(), "the masks differ"


def test_a_map_fires_where_it_is_not_0_everywhere():
    net = hand_wired.route(1, 2, 0)
    classifier, image = hand_wired.classifier(net), hand_wired.images(3, 1)
    image[:, :, :4] = 0
    fires = firing(classifier, image)
    assert fires.shape == (12,)
    assert fires.all(), "one half of the image is enough"
    assert not firing(classifier, np.zeros_like(image)).any()
    with torch.no_grad():
        net.convs[1].weight[2] = 0
    assert np.flatnonzero(~firing(hand_wired.classifier(net), image)).tolist() == [4 + 2, 8 + 0]
    net.relu = torch.nn.Tanh()
    with torch.no_grad():
        net.convs[0].weight *= -1
    assert firing(hand_wired.classifier(net), image).sum() == 10, "below 0 as well"


def test_a_mask_without_the_route_is_constant():
    """Without a map of its last layer the net says the class of its bias of any image, black or coloured."""
    classifier = hand_wired.classifier(hand_wired.route(1, 2, 0))
    images = np.concatenate([hand_wired.images(3, 4), np.zeros((2, 8, 8, 3), np.uint8)])
    every, none = np.ones(12, bool), np.zeros(12, bool)
    said = labels_of(classifier, images, np.stack([every, none]))
    assert said.tolist() == [[0, 0, 0, 0, 1, 1], [1] * 6]
    whole = said[0]
    assert lines_of(said[1:], whole) == {
        "keeps": 0,
        "others": 0,
        "constant": 1,
        "one label": 1,
        "labels": 1,
        "agree": 2 / 5,
    }
    own = lines_of(said[:1], whole)
    assert (own["keeps"], own["agree"], own["labels"], own["one label"]) == (1, 1, 2, 0)
    assert own["constant"] == own["others"] == 3 / 5


def test_the_lines_are_means_over_masks():
    whole = np.array([7, 1, 2, 3, 1])
    labels = np.array([[7, 7, 7, 7, 7], [7, 1, 2, 2, 2], [5, 1, 2, 3, 1]])
    found = lines_of(labels, whole)
    assert found == pytest.approx(
        {
            "keeps": 2 / 3,
            "others": 4 / 12,
            "constant": (1 + 3 / 4 + 2 / 4) / 3,
            "one label": 1 / 3,
            "labels": (1 + 2 + 3) / 3,
            "agree": (0 + 2 / 4 + 1) / 3,
        }
    )
    assert list(found) == list(LINES)


def test_the_hard_set_is_the_smallest_complete_one_and_keeps_the_label(bench, example, found):
    adv, src = (bench.workspace.read([name]) for name in (example.adversarial, example.source))
    foils = [Foil(bench.judging.predict([example.source])[0].label, src[0])]
    path = next(datapath.extract(bench.classifier, adv, [], NEEDED, foils=foils))
    ((hard, *drawn),) = found.said
    assert hard.sizes.tolist() == [part.sum() for part in bench.layers.parts(path.critical)]
    assert hard.labels.shape == (1, len(found.whole))
    assert hard.labels[0, 0] == found.whole[0] == path.label
    images = bench.workspace.read([example.adversarial, *other_images(bench, example.id, 0)])
    gates = torch.from_numpy(path.critical)[None].float()
    with torch.no_grad():
        wanted = [
            int(bench.classifier.network.logits(bench.classifier.inputs(image[None]), gates).argmax())
            for image in images
        ]
    assert hard.labels[0].tolist() == wanted
    assert [each.labels.shape for each in drawn] == [(DRAWS, len(images))] * len(AMONG)
    assert all(each.sizes.tolist() == hard.sizes.tolist() for each in drawn)


def test_random_masks_have_as_many_maps_in_each_layer_and_fire_where_asked(bench, example, monkeypatch):
    seen = []

    def ran(classifier, images, masks):
        seen.append(masks)
        return np.zeros((len(masks), len(images)), int)

    monkeypatch.setattr(mask_study, "labels_of", ran)
    monkeypatch.setattr(bench.store, "remember", lambda _key, _kind, compute: compute())
    found = answers(bench, MaskTrial(example.id, (NEEDED,), 0))
    (hard,), *drawn = seen
    sizes = [part.sum() for part in bench.layers.parts(hard)]
    assert found.said[0][0].sizes.tolist() == sizes
    fires = firing(bench.classifier, bench.workspace.read([example.adversarial]))
    for masks in drawn:
        assert len(np.unique(masks, axis=0)) == DRAWS
        assert [[part.sum() for part in bench.layers.parts(mask)] for mask in masks] == [sizes] * DRAWS
    firing_first, of_all = drawn
    for i, size in enumerate(sizes):
        there = bench.layers.part(fires, i).sum()
        for mask in firing_first:
            assert bench.layers.part(mask & fires, i).sum() == min(size, there)
    assert (of_all & ~fires).sum() > (firing_first & ~fires).sum()


def test_the_other_images_are_those_of_other_classes_in_one_order_for_all_examples(bench, monkeypatch):
    monkeypatch.setattr(mask_study, "OTHERS", 4)
    examples = [judged.example for judged in bench.judging.judged_examples() if judged.misclassified][:3]
    listed = [entry.file for entry in bench.workspace.images]
    order = [listed[i] for i in np.random.default_rng(3).permutation(len(listed))]
    for example in examples:
        taken = {p.label for p in bench.judging.predict([example.adversarial, example.source])}
        wanted = [n for n in order if bench.judging.predict([n])[0].label not in taken][:4]
        assert other_images(bench, example.id, 3) == wanted
        assert len(wanted) == 4
        assert other_images(bench, example.id, 4) != wanted


def test_without_other_images_it_says_what_to_do(bench, example, monkeypatch):
    adv = bench.judging.predict([example.adversarial])[0]
    monkeypatch.setattr(bench.judging, "predict", lambda names: [adv] * len(names))
    with pytest.raises(AevisError, match="Add images of other classes"):
        other_images(bench, example.id, 0)


def test_random_masks_of_the_same_sizes_are_run_once(bench, example, found, monkeypatch):
    """Two methods whose hard sets are as large stand beside the same random masks."""

    def sized(self, wanted):
        return dataclasses.replace(real(self, wanted), critical=path.critical)

    real, path = ImagePair.adversarial, ImagePair(bench, example.id).adversarial(NEEDED)
    monkeypatch.setattr(ImagePair, "adversarial", sized)
    ran = []
    monkeypatch.setattr(mask_study, "labels_of", lambda *asked: ran.append(len(asked[2])) or labels_of(*asked))
    both = answers(bench, MaskTrial(example.id, (NEEDED, dataclasses.replace(NEEDED, method="activation")), 0))
    assert ran == [1], "the other method's hard set alone; the rest is stored"
    for one, other in zip(both.said[0], both.said[1], strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
    assert both.said[0][1].labels.tolist() == found.said[0][1].labels.tolist()


def test_the_verb_prints_every_mask_and_keeps_what_it_ran(bench, filling_world, monkeypatch, capsys, tmp_path):
    examples, lines = compare_masks(bench, ["gradient"], Sample(2, processes=1))
    assert examples == tuple(e.id for e in choose(bench, Sample(2)))
    assert list(lines) == [WHOLE, *(f"gradient, {mask}" for mask in MASKS)]
    each = [answers(bench, MaskTrial(e, (NEEDED,), 0)) for e in examples]
    for j, mask in enumerate(MASKS):
        by_hand = [lines_of(one.said[0][j].labels, one.whole) for one in each]
        for line in LINES:
            assert lines[f"gradient, {mask}"][line].mean == pytest.approx(np.mean([of[line] for of in by_hand]))
    sizes = [one.said[0][0].sizes.sum() / bench.layers.n_maps for one in each]
    assert lines["gradient, hard set"]["size"].mean == pytest.approx(np.mean(sizes))
    assert lines["gradient, hard set"]["keeps"].mean == 1
    assert (lines[WHOLE]["others"].mean, lines[WHOLE]["agree"].mean) == (0, 1)
    assert lines[WHOLE]["constant"].mean < 0.7

    def again(*_asked):
        raise AssertionError("run again")

    monkeypatch.setattr(mask_study, "labels_of", again)
    table = tmp_path / "masks.csv"
    asked = ["benchmark", "masks", str(filling_world), "--examples", "2", "--methods", "gradient", "--processes", "1"]
    assert main([*asked, "--csv", str(table), "--quiet"]) == 0
    told = capsys.readouterr().out
    assert (
        f"2 adversarials, {DRAWS} random masks of each kind beside each hard set, up to {OTHERS} other images" in told
    )
    assert all(name in told for name in lines)
    rows = {(row["method"], row["line"]): float(row["mean"]) for row in csv.DictReader(table.read_text().splitlines())}
    assert rows["gradient, random, all maps", "constant"] == pytest.approx(
        lines["gradient, random, all maps"]["constant"].mean
    )


def test_without_methods_it_takes_the_workspaces_own_and_refuses_unknown_ones(filling_world, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "aevis_dash.cli.mask_study.compare_masks", lambda _bench, methods, *_rest: asked.append(methods) or ((), {})
    )
    assert main(["benchmark", "masks", str(filling_world), "--quiet"]) == 0
    assert asked == [[open_workbench(filling_world).workspace.settings.extraction.method]]
    monkeypatch.undo()
    assert main(["benchmark", "masks", str(filling_world), "--methods", "nope", "--quiet"]) == 2
    assert "no method 'nope'" in capsys.readouterr().err
