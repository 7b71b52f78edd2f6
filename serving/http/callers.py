"""Request -> who calls, by what it shows: an API key, an access token, a session, a trusted proxy's word.

What is shown first counts alone: a request with a credential that is not valid is refused, whatever else it
carries. In `local` mode nothing is asked for, so the connection has to come from this machine.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import HTTPConnection, Request

from retrieval.access import Principal, UserId
from retrieval.settings import InvalidSettingsError, Settings
from serving.desk import Desk
from serving.errors import UnauthenticatedError
from serving.http.browsers import Cookies, check_csrf_token, check_own_page
from serving.identity import (
    Identity,
    check_identity,
    identity_of_claims,
    identity_of_proxy,
    is_loopback,
    origin_of,
    principal_of,
    proxies_of,
    rights_of,
)
from serving.scopes import ALL_SCOPES

PROXY_SECRET_HEADER = "X-Refdesk-Proxy-Secret"  # noqa: S105  # a header's name

_KEY_PREFIX = "rd_"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the principal, the name to show where one is known, and the API key's id where one was shown."""

    principal: Principal
    name: str = ""
    key_id: str = ""


class Callers:
    """Finds out who calls, in the mode of the settings."""

    def __init__(self, desk: Desk) -> None:
        """Look people up in this desk.

        Raises:
            InvalidSettingsError: With these settings anybody could come in unseen, or nobody at all.
        """
        check_identity(desk.settings)
        if desk.settings.identity == "oidc" and desk.provider is None:
            raise InvalidSettingsError("oidc_issuer: the provider was not opened")
        self._desk = desk
        self._settings: Settings = desk.settings
        self._rights = rights_of(desk.settings)
        self._proxies = proxies_of(desk.settings) if desk.settings.identity == "proxy" else ()
        self._origin = origin_of(desk.settings.public_url) if desk.settings.public_url else ""
        self.cookies = Cookies(is_secure=self._origin.startswith("https:"))

    def find(self, request: Request) -> Caller:
        """Who calls.

        Raises:
            UnauthenticatedError: Nothing valid is shown.
            ForeignOriginError: A cookie or proxy vouches for it, but another site's page sent it.
            IdentityUnavailableError: The OpenID provider's keys are not to be had.
            CatalogueUnavailableError: Keys, sessions and groups cannot be looked up.
        """
        mode = self._settings.identity
        if mode == "local":
            return Caller(self._local_owner(request))
        if mode == "proxy":
            self._refuse_forged(request)
        shown = request.headers.getlist("authorization")
        if shown:
            return self._bearer(shown)
        if mode == "proxy":
            return self._proxied(request)
        if mode == "oidc":
            return self._in_session(request)
        raise UnauthenticatedError("no_credential")

    def vouched(self, identity: Identity) -> Principal:
        """The principal for somebody for whom a provider or proxy vouches.

        Raises:
            UnauthenticatedError: The user may not come in.
        """
        standing = self._desk.directory.standing_of(identity.user_id, vouched=identity.groups or ())
        return principal_of(identity, standing, self._rights)

    def _local_owner(self, request: Request) -> Principal:
        if not is_loopback(peer_of(request)):
            raise UnauthenticatedError("not_this_machine")
        owner = UserId(self._settings.owner)
        return self._desk.directory.standing_of(owner).principal(ALL_SCOPES)

    def _bearer(self, shown: list[str]) -> Caller:
        kind, _, credential = shown[0].partition(" ")
        if len(shown) > 1 or kind.lower() != "bearer":
            raise UnauthenticatedError("no_bearer")
        credential = credential.strip()
        if credential.startswith(_KEY_PREFIX):
            return self._of_key(credential)
        if self._settings.identity != "oidc":
            raise UnauthenticatedError("no_key")
        return self._of_token(credential)

    def _of_key(self, presented: str) -> Caller:
        key = self._desk.directory.authenticate(presented)
        if key is None:
            raise UnauthenticatedError("key_not_valid")
        standing = self._desk.directory.standing_of(key.user_id)
        if standing.is_disabled:
            raise UnauthenticatedError("user_disabled")
        return Caller(standing.principal(frozenset(key.scopes) & ALL_SCOPES), key_id=key.id)

    def _of_token(self, token: str) -> Caller:
        assert self._desk.provider is not None
        identity = self.identity_of(self._desk.provider.verify_access_token(token))
        return Caller(self.vouched(identity), identity.name)

    def identity_of(self, claims: Mapping[str, object]) -> Identity:
        """The identity in verified claims. Raises `UnauthenticatedError` when they make none."""
        settings = self._settings
        return identity_of_claims(claims, name=settings.oidc_name, groups_claim=settings.oidc_groups_claim)

    def _in_session(self, request: Request) -> Caller:
        secret = self.cookies.session(request)
        session = self._desk.sessions.find(secret) if secret else None
        if session is None:
            raise UnauthenticatedError("session_not_open" if secret else "no_credential")
        check_own_page(request.headers, request.method, self._origin)
        check_csrf_token(request.headers, request.method, secret)
        return Caller(self.vouched(Identity(session.user_id, session.name, session.groups)), session.name)

    def _refuse_forged(self, request: Request) -> None:
        """Refuse whoever is not the proxy but says what only the proxy may say."""
        said = (self._settings.proxy_user_header, self._settings.proxy_groups_header, PROXY_SECRET_HEADER)
        if any(name and name in request.headers for name in said) and not self._is_proxy(request):
            raise UnauthenticatedError("not_the_proxy")

    def _is_proxy(self, request: Request) -> bool:
        try:
            peer = ipaddress.ip_address(peer_of(request))
        except ValueError:
            return False
        peer = getattr(peer, "ipv4_mapped", None) or peer  # a socket for both families writes ::ffff:10.0.0.1
        expected = self._settings.proxy_secret.get_secret_value()
        sent = request.headers.get(PROXY_SECRET_HEADER, "")
        knows_secret = not expected or hmac.compare_digest(sent.encode(), expected.encode())
        return knows_secret and any(peer in network for network in self._proxies)

    def _proxied(self, request: Request) -> Caller:
        settings = self._settings
        users = request.headers.getlist(settings.proxy_user_header)
        groups = (
            request.headers.getlist(settings.proxy_groups_header) if settings.proxy_groups_header else [""]
        )
        if not users:
            raise UnauthenticatedError("no_credential")
        if len(users) > 1 or len(groups) != 1:
            raise UnauthenticatedError("proxy_unclear")
        check_own_page(request.headers, request.method, self._origin)
        return Caller(self.vouched(identity_of_proxy(as_text(users[0]), as_text(groups[0]))))


def as_text(header: str) -> str:
    """A header's value as UTF-8; HTTP hands it over as Latin-1."""
    return header.encode("latin-1").decode("utf-8", "replace")


def peer_of(request: HTTPConnection) -> str:
    """The address at the other end of the connection, empty where there is none."""
    return request.client.host if request.client is not None else ""
