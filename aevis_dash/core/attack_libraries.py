"""Attacks of other libraries, each of which is imported only when it is asked for.

All of them work on pixels from 0 to 1, so their lengths are in that unit: an epsilon of 8 grey levels is 8/255.
"""

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from aevis_dash.core.foreign_attack import ForeignAttack, PixelModel
from aevis_dash.core.loading.user_code import imported, shown_signature
from aevis_dash.domain import AevisError

_Call = Callable[[PixelModel, Tensor, Tensor, Tensor | None], Any]


@dataclass(frozen=True)
class _Library:
    """A library of attacks.

    Attributes:
        module: where its attacks are found.
        package: the name by which it is installed.
        install: how it is installed.
        adapt: makes what is called, of the attack's class, its arguments, and whether it is to be aimed.
    """

    module: str
    package: str
    install: str
    adapt: Callable[[Any, Mapping[str, Any], bool], _Call]


def library_attack(library: str, name: str, given: Mapping[str, Any], targeted: bool) -> ForeignAttack:
    """Find an attack of a library.

    Args:
        library: one of LIBRARIES.
        name: what the library calls the attack, such as "PGD"; of autoattack the version, such as "standard".
        given: the arguments that it is made with.
        targeted: whether it is to be aimed at classes.

    Raises:
        AevisError: the library is not installed, has no such attack, or cannot make or aim it so.
    """
    known, shown = LIBRARIES[library], f"{library}:{name}"
    otherwise = f"--attack {shown} needs the package {known.package}: {known.install}"
    home = imported(known.module, otherwise)
    kind = home.AutoAttack if library == "autoattack" else _class_in(home, name, shown)
    more = {"version": name} if library == "autoattack" else {}
    _refuse_other_arguments(shown, kind, given, known)
    version = _version(known.package, home)
    made_of = {"library": library, "version": version, "attack": name, "args": dict(given)}
    called = known.adapt(kind, {**given, **more}, targeted)
    return ForeignAttack(f"{shown} {version}".strip(), made_of, called, slug=f"{library}-{name}")


def _class_in(home: ModuleType, name: str, shown: str) -> Any:
    classes = [each for each, value in vars(home).items() if inspect.isclass(value) and not each.startswith("_")]
    if name not in classes:
        near = get_close_matches(name.lower(), [each.lower() for each in classes], 1)
        meant = next((f" Did you mean {each!r}?" for each in classes if near and each.lower() == near[0]), "")
        raise AevisError(f"There is no attack {name!r} in {home.__name__}, which --attack {shown} names.{meant}")
    return getattr(home, name)


def _refuse_other_arguments(shown: str, kind: Any, given: Mapping[str, Any], known: _Library) -> None:
    """Raise AevisError for arguments with which the attack cannot be made."""
    signature, takes_model = inspect.signature(kind), known.adapt is not _foolbox
    made_with = {name: value for name, value in given.items() if takes_model or name != _EPSILONS}
    try:
        signature.bind(*([None] if takes_model else []), **made_with)
    except TypeError as error:
        but = ", but not the model," if takes_model else ""
        raise AevisError(
            f"{shown} cannot be made with {', '.join(made_with) or 'no arguments'} ({error}). It is "
            f"{kind.__name__}{shown_signature(signature)}; give its arguments{but} with --attack-args NAME=VALUE."
        ) from error


def _version(package: str, home: ModuleType) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(home, "__version__", ""))


def _filled(kind: Any, given: Mapping[str, Any], **usual: Any) -> dict[str, Any]:
    """The given arguments, and of the usual ones those that the class takes and that are not given."""
    takes = inspect.signature(kind).parameters
    return {**{name: value for name, value in usual.items() if name in takes}, **given}


def _seed() -> int:
    """The seed by which torch draws now, small enough for every library."""
    return torch.initial_seed() % 2**31


def _classes(model: PixelModel, x: Tensor) -> int:
    with torch.no_grad():
        return model(x[:1]).shape[1]


