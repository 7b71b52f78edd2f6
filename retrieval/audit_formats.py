"""Records of the audit trail as lines of text, one a record: JSON, CSV for spreadsheets, OCSF for a SIEM. Pure.

JSON lines hold all that is stored, so a trail can be checked from them alone (docs/audit.md has how). CSV and OCSF
are for reading: they show what a record says, not what its hash is made of.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrieval.audit import Record, canonical
from retrieval.logs import on_one_line

_CSV_COLUMNS = ("sequence", "at", "event", "principal", "request_id", "facts", "erased", "hash")
_FORMULA_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""What makes a spreadsheet take a cell for a formula, in both widths (OWASP ASVS 5.0, 1.2.10)."""

OCSF_VERSION = "1.6.0"

_API_ACTIVITY = 6003
_APPLICATION_ACTIVITY = 6
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_INFORMATIONAL = 1

_ACTIVITIES = {
    "prompt": _READ,
    "document.push": _UPDATE,
    "document.acl": _UPDATE,
    "document.labels": _UPDATE,
    "document.reindex": _UPDATE,
    "documents.reindex": _UPDATE,
    "document.delete": _DELETE,
    "document.expire": _DELETE,
    "source.create": _CREATE,
    "source.change": _UPDATE,
    "source.remove": _DELETE,
    "key.create": _CREATE,
    "key.rotate": _UPDATE,
    "key.revoke": _DELETE,
    "directory.put": _UPDATE,
    "session.begin": _CREATE,
    "session.end": _DELETE,
    "session.end_all": _DELETE,
    "index.build": _CREATE,
    "index.activate": _UPDATE,
    "index.drop": _DELETE,
    "audit.read": _READ,
    "audit.export": _READ,
    "audit.erase": _DELETE,
    "audit.prune": _DELETE,
}
"""What OCSF's API Activity calls an event; the others, an answer for one, are `Other` by their own name."""


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write records.

    Attributes:
        media_type: Of the whole text.
        suffix: Of a file's name, without the dot.
        head: Before the first record, line end included; empty for none.
        line: One record, line end included.
    """

    media_type: str
    suffix: str
    head: str
    line: Callable[[Record], str]


def json_line(record: Record) -> str:
    """All that is stored of a record, as one line of ASCII."""
    stored = {
        "format": record.format,
        "sequence": record.sequence,
        "at": record.at.isoformat(),
        "event": record.event,
        "request_id": record.request_id,
        "body": dict(record.body),
        "commitments": dict(record.commitments),
        "parts": {
            name: {"salt": part.salt, "content": dict(part.content)} for name, part in record.parts.items()
        },
        "previous_hash": record.previous_hash,
        "hash": record.hash,
    }
    return canonical(stored) + "\n"


def csv_line(record: Record) -> str:
    """What a record says, as one row of a table."""
    return _row(
        (
            record.sequence,
            record.at.isoformat(),
            record.event,
            record.principal,
            record.request_id,
            canonical(record.facts),
            " ".join(record.erased),
            record.hash,
        )
    )


def neutral(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula and no terminal for a command, on one line.

    Control characters become their escapes, and what begins like a formula, spaces aside, begins with an
    apostrophe.
    """
    plain = on_one_line(cell)
    return f"'{plain}" if plain.lstrip()[:1] in _FORMULA_STARTS else plain


def ocsf_line(record: Record) -> str:
    """A record as an event of the class API Activity (6003), one line of ASCII.

    The trail does not know from which address a request came, and OCSF demands one: `src_endpoint` says so. What
    OCSF has no place for stands in `unmapped`.
    """
    activity = _ACTIVITIES.get(record.event, _OTHER)
    named = {"activity_name": record.event} if activity == _OTHER else {}
    event = {
        **named,
        "activity_id": activity,
        "category_uid": _APPLICATION_ACTIVITY,
        "class_uid": _API_ACTIVITY,
        "type_uid": _API_ACTIVITY * 100 + activity,
        "severity_id": _INFORMATIONAL,
        "time": int(record.at.timestamp() * 1000),
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": "Refdesk", "vendor_name": "Refdesk"},
            "event_code": record.event,
            "uid": record.hash,
            "sequence": record.sequence,
            "correlation_uid": record.request_id,
            "original_time": record.at.isoformat(),
        },
        "actor": {"user": {"uid": record.principal} if record.principal else {"name": "erased or unknown"}},
        "api": {
            "operation": record.event,
            "service": {"name": "refdesk"},
            "request": {"uid": record.request_id},
        },
        "src_endpoint": {"name": "not recorded"},
        "resources": _resources(record.facts),
        "unmapped": {
            "facts": record.facts,
            "erased": list(record.erased),
            "previous_hash": record.previous_hash,
        },
    }
    return canonical(event) + "\n"


def _resources(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a record is about, as OCSF lists resources."""
    chunks = [
        {"type": "chunk", "uid": str(chunk["chunk_id"]), "version": str(chunk["version"])}
        for chunk in facts.get("chunks", ())
    ]
    kinds = (("document_id", "document"), ("source_id", "source"), ("key_id", "key"), ("user_id", "user"))
    single = [{"type": kind, "uid": str(facts[name])} for name, kind in kinds if facts.get(name)]
    return [*chunks, *single]


def _row(cells: Sequence[object]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([neutral(str(cell)) for cell in cells])
    return written.getvalue()


FORMATS: Mapping[str, Format] = {
    "jsonl": Format("application/jsonl", "jsonl", "", json_line),
    "csv": Format("text/csv; charset=utf-8", "csv", _row(_CSV_COLUMNS), csv_line),
    "ocsf": Format("application/jsonl", "ocsf.jsonl", "", ocsf_line),
}
"""Formats by name."""
