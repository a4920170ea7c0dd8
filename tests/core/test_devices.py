"""Where the model runs: devices that cannot be used, and numbers of 64 bits, which not every device has.

No device but the CPU is at hand. So tensors of the model are marked, and the mark goes on to whatever is computed of
them until it is taken to the CPU or into numpy.
"""

import json

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
from aevis_dash.core.selftest import examine
from aevis_dash.domain import AreaOfInterest, FeatureMap

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
