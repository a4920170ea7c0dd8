"""A workspace: a folder with workspace.toml, class names, a table of images and a table of examples.

    workspace.toml   model, weights, preprocessing, where the images are, attack and extraction parameters
    classes.txt      one class name a line, in the model's order
    images.csv       file, label: the normal images, relative to the images folder; the label may be empty
    examples.csv     id, source, adversarial, true_label, attack, target_label
    adversarial/     the adversarial images, made here or by any other tool
    parts/           optional: a mask of parts for a normal image, of the same name, as PNG, whose grey levels are the
                     numbers in names.txt ("1 ear" a line); 0 where no part is

Every refusal of bad input that a workspace can hold is here.
"""

import csv
import hashlib
import io
import math
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
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
_OWN_FOLDER = "adversarial/"
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
        self._hashes: dict[Path, tuple[int, int, str]] = {}
        self._paths: dict[str, Path] = {}
        self._images: tuple[tuple[int, int], tuple[ImageEntry, ...]] | None = None
        self._examples: tuple[tuple[int, int], dict[str, Example]] | None = None

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

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        """The normal images with their labels, as the table has them now (read again when its file has changed)."""
        path = self.root / "images.csv"
        try:
            state = path.stat()
        except OSError as error:
            raise _unreadable_table(path, error) from error
        known = self._images
        if known is None or known[0] != (state.st_mtime_ns, state.st_size):
            rows = _read_table(path, ("file", "label")).rows
            entries = (ImageEntry(r["file"], self._label(r["label"], f"images.csv, line {i}")) for i, r in rows)
            known = self._images = ((state.st_mtime_ns, state.st_size), tuple(entries))
        return known[1]

    def examples(self) -> tuple[Example, ...]:
        """The examples as the table has them now (read again when its file has changed); none where there is none."""
        return tuple(self._examples_by_id().values())

    def example(self, example_id: str) -> Example:
        """That example; raises AevisError where the table has none of that id."""
        found = self._examples_by_id().get(example_id)
        if found is not None:
            return found
        raise AevisError(
            f"There is no example {example_id!r} in {self.root / 'examples.csv'}. "
            "`aevis score WORKSPACE` lists what there is."
        )

    def keep_adversarials(self, made: Sequence[tuple[Example, np.ndarray]]) -> None:
        """Write adversarial images (H, W, 3) and add their rows to the table, or replace rows of the same id.

        Rows keep their order, and columns that are not ours their values.
        """
        self.examples()  # a table that cannot be rewritten is refused before an image is
        for example, image in made:
            write_image(self.root / example.adversarial, image)
        table = self._example_table()
        rows: dict[str, dict[str, Any]] = {row["id"]: dict(row) for _, row in table.rows}
        for example, _ in made:
            rows[example.id] = rows.get(example.id, {}) | asdict(example)
        _write_table(self.root / "examples.csv", table.columns, rows.values())

    def path(self, name: str) -> Path:
        """The file of an image, given as in the tables: adversarial ones lie in the workspace itself."""
        known = self._paths.get(name)
        if known is None:
            inside = self.root / name
            outside = self.root / self.settings.images / name
            known = self._paths[name] = inside if name.startswith(_OWN_FOLDER) else outside
        return known

    def read(self, names: Iterable[str]) -> np.ndarray:
        """8-bit images (B, H, W, 3) at the model's input size; B may be 0."""
        size = self.settings.preprocessing.input_size
        images = [read_image(self.path(name), size) for name in names]
        return np.stack(images) if images else np.zeros((0, *size, 3), np.uint8)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are known per pixel, in the order of their numbers from 1; none where none are.

        Raises AevisError for numbers that do not count from 1.
        """
        path = self.root / "parts" / "names.txt"
        if not path.is_file():
            return ()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise AevisError(f"The names of parts in {path} cannot be read ({error}). Mend or remove it.") from error
        named = [line.strip().partition(" ")[::2] for line in text.splitlines() if line.strip()]
        if any(number != str(i) or not name for i, (number, name) in enumerate(named, start=1)):
            raise AevisError(f"{path} must number its parts from 1, such as '1 ear', a line each. Mend or remove it.")
        return tuple(name.strip() for _, name in named)

    def has_parts(self, name: str) -> bool:
        """Whether the parts of a normal image are known."""
        return self._mask(name).is_file()

    def part_numbers(self, name: str) -> np.ndarray:
        """(H, W) the number of the part at each pixel of a normal image, at the model's input size; 0 for none.

        Raises AevisError for a mask that cannot be read or holds a number that has no name.
        """
        height, width = self.settings.preprocessing.input_size
        try:
            with Image.open(self._mask(name)) as mask:
                grey = mask if mask.mode in ("L", "P") else mask.convert("L")
                numbers = np.asarray(grey.resize((width, height), Image.Resampling.NEAREST))
        except (OSError, SyntaxError, ValueError) as error:
            raise AevisError(f"The mask {self._mask(name)} cannot be read ({error}). Mend or remove it.") from error
        if numbers.max() > len(self.parts):
            raise AevisError(
                f"The mask {self._mask(name)} holds the number {numbers.max()}, and parts/names.txt names "
                f"{len(self.parts)} parts. Mend either."
            )
        return numbers

    def parts_digest(self, names: Sequence[str]) -> str:
        """A digest of the parts' names and of the masks of normal images; "" where no mask is there."""
        masks = [(name, self._digest(self._mask(name))) for name in names if self.has_parts(name)] if self.parts else []
        return hashlib.sha256(repr((self.parts, masks)).encode()).hexdigest()[:32] if masks else ""

    def image_hash(self, name: str) -> str:
        """A digest of an image's bytes; raises AevisError where it cannot be read."""
        return self._digest(self.path(name))

    def _digest(self, path: Path) -> str:
        """A digest of an image file's bytes, read again when it has changed."""
        try:
            state = path.stat()
            known = self._hashes.get(path)
            if known is None or known[:2] != (state.st_mtime_ns, state.st_size):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
                known = self._hashes[path] = (state.st_mtime_ns, state.st_size, digest)
            return known[2]
        except OSError as error:
            raise AevisError(
                f"The image {path} cannot be read ({error.strerror}). Put it back or drop its row."
            ) from error

    def _mask(self, name: str) -> Path:
        return (self.root / "parts" / name).with_suffix(".png")

    def _examples_by_id(self) -> dict[str, Example]:
        path = self.root / "examples.csv"
        if not path.exists():
            return {}
        state = path.stat()
        known = self._examples
        if known is None or known[0] != (state.st_mtime_ns, state.st_size):
            examples = {row["id"]: self._example(row, line) for line, row in self._example_table().rows}
            known = self._examples = ((state.st_mtime_ns, state.st_size), examples)
        return known[1]

    def _example_table(self) -> "_Table":
        """The table of examples, whose ids are refused where they are empty or stand twice."""
        path = self.root / "examples.csv"
        if not path.exists():
            return _Table(_EXAMPLE_COLUMNS, [])
        table = _read_table(path, _EXAMPLE_COLUMNS)
        lines: dict[str, int] = {}
        for line, row in table.rows:
            if not row["id"].strip():
                raise AevisError(f"{path}, line {line}: the id is empty. Give each example an id of its own.")
            if row["id"] in lines:
                raise AevisError(
                    f"{path}, line {line}: the id {row['id']!r} already stands in line {lines[row['id']]}. "
                    "Give each example an id of its own."
                )
            lines[row["id"]] = line
        return table

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
    _refuse_own_folder(images, root / settings.images)
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
        return _refuse_own_folder(tuple(_from_folder(folder, file, class_names) for file in files), folder)
    table = _read_labels(labels, class_names)
    names = [file.relative_to(folder).as_posix() for file in files]
    found = [ImageEntry(n, table[k]) for n in names for k in (n, Path(n).name, Path(n).stem) if k in table]
    unique = {entry.file: entry for entry in found}
    if not unique:
        raise AevisError(
            f"No image in {folder} has a row in {labels}: images are called {names[0]!r}, rows {next(iter(table))!r}. "
            "The table needs the file's name, with or without its suffix."
        )
    return _refuse_own_folder(tuple(unique.values()), folder)


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
        except Exception as error:  # on damaged files Pillow raises IndexError, TypeError, struct.error and others
            reason = str(error) or type(error).__name__
            raise AevisError(
                f"The image {path} cannot be read ({reason}); it is truncated or not an image. Save or copy it again."
            ) from error
    if upright.size != (size[1], size[0]):
        upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(upright)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an 8-bit image as PNG, whole or not at all."""
    write_atomically(path, lambda file: Image.fromarray(image).save(file, "PNG"))


def smaller(image: np.ndarray | None, longest: int) -> np.ndarray | None:
    """An 8-bit image (H, W, 3) with sides of at most `longest` pixels; None for None."""
    if image is None or max(image.shape[:2]) <= longest:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def png_bytes(image: np.ndarray) -> bytes:
    """An 8-bit image as PNG bytes, packed lightly: 7 % larger than as usual, in less than half the time."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


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


