"""A sync is a diff; mass deletions need a person's word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from ingest.errors import ListingShrankError
from ingest.ports import Known, ListedDocument
from ingest.syncing import Diff, diff_listing, guard, lies_within
from retrieval.corpus import DocumentId, Source, SourceId
from retrieval.labels import Labelled, LabelOrigin, label_named, retention_from
from tests.make import NOON, make_acl, make_listed

SOURCE = Source(SourceId("s"), "s", "folder", "/x", make_acl("olga"), NOON)


def _never(*_: object) -> bool:
    return False


def _known(**fields: object) -> Known:
    values: dict[str, object] = {
        "document_id": DocumentId("d"),
        "external_id": "a.md",
        "fingerprint": "1",
        "title": "",
        "url": "",
        "tags": (),
        "superseded_by": "",
        "acl": make_acl("olga"),
        "acl_is_manual": False,
        "deleted_at": None,
        "needs_retry": False,
        "labelled": (),
        "modified_at": NOON,
    }
    return Known(**{**values, **fields})  # type: ignore[arg-type]  # overrides by name


@pytest.mark.parametrize(
    ("listed", "known", "where"),
    [
        (make_listed(), None, "added"),
        (make_listed(), _known(deleted_at=NOON), "added"),
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
    counts = diff_listing([listed], before, SOURCE, retry_failed=True, is_over=_never).counts()
    assert counts == {**dict.fromkeys(counts, 0), where: 1}


def test_what_is_over_its_period_is_not_brought_back() -> None:
    """By labels that the source states now and those that an owner once set; changed since, it comes back."""
    rule = retention_from("minutes=90d")
    own = Labelled(label_named("retention:minutes"), LabelOrigin.OWNER)
    old, new = NOON - timedelta(days=91), NOON - timedelta(days=1)
    known = {name: _known(deleted_at=NOON, labelled=(own,)) for name in ("a", "b")}
    listed = [
        make_listed("a", modified_at=old),
        make_listed("b", modified_at=new),
        make_listed("new", modified_at=old, labels=(own.label,)),
        make_listed("other", modified_at=old),
    ]
    is_over = partial(rule.is_over, now=NOON)
    diff = diff_listing(listed, known, SOURCE, retry_failed=False, is_over=is_over)
    assert [item.external_id for item in diff.expired] == ["a", "new"]
    assert [item.external_id for item in diff.added] == ["b", "other"]
    of_source = replace(SOURCE, labels=frozenset({own.label}))
    diff = diff_listing(listed, known, of_source, retry_failed=False, is_over=is_over)
    assert [item.external_id for item in diff.added] == ["b"]
    guard(diff, confirmed=False)


def test_a_label_that_the_source_states_is_a_detail() -> None:
    """It is taken over without reading the document; one that an owner set is no difference."""
    own = Labelled(label_named("no-ai"), LabelOrigin.OWNER)
    known = {"a": _known(labelled=(own,)), "b": _known()}
    listed = [make_listed("a"), make_listed("b", labels=(own.label,))]
    diff = diff_listing(listed, known, SOURCE, retry_failed=False, is_over=_never)
    assert [item.external_id for item in diff.touched] == ["b"]
    assert [item.external_id for item in diff.unchanged] == ["a"]


def test_missing_documents_are_deleted() -> None:
    """What the listing lacks is gone; what was deleted before is not deleted again."""
    known = {"a.md": _known(), "old.md": _known(), "older.md": _known(deleted_at=NOON)}
    diff = diff_listing([make_listed()], known, SOURCE, retry_failed=False, is_over=_never)
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


def test_a_mass_deletion_in_small_steps_is_one() -> None:
    """What partial syncs deleted since the last whole one counts as well."""
    diff = Diff((), (), (), (make_listed(),) * 70, (_known(),) * 10)
    guard(diff, confirmed=False)
    with pytest.raises(ListingShrankError):
        guard(diff, confirmed=False, n_gone_before=25)


def test_names_of_a_diff_are_in_order_and_cut() -> None:
    """A dry run names what changes, not what stays."""
    diff = Diff((make_listed("b"), make_listed("a")), (), (), (make_listed("c"),), (_known(),))
    names = diff.names(limit=1)
    assert {what: named for what, named in names.items() if named} == {"added": ["a"], "deleted": ["a.md"]}


def test_what_lies_within_paths() -> None:
    """A path covers itself and what lies below it, not what merely begins like it."""
    assert lies_within("a/b.md", ["a"])
    assert lies_within("a", ["a"])
    assert not lies_within("ab.md", ["a"])


def test_a_moved_folder_is_no_mass_deletion() -> None:
    """What is listed elsewhere with the same fingerprint is not lost."""
    moved = tuple(make_listed(f"new/{n}", fingerprint=str(n)) for n in range(12))
    gone = tuple(_known(external_id=f"old/{n}", fingerprint=str(n)) for n in range(12))
    guard(Diff(moved, (), (), (), gone), confirmed=False)
    with pytest.raises(ListingShrankError):
        guard(Diff(moved[:6], (), (), (), gone), confirmed=False)
