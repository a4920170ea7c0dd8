"""A small OpenID Connect provider on this machine, for the tests: it says that every visitor is whom it was told of."""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "aevis", "between us"


class IdentityProvider:
    """The provider. It refuses a token where the secret, the code, its verifier or the address differ.

    Attributes:
        claims: what it says of the visitor, beside what it has to say.
        key: the key that it signs with, `other` one that it has never published.
    """

    def __init__(self):
        self.claims: dict[str, Any] = {"preferred_username": "ada"}
        self.key, self.other = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
        self.signs_with = self.key
        self.asked: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                place = urlsplit(self.path)
                if place.path == "/authorize":
                    self.send_response(302)
                    self.send_header(
                        "Location", provider.authorized({k: v[0] for k, v in parse_qs(place.query).items()})
                    )
                    self.end_headers()
                    return
                self.answer(200, provider.facts() if "openid-configuration" in place.path else provider.keys())

            def do_POST(self):
                told = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer(*provider.token({k: v[0] for k, v in told.items()}, self.headers.get("Authorization", "")))

            def answer(self, status, document):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def facts(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False, kid="1", alg="RS256", use="sig")]}

    def authorized(self, asked: dict[str, str]) -> str:
        """The address to which the visitor is sent back, with a code."""
        code = secrets.token_hex(8)
        self.asked[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, told: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self.asked.pop(told.get("code", ""), None)
        known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        verifier = hashlib.sha256(told.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        if asked is None or authorization != f"Basic {known}" or asked["redirect_uri"] != told["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if (asked["code_challenge_method"], asked["code_challenge"]) != ("S256", challenge):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "7", "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims | self.claims, self.signs_with)
        return 200, {"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": signed}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
