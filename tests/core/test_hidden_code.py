"""Code that the traced graph does not show: what of it the fingerprint of a model depends on, and what not."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from loading_nets import Branched
from torch import nn
from torch.nn.utils import parametrizations

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.hidden_code import is_users
from aevis_dash.core.loading.user_code import Wanted, at_home, module_of_file
from aevis_dash.domain import Preprocessing

NET = """
import functools
import torch
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum
from torch import nn

{part}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.part, self.last = nn.Conv2d(3, 4, 3), Part(), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(torch.relu(self.part(torch.relu(self.first(x)))).mean((2, 3)))

def make():
    torch.manual_seed(0)
    net = Net()
    part = net.part
    {after}
    return net.eval()
"""

LEAF = """
{before}
class Part({base}nn.Module):
    def __init__(self):
        super().__init__()
        {made}
    def forward(self, x):
        return x if x.sum() > 1e9 else {answer}
"""

WRAPPED = """
{before}
torch.fx.wrap("scaled")
class Part(nn.Module):
    def forward(self, x):
        return scaled(x)
"""


def leaf(answer, before="", made="pass", base=""):
    return LEAF.format(before=before, made=made, answer=answer, base=base), ""


def wrapped(before, helper=""):
    return WRAPPED.format(before=before), helper


HOOKED = "def Part():\n    part = nn.Identity()\n    {0}\n    return part"
PATCHED = "def Part():\n    part = nn.Conv2d(4, 4, 1)\n    {0}\n    return part"

KINDS = {
    "code of a kept module": leaf("x * VALUE"),
    "nested function": leaf("(lambda y: (lambda: y * VALUE)())(x)"),
    "names that code uses": leaf("torch.where(x > 0, x, x).NAME()"),
    "what a constant set holds": leaf("x * (2 if int(x.shape[1]) in {VALUE, 'left', 'right', 'up', 'down'} else 3)"),
    "base class": leaf(
        "self.inner(x)", "class Base:\n    def inner(self, x):\n        return x * VALUE", base="Base, "
    ),
    "static method": leaf("self.f(x)", made="pass\n    @staticmethod\n    def f(x):\n        return x * VALUE"),
    "property": leaf("x * self.k", made="pass\n    @property\n    def k(self):\n        return VALUE"),
    "attribute of the class": leaf("x * self.k", made="pass\n    k = VALUE"),
    "number": leaf("x * self.k", made="self.k = VALUE"),
    "private number": leaf("x * self._k", made="self._k = VALUE"),
    "text": leaf("x * len(self.k)", made="self.k = 'a' * int(2 + VALUE)"),
    "dictionary": leaf("x * self.k['k'][0]", made="self.k = {'k': [VALUE]}"),
    "set": leaf("x * len(self.k)", made="self.k = {VALUE, 'left', 'right', 'up', 'down'}"),
    "plain tensor": leaf("x * self.k", made="self.k = torch.tensor(VALUE)"),
    "brain float": leaf("x * self.k", made="self.k = torch.tensor([VALUE], dtype=torch.bfloat16)"),
    "array": leaf("x * float(self.k.sum())", made="self.k = torch.tensor([VALUE]).numpy()"),
    "buffer that is not stored": leaf("x * self.k", made="self.register_buffer('k', torch.tensor(VALUE), False)"),
    "object": leaf("x * self.k.v", "@dataclass\nclass Given:\n    v: float", "self.k = Given(VALUE)"),
    "object with slots": leaf(
        "x * self.k.v", "@dataclass(slots=True)\nclass Given:\n    v: float", "self.k = Given(VALUE)"
    ),
    "member of an enum": leaf("x * self.k.value", "class Kind(Enum):\n    A = VALUE", "self.k = Kind.A"),
    "module that is no part": leaf(
        "self.k[0](x)", made="self.k = [nn.Conv2d(4, 4, 1)]; self.k[0].weight.data[:] = VALUE"
    ),
    "part of a kept module": leaf(
        "self.p(x)", "class Inner(nn.Module):\n    def forward(self, x):\n        return x * VALUE", "self.p = Inner()"
    ),
    "wrapped function": wrapped("def scaled(x):\n    return x * VALUE"),
    "constant of the module": wrapped("K = VALUE\ndef scaled(x):\n    return x * K"),
    "default": wrapped("def scaled(x, k=VALUE):\n    return x * k"),
    "default of a keyword": wrapped("def scaled(x, *, k=VALUE):\n    return x * k"),
    "closure": wrapped(
        "def outer(k):\n    def scaled(x):\n        return x * k\n    return scaled\nscaled = outer(VALUE)"
    ),
    "partial": wrapped(
        "def f(k, x):\n    return x * k\ng = functools.partial(f, VALUE)\ndef scaled(x):\n    return g(x)"
    ),
    "function that a library wraps": wrapped("@torch.no_grad()\ndef scaled(x):\n    return x * VALUE"),
    "attribute of a function": wrapped("def scaled(x):\n    return x * scaled.k\nscaled.k = VALUE"),
    "function of another file": wrapped(
        "from helper import times\ndef scaled(x):\n    return times(x)", "K = VALUE\ndef times(x):\n    return x * K"
    ),
    "module of another file": wrapped(
        "import helper\ndef scaled(x):\n    return helper.times(x)", "def times(x):\n    return x * VALUE"
    ),
    "import within a function": wrapped("def scaled(x):\n    import helper\n    return x * helper.K", "K = VALUE"),
    "class of another file": wrapped(
        "from helper import Times\ndef scaled(x):\n    return Times()(x)",
        "class Times:\n    def __call__(self, x):\n        return x * VALUE",
    ),
    "function of autograd": wrapped(
        "class F(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x * 2\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return g * VALUE\ndef scaled(x):\n    return F.apply(x)"
    ),
    "hook": (HOOKED.format("part.register_forward_hook(lambda m, given, y: y * VALUE)"), ""),
    "hook before": (HOOKED.format("part.register_forward_pre_hook(lambda m, given: given[0] * VALUE)"), ""),
    "hook of the gradient": (HOOKED.format("part.register_full_backward_hook(lambda m, a, b: (a[0] * VALUE,))"), ""),
    "hook with a value on the module": (
        HOOKED.format("part.k = VALUE; part.register_forward_hook(lambda m, given, y: y * m.k)"),
        "",
    ),
    "patched forward": (PATCHED.format("part.forward = lambda x: x * VALUE"), ""),
    "patched forward with weights of its own": (
        PATCHED.format("w = nn.Conv2d(4, 4, 1); w.weight.data[:] = VALUE; part.forward = lambda x: w(x)"),
        "",
    ),
    "parametrization": (
        "class P(nn.Module):\n    def forward(self, w):\n        return w * VALUE\n"
        + PATCHED.format("torch.nn.utils.parametrize.register_parametrization(part, 'bias', P(), unsafe=True)"),
        "",
    ),
}


def print_of(folder, kind, value):
    """The fingerprint of the model whose hidden code is of a kind, with a value, in files of a folder."""
    part, helper = KINDS[kind]
    folder.mkdir(parents=True)
    name = {0.5: "sqrt", 2.0: "square"}[value]
    found = re.search(r"(?<=        )self\.(.*)(?=\n    def forward)", part)  # no hidden code may hold the value
    after = found[0].replace("self.", "part.") if found else "pass"
    part = part.replace(found[0], "pass") if found else part

    def filled(text):
        return text.replace("VALUE", str(value)).replace("NAME", name)

    (folder / "net.py").write_text(filled(NET.replace("{part}", part).replace("{after}", after)))
    (folder / "helper.py").write_text(filled(helper))
    make = module_of_file(folder / "net.py", Wanted("--model", "factory", "model")).make
    with at_home(folder):
        leaves = ["Part"] if "1e9" in part else []
        return fingerprint(make(), leaves)


def fingerprint(model, leaves=()):
    return Classifier(model, Preprocessing((8, 8)), ("a", "b", "c"), leaves).fingerprint


def all_prints():
    """The fingerprints of all kinds, in files of a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        return {kind: print_of(Path(folder) / str(i), kind, 0.5) for i, kind in enumerate(KINDS)}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_code_changes_the_fingerprint_and_its_place_does_not(tmp_path, kind):
    first, moved, changed = (
        print_of(tmp_path / name, kind, value) for name, value in (("a", 0.5), ("b", 0.5), ("c", 2.0))
    )
    assert first == moved
    assert first != changed


