"""SCIM 2.0 at /scim/v2, for provisioning systems that hold an API key with the scope `directory`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict

from retrieval.adapters.sql.directory import User
from retrieval.adapters.sql.groups import Group
from retrieval.errors import NotFoundError
from serving.desk import Desk
from serving.http.dependencies import DirectoryKeeper, RequestId, TheDesk
from serving.http.errors import SCIM_TYPE
from serving.http.schemas import Id, Incoming
from serving.provisioning import Provisioning
from serving.scim import (
    MAX_RESULTS,
    group_filter,
    group_resource,
    listing,
    operations_of,
    projected,
    user_filter,
    user_of,
    user_resource,
    wants,
)
from serving.scim_discovery import resource_types, schemas, service_provider_config

_DEFAULT_COUNT = 100


class ScimResponse(JSONResponse):
    """A reply in SCIM's media type."""

    media_type = SCIM_TYPE


router = APIRouter(prefix="/scim/v2", tags=["scim"], default_response_class=ScimResponse)

ScimBody = Annotated[dict[str, Any], Body(media_type=SCIM_TYPE)]


class Asked(Incoming):
    """What of a resource is asked for. Parameters that are not known are passed over, as SCIM has many."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    attributes: Annotated[str, Query(max_length=2000)] = ""
    excludedAttributes: Annotated[str, Query(max_length=2000)] = ""  # noqa: N815  # SCIM's name


class Listed(Asked):
    """Which page of which resources: `startIndex` counts from 1; `count` 0 asks for the number alone."""

    filter: Annotated[str, Query(max_length=2000)] = ""
    startIndex: int = 1  # noqa: N815  # SCIM's name
    count: int = _DEFAULT_COUNT

    @property
    def start(self) -> int:
        """The first position; below 1 it is 1, as the RFC has it."""
        return min(max(self.startIndex, 1), 2**31)

    @property
    def limit(self) -> int:
        """Most resources to send; below 0 it is 0."""
        return min(max(self.count, 0), MAX_RESULTS)


AskedFor = Annotated[Asked, Query()]
Page = Annotated[Listed, Query()]


@router.get("/ServiceProviderConfig")
def get_config(request: Request, caller: DirectoryKeeper) -> ScimResponse:  # noqa: ARG001  # asks for the scope
    """What the desk can do of SCIM."""
    return ScimResponse(service_provider_config(_base(request)))


@router.get("/ResourceTypes")
def list_types(request: Request, caller: DirectoryKeeper) -> ScimResponse:  # noqa: ARG001  # asks for the scope
    """Users and groups."""
    return _all_of(resource_types(_base(request)))


@router.get("/ResourceTypes/{name}")
def get_type(request: Request, name: Id, caller: DirectoryKeeper) -> ScimResponse:  # noqa: ARG001  # as above
    """One of them."""
    return _one_of(resource_types(_base(request)), name)


@router.get("/Schemas")
def list_schemas(request: Request, caller: DirectoryKeeper) -> ScimResponse:  # noqa: ARG001  # asks for the scope
    """The attributes that are kept."""
    return _all_of(schemas(_base(request)))


@router.get("/Schemas/{name}")
def get_schema(request: Request, name: Id, caller: DirectoryKeeper) -> ScimResponse:  # noqa: ARG001  # as above
    """Those of users or groups."""
    return _one_of(schemas(_base(request)), name)


@router.get("/Users")
def list_users(
    request: Request,
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
    page: Page,
) -> ScimResponse:
    """Users of the directory."""
    found, total = Provisioning(desk).users(user_filter(page.filter), start=page.start, limit=page.limit)
    resources = [_user(request, desk, user, page) for user in found]
    return ScimResponse(listing(resources, total=total, start=page.start))


@router.post("/Users", status_code=201)
def create_user(
    request: Request,
    body: ScimBody,
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
    asked: AskedFor,
) -> ScimResponse:
    """Make a user. Its id comes from userName and stays."""
    user = Provisioning(desk).create_user(caller, user_of(body), request_id=request_id)
    return _created(_user(request, desk, user, asked))


@router.get("/Users/{id}")
def get_user(
    request: Request,
    id: Id,  # noqa: A002  # SCIM's name
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
    asked: AskedFor,
) -> ScimResponse:
    """One user."""
    return ScimResponse(_user(request, desk, Provisioning(desk).user(id), asked))


@router.put("/Users/{id}")
def replace_user(
    request: Request,
    id: Id,  # noqa: A002  # SCIM's name
    body: ScimBody,
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
    asked: AskedFor,
) -> ScimResponse:
    """Replace a user; it counts from the next request on."""
    user = Provisioning(desk).replace_user(caller, id, user_of(body), request_id=request_id)
    return ScimResponse(_user(request, desk, user, asked))


@router.patch("/Users/{id}")
def patch_user(
    request: Request,
    id: Id,  # noqa: A002  # SCIM's name
    body: ScimBody,
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
    asked: AskedFor,
) -> ScimResponse:
    """Change a user. One that is not active comes in with nothing from the next request on."""
    user = Provisioning(desk).patch_user(caller, id, operations_of(body), request_id=request_id)
    return ScimResponse(_user(request, desk, user, asked))


@router.delete("/Users/{id}", status_code=204)
def delete_user(
    id: Id,  # noqa: A002  # SCIM's name
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
) -> Response:
    """Delete a user: disabled, and gone from these lists. Its id is not given to somebody else."""
    Provisioning(desk).delete_user(caller, id, request_id=request_id)
    return Response(status_code=204)


@router.get("/Groups")
def list_groups(
    request: Request,
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
    page: Page,
) -> ScimResponse:
    """Groups that the provisioning system made; those of the directory itself and of sources are not its."""
    found, total = Provisioning(desk).groups(group_filter(page.filter), start=page.start, limit=page.limit)
    resources = [_group(request, desk, group, page) for group in found]
    return ScimResponse(listing(resources, total=total, start=page.start))


@router.post("/Groups", status_code=201)
def create_group(
    request: Request,
    body: ScimBody,
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
    asked: AskedFor,
) -> ScimResponse:
    """Make a group. Its id comes from displayName and stays."""
    group = Provisioning(desk).create_group(caller, body, request_id=request_id)
    return _created(_group(request, desk, group, asked))


@router.get("/Groups/{id}")
def get_group(
    request: Request,
    id: Id,  # noqa: A002  # SCIM's name
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
    asked: AskedFor,
) -> ScimResponse:
    """One group with its members."""
    return ScimResponse(_group(request, desk, Provisioning(desk).group(id), asked))


@router.put("/Groups/{id}")
def replace_group(
    request: Request,
    id: Id,  # noqa: A002  # SCIM's name
    body: ScimBody,
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
    asked: AskedFor,
) -> ScimResponse:
    """Replace a group with all its members; it counts from the next request on."""
    group = Provisioning(desk).replace_group(caller, id, body, request_id=request_id)
    return ScimResponse(_group(request, desk, group, asked))


@router.patch("/Groups/{id}")
def patch_group(
    request: Request,
    id: Id,  # noqa: A002  # SCIM's name
    body: ScimBody,
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
    asked: AskedFor,
) -> ScimResponse:
    """Add, remove or replace members, or rename a group; it counts from the next request on."""
    group = Provisioning(desk).patch_group(caller, id, operations_of(body), request_id=request_id)
    return ScimResponse(_group(request, desk, group, asked))


@router.delete("/Groups/{id}", status_code=204)
def delete_group(
    id: Id,  # noqa: A002  # SCIM's name
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
) -> Response:
    """Delete a group: access lists that name it match nobody from the next request on."""
    Provisioning(desk).delete_group(caller, id, request_id=request_id)
    return Response(status_code=204)


def _base(request: Request) -> str:
    """The address of /scim/v2 as clients know it, where the settings say so, else as they wrote it."""
    desk: Desk = request.app.state.desk
    return f"{desk.settings.public_url.rstrip('/') or str(request.base_url).rstrip('/')}/scim/v2"


def _user(request: Request, desk: Desk, user: User, asked: Asked) -> dict[str, Any]:
    resource = user_resource(user, base=_base(request), source=desk.settings.scim_name)
    return projected(resource, attributes=asked.attributes, excluded=asked.excludedAttributes)


def _group(request: Request, desk: Desk, group: Group, asked: Asked) -> dict[str, Any]:
    has_members = wants("members", attributes=asked.attributes, excluded=asked.excludedAttributes)
    members = Provisioning(desk).members(group) if has_members else None
    resource = group_resource(group, members, base=_base(request))
    return projected(resource, attributes=asked.attributes, excluded=asked.excludedAttributes)


def _created(resource: Mapping[str, Any]) -> ScimResponse:
    return ScimResponse(resource, status_code=201, headers={"Location": resource["meta"]["location"]})


def _all_of(resources: list[dict[str, Any]]) -> ScimResponse:
    return ScimResponse(listing(resources, total=len(resources), start=1))


def _one_of(resources: list[dict[str, Any]], id_: str) -> ScimResponse:
    found = next((each for each in resources if each["id"] == id_), None)
    if found is None:
        raise NotFoundError(f"no {id_}")
    return ScimResponse(found)
