"""Values of the desk -> bodies of replies, and bodies of requests -> values. No I/O."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue, TypeAdapter, ValidationError

from retrieval.access import Acl, Principal, UserId
from retrieval.adapters.sql.directory import ApiKey
from retrieval.adapters.sql.expiry import Expiring
from retrieval.audit import Record
from retrieval.corpus import Document, Passage, SourceId, Version
from retrieval.errors import InvalidQueryError
from retrieval.jobs import Job
from retrieval.labels import Keeping, Labelled, Retention
from retrieval.query import Hit, SearchFilters, SearchResult
from retrieval.sections import SectionRule, Standing, list_inside, reads_whole
from serving.answer import Answer, Citation
from serving.documents import AccessExplanation, DocumentText, History, Push, named_principals
from serving.explaining import Explanation
from serving.http import schemas
from serving.indexes import ListedIndex
from serving.jobs import FollowedJob
from serving.previewing import Preview
from serving.usage import Tally, Usage

_MAX_TAGS = 100
UNKNOWN_CLASS = "unknown_retention_class"
"""Warning of a document with a class of retention that no setting gives a period: it is kept for good."""


def filters_from(filters: schemas.FiltersIn) -> SearchFilters:
    """The narrowing that was asked for."""
    return SearchFilters(**filters.model_dump())


def acl_from(acl: schemas.AclIn, *, default_owner: UserId) -> Acl:
    """An access list with its owner."""
    return Acl(
        owner=UserId(acl.owner) if acl.owner is not None else default_owner,
        allow=named_principals(list(acl.allow)),
        deny=named_principals(list(acl.deny)),
    )


def push_from(body: schemas.PushIn, content: bytes | None, *, pusher: UserId) -> Push:
    """A pushed document; `content` are the bytes of a multipart upload.

    Raises:
        InvalidQueryError: There is no content or more than one, or metadata cannot be understood.
    """
    given = [part for part in (content, _decoded(body.bytes), _encoded(body.text)) if part is not None]
    if len(given) != 1:
        raise InvalidQueryError("send exactly one of text, bytes and file")
    metadata = dict(body.metadata)
    modified_at = metadata.pop("modified_at", None)
    return Push(
        source_id=SourceId(body.source_id),
        external_id=body.external_id,
        content=given[0],
        title=body.title,
        url=body.url,
        acl=None if body.acl is None else acl_from(body.acl, default_owner=pusher),
        sections=None if body.sections is None else sections_stated(body.sections),
        labels=body.labels,
        superseded_by=_checked(schemas.Line, metadata.pop("superseded_by", "")),
        modified_at=None if modified_at is None else _checked(schemas.Moment, modified_at),
        tags=_tags(metadata),
    )


def sections_stated(sections: Sequence[schemas.SectionIn]) -> tuple[SectionRule, ...]:
    """Rules that come with a text.

    Raises:
        InvalidQueryError: One of them is confirmed, though nobody has seen yet whether the text has its heading.
    """
    if any(section.confirmed for section in sections):
        raise InvalidQueryError(
            "sections of a pushed text are not confirmed: PUT /documents/{id}/acl does that"
        )
    return tuple(map(section_from, sections))


def hit_out(hit: Hit, *, explain: bool = False) -> schemas.HitOut:
    """One hit."""
    passage = hit.passage
    return schemas.HitOut(
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        source_id=passage.source_id,
        external_id=passage.external_id,
        title=passage.title,
        url=passage_url(passage),
        heading_path=list(passage.heading_path),
        page=passage.page,
        score=hit.score,
        text=passage.text,
        highlights=list(hit.highlights),
        version=passage.version,
        modified_at=passage.modified_at,
        media_type=passage.media_type,
        superseded_by=passage.superseded_by,
        labels=sorted(passage.labels),
        explanation=dict(hit.contributions) if explain else None,
    )


def passage_url(passage: Passage, base: str = "") -> str:
    """The document's own address, or where this desk shows the passage (below `base`)."""
    return passage.url or f"{base}/documents/{passage.document_id}#c-{passage.chunk_id}"


def search_out(result: SearchResult, *, took_ms: float, request_id: str, explain: bool) -> schemas.SearchOut:
    """A search's reply."""
    return schemas.SearchOut(
        hits=[hit_out(hit, explain=explain) for hit in result.hits],
        facets={name: dict(counts) for name, counts in result.facets.items()},
        took_ms=round(took_ms, 2),
        request_id=request_id,
        degraded=list(result.degraded),
        timings_ms=dict(result.timings_ms) if explain else None,
    )


