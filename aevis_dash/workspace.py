"""A workspace: a folder with workspace.toml, class names, a table of images and a table of examples.

workspace.toml   model, weights, preprocessing, where the images are, attack and extraction parameters
classes.txt      one class name a line, in the model's order
images.csv       file, label: the normal images, relative to the images folder; the label may be empty
examples.csv     id, source, adversarial; true_label, attack, target_label, epsilon, allow_large, lost_in_8_bits where
                 they are known (`domain.Example`)
adversarial/     the adversarial images, made here or by any other tool
parts/           optional: a mask of parts for a normal image, of the same name, as PNG, whose grey levels are the
                 numbers in names.txt ("1 ear" a line); 0 where no part is. It is as large as the image, or has the
                 model's input size
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from glob import glob
from pathlib import Path

import numpy as np

from aevis_dash.classes import Classes, read_class_names
from aevis_dash.domain import AevisError, Example, ModelSpec
from aevis_dash.example_table import ExampleTable
from aevis_dash.files import part_prefix, sweep, write_file
from aevis_dash.float_images import SUFFIX, decode_floats
from aevis_dash.image_list import ImageList, add_entries, places
from aevis_dash.images import decode_image, image_size, read_mask, refusing_unreadable, write_image
from aevis_dash.labels import OWN_FOLDER, ImageEntry, refuse_names
from aevis_dash.reading import Digests
from aevis_dash.settings import WorkspaceSettings, doubted_scale, read_settings, refuse_workspace, write_settings
from aevis_dash.sight import current_sight
from aevis_dash.tables import digest_of_table, read_table, read_text, why_unread, write_table, write_text
from aevis_dash.watching import Watched

_ExampleDigests = tuple[dict[str, Example], tuple[str, ...], tuple[Path, ...], tuple[str, ...], dict[str, str]]
"""The examples, the names of their images, the paths of these, their digests, and the digests by name."""


class Workspace:
    """A workspace on disk. Opening it reads its settings and class names; tables and images are read when asked for.

    Args:
        root: the folder that holds workspace.toml. Raises AevisError where settings or class names cannot be read.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self.settings = read_settings(self.root)
        self.classes = Classes(read_class_names(self.root / "classes.txt"))
        self._files = Digests()
        self._paths: dict[str, Path] = {}
        self._images: tuple[str, tuple[ImageEntry, ...]] | None = None
        self._examples = ExampleTable(self.root / "examples.csv", self._files, self._label)
        self._places: tuple[tuple[ImageEntry, ...], dict[str, int]] | None = None
        self._list: ImageList | None = None
        self._digests_of_examples: _ExampleDigests | None = None
        self._watched, self._watched_examples, self._watched_masks = (Watched(self._files) for _ in range(3))
        self._masks: tuple[tuple[ImageEntry, ...], tuple[Path, ...]] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the model's outputs."""
        return self.classes.names

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what is doubtful about the settings and the tables."""
        scale = doubted_scale(self.settings.preprocessing)
        return ((scale,) if scale else ()) + self._label_warnings()

    def _label_warnings(self) -> tuple[str, ...]:
        if any(entry.label is not None for entry in self.images):
            return ()
        if not self.images:
            return ("images.csv names no image, so there is nothing to compare with. Add a row for each image.",)
        return (
            f"None of the {len(self.images)} images has a label, so nothing says whether the model is right about "
            "them. Write the labels into images.csv.",
        )

    @property
    def cache(self) -> Path:
        """The folder of the stored results, which is safe to delete."""
        return self.root / "cache"

    def sweep(self) -> None:
        """Remove unfinished files beside the tables and images that killed processes of this machine left."""
        part = f"{part_prefix()}*"
        sweep(self.root / name for pattern in (part, f"*/{part}") for name in glob(pattern, root_dir=self.root))

    @property
    def model(self) -> ModelSpec:
        """The model's source and weights; those that are files of the workspace are given as these files' paths."""
        spec = self.settings.model
        here = {
            path: str(self.root / path)
            for path in (spec.file, spec.weights)
            if path and os.path.isfile(self.root / path)
        }
        source = here.get(spec.file, spec.file) + spec.source.removeprefix(spec.file)
        return replace(spec, source=source, weights=here.get(spec.weights, spec.weights))

    @property
    def images(self) -> tuple[ImageEntry, ...]:
        """The normal images with their labels, as the table images.csv has them now. Raises AevisError where it cannot
        be read."""
        path = self.root / "images.csv"
        digest = digest_of_table(self._files, path)
        known = self._images
        if known is None or known[0] != digest:
            rows = read_table(path, ("file", "label")).rows
            lines: dict[str, int] = {}
            for line, row in rows:
                if lines.setdefault(row["file"], line) != line:
                    raise AevisError(
                        f"{path}, line {line}: the image {row['file']!r} already stands in line {lines[row['file']]}. "
                        "Take out one of them."
                    )
            entries = (ImageEntry(r["file"], self._label(r["label"], f"images.csv, line {i}")) for i, r in rows)
            known = self._images = (digest, tuple(entries))
        return known[1]

    @property
    def image_places(self) -> Mapping[str, int]:
        """The place in the table of every normal image, counted from 0, by its name."""
        entries, known = self.images, self._places
        if known is None or known[0] is not entries:
            known = self._places = (entries, places(entries))
        return known[1]

    def names(self, image: str) -> bool:
        """Whether the tables name an image, normal or adversarial."""
        return image in self.image_places or image in self._examples.images()

    def image_list(self) -> ImageList:
        """The normal images with their digests. It is the same object as long as neither the table nor an image
        changes.

        Within `one_sight` it is the list that was first asked for. Raises AevisError for the first image that cannot be
        read.
        """
        sight = current_sight()
        if sight is None:
            return self._listed_now()
        if self.root not in sight.listed:
            sight.listed[self.root] = self._listed_now()
        return sight.listed[self.root]

    def _listed_now(self) -> ImageList:
        entries, known = self.images, self._list
        paths = (
            known.paths if known is not None and known.entries is entries else self._all_paths(e.file for e in entries)
        )
        digests = self._looked_at(self._watched, paths)
        if known is None or known.paths is not paths or known.digests is not digests:
            known = self._list = ImageList(entries, paths, digests)
        return known

    def example_digests(self) -> Mapping[str, str]:
        """The digest of every image that the table of examples names, by the image's name.

        It is the same object as long as neither the table nor such an image changes. Raises AevisError for the first
        image that cannot be read.
        """
        examples, known = self._examples.by_id(), self._digests_of_examples
        if known is None or known[0] is not examples:
            names = tuple(self._examples.images())
            known = (examples, names, self._all_paths(names), (), {})
        _, names, paths, before, found = known
        digests = self._looked_at(self._watched_examples, paths)
        if digests is not before:
            found = dict(zip(names, digests, strict=True))
            self._digests_of_examples = (examples, names, paths, digests, found)
        return found

    def _all_paths(self, names: Iterable[str]) -> tuple[Path, ...]:
        return tuple(self.path(name) for name in names)

    def _looked_at(self, watched: Watched, paths: Sequence[Path]) -> tuple[str, ...]:
        try:
            return watched.digests(paths)
        except OSError as error:
            with self._refusing_unreadable(Path(error.filename)):
                raise

    def known_digests(self) -> tuple[str, ...]:
        """The known digests of this workspace's files as lines of text, for another process to `trust_digests`."""
        return self._files.known()

    def trust_digests(self, lines: Iterable[str]) -> None:
        """Take over the digests that another process found, of those files that have not changed since."""
        self._files.trust(lines)

    def examples(self) -> tuple[Example, ...]:
        """The examples as the table examples.csv has them now; none where there is no table."""
        return tuple(self._examples.by_id().values())

    def example(self, example_id: str) -> Example:
        """The example with this ID; raises AevisError where the table has none."""
        found = self._examples.by_id().get(example_id)
        if found is not None:
            return found
        raise AevisError(
            f"There is no example {example_id!r} in {self._examples.path}. `aevis score WORKSPACE` lists what there is."
        )

    def add_images(self, made: Sequence[tuple[ImageEntry, np.ndarray | bytes]]) -> None:
        """Write normal images (H, W, C), or files as they are, into the folder of images, and add their rows to the
        table where it has none of them."""
        for entry, image in made:
            if isinstance(image, bytes):
                write_file(self.path(entry.file), image)
            else:
                write_image(self.path(entry.file), image)
        add_entries(self.root / "images.csv", [entry for entry, _ in made])

    def keep_adversarials(self, made: Sequence[tuple[Example, np.ndarray | bytes]]) -> None:
        """Write adversarial images (H, W, C), or files as they are, and add the rows of their examples to the table, or
        replace rows of the same ID.

        Rows keep their order, and columns that are not the project's keep their values.
        """
        self.examples()  # a table that cannot be rewritten is refused before an image is
        for example, image in made:
            path = self.root / example.adversarial
            if isinstance(image, bytes):
                write_file(path, image)
            else:
                write_image(path, image)
            if (sight := current_sight()) is not None:
                sight.digests.pop(self.path(example.adversarial), None)
        self._examples.keep([example for example, _ in made])

    def allow_large(self, example_ids: Iterable[str]) -> None:
        """Note in the table that the user insists on these examples (`Example.allow_large`)."""
        self._examples.allow_large({self.example(example_id).id for example_id in example_ids})

    def path(self, name: str) -> Path:
        """The file of an image that is named as in the tables. Adversarial images lie in the workspace itself."""
        known = self._paths.get(name)
        if known is None:
            inside = self.root / name
            outside = self.root / self.settings.images / name
            known = self._paths[name] = inside if name.startswith(OWN_FOLDER) else outside
        return known

    def read(self, names: Iterable[str]) -> np.ndarray:
        """8-bit images, uint8 (B, H, W, C), at the model's input size; B may be 0. Where one of them is kept as floats,
        all are float64, with its grey levels as they are. Raises AevisError as `read_image`."""
        images = [self._image(self.path(name)) for name in names]
        wanted = self.settings.preprocessing
        return np.stack(images) if images else np.zeros((0, *wanted.input_size, wanted.channels), np.uint8)

    def _image(self, path: Path) -> np.ndarray:
        with self._refusing_unreadable(path):
            data, digest = self._files.read(path)
        self._refuse_changed(path, digest)
        wanted = self.settings.preprocessing
        if path.name.lower().endswith(SUFFIX):
            return decode_floats(data, path, (*wanted.input_size, wanted.channels))
        return decode_image(data, path, wanted)

    def _refuse_changed(self, path: Path, digest: str) -> None:
        """Refuse an image whose digest is not the one first given within `one_sight`; note the digest where none was
        given."""
        sight = current_sight()
        if sight is None:
            return
        known = sight.digest(path)
        if known is None:
            sight.digests[path] = digest
        elif known != digest:
            self._watched.forget()
            raise AevisError(f"The image {path} was changed while it was worked with. Give the same command again.")

    def at_input_size(self, names: Iterable[str], turned: bool = False) -> int:
        """How many images have the model's input size, or, `turned`, have it with height and width exchanged."""
        wanted = self.settings.preprocessing
        size, paths = wanted.input_size if turned else wanted.input_size[::-1], map(self.path, names)
        return sum(image_size(path, wanted.channels, self._where(path)) == size for path in paths)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts that masks tell, in the order of their numbers from 1; none where the workspace has no
        masks.

        Raises AevisError where the file of names cannot be read, or does not count from 1.
        """
        path = self.root / "parts" / "names.txt"
        if not os.path.lexists(path):
            return ()
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise AevisError(
                f"The names of parts in {path} cannot be read ({why_unread(error)}). Mend or remove it."
            ) from error
        named = [line.strip().partition(" ")[::2] for line in text.splitlines() if line.strip()]
        if any(number != str(i) or not name for i, (number, name) in enumerate(named, start=1)):
            raise AevisError(f"{path} must number its parts from 1, such as '1 ear', a line each. Mend or remove it.")
        return tuple(name.strip() for _, name in named)

    def has_parts(self, name: str) -> bool:
        """Whether a normal image has a mask of its parts."""
        return os.path.isfile(self._mask(name))  # False too for a name that no file can have

    def part_numbers(self, name: str) -> np.ndarray:
        """The number of the part at each pixel of a normal image, (H, W) at the model's input size; 0 where no part is.

        Raises AevisError for a mask that cannot be read, has another size than its image, or holds a number without a
        name.
        """
        numbers = read_mask(self._mask(name), self.path(name), self.settings.preprocessing)
        if numbers.max() > len(self.parts):
            raise AevisError(
                f"The mask {self._mask(name)} holds the number {numbers.max()}, and parts/names.txt names "
                f"{len(self.parts)} parts. Mend either."
            )
        return numbers

    def parts_digest(self, anew: bool = False) -> str:
        """A digest of the parts' names and of the masks of all normal images; "" where there is no mask.

        Within `one_sight` it is the one that was first asked for. With `anew` every mask is looked at again all the
        same.
        """
        sight = current_sight()
        if sight is None:
            return self._parts_digest_now(anew)
        if self.root not in sight.parts or anew:
            sight.parts[self.root] = self._parts_digest_now(anew)
        return sight.parts[self.root]

    def _parts_digest_now(self, anew: bool) -> str:
        if anew:
            self._watched_masks.forget()
        if not self.parts:
            return ""
        entries = self.images
        if self._masks is None or self._masks[0] is not entries:
            self._masks = (entries, tuple(self._mask(entry.file) for entry in entries))
        digests = self._watched_masks.digests(self._masks[1], missing_allowed=True)
        masks = [(entry.file, digest) for entry, digest in zip(entries, digests, strict=True) if digest]
        return hashlib.sha256(repr((self.parts, masks)).encode()).hexdigest()[:32] if masks else ""

    def image_hash(self, name: str) -> str:
        """A digest of an image's bytes; within `one_sight` the one that was first given.

        Raises AevisError where the image cannot be read.
        """
        path, sight = self.path(name), current_sight()
        if sight is not None and path in sight.digests:
            return sight.digests[path]
        digest = self._digest(path)
        self._refuse_changed(path, digest)
        if sight is not None:
            sight.digests[path] = digest
        return digest

    def _digest(self, path: Path) -> str:
        """The digest of an image file's bytes, computed again where the file has changed."""
        with self._refusing_unreadable(path):
            return self._files.of(path)

    def _refusing_unreadable(self, path: Path) -> AbstractContextManager[None]:
        return refusing_unreadable(path, where=lambda: self._where(path))

    def _where(self, path: Path) -> str:
        """A sentence on the setting that says where a normal image is looked for; "" for an adversarial."""
        if path.is_relative_to(self.root / OWN_FOLDER):
            return ""
        return (
            f"If the images were moved, say where they are: folder in the table [images] of "
            f"{self.root / 'workspace.toml'} is {self.settings.images!r}."
        )

    def _mask(self, name: str) -> Path:
        return (self.root / "parts" / name).with_suffix(".png")

    def _label(self, text: str, where: str) -> int | None:
        return self.classes.index_in_table(text, f"{self.root / where}")


def create(
    root: Path,
    settings: WorkspaceSettings,
    class_names: Sequence[str],
    images: Sequence[ImageEntry],
) -> Workspace:
    """Write a new workspace into a folder, and open it. Raises AevisError where the folder already holds a
    workspace."""
    refuse_workspace(root)
    refuse_names(images, root / settings.images)
    write_text(root / "classes.txt", "".join(f"{name}\n" for name in class_names))
    write_table(root / "images.csv", ("file", "label"), (asdict(image) for image in images))
    write_settings(root, settings)
    return Workspace(root)
