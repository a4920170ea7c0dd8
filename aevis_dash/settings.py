"""The settings of a workspace, workspace.toml: reading them, refusing what does not fit, and writing them."""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from aevis_dash.config import (
    AttackParameters,
    ContributionParameters,
    ExtractionParameters,
    FeatureParameters,
    ScoreParameters,
    StoreParameters,
)
from aevis_dash.domain import FITS, INTERPOLATIONS, MOST_CHANNELS, AevisError, ModelSpec, Preprocessing
from aevis_dash.reading import read_bytes
from aevis_dash.tables import why_unread, write_text

T = TypeVar("T")
_LONGEST = 64 * 1024
"""The number of bytes of a workspace.toml at most. A file that `aevis init` writes has two thousand."""
GREY_LEVELS = 255
"""The largest value of an 8-bit image. Mean and std are often given for values from 0 to this one."""
LONGEST_SIDE = 4096
"""The number of pixels of a side of the model's input at most. A larger network cannot be traced in any sensible
time."""


@dataclass(frozen=True)
class WorkspaceSettings:
    """What workspace.toml holds.

    Attributes:
        model: where the model and its weights come from.
        preprocessing: how an image becomes the model's input.
        images: the folder of the normal images, relative to the workspace or absolute.
        opens_on: the ID of the example that the page opens on; "" for one of medium score.
        attack: the parameters of attacks.
        extraction: the parameters of the extraction of datapaths.
        contribution: the parameters of contribution analysis.
        features: the parameters of learned features.
        score: the parameter of the adversarial score.
        store: how much the stored results may take.
    """

    model: ModelSpec
    preprocessing: Preprocessing
    images: str = "images"
    opens_on: str = ""
    attack: AttackParameters = field(default_factory=AttackParameters)
    extraction: ExtractionParameters = field(default_factory=ExtractionParameters)
    contribution: ContributionParameters = field(default_factory=ContributionParameters)
    features: FeatureParameters = field(default_factory=FeatureParameters)
    score: ScoreParameters = field(default_factory=ScoreParameters)
    store: StoreParameters = field(default_factory=StoreParameters)


@dataclass(frozen=True)
class _Images:
    folder: str = "images"


@dataclass(frozen=True)
class _Page:
    opens_on: str = ""


_NEEDED = ("model", "preprocessing", "images")


def read_settings(root: Path) -> WorkspaceSettings:
    """The settings in a folder's workspace.toml.

    Raises:
        AevisError: where the file is missing, cannot be read, names something unknown, or holds a value that does not
            fit.
    """
    path = root / "workspace.toml"
    if not path.is_file():
        raise AevisError(f"{root} holds no workspace.toml. Make a workspace there with `aevis init {root} ...`.")
    try:
        table = tomllib.loads(read_bytes(path, _LONGEST).decode("utf-8-sig"))
    except (UnicodeDecodeError, OSError) as error:
        raise AevisError(f"{path} cannot be read: {why_unread(error)}. Save it as a text in UTF-8.") from error
    except ValueError as error:
        raise AevisError(f"{path} cannot be read: {error}. Mend that line.") from error
    except RecursionError as error:
        raise AevisError(f"{path} is nested too deeply to be read. Its tables hold plain values and lists.") from error
    sets = ("attack", "extraction", "contribution", "features", "score", "store")
    known = ("model", "preprocessing", "images", "page", *sets)
    refuse_unknown(table, known, "table", str(path))
    for name in _NEEDED:
        if not isinstance(table.get(name), dict):
            raise AevisError(f"{path} has no table [{name}]. `aevis init` writes one; copy it from there.")

    def parameters(name: str, kind: type[T]) -> T:
        return parameters_from(kind, table.get(name, {}), f"{path}, [{name}]")

    return WorkspaceSettings(
        model=parameters("model", ModelSpec),
        preprocessing=_preprocessing(table["preprocessing"], path),
        images=parameters("images", _Images).folder,
        opens_on=parameters("page", _Page).opens_on,
        attack=parameters("attack", AttackParameters),
        extraction=parameters("extraction", ExtractionParameters),
        contribution=parameters("contribution", ContributionParameters),
        features=parameters("features", FeatureParameters),
        score=parameters("score", ScoreParameters),
        store=parameters("store", StoreParameters),
    )


def refuse_workspace(root: Path) -> None:
    """Raise AevisError where a folder holds a workspace already."""
    if (root / "workspace.toml").exists():
        raise AevisError(f"{root} already holds a workspace. Choose another folder, or delete workspace.toml first.")


def write_settings(root: Path, settings: WorkspaceSettings) -> None:
    """Write the settings to the workspace.toml of a folder, in place of what is there."""
    write_text(root / "workspace.toml", tomli_w.dumps(_as_toml(settings)))


