"""Jobs are accepted once, claimed by one, fenced, retried, and never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ingest.errors import FetchFailedError
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import JobRequest, OutboxMessage, SqlJobs
from retrieval.adapters.sql.models import DocumentRow, SourceRow
from retrieval.adapters.sql.sources import SourceChange, SqlSources
from retrieval.corpus import DocumentId, SourceId
from retrieval.errors import IndexUnavailableError, RefdeskError
from retrieval.jobs import (
    ACCESS_ONLY,
    MAX_ATTEMPTS,
    MAX_DEATHS,
    TASK_NAMES,
    JobKind,
    JobState,
    Lease,
    RunDocuments,
)
from tests.make import NOON
from workers.pressure import Pressure
from workers.queue import make_app
from workers.retries import judge
from workers.running import JobRunner
from workers.settings import WorkerSettings
from workers.tasks import register

REQUEST = JobRequest(JobKind.SYNC, "ada", "test", source_id=SourceId("s"))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """Noon, until it is moved."""
    return Clock()


@pytest.fixture
def jobs(catalogue_url: str, clock: Clock) -> Iterator[SqlJobs]:
    """An empty job board with one source."""
    database = Database(catalogue_url)
    database.migrate()
    with database.write() as session:
        session.add(
            SourceRow(
                id="s", name="s", kind="folder", location="", owner="o", allow=[], deny=[], created_at=NOON
            )
        )
    yield SqlJobs(database, clock)
    database.close()


def _claimed(jobs: SqlJobs) -> Lease:
    lease = jobs.claim(jobs.accept(REQUEST).id, lease_s=10)
    assert lease is not None
    return lease


def test_asking_again_gives_the_same_job(jobs: SqlJobs) -> None:
    """A repeated click is one job and one message."""
    assert jobs.accept(REQUEST).id == jobs.accept(REQUEST).id
    assert len(jobs.unsent(limit=10)) == 1


def test_asking_while_it_runs_runs_it_again(jobs: SqlJobs) -> None:
    """What changed during a run is not missed."""
    lease = _claimed(jobs)
    jobs.accept(REQUEST)
    jobs.finish(lease)
    assert jobs.job(lease.job.id).state is JobState.QUEUED
    second = jobs.claim(lease.job.id, lease_s=10)
    assert second is not None
    jobs.finish(second)
    assert jobs.job(lease.job.id).state is JobState.DONE


def test_one_worker_claims(jobs: SqlJobs) -> None:
    """A job that is taken cannot be taken."""
    lease = _claimed(jobs)
    assert jobs.claim(lease.job.id, lease_s=10) is None


def test_lost_lease_comes_back_and_fences_the_late_worker(jobs: SqlJobs, clock: Clock) -> None:
    """After a silent worker's lease ran out another one takes over; the late one changes nothing."""
    late = _claimed(jobs)
    jobs.mark_sent([message.id for message in jobs.unsent(limit=10)])
    clock.advance(11)
    assert jobs.requeue_lost() == 1
    assert len(jobs.unsent(limit=10)) == 1
    new = jobs.claim(late.job.id, lease_s=10)
    assert new is not None
    assert not jobs.renew(late, lease_s=10)
    jobs.finish(late)
    assert jobs.job(late.job.id).state is JobState.RUNNING
    jobs.finish(new)
    assert jobs.job(late.job.id).state is JobState.DONE


def test_renewed_lease_is_not_taken(jobs: SqlJobs, clock: Clock) -> None:
    """A worker that reports in time keeps its job."""
    lease = _claimed(jobs)
    clock.advance(9)
    assert jobs.renew(lease, lease_s=10, done=1, total=2)
    clock.advance(9)
    assert jobs.requeue_lost() == 0
    assert (jobs.job(lease.job.id).done, jobs.job(lease.job.id).total) == (1, 2)


def test_restarted_desk_takes_everything_back(jobs: SqlJobs) -> None:
    """When no worker can be alive, running and queued jobs are woken at once."""
    _claimed(jobs)
    assert jobs.requeue_lost(everything=True) == 1
    assert len(jobs.unsent(limit=10)) == 1


def test_failed_job_waits_before_it_is_tried_again(jobs: SqlJobs, clock: Clock) -> None:
    """A retry is not claimed before its time, and is woken by the reaper when it is due."""
    lease = _claimed(jobs)
    jobs.fail(lease, code="index_unavailable", message="", retry_in_s=5)
    assert jobs.claim(lease.job.id, lease_s=10) is None
    clock.advance(6)
    assert jobs.requeue_lost() == 1
    assert jobs.claim(lease.job.id, lease_s=10) is not None


