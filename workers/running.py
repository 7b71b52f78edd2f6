"""Runs one job under its lease: claim, keep alive, work, and note what came of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.corpus import JobId
from retrieval.errors import CatalogueUnavailableError, LeaseLostError, RefdeskError
from retrieval.jobs import JobKind, Lease
from workers.pressure import Pressure
from workers.retries import UnexpectedError, Verdict, judge
from workers.settings import WorkerSettings

_log = logging.getLogger(__name__)

Heartbeat = Callable[[int, int], bool]
"""Notes progress `(done, total)` and renews the lease; False when the lease is lost."""

Work = Callable[[Lease, Heartbeat], Mapping[str, Any]]
"""What a kind of job does; returns its report."""

OnFailure = Callable[[Lease, RefdeskError, Verdict], None]


_PATIENCE_S = 30.0
"""So long a job that is not wise now holds its thread; then it is left in the queue, to be sent again."""


class JobRunner:
    """Runs jobs of the board. Safe to share between threads."""

    def __init__(self, jobs: SqlJobs, settings: WorkerSettings, pressure: Pressure | None = None) -> None:
        """Claim jobs from `jobs`, while `pressure` says that work makes sense."""
        self._jobs = jobs
        self._settings = settings
        self._lease_s = settings.lease_s
        self._pressure = pressure

    def run(self, job_id: JobId, work: Work, on_failure: OnFailure) -> None:
        """Do a job's work unless somebody else does; never raises for what went wrong in it."""
        try:
            self._run(job_id, work, on_failure)
        except (
            CatalogueUnavailableError
        ) as error:  # nothing can be noted: the lease runs out, the job comes back
            _log.warning("job left alone", extra={"job_id": job_id, "code": error.code})

    def _run(self, job_id: JobId, work: Work, on_failure: OnFailure) -> None:
        if not self._makes_sense(job_id):
            return
        lease = self._jobs.claim(job_id, lease_s=self._lease_s)
        if lease is None:
            return
        try:
            with self._kept_alive(lease):
                report = work(lease, lambda done, total: self._renew(lease, done, total))
        except LeaseLostError:
            _log.info("lease lost", extra={"job_id": job_id})
        except RefdeskError as error:
            self._failed(lease, error, on_failure)
        except Exception as error:  # noqa: BLE001 - the process edge: logged once, counted as an attempt
            _log.exception("job failed unexpectedly", extra={"job_id": job_id})
            self._failed(lease, UnexpectedError(type(error).__name__), on_failure)
        else:
            self._jobs.finish(lease, report=report)

    def _failed(self, lease: Lease, error: RefdeskError, on_failure: OnFailure) -> None:
        if self._pressure is not None:
            self._pressure.heard(error)
        verdict = judge(error, lease.job.attempt)
        on_failure(lease, error, verdict)
        self._jobs.fail(
            lease,
            code=error.code,
            message=error.message,
            retry_in_s=verdict.retry_in_s,
            counts=verdict.counts,
        )

    def _makes_sense(self, job_id: JobId) -> bool:
        """Wait while the disk or the index is unwell, with the reason on the job; False when that takes long."""
        if self._pressure is None:
            return True
        ends_at, noted = time.monotonic() + _PATIENCE_S, False
        while problem := self._pressure.problem():
            if not noted:
                self._jobs.note_waiting(job_id, code=problem.code, message=problem.message)
                noted = True
            if time.monotonic() > ends_at:
                return False
            time.sleep(0.5)
        return True

    def _renew(self, lease: Lease, done: int = 0, total: int = 0) -> bool:
        return self._jobs.renew(lease, lease_s=self._lease_s, done=done, total=total)

    @contextmanager
    def _kept_alive(self, lease: Lease) -> Iterator[None]:
        """Renew the lease from a thread of its own: parsing one file may take longer than a lease.

        A job that is over its time limit is not renewed any more: it hangs, and goes to another worker.
        """
        stopped = threading.Event()
        is_document = lease.job.kind is JobKind.INDEX
        limit_s = self._settings.document_limit_s if is_document else self._settings.job_limit_s
        ends_at = time.monotonic() + limit_s

        def keep() -> None:
            while not stopped.wait(self._lease_s / 3):
                if time.monotonic() > ends_at:
                    _log.error("job hangs, its lease is given up", extra={"job_id": lease.job.id})
                    return
                try:
                    self._renew(lease)
                except RefdeskError as error:
                    _log.warning("lease not renewed", extra={"job_id": lease.job.id, "code": error.code})

        thread = threading.Thread(target=keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
