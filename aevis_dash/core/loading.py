"""A model by name: `torchvision:NAME`, `timm:NAME` or `module:factory`, with weights from a file or by name.

This module also tells the preprocessing and the class names that a model's library publishes, and on which device
models run.
"""

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from aevis_dash.domain import INTERPOLATIONS, AevisError, ModelSpec, Preprocessing, reason_of


def load_model(spec: ModelSpec) -> nn.Module:
    """Load a model with its weights, in eval mode and in float32, on the CPU unless its own code puts it elsewhere.

    Raises:
        AevisError: there is no such model or no such weights, they do not fit one another, or the model cannot be put
            into eval mode; the message says which.
    """
    source, name = _source_and_name(spec)
    _refuse_unmet_weights(source, spec)
    model = _MAKERS.get(source, lambda n, w: _from_factory(source, n, w))(name, spec.weights)
    path = Path(spec.weights) if spec.weights else None
    if path is not None and _is_file_name(spec.weights):
        _load_weights(model, path, spec.source)
    model.float()
    model.eval()
    _refuse_forced_training(model, spec.source)
    return model


def _refuse_forced_training(model: nn.Module, source: str) -> None:
    """Raise AevisError where eval() has no effect, as where a module's own train() sets a mode of its choice."""
    training = [
        (name or type(model).__name__, type(module)) for name, module in model.named_modules() if module.training
    ]
    if training:
        name, kind = training[0]
        own = " Its class has a train() of its own." if "train" in vars(kind) else ""
        raise AevisError(
            f"{source} stays in training mode though eval() is called (first at {name!r}), so batch norm and dropout "
            f"would change with every call.{own} Let train(mode) set the mode that it is given."
        )


def refuse_random(spec: ModelSpec, model: nn.Module) -> None:
    """Refuse a model whose weights are random, since nothing that is found of it would hold the next time.

    Args:
        spec: where the model comes from.
        model: the model that was loaded from there.

    Raises:
        AevisError: no weights are named, and loading the model again gives other weights.
    """
    again = {} if spec.weights else load_model(spec).state_dict()
    for name, tensor in model.state_dict().items():
        if name in again and not torch.equal(tensor.cpu(), again[name]):
            raise AevisError(
                f"{spec.source} makes other weights at every call (first {name!r}), so nothing that is found would "
                "hold the next time. Give a file of weights, or let the function load them."
            )


def device_name() -> str:
    """Give the name of the device that $AEVIS_DEVICE asks for, "cpu" by default; whether it exists is not tried."""
    return os.environ.get("AEVIS_DEVICE") or "cpu"


def device() -> torch.device:
    """Give the device on which models run: the one that $AEVIS_DEVICE names, such as cuda or cuda:1, else the CPU.

    Raises:
        AevisError: torch cannot use that device here.
    """
    name = device_name()
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AevisError(
            f"AEVIS_DEVICE={name} cannot be used ({reason_of(error)}). Name a device that torch can use "
            "here, such as cuda, or unset it for the CPU."
        ) from error


def standard_preprocessing(spec: ModelSpec) -> tuple[Preprocessing, str] | None:
    """Give the preprocessing that the model's library publishes with its weights.

    A weights file does not say which weights it holds. Unless it has the name under which torchvision publishes some,
    the library's default weights are assumed, and the words say so.

    Returns:
        The preprocessing, and in words whose it is; None for a model of no library.

    Raises:
        AevisError: the library has no such model or weights, or scales images in a way that is not known here.
    """
    kind, name = _source_and_name(spec)
    if kind == "torchvision":
        return _torchvision_preprocessing(name, spec.weights)
    if kind == "timm":
        timm = _import("timm", "timm models need the package timm: pip install timm")
        config = timm.data.resolve_data_config({}, model=_from_timm(name, ""))
        assumed = ", assumed because the weights are a file" if _is_file_name(spec.weights) else ""
        return _timm_preprocessing(config), f"as timm publishes it for {name}{assumed}"
    return None


def standard_class_names(source: str) -> tuple[str, ...] | None:
    """Give the class names that torchvision publishes with a model's weights; None for a model of another library.

    Raises:
        AevisError: torchvision has no classification model of that name.
    """
    kind, _, name = source.partition(":")
    return tuple(_torchvision_weights(name).DEFAULT.meta["categories"]) if kind == "torchvision" else None


