"""Which class each image of a folder shows: labels from a table, or from the names of the folders that images lie
in."""

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aevis_dash.classes import Classes
from aevis_dash.domain import AevisError, so_many
from aevis_dash.images import files_in
from aevis_dash.tables import is_unprintable, read_table

OWN_FOLDER = "adversarial/"
"""The folder of a workspace's own adversarial images. No folder of normal images may hold a folder of that name."""
FILE_COLUMNS = ("file", "filename", "image", "image_id", "id")
LABEL_COLUMNS = ("label", "class", "true_label", "synset", "wnid")
"""The columns of other people's tables that name an image, and those that name its class."""
TARGET_COLUMNS = ("target", "target_label", "target_class")
"""The columns of such tables that name the class that an attack on the image is to end in."""
_COMPETITION = {"image_id", "true_label", "target_class"}
"""The columns by which the table of the NIPS 2017 competition (Kurakin et al., 2018) is known; it counts the classes of
ImageNet from 1."""
_NAMED = 3


@dataclass(frozen=True)
class ImageEntry:
    """A normal image: its file relative to the images folder, and its class index (None where unknown)."""

    file: str
    label: int | None


@dataclass(frozen=True)
class Portion:
    """Which of many images are taken, in their order.

    Attributes:
        first: how many at most; None for all.
        per_class: how many of each class at most, images without a label together; None for all.
    """

    first: int | None = None
    per_class: int | None = None

    def places(self, labels: Iterable[int | None]) -> Iterator[int]:
        """The places of the images that are taken, counted from 0; no more labels are asked for than are needed."""
        counts, taken = Counter[int | None](), 0
        for place, label in enumerate(labels):
            counts[label] += 1
            if self.per_class is None or counts[label] <= self.per_class:
                yield place
                taken += 1
            if taken == self.first:
                return


@dataclass(frozen=True)
class Labelled:
    """The images of a folder with their labels, and what did not match.

    Attributes:
        images: the images that are kept, each with its label or None.
        read_from: says in words where the labels come from.
        images_without_row: images that the table does not name, which are left out.
        rows_without_image: what the table's other rows name, first files that are there but are not read as images.
        folders_of_no_class: folders that hold images without a label.
        other_files: files that are not read as images, first those that the table names.
        hidden_images: images whose own name begins with a full stop, which are left out.
    """

    images: tuple[ImageEntry, ...]
    read_from: str
    images_without_row: tuple[str, ...] = ()
    rows_without_image: tuple[str, ...] = ()
    folders_of_no_class: tuple[str, ...] = ()
    other_files: tuple[str, ...] = ()
    hidden_images: tuple[str, ...] = ()

    @property
    def images_without_label(self) -> tuple[str, ...]:
        """The images that are kept although neither a row nor a folder names their class."""
        return tuple(entry.file for entry in self.images if entry.label is None)

    @property
    def unmatched(self) -> dict[str, dict[str, int | list[str]]]:
        """For each kind of what did not match, how many there are and the first three names."""
        return {kind: count_names(getattr(self, kind)) for kind in UNMATCHED}


UNMATCHED = (
    "images_without_row",
    "rows_without_image",
    "images_without_label",
    "folders_of_no_class",
    "other_files",
    "hidden_images",
)


def count_names(names: Sequence[str]) -> dict[str, int | list[str]]:
    """The number of names, and the first three of them."""
    return {"count": len(names), "such_as": [_printable(name) for name in names[:_NAMED]]}


def find_images(
    folder: Path,
    labels: Path | None,
    classes: Classes,
    beside: Sequence[Path] = (),
    channels: int = 3,
    count_from: int | None = None,
) -> Labelled:
    """The images of a folder, with labels from a table or, without one, from folders that are named as classes.

    A table has one column with the file's path, name or stem (file, filename, image, image_id or id) and one with its
    class (label, class, true_label, synset or wnid), which is read as `Classes` does. Images without a row are left
    out. Without a table, an image gets the class that the nearest folder around it is named after. Where no folder is
    named after a class, and all images in folders lie in folders called by class indices, these are the labels.

    Args:
        folder: the folder of the images, whose folders are searched too.
        labels: the table of the labels, or None.
        classes: the classes that labels name.
        beside: files that belong to the workspace and are no images; they are not listed among the other files.
        channels: the number of channels of the model's input; see `images.files_in`.
        count_from: the number that the table gives the first class; None for 0, or 1 in the table of the NIPS 2017
            competition.

    Raises:
        AevisError: for rows or folders that can be read in two ways, for a table of which no row names an image, and
            for names that no table can hold.
    """
    found = files_in(folder, channels)
    ours = {os.path.realpath(path) for path in (*beside, *([labels] if labels else []))}
    others = tuple(name for name in found.others if os.path.realpath(folder / name) not in ours)
    if labels is None:
        given, how = _by_folders(found.images, classes, folder)
        entries = tuple(ImageEntry(name, given.get(name)) for name in found.images)
        result = Labelled(entries, how, folders_of_no_class=_unlabelled_folders(entries), other_files=others)
    else:
        result = _by_table(folder, labels, found.images, others, classes, count_from)
    refuse_names(result.images, folder)
    return replace(result, hidden_images=found.hidden)


