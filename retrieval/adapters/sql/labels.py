"""Labels in SQL: the one place that writes `document_labels`, and reading what counts for a document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from retrieval.adapters.sql.models import DocumentLabelRow, DocumentRow, SourceLabelRow
from retrieval.adapters.sql.rows import batches
from retrieval.labels import Label, Labelled, LabelOrigin

_STATED = select(DocumentLabelRow.document_id, DocumentLabelRow.origin, DocumentLabelRow.label).where(
    DocumentLabelRow.document_id.in_(bindparam("ids", expanding=True))
)
_DEFAULTS = select(SourceLabelRow.source_id, SourceLabelRow.label).where(
    SourceLabelRow.source_id.in_(bindparam("ids", expanding=True))
)


def labelled_of(session: Session, sources: Mapping[str, str]) -> dict[str, tuple[Labelled, ...]]:
    """Labels of documents as committed now, with their origins, by document id.

    Args:
        session: The caller's.
        sources: Source ids by document id; the default labels of a source count for all its documents.
    """
    found: dict[str, set[Labelled]] = defaultdict(set)
    for batch in batches(sorted(sources), 500):
        for document_id, origin, label in session.execute(_STATED, {"ids": batch}):
            found[document_id].add(Labelled(Label(label), LabelOrigin(origin)))
    defaults: dict[str, set[Labelled]] = defaultdict(set)
    for source_id, label in session.execute(_DEFAULTS, {"ids": sorted(set(sources.values()))}):
        defaults[source_id].add(Labelled(Label(label), LabelOrigin.DEFAULT))
    return {id_: tuple(sorted(found[id_] | defaults[source_id])) for id_, source_id in sources.items()}


def write_labels(session: Session, document_id: str, origin: LabelOrigin, labels: Iterable[Label]) -> bool:
    """Make these the labels that one origin states of a document. Returns whether they changed.

    Labels of other origins stay. The documents found inside it follow in the same transaction: they have what
    this one has.
    """
    wanted = frozenset(labels)
    if wanted == {each.label for each in _stated(session, document_id) if each.origin is origin}:
        return False
    session.execute(
        delete(DocumentLabelRow).where(
            DocumentLabelRow.document_id == document_id, DocumentLabelRow.origin == origin
        )
    )
    session.add_all(
        DocumentLabelRow(document_id=document_id, origin=origin, label=label) for label in sorted(wanted)
    )
    session.flush()
    inside = select(DocumentRow.id).where(
        DocumentRow.parent_id == document_id, DocumentRow.deleted_at.is_(None)
    )
    for child_id in session.scalars(inside).all():
        pass_on_labels(session, document_id, child_id)
    return True


def pass_on_labels(session: Session, parent_id: str, child_id: str) -> None:
    """Give a document found inside another one the labels of that one."""
    labels = {each.label for each in _stated(session, parent_id)}
    write_labels(session, child_id, LabelOrigin.PARENT, labels)


def write_source_labels(session: Session, source_id: str, labels: Iterable[Label]) -> None:
    """Make these the labels that every document of a source has."""
    session.execute(delete(SourceLabelRow).where(SourceLabelRow.source_id == source_id))
    session.add_all(SourceLabelRow(source_id=source_id, label=label) for label in sorted(set(labels)))
    session.flush()


def _stated(session: Session, document_id: str) -> list[Labelled]:
    """Every label that is set on the document itself; those of its source are left out."""
    found = session.execute(_STATED, {"ids": [document_id]})
    return [Labelled(Label(label), LabelOrigin(origin)) for _, origin, label in found]
