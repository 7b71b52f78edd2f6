"""SCIM as Entra ID and Okta speak it, by the requests in their public documentation."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval.access import UserId
from serving.desk import Desk
from serving.provisioning import Provisioning
from serving.scim import scim_id
from serving.scopes import ALL_SCOPES, Scope
from tests.identity.conftest import bearer, client_for

SCIM = "/scim/v2"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


def key_of(desk: Desk, user: str, *scopes: str) -> dict[str, str]:
    """The header of a new key."""
    return bearer(desk.directory.create_key(UserId(user), name="k", scopes=scopes, expires_at=None)[1])


@contextmanager
def provisioned(desk: Desk, **settings: Any) -> Iterator[TestClient]:
    """A provisioning system of a desk with these settings; it sends SCIM's media type."""
    set_up = replace(desk, settings=desk.settings.model_copy(update=settings))
    client = client_for(set_up)
    client.headers.update(key_of(desk, "provisioner", Scope.DIRECTORY))
    client.headers["Content-Type"] = "application/scim+json"
    yield client


@pytest.fixture(scope="module")
def scim(empty_desk: Desk) -> Iterator[TestClient]:
    """A provisioning system of a desk with the default settings."""
    with provisioned(empty_desk) as client:
        yield client


@pytest.fixture
def login() -> str:
    """A userName that no other test uses."""
    return f"{uuid.uuid4().hex[:12]}@example.org"


def send(client: TestClient, method: str, path: str, body: Any) -> Any:
    """A request with a body in SCIM's media type."""
    return client.request(method, f"{SCIM}/{path}", content=json.dumps(body))


