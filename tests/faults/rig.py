"""A split desk of real servers and killable workers, over a folder of generated documents that keep changing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from retrieval.access import UserId
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.jobs import JobRequest, SqlJobs
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import SourceId
from retrieval.errors import CatalogueUnavailableError
from retrieval.jobs import Job, JobKind
from retrieval.wiring import utc_now
from tests.faults.worker_under_fire import Orders
from tests.services import servers
from workers.relay import RECONCILE_REQUEST

ROOT = Path(__file__).parents[2]
SOURCE = SourceId("docs")


class Documents:
    """Small files that are written, changed and deleted as a seed says. Each change is whole or not there."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._random = random.Random(seed)
        self._n_written = 0
        folder.mkdir(parents=True)

    def write(self, count: int) -> None:
        """Add `count` new ones."""
        for _ in range(count):
            self._put(f"{self._n_written:05}.md")
            self._n_written += 1

    def change(self, *, updates: int, deletions: int, returns: int) -> None:
        """Give some new text, delete some, and bring some of the deleted ones back."""
        names = sorted(path.name for path in self.folder.glob("*.md"))
        gone = sorted({f"{number:05}.md" for number in range(self._n_written)} - set(names))
        chosen = self._random.sample(names, min(updates + deletions, len(names)))
        for name in chosen[:updates]:
            self._put(name)
        for name in chosen[updates:]:
            (self.folder / name).unlink()
        for name in self._random.sample(gone, min(returns, len(gone))):
            self._put(name)

    def _put(self, name: str) -> None:
        words = [f"word{self._random.randrange(500)}" for _ in range(30)]
        paragraphs = [
            " ".join(words[start : start + 10]) for start in range(0, self._random.randint(1, 3) * 10, 10)
        ]
        draft = self.folder / f".{name}"
        draft.write_text("\n\n".join(paragraphs))
        draft.replace(self.folder / name)


@dataclass(frozen=True)
class Worker:
    """A worker process; no child of this one."""

    orders: Orders
    pid: int

    @property
    def has_ended(self) -> bool:
        """Whether it is dead."""
        return not Path(f"/proc/{self.pid}").exists()

    @property
    def is_ready(self) -> bool:
        """Whether it has opened everything."""
        return (Path(self.orders.data) / f"ready-{self.pid}").exists()

    def kill(self) -> None:
        """SIGKILL it and everything it started."""
        servers.kill_tree(self.pid)
        ends_at = time.monotonic() + 30
        while not self.has_ended:
            assert time.monotonic() < ends_at, "the worker does not die"
            time.sleep(0.01)

    def wait_until_stopped(self, timeout_s: float = 60) -> None:
        """Return once it has stopped itself at its point."""
        ends_at = time.monotonic() + timeout_s
        while "T (stopped)" not in Path(f"/proc/{self.pid}/status").read_text():
            assert time.monotonic() < ends_at, "the worker did not reach its point"
            time.sleep(0.02)

    def resume(self) -> None:
        """Let a stopped one go on."""
        os.kill(self.pid, signal.SIGCONT)


@dataclass
class Resumption:
    """Work that a killed worker held: how long until somebody else had it."""

    token: str
    job_id: str
    died_at: float


