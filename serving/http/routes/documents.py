"""Documents: push, list, look, re-index, share, delete."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from retrieval.access import UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.corpus import DocumentId, SourceId
from serving.documents import AclChange, Documents, named_principals
from serving.http import schemas
from serving.http.dependencies import AccessExplainer, Reader, RequestId, TheDesk, Writer
from serving.http.idempotency import IdempotentRoute
from serving.http.rendering import (
    accepted_out,
    access_set_out,
    chunk_out,
    cursor_after,
    document_out,
    explain_out,
    history_out,
    labels_out,
    push_from,
    read_cursor,
    retention_out,
    section_from,
    text_out,
    version_out,
)
from serving.http.source_rendering import requeued_out, selection_from
from serving.http.uploads import Upload, read_upload, upload_body_schema
from serving.jobs import followed

router = APIRouter(prefix="/api/v1", tags=["documents"], route_class=IdempotentRoute)
questions = APIRouter(prefix="/api/v1", tags=["documents"])
"""Reads that are sent as POST: a kept reply would outlive the right to see it."""


@router.put("/documents", status_code=202, openapi_extra=upload_body_schema())
def push_document(
    request: Request,
    desk: TheDesk,
    caller: Writer,
    upload: Annotated[Upload, Depends(read_upload)],
) -> schemas.AcceptedOut:
    """Push a document into a source of the kind `push`, as JSON or as a multipart form with a `file`.

    The document, its access list and its job are committed before the reply. Without `acl` a new
    document gets the source's default list, one that exists keeps its own; without `sections` it keeps the
    rules for its parts. What was set by PUT /documents/{id}/acl stays in any case.
    """
    push = push_from(upload.fields, upload.content, pusher=caller.user_id)
    _, job = Documents(desk).push(caller, push, request_id=request.state.request_id)
    return accepted_out(job)


@router.post("/documents/reindex", status_code=202)
def reindex_documents(
    body: schemas.ReindexManyIn, desk: TheDesk, caller: Writer, request_id: RequestId
) -> schemas.RequeuedOut:
    """Read all of the caller's own documents anew that fit, for administrators everybody's.

    Asked again before they are done, nothing is queued twice and the same job comes back.
    """
    selection = selection_from(body)
    if body.source_id is not None:
        selection = replace(selection, source_id=SourceId(body.source_id))
    requeued = Documents(desk).reindex_many(caller, selection, request_id=request_id)
    return requeued_out(requeued, followed(desk, [requeued.run])[0])


@router.get("/documents")
def list_documents(
    desk: TheDesk, caller: Reader, narrowing: Annotated[schemas.DocumentsQuery, Query()]
) -> schemas.DocumentsOut:
    """Documents that the caller may read, in order of title, with their number by state."""
    narrow = DocumentFilter(
        state=narrowing.state or "",
        source_id=narrowing.source,
        text=narrowing.q,
        path_prefix=narrowing.path,
        owned_by_me=narrowing.mine,
    )
    after = read_cursor(narrowing.cursor)
    found = desk.corpus.documents(caller, narrow, after=after, limit=narrowing.limit + 1)
    shown = found[: narrowing.limit]
    documents = Documents(desk)
    explanations = documents.explanations(shown)
    return schemas.DocumentsOut(
        documents=[
            document_out(
                each,
                documents.keeping(each),
                reader=caller,
                can_manage=documents.may_manage(caller, each),
                explanation=explanations.get(each.id),
            )
            for each in shown
        ],
        next_cursor=cursor_after(shown[-1]) if len(found) > len(shown) else None,
        counts=desk.corpus.count_by_state(caller, narrow),
    )


@router.get("/documents/{document_id}")
def get_document(document_id: schemas.Id, desk: TheDesk, caller: Reader) -> schemas.DocumentOut:
    """One document's record."""
    document = desk.corpus.document(caller, DocumentId(document_id))
    documents = Documents(desk)
    return document_out(
        document,
        documents.keeping(document),
        reader=caller,
        can_manage=documents.may_manage(caller, document),
        explanation=documents.explanations([document]).get(document.id),
    )


@router.delete("/documents/{document_id}", status_code=202)
def delete_document(
    document_id: schemas.Id, desk: TheDesk, caller: Writer, request_id: RequestId
) -> schemas.AcceptedOut:
    """Delete a document: nobody reads it from this reply on. For its owner."""
    return accepted_out(Documents(desk).delete(caller, DocumentId(document_id), request_id=request_id))


