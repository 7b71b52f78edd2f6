"""Which indexes exist, what built them, and which one answers.

Switching is one transaction. While an index is being built, a version may only be published when its points
were written to every index on record (`missed_by`): otherwise the new index would lack them at the switch.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from retrieval.adapters.sql.database import Database, one_at_a_time
from retrieval.adapters.sql.jobs import Clock
from retrieval.adapters.sql.models import IndexRow
from retrieval.errors import ConflictError
from retrieval.indexes import Calibration, IndexRecord, IndexState, new_index_name

_LEAVING = "leaving"
"""State of the active index between two statements of a switch; never committed."""


_RECORDS = select(
    IndexRow.name,
    IndexRow.fingerprint,
    IndexRow.average_length,
    IndexRow.languages,
    IndexRow.state,
    IndexRow.created_at,
    IndexRow.activated_at,
)


class SqlIndexBuilds:
    """Implements `retrieval.indexes.IndexBuilds`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the records in this database and read the time from `clock`."""
        self._database = database
        self._clock = clock

    def records(self) -> list[IndexRecord]:
        """See `IndexRecords.records`."""
        with self._database.read() as session:
            rows = session.execute(_RECORDS).tuples().all()
        return [
            IndexRecord(
                name,
                fingerprint,
                Calibration(average, tuple(languages)),
                IndexState(state),
                created_at,
                activated_at,
            )
            for name, fingerprint, average, languages, state, created_at, activated_at in rows
        ]

    def begin(self, name: str, fingerprint: str, calibration: Calibration) -> None:
        """See `IndexBuilds.begin`."""
        with self._database.write() as session:
            states = _locked(session)
            if name in states:
                return
            if IndexState.BUILDING in states.values():
                raise ConflictError("another index is being built")
            session.add(
                IndexRow(
                    name=name,
                    fingerprint=fingerprint,
                    state=IndexState.BUILDING,
                    created_at=self._clock(),
                    **_columns(calibration),
                )
            )

    def begin_first(self, fingerprint: str, calibration: Calibration) -> None:
        """See `IndexBuilds.begin_first`."""
        with self._database.write() as session:
            if IndexState.ACTIVE in _locked(session).values():
                return
            now = self._clock()
            session.add(
                IndexRow(
                    name=new_index_name(),
                    fingerprint=fingerprint,
                    state=IndexState.ACTIVE,
                    created_at=now,
                    activated_at=now,
                    **_columns(calibration),
                )
            )

    def activate(self, name: str) -> None:
        """See `IndexBuilds.activate`."""
        with self._database.write() as session:
            states = _locked(session)
            if name not in states:
                raise ConflictError("there is no index of this name to switch to")
            if states[name] == IndexState.ACTIVE:
                return
            session.execute(
                delete(IndexRow).where(IndexRow.state == IndexState.RETIRED, IndexRow.name != name)
            )
            _move(session, IndexRow.state == IndexState.ACTIVE, _LEAVING)
            session.execute(
                update(IndexRow)
                .where(IndexRow.name == name)
                .values(state=IndexState.ACTIVE, activated_at=self._clock())
            )
            _move(session, IndexRow.state == _LEAVING, IndexState.RETIRED)

    def calibrate(self, name: str, calibration: Calibration) -> None:
        """See `IndexBuilds.calibrate`."""
        with self._database.write() as session:
            session.execute(update(IndexRow).where(IndexRow.name == name).values(**_columns(calibration)))

    def forget(self, name: str) -> None:
        """See `IndexRecords.forget`."""
        with self._database.write() as session:
            session.execute(
                delete(IndexRow).where(IndexRow.name == name, IndexRow.state != IndexState.ACTIVE)
            )

    def forget_all(self) -> None:
        """Drop every record: of a catalogue that was restored without its indexes."""
        with self._database.write() as session:
            session.execute(delete(IndexRow))


def missed_by(session: Session, written: Collection[str]) -> bool:
    """Whether an index on record is not among those written; holds until the caller's transaction ends.

    The lock makes a build that begins meanwhile wait, so its first look at the catalogue sees what this
    transaction publishes.
    """
    session.execute(
        select(IndexRow.name).where(IndexRow.state == IndexState.ACTIVE).with_for_update(read=True)
    )
    return not set(session.scalars(select(IndexRow.name))) <= set(written)


def _columns(calibration: Calibration) -> dict[str, Any]:
    return {"average_length": calibration.average_length, "languages": list(calibration.languages)}


def _locked(session: Session) -> dict[str, str]:
    """States by name; nobody else changes them until the transaction ends."""
    one_at_a_time(session, "indexes")
    session.execute(select(IndexRow.name).where(IndexRow.state == IndexState.ACTIVE).with_for_update())
    return dict(session.execute(select(IndexRow.name, IndexRow.state)).tuples().all())


def _move(session: Session, condition: ColumnElement[bool], state: str) -> None:
    session.execute(update(IndexRow).where(condition).values(state=state))