def _torchattacks(kind: Any, given: Mapping[str, Any], targeted: bool) -> _Call:
    def call(model: PixelModel, x: Tensor, y: Tensor, target: Tensor | None) -> Any:
        attack = kind(model, **_filled(kind, given, n_classes=_classes(model, x), seed=_seed(), verbose=False))
        if target is not None:
            _refuse_no_aim(kind, "targeted" in attack.supported_mode)
            attack.set_mode_targeted_by_label(quiet=True)
        return attack(x, y if target is None else target)

    return call


def _art(kind: Any, given: Mapping[str, Any], targeted: bool) -> _Call:
    if targeted:
        _refuse_no_aim(kind, "targeted" in inspect.signature(kind).parameters)

    def call(model: PixelModel, x: Tensor, y: Tensor, target: Tensor | None) -> Any:
        classifier = importlib.import_module("art.estimators.classification").PyTorchClassifier(
            model=model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=_classes(model, x),
            clip_values=(0.0, 1.0),
            device_type="gpu" if x.is_cuda else "cpu",
        )
        attack = kind(classifier, **_filled(kind, given, targeted=targeted, verbose=False))
        labels = y if target is None else target
        found = attack.generate(x=x.cpu().numpy(), y=labels.cpu().numpy())
        model.eval()  # its estimator may leave it as it trains
        return torch.as_tensor(found, device=x.device)

    return call


_EPSILONS = "epsilons"


def _foolbox(kind: Any, given: Mapping[str, Any], targeted: bool) -> _Call:
    made_with = {name: value for name, value in given.items() if name != _EPSILONS}
    epsilon = given.get(_EPSILONS)
    if isinstance(epsilon, list | tuple):
        raise AevisError("--attack-args epsilons of foolbox has to be one number here. Attack once for each.")
    if epsilon is None and any(each.__name__ == "FixedEpsilonAttack" for each in kind.__mro__):
        raise AevisError(
            f"{kind.__name__} of foolbox needs an epsilon. Give it, for pixels from 0 to 1, as --attack-args "
            "epsilons=8/255."
        )

    def call(model: PixelModel, x: Tensor, y: Tensor, target: Tensor | None) -> Any:
        foolbox = importlib.import_module("foolbox")
        criteria = foolbox.criteria
        aim = criteria.Misclassification(y) if target is None else criteria.TargetedMisclassification(target)
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        try:
            return kind(**made_with)(wrapped, x, aim, epsilons=epsilon)[1]  # the images clipped to epsilon
        except ValueError as error:
            _refuse_no_aim(kind, target is None or "criterion" not in str(error))
            raise

    return call


def _autoattack(kind: Any, given: Mapping[str, Any], targeted: bool) -> _Call:
    _refuse_no_aim(kind, not targeted)
    if "eps" not in given:
        raise AevisError("AutoAttack needs an epsilon. Give it, for pixels from 0 to 1, as --attack-args eps=8/255.")

    def call(model: PixelModel, x: Tensor, y: Tensor, target: Tensor | None) -> Any:
        attack = kind(model, **_filled(kind, given, seed=_seed(), verbose=False, device=str(x.device)))
        return attack.run_standard_evaluation(x, y, bs=len(x))

    return call


def _refuse_no_aim(kind: Any, can: bool) -> None:
    if not can:
        raise AevisError(f"{kind.__name__} cannot be aimed at a class. Leave out --target, or choose another attack.")


LIBRARIES: Mapping[str, _Library] = {
    "torchattacks": _Library("torchattacks", "torchattacks", "pip install torchattacks", _torchattacks),
    "art": _Library(
        "art.attacks.evasion", "adversarial-robustness-toolbox", "pip install adversarial-robustness-toolbox", _art
    ),
    "foolbox": _Library("foolbox.attacks", "foolbox", "pip install foolbox", _foolbox),
    "autoattack": _Library(
        "autoattack",
        "autoattack",
        "pip install git+https://github.com/fra31/auto-attack, or take torchattacks:AutoAttack",
        _autoattack,
    ),
}
"""The libraries whose attacks are known."""
