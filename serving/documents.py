"""What readers, owners and pushing clients do with documents, permission checks included."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from retrieval.access import EVERYONE, Acl, Principal, PrincipalId, UserId, permits, user_principal
from retrieval.adapters.sql.expiry import Expiring, SqlExpiry
from retrieval.adapters.sql.reindexing import Requeued, Selection, SqlReindexing
from retrieval.adapters.sql.upkeep import PushedDocument, SqlUpkeep
from retrieval.corpus import (
    Document,
    DocumentId,
    DocumentState,
    SourceId,
    Version,
    content_hash,
    document_id_for,
    pushed_key,
    text_key,
)
from retrieval.errors import ConflictError, InvalidQueryError, NotPermittedError
from retrieval.jobs import Job
from retrieval.labels import Keeping, Label
from retrieval.sections import SectionRule, list_inside, reads_whole
from retrieval.wiring import utc_now
from serving.desk import Desk
from serving.explaining import Explanation, explain
from serving.scopes import is_admin
from serving.sources import Sources


@dataclass(frozen=True, slots=True)
class Push:
    """A document that a client sends.

    Attributes:
        content: Its bytes, never empty.
        acl: Access list; None leaves the present one, and gives a new document the source's default.
        sections: Who may read parts of it; None leaves the present rules.
        labels: What the source states of it; None leaves what it stated before.
        metadata: `tags`, `modified_at`, `superseded_by`; everything else becomes a tag `name:value`.
    """

    source_id: SourceId
    external_id: str
    content: bytes
    title: str = ""
    url: str = ""
    acl: Acl | None = None
    sections: tuple[SectionRule, ...] | None = None
    tags: tuple[str, ...] = ()
    modified_at: datetime | None = None
    superseded_by: str = ""
    labels: tuple[Label, ...] | None = None


@dataclass(frozen=True, slots=True)
class AclChange:
    """A new access list. `owner` None keeps the present owner, `sections` None the present rules for parts.

    A rule that comes as `Standing.ABSENT` is confirmed, though the live text may not have its heading.
    """

    owner: UserId | None
    allow: frozenset[PrincipalId]
    deny: frozenset[PrincipalId]
    sections: tuple[SectionRule, ...] | None = None


@dataclass(frozen=True, slots=True)
class DocumentText:
    """Extracted text of a live version with its blocks, for the viewer."""

    document: Document
    text: str
    blocks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class History:
    """Every version and every job of a document, newest first."""

    versions: tuple[Version, ...]
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of `access.permits`, applied.

    Attributes:
        rule: `outdated` where the permission data of its source are too old, `deny`, `owner` or `allow`, in the
            order in which they are applied.
        because: Principal ids through which it applies.
        decides: Whether this rule settles the question.
    """

    rule: str
    applies: bool
    because: tuple[PrincipalId, ...]
    decides: bool


@dataclass(frozen=True, slots=True)
class AccessExplanation:
    """Whether a user may read a document, rule by rule.

    Attributes:
        is_known: Whether the directory knows the user and has not disabled it. Of others it knows no groups:
            what a token says of their groups counts once they ask.
        principals: What lets the user in where a list names it, and shuts out where one denies it.
        deny_only: Groups that only shut out: nobody knows for certain who is in them.
        reads_whole: Whether the user may read every part of it.
        sections: For those who manage the document its section rules, each with whether the user may read the
            section; empty for everybody else.
    """

    user_id: UserId
    document_id: DocumentId
    may_read: bool
    is_known: bool
    principals: tuple[PrincipalId, ...]
    deny_only: tuple[PrincipalId, ...]
    rules: tuple[Rule, ...]
    reads_whole: bool
    sections: tuple[tuple[SectionRule, bool], ...] = ()


