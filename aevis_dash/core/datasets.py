"""The data sets of torchvision by name, read from files that lie on this machine; nothing is ever downloaded.

Any class of `torchvision.datasets` will do whose items are a picture and the number of its class.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image
from torchvision import datasets

from aevis_dash.classes import Classes
from aevis_dash.domain import AevisError, reason_of, shorten, so_many
from aevis_dash.labels import Portion

PREFIX = "torchvision:"
"""How the name of a data set begins where images are named."""
USUAL_SPLITS = ("test", "val", "valid", "validation")
"""The parts of a data set that are taken where the user names none, the first that it has."""
_LABELS = ("targets", "labels", "_labels")
"""The attributes in which data sets hold the class of every item."""
_ERRORS = (RuntimeError, OSError, ValueError, TypeError, KeyError, EOFError, ImportError, AttributeError)
"""What the constructors of torchvision raise for files that are missing, damaged or of another form."""


@dataclass(frozen=True)
class DatasetImages:
    """Images of a data set.

    Attributes:
        name: the name of its class in `torchvision.datasets`.
        place: the folder in which its files are looked for.
        items: the data set.
        chosen: the places of the images that are taken, in the data set's order.
        labels: the number of the class of each of them, as the data set counts; None where it is unknown.
        class_names: the data set's names of all its classes, in its order.
        words: says what was taken.
        named: whether the data set itself names its classes; otherwise they are called by their numbers.
    """

    name: str
    place: Path
    items: Any
    chosen: tuple[int, ...]
    labels: tuple[int | None, ...]
    class_names: tuple[str, ...]
    words: str
    named: bool = True

    def __len__(self) -> int:
        return len(self.chosen)

    def images(self, first: int, last: int) -> list[np.ndarray]:
        """The taken images from `first` up to `last` in their own sizes, uint8 (H, W, C), where grey ones have one
        channel.

        Raises:
            AevisError: an image cannot be read.
        """
        return [_picture(_item(self.name, self.items, i)[0]) for i in self.chosen[first:last]]

    def labels_among(self, classes: Classes) -> list[int | None]:
        """The index of the class of each image among the model's classes, which are found by the data set's names.

        Raises:
            AevisError: the model has no class of that name, or several.
        """
        if self.class_names == classes.names:
            return list(self.labels)
        synsets = getattr(self.items, "wnids", None)
        found = {label: self._among(label, classes, synsets) for label in sorted(set(self.labels) - {None})}  # type: ignore[type-var]
        return [None if label is None else found[label] for label in self.labels]

    def _among(self, label: int, classes: Classes, synsets: Sequence[str] | None) -> int:
        own = self.class_names[label]
        texts = [synsets[label]] if classes.imagenet and synsets else []
        for text in (*texts, own, *own.split(", "), *own.split(" - ")):
            index = next(iter(classes.indices_of(text)), None)
            if index is not None and len(classes.indices_of(text)) == 1:
                return index
        raise AevisError(
            f"{PREFIX}{self.name} has the class {own!r}, and the model has none of that name; its classes are "
            f"{shorten(', '.join(classes.names[:3]), 60)} and so on. Name the model's classes with --classes as the "
            f"data set does ({shorten(', '.join(self.class_names[:3]), 60)} and so on), in the model's order, or take "
            "a model that was trained on them."
        )


def dataset_name(images: Path) -> str | None:
    """The name of a data set that stands where images are named, such as "CIFAR10" of "torchvision:CIFAR10"; None for
    anything else."""
    text = str(images)
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def read_dataset(name: str, root: Path, split: str | None = None, portion: Portion | None = None) -> DatasetImages:
    """Read a data set of torchvision from files on this machine.

    Args:
        name: the name of its class in `torchvision.datasets`.
        root: the folder that torchvision calls its root.
        split: which part is taken, by torchvision's name; None for the part that is for testing, where there is one.
        portion: how many of its images are taken; None for all.

    Raises:
        AevisError: there is no such data set, its files are not there or damaged, or its items are no pictures with a
            class.
    """
    kind = _kind(name)
    items, part = _open(name, kind, Path(root).expanduser(), split)
    if not isinstance(items, Sized) or not len(items):
        raise AevisError(f"{PREFIX}{name} in {root} holds no image. Give the folder of its files with --root.")
    _item(name, items, 0)  # refused at once where the items are something else
    known = _known_labels(items)
    seen: list[int | None] = []

    def asked() -> Iterator[int | None]:
        for i in range(len(items)):
            seen.append(_item(name, items, i)[1] if known is None else known[i])
            yield seen[-1]

    chosen = list((portion or Portion()).places(asked()))
    names = _class_names(items)
    most = max((label for label in known or seen if label is not None), default=-1)
    told = names or tuple(str(i) for i in range(most + 1))
    if most >= len(told):
        raise AevisError(
            f"{PREFIX}{name} has images of class {most}, and only {so_many(len(told), 'name')} for classes."
        )
    words = f"{PREFIX}{name}{f', {part}' if part else ''}: {len(chosen)} of {so_many(len(items), 'image')}"
    return DatasetImages(
        name, Path(root), items, tuple(chosen), tuple(seen[i] for i in chosen), told, words, bool(names)
    )


def _kind(name: str) -> Any:
    kind = getattr(datasets, name, None) if name in datasets.__all__ else None
    if not inspect.isclass(kind) or kind is datasets.VisionDataset:
        alike = [each for each in datasets.__all__ if each.casefold() == name.casefold()]
        mean = f" Do you mean {alike[0]}?" if alike else ""
        raise AevisError(
            f"torchvision has no data set {name!r}.{mean} Name a class of torchvision.datasets, such as CIFAR10."
        )
    return kind


def _parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters that a data set's class takes, those of its parents included where it hands them on."""
    found: dict[str, inspect.Parameter] = {}
    for each in inspect.getmro(kind):
        if "__init__" not in vars(each):
            continue
        own = inspect.signature(each.__init__).parameters
        found = {**own, **found}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return found


