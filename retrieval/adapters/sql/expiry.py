"""The end of a period of retention: what is due, and giving it a tombstone.

Readers do not wait for this: from the moment on at which its period ends, a document is not served
(`retrieval.adapters.sql.visibility`). Here it goes for good.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from retrieval.access import Principal
from retrieval.adapters.sql import families
from retrieval.adapters.sql.audit import append_record
from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.labels import labelled_of
from retrieval.adapters.sql.models import DocumentRow
from retrieval.adapters.sql.rows import batches
from retrieval.adapters.sql.visibility import Presence, is_over
from retrieval.corpus import DocumentId, SourceId

EXPIRED_EVENT = "document.expire"
_AT_A_TIME = 200
"""Documents that one transaction takes; whoever writes meanwhile waits for it."""


@dataclass(frozen=True, slots=True)
class Expiring:
    """A document whose period ends, or has ended, at `ends_at`."""

    id: DocumentId
    source_id: SourceId
    external_id: str
    title: str
    classes: tuple[str, ...]
    ends_at: datetime


class SqlExpiry:
    """Finds and buries what is over its period. Checks no permission, except where a principal is handed in."""

    def __init__(self, database: Database, presence: Presence) -> None:
        """Work on this database by the classes and the clock of `presence`."""
        self._database = database
        self._presence = presence

    def due_within(self, principal: Principal, span: timedelta, *, limit: int) -> tuple[list[Expiring], int]:
        """What ends within a span of time: the first of those that the principal may read, and how many others.

        Args:
            principal: Sees documents that it may read, in the order in which they end.
            span: From now on.
            limit: Most documents to return, of those that were last changed longest ago.
        """
        ends = and_(self._presence.present(), self._is_over_at(self._presence.clock() + span))
        readable = self._presence.readable_by(principal)
        oldest = select(DocumentRow).where(ends, readable).order_by(DocumentRow.modified_at)
        hidden = select(func.count()).select_from(DocumentRow).where(ends, ~readable)
        with self._database.read() as session:
            found = self._expiring(session, session.scalars(oldest.limit(limit)).all())
            n_hidden = session.scalar(hidden) or 0
        return sorted(found, key=lambda each: (each.ends_at, each.id)), n_hidden

    def bury_due(self) -> list[DocumentId]:
        """Give what is over its period a tombstone, with its class on record; at most some hundred at a time.

        A document is left as it is, not served, while something found inside it is kept still: its tombstone
        would take that along.

        Returns:
            The documents, those found inside included.

        Raises:
            CatalogueUnavailableError: It did not answer, or the record could not be written; nothing is buried.
        """
        if not self._presence.retention.periods:
            return []
        now = self._presence.clock()
        over = (DocumentRow.deleted_at.is_(None), self._is_over_at(now))
        with self._database.read() as session:  # nothing is locked while nothing is due
            if session.scalar(select(DocumentRow.id).where(*over).limit(1)) is None:
                return []
        with self._database.write() as session:
            one_at_a_time(session, "audit")
            due = session.scalars(select(DocumentRow.id).where(*over).order_by(DocumentRow.id)).all()
            whole = (id_ for id_ in due if not self._keeps_something(session, id_))
            ids = list(itertools.islice(whole, _AT_A_TIME))
            rows = session.scalars(select(DocumentRow).where(DocumentRow.id.in_(ids))).all()
            for each in self._expiring(session, rows):
                facts = {
                    "document_id": each.id,
                    "source_id": each.source_id,
                    "retention": list(each.classes),
                    "until": each.ends_at.isoformat(),
                }
                append_record(session, now, EXPIRED_EVENT, principal="desk", request_id="", facts=facts)
            return [DocumentId(id_) for id_ in families.bury(session, ids, now, requested_by="desk")]

    def _is_over_at(self, moment: datetime) -> ColumnElement[bool]:
        return is_over(self._presence.retention, moment)

    def _keeps_something(self, session: Session, document_id: str) -> bool:
        """Whether something found inside a document is not over its own period."""
        inside = families.descendant_ids(session, [document_id])
        over = self._is_over_at(self._presence.clock())
        queries = (
            select(DocumentRow.id).where(DocumentRow.id.in_(ids), ~over) for ids in batches(inside, 500)
        )
        return any(session.scalar(query.limit(1)) is not None for query in queries)

    def _expiring(self, session: Session, rows: Sequence[DocumentRow]) -> list[Expiring]:
        labelled = labelled_of(session, {row.id: row.source_id for row in rows})
        found = []
        for row in rows:
            labels = {each.label for each in labelled[row.id]}
            keeping = self._presence.retention.keeping(labels, row.modified_at)
            if keeping.ends_at is not None:
                place = (DocumentId(row.id), SourceId(row.source_id), row.external_id, row.title)
                found.append(Expiring(*place, keeping.classes, keeping.ends_at))
        return found