def create(client: TestClient, login: str, **more: Any) -> dict[str, Any]:
    """A new user, as Entra ID sends it."""
    body = {
        "schemas": [USER, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": login.partition("@")[0],
        "userName": login,
        "active": True,
        "emails": [{"primary": True, "type": "work", "value": login}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": "Given Family", "familyName": "Family", "givenName": "Given"},
        "roles": [],
        **more,
    }
    reply = send(client, "POST", "Users", body)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def patch(client: TestClient, path: str, *operations: dict[str, Any]) -> Any:
    """A patch."""
    return send(client, "PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})


def make_group(client: TestClient, *members: str) -> dict[str, Any]:
    """A new group, as Entra ID sends it."""
    body = {
        "schemas": [GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
        "externalId": uuid.uuid4().hex,
        "displayName": f"Sales {uuid.uuid4().hex[:8]}",
        "meta": {"resourceType": "Group"},
        "members": [{"value": member} for member in members],
    }
    reply = send(client, "POST", "Groups", body)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def member_ids(client: TestClient, group: dict[str, Any]) -> list[str]:
    """Ids of a group's members."""
    return sorted(each["value"] for each in client.get(f"{SCIM}/Groups/{group['id']}").json()["members"])


def test_a_user_is_made_found_and_shown(scim: TestClient, login: str) -> None:
    """With what was sent of it, a Location, and SCIM's media type."""
    made = create(scim, login)
    shown = scim.get(made["meta"]["location"])
    assert shown.headers["content-type"] == "application/scim+json"
    assert shown.json() == made
    assert (made["userName"], made["active"], made["displayName"]) == (login, True, "Given Family")
    assert made["name"]["familyName"] == "Family"
    assert made["emails"] == [{"value": login, "type": "work", "primary": True}]
    assert made["externalId"] == login.partition("@")[0]


@pytest.mark.parametrize(
    "filter_",
    [
        'userName eq "{login}"',
        'UserName Eq "{upper}"',
        'externalId eq "{external}"',
        'id eq "{id}"',
        'urn:ietf:params:scim:schemas:core:2.0:User:userName eq "{login}" and active eq true',
        'displayName eq "Given Family" and userName eq "{login}"',
    ],
)
def test_users_are_found_by_filter(scim: TestClient, login: str, filter_: str) -> None:
    """Names of attributes and logins have no case; several conditions all hold."""
    made = create(scim, login)
    filled = filter_.format(login=login, upper=login.upper(), external=login.partition("@")[0], id=made["id"])
    found = scim.get(f"{SCIM}/Users", params={"filter": filled}).json()
    assert (found["totalResults"], [each["id"] for each in found["Resources"]]) == (1, [made["id"]])


def test_nobody_found_is_an_empty_list(scim: TestClient) -> None:
    """How Entra ID and Okta try the connection."""
    reply = scim.get(f"{SCIM}/Users", params={"filter": f'userName eq "{uuid.uuid4()}"'})
    assert (reply.status_code, reply.json()["totalResults"], reply.json()["Resources"]) == (200, 0, [])
    assert scim.get(f"{SCIM}/Users", params={"filter": 'id eq "no id"'}).json()["totalResults"] == 0


@pytest.mark.parametrize(
    "filter_",
    [
        'userName sw "a"',
        'userName eq "a" or userName eq "b"',
        "userName eq a",
        'userName eq "a',
        'userName eq "\\x"',
        'userName eq "\\ud800"',
        'password eq "a"',
        "userName eq true",
        'active eq "true"',
        'userName eq "a" and userName eq "b"',
        'userName eq "a" and',
        "not",
        'userName eq "a"and active eq true x',
    ],
)
def test_a_filter_that_is_not_understood_finds_nothing(scim: TestClient, filter_: str) -> None:
    """It is refused with SCIM's word for it, not passed over: everybody would be found."""
    reply = scim.get(f"{SCIM}/Users", params={"filter": filter_})
    assert (reply.status_code, reply.json()["scimType"]) == (400, "invalidFilter")


def test_pages_count_from_one(scim: TestClient, login: str) -> None:
    """By startIndex and count, whose odd values are those of the RFC."""
    for number in range(3):
        create(scim, f"{number}-{login}", displayName=login)
    named = {"filter": f'displayName eq "{login}"'}

    def page(**given: int) -> tuple[int, int, list[str]]:
        body = scim.get(f"{SCIM}/Users", params={**named, **given}).json()
        return body["totalResults"], body["startIndex"], [each["userName"][0] for each in body["Resources"]]

    assert page(startIndex=2, count=1) == (3, 2, ["1"])
    assert page(startIndex=-5, count=2) == (3, 1, ["0", "1"])
    assert page(count=0) == page(count=-1) == (3, 1, [])
    assert page(startIndex=9) == (3, 9, [])


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "Replace", "path": "active", "value": False},
        {"op": "replace", "value": {"active": False}},
        {"op": "replace", "path": f"{USER}:active", "value": False},
        {"op": "Add", "path": "active", "value": "false"},
    ],
)
def test_a_deactivated_user_comes_in_with_nothing(
    scim: TestClient, empty_desk: Desk, login: str, operation: dict[str, Any]
) -> None:
    """In every form in which Entra ID and Okta send it; activated again, the user is back in its groups."""
    user = create(scim, login)
    make_group(scim, user["id"])
    own = key_of(empty_desk, login, Scope.SEARCH)
    client = client_for(empty_desk)
    assert len(client.get("/api/v1/whoami", headers=own).json()["groups"]) == 1
    reply = patch(scim, f"Users/{user['id']}", operation)
    assert (reply.status_code, reply.json()["active"]) == (200, False)
    assert client.get("/api/v1/whoami", headers=own).status_code == 401
    assert patch(scim, f"Users/{user['id']}", {"op": "Replace", "path": "active", "value": "True"}).json()[
        "active"
    ]
    assert len(client.get("/api/v1/whoami", headers=own).json()["groups"]) == 1


def test_attributes_change_by_every_path(scim: TestClient, login: str) -> None:
    """Paths with parts and with filters, values without a path, and attributes that are not kept."""
    user = create(scim, login)
    changed = patch(
        scim,
        f"Users/{user['id']}",
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "new@example.org"},
        {"op": "Add", "path": 'emails[type eq "home"].value', "value": "home@example.org"},
        {"op": "Replace", "path": "name.familyName", "value": "Updated"},
        {"op": "Add", "value": {"name.givenName": "Else", "title": "Head of all"}},
        {
            "op": "Add",
            "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
            "value": "x",
        },
        {"op": "Replace", "path": "displayName", "value": "Else Updated"},
        {"op": "Remove", "path": "externalId"},
    ).json()
    assert [each["value"] for each in changed["emails"]] == ["new@example.org", "home@example.org"]
    assert changed["emails"][0]["primary"] is True
    assert changed["name"] == {"formatted": "Given Family", "familyName": "Updated", "givenName": "Else"}
    assert changed["displayName"] == "Else Updated"
    assert "externalId" not in changed
    assert "title" not in changed
    gone = patch(scim, f"Users/{user['id']}", {"op": "remove", "path": 'emails[type eq "home"]'}).json()
    assert [each["value"] for each in gone["emails"]] == ["new@example.org"]


