"""Trails that were saved under a name, for everybody who opens the workspace: a small JSON file for each in the
workspace's cache folder."""

import json
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from aevis_dash.domain import AevisError, shorten
from aevis_dash.files import READ_ONLY, write_file

FOLDER = "saved-trails"
MOST, MOST_OF_ONE = 500, 100
"""The number of trails that are kept, and of those the number that one person has saved."""
LONGEST_NAME, LONGEST_LINK = 80, 200_000
"""The number of characters of a name, and of the address of a view."""
_KEY = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class SavedTrail:
    """A trail that was saved.

    Attributes:
        key: the name of its file.
        name: what it was called.
        who: who saved it; "" where that is not known.
        when: the time, in UTC, as ISO 8601 has it.
        link: the view with its trail and its notes, as the query of the page's address, from the question mark on.
    """

    key: str
    name: str
    who: str
    when: str
    link: str


class SharedTrails:
    """The saved trails of a workspace.

    Args:
        cache: the workspace's cache folder.
    """

    def __init__(self, cache: Path):
        self.folder = cache / FOLDER

    def all(self) -> tuple[list[SavedTrail], int]:
        """The saved trails, the last one first; and how many files are there that cannot be read."""
        found = [_read(path) for path in self.folder.glob("*.json")] if self.folder.is_dir() else []
        trails = [trail for trail in found if trail is not None]
        return sorted(trails, key=lambda trail: (trail.when, trail.key), reverse=True), len(found) - len(trails)

    def save(self, name: str, who: str, link: str) -> SavedTrail:
        """Save a trail.

        Args:
            name: what to call it.
            who: who saves it; "" where that is not known.
            link: the view, as the query of the page's address.

        Raises:
            AevisError: it has no name, one of the texts is too long, there are too many, or nothing can be written.
        """
        name, who = _text(name, "name of the trail"), _text(who, "name of who saves it")
        if not name:
            raise AevisError("The trail has no name. Type one beside the button, and save it again.")
        if not link.startswith("?") or len(link) > LONGEST_LINK:
            raise AevisError("The page shows nothing that can be saved, or its trail is too long. Choose an example.")
        made = SavedTrail(secrets.token_hex(8), name, who, datetime.now(UTC).isoformat(timespec="seconds"), link)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "lock", timeout=20):
                trails, damaged = self.all()
                if len(trails) + damaged >= MOST:
                    raise AevisError(f"{MOST} trails are saved, which is as many as there may be. Delete some first.")
                if who and sum(trail.who == who for trail in trails) >= MOST_OF_ONE:
                    raise AevisError(f"You have saved {MOST_OF_ONE} trails, as many as one may. Delete some first.")
                write_file(self._place(made.key), json.dumps(asdict(made)).encode())
        except OSError as error:
            raise _unwritten(error) from error
        return made

    def delete(self, key: str, who: str | None) -> None:
        """Delete a saved trail. One that is gone already is no mistake.

        Args:
            key: its key.
            who: who deletes it, which has to be who saved it; None where everybody may delete all.

        Raises:
            AevisError: somebody else saved it, or it cannot be deleted.
        """
        if not _KEY.fullmatch(key):
            raise AevisError(f"There is no saved trail {shorten(key)!r}.")
        found = _read(self._place(key))
        if found is None:
            return
        if who is not None and found.who != who:
            raise AevisError(
                f"The trail {found.name!r} was saved by {found.who or 'somebody else'}. Only they delete it."
            )
        try:
            self._place(key).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritten(error) from error

    def _place(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _read(path: Path) -> SavedTrail | None:
    """The trail in a file; None where the file holds none."""
    try:
        if not path.is_file() or path.stat().st_size > 2 * LONGEST_LINK:
            return None
        told = json.loads(path.read_text(encoding="utf-8"))
        found = SavedTrail(**told)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = all(isinstance(value, str) for value in asdict(found).values())
    return found if texts and found.key == path.stem and found.link.startswith("?") else None


def _text(text: str, what: str) -> str:
    text = " ".join(text.split())
    if len(text) > LONGEST_NAME or not text.isprintable():
        raise AevisError(f"The {what} has more than {LONGEST_NAME} characters, or some that cannot be printed.")
    return text


def _unwritten(error: OSError) -> AevisError:
    why = "is read-only" if error.errno in READ_ONLY else f"cannot be written ({error.strerror})"
    return AevisError(f"Trails cannot be saved here, as the workspace's cache folder {why}. Copy the link instead.")