def _torchvision_preprocessing(name: str, weights: str) -> tuple[Preprocessing, str]:
    known = _torchvision_weights(name)
    if not _is_file_name(weights):
        entry = known.DEFAULT if not weights else _named_weights(known, name, weights)
        return _of_preset(entry), f"as torchvision publishes it with {entry}"
    published = [entry for entry in known if Path(entry.url).name == Path(weights).name]
    if published:
        return _of_preset(
            published[0]
        ), f"as torchvision publishes it with {published[0]}, which a file of that name is"
    chosen = known.DEFAULT
    others = [entry.name for entry in known if _of_preset(entry) != _of_preset(chosen)]
    unlike = f"; {', '.join(others)} would have another" if others else ""
    return _of_preset(
        chosen
    ), f"as torchvision publishes it with {chosen}, assumed because the weights are a file{unlike}"


def _of_preset(entry: Any) -> Preprocessing:
    """Do as `torchvision.transforms._presets.ImageClassification` does: scale the shorter side, and keep the centre."""
    preset = entry.transforms()
    size, scaled = int(preset.crop_size[0]), int(preset.resize_size[0])
    return Preprocessing(
        (size, size),
        tuple(preset.mean),
        tuple(preset.std),
        fit="crop",
        resize_size=(scaled, scaled),
        interpolation=preset.interpolation.value,
    )


def _timm_preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Do as `timm.data.transforms_factory.transforms_imagenet_eval` does with that data config."""
    height, width = config["input_size"][1:]
    share = config["crop_pct"]
    if config["interpolation"] not in INTERPOLATIONS:
        raise AevisError(
            f"timm scales the images of this model by {config['interpolation']!r}, which is not known here. Give "
            f"--interpolation: {', '.join(INTERPOLATIONS)}."
        )
    return Preprocessing(
        (height, width),
        tuple(config["mean"]),
        tuple(config["std"]),
        fit={"squash": "squeeze", "border": "pad"}.get(config["crop_mode"], "crop"),
        resize_size=(math.floor(height / share), math.floor(width / share)),
        interpolation=config["interpolation"],
    )


def _source_and_name(spec: ModelSpec) -> tuple[str, str]:
    """Split a spec into where the model comes from and its name there."""
    source, _, name = spec.source.partition(":")
    if not (source and name):
        raise AevisError(
            f"{spec.source!r} names no model. Write torchvision:NAME, timm:NAME or module:factory, "
            "for example torchvision:resnet50."
        )
    return source, name


def _refuse_unmet_weights(source: str, spec: ModelSpec) -> None:
    """Raise AevisError for a library's model without weights, which would be random, and for a missing weights file."""
    if source in _MAKERS and not spec.weights:
        raise AevisError(
            f"{spec.source} without weights is a random network. Give --weights: a file, or a name such as DEFAULT."
        )
    if source not in _MAKERS and spec.weights and not _is_file_name(spec.weights):
        raise AevisError(f"There is no weights file {spec.weights}. Mend `weights` in workspace.toml or --weights.")


def _from_torchvision(name: str, weights: str) -> nn.Module:
    known = _torchvision_weights(name)
    options: dict[str, Any] = {}
    if weights and not _is_file_name(weights):
        options = {"weights": _named_weights(known, name, weights)}
    elif name in ("googlenet", "inception_v3"):  # Their weights want another range of pixels, and the model converts.
        options = {"init_weights": False, "transform_input": True}
    try:
        return torchvision.models.get_model(name, **options)
    except OSError as error:
        raise AevisError(_not_downloaded(weights, name, error)) from error


def _torchvision_weights(name: str) -> Any:
    """Give the weights that torchvision publishes for an image classifier: an enum with a DEFAULT."""
    try:
        known: Any = torchvision.models.get_model_weights(name)
        classifies_images = type(known.DEFAULT.transforms()).__name__ == "ImageClassification"
    except (ValueError, AttributeError):
        known, classifies_images = None, False
    if not classifies_images:
        raise AevisError(f"torchvision has no classification model {name!r}. See torchvision.models.list_models().")
    return known


def _named_weights(known: Any, name: str, weights: str) -> Any:
    """Find the weights of a torchvision model by the name that torchvision itself takes."""
    try:
        return known[weights.removeprefix(f"{known.__name__}.")]
    except KeyError as error:
        raise AevisError(
            f"torchvision has no weights {weights!r} for {name} and there is no such file. "
            f"It has: {', '.join(entry.name for entry in known)}."
        ) from error


def _from_timm(name: str, weights: str) -> nn.Module:
    timm = _import("timm", "timm models need the package timm: pip install timm")
    by_name = bool(weights) and not _is_file_name(weights)
    if by_name and weights not in ("DEFAULT", name.partition(".")[2]):
        raise AevisError(
            f"timm takes its weights by the model's name, so {weights!r} of {name} names none. Write --weights DEFAULT"
            f", and for weights other than timm's first ones their tag in the name: timm:{name.partition('.')[0]}.TAG."
        )
    try:
        return timm.create_model(name, pretrained=by_name)
    except RuntimeError as error:
        raise AevisError(f"timm has no model {name!r}: {error}. See timm.list_models().") from error
    except OSError as error:
        raise AevisError(_not_downloaded(weights, name, error)) from error


