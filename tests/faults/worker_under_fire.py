"""A worker process to be killed: the true pipeline, tasks, relay and adapters, put together for the fault suite.

    python -m tests.faults.worker_under_fire

Reads orders (JSON, see `Orders`) from its input, forks a worker for each line and prints the worker's pid: what
is imported once need not be imported three hundred times. A worker leads a process group of its own. Embedding
and parsing are replaced by cheap ones, so that work is cut off at every step instead of in the parser most of
the time. Nothing in the desk itself reads these orders.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import signal
import sys
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ingest.document import Block, BlockKind, ChunkDraft, Extraction, Intake, ParsedDocument
from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.folder_blobs import FolderBlobs
from retrieval.adapters.sql import jobs as sql_jobs
from retrieval.adapters.sql.database import Database
from retrieval.indexes import Encoders
from retrieval.settings import load_settings
from retrieval.wiring import Corpus, indexes_of
from tests.fakes.hashing_embedder import HashingEmbedder
from tests.faults import mutants
from workers.queue import make_app, worker_arguments
from workers.relay import Relay
from workers.settings import WorkerSettings
from workers.tasks import register
from workers.wiring import open_toolbox

POINTS = (
    "register",
    "tombstone",
    "sent",
    "marked",
    "fetch",
    "parse",
    "embed",
    "stage",
    "upsert",
    "publish",
    "remove",
    "bury",
)
"""Every point where a worker can be told to end; the stages name them (`ingest.ports.Reach`)."""


@dataclass(frozen=True)
class Orders:
    """What a worker is to do.

    Attributes:
        point: Where it ends itself, empty for nowhere.
        after: How often it passes the point before it does.
        how: `kill` (SIGKILL to its group) or `stop` (SIGSTOP; somebody else wakes it).
        mutant: Name of a seeded defect (`tests.faults.mutants`), empty for none.
        queues: Names of the queues that it takes tasks from, separated by commas; empty for all.
        poison: A document whose name holds this kills the worker that parses it; empty for none.
    """

    catalogue_url: str
    broker_url: str
    index_url: str
    data: str
    lease_s: float
    concurrency: int = 2
    point: str = ""
    after: int = 0
    how: str = "kill"
    mutant: str = ""
    queues: str = ""
    poison: str = ""

    def encode(self) -> str:
        """As the process takes it."""
        return json.dumps(asdict(self))


_LATE_IMPORTS = (
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "kombu.transport.memory",
    "kombu.transport.pyamqp",
    "kombu.transport.redis",
    "psycopg",
    "retrieval.adapters.qdrant_server",
    "sqlalchemy.dialects.postgresql.psycopg",
)


class Fuse:
    """Ends the process at its point."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._left = orders.after
        self._counting = threading.Lock()

    def __call__(self, point: str) -> None:
        """See `ingest.ports.Reach`."""
        if point != self._orders.point:
            return
        with self._counting:
            self._left -= 1
            if self._left != -1:
                return
        print(f"reached {point}", flush=True)
        if self._orders.how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            os.killpg(0, signal.SIGKILL)


class InlineExtractor:
    """Implements `ingest.ports.Extractor` for small plain texts: one chunk per paragraph."""

    def __init__(self, poison: str) -> None:
        self._poison = poison

    def extract(self, path: Path, *, name: str, title: str, intake: Intake | None = None) -> Extraction:
        """See `Extractor.extract`."""
        if self._poison and self._poison in name:
            os.killpg(0, signal.SIGKILL)
        text, start = path.read_text(), 0
        blocks, chunks = [], []
        for position, part in enumerate(text.split("\n\n")):
            end = start + len(part)
            blocks.append(Block(BlockKind.PARAGRAPH, start, end))
            chunks.append(ChunkDraft(position, start, end, part, (), None, "", len(part.split())))
            start = end + 2
        return Extraction(ParsedDocument("text/plain", title, text, tuple(blocks)), tuple(chunks))

    def close(self) -> None:
        """See `Extractor.close`."""


def main() -> None:
    """Fork a worker for each line of input."""
    for name in _LATE_IMPORTS:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave no entry: /proc says who is alive
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(2, 1)
            os.close(0)
            try:
                work(Orders(**json.loads(line)))
            finally:
                sys.stderr.flush()
                os._exit(1)
        print(pid, flush=True)


def work(orders: Orders) -> None:
    """Work as ordered until killed."""
    marked: Any = SimpleNamespace(token_hex=lambda n: f"{os.getpid()}-{secrets.token_hex(8)}")
    vars(sql_jobs)["secrets"] = marked  # a lease says which process holds it, so that the suite can watch it
    fuse = Fuse(orders)
    mutants.apply(orders.mutant, fuse)
    settings = load_settings(
        data=Path(orders.data),
        catalogue_url=orders.catalogue_url,
        broker_url=orders.broker_url,
        index_url=orders.index_url,
        workers=orders.concurrency,
    )
    worker = WorkerSettings(concurrency=orders.concurrency, lease_s=orders.lease_s)
    database = Database(settings.database_url)
    encoders = Encoders(HashingEmbedder(), EdgeBm25())
    corpus = Corpus(
        database,
        FolderBlobs(settings.data / "blobs"),
        encoders.embedder,
        encoders.sparse,
        indexes_of(settings, database, [encoders]),
    )
    with open_toolbox(settings, corpus, worker, fuse) as toolbox:
        toolbox.pipeline._extractor = InlineExtractor(orders.poison)
        app = make_app(orders.broker_url)
        register(app, replace(toolbox))
        Relay(app, toolbox.jobs, worker, toolbox.schedule, toolbox.expiry, fuse).start()
        (settings.data / f"ready-{os.getpid()}").touch()
        queues = [f"refdesk.{name}" for name in (orders.queues or settings.queues).split(",")]
        app.worker_main([*worker_arguments(queues, worker.concurrency), "--loglevel=WARNING"])


if __name__ == "__main__":
    main()
