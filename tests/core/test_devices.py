"""Where the model runs: devices that cannot be used, and numbers of 64 bits, which not every device has.

No device but the CPU is at hand. So tensors of the model are marked, and the mark goes on to whatever is computed of
them until it is taken to the CPU or into numpy.
"""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import hand_wired
import pytest
import torch

from aevis_dash.cli import main
from aevis_dash.config import AttackParameters, ContributionParameters, ExtractionParameters
from aevis_dash.core import loading, quadratic
from aevis_dash.core.attack import perturb
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.contribution import contribute
from aevis_dash.core.datapath import METHODS, extract
from aevis_dash.core.features import activation_maps
from aevis_dash.core.flipback import Bench, FlipQuestion
from aevis_dash.core.heads import recognise
from aevis_dash.core.learned import peaks
from aevis_dash.core.loading import devices
from aevis_dash.core.selftest import examine
from aevis_dash.domain import AevisError, AreaOfInterest, FeatureMap

WIDE = (torch.float64, torch.complex128)


class OnDevice(torch.Tensor):
    """A tensor on a device that has no numbers of 64 bits; `made` lists what would have failed there."""

    made: list[str] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        found = super().__torch_function__(func, types, args, kwargs or {})
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, OnDevice) and each.dtype in WIDE:
                OnDevice.made.append(f"{getattr(func, '__name__', func)} gives {each.dtype}")
        return found.as_subclass(torch.Tensor) if func is torch.Tensor.cpu else found


@pytest.fixture
def classifier(monkeypatch):
    """A classifier whose inputs are marked, and with them all that is computed of them."""
    found = hand_wired.classifier(hand_wired.random_net(1))
    own = Classifier.pixels
    monkeypatch.setattr(Classifier, "pixels", lambda self, images: own(self, images).as_subclass(OnDevice))
    monkeypatch.setattr(OnDevice, "made", [])
    return found


def marked(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).as_subclass(OnDevice)


IMAGES = hand_wired.images(1, 4)
WORK = {
    "predict": lambda c: c.predict(IMAGES),
    "activations": lambda c: activation_maps(c, IMAGES, 1),
    "learned": lambda c: peaks(c, IMAGES),
    "self-test": lambda c: examine(c.network.traced.module, c),
    "flip-back": lambda c: Bench(c, FlipQuestion(IMAGES[:1], IMAGES[1:2], 0, 0, 1)).controls(),
    **{
        f"attack {name}": lambda c, p=p: perturb(c, IMAGES, p)
        for name, p in {
            "mi-fgsm": AttackParameters(steps=2),
            "pgd": AttackParameters(steps=2, attack="pgd"),
            "pgd in L2": AttackParameters(steps=2, attack="pgd", norm="l2", epsilon=1.0),
            "below one level": AttackParameters(steps=2, epsilon=0.5),
        }.items()
    },
    **{
        f"extract {name}": lambda c, name=name: list(extract(c, IMAGES, [], ExtractionParameters(method=name)))
        for name in METHODS
    },
    **{
        f"contribute {how}": lambda c, how=how: contribute(
            c, IMAGES[:3], FeatureMap(1, 0), AreaOfInterest(1, 0, 0, 8, 8), 0, ContributionParameters(), method=how
        )
        for how in ("solved", "quadratic", "exact")
    },
    "the head": lambda _: recognise(marked(4, 3)),
    "gates of one output": lambda _: quadratic.exact(marked(3, 8), 0.1),
    "gates of several": lambda _: quadratic.fista(marked(3, 2, 8), 0.1),
    "their objective": lambda _: quadratic.objective(marked(3, 2, 8), marked(3, 8), 0.1),
}


@pytest.mark.parametrize("work", WORK)
def test_no_number_of_64_bits_is_made_on_the_device(classifier, work):
    WORK[work](classifier)
    assert OnDevice.made == []


@pytest.mark.parametrize("gates", [lambda q: quadratic.exact(q[:, 0], 0.1), lambda q: quadratic.fista(q, 0.1)])
def test_gates_come_back_on_the_device_in_their_type(gates):
    q = marked(3, 2, 8)
    found = gates(q)
    assert (type(found), found.dtype) == (OnDevice, torch.float32)


