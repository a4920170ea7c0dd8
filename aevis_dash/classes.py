"""The classes of a classifier: their names, and which texts name a class (a name, an index, a synset of ImageNet)."""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any

from aevis_dash.config import PACKAGE
from aevis_dash.domain import AevisError, shorten, whole_number
from aevis_dash.tables import is_unprintable, read_text, why_unread

_SYNSET = re.compile(r"(n[0-9]{8})(?:[\s:,]+(.*))?")
_INDEX = re.compile(r"([0-9]+)(?:\.0*)?")
_ORDERED, _MOVED = 0.5, 0.01
"""Shares of ImageNet's 1000 names: the least that must stand at their places for the classes to be ImageNet's, and the
most that may stand at the place of another."""


class Classes:
    """The classes of a classifier, and the texts that name them.

    A text names a class by its whole name. Where no class has that name, the text may differ in case, have underscores
    or hyphens for spaces, or accents as characters of their own. Next, it may be one of the synonyms that a name lists
    with commas. Where the names are ImageNet's, it may last be the class's synset, such as n02510455, or the name that
    torchvision gives it.

    Args:
        names: the names of the classes, in the order of the model's outputs.
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        ways = [enumerate(self.names), _pair_with_keys(self.names, _alike), _pair_with_keys(self.names, _synonyms)]
        self.imagenet = is_imagenet(self.names)
        if self.imagenet:
            ways += [enumerate(imagenet()[0]), _pair_with_keys(imagenet()[1], _alike)]
        self._ways = [_group_by_key(pairs) for pairs in ways]

    def indices_of(self, text: str) -> tuple[int, ...]:
        """The indices of the classes that the text is a name of: none, one, or several classes of the same name."""
        for keys, way in zip((text, *[_loose(text)] * 2, text, _loose(text)), self._ways, strict=False):
            if keys in way:
                return tuple(way[keys])
        return ()

    def index(self, text: str, first: int = 0) -> int | None:
        """The class index that a text writes as a number, such as 388 or 388.0, where the first class has the number
        `first`; None where it writes no class's index."""
        written = _INDEX.fullmatch(text)
        number = whole_number(written[1]) if written else None
        return number - first if number is not None and 0 <= number - first < len(self.names) else None

    def label(self, text: str, where: str, first: int = 0) -> int | None:
        """The class index that a label names, by name or as a number.

        Args:
            text: the label.
            where: says, for error messages, where the label stands.
            first: the number of the first class.

        Returns:
            The index, or None for an empty label.

        Raises:
            AevisError: for a label that names no class, or more than one.
        """
        text = text.strip()
        if not text:
            return None
        number, named = self.index(text, first), self.indices_of(text)
        if len(named) > 1:
            raise AevisError(f"{where}: the label {text!r} {self.ambiguous(named)}")
        if named and number not in (None, named[0]):
            raise AevisError(
                f"{where}: the label {text!r} is the name of class {named[0]}, and the index of the class "
                f"{self.names[number]!r}. Give the classes names that are no numbers."
            )
        found = named[0] if named else number
        if found is None:
            raise AevisError(f"{where}: {self._unknown(text, first)}")
        return found

    def index_in_table(self, text: str, where: str) -> int | None:
        """The class index that a label names in a table that this project writes, where a number is always an index.

        Apart from that it is the same as `label`.
        """
        number = self.index(text.strip())
        return self.label(text, where) if number is None else number

    def ambiguous(self, named: Sequence[int]) -> str:
        """The end of an error message about a text that is the name of several classes."""
        by = "indices or synsets" if self.imagenet else "indices"
        return f"is the name of {len(named)} classes, {', '.join(map(str, named))}. Name them by their {by}."

    def _unknown(self, text: str, first: int) -> str:
        words = (
            f"the label {shorten(text)!r} is neither a class name nor an index from {first} to "
            f"{len(self.names) - 1 + first}. Labels are names as in classes.txt, or its line numbers counted from "
            f"{first}."
        )
        if first == 0 and text == str(len(self.names)):
            return f"{words} If the table counts from 1, say --count-from 1."
        if self.imagenet or _SYNSET.fullmatch(text) is None:
            return words
        return (
            f"{words} It looks like a synset, which can be read where classes.txt has ImageNet's 1000 names in order."
        )


