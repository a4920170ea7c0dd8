"""Who asks: the user of each request, where the server has users, and what nobody is shown who is none of them.

`flask.g.user` is the user of a request, a `users.User`. It is None for a request of nobody, to which only the login
and the like are answered. It is not set where the server has no users, so that everybody may do all.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from flask import Flask, Response, current_app, g, has_request_context, redirect, request, session
from flask.sessions import SecureCookieSessionInterface

from aevis_dash import logs
from aevis_dash.callbacks import proxies
from aevis_dash.callbacks.guard import refusal
from aevis_dash.domain import AevisError
from aevis_dash.users import Account, User, Users, check_name, stamp

INSIDE = "aevis.inside"
"""The name in a request's environment by which the server's own first request is known. No client can set it."""
OPEN = "aevis_open"
"""The name of the attribute of a route's function that is answered without a session too."""
LOGIN = "login"
READERS = (
    "You are logged in as a reader, who sees all that is stored but starts no job and saves nothing. Ask an analyst of "
    "your lab to start it."
)
UNREADABLE = "The users of this server cannot be read now, so nobody is let in. Its log tells why."
HOURS = 12.0
"""The hours after which a session ends, where nothing else is said."""
NONE = "none"
"""The default role of those who have none."""
_USERS = "AEVIS_USERS"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provider:
    """An OpenID Connect provider that says who the visitors are.

    Attributes:
        issuer: its address, such as https://login.example.org/realms/lab.
        client: the name by which it knows this server.
        secret: the secret that both share.
        claim: the claim that holds a visitor's name.
    """

    issuer: str
    client: str
    secret: str
    claim: str = "preferred_username"


@dataclass(frozen=True)
class Access:
    """How visitors show who they are. There are three ways: by a password, by a header that a trusted proxy sets, or by
    an OpenID Connect provider.

    Attributes:
        users: the users with their roles; None where only the default role counts.
        header: the header that names the user, set by one of `proxies`; "" where there is none.
        provider: the OpenID Connect provider; None where there is none.
        default_role: the role of those whom the proxy or the provider lets in and who are not among the users; NONE for
            no role, so that they are refused.
        hours: the hours after which a session ends.
        proxies: the addresses of trusted proxies.
        jobs: the number of jobs that a user may ask for within ten minutes.
        broker: the address of the Redis in which several web processes count logins and jobs together; "" where this
            one counts alone.
    """

    users: Users | None = None
    header: str = ""
    provider: Provider | None = None
    default_role: str = NONE
    hours: float = HOURS
    proxies: Sequence[str] = ()
    jobs: int = 120
    broker: str = ""

    @property
    def way(self) -> str:
        """Which of the three ways it is: "header", "provider" or "password"."""
        return "header" if self.header else "provider" if self.provider else "password"

    def account(self, name: str) -> Account | None:
        """The account that counts for a name that was let in; None where it has no role."""
        known = {} if self.users is None else self.users.all()
        if name in known:
            return known[name]
        return None if self.way == "password" or self.default_role == NONE else Account(self.default_role)

    def check(self) -> None:
        """Raise AevisError where nobody could be let in, or where a proxy is needed and none is trusted."""
        if self.header and self.provider:
            raise AevisError("Visitors are named by a header or by a provider, not by both: drop one of them.")
        if self.header and not self.proxies:
            raise AevisError(
                f"Anybody could send the header {self.header}, so it counts only from a proxy that you trust. Name the "
                "proxy's address: --trust-proxy ADDRESS"
            )
        known = {} if self.users is None else self.users.all()
        if not known and (self.way == "password" or self.default_role == NONE):
            raise AevisError(
                "Nobody could log in, as there is no user and no default role. Add a user (aevis user add NAME), or "
                "say --default-role reader where a proxy or a provider names the visitors."
            )


def current() -> User | None:
    """The user of the request that is being answered; None where the server has no users, and outside of requests."""
    return g.get("user") if has_request_context() else None


def name_of_current() -> str:
    """The name of the user of the request that is being answered; "" for none."""
    user = current()
    return "" if user is None else user.name


def is_let_in() -> bool:
    """Whether the request comes from a user, or the server has no users."""
    return current() is not None or not _has_users()


def may_change() -> bool:
    """Whether the user of the request may start jobs and save trails. Where the server has no users, everybody may."""
    user = current()
    return user.may_change if user is not None else not has_request_context() or not _has_users()


def _has_users() -> bool:
    return current_app.config.get(_USERS, False) and not request.environ.get(INSIDE)


