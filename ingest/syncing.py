"""A sync of one source: listing -> diff against the catalogue -> documents queued, updated, buried.

A refresh takes the access lists of a listing alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingest.errors import IngestError, ListingShrankError
from ingest.indexing import Indexer
from ingest.ports import (
    Connector,
    DocumentStore,
    Known,
    ListedDocument,
    PartialConnector,
    Reach,
    Run,
    StatedAcl,
    reach_nothing,
)
from retrieval.access import Acl
from retrieval.corpus import DocumentId, Source
from retrieval.labels import Label, LabelOrigin

_BATCH = 200
_MAX_DELETED_SHARE = 0.3
_MAX_NAMES = 200
"""Most documents of a class that a dry run names; the counts cover all of them."""

_SMALL_SOURCE = 10
"""Below this many documents a share says nothing; only an empty listing is held back then."""


@dataclass(frozen=True, slots=True)
class Diff:
    """What a listing means for the catalogue. Every listed document is in exactly one of the others than `deleted`.

    `expired` are those that are not there and stay away: their period of retention has ended.
    """

    added: tuple[ListedDocument, ...]
    modified: tuple[ListedDocument, ...]
    touched: tuple[ListedDocument, ...]
    unchanged: tuple[ListedDocument, ...]
    deleted: tuple[Known, ...]
    expired: tuple[ListedDocument, ...] = ()

    def counts(self) -> dict[str, int]:
        """Number of documents by what happens to them."""
        return {
            "added": len(self.added),
            "modified": len(self.modified),
            "touched": len(self.touched),
            "unchanged": len(self.unchanged),
            "expired": len(self.expired),
            "deleted": len(self.deleted),
        }

    @property
    def n_lost(self) -> int:
        """Deleted documents that were not just moved: no added one has the same fingerprint."""
        moved_to = {item.fingerprint for item in self.added}
        return sum(before.fingerprint not in moved_to for before in self.deleted)

    def names(self, *, limit: int) -> dict[str, list[str]]:
        """External ids of what changes, by what happens to it, in order; at most `limit` of each."""
        changes: dict[str, Sequence[ListedDocument | Known]] = {
            "added": self.added,
            "modified": self.modified,
            "touched": self.touched,
            "expired": self.expired,
            "deleted": self.deleted,
        }
        return {what: sorted(item.external_id for item in items)[:limit] for what, items in changes.items()}


IsOver = Callable[[Collection[Label], datetime], bool]
"""Whether a document's period of retention has ended, by its labels and the time it was last changed."""


def diff_listing(
    listed: Sequence[ListedDocument],
    known: Mapping[str, Known],
    source: Source,
    *,
    retry_failed: bool,
    is_over: IsOver,
) -> Diff:
    """Compare a complete listing with what the catalogue knows.

    `touched` are documents whose content is the same but whose link, successor or access list is not.

    Args:
        retry_failed: Count documents that failed for a passing reason as modified.
        is_over: Asked of documents that are not there, so that what has expired is not brought back.
    """
    added, modified, touched, unchanged, expired = (list[ListedDocument]() for _ in range(5))
    for item in listed:
        before = known.get(item.external_id)
        if before is None or before.is_deleted:
            over = is_over(_labels_once_listed(item, before, source), item.modified_at)
            (expired if over else added).append(item)
        elif _content_differs(item, before) or (retry_failed and before.needs_retry):
            modified.append(item)
        elif _details_differ(item, before, source):
            touched.append(item)
        else:
            unchanged.append(item)
    listed_ids = {item.external_id for item in listed}
    gone = (before for id_, before in known.items() if id_ not in listed_ids and not before.is_deleted)
    listed_by = (tuple(added), tuple(modified), tuple(touched), tuple(unchanged))
    return Diff(*listed_by, deleted=tuple(gone), expired=tuple(expired))


def _labels_once_listed(item: ListedDocument, before: Known | None, source: Source) -> frozenset[Label]:
    """What a document that is not there would have: what its source states now, and what others once set."""
    lasting = frozenset() if before is None else before.labels_of(LabelOrigin.OWNER, LabelOrigin.TEXT)
    return lasting | frozenset(item.labels) | source.labels


@dataclass(frozen=True, slots=True)
class AccessDiff:
    """What a listing means for access lists.

    Attributes:
        changed: Documents for which it states another list.
        withdrawn: Documents that it lacks: until it has them again, or a sync deletes them, nobody but their
            owner reads them.
        n_unchanged: The other documents of the source, those whose list a person set included.
    """

    changed: tuple[StatedAcl, ...]
    withdrawn: tuple[StatedAcl, ...]
    n_unchanged: int


