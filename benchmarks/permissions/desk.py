"""A real desk in one process, whose jobs are worked off when the caller says so.

Catalogue, index, pipeline, search, answers and HTTP are the real ones. Vectors come from hashes of words, since
what they say does not matter here, and texts are cut at blank lines in this process: nothing in them is hostile.
Between a change and `Bench.work` the index lags behind the catalogue, as it does in life.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fastapi import FastAPI

from ingest.document import Block, BlockKind, ChunkDraft, Extraction, Intake, ParsedDocument
from ingest.errors import CorruptError
from ingest.pipeline import Pipeline, PipelineSettings
from retrieval.access import Acl, Principal, PrincipalId, UserId
from retrieval.adapters.sql.models import MembershipRow, UserRow
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import JobId, SourceId
from retrieval.errors import RefdeskError
from retrieval.indexes import Encoders
from retrieval.jobs import Job, JobKind
from retrieval.settings import load_settings
from retrieval.wiring import indexes_of, open_corpus, utc_now
from serving.desk import Desk
from serving.documents import Documents, Push
from serving.http.app import create_app
from serving.http.limits import RequestBudget
from serving.scopes import ALL_SCOPES
from serving.wiring import open_desk
from tests.fakes.hashing_embedder import HashingEmbedder
from workers.settings import WorkerSettings
from workers.tasks import Toolbox
from workers.wiring import open_toolbox

UNREADABLE = "%corrupt%"
"""A text that begins like this cannot be parsed."""

_NO_BUDGET = RequestBudget(burst=1e9, per_second=1e9)


class ParagraphExtractor:
    """Implements `ingest.ports.Extractor` in this process: each paragraph is a chunk."""

    def extract(self, path: Path, *, name: str, title: str, intake: Intake | None = None) -> Extraction:
        """See `Extractor.extract`."""
        text = path.read_text(encoding="utf-8")
        if text.startswith(UNREADABLE):
            raise CorruptError("the file is damaged")
        blocks, chunks, start = [], [], 0
        for position, paragraph in enumerate(text.split("\n\n")):
            end = start + len(paragraph)
            blocks.append(Block(BlockKind.PARAGRAPH, start, end))
            chunks.append(ChunkDraft(position, start, end, paragraph, (), None, "", len(paragraph.split())))
            start = end + 2
        return Extraction(ParsedDocument("text/plain", title, text, tuple(blocks), "en"), tuple(chunks))

    def close(self) -> None:
        """See `Extractor.close`."""


@dataclass(frozen=True)
class Bench:
    """A desk and its application, which asks for API keys; nothing works on its jobs but `work`."""

    desk: Desk
    app: FastAPI
    toolbox: Toolbox
    pipeline: Pipeline

    def source(self, source_id: str, owner: str) -> SourceId:
        """A new source that takes pushed documents."""
        created = SqlSources(self.desk.database, utc_now).create(
            SourceId(source_id), name=f"Source {source_id}", kind="push", location="", owner=UserId(owner)
        )
        return created.id

    def push(self, source_id: SourceId, external_id: str, text: str, acl: Acl, *, title: str = "") -> Job:
        """Push a document as the source's owner would; `work` brings it in."""
        owner = self.desk.corpus.source(source_id).default_acl.owner
        push = Push(source_id, external_id, text.encode(), title=title, acl=acl)
        pusher = Principal(owner, scopes=ALL_SCOPES)
        return Documents(self.desk).push(pusher, push, request_id="bench")[1]

    def user(self, user_id: str, *groups: str, disabled_at: datetime | None = None) -> None:
        """Put a user with exactly these groups into the directory."""
        self.desk.directory.put_user(
            UserId(user_id), name="", groups=[PrincipalId(f"group:{name}") for name in groups]
        )
        with self.desk.database.write() as session:
            session.get_one(UserRow, user_id).disabled_at = disabled_at

    def nest(self, inner: str, outer: str) -> None:
        """Make a group a member of another one."""
        with self.desk.database.write() as session:
            session.add(MembershipRow(group_id=f"group:{outer}", member_id=f"group:{inner}"))

    def key(self, user_id: str, scopes: frozenset[str]) -> str:
        """A new API key, as its holder shows it."""
        _, secret = self.desk.directory.create_key(UserId(user_id), name="", scopes=scopes, expires_at=None)
        return secret

    def work(self) -> int:
        """Do every index job that waits, in order; how many there were. The index is up to date then."""
        waiting = sorted(self.toolbox.jobs.unfinished_of(JobKind.INDEX), key=lambda job: job.created_at)
        for job in waiting:
            self.work_on(job.id)
        return len(waiting)

    def work_on(self, job_id: JobId) -> None:
        """Do one index job; a document that cannot be parsed fails as it would on a worker."""
        lease = self.toolbox.jobs.claim(job_id, lease_s=600)
        assert lease is not None
        try:
            self.pipeline.index_document(lease, heartbeat=lambda *_: True)
        except RefdeskError as error:
            self.toolbox.store.fail(lease, error, final=True)
            self.toolbox.jobs.fail(lease, code=error.code, message=error.message, retry_in_s=None)
        else:
            self.toolbox.jobs.finish(lease)


@contextmanager
def open_bench(folder: Path, *, index_url: str = "") -> Iterator[Bench]:
    """An empty desk in a folder, its index there or on the Qdrant server at a URL."""
    settings = load_settings(data=folder, identity="keys", index_url=index_url)
    with ExitStack() as stack:
        opened = stack.enter_context(open_corpus(settings))
        embedder = HashingEmbedder()
        indexes = indexes_of(settings, opened.database, [Encoders(embedder, opened.sparse)])
        stack.callback(indexes.close)
        corpus = replace(opened, embedder=embedder, indexes=indexes)
        toolbox = stack.enter_context(open_toolbox(settings, corpus, WorkerSettings()))
        pipeline = Pipeline(
            store=toolbox.store,
            blobs=corpus.blobs,
            extractor=ParagraphExtractor(),
            sparse=corpus.sparse,
            indexer=toolbox.indexer,
            connector_for=toolbox.connector_for,
            settings=PipelineSettings(folder / "scratch", "paragraphs"),
        )
        desk = stack.enter_context(open_desk(settings, corpus))
        yield Bench(desk, create_app(desk, budget=_NO_BUDGET), toolbox, pipeline)