def preview_out(preview: Preview, *, took_ms: float, request_id: str, explain: bool) -> schemas.PreviewOut:
    """A preview's reply."""
    found = search_out(preview.result, took_ms=took_ms, request_id=request_id, explain=explain)
    seen_as = preview.seen_as
    what = f"everything that {seen_as} may read" if preview.of_everything else "the documents that you own"
    return schemas.PreviewOut(
        **found.model_dump(),
        seen_as=seen_as,
        among="everything" if preview.of_everything else "own",
        notice=f"Preview: what {seen_as} would find in {what}. It is on record that you looked.",
    )


def citation_out(citation: Citation) -> schemas.CitationOut:
    """One citation."""
    passage = citation.hit.passage
    return schemas.CitationOut(
        marker=citation.marker,
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        title=passage.title,
        url=passage_url(passage),
        page=passage.page,
        heading_path=list(passage.heading_path),
        quote=citation.quote,
        start=citation.start,
        end=citation.end,
        support=round(citation.support, 4),
    )


def answer_out(answer: Answer, *, request_id: str, conversation_id: str) -> schemas.AnswerOut:
    """An answer."""
    generator = answer.generator
    return schemas.AnswerOut(
        answer=answer.text,
        citations=[citation_out(citation) for citation in answer.citations],
        abstained=answer.abstained,
        conflicts=list(answer.conflicts),
        references=[hit_out(hit) for hit in answer.references],
        activity=[schemas.StepOut(name=step.name, ms=step.ms, detail=step.detail) for step in answer.steps],
        model=schemas.ModelOut(
            name=generator.name, revision=generator.revision, generator=generator.generator
        ),
        request_id=request_id,
        conversation_id=conversation_id,
        usage=dict(answer.usage),
        fallback_reason=answer.fallback_reason,
        withheld=answer.n_withheld,
    )


def acl_out(acl: Acl) -> schemas.AclOut:
    """An access list."""
    return schemas.AclOut(owner=acl.owner, allow=sorted(acl.allow), deny=sorted(acl.deny))


def section_from(section: schemas.SectionIn) -> SectionRule:
    """A rule for a part of a document."""
    return SectionRule(
        heading=section.heading,
        allow=named_principals(list(section.allow)),
        deny=named_principals(list(section.deny)),
        standing=Standing.ABSENT if section.confirmed else Standing.AWAITED,
    )


def document_acl_out(document: Document) -> schemas.DocumentAclOut:
    """A document's access list with the rules for its parts; those that go with the live text are left out."""
    return schemas.DocumentAclOut(
        owner=document.acl.owner,
        allow=sorted(document.acl.allow),
        deny=sorted(document.acl.deny),
        sections=[
            schemas.SectionOut(
                heading=list(rule.heading),
                allow=sorted(rule.allow),
                deny=sorted(rule.deny),
                standing=rule.standing,
                readers=sorted(list_inside(document.acl, [rule]).allow),
            )
            for rule in document.sections
            if not rule.is_outgoing
        ],
    )


def section_warnings(document: Document) -> list[str]:
    """Codes of what its owner should know of its section rules."""
    standings = {rule.standing for rule in document.sections if not rule.is_outgoing}
    return [
        code
        for standing, code in ((Standing.LOST, "section_lost"), (Standing.ABSENT, "section_absent"))
        if standing in standings
    ]


def explanation_out(explanation: Explanation | None) -> schemas.ExplanationOut | None:
    """Sentences about a document or source."""
    if explanation is None:
        return None
    return schemas.ExplanationOut(**asdict(explanation), is_trouble=explanation.is_trouble)


def document_out(
    document: Document,
    keeping: Keeping,
    *,
    reader: Principal,
    can_manage: bool,
    explanation: Explanation | None,
) -> schemas.DocumentOut:
    """A document's record, for somebody who may read it."""
    warnings = [
        *document.warnings,
        *([UNKNOWN_CLASS] if keeping.unknown else []),
        *(section_warnings(document) if can_manage else []),
    ]
    return schemas.DocumentOut(
        id=document.id,
        parent_id=document.parent_id,
        source_id=document.source_id,
        external_id=document.external_id,
        title=document.title,
        url=document.url,
        media_type=document.media_type,
        language=document.language,
        tags=list(document.tags),
        owner=document.acl.owner,
        state=document.state,
        error_code=document.error_code,
        error_message=document.error_message,
        retryable=document.retryable,
        attempts=document.attempts,
        warnings=warnings,
        size_bytes=document.size_bytes,
        superseded_by=document.superseded_by,
        version=document.live_version,
        modified_at=document.modified_at,
        created_at=document.created_at,
        updated_at=document.updated_at,
        can_manage=can_manage,
        acl=document_acl_out(document) if can_manage else None,
        parts_only=not reads_whole(document.acl, document.sections, reader),
        explanation=explanation_out(explanation),
        labels=_labels_out(document.labelled),
        kept_until=keeping.until,
        held=keeping.is_held,
    )


