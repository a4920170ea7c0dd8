"""What the verbs print: aligned tables for people, one JSON document for machines, and progress meanwhile.

On a terminal rich draws the tables and a progress bar. Elsewhere, as in a file or a pipe, there are plain lines. rich
is loaded only on a terminal, and only when it draws.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from aevis_dash.domain import AevisError
from aevis_dash.files import check_place

if TYPE_CHECKING:
    from rich.console import Console

_WIPE = "\r\x1b[K"
"""The control characters that take away what stands on a terminal's last line."""
_ANY_WIDTH = 100_000
"""A number of characters of a line that is enough for every table."""


@dataclass(frozen=True)
class Answer:
    """The result of a verb.

    Attributes:
        document: the result for machines, which becomes JSON.
        text: the result for people.
        doubts: warnings that the verb's own work gave rise to.
    """

    document: Mapping[str, Any]
    text: str
    doubts: Sequence[str] = ()


def as_json(document: Any) -> str:
    """The text of one JSON document. NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False)


def warn(sentences: Iterable[str]) -> None:
    """Write warnings to stderr, one on each line. On a terminal they replace the line of the progress."""
    wipe = _WIPE if sys.stderr.isatty() else ""
    for sentence in sentences:
        print(f"{wipe}aevis: warning: {' '.join(sentence.split())}", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The text of a table for standard output; columns of numbers are aligned at the right.

    On a terminal, cells that are too long for its width are wrapped at their spaces.

    Args:
        head: the names of the columns.
        rows: the values of each row.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    right = [all(_is_number(c) for c in column) for column in zip(*cells, strict=True)] or [False] * len(head)
    console = _console(sys.stdout)
    return _plain_table(head, cells, right) if console is None else _drawn_table(console, head, cells, right)


def pairs(facts: Mapping[str, Any]) -> str:
    """The text of some facts, one on each line."""
    width = max(map(len, facts))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {_cell(value)}" for name, value in facts.items())


def decimals(value: float, digits: int = 3) -> str:
    """A number with so many decimals; a dash where it is NaN or infinite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


WRITTEN = (".html", ".htm", ".png", ".csv")
"""The suffixes of files that verbs write for the user. Only such files are replaced."""
TABLES = ("workspace.toml", "classes.txt", "images.csv", "examples.csv")
"""The files of a workspace that no verb may be told to write."""


def check_writable(path: Path | None) -> None:
    """Check that a file can be written, before anything is computed for it. None stands for no file.

    Raises:
        AevisError: where the file is no picture or table of this program, or cannot be written.
    """
    if path is None:
        return
    place = check_place(path)
    own = place.name in TABLES and (place.parent / "workspace.toml").exists()
    if own or (place.is_file() and place.stat().st_size and place.suffix.lower() not in WRITTEN):
        raise AevisError(
            f"{path} is there already and is none of this program's pictures or tables, so it is not replaced. Name "
            f"another file, one that ends in {', '.join(WRITTEN)}."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    if not all(os.access(part, os.W_OK) for part in (place.parent, place) if part.exists()):
        raise AevisError(f"{path} cannot be written. Check its permissions, or name another file.")


def facts_text(facts: Mapping[str, Any]) -> str:
    """The text of some facts, one on each line. Kinds of what did not match have the first three names, or are left
    out."""
    shown = {
        name: f"{value['count']}, such as {', '.join(value['such_as'])}" if isinstance(value, dict) else value
        for name, value in facts.items()
        if not isinstance(value, dict) or value["count"]
    }
    return pairs(shown)


class ProgressLine:
    """Progress on a stream: a bar on a terminal, which disappears at the end, and elsewhere a plain line now and then.

    Args:
        stream: where the progress is written.
        seconds_between_lines: the least time between two plain lines.
    """

    def __init__(self, stream: TextIO, seconds_between_lines: float = 10.0):
        self._stream = stream
        self._bar = _Bar(console) if (console := _console(stream)) is not None else None
        self._pause = 0.1 if self._bar else seconds_between_lines
        self._last = time.monotonic() - (self._pause if self._bar else 0)

    def __call__(self, share: float, what: str) -> None:
        """Show the share of the work that is done (0 to 1), and what is being done."""
        now = time.monotonic()
        if now - self._last < self._pause:
            return
        self._last = now
        if self._bar:
            self._bar.show(share, what)
        else:
            self._stream.write(f"{100 * share:3.0f} %  {what}\n")
            self._stream.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.close()


class _Bar:
    """A bar on one line, with the share done, the time since the bar began, and what is being done.

    It is drawn only when it is told to, without a thread of its own, and it takes over no other stream.
    """

    def __init__(self, console: "Console"):
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        words = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), words)
        self._progress = Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = None

    def show(self, share: float, what: str) -> None:
        """Draw the bar, with the share of the work that is done and what is being done."""
        if self._task is None:
            self._task = self._progress.add_task(what, total=1.0)
            self._progress.start()
        self._progress.update(self._task, completed=share, description=what, refresh=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.stop()


def _console(stream: TextIO) -> "Console | None":
    """A console where the stream is a terminal that can move its cursor; None for any other stream."""
    if not stream.isatty():
        return None
    from rich.console import Console

    console = Console(file=stream, force_terminal=True)
    return None if console.is_dumb_terminal else console


def _plain_table(head: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [_line(line, widths, right) for line in [head, *cells]]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _drawn_table(console: "Console", head: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, is_right, column in zip(head, right, zip(head, *cells, strict=True), strict=True):
        longest = max(len(word) for cell in column for word in cell.split() or [""])
        whole = longest == max(map(len, column))  # ids and numbers, which are copied, are never wrapped
        drawn.add_column(Text(name), justify="right" if is_right else "left", min_width=longest, no_wrap=whole)
    for row in cells:
        drawn.add_row(*map(Text, row))  # a plain str would be read as rich's markup
    words = console.measure(drawn, options=console.options.update(max_width=_ANY_WIDTH)).minimum
    console.width = max(console.width, words)  # on a terminal too narrow for a word, the terminal itself wraps the line
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().removesuffix("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.rstrip("%s ").replace(".", "", 1).lstrip("-").isdecimal()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(padded).rstrip()