def parameters_from(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A parameter set, made of a table of its fields; fields that the table lacks have their defaults.

    Args:
        kind: the dataclass of the parameter set, such as AttackParameters.
        table: the values by the names of the fields.
        where: says, for error messages, where the table stands.

    Raises:
        AevisError: for an unknown name, a missing parameter without default, and a value of the wrong type or out of
            bounds.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(table, Mapping):
        raise AevisError(
            f"{where}: {table!r} is no table. Write its parameters there, a line each: {', '.join(known)}."
        )
    refuse_unknown(table, tuple(known), "parameter", where)
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in table]
    if needed:
        raise AevisError(f"{where}: the parameter {needed[0]!r} is missing. Add a line with it.")
    values = {}
    for name, value in table.items():
        try:
            values[name] = _as_type(known[name].type, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise AevisError(f"{where}: {error}. Mend the value of {name!r}.") from error
        choices = known[name].metadata.get("choices", (value,))
        fits, form = known[name].metadata.get("also", (None, ""))
        if value not in choices and not (fits is not None and fits(value)):
            others = f", or {form}" if form else ""
            raise AevisError(f"{where}: there is no {name} {value!r}. Choose one of: {', '.join(choices)}{others}.")
        least = known[name].metadata.get("at_least", 0)
        if not isinstance(value, str) and value < least:
            raise AevisError(f"{where}: {name} = {value!r} is too small. It must be at least {least}.")
        most = known[name].metadata.get("at_most", math.inf)
        if not isinstance(value, str) and value > most:
            raise AevisError(f"{where}: {name} = {value!r} is too large. It must be at most {most}.")
    return kind(**values)


def refuse_unknown(names: Iterable[str], known: Sequence[str], what: str, where: str) -> None:
    """Raise AevisError for the first of the names that is not known, with the known name that was most likely meant.

    Args:
        names: the names to check.
        known: the names that there are.
        what: the kind of thing that is named, such as "parameter".
        where: says, for error messages, where the names stand.
    """
    for name in names:
        if name not in known:
            near = get_close_matches(name.lower(), known, 1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise AevisError(f"{where}: there is no {what} {name!r}. {meant}Known are: {', '.join(known)}.")


def _as_type(kind: Any, value: Any) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is bool or isinstance(value, bool) or not isinstance(value, str if kind is str else int | float):
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    if not isinstance(value, str) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    if kind is int and value != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return kind(value)


def check_preprocessing(chosen: Preprocessing, where: str) -> None:
    """Check that a preprocessing can be done, and that its mean and std fit the values of the images.

    Args:
        chosen: the preprocessing.
        where: says, for error messages, where it stands.

    Raises:
        AevisError: for the first thing that does not fit.
    """
    if chosen.fit not in FITS:
        raise AevisError(f"{where}: there is no fit {chosen.fit!r}. Choose one of: {', '.join(FITS)}.")
    if chosen.interpolation not in INTERPOLATIONS:
        raise AevisError(
            f"{where}: there is no interpolation {chosen.interpolation!r}. Choose one of: {', '.join(INTERPOLATIONS)}."
        )
    if not all(0 < length <= LONGEST_SIDE for length in (*chosen.input_size, *chosen.scaled_to)):
        raise AevisError(f"{where}: input_size and resize_size need lengths from 1 to {LONGEST_SIDE}. Mend them.")
    if not all(math.isfinite(number) for number in (*chosen.mean, *chosen.std, *chosen.value_range)):
        raise AevisError(f"{where}: mean, std and value_range need finite numbers. Mend them.")
    if not 1 <= len(chosen.mean) == len(chosen.std) <= MOST_CHANNELS:
        raise AevisError(
            f"{where}: mean has {len(chosen.mean)} numbers and std {len(chosen.std)}. Give each a number for every "
            f"channel of the model's input: three for colours, one for grey levels, {MOST_CHANNELS} at most."
        )
    if min(chosen.std) <= 0:
        raise AevisError(f"{where}: std needs numbers above 0, not {list(chosen.std)}. Mend it.")
    if chosen.value_range[0] == chosen.value_range[1]:
        raise AevisError(f"{where}: value_range needs two different numbers, not {list(chosen.value_range)}. Mend it.")
    _refuse_another_scale(chosen, where)


def _refuse_another_scale(chosen: Preprocessing, where: str) -> None:
    """Raise AevisError for a mean or std that no images of these values have; most often they are meant for grey
    levels."""
    low, high = sorted(chosen.value_range)
    fits = {"mean": low <= min(chosen.mean) and max(chosen.mean) <= high, "std": max(chosen.std) <= high - low}
    outside = [name for name, is_inside in fits.items() if not is_inside]
    if not outside:
        return
    both_in_grey_levels = min(*chosen.mean, *chosen.std) >= 1
    meant = fits if both_in_grey_levels else outside
    divided = {name: [value / GREY_LEVELS for value in getattr(chosen, name)] for name in meant}
    in_grey_levels = (low, high) == (0, 1) and all(0 <= value <= 1 for values in divided.values() for value in values)
    remedy = "Mend it, or value_range."
    if in_grey_levels:
        words = ", ".join(f"{name} = {[round(v, 4) for v in values]}" for name, values in divided.items())
        or_range = "say value_range = [0, 255] (--value-range=0,255), or " if both_in_grey_levels else ""
        them = "mean and std" if len(divided) > 1 else "it"
        remedy = f"If it is meant for pixels from 0 to 255, {or_range}divide {them} by 255: {words}."
    raise AevisError(
        f"{where}: {outside[0]} = {list(getattr(chosen, outside[0]))} cannot be that of images whose values are from "
        f"{low:g} to {high:g}, as value_range says. {remedy}"
    )


def doubted_scale(chosen: Preprocessing) -> str:
    """A warning where mean and std look like those of pixels from 0 to 1, but the images' values are grey levels; else
    ""."""
    numbers = (*chosen.mean, *chosen.std)
    fractions = all(0 <= number <= 1 for number in numbers) and any(0 < number < 1 for number in chosen.mean)
    if sorted(chosen.value_range) != [0, GREY_LEVELS] or not fractions:
        return ""
    return (
        "workspace.toml says that the images' values are from 0 to 255, and has a mean and a std that look like those "
        "of values from 0 to 1. If they are, leave out value_range, or multiply both by 255."
    )


def filled_channels(given: Mapping[str, Any], channels: int | None = None) -> dict[str, Any]:
    """The mean of 0 and the std of 1 for a preprocessing that lacks one of them or both.

    Args:
        given: the fields that are known, by name.
        channels: the number of channels; None for as many as the other field has, or three.
    """
    known = [len(given[name]) for name in ("mean", "std") if name in given]
    count = channels or (known[0] if known else 3)
    return {name: (value,) * count for name, value in (("mean", 0.0), ("std", 1.0)) if name not in given}


def _preprocessing(table: Mapping[str, Any], path: Path) -> Preprocessing:
    refuse_unknown(table, [f.name for f in fields(Preprocessing)], "parameter", f"{path}, [preprocessing]")
    if "input_size" not in table:
        raise AevisError(f"{path}, [preprocessing]: the parameter 'input_size' is missing. Add a line with it.")
    try:
        given = {name: _preprocessing_value(name, value) for name, value in table.items()}
        chosen = Preprocessing(**(given | filled_channels(given)))
    except (TypeError, ValueError, OverflowError) as error:
        raise AevisError(
            f"{path}, [preprocessing]: {error}. It takes input_size = [height, width], mean and std with a "
            "number for each channel, value_range = [low, high], and how images are fitted: fit, "
            "resize_size = [height, width], interpolation."
        ) from error
    check_preprocessing(chosen, f"{path}, [preprocessing]")
    return chosen


def _preprocessing_value(name: str, value: Any) -> Any:
    if name in ("fit", "interpolation"):
        return _as_type(str, value)
    length = None if name in ("mean", "std") else 2
    if not isinstance(value, list) or not value or length not in (None, len(value)):
        raise ValueError(f"{name} needs {length or 'some'} numbers, not {value!r}")
    return tuple(_as_type(int if name in ("input_size", "resize_size") else float, v) for v in value)


def _as_toml(settings: WorkspaceSettings) -> dict[str, Any]:
    return {
        "model": asdict(settings.model),
        "preprocessing": {k: v for k, v in asdict(settings.preprocessing).items() if v is not None},
        "images": {"folder": settings.images},
        "page": {"opens_on": settings.opens_on},
        "attack": asdict(settings.attack),
        "extraction": asdict(settings.extraction),
        "contribution": asdict(settings.contribution),
        "features": asdict(settings.features),
        "score": asdict(settings.score),
        "store": asdict(settings.store),
    }


def with_absolute_paths(model: ModelSpec) -> ModelSpec:
    """The spec with the whole paths of its files, so that they are found from any folder."""
    weights = str(Path(model.weights).resolve()) if model.weights and Path(model.weights).is_file() else model.weights
    file = str(Path(model.file).resolve()) if model.file else ""
    return replace(model, source=file + model.source.removeprefix(model.file), weights=weights)


def with_paths_from(root: Path, model: ModelSpec) -> ModelSpec:
    """The spec with the paths of those files that lie in a workspace's folder from there, so that it can be moved."""
    weights, file = (_from_folder(root, path) for path in (model.weights, model.file))
    return replace(model, source=file + model.source.removeprefix(model.file), weights=weights)


def _from_folder(root: Path, path: str) -> str:
    inside = path and Path(path).is_file() and Path(path).is_relative_to(root.resolve())
    return str(Path(path).relative_to(root.resolve())) if inside else path
