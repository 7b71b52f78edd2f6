"""Values that the workers run by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How jobs are run.

    Attributes:
        concurrency: Jobs at a time in one worker process.
        lease_s: Seconds after which a silent worker's job is given to another one.
        relay_interval_s: Seconds between looks at the outbox.
        reaper_interval_s: Seconds between looks for lost jobs.
        forgotten_s: Seconds after which a job that was sent is sent again, while the queues are empty.
        overdue_s: The same while they are not: a long queue is honest, and is not flooded with repeats.
        reconcile_interval_s: Seconds between comparisons of the index with the catalogue.
        expiry_interval_s: Seconds between looks for documents whose period of retention has ended.
        document_limit_s: Longest time that one document may hold a job; then its lease is not renewed any more.
        job_limit_s: The same for other jobs.
        heartbeat_file: Touched after every round of the relay that went well; for health checks from outside.
    """

    concurrency: int = 2
    lease_s: float = 30.0
    relay_interval_s: float = 0.2
    reaper_interval_s: float = 2.0
    forgotten_s: float = 10.0
    overdue_s: float = 1800.0
    reconcile_interval_s: float = 3600.0
    expiry_interval_s: float = 60.0
    document_limit_s: float = 1500.0
    job_limit_s: float = 6 * 3600.0
    heartbeat_file: Path | None = None
