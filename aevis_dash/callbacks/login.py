"""The page on which visitors log in, by a password or by the lab's provider, and the way out. It needs no script."""

import hmac
import secrets
import threading
from html import escape
from typing import Any

from flask import Flask, Response, redirect, request, session

from aevis_dash.callbacks import proxies
from aevis_dash.callbacks.rates import Rates
from aevis_dash.callbacks.visitors import UNREADABLE, Access, begin, current, open_to_all
from aevis_dash.domain import AevisError

ADDRESS, LEAVE = "/login", "/logout"
LARGEST_FORM = 16 * 1024
"""The number of bytes that a form may hold."""
TRIES = ((10, 300), (60, 300), (200, 3600))
"""How often a password may be tried, and within how many seconds: of one name from one address, of all names from one
address, and of one name from all addresses."""
WRONG = "The name or the password is wrong."
STALE = "This form is too old, or your browser keeps no cookies. Please try again."
TOO_OFTEN = "There were too many tries. Wait some minutes, and try again."
CHECKED_AT_ONCE = 2
"""The number of passwords that are checked at the same time. Each takes a core for a fifth of a second or so, and no
other visitor shall wait for those who try many."""
BUSY = "Others are logging in at this moment. Please try again."
_STYLE = """
:root { color-scheme: light dark; --line: #d5dae0; --quiet: #5c6670; --back: #f3f5f7; --paper: #fff; --ink: #1f2730;
  --wrong: #b04600; --button: #0b5ed7; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a424c; --quiet: #98a2ad; --back: #0d0f12; --paper: #16191d; --ink: #e8ecf0; --wrong: #ff8c42; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--back); color: var(--ink);
  font: 14px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { width: min(22rem, 92vw); padding: 1.2rem 1.4rem 1.4rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 8px; }
h1 { margin: 0; font-size: 1.15rem; font-weight: 700; }
p { margin: 0.3rem 0 0.9rem; color: var(--quiet); }
.wrong { color: var(--wrong); font-weight: 600; }
label { display: block; margin-top: 0.7rem; font-weight: 600; }
input { width: 100%; margin-top: 0.2rem; padding: 0.4rem 0.6rem; font: inherit; color: inherit;
  background: var(--back); border: 1px solid var(--quiet); border-radius: 6px; }
button { width: 100%; margin-top: 1.1rem; padding: 0.45rem; font: inherit; font-weight: 600; color: #fff;
  background: var(--button); border: 0; border-radius: 6px; cursor: pointer; }
:is(input, button):focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
"""
_FIELDS = (
    '<label for="name">Name</label>'
    '<input id="name" name="name" value="{name}" autocomplete="username" autocapitalize="none" required{first}>'
    '<label for="password">Password</label>'
    '<input id="password" name="password" type="password" autocomplete="current-password" required{second}>'
)


def register(server: Flask, access: Access, rates: Rates) -> None:
    """Add the page to log in and the way out. Behind a proxy that names the visitors there is neither.

    Args:
        server: the server.
        access: how visitors show who they are.
        rates: counts how often a password is tried.
    """
    if access.way == "header":
        return

    @server.get(ADDRESS)
    @open_to_all
    def _login() -> Response:
        if current() is not None:
            return back_to_page(request.query_string.decode("ascii", "replace"))
        return shown(access, query=request.query_string.decode("ascii", "replace"))

    @server.post(LEAVE)
    @open_to_all
    def _logout() -> Response:
        session.clear()
        return redirect(ADDRESS[1:], 303)  # type: ignore[return-value]

    if access.way == "password":
        checking = threading.BoundedSemaphore(CHECKED_AT_ONCE)

        @server.post(ADDRESS)
        @open_to_all
        def _try() -> Response:
            given = form()
            name, query = given["name"], given["query"]
            if not is_ours(given["token"]):
                return shown(access, STALE, 400, query, name)
            if not checking.acquire(blocking=False):
                return _later(shown(access, BUSY, 503, query, name), 2)
            try:
                if wait := _to_wait(rates, name, proxies.address_of(request.environ, access.proxies)):
                    return _later(shown(access, TOO_OFTEN, 429, query, name), wait)
                account = None if access.users is None else access.users.let_in(name, given["password"])
            except AevisError:
                return shown(access, UNREADABLE, 503, query, name)
            finally:
                checking.release()
            if account is None:
                return shown(access, WRONG, 401, query, name)
            begin(name, account, secret_of(server))
            return back_to_page(query)


def shown(access: Access, wrong: str = "", status: int = 200, query: str = "", name: str = "") -> Response:
    """The page to log in.

    Args:
        access: how visitors show who they are.
        wrong: a sentence on why the visitor was not let in; "" where nothing was tried.
        status: the status of the answer.
        query: the query of the page's address that the visitor wanted.
        name: the name that was typed.
    """
    if "form" not in session:
        session["form"] = secrets.token_urlsafe(24)
    said = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    typed, focus = escape(name[:200]), " autofocus"
    by_password = access.way == "password"
    fields = _FIELDS.format(name=typed, first="" if typed else focus, second=focus if typed else "")
    hidden = "".join(
        f'<input type="hidden" name="{key}" value="{escape(value)}">'
        for key, value in (("token", session["form"]), ("query", query))
    )
    action, word = (ADDRESS[1:], "Log in") if by_password else ("login/provider", "Log in with your lab's account")
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>AEVis Dash: log in</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>"
        f"<main><h1>AEVis Dash</h1><p>Log in to see this lab's page.</p>{said}"
        f'<form method="post" action="{_up()}{action}">{fields if by_password else ""}{hidden}'
        f'<button type="submit">{word}</button></form></main></body></html>'
    )
    return Response(page, status, mimetype="text/html")


def form() -> dict[str, str]:
    """The fields of the form that was sent; "" for one that is missing."""
    request.max_content_length = LARGEST_FORM
    return {name: request.form.get(name, "") for name in ("name", "password", "token", "query")}


def is_ours(token: str) -> bool:
    """Whether a form is one that this server gave to this browser, so that no other page has sent it."""
    known = session.get("form")
    return isinstance(known, str) and hmac.compare_digest(known.encode(), token.encode("utf-8", "replace"))


def back_to_page(query: str) -> Response:
    """The way to the page, with the view that the visitor wanted. It leads nowhere else, whatever the query holds."""
    plain = "".join(sign for sign in query if sign.isascii() and sign.isprintable() and sign != " ")
    return redirect(f"{_up() or './'}?{plain}" if plain else _up() or "./", 303)  # type: ignore[return-value]


def secret_of(server: Flask) -> bytes:
    """The secret that the server signs its sessions with."""
    secret: Any = server.secret_key
    return secret


def _up() -> str:
    """The way from the address that was asked for to the page's own folder."""
    return "../" * (request.path.count("/") - 1)


def _later(answer: Response, seconds: int) -> Response:
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _to_wait(rates: Rates, name: str, address: str) -> int:
    """The seconds until a password may be tried again; 0 where it may be tried now, which is counted."""
    whose = (f"{name[:100]!r} from {address}", f"from {address}", f"{name[:100]!r}")
    for one, (most, seconds) in zip(whose, TRIES, strict=True):
        if not rates.allows(f"login {one}", most, seconds):
            return rates.rest(seconds)
    return 0
