"""A sync of one source: listing -> diff against the catalogue -> documents queued, updated, buried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ingest.errors import IngestError, ListingShrankError
from ingest.indexing import Indexer
from ingest.ports import Connector, DocumentStore, Known, ListedDocument, Reach, reach_nothing
from retrieval.corpus import DocumentId, Source

_BATCH = 200
_MAX_DELETED_SHARE = 0.3
_SMALL_SOURCE = 10
"""Below this many documents a share says nothing; only an empty listing is held back then."""


@dataclass(frozen=True, slots=True)
class Diff:
    """What a listing means for the catalogue. Every listed document is in exactly one of the first four."""

    added: tuple[ListedDocument, ...]
    modified: tuple[ListedDocument, ...]
    touched: tuple[ListedDocument, ...]
    unchanged: tuple[ListedDocument, ...]
    deleted: tuple[Known, ...]

    def counts(self) -> dict[str, int]:
        """Number of documents by what happens to them."""
        return {
            "added": len(self.added),
            "modified": len(self.modified),
            "touched": len(self.touched),
            "unchanged": len(self.unchanged),
            "deleted": len(self.deleted),
        }


def diff_listing(
    listed: Sequence[ListedDocument], known: Mapping[str, Known], source: Source, *, retry_failed: bool
) -> Diff:
    """Compare a complete listing with what the catalogue knows.

    `touched` are documents whose content is the same but whose link, successor or access list is not.

    Args:
        retry_failed: Count documents that failed for a passing reason as modified.
    """
    added, modified, touched, unchanged = [], [], [], []
    for item in listed:
        before = known.get(item.external_id)
        if before is None or before.is_deleted:
            added.append(item)
        elif _content_differs(item, before) or (retry_failed and before.needs_retry):
            modified.append(item)
        elif _details_differ(item, before, source):
            touched.append(item)
        else:
            unchanged.append(item)
    listed_ids = {item.external_id for item in listed}
    gone = (before for id_, before in known.items() if id_ not in listed_ids and not before.is_deleted)
    return Diff(tuple(added), tuple(modified), tuple(touched), tuple(unchanged), tuple(gone))


def guard(diff: Diff, *, confirmed: bool) -> None:
    """Refuse a mass deletion that nobody confirmed.

    Raises:
        ListingShrankError: The listing is empty, or over 30 % of the known documents are gone from it.
    """
    n_deleted = len(diff.deleted)
    n_kept = len(diff.modified) + len(diff.touched) + len(diff.unchanged)
    n_known = n_deleted + n_kept
    is_empty = n_kept + len(diff.added) == 0
    is_large = n_known >= _SMALL_SOURCE and n_deleted > _MAX_DELETED_SHARE * n_known
    if n_deleted and not confirmed and (is_empty or is_large):
        raise ListingShrankError(f"{n_deleted} of {n_known} documents are gone from the source")


class Syncer:
    """Runs syncs."""

    def __init__(self, store: DocumentStore, indexer: Indexer, reach: Reach = reach_nothing) -> None:
        """Write what a sync finds to `store`, and deletions and access lists to the index as well."""
        self._store = store
        self._indexer = indexer
        self._reach = reach

    def sync(
        self,
        source: Source,
        connector: Connector,
        *,
        requested_by: str,
        dry_run: bool,
        confirmed: bool,
        progress: Callable[[int, int], None],
    ) -> dict[str, int]:
        """Bring the catalogue up to a source's present listing.

        Args:
            dry_run: Only count what would change.
            confirmed: Somebody allowed the deletions, however many.
            progress: Called with the number of documents dealt with and their total.

        Returns:
            Number of documents added, modified, touched, unchanged and deleted.

        Raises:
            SourceError: The source cannot be read, or the listing looks wrong; nothing was changed then.
        """
        try:
            listed = list(connector.list_documents())
            diff = diff_listing(listed, self._store.known(source.id), source, retry_failed=True)
            guard(diff, confirmed=confirmed or dry_run)
        except IngestError as error:
            self._store.note_sync(source.id, error=error)
            raise
        if not dry_run:
            self._apply(source, diff, requested_by, progress)
            self._store.note_sync(source.id, error=None)
        return diff.counts()

    def _apply(
        self, source: Source, diff: Diff, requested_by: str, progress: Callable[[int, int], None]
    ) -> None:
        total = len(diff.added) + len(diff.modified) + len(diff.touched) + len(diff.deleted)
        done = 0
        for reason, items in (("added", diff.added), ("modified", diff.modified)):
            for batch in _batches(items):
                self._store.register(source, batch, requested_by=requested_by, reason=reason)
                self._reach("register")
                progress(done := done + len(batch), total)
        for batch in _batches(diff.touched):
            self._indexer.apply_access(self._store.update_details(source, batch))
            progress(done := done + len(batch), total)
        for start in range(0, len(diff.deleted), _BATCH):
            buried = [known.document_id for known in diff.deleted[start : start + _BATCH]]
            self.bury(buried)
            progress(done := done + len(buried), total)

    def bury(self, document_ids: Sequence[DocumentId]) -> None:
        """Delete documents: unreadable first, then out of the index."""
        chunk_ids = self._store.bury(document_ids)
        self._reach("tombstone")
        self._indexer.remove(chunk_ids)


def _content_differs(item: ListedDocument, before: Known) -> bool:
    """Whether the index has to be written: title and tags stand on every point, the title in its text too."""
    return (item.fingerprint, item.title, item.tags) != (before.fingerprint, before.title, before.tags)


def _details_differ(item: ListedDocument, before: Known, source: Source) -> bool:
    if (item.url, item.superseded_by) != (before.url, before.superseded_by):
        return True
    return not before.acl_is_manual and (item.acl or source.default_acl) != before.acl


def _batches(items: Sequence[ListedDocument]) -> list[Sequence[ListedDocument]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
