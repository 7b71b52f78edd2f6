"""Indexes: for administrators."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serving.http import schemas
from serving.http.dependencies import Administrator, RequestId, TheDesk
from serving.http.idempotency import IdempotentRoute
from serving.http.rendering import accepted_out, index_out
from serving.indexes import Indexes

router = APIRouter(prefix="/api/v1", tags=["administration"], route_class=IdempotentRoute)


@router.get("/indexes")
def list_indexes(desk: TheDesk, caller: Administrator) -> schemas.IndexesOut:  # noqa: ARG001  # asks for the scope
    """The index that answers, one that is being built, and one to go back to."""
    return schemas.IndexesOut(indexes=[index_out(listed) for listed in Indexes(desk).all()])


@router.post("/indexes", status_code=202)
def rebuild_index(desk: TheDesk, caller: Administrator) -> schemas.AcceptedOut:
    """Build an index by the models in use now, beside the one that answers, and switch to it."""
    return accepted_out(Indexes(desk).rebuild(caller))


@router.post("/indexes/{name}/activate")
def activate_index(
    name: schemas.Id, desk: TheDesk, caller: Administrator, request_id: RequestId
) -> schemas.IndexesOut:
    """Go back to a retired index: it answers from the next request on."""
    indexes = Indexes(desk)
    indexes.activate(caller, name, request_id=request_id)
    return schemas.IndexesOut(indexes=[index_out(listed) for listed in indexes.all()])


@router.delete("/indexes/{name}", status_code=204)
def drop_index(name: schemas.Id, desk: TheDesk, caller: Administrator, request_id: RequestId) -> Response:
    """Delete a retired index; there is no way back to it then."""
    Indexes(desk).drop(caller, name, request_id=request_id)
    return Response(status_code=204)
