"""CSV tables and texts, in and out, in the forms that people and their spreadsheets write."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aevis_dash.domain import AevisError
from aevis_dash.files import write_atomically
from aevis_dash.reading import Digests

PATIENCE = 60
"""Seconds to wait for another process that is writing the table, which takes a fraction of a second."""
_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR = re.compile(r"""\A"?sep=.?"?[,;\t|]*(?=\r|\n|\Z)""", re.IGNORECASE)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Table:
    """A CSV table that was read.

    Attributes:
        columns: the names of its columns.
        rows: for each row the number of the line that it ends in, and its values by column.
    """

    columns: Sequence[str]
    rows: list[tuple[int, dict[str, str]]]


def read_table(path: Path, columns: Sequence[str], known: Sequence[str] = ()) -> Table:
    """Read a CSV table, in UTF-8 or, as spreadsheets export it, in UTF-16.

    Values stand between commas, semicolons, tabs or bars. The delimiter is the one with which the header holds most of
    the names in `columns` and `known`. Spaces after a delimiter are no part of a value. A column whose name differs
    from one of these names only in case, spaces, hyphens or underscores gets that name. Rows without any value are
    passed over, and so is a first line such as `sep=;`, by which Excel knows the delimiter.

    Without `columns` the table is taken for somebody else's. Then lines that begin with # are comments above the
    header; below it they are comments where they do not have a row's values. The header may begin with # itself.

    Args:
        path: the file.
        columns: the names of columns that the table must have. Where it is empty, the table must have a row at least.
        known: further names of columns that the table may have.

    Raises:
        AevisError: where the file cannot be read, lacks a column, has a column twice, has a row with more values than
            columns, or holds a control character in one of `columns`.
    """
    try:
        text = read_text(path)
        header, lines = _split(_SEPARATOR.sub("", text, count=1), (*columns, *known), comments=not columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable_table(path, error) from error
    if not columns and text.lstrip()[:1] in ("{", "["):
        raise AevisError(
            f"{path} is JSON and no table. Save it as a table of comma-separated values with a header line, as pandas "
            "does: DataFrame.to_csv(file, index=False)."
        )
    wanted = {_plain(name): name for name in (*known, *columns)}
    names = [wanted.get(_plain(name), name) for name in header]
    missing = [c for c in columns if c not in names]
    if missing:
        raise AevisError(f"The table {path} has no column {missing[0]!r}. It needs: {', '.join(columns)}.")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise AevisError(f"The table {path} has two columns {twice[0]!r}. Rename or remove one of them.")
    rows = []
    for line, values in lines:
        if not columns and values[0].startswith("#") and (any(values[len(names) :]) or not any(values[1:])):
            continue
        if any(values[len(names) :]):
            raise AevisError(
                f"{path}, line {line} has more values than columns. Put quotation marks around a value that holds a "
                "delimiter."
            )
        row = dict(zip(names, [*values, *[""] * (len(names) - len(values))], strict=False))
        if any(is_unprintable(row[c]) for c in columns):
            raise AevisError(f"{path}, line {line} holds a control character. Remove it; names are plain text.")
        rows.append((line, row))
    if not rows and not columns:
        raise AevisError(f"The table {path} is empty. It needs a header line and a line for each image.")
    return Table(tuple(names), rows)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file, whole or not at all.

    Args:
        path: the file.
        columns: the names of the columns, in order.
        rows: the values by column; None and missing ones become empty.
    """
    lines = [columns, *([row.get(column) for column in columns] for row in rows)]
    write_text(path, "".join(f"{','.join(map(_quote, values))}\n" for values in lines))


@contextmanager
def editing(path: Path) -> Iterator[None]:
    """Hold the lock of a table, so that no other process changes it between reading and writing, and no row is lost.

    Raises AevisError where another process has held it for PATIENCE seconds.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock, timeout=PATIENCE):
            yield
    except Timeout as error:
        raise AevisError(
            f"Another command has been writing {path} for {PATIENCE} seconds. Wait for it "
            "or end it, and say the same command again: the images made so far are kept."
        ) from error


def read_text(path: Path) -> str:
    """The text of a regular file in UTF-8 or UTF-16. Raises OSError or UnicodeDecodeError; OSError also for a NUL in
    it."""
    if path.exists() and not path.is_file():
        raise OSError("it is no regular file")
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:  # a header in UTF-16 without its mark is half NULs; Excel puts a mark before UTF-8 too
        encoding = {b"\0": "utf-16-be"}.get(data[:1], "utf-16-le" if data[1:2] == b"\0" else "utf-8-sig")
    text = data.decode(encoding)
    if "\0" in text:
        raise OSError(f"line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL character")
    return text


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def is_unprintable(text: str) -> bool:
    """Whether a name holds what no table or terminal can show: a control character, or a byte that is not UTF-8."""
    return _UNPRINTABLE.search(text) is not None


def why_unread(error: Exception) -> str:
    """The reason why a text could not be read, for people: the line that is not UTF-8, or what the system says."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        return f"line {line} holds bytes that are no {error.encoding.upper()}"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return getattr(error, "strerror", None) or str(error)


def unreadable_table(path: Path, error: Exception) -> AevisError:
    """The AevisError for a table that cannot be read; it is returned and not raised."""
    return AevisError(f"The table {path} cannot be read ({why_unread(error)}). It must be a CSV file in UTF-8.")


def digest_of_table(files: Digests, path: Path) -> str:
    """The digest of a table's file. Raises AevisError where the file cannot be read."""
    try:
        return files.of(path)
    except OSError as error:
        raise unreadable_table(path, error) from error


def _split(text: str, wanted: Sequence[str], comments: bool) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header's names and the rows below it, each with the line that it ends in."""
    known, best = {_plain(name) for name in wanted}, (-1, -1)
    header, delimiter = [], ","
    for each in _DELIMITERS:
        with suppress(csv.Error):  # a quoted header is damaged where another delimiter is looked for
            names = next((v for _, v in _rows_below_header(text, each, known, comments)), [])
            found = (sum(_plain(name) in known for name in names), len(names))
            if found > best:
                best, header, delimiter = found, names, each
    while len(header) > 1 and not header[-1]:  # spreadsheets export columns that were used once
        header.pop()
    return header, list(_rows_below_header(text, delimiter, known, comments))[1:]


def _rows_below_header(text: str, delimiter: str, known: set[str], comments: bool) -> Iterator[tuple[int, list[str]]]:
    """The header's names, then the rows that hold a value, each with the line that it ends in. Comments above are left
    out."""
    rows = ((line, values) for line, values in _rows(text, delimiter) if any(values))
    for line, values in rows:
        names = [name.strip() for name in values]
        if comments and names[0].startswith("#"):
            names[0] = names[0].lstrip("# ")
            if not any(_plain(name) in known for name in names):
                continue
        yield line, names
        break
    yield from rows


def _rows(text: str, delimiter: str) -> Iterable[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    return ((reader.line_num, values) for values in reader)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _quote(value: Any) -> str:
    """A value as CSV has it, in quotation marks where it would not come back without them."""
    text = "" if value is None else str(value)
    needed = text != text.strip() or any(character in text for character in ',"\r\n')
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if needed else text
