"""Logging in by an OpenID Connect provider, such as a lab's Keycloak. authlib does the protocol: the code flow with
PKCE, a state, a nonce, and the check of the token's signature, issuer, audience and time."""

import ipaddress
import logging
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request, session

from aevis_dash import logs
from aevis_dash.callbacks import proxies
from aevis_dash.callbacks.guard import Guard, refusal
from aevis_dash.callbacks.login import STALE, back_to_page, form, is_ours, secret_of, shown
from aevis_dash.callbacks.visitors import Access, Provider, begin, open_to_all
from aevis_dash.domain import AevisError
from aevis_dash.users import check_name

ASK, BACK = "/login/provider", "/login/back"
FAILED = "The lab's provider did not say who you are. Try again, or ask whoever serves this page."
NO_ROLE = "The lab's provider knows you as {name}, but you have no role here. Ask whoever serves this page for one."
LONGEST_VIEW = 1500
"""The number of characters of a view that is kept for the way back, as a cookie holds 4 kB. After a login with a longer
one the page opens as without a link."""
_logger = logging.getLogger(__name__)


def register(server: Flask, access: Access, asked: Guard, prefix: str) -> None:
    """Add the two routes of a login by the provider: the way there, and the way back.

    Args:
        server: the server.
        access: how visitors show who they are; nothing is added where it names no provider.
        asked: the names that this server answers to.
        prefix: the path below which browsers find the page.

    Raises:
        AevisError: authlib is not installed, or the provider's address is not encrypted.
    """
    provider = access.provider
    if provider is None:
        return
    client = _client(server, provider)

    @server.post(ASK)
    @open_to_all
    def _ask() -> Response:
        given = form()
        if not is_ours(given["token"]):
            return shown(access, STALE, 400, given["query"])
        authority = proxies.authority_of(request.environ, access.proxies)
        if not asked.knows(authority):
            return refusal(400, f"This server is not called {authority!r}.")
        scheme = "https" if proxies.is_encrypted(request.environ, access.proxies) else "http"
        session["query"] = given["query"] if len(given["query"]) <= LONGEST_VIEW else ""
        try:
            return client.authorize_redirect(f"{scheme}://{authority}{prefix.rstrip('/')}{BACK}")
        except Exception as error:  # the provider does not answer, or says what authlib does not take
            logs.tell_failure(_logger, "the provider does not answer", error)
            return shown(access, FAILED, 502, given["query"])

    @server.get(BACK)
    @open_to_all
    def _back() -> Response:
        query = session.get("query")
        query = query if isinstance(query, str) else ""
        try:
            claims = client.authorize_access_token()["userinfo"]
            name = _name(claims, provider)
            account = access.account(name)
        except Exception as error:  # a forged or old answer, or one that names nobody
            logs.tell_failure(_logger, "a login by the provider failed", error, logging.WARNING)
            return shown(access, FAILED, 401, query)
        if account is None:
            return shown(access, NO_ROLE.format(name=name), 403, query)
        begin(name, account, secret_of(server))
        return back_to_page(query)


def _client(server: Flask, provider: Provider) -> Any:
    address = urlsplit(provider.issuer)
    if address.scheme != "https" and not (address.scheme == "http" and _is_here(address.hostname or "")):
        raise AevisError(f"The provider's address has to begin with https://, unlike {provider.issuer!r}.")
    try:
        from authlib.integrations.flask_client import OAuth
    except ImportError as error:
        raise AevisError('A provider needs authlib. Install it: pip install "aevis-dash[oidc]"') from error
    return OAuth(server).register(
        "provider",
        client_id=provider.client,
        client_secret=provider.secret,
        server_metadata_url=f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256", "timeout": 10},
    )


def _is_here(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(claims: Any, provider: Provider) -> str:
    """The name that a provider's claims give a visitor. An address of email counts only where it was verified."""
    if str(claims.get("iss")).rstrip("/") != provider.issuer.rstrip("/"):
        raise AevisError(f"{claims.get('iss')!r} has signed the claims, and not {provider.issuer!r}.")
    name = claims.get(provider.claim)
    if provider.claim == "email" and claims.get("email_verified") is not True:
        raise AevisError("The provider has not verified the visitor's address of email.")
    if not isinstance(name, str):
        raise AevisError(f"The provider's claims have no {provider.claim!r}. Name another one: --oidc-claim NAME")
    return check_name(name)
