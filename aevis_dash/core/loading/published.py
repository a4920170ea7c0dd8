"""What a model's library publishes beside the model: its preprocessing and the names of its classes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aevis_dash.core.loading.factories import (
    is_file_name,
    make,
    named_weights,
    source_and_name,
    timm_package,
    torchvision_weights,
)
from aevis_dash.domain import INTERPOLATIONS, AevisError, ModelSpec, Preprocessing


def standard_preprocessing(spec: ModelSpec) -> tuple[Preprocessing, str] | None:
    """Give the preprocessing that the model's library publishes with its weights.

    A weights file does not say which weights it holds. Unless it has the name under which torchvision publishes some,
    the library's default weights are assumed, and the words say so.

    Returns:
        The preprocessing, and in words whose it is; None for a model of no library.

    Raises:
        AevisError: the library has no such model or weights, or scales images in a way that is not known here.
    """
    kind, name = source_and_name(spec)
    if kind == "torchvision":
        return _torchvision_preprocessing(name, spec.weights)
    if kind == "timm":
        config = timm_package().data.resolve_data_config({}, model=make(replace(spec, weights="")))
        assumed = ", assumed because the weights are a file" if is_file_name(spec.weights) else ""
        return _timm_preprocessing(config), f"as timm publishes it for {name}{assumed}"
    return None


def standard_class_names(source: str) -> tuple[str, ...] | None:
    """Give the class names that torchvision publishes with a model's weights; None for a model of another library.

    Raises:
        AevisError: torchvision has no classification model of that name.
    """
    kind, _, name = source.partition(":")
    return tuple(torchvision_weights(name).DEFAULT.meta["categories"]) if kind == "torchvision" else None


def names_or_numbers(published: tuple[str, ...], classes: int | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the names of a model's classes: those of its library, or numbers where the model has other classes.

    Args:
        published: the names that the library publishes.
        classes: the number of classes that the model was made for in place of the library's; None for the library's.

    Returns:
        The names, and a sentence that says so where they are numbers.
    """
    if classes is None or classes == len(published):
        return published, ()
    said = (
        f"the classes are called by their numbers, 0 to {classes - 1}, because the model has other classes than its "
        "library's; --classes FILE names them, in the order in which the model was trained"
    )
    return tuple(map(str, range(classes))), (said,)


def _torchvision_preprocessing(name: str, weights: str) -> tuple[Preprocessing, str]:
    known = torchvision_weights(name)
    if not is_file_name(weights):
        entry = known.DEFAULT if not weights else named_weights(known, name, weights)
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
