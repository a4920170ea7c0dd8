"""Workspaces of models and checkpoints as users have them: what is kept in workspace.toml, and what is said."""

import json
import shutil
import sys
import tomllib

import numpy as np
import pytest
import torch
import torchvision
from loading_nets import Branched, Heads, Net

from aevis_dash.cli import main
from aevis_dash.images import write_image
from aevis_dash.workbench import open_workbench

CODE = """
from loading_nets import Net
def make(classes, width=4):
    return Net(classes, width)
"""
PLAIN = ["--input-size", "32", "--mean", "0,0,0", "--std", "1,1,1"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with photographs of three classes, and a Python file in a folder of its own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        write_image(tmp_path / "photos" / str(i % 3) / f"{i}.png", pixels)
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def aevis(capsys):
    """Runs a command; gives its document and the warnings among it, or the refusal."""

    def run(*argv):
        capsys.readouterr()
        status = main([*(str(a) for a in argv), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


def told(aevis, *argv):
    status, document = aevis(*argv)
    assert status == 0, document
    return document


def init(root, *more):
    return ["init", root, "--images", "photos", *PLAIN, *more]


def trained(seed, classes=3, width=6):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(classes, width).eval()


def images_of(bench):
    read = bench.workspace.read([entry.file for entry in bench.workspace.images])
    return torch.from_numpy(read.transpose(0, 3, 1, 2)).float() / 255


def check_answers(root, model):
    """Compare every stored or computed probability of a workspace with what torch alone says."""
    bench = open_workbench(root)
    with torch.no_grad():
        wanted = model(images_of(bench)).softmax(1).numpy()
    found = bench.judging.predict([entry.file for entry in bench.workspace.images])
    np.testing.assert_allclose([p.probabilities for p in found], wanted, atol=1e-6)
    return bench


def test_a_python_file_its_arguments_and_a_key_are_kept_and_work_from_another_folder(place, aevis, monkeypatch):
    plain, average = trained(1), trained(2)
    tree = {"model": {f"module.{k}": v for k, v in plain.state_dict().items()}, "model_ema": average.state_dict()}
    torch.save(tree, "w.pt")
    made = ["--classes", "names.txt", "--model", "code/net.py:make", "--weights", "w.pt"]
    document = told(aevis, *init("lab", *made, "--weights-key", "model_ema", "--model-args", "classes=3", "width=6"))
    assert document["loading"] == ("the weights are those under 'model_ema' in w.pt")
    kept = tomllib.loads((place / "lab" / "workspace.toml").read_text())["model"]
    assert kept == {
        "source": f"{place}/code/net.py:make",
        "weights": f"{place}/w.pt",
        "weights_key": "model_ema",
        "model_args": "classes=3 width=6",
        "leaf": "",
    }
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert told(aevis, "check", place / "lab")["loading"] == document["loading"]
    check_answers(place / "lab", average)


def test_a_workspace_that_holds_its_code_and_weights_can_be_moved(place, aevis):
    lab, model = place / "lab", trained(1)
    lab.mkdir()
    shutil.copy("code/net.py", lab / "net.py")
    torch.save(model.state_dict(), lab / "w.pt")
    made = ["--classes", "names.txt", "--model", "lab/net.py:make", "--weights", "lab/w.pt"]
    document = told(aevis, *init("lab", *made, "--model-args", '{"classes": 3, "width": 6}'))
    assert "loading" not in document
    kept = tomllib.loads((lab / "workspace.toml").read_text())["model"]
    assert (kept["source"], kept["weights"]) == ("net.py:make", "w.pt")
    shutil.move(lab, place / "moved")
    shutil.rmtree("code")
    check_answers(place / "moved", model)


def test_results_of_one_set_of_weights_are_never_read_for_another(place, aevis):
    """Nor of one set of arguments for another, though the graph and the weights are the same."""
    first, second = trained(1), trained(2)
    torch.save({"model": first.state_dict(), "model_ema": second.state_dict()}, "w.pt")
    made = ["--classes", "names.txt", "--model", "code/net.py:make", "--weights", "w.pt"]
    told(aevis, *init("lab", *made, "--model-args", "classes=3", "width=6"))
    settings = place / "lab" / "workspace.toml"
    text, prints = settings.read_text(), []
    for key, model in (("", first), ("model_ema", second), ("model", first)):
        settings.write_text(text.replace('weights_key = ""', f'weights_key = "{key}"'))
        prints.append(check_answers("lab", model).classifier.fingerprint)
    assert prints[0] == prints[2] != prints[1]


def test_arguments_that_leave_no_trace_in_graph_and_weights_change_the_key_of_results(place, aevis):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one = Heads(1).eval()
    torch.save(one.state_dict(), "w.pt")
    two = Heads(2).eval()
    two.load_state_dict(one.state_dict())
    told(aevis, *init("lab", "--classes", "names.txt", "--model", "loading_nets:Heads", "--weights", "w.pt"))
    settings, graph = place / "lab" / "workspace.toml", []
    text = settings.read_text()
    for args, model in (("", one), ("heads=2", two)):
        settings.write_text(text.replace('model_args = ""', f'model_args = "{args}"'))
        graph.append(check_answers("lab", model).classifier.network.traced.module.code)
    assert graph[0] == graph[1]


def test_a_fine_tuned_library_model_has_its_own_classes(place, aevis):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = torchvision.models.shufflenet_v2_x0_5(num_classes=3).eval()
    torch.save({"model_state_dict": model.state_dict(), "epoch": 3}, "mine.pt")
    made = ["--model", "torchvision:shufflenet_v2_x0_5", "--weights", "mine.pt", "--fit", "squeeze"]
    named = told(aevis, *init("named", *made, "--classes", "names.txt"))
    assert named["classes"] == 3
    assert named["loading"] == (
        "the weights are those under 'model_state_dict' in mine.pt; "
        "the model was made for 3 classes, as the file's last layer has so many"
    )
    assert check_answers("named", model).class_names == ("a", "b", "c")
    numbered = told(aevis, *init("numbered", *made))
    assert numbered["loading"] == (
        f"{named['loading']}; the classes are called by their numbers, 0 to 2, because the model has other classes "
        "than its library's; --classes FILE names them, in the order in which the model was trained"
    )
    assert numbered["labelled"] == 6
    assert check_answers("numbered", model).class_names == ("0", "1", "2")
    (place / "four.txt").write_text("a\nb\nc\nd\n")
    status, refused = aevis(*init("four", *made, "--classes", "four.txt"))
    assert status == 2
    assert "The model gives 3 outputs but there are 4 class names" in refused["error"]


def test_a_module_that_is_kept_whole_is_kept_so_in_workspace_toml(place, aevis):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Branched(0.5).eval()
    model.fc.bias.data = torch.tensor([-2.0, 0.0, 2.0])  # Outputs from 0 to 1 would be taken for probabilities.
    torch.save(model.state_dict(), "w.pt")
    made = [
        "--classes",
        "names.txt",
        "--model",
        "loading_nets:Branched",
        "--weights",
        "w.pt",
        "--model-args",
        "factor=0.5",
    ]
    status, refused = aevis(*init("lab", *made))
    assert status == 2
    assert refused["error"].endswith("which then has no maps: --leaf parts.0.")
    told(aevis, *init("lab", *made, "--leaf", "parts.0", "Linear"))
    assert tomllib.loads((place / "lab" / "workspace.toml").read_text())["model"]["leaf"] == "parts.0 Linear"
    check_answers("lab", model)
    assert told(aevis, "check", "lab")["without_a_gate"] == "Choosy (parts.0)"


def test_a_normaliser_in_the_file_is_warned_of_until_the_preprocessing_has_it(place, aevis):
    model = trained(1, width=4)
    normaliser = {"normalizer.new_mean": torch.tensor([0.4, 0.5, 0.6]), "normalizer.new_std": torch.full((3,), 0.25)}
    torch.save({f"module.model.{k}": v for k, v in model.state_dict().items()} | normaliser, "w.pt")
    made = ["--classes", "names.txt", "--model", "loading_nets:Net", "--weights", "w.pt", "--model-args", "classes=3"]
    warnings = told(aevis, *init("lab", *made))["warnings"]
    assert [each for each in warnings if "normaliser" in each] == [
        "The file of weights holds a normaliser that is not part of the model (normalizer.new_mean): mean 0.4, 0.5, "
        "0.6 and std 0.25, 0.25, 0.25. The preprocessing of this workspace has mean 0, 0, 0 and std 1, 1, 1. If the "
        "network was trained behind that normaliser, write its numbers into [preprocessing]."
    ]
    right = told(aevis, *init("right", *made, "--mean", "0.4,0.5,0.6", "--std", "0.25,0.25,0.25"))
    assert not any("normaliser" in each for each in right["warnings"])


def test_arguments_in_workspace_toml_that_cannot_be_are_refused(place, aevis):
    torch.save(trained(1).state_dict(), "w.pt")
    made = ["--classes", "names.txt", "--model", "code/net.py:make", "--weights", "w.pt"]
    told(aevis, *init("lab", *made, "--model-args", "classes=3", "width=6"))
    settings = place / "lab" / "workspace.toml"
    text = settings.read_text()
    for value, words in (("width", "'width' is no argument"), ("depth=1", "It is make(classes, width=4); give its")):
        settings.write_text(text.replace("classes=3 width=6", value))
        status, refused = aevis("check", "lab")
        assert status == 2
        assert words in refused["error"]


STRANGE = """
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any
import torch.nn.functional as F
from torch import cat, nn

class ModelOutput(OrderedDict):
    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) is not None:
                OrderedDict.__setitem__(self, field.name, getattr(self, field.name))

@dataclass
class ImageClassifierOutput(ModelOutput):
    loss: Any = None
    logits: Any = None
    hidden_states: Any = None

class UNetForImageClassification(nn.Module):
    def __init__(self, width=6, num_labels=3, image_size=32):
        super().__init__()
        self.image_size, self.num_labels = image_size, num_labels
        self.down, self.deep = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.up, self.join = nn.ConvTranspose2d(width, width, 2, stride=2), nn.Conv2d(2 * width, width, 1)
        self.act, self.dropout, self.classifier = nn.SiLU(inplace=True), nn.Dropout(0.1), nn.Linear(width, num_labels)

    def forward(self, pixel_values=None, labels=None, output_hidden_states=None, return_dict=None):
        return_dict = return_dict if return_dict is not None else True
        if pixel_values is None:
            raise ValueError("You have to specify pixel_values")
        if pixel_values.shape[-1] != self.image_size:
            raise ValueError(f"The image has {pixel_values.shape[-1]} columns, not {self.image_size}.")
        fine = self.act(self.down(pixel_values))
        deep = self.act(self.deep(F.max_pool2d(fine, 2)))
        up = self.up(deep)
        if up.shape[-2:] != fine.shape[-2:]:
            up = F.interpolate(up, size=fine.shape[-2:])
        joined = self.act(self.join(cat([up, fine], 1)))
        logits, loss = self.classifier(self.dropout(joined.mean((-2, -1)))), None
        if labels is not None:
            loss = F.cross_entropy(logits.view(-1, self.num_labels), labels.view(-1))
        if not return_dict:
            return ((loss,) if loss is not None else ()) + (logits, deep)
        return ImageClassifierOutput(loss, logits, (fine, deep) if output_hidden_states else None)
"""


def test_a_network_as_nobody_here_would_write_it_works_as_it_is(place, aevis):
    """It checks its input, takes more than an image, and gives an object with the logits; its checkpoint holds more
    than weights, under a prefix."""
    (place / "code" / "strange.py").write_text(STRANGE)
    scope = {"__name__": "strange"}
    sys.modules["strange"] = type(sys)("strange")  # where dataclasses look for the names of types
    exec(STRANGE, scope)
    del sys.modules["strange"]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = scope["UNetForImageClassification"]().eval()
    model.classifier.weight.data *= 20
    torch.save({"epoch": 9, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, "best.pth")
    made = ["--model", "code/strange.py:UNetForImageClassification", "--weights", "best.pth", "--classes", "names.txt"]
    told(aevis, *init("lab", *made))
    checked = told(aevis, "check", "lab")
    assert (checked["explained_output"], checked["layers"]) == ("logits", 3)
    bench = check_answers("lab", lambda x: model(x).logits)
    assert told(aevis, "attack", "lab", "--epsilon", 40)["attacked"] == 6
    names = [example.adversarial for example in bench.workspace.examples()]
    with torch.no_grad():
        wanted = model(torch.from_numpy(bench.workspace.read(names)).permute(0, 3, 1, 2) / 255).logits.softmax(1)
    found = [each.probabilities for each in bench.judging.predict(names)]
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


BLOCKS = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)
    def forward(self, x):
        return self.last(self.act(self.first(x)).mean((2, 3))){end}
"""


@pytest.fixture
def versions(place):
    """Two versions of one project, and a third one in the current folder; `net.pt` has weights for all."""
    for name, end in (("pa", ""), ("pb", " * -1"), (".", " * 0 + self.last.bias")):
        (place / name).mkdir(exist_ok=True)
        (place / name / "blocks.py").write_text(BLOCKS.format(end=end))
        (place / name / "net.py").write_text(
            "def make():\n    print('making')\n    from blocks import Net\n    return Net()\n"
        )
        (place / name / "top.py").write_text("from blocks import Net\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spec = {"first": torch.nn.Conv2d(3, 4, 3), "last": torch.nn.Linear(4, 3)}
        state = {f"{name}.{k}": v for name, module in spec.items() for k, v in module.state_dict().items()}
    torch.save(state, place / "net.pt")
    return place


@pytest.mark.parametrize("factory", ["net.py:make", "top.py:Net"])
def test_versions_of_a_project_do_not_use_one_anothers_modules(aevis, versions, factory):
    """Neither beside one another in one process, nor where the current folder has such a module too."""
    logits = []
    for name in ("pa", "pb", "pa"):
        root = versions / f"lab-{len(logits)}"
        told(
            aevis,
            *init(root, "--model", versions / name / factory, "--weights", "net.pt", "--classes", "names.txt"),
        )
        model = open_workbench(root).classifier.network
        with torch.no_grad():
            logits.append(model.logits(torch.full((1, 3, 32, 32), 0.3)))
    assert torch.equal(logits[0], -logits[1])
    assert torch.equal(logits[0], logits[2])
    assert not torch.equal(logits[0], logits[1])


KEEPING = """
import torch
from torch import nn
class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)
        {own}
    def forward(self, x):
        {before}
        return self.last(self.act(self.first(x * self.extra)).mean((2, 3)))
"""


@pytest.mark.parametrize(
    ("own", "before", "words"),
    [
        ("self.register_buffer('extra', torch.rand(3, 1, 1), persistent=False)", "pass", "makes other weights"),
        ("self.extra = torch.rand(3, 1, 1)", "pass", "makes other weights"),
        (
            "self.extra = None",
            "self.extra = x.mean().detach() if self.extra is None else self.extra",
            "Random.extra keeps",
        ),
        (
            "self.extra, self.seen = 1, {}",
            "self.extra = self.seen.setdefault('first', x.mean().detach())",
            "Random.extra keeps",
        ),
    ],
)
def test_what_would_be_other_the_next_time_is_refused(aevis, versions, own, before, words):
    """Also where a file of weights is named, which does not hold it."""
    (versions / "odd.py").write_text(KEEPING.format(own=own, before=before))
    options = ("--model", "odd.py:Random", "--weights", "net.pt", "--classes", "names.txt")
    status, document = aevis(*init(versions / "lab", *options))
    assert status == 2
    assert words in document["error"]
    assert not (versions / "lab").exists()
