"""Request -> `Principal`: who asks, in which groups, with which scopes. Read anew for every request.

`local` mode has one owner and no login, so it has to be sure that the caller sits at this machine: the
connection comes from loopback, the Host header names loopback (a page elsewhere can make its own name point
here: DNS rebinding), and no browser sends a change for another site. `keys` mode takes
`Authorization: Bearer rd_….…`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers

from retrieval.access import Principal, UserId
from serving.desk import Desk
from serving.errors import UnauthenticatedError, UnknownUserError
from serving.http.errors import ForeignOriginError, TooManyRequestsError, UnexpectedHostError
from serving.http.limits import RateLimiter
from serving.scopes import ALL_SCOPES, END_USER_SCOPES, Scope, require

ACT_FOR_HEADER = "X-Refdesk-User"

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Requires:
    """Dependency that gives the principal and refuses one that lacks a scope.

    Every route under /api/v1 and /v1 has one; `create_app` refuses to start otherwise. `Requires()` asks
    for an identity only.
    """

    def __init__(self, *scopes: Scope) -> None:
        """Ask for these scopes."""
        self.scopes = scopes

    def __call__(self, request: Request) -> Principal:
        """The principal of this request.

        Raises:
            UnauthenticatedError: There is no valid credential.
            NotPermittedError: A scope is missing.
            UnknownUserError: It acts for somebody the directory does not know.
            TooManyRequestsError: The caller is over its budget.
            CatalogueUnavailableError: Groups cannot be looked up; nothing is shown then.
        """
        principal = identify(request)
        require(principal, self.scopes)
        return principal


def identify(request: Request) -> Principal:
    """The principal of a request, looked up once per request. Raises as `Requires`."""
    known = getattr(request.state, "principal", None)
    if isinstance(known, Principal):
        return known
    desk: Desk = request.app.state.desk
    caller = _local_owner(desk, request) if desk.settings.identity == "local" else _of_key(desk, request)
    _count(request, caller.user_id)
    principal = _acted_for(desk, request.headers, caller)
    request.state.principal = principal
    return principal


def check_browser(headers: Headers, method: str) -> None:
    """Refuse what only a browser under another site's control would send to a local desk.

    Raises:
        UnexpectedHostError: The Host header does not name this machine.
        ForeignOriginError: A change comes from another site's page.
    """
    host = headers.get("host", "")
    if not _is_loopback(_host_name(host)):
        raise UnexpectedHostError("the Host header does not name this machine")
    if method in _SAFE_METHODS:
        return
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise ForeignOriginError("another site's page may not change anything here")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise ForeignOriginError("another site's page may not change anything here")


def _local_owner(desk: Desk, request: Request) -> Principal:
    if request.client is None or not _is_loopback(request.client.host):
        raise UnauthenticatedError("a desk without login answers this machine only")
    owner = UserId(desk.settings.owner)
    return Principal(owner, desk.directory.groups_of(owner) or frozenset(), ALL_SCOPES)


def _of_key(desk: Desk, request: Request) -> Principal:
    kind, _, credential = request.headers.get("authorization", "").partition(" ")
    key = desk.directory.authenticate(credential.strip()) if kind.lower() == "bearer" else None
    if key is None:
        raise UnauthenticatedError("no valid API key was sent")
    groups = desk.directory.groups_of(key.user_id)
    return Principal(key.user_id, groups or frozenset(), frozenset(key.scopes) & ALL_SCOPES)


def _acted_for(desk: Desk, headers: Headers, caller: Principal) -> Principal:
    """The user that a service key acts for, with the user's groups and at most the key's scopes."""
    user = headers.get(ACT_FOR_HEADER)
    if user is None:
        return caller
    require(caller, [Scope.ACT_AS])
    user = user.encode("latin-1").decode("utf-8", "replace")  # HTTP headers arrive as Latin-1
    groups = desk.directory.groups_of(UserId(user))
    if groups is None:
        raise UnknownUserError("the directory does not know this user")
    return Principal(UserId(user), groups, caller.scopes & END_USER_SCOPES, acting_for=True)


def _count(request: Request, caller: str) -> None:
    limiter: RateLimiter = request.app.state.limiter
    wait_s = limiter.take(caller)
    if wait_s:
        raise TooManyRequestsError(wait_s)


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def declared_scopes(route: APIRoute) -> tuple[Scope, ...] | None:
    """The scopes that a route asks for, None when it declares nothing."""
    found: list[Requires] = []
    waiting = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if isinstance(dependant.call, Requires):
            found.append(dependant.call)
        waiting += dependant.dependencies
    return tuple(scope for requires in found for scope in requires.scopes) if found else None


def identify_again(request: Request, *scopes: Scope) -> Principal:
    """The principal as it is now, in the middle of a long reply. Raises as `Requires`."""
    request.state.principal = None
    principal = identify(request)
    require(principal, scopes)
    return principal
