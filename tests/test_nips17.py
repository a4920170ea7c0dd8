"""The NIPS 2017 competition's layout: images/, and images.csv, which counts ImageNet's classes from 1.

Its classes are ImageNet's, so its networks have 1000 outputs. Here they are small, and each image is of one grey level
that tells its class.
"""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from conftest import shrink

from aevis_dash.classes import Classes, imagenet
from aevis_dash.cli import main
from aevis_dash.domain import AevisError
from aevis_dash.images import write_image
from aevis_dash.labels import find_images, read_targets
from aevis_dash.workspace import Workspace

HEADER = "ImageId,URL,x1,y1,x2,y2,TrueLabel,TargetClass,OriginalLandingURL,License,Author,AuthorProfileURL"
CODE = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000))
"""
NAMES = Classes(imagenet()[1])


def row(name, label, target):
    """A row of the competition's table, whose classes count from 1."""
    return f"{name},https://x.org/{name}.jpg,0.1,0.2,0.9,0.8,{label},{target},https://x.org,L,A,https://x.org"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The layout with three images: a tench (class 0), a goldfish (1) and a toilet tissue (999)."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("0c7ac4a8c9dfa802", "f43fbfe8a9ea876c", "4fc263d35a3ad3ee")):
        write_image(tmp_path / "images" / f"{name}.png", np.full((32, 32, 3), 40 + 60 * i, np.uint8))
    rows = [row("0c7ac4a8c9dfa802", 1, 1000), row("f43fbfe8a9ea876c", 2, 1), row("4fc263d35a3ad3ee", 1000, 3)]
    (tmp_path / "images.csv").write_text("\n".join([HEADER, *rows]))
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "names.txt").write_text("\n".join(NAMES.names))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scope = {}
        exec(CODE, scope)
        torch.save(scope["make"]().state_dict(), tmp_path / "w.pt")
    return tmp_path


@pytest.fixture
def aevis(capsys):
    """Runs a command with --json; gives its status and its document."""

    def run(*argv):
        capsys.readouterr()
        status = main([*map(str, argv), "--json", "--quiet"])
        return status, json.loads(capsys.readouterr().out)

    return run


INIT = ["init", "lab", "--model", "net.py:make", "--weights", "w.pt", "--classes", "names.txt", "--input-size", 32]


def test_labels_count_from_1_and_targets_are_those_of_the_table(place, aevis):
    status, document = aevis(*INIT, "--images", "images", "--labels", "images.csv")
    assert status == 0, document
    counted = "images.csv: image_id, true_label, counted from 1, as in the NIPS 2017 competition"
    assert document["labels_from"] == counted
    labels = {entry.file: entry.label for entry in Workspace(place / "lab").images}
    names = {name: NAMES.names[label] for name, label in labels.items()}
    assert names == {
        "0c7ac4a8c9dfa802.png": "tench",
        "f43fbfe8a9ea876c.png": "goldfish",
        "4fc263d35a3ad3ee.png": "toilet tissue",
    }
    status, document = aevis("attack", "lab", "--targets", "images.csv", "--steps", 1)
    assert (status, document["attacked"], document["without_target"]) == (0, 3, 0)
    made = {e.source: NAMES.names[e.target_label] for e in Workspace(place / "lab").examples()}
    assert made == {
        "0c7ac4a8c9dfa802.png": "toilet tissue",
        "f43fbfe8a9ea876c.png": "tench",
        "4fc263d35a3ad3ee.png": "great white shark",
    }
    assert all(example["attack"].endswith(("toilet tissue", "tench", "shark")) for example in document["examples"])


@pytest.mark.parametrize(("option", "wanted"), [((), [0, 1, 999]), (("--count-from", 1), [0, 1, 999])])
def test_the_user_may_say_so_too(place, aevis, option, wanted):
    assert aevis(*INIT, "--images", "images", "--labels", "images.csv", *option)[0] == 0
    assert sorted(entry.label for entry in Workspace(place / "lab").images) == wanted


def test_a_table_of_that_form_that_counts_from_0_can_be_read(place, aevis):
    text = (place / "images.csv").read_text().replace(",1000,3,", ",999,2,").replace(",2,1,", ",1,0,")
    (place / "images.csv").write_text(text.replace(",1,1000,", ",0,999,"))
    status, document = aevis(*INIT, "--images", "images", "--labels", "images.csv")
    assert status == 2
    assert "the label '0' is neither a class name nor an index from 1 to 1000" in document["error"]
    status, document = aevis(*INIT, "--images", "images", "--labels", "images.csv", "--count-from", 0)
    assert (status, document["labels_from"]) == (0, "images.csv: image_id, true_label, counted from 0")
    assert sorted(entry.label for entry in Workspace(place / "lab").images) == [0, 1, 999]


