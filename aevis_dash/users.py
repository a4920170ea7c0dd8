"""The users of a server: a file of their names, roles and hashed passwords, and the secret that their sessions are
signed with.

The file is JSON and only its owner may read it. A password is kept as a hash by Argon2id, from which it cannot be told.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from aevis_dash.domain import AevisError, shorten
from aevis_dash.files import write_atomically

READER, ANALYST = ROLES = ("reader", "analyst")
"""What a user may do: a reader sees all that is stored; an analyst also starts jobs and saves trails."""
DEFAULT_FILE = Path("aevis-users.json")
LONGEST_NAME, SHORTEST_PASSWORD, LONGEST_PASSWORD = 64, 8, 1024
_OWNER_ONLY = 0o600
_turns = threading.BoundedSemaphore(2)
"""Argon2 takes 64 MiB for each password, so two are checked at a time."""


@dataclass(frozen=True)
class Account:
    """A user as the file holds them.

    Attributes:
        role: one of ROLES.
        password: the hash of the password; "" for somebody whom the lab's proxy or identity provider lets in.
        since: when the account or its password was last set, in UTC.
    """

    role: str
    password: str = ""
    since: str = ""


@dataclass(frozen=True)
class User:
    """A user who asks.

    Attributes:
        name: the name.
        role: one of ROLES.
        leaves: whether the page offers to log out; a proxy's users log out there.
    """

    name: str
    role: str
    leaves: bool = True

    @property
    def may_change(self) -> bool:
        """Whether the user may start jobs and save trails."""
        return self.role == ANALYST


class Users:
    """The users in a file, which is read again whenever it has changed.

    Args:
        path: the file. It need not exist yet.
    """

    def __init__(self, path: Path):
        self.path = path
        self._known: tuple[Any, dict[str, Account]] = (None, {})

    def all(self) -> dict[str, Account]:
        """The accounts by their names.

        Raises:
            AevisError: there is no such file, others may read it, or it holds something else.
        """
        try:
            state = self.path.stat()
        except OSError as error:
            raise AevisError(
                f"The users' file {self.path} cannot be read ({error.strerror}). Make it: aevis user add NAME --users "
                f"{self.path}"
            ) from error
        if os.name == "posix" and stat.S_IMODE(state.st_mode) & 0o077:
            raise AevisError(f"Others may read or write the users' file {self.path}. Say: chmod 600 {self.path}")
        now = (state.st_ino, state.st_size, state.st_mtime_ns)
        if self._known[0] != now:
            self._known = (now, _parsed(self.path))
        return self._known[1]

    def add(self, name: str, role: str, password: str | None) -> None:
        """Add a user; without a password for one whom a proxy or an identity provider lets in.

        Raises:
            AevisError: the name, the role or the password cannot be taken, or there is such a user already.
        """
        check_name(name)
        made = Account(_checked_role(role), _hashed(password), _now())

        def added(known: dict[str, Account]) -> dict[str, Account]:
            if name in known:
                raise AevisError(
                    f"There is a user {name!r} already. Change the user by aevis user password {name}, or "
                    f"aevis user role {name} --role {role}."
                )
            return known | {name: made}

        self._change(added)

    def remove(self, name: str) -> None:
        """Remove a user, which ends the user's sessions. Raises AevisError where there is none of that name."""

        def removed(known: dict[str, Account]) -> dict[str, Account]:
            gone = _of(known, name)
            return {each: account for each, account in known.items() if each != gone}

        self._change(removed)

    def set_role(self, name: str, role: str) -> None:
        """Give a user another role, which ends the user's sessions. Raises AevisError where there is no such user."""
        _checked_role(role)
        self._change(lambda known: known | {_of(known, name): replace(known[name], role=role)})

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password, which ends the user's sessions. Raises AevisError where there is no such
        user."""
        made = _hashed(password)
        self._change(lambda known: known | {_of(known, name): replace(known[name], password=made, since=_now())})

    def let_in(self, name: str, password: str) -> Account | None:
        """The account of a user who gave the right password; None otherwise. A wrong name takes as long as a wrong
        password."""
        known = self.all().get(name)
        hashed = known.password if known is not None and known.password else _nobody()
        right = len(password) <= LONGEST_PASSWORD and _fits(hashed, password)
        return known if right and known is not None and known.password else None

    def secret(self) -> bytes:
        """The secret that sessions are signed with. It lies in a file beside the users' file, which is made where it is
        missing, so that sessions outlive the server and several servers agree.

        Raises:
            AevisError: the file cannot be read or written, or others may read it.
        """
        place = self.path.with_name(f"{self.path.name}.secret")
        with self._locked():
            try:
                if not place.exists():
                    _write_privately(place, secrets.token_hex(32).encode())
                if os.name == "posix" and stat.S_IMODE(place.stat().st_mode) & 0o077:
                    raise AevisError(f"Others may read the secret of the sessions, {place}. Say: chmod 600 {place}")
                found = place.read_bytes().strip()
            except OSError as error:
                raise AevisError(
                    f"The secret of the sessions cannot be kept in {place} ({error.strerror}). Check the permissions."
                ) from error
        if len(found) < 32:
            raise AevisError(f"{place} holds no secret of 32 characters. Remove it; a new one is made.")
        return found

    def _change(self, change: Callable[[dict[str, Account]], dict[str, Account]]) -> None:
        try:
            with self._locked():
                known = change(self.all() if self.path.exists() else {})
                users = {name: asdict(account) for name, account in sorted(known.items())}
                _write_privately(self.path, (json.dumps({"users": users}, indent=2) + "\n").encode())
        except OSError as error:
            raise AevisError(
                f"The users' file {self.path} cannot be written ({error.strerror}). Check its folder and permissions."
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=20)
            lock.acquire()
        except OSError as error:
            raise AevisError(
                f"Nothing can be written beside the users' file {self.path} ({error.strerror}). Check its folder."
            ) from error
        try:
            yield
        finally:
            lock.release()


def check_name(name: str) -> str:
    """The name, where it can be a user's: 1 to 64 characters that can be printed, with no blank at its ends.

    Raises:
        AevisError: for any other text.
    """
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise AevisError(
            f"{shorten(name)!r} is no name of a user. It has 1 to {LONGEST_NAME} characters that can be printed, and "
            "no blank at its ends."
        )
    return name


def stamp(secret: bytes, name: str, account: Account) -> str:
    """What a session holds of an account. It changes with the role and the password, and with the account itself."""
    told = json.dumps([name, asdict(account)])
    return hmac.new(secret, told.encode(), hashlib.sha256).hexdigest()[:32]


def _of(known: dict[str, Account], name: str) -> str:
    if name not in known:
        raise AevisError(f"There is no user {shorten(name)!r}. The users are: {', '.join(known) or 'none'}.")
    return name


def _checked_role(role: str) -> str:
    if role not in ROLES:
        raise AevisError(f"There is no role {shorten(role)!r}. It is one of: {', '.join(ROLES)}.")
    return role


def _hashed(password: str | None) -> str:
    if password is None:
        return ""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AevisError(f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters. Take another one.")
    from argon2 import PasswordHasher

    with _turns:
        return PasswordHasher().hash(password)


def _fits(hashed: str, password: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        with _turns:
            return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


_hash_of_nobody: list[str] = []


def _nobody() -> str:
    """A hash that no password fits, made once."""
    if not _hash_of_nobody:
        _hash_of_nobody.append(_hashed(secrets.token_hex(32)))
    return _hash_of_nobody[0]


def _parsed(path: Path) -> dict[str, Account]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        found = {check_name(name): Account(**account) for name, account in told["users"].items()}
        for account in found.values():
            _checked_role(account.role)
            if not isinstance(account.password, str) or not isinstance(account.since, str):
                raise ValueError("a password or a time is no text")
    except OSError as error:
        raise AevisError(f"The users' file {path} cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AevisError(
            f"{path} is no file of users ({error}). Make one anew: aevis user add NAME --users FILE"
        ) from error
    return found


def _write_privately(path: Path, content: bytes) -> None:
    def write(file: Any) -> None:
        if os.name == "posix":
            os.fchmod(file.fileno(), _OWNER_ONLY)  # before anything stands in it
        file.write(content)

    write_atomically(path, write)
    path.chmod(_OWNER_ONLY)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
