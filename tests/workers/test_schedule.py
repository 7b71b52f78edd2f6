"""Schedules: who is due is decided purely, and each due sync is accepted once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from retrieval.access import UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.adapters.sql.sources import SourceChange, SqlSources
from retrieval.corpus import Source, SourceId
from tests.make import NOON, make_acl
from workers.schedule import Schedule, due, next_sync_at

MINUTE = timedelta(minutes=1)
SOURCE = Source(
    SourceId("s"), "s", "folder", "/x", make_acl("olga"), NOON, sync_every_s=60, next_sync_at=NOON
)


@pytest.mark.parametrize(
    ("source", "is_due"),
    [
        (SOURCE, True),
        (replace(SOURCE, next_sync_at=NOON + MINUTE), False),
        (replace(SOURCE, next_sync_at=None), False),
        (replace(SOURCE, sync_every_s=None), False),
        (replace(SOURCE, paused_at=NOON), False),
        (replace(SOURCE, removed_at=NOON), False),
        (replace(SOURCE, kind="push"), False),
    ],
)
def test_who_is_due(source: Source, is_due: bool) -> None:
    """A source whose time has come, unless it is paused, removed, pushed or without a schedule."""
    assert (due([source], NOON) == [source]) is is_due


def test_missed_beats_are_left_out() -> None:
    """A desk that was off for an hour syncs once, then keeps the interval."""
    assert next_sync_at(SOURCE, NOON) == NOON + MINUTE
    assert next_sync_at(SOURCE, NOON + 60 * MINUTE) == NOON + 61 * MINUTE


def test_how_fresh_a_source_is() -> None:
    """Its age is that of the last good sync; without one it is overdue once it has existed long enough."""
    wanted = replace(SOURCE, freshness_s=120)
    assert (wanted.age_s(NOON + MINUTE), wanted.is_overdue(NOON + MINUTE)) == (None, False)
    assert wanted.is_overdue(NOON + 3 * MINUTE)
    synced = replace(wanted, synced_at=NOON + 2 * MINUTE)
    assert (synced.age_s(NOON + 3 * MINUTE), synced.is_overdue(NOON + 3 * MINUTE)) == (60.0, False)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty catalogue."""
    opened = Database(f"sqlite:///{tmp_path / 'catalogue.db'}")
    opened.migrate()
    yield opened
    opened.close()


def test_a_due_sync_is_accepted_once(database: Database) -> None:
    """Two relays that look at the same moment accept one job, in the owner's name."""
    sources = SqlSources(database, lambda: NOON)
    sources.create(SourceId("s"), name="s", kind="folder", location="/x", owner=UserId("olga"))
    sources.change(SourceId("s"), SourceChange(sync_every_s=60))
    seen = sources.scheduled()[0]
    assert Schedule(sources, lambda: NOON).accept_due() == 1
    assert not sources.sync_on_schedule(seen, next_sync_at=NOON + MINUTE)
    assert Schedule(sources, lambda: NOON).accept_due() == 0
    (job,) = SqlJobs(database, lambda: NOON).jobs_of(source_id=SourceId("s"))
    assert (job.reason, job.requested_by) == ("schedule", "olga")
    assert sources.scheduled()[0].next_sync_at == NOON + MINUTE
