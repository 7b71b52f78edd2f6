"""Documents over HTTP: push, list, look, share, re-index, delete."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from retrieval.access import PrincipalId, UserId
from retrieval.adapters.sql.groups import INCOMPLETE_GRACE, GroupChange, SqlGroups
from retrieval.errors import NotFoundError
from retrieval.jobs import JobKind
from retrieval.wiring import utc_now
from serving.desk import Desk
from tests.desks import client_of, wait_until_idle

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def source(owner: TestClient) -> str:
    """A source that documents are pushed into."""
    reply = owner.post("/api/v1/sources", json={"name": f"push {uuid.uuid4()}", "kind": "push"})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def push(client: TestClient, source: str, external_id: str = "note.txt", **fields: Any) -> dict[str, Any]:
    """Push a text and return the reply."""
    body = {"source_id": source, "external_id": external_id, "text": "Zanzibar is warm.", **fields}
    reply = client.put("/api/v1/documents", json=body)
    assert reply.status_code == 202, reply.text
    return dict(reply.json())


def test_a_pushed_document_is_accepted_committed_and_found(
    owner: TestClient, desk: Desk, source: str
) -> None:
    """The reply names the job; soon after the text is found, by its owner only."""
    reply = push(owner, source, title="Notes on Zanzibar", metadata={"team": "travel", "tags": ["warm"]})
    assert desk.jobs.job(reply["job"]["id"]).kind is JobKind.INDEX
    assert desk.corpus.record(reply["document_id"]).external_id == "note.txt"
    wait_until_idle(desk)
    document = owner.get(f"/api/v1/documents/{reply['document_id']}").json()
    assert (document["state"], document["title"]) == ("live", "Notes on Zanzibar")
    assert document["tags"] == ["warm", "team:travel"]
    search = {"query": "Zanzibar", "filters": {"sources": [source]}}
    assert owner.post("/api/v1/search", json=search).json()["hits"]


def test_bytes_and_files_are_taken_too(owner: TestClient, desk: Desk, source: str) -> None:
    """Base64 in JSON and a multipart form lead to the same."""
    encoded = base64.b64encode(b"# Quokkas\n\nThey smile.").decode()
    body = {"source_id": source, "external_id": "a.md", "bytes": encoded}
    assert owner.put("/api/v1/documents", json=body).status_code == 202
    form = {
        "source_id": source,
        "external_id": "b.md",
        "acl": json.dumps({"allow": ["group:everyone"]}),
        "metadata": json.dumps({"tags": ["x"]}),
    }
    reply = owner.put("/api/v1/documents", data=form, files={"file": ("b.md", b"# Numbats\n\nThey dig.")})
    assert reply.status_code == 202, reply.text
    wait_until_idle(desk)
    listed = owner.get("/api/v1/documents", params={"source": source}).json()
    assert {each["state"] for each in listed["documents"]} == {"live"}
    assert listed["counts"] == {"live": 2}


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 422, "invalid_query"),
        ({"text": "a", "bytes": "YQ=="}, 422, "invalid_query"),
        ({"bytes": "***"}, 422, "invalid_query"),
        ({"text": ""}, 422, "invalid_query"),
        ({"text": "a", "acl": {"allow": [""]}}, 422, "invalid_query"),
        ({"text": "a", "metadata": {"modified_at": "yesterday"}}, 422, "invalid_query"),
        ({"text": "a", "url": "javascript:alert(1)"}, 422, "invalid_request"),
        ({"text": "a", "surprise": 1}, 422, "invalid_request"),
        ({"text": "a", "source_id": "none"}, 404, "not_found"),
    ],
)
def test_a_push_that_makes_no_sense_is_refused(
    owner: TestClient, source: str, fields: dict[str, Any], status: int, code: str
) -> None:
    """With a problem that says which."""
    body = {"source_id": source, "external_id": "x", **fields}
    reply = owner.put("/api/v1/documents", json=body)
    assert (reply.status_code, reply.json()["code"]) == (status, code)


def test_other_media_types_are_refused(owner: TestClient) -> None:
    """A body that is neither JSON nor a form is a 415."""
    reply = owner.put("/api/v1/documents", content=b"x", headers={"Content-Type": "text/csv"})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


def test_only_the_sources_owner_pushes(
    reader: TestClient, owner: TestClient, desk: Desk, source: str
) -> None:
    """A source without anything for the caller looks absent; with something in it, it is not theirs."""
    body = {"source_id": source, "external_id": "x", "text": "y"}
    assert reader.put("/api/v1/documents", json=body).status_code == 404
    push(owner, source, acl={"allow": ["everyone"]})
    assert reader.put("/api/v1/documents", json=body).status_code == 403
    wait_until_idle(desk)


def test_what_is_pushed_again_replaces_the_text_and_keeps_the_list(
    owner: TestClient, reader: TestClient, desk: Desk, source: str
) -> None:
    """A second push without `acl` leaves the readers as they are."""
    id_ = push(owner, source, acl={"allow": ["everyone"]})["document_id"]
    wait_until_idle(desk)
    push(owner, source, text="Zanzibar is hot.")
    wait_until_idle(desk)
    assert "hot" in reader.get(f"/api/v1/documents/{id_}/text").json()["text"]
    versions = reader.get(f"/api/v1/documents/{id_}/versions").json()["versions"]
    assert [version["number"] for version in versions] == [2, 1]
    history = reader.get(f"/api/v1/documents/{id_}/history").json()
    assert {version["requested_by"] for version in history["versions"]} == {"local"}
    assert {job["reason"] for job in history["jobs"]} == {"pushed", "pushed again"}


def test_sharing_counts_at_once(owner: TestClient, reader: TestClient, desk: Desk, source: str) -> None:
    """The record shows on the next request, and hits once the index has heard of it."""
    id_ = push(owner, source)["document_id"]
    wait_until_idle(desk)
    assert reader.get(f"/api/v1/documents/{id_}").status_code == 404
    reply = owner.put(f"/api/v1/documents/{id_}/acl", json={"allow": ["user:jonas.weidler"]})
    assert reply.status_code == 202
    assert reader.get(f"/api/v1/documents/{id_}").status_code == 200
    wait_until_idle(desk)
    search = {"query": "Zanzibar", "filters": {"sources": [source]}}
    assert reader.post("/api/v1/search", json=search).json()["hits"]
    owner.put(f"/api/v1/documents/{id_}/acl", json={"allow": ["everyone"], "deny": ["user:jonas.weidler"]})
    assert reader.get(f"/api/v1/documents/{id_}").status_code == 404
    assert not reader.post("/api/v1/search", json=search).json()["hits"]
    wait_until_idle(desk)


def test_clicking_twice_is_one_job(owner: TestClient, desk: Desk, source: str) -> None:
    """A re-index that is asked for again before it is done is the same job."""
    id_ = push(owner, source)["document_id"]
    wait_until_idle(desk)
    first = owner.post(f"/api/v1/documents/{id_}/reindex").json()
    second = owner.post(f"/api/v1/documents/{id_}/reindex").json()
    assert first["job"]["id"] == second["job"]["id"]
    wait_until_idle(desk)
    assert owner.get(f"/api/v1/jobs/{first['job']['id']}").json()["state"] == "done"


def test_readers_change_nothing(reader: TestClient) -> None:
    """A document that somebody may read but does not own is theirs to read only."""
    document = reader.get("/api/v1/documents", params={"limit": 1}).json()["documents"][0]
    assert document["can_manage"] is False
    assert document["acl"] is None
    address = f"/api/v1/documents/{document['id']}"
    assert reader.delete(address).status_code == 403
    assert reader.post(f"{address}/reindex").status_code == 403
    assert reader.put(f"{address}/acl", json={"allow": ["everyone"]}).status_code == 403


def test_a_deleted_document_is_gone_at_once(owner: TestClient, desk: Desk, source: str) -> None:
    """It is not found from the reply on, and its bytes are dropped; pushed again it comes back."""
    id_ = push(owner, source)["document_id"]
    wait_until_idle(desk)
    reply = owner.delete(f"/api/v1/documents/{id_}")
    assert reply.status_code == 202
    assert owner.get(f"/api/v1/documents/{id_}").status_code == 404
    search = {"query": "Zanzibar", "filters": {"sources": [source]}}
    assert not owner.post("/api/v1/search", json=search).json()["hits"]
    wait_until_idle(desk)
    with pytest.raises(NotFoundError):
        desk.blobs.get(f"pushed/{id_}")
    push(owner, source)
    wait_until_idle(desk)
    assert owner.get(f"/api/v1/documents/{id_}").json()["state"] == "live"


def test_pages_cover_everything_once(reader: TestClient) -> None:
    """Following the cursors gives every document once, in order."""
    seen: list[str] = []
    cursor = ""
    while True:
        page = reader.get("/api/v1/documents", params={"limit": 7, "cursor": cursor}).json()
        seen += [document["id"] for document in page["documents"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    whole = reader.get("/api/v1/documents", params={"limit": 200}).json()
    assert seen == [document["id"] for document in whole["documents"]]
    assert len(seen) == len(set(seen)) == sum(whole["counts"].values())


@pytest.mark.parametrize("cursor", ["x", "bnVsbA==", "WzEsMl0=", "é", "W10=" * 10])
def test_a_cursor_of_somebody_elses_making_is_refused(reader: TestClient, cursor: str) -> None:
    """With a problem, not with an error of ours."""
    reply = reader.get("/api/v1/documents", params={"cursor": cursor})
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_query")


def test_chunks_come_in_pages(reader: TestClient) -> None:
    """Each continues where the one before ended."""
    document = reader.get("/api/v1/documents", params={"q": "handbook", "limit": 1}).json()["documents"]
    id_ = (document or reader.get("/api/v1/documents").json()["documents"])[0]["id"]
    first = reader.get(f"/api/v1/documents/{id_}/chunks", params={"limit": 1}).json()
    assert [chunk["position"] for chunk in first["chunks"]] == [0]
    if first["next_start"] is not None:
        rest = reader.get(f"/api/v1/documents/{id_}/chunks", params={"start": first["next_start"]}).json()
        assert rest["chunks"][0]["position"] == 1


def test_access_is_explained_rule_by_rule(
    owner: TestClient, reader: TestClient, desk: Desk, source: str
) -> None:
    """Owners ask about everybody, readers about themselves, and nobody about what they may not know of."""
    id_ = push(owner, source, acl={"allow": ["group:production"], "deny": ["user:jonas.weidler"]})[
        "document_id"
    ]
    wait_until_idle(desk)
    body = owner.post("/api/v1/access/explain", json={"user_id": "jonas.weidler", "document_id": id_}).json()
    assert body["may_read"] is False
    assert [(rule["rule"], rule["applies"], rule["decides"]) for rule in body["rules"]] == [
        ("deny", True, True),
        ("owner", False, False),
        ("allow", True, False),
    ]
    nobody = owner.post("/api/v1/access/explain", json={"user_id": "ghost", "document_id": id_}).json()
    assert (nobody["may_read"], nobody["known_user"]) == (False, False)
    again = [
        owner.post(
            "/api/v1/access/explain",
            json={"user_id": "ghost", "document_id": id_},
            headers={"Idempotency-Key": "why"},
        )
        for _ in range(2)
    ]
    assert "Idempotency-Replayed" not in again[1].headers, "a kept reply would outlive the right to see it"
    own = {"user_id": "jonas.weidler", "document_id": id_}
    assert reader.post("/api/v1/access/explain", json=own).status_code == 404
    assert owner.put(f"/api/v1/documents/{id_}/acl", json={"allow": ["everyone"]}).status_code == 202
    anybody = owner.post("/api/v1/access/explain", json={"user_id": "ghost", "document_id": id_}).json()
    assert (anybody["may_read"], anybody["known_user"]) == (True, False), "a key of theirs would open it"


def test_a_group_in_doubt_is_explained(owner: TestClient, desk: Desk, source: str) -> None:
    """A list of members that was cut short long ago denies as before, and the explanation says by which group."""
    desk.directory.put_user(UserId("wanda"), name="", groups=[PrincipalId("group:wiki/cut")])
    acl = {"allow": ["everyone"], "deny": ["group:wiki/cut"]}
    id_ = push(owner, source, acl=acl)["document_id"]
    wait_until_idle(desk)
    desk_groups = SqlGroups(desk.database, lambda: utc_now() - 2 * INCOMPLETE_GRACE)
    desk_groups.change(PrincipalId("group:wiki/cut"), GroupChange(is_complete=False))
    body = owner.post("/api/v1/access/explain", json={"user_id": "wanda", "document_id": id_}).json()
    assert (body["may_read"], body["deny_only"]) == (False, ["group:wiki/cut"])
    assert "group:wiki/cut" not in body["principals"]
    assert body["rules"][0] == {
        "rule": "deny",
        "applies": True,
        "because": ["group:wiki/cut"],
        "decides": True,
    }


def test_a_cancelled_job_leaves_a_true_state(
    owner: TestClient, app: FastAPI, desk: Desk, source: str
) -> None:
    """The document is live as before, or failed; it does not wait for ever."""
    job = push(owner, source)["job"]
    cancelled = client_of(app).delete(f"/api/v1/jobs/{job['id']}")
    assert cancelled.status_code == 200
    wait_until_idle(desk)
    state = owner.get(f"/api/v1/documents/{job['document_id']}").json()["state"]
    assert state in ("failed", "live")


def test_jobs_of_others_look_absent(owner: TestClient, reader: TestClient, desk: Desk, source: str) -> None:
    """Unless they are about what the caller owns or asked for."""
    job = push(owner, source, acl={"allow": ["everyone"]})["job"]
    assert reader.get(f"/api/v1/jobs/{job['id']}").status_code == 404
    assert reader.delete(f"/api/v1/jobs/{job['id']}").status_code == 404
    assert job["id"] not in reader.get("/api/v1/jobs").text
    wait_until_idle(desk)
    events = owner.get(f"/api/v1/jobs/{job['id']}/events", params={"limit_s": 1}).text
    assert events.startswith("event: progress\n")
    assert events.rstrip().endswith('{"finished":true}')