def test_cancelled_job_does_not_finish(jobs: SqlJobs) -> None:
    """A cancelled job stays cancelled, and the same thing can be asked for anew."""
    lease = _claimed(jobs)
    jobs.cancel(lease.job.id)
    jobs.finish(lease)
    assert jobs.job(lease.job.id).state is JobState.CANCELLED
    assert jobs.accept(REQUEST).id != lease.job.id


def test_merged_job_never_does_less(jobs: SqlJobs) -> None:
    """Asking for everything while only the access list was asked for gives everything."""
    small = JobRequest(JobKind.SYNC, "ada", "acl", source_id=SourceId("s"), parameters={ACCESS_ONLY: True})
    jobs.accept(small)
    assert not jobs.accept(REQUEST).parameters.get(ACCESS_ONLY)


def test_parts_of_a_source_add_up_and_the_whole_covers_them(jobs: SqlJobs) -> None:
    """Paths asked for together are one job; asked for everything, it is everything; a dry run becomes real."""

    def asked(**parameters: object) -> dict[str, object]:
        request = JobRequest(JobKind.SYNC, "ada", "x", source_id=SourceId("s"), parameters=parameters)
        return dict(jobs.accept(request).parameters)

    assert asked(paths=["b"]) == {"paths": ["b"]}
    assert asked(paths=["a", "b"]) == {"paths": ["a", "b"]}
    assert "paths" not in asked(dry_run=True)
    assert "paths" not in asked(paths=["c"])
    assert asked()["dry_run"] is False


def test_jobs_of_a_paused_source_wait(jobs: SqlJobs, clock: Clock) -> None:
    """They are neither claimed nor counted, and are woken when the source goes on."""
    sources = SqlSources(jobs._database, clock)
    job = jobs.accept(REQUEST)
    sources.change(SourceId("s"), SourceChange(paused=True))
    assert jobs.claim(job.id, lease_s=10) is None
    assert jobs.unfinished() == 0
    jobs.mark_sent([message.id for message in jobs.unsent(limit=10)])
    sources.change(SourceId("s"), SourceChange(paused=False))
    assert [message.job_id for message in jobs.unsent(limit=10)] == [job.id]
    assert jobs.claim(job.id, lease_s=10) is not None


def test_a_run_counts_what_became_of_its_documents(jobs: SqlJobs) -> None:
    """Each document that it queued is live, failed, cancelled or unfinished."""
    run = jobs.accept(REQUEST)
    with jobs._database.write() as session:
        session.add_all(_document(f"d{number}") for number in range(4))
    for number in range(4):
        request = JobRequest(
            JobKind.INDEX, "ada", "added", document_id=DocumentId(f"d{number}"), run_id=run.id
        )
        job = jobs.accept(request)
        if number == 3:
            jobs.cancel(job.id)
        lease = jobs.claim(job.id, lease_s=10) if number < 2 else None
        if lease is not None and number == 0:
            jobs.finish(lease)
        elif lease is not None:
            jobs.fail(lease, code="corrupt", message="", retry_in_s=None)
    assert jobs.documents_of_runs([run.id]) == {
        run.id: RunDocuments(live=1, failed=1, cancelled=1, unfinished=1)
    }


def _document(name: str) -> DocumentRow:
    return DocumentRow(
        id=name, source_id="s", external_id=name, title=name, source_title="", url="", tags=[], owner="o",
        state="queued", warnings=[], fingerprint="", modified_at=NOON, created_at=NOON, updated_at=NOON,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "attempt", "final"),
    [
        (FetchFailedError("x"), 1, False),
        (FetchFailedError("x"), MAX_ATTEMPTS, True),
        (IndexUnavailableError("x"), MAX_ATTEMPTS, False),
        (RefdeskError("x"), 1, True),
    ],
)
def test_verdicts(error: RefdeskError, attempt: int, final: bool) -> None:
    """Passing failures are tried again, three times at most; others are final."""
    assert judge(error, attempt).is_final is final


