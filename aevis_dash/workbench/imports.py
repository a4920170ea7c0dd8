"""Adversarial images that other tools made, as arrays or as a folder of files, become examples of the workspace."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from aevis_dash.config import Progress, part_of, silent
from aevis_dash.core.image_batch import ImageBatch
from aevis_dash.domain import AevisError, Example
from aevis_dash.example_table import declared_epsilon
from aevis_dash.float_images import SUFFIX, decode_floats, float_bytes
from aevis_dash.images import decode_image, encode_image, files_in, image_bytes, image_suffix, read_image
from aevis_dash.labels import FILE_COLUMNS, ImageEntry, Places, column_of
from aevis_dash.reading import digest_of
from aevis_dash.tables import read_table
from aevis_dash.workbench.base import Base, Part
from aevis_dash.workbench.import_files import Source, known_or_new, names_in, new_sources, pair, short_name, the_one
from aevis_dash.workbench.judging import BATCH, Judging


@dataclass(frozen=True)
class Origin:
    """What the user says of imported adversarials.

    Attributes:
        attack: what made them, in words.
        epsilon: the largest change that the attack was allowed, in grey levels of 255; None where it is not said.
    """

    attack: str
    epsilon: float | None = None


@dataclass(frozen=True)
class Imported:
    """The outcome of an import.

    Attributes:
        examples: the examples that were added, or were there already, each once.
        sources_added: the normal images that were added.
        facts: what else is to be said, by name.
    """

    examples: tuple[Example, ...]
    sources_added: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    """A file of an adversarial image, with its source, what is said of it, and the class that it aims at."""

    path: Path
    source: ImageEntry
    origin: Origin
    target: int | None = None


class Imports(Part):
    """`bench.imports`: makes examples of adversarial images of other tools. On a refusal nothing is written."""

    def __init__(self, base: Base, judging: Judging):
        super().__init__(base)
        self._judging = judging

    def of_workspace(
        self, adversarials: ImageBatch, sources: Sequence[str], origin: Origin, progress: Progress = silent
    ) -> Imported:
        """Import adversarials whose sources are images of the workspace.

        Args:
            adversarials: the images, as large as the model's input.
            sources: the file of each image's source, as in images.csv.
            origin: what the user says of them.
            progress: is told the share of the work that is done.

        Raises:
            AevisError: for images of another number or size, and for sources or tables that cannot be read.
        """
        self._refuse_misfits(adversarials, len(sources), "sources")
        predicted = np.array([found.label for found in self._judging.predict(sources)])
        labels = {entry.file: entry.label for entry in self.workspace.images}
        entries = [ImageEntry(name, labels[name]) for name in sources]
        return self._keep(adversarials, entries, predicted, origin, progress)

    def with_sources(
        self,
        adversarials: ImageBatch,
        sources: ImageBatch,
        labels: Sequence[int | None],
        origin: Origin,
        progress: Progress = silent,
    ) -> Imported:
        """Import adversarials together with their sources, which become normal images of the workspace where it does
        not have them yet.

        Args:
            adversarials: the images, as large as the model's input.
            sources: the source of each, in the same order.
            labels: the class of each source; None where it is unknown.
            origin: what the user says of them.
            progress: is told the share of the work that is done.

        Raises:
            AevisError: for images of another number or size, and for tables that cannot be read.
        """
        self._refuse_misfits(adversarials, len(sources), "sources")
        self._refuse_misfits(sources, len(labels), "labels")
        if sources.span == adversarials.span and np.array_equal(sources.array, adversarials.array):
            raise AevisError(f"{adversarials.name} and {sources.name} are the same images. Give the attacked ones.")
        self.workspace.examples()  # tables that cannot be rewritten are refused before an image is written
        listed = self.workspace.image_list()
        digest, predicted, changed = hashlib.sha256(), [], 0
        for first in range(0, len(sources), BATCH):
            progress(0.3 * first / len(sources), f"classifying source {first + 1} of {len(sources)}")
            images = sources.images(first, first + BATCH)
            digest.update(images.tobytes())
            stored = np.array([found.label for found in self.classifier.predict(images)])
            given = self.classifier.predict_pixels(sources.pixels(first, first + BATCH))
            predicted.append(stored)
            changed += int((given != stored).sum())
        folder = f"{short_name(sources.name)}-{digest.hexdigest()[:6]}"
        suffix = image_suffix(sources.array.shape[3])
        entries, made_new = list[ImageEntry](), dict[str, ImageEntry]()
        for i, label in enumerate(labels):
            new = ImageEntry(f"{folder}/{i:04d}{suffix}", label)
            stored = digest_of(encode_image(sources.images(i, i + 1)[0]))
            entries.append(known_or_new(listed, new, stored, made_new))
        added = dict[str, int]()
        for i, entry in enumerate(entries):
            if entry.file not in listed.places:
                added.setdefault(entry.file, i)

        def write_sources() -> None:
            rows = [(entries[i], i) for i in added.values()]
            for first in range(0, len(rows), BATCH):
                chunk = rows[first : first + BATCH]
                self.workspace.add_images([(entry, sources.images(i, i + 1)[0]) for entry, i in chunk])

        made = self._keep(
            adversarials, entries, np.concatenate(predicted), origin, part_of(progress, 0.3, 0.7), write_sources
        )
        return Imported(made.examples, tuple(added), {**made.facts, "sources_relabelled_by_rounding": changed})

    def folder(
        self,
        folder: Path,
        origin: Origin,
        progress: Progress = silent,
        sources: Path | None = None,
        labels: Path | None = None,
    ) -> Imported:
        """Import the image files of a folder, each as an adversarial of the workspace's image of the same stem, or of
        a new source.

        Files are copied as they are, because what another tool saved in a lossy form stays marked as lossy. Several
        files, in folders of several attacks, may have one source.

        Args:
            folder: the folder of the adversarials.
            origin: what the user says of them.
            progress: is told the share of the work that is done.
            sources: a folder of images that the workspace does not have yet. Those that are the source of an
                adversarial are copied into the workspace's folder of images; None for the workspace's own.
            labels: the table of the new sources' labels; None for the names of their folders.

        Raises:
            AevisError: where no file has the stem of an image, one has the stem of two, or one cannot be read.
        """
        wanted = self.workspace.settings.preprocessing
        found = files_in(folder, wanted.channels)
        self.workspace.examples()
        if sources is None:
            known = {entry.file: Source(entry, self.workspace.path(entry.file)) for entry in self.workspace.images}
            whole = Path(self.workspace.settings.images).name
        else:
            known = new_sources(sources, labels, self.workspace.classes, wanted)
            whole = sources.resolve().name
        paired, lost = pair(folder, found, known, whole)
        listed, made_new, new = self.workspace.image_list(), dict[str, ImageEntry](), dict[str, Source]()
        if sources is not None:
            for i, (name, source) in enumerate(paired):
                entry = known_or_new(listed, source.entry, source.digest, made_new)
                paired[i] = name, Source(entry, source.path)
                if entry.file not in listed.places:
                    new.setdefault(entry.file, paired[i][1])
        for source in new.values():
            read_image(source.path, wanted)

        def write_sources() -> None:
            self.workspace.add_images([(source.entry, image_bytes(source.path)) for source in new.values()])

        files = [_File(folder / name, source.entry, origin) for name, source in paired]
        made = self._keep_files(
            files, folder.resolve().name, {"files_without_source": lost}, progress, write_sources if new else None
        )
        return replace(made, sources_added=tuple(new))

    def table(self, path: Path, origin: Origin, progress: Progress = silent) -> Imported:
        """Import the image files that a CSV table names, each with its source, which is an image of the workspace.

        The table needs a column `source` and one of the files (`adversarial`, or as other people's tables call it),
        whose paths count from the table's folder. The columns `attack`, `epsilon` and `target_label` are read too.

        Raises:
            AevisError: where the table lacks a column, names no image of the workspace, or a file cannot be read.
        """
        own = ("adversarial", *FILE_COLUMNS)
        read = read_table(path, ("source",), (*own, "attack", "epsilon", "target_label"))
        column = column_of(own, read.columns, path)
        self.workspace.examples()
        entries, files = {entry.file: entry for entry in self.workspace.images}, []
        places = Places(list(entries), Path(self.workspace.settings.images).name)
        for line, row in read.rows:
            where, file = f"{path}, line {line}", path.parent / row[column]
            source = entries[the_one(places, row["source"], where, list(entries))]
            if file.resolve() == self.workspace.path(source.file).resolve():
                raise AevisError(f"{where}: {row[column]!r} is the source itself. Give the attacked image.")
            words = row.get("attack") or origin.attack
            epsilon = declared_epsilon(row.get("epsilon", ""), words, where)
            target = self.workspace.classes.index_in_table(row.get("target_label", ""), where)
            said = Origin(words, origin.epsilon if epsilon is None else epsilon)
            files.append(_File(file, source, said, target))
        if not files:
            raise AevisError(f"The table {path} has no row. Write a row for each adversarial image.")
        return self._keep_files(files, path.stem, {}, progress)

    def _keep_files(
        self,
        files: Sequence[_File],
        name: str,
        facts: Mapping[str, object],
        progress: Progress,
        before_writing: Callable[[], None] | None = None,
    ) -> Imported:
        """Make examples of image files, which are copied as they are.

        Args:
            files: the files.
            name: where they are from, for IDs.
            facts: what else is to be said.
            progress: is told the share of the work that is done.
            before_writing: is called when all files are read and nothing is written yet.
        """
        made: dict[str, tuple[Example, Path]] = {}
        known = {example.id: example for example in self.workspace.examples()}
        for i, each in enumerate(files):
            progress(0.5 * i / len(files), f"reading image {i + 1} of {len(files)}")
            data = image_bytes(each.path)
            decode_image(data, each.path, self.workspace.settings.preprocessing)
            example = _example(each.source, data, name, each.path.suffix.lower(), each.origin, None, known)
            made[example.id] = replace(example, target_label=each.target), each.path
        if before_writing is not None:
            before_writing()
        everything = list(made.values())
        for first in range(0, len(everything), BATCH):
            progress(0.5 + 0.5 * first / len(everything), f"keeping image {first + 1} of {len(everything)}")
            chunk = everything[first : first + BATCH]
            self.workspace.keep_adversarials([(example, image_bytes(path)) for example, path in chunk])
        return Imported(tuple(self.workspace.example(example_id) for example_id in made), facts=facts)

    def sources_in(self, path: Path) -> list[str]:
        """The files of the workspace's images that a list names, in its order.

        Args:
            path: a text with a file a line, or a CSV table with a column of files. Images are named by their path,
                name or stem.

        Raises:
            AevisError: where the list cannot be read, or names no image of the workspace or more than one.
        """
        names = [entry.file for entry in self.workspace.images]
        places = Places(names, Path(self.workspace.settings.images).name)
        return [the_one(places, text, f"{path}, line {line}", names) for line, text in names_in(path)]

    def _refuse_misfits(self, batch: ImageBatch, count: int, others: str) -> None:
        wanted = self.workspace.settings.preprocessing.input_size
        if len(batch) != count:
            raise AevisError(
                f"{batch.name} has {len(batch)} images, and there are {count} {others}. Give one for each, in the same "
                "order."
            )
        if batch.size != wanted:
            raise AevisError(
                f"{batch.name} has images of {batch.size[0]} x {batch.size[1]} pixels, and the model's input has "
                f"{wanted[0]} x {wanted[1]}. Give the images as the network got them, before any normalisation."
            )

    def _keep(
        self,
        adversarials: ImageBatch,
        entries: Sequence[ImageEntry],
        predicted: np.ndarray,
        origin: Origin,
        progress: Progress,
        before_writing: Callable[[], None] | None = None,
    ) -> Imported:
        """Judge adversarials as given and as stored, then write them.

        Args:
            adversarials: the images.
            entries: the source of each.
            predicted: the class that each source is predicted as, (N,).
            origin: what the user says of them.
            progress: is told the share of the work that is done.
            before_writing: is called when all images are judged and nothing is written yet.
        """
        known = {example.id: example for example in self.workspace.examples()}
        made: dict[str, tuple[Example, int]] = {}
        changed, floats = 0, 0
        for first in range(0, len(adversarials), BATCH):
            progress(0.6 * first / len(adversarials), f"classifying adversarial {first + 1} of {len(adversarials)}")
            images = adversarials.images(first, first + BATCH)
            given = self.classifier.predict_pixels(adversarials.pixels(first, first + BATCH))
            stored = np.array([found.label for found in self.classifier.predict(images)])
            changed += int((given != stored).sum())
            for i, image in enumerate(images):
                own = predicted[first + i]
                lost = None if adversarials.is_rounded else bool(given[i] != own and stored[i] == own)
                data, suffix = image.tobytes(), image_suffix(image.shape[2])
                if lost and self._fools_as_floats(adversarials, first + i, own):
                    data, suffix, lost = float_bytes(adversarials.pixels(first + i, first + i + 1)[0]), SUFFIX, False
                    floats += 1
                example = _example(entries[first + i], data, adversarials.name, suffix, origin, lost, known)
                made[example.id] = (example, first + i)
        if before_writing is not None:
            before_writing()
        everything = list(made.values())
        for first in range(0, len(everything), BATCH):
            progress(0.6 + 0.4 * first / len(everything), f"keeping image {first + 1} of {len(everything)}")
            chunk = everything[first : first + BATCH]
            self.workspace.keep_adversarials([(each, _stored(each, adversarials, i)) for each, i in chunk])
        examples = tuple(self.workspace.example(example_id) for example_id in made)
        return Imported(examples, facts={"relabelled_by_rounding": changed, "kept_as_floats": floats})

    def _fools_as_floats(self, adversarials: ImageBatch, place: int, own: int) -> bool:
        """Whether an image that is kept as floats, and read again, is taken for another class than its own."""
        data = float_bytes(adversarials.pixels(place, place + 1)[0])
        image = decode_floats(data, Path(adversarials.name), (*adversarials.size, adversarials.channels))
        return self.classifier.predict(image[None])[0].label != own


def _stored(example: Example, adversarials: ImageBatch, place: int) -> np.ndarray | bytes:
    """The image at a place of a batch as its example's file holds it."""
    if example.adversarial.endswith(SUFFIX):
        return float_bytes(adversarials.pixels(place, place + 1)[0])
    return adversarials.images(place, place + 1)[0]


def _example(
    source: ImageEntry,
    data: bytes,
    name: str,
    suffix: str,
    origin: Origin,
    lost: bool | None,
    known: Mapping[str, Example],
) -> Example:
    """The example of one imported image. Its ID names the source, where it is from, and a digest of what it holds."""
    stem = PurePosixPath(source.file).with_suffix("").as_posix().replace("/", "_")
    digest = hashlib.sha256(f"{source.file}\0".encode() + data).hexdigest()[:8]
    own = f"{stem}-{short_name(name)}-{digest}"
    insisted = own in known and known[own].allow_large
    return Example(
        own,
        source.file,
        f"adversarial/{own}{suffix}",
        source.label,
        origin.attack,
        None,
        origin.epsilon,
        insisted,
        lost,
    )
