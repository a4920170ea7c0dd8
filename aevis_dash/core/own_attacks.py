"""Attacks that are not built in: a library's, or a function `attack(model, x, y)` of the user's own code."""

import hashlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from aevis_dash.core.attack_libraries import LIBRARIES, library_attack
from aevis_dash.core.foreign_attack import ForeignAttack, PixelModel
from aevis_dash.core.loading.user_code import Wanted, named_object, parse_arguments, shown_signature
from aevis_dash.domain import AevisError

_ATTACK = Wanted("--attack", "function", "attack")
_GIVEN = ("model", "x", "y", "target")
"""The arguments that the function gets from here."""
_FRACTION = r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)"


def foreign_attack(source: str, arguments: str, targeted: bool, folder: Path) -> ForeignAttack:
    """Find an attack that is not built in.

    Args:
        source: "FILE.py:function", "module:function", or "LIBRARY:NAME" of one of the known libraries.
        arguments: what it is called with beside the images and labels, as "eps=8/255 steps=10" or as JSON.
        targeted: whether it is to be aimed at classes.
        folder: where the file is looked for too, beside the current folder.

    Raises:
        AevisError: there is no such attack, it cannot be called so, or it cannot be aimed.
    """
    place, _, name = source.rpartition(":")
    given, library = attack_arguments(arguments), source.partition(":")[0]
    if library in LIBRARIES:
        return library_attack(library, source.partition(":")[2] or "standard", given, targeted)
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file() and (folder / place).is_file():
        place = str(folder / place)
    function = named_object(place, name, is_file, _ATTACK)
    shown = f"{Path(place).name if is_file else place}:{name}"
    if not callable(function):
        raise AevisError(f"{shown} is a {type(function).__name__}, which cannot be called. Name a function of yours.")
    _refuse_other_calls(shown, function, given, targeted)
    file = _file_of(function) or (str(Path(place).resolve()) if is_file else "")

    def call(model: PixelModel, x: Tensor, y: Tensor, target: Tensor | None) -> Any:
        return function(model, x, y, **given, **({} if target is None else {"target": target}))

    return ForeignAttack(shown, {"attack": name, "args": given, "code": _digest(file)}, call, file, name)


def attack_arguments(text: str) -> dict[str, Any]:
    """The arguments of an attack; a fraction such as 8/255 is a number.

    Raises:
        AevisError: the text is neither JSON nor NAME=VALUE, or names an argument that the attack gets anyway.
    """
    given = parse_arguments(text, "--attack-args")
    ours = [name for name in given if name in _GIVEN]
    if ours:
        raise AevisError(f"--attack-args names {ours[0]!r}, which the attack is given anyway. Leave it out.")
    return {name: _number(value) for name, value in given.items()}


def _number(value: Any) -> Any:
    parts = re.fullmatch(_FRACTION, value) if isinstance(value, str) else None
    return float(parts[1]) / float(parts[2]) if parts is not None and float(parts[2]) else value


def _refuse_other_calls(shown: str, function: Callable[..., Any], given: dict[str, Any], targeted: bool) -> None:
    """Raise AevisError for a function that cannot be called with the model, images, labels and these arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function that is not written in Python tells none
        return
    own = f"{shown.rpartition(':')[2]}{shown_signature(signature)}"
    kinds = {name: each.kind for name, each in signature.parameters.items()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if targeted and not (takes_any or kinds.get("target") in by_name):
        raise AevisError(
            f"{shown} cannot be aimed: it is {own}, and has no argument `target`, which gets the target classes. Give "
            "it one, or leave out --target."
        )
    try:
        signature.bind(None, None, None, **given, **({"target": None} if targeted else {}))
    except TypeError as error:
        more = "".join(f", {name}=..." for name in given)
        raise AevisError(
            f"{shown} cannot be called as attack(model, x, y{more}) ({error}). It is {own}. Mend it, or --attack-args."
        ) from error


def _file_of(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsourcefile(inspect.unwrap(getattr(function, "func", function))) or ""
    except TypeError:
        return ""


def _digest(file: str) -> str:
    """A digest of the text of the function's file, so that an edited attack is another one."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""
