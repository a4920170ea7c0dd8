"""Files that hold no weights are told by what they are, and nothing that a pickle names is run."""

import argparse
import collections
import functools
import io
import json
import os
import pathlib
import pickle
import re
import tarfile
import textwrap
import zipfile

import numpy as np
import pytest
import torch
from loading_nets import Net
from safetensors.torch import save, save_file

from aevis_dash.core import loading
from aevis_dash.domain import AevisError, ModelSpec


@functools.cache
def state():
    return Net().eval().state_dict()


def saved(tree, **options):
    buffer = io.BytesIO()
    torch.save(tree, buffer, **options)
    return buffer.getvalue()


def load(path):
    return loading.load_model(ModelSpec("loading_nets:Net", str(path)))


def check_weights(loaded):
    for name, tensor in loaded.model.state_dict().items():
        torch.testing.assert_close(tensor, state()[name], rtol=0, atol=0)


def refusal(path, data):
    path.write_bytes(data)
    with pytest.raises(AevisError) as caught:
        load(path)
    text = str(caught.value)
    assert len(textwrap.wrap(text.replace(str(path), "w.pt"), 120)) <= 5
    return text.replace(str(path), "w.pt")


class Ran:
    """Unpickling it makes a file."""

    def __init__(self, path, function=open):
        self.path, self.function = path, function

    def __reduce__(self):
        return (self.function, (str(self.path), "w") if self.function is open else (f"touch {self.path}",))


def zipped(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"contents")
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pt"))
    return buffer.getvalue()


def scripted():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def savez():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def adam():
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f\nsize 12345\n"
OPENED = "w.pt is not a file of plain tensors, so it is not opened"


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            lambda: b"\n<!DOCTYPE html>\n<html><body>Sign in",
            "is a web page and not the weights, so a download went wrong",
        ),
        (lambda: b"<html>" + b"<p>words</p>" * 999, "is a web page and not the weights"),
        (
            lambda: LFS,
            "is a pointer of git-LFS that stands for the weights. Fetch the weights themselves with `git lfs pull`",
        ),
        (
            lambda: b'{"error": "not found"}',
            'is a text, which begins \'{"error": "not found"}\', and not a file of weights',
        ),
        (lambda: "naïve words ".encode() * 999, "is a text, which begins 'naïve words"),
        (
            scripted,
            "is a TorchScript archive, which is a compiled program. Save its weights alone: torch.save(torch.jit.load(",
        ),
        (savez, "is an archive of numpy's savez"),
        (
            lambda: zipped(["a.txt", "b/c.png", "d"]),
            "is a zip archive of 3 other files, such as a.txt, b/c.png, not weights",
        ),
        (
            lambda: zipped(["readme", "runs/best.pth"]),
            "is a zip archive with runs/best.pth inside. Unpack it, and give that",
        ),
        (tarred, "is a tar archive. Unpack it"),
        (lambda: b"\x1f\x8b\x08" + b"\0" * 40, "is compressed by gzip. Unpack it"),
        (lambda: b"\x93NUMPY\x01\0v\0{'descr'", "is an array of numpy"),
        (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "is an HDF5 file, as Keras and TensorFlow write it"),
        (lambda: pickle.dumps({"a": np.zeros(3)}), f"{OPENED}: it is a pickle of numpy arrays. Where you trust it"),
        (
            lambda: pickle.dumps({"a": 1}),
            f"{OPENED}: it is a pickle that torch.save did not write. Save the weights again",
        ),
        (
            lambda: pickle.dumps(collections.Counter("ab")),
            f"{OPENED}: it is a pickle that torch.save did not write, and opening it would run collections.Counter.",
        ),
        (lambda: saved(state())[:-300], "is not a file of plain tensors: it is cut off or damaged, and has"),
        (lambda: saved(state())[:300], "it is cut off or damaged, and has 300 bytes left. Download or copy it again"),
        (
            lambda: saved(state(), _use_new_zipfile_serialization=False)[:-300],
            f"{OPENED}. Save it again with torch.save(",
        ),
        (lambda: save(state())[:-9], "is not a readable safetensors file"),
        (lambda: b"\xfe\xfd" + bytes(range(250)), "it begins neither as a safetensors file nor as one of torch.save"),
        (
            lambda: saved({}),
            "does not hold a state dict of tensors under their names, but an empty dict. Save model.state",
        ),
        (lambda: saved(torch.zeros(3)), "under their names, but a Tensor. Save"),
        (lambda: saved([torch.zeros(3)]), "under their names, but a list. Save"),
        (lambda: saved({"epoch": 3, "loss": [0.1]}), "under their names, but a dict without tensors under names. Save"),
        (
            lambda: saved(adam()),
            "holds the state of an optimizer, and no weights of a model. Give the file that model.state",
        ),
        (lambda: saved({"optimizer": adam(), "epoch": 3}), "holds the state of an optimizer, and no weights"),
    ],
)
def test_a_file_without_weights_is_told_by_what_it_is(tmp_path, data, words):
    assert words in refusal(tmp_path / "given.pt", data())


