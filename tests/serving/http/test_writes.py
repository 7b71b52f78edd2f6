"""Idempotency keys, sources, directory, audit."""

from __future__ import annotations

import uuid

import pytest
from starlette.testclient import TestClient

from serving.desk import Desk
from tests.desks import wait_until_idle

pytestmark = pytest.mark.timeout(600)


def new_name() -> str:
    """A name that no other test uses."""
    return f"test {uuid.uuid4()}"


def test_a_repeat_gets_the_same_reply_and_does_nothing(owner: TestClient) -> None:
    """The second request with the same key and body makes no second source."""
    body, headers = {"name": new_name(), "kind": "push"}, {"Idempotency-Key": str(uuid.uuid4())}
    first = owner.post("/api/v1/sources", json=body, headers=headers)
    second = owner.post("/api/v1/sources", json=body, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"


def test_another_body_is_a_conflict(owner: TestClient) -> None:
    """A key stands for one request."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    owner.post("/api/v1/sources", json={"name": new_name(), "kind": "push"}, headers=headers)
    other = owner.post("/api/v1/sources", json={"name": new_name(), "kind": "push"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_keys_of_different_users_do_not_meet(owner: TestClient, reader: TestClient) -> None:
    """The same key of another user is another key."""
    headers = {"Idempotency-Key": "shared"}
    body = {"request_id": "a", "rating": 1}
    assert owner.post("/api/v1/feedback", json=body, headers=headers).status_code == 204
    again = reader.post("/api/v1/feedback", json={**body, "rating": -1}, headers=headers)
    assert again.status_code == 204
    assert "Idempotency-Replayed" not in again.headers


def test_a_failure_is_not_kept(owner: TestClient) -> None:
    """What came to nothing may be tried again with the same key."""
    name, headers = new_name(), {"Idempotency-Key": str(uuid.uuid4())}
    bad = owner.post(
        "/api/v1/sources", json={"name": name, "kind": "folder", "location": "x"}, headers=headers
    )
    assert bad.status_code == 422
    good = owner.post("/api/v1/sources", json={"name": name, "kind": "push"}, headers=headers)
    assert good.status_code == 201


def test_a_secret_is_not_kept(owner: TestClient) -> None:
    """The repeat of a new key's request shows the key without its secret."""
    body, headers = {"name": "k", "scopes": ["search"]}, {"Idempotency-Key": str(uuid.uuid4())}
    first = owner.post("/api/v1/keys", json=body, headers=headers).json()
    second = owner.post("/api/v1/keys", json=body, headers=headers).json()
    assert second == {"key": first["key"]}


def test_repeated_uploads_are_recognised(owner: TestClient, desk: Desk) -> None:
    """A multipart form that is sent again has another boundary and is the same request."""
    source = owner.post("/api/v1/sources", json={"name": new_name(), "kind": "push"}).json()["id"]
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    replies = [
        owner.put(
            "/api/v1/documents",
            data={"source_id": source, "external_id": "a.txt"},
            files={"file": ("a.txt", b"Axolotls stay young.")},
            headers=headers,
        )
        for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json() == replies[1].json()
    wait_until_idle(desk)


def test_sources_of_the_same_name_conflict(owner: TestClient) -> None:
    """Names are unique."""
    body = {"name": new_name(), "kind": "push"}
    owner.post("/api/v1/sources", json=body)
    assert owner.post("/api/v1/sources", json=body).json()["code"] == "conflict"


def test_a_dry_run_tells_what_would_change(owner: TestClient, desk: Desk) -> None:
    """It ends with counts and changes nothing."""
    source = next(each for each in owner.get("/api/v1/sources").json()["sources"] if each["kind"] == "folder")
    reply = owner.post(f"/api/v1/sources/{source['id']}/sync", json={"dry_run": True})
    assert reply.status_code == 202
    wait_until_idle(desk)
    runs = owner.get(f"/api/v1/sources/{source['id']}/runs").json()["jobs"]
    report = next(run["report"] for run in runs if run["id"] == reply.json()["job"]["id"])
    assert report.keys() >= {"added", "modified", "deleted"}


def test_pushed_sources_are_not_synced(owner: TestClient) -> None:
    """There is nothing to compare with."""
    source = owner.post("/api/v1/sources", json={"name": new_name(), "kind": "push"}).json()["id"]
    assert owner.post(f"/api/v1/sources/{source}/sync").json()["code"] == "conflict"


def test_readers_see_sources_without_their_place(reader: TestClient) -> None:
    """Where a folder lies is for those who keep it."""
    source = next(
        each for each in reader.get("/api/v1/sources").json()["sources"] if each["kind"] == "folder"
    )
    assert source["location"] is None
    assert reader.post(f"/api/v1/sources/{source['id']}/sync").status_code == 403
    assert reader.get(f"/api/v1/sources/{source['id']}/runs").status_code == 403


def test_the_directory_takes_bare_group_names(owner: TestClient) -> None:
    """`hr` and `group:hr` are the same group, and everyone is nobody's group."""
    body = {"name": "New", "groups": ["hr", "group:it", "everyone"]}
    assert owner.put("/api/v1/directory/users/new.user", json=body).json()["groups"] == [
        "group:hr",
        "group:it",
    ]
    assert owner.get("/api/v1/directory/users/new.user").json()["name"] == "New"
    assert owner.get("/api/v1/directory/users/ghost").status_code == 404
    assert owner.put("/api/v1/directory/users/x", json={"groups": ["user:y"]}).status_code == 422


def test_changes_are_on_record(owner: TestClient, desk: Desk) -> None:
    """With who asked and under which request; the chain holds."""
    reply = owner.put("/api/v1/directory/users/recorded", json={"groups": ["hr"]})
    records = owner.get("/api/v1/audit", params={"limit": 1000}).json()["records"]
    record = next(each for each in records if each["request_id"] == reply.headers["X-Request-Id"])
    assert (record["event"], record["principal"]) == ("directory.put", "local")
    assert desk.audit.verify().is_intact


def test_end_users_read_no_audit(reader: TestClient) -> None:
    """Nor the directory, nor keys."""
    for path in ("/api/v1/audit", "/api/v1/directory/users", "/api/v1/keys"):
        assert reader.get(path).json()["code"] == "not_permitted"
