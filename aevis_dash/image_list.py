"""The normal images of a workspace as they are at one moment."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from aevis_dash.labels import ImageEntry
from aevis_dash.tables import editing, read_table, write_table


@dataclass(frozen=True, eq=False)
class ImageList:
    """The normal images of a workspace at one moment.

    Attributes:
        entries: the rows of images.csv, with the name and the label of each image.
        paths: where the image files lie, in the order of the entries.
        digests: the digests of the image files, in the order of the entries.
    """

    entries: tuple[ImageEntry, ...]
    paths: tuple[Path, ...]
    digests: tuple[str, ...]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The names of the images, as the table gives them."""
        return tuple(entry.file for entry in self.entries)

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of every image in the table, counted from 0, by its name."""
        return places(self.entries)

    @cached_property
    def digest(self) -> str:
        """A digest of the whole list: of names, labels and contents."""
        rows = [(e.file, e.label, digest) for e, digest in zip(self.entries, self.digests, strict=True)]
        return hashlib.sha256(repr(rows).encode()).hexdigest()[:32]

    @cached_property
    def digest_at(self) -> dict[Path, str]:
        """The digest of every image, by the path of its file."""
        return dict(zip(self.paths, self.digests, strict=True))

    @cached_property
    def places_of_content(self) -> dict[str, list[int]]:
        """The places in the table of all images that have the same bytes, by their digest."""
        found: dict[str, list[int]] = {}
        for place, digest in enumerate(self.digests):
            found.setdefault(digest, []).append(place)
        return found


def places(entries: Sequence[ImageEntry]) -> dict[str, int]:
    """The place of every image in the table, counted from 0, by its name."""
    return {entry.file: place for place, entry in enumerate(entries)}


def add_entries(path: Path, entries: Sequence[ImageEntry]) -> None:
    """Add rows to the table images.csv. Images that have a row keep it, and foreign columns keep their values.

    Raises AevisError where the table cannot be read, or another process has been writing it for long.
    """
    with editing(path):
        table = read_table(path, ("file", "label"))
        known = {row["file"] for _, row in table.rows}
        new = [asdict(entry) for entry in entries if entry.file not in known]
        write_table(path, table.columns, [*(row for _, row in table.rows), *new])
