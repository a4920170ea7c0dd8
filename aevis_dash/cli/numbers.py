"""Parsers of the values of options. Each raises argparse.ArgumentTypeError, in words for the user, for what does not
fit."""

import argparse
import ipaddress
import re
from collections.abc import Callable
from typing import Any

from aevis_dash.config import bytes_of
from aevis_dash.domain import whole_number

MOST_SIDE, MOST_MINUTES = 4096, 24 * 60
"""The largest side of a model's input in pixels, and the longest run of a measurement in minutes."""


def seed(text: str) -> int:
    """The seed of a random generator, a whole number from 0 to 2**32 - 1."""
    return between(text, 0, 2**32 - 1, f"{text!r} is no seed; give 0 to {2**32 - 1}")


def prefix(text: str) -> str:
    """A path as it stands in an address, of plain names between slashes, such as "/aevis/"."""
    path = f"/{text.strip('/')}/".replace("//", "/")
    if not re.fullmatch(r"/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*", path):
        raise argparse.ArgumentTypeError(f"{text!r} is no path of letters, digits, and -._~, such as /aevis/")
    return path


def hours(text: str) -> float:
    """A time in hours, more than 0 and at most 10000."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give hours, more than 0 and at most 10000")
    return found


def gibibytes(text: str) -> float:
    """A size in GiB, from 0 to 1,000,000."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give GiB, from 0 to 1000000")
    return found


def storage(text: str) -> int:
    """A size in bytes, written as 512M or 20G."""
    found = bytes_of(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give 1M or more, such as 512M or 20G")
    return found


def age(text: str) -> float:
    """A time in seconds, written in hours, days or weeks: 12h, 30d, 8w."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([hdw])", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give hours, days or weeks, such as 12h, 30d or 8w")
    return float(found[1]) * {"h": 3600, "d": 86_400, "w": 604_800}[found[2]]


def address(text: str) -> str:
    """A numeric address, such as 10.0.0.7 or ::1."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no numeric address, such as 10.0.0.7") from None


def network(text: str) -> str:
    """A numeric address or a network, such as 10.0.0.7 or 10.0.0.0/8."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no numeric address or network, such as 10.0.0.7 or 10.0.0.0/8"
        ) from None


def header(text: str) -> str:
    """The name of a header, of letters, digits and hyphens, that no browser sets by itself."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", text) or text.lower() in ("host", "cookie", "origin", "referer"):
        raise argparse.ArgumentTypeError(f"{text!r} is no header that a proxy could set, such as X-Remote-User")
    return text


def port(text: str) -> int:
    """The number of a port, from 1 to 65535."""
    return between(text, 1, 65535, f"{text!r} is no port; give a number from 1 to 65535")


def count(most: int, least: int = 1) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`."""
    return lambda text: between(text, least, most, f"{text!r} is no count that can be; give {least} to {most}")


def epsilons(text: str) -> tuple[float, ...]:
    """Lengths in grey levels of 255 with commas between them, each from 0.01 to 255."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0.01 <= value <= 255 for value in values):
        raise argparse.ArgumentTypeError(
            f"{text!r} are no epsilons; give numbers from 0.01 to 255 with commas between them"
        )
    return values


def epsilon(text: str) -> float:
    """One length in grey levels of 255, from 0.01 to 255."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 255:
        raise argparse.ArgumentTypeError(f"{text!r} is no epsilon; give a number from 0.01 to 255")
    return value


def minutes(text: str) -> float:
    """A time in minutes, from 0 to MOST_MINUTES."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= MOST_MINUTES:  # NaN is not either
        raise argparse.ArgumentTypeError(f"{text!r} is no time that can be; give 0 to {MOST_MINUTES} minutes")
    return found


def size(text: str) -> tuple[int, int]:
    """The height and the width of an image in pixels, from N or HEIGHTxWIDTH."""
    parts = text.lower().split("x")
    words = f"{text!r} is no size; give N or HEIGHTxWIDTH, such as 224 or 224x192, up to {MOST_SIDE}"
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(words)
    sides = [between(part, 1, MOST_SIDE, words) for part in parts]
    return sides[0], sides[-1]


def between(text: str, least: int, most: int, otherwise: str) -> int:
    """The whole number that a text writes.

    Args:
        text: the text.
        least: the least number that is allowed.
        most: the largest number that is allowed.
        otherwise: the message of the error for anything else.
    """
    number = whole_number(text)
    if number is None or not least <= number <= most:
        raise argparse.ArgumentTypeError(otherwise)
    return number


def many(count: int | None = None, kind: Callable[[str], Any] = float) -> Callable[[str], tuple[Any, ...]]:
    """A parser of exactly `count` numbers with commas between them, each of which `kind` parses; None for any number of
    them."""

    def parse(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not values or count not in (None, len(values)):
            raise argparse.ArgumentTypeError(f"{text!r} are not {count or 'any'} numbers with commas between them")
        return values

    return parse
