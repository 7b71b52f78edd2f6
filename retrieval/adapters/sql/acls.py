"""Writing access lists: the one place that changes `acl_entries`."""

from __future__ import annotations

from sqlalchemy import delete, inspect, select
from sqlalchemy.orm import Session

from retrieval.access import Acl, PrincipalId, narrowed
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow
from retrieval.adapters.sql.rows import read_acls


def write_acl(session: Session, row: DocumentRow, acl: Acl) -> bool:
    """Make `acl` the document's access list, in the caller's transaction. Returns whether it changed.

    The documents found inside it follow in the same transaction: nobody reads one of them who may not read
    this one. A list that a person set on one of them stays, as far as this one allows it.
    """
    if not inspect(row).pending and row.owner and read_acls(session, [row])[row.id] == acl:
        return False
    session.execute(delete(AclEntryRow).where(AclEntryRow.document_id == row.id))
    session.add_all([*_entries(row.id, "allow", acl.allow), *_entries(row.id, "deny", acl.deny)])
    row.owner = acl.owner
    row.acl_epoch = (row.acl_epoch or 0) + 1
    inside = select(DocumentRow).where(DocumentRow.parent_id == row.id, DocumentRow.deleted_at.is_(None))
    for child in session.scalars(inside).all():
        write_acl(session, child, inherited_acl(session, child, acl))
    return True


def inherited_acl(session: Session, child: DocumentRow, parent_acl: Acl) -> Acl:
    """The access list of a document found inside one with `parent_acl`."""
    if child.acl_origin != "manual":
        return parent_acl
    return narrowed(read_acls(session, [child])[child.id], parent_acl)


def _entries(document_id: str, effect: str, principals: frozenset[PrincipalId]) -> list[AclEntryRow]:
    return [
        AclEntryRow(document_id=document_id, effect=effect, principal_id=principal)
        for principal in sorted(principals)
    ]
