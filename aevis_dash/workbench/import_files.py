"""Which images the files and lists of an import name: the sources of adversarials, of the workspace or new ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aevis_dash.classes import Classes
from aevis_dash.domain import AevisError, Preprocessing
from aevis_dash.image_list import ImageList
from aevis_dash.images import Files, image_bytes
from aevis_dash.labels import FILE_COLUMNS, ImageEntry, Places, column_of, find_images
from aevis_dash.reading import digest_of
from aevis_dash.tables import is_unprintable, read_table, read_text, why_unread

TABLES = (".csv", ".tsv")
"""The suffixes of tables."""


@dataclass(frozen=True)
class Source:
    """An image of which a file may be an adversarial: its row in images.csv, where it lies now, and, of one that the
    workspace may not have yet, the digest of its file."""

    entry: ImageEntry
    path: Path
    digest: str = ""


def pair(
    folder: Path, found: Files, sources: Mapping[str, Source], whole: str
) -> tuple[list[tuple[str, Source]], list[str]]:
    """The files of a folder that have the stem of an image, each with that image; and the others.

    Args:
        folder: the folder.
        found: its files.
        sources: the images that may be their sources, by their names.
        whole: the name of these images' own folder.

    Raises:
        AevisError: a file has the stem of two images, or is an image itself, or none has the stem of any.
    """
    places = Places(list(sources), whole)
    paired, lost = [], []
    for name in found.images:
        fitting = next(filter(None, map(places.find, _ways_to_call(name))), ())
        if len(fitting) > 1:
            raise AevisError(
                f"The file {name!r} in {folder} may belong to {fitting[0]!r} or {fitting[1]!r}. Put it into a "
                "folder of the same name as its source's."
            )
        if fitting:
            if (folder / name).resolve() == sources[fitting[0]].path.resolve():
                raise AevisError(f"{folder} holds the sources themselves. Give the attacked images.")
            paired.append((name, sources[fitting[0]]))
        else:
            lost.append(name)
    if not paired:
        such = next(iter(sources), "(none)")
        raise AevisError(
            f"No file in {folder} has the name of an image that may be its source: files are called {lost[0]!r}, "
            f"images {such!r}. Call each adversarial as its source."
        )
    return paired, lost


def new_sources(folder: Path, labels: Path | None, classes: Classes, wanted: Preprocessing) -> dict[str, Source]:
    """The images of a folder as sources that a workspace does not have yet, by their names in the folder.

    In the workspace they get a name that tells the folder and a digest of their bytes, so that the same images come out
    the same when they are imported again.

    Args:
        folder: the folder.
        labels: a table of their labels; None for the names of their folders.
        classes: the classes that labels name.
        wanted: the preprocessing of the workspace.

    Raises:
        AevisError: as `find_images`, and where an image cannot be read.
    """
    sources = {}
    for entry in find_images(folder, labels, classes, channels=wanted.channels).images:
        path = folder / entry.file
        digest = digest_of(image_bytes(path))
        name = f"{short_name(folder.resolve().name)}/{path.stem}-{digest[:6]}{path.suffix}"
        sources[entry.file] = Source(ImageEntry(name, entry.label), path, digest)
    return sources


def known_or_new(listed: ImageList, new: ImageEntry, digest: str, made: dict[str, ImageEntry]) -> ImageEntry:
    """The image of the workspace that has the same bytes as a source, or that source as a new image.

    An image that stood twice in a workspace would be its own nearest neighbour, and its classes would count it twice.

    Args:
        listed: the images of the workspace.
        new: the source, as it would be called and labelled.
        digest: the digest of its file.
        made: the new images so far, by their digests; this one is added where it is new.

    Raises:
        AevisError: the source is given another label than the image has.
    """
    there = listed.places_of_content.get(digest)
    known = made.setdefault(digest, new) if there is None else listed.entries[there[0]]
    if new.label not in (None, known.label):
        raise AevisError(
            f"The source {new.file!r} is the image {known.file!r}, which has another label or none. Give it the same "
            "label in images.csv and here."
        )
    return known


def the_one(places: Places, text: str, where: str, names: Sequence[str]) -> str:
    """The one image of the workspace that a text names.

    Raises:
        AevisError: it names none, or several.
    """
    fitting = places.find(text)
    if len(fitting) != 1:
        why = f"may be {fitting[0]!r} or {fitting[1]!r}" if fitting else "is no image of images.csv"
        such = f", such as {names[0]!r}" if names else ""
        raise AevisError(f"{where}: {text!r} {why}. Name images as in images.csv{such}.")
    return fitting[0]


def _ways_to_call(name: str) -> list[str]:
    """The texts by which a file's source may be found: its path, or the end of it, with and without the suffix."""
    parts = name.split("/")
    ends = ["/".join(parts[i:]) for i in range(len(parts))]
    return [text for end in ends for text in (end, end.rpartition(".")[0])]


def names_in(path: Path) -> list[tuple[int, str]]:
    """The names that a list of files holds, each with its line.

    Raises:
        AevisError: the list cannot be read.
    """
    if path.suffix.lower() in TABLES:
        table = read_table(path, (), FILE_COLUMNS)
        column = column_of(FILE_COLUMNS, table.columns, path)
        return [(line, row[column]) for line, row in table.rows]
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AevisError(
            f"The list {path} cannot be read ({why_unread(error)}). Give a text with the file of an image a line."
        ) from error
    return [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip()]


def short_name(name: str) -> str:
    """A name as a part of file names."""
    text = "".join("" if is_unprintable(character) else character for character in name.rpartition(" of ")[2])
    stem = re.sub(r"\.(npy|npz|pt|pth|safetensors)$", "", text, flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]+", "_", stem).strip("._")[:40] or "import"
