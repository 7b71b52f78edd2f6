"""Which sources are due for a sync, or for a refresh of their permission data, and accepting what is due."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import Source

_log = logging.getLogger(__name__)


def due(sources: Iterable[Source], now: datetime) -> list[Source]:
    """Sources whose time has come; those that are paused, removed or not read by the desk never are."""
    return [
        source
        for source in sources
        if source.next_sync_at is not None
        and source.next_sync_at <= now
        and source.sync_every_s is not None
        and source.paused_at is None
        and source.removed_at is None
        and source.is_read
    ]


def due_for_refresh(sources: Iterable[Source], now: datetime) -> list[Source]:
    """Sources whose permission data are to be refreshed now; as for `due`."""
    return [
        source
        for source in sources
        if source.next_acl_at is not None
        and source.next_acl_at <= now
        and source.acl_every_s is not None
        and source.paused_at is None
        and source.removed_at is None
        and source.is_read
    ]


def next_sync_at(source: Source, now: datetime) -> datetime:
    """When a source that is due now is due again: on its beat, whose missed strokes are left out."""
    every = timedelta(seconds=source.sync_every_s or 0)
    following = (source.next_sync_at or now) + every
    return following if following > now else now + every


class Schedule:
    """Accepts the syncs that are due. Several may run at once: each sync is accepted by one of them."""

    def __init__(self, sources: SqlSources, clock: Callable[[], datetime]) -> None:
        """Look at `sources`, and read the time from `clock`."""
        self._sources = sources
        self._clock = clock

    def accept_due(self) -> int:
        """Accept a sync job for every source that is due. Returns their number.

        A refresh that is due together with a sync is left to it: every good sync confirms the permission data.
        """
        now = self._clock()
        scheduled = self._sources.scheduled()
        accepted = sum(
            self._sources.sync_on_schedule(source, next_sync_at=next_sync_at(source, now))
            for source in due(scheduled, now)
        )
        accepted += sum(
            self._sources.refresh_on_schedule(
                source, next_acl_at=now + timedelta(seconds=source.acl_every_s or 0)
            )
            for source in due_for_refresh(scheduled, now)
        )
        if accepted:
            _log.info("scheduled syncs accepted", extra={"count": accepted})
        return accepted
