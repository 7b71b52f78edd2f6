"""Sources over HTTP: dry runs that name the difference, changes, pauses, runs, re-indexing, removal."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.desk import Desk
from tests.desks import wait_until_idle

pytestmark = pytest.mark.timeout(600)

TEXTS = {
    "fern.txt": "Ferns grow in the orangery.",
    "wet/moss.txt": "Moss is kept damp.",
    "wet/bad.pdf": "%PDF-1.4 broken",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two documents and a broken one."""
    root = tmp_path / "garden"
    root.mkdir()
    for name, text in TEXTS.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def source(owner: TestClient, desk: Desk, folder: Path) -> Iterator[str]:
    """Id of a source over the folder, synced; removed in the end."""
    body = {"name": f"garden-{uuid.uuid4().hex[:8]}", "kind": "folder", "location": str(folder)}
    id_ = owner.post("/api/v1/sources", json=body).json()["id"]
    owner.post(f"/api/v1/sources/{id_}/sync")
    wait_until_idle(desk)
    yield id_
    owner.patch(f"/api/v1/sources/{id_}", json={"paused": False})
    owner.delete(f"/api/v1/sources/{id_}")
    wait_until_idle(desk)


def _finished(client: TestClient, job_id: str) -> Any:
    ends_at = time.monotonic() + 60
    while not (job := client.get(f"/api/v1/jobs/{job_id}").json())["is_over"]:
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    return job


def test_a_run_tells_what_became_of_its_documents(owner: TestClient, source: str) -> None:
    """One of the three failed; the last event of the run's stream says so."""
    (run,) = owner.get(f"/api/v1/sources/{source}/runs").json()["jobs"]
    assert run["report"]["added"] == 3
    assert run["documents"] == {"live": 2, "failed": 1, "cancelled": 0, "unfinished": 0}
    assert run["is_over"]
    events = owner.get(f"/api/v1/jobs/{run['id']}/events?limit_s=5").text
    assert '"live":2' in events
    assert events.rstrip().endswith('data: {"finished":true}')


def test_a_dry_run_names_the_difference(owner: TestClient, source: str, folder: Path, desk: Desk) -> None:
    """By what would happen to each document; nothing happens to any."""
    before = owner.get(f"/api/v1/sources/{source}").json()["documents_by_state"]
    (folder / "fern.txt").write_text("Ferns grow in the hothouse now.")
    (folder / "ivy.txt").write_text("Ivy climbs.")
    reply = owner.post(f"/api/v1/sources/{source}/sync", json={"dry_run": True}).json()
    job = _finished(owner, reply["job"]["id"])
    assert job["report"]["diff"] == {
        "added": ["ivy.txt"], "modified": ["fern.txt"], "touched": [], "expired": [], "deleted": [],
    }  # fmt: skip
    wait_until_idle(desk)
    assert owner.get(f"/api/v1/sources/{source}").json()["documents_by_state"] == before
    (folder / "ivy.txt").unlink()


def test_a_source_is_changed(owner: TestClient, reader: TestClient, source: str) -> None:
    """Fields that are left out stay, null ends a schedule; others may not, and learn no settings."""
    path, name = f"/api/v1/sources/{source}", f"greenhouse-{uuid.uuid4().hex[:8]}"
    changed = owner.patch(
        path, json={"name": name, "sync_every_s": 86_400, "freshness_s": 60, "options": {"a": 1}}
    ).json()
    assert (changed["name"], changed["sync_every_s"], changed["options"]) == (name, 86_400, {"a": 1})
    assert changed["next_sync_at"] > changed["synced_at"]
    assert 0 <= changed["age_s"] < 600
    assert not changed["overdue"]
    ended = owner.patch(path, json={"sync_every_s": None}).json()
    assert (ended["sync_every_s"], ended["next_sync_at"], ended["freshness_s"]) == (None, None, 60)
    assert owner.patch(path, json={"sync_every_s": 59}).status_code == 422
    assert owner.patch(path, json={"options": {"a": "x" * 20_000}}).json()["code"] == "invalid_query"
    assert reader.patch(path, json={"name": "mine"}).status_code in (403, 404)


def test_kinds_and_places_are_checked(owner: TestClient) -> None:
    """A kind that nothing reads is refused, and a folder without an absolute path."""
    body = {"name": f"{uuid.uuid4()}", "kind": "gopher", "location": "/x"}
    assert owner.post("/api/v1/sources", json=body).json()["code"] == "invalid_request"
    body |= {"kind": "folder", "location": "x"}
    assert owner.post("/api/v1/sources", json=body).json()["code"] == "invalid_query"


def test_a_paused_source_rests(owner: TestClient, source: str, desk: Desk) -> None:
    """It is not synced, its documents are not re-indexed, and the reason is said."""
    path = f"/api/v1/sources/{source}"
    paused = owner.patch(path, json={"paused": True}).json()
    assert "paused since" in paused["explanation"]["happened"]
    assert owner.post(f"{path}/sync").json()["code"] == "conflict"
    assert owner.post(f"{path}/reindex").json()["code"] == "conflict"
    document = _documents(owner, source)["fern.txt"]
    assert owner.post(f"/api/v1/documents/{document['id']}/reindex").json()["code"] == "conflict"
    left_out = owner.post("/api/v1/documents/reindex", json={"source_id": source}).json()
    assert (left_out["queued"], left_out["paused"]) == (0, 3)
    assert owner.patch(path, json={"paused": False}).json()["paused_at"] is None
    wait_until_idle(desk)