def _not_downloaded(weights: str, name: str, error: OSError) -> str:
    return (
        f"The weights {weights!r} of {name} cannot be downloaded ({error}). Connect to the internet, or give a file "
        "with --weights."
    )


def _from_factory(module: str, name: str, _weights: str) -> nn.Module:
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise AevisError(
            f"{module}:{name} is a part of Python itself, which makes no models. Name a function of yours."
        )
    home = _import(module, f"The module {module!r} of --model cannot be imported; run from the folder it lies in")
    factory = getattr(home, name, None)
    if not callable(factory):
        raise AevisError(f"The module {module!r} has no function {name!r} to make the model with.")
    _refuse_other_calls(f"{module}:{name}", factory)
    try:
        model = factory()
    except (Exception, SystemExit) as error:  # The user's own code may raise anything.
        raise AevisError(
            f"{module}:{name}() failed with {type(error).__name__}: {error}. Mend the function."
        ) from error
    if not isinstance(model, nn.Module):
        raise AevisError(f"{module}:{name} gave a {type(model).__name__}, not a torch.nn.Module. Return the model.")
    return model


def _refuse_other_calls(name: str, factory: Callable[..., Any]) -> None:
    """Raise AevisError for a factory that can be seen to make no model without calling it, since a factory is
    called.
    """
    wanted = "Name a function without arguments that returns a torch.nn.Module, or a class of them."
    called = inspect.unwrap(getattr(factory, "func", factory))
    if inspect.isclass(called):
        if not issubclass(called, nn.Module):
            raise AevisError(f"{name} is a class, but not one of torch.nn.Module. {wanted}")
    elif not inspect.isfunction(called):
        raise AevisError(f"{name} is no function written in Python, so it is not called. {wanted}")
    signature = inspect.signature(factory)
    try:
        signature.bind()
    except TypeError as error:
        raise AevisError(f"{name} cannot be called without arguments ({error}). {wanted}") from error
    promised = signature.return_annotation
    if inspect.isclass(promised) and promised is not signature.empty and not issubclass(promised, nn.Module):
        raise AevisError(f"{name} says that it returns {promised.__name__}, which is no model. {wanted}")


_MAKERS: dict[str, Callable[[str, str], nn.Module]] = {"torchvision": _from_torchvision, "timm": _from_timm}


def _import(name: str, otherwise: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # A module of the user's may raise anything.
        raise AevisError(f"{otherwise} ({type(error).__name__}: {error}).") from error


def _is_file_name(weights: str) -> bool:
    return Path(weights).suffix in (".safetensors", ".pt", ".pth", ".bin", ".ckpt") or Path(weights).exists()


def _load_weights(model: nn.Module, path: Path, source: str) -> None:
    state = _read_weights(path)
    wrong = next((n for n, own in model.state_dict().items() if n in state and not _alike(own, state[n])), None)
    if wrong is not None:
        raise AevisError(
            f"The weights in {path} do not fit {source}: {wrong!r} holds {state[wrong].dtype} in place of "
            f"{model.state_dict()[wrong].dtype}. Give the weights as real numbers."
        )
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
        reason = reason.rstrip(". ").replace(".;", ";")
        raise AevisError(
            f"The weights in {path} do not fit {source}: {reason}. Give the weights of this architecture, "
            "or the architecture of these weights."
        ) from error


def _alike(own: torch.Tensor, given: torch.Tensor) -> bool:
    """Tell whether real numbers are given for real ones; torch would take whole or complex ones without a word."""
    return given.is_floating_point() or not own.is_floating_point()


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if path.exists() and not path.is_file():
        raise AevisError(f"{path} is a folder or a device, not a file of weights. Name the file itself.")
    if not path.is_file():
        raise AevisError(f"There is no weights file {path}. Mend `weights` in workspace.toml or --weights.")
    try:
        if path.stat().st_size == 0:
            raise AevisError(f"The weights file {path} is empty. Save or copy it again.")
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except AevisError:
        raise
    except OSError as error:
        raise AevisError(
            f"The weights file {path} cannot be read ({error.strerror or error}). Copy it again."
        ) from error
    except SafetensorError as error:
        raise AevisError(f"{path} is not a readable safetensors file ({error}). Save or copy it again.") from error
    except Exception as error:  # torch.load refuses with pickle, zip, runtime and type errors.
        raise AevisError(
            f"{path} is not a file of plain tensors, so it is not opened (a pickle can run code). Save it again "
            f"with torch.save(model.state_dict(), ...) or safetensors. ({reason_of(error)})"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise AevisError(f"{path} does not hold a state dict of tensors under their names. Save model.state_dict().")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
