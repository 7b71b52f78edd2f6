"""Values for tests: keyword overrides, sensible defaults."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ingest.ports import ListedDocument
from retrieval.access import Acl, Principal, PrincipalId, UserId, hashed_denied, hashed_readers
from retrieval.adapters.sql.visibility import Presence
from retrieval.corpus import ChunkId, DocumentId, Passage, Source, SourceId, VersionId, chunk_id_for
from retrieval.labels import Retention
from retrieval.ports import Point, SparseVector
from retrieval.query import Hit
from serving.answer import Promptable

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

PRESENCE = Presence(Retention(), lambda: datetime.now(UTC))
"""Of a desk without classes of retention."""


def make_principal(user: str = "ada", *groups: str) -> Principal:
    """A user in some groups, with every end user's scope."""
    return Principal(
        UserId(user), frozenset(PrincipalId(f"group:{g}") for g in groups), frozenset({"search", "ask"})
    )


def make_acl(owner: str = "olga", *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> Acl:
    """An access list; principals are given with their prefix."""
    return Acl(UserId(owner), frozenset(map(PrincipalId, allow)), frozenset(map(PrincipalId, deny)))


def make_point(
    number: int = 0, *, dense: list[float] | None = None, acl: Acl | None = None, **fields: Any
) -> Point:
    """An index point with a four-dimensional vector."""
    vector = np.asarray(dense or [1.0, 0.0, 0.0, 0.0], np.float32)
    access = acl or make_acl(allow=("group:everyone",))
    document_id = DocumentId(fields.pop("document_id", f"doc-{number}"))
    point = Point(
        chunk_id=chunk_id_for(document_id, VersionId("v1"), number),
        document_id=document_id,
        source_id=SourceId("docs"),
        path=f"a/{number}.md",
        media_type="text/markdown",
        language="en",
        tags=(),
        modified_at=NOON,
        readers=hashed_readers(access),
        denied=hashed_denied(access),
        dense=vector / np.linalg.norm(vector),
        sparse=SparseVector((1, number + 10), (1.0, 1.0)),
    )
    return replace(point, **fields)


def make_passage(text: str = "Claims are due within 30 days.", **fields: Any) -> Passage:
    """A passage of a readable document."""
    passage = Passage(
        chunk_id=ChunkId(fields.get("chunk_id", "c-1")),
        document_id=DocumentId("d-1"),
        version_id=VersionId("v-1"),
        version=1,
        source_id=SourceId("docs"),
        external_id="people/travel.md",
        position=0,
        text=text,
        start=0,
        end=len(text),
        heading_path=(),
        page=None,
        context="",
        title="Travel policy",
        url="",
        media_type="text/markdown",
        language="en",
        tags=(),
        modified_at=NOON,
        superseded_by=None,
        acl=make_acl(allow=("group:everyone",)),
    )
    return replace(passage, **fields)


def make_hit(text: str = "Claims are due within 30 days.", score: float = 1.0, **fields: Any) -> Hit:
    """A hit on a passage."""
    return Hit(make_passage(text, **fields), score)


def make_promptable(
    text: str = "Claims are due within 30 days.", score: float = 1.0, **fields: Any
) -> Promptable:
    """A hit that may enter a prompt."""
    return Promptable(make_hit(text, score, **fields))


def make_listed(external_id: str = "a.md", fingerprint: str = "1", **fields: Any) -> ListedDocument:
    """One line of a source's listing."""
    listed = ListedDocument(external_id, fingerprint, "", "", NOON, 10)
    return replace(listed, **fields)


def make_source(kind: str, location: str, **options: Any) -> Source:
    """A source of a kind with these options, owned by olga."""
    return Source(SourceId("src-1"), "A source", kind, location, make_acl(), created_at=NOON, options=options)
