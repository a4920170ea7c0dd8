"""What the options of the command line take: numbers within bounds, and how they are refused."""

import argparse
import re
from collections.abc import Callable
from typing import Any

from aevis_dash.domain import whole_number

MOST_SIDE, MOST_MINUTES = 4096, 24 * 60
"""Of an input in pixels, and of a run that measures."""


def seed(text: str) -> int:
    """A whole number that a random generator begins with."""
    return between(text, 0, 2**32 - 1, f"{text!r} is no seed; give 0 to {2**32 - 1}")


def prefix(text: str) -> str:
    """A path of plain names as it stands in an address, between slashes."""
    path = f"/{text.strip('/')}/".replace("//", "/")
    if not re.fullmatch(r"/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*", path):
        raise argparse.ArgumentTypeError(f"{text!r} is no path of letters, digits, and -._~, such as /aevis/")
    return path


def hours(text: str) -> float:
    """A time in hours, more than 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give hours, more than 0 and at most 10000")
    return found


def port(text: str) -> int:
    """The number of a port."""
    return between(text, 1, 65535, f"{text!r} is no port; give a number from 1 to 65535")


def count(most: int, least: int = 1) -> Callable[[str], int]:
    """What reads a whole number from `least` to `most`."""
    return lambda text: between(text, least, most, f"{text!r} is no count that can be; give {least} to {most}")


def minutes(text: str) -> float:
    """A time in minutes; 0 is allowed."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= MOST_MINUTES:  # NaN is not either
        raise argparse.ArgumentTypeError(f"{text!r} is no time that can be; give 0 to {MOST_MINUTES} minutes")
    return found


def size(text: str) -> tuple[int, int]:
    """Height and width of an image in pixels."""
    parts = text.lower().split("x")
    words = f"{text!r} is no size; give N or HEIGHTxWIDTH, such as 224 or 224x192, up to {MOST_SIDE}"
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(words)
    sides = [between(part, 1, MOST_SIDE, words) for part in parts]
    return sides[0], sides[-1]


def between(text: str, least: int, most: int, otherwise: str) -> int:
    """The whole number that the text writes; refused in the words `otherwise` where it is none or out of range."""
    number = whole_number(text)
    if number is None or not least <= number <= most:
        raise argparse.ArgumentTypeError(otherwise)
    return number


def many(count: int, kind: Callable[[str], Any] = float) -> Callable[[str], tuple[Any, ...]]:
    """What reads `count` numbers with commas between them."""

    def parse(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r} are not {count} numbers with commas between them")
        return values

    return parse
