"""The table of examples, examples.csv: read anew when it changes, and written under a lock."""

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from aevis_dash.domain import AevisError, Example
from aevis_dash.reading import Digests
from aevis_dash.tables import Table, digest_of_table, editing, read_table, write_table

_NEEDED = ("id", "source", "adversarial")
_COLUMNS = tuple(field.name for field in fields(Example))
_YES, _NO = "yes", "no"


class ExampleTable:
    """The examples in the table examples.csv of one workspace.

    Args:
        path: the file of the table.
        files: computes digests of files, by which a change of the table is noticed.
        label: gives the class index that the text of a cell names, or None for an empty cell. Its second argument says,
            for error messages, where the cell stands.
    """

    def __init__(self, path: Path, files: Digests, label: Callable[[str, str], int | None]):
        self.path = path
        self._files, self._label = files, label
        self._known: tuple[str, dict[str, Example]] | None = None
        self._images: tuple[dict[str, Example], dict[str, None]] | None = None

    def by_id(self) -> dict[str, Example]:
        """The examples as the table has them now, by their IDs; empty where there is no table.

        The result is the same object until the table changes.

        Raises:
            AevisError: where the table cannot be read, or a value in it does not fit.
        """
        missing = not os.path.lexists(self.path)  # a link to nothing is a table that cannot be read
        digest = "" if missing else digest_of_table(self._files, self.path)
        if self._known is None or self._known[0] != digest:
            self._known = (digest, {row["id"]: self._example(row, line) for line, row in self._read().rows})
        return self._known[1]

    def images(self) -> Mapping[str, None]:
        """The names of all sources and adversarials, in the table's order, each once. The values of the mapping are
        None."""
        examples, known = self.by_id(), self._images
        if known is None or known[0] is not examples:
            known = self._images = (
                examples,
                dict.fromkeys(name for e in examples.values() for name in (e.source, e.adversarial)),
            )
        return known[1]

    def keep(self, examples: Sequence[Example]) -> None:
        """Add the rows of examples, or replace rows of the same ID. Rows keep their order, and foreign columns their
        values.

        Raises:
            AevisError: where the table cannot be read, or another process has been writing it for PATIENCE seconds.
        """
        with editing(self.path):
            table = self._read()
            rows: dict[str, dict[str, Any]] = {row["id"]: dict(row) for _, row in table.rows}
            for example in examples:
                rows[example.id] = rows.get(example.id, {}) | _as_row(example)
            self._write(table, rows.values())

    def allow_large(self, example_ids: Collection[str]) -> None:
        """Note in the table that the user insists on these examples (`Example.allow_large`). Raises AevisError as
        `keep`."""
        with editing(self.path):
            table = self._read()
            rows = [row | {"allow_large": _YES} if row["id"] in example_ids else row for _, row in table.rows]
            self._write(table, rows)

    def _read(self) -> Table:
        """The table as it is now. A table is refused where an ID is empty or stands twice."""
        path = self.path
        if not os.path.lexists(path):
            return Table(_COLUMNS, [])
        table = read_table(path, _NEEDED)
        for name in table.columns:
            ours = "_".join(re.split(r"[\W_]+", name.strip().lower()))
            if name != ours and ours in _COLUMNS:
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

    def _write(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the table with its own columns, and with those of an example's columns that it lacks."""
        ours = [name for name in _COLUMNS if name not in table.columns]
        write_table(self.path, [*table.columns, *ours], rows)

    def _example(self, row: Mapping[str, str], line: int) -> Example:
        where, attack = f"examples.csv, line {line}", row.get("attack", "")
        return Example(
            id=row["id"],
            source=row["source"],
            adversarial=row["adversarial"],
            true_label=self._label(row.get("true_label", ""), where),
            attack=attack,
            target_label=self._label(row.get("target_label", ""), where),
            epsilon=declared_epsilon(row.get("epsilon", ""), attack, f"{self.path.parent / where}"),
            allow_large=self._yes_or_no(row, "allow_large", where) or False,
            lost_in_8_bits=self._yes_or_no(row, "lost_in_8_bits", where),
        )

    def _yes_or_no(self, row: Mapping[str, str], column: str, where: str) -> bool | None:
        text = row.get(column, "").strip().lower()
        if text and text not in (_YES, _NO):
            raise AevisError(
                f"{self.path.parent / where}: {column} is {row[column]!r}. Write {_YES} or {_NO}, or empty it."
            )
        return text == _YES if text else None


def declared_epsilon(value: str, attack: str, where: str) -> float | None:
    """The epsilon of an attack in grey levels of 255: the value of its column, else what the words on the attack say.

    The words count where they name one length as N/255 and no norm other than the largest change. "MI-FGSM 8/255, 10
    steps" counts, but "PGD 8/255, step 2/255" and "L2 128/255" do not.

    Args:
        value: the text in the column `epsilon`; may be empty.
        attack: the words on the attack.
        where: says, for error messages, where the value stands.

    Returns:
        The epsilon, or None where neither says it.

    Raises:
        AevisError: for a value that is no number from 0 to 255.
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
