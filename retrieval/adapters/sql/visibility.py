"""The rule of who sees what as a SQL condition, for listings and counts. Property tests hold both forms equal.

`readable_by` is `retrieval.access.permits`; `is_over` is `retrieval.labels.Retention.is_over`. Permission data that
are over the bound of their source let nobody see a document but its owner, who has to know that it is there; its
words nobody is shown then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, false, or_

from retrieval.access import Principal, PrincipalId
from retrieval.adapters.sql.models import AclEntryRow, DocumentLabelRow, DocumentRow, SourceLabelRow
from retrieval.adapters.sql.permission_age import of_current_lists
from retrieval.labels import HOLD, RETENTION, Label, Retention


@dataclass(frozen=True, slots=True)
class Presence:
    """What decides whether a document is there for anybody: the classes of retention, and what time it is."""

    retention: Retention
    clock: Callable[[], datetime]

    def visible_to(self, principal: Principal) -> ColumnElement[bool]:
        """Condition on `DocumentRow`: there, and its record may be seen by the principal now."""
        return and_(self.present(), self.readable_by(principal))

    def shown_to(self, principal: Principal) -> ColumnElement[bool]:
        """Condition on `DocumentRow`: there, and its words may be read by the principal now."""
        return and_(self.visible_to(principal), of_current_lists(self.clock()))

    def readable_by(self, principal: Principal) -> ColumnElement[bool]:
        """Condition on `DocumentRow`: its record may be seen by the principal now, deleted or not."""
        return readable_by(principal, self.clock())

    def present(self) -> ColumnElement[bool]:
        """Condition on `DocumentRow`: neither deleted nor over its period of retention."""
        return and_(DocumentRow.deleted_at.is_(None), ~is_over(self.retention, self.clock()))

    def shows(self, labels: Collection[Label], modified_at: datetime) -> bool:
        """The same of a document that is not deleted."""
        return not self.retention.is_over(labels, modified_at, self.clock())


def is_over(retention: Retention, now: datetime) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: its period of retention has ended, deleted or not."""
    if not retention.periods:
        return false()
    return and_(_labelled(lambda row: row.label.startswith(RETENTION)), ~_labelled(_keeps(retention, now)))


_LabelRow = type[DocumentLabelRow] | type[SourceLabelRow]


def _keeps(retention: Retention, now: datetime) -> Callable[[_LabelRow], ColumnElement[bool]]:
    """Condition on a label: with it a document is kept still, whatever its other labels say."""
    names = [f"{RETENTION}{name}" for name in retention.periods]
    ends = {f"{RETENTION}{name}": now - period for name, period in retention.periods.items()}

    def condition(row: _LabelRow) -> ColumnElement[bool]:
        is_unknown = and_(row.label.startswith(RETENTION), row.label.not_in(names))
        runs = [and_(row.label == name, DocumentRow.modified_at > end) for name, end in ends.items()]
        return or_(row.label == HOLD, is_unknown, *runs)

    return condition


def _labelled(condition: Callable[[_LabelRow], ColumnElement[bool]]) -> ColumnElement[bool]:
    """Condition on `DocumentRow`: it, or every document of its source, has a label of this kind."""
    own = exists().where(DocumentLabelRow.document_id == DocumentRow.id, condition(DocumentLabelRow))
    default = exists().where(SourceLabelRow.source_id == DocumentRow.source_id, condition(SourceLabelRow))
    return or_(own, default)


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