@cache
def imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The synsets of the 1000 classes of ImageNet (ILSVRC 2012) in the classes' order, and the names that torchvision
    gives."""
    lines = (PACKAGE / "imagenet.txt").read_text(encoding="utf-8").splitlines()
    synsets, names = zip(*(line.split(" ", 1) for line in lines), strict=True)
    return synsets, names


def is_imagenet(names: Sequence[str]) -> bool:
    """Whether these are the names of ImageNet's 1000 classes in their order, by any of the common names."""
    synsets, published = imagenet()
    if len(names) != len(published):
        return False
    places = {_loose(name): i for i, name in enumerate(published)} | {synset: i for i, synset in enumerate(synsets)}
    found = [{places[key] for key in (_loose(name), *_synonyms(name)) if key in places} for name in names]
    agreeing = sum(i in place for i, place in enumerate(found))
    moved = sum(bool(place) and i not in place for i, place in enumerate(found))
    return agreeing >= _ORDERED * len(names) and moved <= _MOVED * len(names)


def same_classes(first: Sequence[str], second: Sequence[str], whose: tuple[str, str]) -> tuple[int, ...]:
    """For each class of one model the index of the same class of another model, which may have them in another order.

    Args:
        first: the names of the one model's classes, in the order of its outputs.
        second: those of the other model.
        whose: what the two are called in error messages.

    Raises:
        AevisError: where the two do not have the same classes, or a name stands for more than one of them.
    """
    if tuple(first) == tuple(second):
        return tuple(range(len(first)))
    here, there = whose
    if len(first) != len(second):
        raise AevisError(
            f"{here} has {len(first)} classes and {there} has {len(second)}. Only models of the same classes can be "
            "compared."
        )
    known, found = Classes(second), []
    for name in first:
        named = known.indices_of(name)
        if len(named) != 1:
            why = f"has no class {name!r}" if not named else f"has more than one class {name!r}"
            raise AevisError(
                f"{there} {why}, which {here} has. Only models of the same classes can be compared; mend classes.txt, "
                "or name the classes with --classes, in the order of the model's outputs."
            )
        found.append(named[0])
    if len(set(found)) != len(found):
        twice = next(index for index in found if found.count(index) > 1)
        raise AevisError(
            f"{here} has more than one class that {there} calls {second[twice]!r}, so it is unclear which is meant. "
            "Give the classes names of their own in classes.txt."
        )
    return tuple(found)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line, or from a JSON file.

    JSON may be a list of names, names by index, pairs of synset and name by index (imagenet_class_index.json), or
    indices by name (class_to_idx). Two classes may have one name; a label of that name is refused where it is used.

    Raises:
        AevisError: where the file cannot be read, has another form, or holds an empty or unprintable name or none at
            all.
    """
    try:
        text = read_text(path)
        document = json.loads(text) if path.suffix.lower() == ".json" else None
    except (OSError, ValueError, RecursionError) as error:
        raise AevisError(
            f"The class names in {path} cannot be read ({why_unread(error)}). Give a text in UTF-8, one name a line."
        ) from error
    names = _lines(text, path) if document is None else _from_json(document, path)
    if "" in names:
        raise AevisError(
            f"{path}: class {names.index('')} has no name, and it is unclear whether it is one. Name it, or take out "
            "the empty line."
        )
    bad = [i for i, name in enumerate(names, start=1) if is_unprintable(name)]
    if bad:
        raise AevisError(f"{path}: the name of class {bad[0] - 1} holds a control character. Names are plain text.")
    if not names:
        raise AevisError(f"{path} holds no class name. Write one name a line, in the model's order.")
    return names


def _lines(text: str, path: Path) -> tuple[str, ...]:
    names = [line.replace("\t", " ").strip() for line in re.split("\r\n|\r|\n", text)]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def _from_json(document: Any, path: Path) -> tuple[str, ...]:
    by_index = _by_index(document)
    if by_index is None or sorted(by_index) != list(range(len(by_index))):
        raise AevisError(
            f"{path} must be a list of names, names by index from 0, or indices by name, such as "
            '{"cat": 0, "dog": 1}; each index from 0 to the last must be there.'
        )
    values = [by_index[i] for i in range(len(by_index))]
    if all(isinstance(value, list) and len(value) == 2 for value in values):
        pairs = [(str(synset), str(name)) for synset, name in values]
        ordered = tuple(synset for synset, _ in pairs) == imagenet()[0]
        values = [name if ordered else f"{synset} {name}" for synset, name in pairs]
    return tuple(" ".join(str(value).split()) for value in values)


def _by_index(document: Any) -> dict[int, Any] | None:
    """What a JSON document gives each index; None for a document of another form."""
    if isinstance(document, list):
        document = {str(i): name for i, name in enumerate(document)}
    if not isinstance(document, dict):
        return None
    if all(type(value) is int for value in document.values()):
        synonyms: dict[int, list[str]] = defaultdict(list)
        for name, index in document.items():
            synonyms[index].append(name)
        return {index: ", ".join(names) for index, names in synonyms.items()}
    numbers = {key: whole_number(key) for key in document}
    if None in numbers.values() or not all(isinstance(value, str | list) for value in document.values()):
        return None
    return {numbers[key]: value for key, value in document.items()}  # type: ignore[misc]


def _pair_with_keys(names: Sequence[str], keys: Any) -> Iterable[tuple[int, str]]:
    return ((i, key) for i, name in enumerate(names) for key in keys(name))


def _group_by_key(pairs: Iterable[tuple[int, str]]) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for index, key in pairs:
        if index not in found[key]:
            found[key].append(index)
    return dict(found)


def _alike(name: str) -> tuple[str, ...]:
    return (_loose(name),)


def _synonyms(name: str) -> tuple[str, ...]:
    """The synset that a name begins with, the rest of the name, and each of its parts between commas."""
    synset = _SYNSET.fullmatch(name)
    rest = name if synset is None else synset[2] or ""
    begins = () if synset is None else (synset[1], _loose(rest))
    return tuple(key for key in (*begins, *(_loose(part) for part in rest.split(","))) if key)


def _loose(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)  # macOS writes an accent in a file's name as a character of its own
    return re.sub(r"[\s_-]+", " ", composed).strip().casefold()


def in_order(classes: Any) -> tuple[str, ...]:
    """The class names, in the order of the model's outputs, that Python code gives.

    Args:
        classes: a sequence of names; or a mapping of each name to its number, or of each number to its name, such as
            `class_to_idx` of torchvision's data sets.

    Raises:
        AevisError: they have no order, or are no names.
    """
    if isinstance(classes, Mapping):
        by_number = all(isinstance(one, int) for one in classes)
        numbers = dict(classes) if by_number else {number: name for name, number in classes.items()}
        if set(numbers) != set(range(len(classes))):
            raise AevisError(
                f"classes is a mapping whose numbers are not 0 to {len(classes) - 1}, each once. Give the names in the "
                "order of the model's outputs."
            )
        classes = [numbers[number] for number in range(len(numbers))]
    if isinstance(classes, Set):
        raise AevisError("classes is a set, which has no order. Give the names in the order of the model's outputs.")
    names = tuple(classes)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise AevisError(f"classes holds {wrong[0]!r}, which is no text. Give the names of the classes.")
    return names
