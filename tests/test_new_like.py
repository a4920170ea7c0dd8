"""A workspace of another model on the images, labels and pairs of a workspace."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from two_worlds import DRAWN, network, second_world, with_classes_moved

from aevis_dash.classes import same_classes
from aevis_dash.cli import main
from aevis_dash.domain import AevisError, ModelSpec
from aevis_dash.new_like import init_like
from aevis_dash.settings import write_settings
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace


class Grey(nn.Module):
    def __init__(self, channels=1, classes=10):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3)))


def in_memory(root, like, model, **given):
    torch.manual_seed(0)
    return init_like(root, Workspace(like), ModelSpec("memory:Grey"), given=model.eval(), **given)


def test_images_labels_and_pairs_are_those_of_the_first(drawn_world, tmp_path):
    first, root = Workspace(drawn_world), tmp_path / "b"
    second = second_world(root, drawn_world, network(first)).workspace
    assert second.images == first.images
    assert second.examples() == first.examples()
    assert second.class_names == first.class_names
    assert second.settings.extraction == first.settings.extraction
    assert second.settings.preprocessing == first.settings.preprocessing
    assert second.settings.opens_on == ""
    names = [e.file for e in first.images] + [e.adversarial for e in first.examples()]
    assert [second.image_hash(name) for name in names] == [first.image_hash(name) for name in names]
    assert not (root / "images").exists(), "normal images stay where they are"
    assert second.parts == first.parts
    np.testing.assert_array_equal(second.part_numbers(first.images[0].file), first.part_numbers(first.images[0].file))


def test_classes_in_another_order_are_mapped_by_name(world, tmp_path):
    first = open_workbench(world)
    aimed = replace(first.workspace.examples()[0], target_label=2)
    first.workspace.keep_adversarials([(aimed, (world / aimed.adversarial).read_bytes())])
    model, names = with_classes_moved(network(first.workspace), first.class_names)
    second = second_world(tmp_path / "b", world, model, names)
    assert names[second.workspace.example(aimed.id).target_label] == first.class_names[2]
    assert second.class_names == names != first.class_names
    for here, there in zip(first.workspace.images, second.workspace.images, strict=True):
        assert names[there.label] == first.class_names[here.label]
    for here, there in zip(first.judging.judged_examples(), second.judging.judged_examples(), strict=True):
        assert there.outcome == here.outcome
        assert names[there.adversarial.label] == first.class_names[here.adversarial.label]
        assert there.margin.value == pytest.approx(here.margin.value, abs=1e-3)


def test_the_same_classes():
    assert same_classes(("a", "b"), ("a", "b"), ("A", "B")) == (0, 1)
    assert same_classes(("x", "x"), ("x", "x"), ("A", "B")) == (0, 1), "the same list needs no names of their own"
    assert same_classes(("cat", "dog", "owl"), ("Owl", "cat", "dog"), ("A", "B")) == (1, 2, 0)
    for first, second, why in (
        (("a", "b"), ("a", "b", "c"), "A has 2 classes and B has 3"),
        (("a", "b"), ("a", "c"), "B has no class 'b', which A has"),
        (("a", "b", "c"), ("c", "a", "a"), "B has more than one class 'a'"),
        (("a", "a", "c"), ("c", "a", "b"), "A has more than one class that B calls 'a'"),
    ):
        with pytest.raises(AevisError, match=why):
            same_classes(first, second, ("A", "B"))


def test_preprocessing_is_the_new_models_and_fitting_the_firsts(world, tmp_path):
    workspace = Workspace(world)
    fitted = replace(workspace.settings.preprocessing, fit="crop", resize_size=(70, 70), interpolation="bicubic")
    write_settings(world, replace(workspace.settings, preprocessing=fitted))
    made = in_memory(tmp_path / "b", world, Grey(3), preprocessing={"mean": (0.1,) * 3})
    chosen = made.workspace.settings.preprocessing
    assert chosen == replace(fitted, mean=(0.1,) * 3)
    assert "as given: mean" in made.preprocessing_is
    published = init_like(
        tmp_path / "c",
        Workspace(world),
        ModelSpec("torchvision:resnet18", model_args="num_classes=10"),
        Workspace(world).class_names,
        {"input_size": (64, 64)},
        Grey(3).eval(),
    )
    chosen = published.workspace.settings.preprocessing
    assert chosen == replace(fitted, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def test_another_input_size_needs_images_of_the_first_ones(world, tmp_path):
    made = in_memory(tmp_path / "b", world, Grey(3), preprocessing={"input_size": (96, 96)})
    bench = open_workbench(tmp_path / "b", Grey(3).eval())
    assert made.workspace.settings.preprocessing.scaled_to == (96, 96)
    example = bench.workspace.examples()[0]
    assert bench.judging.perturbation(example).is_attack, "source and adversarial are scaled alike"
    larger = world / "images" / "monkey-00.png"
    Image.open(larger).resize((80, 80)).save(larger)
    with pytest.raises(AevisError, match=r"attacked at 64 x 64.*--input-size 64x64"):
        in_memory(tmp_path / "c", world, Grey(3), preprocessing={"input_size": (96, 96)})
    assert not (tmp_path / "c").exists()


def test_what_does_not_fit_is_refused_and_nothing_is_written(world, tmp_path):
    root = tmp_path / "b"
    for model, given, why in (
        (Grey(1), {"preprocessing": {"mean": (0.5,), "std": (0.2,)}}, "1 channels, and those of .* have 3"),
        (Grey(3), {"preprocessing": {"fit": "pad"}}, "Leave out --fit"),
        (Grey(3, 4), {"classes": list("abcd")}, "10 classes and .* has 4"),
        (Grey(3), {"classes": list("abcdefghij")}, "has no class 'monkey'|has no class"),
        (Grey(3, 4), {}, "classes|outputs"),
    ):
        with pytest.raises(AevisError, match=why):
            in_memory(root, world, model, **given)
        assert not root.exists()
    root.mkdir()
    (root / "examples.csv").write_text("id,source,adversarial\n")
    with pytest.raises(AevisError, match=r"examples\.csv is there already"):
        in_memory(root, world, Grey(3))
    with pytest.raises(AevisError, match="already holds a workspace"):
        in_memory(world, world, Grey(3))


def test_the_command(world, tmp_path, capsys):
    weights, root = tmp_path / "w.safetensors", tmp_path / "b"
    save_file(dict(network(Workspace(world)).state_dict()), weights)
    base = ["init", str(root), "--model", DRAWN, "--weights", str(weights)]
    assert main([*base, "--like", str(world), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["examples"] == len(Workspace(world).examples())
    assert said["classes_at_another_place"] == 0
    assert said["classes_are"].startswith("taken to be those of")
    assert main([*base[:1], str(tmp_path / "c"), *base[2:]]) == 2
    assert "--images FOLDER, or --like" in capsys.readouterr().err
    foreign = [["--images", "x"], ["--labels", "x"], ["--skip-unreadable"], ["--layout", "NHWC"], ["--root", "x"]]
    foreign += [["--split", "test"], ["--first", "3"], ["--per-class", "3"], ["--count-from", "0"]]
    for extra in foreign:
        assert main([*base[:1], str(tmp_path / "c"), *base[2:], "--like", str(world), *extra]) == 2
        assert f"Leave out {extra[0]}" in capsys.readouterr().err
