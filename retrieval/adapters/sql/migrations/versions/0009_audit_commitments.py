"""What audit records say of persons stands apart, so that it can be erased; the chain covers commitments to it.

Records that are there keep their hashes, which go over their whole content. One more record seals what of it
stays when persons are erased. The rules are written out here as they were at this revision.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None

_PART_OF_FIELD = {
    "question_sha256": "actor",
    "user_id": "subject",
    "groups": "subject",
    "owner": "subject",
    "allow": "subject",
    "deny": "subject",
}

_AUDIT = sa.table(
    "audit",
    sa.column("sequence", sa.Integer),
    sa.column("at", sa.DateTime),
    sa.column("event", sa.String),
    sa.column("principal", sa.Text),
    sa.column("request_id", sa.String),
    sa.column("body", sa.JSON),
    sa.column("commitments", sa.JSON),
    sa.column("format", sa.Integer),
    sa.column("previous_hash", sa.String),
    sa.column("hash", sa.String),
)
_PARTS = sa.table(
    "audit_parts",
    sa.column("sequence", sa.Integer),
    sa.column("part", sa.String),
    sa.column("salt", sa.String),
    sa.column("content", sa.JSON),
)


def upgrade() -> None:
    """Apply the change."""
    op.add_column("audit", sa.Column("commitments", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("audit", sa.Column("format", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "audit_parts",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["sequence"], ["audit.sequence"], name=op.f("fk_audit_parts_sequence_audit")),
        sa.PrimaryKeyConstraint("sequence", "part", name=op.f("pk_audit_parts")),
    )
    last, seal = _set_persons_apart()
    op.drop_column("audit", "principal")  # no batch: SQLite would drop a table that others refer to
    if last is not None:
        _reseal(last, seal)


def _set_persons_apart() -> tuple[sa.Row[Any] | None, str]:
    """Move what names persons into parts; the last record, and the seal over what stays of all."""
    connection, seal, after, last = op.get_bind(), hashlib.sha256(), 0, None
    query = sa.select(_AUDIT).order_by(_AUDIT.c.sequence).limit(1000)
    while rows := connection.execute(query.where(_AUDIT.c.sequence > after)).all():
        for row in rows:
            body, parts = _split(row.principal, row.body)
            salts = {part: secrets.token_hex(32) for part in parts}
            commitments = {part: _sha256([salts[part], part, parts[part]]) for part in parts}
            changed = {"body": body, "commitments": commitments}
            connection.execute(sa.update(_AUDIT).where(_AUDIT.c.sequence == row.sequence).values(changed))
            added = [
                {"sequence": row.sequence, "part": part, "salt": salts[part], "content": parts[part]}
                for part in parts
            ]
            connection.execute(sa.insert(_PARTS), added)
            at = row.at.replace(tzinfo=UTC).isoformat()
            kept = [row.sequence, at, row.event, row.request_id, body, commitments, row.hash]
            seal.update((_canonical(kept) + "\n").encode())
            after, last = row.sequence, row
    return last, seal.hexdigest()


def _reseal(last: sa.Row[Any], seal: str) -> None:
    """Append the first record of the new format, which seals those before it."""
    at, sequence, body = datetime.now(UTC), last.sequence + 1, {"seal": seal}
    links = [2, last.hash, sequence, at.isoformat(), "audit.reseal", "", body, {}]
    op.get_bind().execute(
        sa.insert(_AUDIT).values(
            sequence=sequence,
            at=at.replace(tzinfo=None),
            event="audit.reseal",
            request_id="",
            body=body,
            commitments={},
            format=2,
            previous_hash=last.hash,
            hash=_sha256(links),
        )
    )


def _split(principal: str, facts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    body: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {"actor": {"principal": principal}}
    for name, value in facts.items():
        part = _PART_OF_FIELD.get(name)
        (body if part is None else parts.setdefault(part, {}))[name] = value
    return body, parts


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _sha256(value: object) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()
