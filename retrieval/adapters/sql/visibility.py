"""`retrieval.access.permits` as a SQL condition, for listings and counts. A property test holds them equal."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, or_

from retrieval.access import Principal
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: not deleted, and readable by the principal."""
    return and_(DocumentRow.deleted_at.is_(None), readable_by(principal))


def readable_by(principal: Principal) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: readable by the principal, deleted or not."""
    ids = sorted(principal.ids)

    def named(effect: str) -> ColumnElement[bool]:
        return exists().where(
            AclEntryRow.document_id == DocumentRow.id,
            AclEntryRow.effect == effect,
            AclEntryRow.principal_id.in_(ids),
        )

    return and_(~named("deny"), or_(DocumentRow.owner.in_(principal.user_ids), named("allow")))
