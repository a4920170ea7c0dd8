"""Lines of the measurement: what was measured how often, its middle and its 95th percentile, and what was promised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """One thing measured: `values` in `unit`, its `limit` (None where nothing is promised), and what is to be known.

    Where there are no values, `note` says why.
    """

    what: str
    unit: str
    values: tuple[float, ...] = ()
    limit: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of the values, NaN for none."""
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def high(self) -> float:
        """The value that 95 % do not exceed, one that was measured; NaN for none."""
        return float(np.quantile(self.values, 0.95, method="higher")) if self.values else float("nan")

    @property
    def verdict(self) -> str:
        """Whether 95 % of the values are under the limit."""
        if not self.values:
            return "not measured"
        if self.limit is None:
            return "-"
        return "held" if self.high < self.limit else "missed"

    def document(self) -> dict[str, object]:
        """For machines."""
        named = {"what": self.what, "unit": self.unit, "n": len(self.values), "median": self.median}
        named |= {"p95": self.high, "most": max(self.values, default=float("nan"))}
        return named | {"limit": self.limit, "verdict": self.verdict, "note": self.note}


def growth(what: str, before: float, after: float, limit: float, samples: int, unit: str = "MiB") -> Line:
    """The growth from `before` to `after` as a line, in percent; not measured where one of them is NaN."""
    if not (np.isfinite(before) and np.isfinite(after)):
        return Line(what, "%", (), limit, "one of the two was not measured")
    grown = 100 * (after - before) / before
    return Line(what, "%", (grown,), limit, f"{before:.0f} to {after:.0f} {unit}, {samples} samples")


def from_clicks(what: str, found: Sequence[float | None], limit: float | None, note: str = "") -> Line:
    """A line of clicks in ms; those at which nothing changed (None) are counted in the note, and no time is."""
    times = tuple(ms for ms in found if ms is not None)
    lost = len(found) - len(times)
    said = [note] if note else []
    said += [f"{lost} clicks changed nothing"] if lost else []
    return Line(what, "ms", times, limit, "; ".join(said))