def diff_access(listed: Sequence[ListedDocument], known: Mapping[str, Known], source: Source) -> AccessDiff:
    """Compare the access lists of a complete listing with those that the catalogue knows.

    What is new in the listing is left to a sync.
    """
    present = {id_: before for id_, before in known.items() if not before.is_deleted}
    stated = {item.external_id: item for item in listed}
    changed: list[StatedAcl] = []
    withdrawn: list[StatedAcl] = []
    for id_, before in present.items():
        item = stated.get(id_)
        acl = Acl(before.acl.owner) if item is None else item.acl or source.default_acl
        fingerprint = before.fingerprint if item is None else item.fingerprint
        is_late = before.acl_is_late and fingerprint == before.fingerprint
        if before.acl_is_manual or (acl == before.acl and not is_late):
            continue
        (withdrawn if item is None else changed).append(StatedAcl(before.document_id, acl, fingerprint))
    n_unchanged = len(present) - len(changed) - len(withdrawn)
    return AccessDiff(tuple(changed), tuple(withdrawn), n_unchanged)


def guard(diff: Diff, *, confirmed: bool, n_gone_before: int = 0) -> None:
    """Refuse a mass deletion that nobody confirmed.

    Args:
        confirmed: Somebody allowed it.
        n_gone_before: Documents that partial syncs deleted since the last whole one: a mass deletion that
            comes in small steps is one too.

    Raises:
        ListingShrankError: The listing is empty, or over 30 % of the known documents are gone from it.
    """
    n_kept = len(diff.modified) + len(diff.touched) + len(diff.unchanged)
    n_known = len(diff.deleted) + n_kept
    is_empty = n_kept + len(diff.added) + len(diff.expired) == 0
    is_mass = _is_mass(diff.n_lost + n_gone_before, n_known - diff.n_lost)
    if diff.n_lost and not confirmed and (is_empty or is_mass):
        raise ListingShrankError(f"{diff.n_lost} of {n_known} documents are gone from the source")


def lies_within(external_id: str, paths: Collection[str]) -> bool:
    """Whether a document lies at or below one of the paths."""
    return any(external_id == path or external_id.startswith(f"{path}/") for path in paths)


@dataclass(frozen=True, slots=True)
class SyncOrder:
    """How to sync.

    Attributes:
        dry_run: Only find out what would change.
        confirmed: Somebody allowed the deletions, however many.
        paths: Only what lies at or below these paths, where the connector can list a part; empty for all.
    """

    dry_run: bool = False
    confirmed: bool = False
    paths: tuple[str, ...] = ()


