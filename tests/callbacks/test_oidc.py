"""Logging in by an OpenID Connect provider."""

import sys
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from identity_provider import CLIENT, SECRET, IdentityProvider
from logging_in import hidden, two_users

from aevis_dash.callbacks import oidc
from aevis_dash.callbacks.guard import Guard
from aevis_dash.callbacks.visitors import Access, Provider
from aevis_dash.domain import AevisError
from aevis_dash.users import ANALYST, READER
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench

HOST = "lab.example:8443"


class Visiting:
    """A browser that asks by way of a proxy, which speaks https with it and shows the page below a path."""

    def __init__(self, client):
        self.client = client

    def get(self, path, **further):
        return self._open("GET", path, **further)

    def post(self, path, **further):
        return self._open("POST", path, **further)

    def _open(self, method, path, headers=(), **further):
        told = {"X-Forwarded-Proto": "https", **dict(headers)}
        return self.client.open("/aevis" + path, method=method, base_url=f"http://{HOST}", headers=told, **further)


@pytest.fixture(scope="module")
def bench(drawn_world):
    return open_workbench(drawn_world)


@pytest.fixture
def provider():
    made = IdentityProvider()
    yield made
    made.close()


@pytest.fixture
def client_of(bench, provider, tmp_path):
    """A browser at a server that knows ada, an analyst, and ben, a reader."""
    users = two_users(tmp_path)

    def made(**further):
        known = Provider(
            provider.issuer, CLIENT, further.pop("secret", SECRET), further.pop("claim", "preferred_username")
        )
        access = Access(users, provider=known, proxies=("127.0.0.1",), **further)
        app = create_app(bench, Guard(names=("lab.example",)), prefix="/aevis/", who=access)
        return Visiting(app.server.test_client())

    return made


def begun(client, view: str = "example=a") -> str:
    """The address of the provider to which a visitor who wants to log in is sent."""
    answer = client.post("/login/provider", data=hidden(client.get(f"/login?{view}").text))
    assert answer.status_code == 302
    return answer.headers["Location"]


def sent_back(address: str) -> str:
    """The path and query to which the provider sends a visitor back."""
    back = urlsplit(requests.get(address, allow_redirects=False, timeout=10).headers["Location"])
    assert (back.scheme, back.netloc, back.path) == ("https", HOST, "/aevis/login/back")
    return f"/login/back?{back.query}"


def test_whom_the_provider_names_is_let_in_with_the_role_of_the_file(client_of, provider):
    for name, role in (("ada", ANALYST), ("ben", READER)):
        provider.claims = {"preferred_username": name}
        client = client_of()
        address = begun(client)
        asked = parse_qs(urlsplit(address).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert {"openid"} <= set(asked["scope"][0].split())
        answer = client.get(sent_back(address))
        assert (answer.status_code, answer.headers["Location"]) == (303, "../?example=a")
        assert "; Secure" in answer.headers["Set-Cookie"]
        page = client.get("/_dash-layout").text
        assert f'"{name}"' in page
        assert f" {role}" in page.replace("\\u00b7", "·")


def test_the_page_to_log_in_offers_the_provider_and_no_password(client_of):
    page = client_of().get("/login").text
    assert 'action="login/provider"' in page
    assert "password" not in page.replace("--password", "")
    assert client_of().post("/login").status_code == 401


def test_whom_no_file_names_needs_a_default_role(client_of, provider):
    provider.claims = {"preferred_username": "eve"}
    client = client_of()
    refused = client.get(sent_back(begun(client)))
    assert (refused.status_code, "knows you as eve, but you have no role" in refused.text) == (403, True)
    assert client.get("/_dash-layout").status_code == 401
    client = client_of(default_role=READER)
    assert client.get(sent_back(begun(client))).status_code == 303
    assert " reader" in client.get("/_dash-layout").text


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"nonce": "another"},
        {"exp": 1},
        {"preferred_username": None},
        {"preferred_username": ["ada"]},
        {"preferred_username": " ada"},
    ],
)
def test_claims_that_do_not_hold_let_nobody_in(client_of, provider, claims):
    provider.claims = {"preferred_username": "ada"} | claims
    client = client_of(default_role=READER)
    answer = client.get(sent_back(begun(client)))
    assert (answer.status_code, oidc.FAILED in answer.text.replace("&#x27;", "'")) == (401, True)
    assert client.get("/_dash-layout").status_code == 401


def test_a_token_that_another_key_has_signed_lets_nobody_in(client_of, provider):
    provider.signs_with = provider.other
    client = client_of()
    assert client.get(sent_back(begun(client))).status_code == 401


def test_an_address_of_email_counts_where_it_was_verified(client_of, provider):
    for verified, status in ((True, 303), (False, 401), ("true", 401), (None, 401)):
        provider.claims = {"email": "ada", "email_verified": verified}
        client = client_of(claim="email")
        assert client.get(sent_back(begun(client))).status_code == status


def test_a_way_back_that_another_browser_began_lets_nobody_in(client_of):
    """Else somebody could log another one in as themselves, and read what they do."""
    mine, others = client_of(), client_of()
    back = sent_back(begun(others))
    begun(mine)
    for address in (back, "/login/back", "/login/back?code=x&state=y", "/login/back?error=access_denied"):
        assert mine.get(address).status_code == 401
        assert mine.get("/_dash-layout").status_code == 401
    assert others.get(back).status_code == 303
    assert others.get(back).status_code == 401, "a code counts once"


def test_a_wrong_secret_and_a_provider_that_is_away_are_told(client_of, provider):
    client = client_of(secret="guessed")
    assert client.get(sent_back(begun(client))).status_code == 401
    client = client_of()
    fields = hidden(client.get("/login").text)
    provider.close()
    answer = client.post("/login/provider", data=fields)
    assert (answer.status_code, "did not say who you are" in answer.text) == (502, True)


def test_the_way_to_the_provider_needs_the_form(client_of):
    client = client_of()
    client.get("/login")
    assert client.post("/login/provider", data={"token": "x"}).status_code == 400
    told = hidden(client.get("/login").text)
    answer = client.post("/login/provider", data=told, headers={"X-Forwarded-Host": "evil.example"})
    assert answer.status_code == 400, "else the code would be sent there"


def test_a_provider_without_https_or_without_authlib_is_refused(bench, monkeypatch):
    def made(issuer):
        return create_app(bench, who=Access(provider=Provider(issuer, CLIENT, SECRET), default_role=READER))

    for issuer in ("http://login.example", "ftp://127.0.0.1", "login.example"):
        with pytest.raises(AevisError, match="https://"):
            made(issuer)
    monkeypatch.setitem(sys.modules, "authlib.integrations.flask_client", None)
    with pytest.raises(AevisError, match=r"aevis-dash\[oidc\]"):
        made("https://login.example")
