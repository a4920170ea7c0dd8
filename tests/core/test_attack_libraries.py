"""Attacks of other libraries: by stand-ins with their interfaces, and by the libraries themselves where they are."""

import sys

import attack_libraries
import hand_wired
import numpy as np
import pytest

from aevis_dash.config import FGSM, AttackParameters
from aevis_dash.core.attack import perturb
from aevis_dash.core.foreign_attack import run_foreign
from aevis_dash.core.own_attacks import foreign_attack
from aevis_dash.domain import AevisError

IMAGES = hand_wired.images(2, 4)
CASES = [
    ("torchattacks:FGSM", "eps=8/255"),
    ("art:FastGradientMethod", "eps=8/255"),
    ("foolbox:LinfFastGradientAttack", "epsilons=8/255"),
]
MODULES = {"torchattacks": "torchattacks", "art": "art.attacks.evasion", "foolbox": "foolbox.attacks"}


@pytest.fixture
def stand_ins(monkeypatch):
    for name, module in attack_libraries.stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)


def attacked(source, arguments, targets=None, seed=0):
    aim = None if targets is None else np.array(targets)
    found = foreign_attack(source, arguments, targets is not None, None)
    return found, run_foreign(classifier(), found, IMAGES, aim, seed)


def classifier():
    return hand_wired.classifier(hand_wired.random_net(1), mean=(0.4, 0.5, 0.6), std=(0.5, 0.5, 0.5))


def is_our_fgsm(results, targets=None):
    """8/255 of pixels from 0 to 1 are 8 grey levels, from the model's own predictions or to the targets."""
    aim = None if targets is None else np.array(targets)
    ours = perturb(classifier(), IMAGES, AttackParameters(8.0, attack=FGSM), aim)
    for found, wanted, image in zip(results, ours, IMAGES, strict=True):
        assert np.abs(found.image.astype(int) - image).max() == 8
        assert (found.image != wanted.image).mean() < 0.01, "a gradient of zero to rounding has either sign"
        assert (found.success, found.unrounded) == (wanted.success, wanted.unrounded)


@pytest.mark.parametrize("targets", [None, [0, 1, 2, 0]])
@pytest.mark.parametrize(("source", "arguments"), CASES)
def test_fgsm_of_a_stand_in_is_fgsm(stand_ins, source, arguments, targets):
    found, results = attacked(source, arguments, targets)
    is_our_fgsm(results, targets)
    assert found.name.startswith(f"{source} ")
    assert found.slug == source.replace(":", "-")
    assert found.made_of["args"] == {arguments.partition("=")[0]: 8 / 255}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("targets", [None, [0, 1, 2, 0]])
@pytest.mark.parametrize(("source", "arguments"), CASES)
def test_fgsm_of_the_library_is_fgsm(source, arguments, targets):
    pytest.importorskip(MODULES[source.partition(":")[0]], exc_type=ImportError)
    if targets is not None and source.startswith("foolbox"):
        with pytest.raises(AevisError, match="LinfFastGradientAttack cannot be aimed at a class"):
            attacked(source, arguments, targets)
        source, arguments = "foolbox:LinfBasicIterativeAttack", "epsilons=8/255 steps=1 abs_stepsize=8/255"
    is_our_fgsm(attacked(source, arguments, targets)[1], targets)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("torchattacks:PGD", "eps=8/255 steps=3"),
        ("torchattacks:CW", "steps=5"),
        ("torchattacks:APGD", "eps=8/255 steps=2"),
        ("art:ProjectedGradientDescent", "eps=8/255 eps_step=2/255 max_iter=3"),
        ("art:SquareAttack", "eps=8/255 max_iter=3"),
        ("foolbox:LinfPGD", "epsilons=8/255 steps=3"),
        ("foolbox:L2DeepFoolAttack", "steps=3"),
    ],
)
def test_other_attacks_of_the_libraries_run_and_come_out_the_same_again(source, arguments):
    pytest.importorskip(MODULES[source.partition(":")[0]], exc_type=ImportError)
    (found, first), (_, again) = attacked(source, arguments), attacked(source, arguments)
    assert found.made_of["version"]
    for a, b, image in zip(first, again, IMAGES, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        if "8/255" in arguments:
            assert np.abs(a.image.astype(int) - image).max() <= 8


def test_autoattack_and_what_else_a_library_has_to_be_told(stand_ins):
    for source in ("autoattack", "autoattack:rand", "torchattacks:Counting", "foolbox:LinfDeepFoolAttack"):
        found, results = attacked(source, "" if "foolbox" in source else "eps=8/255")
        is_our_fgsm(results)
    assert found.name.startswith("foolbox:LinfDeepFoolAttack ")
    assert attacked("autoattack", "eps=0.1")[0].slug == "autoattack-standard"


@pytest.mark.parametrize(
    ("source", "arguments", "targeted", "words"),
    [
        ("torchattacks:FSGM", "", False, "There is no attack 'FSGM' in torchattacks, .* Did you mean 'FGSM'?"),
        ("art:Zoo", "", False, r"There is no attack 'Zoo' in art\.attacks\.evasion"),
        ("torchattacks:FGSM", "epsilon=1", False, r"cannot be made with epsilon .*It is FGSM\(model, eps=0\.03"),
        ("foolbox:LinfFastGradientAttack", "eps=1", False, r"cannot be made with eps .*\(\*, random_start=False\)"),
        (
            "foolbox:LinfFastGradientAttack",
            "",
            False,
            "needs an epsilon. Give it, for pixels from 0 to 1, .*epsilons=8/255",
        ),
        ("foolbox:LinfFastGradientAttack", "epsilons=[1,2]", False, "has to be one number here"),
        ("autoattack", "", False, "AutoAttack needs an epsilon. Give it, for pixels from 0 to 1, .*eps=8/255"),
        ("autoattack:fast", "eps=0.1", False, "failed with ValueError: no version fast"),
        ("autoattack", "eps=0.1", True, "AutoAttack cannot be aimed at a class. Leave out --target"),
        ("art:Untargetable", "", True, "Untargetable cannot be aimed at a class"),
        ("torchattacks:Counting", "", True, "Counting cannot be aimed at a class"),
    ],
)
def test_what_a_library_cannot_do_is_refused(stand_ins, source, arguments, targeted, words):
    with pytest.raises(AevisError, match=words):
        attacked(source, arguments, [0, 1, 2, 0] if targeted else None)


@pytest.mark.parametrize(
    ("source", "module", "install"),
    [
        ("torchattacks:PGD", "torchattacks", "pip install torchattacks"),
        ("art:ZooAttack", "art.attacks.evasion", "pip install adversarial-robustness-toolbox"),
        ("foolbox:LinfPGD", "foolbox.attacks", "pip install foolbox"),
        (
            "autoattack",
            "autoattack",
            r"pip install git\+https://github.com/fra31/auto-attack, or take torchattacks:Auto",
        ),
    ],
)
def test_a_library_that_is_not_there_is_refused_with_what_to_install(monkeypatch, source, module, install):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AevisError, match=f"--attack {source}.* needs the package .*{install}"):
        attacked(source, "eps=0.1")