@pytest.mark.parametrize("new", [True, False])
def test_a_whole_model_is_told_with_what_it_would_run(tmp_path, new):
    text = refusal(tmp_path / "given.pt", saved(Net(), _use_new_zipfile_serialization=new))
    assert f"{OPENED}: it is a whole model, of loading_nets.Net, and opening it would run loading_nets.Net, " in text
    assert (
        " more. Where you trust it, save its weights alone: model = torch.load('given.pt', weights_only=False);" in text
    )
    inside = refusal(tmp_path / "given.pt", saved({"model": Net(), "epoch": 3}, _use_new_zipfile_serialization=new))
    assert "it is a whole model, of loading_nets.Net" in inside


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("function", [open, os.system])
def test_no_pickle_runs_and_what_it_would_run_is_named(tmp_path, function, new):
    would = "io.open" if function is open else f"{os.system.__module__}.system"
    evil = {"conv.weight": Ran(tmp_path / "ran", function)}
    text = refusal(tmp_path / "given.pt", saved(evil, _use_new_zipfile_serialization=new))
    assert text.startswith(OPENED)
    assert would in text
    assert would in refusal(tmp_path / "given.pt", pickle.dumps(evil))
    assert not (tmp_path / "ran").exists()


def test_what_stands_beside_the_weights_is_not_opened_and_the_weights_are_read(tmp_path):
    """As in the checkpoints of many trainers, which keep their options and scores with the weights."""
    beside = {
        "args": argparse.Namespace(rate=0.1, folder=pathlib.PurePosixPath("/data")),
        "best": np.float64(0.7),
        "scores": np.arange(3.0),
        "counts": collections.defaultdict(list, a=[1]),
        "scheduler": functools.partial(max, 1),
        "evil": Ran(tmp_path / "ran"),
    }
    for new in (True, False):
        torch.save({"model": state(), **beside}, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
        loaded = load(tmp_path / "w.pt")
        check_weights(loaded)
        assert loaded.notes[0] == "the weights are those under 'model' in w.pt"
        assert re.fullmatch(
            r"what argparse\.Namespace, pathlib\.PurePosixPath, numpy\.\S+\.scalar and \d more would have made of the "
            "file was not opened",
            loaded.notes[1],
        )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.bin", "weights"])
def test_the_kind_of_a_file_is_known_by_its_contents(tmp_path, name):
    save_file(state(), tmp_path / name)
    check_weights(load(tmp_path / name))
    for new in (True, False):
        torch.save(state(), tmp_path / name, _use_new_zipfile_serialization=new)
        check_weights(load(tmp_path / name))


@pytest.mark.parametrize("length", [0x0280, 0x4B50, 0x8B1F, 0x5A42])
def test_a_safetensors_file_may_begin_like_another_kind(tmp_path, length):
    """Its first bytes are the length of its header, which may be those of a pickle, a zip, gzip or bzip2."""
    data = save(state())
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), separators=(",", ":")).encode()
    padded = header.ljust(length + (0 if length > len(header) else 0x10000))
    (tmp_path / "w.safetensors").write_bytes(len(padded).to_bytes(8, "little") + padded + data[end:])
    assert (tmp_path / "w.safetensors").read_bytes()[:2] == length.to_bytes(2, "little")
    check_weights(load(tmp_path / "w.safetensors"))
