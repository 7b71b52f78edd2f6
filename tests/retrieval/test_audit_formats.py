"""Records as text: complete in JSON, harmless in CSV, and what OCSF demands of an API Activity."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from retrieval.audit import Part, Record, commitment, record_hash
from retrieval.audit_formats import FORMATS, neutral

AT = datetime(2026, 11, 3, 14, 5, 6, 789_000, tzinfo=UTC)


def make_record(**fields: Any) -> Record:
    """A record of a prompt."""
    part = Part("5a17", {"principal": "=cmd|' /C calc'!A0", "question_sha256": "00"})
    record = Record(
        sequence=7,
        at=AT,
        event="prompt",
        request_id="r1",
        body={"chunks": [{"chunk_id": "c1", "document_id": "d1", "version": 2}]},
        commitments={"actor": commitment("actor", part.salt, part.content)},
        parts={"actor": part},
        previous_hash="0" * 64,
        hash="",
    )
    record = replace(record, **fields)
    return replace(record, hash=record_hash(record))


def test_json_lines_hold_all_that_is_hashed() -> None:
    """One line of ASCII, from which the record can be put together again."""
    record = make_record(request_id="r\n\x1b[31m\u202e")
    line = FORMATS["jsonl"].line(record)
    assert line.isascii()
    assert line.index("\n") == len(line) - 1
    read = json.loads(line)
    parts = {name: Part(**part) for name, part in read.pop("parts").items()}
    at = datetime.fromisoformat(read.pop("at"))
    assert Record(**read, at=at, parts=parts) == record


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\r=1", "＝1", "\n@x"])
def test_no_cell_begins_like_a_formula(formula: str) -> None:
    """Nor does it break its line."""
    cell = neutral(formula)
    assert cell.startswith(("'", "\\"))
    assert cell.isprintable()


def test_csv_is_a_table_of_neutral_cells() -> None:
    """As many cells as columns, whatever a name holds."""
    record = make_record(request_id='a",b\r\n\x1b]0;x\x07')
    rows = list(csv.reader(io.StringIO(FORMATS["csv"].head + FORMATS["csv"].line(record))))
    assert len(rows) == 2
    row = dict(zip(*rows, strict=True))
    assert row["principal"] == "'=cmd|' /C calc'!A0"
    assert "\x1b" not in row["request_id"]
    assert json.loads(row["facts"])["chunks"][0]["chunk_id"] == "c1"


def test_ocsf_events_have_what_the_class_demands() -> None:
    """Attributes that OCSF 1.6.0 requires of API Activity, and values that agree with one another."""
    event = json.loads(FORMATS["ocsf"].line(make_record()))
    required = {
        "activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid",
        "actor", "api", "src_endpoint",
    }  # fmt: skip
    assert required <= event.keys()
    assert (event["category_uid"], event["class_uid"], event["type_uid"]) == (6, 6003, 600302)
    assert event["time"] == 1_793_714_706_789
    assert {"product", "version"} <= event["metadata"].keys()
    assert event["metadata"]["product"].keys() >= {"name", "vendor_name"}
    assert event["api"]["operation"] == event["metadata"]["event_code"] == "prompt"
    assert event["actor"]["user"]["uid"].startswith("=cmd")
    assert event["resources"] == [{"type": "chunk", "uid": "c1", "version": "2"}]


def test_ocsf_says_what_it_does_not_know() -> None:
    """An event without a name in OCSF, and an actor that was erased."""
    record = replace(make_record(event="answer", body={}), parts={})
    event = json.loads(FORMATS["ocsf"].line(record))
    assert (event["activity_id"], event["activity_name"], event["type_uid"]) == (99, "answer", 600399)
    assert event["actor"] == {"user": {"name": "erased or unknown"}}
    assert event["unmapped"]["erased"] == ["actor"]
