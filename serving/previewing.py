"""What somebody else would find: previewed by an owner among its own documents, and put on record.

Nothing of the other person is touched: a preview is no question of theirs, and counts in no usage.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from retrieval.access import Principal, UserId
from retrieval.adapters.sql.corpus import DocumentFilter
from retrieval.errors import CatalogueUnavailableError
from retrieval.query import Query, SearchResult
from serving.desk import Desk
from serving.errors import AuditUnavailableError, UnknownUserError
from serving.scopes import Scope, is_admin


@dataclass(frozen=True, slots=True)
class Preview:
    """A search as somebody else.

    Attributes:
        seen_as: Whose search it is: the user asked for, or the one that this id is linked to.
        of_everything: Whether all was searched that this user reads, not only what the previewer owns of it.
    """

    seen_as: UserId
    of_everything: bool
    result: SearchResult


class Previews:
    """Previews on a desk."""

    def __init__(self, desk: Desk) -> None:
        """Search this desk and put it on its record."""
        self._desk = desk

    def search(self, principal: Principal, user_id: UserId, query: Query, *, request_id: str) -> Preview:
        """What a user would find now; on record, with what was seen, before it is returned.

        Raises:
            UnknownUserError: The directory does not know the user or has disabled it, and the principal may
                know that: it owns a document, of which `access explain` tells as much, or sees the directory.
                Everybody else finds nothing, as they would as anybody.
            AuditUnavailableError: It could not be put on record, so nothing is shown.
            InvalidQueryError: As for a search, and other errors of one.

        Access:
            Only what the user may read and the principal owns and may read itself. Administrators that hold
            the scope `preview` besides are shown everything that the user may read.
        """
        of_everything = may_preview_everything(principal)
        standing = self._desk.directory.standing_of(user_id)
        if not standing.may_come_in and (of_everything or self._may_know_of_users(principal)):
            state = "has disabled" if standing.is_known else "does not know"
            raise UnknownUserError(f"the directory {state} this user: there is nothing to preview")
        seen_as = standing.principal()
        previewer = None if of_everything else principal
        result = self._desk.search.search(query, seen_as, previewer=previewer)
        preview = Preview(seen_as.user_id, of_everything, result)
        self._put_on_record(principal, query, preview, request_id)
        return preview

    def _may_know_of_users(self, principal: Principal) -> bool:
        if Scope.DIRECTORY in principal.scopes:
            return True
        own = DocumentFilter(owned_by_me=True)
        return bool(self._desk.corpus.documents(principal, own, after=None, limit=1))

    def _put_on_record(self, principal: Principal, query: Query, preview: Preview, request_id: str) -> None:
        passages = [hit.passage for hit in preview.result.hits]
        body: dict[str, object] = {
            "user_id": preview.seen_as,
            "everything": preview.of_everything,
            "question_sha256": hashlib.sha256(query.text.encode()).hexdigest(),
            "chunks": [
                {"chunk_id": each.chunk_id, "document_id": each.document_id, "version": each.version}
                for each in passages
            ],
        }
        if self._desk.settings.audit_questions == "text":
            body["question"] = query.text
        try:
            self._desk.audit.append("preview", principal=principal, request_id=request_id, body=body)
        except CatalogueUnavailableError as error:
            raise AuditUnavailableError("the preview cannot be put on record") from error


def may_preview_everything(principal: Principal) -> bool:
    """Whether the principal may see all that somebody else finds: administrators with the second permission."""
    return is_admin(principal) and Scope.PREVIEW in principal.scopes