@dataclass
class Rig:
    """The servers, the catalogue as the suite sees it, and what it has measured."""

    folder: Path
    docs: Documents
    database: Database
    jobs: SqlJobs
    postgres: servers.Server
    broker: servers.Server
    index: servers.Server
    orders: Orders
    forker: subprocess.Popen[str]
    resumed_s: list[float] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    _open: list[Resumption] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start_worker(self, **changes: Any) -> Worker:
        """Start a worker; it is not waited for."""
        orders = replace(self.orders, **changes)
        assert self.forker.stdin is not None
        assert self.forker.stdout is not None
        print(orders.encode(), file=self.forker.stdin, flush=True)
        worker = Worker(orders, int(self.forker.stdout.readline()))
        self.workers.append(worker)
        return worker

    def kill_workers(self) -> None:
        """SIGKILL all that are alive."""
        for worker in self.workers:
            worker.kill()

    def died(self, worker: Worker) -> None:
        """Note what a dead worker held, to see when it goes on."""
        held = self.rows(
            "select id, lease_token from jobs where state = 'running' and lease_token like :mine",
            mine=f"{worker.pid}-%",
        )
        now = time.monotonic()
        self._open += [Resumption(token, job_id, now) for job_id, token in held]

    def watch(self) -> None:
        """Look every quarter of a second at which work goes on; runs until `_stopped` is set."""
        while not self._stopped.wait(0.25):
            for lost in list(self._open):
                rows = self.rows("select state, lease_token from jobs where id = :id", id=lost.job_id)
                (state, token) = rows[0]
                if state not in {"queued", "running"} or (state == "running" and token != lost.token):
                    self.resumed_s.append(time.monotonic() - lost.died_at)
                    self._open.remove(lost)

    def sync(self) -> Job:
        """Ask for a sync of the folder."""
        return self.jobs.accept(JobRequest(JobKind.SYNC, "suite", "test", source_id=SOURCE))

    def reconcile(self) -> Job:
        """Ask for a comparison of index and catalogue."""
        return self.jobs.accept(RECONCILE_REQUEST)

    def wait_until_idle(self, timeout_s: float) -> float:
        """Return once no job is unfinished; gives the seconds it took."""
        began = time.monotonic()
        while unfinished := self.jobs.unfinished():
            waited = time.monotonic() - began
            assert waited < timeout_s, f"{unfinished} jobs are unfinished after {waited:.0f} s"
            time.sleep(0.2)
        return time.monotonic() - began

    def faults(self) -> dict[str, list[str]]:
        """What the checker, a process of its own, finds wrong: kinds that are empty are left out."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.faults.checker",
                self.postgres.url,
                self.index.url,
                str(self.docs.folder),
            ],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        return {kind: found for kind, found in json.loads(done.stdout).items() if found}

    def rows(self, sql: str, **values: str) -> list[Any]:
        """Rows of a query on the catalogue; waits while it is down."""
        while True:
            try:
                with self.database.read() as session:
                    return [tuple(row) for row in session.execute(text(sql), values)]
            except CatalogueUnavailableError:
                time.sleep(0.2)


@contextmanager
def _forker(log: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that workers are forked from; what they say goes to `log`."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.worker_under_fire"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            cwd=ROOT,
            env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def open_rig(folder: Path, broker: str, *, seed: int, lease_s: float) -> Iterator[Rig]:
    """Servers started, catalogue migrated, an empty folder as its one source. No worker yet."""
    with ExitStack() as stack:
        started = {"redis": servers.redis, "rabbitmq": servers.rabbitmq}[broker]
        postgres = stack.enter_context(servers.postgres(folder / "postgres"))
        queue = stack.enter_context(started(folder / broker))
        index = stack.enter_context(servers.qdrant(folder / "qdrant"))
        database = Database(postgres.url)
        stack.callback(database.close)
        database.migrate()
        docs = Documents(folder / "docs", seed)
        SqlSources(database, utc_now).create(
            SOURCE, name="docs", kind="folder", location=str(docs.folder), owner=UserId("olga")
        )
        (folder / "state").mkdir()
        orders = Orders(postgres.url, queue.url, index.url, str(folder / "state"), lease_s)
        forker = stack.enter_context(_forker(folder / "workers.log"))
        jobs = SqlJobs(database, database.clock())
        rig = Rig(folder, docs, database, jobs, postgres, queue, index, orders, forker)
        stack.callback(rig.kill_workers)
        watcher = threading.Thread(target=rig.watch, daemon=True)
        watcher.start()
        stack.callback(watcher.join)
        stack.callback(rig._stopped.set)
        yield rig
