"""What an OpenID provider publishes, its endpoints and signing keys: fetched, kept, and refetched with measure.

Keys are fetched anew every few minutes, so that one which the provider withdrew stops counting; a token with an
unknown key id fetches them at once, so that a new one counts at once. Neither more often than every ten seconds,
whatever is sent. While the provider does not answer, what it said last counts for a stated time, then nothing.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import base64_to_int

from serving.errors import IdentityUnavailableError
from serving.identity import is_safe_address

_log = logging.getLogger(__name__)

SigningKey = RSAKey | ECKey | OKPKey

TIMEOUT = httpx.Timeout(3.0)
MAX_REPLY_BYTES = 512 * 1024

_REFRESHED_EVERY_S = 300.0
_TRIED_EVERY_S = 10.0
_REPLY_TIME_S = 8.0
_WAIT_S = 3.0
"""How long a request waits for a fetch that another one began."""

_MIN_RSA_BITS = 2048
_MAX_KEYS = 100
_KINDS: dict[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


@dataclass(frozen=True, slots=True)
class Published:
    """What a provider said at one moment.

    Attributes:
        authorization_endpoint: Where browsers sign in.
        token_endpoint: Where codes are redeemed.
        posts_secret: Whether the client's secret goes into the form, because the provider takes no other way.
        keys: Public keys for signatures, by key id.
        at_s: When, in the clock's seconds.
    """

    authorization_endpoint: str
    token_endpoint: str
    posts_secret: bool
    keys: Mapping[str, SigningKey]
    at_s: float


class ProviderRecord:
    """What a provider published, as fresh as it may and has to be. Safe to share between threads."""

    def __init__(
        self,
        issuer: str,
        client: httpx.Client,
        *,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the record of `issuer` through `client`; nothing is fetched before it is asked for."""
        self._issuer = issuer
        self._client = client
        self._max_age_s = max_age_s
        self._clock = clock
        self._fetching = threading.Lock()
        self._held: Published | None = None
        self._tried_at_s = float("-inf")

    def current(self, kid: str | None = None) -> Published:
        """What the provider published; fetched anew when it is old, or lacks the key that is asked for.

        Raises:
            IdentityUnavailableError: The provider does not answer, and what is known of it is too old.
        """
        before = self._held
        if not self._serves(before, kid, _REFRESHED_EVERY_S):
            # Whoever can do with what is there goes on while another one fetches.
            wait_s = 0.0 if self._serves(before, kid, self._max_age_s) else _WAIT_S
            if self._fetching.acquire(timeout=wait_s):
                try:
                    self._refresh(before)
                finally:
                    self._fetching.release()
        held = self._held
        if held is None or self._clock() - held.at_s >= self._max_age_s:
            raise IdentityUnavailableError("the OpenID provider cannot be asked")
        return held

    def _serves(self, held: Published | None, kid: str | None, age_s: float) -> bool:
        return held is not None and self._clock() - held.at_s < age_s and (kid is None or kid in held.keys)

    def _refresh(self, before: Published | None) -> None:
        """Fetch, unless another thread just did or it was tried a moment ago."""
        now_s = self._clock()
        if self._held is not before or now_s - self._tried_at_s < _TRIED_EVERY_S:
            return
        self._tried_at_s = now_s
        try:
            self._held = self._fetch(now_s)
        except IdentityUnavailableError as error:
            _log.warning("openid provider not read", extra={"issuer": self._issuer, "reason": error.message})

    def _fetch(self, now_s: float) -> Published:
        found = fetch_json(self._client, self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise IdentityUnavailableError("it calls itself by another issuer")
        methods = found.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise IdentityUnavailableError("it does not know PKCE with S256")
        ways = found.get("token_endpoint_auth_methods_supported")
        return Published(
            authorization_endpoint=_endpoint(found, "authorization_endpoint"),
            token_endpoint=_endpoint(found, "token_endpoint"),
            posts_secret=isinstance(ways, list) and "client_secret_basic" not in ways,
            keys=signing_keys(fetch_json(self._client, _endpoint(found, "jwks_uri"))),
            at_s=now_s,
        )


def signing_keys(document: Mapping[str, Any]) -> dict[str, SigningKey]:
    """The keys of a key set that may check signatures, by key id.

    Left out are keys without an id, keys whose id another one has too, keys for something else, weak ones,
    kinds that are not understood and symmetric ones, which are no business of a published set.

    Raises:
        IdentityUnavailableError: The document is no key set.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise IdentityUnavailableError("its key set cannot be understood")
    ids = [entry.get("kid") for entry in listed if isinstance(entry, dict)]
    found = {}
    for entry in listed:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(kid, str) and kid and ids.count(kid) == 1:
            key = _public_key(entry)
            if key is not None:
                found[kid] = key
    return found


def _public_key(entry: Mapping[str, Any]) -> SigningKey | None:
    kind = _KINDS.get(str(entry.get("kty")))
    uses = entry.get("key_ops", ["verify"])
    if kind is None or entry.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        return None
    try:
        if kind is RSAKey and base64_to_int(entry["n"]).bit_length() < _MIN_RSA_BITS:
            return None
        return kind.import_key(dict(entry))
    except (JoseError, UnsupportedAlgorithm, KeyError, TypeError, ValueError) as error:
        _log.warning("a key of the openid provider is left out", extra={"reason": type(error).__name__})
        return None


def _endpoint(found: Mapping[str, Any], name: str) -> str:
    url = found.get(name)
    if not isinstance(url, str) or not is_safe_address(url):
        raise IdentityUnavailableError(f"its {name} is no safe address")
    return url


def fetch_json(
    client: httpx.Client,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The JSON object at a URL, by GET, or by POST with a form. Redirects are not followed.

    Raises:
        IdentityUnavailableError: No answer, none in time, too long a one, or no JSON object.
        RefusedByProviderError: The provider answered that the request is not valid.
    """
    ends_at = time.monotonic() + _REPLY_TIME_S
    body = bytearray()
    request = client.build_request(
        "GET" if form is None else "POST", url, data=form, headers={"Accept": "application/json"}
    )
    try:
        reply = client.send(request, auth=auth or httpx.USE_CLIENT_DEFAULT, stream=True)
        try:
            for piece in reply.iter_bytes():
                body += piece
                if len(body) > MAX_REPLY_BYTES or time.monotonic() > ends_at:
                    raise IdentityUnavailableError("its answer is too long")
        finally:
            reply.close()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise IdentityUnavailableError(f"no answer ({type(error).__name__})") from error
    if form is not None and 400 <= reply.status_code < 500:
        raise RefusedByProviderError(f"it refused with status {reply.status_code}")
    if reply.status_code != 200:
        raise IdentityUnavailableError(f"it answered with status {reply.status_code}")
    try:
        found = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise IdentityUnavailableError("its answer is no JSON") from error
    if not isinstance(found, dict):
        raise IdentityUnavailableError("its answer is no JSON object")
    return found


class RefusedByProviderError(Exception):
    """The provider answered a request with a client error."""
