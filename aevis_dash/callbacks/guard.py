"""Refuses requests that do not name this server as their host, and those that a foreign page has sent."""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Flask, Response, request

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::\d{1,5})?")
_READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Guard:
    """The names under which the server may be asked.

    A page of the web can let its own name point to this machine ("DNS rebinding"). A browser then takes what the page
    asks of this server for the page's own. But such requests carry that name in the header Host. So only requests for
    known names are answered: names and addresses of the loopback, the `host` that the server listens on, and `names`.
    Where the server listens beyond the loopback, the machine's own name and every numeric address are known too,
    because no name can be rebound to them.
    """

    host: str = "127.0.0.1"
    names: Sequence[str] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return _is_loopback(_plain(self.host))

    def knows(self, authority: str) -> bool:
        """Whether a Host header, `name` or `name:port`, names this server."""
        name = _name_in(authority)
        if not name:
            return False
        if _is_loopback(name) or name in {_plain(self.host), *map(_plain, self.names)}:
            return True
        return not self.is_local and (_is_address(name) or name == _plain(socket.gethostname()))

    def trusts(self, origin: str, authority: str) -> bool:
        """Whether a page of that origin may post to the server that was asked as `authority`.

        It may if it is a page of the server itself. Behind a proxy that gives the server another Host, it may if the
        proxy's name is one of `names`.
        """
        scheme, separator, asking = origin.partition("://")
        if not separator or scheme not in ("http", "https"):
            return False
        return asking.lower() == authority.lower() or _name_in(asking) in set(map(_plain, self.names))


def register(server: Flask, guard: Guard) -> None:
    """Refuse foreign requests before anything else is done: 400 for a foreign Host, 403 for a post from a foreign page.

    Browsers send an Origin with every post. A client that sends none is no browser, and no page can speak through it.
    """

    @server.before_request
    def _check() -> Response | None:
        host, origin = request.environ.get("HTTP_HOST", ""), request.headers.get("Origin")
        if not guard.knows(host):
            return refusal(400, f"This server is not called {host!r}. Start it with --allow-host NAME if it should be.")
        if request.method not in _READING and origin is not None and not guard.trusts(origin, host):
            return refusal(
                403, f"A page of {origin!r} may not ask this. Start the server with --allow-host NAME if it should."
            )
        return None


def refusal(status: int, why: str) -> Response:
    """An answer with the status and one line that says why the request is refused."""
    return Response(f"{why}\n", status, mimetype="text/plain")


def _name_in(authority: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    return _plain(found[1]) if found else ""


def _plain(name: str) -> str:
    return name.strip().strip("[]").removesuffix(".").lower()


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
