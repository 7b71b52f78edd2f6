"""The directory over HTTP: who may change it, what a change does to the next request, and pages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval.access import UserId
from serving.desk import Desk
from serving.scopes import ALL_SCOPES, Scope
from tests.identity.conftest import bearer, client_for

DIRECTORY = "/api/v1/directory"


@pytest.fixture(scope="module")
def keeper(keys_client: TestClient, empty_desk: Desk) -> TestClient:
    """Somebody who looks after the directory."""
    keys_client.headers.update(key_of(empty_desk, "keeper", Scope.DIRECTORY))
    return keys_client


@pytest.fixture(scope="module")
def keys_client(empty_desk: Desk) -> TestClient:
    """A client of a desk that asks for keys."""
    return client_for(empty_desk)


def key_of(desk: Desk, user: str, *scopes: Scope) -> dict[str, str]:
    """The header of a new key."""
    return bearer(desk.directory.create_key(UserId(user), name="k", scopes=scopes, expires_at=None)[1])


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return uuid.uuid4().hex[:12]


def put(keeper: TestClient, user: str, *groups: str) -> None:
    """Put a user into the directory."""
    assert keeper.put(f"{DIRECTORY}/users/{user}", json={"groups": list(groups)}).status_code == 200


def groups_of(desk: Desk, user: str) -> list[str]:
    """All groups of a user, as its own next request shows them."""
    reply = client_for(desk).get("/api/v1/whoami", headers=key_of(desk, user, Scope.SEARCH))
    return list(reply.json()["groups"])


def bring_in(keeper: TestClient, *, dry_run: bool = False, **listed: Any) -> Any:
    """The reply to an import."""
    return keeper.post(f"{DIRECTORY}/import", json={**listed, "dry_run": dry_run})


def test_a_list_is_shown_first_and_then_brought_in(keeper: TestClient, empty_desk: Desk, name: str) -> None:
    """The dry run tells what the import then does; it has changed nothing and is not on record."""
    put(keeper, f"old-{name}", f"left-{name}", f"kept-{name}")
    users = [
        {"id": f"new-{name}", "name": "New", "groups": [f"kept-{name}"]},
        {"id": f"old-{name}", "groups": [f"kept-{name}", f"fresh-{name}"], "disabled": False},
    ]
    groups = [{"id": f"outer-{name}", "name": "Outer", "members": [f"group:kept-{name}"]}]
    before, n_records = (
        keeper.get(f"{DIRECTORY}/users").json(),
        len(empty_desk.audit.records(after=0, limit=10_000)),
    )
    shown = bring_in(keeper, users=users, groups=groups, dry_run=True).json()
    assert keeper.get(f"{DIRECTORY}/users").json() == before
    assert len(empty_desk.audit.records(after=0, limit=10_000)) == n_records
    assert {
        each["id"]: (each["is_new"], each["added"], each["removed"]) for each in shown["differences"]
    } == {
        f"user:new-{name}": (True, [f"group:kept-{name}"], []),
        f"user:old-{name}": (False, [f"group:fresh-{name}"], [f"group:left-{name}"]),
        f"group:outer-{name}": (True, [f"group:kept-{name}"], []),
    }
    assert shown["new_groups"] == [f"group:fresh-{name}"]
    done = bring_in(keeper, users=users, groups=groups).json()
    assert {**done, "dry_run": True} == shown
    assert groups_of(empty_desk, f"new-{name}") == [f"group:kept-{name}", f"group:outer-{name}"]
    told = empty_desk.audit.records(after=n_records, limit=10)
    assert [record.event for record in told[:3]] == ["directory.import"] * 3
    assert empty_desk.audit.verify().is_intact
    again = bring_in(keeper, users=users, groups=groups).json()
    assert (again["differences"], again["n_unchanged"]) == ([], 3)


def test_a_list_comes_in_as_a_whole_or_not_at_all(keeper: TestClient, name: str) -> None:
    """What is refused of one entry refuses all, in a dry run too; a list that contradicts itself is not read."""
    put(keeper, name)
    link = {"issuer": "mail", "subject": f"{name}@example.org"}
    assert keeper.post(f"{DIRECTORY}/users/{name}/identities", json=link).status_code == 201
    users = [{"id": f"a-{name}"}, {"id": f"{name}@example.org"}]
    for dry_run in (True, False):
        assert bring_in(keeper, users=users, dry_run=dry_run).json()["code"] == "identity_taken"
    assert keeper.get(f"{DIRECTORY}/users/a-{name}").status_code == 404
    twice = [{"id": f"a-{name}"}, {"id": f"a-{name}", "name": "B"}]
    torn = {"users": [{"id": name, "groups": [name]}], "groups": [{"id": name, "members": []}]}
    for body in ({"users": twice}, torn, {"users": [{"id": "keeper", "disabled": True}]}):
        assert bring_in(keeper, **body).status_code in (409, 422)
    assert keeper.get(f"{DIRECTORY}/users/{name}").json()["groups"] == []


def test_a_group_of_groups_counts_from_the_next_request_on(
    keeper: TestClient, empty_desk: Desk, name: str
) -> None:
    """Putting a group into another lets its members into both, taking it out ends that."""
    put(keeper, name, f"inner-{name}")
    made = keeper.post(
        f"{DIRECTORY}/groups", json={"id": f"outer-{name}", "members": [f"group:inner-{name}"]}
    )
    assert (made.status_code, made.json()["n_members"]) == (201, 1)
    assert groups_of(empty_desk, name) == [f"group:inner-{name}", f"group:outer-{name}"]
    path = f"{DIRECTORY}/groups/outer-{name}"
    assert keeper.patch(path, json={"remove": [f"group:inner-{name}"]}).json()["n_members"] == 0
    assert groups_of(empty_desk, name) == [f"group:inner-{name}"]


def test_groups_that_nest_too_deep_are_refused(keeper: TestClient, name: str) -> None:
    """With a code of their own; the group that was too much is not there afterwards."""
    replies = [
        keeper.post(f"{DIRECTORY}/groups", json={"id": f"{name}-{n}", "members": [f"group:{name}-{n - 1}"]})
        for n in range(1, 11)
    ]
    assert [reply.status_code for reply in replies] == [201] * 9 + [409]
    assert replies[-1].json()["code"] == "groups_too_deep"
    assert keeper.get(f"{DIRECTORY}/groups/{name}-10").status_code == 404


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_group_of_a_source_is_addressed_with_its_slash(keeper: TestClient, name: str, slash: str) -> None:
    """Written out or escaped, with and without the prefix."""
    keeper.post(f"{DIRECTORY}/groups", json={"id": f"wiki-{name}/HR team/north", "name": "HR"})
    for prefix in ("", "group:"):
        shown = keeper.get(f"{DIRECTORY}/groups/{prefix}wiki-{name}{slash}HR team{slash}north")
        assert (shown.json()["name"], shown.json()["source"]) == ("HR", f"wiki-{name}")
    listed = keeper.get(f"{DIRECTORY}/groups", params={"source": f"wiki-{name}"}).json()["groups"]
    assert [group["name"] for group in listed] == ["HR"]


def test_a_deleted_group_opens_nothing(keeper: TestClient, empty_desk: Desk, name: str) -> None:
    """Its members lose it on the next request; asked again, it is not there."""
    put(keeper, name, name)
    assert keeper.delete(f"{DIRECTORY}/groups/{name}").status_code == 204
    assert groups_of(empty_desk, name) == []
    assert keeper.delete(f"{DIRECTORY}/groups/{name}").status_code == 404
    assert keeper.get(f"{DIRECTORY}/members", params={"group": name}).status_code == 404


def test_a_disabled_user_comes_in_with_nothing(keeper: TestClient, empty_desk: Desk, name: str) -> None:
    """No key of theirs, no service key for them; enabled again, the same key counts."""
    put(keeper, name, "staff")
    client = client_for(empty_desk)
    own = key_of(empty_desk, name, Scope.SEARCH)
    service = {**key_of(empty_desk, "bot", Scope.ACT_AS, Scope.SEARCH), "X-Refdesk-User": name}
    assert [client.get("/api/v1/whoami", headers=h).status_code for h in (own, service)] == [200, 200]
    assert keeper.patch(f"{DIRECTORY}/users/{name}", json={"disabled": True}).json()["disabled"] is True
    assert [client.get("/api/v1/whoami", headers=h).status_code for h in (own, service)] == [401, 403]
    keeper.patch(f"{DIRECTORY}/users/{name}", json={"disabled": False})
    assert client.get("/api/v1/whoami", headers=own).json()["groups"] == ["group:staff"]


def test_nobody_disables_themselves(keeper: TestClient) -> None:
    """The last administrator would be locked out."""
    put(keeper, "keeper")
    reply = keeper.patch(f"{DIRECTORY}/users/keeper", json={"disabled": True})
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")


def test_other_ids_are_linked_listed_and_taken_away(keeper: TestClient, empty_desk: Desk, name: str) -> None:
    """A service key may name the user by one of them; an address is kept in lower case and lets nobody in."""
    put(keeper, name, "staff")
    path = f"{DIRECTORY}/users/{name}/identities"
    link = {"issuer": "oidc", "subject": name}
    assert keeper.post(path, json=link).json()["known_as"] == f"oidc:{name}"
    assert keeper.post(path, json=link).status_code == 201
    mail = {"issuer": "mail", "subject": f"{name}@Example.ORG"}
    assert keeper.post(path, json=mail).json()["known_as"] == f"{name}@example.org"
    shown = [each["known_as"] for each in keeper.get(path).json()["identities"]]
    assert shown == [f"{name}@example.org", f"oidc:{name}"]
    bot = key_of(empty_desk, "bot", Scope.ACT_AS, Scope.SEARCH)
    client = client_for(empty_desk)
    seen = client.get("/api/v1/whoami", headers={**bot, "X-Refdesk-User": f"oidc:{name}"}).json()
    assert (seen["user_id"], seen["groups"]) == (name, ["group:staff"])
    by_mail = client.get("/api/v1/whoami", headers={**bot, "X-Refdesk-User": f"{name}@example.org"})
    assert by_mail.json()["code"] == "unknown_user"
    assert keeper.delete(path, params=link).status_code == 204
    assert keeper.delete(path, params=link).status_code == 404
    assert client.get("/api/v1/whoami", headers={**bot, "X-Refdesk-User": f"oidc:{name}"}).status_code == 403


def test_an_id_of_somebody_else_is_refused(keeper: TestClient, name: str) -> None:
    """Unless it is said that everything goes over with it."""
    put(keeper, name)
    put(keeper, f"{name}-2")
    mail = {"issuer": "mail", "subject": f"{name}@example.org"}
    assert keeper.post(f"{DIRECTORY}/users/{name}/identities", json=mail).status_code == 201
    path = f"{DIRECTORY}/users/{name}-2/identities"
    refused = keeper.post(path, json=mail)
    assert (refused.status_code, refused.json()["code"]) == (409, "identity_taken")
    assert keeper.post(path, json={**mail, "takeover": True}).status_code == 201
    assert keeper.get(f"{DIRECTORY}/users/{name}/identities").json()["identities"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "groups", {"id": "everyone"}),
        ("POST", "groups", {"id": "user:mara"}),
        ("POST", "groups", {"id": " "}),
        ("POST", "groups", {"id": "x" * 255}),
        ("POST", "groups", {"id": "x", "members": ["mara"]}),
        ("POST", "groups", {"id": "x", "members": ["group:everyone"]}),
        ("POST", "groups", {"id": "x", "members": ["user: "]}),
        ("PATCH", "groups/x", {"members": [], "add": ["user:x"]}),
        ("POST", "users/keeper/identities", {"issuer": "mail", "subject": "nobody"}),
        ("POST", "users/keeper/identities", {"issuer": "a:b", "subject": "x"}),
        ("POST", "users/keeper/identities", {"issuer": "x" * 100, "subject": "x" * 255}),
        ("GET", "users?cursor=%C3%A4", None),
        ("GET", "users?cursor=_", None),
    ],
)
def test_what_makes_no_sense_is_refused(keeper: TestClient, method: str, path: str, body: Any) -> None:
    """With 422 and a sentence."""
    reply = keeper.request(method, f"{DIRECTORY}/{path}", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_query")


def test_pages_name_the_next_one(keeper: TestClient, name: str) -> None:
    """Walking them finds everybody once, and the last page says that it is the last."""
    for number in range(5):
        put(keeper, f"{name}-{number}", name)
    for what, field, group in (("users", "users", ""), ("members", "members", name)):
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            params = {"limit": "2", "cursor": cursor, **({"group": group} if group else {})}
            page = keeper.get(f"{DIRECTORY}/{what}", params=params).json()
            found += [each if isinstance(each, str) else each["id"] for each in page[field]]
            cursor = page["next_cursor"]
        assert found == sorted(set(found))
        assert [each for each in found if name in each] == [
            f"{'user:' if what == 'members' else ''}{name}-{number}" for number in range(5)
        ]


def test_without_the_scope_nothing_is_shown(empty_desk: Desk) -> None:
    """Every other scope together is not enough."""
    client = client_for(empty_desk)
    client.headers.update(key_of(empty_desk, "curious", *(Scope(s) for s in ALL_SCOPES - {Scope.DIRECTORY})))
    for path in (
        "users",
        "users/keeper",
        "groups",
        "groups/hr",
        "members?group=hr",
        "users/keeper/identities",
    ):
        assert client.get(f"{DIRECTORY}/{path}").json()["code"] == "not_permitted"
