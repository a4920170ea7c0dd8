"""Python code and notebooks: a model in memory and arrays become a workspace whose answers are those of plain torch."""

import base64
import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shrink
from test_channels import MEAN, NAMES, STD, drawn, normalised, patched, trained

import aevis_dash
from aevis_dash.cli import main
from aevis_dash.config import AttackParameters
from aevis_dash.domain import AevisError, Intervention

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def model():
    return trained(3)


@pytest.fixture(scope="module")
def images():
    return np.stack([drawn(i % 3, 3, i) for i in range(12)])


HOW = {"mean": (MEAN,) * 3, "std": (STD,) * 3}


@pytest.fixture(scope="module")
def bench(model, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("python") / "lab"
    batch, labels = images.transpose(0, 3, 1, 2) / 255, [NAMES[i % 3] for i in range(12)]
    made = aevis_dash.init_workspace(folder, model.train(), batch, labels, classes=NAMES, **HOW)
    shrink(made.workspace)
    bench = aevis_dash.open_workspace(folder, model=model)
    bench.attacks.attack(bench.workspace.images, parameters=AttackParameters(epsilon=40, steps=10))
    return bench


@pytest.fixture(scope="module")
def fooled(bench):
    return next(judged for judged in bench.judging.judged_examples() if judged.misclassified)


def test_a_model_in_memory_and_an_array_need_one_call(bench, model, images):
    assert model.training, "the model itself is left as it was"
    files = [entry.file for entry in bench.workspace.images]
    assert [entry.label for entry in bench.workspace.images] == [i % 3 for i in range(12)]
    assert np.array_equal(bench.workspace.read(files), images)
    with torch.no_grad():
        wanted = copy.deepcopy(model).eval()(normalised(images)).softmax(1).numpy()
    np.testing.assert_allclose([p.probabilities for p in bench.judging.predict(files)], wanted, atol=1e-6)


def test_what_becomes_of_a_model_later_changes_no_answer(model, images, tmp_path):
    """Neither those that are given nor those that are stored under the fingerprint of its weights."""
    own = copy.deepcopy(model)
    bench = aevis_dash.init_workspace(tmp_path / "lab", own, images, classes=NAMES, **HOW)
    files = [entry.file for entry in bench.workspace.images]
    with torch.no_grad():
        wanted = copy.deepcopy(model).eval()(normalised(images)).argmax(1).tolist()
        own[-1].weight.copy_(own[-1].weight.roll(1, 0))
        own[-1].bias.copy_(own[-1].bias.roll(1, 0))
        changed = copy.deepcopy(own).eval()(normalised(images)).argmax(1).tolist()
    assert changed != wanted
    assert [found.label for found in bench.judging.predict(files)] == wanted
    other = aevis_dash.open_workspace(tmp_path / "lab", model=own)
    assert [found.label for found in other.judging.predict(files)] == changed


@pytest.mark.parametrize(
    "classes",
    [{name: i for i, name in enumerate(NAMES)}, dict(reversed(list(enumerate(NAMES)))), iter(NAMES)],
)
def test_class_names_may_be_a_mapping(model, images, tmp_path, classes):
    labels = torch.tensor([i % 3 for i in range(12)])
    bench = aevis_dash.init_workspace(
        tmp_path, model, torch.from_numpy(images), labels, classes=classes, input_size=32, **HOW
    )
    assert bench.class_names == tuple(NAMES)
    assert [entry.label for entry in bench.workspace.images] == labels.tolist()
    assert bench.workspace.settings.preprocessing.input_size == (32, 32)


@pytest.mark.parametrize("how", ["with a gradient", "bfloat16", "a list", "labels from a generator"])
def test_images_and_labels_may_be_as_code_has_them(model, images, tmp_path, how):
    batch = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    given, labels = (
        {"with a gradient": batch.clone().requires_grad_(), "bfloat16": torch.from_numpy(images).bfloat16()},
        [0, 1, 2] * 4,
    )
    taken = {**given, "a list": list(batch.clone().requires_grad_())}.get(how, batch)
    said = (label for label in labels) if how == "labels from a generator" else labels
    size = {} if how != "a list" else {"input_size": images.shape[1:3]}
    bench = aevis_dash.init_workspace(tmp_path, model, taken, said, classes=NAMES, **size, **HOW)
    assert [entry.label for entry in bench.workspace.images] == labels
    assert np.array_equal(bench.workspace.read(entry.file for entry in bench.workspace.images), images)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": set(NAMES)}, "classes is a set, which has no order"),
        ({"classes": {"a": 0, "b": 1, "c": 3}}, "whose numbers are not 0 to 2, each once"),
        ({"classes": {"a": 0, "b": 1, "c": 1}}, "whose numbers are not 0 to 2, each once"),
        ({"classes": [0, 1, 2]}, "classes holds 0, which is no text"),
        ({"normalise": True}, "There is no 'normalise' in a preprocessing. It has: input_size, mean"),
        ({"mean": "half"}, "mean is 'half', and no numbers"),
        ({"model": None}, "There is no model"),
        ({"model": torch.nn.Linear}, "The model is the class Linear, and no torch.nn.Module"),
        ({"model": lambda x: x}, "The model is a function, and no torch.nn.Module"),
    ],
)
def test_what_python_code_cannot_mean_is_refused(model, images, tmp_path, change, words):
    given = {"model": model, "classes": NAMES, **HOW} | change
    with pytest.raises(AevisError, match=words):
        aevis_dash.init_workspace(tmp_path / "lab", given.pop("model"), images, **given)
    assert not (tmp_path / "lab" / "workspace.toml").exists()