class Documents:
    """Documents of a desk, as one principal at a time may see and change them."""

    def __init__(self, desk: Desk) -> None:
        """Work on this desk's catalogue and blobs."""
        self._desk = desk
        self._upkeep = SqlUpkeep(desk.database, utc_now)
        self._reindexing = SqlReindexing(desk.database, utc_now, desk.corpus.presence)

    def push(self, principal: Principal, push: Push, *, request_id: str) -> tuple[Document, Job]:
        """Accept a document for indexing; it and its job are committed on return.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
            NotPermittedError: The source is somebody else's.
            ConflictError: The source is one that the desk reads by itself.
            InvalidQueryError: The document is empty.
        """
        source = Sources(self._desk).managed(principal, push.source_id)
        if source.is_read:
            raise ConflictError("the desk reads this source by itself; push into one of the kind `push`")
        if not push.content:
            raise InvalidQueryError("the document has no content")
        document_id = document_id_for(source.id, push.external_id)
        self._note("document.push", principal, request_id, {"document_id": document_id})
        pushed = PushedDocument(
            source=source,
            external_id=push.external_id,
            title=push.title,
            url=push.url,
            tags=push.tags,
            fingerprint=content_hash(push.content),
            size_bytes=len(push.content),
            modified_at=push.modified_at or utc_now(),
            superseded_by=push.superseded_by,
            acl=push.acl,
            sections=push.sections,
            labels=push.labels,
        )
        job = self._upkeep.push(
            pushed,
            requested_by=principal.user_id,
            store_content=lambda: self._desk.blobs.put(pushed_key(document_id), push.content),
        )
        return self._desk.corpus.record(document_id), job

    def delete(self, principal: Principal, document_id: DocumentId, *, request_id: str) -> Job:
        """Delete a document: unreadable on return, out of the index by the job.

        Raises:
            NotFoundError: It does not exist or may not be read by the principal.
            NotPermittedError: It is somebody else's.
        """
        document = self._managed(principal, document_id)
        self._note("document.delete", principal, request_id, {"document_id": document.id})
        job = self._upkeep.bury(document.id, requested_by=principal.user_id)
        self._desk.blobs.delete(pushed_key(document.id))
        return job

    def reindex(self, principal: Principal, document_id: DocumentId, *, request_id: str) -> Job:
        """Queue a document for reading it anew; clicked again meanwhile, the same job.

        Raises:
            NotFoundError, NotPermittedError: As for `delete`.
            ConflictError: Its source is paused.
        """
        document = self._managed(principal, document_id)
        if self._desk.corpus.source(document.source_id).paused_at is not None:
            raise ConflictError("the document's source is paused; let it go on first")
        self._note("document.reindex", principal, request_id, {"document_id": document.id})
        return self._upkeep.reindex(document.id, requested_by=principal.user_id)

    def reindex_many(self, principal: Principal, selection: Selection, *, request_id: str) -> Requeued:
        """Queue everything of a selection that the principal owns, administrators everything of it."""
        own = selection if is_admin(principal) else replace(selection, owned_by=principal)
        return self._requeue(principal, own, request_id)

    def reindex_source(
        self, principal: Principal, source_id: SourceId, selection: Selection, *, request_id: str
    ) -> Requeued:
        """Queue documents of a source, for its owner.

        Raises:
            NotFoundError: There is no such source, or the principal may not know of it.
            NotPermittedError: It is somebody else's.
            ConflictError: It is paused.
        """
        source = Sources(self._desk).managed(principal, source_id)
        if source.paused_at is not None:
            raise ConflictError("the source is paused; let it go on first")
        return self._requeue(principal, replace(selection, source_id=source.id), request_id)

    def _requeue(self, principal: Principal, selection: Selection, request_id: str) -> Requeued:
        body = {
            "source_id": selection.source_id or "",
            "path": selection.path,
            "only_failed": selection.only_failed,
        }
        self._note("documents.reindex", principal, request_id, body)
        return self._reindexing.reindex(selection, requested_by=principal.user_id)

    def set_acl(
        self, principal: Principal, document_id: DocumentId, acl: AclChange, *, request_id: str
    ) -> Job:
        """Set a document's access list; it counts from the next request on. Raises as `delete`."""
        document = self._managed(principal, document_id)
        owner = document.acl.owner if acl.owner is None else acl.owner
        body: dict[str, Any] = {
            "document_id": document.id,
            "owner": owner,
            "allow": sorted(acl.allow),
            "deny": sorted(acl.deny),
        }
        if acl.sections is not None:
            body["sections"] = [
                {"heading": list(rule.heading), "allow": sorted(rule.allow), "deny": sorted(rule.deny)}
                for rule in acl.sections
            ]
        self._note("document.acl", principal, request_id, body)
        return self._upkeep.set_acl(
            document.id,
            Acl(owner, acl.allow, acl.deny),
            requested_by=principal.user_id,
            sections=acl.sections,
        )

    def set_labels(
        self, principal: Principal, document_id: DocumentId, labels: Collection[Label], *, request_id: str
    ) -> Document:
        """Make these the labels that people set on a document, beside those of its source; raises as `delete`.

        They count from the next request on. The record that comes back is the one of before with its new
        labels: with them its period of retention may have ended.
        """
        document = self._managed(principal, document_id)
        body = {"document_id": document.id, "labels": sorted(labels)}
        self._note("document.labels", principal, request_id, body)
        return replace(document, labelled=self._upkeep.set_labels(document.id, labels))

    def keeping(self, document: Document) -> Keeping:
        """How long a document is kept."""
        return self._desk.corpus.presence.retention.keeping(document.labels, document.modified_at)

    def expiring(self, principal: Principal, *, days: int, limit: int) -> tuple[list[Expiring], int | None]:
        """Documents whose period of retention ends within some days, in the order in which they end.

        Access:
            Of those that the principal may read. Administrators are told how many others there are, everybody
            else gets None for that.
        """
        expiry = SqlExpiry(self._desk.database, self._desk.corpus.presence)
        found, n_others = expiry.due_within(principal, timedelta(days=days), limit=limit)
        return found, n_others if is_admin(principal) else None

    def may_manage(self, principal: Principal, document: Document) -> bool:
        """Whether the principal may delete, re-index and share a document that it can see."""
        return document.acl.owner in principal.user_ids or is_admin(principal)

    def explanations(self, documents: Sequence[Document]) -> dict[DocumentId, Explanation]:
        """What there is to say about documents that are not well or not done yet.

        Access:
            The caller has checked that the principal may read these documents. The sentences name no user
            and nothing of other documents.
        """
        unwell = [each for each in documents if each.state is not DocumentState.LIVE]
        jobs = self._desk.jobs.active_jobs_of([each.id for each in unwell]) if unwell else {}
        sources = {id_: self._desk.corpus.source(id_) for id_ in {each.source_id for each in unwell}}
        now = utc_now()
        found = {each.id: explain(each, jobs.get(each.id), sources[each.source_id], now) for each in unwell}
        return {id_: explanation for id_, explanation in found.items() if explanation is not None}

    def history(self, principal: Principal, document_id: DocumentId) -> History:
        """What happened to a document. Raises `NotFoundError` when it may not be read.

        Access:
            A job's progress counts passages, so it is left out for whoever may read only parts.
        """
        document = self._desk.corpus.document(principal, document_id)
        versions = self._desk.corpus.versions(principal, document_id)
        jobs = self._desk.jobs.jobs_of(document_id=document_id, limit=50)
        if not reads_whole(document.acl, document.sections, principal):
            jobs = [replace(job, done=0, total=0) for job in jobs]
        return History(tuple(versions), tuple(jobs))

    def text(self, principal: Principal, document_id: DocumentId) -> DocumentText:
        """The extracted text of the live version.

        Raises:
            NotFoundError: The document does not exist or may not be read by the principal.
            PermissionsOutdatedError: It is the principal's own, and its source's permission data are too old.
            PartsOnlyError: Only parts of it may be read by the principal.
            ConflictError: It has no text yet.
        """
        document = self._desk.corpus.whole_document(principal, document_id)
        if document.live_version_id is None:
            raise ConflictError("the document has not been indexed yet")
        packed = json.loads(gzip.decompress(self._desk.blobs.get(text_key(document.live_version_id))))
        return DocumentText(document, packed["text"], tuple(packed["blocks"]))

    def explain_access(
        self, principal: Principal, user_id: UserId, document_id: DocumentId
    ) -> AccessExplanation:
        """Why a user may or may not read a document.

        Access:
            The owner of a document and administrators may ask about everybody, readers about themselves.

        Raises:
            NotFoundError: The document does not exist or the principal may not know of it.
            NotPermittedError: The question is about somebody else, and the document is not the asker's.
        """
        asks_about_self = user_id in principal.user_ids
        document = (
            self._readable(principal, document_id)
            if asks_about_self
            else self._managed(principal, document_id)
        )
        if asks_about_self:
            known, disabled, who = True, False, principal
        else:
            standing = self._desk.directory.standing_of(user_id)
            known, disabled, who = standing.may_come_in, standing.is_disabled, standing.principal()
        is_outdated = document.source_id in self._desk.corpus.outdated_sources()
        explained = _explain(document, who, is_known=known, is_disabled=disabled, is_outdated=is_outdated)
        if not self.may_manage(principal, document):
            return replace(explained, sections=())  # what the sections are called is not for readers
        return explained

    def _managed(self, principal: Principal, document_id: DocumentId) -> Document:
        """A document that the principal may manage; administrators need not be readers for that."""
        document = self._readable(principal, document_id)
        if not self.may_manage(principal, document):
            raise NotPermittedError("only the document's owner may do this")
        return document

    def _readable(self, principal: Principal, document_id: DocumentId) -> Document:
        if not is_admin(principal):
            return self._desk.corpus.document(principal, document_id)
        return self._desk.corpus.present(document_id)

    def _note(self, event: str, principal: Principal, request_id: str, body: Mapping[str, Any]) -> None:
        """Put on record what is about to be done; without the record it is not done."""
        self._desk.audit.append(event, principal=principal, request_id=request_id, body=body)


