"""What a browser may send: the fields of the page's state are checked as strictly as those of a link.

Whoever can reach the page can send anything in the place of its state. What has another type, or is larger than the
page ever makes it, is refused before it is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aevis_dash.domain import AevisError, shorten, so_many, whole_number

STEPS = 200
"""Steps of a trail at most: more would not fit into a link."""
TEXT = 1000
"""Characters of a name, or of a note, at most."""
NAMES = 1000
"""Names in a list at most: there are as many groups in a deep network."""
NUMBERS = 65536
"""Maps of a layer, or neurons of an area, that are chosen at most."""
NEURONS = 2**22
"""Neurons of an area's rectangle at most: as many as a map of 2048 x 2048 has."""
LARGEST = 2**31
"""No map, neuron or step has a number as large."""


def text(value: Any, name: str) -> str:
    """A text of at most TEXT characters."""
    if not isinstance(value, str) or len(value) > TEXT:
        raise _refusal(name, f"no text of at most {TEXT} characters")
    return value


def number(value: Any, name: str) -> int:
    """A whole number of either sign below LARGEST."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= LARGEST:
        raise _refusal(name, "no whole number of a sensible size")
    return value


def share(value: Any, name: str) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _refusal(name, "no number from 0 to 1")
    return float(value)


def sequence(value: Any, name: str, most: int) -> Sequence[Any]:
    """A list of at most `most` values."""
    if not isinstance(value, list | tuple) or len(value) > most:
        raise _refusal(name, f"no list of at most {most}")
    return value


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Texts, each once."""
    return tuple(dict.fromkeys(text(each, name) for each in sequence(value, name, NAMES)))


def numbers(value: Any, name: str) -> tuple[int, ...]:
    """Whole numbers in the order in which they were given."""
    return tuple(number(each, name) for each in sequence(value, name, NUMBERS))


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """A mapping of names to values."""
    if not isinstance(value, Mapping):
        raise _refusal(name, "no mapping of names to values")
    return value


def area(value: Any, name: str) -> tuple[int, ...] | None:
    """The ends of an area, and the places chosen in it; None for none."""
    if value is None:
        return None
    found = numbers(value, name)
    if len(found) < 4:
        raise _refusal(name, f"{so_many(len(found), 'number')} and no area, which has four ends")
    top, left, bottom, right = found[:4]
    if not (0 <= top < bottom and 0 <= left < right and (bottom - top) * (right - left) <= NEURONS):
        raise _refusal(name, f"no area: its rows end at {bottom} and begin at {top}, its columns {right} and {left}")
    return found


def tree(parents: Sequence[int], at: int) -> None:
    """Refuse a trail whose steps follow no earlier step, or a place in it that there is not."""
    for step, parent in enumerate(parents):
        if not -1 <= parent < step:
            raise AevisError(
                f"Step {step} of the trail follows no step {parent}. Copy the link again, or reload the page."
            )
    if not -1 <= at < len(parents):
        raise AevisError(f"The trail has no step {at}, it has {len(parents)}. Copy the link again, or reload the page.")


def read_number(text: str, name: str) -> int:
    """A whole number of either sign as a link writes it."""
    found = whole_number(text.removeprefix("-"))
    if found is None:
        raise unreadable(name, text, "a whole number")
    return -found if text.startswith("-") else found


def read_numbers(text: str, name: str) -> tuple[int, ...]:
    """Whole numbers as a link writes them, none for an empty text."""
    return tuple(read_number(each, name) for each in text.split(",")) if text else ()


def unreadable(name: str, text: str, expected: str) -> AevisError:
    """The refusal of a part of a link that is not written as it should be."""
    return AevisError(
        f"The link cannot be read: its `{name}` says {shorten(text, 30)!r}, where {expected} is expected. Copy it "
        "again, or choose an example here."
    )


def _refusal(name: str, what: str) -> AevisError:
    return AevisError(
        f"In what the page or the link says, `{name}` is {what}. Reload the page, or copy the link again."
    )
