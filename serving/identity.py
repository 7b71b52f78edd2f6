"""What a provider or proxy says of somebody -> a `Principal`, and which settings of that are safe. Pure.

A user of an OpenID provider is `<name>:<sub>`, a group `group:<name>/<group>`; the name stands for the issuer,
so that nobody becomes somebody of the directory, or of another provider, by being called alike.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from retrieval.access import Principal, PrincipalId, UserId
from retrieval.settings import InvalidSettingsError, Settings
from serving.errors import UnauthenticatedError
from serving.scopes import ALL_SCOPES, Scope

if TYPE_CHECKING:
    from retrieval.adapters.sql.directory import Standing

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SIGNATURES = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
)
"""Signature algorithms that a desk may be set to take; all of them need a key that signs and one that checks."""

ADMIN_SCOPES = ALL_SCOPES - {Scope.ACT_AS, Scope.AUDIT_READ, Scope.PREVIEW}
"""Who looks after the desk does not by that read who asked what, nor what others read; auditors do the one, who
need be no administrators, and the other takes a second permission."""

_TAKEN_HEADERS = frozenset(("authorization", "cookie", "host", "origin", "x-refdesk-user"))
"""Headers that say something else already."""

_SCOPE_PREFIX = "refdesk:"
_PROXY_NAME = "proxy"
_MAX_ID_CHARS = 255  # what the catalogue keeps of a principal id
_MAX_GROUPS = 10_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody for whom a provider or proxy vouches.

    Attributes:
        user_id: Who it is.
        name: The name to show; may be empty.
        groups: The groups that were named, qualified; None when there are too many to name: the directory
            has to know the user then.
        scopes: What the credential was limited to; None for no limit.
    """

    user_id: UserId
    name: str
    groups: frozenset[PrincipalId] | None
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Rights:
    """What people may do who come in without an API key.

    Attributes:
        scopes: Everybody's.
        admin_groups: Groups whose members have `ADMIN_SCOPES`.
        audit_groups: Groups whose members may read the audit trail, besides what they may do anyway.
        preview_groups: Groups whose members, where they are administrators, may see all that others find.
    """

    scopes: frozenset[str]
    admin_groups: frozenset[PrincipalId]
    audit_groups: frozenset[PrincipalId] = frozenset()
    preview_groups: frozenset[PrincipalId] = frozenset()


def principal_of(identity: Identity, standing: Standing, rights: Rights) -> Principal:
    """The principal for an identity, with the groups that the directory knows now.

    Raises:
        UnauthenticatedError: The user is disabled, or nobody can say in which groups it is. Without its
            groups a user would also escape what is denied to them.
    """
    if standing.is_disabled:
        raise UnauthenticatedError("user_disabled")
    if identity.groups is None and not standing.is_known:
        raise UnauthenticatedError("groups_unknown")
    principal = standing.principal()
    groups = standing.groups | (identity.groups or frozenset())
    scopes = ADMIN_SCOPES if groups & rights.admin_groups else rights.scopes
    if groups & rights.audit_groups:
        scopes |= {Scope.AUDIT_READ.value}
    if groups & rights.preview_groups:
        scopes |= {Scope.PREVIEW.value}
    if identity.scopes is not None:
        scopes &= identity.scopes
    return replace(principal, groups=groups, scopes=frozenset(scopes))


def identity_of_claims(claims: Mapping[str, object], *, name: str, groups_claim: str) -> Identity:
    """The identity in the claims of a verified token.

    Args:
        claims: Checked in all that the protocol demands.
        name: Short name of the provider.
        groups_claim: Claim that lists groups; empty when the directory's groups are the only ones.

    Raises:
        UnauthenticatedError: The subject or a group cannot be an id, or groups are missing.
    """
    shown = claims.get("name") or claims.get("preferred_username") or ""
    return Identity(
        user_id=UserId(_id(name + ":", claims.get("sub"), "subject")),
        name=shown[:200] if isinstance(shown, str) and _is_printable(shown) else "",
        groups=_groups(claims, name, groups_claim),
        scopes=_granted(claims),
    )


def identity_of_proxy(user: str, groups: str) -> Identity:
    """The identity that a trusted proxy names: ids of users are the directory's own.

    Args:
        user: The user's id.
        groups: Names of groups, separated by commas.

    Raises:
        UnauthenticatedError: The user or a group cannot be an id.
    """
    return Identity(UserId(_id("", user.strip(), "subject")), "", _qualified(_PROXY_NAME, listed(groups)))


def _groups(claims: Mapping[str, object], name: str, claim: str) -> frozenset[PrincipalId] | None:
    if not claim:
        return frozenset()
    elsewhere = claims.get("_claim_names")
    if (isinstance(elsewhere, Mapping) and claim in elsewhere) or claims.get("hasgroups"):
        return None  # how Microsoft's provider says that there are too many for a token
    listed = claims.get(claim)
    if not isinstance(listed, list):
        raise UnauthenticatedError("groups_missing")
    return _qualified(name, listed)


def _qualified(name: str, groups: Collection[object]) -> frozenset[PrincipalId]:
    if len(groups) > _MAX_GROUPS:
        raise UnauthenticatedError("groups_too_many")
    return frozenset(PrincipalId(_id(f"group:{name}/", group, "group")) for group in groups)


def _granted(claims: Mapping[str, object]) -> frozenset[str] | None:
    """The desk's scopes that a token was limited to; None when it names none of them."""
    listed = claims.get("scope", claims.get("scp", ""))
    words = listed.split() if isinstance(listed, str) else listed if isinstance(listed, list) else []
    mine = {str(word) for word in words if str(word).startswith(_SCOPE_PREFIX)}
    return frozenset(word.removeprefix(_SCOPE_PREFIX) for word in mine) if mine else None


