"""Finding what the user's own code calls by a name, and reading the arguments that it is called with."""

import ast
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import shlex
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from aevis_dash.domain import AevisError

_modules_of: dict[str, dict[str, ModuleType]] = {}
"""By the folder of a file of the user's, the modules of its own that other folders have too (see `at_home`)."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for in the user's code, for error messages.

    Attributes:
        option: the option of the command line that names it, such as "--model".
        form: what the option calls it after a colon, such as "factory".
        kind: what it makes, such as "model".
    """

    option: str
    form: str
    kind: str


def parse_arguments(text: str, option: str = "--model-args") -> dict[str, Any]:
    """Read the arguments that a model or an attack is made with.

    They are JSON such as '{"width": 3}', or texts such as 'width=3 act=relu'.

    A value after an equals sign is read as JSON or as Python writes it, and what is neither is a text.

    Args:
        text: the arguments.
        option: the option of the command line that gives them, for error messages.

    Raises:
        AevisError: the text is neither of them, or names an argument twice.
    """
    try:
        words = [text] if text.lstrip().startswith("{") else shlex.split(text)
    except ValueError as error:
        raise AevisError(f"{option} {text!r} cannot be read: {error}. Close the quotation.") from error
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            return json.loads(words[0])
        except ValueError as error:
            raise AevisError(
                f"{option} {words[0]!r} is no JSON: {error}. Mend it, or write width=3 act=relu."
            ) from error
    arguments: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()):
            raise AevisError(
                f"{option}: {word!r} is no argument. Write each as NAME=VALUE, such as width=3, or all as JSON."
            )
        if name in arguments:
            raise AevisError(f"{option} names {name!r} twice. Give it one value.")
        arguments[name] = _value(value)
    return arguments


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def named_object(source: str, name: str, is_file: bool, wanted: Wanted) -> Any:
    """What a module or a Python file of the user's calls by a name, which may have dots.

    Raises:
        AevisError: the module or file cannot be run, or has no such name.
    """
    if is_file:
        home, what = module_of_file(Path(source), wanted), "file"
    else:
        if source.partition(".")[0] in sys.stdlib_module_names:
            raise AevisError(
                f"{source}:{name} is a part of Python itself, which makes no {wanted.kind}s. Name a function of yours."
            )
        home = imported(
            source,
            f"The module {source!r} of {wanted.option} cannot be imported; run from the folder it lies in, or name its "
            f"file, as in {wanted.option} FILE.py:{wanted.form}",
        )
        what = "module"
    try:
        return functools.reduce(getattr, name.split("."), home)
    except AttributeError as error:
        raise AevisError(f"The {what} {source!r} has no function {name!r} to make the {wanted.kind} with.") from error


def module_of_file(path: Path, wanted: Wanted) -> ModuleType:
    """Import a Python file, whose imports are also looked for in its own folder; once, as long as it is not changed.

    Raises:
        AevisError: the file cannot be read or run.
    """
    path = path.resolve()
    try:
        code = path.read_bytes()
    except OSError as error:
        raise AevisError(
            f"The file {path} of {wanted.option} cannot be read ({error.strerror}). Mend its path."
        ) from error
    name = f"_aevis_{path.stem}_{hashlib.sha256(str(path).encode() + code).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise AevisError(f"The file {path} of {wanted.option} is no Python file. Name a file that ends in .py.")
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        with at_home(path.parent):
            found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # The user's own code may raise anything.
        del sys.modules[name]
        raise AevisError(
            f"The file {path} of {wanted.option} cannot be run ({type(error).__name__}: {error}). Mend it; a file of a "
            f"package is named as a module, package.module:{wanted.form}."
        ) from error
    return module


@contextmanager
def at_home(folder: Path | None = None) -> Iterator[None]:
    """Run code of the user's as Python runs a file of that folder: its imports are looked for there first. What the
    code prints goes to standard error.

    Modules of the same name that files of other folders have brought along are put aside meanwhile, so that two
    versions of one project do not use one another's modules.

    Args:
        folder: the folder of the file; None for code of an installed module.
    """
    if folder is None:
        with redirect_stdout(sys.stderr):
            yield
        return
    home = str(folder.resolve())
    others = {*_modules_of, os.getcwd()} - {home}
    names = {name.partition(".")[0] for name in sys.modules}
    shared = {name for name in names if _origin(name) in others and _is_in(name, folder)}
    aside = _take_out(shared)
    sys.modules.update(_modules_of.setdefault(home, {}))
    sys.path.insert(0, home)
    importlib.invalidate_caches()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(home)
        if home not in sys.path:
            sys.path.append(home)  # for imports within functions that are called later
        _modules_of[home] |= _take_out(shared)
        sys.modules.update(aside)


def _origin(name: str) -> str:
    """The folder in which a module that is imported was found; "" where none is known."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if not file:
        return ""
    place = Path(file)
    return str((place.parent.parent if place.name == "__init__.py" else place.parent).resolve())


def _is_in(name: str, folder: Path) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _take_out(names: Set[str]) -> dict[str, ModuleType]:
    """Take modules and their submodules out of those that are imported."""
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}


def shown_signature(signature: inspect.Signature) -> str:
    """The arguments of a function as Python writes them, without types, and shortened where they are many."""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    text = str(inspect.Signature(bare))
    return text if len(text) <= 120 else f"{text[:117]}..."


def imported(name: str, otherwise: str) -> Any:
    """Import a module; raises AevisError, which begins with `otherwise`, where that fails."""
    try:
        with at_home():
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # A module of the user's may raise anything.
        raise AevisError(f"{otherwise} ({type(error).__name__}: {error}).") from error
