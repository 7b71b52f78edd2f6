"""Request -> `Principal`: who asks, in which groups, with which scopes. Read anew for every request.

`serving.http.callers` finds out who calls; here it is counted, a service key's user takes its place, and the
scopes that a route declares are asked for. Whoever is refused hears no reason: the log has it.
"""

from __future__ import annotations

import logging

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers

from retrieval.access import Principal, UserId
from serving.desk import Desk
from serving.errors import UnauthenticatedError, UnknownUserError
from serving.http.callers import Caller, Callers, as_text, peer_of
from serving.http.errors import request_id_of
from serving.http.limits import counter_of
from serving.scopes import END_USER_SCOPES, Scope, require

_log = logging.getLogger(__name__)

ACT_FOR_HEADER = "X-Refdesk-User"


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
            RateLimitedError: The caller is over a quota.
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
    caller = _find(request)
    user = _user_acted_for(request.headers, caller.principal)
    request.state.ruling = counter_of(request).admit_caller(caller, user or caller.principal.user_id)
    principal = (
        caller.principal if user is None else _acted_for(request.app.state.desk, user, caller.principal)
    )
    request.state.principal = principal
    request.state.caller_name = "" if principal.acting_for else caller.name
    return principal


def _find(request: Request) -> Caller:
    callers: Callers = request.app.state.callers
    counter = counter_of(request)
    counter.admit_credential(peer_of(request))
    try:
        return callers.find(request)
    except UnauthenticatedError as error:
        counter.note_refusal(peer_of(request), error)
        log_refusal(request, error)
        raise


def log_refusal(request: Request, error: UnauthenticatedError) -> None:
    """Write down why somebody was refused: never what was shown."""
    _log.info("caller refused", extra={"reason": error.reason, "request_id": request_id_of(request)})


def _user_acted_for(headers: Headers, caller: Principal) -> str | None:
    """The user that a service key acts for, None when the caller acts for itself."""
    user = headers.get(ACT_FOR_HEADER)
    if user is None:
        return None
    require(caller, [Scope.ACT_AS])
    return as_text(user)


def _acted_for(desk: Desk, user: str, caller: Principal) -> Principal:
    """The user, with the user's groups and at most the key's scopes."""
    standing = desk.directory.standing_of(UserId(user))
    if not standing.may_come_in:
        raise UnknownUserError("the directory does not know this user")
    return standing.principal(caller.scopes & END_USER_SCOPES, acted_by=caller.user_id)


def declared_scopes(route: APIRoute) -> tuple[Scope, ...] | None:
    """The scopes that a route asks for, None when it declares nothing."""
    found: list[Requires] = []
    waiting = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        if isinstance(dependant.call, Requires):
            found.append(dependant.call)
        waiting += dependant.dependencies
    if not found:
        return None
    return tuple(dict.fromkeys(scope for requires in found for scope in requires.scopes))


def identify_again(request: Request, *scopes: Scope) -> Principal:
    """The principal as it is now, in the middle of a long reply. Raises as `Requires`."""
    request.state.principal = None
    principal = identify(request)
    require(principal, scopes)
    return principal
