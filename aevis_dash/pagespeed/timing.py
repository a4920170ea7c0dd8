"""The lines of the measurement: what was measured, its median and its 95th percentile, and whether a limit is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """One thing that was measured.

    Attributes:
        what: its name.
        unit: the unit of the values and of the limit.
        values: what was measured, once or several times.
        limit: what 95 % of the values must stay under; None where nothing is promised.
        note: what else is to be known; without values, why there are none.
    """

    what: str
    unit: str
    values: tuple[float, ...] = ()
    limit: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the values; NaN without values."""
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def high(self) -> float:
        """The smallest of the values that 95 % of them do not exceed; NaN without values."""
        return float(np.quantile(self.values, 0.95, method="higher")) if self.values else float("nan")

    @property
    def verdict(self) -> str:
        """Whether 95 % of the values are under the limit: "held", "missed", "-" without a limit, or "not measured"."""
        if not self.values:
            return "not measured"
        if self.limit is None:
            return "-"
        return "held" if self.high < self.limit else "missed"

    def document(self) -> dict[str, object]:
        """The line as plain values for a JSON document or a table."""
        named = {"what": self.what, "unit": self.unit, "n": len(self.values), "median": self.median}
        named |= {"p95": self.high, "most": max(self.values, default=float("nan"))}
        return named | {"limit": self.limit, "verdict": self.verdict, "note": self.note}


def growth(what: str, before: float, after: float, limit: float, samples: int, unit: str = "MiB") -> Line:
    """The growth from `before` to `after`, in percent, as a line. It counts as not measured where one of them is NaN.

    Args:
        what: the name of the line.
        before: the number before.
        after: the number after.
        limit: the percent by which it may grow.
        samples: how many samples were taken, for the note.
        unit: the unit of the two numbers, for the note.
    """
    if not (np.isfinite(before) and np.isfinite(after)):
        return Line(what, "%", (), limit, "one of the two was not measured")
    grown = 100 * (after - before) / before
    return Line(what, "%", (grown,), limit, f"{before:.0f} to {after:.0f} {unit}, {samples} samples")


def from_clicks(what: str, found: Sequence[float | None], limit: float | None, note: str = "") -> Line:
    """A line of the times of clicks in ms. Clicks at which nothing changed (None) have no time and are counted in the
    note."""
    times = tuple(ms for ms in found if ms is not None)
    lost = len(found) - len(times)
    said = [note] if note else []
    said += [f"{lost} clicks changed nothing"] if lost else []
    return Line(what, "ms", times, limit, "; ".join(said))