def labels_out(document: Document, keeping: Keeping) -> schemas.LabelsOut:
    """A document's labels."""
    return schemas.LabelsOut(
        document_id=document.id,
        labels=_labels_out(document.labelled),
        kept_until=keeping.until,
        held=keeping.is_held,
    )


def _labels_out(labelled: Sequence[Labelled]) -> list[schemas.LabelOut]:
    return [schemas.LabelOut(name=each.label, origin=each.origin) for each in labelled]


def retention_out(
    retention: Retention, expiring: Sequence[Expiring], others: int | None
) -> schemas.RetentionOut:
    """What ends soon."""
    return schemas.RetentionOut(
        classes={name: period.days for name, period in sorted(retention.periods.items())},
        documents=[
            schemas.ExpiringOut(
                document_id=each.id,
                source_id=each.source_id,
                external_id=each.external_id,
                title=each.title,
                classes=list(each.classes),
                kept_until=each.ends_at,
            )
            for each in expiring
        ],
        others=others,
    )


def version_out(version: Version) -> schemas.VersionOut:
    """One version."""
    return schemas.VersionOut(
        id=version.id,
        number=version.number,
        content_hash=version.content_hash,
        media_type=version.media_type,
        size_bytes=version.size_bytes,
        n_chunks=version.n_chunks,
        reason=version.reason,
        requested_by=version.requested_by,
        created_at=version.created_at,
        live_at=version.live_at,
        replaced_at=version.replaced_at,
    )


def chunk_out(passage: Passage) -> schemas.ChunkOut:
    """One passage of a document."""
    return schemas.ChunkOut(
        chunk_id=passage.chunk_id,
        position=passage.position,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        heading_path=list(passage.heading_path),
        page=passage.page,
        context=passage.context,
    )


def followed_out(followed: FollowedJob) -> schemas.JobOut:
    """One job, with the documents of a run."""
    counts = followed.documents
    return job_out(followed.job).model_copy(
        update={
            "documents": None if counts is None else schemas.RunDocumentsOut(**asdict(counts)),
            "is_over": followed.is_over,
        }
    )


def job_out(job: Job) -> schemas.JobOut:
    """One job by itself."""
    return schemas.JobOut(
        id=job.id,
        kind=job.kind,
        state=job.state,
        document_id=job.document_id,
        source_id=job.source_id,
        attempt=job.attempt,
        error_code=job.error_code,
        error_message=job.error_message,
        parameters=dict(job.parameters),
        report=dict(job.report),
        done=job.done,
        total=job.total,
        requested_by=job.requested_by,
        reason=job.reason,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        next_attempt_at=job.not_before,
        run_id=job.run_id,
        is_over=job.state.is_finished,
    )


def accepted_out(job: Job) -> schemas.AcceptedOut:
    """Accepted work."""
    return schemas.AcceptedOut(job=job_out(job), document_id=job.document_id, source_id=job.source_id)


def access_set_out(job: Job, document: Document) -> schemas.AccessSetOut:
    """An access list that was set, for whoever may change it."""
    return schemas.AccessSetOut(
        **dict(accepted_out(job)), acl=document_acl_out(document), warnings=section_warnings(document)
    )


def index_out(listed: ListedIndex) -> schemas.IndexOut:
    """An index."""
    record = listed.record
    return schemas.IndexOut(
        name=record.name,
        state=record.state.value,
        fingerprint=record.fingerprint,
        average_length=record.calibration.average_length,
        can_answer=listed.can_answer,
        created_at=record.created_at,
        activated_at=record.activated_at,
    )


def history_out(document_id: str, history: History) -> schemas.HistoryOut:
    """What happened to a document."""
    return schemas.HistoryOut(
        document_id=document_id,
        versions=[version_out(version) for version in history.versions],
        jobs=[job_out(job) for job in history.jobs],
    )


def text_out(text: DocumentText) -> schemas.TextOut:
    """A document's text."""
    return schemas.TextOut(
        document_id=text.document.id,
        title=text.document.title,
        version=text.document.live_version,
        text=text.text,
        blocks=[dict(block) for block in text.blocks],
    )


def whoami_out(principal: Principal, *, name: str, identity: str) -> schemas.WhoAmIOut:
    """The caller."""
    return schemas.WhoAmIOut(
        user_id=principal.user_id,
        name=name,
        groups=sorted(principal.groups),
        scopes=sorted(principal.scopes),
        acting_for=principal.acting_for,
        identity=identity,
    )