def test_unexpected_failure_is_an_attempt(jobs: SqlJobs, caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a task is logged once, and the job is tried again later."""
    verdicts = []

    def explode(*_: object) -> dict[str, object]:
        raise ZeroDivisionError

    job = jobs.accept(REQUEST)
    JobRunner(jobs, WorkerSettings(lease_s=10)).run(
        job.id, explode, lambda lease, error, verdict: verdicts.append(verdict)
    )
    assert jobs.job(job.id).state is JobState.QUEUED
    assert jobs.job(job.id).error_code == "internal_error"
    assert not verdicts[0].is_final
    assert sum("unexpectedly" in record.message for record in caplog.records) == 1


def test_task_names_agree() -> None:
    """Every kind of job has a registered Celery task of the name that the outbox sends."""
    app = make_app("memory://")
    register(app, toolbox=None)  # type: ignore[arg-type]  # registering calls nothing
    assert set(TASK_NAMES.values()) <= set(app.tasks)


def _sent(jobs: SqlJobs) -> list[OutboxMessage]:
    with jobs.outgoing(limit=10) as messages:
        return messages


def test_forgotten_job_is_woken_once(jobs: SqlJobs, clock: Clock) -> None:
    """A job that was sent and never taken is sent again after a while; one that waits to be sent is not."""
    jobs.accept(REQUEST)
    clock.advance(60)
    assert jobs.wake_forgotten(silent_s=10) == 0
    assert len(_sent(jobs)) == 1
    clock.advance(5)
    assert jobs.wake_forgotten(silent_s=10) == 0
    clock.advance(6)
    assert jobs.wake_forgotten(silent_s=10) == 1
    assert jobs.wake_forgotten(silent_s=10) == 0
    assert len(_sent(jobs)) == 1


def test_messages_stay_when_sending_fails(jobs: SqlJobs) -> None:
    """What the broker did not take is in the outbox still."""
    jobs.accept(REQUEST)
    with pytest.raises(ConnectionError), jobs.outgoing(limit=10):
        raise ConnectionError
    assert len(_sent(jobs)) == 1


def test_cut_off_job_is_urgent(jobs: SqlJobs, clock: Clock) -> None:
    """Work that was begun once passes by the queue; new work of a schedule does not."""
    job = jobs.accept(REQUEST)
    assert [message.is_urgent for message in _sent(jobs)] == [False]
    assert jobs.claim(job.id, lease_s=10) is not None
    clock.advance(11)
    jobs.requeue_lost()
    assert [message.is_urgent for message in _sent(jobs)] == [True]


def test_dead_worker_is_no_attempt(jobs: SqlJobs, clock: Clock) -> None:
    """However often workers die outside the reading of a document, the job starts over at its first attempt."""
    job = jobs.accept(REQUEST)
    for _ in range(MAX_DEATHS + 2):
        lease = jobs.claim(job.id, lease_s=10)
        assert lease is not None
        assert lease.job.attempt == 1
        clock.advance(11)
        jobs.requeue_lost()
    assert jobs.job(job.id).state is JobState.QUEUED


def test_part_that_is_down_uses_up_no_attempt(jobs: SqlJobs, clock: Clock) -> None:
    """An index that does not answer for a day costs a document nothing."""
    job = jobs.accept(REQUEST)

    def fail(*_: object) -> dict[str, object]:
        raise IndexUnavailableError("silent")

    for _ in range(MAX_ATTEMPTS + 2):
        JobRunner(jobs, WorkerSettings(lease_s=10)).run(job.id, fail, lambda *_: None)
        clock.advance(60)
        assert jobs.requeue_lost() == 1
    assert jobs.job(job.id).attempt == 0


def test_only_one_of_many_accepts(jobs: SqlJobs) -> None:
    """Asked for by eight at once, it is one job."""
    with ThreadPoolExecutor(8) as threads:
        ids = {job.id for job in threads.map(lambda _: jobs.accept(REQUEST), range(8))}
    assert len(ids) == 1
    assert len(jobs.unsent(limit=10)) == 1


def test_only_one_of_many_claims(jobs: SqlJobs) -> None:
    """Eight workers with the same message: one has the lease."""
    job = jobs.accept(REQUEST)
    with ThreadPoolExecutor(8) as threads:
        leases = list(threads.map(lambda _: jobs.claim(job.id, lease_s=10), range(8)))
    assert sum(lease is not None for lease in leases) == 1


def test_full_disk_makes_jobs_wait_with_the_reason(jobs: SqlJobs, tmp_path: Path) -> None:
    """While there is no room the job is not taken and says why; with room it is done."""
    job = jobs.accept(REQUEST)
    room = [Pressure(tmp_path, min_free_bytes=2**62, probe=lambda: None)]
    runner = JobRunner(jobs, WorkerSettings(lease_s=10), room[0])
    thread = threading.Thread(target=runner.run, args=(job.id, lambda *_: {}, lambda *_: None))
    thread.start()
    while jobs.job(job.id).error_code != "storage_full":
        time.sleep(0.01)
    assert jobs.job(job.id).state is JobState.QUEUED
    room[0]._min_free_bytes = 0
    thread.join(timeout=10)
    assert jobs.job(job.id).state is JobState.DONE
    assert jobs.job(job.id).error_code == ""