def _refuse_own_folder(images: Sequence[ImageEntry], folder: Path) -> tuple[ImageEntry, ...]:
    if any(image.file.startswith(_OWN_FOLDER) for image in images):
        raise AevisError(
            f"The folder {folder / _OWN_FOLDER} has the name under which a workspace keeps its own adversarial images. "
            "Rename that folder."
        )
    return tuple(images)


def _refuse_image(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise AevisError(_too_large(path, f"{width} x {height} pixels, more than"))
    if min(width, height) < SMALLEST:
        raise AevisError(
            f"The image {path} has {width} x {height} pixels; under {SMALLEST} on a side nothing is seen. Leave it out."
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a phone's .jpg: the picture, then its previews
        raise AevisError(f"The image {path} is animated ({image.n_frames} frames). Save the frame you mean as PNG.")  # type: ignore[attr-defined]
    if image.mode == "CMYK":
        raise AevisError(f"The image {path} is CMYK, whose colours a network never saw. Convert it to RGB.")
    deep_png = image.format == "PNG" and _png_depth(path) > 8  # Pillow opens it as RGB, without a word
    if deep_png or image.mode == "F" or image.mode.startswith("I"):
        kind = "16-bit PNG" if deep_png else image.mode
        raise AevisError(f"The image {path} has more than 8 bits a channel ({kind}). Convert it to 8-bit RGB.")
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        raise AevisError(f"The image {path} is in the colour space {image.mode}. Convert it to RGB.")


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


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
    rows = _read_table(path, ()).rows
    columns = set(rows[0][1])
    key = _first_of(("file", "filename", "image", "image_id", "id"), columns, path)
    value = _first_of(("label", "class", "true_label"), columns, path)
    return {row[key]: _label(row[value], class_names, f"{path}, line {i}") for i, row in rows}


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


def _section(table: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = table.get(name)
    if not isinstance(section, dict):
        raise AevisError(f"{path} has no table [{name}]. `aevis init` writes one; copy it from there.")
    return section


def _preprocessing(table: Mapping[str, Any], path: Path) -> Preprocessing:
    try:
        return Preprocessing(**{name: _pair_of_numbers(name, value) for name, value in table.items()})
    except (TypeError, ValueError, OverflowError) as error:
        raise AevisError(
            f"{path}, [preprocessing]: {error}. It takes input_size = [height, width], mean and std with three "
            "numbers each, and value_range = [low, high]."
        ) from error


def _pair_of_numbers(name: str, value: Any) -> tuple[Any, ...]:
    length = 3 if name in ("mean", "std") else 2
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name} needs {length} numbers, not {value!r}")
    kind = int if name == "input_size" else float
    numbers = tuple(_as_type(kind, v) for v in value)
    if name in ("input_size", "std") and min(numbers) <= 0:
        raise ValueError(f"{name} needs numbers above 0, not {value!r}")
    return numbers


def _read_class_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise AevisError(
            f"The class names in {path} cannot be read ({error}). Give a text, one name a line."
        ) from error
    if not names:
        raise AevisError(f"{path} holds no class name. Write one name a line, in the model's order.")
    return names


@dataclass(frozen=True)
class _Table:
    """The columns of a CSV file, and its rows with the line each ends in."""

    columns: Sequence[str]
    rows: list[tuple[int, dict[str, str]]]


def _unreadable_table(path: Path, error: Exception) -> AevisError:
    return AevisError(f"The table {path} cannot be read ({error}). It must be a CSV file in UTF-8.")


def _read_table(path: Path, columns: Sequence[str]) -> _Table:
    """A table that has those columns; without any named, one that has a row at least."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel puts a byte-order mark first
            reader = csv.DictReader(file)
            read = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable_table(path, error) from error
    missing = [c for c in columns if c not in (reader.fieldnames or ())]
    if missing:
        raise AevisError(f"The table {path} has no column {missing[0]!r}. It needs: {', '.join(columns)}.")
    for line, row in read:
        if columns and any(row.get(None) or ()):  # type: ignore[call-overload]
            raise AevisError(f"{path}, line {line} has more values than columns. Quote a value that holds a comma.")
    rows = [(line, {k: v or "" for k, v in row.items() if k is not None}) for line, row in read]
    if not rows and not columns:
        raise AevisError(f"The table {path} is empty. It needs a header line and a line for each image.")
    return _Table(tuple(reader.fieldnames or ()), rows)


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