def _id(prefix: str, given: object, what: str) -> str:
    if not isinstance(given, str) or not given.strip() or not _is_printable(given):
        raise UnauthenticatedError(f"{what}_malformed")
    if len(prefix) + len(given) > _MAX_ID_CHARS - len("user:"):
        raise UnauthenticatedError(f"{what}_too_long")
    return prefix + given


def _is_printable(text: str) -> bool:
    """Whether a text holds no control characters, no line ends and no half surrogate pairs."""
    return text.isprintable()


def check_identity(settings: Settings) -> None:
    """Refuse settings under which anybody could come in unseen.

    Raises:
        InvalidSettingsError: Names the setting.
    """
    rights_of(settings)
    if settings.public_url:
        _check_address("public_url", settings.public_url)
        origin = origin_of(settings.public_url)
        if settings.public_url.rstrip("/") != origin:
            raise InvalidSettingsError(f"public_url: browsers write it as {origin}, without anything else")
    if settings.identity == "oidc":
        _check_oidc(settings)
    if settings.identity == "proxy":
        proxies_of(settings)
        for setting in ("proxy_user_header", "proxy_groups_header"):
            header = getattr(settings, setting)
            is_fit = re.fullmatch(r"[A-Za-z0-9-]+", header) and header.lower() not in _TAKEN_HEADERS
            if (header or setting == "proxy_user_header") and not is_fit:
                raise InvalidSettingsError(
                    f"{setting}: {header!r} is no header in which a proxy names people"
                )


def vouches_for(settings: Settings) -> frozenset[str]:
    """What qualifies groups of which the provider or the proxy says who is in them: the directory need not know."""
    if settings.identity == "oidc" and settings.oidc_groups_claim:
        return frozenset((settings.oidc_name,))
    if settings.identity == "proxy" and settings.proxy_groups_header:
        return frozenset((_PROXY_NAME,))
    return frozenset()


def rights_of(settings: Settings) -> Rights:
    """What people may do who come in without an API key.

    Raises:
        InvalidSettingsError: A scope is unknown or not for everybody, or a group is not `group:…`.
    """
    scopes = frozenset(listed(settings.user_scopes))
    for scope in scopes:
        if scope not in ALL_SCOPES or scope in (
            Scope.ADMIN,
            Scope.ACT_AS,
            Scope.AUDIT_READ,
            Scope.PREVIEW,
        ):
            raise InvalidSettingsError(f"user_scopes: {scope} is no scope for everybody")
    groups = (_groups_in(settings, name) for name in ("admin_groups", "audit_groups", "preview_groups"))
    return Rights(scopes, *groups)


def _groups_in(settings: Settings, setting: str) -> frozenset[PrincipalId]:
    groups = listed(getattr(settings, setting))
    for group in groups:
        if not group.removeprefix("group:") or not group.startswith("group:") or group == "group:everyone":
            raise InvalidSettingsError(f"{setting}: {group} is no group that may have rights over others")
    return frozenset(PrincipalId(group) for group in groups)


def proxies_of(settings: Settings) -> tuple[Network, ...]:
    """The networks from which a proxy may name users.

    Raises:
        InvalidSettingsError: There is none, one cannot be understood, or one is everybody.
    """
    addresses = listed(settings.proxy_addresses)
    if not addresses:
        raise InvalidSettingsError("proxy_addresses: a proxy that names users needs an address to know it by")
    try:
        networks = tuple(ipaddress.ip_network(address) for address in addresses)
    except ValueError as error:
        raise InvalidSettingsError(f"proxy_addresses: {error}") from error
    if any(network.prefixlen == 0 for network in networks):
        raise InvalidSettingsError("proxy_addresses: this would let everybody name users")
    return networks


def listed(text: str) -> tuple[str, ...]:
    """The parts of a setting that is a list, in order."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine for certain."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> str:
    """Scheme, host and port of a safe address, as browsers write them in `Origin`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = "" if parts.port in (None, {"https": 443, "http": 80}[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def is_safe_address(url: str) -> bool:
    """Whether a URL is https, or http on this machine, and carries no credentials or fragment."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment or port == 0 or not url.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _check_address(setting: str, url: str) -> None:
    if not is_safe_address(url):
        raise InvalidSettingsError(f"{setting}: needs an https address (http on this machine only)")


def _check_oidc(settings: Settings) -> None:
    _check_address("oidc_issuer", settings.oidc_issuer)
    unsafe = set(listed(settings.oidc_algorithms)) - SIGNATURES
    if unsafe or not listed(settings.oidc_algorithms):
        raise InvalidSettingsError(f"oidc_algorithms: takes only {', '.join(sorted(SIGNATURES))}")
    if not settings.oidc_client_id and not settings.oidc_audience:
        raise InvalidSettingsError("oidc_client_id: neither sign-in nor access tokens are set up")
    if settings.oidc_client_id and not settings.public_url:
        raise InvalidSettingsError(
            "public_url: sign-in needs to know where the provider sends people back to"
        )
    if settings.oidc_client_id and "openid" not in settings.oidc_scopes.split():
        raise InvalidSettingsError("oidc_scopes: sign-in needs openid among them")
    if settings.oidc_audience and settings.oidc_audience == settings.oidc_client_id:
        raise InvalidSettingsError(
            "oidc_audience: must differ from oidc_client_id, the audience of ID tokens"
        )
    if settings.oidc_audience and not listed(settings.oidc_token_types):
        raise InvalidSettingsError("oidc_token_types: names no type of access token")