def test_init_like_needs_a_workbench(model, tmp_path):
    with pytest.raises(AevisError, match="like is a str, and no workbench"):
        aevis_dash.init_like(tmp_path, "lab", model)


def numbers(sent):
    """The numbers of a grid in the form in which figures travel."""
    shape = [int(side) for side in str(sent["shape"]).split(",")]
    return np.frombuffer(base64.b64decode(sent["bdata"]), sent["dtype"]).reshape(shape)


def test_the_figures_are_those_of_the_page(bench, fooled):
    found = bench.datapaths.extract(fooled.example.id)
    figure = aevis_dash.river(bench, fooled.example.id)
    assert [trace.name for trace in figure.data if trace.name == "layers"] == ["layers"]
    assert figure.layout.meta["example"] == fooled.example.id
    name = bench.layers.layers[-1].name
    critical = np.flatnonzero(bench.layers.part(found.paths[0].critical, bench.layers.layers[-1].index))
    cells = aevis_dash.layer(bench, fooled.example.id, layer=name, cells="all")
    drawn_maps = {str(each[0]) for trace in cells.data if trace.customdata is not None for each in trace.customdata}
    assert set(map(str, critical.tolist())) <= drawn_maps
    maps = aevis_dash.activations(bench, fooled.example.id, layer=name, map=2)
    heat = [trace for trace in maps.data if trace.type == "heatmap"]
    images = [fooled.example.source, fooled.example.adversarial]
    index = bench.layers.layers[-1].index
    for trace, image in zip(heat, images, strict=False):
        wanted = bench.maps.activation_maps(image, index)[2]
        np.testing.assert_allclose(numbers(trace.z), wanted, atol=1e-3)


def test_a_link_of_the_page_gives_its_view(bench, fooled):
    link = f"http://localhost:8050/?example={fooled.example.id}&layer={bench.layers.layers[0].name}&map=1"
    shown = aevis_dash.activations(bench, link=link)
    same = aevis_dash.activations(bench, fooled.example.id, layer=bench.layers.layers[0].name, map=1)
    assert shown.to_dict() == same.to_dict()
    assert shown.to_dict() != aevis_dash.activations(bench, link=link, map=0).to_dict()


def test_a_flip_back_holds_by_plain_torch(bench, fooled, model):
    layer = bench.layers.layers[-1].index
    found = bench.flips.verify(fooled.example.id, Intervention(layer))
    pair = normalised(bench.workspace.read([fooled.example.source, fooled.example.adversarial]))
    assert patched(model, pair, list(found.maps)) == fooled.example.true_label


def test_what_cannot_be_done_is_refused(bench, fooled, images, model, tmp_path, capsys):
    folder = bench.workspace.root
    with pytest.raises(AevisError, match=r"made of a model in memory \(Sequential\), which no command can load"):
        aevis_dash.open_workspace(folder)
    assert main(["check", str(folder)]) == 2
    assert "open_workspace(folder, model=model)" in capsys.readouterr().err
    with pytest.raises(AevisError, match=r"There are 12 images in the array\. Give one label for each"):
        aevis_dash.init_workspace(tmp_path / "a", model, images, [0], classes=NAMES, **HOW)
    with pytest.raises(AevisError, match=re.escape("label 1, counted from 0")):
        aevis_dash.init_workspace(tmp_path / "a", model, images, [0, 7, *[0] * 10], classes=NAMES, **HOW)
    with pytest.raises(AevisError, match="already"):
        aevis_dash.init_workspace(folder, model, images, classes=NAMES, **HOW)
    with pytest.raises(AevisError, match="There is no 'colour' in a view"):
        aevis_dash.river(bench, fooled.example.id, colour="red")
    with pytest.raises(AevisError, match="no example 'nobody'"):
        aevis_dash.river(bench, "nobody")
    with pytest.raises(AttributeError, match="no attribute 'rivers'"):
        _ = aevis_dash.rivers
    assert not (tmp_path / "a" / "workspace.toml").exists()


def test_another_model_has_other_results_in_the_same_folder(bench, fooled, model):
    other = trained(3)
    with torch.no_grad():
        other[-1].bias += torch.tensor([9.0, 0.0, 0.0])
    again = aevis_dash.open_workspace(bench.workspace.root, model=other)
    assert again.classifier.fingerprint != bench.classifier.fingerprint
    image = [fooled.example.source]
    pixels = normalised(bench.workspace.read(image))
    with torch.no_grad():
        wanted = other(pixels).softmax(1)[0].numpy()
    np.testing.assert_allclose(again.judging.predict(image)[0].probabilities, wanted, atol=1e-6)


def test_importing_the_package_alone_loads_neither_torch_nor_dash():
    code = "import sys, aevis_dash; print([name for name in ('torch', 'dash', 'plotly') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_code_of_the_docs_runs(tmp_path, monkeypatch, model, images):
    """The blocks of docs/python.md one after another, as in a notebook, with a model and images of ours."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.DOTALL)
    assert len(blocks) >= 4
    shown = []
    names = {
        "model": model,
        "images": images,
        "labels": [i % 3 for i in range(12)],
        "names": NAMES,
        "robust": trained(3),
        "display": shown.append,
    }
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(shown) >= 5
    assert len(names["found"].pairs) == 3