def named_principals(names: list[str]) -> frozenset[PrincipalId]:
    """Principal ids from what people write: `user:` and `group:` as they are, a bare name is a group.

    Raises:
        InvalidQueryError: A name is empty.
    """
    return frozenset(_named(name) for name in names)


def _named(name: str) -> PrincipalId:
    kind, _, rest = name.partition(":")
    if not name.strip() or (kind in ("user", "group") and not rest.strip()):
        raise InvalidQueryError("an access list names nobody")
    return PrincipalId(name if kind in ("user", "group") else f"group:{name}")


def _explain(
    document: Document, principal: Principal, *, is_known: bool, is_disabled: bool, is_outdated: bool
) -> AccessExplanation:
    """`access.permits`, spelt out, and whether it counts now.

    A disabled user may not come in; an unknown one may, by a key or a sign-in.
    """
    ids, acl = principal.allow_ids, document.acl
    denied = tuple(sorted(principal.deny_ids & acl.deny))
    allowed = tuple(sorted(ids & acl.allow))
    owned = (user_principal(acl.owner),) if acl.owner in principal.user_ids else ()
    found = [Rule("outdated", True, (), False)] if is_outdated else []
    found.append(Rule("deny", bool(denied), denied, False))
    found.append(Rule("owner", bool(owned), owned, False))
    found.append(Rule("allow", bool(allowed), allowed, False))
    decisive = next((rule.rule for rule in found if rule.applies), "")
    is_shown = not is_disabled and not is_outdated
    return AccessExplanation(
        user_id=principal.user_id,
        document_id=document.id,
        may_read=permits(acl, principal) and is_shown,
        is_known=is_known,
        principals=(*sorted(ids - {EVERYONE}), EVERYONE),
        deny_only=tuple(sorted(principal.deny_only - ids)),
        rules=tuple(replace(rule, decides=rule.rule == decisive) for rule in found),
        reads_whole=reads_whole(acl, document.sections, principal) and is_shown,
        sections=tuple(
            (rule, permits(list_inside(acl, [rule]), principal) and is_shown) for rule in document.sections
        ),
    )
