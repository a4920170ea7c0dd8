"""A workspace: a folder with workspace.toml, class names, a table of images and a table of examples.

workspace.toml   model, weights, preprocessing, where the images are, attack and extraction parameters
classes.txt      one class name a line, in the model's order
images.csv       file, label: the normal images, relative to the images folder; the label may be empty
examples.csv     id, source, adversarial; true_label, attack, target_label, epsilon, allow_large, lost_in_8_bits where
                 they are known (`domain.Example`)
adversarial/     the adversarial images, made here or by any other tool
parts/           optional: a mask of parts for a normal image, of the same name, as PNG, whose grey levels are the
                 numbers in names.txt ("1 ear" a line); 0 where no part is. It is as large as the image, or has the
                 model's input size
"""

import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, fields
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from aevis_dash.classes import Classes, read_class_names
from aevis_dash.domain import AevisError, Example, ModelSpec
from aevis_dash.files import part_prefix, sweep
from aevis_dash.images import decode_image, image_size, read_mask, refusing_unreadable, write_image
from aevis_dash.labels import OWN_FOLDER, ImageEntry, refuse_names
from aevis_dash.reading import Digests
from aevis_dash.settings import WorkspaceSettings, doubted_scale, read_settings, write_settings
from aevis_dash.tables import Table, read_table, read_text, unreadable_table, why_unread, write_table, write_text

_PATIENCE = 60
"""Seconds to wait for another process that writes the table of examples; it takes a fraction of one."""
_NEEDED = ("id", "source", "adversarial")
_EXAMPLE_COLUMNS = tuple(field.name for field in fields(Example))
_YES, _NO = "yes", "no"


_seen: ContextVar[dict[Path, str] | None] = ContextVar("seen", default=None)


@contextmanager
def one_sight() -> Iterator[None]:
    """While it lasts an image is what it was when its digest was first asked for: read with another content it is
    refused, so that nothing is stored under the digest of an image that it was not computed from.

    It decorates what asks for digests and then computes from images; one inside another belongs to the outer one.
    """
    if _seen.get() is not None:
        yield
        return
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


