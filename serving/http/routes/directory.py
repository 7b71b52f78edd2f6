"""Users, groups and other ids, for whoever holds the scope `directory`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from retrieval.access import UserId
from serving.directory import Directory, group_id
from serving.http import directory_schemas as schemas
from serving.http.dependencies import DirectoryKeeper, RequestId, TheDesk
from serving.http.idempotency import IdempotentRoute
from serving.http.schemas import Id

router = APIRouter(prefix="/api/v1/directory", tags=["directory"], route_class=IdempotentRoute)


@router.get("/users")
def list_users(
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
    page: Annotated[schemas.PageQuery, Query()],
) -> schemas.UsersOut:
    """Users of the directory."""
    found = Directory(desk).users(after=page.after, limit=page.limit + 1)
    shown = found[: page.limit]
    return schemas.UsersOut(
        users=[schemas.user_out(user) for user in shown],
        next_cursor=schemas.cursor_after(shown[-1].id) if len(found) > len(shown) else None,
    )


@router.get("/users/{user_id}")
def get_user(
    user_id: Id,
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
) -> schemas.UserOut:
    """One user with the groups it is directly in."""
    return schemas.user_out(Directory(desk).user(UserId(user_id)))


@router.put("/users/{user_id}")
def put_user(
    user_id: Id, body: schemas.UserIn, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId
) -> schemas.UserOut:
    """Create or replace a user; the groups given are the only ones from the next request on."""
    user = Directory(desk).put_user(
        caller, UserId(user_id), name=body.name, groups=body.groups, request_id=request_id
    )
    return schemas.user_out(user)


@router.patch("/users/{user_id}")
def change_user(
    user_id: Id, body: schemas.UserChangeIn, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId
) -> schemas.UserOut:
    """Change a user. A disabled one may come in with nothing from the next request on: no key, token, session."""
    user = Directory(desk).change_user(caller, UserId(user_id), body.change(), request_id=request_id)
    return schemas.user_out(user)


@router.delete("/users/{user_id}/sessions")
def end_sessions_of(
    user_id: Id, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId
) -> schemas.EndedOut:
    """Sign a user out of every browser, from the next request on. Keys and access tokens are not touched."""
    ended = Directory(desk).end_sessions(caller, UserId(user_id), request_id=request_id)
    return schemas.EndedOut(ended=ended)


@router.get("/users/{user_id}/identities")
def list_identities(
    user_id: Id,
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
) -> schemas.LinksOut:
    """Other ids of a user."""
    links = Directory(desk).links(UserId(user_id))
    return schemas.LinksOut(identities=[schemas.link_out(link) for link in links])


@router.post("/users/{user_id}/identities", status_code=201)
def link_identity(
    user_id: Id, body: schemas.LinkIn, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId
) -> schemas.LinkOut:
    """Link another id to a user: access lists that name it mean the user from the next request on."""
    link = Directory(desk).link(
        caller,
        UserId(user_id),
        (body.issuer, body.subject),
        takeover=body.takeover,
        request_id=request_id,
    )
    return schemas.link_out(link)


@router.delete("/users/{user_id}/identities", status_code=204)
def unlink_identity(
    user_id: Id,
    which: Annotated[schemas.UnlinkQuery, Query()],
    desk: TheDesk,
    caller: DirectoryKeeper,
    request_id: RequestId,
) -> Response:
    """Take an id from a user. Nobody else gets it by itself."""
    Directory(desk).unlink(caller, UserId(user_id), (which.issuer, which.subject), request_id=request_id)
    return Response(status_code=204)


@router.get("/groups")
def list_groups(
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
    page: Annotated[schemas.GroupsQuery, Query()],
) -> schemas.GroupsOut:
    """Groups of the directory."""
    found = Directory(desk).groups(after=page.after, limit=page.limit + 1, source=page.source)
    shown = found[: page.limit]
    return schemas.GroupsOut(
        groups=[schemas.group_out(group) for group in shown],
        next_cursor=schemas.cursor_after(shown[-1].id) if len(found) > len(shown) else None,
    )


@router.post("/groups", status_code=201)
def create_group(
    body: schemas.GroupIn, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId
) -> schemas.GroupOut:
    """Make a group. Documents that name it already open to its members from the next request on."""
    group = Directory(desk).create_group(caller, group_id(body.id), body.change(), request_id=request_id)
    return schemas.group_out(group)


@router.get("/groups/{group:path}")
def get_group(
    group: Id,
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
) -> schemas.GroupOut:
    """One group. Its members: GET /api/v1/directory/members."""
    return schemas.group_out(Directory(desk).group(group_id(group)))


@router.patch("/groups/{group:path}")
def change_group(
    group: Id, body: schemas.GroupChangeIn, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId
) -> schemas.GroupOut:
    """Change a group's name or members, from the next request on. Refused where groups would nest too deep."""
    changed = Directory(desk).change_group(caller, group_id(group), body.change(), request_id=request_id)
    return schemas.group_out(changed)


@router.delete("/groups/{group:path}", status_code=204)
def delete_group(group: Id, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId) -> Response:
    """Delete a group: access lists that name it match nobody from the next request on."""
    Directory(desk).delete_group(caller, group_id(group), request_id=request_id)
    return Response(status_code=204)


@router.post("/import")
def import_list(
    body: schemas.ImportIn, desk: TheDesk, caller: DirectoryKeeper, request_id: RequestId
) -> schemas.ImportedOut:
    """Bring in a list of users and groups, all of it or nothing. Whom it does not name stays as it is."""
    imported = Directory(desk).bring_in(
        caller,
        [user.listed() for user in body.users],
        [group.listed() for group in body.groups],
        dry_run=body.dry_run,
        request_id=request_id,
    )
    return schemas.imported_out(imported, dry_run=body.dry_run)


@router.get("/members")
def list_members(
    desk: TheDesk,
    caller: DirectoryKeeper,  # noqa: ARG001  # asks for the scope
    page: Annotated[schemas.MembersQuery, Query()],
) -> schemas.MembersOut:
    """Direct members of a group: users and groups."""
    found = Directory(desk).members(group_id(page.group), after=page.after, limit=page.limit + 1)
    shown = found[: page.limit]
    return schemas.MembersOut(
        members=list(shown),
        next_cursor=schemas.cursor_after(shown[-1]) if len(found) > len(shown) else None,
    )