@router.get("/documents/{document_id}/versions")
def list_versions(document_id: schemas.Id, desk: TheDesk, caller: Reader) -> schemas.VersionsOut:
    """Versions that were live, newest first."""
    versions = desk.corpus.versions(caller, DocumentId(document_id))
    return schemas.VersionsOut(versions=[version_out(version) for version in versions])


@router.get("/documents/{document_id}/chunks")
def list_chunks(
    document_id: schemas.Id,
    desk: TheDesk,
    caller: Reader,
    start: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> schemas.ChunksOut:
    """Passages of the live version that the caller may read, in reading order."""
    found = desk.corpus.chunks(caller, DocumentId(document_id), start=start, limit=limit + 1)
    shown = found[:limit]
    following = found[limit].position if len(found) > limit else None
    return schemas.ChunksOut(chunks=[chunk_out(passage) for passage in shown], next_start=following)


@router.get("/documents/{document_id}/history")
def get_history(document_id: schemas.Id, desk: TheDesk, caller: Reader) -> schemas.HistoryOut:
    """What happened to a document: each version and job, when, by whom and why."""
    return history_out(document_id, Documents(desk).history(caller, DocumentId(document_id)))


@router.get("/documents/{document_id}/text")
def get_text(document_id: schemas.Id, desk: TheDesk, caller: Reader) -> schemas.TextOut:
    """The extracted text that citations point into, with its blocks. For those who may read all of it.

    Others get 403 `parts_only`; the passages that they may read are at /documents/{id}/chunks.
    """
    return text_out(Documents(desk).text(caller, DocumentId(document_id)))


@router.post("/documents/{document_id}/reindex", status_code=202)
def reindex_document(
    document_id: schemas.Id, desk: TheDesk, caller: Writer, request_id: RequestId
) -> schemas.AcceptedOut:
    """Read a document anew; asked again before that is done, the same job. For its owner."""
    return accepted_out(Documents(desk).reindex(caller, DocumentId(document_id), request_id=request_id))


@router.put("/documents/{document_id}/acl", status_code=202)
def put_acl(
    document_id: schemas.Id,
    body: schemas.DocumentAclIn,
    desk: TheDesk,
    caller: Writer,
    request_id: RequestId,
) -> schemas.AccessSetOut:
    """Set who may read a document and its sections; it counts from the next request on. For its owner.

    A rule whose heading the live text does not have is kept for a text that has it, with a warning.
    """
    change = AclChange(
        owner=None if body.owner is None else UserId(body.owner),
        allow=named_principals(list(body.allow)),
        deny=named_principals(list(body.deny)),
        sections=None if body.sections is None else tuple(map(section_from, body.sections)),
    )
    job = Documents(desk).set_acl(caller, DocumentId(document_id), change, request_id=request_id)
    return access_set_out(job, desk.corpus.record(DocumentId(document_id)))


@router.put("/documents/{document_id}/labels")
def put_labels(
    document_id: schemas.Id, body: schemas.LabelsIn, desk: TheDesk, caller: Writer, request_id: RequestId
) -> schemas.LabelsOut:
    """Set the labels of a document, beside those of its source, from the next request on. For its owner."""
    documents = Documents(desk)
    document = documents.set_labels(caller, DocumentId(document_id), body.labels, request_id=request_id)
    return labels_out(document, documents.keeping(document))


@router.get("/retention")
def list_expiring(
    desk: TheDesk,
    caller: Reader,
    days: Annotated[int, Query(ge=0, le=36_500)] = 30,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> schemas.RetentionOut:
    """Documents whose period of retention ends within some days, of those that the caller may read."""
    expiring, others = Documents(desk).expiring(caller, days=days, limit=limit)
    return retention_out(desk.corpus.presence.retention, expiring, others)


@questions.post("/access/explain")
def explain_access(body: schemas.ExplainIn, desk: TheDesk, caller: AccessExplainer) -> schemas.ExplainOut:
    """Why a user may or may not read a document, rule by rule. For owners, and for oneself."""
    explanation = Documents(desk).explain_access(caller, UserId(body.user_id), DocumentId(body.document_id))
    return explain_out(explanation)