def explain_out(explanation: AccessExplanation) -> schemas.ExplainOut:
    """An explanation of access."""
    return schemas.ExplainOut(
        user_id=explanation.user_id,
        document_id=explanation.document_id,
        may_read=explanation.may_read,
        known_user=explanation.is_known,
        principals=list(explanation.principals),
        deny_only=list(explanation.deny_only),
        rules=[
            schemas.RuleOut(
                rule=rule.rule, applies=rule.applies, because=list(rule.because), decides=rule.decides
            )
            for rule in explanation.rules
        ],
        reads_whole=explanation.reads_whole,
        sections=[
            schemas.SectionReadOut(heading=list(rule.heading), may_read=may_read)
            for rule, may_read in explanation.sections
        ],
    )


def key_out(key: ApiKey) -> schemas.KeyOut:
    """One key."""
    return schemas.KeyOut(
        id=key.id,
        prefix=key.prefix,
        name=key.name,
        user_id=key.user_id,
        scopes=list(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


def audit_record_out(record: Record) -> schemas.AuditRecordOut:
    """One audit record."""
    return schemas.AuditRecordOut(
        sequence=record.sequence,
        at=record.at,
        event=record.event,
        principal=record.principal,
        request_id=record.request_id,
        body=record.facts,
        erased=list(record.erased),
        previous_hash=record.previous_hash,
        hash=record.hash,
    )


def usage_out(usage: Usage, *, since: date, names: Mapping[SourceId, str]) -> schemas.UsageOut:
    """How a desk was used, newest day first, most asked source first."""
    days, sources = usage.by_day, usage.by_source
    by_questions = sorted(sources.cells.items(), key=lambda cell: (-cell[1].n_questions, cell[0]))
    return schemas.UsageOut(
        since=since,
        total=schemas.TallyOut(**_counts(usage.total)),
        days=[
            schemas.DayUsageOut(day=day, **_counts(tally))
            for day, tally in sorted(days.cells.items(), reverse=True)
        ],
        rest_of_days=None if days.rest is None else schemas.TallyOut(**_counts(days.rest)),
        sources=[
            schemas.SourceUsageOut(source_id=id_, name=names.get(SourceId(id_), ""), **_counts(tally))
            for id_, tally in by_questions
        ],
        rest_of_sources=None if sources.rest is None else schemas.TallyOut(**_counts(sources.rest)),
    )


def _counts(tally: Tally) -> dict[str, int]:
    return {
        "questions": tally.n_questions,
        "found": tally.n_found,
        "not_found": tally.n_not_found,
        "tokens": tally.n_tokens,
        "askers": tally.n_askers,
    }


def cursor_after(document: Document) -> str:
    """An opaque cursor; it holds what the caller has just seen, and gives no right to anything."""
    return base64.urlsafe_b64encode(json.dumps([document.title, document.id]).encode()).decode()


def read_cursor(cursor: str) -> tuple[str, str] | None:
    """Title and id that a page starts after; None for the first page.

    Raises:
        InvalidQueryError: The cursor is none of ours.
    """
    if not cursor:
        return None
    if re.fullmatch(r"[A-Za-z0-9_=-]+", cursor) is None:
        raise InvalidQueryError("the cursor is not valid")
    try:
        title, document_id = json.loads(base64.urlsafe_b64decode(cursor))
        return _checked(schemas.Storable, title), _checked(schemas.Storable, document_id)
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidQueryError("the cursor is not valid") from error


def validated(model: type[schemas.PushIn], fields: Mapping[str, Any] | bytes) -> schemas.PushIn:
    """A body that was read by hand, checked like every other.

    Raises:
        RequestValidationError: It does not fit the model.
    """
    try:
        if isinstance(fields, bytes):
            return model.model_validate_json(fields)
        return model.model_validate(fields)
    except ValidationError as error:
        found = [{**dict(each), "loc": ("body", *each["loc"])} for each in error.errors(include_input=False)]
        raise RequestValidationError(found) from error


def _decoded(encoded: str | None) -> bytes | None:
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidQueryError("bytes is not valid base64") from error


def _encoded(text: str | None) -> bytes | None:
    try:
        return None if text is None else text.encode()
    except UnicodeEncodeError as error:
        raise InvalidQueryError("text holds half a surrogate pair") from error


def _tags(metadata: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Tags as stated, and every other entry as `name:value`, so that it can be filtered by."""
    stated = metadata.get("tags", [])
    tags = list(stated) if isinstance(stated, list) else [stated]
    tags += [f"{name}:{value}" for name, value in metadata.items() if name != "tags"]
    if len(tags) > _MAX_TAGS:
        raise InvalidQueryError(f"metadata has over {_MAX_TAGS} entries")
    return tuple(dict.fromkeys(str(_checked(schemas.Line, tag)) for tag in tags))


def _checked(kind: Any, value: JsonValue) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise InvalidQueryError(f"metadata: {error.errors()[0]['msg']}") from error
