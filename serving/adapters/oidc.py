"""An OpenID provider through joserfc and httpx: access tokens, and sign-in by code with PKCE.

What a token says of how to check it counts for nothing: algorithms come from the settings, keys from the provider's
published set, and a header that names another key, address or extension is refused. Rules from RFC 8725 (JWT best
current practices), RFC 9068 (access tokens), RFC 9700 (OAuth security) and OpenID Connect Core 3.1.3.7.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, extract_compact
from joserfc.registry import JWS_HEADER_REGISTRY

from serving.adapters.oidc_keys import TIMEOUT, ProviderRecord, RefusedByProviderError, SigningKey, fetch_json
from serving.errors import UnauthenticatedError
from serving.ports import SignIn

MAX_TOKEN_CHARS = 16_384

_LEEWAY_S = 30
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_ID_TOKEN_TYPES = frozenset(("", "jwt"))
_ONLY_IN_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")


class _PlainHeaders(JWSRegistry):
    """Header fields that a token may carry: none that names a key, an address or an extension."""

    default_header_registry = {  # noqa: RUF012  # joserfc reads this name from the class
        name: JWS_HEADER_REGISTRY[name] for name in ("alg", "kid", "typ", "x5t", "x5t#S256")
    }
    max_header_length = 1024
    max_payload_length = MAX_TOKEN_CHARS


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """What is expected of a provider.

    Attributes:
        issuer: Its identifier, compared character by character.
        client_id: The desk's own; empty without sign-in.
        client_secret: Empty for a public client.
        scopes: What sign-in asks for, separated by blanks.
        audience: That of access tokens; empty to take none.
        clients: Clients whose access tokens are taken; empty for any.
        algorithms: Signatures that are taken.
        token_types: Lower-case `typ` values of access tokens.
        keys_max_age_s: How long its keys count while it does not answer.
        ca_file: Authority of its certificate; None for those of the system.
    """

    issuer: str
    client_id: str
    client_secret: str
    scopes: str
    audience: str
    clients: frozenset[str]
    algorithms: frozenset[str]
    token_types: frozenset[str]
    keys_max_age_s: float
    ca_file: Path | None = None


class OidcProvider:
    """One provider. Safe to share between threads."""

    def __init__(
        self,
        settings: OidcSettings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Trust the provider in the settings. Nothing is fetched before the first token or sign-in.

        Args:
            settings: What is expected of it.
            clock: Seconds since 1970, by which tokens expire.
            monotonic: Seconds by which keys grow old.
        """
        self._settings = settings
        self._clock = clock
        self._registry = _PlainHeaders(algorithms=settings.algorithms)
        self._client = httpx.Client(
            timeout=TIMEOUT,
            trust_env=False,
            verify=ssl.create_default_context(cafile=settings.ca_file),
        )
        self._record = ProviderRecord(
            settings.issuer, self._client, max_age_s=settings.keys_max_age_s, clock=monotonic
        )

    @property
    def issuer(self) -> str:
        """Its issuer identifier."""
        return self._settings.issuer

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def verify_access_token(self, token: str) -> Mapping[str, object]:
        """The claims of an access token for this desk; see `IdentityProvider`."""
        settings = self._settings
        if not settings.audience:
            raise UnauthenticatedError("no_access_tokens_taken")
        type_, claims = self._verified(token, audience=settings.audience)
        if type_ not in settings.token_types:
            raise UnauthenticatedError("typ")
        _refuse_other_kinds(claims, client_id=settings.client_id)
        client = _client_of(claims)
        if settings.clients and client not in settings.clients:
            raise UnauthenticatedError("client")
        if claims["sub"] == client:
            raise UnauthenticatedError("no_user")  # a program that speaks for itself has a service key
        return claims

    def sign_in_url(self, sign_in: SignIn) -> str:
        """Where to send a browser that wants to sign in; see `IdentityProvider`."""
        digest = hashlib.sha256(sign_in.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": sign_in.redirect_uri,
            "scope": self._settings.scopes,
            "state": sign_in.state,
            "nonce": sign_in.nonce,
            "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        endpoint = self._record.current().authorization_endpoint
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(query)

    def redeem(self, code: str, sign_in: SignIn) -> Mapping[str, object]:
        """The claims of the ID token for a code that came back; see `IdentityProvider`."""
        id_token = self._redeemed(code, sign_in).get("id_token")
        if not isinstance(id_token, str):
            raise UnauthenticatedError("no_id_token")
        client_id = self._settings.client_id
        type_, claims = self._verified(id_token, audience=client_id)
        if type_ not in _ID_TOKEN_TYPES:
            raise UnauthenticatedError("id_token_typ")
        party = claims.get("azp")
        if (party is not None and party != client_id) or (
            party is None and claims["aud"] not in (client_id, [client_id])
        ):
            raise UnauthenticatedError("id_token_azp")
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), sign_in.nonce.encode()):
            raise UnauthenticatedError("id_token_nonce")
        return claims

    def _redeemed(self, code: str, sign_in: SignIn) -> dict[str, Any]:
        settings, published = self._settings, self._record.current()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": sign_in.redirect_uri,
            "code_verifier": sign_in.verifier,
        }
        auth = None
        if settings.client_secret and not published.posts_secret:
            auth = (quote_plus(settings.client_id), quote_plus(settings.client_secret))  # RFC 6749, 2.3.1
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        try:
            return fetch_json(self._client, published.token_endpoint, form=form, auth=auth)
        except RefusedByProviderError as error:
            raise UnauthenticatedError("code_refused") from error

    def _verified(self, token: str, *, audience: str) -> tuple[str, dict[str, Any]]:
        """Type and claims of a token that the provider signed for `audience` and that counts now."""
        if len(token) > MAX_TOKEN_CHARS or _COMPACT.fullmatch(token) is None:
            raise UnauthenticatedError("no_token")
        try:
            header = extract_compact(token.encode(), registry=self._registry).headers()
            self._registry.check_header(header)
            self._registry.get_alg(header["alg"])
            key = self._key(header)
            claims = jwt.decode(token, key, registry=self._registry).claims
            self._expected(audience).validate(claims)
        except JoseError as error:
            raise UnauthenticatedError(error.error or type(error).__name__) from error
        except (ValueError, TypeError, RecursionError) as error:
            raise UnauthenticatedError("malformed") from error
        type_ = header.get("typ", "")
        return type_.lower().removeprefix("application/"), claims

    def _key(self, header: Mapping[str, Any]) -> SigningKey:
        kid = header.get("kid")
        if not kid:
            raise UnauthenticatedError("no_kid")
        key = self._record.current(kid).keys.get(kid)
        if key is None:
            raise UnauthenticatedError("unknown_kid")
        return key

    def _expected(self, audience: str) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )


def _refuse_other_kinds(claims: Mapping[str, Any], *, client_id: str) -> None:
    """Refuse an ID token that calls itself an access token, and a token that is bound to a key of its client."""
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if (client_id and client_id in audiences) or any(name in claims for name in _ONLY_IN_ID_TOKENS):
        raise UnauthenticatedError("id_token")
    if "cnf" in claims:
        raise UnauthenticatedError("bound_token")  # its proof is not checked here, so it proves nothing


def _client_of(claims: Mapping[str, Any]) -> str:
    """The client that a token was made for; empty when it does not say."""
    named = [claims[name] for name in ("azp", "client_id") if name in claims]
    if not all(isinstance(name, str) and name == named[0] for name in named):
        raise UnauthenticatedError("client_unclear")
    return str(named[0]) if named else ""
