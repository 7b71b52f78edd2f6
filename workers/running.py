"""Runs one job under its lease: claim, keep alive, work, and note what came of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.corpus import JobId
from retrieval.errors import RefdeskError
from retrieval.jobs import Lease
from workers.retries import UnexpectedError, Verdict, judge

_log = logging.getLogger(__name__)

Heartbeat = Callable[[int, int], bool]
"""Notes progress `(done, total)` and renews the lease; False when the lease is lost."""

Work = Callable[[Lease, Heartbeat], Mapping[str, Any]]
"""What a kind of job does; returns its report."""

OnFailure = Callable[[Lease, RefdeskError, Verdict], None]


class JobRunner:
    """Runs jobs of the board. Safe to share between threads."""

    def __init__(self, jobs: SqlJobs, *, lease_s: float) -> None:
        """Claim jobs from `jobs` for `lease_s` seconds at a time."""
        self._jobs = jobs
        self._lease_s = lease_s

    def run(self, job_id: JobId, work: Work, on_failure: OnFailure) -> None:
        """Do a job's work unless somebody else does; never raises for what went wrong in it."""
        lease = self._jobs.claim(job_id, lease_s=self._lease_s)
        if lease is None:
            return
        try:
            with self._kept_alive(lease):
                report = work(lease, lambda done, total: self._renew(lease, done, total))
        except RefdeskError as error:
            self._failed(lease, error, on_failure)
        except Exception as error:  # noqa: BLE001 - the process edge: logged once, counted as an attempt
            _log.exception("job failed unexpectedly", extra={"job_id": job_id})
            self._failed(lease, UnexpectedError(type(error).__name__), on_failure)
        else:
            self._jobs.finish(lease, report=report)

    def _failed(self, lease: Lease, error: RefdeskError, on_failure: OnFailure) -> None:
        verdict = judge(error, lease.job.attempt)
        on_failure(lease, error, verdict)
        self._jobs.fail(lease, code=error.code, message=error.message, retry_in_s=verdict.retry_in_s)

    def _renew(self, lease: Lease, done: int = 0, total: int = 0) -> bool:
        return self._jobs.renew(lease, lease_s=self._lease_s, done=done, total=total)

    @contextmanager
    def _kept_alive(self, lease: Lease) -> Iterator[None]:
        """Renew the lease from a thread of its own: parsing one file may take longer than a lease."""
        stopped = threading.Event()

        def keep() -> None:
            while not stopped.wait(self._lease_s / 3):
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