def test_another_process_gives_the_same_fingerprints():
    """Also where texts have other hashes, so that sets have another order."""
    here = Path(__file__).parent
    code = "import json, test_hidden_code; print(json.dumps(test_hidden_code.all_prints()))"
    paths = os.pathsep.join(str(each) for each in (here, here.parent, here.parents[1]))
    told = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": seed},
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        )
        for seed in ("1", "2")
    ]
    assert told[0] == told[1] == all_prints()


def record(into, kind):
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.linspace(-1, 1, weights.numel()).reshape(weights.shape))
    note = into.append if kind == "list" else lambda y: into.update(last=y)
    scale = 0.5
    model[0].register_forward_hook(lambda module, given, y: note(y) or y * scale)
    model[1].count = 0

    def counted(module, given):
        module.count += 1

    model[1].register_forward_pre_hook(counted)
    return model.eval()


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_what_a_hook_records_of_the_images_is_left_out(kind):
    into = [] if kind == "list" else {}
    model = record(into, kind)
    before = fingerprint(model)
    assert into
    with torch.no_grad():
        model(torch.rand(5, 3, 8, 8))
    assert fingerprint(model) == before


def old_fingerprint(made):
    """The formula before hidden code was looked at; results of that time are stored under it."""
    digest = hashlib.sha256(b"")
    traced = made.network.traced
    digest.update(traced.module.code.encode())
    digest.update("".join(repr(m) for m in traced.module.children()).encode())
    plain = (bool, int, float, str, tuple, list)
    for name in traced.kept:
        parts = []
        for own, part in traced.module.get_submodule(name).named_modules():
            held = {k: repr(v) for k, v in vars(part).items() if isinstance(v, plain) and k[0] != "_"}
            parts.append((own, type(part).__module__, type(part).__qualname__, repr(sorted(held.items()))))
        digest.update(json.dumps([name, parts]).encode())
    assert all(axis == 1 for axis in traced.axes)
    assert not traced.made
    assert (made.preprocessing.fit, made.preprocessing.interpolation) == ("squeeze", "bilinear")
    fitted = ("fit", "resize_size", "interpolation")
    described = {name: value for name, value in vars(made.preprocessing).items() if name not in fitted}
    digest.update(json.dumps([described, made.class_names], default=list).encode())
    for name, tensor in sorted(traced.module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return digest.hexdigest()[:32]


def parametrized():
    return parametrizations.weight_norm(nn.Conv2d(3, 3, 3))


def with_hook_of_torch():
    return nn.utils.spectral_norm(nn.Conv2d(3, 3, 3)).eval()


class Traced(nn.Module):
    """A module of the user's that is traced, with a hook and a forward that are, too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.register_forward_hook(lambda module, given, y: y * 0.5)
        self.private = {"k": torch.ones(2)}

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize(
    ("made", "leaves"),
    [
        (lambda: nn.Conv2d(3, 3, 3), ()),
        (lambda: nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)), ("0",)),
        (parametrized, ()),
        (with_hook_of_torch, ()),
        (Traced, ()),
    ],
    ids=["torch", "kept", "parametrized", "hook of torch", "traced"],
)
def test_models_that_hide_nothing_keep_the_fingerprint_that_results_are_stored_under(made, leaves):
    model = nn.Sequential(made(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    found = Classifier(model, Preprocessing((8, 8)), ("a", "b", "c"), leaves)
    assert found.network.traced.kept == leaves
    assert found.fingerprint == old_fingerprint(found)


def test_what_is_the_users():
    assert is_users(Branched)
    assert is_users(print_of)
    assert is_users(sys.modules[print_of.__module__])
    for value in (
        nn.ReLU,
        json.dumps,
        torch,
        torch.ops,
        sys,
        int,
        Classifier,
        sys.modules[Classifier.__module__],
        np.mean.__class__,
        Path,
    ):
        assert not is_users(value), value
