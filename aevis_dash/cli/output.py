"""What the verbs print: aligned tables for people, one JSON document for machines, progress while they wait."""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from aevis_dash.domain import AevisError
from aevis_dash.files import check_place

_WIPE = "\r\x1b[K"
"""Takes away what stands on a terminal's last line."""


@dataclass(frozen=True)
class Answer:
    """A verb's result: for machines and for people; `doubts` are warnings that its own work gave rise to."""

    document: Mapping[str, Any]
    text: str
    doubts: Sequence[str] = ()


def as_json(document: Any) -> str:
    """One JSON document; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False)


def warn(sentences: Iterable[str]) -> None:
    """Write warnings to stderr, a line each; on a terminal they take the progress line's place."""
    wipe = _WIPE if sys.stderr.isatty() else ""
    for sentence in sentences:
        print(f"{wipe}aevis: warning: {' '.join(sentence.split())}", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows under their heads; columns of numbers are aligned at the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [all(_is_number(c) for c in column) for column in zip(*cells, strict=True)] or [False] * len(head)
    lines = [_line(line, widths, right) for line in [head, *cells]]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def pairs(facts: Mapping[str, Any]) -> str:
    """A line for each fact."""
    width = max(map(len, facts))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {_cell(value)}" for name, value in facts.items())


def fixed(value: float, digits: int = 3) -> str:
    """A number with that many decimals, a dash where it is undefined."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


WRITTEN = (".html", ".htm", ".png", ".csv")
"""How the names of the files end that verbs write for the user."""
TABLES = ("workspace.toml", "classes.txt", "images.csv", "examples.csv")
"""The files of a workspace that no verb may be told to write."""


def check_writable(path: Path | None) -> None:
    """Raise AevisError for a file that cannot be written, before anything is computed for it; None is no file."""
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
    """Facts a line each; of what did not match only what there is, with the first three names."""
    shown = {
        name: f"{value['count']}, such as {', '.join(value['such_as'])}" if isinstance(value, dict) else value
        for name, value in facts.items()
        if not isinstance(value, dict) or value["count"]
    }
    return pairs(shown)


class ProgressLine:
    """Progress on a stream: one line rewritten in place on a terminal, else a plain line now and then."""

    def __init__(self, stream: TextIO, seconds_between_lines: float = 10.0):
        self._stream = stream
        self._live = stream.isatty()
        self._pause = 0.1 if self._live else seconds_between_lines
        self._last = time.monotonic() - (self._pause if self._live else 0)
        self._shown = False

    def __call__(self, share: float, what: str) -> None:
        now = time.monotonic()
        if now - self._last < self._pause:
            return
        self._last, self._shown = now, True
        text = f"{100 * share:3.0f} %  {what}"
        self._stream.write(f"{_WIPE}{text[:100]}" if self._live else f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Take the line away again."""
        if self._live and self._shown:
            self._stream.write(_WIPE)
            self._stream.flush()


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