def test_any_other_table_or_array_counts_from_1_where_the_user_says_so(place, aevis):
    (place / "own.csv").write_text("file,label\n0c7ac4a8c9dfa802,1\nf43fbfe8a9ea876c,goldfish\n4fc263d35a3ad3ee,1000\n")
    assert aevis(*INIT, "--images", "images", "--labels", "own.csv")[0] == 2
    assert aevis(*INIT, "--images", "images", "--labels", "own.csv", "--count-from", 1)[0] == 0
    assert sorted(entry.label for entry in Workspace(place / "lab").images) == [0, 1, 999]
    np.savez(place / "batch.npz", x=np.full((3, 32, 32, 3), 99, np.uint8), y=np.array([1, 2, 1000]))
    argv = [INIT[0], "other", *INIT[2:], "--images", "batch.npz"]
    assert "holds 1000, and the classes count from 0 to 999" in aevis(*argv)[1]["error"]
    assert aevis(*argv, "--count-from", 1)[1]["labels_from"] == "y of batch.npz, counted from 1"
    assert [entry.label for entry in Workspace(place / "other").images] == [0, 1, 999]


def test_other_classes_than_imagenets_are_not_counted_from_1(tmp_path):
    write_image(tmp_path / "images" / "a.png", np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "images.csv").write_text("ImageId,TrueLabel,TargetClass\na,1,2\n")
    found = find_images(tmp_path / "images", tmp_path / "images.csv", Classes(("x", "y", "z")))
    assert [entry.label for entry in found.images] == [1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "tench", "--targets", "images.csv"], "--target and --targets both say"),
        (["--count-from", 1], "--count-from says how the table of --targets counts"),
        (["--targets", "none.csv"], "none.csv cannot be read"),
        (["--targets", "names.csv"], "has none of the columns target, target_label, target_class"),
        (["--targets", "others.csv"], "No row of others.csv names an image of the workspace and its target"),
        (["--targets", "twice.csv"], "line 3: the image '0c7ac4a8c9dfa802.png' has another target above"),
        (["--targets", "own.csv"], "No chosen image is named in own.csv, with another class to end in than its own"),
        (["--targets", "images.csv", "--attack", "noise"], "aims at no class"),
    ],
)
def test_tables_of_targets_that_cannot_be_taken_are_refused(place, aevis, options, words):
    aevis(*INIT, "--images", "images", "--labels", "images.csv")
    name = "0c7ac4a8c9dfa802"
    (place / "names.csv").write_text(f"file,label\n{name},3\n")
    (place / "others.csv").write_text("file,target\nnobody,3\n")
    (place / "twice.csv").write_text(f"file,target\n{name},3\n{name},4\n")
    (place / "own.csv").write_text(f"file,target\n{name},tench\n")
    status, document = aevis("attack", "lab", *options)
    assert status == 2
    assert words in document["error"]
    assert Workspace(place / "lab").examples() == ()


def test_images_without_a_target_are_left_out_and_counted(place, aevis):
    aevis(*INIT, "--images", "images", "--labels", "images.csv")
    (place / "some.csv").write_text("file,target\n0c7ac4a8c9dfa802,hen\nf43fbfe8a9ea876c,goldfish\n")
    status, document = aevis("attack", "lab", "--targets", "some.csv", "--steps", 1)
    assert (status, document["attacked"], document["without_target"]) == (0, 1, 2)
    (example,) = Workspace(place / "lab").examples()
    assert (example.source, NAMES.names[example.target_label]) == ("0c7ac4a8c9dfa802.png", "hen")


def test_a_target_that_is_no_class_is_refused(place):
    (place / "t.csv").write_text("file,target\n0c7ac4a8c9dfa802,1000\n")
    with pytest.raises(AevisError, match=r"line 2: the label '1000' is neither"):
        read_targets(place / "t.csv", ["0c7ac4a8c9dfa802.png"], "images", NAMES)


@pytest.mark.real
def test_the_competitions_photographs_get_their_own_classes(shared_data, place, aevis):
    """The table is written as the competition publishes it; the classes of most photographs are those that a ResNet-18
    sees in them, and hardly any with labels one off."""
    with (shared_data / "nips17-dev" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::12]
    shutil.rmtree(place / "images")
    for each in rows:
        (place / "images").mkdir(exist_ok=True)
        shutil.copy(shared_data / "nips17-dev" / "images" / f"{each['image_id']}.png", place / "images")
    table = [row(r["image_id"], int(r["label"]) + 1, int(r["target_label"]) + 1) for r in rows]
    (place / "images.csv").write_text("\n".join([HEADER, *table]))
    weights = shared_data / "weights" / "resnet18-imagenet.safetensors"
    made = ["init", "real", "--model", "torchvision:resnet18", "--weights", weights, "--images", "images"]
    status, document = aevis(*made, "--labels", "images.csv")
    assert (status, document["images"], document["labelled"]) == (0, len(rows), len(rows))
    assert not any("counts from" in warning for warning in document["warnings"])
    workspace = Workspace(place / "real")
    known = {f"{r['image_id']}.png": int(r["label"]) for r in rows}
    assert {entry.file: entry.label for entry in workspace.images} == known
    assert aevis("check", "real")[1]["accuracy"] > 0.6
    shrink(workspace)
    chosen = next(r for r in rows if r["target_label"] != r["label"])
    argv = ["attack", "real", "--targets", "images.csv", "--image", f"{chosen['image_id']}.png", "--steps", 2]
    assert aevis(*argv)[1]["attacked"] == 1
    assert Workspace(place / "real").examples()[0].target_label == int(chosen["target_label"])
