"""The normal images of a new workspace: those of a folder; of a batch in a file of arrays, or of a data set of
torchvision, which become PNGs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aevis_dash.classes import Classes
from aevis_dash.config import Progress
from aevis_dash.core.array_files import SOURCES, SUFFIXES
from aevis_dash.core.array_labels import labels_of_batch
from aevis_dash.core.datasets import DatasetImages
from aevis_dash.core.image_batch import ArrayReading, ImageBatch, as_batch, read_batch
from aevis_dash.domain import AevisError, Preprocessing
from aevis_dash.images import decode_image, encode_image, image_suffix, read_image, write_image
from aevis_dash.labels import ImageEntry, Labelled, Portion, find_images

FOLDER = "images"
"""The folder inside a workspace into which the images of a batch are written."""


@dataclass(frozen=True)
class NewImages:
    """The normal images of a workspace that is about to be made.

    Attributes:
        place: the folder that holds them, or the file of arrays.
        labelled: the images with their labels, and what did not match.
        batch: the images themselves, where they come from an array or a data set.
    """

    place: Path
    labelled: Labelled
    batch: ImageBatch | DatasetImages | None = None

    @property
    def folder(self) -> str:
        """The folder of the images, as workspace.toml names it."""
        return FOLDER if self.batch else str(self.place.resolve())

    @property
    def read_as(self) -> str:
        """How the array or the data set was read, in words; empty for a folder."""
        return self.batch.words if self.batch else ""

    def readable(
        self, preprocessing: Preprocessing, skip_unreadable: bool, progress: Progress, portion: Portion
    ) -> tuple[list[ImageEntry], list[str]]:
        """The images of a portion that can be read, and for each other one a sentence that says why not.

        Raises AevisError for the first that cannot be read, unless such are skipped, and where none can be.
        """
        entries = self.labelled.images
        places = list(portion.places(entry.label for entry in entries))
        if isinstance(self.batch, ImageBatch):  # all of them are of one size
            self._try(0, preprocessing)
            return [entries[i] for i in places], []
        good, refused = [], []
        for done, i in enumerate(places):
            progress(done / len(places), f"reading image {done + 1} of {len(places)}")
            try:
                self._try(i, preprocessing)
                good.append(entries[i])
            except AevisError as error:
                if not skip_unreadable:
                    raise AevisError(f"{error} (Or leave out such images with --skip-unreadable.)") from error
                refused.append(str(error))
        if not good:
            raise AevisError(f"None of the {len(places)} images in {self.place} can be used. The first: {refused[0]}")
        return good, refused

    def _try(self, i: int, preprocessing: Preprocessing) -> None:
        """Read an image as the workspace will. Raises AevisError where it cannot be read."""
        entry = self.labelled.images[i]
        if self.batch is None:
            read_image(self.place / entry.file, preprocessing)
            return
        image = self.batch.images(i, i + 1)[0]
        name = self.place / entry.file if isinstance(self.batch, DatasetImages) else self.place
        decode_image(encode_image(image), name.with_suffix(image_suffix(image.shape[2])), preprocessing)

    def write(self, root: Path, taken: Sequence[ImageEntry], progress: Progress) -> None:
        """Write those images of a batch or a data set that are taken into the workspace's folder. Those of a folder
        stay where they are.

        Raises AevisError, before anything is written, where another image would be replaced.
        """
        if self.batch is None:
            return
        numbers = {entry.file: i for i, entry in enumerate(self.labelled.images)}
        places = [(numbers[entry.file], root / FOLDER / entry.file) for entry in taken]
        for i, place in places:
            if place.exists() and not _holds(place, self.batch.images(i, i + 1)[0]):
                raise AevisError(
                    f"{place} is there already, and the workspace would replace it. Choose another folder."
                )
        for done, (i, place) in enumerate(places):
            progress(done / len(places), f"writing image {done + 1} of {len(places)}")
            write_image(place, self.batch.images(i, i + 1)[0])


def find_new_images(
    images: Path | np.ndarray | DatasetImages,
    labels: Path | Sequence[int | str | None] | None,
    classes: Classes,
    beside: Sequence[Path] = (),
    reading: ArrayReading | None = None,
    channels: int = 3,
    count_from: int | None = None,
) -> NewImages:
    """The normal images of a new workspace, with their labels; nothing is written.

    Args:
        images: a folder of images, a file of arrays with a batch of them, the batch itself, or a data set.
        labels: a table of labels or, for a file of arrays, also an array; None for what the folders or the file itself
            say. For a batch that is given itself, the class of each image by name or index. For a data set, None.
        classes: the classes that labels name.
        beside: files that belong to the workspace and are no images.
        reading: what the user says of the array.
        channels: the number of channels of the model's input.
        count_from: the number of the first class in a table or an array of labels; None as for `labels.find_images`.

    Raises:
        AevisError: for images or labels that cannot be read.
    """
    asked = reading or ArrayReading()
    if isinstance(images, DatasetImages):
        if labels is not None or count_from is not None or asked != ArrayReading():
            raise AevisError(
                "A data set brings its labels and is no file of arrays. Leave out --labels, --count-from, --key, "
                "--layout and --array-range."
            )
        named = zip(images.chosen, images.labels_among(classes), strict=True)
        entries = tuple(ImageEntry(f"{i:05d}.png", label) for i, label in named)
        return NewImages(images.place, Labelled(entries, f"the data set {images.name}"), images)
    if isinstance(images, np.ndarray):
        batch = as_batch(images, "The array of images", asked, channels)
        entries = _entries(_given_labels(labels, len(batch), classes), channels)
        return NewImages(Path("array"), Labelled(entries, "the labels that were given"), batch)
    if not (labels is None or isinstance(labels, Path)):
        raise AevisError("Labels are given one by one for an array of images. For files give a table of them.")
    if images.is_dir() or images.suffix.lower() not in SUFFIXES:
        if asked != ArrayReading():
            raise AevisError(
                f"--key, --layout and --array-range are about a file of arrays, and {images} is none. Leave them out."
            )
        return NewImages(images, find_images(images, labels, classes, beside, channels, count_from))
    batch = read_batch(images, SOURCES, asked, channels)
    found, whose = labels_of_batch(images, labels, len(batch), classes, count_from)
    return NewImages(images, Labelled(_entries(found, channels), whose), batch)


def _entries(labels: Sequence[int | None], channels: int) -> tuple[ImageEntry, ...]:
    return tuple(ImageEntry(f"{i:05d}{image_suffix(channels)}", label) for i, label in enumerate(labels))


def _given_labels(
    labels: Path | Sequence[int | str | None] | None, count: int, classes: Classes
) -> Sequence[int | None]:
    """The class index of each of `count` images, of labels that name it or give it."""
    given = [None] * count if labels is None else labels
    if isinstance(given, Path) or len(given) != count:
        raise AevisError(f"There are {count} images in the array. Give one label for each, in the same order.")
    return [
        None if label is None else classes.label(str(label), f"label {i}, counted from 0")
        for i, label in enumerate(given)
    ]


def _holds(path: Path, image: np.ndarray) -> bool:
    """Whether a file holds this very image, as one does that an interrupted run wrote."""
    try:
        return path.read_bytes() == encode_image(image)
    except OSError:
        return False
