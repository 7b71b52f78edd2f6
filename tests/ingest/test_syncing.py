"""A sync is a diff; mass deletions need a person's word."""

from __future__ import annotations

import pytest

from ingest.errors import ListingShrankError
from ingest.ports import Known, ListedDocument
from ingest.syncing import Diff, diff_listing, guard
from retrieval.corpus import DocumentId, Source, SourceId
from tests.make import NOON, make_acl, make_listed

SOURCE = Source(SourceId("s"), "s", "folder", "/x", make_acl("olga"), NOON)


def _known(**fields: object) -> Known:
    values: dict[str, object] = {
        "document_id": DocumentId("d"),
        "fingerprint": "1",
        "title": "",
        "url": "",
        "tags": (),
        "superseded_by": "",
        "acl": make_acl("olga"),
        "acl_is_manual": False,
        "is_deleted": False,
        "needs_retry": False,
    }
    return Known(**{**values, **fields})  # type: ignore[arg-type]  # overrides by name


@pytest.mark.parametrize(
    ("listed", "known", "where"),
    [
        (make_listed(), None, "added"),
        (make_listed(), _known(is_deleted=True), "added"),
        (make_listed(), _known(), "unchanged"),
        (make_listed(fingerprint="2"), _known(), "modified"),
        (make_listed(title="New"), _known(), "modified"),
        (make_listed(), _known(needs_retry=True), "modified"),
        (make_listed(acl=make_acl("olga", allow=("group:hr",))), _known(), "touched"),
        (make_listed(acl=make_acl("olga", allow=("group:hr",))), _known(acl_is_manual=True), "unchanged"),
        (make_listed(superseded_by="b.md"), _known(), "touched"),
    ],
)
def test_each_listed_document_is_in_one_class(
    listed: ListedDocument, known: Known | None, where: str
) -> None:
    """What changed decides what is done, and an access list alone never causes parsing."""
    before = {} if known is None else {"a.md": known}
    counts = diff_listing([listed], before, SOURCE, retry_failed=True).counts()
    assert counts == {**dict.fromkeys(counts, 0), where: 1}


def test_missing_documents_are_deleted() -> None:
    """What the listing lacks is gone; what was deleted before is not deleted again."""
    known = {"a.md": _known(), "old.md": _known(), "older.md": _known(is_deleted=True)}
    diff = diff_listing([make_listed()], known, SOURCE, retry_failed=False)
    assert diff.deleted == (known["old.md"],)


@pytest.mark.parametrize(
    ("n_kept", "n_deleted", "refused"),
    [(0, 1, True), (0, 0, False), (100, 30, False), (60, 40, True), (3, 2, False)],
)
def test_guard(n_kept: int, n_deleted: int, refused: bool) -> None:
    """An empty listing, and one that lacks over 30 % of a large source, is held back until confirmed."""
    diff = Diff((), (), (), (make_listed(),) * n_kept, (_known(),) * n_deleted)
    if refused:
        with pytest.raises(ListingShrankError):
            guard(diff, confirmed=False)
    else:
        guard(diff, confirmed=False)
    guard(diff, confirmed=True)