def test_a_folder_is_read_anew_once(owner: TestClient, source: str, desk: Desk) -> None:
    """Two clicks are one job, and its documents are those below the path."""
    asked = [owner.post(f"/api/v1/sources/{source}/reindex", json={"path": "wet/"}).json() for _ in range(2)]
    assert asked[0]["queued"] == 2
    assert asked[1]["queued"] + asked[1]["already_queued"] <= 2
    job = _finished(owner, asked[0]["job"]["id"])
    assert job["kind"] == "reindex"
    wait_until_idle(desk)


def test_a_group_that_nobody_knows_is_told_and_matches_once_it_arrives(
    owner: TestClient, reader: TestClient, desk: Desk
) -> None:
    """The source's owner and operators see its name; nobody else does, and nobody reads by it until it is there."""
    name = f"group:{uuid.uuid4()}"
    source = owner.post("/api/v1/sources", json={"name": name, "kind": "push"}).json()["id"]
    body = {"source_id": source, "external_id": "a.txt", "text": "Secret fern.", "acl": {"allow": [name]}}
    id_ = owner.put("/api/v1/documents", json=body).json()["document_id"]
    wait_until_idle(desk)
    path = f"/api/v1/sources/{source}"
    assert owner.get(path).json()["unknown_groups"] == [name]
    assert name in owner.get("/api/v1/status").json()["unknown_groups"]
    assert reader.get("/api/v1/status").json()["unknown_groups"] == []
    assert reader.get(f"/api/v1/documents/{id_}").status_code == 404
    members = {"id": name, "members": ["user:jonas.weidler"]}
    assert owner.post("/api/v1/directory/groups", json=members).status_code == 201
    assert reader.get(f"/api/v1/documents/{id_}").status_code == 200
    assert owner.get(path).json()["unknown_groups"] == []
    assert name not in owner.get("/api/v1/status").json()["unknown_groups"]


def test_what_failed_is_explained_and_read_anew(owner: TestClient, source: str, desk: Desk) -> None:
    """The document says what happened and what helps, and so does the status."""
    bad = _documents(owner, source)["wet/bad.pdf"]
    assert bad["explanation"]["happened"].startswith("It failed: the file is damaged")
    assert bad["explanation"]["is_trouble"]
    troubles = owner.get("/api/v1/status").json()["troubles"]
    assert bad["id"] in [trouble["document_id"] for trouble in troubles]
    again = owner.post("/api/v1/documents/reindex", json={"only_failed": True, "source_id": source}).json()
    assert again["queued"] == 1
    assert _finished(owner, again["job"]["id"])["documents"]["failed"] == 1
    wait_until_idle(desk)


def test_others_queue_only_what_they_own(reader: TestClient, desk: Desk) -> None:
    """A reader who owns nothing queues nothing, whatever is named."""
    for body in ({}, {"only_failed": True}, {"path": "people"}):
        assert reader.post("/api/v1/documents/reindex", json=body).json()["queued"] == 0


def test_a_source_shows_to_those_who_read_something_of_it(
    owner: TestClient, reader: TestClient, source: str
) -> None:
    """Its owner sees it listed; who may read none of its documents does not hear of it."""
    listed = [
        {each["id"] for each in client.get("/api/v1/sources").json()["sources"]} for client in (owner, reader)
    ]
    assert [source in ids for ids in listed] == [True, False]


def test_a_removed_source_is_gone_at_once(owner: TestClient, tmp_path: Path, desk: Desk) -> None:
    """Its documents are found no more, its id and name are free, and it is on record."""
    (tmp_path / "newt.txt").write_text("The zyxomma is a newt of ours.")
    body = {"id": "pond", "name": "pond", "kind": "folder", "location": str(tmp_path)}
    for _ in range(2):  # the second time over the tombstones of the first
        assert owner.post("/api/v1/sources", json=body).status_code == 201
        owner.post("/api/v1/sources/pond/sync")
        wait_until_idle(desk)
        assert "zyxomma" in _found(owner)
        removed = owner.delete("/api/v1/sources/pond")
        assert removed.status_code == 202
        assert "zyxomma" not in _found(owner)
        assert owner.get("/api/v1/sources/pond").status_code == 404
        assert _finished(owner, removed.json()["job"]["id"])["state"] == "done"
    records = owner.get("/api/v1/audit?limit=1000").json()["records"]
    assert "source.remove" in [record["event"] for record in records]


def _found(client: TestClient) -> str:
    hits = client.post("/api/v1/search", json={"query": "zyxomma newt"}).json()["hits"]
    return json.dumps(hits)


def _documents(client: TestClient, source: str) -> dict[str, Any]:
    page = client.get(f"/api/v1/documents?source={source}&limit=200").json()["documents"]
    return {each["external_id"]: each for each in page}
