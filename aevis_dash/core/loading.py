"""A model by name: `torchvision:NAME`, `timm:NAME` or `module:factory`, with weights from a file or by name."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from aevis_dash.domain import AevisError, ModelSpec, Preprocessing


def load_model(spec: ModelSpec) -> nn.Module:
    """The model in eval mode, with its weights, in float32; raises AevisError saying what does not fit."""
    source, _, name = spec.source.partition(":")
    if not name:
        raise AevisError(
            f"{spec.source!r} names no model. Write torchvision:NAME, timm:NAME or module:factory, "
            "for example torchvision:resnet50."
        )
    _refuse_unmet_weights(source, spec)
    model = _MAKERS.get(source, lambda n, w: _from_factory(source, n, w))(name, spec.weights)
    path = Path(spec.weights) if spec.weights else None
    if path is not None and _is_file_name(spec.weights):
        _load_weights(model, path, spec.source)
    return model.float().eval()


def device_name() -> str:
    """The device as it was asked for, which may not be there; asking does not touch it."""
    return os.environ.get("AEVIS_DEVICE") or "cpu"


def device() -> torch.device:
    """Where models run: $AEVIS_DEVICE, such as cuda or cuda:1, else the CPU. Raises AevisError where there is none."""
    name = device_name()
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise AevisError(
            f"AEVIS_DEVICE={name} cannot be used ({str(error).splitlines()[0]}). Name a device that torch can use "
            "here, such as cuda, or unset it for the CPU."
        ) from error


def standard_preprocessing(source: str) -> Preprocessing | None:
    """The preprocessing that the model's library publishes, None where it has none."""
    kind, _, name = source.partition(":")
    if kind == "torchvision":
        transforms: Any = _torchvision_weights(name).transforms()
        size = int(transforms.crop_size[0])
        return Preprocessing((size, size), tuple(transforms.mean), tuple(transforms.std))
    if kind == "timm":
        timm = _import("timm", "timm models need the package timm: pip install timm")
        config = timm.data.resolve_data_config({}, model=_from_timm(name, ""))
        return Preprocessing(tuple(config["input_size"][1:]), tuple(config["mean"]), tuple(config["std"]))
    return None


def standard_class_names(source: str) -> tuple[str, ...] | None:
    """The class names that torchvision publishes with its weights, None for other models."""
    kind, _, name = source.partition(":")
    return tuple(_torchvision_weights(name).meta["categories"]) if kind == "torchvision" else None


def _refuse_unmet_weights(source: str, spec: ModelSpec) -> None:
    """A library's model without weights is random, anew each time; a factory knows no weights by name."""
    if source in _MAKERS and not spec.weights:
        raise AevisError(
            f"{spec.source} without weights is a random network. Give --weights: a file, or a name such as DEFAULT."
        )
    if source not in _MAKERS and spec.weights and not _is_file_name(spec.weights):
        raise AevisError(f"There is no weights file {spec.weights}. Mend `weights` in workspace.toml or --weights.")


def _from_torchvision(name: str, weights: str) -> nn.Module:
    _torchvision_weights(name)
    options: dict[str, Any] = {"weights": None if _is_file_name(weights) or not weights else weights}
    if name in ("googlenet", "inception_v3") and options["weights"] is None:
        options |= {"init_weights": False}
    try:
        return torchvision.models.get_model(name, **options)
    except (ValueError, KeyError) as error:
        raise AevisError(
            f"torchvision has no weights {weights!r} for {name} and there is no such file: {error}."
        ) from error
    except OSError as error:
        raise AevisError(_not_downloaded(weights, name, error)) from error


def _torchvision_weights(name: str) -> Any:
    try:
        return torchvision.models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    except (ValueError, AttributeError) as error:
        raise AevisError(
            f"torchvision has no classification model {name!r}. See torchvision.models.list_models()."
        ) from error


def _from_timm(name: str, weights: str) -> nn.Module:
    timm = _import("timm", "timm models need the package timm: pip install timm")
    try:
        return timm.create_model(name, pretrained=bool(weights) and not _is_file_name(weights))
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
    home = _import(module, f"The module {module!r} of --model cannot be imported; run from the folder it lies in")
    factory = getattr(home, name, None)
    if not callable(factory):
        raise AevisError(f"The module {module!r} has no function {name!r} to make the model with.")
    try:
        model = factory()
    except Exception as error:  # somebody else's code
        raise AevisError(
            f"{module}:{name}() failed with {type(error).__name__}: {error}. Mend the function."
        ) from error
    if not isinstance(model, nn.Module):
        raise AevisError(f"{module}:{name} gave a {type(model).__name__}, not a torch.nn.Module. Return the model.")
    return model


_MAKERS: dict[str, Callable[[str, str], nn.Module]] = {"torchvision": _from_torchvision, "timm": _from_timm}


def _import(name: str, otherwise: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module of the user's may raise anything
        raise AevisError(f"{otherwise} ({type(error).__name__}: {error}).") from error


def _is_file_name(weights: str) -> bool:
    return Path(weights).suffix in (".safetensors", ".pt", ".pth", ".bin", ".ckpt") or Path(weights).exists()


def _load_weights(model: nn.Module, path: Path, source: str) -> None:
    state = _read_weights(path)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
        raise AevisError(
            f"The weights in {path} do not fit {source}: {reason}. Give the weights of this architecture, "
            "or the architecture of these weights."
        ) from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise AevisError(f"There is no weights file {path}. Mend `weights` in workspace.toml or --weights.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except SafetensorError as error:
        raise AevisError(f"{path} is not a readable safetensors file ({error}). Save or copy it again.") from error
    except Exception as error:  # torch.load raises pickle, zip, runtime and type errors for what it refuses
        raise AevisError(
            f"{path} is not a file of plain tensors, so it is not opened (a pickle can run code). Save it again "
            f"with torch.save(model.state_dict(), ...) or safetensors. ({str(error).splitlines()[0]})"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise AevisError(f"{path} does not hold a state dict of tensors. Save model.state_dict().")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
