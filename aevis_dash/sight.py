"""One sight of the images: as long as it lasts, an image counts as what it was when it was first looked at.

Results are stored under digests of the images that they were computed from, and others may change images at any time.
The request of a page is one sight as well, so that the parts of one answer are about the same images.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aevis_dash.image_list import ImageList

T = TypeVar("T")


@dataclass
class Seen:
    """What was seen since `one_sight` began: the digests of single images; of all normal images, and of the masks,
    by the folder of their workspace; and what else was found that does not change while it lasts."""

    digests: dict[Path, str] = field(default_factory=dict)
    listed: dict[Path, ImageList] = field(default_factory=dict)
    parts: dict[Path, str] = field(default_factory=dict)
    found: dict[Hashable, Any] = field(default_factory=dict)

    def digest(self, path: Path) -> str | None:
        """The digest that was given for an image; None where none was given."""
        if path in self.digests:
            return self.digests[path]
        for listed in self.listed.values():
            if path in listed.digest_at:
                return listed.digest_at[path]
        return None


_sight: ContextVar[Seen | None] = ContextVar("sight", default=None)


def current_sight() -> Seen | None:
    """The sight that lasts; None outside of `one_sight`."""
    return _sight.get()


@contextmanager
def one_sight() -> Iterator[None]:
    """As long as it lasts, an image counts as what it was when its digest was first asked for.

    An image that is then read with another content is refused. So no result is stored under the digest of an image that
    it was not computed from. It decorates functions that ask for digests and then compute from images; one inside
    another belongs to the outer one.
    """
    if _sight.get() is not None:
        yield
        return
    token = _sight.set(Seen())
    try:
        yield
    finally:
        _sight.reset(token)


def once_in_a_sight(key: Hashable, find: Callable[[], T], settled: Callable[[T], bool]) -> T:
    """Find something that several parts of one answer ask for, once within `one_sight`; every time outside of it.

    Args:
        key: what it is.
        find: finds it.
        settled: whether what was found stays as it is while the sight lasts, so that it need not be found again.
    """
    sight = _sight.get()
    if sight is not None and key in sight.found:
        return sight.found[key]
    found = find()
    if sight is not None and settled(found):
        sight.found[key] = found
    return found
