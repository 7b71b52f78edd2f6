"""The audit trail over HTTP: who may read it, and that reading it is on record."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.audit import Span, SqlAudit
from retrieval.audit import Part, Record, check_chain
from retrieval.errors import CatalogueUnavailableError, NotPermittedError
from retrieval.wiring import utc_now
from serving.auditing import Trail
from serving.desk import Desk
from serving.http.app import create_app
from serving.http.routes.auditing import RECORDS_HEADER
from serving.identity import ADMIN_SCOPES
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