def register(server: Flask, access: Access, prefix: str = "/") -> None:
    """Let only users in. Each request needs a session (or the header); of those without one, only routes whose function
    has the attribute OPEN are answered.

    Args:
        server: the server.
        access: how visitors show who they are.
        prefix: the path below which browsers find the page.

    Raises:
        AevisError: the secret of the sessions cannot be read or made.
    """
    lasting = None if access.header else access.users
    secret = secrets.token_bytes(32) if lasting is None else lasting.secret()
    server.secret_key = secret
    server.session_interface = _Sessions(access.proxies)
    server.config[_USERS] = True
    server.config.update(
        SESSION_COOKIE_NAME=f"aevis-{sha256(secret).hexdigest()[:8]}",  # servers at two ports share a browser's cookies
        SESSION_COOKIE_PATH=prefix,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=round(3600 * access.hours),
    )

    @server.before_request
    def _enter() -> Response | None:
        if request.environ.get(INSIDE):
            return None
        is_open = getattr(server.view_functions.get(request.endpoint or ""), OPEN, False)
        try:
            g.user = _who(access, secret)
        except AevisError as error:  # the users' file is gone or damaged: nobody comes in
            logs.tell_failure(_logger, "the users cannot be read", error)
            return None if is_open else refusal(503, UNREADABLE)
        if g.user is not None or is_open:
            return None
        return _refused(access)

    @server.after_request
    def _unkept(response: Response) -> Response:
        """What is shown to a user is kept by no proxy, and what is shown to one is not kept for another."""
        if not request.environ.get(INSIDE):
            told = [part.strip() for part in response.headers.get("Cache-Control", "no-cache").split(",")]
            private = ", ".join(["private", *(part for part in told if part not in ("public", "private"))])
            response.headers["Cache-Control"] = private if g.get("user") else "no-store"
        return response


def open_to_all(function: Any) -> Any:
    """Mark the function of a route as one that is answered without a session too."""
    setattr(function, OPEN, True)
    return function


def begin(name: str, account: Account, secret: bytes) -> None:
    """Begin a session of a user who was let in.

    Args:
        name: the user's name.
        account: the user's account.
        secret: the secret that sessions are signed with (`Flask.secret_key`).
    """
    session.clear()
    session.permanent = True
    session.update(name=name, stamp=stamp(secret, name, account), since=int(time.time()))


def _who(access: Access, secret: bytes) -> User | None:
    return _named_by_header(access) if access.header else _of_session(access, secret)


def _named_by_header(access: Access) -> User | None:
    given = request.headers.get(access.header, "")
    if not given or not proxies.is_from(request.environ, access.proxies):
        return None
    try:
        name = check_name(given.encode("latin-1").decode("utf-8"))
    except (AevisError, UnicodeError):
        return None
    if "," in name:  # the header was there twice: one of them may be the visitor's own
        return None
    account = access.account(name)
    return None if account is None else User(name, account.role, leaves=False)


def _of_session(access: Access, secret: bytes) -> User | None:
    """The user of a session: it is younger than the hours, and the account is as it was when the session began."""
    name, sealed, since = (session.get(part) for part in ("name", "stamp", "since"))
    if not isinstance(name, str) or not isinstance(sealed, str) or not isinstance(since, int):
        return None
    account = access.account(name)
    if account is None or time.time() - since > 3600 * access.hours:
        return None
    return User(name, account.role) if compare_digest(sealed, stamp(secret, name, account)) else None


def _refused(access: Access) -> Response:
    """What is answered to nobody's request: the way to the login for the page, and one line for all else."""
    if access.header:
        return refusal(
            403,
            "This page knows its visitors by the lab's proxy, and the proxy named nobody who has a role here. Ask by "
            "the proxy's address, or ask whoever serves the page for a role.",
        )
    if request.method in ("GET", "HEAD") and request.path == "/":
        query = request.query_string.decode("ascii", "replace")
        return redirect(f"{LOGIN}?{query}" if query else LOGIN, 303)  # type: ignore[return-value]
    return refusal(401, "You are not logged in, or your session has ended. Load the page again to log in.")


class _Sessions(SecureCookieSessionInterface):
    """Flask's sessions in signed cookies, which are sent by https alone where the visitor's browser asked by it."""

    def __init__(self, trusted: Sequence[str]):
        self._trusted = trusted

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the cookie is sent by https alone."""
        return proxies.is_encrypted(request.environ, self._trusted)