def _open(name: str, kind: Any, root: Path, split: str | None) -> tuple[Any, str]:
    """A data set, and the part of it that was taken; "" for one that has no parts."""
    takes = _parameters(kind)
    given: dict[str, Any] = {"download": False} if "download" in takes else {}
    if "root" not in takes:
        raise AevisError(f"{PREFIX}{name} reads no files of a folder, so it cannot be taken. Name another data set.")
    if "split" in takes:
        if "train" in takes:
            given["train"] = False
        if split is None and takes["split"].default is inspect.Parameter.empty:
            raise AevisError(f"{PREFIX}{name} has several parts. Say which with --split, as torchvision names it.")
        return _first_part(name, kind, root, given, (split,) if split else USUAL_SPLITS)
    if "train" in takes:
        if split not in (None, "train", "test"):
            raise AevisError(f"{PREFIX}{name} has the parts train and test, and no {split!r}. Mend --split.")
        return _made(name, kind, root, {**given, "train": split == "train"}, split or "test"), split or "test"
    if split is not None:
        raise AevisError(f"{PREFIX}{name} has no parts. Leave out --split.")
    return _made(name, kind, root, given, ""), ""


def _first_part(name: str, kind: Any, root: Path, given: Mapping[str, Any], parts: Iterable[str]) -> tuple[Any, str]:
    """The first of these parts that the data set knows; torchvision refuses an unknown one with a ValueError that names
    those there are."""
    refusal = _UnknownPart("it has no part.")
    for part in parts:
        try:
            return _made(name, kind, root, {**given, "split": part}, part), part
        except _UnknownPart as error:
            refusal = error
    raise AevisError(f"{PREFIX}{name}: {refusal} Say one of them with --split.")


class _UnknownPart(Exception):
    """The data set has no part of that name."""


def _made(name: str, kind: Any, root: Path, given: Mapping[str, Any], part: str) -> Any:
    try:
        return kind(root=str(root), **given)
    except _ERRORS as error:
        if part and isinstance(error, ValueError) and "Unknown value" in str(error):
            raise _UnknownPart(str(error)) from error
        needed = isinstance(error, TypeError) and "required" in str(error)
        if needed:
            raise AevisError(
                f"{PREFIX}{name} needs more than a folder and a part ({reason_of(error)}), so it cannot be taken by "
                "name. Save its images as files or as an array."
            ) from error
        why = reason_of(error).replace(" You can use download=True to download it", "").rstrip(".")
        raise AevisError(
            f"{PREFIX}{name} cannot be read ({shorten(why, 300)}). Its files are expected {_expected(kind, root, part)}"
            ", as torchvision lays them out, and nothing is downloaded. Put them there, or give another --root."
        ) from error


def _expected(kind: Any, root: Path, part: str) -> str:
    """Where torchvision looks for the files of a data set, in words."""
    within = getattr(kind, "base_folder", None)
    if isinstance(within, str):
        return f"in {root / within}"
    if issubclass(kind, datasets.MNIST):
        return f"in {root / kind.__name__ / 'raw'} without .gz"
    files = getattr(kind, "split_list", {}).get(part)
    return f"as {root / files[1]}" if files else f"in {root}"


def _known_labels(items: Any) -> list[int | None] | None:
    """The class of every item, where the data set holds them all; None where only the items tell."""
    for name in _LABELS:
        held = getattr(items, name, None)
        if held is not None and isinstance(held, Sized) and len(held) == len(items):
            try:
                return [_number(each) for each in cast(Iterable[Any], held)]
            except (TypeError, ValueError):
                return None
    return None


def _number(label: Any) -> int | None:
    """The class that a label tells; None for an item without a class, of which some data sets say -1."""
    if label is None:
        return None
    number = int(label)
    if number != label:
        raise ValueError(f"{label} is no number of a class")
    return number if number >= 0 else None


def _item(name: str, items: Any, place: int) -> tuple[Image.Image, int | None]:
    """The picture and the class of one item."""
    where = f"Item {place} of {PREFIX}{name}"
    try:
        found = items[place]
    except Exception as error:  # Pillow raises IndexError, TypeError, struct.error and others on damaged files
        raise AevisError(f"{where} cannot be read ({shorten(reason_of(error), 200)}). Copy its file again.") from error
    try:
        picture, label = found
        if isinstance(picture, Image.Image):
            return picture, _number(label)
    except (TypeError, ValueError):
        picture = found
    raise AevisError(
        f"{where} is no picture with the number of its class, so this data set cannot be taken. Those of "
        "torchvision for image classification can."
    )


def _picture(picture: Image.Image) -> np.ndarray:
    """A picture as an 8-bit image, uint8 (H, W, C), of one channel where it is grey and else of three."""
    grey = picture.mode in ("1", "L", "LA")
    return np.atleast_3d(np.asarray(picture.convert("L" if grey else "RGB")))


def _class_names(items: Any) -> tuple[str, ...]:
    """The names that a data set gives its classes, in its order; () where it gives none."""
    names = getattr(items, "classes", None) or getattr(items, "categories", None)
    if not isinstance(names, Sequence) or isinstance(names, str):
        return ()
    return tuple(", ".join(map(str, each)) if isinstance(each, tuple | list) else str(each) for each in names)
