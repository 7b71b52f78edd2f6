"""Who the caller is, keys, and where the desk stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from retrieval.access import UserId
from serving.http import schemas
from serving.http.dependencies import (
    Anybody,
    KeyHolder,
    Reader,
    RequestId,
    TheDesk,
)
from serving.http.idempotency import IdempotentRoute
from serving.http.identity import identify_again
from serving.http.rendering import key_out, whoami_out
from serving.http.signing_in import sign_out
from serving.http.status import status_of_desk
from serving.http.streaming import EVENT_STREAM, progress
from serving.keys import Keys, NewKey
from serving.scopes import Scope

router = APIRouter(prefix="/api/v1", tags=["administration"], route_class=IdempotentRoute)


@router.get("/whoami")
def who_am_i(request: Request, desk: TheDesk, caller: Anybody) -> schemas.WhoAmIOut:
    """The caller, as the desk sees it."""
    return whoami_out(caller, name=request.state.caller_name, identity=desk.settings.identity)


@router.delete("/session", status_code=204)
def end_session(request: Request, desk: TheDesk, caller: Anybody, request_id: RequestId) -> Response:
    """Sign out: end the session of this browser. Without one nothing happens."""
    response = Response(status_code=204)
    sign_out(request, desk, response, user_id=caller.user_id, request_id=request_id)
    return response


@router.get("/status")
def get_status(desk: TheDesk, caller: Reader) -> schemas.StatusOut:
    """Where the desk stands, counting what the caller may see."""
    return status_of_desk(desk, caller)


@router.get("/status/events", response_class=StreamingResponse, responses=EVENT_STREAM)
def watch_status(
    request: Request,
    desk: TheDesk,
    caller: Reader,  # noqa: ARG001  # asks for the scope
    limit_s: Annotated[float, Query(ge=0.1, le=600)] = 60,
) -> StreamingResponse:
    """The status as server-sent events: `progress` when it changes, `done` when no job is left."""

    def snapshot() -> schemas.StatusOut:
        return status_of_desk(desk, identify_again(request, Scope.DOCUMENTS_READ))

    return progress(request, snapshot, lambda status: status.unfinished_jobs == 0, limit_s)


@router.get("/keys")
def list_keys(desk: TheDesk, caller: KeyHolder) -> schemas.KeysOut:
    """The caller's keys; for administrators everybody's."""
    return schemas.KeysOut(keys=[key_out(key) for key in Keys(desk).visible(caller)])


@router.post("/keys", status_code=201)
def create_key(
    body: schemas.KeyIn, desk: TheDesk, caller: KeyHolder, request_id: RequestId
) -> schemas.NewKeyOut:
    """Make a key. Its secret is in this reply and nowhere else, a repeat with Idempotency-Key included."""
    new = NewKey(
        user_id=UserId(body.user_id) if body.user_id is not None else caller.user_id,
        name=body.name,
        scopes=frozenset(scope.value for scope in body.scopes),
        expires_at=body.expires_at,
    )
    key, secret = Keys(desk).create(caller, new, request_id=request_id)
    return schemas.NewKeyOut(key=key_out(key), secret=secret)


@router.post("/keys/{key_id}/rotate", status_code=201)
def rotate_key(
    key_id: schemas.Id, body: schemas.RotateIn, desk: TheDesk, caller: KeyHolder, request_id: RequestId
) -> schemas.NewKeyOut:
    """Replace a key by one of the same name, user and scopes. Its secret is in this reply and nowhere else."""
    grace = timedelta(seconds=body.grace_s)
    key, secret = Keys(desk).rotate(caller, key_id, grace=grace, request_id=request_id)
    return schemas.NewKeyOut(key=key_out(key), secret=secret)


@router.delete("/keys/{key_id}", status_code=204)
def revoke_key(key_id: schemas.Id, desk: TheDesk, caller: KeyHolder, request_id: RequestId) -> Response:
    """Revoke a key; it is refused from the next request on."""
    Keys(desk).revoke(caller, key_id, request_id=request_id)
    return Response(status_code=204)
