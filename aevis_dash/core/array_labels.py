"""The labels of a batch of images, from an array or from a table whose rows have the batch's order."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aevis_dash.classes import Classes
from aevis_dash.core.array_files import LABELS, SUFFIXES, choose_array, in_words, names_labels, read_arrays
from aevis_dash.domain import AevisError
from aevis_dash.labels import FILE_COLUMNS, LABEL_COLUMNS, TARGET_COLUMNS, column_of, first_number
from aevis_dash.tables import read_table


def labels_of_batch(
    images: Path, labels: Path | None, count: int, classes: Classes, count_from: int | None = None
) -> tuple[Sequence[int | None], str]:
    """The label of each image of a batch, and where they come from, in words.

    Args:
        images: the file of the images, whose own array of labels is taken where no other file is given.
        labels: a file of arrays, or a table with a column of classes; None for the labels beside the images.
        count: the number of images.
        classes: the classes that labels name.
        count_from: the number of the first class; None as for `labels.find_images`.

    Raises:
        AevisError: where the labels cannot be read, are of another number, or name no class.
    """
    if labels is not None and labels.suffix.lower() not in SUFFIXES:
        return _from_table(labels, count, classes, count_from)
    arrays = read_arrays(labels or images)
    if labels is None and not names_labels(arrays):
        return [None] * count, "nothing: the file of the images holds no labels, and no other is given"
    return _from_array(labels or images, arrays, count, classes, count_from or 0)


def _from_table(path: Path, count: int, classes: Classes, count_from: int | None) -> tuple[Sequence[int | None], str]:
    table = read_table(path, (), (*FILE_COLUMNS, *LABEL_COLUMNS, *TARGET_COLUMNS))
    column = column_of(LABEL_COLUMNS, table.columns, path)
    first, counted = first_number(table.columns, classes, count_from)
    _refuse_other_count(f"The table {path}", len(table.rows), count)
    found = [classes.label(row[column], f"{path}, line {line}", first) for line, row in table.rows]
    return found, f"{path.name}: {column}{counted}, in the order of the images"


def _from_array(
    path: Path, arrays: Mapping[str, np.ndarray], count: int, classes: Classes, first: int
) -> tuple[Sequence[int | None], str]:
    key = choose_array(path, arrays, LABELS)
    array, name = arrays[key], in_words(path, key)
    words = name
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        if array.dtype.kind not in "biuf" or not (np.isin(array, (0, 1)) & (array.sum(1) == 1)[:, None]).all():
            raise AevisError(f"{name} has two axes, but not a single 1 in each row. Give the index of each class.")
        if array.shape[1] != len(classes.names):
            raise AevisError(f"{name} tells {array.shape[1]} classes, and the model has {len(classes.names)}.")
        array, words = array.argmax(1), f"{name}, a 1 at each class"
    _refuse_other_count(name, len(array), count)
    if array.dtype.kind == "U":
        return [classes.label(str(text), f"{name}, entry {i}", first) for i, text in enumerate(array)], words
    if array.dtype.kind not in "iuf" or not (np.isfinite(array) & (array == np.floor(array))).all():
        raise AevisError(f"{name} holds values of type {array.dtype} that are no indices of classes.")
    if first and not words.endswith("a 1 at each class"):
        array, words = array - first, f"{words}, counted from {first}"
    wrong = (array < 0) | (array >= len(classes.names))
    if wrong.any():
        raise AevisError(
            f"{name} holds {array[wrong][0] + first:g}, and the classes count from {first} to "
            f"{len(classes.names) - 1 + first}. Give the indices in the model's order."
        )
    return [int(value) for value in array], words


def _refuse_other_count(name: str, count: int, wanted: int) -> None:
    if count != wanted:
        raise AevisError(f"{name} has {count} labels, and there are {wanted} images. Give one for each, in order.")
