"""Jobs of a paused source wait: they are not claimed, and are woken when the source goes on."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, exists, func, select

from retrieval.adapters.sql.models import DocumentRow, JobRow, SourceRow


def is_held() -> ColumnElement[bool]:
    """The condition that a row of `jobs` belongs to a paused source."""
    return exists(
        select(SourceRow.id)
        .where(SourceRow.id == source_of_job(), SourceRow.paused_at.is_not(None))
        .correlate(JobRow)
    )


def any_paused() -> Select[tuple[bool]]:
    """Whether any source is paused."""
    return select(exists(select(SourceRow.id).where(SourceRow.paused_at.is_not(None))))


def source_of_job() -> ColumnElement[str]:
    """The source that a row of `jobs` is about, by itself or through its document."""
    of_document = (
        select(DocumentRow.source_id)
        .where(DocumentRow.id == JobRow.document_id)
        .correlate(JobRow)
        .scalar_subquery()
    )
    return func.coalesce(JobRow.source_id, of_document)
