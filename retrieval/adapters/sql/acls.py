"""Writing access lists: the one place that changes `acl_entries`."""

from __future__ import annotations

from sqlalchemy import delete, inspect
from sqlalchemy.orm import Session

from retrieval.access import Acl, PrincipalId
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow
from retrieval.adapters.sql.rows import read_acls


def write_acl(session: Session, row: DocumentRow, acl: Acl) -> bool:
    """Make `acl` the document's access list, in the caller's transaction. Returns whether it changed."""
    if not inspect(row).pending and row.owner and read_acls(session, [row])[row.id] == acl:
        return False
    session.execute(delete(AclEntryRow).where(AclEntryRow.document_id == row.id))
    session.add_all([*_entries(row.id, "allow", acl.allow), *_entries(row.id, "deny", acl.deny)])
    row.owner = acl.owner
    row.acl_epoch = (row.acl_epoch or 0) + 1
    return True


def _entries(document_id: str, effect: str, principals: frozenset[PrincipalId]) -> list[AclEntryRow]:
    return [
        AclEntryRow(document_id=document_id, effect=effect, principal_id=principal)
        for principal in sorted(principals)
    ]
