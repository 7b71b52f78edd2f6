"""Sources and the re-indexing of many documents, as bodies of requests and replies. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from retrieval.access import PrincipalId
from retrieval.adapters.sql.corpus import SourceSummary
from retrieval.adapters.sql.reindexing import Requeued, Selection
from retrieval.adapters.sql.sources import SourceChange
from serving.explaining import Explanation
from serving.http import schemas
from serving.http.rendering import acl_out, explanation_out, followed_out
from serving.jobs import FollowedJob


def source_out(
    summary: SourceSummary,
    *,
    can_manage: bool,
    now: datetime,
    unknown_groups: Sequence[PrincipalId] = (),
    explanation: Explanation | None = None,
) -> schemas.SourceOut:
    """One source. What went wrong with it may name files, so only those who may change it are told."""
    source = summary.source
    return schemas.SourceOut(
        id=source.id,
        name=source.name,
        kind=source.kind,
        owner=source.default_acl.owner,
        created_at=source.created_at,
        synced_at=source.synced_at,
        error_code=source.error_code,
        error_message=source.error_message if can_manage else "",
        documents_by_state=dict(summary.documents_by_state),
        can_manage=can_manage,
        is_read=source.is_read,
        sync_every_s=source.sync_every_s,
        next_sync_at=source.next_sync_at,
        freshness_s=source.freshness_s,
        age_s=source.age_s(now),
        overdue=source.is_overdue(now),
        acl_every_s=source.acl_every_s,
        next_acl_at=source.next_acl_at,
        acl_max_age_s=source.acl_max_age_s,
        acl_confirmed_at=source.acl_confirmed_at,
        acl_age_s=source.acl_age_s(now),
        acl_state=source.acl_state(now),
        acl_error_code=source.acl_error_code,
        paused_at=source.paused_at,
        location=source.location if can_manage else None,
        options=dict(source.options) if can_manage else None,
        acl=acl_out(source.default_acl) if can_manage else None,
        unknown_groups=list(unknown_groups),
        explanation=explanation_out(explanation),
        labels=sorted(source.labels),
    )


def source_change(body: schemas.SourceChangeIn) -> SourceChange:
    """What changes about a source. Null is an answer only where it was given, and means none."""
    off: dict[str, Any] = {
        name: 0
        for name in ("sync_every_s", "freshness_s", "acl_every_s", "acl_max_age_s")
        if name in body.model_fields_set
    }
    given = {name: value for name, value in body.model_dump().items() if value is not None}
    return SourceChange(**{**off, **given})


def selection_from(body: schemas.ReindexIn) -> Selection:
    """Which documents to read anew."""
    return Selection(path=body.path, only_failed=body.only_failed)


def requeued_out(requeued: Requeued, run: FollowedJob) -> schemas.RequeuedOut:
    """What came of having many documents read anew."""
    return schemas.RequeuedOut(
        job=followed_out(run),
        queued=requeued.n_queued,
        already_queued=requeued.n_already,
        paused=requeued.n_paused,
    )
