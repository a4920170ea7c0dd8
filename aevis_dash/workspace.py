"""A workspace: a folder with workspace.toml, class names, a table of images and a table of examples.

    workspace.toml   model, weights, preprocessing, where the images are, attack and extraction parameters
    classes.txt      one class name a line, in the model's order
    images.csv       file, label: the normal images, relative to the images folder; the label may be empty
    examples.csv     id, source, adversarial, true_label, attack, target_label
    adversarial/     the adversarial images, made here or by any other tool

Every refusal of bad input that a workspace can hold is here.
"""

import csv
import hashlib
import io
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tomli_w
from PIL import Image, ImageOps

from aevis_dash.config import AttackParameters, ContributionParameters, ExtractionParameters, FeatureParameters
from aevis_dash.domain import AevisError, Example, ModelSpec, Preprocessing
from aevis_dash.store import write_atomically

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
SMALLEST, MOST_PIXELS = 8, 50_000_000
_EXAMPLE_COLUMNS = ("id", "source", "adversarial", "true_label", "attack", "target_label")
T = TypeVar("T")


@dataclass(frozen=True)
class ImageEntry:
    """A normal image: its file relative to the images folder, and its class index (None where unknown)."""

    file: str
    label: int | None


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


class Workspace:
    """A workspace on disk. Opening it reads the texts and tables; images are read when asked for."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.settings = _read_settings(self.root)
        self.class_names = _read_class_names(self.root / "classes.txt")
        self._hashes: dict[str, tuple[int, int, str]] = {}

    @property
    def cache(self) -> Path:
        """Where the results are stored; safe to delete."""
        return self.root / "cache"

    @property
    def model(self) -> ModelSpec:
        """The model, its weights as an absolute path where they are a file of the workspace."""
        weights = self.settings.model.weights
        local = self.root / weights
        return ModelSpec(self.settings.model.source, str(local) if weights and local.is_file() else weights)

    @cached_property
    def images(self) -> tuple[ImageEntry, ...]:
        """The normal images with their labels."""
        rows = _read_table(self.root / "images.csv", ("file", "label"))
        return tuple(
            ImageEntry(row["file"], self._label(row["label"], f"images.csv, line {i}")) for i, row in enumerate(rows, 2)
        )

    def examples(self) -> tuple[Example, ...]:
        """The examples as the table has them now; none where there is no table yet."""
        path = self.root / "examples.csv"
        if not path.exists():
            return ()
        return tuple(self._example(row, i) for i, row in enumerate(_read_table(path, _EXAMPLE_COLUMNS), 2))

    def example(self, example_id: str) -> Example:
        """That example; raises AevisError where the table has none of that id."""
        for example in self.examples():
            if example.id == example_id:
                return example
        raise AevisError(
            f"There is no example {example_id!r} in {self.root / 'examples.csv'}. "
            "`aevis score WORKSPACE` lists what there is."
        )

    def keep_adversarials(self, made: Sequence[tuple[Example, np.ndarray]]) -> None:
        """Write adversarial images (H, W, 3) and add their rows to the table, or replace rows of the same id."""
        for example, image in made:
            write_image(self.root / example.adversarial, image)
        table = {e.id: e for e in self.examples()} | {e.id: e for e, _ in made}
        _write_table(self.root / "examples.csv", _EXAMPLE_COLUMNS, (asdict(e) for e in table.values()))

    def path(self, name: str) -> Path:
        """The file of an image, given as in the tables: adversarial ones lie in the workspace itself."""
        inside = self.root / name
        return inside if name.startswith("adversarial/") else self.root / self.settings.images / name

    def read(self, names: Iterable[str]) -> np.ndarray:
        """8-bit images (B, H, W, 3) at the model's input size."""
        size = self.settings.preprocessing.input_size
        return np.stack([read_image(self.path(name), size) for name in names])

    def image_hash(self, name: str) -> str:
        """A digest of an image's bytes; raises AevisError where it cannot be read."""
        try:
            state = self.path(name).stat()
            known = self._hashes.get(name)
            if known is None or known[:2] != (state.st_mtime_ns, state.st_size):
                digest = hashlib.sha256(self.path(name).read_bytes()).hexdigest()[:32]
                known = self._hashes[name] = (state.st_mtime_ns, state.st_size, digest)
            return known[2]
        except OSError as error:
            raise AevisError(
                f"The image {self.path(name)} cannot be read ({error.strerror}). Put it back or drop its row."
            ) from error

    def _example(self, row: Mapping[str, str], line: int) -> Example:
        where = f"examples.csv, line {line}"
        return Example(
            id=row["id"],
            source=row["source"],
            adversarial=row["adversarial"],
            true_label=self._label(row["true_label"], where),
            attack=row["attack"],
            target_label=self._label(row["target_label"], where),
        )

    def _label(self, text: str, where: str) -> int | None:
        return _label(text, self.class_names, f"{self.root / where}")


