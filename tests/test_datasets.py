"""Workspaces of torchvision's data sets, whose files are written here in the forms in which they are published."""

import hashlib
import json
import pickle
import re
import socket
import struct
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from test_channels import CODE
from torchvision import datasets

from aevis_dash.classes import Classes, imagenet
from aevis_dash.cli import main
from aevis_dash.core.datasets import read_dataset
from aevis_dash.domain import AevisError
from aevis_dash.labels import Portion
from aevis_dash.workspace import Workspace

TEN = ("airplane automobile bird cat deer dog frog horse ship truck").split()
LABELS = [3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9, 5, 7, 9, 8, 5, 7, 8, 6]


@pytest.fixture
def aevis(capsys):
    """Runs a command with --json; gives its status and its document."""

    def run(*argv):
        capsys.readouterr()
        status = main([*map(str, argv), "--json", "--quiet"])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a network of ten classes for colours, and one for grey levels."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "net.py").write_text(CODE)
    scope = {}
    exec(CODE, scope)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for channels in (1, 3):
            torch.save(scope["make"](channels, 10).state_dict(), tmp_path / f"w{channels}.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(count, *shape):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.fixture
def cifar(place, monkeypatch):
    """CIFAR-10 as its authors publish it: pickled batches of rows with 1024 red, green and blue values each. Only the
    digests, by which torchvision knows the whole files, are those of these small ones."""
    images, folder = pixels(len(LABELS), 32, 32, 3), place / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    written = {"test_batch": {"data": rows, "labels": LABELS}, "batches.meta": {"label_names": TEN}}
    written |= {f"data_batch_{i}": {"data": rows[i : i + 2], "labels": LABELS[i : i + 2]} for i in range(1, 6)}
    digests = {}
    for name, content in written.items():
        (folder / name).write_bytes(pickle.dumps(content))
        digests[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    train = [[f"data_batch_{i}", digests[f"data_batch_{i}"]] for i in range(1, 6)]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": digests["batches.meta"]})
    return images


def write_mnist(folder, images, labels):
    """MNIST as its authors publish it: a magic number, the sizes, and the bytes, all big-endian. The images for
    training are the negatives of those for testing."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, shown in (("t10k", images), ("train", 255 - images)):
        data = struct.pack(">IIII", 0x803, *shown.shape) + shown.tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(data)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + bytes(labels))


def init(channels, *more):
    how = ["--input-size", 32, "--mean", ",".join(["0.5"] * channels), "--std", ",".join(["0.25"] * channels)]
    model = ["--model", "net.py:make", "--model-args", f"channels={channels}", "classes=10"]
    return ["init", "lab", *model, "--weights", f"w{channels}.pt", *how, *more]


def stored(root="lab"):
    """The images that a workspace has written, and their labels."""
    workspace = Workspace(root)
    images = [np.asarray(Image.open(workspace.path(entry.file))) for entry in workspace.images]
    return images, [entry.label for entry in workspace.images]


def test_cifar_10_becomes_a_workspace_with_its_own_classes(place, aevis, cifar):
    status, document = aevis(*init(3, "--images", "torchvision:CIFAR10", "--root", "data"))
    assert status == 0, document
    assert document["images_read_as"] == "torchvision:CIFAR10, test: 20 of 20 images"
    assert document["labels_from"] == "the data set CIFAR10"
    assert "the classes are named as in CIFAR10 and in its order" in document["loading"]
    assert (document["images"], document["labelled"], document["classes"]) == (20, 20, 10)
    images, labels = stored()
    assert np.array_equal(images, cifar)
    assert labels == LABELS
    assert list(Workspace("lab").class_names) == TEN
    assert aevis("check", "lab")[0] == 0


def test_a_part_of_a_data_set_is_taken(place, aevis, cifar):
    argv = init(3, "--images", "torchvision:CIFAR10", "--root", "data", "--per-class", 1, "--first", 4)
    assert aevis(*argv)[1]["images_read_as"] == "torchvision:CIFAR10, test: 4 of 20 images"
    images, labels = stored()
    assert [entry.file for entry in Workspace("lab").images] == ["00000.png", "00001.png", "00003.png", "00004.png"]
    assert labels == [3, 8, 0, 6]
    assert np.array_equal(images, cifar[[0, 1, 3, 4]])
    train = read_dataset("CIFAR10", place / "data", "train")
    assert train.labels == tuple(label for i in range(1, 6) for label in LABELS[i : i + 2])
    assert train.words == "torchvision:CIFAR10, train: 10 of 10 images"


def test_a_part_of_a_folder_is_taken_too(place, aevis, cifar):
    for i, image in enumerate(cifar[:6]):
        path = place / "photos" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (place / "names.txt").write_text("\n".join(TEN))
    assert aevis(*init(3, "--images", "photos", "--classes", "names.txt", "--per-class", 2))[1]["images"] == 4
    assert [entry.file for entry in Workspace("lab").images] == ["cat/0.png", "cat/2.png", "dog/1.png", "dog/3.png"]


def test_classes_in_another_order_are_found_by_their_names(place, aevis, cifar):
    order = sorted(TEN, reverse=True)
    (place / "names.txt").write_text("\n".join(order))
    argv = init(3, "--images", "torchvision:CIFAR10", "--root", "data", "--classes", "names.txt")
    status, document = aevis(*argv)
    assert status == 0
    assert "in its order" not in document.get("loading", "")
    assert [order[label] for label in stored()[1]] == [TEN[label] for label in LABELS]


def test_classes_that_the_model_does_not_have_are_refused(place, aevis, cifar):
    (place / "names.txt").write_text("\n".join(["plane", *TEN[1:]]))
    argv = init(3, "--images", "torchvision:CIFAR10", "--root", "data", "--classes", "names.txt")
    status, document = aevis(*argv)
    assert status == 2
    assert document["error"].startswith("torchvision:CIFAR10 has the class 'airplane', and the model has none of that")
    assert "airplane, automobile, bird and so on" in document["error"]
    assert not (place / "lab").exists()


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST", "KMNIST"])
def test_idx_files_become_a_grey_workspace(place, aevis, kind):
    images = pixels(6, 28, 28)
    write_mnist(place / "data" / kind / "raw", images, [7, 2, 1, 0, 4, 1])
    status, document = aevis(*init(1, "--images", f"torchvision:{kind}", "--root", "data"))
    assert status == 0, document
    found, labels = stored()
    assert np.array_equal(found, images)
    assert labels == [7, 2, 1, 0, 4, 1]
    assert list(Workspace("lab").class_names) == getattr(datasets, kind).classes


def test_digits_are_found_by_their_number_or_by_their_word(place, aevis):
    write_mnist(place / "data" / "MNIST" / "raw", pixels(3, 28, 28), [7, 2, 1])
    words = "nine eight seven six five four three two one zero".split()
    for name, classes, wanted in (("a", words, [2, 7, 8]), ("b", list("9876543210"), [2, 7, 8])):
        (place / "names.txt").write_text("\n".join(classes))
        argv = init(1, "--images", "torchvision:MNIST", "--root", "data", "--classes", "names.txt")
        assert aevis(argv[0], name, *argv[2:])[0] == 0
        assert stored(name)[1] == wanted


def test_imagenet_s_classes_are_found_by_their_synsets(tmp_path):
    """Folders that are called by synsets, read by ImageFolder, and names of ImageNet that synonyms make ambiguous."""
    synsets, names = imagenet()
    for i in (134, 517, 3):  # both 134 and 517 are called crane
        path = tmp_path / synsets[i] / "a.png"
        path.parent.mkdir()
        Image.fromarray(pixels(1, 16, 16, 3)[0]).save(path)
    found = read_dataset("ImageFolder", tmp_path)
    assert found.class_names == tuple(sorted(synsets[i] for i in (134, 517, 3)))
    assert sorted(found.labels_among(Classes(names))) == [3, 134, 517]


def test_a_damaged_image_of_a_data_set_is_named_or_left_out(place, aevis, cifar):
    for i, image in enumerate(cifar[:3]):
        path = place / "photos" / "cat" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (place / "photos" / "cat" / "1.png").write_bytes(b"no picture")
    (place / "names.txt").write_text("\n".join(TEN))
    argv = init(3, "--images", "torchvision:ImageFolder", "--root", "photos", "--classes", "names.txt")
    status, document = aevis(*argv)
    assert status == 2
    assert document["error"].startswith("Item 1 of torchvision:ImageFolder cannot be read")
    status, document = aevis(*argv, "--skip-unreadable")
    assert status == 0
    assert (document["images"], len(document["left_out"])) == (2, 1)
    images, labels = stored()
    assert np.array_equal(images, cifar[[0, 2]])
    assert labels == [3, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["torchvision:CIFAR10"], "Say with --root FOLDER where the files of torchvision:CIFAR10 lie"),
        (["torchvision:CIFAR10", "--root", "nowhere"], r"expected in nowhere/cifar-10-batches-py"),
        (["torchvision:MNIST", "--root", "nowhere"], r"expected in nowhere/MNIST/raw without \.gz"),
        (["torchvision:SVHN", "--root", "nowhere"], r"expected as nowhere/test_32x32\.mat"),
        (["torchvision:ImageNet", "--root", "nowhere"], r"ILSVRC2012_devkit_t12\.tar\.gz"),
        (["torchvision:ImageFolder", "--root", "nowhere"], "nowhere"),
        (["torchvision:cifar10", "--root", "data"], "no data set 'cifar10'. Do you mean CIFAR10"),
        (["torchvision:VisionDataset", "--root", "data"], "no data set 'VisionDataset'"),
        (["torchvision:CIFAR10", "--root", "data", "--split", "val"], "the parts train and test, and no 'val'"),
        (["torchvision:SVHN", "--root", "data", "--split", "all"], "Unknown value 'all' for argument split"),
        (["torchvision:ImageFolder", "--root", "data", "--split", "val"], "has no parts. Leave out --split"),
        (["torchvision:CIFAR10", "--root", "data", "--labels", "w3.pt"], "Leave out --labels"),
        (
            ["torchvision:CIFAR10", "--root", "data", "--layout", "NCHW"],
            "Leave out --labels, --count-from, --key, --layout",
        ),
        (["torchvision:FakeData", "--root", "data"], "reads no files of a folder"),
        (["data", "--root", "data"], "--root is about a data set of torchvision, and data is none"),
    ],
)
def test_what_is_no_data_set_is_refused_in_a_sentence(place, aevis, cifar, options, words):
    (place / "names.txt").write_text("\n".join(TEN))
    status, document = aevis(*init(3, "--classes", "names.txt", "--images", *options))
    assert status == 2
    assert re.search(words, document["error"]), document["error"]
    assert "download=True" not in document["error"]
    assert len(document["error"]) < 700
    assert not (place / "lab").exists()


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    """Every data set of torchvision is asked for in an empty folder, and none opens a connection."""

    def connect(*_):
        raise AssertionError("a data set opens a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    refused = 0
    for name in datasets.__all__:
        try:
            read_dataset(name, tmp_path)
        except AevisError:
            refused += 1
    assert refused == len(datasets.__all__)


class Pairs:
    """A data set whose items have no single class."""

    classes = ("a", "b")

    def __init__(self, root):
        self.root = root

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return Image.new("L", (16, 16)), [0, 1]


def test_items_without_the_number_of_a_class_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "CelebA", Pairs)
    with pytest.raises(AevisError, match="Item 0 of torchvision:CelebA is no picture with the number of its class"):
        read_dataset("CelebA", tmp_path)


class OfImageNet(Pairs):
    """A part of ImageNet, whose class names do not tell two classes apart."""

    classes = (("crane",), ("crane",), ("tench", "Tinca tinca"))
    wnids = ("n02012849", "n03126707", "n01440764")

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return Image.new("RGB", (16, 16)), i


def test_classes_of_one_name_are_told_apart_by_their_synsets(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "CelebA", OfImageNet)
    found = read_dataset("CelebA", tmp_path)
    assert found.class_names == ("crane", "crane", "tench, Tinca tinca")
    assert found.labels_among(Classes(imagenet()[1])) == [134, 517, 0]
    with pytest.raises(AevisError, match="has the class 'crane', and the model has none of that name"):
        found.labels_among(Classes(("tench", "hen", "cock")))


class Unnamed(Pairs):
    """A data set without names of classes, of which one item has no class."""

    classes = None

    def __getitem__(self, i):
        return Image.new("RGB", (16, 16)), (4, -1)[i]


def test_classes_without_names_are_called_by_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "CelebA", Unnamed)
    found = read_dataset("CelebA", tmp_path)
    assert (found.class_names, found.named, found.labels) == (("0", "1", "2", "3", "4"), False, (4, None))


def test_a_portion_takes_the_first_of_each_class():
    labels = [1, 1, 0, None, 1, 0, None, 2]
    assert list(Portion().places(labels)) == list(range(8))
    assert list(Portion(3).places(labels)) == [0, 1, 2]
    assert list(Portion(None, 1).places(labels)) == [0, 2, 3, 7]
    assert list(Portion(2, 1).places(iter(labels))) == [0, 2]
