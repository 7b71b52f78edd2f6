"""The audit trail over HTTP: who may read it, and that reading it is on record."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.audit import Span, SqlAudit
from retrieval.audit import Part, Record, check_chain
from retrieval.errors import CatalogueUnavailableError, NotPermittedError
from retrieval.settings import load_settings
from retrieval.wiring import open_corpus, utc_now
from serving.auditing import Trail
from serving.desk import Desk
from serving.http.app import create_app
from serving.http.routes.auditing import RECORDS_HEADER
from serving.identity import ADMIN_SCOPES
from serving.wiring import open_desk
from tests.desks import client_of


def test_reading_the_trail_is_on_record(owner: TestClient, desk: Desk) -> None:
    """Who read how much, under which request."""
    owner.put("/api/v1/directory/users/read", json={"groups": []})
    reply = owner.get("/api/v1/audit", params={"after": 0, "limit": 1})
    newest = desk.audit.head()
    assert newest is not None
    record = desk.audit.records(after=newest.sequence - 1, limit=1)[0]
    assert (record.event, record.principal) == ("audit.read", "local")
    assert record.request_id == reply.headers["X-Request-Id"]
    assert record.body == {"after": 0, "records": 1}


def test_an_export_can_be_checked_by_itself(owner: TestClient, desk: Desk) -> None:
    """JSON lines hold the whole chain; the export is on record and not part of itself."""
    owner.put("/api/v1/directory/users/exported", json={"groups": []})
    head = desk.audit.head()
    reply = owner.get("/api/v1/audit/export")
    records = [read_record(line) for line in reply.text.splitlines()]
    assert int(reply.headers[RECORDS_HEADER]) == len(records)
    verdict = check_chain(records)
    assert verdict.is_intact
    assert verdict.head == head
    (after,) = [
        r for r in desk.audit.records(after=records[-1].sequence, limit=10) if r.event == "audit.export"
    ]
    assert (after.principal, after.body["records"]) == ("local", len(records))


def test_an_export_is_of_a_span(owner: TestClient) -> None:
    """By event and time, as CSV with its head, as OCSF."""
    owner.put("/api/v1/directory/users/spanned", json={"groups": []})
    asked = {"format": "csv", "event": ["directory.put"], "since": "2026-01-01T00:00:00Z"}
    reply = owner.get("/api/v1/audit/export", params=asked)
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert {row["event"] for row in rows} == {"directory.put"}
    assert len(rows) == int(reply.headers[RECORDS_HEADER])
    assert reply.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    nothing = owner.get("/api/v1/audit/export", params={"format": "ocsf", "until": "2001-01-01T00:00:00Z"})
    assert (nothing.status_code, nothing.text) == (200, "")
    assert owner.get("/api/v1/audit/export", params={"format": "xml"}).status_code == 422


def test_neither_readers_nor_administrators_read_the_trail(
    app: FastAPI, desk: Desk, reader: TestClient
) -> None:
    """`audit:read` is a right of its own: `admin` does not hold it, and it gives nothing else."""
    assert reader.get("/api/v1/audit/export").json()["code"] == "not_permitted"
    assert "audit:read" not in ADMIN_SCOPES
    keys = {
        scope: desk.directory.create_key(UserId("k"), name="k", scopes=scopes, expires_at=None)[1]
        for scope, scopes in {"admin": ADMIN_SCOPES, "audit": ["audit:read"]}.items()
    }
    keys_app = create_app(replace(desk, settings=desk.settings.model_copy(update={"identity": "keys"})))
    admin, auditor = client_of(keys_app, key=keys["admin"]), client_of(keys_app, key=keys["audit"])
    for path in ("/api/v1/audit", "/api/v1/audit/export"):
        assert admin.get(path).json()["code"] == "not_permitted"
        assert auditor.get(path).status_code == 200
    wanted = {"name": "k", "scopes": ["audit:read"], "user_id": "k"}
    assert admin.post("/api/v1/keys", json=wanted).json()["code"] == "not_permitted"
    assert auditor.get("/api/v1/documents").json()["code"] == "not_permitted"


def test_an_export_ends_when_the_right_is_taken_away(desk: Desk) -> None:
    """It asks anew every few seconds, and breaks off rather than going on."""

    def refuse() -> None:
        raise NotPermittedError("no longer")

    ticks = iter(range(0, 1000, 10))
    auditor = Principal(UserId("auditor"))
    for _ in range(2):
        desk.audit.append("test", principal="x", request_id="r", body={})
    export = Trail(desk).export(
        auditor,
        format_name="jsonl",
        span=Span(),
        request_id="r",
        still_permitted=refuse,
        clock=lambda: float(next(ticks)),
    )
    with pytest.raises(NotPermittedError):
        list(export.pieces)


def test_no_record_no_reading(desk: Desk, app: FastAPI) -> None:
    """Where it cannot be put on record, nothing of the trail is shown."""
    broken = client_of(create_app(replace(desk, audit=Unwritable(desk.database, utc_now))))
    for path in ("/api/v1/audit", "/api/v1/audit/export"):
        reply = broken.get(path)
        assert (reply.status_code, reply.json()["code"]) == (503, "catalogue_unavailable")
        assert "previous_hash" not in reply.text


class Unwritable(SqlAudit):
    """A trail that can be read and not written."""

    def append(self, event: str, **_: Any) -> None:
        """Fail as a full disk does."""
        raise CatalogueUnavailableError(f"{event} cannot be written")


def read_record(line: str) -> Record:
    """A record from a line of JSON."""
    read = json.loads(line)
    parts = {name: Part(**part) for name, part in read.pop("parts").items()}
    at = datetime.fromisoformat(read.pop("at"))
    return Record(**read, at=at, parts=parts)


def test_administrators_see_usage_and_no_questions(desk: Desk, app: FastAPI) -> None:
    """Counts by day and source once five people asked; nobody's id and no question."""
    people = [f"asker-{number}" for number in range(5)]
    for person in people:
        desk.directory.put_user(UserId(person), name="", groups=[])
        asked = {"question": "How much is paid per kilometre for the private car?"}
        assert not client_of(app, user=person).post("/api/v1/answers", json=asked).json()["abstained"]
    client_of(app, user=people[0]).post("/api/v1/answers", json={"question": "Who is the king of Mars?"})
    key = desk.directory.create_key(UserId("k"), name="k", scopes=ADMIN_SCOPES, expires_at=None)[1]
    keys_app = create_app(replace(desk, settings=desk.settings.model_copy(update={"identity": "keys"})))
    reply = client_of(keys_app, key=key).get("/api/v1/usage", params={"days": 1})
    body = reply.json()
    assert body["total"]["askers"] >= 5
    assert body["total"]["questions"] == body["total"]["found"] + body["total"]["not_found"]
    assert body["total"]["not_found"] >= 1
    assert body["days"][0]["questions"] == body["total"]["questions"]
    assert body["sources"][0]["found"] >= 5
    assert "asker-" not in reply.text
    assert "kilometre" not in reply.text
    assert client_of(app, user=people[0]).get("/api/v1/usage").json()["code"] == "not_permitted"


