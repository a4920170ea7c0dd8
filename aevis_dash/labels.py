"""Which class each image of a folder shows: labels from a table, or from the names of sub-folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aevis_dash.domain import AevisError, shortened, whole_number
from aevis_dash.images import image_files
from aevis_dash.tables import read_table

OWN_FOLDER = "adversarial/"
"""Where a workspace keeps its own adversarial images; no images folder may have a folder of that name."""


@dataclass(frozen=True)
class ImageEntry:
    """A normal image: its file relative to the images folder, and its class index (None where unknown)."""

    file: str
    label: int | None


def find_images(folder: Path, labels: Path | None, class_names: Sequence[str]) -> tuple[ImageEntry, ...]:
    """The images of a folder, with labels from a table or, without one, from sub-folders named as classes.

    The table has a column with the file's name or stem (file, filename, image, image_id, id) and one with the
    class as index or name (label, class, true_label). Images without a row are left out.
    """
    files = image_files(folder)
    if labels is None:
        return refuse_own_folder(tuple(_from_folder(folder, file, class_names) for file in files), folder)
    table = _read_labels(labels, class_names)
    names = [file.relative_to(folder).as_posix() for file in files]
    found = [ImageEntry(n, table[k]) for n in names for k in (n, Path(n).name, Path(n).stem) if k in table]
    unique = {entry.file: entry for entry in found}
    if not unique:
        raise AevisError(
            f"No image in {folder} has a row in {labels}: images are called {names[0]!r}, rows {next(iter(table))!r}. "
            "The table needs the file's name, with or without its suffix."
        )
    return refuse_own_folder(tuple(unique.values()), folder)


def read_label(text: str, class_names: Sequence[str], where: str) -> int | None:
    """The class index that a label names, None for an empty one; `where` says to people where the label stands."""
    if text == "":
        return None
    if text in class_names:
        return class_names.index(text)
    number = whole_number(text)
    if number is not None and number < len(class_names):
        return number
    raise AevisError(
        f"{where}: the label {shortened(text)!r} is neither a class name nor an index from 0 to "
        f"{len(class_names) - 1}. Labels are names as in classes.txt, or its line numbers counted from 0."
    )


def refuse_own_folder(images: Sequence[ImageEntry], folder: Path) -> tuple[ImageEntry, ...]:
    """The images themselves; raises AevisError where one lies under the name of the workspace's own folder."""
    if any(image.file.startswith(OWN_FOLDER) for image in images):
        raise AevisError(
            f"The folder {folder / OWN_FOLDER} has the name under which a workspace keeps its own adversarial images. "
            "Rename that folder."
        )
    return tuple(images)


def _from_folder(folder: Path, file: Path, class_names: Sequence[str]) -> ImageEntry:
    name = file.relative_to(folder).as_posix()
    parent = file.parent.name if file.parent != folder else ""
    return ImageEntry(name, class_names.index(parent) if parent in class_names else None)


def _read_labels(path: Path, class_names: Sequence[str]) -> dict[str, int | None]:
    rows = read_table(path, ()).rows
    columns = set(rows[0][1])
    key = _first_of(("file", "filename", "image", "image_id", "id"), columns, path)
    value = _first_of(("label", "class", "true_label"), columns, path)
    return {row[key]: read_label(row[value], class_names, f"{path}, line {i}") for i, row in rows}


def _first_of(wanted: Sequence[str], columns: set[str], path: Path) -> str:
    for name in wanted:
        if name in columns:
            return name
    raise AevisError(f"{path} has none of the columns {', '.join(wanted)}; it has {', '.join(sorted(columns))}.")
