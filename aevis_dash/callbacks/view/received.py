"""Checks of what a browser sends: the fields of the page's state are checked as strictly as those of a link.

Whoever can reach the page can send anything in place of its state. A value of another type, or one larger than the page
ever makes it, is refused with an AevisError before it is used. Each function takes the value and its name for the
message.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aevis_dash.domain import AevisError, shorten, so_many, whole_number

STEPS = 200
"""The number of steps of a trail at most. More would not fit into a link."""
TEXT = 1000
"""The number of characters of a name or a note at most."""
NAMES = 1000
"""The number of names in a list at most; a deep network has as many groups."""
NUMBERS = 65536
"""The number of maps of a layer, or of neurons of an area, that are chosen at most."""
NEURONS = 2**22
"""The number of neurons of an area's rectangle at most, which a map of 2048 x 2048 has."""
LARGEST = 2**31
"""A number above that of every map, neuron and step."""


def text(value: Any, name: str) -> str:
    """The value where it is a text of at most TEXT characters."""
    if not isinstance(value, str) or len(value) > TEXT:
        raise _refusal(name, f"no text of at most {TEXT} characters")
    return value


def number(value: Any, name: str) -> int:
    """The value where it is a whole number, of either sign, whose size is below LARGEST."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= LARGEST:
        raise _refusal(name, "no whole number of a sensible size")
    return value


def share(value: Any, name: str) -> float:
    """The value where it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _refusal(name, "no number from 0 to 1")
    return float(value)


def span(value: Any, name: str) -> tuple[float, float] | None:
    """The lower and the upper end of a range of finite numbers; None for None."""
    if value is None:
        return None
    ends = sequence(value, name, 2)
    if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        raise _refusal(name, "no range, which has two ends")
    low, high = ends
    if not -LARGEST < low <= high < LARGEST:
        raise _refusal(name, f"no range: it begins at {low} and ends at {high}")
    return float(low), float(high)


def sequence(value: Any, name: str, most: int) -> Sequence[Any]:
    """The value where it is a list of at most `most` values."""
    if not isinstance(value, list | tuple) or len(value) > most:
        raise _refusal(name, f"no list of at most {most}")
    return value


def texts(value: Any, name: str) -> tuple[str, ...]:
    """The distinct texts of a list of at most NAMES texts."""
    return tuple(dict.fromkeys(text(each, name) for each in sequence(value, name, NAMES)))


def numbers(value: Any, name: str) -> tuple[int, ...]:
    """The numbers of a list of at most NUMBERS whole numbers, in their order."""
    return tuple(number(each, name) for each in sequence(value, name, NUMBERS))


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """The value where it is a mapping."""
    if not isinstance(value, Mapping):
        raise _refusal(name, "no mapping of names to values")
    return value


def area(value: Any, name: str) -> tuple[int, ...] | None:
    """The ends of an area, and the places that are chosen in it; None for None."""
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
    """Refuse a trail with a step that follows no earlier step, or with a place `at` that the trail does not have."""
    for step, parent in enumerate(parents):
        if not -1 <= parent < step:
            raise AevisError(
                f"Step {step} of the trail follows no step {parent}. Copy the link again, or reload the page."
            )
    if not -1 <= at < len(parents):
        raise AevisError(f"The trail has no step {at}, it has {len(parents)}. Copy the link again, or reload the page.")


def read_number(text: str, name: str) -> int:
    """A whole number of either sign, read as a link writes it."""
    found = whole_number(text.removeprefix("-"))
    if found is None:
        raise unreadable(name, text, "a whole number")
    return -found if text.startswith("-") else found


def read_numbers(text: str, name: str) -> tuple[int, ...]:
    """Whole numbers, read as a link writes them; none for an empty text."""
    return tuple(read_number(each, name) for each in text.split(",")) if text else ()


def read_span(text: str, name: str) -> tuple[float, ...]:
    """The ends of a range, read as a link writes them."""
    try:
        return tuple(float(end) for end in text.split(","))
    except ValueError:
        raise unreadable(name, text, "two numbers with a comma between them") from None


def unreadable(name: str, text: str, expected: str) -> AevisError:
    """The error for a part of a link that is not written as it should be; it is returned and not raised."""
    return AevisError(
        f"The link cannot be read: its `{name}` says {shorten(text, 30)!r}, where {expected} is expected. Copy it "
        "again, or choose an example here."
    )


def _refusal(name: str, what: str) -> AevisError:
    return AevisError(
        f"In what the page or the link says, `{name}` is {what}. Reload the page, or copy the link again."
    )
