"""The audit trail, page by page and as an export, and usage that is counted from it.

Reading the trail is put on record before anything is shown; usage names nobody and is not.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from retrieval.adapters.sql.audit import Span
from retrieval.wiring import utc_now
from serving.auditing import Trail, usage_since
from serving.http import schemas
from serving.http.dependencies import Auditor, MetricsReader, RequestId, TheDesk
from serving.http.identity import identify_again
from serving.http.rendering import audit_record_out, usage_out
from serving.scopes import Scope
from serving.sources import Sources

router = APIRouter(prefix="/api/v1", tags=["audit"])

RECORDS_HEADER = "X-Refdesk-Records"
"""How many records an export holds: one that was cut short is known by it."""

_EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/jsonl": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        }
    }
}


@router.get("/audit")
def read_audit(
    desk: TheDesk,
    caller: Auditor,
    request_id: RequestId,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> schemas.AuditOut:
    """Records of the audit trail, oldest first."""
    shown, next_after = Trail(desk).page(caller, after=after, limit=limit, request_id=request_id)
    return schemas.AuditOut(records=[audit_record_out(record) for record in shown], next_after=next_after)


@router.get("/audit/export", response_class=StreamingResponse, responses=_EXPORTED)
def export_audit(
    request: Request,
    desk: TheDesk,
    caller: Auditor,
    request_id: RequestId,
    format: Literal["jsonl", "csv", "ocsf"] = "jsonl",  # noqa: A002  # the parameter's public name
    since: schemas.Moment | None = None,
    until: schemas.Moment | None = None,
    event: Annotated[list[schemas.Name], Query(max_length=50)] = [],  # noqa: B006  # FastAPI copies it
) -> StreamingResponse:
    """The audit trail as a file, a record a line: JSON lines with all that is stored, CSV, or OCSF events."""
    export = Trail(desk).export(
        caller,
        format_name=format,
        span=Span(since=since, until=until, events=tuple(event)),
        request_id=request_id,
        still_permitted=lambda: identify_again(request, Scope.AUDIT_READ),
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="audit.{export.suffix}"',
        RECORDS_HEADER: str(export.n_records),
    }
    return StreamingResponse(export.pieces, media_type=export.media_type, headers=headers)


@router.get("/usage")
def read_usage(
    desk: TheDesk,
    caller: MetricsReader,
    days: Annotated[int, Query(ge=1, le=92)] = 30,
) -> schemas.UsageOut:
    """Questions, answers and tokens of the last days, today included, in UTC.

    A day or source that fewer than five people asked about is counted with others in `rest`, or in the total only.
    """
    since = utc_now().date() - timedelta(days=days - 1)
    names = {summary.source.id: summary.source.name for summary in Sources(desk).visible(caller)}
    return usage_out(usage_since(desk, since), since=since, names=names)
