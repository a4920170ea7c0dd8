"""Making a model, yet without the weights of a file: torchvision's, timm's, or one of the user's own code."""

import ast
import copy
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel

from aevis_dash.core.loading.weight_files import SUFFIXES
from aevis_dash.domain import AevisError, ModelSpec, reason_of

LIBRARIES = ("torchvision", "timm")
_WITH_AUXILIARY = ("googlenet", "inception_v3")
"""The models of torchvision that have further heads, which only training uses."""
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""How the names of these heads begin."""
_WANTED = "Name a function that returns a torch.nn.Module, a class of them, or a torch.nn.Module itself."


def parse_arguments(text: str) -> dict[str, Any]:
    """Read the arguments that a model is made with, from JSON such as '{"width": 3}' or from 'width=3 act=relu'.

    A value after an equals sign is read as JSON or as Python writes it, and what is neither is a text.

    Raises:
        AevisError: the text is neither of them, or names an argument twice.
    """
    try:
        words = [text] if text.lstrip().startswith("{") else shlex.split(text)
    except ValueError as error:
        raise AevisError(f"--model-args {text!r} cannot be read: {error}. Close the quotation.") from error
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            return json.loads(words[0])
        except ValueError as error:
            raise AevisError(
                f"--model-args {words[0]!r} is no JSON: {error}. Mend it, or write width=3 act=relu."
            ) from error
    arguments: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()):
            raise AevisError(
                f"--model-args: {word!r} is no argument. Write each as NAME=VALUE, such as width=3, or all as JSON."
            )
        if name in arguments:
            raise AevisError(f"--model-args names {name!r} twice. Give it one value.")
        arguments[name] = _value(value)
    return arguments


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def source_and_name(spec: ModelSpec) -> tuple[str, str]:
    """Split a spec into where the model comes from, a library, a module or a Python file, and its name there."""
    source, _, name = spec.source.rpartition(":") if spec.file else spec.source.partition(":")
    if not (source and name):
        raise AevisError(
            f"{spec.source!r} names no model. Write torchvision:NAME, timm:NAME, module:factory or FILE.py:factory, "
            "for example torchvision:resnet50."
        )
    return source, name


def is_file_name(weights: str) -> bool:
    """Tell whether weights are named as a file, not as a library names its own."""
    return Path(weights).suffix in SUFFIXES or Path(weights).exists()


def make(spec: ModelSpec, **more: Any) -> nn.Module:
    """Make the model of a spec, with the weights that its library knows by name, but without those of a file.

    Args:
        spec: where the model comes from.
        more: arguments for the library beside those of the spec.

    Raises:
        AevisError: there is no such model, or it cannot be made with these arguments.
    """
    source, name = source_and_name(spec)
    arguments = {**parse_arguments(spec.model_args), **more}
    if source == "torchvision":
        return _from_torchvision(name, spec.weights, arguments)
    if source == "timm":
        return _from_timm(name, spec.weights, arguments)
    return _from_code(spec, source, name, arguments)


def is_instance(spec: ModelSpec) -> bool:
    """Tell whether a spec names a model that the user's module holds, and not what makes one."""
    source, name = source_and_name(spec)
    return source not in LIBRARIES and isinstance(_named(spec, source, name), nn.Module)