def test_a_renamed_user_stays_the_same(scim: TestClient, empty_desk: Desk, login: str) -> None:
    """Its id, and so what it may read, does not follow its name; Okta replaces the whole resource."""
    user = create(scim, login)
    body = {**user, "userName": f"new-{login}", "password": "x" * 12, "groups": [], "locale": "en-US"}
    replaced = send(scim, "PUT", f"Users/{user['id']}", body)
    assert (replaced.status_code, replaced.json()["id"]) == (200, user["id"])
    assert empty_desk.directory.user(UserId(login)).login == f"new-{login}"
    assert "password" not in replaced.text


def test_a_replacement_that_does_not_say_active_lets_nobody_in(scim: TestClient, login: str) -> None:
    """A disabled user is not enabled by leaving the attribute out."""
    user = create(scim, login, active=False)
    body = {"schemas": [USER], "userName": login}
    assert send(scim, "PUT", f"Users/{user['id']}", body).json()["active"] is False


def test_a_user_name_is_given_once(scim: TestClient, login: str) -> None:
    """A second one, in whatever case, is 409 uniqueness; so is renaming into it."""
    create(scim, login)
    again = send(scim, "POST", "Users", {"userName": login.upper()})
    assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")
    other = create(scim, f"other-{login}")
    renamed = patch(scim, f"Users/{other['id']}", {"op": "Replace", "path": "userName", "value": login})
    assert (renamed.status_code, renamed.json()["scimType"]) == (409, "uniqueness")


def test_somebody_new_of_an_old_name_inherits_nothing(scim: TestClient, empty_desk: Desk, login: str) -> None:
    """Deleted is disabled and gone; the same person is itself again, anybody else gets another id."""
    user = create(scim, login, externalId="first")
    make_group(scim, user["id"])
    assert scim.delete(f"{SCIM}/Users/{user['id']}").status_code == 204
    assert scim.get(f"{SCIM}/Users/{user['id']}").status_code == 404
    assert scim.delete(f"{SCIM}/Users/{user['id']}").status_code == 404
    assert not empty_desk.directory.standing_of(UserId(login)).may_come_in
    new = create(scim, login, externalId="second")
    assert new["id"] == scim_id(f"user:{login}~2")
    assert new["groups"] == []
    assert not empty_desk.directory.standing_of(UserId(login)).may_come_in
    scim.delete(f"{SCIM}/Users/{new['id']}")
    back = create(scim, login, externalId="first")
    assert back["id"] == user["id"]
    assert len(back["groups"]) == 1