def unmatched_now(folder: Path, images: Sequence[ImageEntry], channels: int = 3) -> Labelled:
    """What a folder holds beside the images of a workspace's table; labels are taken as the table has them."""
    found, listed = files_in(folder, channels), {entry.file for entry in images}
    beside = tuple(name for name in found.images if name not in listed)
    unlabelled = _unlabelled_folders(images)
    return Labelled(
        tuple(images),
        "images.csv",
        beside,
        folders_of_no_class=unlabelled,
        other_files=found.others,
        hidden_images=found.hidden,
    )


def refuse_names(images: Sequence[ImageEntry], folder: Path) -> None:
    """Raise AevisError for an image in a folder named as the workspace's own, or with a name that no table can hold."""
    for image in images:
        if image.file.startswith(OWN_FOLDER):
            raise AevisError(
                f"The folder {folder / OWN_FOLDER} has the name under which a workspace keeps its own adversarial "
                "images. Rename that folder."
            )
        if is_unprintable(image.file):
            raise AevisError(
                f"The name of the image {image.file!a} in {folder} holds a control character, or bytes that are "
                "no UTF-8. Rename it."
            )


# Labels from folders


def _by_folders(names: Sequence[str], classes: Classes, folder: Path) -> tuple[Mapping[str, int], str]:
    """The label of every image whose folder names one, and what the folders' names were read as."""
    parents = {name: tuple(name.split("/")[:-1]) for name in names}
    named = {above: _class_of_folders(above, classes, folder) for above in set(parents.values()) if above}
    labels = {above: label for above, label in named.items() if label is not None}
    how = "the folders' names"
    if not labels:
        indices = {above: classes.index(above[-1]) for above in named}
        labels = {above: index for above, index in indices.items() if index is not None}
        how = "the folders' names, as class indices from 0"
        if len(labels) < len(indices):  # folders of any other kind that happen to be called 1 and 2
            labels = {}
    given = {name: labels[above] for name, above in parents.items() if above in labels}
    return given, how if given else "nothing: no folder is named as a class"


def _class_of_folders(above: Sequence[str], classes: Classes, folder: Path) -> int | None:
    """The class after which one of the folders around an image is named; None where no folder is."""
    found: dict[int, str] = {}
    for part in reversed(above):
        indices = classes.indices_of(part)
        if len(indices) > 1:
            raise AevisError(f"The folder's name {part!r} in {folder} {classes.ambiguous(indices)}")
        found |= {index: part for index in indices if index not in found}
    if len(found) > 1:
        first, second, *_ = found.values()
        raise AevisError(
            f"Images in {folder / '/'.join(above)} lie in folders named after two classes, {first!r} and {second!r}. "
            "Move them, or give their labels in a table with --labels."
        )
    return next(iter(found), None)


def _unlabelled_folders(images: Sequence[ImageEntry]) -> tuple[str, ...]:
    without = (entry.file.rpartition("/")[0] for entry in images if entry.label is None)
    return tuple(dict.fromkeys(above for above in without if above))


# Labels from a table


def _by_table(
    folder: Path,
    path: Path,
    images: Sequence[str],
    others: Sequence[str],
    classes: Classes,
    count_from: int | None,
) -> Labelled:
    table = read_table(path, (), (*FILE_COLUMNS, *LABEL_COLUMNS, *TARGET_COLUMNS))
    key, value = (column_of(wanted, table.columns, path) for wanted in (FILE_COLUMNS, LABEL_COLUMNS))
    first, counted = first_number(table.columns, classes, count_from)
    others_too = [name for name in LABEL_COLUMNS if name in table.columns and name != value]
    places, lost, said, otherwise = Places(images, folder.resolve().name), [], {}, Counter[str]()
    for line, row in table.rows:
        where = f"{path}, line {line}"
        found = places.find(row[key])
        if not found and row[key].startswith("#"):  # a comment, or a row that was taken out
            continue
        label = classes.label(row[value], where, first)
        if len(found) > 1:
            raise AevisError(
                f"{where}: {row[key]!r} may be {found[0]!r} or {found[1]!r}. Name images by their path in {folder}."
            )
        if not found:
            lost.append(row[key])
            continue
        otherwise.update(name for name in others_too if _names_another(classes, row[name], label, first))
        if said.setdefault(found[0], (label, line))[0] != label:
            raise AevisError(
                f"{where}: the image {found[0]!r} has another label in line {said[found[0]][1]}. Take out one of them."
            )
    if not said:
        called = lost[0] if lost else "#"
        raise AevisError(
            f"No image in {folder} has a row in {path}: images are called {images[0]!r}, rows {called!r}. "
            "The table needs the file's name, with or without its suffix."
        )
    elsewhere = Places(others, folder.resolve().name)
    unread = [name for row in lost for name in elsewhere.find(row)]
    entries = tuple(ImageEntry(name, said[name][0]) for name in images if name in said)
    return Labelled(
        entries,
        f"{path.name}: {key}, {value}{counted}{_told(otherwise)}",
        tuple(name for name in images if name not in said),
        tuple(sorted(lost, key=lambda row: not elsewhere.find(row))),
        _unlabelled_folders(entries),
        tuple(dict.fromkeys((*unread, *others))),
    )


