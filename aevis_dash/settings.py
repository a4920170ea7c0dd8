"""The settings of a workspace, workspace.toml: reading them, refusing what does not fit, and writing them."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from aevis_dash.config import AttackParameters, ContributionParameters, ExtractionParameters, FeatureParameters
from aevis_dash.domain import FITS, INTERPOLATIONS, AevisError, ModelSpec, Preprocessing
from aevis_dash.tables import write_text

T = TypeVar("T")
LONGEST_SIDE = 4096
"""Pixels of a side of the model's input at most; a network of that size is not traced in any sensible time."""


@dataclass(frozen=True)
class WorkspaceSettings:
    """What workspace.toml holds; folders are relative to it or absolute.

    `opens_on` is the id of the example that the page opens on; empty for one of medium score.
    """

    model: ModelSpec
    preprocessing: Preprocessing
    images: str = "images"
    opens_on: str = ""
    attack: AttackParameters = field(default_factory=AttackParameters)
    extraction: ExtractionParameters = field(default_factory=ExtractionParameters)
    contribution: ContributionParameters = field(default_factory=ContributionParameters)
    features: FeatureParameters = field(default_factory=FeatureParameters)


def read_settings(root: Path) -> WorkspaceSettings:
    """The settings in a folder's workspace.toml; raises AevisError for what cannot be read or does not fit."""
    path = root / "workspace.toml"
    if not path.is_file():
        raise AevisError(f"{root} holds no workspace.toml. Make a workspace there with `aevis init {root} ...`.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise AevisError(f"{path} cannot be read: {error}. Mend that line.") from error
    model = _section(table, "model", path)
    page = _section(table, "page", path) if "page" in table else {}
    return WorkspaceSettings(
        model=parameters_from(ModelSpec, model, f"{path}, [model]"),
        preprocessing=_preprocessing(_section(table, "preprocessing", path), path),
        images=str(_section(table, "images", path).get("folder", "images")),
        opens_on=str(page.get("opens_on", "")),
        attack=parameters_from(AttackParameters, table.get("attack", {}), f"{path}, [attack]"),
        extraction=parameters_from(ExtractionParameters, table.get("extraction", {}), f"{path}, [extraction]"),
        contribution=parameters_from(ContributionParameters, table.get("contribution", {}), f"{path}, [contribution]"),
        features=parameters_from(FeatureParameters, table.get("features", {}), f"{path}, [features]"),
    )


def write_settings(root: Path, settings: WorkspaceSettings) -> None:
    """Write workspace.toml anew."""
    write_text(root / "workspace.toml", tomli_w.dumps(_as_toml(settings)))


def parameters_from(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A parameter set from a table of its fields; raises AevisError for names and values that do not fit."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(table, Mapping):
        raise AevisError(
            f"{where}: {table!r} is no table. Write its parameters there, a line each: {', '.join(known)}."
        )
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise AevisError(f"{where}: there is no parameter {unknown[0]!r}. Known are: {', '.join(known)}.")
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in table]
    if needed:
        raise AevisError(f"{where}: the parameter {needed[0]!r} is missing. Add a line with it.")
    values = {}
    for name, value in table.items():
        try:
            values[name] = _as_type(known[name].type, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise AevisError(f"{where}: {error}. Mend the value of {name!r}.") from error
        least = known[name].metadata.get("at_least", 0)
        if not isinstance(value, str) and value < least:
            raise AevisError(f"{where}: {name} = {value!r} is too small. It must be at least {least}.")
        most = known[name].metadata.get("at_most", math.inf)
        if not isinstance(value, str) and value > most:
            raise AevisError(f"{where}: {name} = {value!r} is too large. It must be at most {most}.")
    return kind(**values)


def _as_type(kind: Any, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str if kind is str else int | float):
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    if not isinstance(value, str) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    if kind is int and value != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return kind(value)


def _section(table: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = table.get(name)
    if not isinstance(section, dict):
        raise AevisError(f"{path} has no table [{name}]. `aevis init` writes one; copy it from there.")
    return section


def check_preprocessing(chosen: Preprocessing, where: str) -> None:
    """Raise AevisError for a preprocessing that cannot be done; `where` says to people where it stands."""
    if chosen.fit not in FITS:
        raise AevisError(f"{where}: there is no fit {chosen.fit!r}. Choose one of: {', '.join(FITS)}.")
    if chosen.interpolation not in INTERPOLATIONS:
        raise AevisError(
            f"{where}: there is no interpolation {chosen.interpolation!r}. Choose one of: {', '.join(INTERPOLATIONS)}."
        )
    if not all(0 < length <= LONGEST_SIDE for length in (*chosen.input_size, *chosen.scaled_to)):
        raise AevisError(f"{where}: input_size and resize_size need lengths from 1 to {LONGEST_SIDE}. Mend them.")
    if min(chosen.std) <= 0:
        raise AevisError(f"{where}: std needs numbers above 0, not {list(chosen.std)}. Mend it.")
    if chosen.value_range[0] == chosen.value_range[1]:
        raise AevisError(f"{where}: value_range needs two different numbers, not {list(chosen.value_range)}. Mend it.")


def _preprocessing(table: Mapping[str, Any], path: Path) -> Preprocessing:
    try:
        chosen = Preprocessing(**{name: _preprocessing_value(name, value) for name, value in table.items()})
    except (TypeError, ValueError, OverflowError) as error:
        raise AevisError(
            f"{path}, [preprocessing]: {error}. It takes input_size = [height, width], mean and std with three "
            "numbers each, value_range = [low, high], and how images are fitted: fit, resize_size = [height, width], "
            "interpolation."
        ) from error
    check_preprocessing(chosen, f"{path}, [preprocessing]")
    return chosen


def _preprocessing_value(name: str, value: Any) -> Any:
    if name in ("fit", "interpolation"):
        return _as_type(str, value)
    length = 3 if name in ("mean", "std") else 2
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name} needs {length} numbers, not {value!r}")
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
    }
