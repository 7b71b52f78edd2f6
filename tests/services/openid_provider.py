"""A real OpenID provider on loopback: Authlib's authorization server, with PKCE and RFC 9068 access tokens.

Authlib checks the client, the code, the redirect address and the PKCE verifier, and signs the tokens. Here stand
its storage, its users, who are signed in without a password, and what tests do to it: change keys, go down, come
back.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core import OpenIDCode
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import BaseWSGIServer, make_server

AUDIENCE = "https://desk.example.org/api"
CLIENT_ID = "refdesk"
CLIENT_SECRET = (
    "a-secret.of_the~desk"  # unreserved characters: Authlib does not undo RFC 6749's form encoding
)

_made: deque[RSAKey] = deque()

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = (
    "1"  # Authlib serves plain http only when told so; this is loopback
)


@dataclass
class Client(ClientMixin):  # type: ignore[misc]  # Authlib is not typed
    """The desk, as the provider knows it."""

    redirect_uris: list[str] = field(default_factory=list)
    method: str = "client_secret_basic"

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uris[0]

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class User:
    """Somebody with an account. `claims` go into both kinds of token."""

    sub: str
    claims: dict[str, Any] = field(default_factory=dict)

    def get_user_id(self) -> str:
        return self.sub


@dataclass
class Code(AuthorizationCodeMixin):  # type: ignore[misc]  # Authlib is not typed
    """An authorization code that waits to be redeemed."""

    code: str
    user: User
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> None:
        return None

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class OpenIdProvider:
    """The provider. `metadata`, `more_keys` and `id_token_claims` are for tests of a provider gone wrong."""

    def __init__(self) -> None:
        self.client = Client()
        self.user = User("248289761001", {"name": "Mara Lindqvist", "groups": ["hr", "desk users"]})
        self.keys: list[RSAKey] = [_new_key()]
        self.more_keys: list[dict[str, Any]] = []
        self.codes: dict[str, Code] = {}
        self.metadata: dict[str, Any] = {}
        self.id_token_claims: dict[str, Any] = {}
        self.requests: Counter[str] = Counter()
        self._app = _application(self)
        self._server: BaseWSGIServer | None = None
        self._port = 0

    @property
    def issuer(self) -> str:
        """Its identifier; the same after it was down."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def key(self) -> RSAKey:
        """The key that signs now."""
        return self.keys[-1]

    def rotate(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on; the old one stays published for a while, or not."""
        self.keys = [*(self.keys if keep_old else []), _new_key()]

    def start(self) -> None:
        """Serve, on the same port as before; nothing happens while it does."""
        if self._server is not None:
            return
        with socket.create_server(("127.0.0.1", self._port)) as listener:
            self._port = listener.getsockname()[1]
            # Werkzeug takes a copy of the socket; by an address of its own it would end the process if it is taken.
            self._server = make_server(
                "127.0.0.1", self._port, self._app, threaded=True, fd=listener.fileno()
            )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Go down."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of an access token for the desk; a change to None leaves the claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": self.user.sub,
            "aud": AUDIENCE,
            "client_id": CLIENT_ID,
            "iat": now,
            "exp": now + 600,
            "jti": os.urandom(8).hex(),
            "scope": "openid",
            **self.user.claims,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def access_token(self, **changes: Any) -> str:
        """An access token for the desk, signed with the present key."""
        return self.signed(self.claims(**changes))

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """Any claims, signed with the present key."""
        full = {"alg": "RS256", "typ": "at+jwt", "kid": self.key.kid, **header}
        return jwt.encode(
            {k: v for k, v in full.items() if v is not None}, claims, self.key, default_type=None
        )


@contextmanager
def openid_provider() -> Iterator[OpenIdProvider]:
    """A provider that serves while the block runs."""
    provider = OpenIdProvider()
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()


def _new_key() -> RSAKey:
    """The next of three keys, which take a while to make: enough for one that was, one that is and one to come."""
    key = _made.popleft() if len(_made) == 3 else RSAKey.generate_key(2048, auto_kid=True)
    _made.append(key)
    return key


def _application(provider: OpenIdProvider) -> flask.Flask:
    app = flask.Flask("provider")
    server = AuthorizationServer()
    server.init_app(app, query_client=_client_query(provider), save_token=lambda token, request: None)
    server.register_token_generator("default", _token_generator(provider))
    server.register_grant(_grant(provider), [_id_tokens(provider), CodeChallenge(required=True)])

    @app.before_request
    def count() -> None:
        provider.requests[flask.request.path] += 1

    @app.get("/.well-known/openid-configuration")
    def configuration() -> dict[str, Any]:
        return {
            "issuer": provider.issuer,
            "authorization_endpoint": provider.issuer + "/authorize",
            "token_endpoint": provider.issuer + "/token",
            "jwks_uri": provider.issuer + "/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [provider.client.method],
            **provider.metadata,
        }

    @app.get("/jwks")
    def jwks() -> Any:
        published = KeySet(list(provider.keys)).as_dict(private=False)
        return {"keys": [*published["keys"], *provider.more_keys]}

    @app.get("/authorize")
    def authorize() -> Any:
        grant = server.get_consent_grant(end_user=provider.user)
        return server.create_authorization_response(grant_user=provider.user, grant=grant)

    @app.post("/token")
    def token() -> Any:
        return server.create_token_response()

    return app


def _client_query(provider: OpenIdProvider) -> Any:
    return lambda client_id: provider.client if client_id == CLIENT_ID else None


def _grant(provider: OpenIdProvider) -> type[Any]:
    class Grant(AuthorizationCodeGrant):  # type: ignore[misc]  # Authlib is not typed
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")

        def save_authorization_code(self, code: str, request: Any) -> None:
            data = request.payload.data
            provider.codes[code] = Code(
                code,
                request.user,
                request.payload.redirect_uri,
                request.payload.scope,
                data.get("nonce"),
                data.get("code_challenge", ""),
                data.get("code_challenge_method", ""),
            )

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            return provider.codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            del provider.codes[authorization_code.code]

        def authenticate_user(self, authorization_code: Code) -> User:
            return authorization_code.user

    return Grant


def _id_tokens(provider: OpenIdProvider) -> Any:
    class IdTokens(OpenIDCode):  # type: ignore[misc]  # Authlib is not typed
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return any(code.nonce == nonce for code in provider.codes.values())

        def resolve_client_private_key(self, client: Client) -> KeySet:
            return KeySet([provider.key])

        def get_client_claims(self, client: Client) -> dict[str, Any]:
            return {"iss": provider.issuer}

        def generate_user_info(self, user: User, scope: str) -> dict[str, Any]:
            return {"sub": user.sub, **user.claims, **provider.id_token_claims}

    return IdTokens(require_nonce=True)


def _token_generator(provider: OpenIdProvider) -> Any:
    class Tokens(JWTBearerTokenGenerator):  # type: ignore[misc]  # Authlib is not typed
        def get_jwks(self) -> KeySet:
            return KeySet([provider.key])

        def get_audiences(self, client: Client, user: User, scope: str) -> str:
            return AUDIENCE

        def get_extra_claims(self, client: Client, grant_type: str, user: User, scope: str) -> dict[str, Any]:
            return {"iss": provider.issuer, **user.claims}

    return Tokens(issuer="set with each token")
