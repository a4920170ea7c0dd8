"""The tables and texts of a workspace: CSV files in and out, and lists of names."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aevis_dash.domain import AevisError
from aevis_dash.files import write_atomically


@dataclass(frozen=True)
class Table:
    """The columns of a CSV file, and its rows with the line each ends in."""

    columns: Sequence[str]
    rows: list[tuple[int, dict[str, str]]]


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """A table that has those columns; without any named, one that has a row at least."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel puts a byte-order mark first
            reader = csv.DictReader(file)
            read = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable_table(path, error) from error
    missing = [c for c in columns if c not in (reader.fieldnames or ())]
    if missing:
        raise AevisError(f"The table {path} has no column {missing[0]!r}. It needs: {', '.join(columns)}.")
    for line, row in read:
        if columns and any(row.get(None) or ()):  # type: ignore[call-overload]
            raise AevisError(f"{path}, line {line} has more values than columns. Quote a value that holds a comma.")
    rows = [(line, {k: v or "" for k, v in row.items() if k is not None}) for line, row in read]
    if not rows and not columns:
        raise AevisError(f"The table {path} is empty. It needs a header line and a line for each image.")
    return Table(tuple(reader.fieldnames or ()), rows)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file, whole or not at all; None becomes an empty value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names, one a line; raises AevisError for an empty or unreadable file."""
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise AevisError(
            f"The class names in {path} cannot be read ({error}). Give a text, one name a line."
        ) from error
    if not names:
        raise AevisError(f"{path} holds no class name. Write one name a line, in the model's order.")
    return names


def unreadable_table(path: Path, error: Exception) -> AevisError:
    """The refusal of a table that cannot be read."""
    return AevisError(f"The table {path} cannot be read ({error}). It must be a CSV file in UTF-8.")