def test_no_record_names_a_person_outside_its_parts(tmp_path: Path) -> None:
    """Whatever is done by somebody, for somebody or to somebody: the body of its record can stay for ever."""
    settings = load_settings(data=tmp_path / "state", owner="the.actor")
    with open_corpus(settings) as corpus, open_desk(settings, corpus) as desk:
        client = client_of(create_app(desk))
        api = "/api/v1"
        client.put(f"{api}/directory/users/the.subject", json={"name": "S", "groups": ["hr"]})
        key = client.post(f"{api}/keys", json={"name": "k", "scopes": ["search"], "user_id": "the.subject"})
        rotated = client.post(f"{api}/keys/{key.json()['key']['id']}/rotate", json={}).json()["key"]["id"]
        client.delete(f"{api}/keys/{rotated}")
        client.delete(f"{api}/directory/users/the.subject/sessions")
        acl = {"owner": "the.subject", "allow": ["user:the.subject"], "deny": ["user:the.enemy"]}
        source = client.post(f"{api}/sources", json={"name": "s", "kind": "push", "acl": acl}).json()["id"]
        client.patch(f"{api}/sources/{source}", json={"name": "t"})
        pushed = {"source_id": source, "external_id": "x.txt", "text": "Words.", "acl": acl}
        document = client.put(f"{api}/documents", json=pushed).json()["document_id"]
        client.put(f"{api}/documents/{document}/acl", json=acl)
        client.post(f"{api}/documents/{document}/reindex")
        client.post(f"{api}/documents/reindex", json={})
        client.delete(f"{api}/documents/{document}")
        client.delete(f"{api}/sources/{source}")
        client.get(f"{api}/audit")
        client.get(f"{api}/audit/export")
        records = desk.audit.records(after=0, limit=100)
    assert {record.event for record in records} >= {
        "directory.put", "key.create", "key.rotate", "key.revoke", "session.end_all", "source.create",
        "source.change", "source.remove", "document.push", "document.acl", "document.reindex", "documents.reindex",
        "document.delete", "audit.read", "audit.export",
    }  # fmt: skip
    for person in ("the.actor", "the.subject", "the.enemy"):
        assert [record.event for record in records if person in str(record.body)] == []


