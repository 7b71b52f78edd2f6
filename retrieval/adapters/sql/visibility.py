"""`retrieval.access.permits` as a SQL condition, for listings and counts. A property test holds them equal.

Two conditions go beyond a document's own list. Permission data that are over the bound of their source let
nobody see a document but its owner, who has to know that it is there; its words nobody is shown then.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, or_

from retrieval.access import Principal, PrincipalId
from retrieval.adapters.sql.models import AclEntryRow, DocumentRow
from retrieval.adapters.sql.permission_age import of_current_lists


def visible_to(principal: Principal, now: datetime) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: not deleted, and its record may be seen by the principal at this moment."""
    return and_(DocumentRow.deleted_at.is_(None), readable_by(principal, now))


def shown_to(principal: Principal, now: datetime) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: not deleted, and its words may be read by the principal at this moment."""
    return and_(visible_to(principal, now), of_current_lists(now))


def readable_by(principal: Principal, now: datetime) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: its record may be seen by the principal, deleted or not."""

    def named(effect: str, ids: frozenset[PrincipalId]) -> ColumnElement[bool]:
        return exists().where(
            AclEntryRow.document_id == DocumentRow.id,
            AclEntryRow.effect == effect,
            AclEntryRow.principal_id.in_(sorted(ids)),
        )

    is_owner = DocumentRow.owner.in_(sorted(principal.user_ids))
    allowed = and_(named("allow", principal.allow_ids), of_current_lists(now))
    return and_(~named("deny", principal.deny_ids), or_(is_owner, allowed))
