"""Making a model, yet without the weights of a file: torchvision's, timm's, or one of the user's own code."""

import copy
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel

from aevis_dash.core.loading.user_code import Wanted, at_home, imported, named_object, parse_arguments, shown_signature
from aevis_dash.core.loading.weight_files import SUFFIXES
from aevis_dash.domain import AevisError, ModelSpec, reason_of

LIBRARIES = ("torchvision", "timm")
_WITH_AUXILIARY = ("googlenet", "inception_v3")
"""The models of torchvision that have further heads, which only training uses."""
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""How the names of these heads begin."""
_MODEL = Wanted("--model", "factory", "model")
_WANTED = "Name a function that returns a torch.nn.Module, a class of them, or a torch.nn.Module itself."


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
    return source not in LIBRARIES and isinstance(named_object(source, name, bool(spec.file), _MODEL), nn.Module)


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
    return imported("timm", "timm models need the package timm: pip install timm")


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
    factory, shown = named_object(source, name, bool(spec.file), _MODEL), f"{source}:{name}"
    if isinstance(factory, nn.Module):
        return _copied(factory, shown, arguments)
    if not callable(factory):
        raise AevisError(f"{shown} is a {type(factory).__name__}, which makes no model. {_WANTED}")
    _refuse_other_calls(shown, factory, arguments)
    try:
        with at_home(Path(source).parent if spec.file else None):
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
    return copy_of(model, shown)


def copy_of(model: nn.Module, shown: str) -> nn.Module:
    """A copy of a model, on which later changes of the model have no effect.

    Args:
        model: the model.
        shown: what messages call it.

    Raises:
        AevisError: the model cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # A module of the user's may hold anything.
        raise AevisError(
            f"{shown} is a model that cannot be copied ({reason_of(error)}). Name a function that makes it."
        ) from error


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
            f"{name} cannot be called {given} ({error}). It is {name.rpartition(':')[2]}{shown_signature(signature)}; "
            "give its arguments with --model-args NAME=VALUE."
        ) from error
    promised = signature.return_annotation
    if inspect.isclass(promised) and promised is not signature.empty and not issubclass(promised, nn.Module):
        raise AevisError(f"{name} says that it returns {promised.__name__}, which is no model. {_WANTED}")