class Workspace:
    """A workspace on disk. Opening it reads the texts and tables; images are read when asked for."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.settings = read_settings(self.root)
        self.classes = Classes(read_class_names(self.root / "classes.txt"))
        self._files = Digests()
        self._paths: dict[str, Path] = {}
        self._images: tuple[str, tuple[ImageEntry, ...]] | None = None
        self._examples: tuple[str, dict[str, Example]] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the model's outputs."""
        return self.classes.names

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about the settings and the tables, a sentence each."""
        scale = doubted_scale(self.settings.preprocessing)
        return ((scale,) if scale else ()) + self._label_warnings()

    def _label_warnings(self) -> tuple[str, ...]:
        if any(entry.label is not None for entry in self.images):
            return ()
        if not self.images:
            return ("images.csv names no image, so there is nothing to compare with. Add a row for each image.",)
        return (
            f"None of the {len(self.images)} images has a label, so nothing says whether the model is right about "
            "them. Write the labels into images.csv.",
        )

    @property
    def cache(self) -> Path:
        """Where the results are stored; safe to delete."""
        return self.root / "cache"

    def sweep(self) -> None:
        """Remove what killed writers of this machine left beside the tables and the images of this folder."""
        part = f"{part_prefix()}*"
        sweep(self.root / name for pattern in (part, f"*/{part}") for name in glob(pattern, root_dir=self.root))

    @property
    def model(self) -> ModelSpec:
        """The model, its weights as an absolute path where they are a file of the workspace."""
        weights = self.settings.model.weights
        local = self.root / weights
        return ModelSpec(self.settings.model.source, str(local) if weights and os.path.isfile(local) else weights)

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        """The normal images with their labels, as the table has them now (read again when its file has changed)."""
        path = self.root / "images.csv"
        digest = self._digest_of_table(path)
        known = self._images
        if known is None or known[0] != digest:
            rows = read_table(path, ("file", "label")).rows
            lines: dict[str, int] = {}
            for line, row in rows:
                if lines.setdefault(row["file"], line) != line:
                    raise AevisError(
                        f"{path}, line {line}: the image {row['file']!r} already stands in line {lines[row['file']]}. "
                        "Take out one of them."
                    )
            entries = (ImageEntry(r["file"], self._label(r["label"], f"images.csv, line {i}")) for i, r in rows)
            known = self._images = (digest, tuple(entries))
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
            (_seen.get() or {}).pop(self.path(example.adversarial), None)
        with self._editing_examples():
            table = self._example_table()
            rows: dict[str, dict[str, Any]] = {row["id"]: dict(row) for _, row in table.rows}
            for example, _ in made:
                rows[example.id] = rows.get(example.id, {}) | _as_row(example)
            self._write_examples(table, rows.values())

    def allow_large(self, example_ids: Iterable[str]) -> None:
        """Keep in the table that the user insists on these examples (`Example.allow_large`)."""
        chosen = {self.example(example_id).id for example_id in example_ids}
        with self._editing_examples():
            table = self._example_table()
            rows = [row | {"allow_large": _YES} if row["id"] in chosen else row for _, row in table.rows]
            self._write_examples(table, rows)

    def path(self, name: str) -> Path:
        """The file of an image, given as in the tables: adversarial ones lie in the workspace itself."""
        known = self._paths.get(name)
        if known is None:
            inside = self.root / name
            outside = self.root / self.settings.images / name
            known = self._paths[name] = inside if name.startswith(OWN_FOLDER) else outside
        return known

    def read(self, names: Iterable[str]) -> np.ndarray:
        """8-bit images (B, H, W, 3) at the model's input size; B may be 0."""
        images = [self._image(self.path(name)) for name in names]
        return np.stack(images) if images else np.zeros((0, *self.settings.preprocessing.input_size, 3), np.uint8)

    def _image(self, path: Path) -> np.ndarray:
        with refusing_unreadable(path):
            data, digest = self._files.read(path)
        seen = _seen.get()
        if seen is not None and seen.setdefault(path, digest) != digest:
            raise AevisError(f"The image {path} was changed while it was worked with. Give the same command again.")
        return decode_image(data, path, self.settings.preprocessing)

    def at_input_size(self, names: Iterable[str]) -> int:
        """How many of the images have the model's input size, and so are taken as they are."""
        height, width = self.settings.preprocessing.input_size
        return sum(image_size(self.path(name)) == (width, height) for name in names)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are known per pixel, in the order of their numbers from 1; none where none are.

        Raises AevisError for numbers that do not count from 1.
        """
        path = self.root / "parts" / "names.txt"
        if not os.path.lexists(path):
            return ()
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise AevisError(
                f"The names of parts in {path} cannot be read ({why_unread(error)}). Mend or remove it."
            ) from error
        named = [line.strip().partition(" ")[::2] for line in text.splitlines() if line.strip()]
        if any(number != str(i) or not name for i, (number, name) in enumerate(named, start=1)):
            raise AevisError(f"{path} must number its parts from 1, such as '1 ear', a line each. Mend or remove it.")
        return tuple(name.strip() for _, name in named)

    def has_parts(self, name: str) -> bool:
        """Whether the parts of a normal image are known."""
        return os.path.isfile(self._mask(name))  # False too for a name that no file can have

    def part_numbers(self, name: str) -> np.ndarray:
        """(H, W) the number of the part at each pixel of a normal image, at the model's input size; 0 for none.

        Raises AevisError for a mask that cannot be read, has another size than its image, or holds a number that has no
        name.
        """
        numbers = read_mask(self._mask(name), self.path(name), self.settings.preprocessing)
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
        """A digest of an image's bytes, within `one_sight` the one that was first given; raises AevisError where it
        cannot be read."""
        path, seen = self.path(name), _seen.get()
        if seen is None:
            return self._digest(path)
        if path not in seen:
            seen[path] = self._digest(path)
        return seen[path]

    def _digest(self, path: Path) -> str:
        """A digest of an image file's bytes, made anew when it has changed."""
        with refusing_unreadable(path):
            return self._files.of(path)

    def _digest_of_table(self, path: Path) -> str:
        try:
            return self._files.of(path)
        except OSError as error:
            raise unreadable_table(path, error) from error

    def _mask(self, name: str) -> Path:
        return (self.root / "parts" / name).with_suffix(".png")

    @contextmanager
    def _editing_examples(self) -> Iterator[None]:
        """While it lasts no other process reads the table of examples to write it anew: rows would be lost."""
        lock = self.root / ".examples.csv.lock"
        try:
            with FileLock(lock, timeout=_PATIENCE):
                yield
        except Timeout as error:
            raise AevisError(
                f"Another command has been writing {self.root / 'examples.csv'} for {_PATIENCE} seconds. Wait for it "
                "or end it, and say the same command again: the images made so far are kept."
            ) from error

    def _examples_by_id(self) -> dict[str, Example]:
        path = self.root / "examples.csv"
        if not os.path.lexists(path):  # a link to nothing is a table that cannot be read, not one that is not there
            return {}
        digest = self._digest_of_table(path)
        known = self._examples
        if known is None or known[0] != digest:
            examples = {row["id"]: self._example(row, line) for line, row in self._example_table().rows}
            known = self._examples = (digest, examples)
        return known[1]

    def _example_table(self) -> "Table":
        """The table of examples, whose ids are refused where they are empty or stand twice."""
        path = self.root / "examples.csv"
        if not os.path.lexists(path):
            return Table(_EXAMPLE_COLUMNS, [])
        table = read_table(path, _NEEDED)
        for name in table.columns:
            ours = "_".join(re.split(r"[\W_]+", name.strip().lower()))
            if name != ours and ours in _EXAMPLE_COLUMNS:
                raise AevisError(f"{path} has a column {name!r}. Call it {ours}, so that it is read.")
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

    def _write_examples(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the table with its own columns, and with those of ours that it lacks."""
        ours = [name for name in _EXAMPLE_COLUMNS if name not in table.columns]
        write_table(self.root / "examples.csv", [*table.columns, *ours], rows)

    def _example(self, row: Mapping[str, str], line: int) -> Example:
        where, attack = f"examples.csv, line {line}", row.get("attack", "")
        return Example(
            id=row["id"],
            source=row["source"],
            adversarial=row["adversarial"],
            true_label=self._label(row.get("true_label", ""), where),
            attack=attack,
            target_label=self._label(row.get("target_label", ""), where),
            epsilon=declared_epsilon(row.get("epsilon", ""), attack, f"{self.root / where}"),
            allow_large=self._yes_or_no(row, "allow_large", where) or False,
            lost_in_8_bits=self._yes_or_no(row, "lost_in_8_bits", where),
        )

    def _yes_or_no(self, row: Mapping[str, str], column: str, where: str) -> bool | None:
        text = row.get(column, "").strip().lower()
        if text and text not in (_YES, _NO):
            raise AevisError(f"{self.root / where}: {column} is {row[column]!r}. Write {_YES} or {_NO}, or empty it.")
        return text == _YES if text else None

    def _label(self, text: str, where: str) -> int | None:
        return self.classes.written(text, f"{self.root / where}")


def create(
    root: Path,
    settings: WorkspaceSettings,
    class_names: Sequence[str],
    images: Sequence[ImageEntry],
) -> Workspace:
    """Write a new workspace; refuses a folder that already holds one."""
    if (root / "workspace.toml").exists():
        raise AevisError(f"{root} already holds a workspace. Choose another folder, or delete workspace.toml first.")
    refuse_names(images, root / settings.images)
    write_text(root / "classes.txt", "".join(f"{name}\n" for name in class_names))
    write_table(root / "images.csv", ("file", "label"), (asdict(image) for image in images))
    write_settings(root, settings)
    return Workspace(root)


def declared_epsilon(value: str, attack: str, where: str) -> float | None:
    """The epsilon of an attack in grey levels of 255: the column's value, else what the attack's words say.

    The words count where they name one length as N/255 and no norm but the largest change: "MI-FGSM 8/255, 10 steps",
    but neither "PGD 8/255, step 2/255" nor "L2 128/255". Raises AevisError for a value that is no number from 0 to 255.
    """
    if not value.strip():
        found = set(re.findall(r"(?<![\d.])(\d{1,3}(?:\.\d{1,9})?)\s*/\s*255(?![\d.])", attack))
        other_norm = re.search(r"(?i)\bl[ _-]?[012]\b|\bl[₀₁₂]", attack)
        return float(found.pop()) if len(found) == 1 and not other_norm else None
    try:
        epsilon = float(value)
    except ValueError:
        epsilon = math.nan
    if not 0 <= epsilon <= 255:
        raise AevisError(f"{where}: the epsilon {value!r} is no number of grey levels from 0 to 255. Mend or empty it.")
    return epsilon


def _as_row(example: Example) -> dict[str, Any]:
    """An example's values as the table has them."""
    values = asdict(example)
    return {name: (_YES if value else _NO) if isinstance(value, bool) else value for name, value in values.items()}
