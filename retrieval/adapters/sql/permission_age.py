"""How long a source's permission data count: the one place that writes when they end, and the condition on it.

Over the bound the documents of a source are shown to nobody, by comparing times when something is read, so that
it also holds while no worker runs. Their owner still sees that they are there.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BindParameter, ColumnElement, Select, select

from retrieval.adapters.sql.models import DocumentRow, SourceRow
from retrieval.corpus import acl_valid_until

Moment = datetime | BindParameter[datetime]


def outdated(now: Moment) -> Select[str]:
    """Ids of the sources whose permission data are over their bound; by way of an index, as a rule none."""
    return select(SourceRow.id).where(SourceRow.acl_valid_until <= now)


def of_current_lists(now: Moment) -> ColumnElement[bool]:
    """The condition on `DocumentRow` that the permission data of its source count."""
    return DocumentRow.source_id.not_in(outdated(now))


def confirm(row: SourceRow, listed_at: datetime, now: datetime) -> None:
    """Note that a listing which began at `listed_at` ended well, and that its access lists are in force."""
    row.acl_confirmed_at, row.acl_error_code = listed_at, ""
    if row.acl_every_s is not None:
        row.next_acl_at = now + timedelta(seconds=row.acl_every_s)
    settle(row)


def settle(row: SourceRow) -> None:
    """Write until when the permission data count, after anything that it follows from was changed."""
    row.acl_valid_until = acl_valid_until(row.acl_confirmed_at or row.created_at, row.acl_max_age_s)