class Syncer:
    """Runs syncs."""

    def __init__(
        self, store: DocumentStore, indexer: Indexer, reach: Reach = reach_nothing, *, is_over: IsOver
    ) -> None:
        """Write what a sync finds to `store`, and deletions and access lists to the index as well."""
        self._store = store
        self._indexer = indexer
        self._reach = reach
        self._is_over = is_over

    def sync(
        self,
        source: Source,
        connector: Connector,
        *,
        run: Run,
        order: SyncOrder,
        progress: Callable[[int, int], None],
    ) -> dict[str, Any]:
        """Bring the catalogue up to a source's present listing.

        Args:
            progress: Called with the number of documents dealt with and their total.

        Returns:
            Number of documents added, modified, touched, unchanged and deleted; of a dry run also their
            names under `diff`.

        Raises:
            SourceError: The source cannot be read, or the listing looks wrong; nothing was changed then.
        """
        listed_at = self._store.now()
        try:
            diff, whole = self._compare(source, connector, order)
        except IngestError as error:
            self._store.note_sync(source.id, error=error, whole=True, listed_at=listed_at)
            raise
        if order.dry_run:
            return {**diff.counts(), "diff": diff.names(limit=_MAX_NAMES)}
        self._apply(source, diff, run, progress)
        self._store.note_sync(source.id, error=None, whole=whole, listed_at=listed_at)
        return diff.counts()

    def refresh(
        self, source: Source, connector: Connector, *, progress: Callable[[int, int], None]
    ) -> dict[str, int]:
        """Put the access lists of a source's present listing in force; nothing is fetched, added or deleted.

        Args:
            progress: Called with the number of documents dealt with and their total.

        Returns:
            Number of documents whose list changed, that were withdrawn since the listing lacks them, and of
            the rest.

        Raises:
            SourceError: The source cannot be read, or the listing looks wrong; nothing was changed then, and
                the permission data count as old as before.
        """
        listed_at = self._store.now()
        try:
            known = self._store.known(source.id)
            listed = list(connector.list_documents())
            gone_before = _n_gone_since(known, {item.external_id for item in listed}, source.synced_at)
            whole = diff_listing(listed, known, source, retry_failed=False, is_over=self._is_over)
            guard(whole, confirmed=False, n_gone_before=gone_before)
        except IngestError as error:
            self._store.note_refresh(source.id, error=error, listed_at=listed_at)
            raise
        diff = diff_access(listed, known, source)
        stated = (*diff.withdrawn, *diff.changed)
        for start in range(0, len(stated), _BATCH):
            self._indexer.apply_access(self._store.update_access(stated[start : start + _BATCH]))
            progress(min(start + _BATCH, len(stated)), len(stated))
        self._store.note_refresh(source.id, error=None, listed_at=listed_at)
        return {
            "changed": len(diff.changed),
            "withdrawn": len(diff.withdrawn),
            "unchanged": diff.n_unchanged,
        }

    def _compare(self, source: Source, connector: Connector, order: SyncOrder) -> tuple[Diff, bool]:
        """What has changed, and whether the whole source was compared."""
        known = self._store.known(source.id)
        if order.paths and not order.dry_run and isinstance(connector, PartialConnector):
            diff = self._compare_part(source, connector, known, order.paths)
            if diff is not None:
                return diff, False
        listed = list(connector.list_documents())
        diff = diff_listing(listed, known, source, retry_failed=True, is_over=self._is_over)
        guard(
            diff,
            confirmed=order.confirmed or order.dry_run,
            n_gone_before=self._n_gone_since(known, {item.external_id for item in listed}, source),
        )
        return diff, True

    def _compare_part(
        self, source: Source, connector: PartialConnector, known: Mapping[str, Known], paths: tuple[str, ...]
    ) -> Diff | None:
        """What has changed below these paths; None when so much is gone that the whole source must tell."""
        listed = list(connector.list_paths(paths))
        within = {id_: before for id_, before in known.items() if lies_within(id_, paths)}
        diff = diff_listing(listed, within, source, retry_failed=False, is_over=self._is_over)
        n_left = sum(not before.is_deleted for before in known.values()) - diff.n_lost
        n_gone = diff.n_lost + self._n_gone_since(known, set(), source)
        if diff.n_lost and (n_left == 0 or _is_mass(n_gone, n_left)):
            return None
        return diff

    def _n_gone_since(self, known: Mapping[str, Known], listed_ids: Collection[str], source: Source) -> int:
        """Documents that were deleted after the last whole sync and are nowhere else now; 0 before the first.

        What has expired was not lost.
        """
        unexpired = {
            id_: before
            for id_, before in known.items()
            if not (before.is_deleted and self._is_over(before.labels, before.modified_at))
        }
        return _n_gone_since(unexpired, listed_ids, source.synced_at)

    def _apply(self, source: Source, diff: Diff, run: Run, progress: Callable[[int, int], None]) -> None:
        total = len(diff.added) + len(diff.modified) + len(diff.touched) + len(diff.deleted)
        done = 0
        for reason, items in (("added", diff.added), ("modified", diff.modified)):
            for batch in _batches(items):
                self._store.register(source, batch, run=run, reason=reason)
                self._reach("register")
                progress(done := done + len(batch), total)
        for batch in _batches(diff.touched):
            self._indexer.apply_access(self._store.update_details(source, batch))
            progress(done := done + len(batch), total)
        for start in range(0, len(diff.deleted), _BATCH):
            buried = [known.document_id for known in diff.deleted[start : start + _BATCH]]
            self.bury(buried)
            progress(done := done + len(buried), total)

    def clear(self, source: Source) -> dict[str, int]:
        """Take everything of a removed source out of catalogue and index. Returns the number of documents."""
        document_ids = self._store.document_ids(source.id)
        for start in range(0, len(document_ids), _BATCH):
            self.bury(document_ids[start : start + _BATCH])
        return {"deleted": len(document_ids)}

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
    if frozenset(item.labels) != before.labels_of(LabelOrigin.SOURCE):
        return True
    if before.acl_is_manual:
        return False
    return before.acl_is_late or (item.acl or source.default_acl) != before.acl


def _is_mass(n_gone: int, n_left: int) -> bool:
    n_known = n_gone + n_left
    return n_known >= _SMALL_SOURCE and n_gone > _MAX_DELETED_SHARE * n_known


def _n_gone_since(known: Mapping[str, Known], listed_ids: Collection[str], moment: datetime | None) -> int:
    """Documents that were deleted after a moment and are nowhere else now; 0 without a moment."""
    if moment is None:
        return 0
    living = {before.fingerprint for before in known.values() if not before.is_deleted}
    return sum(
        before.deleted_at is not None
        and before.deleted_at > moment
        and id_ not in listed_ids
        and before.fingerprint not in living
        for id_, before in known.items()
    )


def _batches(items: Sequence[ListedDocument]) -> list[Sequence[ListedDocument]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
