"""Stand-ins for libraries of attacks, with the interface that their documentation describes, and FGSM as the attack.

They let the adapters be tested where the libraries are not installed.
"""

from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn


def fgsm(model, x, labels, eps, sign=1):
    """One step of length eps along the sign of the gradient, away from the labels, or with sign -1 towards them."""
    x = x.detach().clone().requires_grad_()
    loss = nn.CrossEntropyLoss()(model(x), labels)
    return (x + sign * eps * torch.autograd.grad(loss, x)[0].sign()).clamp(0, 1).detach()


class FGSM:
    """As of torchattacks: made of a model and arguments, aimed by a method, called with images and labels."""

    def __init__(self, model, eps=8 / 255):
        self.model, self.eps, self.targeted = model, eps, False
        self.supported_mode = ["default", "targeted"]
        assert isinstance(model, nn.Module)
        assert not model.training

    def set_mode_targeted_by_label(self, quiet=False):
        assert "targeted" in self.supported_mode
        self.targeted = True

    def __call__(self, inputs, labels):
        assert inputs.shape[1] == 3
        return fgsm(self.model, inputs, labels, self.eps, -1 if self.targeted else 1)


class Counting(FGSM):
    """One that cannot be aimed, and that needs the number of classes and a seed, as AutoAttack of torchattacks does."""

    def __init__(self, model, eps=8 / 255, n_classes=10, seed=None, verbose=True):
        super().__init__(model, eps)
        self.supported_mode = ["default"]
        assert n_classes == 3
        assert isinstance(seed, int)
        assert verbose is False


class PyTorchClassifier:
    """As of ART: what its attacks are made of."""

    def __init__(self, model, loss, input_shape, nb_classes, clip_values=None, device_type="gpu"):
        assert input_shape == (3, 8, 8)
        assert (nb_classes, clip_values, device_type) == (3, (0.0, 1.0), "cpu")
        assert isinstance(loss, nn.CrossEntropyLoss)
        self.model = model


class FastGradientMethod:
    """As of ART: made of an estimator, and asked by `generate`, from numpy to numpy."""

    def __init__(self, estimator, norm=np.inf, eps=0.3, targeted=False):
        self.estimator, self.eps, self.targeted = estimator, eps, targeted

    def generate(self, x, y=None):
        assert isinstance(x, np.ndarray)
        assert isinstance(y, np.ndarray)
        self.estimator.model.train()
        self.estimator.model.eval()
        sign = -1 if self.targeted else 1
        return fgsm(self.estimator.model, torch.from_numpy(x), torch.from_numpy(y), self.eps, sign).numpy()


class Untargetable(FastGradientMethod):
    """As of ART, for an attack that cannot be aimed."""

    def __init__(self, estimator, eps=0.3):
        super().__init__(estimator, eps=eps)


class PyTorchModel:
    """As of Foolbox: what its attacks are called with."""

    def __init__(self, model, bounds, device=None):
        assert bounds == (0, 1)
        assert device == torch.device("cpu")
        self.model = model


class Misclassification:
    """As of Foolbox: away from these labels."""

    def __init__(self, labels):
        self.labels, self.sign = labels, 1


class TargetedMisclassification:
    """As of Foolbox: towards these classes."""

    def __init__(self, target_classes):
        self.labels, self.sign = target_classes, -1


class FixedEpsilonAttack:
    """As of Foolbox: the base of attacks that need an epsilon."""


class LinfFastGradientAttack(FixedEpsilonAttack):
    """As of Foolbox: made of its arguments, and called with model, images, criterion and epsilons."""

    def __init__(self, *, random_start=False):
        self.random_start = random_start

    def __call__(self, model, inputs, criterion, *, epsilons):
        found = fgsm(model.model, inputs, criterion.labels, epsilons, criterion.sign)
        return torch.full_like(found, 7.0), found, torch.zeros(len(found), dtype=torch.bool)


class LinfDeepFoolAttack:
    """As of Foolbox, for an attack that looks for the smallest change itself."""

    def __call__(self, model, inputs, criterion, *, epsilons):
        assert epsilons is None
        return None, fgsm(model.model, inputs, criterion.labels, 8 / 255), None


class AutoAttack:
    """As of the package autoattack."""

    def __init__(self, model, norm="Linf", eps=0.3, seed=None, verbose=True, version="standard", device="cuda"):
        assert isinstance(seed, int)
        assert (verbose, device) == (False, "cpu")
        if version not in ("standard", "plus", "rand"):
            raise ValueError(f"no version {version}")
        self.model, self.eps = model, eps

    def run_standard_evaluation(self, x_orig: Tensor, y_orig: Tensor, bs=250):
        assert bs == len(x_orig)
        return fgsm(self.model, x_orig, y_orig, self.eps)


def _module(name, **members):
    module = ModuleType(name)
    vars(module).update(members, __version__="0.0")
    return module


def stand_ins():
    """The stand-ins by the names by which they are imported."""
    attacks = _module("foolbox.attacks", **{c.__name__: c for c in (LinfFastGradientAttack, LinfDeepFoolAttack)})
    criteria = SimpleNamespace(Misclassification=Misclassification, TargetedMisclassification=TargetedMisclassification)
    evasion = _module("art.attacks.evasion", FastGradientMethod=FastGradientMethod, Untargetable=Untargetable)
    estimators = _module("art.estimators.classification", PyTorchClassifier=PyTorchClassifier)
    return {
        "torchattacks": _module("torchattacks", FGSM=FGSM, Counting=Counting),
        "art": _module("art"),
        "art.attacks": _module("art.attacks"),
        "art.attacks.evasion": evasion,
        "art.estimators": _module("art.estimators"),
        "art.estimators.classification": estimators,
        "foolbox": _module("foolbox", PyTorchModel=PyTorchModel, criteria=criteria, attacks=attacks),
        "foolbox.attacks": attacks,
        "autoattack": _module("autoattack", AutoAttack=AutoAttack),
    }