def test_members_are_added_and_removed_in_every_form(scim: TestClient, login: str) -> None:
    """Those of RFC 7644, of Okta, and Entra ID's removal by a list of values."""
    ids = [create(scim, f"{number}-{login}")["id"] for number in range(4)]
    group = make_group(scim)
    path = f"Groups/{group['id']}"
    patch(
        scim,
        path,
        {"op": "Add", "path": "members", "value": [{"$ref": None, "value": id_} for id_ in ids[:3]]},
    )
    assert member_ids(scim, group) == sorted(ids[:3])
    patch(scim, path, {"op": "remove", "path": f'members[value eq "{ids[0]}"]'})
    patch(scim, path, {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": ids[1]}]})
    assert member_ids(scim, group) == [ids[2]]
    patch(
        scim,
        path,
        {"op": "remove", "path": f'members[value eq "{ids[2]}"]'},
        {"op": "add", "path": "members", "value": [{"value": ids[3], "display": login}]},
    )
    assert member_ids(scim, group) == [ids[3]]
    patch(scim, path, {"op": "replace", "path": "members", "value": [{"value": ids[0]}, {"value": ids[1]}]})
    patch(scim, path, {"op": "add", "value": {"members": [{"value": ids[2]}]}})
    assert member_ids(scim, group) == sorted(ids[:3])
    patch(scim, path, {"op": "remove", "path": "members"})
    assert member_ids(scim, group) == []


def test_a_renamed_group_keeps_its_id(scim: TestClient, login: str) -> None:
    """Access lists go on naming it; a new group of the old name is another one."""
    group = make_group(scim, create(scim, login)["id"])
    renamed = patch(
        scim,
        f"Groups/{group['id']}",
        {"op": "replace", "value": {"id": group["id"], "displayName": f"R {login}"}},
    ).json()
    assert (renamed["id"], renamed["displayName"], len(renamed["members"])) == (group["id"], f"R {login}", 1)
    new = send(scim, "POST", "Groups", {"displayName": group["displayName"]}).json()
    assert new["id"] == scim_id(f"group:scim/{group['displayName']}~2")
    taken = send(scim, "POST", "Groups", {"displayName": f"R {login}"})
    assert (taken.status_code, taken.json()["scimType"]) == (409, "uniqueness")


def test_groups_are_listed_without_their_members(scim: TestClient, login: str) -> None:
    """As Entra ID asks for them, which never reads whole groups."""
    group = make_group(scim, create(scim, login)["id"])
    query = {"excludedAttributes": "members", "filter": f'displayName eq "{group["displayName"]}"'}
    found = scim.get(f"{SCIM}/Groups", params=query).json()["Resources"]
    assert [each["id"] for each in found] == [group["id"]]
    assert "members" not in found[0]
    only = scim.get(f"{SCIM}/Groups/{group['id']}", params={"attributes": "displayName"}).json()
    assert sorted(only) == ["displayName", "id", "meta", "schemas"]


def test_a_group_is_no_other_group_of_its_name(scim: TestClient, empty_desk: Desk, login: str) -> None:
    """Nobody gains what is granted to the directory's own group, and it is not to be found or changed here."""
    user = create(scim, login)
    keeper = client_for(empty_desk)
    keeper.headers.update(key_of(empty_desk, "keeper", Scope.DIRECTORY))
    keeper.post("/api/v1/directory/groups", json={"id": login})
    made = send(scim, "POST", "Groups", {"displayName": login, "members": [{"value": user["id"]}]}).json()
    assert empty_desk.directory.standing_of(UserId(login)).groups == {f"group:scim/{login}"}
    found = scim.get(f"{SCIM}/Groups", params={"filter": f'displayName eq "{login}"'}).json()["Resources"]
    assert [each["id"] for each in found] == [made["id"]]
    own = scim_id(f"group:{login}")
    assert scim.get(f"{SCIM}/Groups/{own}").status_code == 404
    assert patch(scim, f"Groups/{own}", {"op": "replace", "value": {"displayName": "x"}}).status_code == 404
    assert scim.delete(f"{SCIM}/Groups/{own}").status_code == 404
    assert scim.delete(f"{SCIM}/Groups/{made['id']}").status_code == 204
    assert empty_desk.directory.standing_of(UserId(login)).groups == frozenset()


def test_groups_of_groups_have_a_limit(scim: TestClient) -> None:
    """The tenth level is the last; the refusal is SCIM's."""
    group = make_group(scim)
    for _ in range(9):
        group = make_group(scim, group["id"])
    refused = send(
        scim, "POST", "Groups", {"displayName": uuid.uuid4().hex, "members": [{"value": group["id"]}]}
    )
    assert (refused.status_code, refused.json()["schemas"]) == (409, [ERROR])
    assert "10 groups deep" in refused.json()["detail"]


def test_names_here_are_nobody_s_subject_or_address(scim: TestClient, empty_desk: Desk, login: str) -> None:
    """Unless the settings say so: neither externalId nor an address makes anybody somebody."""
    external = login.partition("@")[0]
    create(scim, login, emails=[{"value": f"mail-{login}"}])
    assert not empty_desk.directory.standing_of(UserId(f"oidc:{external}")).is_known
    assert empty_desk.directory.standing_of(UserId(login)).aliases == frozenset()


def test_settings_make_subjects_and_addresses_the_user_s(empty_desk: Desk, login: str) -> None:
    """They follow what is said of the user; what another user had is refused, or left out for addresses."""
    external = login.partition("@")[0]
    with provisioned(empty_desk, scim_subject="externalId", scim_mails=True) as scim:
        user = create(scim, login, emails=[{"value": f"Mail-{login}"}])
        standing = empty_desk.directory.standing_of(UserId(f"oidc:{external}"))
        assert standing.user_id == login
        assert standing.aliases == {f"oidc:{external}", f"mail-{login}"}
        patch(scim, f"Users/{user['id']}", {"op": "Replace", "path": "externalId", "value": f"{external}-2"})
        assert not empty_desk.directory.standing_of(UserId(f"oidc:{external}")).is_known
        taken = send(scim, "POST", "Users", {"userName": f"b-{login}", "externalId": external})
        assert (taken.status_code, taken.json()["scimType"]) == (409, "uniqueness")
        create(scim, f"c-{login}", externalId=f"{external}-3", emails=[{"value": f"mail-{login}"}])
        assert empty_desk.directory.standing_of(UserId(f"c-{login}")).aliases == {f"oidc:{external}-3"}
        patch(scim, f"Users/{user['id']}", {"op": "remove", "path": "emails"})
        assert empty_desk.directory.standing_of(UserId(login)).aliases == {f"oidc:{external}-2"}


def test_nobody_provisions_themselves_out(scim: TestClient) -> None:
    """Disabling the key's own user would end provisioning."""
    own = create(scim, "provisioner")
    for reply in (
        patch(scim, f"Users/{own['id']}", {"op": "replace", "value": {"active": False}}),
        scim.delete(f"{SCIM}/Users/{own['id']}"),
    ):
        assert (reply.status_code, reply.json().get("scimType")) == (409, None)


def test_what_clients_ask_first(scim: TestClient) -> None:
    """Features, types and schemas, as lists and one by one."""
    config = scim.get(f"{SCIM}/ServiceProviderConfig").json()
    assert (config["patch"]["supported"], config["bulk"]["supported"]) == (True, False)
    for path, ids in (("ResourceTypes", ["User", "Group"]), ("Schemas", [USER, GROUP])):
        listed = scim.get(f"{SCIM}/{path}").json()
        assert [each["id"] for each in listed["Resources"]] == ids
        assert scim.get(f"{SCIM}/{path}/{ids[0]}").json() == listed["Resources"][0]
        assert scim.get(f"{SCIM}/{path}/none").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "scim_type"),
    [
        ("POST", "Users", {}, "invalidValue"),
        ("POST", "Users", {"userName": ""}, "invalidValue"),
        ("POST", "Users", {"userName": "a\0b"}, "invalidValue"),
        ("POST", "Users", {"userName": "x" * 300}, "invalidValue"),
        ("POST", "Users", {"userName": "x", "active": "maybe"}, "invalidValue"),
        ("POST", "Users", {"userName": "x", "emails": "x"}, "invalidValue"),
        ("POST", "Users", {"userName": "x", "name": []}, "invalidValue"),
        ("POST", "Users", [], "invalidValue"),
        ("POST", "Groups", {"displayName": " "}, "invalidValue"),
        ("POST", "Groups", {"displayName": "x", "members": [{"value": "nobody"}]}, "invalidValue"),
        (
            "POST",
            "Groups",
            {"displayName": "x", "members": [{"value": scim_id("group:everyone")}]},
            "invalidValue",
        ),
        ("PATCH", "Users/{}", {}, "invalidSyntax"),
        ("PATCH", "Users/{}", {"Operations": [{"op": "move"}]}, "invalidSyntax"),
        ("PATCH", "Users/{}", {"Operations": [{"op": "add", "path": 1}]}, "invalidPath"),
        ("PATCH", "Users/{}", {"Operations": [{"op": "remove"}]}, "noTarget"),
        ("PATCH", "Users/{}", {"Operations": [{"op": "add", "value": 1}]}, "invalidValue"),
        ("PATCH", "Users/{}", {"Operations": [{"op": "remove", "path": "userName"}]}, "mutability"),
        ("PATCH", "Users/{}", {"Operations": [{"op": "add", "path": "active.x", "value": 1}]}, "invalidPath"),
        ("PATCH", "Users/{}", {"Operations": [{"op": "add", "path": "name", "value": 1}]}, "invalidValue"),
    ],
)
def test_what_makes_no_sense_is_refused(
    scim: TestClient, login: str, method: str, path: str, body: Any, scim_type: str
) -> None:
    """With SCIM's error and its word for it; nothing of what was sent is repeated."""
    if "{}" in path:
        path = path.replace("{}", create(scim, login)["id"])
    reply = send(scim, method, path, body)
    assert (reply.status_code, reply.json()["schemas"], reply.json()["status"]) == (400, [ERROR], "400")
    assert reply.json()["scimType"] == scim_type
    assert reply.headers["content-type"] == "application/scim+json"


def test_every_refusal_is_scim_s(empty_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, without the scope, for no route and for what nobody foresaw."""
    client = client_for(empty_desk)
    curious = key_of(empty_desk, "curious", *(ALL_SCOPES - {Scope.DIRECTORY}))
    keeper = key_of(empty_desk, "provisioner", Scope.DIRECTORY)
    replies = [
        client.get(f"{SCIM}/Users"),
        client.get(f"{SCIM}/Users", headers=curious),
        client.get(f"{SCIM}/Nothing", headers=keeper),
        client.get(f"{SCIM}/Users/{scim_id('group:x')}", headers=keeper),
        client.request("PUT", f"{SCIM}/Users", headers=keeper),
        client.post(f"{SCIM}/Users", headers=keeper, content="{"),
    ]

    def fails(*args: object, **more: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Provisioning, "users", fails)
    replies.append(client.get(f"{SCIM}/Users", headers=keeper))
    assert [reply.status_code for reply in replies] == [401, 403, 404, 404, 405, 400, 500]
    for reply in replies:
        assert reply.json()["schemas"] == [ERROR]
        assert reply.json()["status"] == str(reply.status_code)
        assert reply.headers["content-type"] == "application/scim+json"
        assert "secret" not in reply.text
