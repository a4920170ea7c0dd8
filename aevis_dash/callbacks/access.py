"""Access to the page, put together: who is let in, how they log in, and what readers may not do."""

from collections.abc import Callable, Iterable
from typing import Any

from dash import Dash

from aevis_dash.callbacks import login, oidc, rights, visitors
from aevis_dash.callbacks.guard import Guard
from aevis_dash.callbacks.rates import Rates
from aevis_dash.callbacks.visitors import Access
from aevis_dash.domain import AevisError
from aevis_dash.store import Store
from aevis_dash.users import DEFAULT_FILE

OPEN = (
    "the page is served beyond this machine (--host {host}) without users. Everybody who reaches the port sees the "
    "workspace's images and can start jobs, and nothing is encrypted. Serve it within a network that you trust only."
)
PLAIN = (
    "the page is served beyond this machine (--host {host}), and passwords travel unencrypted unless a proxy in front "
    "of it speaks https. Name such a proxy by --trust-proxy ADDRESS."
)
BEHIND = (
    "the page answers to {names} without users. Everybody whom a proxy of that name lets in sees the workspace's "
    "images and can start jobs. Make users (aevis user add NAME) and serve with --users {file}, or say --insecure."
)
NEEDS_USERS = (
    "--host {host} lets others reach the page, so say who may see it. Either make users (aevis user add NAME) and "
    "serve with --users {file}; or let everybody who reaches the port see and start all: --insecure"
)


def warning(asked: Guard, access: Access | None, insecure: bool) -> str:
    """What to warn of before a server listens; "" for nothing.

    Args:
        asked: the address that it listens on.
        access: how visitors show who they are; None where there are no users.
        insecure: whether it may listen beyond this machine without users.

    Raises:
        AevisError: it would listen beyond this machine without users, or nobody could be let in.
    """
    if access is not None:
        access.check()
    if asked.is_local:
        open_behind = asked.names and access is None and not insecure
        return BEHIND.format(names=", ".join(asked.names), file=DEFAULT_FILE) if open_behind else ""
    if access is None:
        if not insecure:
            raise AevisError(NEEDS_USERS.format(host=asked.host, file=DEFAULT_FILE))
        return OPEN.format(host=asked.host)
    return "" if access.proxies else PLAIN.format(host=asked.host)


def register(
    app: Dash, access: Access | None, asked: Guard, prefix: str, stores: Iterable[Store]
) -> Callable[[Any], Any]:
    """Let only users in, where there are users.

    Args:
        app: the application, whose guard is registered.
        access: how visitors show who they are; None where everybody may see and start all.
        asked: the names that the server answers to.
        prefix: the path below which browsers find the page.
        stores: the stores of results, in which nothing is kept that is computed for a reader.

    Returns:
        A function that takes the manager of jobs, and gives one that refuses what a user may not start.
    """
    if access is None:
        return lambda manager: manager
    rates = Rates(access.broker)
    visitors.register(app.server, access, prefix)
    login.register(app.server, access, rates)
    oidc.register(app.server, access, asked, prefix)
    for store in stores:
        rights.keep_from_readers(store)
    return lambda manager: rights.guarded(manager, access, rates)
