"""Reading the audit trail, which is itself put on record: whoever reads it has read who asked what. And usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from retrieval.access import Principal
from retrieval.adapters.sql.audit import Span
from retrieval.audit import Record
from retrieval.audit_formats import FORMATS
from serving.desk import Desk
from serving.usage import Usage, asked_in, usage_of

_PERMITTED_FOR_S = 2.0
"""Seconds after which a long export asks anew whether it may go on."""


def usage_since(desk: Desk, first: date) -> Usage:
    """How the desk was used from the beginning of a day on, in UTC. Names nobody, so it is not put on record.

    Raises:
        CatalogueUnavailableError: The trail cannot be read.
    """
    span = Span(since=datetime.combine(first, datetime.min.time(), UTC), events=("answer",))
    return usage_of(asked_in(record) for page in desk.audit.pages(span) for record in page)


@dataclass(frozen=True, slots=True)
class Export:
    """An export that has been put on record.

    Attributes:
        n_records: How many records follow; an export with fewer is not complete.
        media_type: Of the whole text.
        suffix: Of a file's name.
        pieces: The text, a page of records at a time.
    """

    n_records: int
    media_type: str
    suffix: str
    pieces: Iterator[str]


class Trail:
    """The audit trail for principals with the scope `audit:read`; the caller has checked that."""

    def __init__(self, desk: Desk) -> None:
        """Read the trail of this desk."""
        self._audit = desk.audit

    def page(
        self, principal: Principal, *, after: int, limit: int, request_id: str
    ) -> tuple[list[Record], int | None]:
        """Records after a number, oldest first, and the number that the next page starts after.

        Raises:
            CatalogueUnavailableError: It cannot be read, or that it is read cannot be put on record.
        """
        found = self._audit.records(after=after, limit=limit + 1)
        shown = found[:limit]
        facts = {"after": after, "records": len(shown)}
        self._audit.append("audit.read", principal=principal, request_id=request_id, body=facts)
        return shown, shown[-1].sequence if len(found) > limit else None

    def export(
        self,
        principal: Principal,
        *,
        format_name: str,
        span: Span,
        request_id: str,
        still_permitted: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> Export:
        """Records of a span as text, up to the newest one before the export is put on record.

        Args:
            principal: Who exports.
            format_name: One of `FORMATS`.
            span: Which records.
            request_id: Of the request.
            still_permitted: Called every few seconds; raises once the principal may no longer read the trail.
            clock: Gives seconds.

        Raises:
            CatalogueUnavailableError: It cannot be read, or the export cannot be put on record.
        """
        format_ = FORMATS[format_name]
        head = self._audit.head()
        within = replace(span, through=head.sequence if head else 0)
        n_records = self._audit.count(within)
        facts = {
            "format": format_name,
            "since": span.since.isoformat() if span.since else None,
            "until": span.until.isoformat() if span.until else None,
            "events": sorted(span.events),
            "records": n_records,
        }
        self._audit.append("audit.export", principal=principal, request_id=request_id, body=facts)

        def pieces() -> Iterator[str]:
            yield format_.head
            asked_at = clock()
            for page in self._audit.pages(within):
                if clock() - asked_at >= _PERMITTED_FOR_S:
                    still_permitted()
                    asked_at = clock()
                yield "".join(map(format_.line, page))

        return Export(n_records, format_.media_type, format_.suffix, pieces())
