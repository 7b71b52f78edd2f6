"""Runs one job under its lease: claim, keep alive, work, and note what came of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ingest.ports import Heartbeat
from retrieval.adapters.sql.jobs import SqlJobs
from retrieval.corpus import DocumentState, JobId
from retrieval.errors import CatalogueUnavailableError, LeaseLostError, RefdeskError
from retrieval.jobs import JobKind, Lease
from workers.pressure import Pressure
from workers.retries import UnexpectedError, Verdict, judge
from workers.settings import WorkerSettings

_log = logging.getLogger(__name__)

Work = Callable[[Lease, Heartbeat], Mapping[str, Any]]
"""What a kind of job does; returns its report."""

OnFailure = Callable[[Lease, RefdeskError, Verdict], None]

NoteReading = Callable[[Lease, DocumentState], None]
"""Puts on record how far the reading of a document has come; `LeaseLostError` when the lease is lost."""

_PATIENCE_S = 30.0
"""So long a job that is not wise now holds its thread; then it is left in the queue, to be sent again."""

_LASTING_S = 0.5
"""A stage that is over sooner is not put on record: writing it down would cost more than a small document does."""


class JobRunner:
    """Runs jobs of the board. Safe to share between threads."""

    def __init__(
        self,
        jobs: SqlJobs,
        settings: WorkerSettings,
        pressure: Pressure | None = None,
        *,
        note_reading: NoteReading = lambda *_: None,
    ) -> None:
        """Claim jobs from `jobs`, while `pressure` says that work makes sense."""
        self._jobs = jobs
        self._settings = settings
        self._pressure = pressure
        self._note_reading = note_reading

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
        lease = self._jobs.claim(job_id, lease_s=self._settings.lease_s)
        if lease is None:
            return
        try:
            with _kept_alive(_Pulse(lease, self._jobs, self._settings, self._note_reading)) as pulse:
                report = work(lease, pulse)
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


class _Pulse:
    """A running job's `Heartbeat`; `keep` beats by itself, since parsing one file may take longer than a lease."""

    def __init__(
        self, lease: Lease, jobs: SqlJobs, settings: WorkerSettings, note_reading: NoteReading
    ) -> None:
        self._lease = lease
        self._jobs = jobs
        self._lease_s = settings.lease_s
        self._note_reading = note_reading
        self._state: DocumentState | None = None
        self._noted: DocumentState | None = None
        is_document = lease.job.kind is JobKind.INDEX
        self._limit_s = settings.document_limit_s if is_document else settings.job_limit_s

    def __call__(self, done: int, total: int) -> bool:
        return self._jobs.renew(self._lease, lease_s=self._lease_s, done=done, total=total)

    def reached(self, state: DocumentState) -> None:
        self._state = state

    def keep(self, stopped: threading.Event) -> None:
        """Renew the lease until stopped, and note what lasts.

        A job that is over its time limit is not renewed any more: it hangs, and goes to another worker.
        """
        began_at = renewed_at = time.monotonic()
        while not stopped.wait(min(_LASTING_S, self._lease_s / 3)):
            now = time.monotonic()
            if now - began_at > self._limit_s:
                _log.error("job hangs, its lease is given up", extra={"job_id": self._lease.job.id})
                return
            try:
                if now - renewed_at >= self._lease_s / 3:
                    renewed_at = now
                    self(0, 0)
                self._note()
            except RefdeskError as error:
                facts = {"job_id": self._lease.job.id, "code": error.code}
                _log.warning("lease not renewed", extra=facts)

    def _note(self) -> None:
        state = self._state
        if state is not None and state is not self._noted:
            self._note_reading(self._lease, state)
            self._noted = state


@contextmanager
def _kept_alive(pulse: _Pulse) -> Iterator[_Pulse]:
    """The pulse, beating by itself meanwhile."""
    stopped = threading.Event()
    thread = threading.Thread(target=pulse.keep, args=[stopped], name="lease", daemon=True)
    thread.start()
    try:
        yield pulse
    finally:
        stopped.set()
        thread.join()