def _names_another(classes: Classes, text: str, label: int | None, first: int) -> bool:
    """Whether a text names one class, and that is not the label."""
    named = set(classes.indices_of(text.strip())) or {classes.index(text.strip(), first)} - {None}
    return len(named) == 1 and label not in (None, *named)


def _told(otherwise: Counter[str]) -> str:
    """In words, which columns that may hold labels too contradict those that were taken; "" for none."""
    return "".join(
        f"; the column {name!r} names another class in {so_many(rows, 'row')}" for name, rows in otherwise.items()
    )


def first_number(columns: Sequence[str], classes: Classes, count_from: int | None) -> tuple[int, str]:
    """The number that a table gives the first class, and what is to be said of it; "" for a matter of course.

    Args:
        columns: the table's columns.
        classes: the model's classes.
        count_from: the number that the user says; None to tell it by the columns.
    """
    if count_from is not None:
        return count_from, f", counted from {count_from}"
    if classes.imagenet and set(columns) >= _COMPETITION:
        return 1, ", counted from 1, as in the NIPS 2017 competition"
    return 0, ""


def read_targets(
    path: Path, images: Sequence[str], folder: str, classes: Classes, count_from: int | None = None
) -> dict[str, int]:
    """The class that a table says an attack on each image is to end in; images without one are left out.

    Args:
        path: the table, with one of FILE_COLUMNS and one of TARGET_COLUMNS.
        images: the files of the images, as images.csv names them.
        folder: the name of their folder.
        classes: the classes that targets name.
        count_from: the number that the table gives the first class; None as for `find_images`.

    Raises:
        AevisError: where the table cannot be read, names no image, or gives one image two targets.
    """
    table = read_table(path, (), (*FILE_COLUMNS, *LABEL_COLUMNS, *TARGET_COLUMNS))
    key, value = (column_of(wanted, table.columns, path) for wanted in (FILE_COLUMNS, TARGET_COLUMNS))
    first, _ = first_number(table.columns, classes, count_from)
    places, targets = Places(images, folder), dict[str, int]()
    for line, row in table.rows:
        where, found = f"{path}, line {line}", places.find(row[key])
        target = classes.label(row[value], where, first)
        if len(found) > 1:
            raise AevisError(f"{where}: {row[key]!r} may be {found[0]!r} or {found[1]!r}. Name images by their path.")
        if found and target is not None and targets.setdefault(found[0], target) != target:
            raise AevisError(f"{where}: the image {found[0]!r} has another target above. Take out one of them.")
    if not targets:
        raise AevisError(
            f"No row of {path} names an image of the workspace and its target. Images are called as in images.csv, "
            f"such as {images[0]!r}; the target stands in the column {value!r}."
        )
    return targets


class Places:
    """Files by the texts that a table may call them: by path or name, with or without suffix, in other case, or from
    above."""

    def __init__(self, names: Sequence[str], folder: str):
        self._folder = folder
        self._ways = [way for fold in (str, _in_any_case) for way in _ways(names, fold)]

    def find(self, text: str) -> tuple[str, ...]:
        """The files that the text may mean, by the most literal reading that finds any."""
        parts = [part for part in text.strip().replace("\\", "/").split("/") if part not in ("", ".")]
        readings = [text, "/".join(parts)]
        readings += ["/".join(parts[i:]) for i in range(1, len(parts)) if parts[i - 1] == self._folder]
        for fold, way, longer in self._ways:
            for reading in readings if longer else readings[:2]:
                if fold(reading) in way:
                    return tuple(way[fold(reading)])
        return ()


_Fold = Callable[[str], str]


def _in_any_case(name: str) -> str:
    """A name without its case, and with each accent as a part of its letter; macOS writes them apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _ways(names: Sequence[str], fold: _Fold) -> Iterator[tuple[_Fold, Mapping[str, list[str]], bool]]:
    """Files by path, path without suffix, by the ends of the path, and those without suffix; and whether a text may
    also begin above the folder."""
    for ends in (False, True):
        for bare in (False, True):
            way: dict[str, list[str]] = defaultdict(list)
            for name in names:
                parts = (name.rpartition(".")[0] if bare else name).split("/")
                for i in range(1, len(parts)) if ends else (0,):
                    way[fold("/".join(parts[i:]))].append(name)
            yield fold, dict(way), not ends


def column_of(wanted: Sequence[str], columns: Sequence[str], path: Path) -> str:
    """The first of the wanted columns that a table has. Raises AevisError where it has none of them."""
    for name in wanted:
        if name in columns:
            return name
    raise AevisError(f"{path} has none of the columns {', '.join(wanted)}; it has {', '.join(sorted(columns))}.")


def _printable(name: str) -> str:
    """A name as it can be printed."""
    return ascii(name) if is_unprintable(name) else name
