"""Three workspaces as users make them go through every verb, and their numbers are those of plain torch.

They are photographs with torchvision's ResNet-50 and its own preprocessing, grey images of 32 x 32 pixels with a
network of a Python file, and adversarial images that another tool left in an `.npz`.
"""

import contextlib
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from conftest import shrink
from PIL import Image
from safetensors.torch import load_file
from test_channels import CODE, MEAN, NAMES, SIZE, STD, drawn, normalised, trained
from torch import Tensor, nn
from torchvision.transforms import functional as transforms

from aevis_dash.callbacks import pictures
from aevis_dash.cli import main
from aevis_dash.core import selftest
from aevis_dash.images import write_image
from aevis_dash.workbench import open_workbench
from aevis_dash.workbench.flips import Flips
from aevis_dash.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Plain:
    """The model in plain torch: the network, the module whose output the explained layer is, and how a normal and an
    adversarial image become its input, (C, H, W)."""

    model: nn.Module
    module: nn.Module
    normal: Callable[[Path], Tensor]
    attacked: Callable[[Path], Tensor]

    def run(self, x: Tensor, replaced: tuple[list[int], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Logits (B, K) and the module's output (B, n_l, H, W); with `replaced`, these maps of the output are replaced
        by those of another, (n_l, H, W)."""
        kept: list[Tensor] = []

        def look(_module: nn.Module, _given: Any, output: Tensor) -> Tensor:
            output = output.clone()
            if replaced is not None:
                maps, donor = replaced
                output[:, maps] = donor[maps]
            kept.append(output)
            return output

        hook = self.module.register_forward_hook(look)
        try:
            with torch.no_grad():
                return self.model(x), kept[0]
        finally:
            hook.remove()


@pytest.fixture
def aevis(capsys):
    """Runs a command with --json; gives its document."""

    def run(*argv: object) -> dict[str, Any]:
        capsys.readouterr()
        status = main([*map(str, argv), "--json", "--quiet"])
        document = json.loads(capsys.readouterr().out)
        assert status == 0, document
        return document

    return run


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in; what a network's own file adds to the import path is taken off again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def served(root: Path) -> Iterator[str]:
    """`aevis serve` in a process of its own; gives its address once it is told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "aevis_dash", "serve", str(root), "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (root.parent / "server.log").open("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            assert "http://" in process.stdout.readline(), (root.parent / "server.log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


def go_the_whole_way(aevis: Any, root: Path, plain: Plain, layer: str, adversarials: list[object]) -> None:
    """Take a new workspace through every verb, and compare what it says with plain torch.

    Args:
        aevis: runs a command.
        root: the workspace, which `aevis init` has made.
        plain: the same model in plain torch.
        layer: the layer whose activations are `plain.module`'s output.
        adversarials: the command that makes the examples.
    """
    bench = open_workbench(root)
    workspace, names, at = bench.workspace, bench.class_names, bench.layers.find(layer).index
    normal = [entry.file for entry in workspace.images]
    logits, activations = plain.run(torch.stack([plain.normal(workspace.path(name)) for name in normal]))
    labels = [entry.label for entry in workspace.images]
    right = np.mean([int(row.argmax()) == label for row, label in zip(logits, labels, strict=True)])
    assert aevis("check", root)["accuracy"] == pytest.approx(right, abs=1e-9)
    for name, row, maps in list(zip(normal, logits, activations, strict=True))[:3]:
        found = bench.judging.predict([name])[0].probabilities
        np.testing.assert_allclose(found, row.softmax(0).numpy(), atol=1e-5)
        np.testing.assert_allclose(bench.maps.activation_maps(name, at), maps.numpy(), rtol=2e-3, atol=2e-3)

    made = aevis(*adversarials)["examples"]
    scored = {each["example"]: each for each in aevis("score", root)["examples"]}
    assert set(scored) == {each["example"] for each in made}
    runs = {}
    for example in bench.workspace.examples():
        pair = [plain.normal(workspace.path(example.source)), plain.attacked(workspace.path(example.adversarial))]
        source, adversarial = plain.run(torch.stack(pair))[0]
        told, before, after = scored[example.id], int(source.argmax()), int(adversarial.argmax())
        assert (told["source"], told["adversarial"]) == (names[before], names[after])
        assert told["misclassified"] == (after != before == example.true_label)
        if told["misclassified"] and told["margin_is"] == "exact":
            assert told["margin"] == pytest.approx(float(adversarial[after] - adversarial[before]), abs=2e-3)
            runs[example.id] = torch.stack(pair), before, after
    assert runs, "some attack succeeds, and its margin is no bound"

    chosen, (pair, before, after) = next(iter(runs.items()))
    assert [each["example"] for each in aevis("extract", root, "--example", chosen, "--no-features")["examples"]] == [
        chosen
    ]
    own, (_, adversarials_maps) = plain.run(pair)[0][1], plain.run(pair)[1]
    strongest = int(adversarials_maps.amax((1, 2)).argmax())
    contributed = aevis(
        "contribute", root, "--example", chosen, "--layer", layer, "--map", strongest, "--how", "quadratic"
    )
    assert (contributed["layer"], contributed["map"]) == (layer, strongest)
    assert contributed["neurons"] == adversarials_maps[0].numel()
    assert all(np.isfinite(each["contribution"]) for row in contributed["roles"] for each in row["maps"])

    (flip,) = aevis("verify", root, "--example", chosen, "--layer", layer, "--random", 5)["layers"]
    assert (flip["before"], flip["wanted"]) == (names[after], names[before])
    maps, (source_maps, _) = flip["maps"], plain.run(pair)[1]
    assert maps
    patched = plain.run(pair[1:], (maps, source_maps))[0][0]
    assert flip["margins"][0] == pytest.approx(float(own[before] - own[after]), abs=2e-3)
    assert flip["margins"][-1] == pytest.approx(float(patched[before] - patched[after]), abs=2e-3)
    assert flip["labels"][-1] == names[int(patched.argmax())]

    told = aevis("trail", root, "--example", chosen, "--beam", 1, "--how", "quadratic")
    assert told["probabilities"]["adversarial"] == pytest.approx(float(own.softmax(0)[after]), abs=1e-4)
    assert layer in [each["layer"] for each in told["depths"]]

    with served(root) as url:
        example = bench.workspace.example(chosen)
        page = urllib.request.urlopen(f"{url}/?example={chosen}", timeout=30)
        assert page.status == 200
        layout = json.load(urllib.request.urlopen(f"{url}/_dash-layout", timeout=30))
        assert "own-extraction" in json.dumps(layout)
        for name in (example.source, example.adversarial):
            answer = urllib.request.urlopen(f"{url}/{pictures.image(bench, name)}", timeout=30)
            shown = np.atleast_3d(np.asarray(Image.open(answer)))
            assert np.array_equal(shown, np.rint(bench.workspace.read([name])[0]))


@pytest.mark.real
def test_photographs_with_the_librarys_own_preprocessing(shared_data, place, aevis, monkeypatch):
    """What the network gets of a photograph is compared with what torchvision's own transforms make of it. For speed
    the model is tested with few images, datapaths are those of the quickest method, and a trail goes back to the last
    stage alone."""
    depths = Flips.depths
    monkeypatch.setattr(Flips, "depths", lambda self: depths(self)[-1:])
    monkeypatch.setattr(selftest, "MANY", 8)
    photos, data = place / "photos", shared_data / "nips17-dev"
    photos.mkdir()
    with (data / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for label in ("gorilla", "Indian elephant"):  # the network knows them, so each is a target for the other
        for row in [row for row in rows if row["label_name"] == label][:2]:
            shutil.copy(data / "images" / f"{row['image_id']}.png", photos)
    weights = shared_data / "weights" / "resnet50-imagenet.safetensors"
    published = torchvision.models.ResNet50_Weights.DEFAULT
    model = torchvision.models.resnet50()
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()}, strict=False)
    model.eval()
    transform: Any = published.transforms()
    plain = Plain(
        model,
        model.layer4[2],
        lambda path: transform(Image.open(path).convert("RGB")),
        lambda path: transforms.normalize(
            transforms.to_tensor(Image.open(path).convert("RGB")), transform.mean, transform.std
        ),
    )
    lab = place / "lab"
    made = ["--model", "torchvision:resnet50", "--weights", weights, "--labels", data / "images.csv"]
    document = aevis("init", lab, *made, "--images", photos)
    assert document["preprocessing_is"].startswith(f"as torchvision publishes it with {published}, assumed")
    assert (document["images"], document["labelled"], document["classes"]) == (4, 4, 1000)
    shrink(Workspace(lab), candidates=1, null_targets=0, method="gradient")
    attack = ["attack", lab, "--target", "nearest", "--epsilon", 4, "--steps", 3]
    go_the_whole_way(aevis, lab, plain, "layer4.2.relu_2", attack)


def of_grey(path: Path) -> Tensor:
    """A grey image as the input of the network of test_channels, (1, H, W)."""
    return normalised(np.array(Image.open(path))[None, ..., None])[0]


def test_grey_images_with_the_network_of_a_python_file(place, aevis):
    (place / "net.py").write_text(CODE)
    (place / "names.txt").write_text("\n".join(NAMES))
    model = trained(1)
    torch.save(model.state_dict(), "w.pt")
    for i in range(12):
        write_image(place / "photos" / NAMES[i % 3] / f"{i:02d}.png", drawn(i % 3, 1, i))
    lab = place / "lab"
    made = ["--model", "net.py:make", "--model-args", "channels=1", "--weights", "w.pt", "--classes", "names.txt"]
    how = ["--input-size", SIZE, "--mean", MEAN, "--std", STD]
    assert aevis("init", lab, *made, *how, "--images", "photos")["labelled"] == 12
    shrink(Workspace(lab))
    attack = ["attack", lab, "--epsilon", 40, "--steps", 10]
    go_the_whole_way(aevis, lab, Plain(model, model[4], of_grey, of_grey), "4", attack)


def of_colours(path: Path) -> Tensor:
    """A colour image, or one that is kept as floats, as the input of the network of test_channels, (3, H, W)."""
    if path.suffix == ".npy":
        return normalised(np.load(path)[None] * 255.0)[0]
    return normalised(np.array(Image.open(path))[None])[0]


def test_adversarials_of_another_tool(place, aevis):
    """The other tool is a gradient step of plain torch. It leaves float pixels, N x C x H x W, from 0 to 1."""
    (place / "nets.py").write_text(CODE)
    (place / "names.txt").write_text("\n".join(NAMES))
    model = trained(3)
    torch.save(model.state_dict(), "w.pt")
    clean = np.stack([drawn(i % 3, 3, i) for i in range(12)])
    x, y = torch.from_numpy(clean).permute(0, 3, 1, 2) / 255, torch.arange(12) % 3
    x.requires_grad_()
    F.cross_entropy(model((x - MEAN) / STD), y, reduction="sum").backward()
    assert x.grad is not None
    attacked = (x.detach() + 40 / 255 * x.grad.sign()).clamp(0, 1)
    np.savez("made.npz", x=x.detach().numpy(), x_adv=attacked.numpy(), y=y.numpy())
    lab, three = place / "lab", ",".join
    made = ["--model", "nets:make", "--model-args", "channels=3", "--weights", "w.pt", "--classes", "names.txt"]
    how = ["--input-size", SIZE, "--mean", three([str(MEAN)] * 3), "--std", three([str(STD)] * 3)]
    document = aevis("init", lab, *made, *how, "--images", "made.npz")
    assert document["images_read_as"] == "x of made.npz: 12 images, read as N x 3 x H x W, float32, 0 to 1"
    assert document["labels_from"] == "y of made.npz"
    shrink(Workspace(lab))
    np.savetxt("of.txt", [entry.file for entry in Workspace(lab).images], fmt="%s")
    imported = ["import", lab, "--adversarials", "made.npz", "--of", "of.txt", "--attack", "FGSM", "--epsilon", 40]
    go_the_whole_way(aevis, lab, Plain(model, model[4], of_colours, of_colours), "4", imported)
    bench = open_workbench(lab)
    stored = bench.workspace.read([example.adversarial for example in bench.workspace.examples()])
    assert np.abs(stored - attacked.permute(0, 2, 3, 1).numpy() * 255).max() <= 0.5 + 1e-4