def unwrapped(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Take a model, and the modules in it, out of the wrappers that hide their layers from torch.fx.

    Returns:
        The model inside, and for each wrapper its class and place in words.
    """
    said: list[str] = []
    while (inner := _inside(model)) is not None:
        said.append(f"{type(model).__name__} around the model")
        model = inner
    while (wrapper := next((each for each in model.named_modules() if _inside(each[1]) is not None), None)) is not None:
        name, module = wrapper
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, _inside(module))
        said.append(f"{type(module).__name__} around {name}")
    for module in model.modules():
        if vars(module).get("_compiled_call_impl") is not None:
            module._compiled_call_impl = None
            said.append(f"the compilation of {type(module).__name__}")
    return model, tuple(said)


def _inside(module: nn.Module) -> nn.Module | None:
    """The module in a wrapper of torch; None for any other module."""
    inner = None
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
        inner = module.module
    elif "_orig_mod" in module._modules:
        inner = module._modules["_orig_mod"]
    return inner if isinstance(inner, nn.Module) else None


def torchvision_weights(name: str) -> Any:
    """Give the weights that torchvision publishes for an image classifier: an enum with a DEFAULT."""
    try:
        known: Any = torchvision.models.get_model_weights(name)
        classifies_images = type(known.DEFAULT.transforms()).__name__ == "ImageClassification"
    except (ValueError, AttributeError):
        known, classifies_images = None, False
    if not classifies_images:
        raise AevisError(f"torchvision has no classification model {name!r}. See torchvision.models.list_models().")
    return known


def named_weights(known: Any, name: str, weights: str) -> Any:
    """Find the weights of a torchvision model by the name that torchvision itself takes."""
    try:
        return known[weights.removeprefix(f"{known.__name__}.")]
    except KeyError as error:
        raise AevisError(
            f"torchvision has no weights {weights!r} for {name} and there is no such file. "
            f"It has: {', '.join(entry.name for entry in known)}."
        ) from error


def timm_package() -> Any:
    """Import timm; raises AevisError where it is not installed."""
    return _import("timm", "timm models need the package timm: pip install timm")


def _from_torchvision(name: str, weights: str, arguments: Mapping[str, Any]) -> nn.Module:
    known = torchvision_weights(name)
    options: dict[str, Any] = {}
    if weights and not is_file_name(weights):
        options = {"weights": named_weights(known, name, weights)}
    elif name in _WITH_AUXILIARY:  # Their weights want another range of pixels, and the model converts.
        options = {"init_weights": False, "transform_input": True, "aux_logits": False}
    return _from_library(
        f"torchvision:{name}",
        weights,
        lambda: torchvision.models.get_model(name, **{**options, **arguments}),
        arguments,
    )


def _from_timm(name: str, weights: str, arguments: Mapping[str, Any]) -> nn.Module:
    timm = timm_package()
    by_name = bool(weights) and not is_file_name(weights)
    if by_name and weights not in ("DEFAULT", name.partition(".")[2]):
        raise AevisError(
            f"timm takes its weights by the model's name, so {weights!r} of {name} names none. Write --weights DEFAULT"
            f", and for weights other than timm's first ones their tag in the name: timm:{name.partition('.')[0]}.TAG."
        )
    try:
        return _from_library(
            f"timm:{name}", weights, lambda: timm.create_model(name, **{"pretrained": by_name, **arguments}), arguments
        )
    except RuntimeError as error:
        raise AevisError(f"timm has no model {name!r}: {error}. See timm.list_models().") from error


def _from_library(source: str, weights: str, maker: Callable[[], nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    for name in ("weights", "pretrained", "checkpoint_path"):
        if name in arguments:
            raise AevisError(f"--model-args names {name!r}. Say which weights by --weights, a file or a name.")
    try:
        return maker()
    except OSError as error:
        raise AevisError(
            f"The weights {weights!r} of {source.partition(':')[2]} cannot be downloaded ({error}). Connect to the "
            "internet, or give a file with --weights."
        ) from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if not arguments:
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise AevisError(f"{source} cannot be made with {given}: {reason_of(error)}. Mend --model-args.") from error


# The user's own code


def _from_code(spec: ModelSpec, source: str, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    factory, shown = _named(spec, source, name), f"{source}:{name}"
    if isinstance(factory, nn.Module):
        return _copied(factory, shown, arguments)
    if not callable(factory):
        raise AevisError(f"{shown} is a {type(factory).__name__}, which makes no model. {_WANTED}")
    _refuse_other_calls(shown, factory, arguments)
    try:
        model = factory(**arguments)
    except (Exception, SystemExit) as error:  # The user's own code may raise anything.
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        mend = "Mend the function, or --model-args." if arguments else "Mend the function."
        raise AevisError(f"{shown}({given}) failed with {type(error).__name__}: {error}. {mend}") from error
    if not isinstance(model, nn.Module):
        raise AevisError(f"{shown} gave a {type(model).__name__}, not a torch.nn.Module. Return the model.")
    return model


def _copied(model: nn.Module, shown: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A copy of a model that a module holds, which keeps its own as it is."""
    if arguments:
        raise AevisError(f"{shown} is a model already, so it takes no --model-args. Name a function that makes it.")
    try:
        return copy.deepcopy(model)
    except Exception as error:  # A module of the user's may hold anything.
        raise AevisError(
            f"{shown} is a model that cannot be copied ({reason_of(error)}). Name a function that makes it."
        ) from error


def _named(spec: ModelSpec, source: str, name: str) -> Any:
    """What a module or a Python file of the user's calls by a name, which may have dots."""
    if spec.file:
        home, what = _module_of_file(Path(source)), "file"
    else:
        if source.partition(".")[0] in sys.stdlib_module_names:
            raise AevisError(
                f"{source}:{name} is a part of Python itself, which makes no models. Name a function of yours."
            )
        home = _import(
            source,
            f"The module {source!r} of --model cannot be imported; run from the folder it lies in, or name its file, "
            "as in --model FILE.py:factory",
        )
        what = "module"
    try:
        return functools.reduce(getattr, name.split("."), home)
    except AttributeError as error:
        raise AevisError(f"The {what} {source!r} has no function {name!r} to make the model with.") from error


def _module_of_file(path: Path) -> ModuleType:
    """Import a Python file, whose imports are also looked for in its own folder; once, as long as it is not changed."""
    path = path.resolve()
    try:
        code = path.read_bytes()
    except OSError as error:
        raise AevisError(f"The file {path} of --model cannot be read ({error.strerror}). Mend its path.") from error
    name = f"_aevis_{path.stem}_{hashlib.sha256(str(path).encode() + code).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise AevisError(f"The file {path} of --model is no Python file. Name a file that ends in .py.")
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # The user's own code may raise anything.
        del sys.modules[name]
        raise AevisError(
            f"The file {path} of --model cannot be run ({type(error).__name__}: {error}). Mend it; a file of a package "
            "is named as a module, package.module:factory."
        ) from error
    return module


def _refuse_other_calls(name: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise AevisError for a factory that can be seen to make no model without calling it, since a factory is
    called.
    """
    called = inspect.unwrap(getattr(factory, "func", factory))
    if inspect.isclass(called):
        if not issubclass(called, nn.Module):
            raise AevisError(f"{name} is a class, but not one of torch.nn.Module. {_WANTED}")
    elif not (inspect.isfunction(called) or inspect.ismethod(called)):
        raise AevisError(f"{name} is no function written in Python, so it is not called. {_WANTED}")
    signature = inspect.signature(factory)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        given = f"with {', '.join(arguments)}" if arguments else "without arguments"
        raise AevisError(
            f"{name} cannot be called {given} ({error}). It is {name.rpartition(':')[2]}{_shown(signature)}; give its "
            "arguments with --model-args NAME=VALUE."
        ) from error
    promised = signature.return_annotation
    if inspect.isclass(promised) and promised is not signature.empty and not issubclass(promised, nn.Module):
        raise AevisError(f"{name} says that it returns {promised.__name__}, which is no model. {_WANTED}")


def _shown(signature: inspect.Signature) -> str:
    """The arguments of a function as Python writes them, without types, and shortened where they are many."""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    text = str(inspect.Signature(bare))
    return text if len(text) <= 120 else f"{text[:117]}..."


def _import(name: str, otherwise: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # A module of the user's may raise anything.
        raise AevisError(f"{otherwise} ({type(error).__name__}: {error}).") from error
