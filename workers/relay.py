"""The outbox relay, the reaper, the schedule of upkeep: committed work is sent, lost work comes back.

Documents whose period of retention has ended are buried from here as well.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from celery import Celery

from ingest.ports import Reach, reach_nothing
from retrieval.adapters.sql.expiry import SqlExpiry
from retrieval.adapters.sql.jobs import JobRequest, OutboxMessage, SqlJobs
from retrieval.jobs import JobKind
from workers.queue import IN_PROCESS_BROKER, MESSAGE_LIFE_S, dead_letters, urgent_queue
from workers.schedule import Schedule
from workers.settings import WorkerSettings

_log = logging.getLogger(__name__)
_BATCH = 50
"""Messages sent in one transaction. SQLite has one writer, and workers wait for it meanwhile."""
_LONGEST_PAUSE_S = 10.0


class Relay:
    """A thread that sends what the outbox holds. Several may run at once: a task sent twice does nothing."""

    def __init__(
        self,
        app: Celery,
        jobs: SqlJobs,
        settings: WorkerSettings,
        schedule: Schedule,
        expiry: SqlExpiry,
        reach: Reach = reach_nothing,
    ) -> None:
        """Send tasks of `jobs` through `app`; call `start` to begin.

        Accepts what `schedule` says, and buries what `expiry` says is over its period. `reach` hears of each send.
        """
        self._app = app
        self._jobs = jobs
        self._settings = settings
        self._schedule = schedule
        self._expiry = expiry
        self._expiry_at = time.monotonic()
        self._reach = reach
        self._broker = _Broker(app)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the round that is going on."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        upkeep_at, pause_s = time.monotonic(), self._settings.relay_interval_s
        while not self._stopped.wait(pause_s):
            try:
                if time.monotonic() >= upkeep_at:
                    upkeep_at = time.monotonic() + self._settings.reaper_interval_s
                    self._keep_up()
                self._send()
                pause_s = self._settings.relay_interval_s
                if self._settings.heartbeat_file is not None:
                    self._settings.heartbeat_file.touch()
            except Exception as error:  # noqa: BLE001 - the thread's edge: were it to end, all work would stop unseen
                self._broker.close()
                pause_s = min(2 * max(pause_s, 0.25), _LONGEST_PAUSE_S)
                facts = {"error": type(error).__name__, "again_in_s": pause_s}
                _log.warning("relay round failed", extra=facts)
        self._broker.close()

    def _keep_up(self) -> None:
        self._jobs.requeue_lost()
        self._schedule.accept_due()
        if time.monotonic() >= self._expiry_at and not self._bury_due():
            self._expiry_at = time.monotonic() + self._settings.expiry_interval_s
        # A job that was sent and not taken is either in a long queue or lost. With nothing in the queues it is
        # lost; else the wait must have been so long that a second message does no harm.
        silent_s = self._settings.forgotten_s if self._broker.is_empty() else self._settings.overdue_s
        self._jobs.wake_forgotten(silent_s=silent_s)
        last = self._jobs.last_asked(JobKind.RECONCILE)
        if _is_due(last, self._jobs.now(), self._settings.reconcile_interval_s):
            self._jobs.accept(RECONCILE_REQUEST)

    def _bury_due(self) -> bool:
        """Bury documents that are over their period; whether there were any, so that there may be more."""
        buried = self._expiry.bury_due()
        if buried:
            _log.info("documents over their period of retention buried", extra={"count": len(buried)})
        return bool(buried)

    def _send(self) -> None:
        while not self._stopped.is_set() and self._jobs.has_unsent():
            with self._jobs.outgoing(limit=_BATCH) as messages:
                for message in messages:
                    self._broker.send(message)
                if messages:
                    self._reach("sent")
            if not messages:
                return  # another relay has them
            self._reach("marked")


RECONCILE_REQUEST = JobRequest(
    JobKind.RECONCILE, "desk", "schedule", source_id=None, document_id=None, priority=7
)
"""Asks for a comparison of index and catalogue; unfinished, there is only one."""


class _Broker:
    """One connection for sending, made anew after each failure. Used by one thread."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._producer: Any = None

    def send(self, message: OutboxMessage) -> None:
        """Send one task; returns when the broker has confirmed it."""
        options: dict[str, Any] = {}
        if self._app.conf.broker_url != IN_PROCESS_BROKER:
            options["expires"] = MESSAGE_LIFE_S
        if message.is_urgent:
            options["queue"] = urgent_queue(self._app)
        self._app.send_task(message.task, args=[message.job_id], producer=self._opened(), **options)

    def is_empty(self) -> bool:
        """Whether no queue holds a message that nobody has taken. Makes queues that are missing."""
        channel = self._opened().channel
        waiting = 0
        for queue in self._app.conf.task_queues:
            waiting += queue(channel).queue_declare().message_count
        return waiting == 0

    def close(self) -> None:
        """Drop the connection; the next use opens another."""
        if self._producer is not None:
            with suppress(Exception):  # it is being thrown away because something about it failed
                self._producer.connection.close()
            self._producer = None

    def _opened(self) -> Any:
        if self._producer is None:
            connection = self._app.connection_for_write()
            connection.ensure_connection(max_retries=1, timeout=5)
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
            if connection.transport.driver_type == "amqp":
                dead_letters()(self._producer.channel).declare()
        return self._producer


def _is_due(last: datetime | None, now: datetime, every_s: float) -> bool:
    return last is None or now - last >= timedelta(seconds=every_s)
