"""Values that the workers run by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How jobs are run.

    Attributes:
        concurrency: Jobs at a time in one worker process.
        lease_s: Seconds after which a silent worker's job is given to another one.
        relay_interval_s: Seconds between looks at the outbox.
        reaper_interval_s: Seconds between looks for lost jobs.
    """

    concurrency: int = 2
    lease_s: float = 30.0
    relay_interval_s: float = 0.2
    reaper_interval_s: float = 2.0