@pytest.mark.parametrize("name", ["cuda:99", "panda", "meta"])
def test_a_device_that_cannot_be_used_is_refused_by_every_verb(name, tmp_path, capsys, monkeypatch):
    """Before anything is read or made, so that the folder need not even be there; the environment stays as it was."""
    monkeypatch.delenv("AEVIS_DEVICE", raising=False)
    for verb in (["check", tmp_path], ["attack", tmp_path], ["world", tmp_path / "w"], ["score", tmp_path]):
        assert main([*map(str, verb), "--device", name, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"].startswith(f"The device '{name}' cannot be used")
    assert not (tmp_path / "w").exists()
    assert loading.device_name() == "cpu"


def test_the_option_counts_before_the_environment(drawn_world, capsys, monkeypatch):
    monkeypatch.setenv("AEVIS_DEVICE", "panda")
    assert main(["check", str(drawn_world), "--json"]) == 2
    assert "The device 'panda' cannot be used" in capsys.readouterr().out
    assert main(["check", str(drawn_world), "--json", "--device", "cpu"]) == 0
    assert loading.device_name() == "panda"


def test_work_that_does_not_fit_into_memory_is_refused_in_a_sentence(drawn_world, capsys, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("aevis_dash.make_workspace.check_workspace", full)
    assert main(["check", str(drawn_world), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"].startswith("The memory is too small for this (CUDA out of")


def test_such_numbers_would_be_seen(classifier):
    classifier.network.logits(classifier.inputs(IMAGES)).detach().double()
    assert len(OnDevice.made) == 1


PREDICT = """
import resource, sys
import numpy as np
import torch
from torch import nn
from aevis_dash.config import MEMORY_VARIABLE
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.loading import device
from aevis_dash.domain import Preprocessing

torch.manual_seed(0)
runs = []

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 64, 3, padding=1), nn.Linear(64, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)).mean((2, 3)))

net = Wide().eval()
net.first.register_forward_hook(lambda _, given, out: runs.append(len(out)))
classifier = Classifier(net, Preprocessing((64, 64), (0.0,) * 3, (1.0,) * 3), tuple("abc"))
images = np.random.default_rng(0).integers(0, 256, (256, 64, 64, 3), dtype=np.uint8)
with torch.no_grad():
    wanted = net(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).softmax(1).numpy()
runs.clear()
device()
limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
found = np.array([each.probabilities for each in classifier.predict(images, batch=256)])
print(limit, max(runs), np.abs(found - wanted).max())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits the memory of a process")
def test_what_is_beyond_the_most_memory_is_run_in_parts():
    """256 images have 256 MiB of activations in one layer."""

    def run(gibibytes):
        env = os.environ | {"AEVIS_MAX_MEMORY": gibibytes, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", PREDICT], env=env, capture_output=True, text=True, check=False)
        return done.stdout.split(), done.stderr

    (limit, most, difference), _ = run("")
    assert (limit, most) == ("-1", "256")
    assert float(difference) < 1e-5
    _, said = run("0.01")
    least = re.search(r"0.01 GiB are too little: .* before an image is run. Say at least --max-memory ([\d.]+)\.", said)
    (limit, most, difference), said = run(least[1])
    assert int(limit) == int(float(least[1]) * 2**30)
    assert 1 <= int(most) < 256, said
    assert float(difference) < 1e-5


def test_the_memory_of_a_gpu_is_limited_by_its_share(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * 2**30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: asked.append(given))
    for text in ("2", "16"):
        devices.limit_memory(torch.device("cuda:1"), text)
    assert asked == [(0.25, torch.device("cuda:1")), (1.0, torch.device("cuda:1"))]


@pytest.mark.parametrize("text", ["much", "nan", "-1", "0"])
def test_a_most_memory_that_is_no_number_is_refused(text, monkeypatch):
    monkeypatch.setenv("AEVIS_MAX_MEMORY", text)
    with pytest.raises(AevisError, match="which is no number of GiB"):
        loading.device()


def test_the_most_memory_is_an_option_of_every_verb(drawn_world, capsys, monkeypatch):
    """Nothing is limited here, as what the option asks for is too little."""
    monkeypatch.delenv("AEVIS_MAX_MEMORY", raising=False)
    assert main(["check", str(drawn_world), "--json", "--max-memory", "0.001"]) == 2
    assert "0.001 GiB are too little" in capsys.readouterr().out
    assert "AEVIS_MAX_MEMORY" not in os.environ