def test_who_asks_in_whose_name_is_on_record(reader: TestClient, desk: Desk) -> None:
    """In parts of the record; what is left says what entered the prompt and what came of it."""
    asked = {"question": "How much is paid per kilometre for the private car?"}
    request_id = reader.post("/api/v1/answers", json=asked).headers["X-Request-Id"]
    records = [each for each in desk.audit.stream(Span()) if each.request_id == request_id]
    assert [record.event for record in records] == ["prompt", "answer"]
    for record in records:
        assert (record.principal, record.facts["by"]) == ("jonas.weidler", "local")
        assert not {"jonas.weidler", "local"} & set(map(str, record.body.values()))
        assert "question" not in record.facts
    prompt, answer = records
    assert all(prompt.body[name] for name in ("index", "revision", "chunks", "max_tokens"))
    assert all(answer.body[name] for name in ("sources", "cited", "ms"))


def test_the_recipe_for_auditors_works(owner: TestClient, desk: Desk, tmp_path: Path) -> None:
    """The lines of docs/audit.md print the head, and stop where an export was changed."""
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
    recipe = page.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in recipe.splitlines() if line]) <= 15
    owner.put("/api/v1/directory/users/recipe", json={"groups": []})
    head = desk.audit.head()
    assert head is not None
    lines = owner.get("/api/v1/audit/export").text.splitlines()

    def verify(exported: list[str]) -> tuple[int, str]:
        file = tmp_path / "audit.jsonl"
        file.write_text("\n".join(exported), encoding="utf-8")
        command = [sys.executable, "-c", recipe, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert verify(lines) == (0, f"{head.sequence}:{head.hash}\n")
    for old, new in (('"directory.put"', '"directory.get"'), ('"groups":[]', '"groups":["group:it"]')):
        failed, told = verify([*lines[:-1], lines[-1].replace(old, new)])
        assert failed
        assert f"AssertionError: {head.sequence}" in told


def test_an_error_of_the_catalogue_logs_no_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what somebody wrote nor who it was, although the statement is logged."""
    settings = load_settings(data=tmp_path / "state", owner="the.owner")
    with open_corpus(settings) as corpus, open_desk(settings, corpus) as desk:
        with desk.database.write() as session:
            session.execute(text("DROP TABLE feedback"))
        body = {"request_id": "r", "rating": 1, "comment": "CANARY-7341"}
        reply = client_of(create_app(desk)).post("/api/v1/feedback", json=body)
    assert reply.status_code >= 500
    logged = "\n".join(caplog.handler.format(record) for record in caplog.records)
    assert "INSERT INTO feedback" in logged
    assert "CANARY-7341" not in logged + reply.text
