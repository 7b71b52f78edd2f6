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
from retrieval.jobs import ACCESS_ONLY
from tests.make import NOON, make_acl
from workers.schedule import Schedule, due, due_for_refresh, next_sync_at

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


def test_permission_data_are_refreshed_on_their_own_schedule(database: Database) -> None:
    """A refresh is accepted when it is due, and waits for a sync that is under way: that confirms them too."""
    now = NOON
    sources, board = SqlSources(database, lambda: now), SqlJobs(database, lambda: now)
    sources.create(SourceId("s"), name="s", kind="folder", location="/x", owner=UserId("olga"))
    schedule = Schedule(sources, lambda: now)
    assert schedule.accept_due() == 0
    now = NOON + 61 * MINUTE
    assert schedule.accept_due() == 1
    (job,) = board.jobs_of(source_id=SourceId("s"))
    assert (job.reason, job.parameters) == ("schedule", {ACCESS_ONLY: True})
    seen = sources.scheduled()[0]
    assert seen.next_acl_at == now + 60 * MINUTE
    now = NOON + 122 * MINUTE
    assert schedule.accept_due() == 0  # the one before is not done
    board.cancel(job.id)
    assert schedule.accept_due() == 1
    assert not sources.refresh_on_schedule(seen, next_acl_at=now)


@pytest.mark.parametrize(
    ("source", "is_due"),
    [
        (replace(SOURCE, acl_every_s=60, next_acl_at=NOON), True),
        (replace(SOURCE, acl_every_s=60, next_acl_at=NOON + MINUTE), False),
        (replace(SOURCE, acl_every_s=None, next_acl_at=NOON), False),
        (replace(SOURCE, acl_every_s=60, next_acl_at=NOON, paused_at=NOON), False),
        (replace(SOURCE, acl_every_s=60, next_acl_at=NOON, kind="push"), False),
    ],
)
def test_who_is_due_for_a_refresh(source: Source, is_due: bool) -> None:
    """As for a sync, by a schedule of its own."""
    assert (due_for_refresh([source], NOON) == [source]) is is_due


def test_how_old_permission_data_are() -> None:
    """Counted from the last good listing, or from the source's beginning; a warning from 80 % of the bound on."""
    bound = replace(SOURCE, acl_max_age_s=600)
    states = [bound.acl_state(NOON + n * MINUTE) for n in (0, 7, 8, 9, 10)]
    assert states == ["current", "current", "ageing", "ageing", "outdated"]
    confirmed = replace(bound, acl_confirmed_at=NOON + 5 * MINUTE)
    assert confirmed.acl_state(NOON + 10 * MINUTE) == "current"
    assert confirmed.acl_age_s(NOON + 10 * MINUTE) == 300
    assert replace(SOURCE, acl_confirmed_at=None).acl_state(NOON + 10_000 * MINUTE) == "current"