def create(
    root: Path,
    settings: WorkspaceSettings,
    class_names: Sequence[str],
    images: Sequence[ImageEntry],
) -> Workspace:
    """Write a new workspace; refuses a folder that already holds one."""
    if (root / "workspace.toml").exists():
        raise AevisError(f"{root} already holds a workspace. Choose another folder, or delete workspace.toml first.")
    _write_text(root / "classes.txt", "".join(f"{name}\n" for name in class_names))
    _write_table(root / "images.csv", ("file", "label"), (asdict(image) for image in images))
    write_settings(root, settings)
    return Workspace(root)


def write_settings(root: Path, settings: WorkspaceSettings) -> None:
    """Write workspace.toml anew."""
    _write_text(root / "workspace.toml", tomli_w.dumps(_as_toml(settings)))


def find_images(folder: Path, labels: Path | None, class_names: Sequence[str]) -> tuple[ImageEntry, ...]:
    """The images of a folder, with labels from a table or, without one, from sub-folders named as classes.

    The table has a column with the file's name or stem (file, filename, image, image_id, id) and one with the
    class as index or name (label, class, true_label). Images without a row are left out.
    """
    files = _image_files(folder)
    if labels is None:
        return tuple(_from_folder(folder, file, class_names) for file in files)
    table = _read_labels(labels, class_names)
    names = [file.relative_to(folder).as_posix() for file in files]
    found = [ImageEntry(n, table[k]) for n in names for k in (n, Path(n).name, Path(n).stem) if k in table]
    unique = {entry.file: entry for entry in found}
    if not unique:
        raise AevisError(
            f"No image in {folder} has a row in {labels}: images are called {names[0]!r}, rows {next(iter(table))!r}. "
            "The table needs the file's name, with or without its suffix."
        )
    return tuple(unique.values())


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line; raises AevisError for an empty or unreadable file."""
    return _read_class_names(path)


def read_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    """An 8-bit RGB image (H, W, 3), resized straight to `size` (height, width).

    Raises AevisError for what cannot be an 8-bit still picture of sensible size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                _refuse_image(image, path)
                upright = ImageOps.exif_transpose(image).convert("RGB")
        except AevisError:
            raise
        except FileNotFoundError as error:
            raise AevisError(f"There is no image {path}. Put it back, or drop its row from the table.") from error
        except Image.DecompressionBombError as error:
            raise AevisError(_too_large(path, "far more than")) from error
        except (OSError, SyntaxError, ValueError) as error:
            raise AevisError(
                f"The image {path} cannot be read ({error}); it is truncated or not an image. Save or copy it again."
            ) from error
    if upright.size != (size[1], size[0]):
        upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(upright)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an 8-bit image as PNG, whole or not at all."""
    write_atomically(path, lambda file: Image.fromarray(image).save(file, "PNG"))


def png_bytes(image: np.ndarray) -> bytes:
    """An 8-bit image as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def parameters_from(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A parameter set from a table of its fields; raises AevisError for names and values that do not fit."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise AevisError(f"{where}: there is no parameter {unknown[0]!r}. Known are: {', '.join(known)}.")
    try:
        values = {name: _as_type(known[name].type, value) for name, value in table.items()}
    except (TypeError, ValueError) as error:
        raise AevisError(f"{where}: {error}. Mend the value.") from error
    return kind(**values)


def _as_type(kind: Any, value: Any) -> Any:
    if isinstance(value, bool) or (kind is str) != isinstance(value, str):
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    if kind is int and value != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return kind(value)


def _refuse_image(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise AevisError(_too_large(path, f"{width} x {height} pixels, more than"))
    if min(width, height) < SMALLEST:
        raise AevisError(
            f"The image {path} has {width} x {height} pixels; under {SMALLEST} on a side nothing is seen. Leave it out."
        )
    if getattr(image, "n_frames", 1) > 1:
        raise AevisError(f"The image {path} is animated ({image.n_frames} frames). Save the frame you mean as PNG.")  # type: ignore[attr-defined]
    if image.mode == "CMYK":
        raise AevisError(f"The image {path} is CMYK, whose colours a network never saw. Convert it to RGB.")
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        raise AevisError(f"The image {path} has more than 8 bits a channel ({image.mode}). Convert it to 8-bit RGB.")


def _too_large(path: Path, what: str) -> str:
    return f"The image {path} has {what} the {MOST_PIXELS // 10**6} million pixels that are read. Scale it down."


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise AevisError(f"There is no folder {folder}. Give the folder that holds the images.")
    try:
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
    except OSError as error:
        raise AevisError(f"The folder {folder} cannot be read ({error.strerror}). Check its permissions.") from error
    if not files:
        raise AevisError(f"The folder {folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return files


def _from_folder(folder: Path, file: Path, class_names: Sequence[str]) -> ImageEntry:
    name = file.relative_to(folder).as_posix()
    parent = file.parent.name if file.parent != folder else ""
    return ImageEntry(name, class_names.index(parent) if parent in class_names else None)


def _read_labels(path: Path, class_names: Sequence[str]) -> dict[str, int | None]:
    rows = _read_table(path, ())
    columns = set(rows[0])
    key = _first_of(("file", "filename", "image", "image_id", "id"), columns, path)
    value = _first_of(("label", "class", "true_label"), columns, path)
    return {row[key]: _label(row[value], class_names, f"{path}, line {i}") for i, row in enumerate(rows, 2)}


def _first_of(wanted: Sequence[str], columns: set[str], path: Path) -> str:
    for name in wanted:
        if name in columns:
            return name
    raise AevisError(f"{path} has none of the columns {', '.join(wanted)}; it has {', '.join(sorted(columns))}.")


def _label(text: str, class_names: Sequence[str], where: str) -> int | None:
    if text == "":
        return None
    if text in class_names:
        return class_names.index(text)
    if text.isdigit() and int(text) < len(class_names):
        return int(text)
    raise AevisError(
        f"{where}: the label {text!r} is neither a class name nor an index from 0 to {len(class_names) - 1}. "
        "Labels are names as in classes.txt, or its line numbers counted from 0."
    )


def _read_settings(root: Path) -> WorkspaceSettings:
    path = root / "workspace.toml"
    if not path.is_file():
        raise AevisError(f"{root} holds no workspace.toml. Make a workspace there with `aevis init {root} ...`.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise AevisError(f"{path} cannot be read: {error}. Mend that line.") from error
    model = _section(table, "model", path)
    return WorkspaceSettings(
        model=parameters_from(ModelSpec, model, f"{path}, [model]"),
        preprocessing=_preprocessing(_section(table, "preprocessing", path), path),
        images=str(_section(table, "images", path).get("folder", "images")),
        opens_on=str(table.get("page", {}).get("opens_on", "")),
        attack=parameters_from(AttackParameters, table.get("attack", {}), f"{path}, [attack]"),
        extraction=parameters_from(ExtractionParameters, table.get("extraction", {}), f"{path}, [extraction]"),
        contribution=parameters_from(ContributionParameters, table.get("contribution", {}), f"{path}, [contribution]"),
        features=parameters_from(FeatureParameters, table.get("features", {}), f"{path}, [features]"),
    )


def _section(table: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = table.get(name)
    if not isinstance(section, dict):
        raise AevisError(f"{path} has no table [{name}]. `aevis init` writes one; copy it from there.")
    return section


def _preprocessing(table: Mapping[str, Any], path: Path) -> Preprocessing:
    try:
        return Preprocessing(**{name: _pair_of_numbers(name, value) for name, value in table.items()})
    except (TypeError, ValueError) as error:
        raise AevisError(
            f"{path}, [preprocessing]: {error}. It takes input_size = [height, width], mean and std with three "
            "numbers each, and value_range = [low, high]."
        ) from error


def _pair_of_numbers(name: str, value: Any) -> tuple[Any, ...]:
    length = 3 if name in ("mean", "std") else 2
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name} needs {length} numbers, not {value!r}")
    kind = int if name == "input_size" else float
    return tuple(kind(v) for v in value)


def _read_class_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise AevisError(
            f"The class names in {path} cannot be read ({error}). Give a text, one name a line."
        ) from error
    if not names:
        raise AevisError(f"{path} holds no class name. Write one name a line, in the model's order.")
    return names


def _read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [{k: v or "" for k, v in row.items() if k is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AevisError(f"The table {path} cannot be read ({error}). It must be a CSV file in UTF-8.") from error
    missing = [c for c in columns if c not in (reader.fieldnames or ())]
    if missing:
        raise AevisError(f"The table {path} has no column {missing[0]!r}. It needs: {', '.join(columns)}.")
    if not rows and not columns:
        raise AevisError(f"The table {path} is empty. It needs a header line and a line for each image.")
    return rows


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    _write_text(path, text.getvalue())


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def _as_toml(settings: WorkspaceSettings) -> dict[str, Any]:
    return {
        "model": asdict(settings.model),
        "preprocessing": {k: list(v) for k, v in asdict(settings.preprocessing).items()},
        "images": {"folder": settings.images},
        "page": {"opens_on": settings.opens_on},
        "attack": asdict(settings.attack),
        "extraction": asdict(settings.extraction),
        "contribution": asdict(settings.contribution),
        "features": asdict(settings.features),
    }
