"""The outbox relay and the reaper: committed work reaches the queue, lost work comes back."""

from __future__ import annotations

import logging
import threading
import time

from celery import Celery
from kombu.exceptions import OperationalError

from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.errors import CatalogueUnavailableError
from workers.schedule import Schedule
from workers.settings import WorkerSettings

_log = logging.getLogger(__name__)
_BATCH = 200


class Relay:
    """A thread that sends what the outbox holds. Several may run at once: a task sent twice does nothing."""

    def __init__(self, app: Celery, jobs: SqlJobs, settings: WorkerSettings, schedule: Schedule) -> None:
        """Send tasks of `jobs` through `app`, and accept what `schedule` says; call `start` to begin."""
        self._app = app
        self._jobs = jobs
        self._settings = settings
        self._schedule = schedule
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
        reap_at = time.monotonic()
        while not self._stopped.wait(self._settings.relay_interval_s):
            try:
                if time.monotonic() >= reap_at:
                    self._jobs.requeue_lost()
                    self._schedule.accept_due()
                    reap_at = time.monotonic() + self._settings.reaper_interval_s
                self._send()
            except (CatalogueUnavailableError, OperationalError) as error:
                _log.warning("relay round failed", extra={"error": type(error).__name__})

    def _send(self) -> None:
        while messages := self._jobs.unsent(limit=_BATCH):
            for message in messages:
                self._app.send_task(message.task, args=[message.job_id])
            self._jobs.mark_sent([message.id for message in messages])
