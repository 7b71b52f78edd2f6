"""`retrieval.access.permits` as a SQL condition, for listings and counts. A property test holds them equal."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, or_

from retrieval.access import Principal, PrincipalId
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: not deleted, and readable by the principal."""
    return and_(DocumentRow.deleted_at.is_(None), readable_by(principal))


def readable_by(principal: Principal) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: readable by the principal, deleted or not."""

    def named(effect: str, ids: frozenset[PrincipalId]) -> ColumnElement[bool]:
        return exists().where(
            AclEntryRow.document_id == DocumentRow.id,
            AclEntryRow.effect == effect,
            AclEntryRow.principal_id.in_(sorted(ids)),
        )

    is_owner = DocumentRow.owner.in_(sorted(principal.user_ids))
    return and_(~named("deny", principal.deny_ids), or_(is_owner, named("allow", principal.allow_ids)))
