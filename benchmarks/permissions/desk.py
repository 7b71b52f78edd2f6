"""A real desk in one process, whose jobs are worked off when the caller says so.

Catalogue, index, pipeline, search, answers and HTTP are the real ones. Vectors come from hashes of words, since
what they say does not matter here, and texts are cut at blank lines in this process: nothing in them is hostile.
Between a change and `Bench.work` the index lags behind the catalogue, as it does in life.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from fastapi import FastAPI

from ingest.document import Block, BlockKind, ChunkDraft, Extraction, FoundFile, Intake, ParsedDocument
from ingest.errors import CorruptError, SourceUnavailableError
from ingest.pipeline import Pipeline, PipelineSettings
from ingest.ports import Known, ListedDocument
from retrieval.access import Acl, Principal, PrincipalId, UserId
from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.folder_blobs import FolderBlobs
from retrieval.adapters.sql import permission_age
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.groups import INCOMPLETE_GRACE, GroupChange, SqlGroups
from retrieval.adapters.sql.models import SourceRow, UserRow
from retrieval.adapters.sql.sources import SqlSources
from retrieval.adapters.sql.token_use import SqlTokenUse
from retrieval.corpus import DocumentState, JobId, SourceId
from retrieval.errors import RefdeskError
from retrieval.indexes import Encoders
from retrieval.jobs import Job, JobKind
from retrieval.sections import MAX_SHOWN_HEADINGS, SectionRule
from retrieval.settings import load_settings
from retrieval.wiring import Corpus, indexes_of, utc_now
from serving.answer import GenerationRequest, GeneratorInfo
from serving.answering import Answering, AnsweringSettings
from serving.budget import Spending, TokenBudget
from serving.desk import Desk
from serving.documents import Documents, Push
from serving.extractive import ExtractiveGenerator
from serving.http.app import create_app
from serving.limits import UNLIMITED
from serving.scopes import ALL_SCOPES
from serving.wiring import open_desk
from tests.fakes.hashing_embedder import HashingEmbedder
from workers.settings import WorkerSettings
from workers.tasks import Toolbox
from workers.wiring import open_toolbox

UNREADABLE = "%unreadable%"
"""A text that begins like this cannot be parsed."""

INSIDE = "\n%inside%\n"
"""What follows is a file found inside: its name in the first line, its text below."""


class _Unwatched:
    """A `Heartbeat` of work that nobody else could take over."""

    def __call__(self, done: int, total: int) -> bool:
        return True

    def reached(self, state: DocumentState) -> None:
        pass


class ParagraphExtractor:
    """Implements `ingest.ports.Extractor` in this process: each paragraph is a chunk.

    A first line "# outer / inner" is the headings above it.
    """

    def extract(self, path: Path, *, name: str, title: str, intake: Intake | None = None) -> Extraction:
        """See `Extractor.extract`."""
        text, _, inside = path.read_text(encoding="utf-8").partition(INSIDE)
        if text.startswith(UNREADABLE):
            raise CorruptError("the file is damaged")
        found: tuple[FoundFile, ...] = ()
        if inside and intake is not None:
            inner, _, content = inside.partition("\n")
            kept = intake.folder / "member-0"
            kept.write_text(content, encoding="utf-8")
            found = (FoundFile(inner, kept.stat().st_size, path=kept),)
        blocks, chunks, start = [], [], 0
        for position, paragraph in enumerate(text.split("\n\n")):
            end, words = start + len(paragraph), paragraph
            above: tuple[str, ...] = ()
            if paragraph.startswith("# "):
                headings, _, words = paragraph.partition("\n")
                above = tuple(headings.removeprefix("# ").split(" / "))
                blocks.append(Block(BlockKind.HEADING, start, start + len(headings), 1))
            begin = end - len(words)
            blocks.append(Block(BlockKind.PARAGRAPH, begin, end))
            chunks.append(_chunk(position, begin, words, above))
            start = end + 2
        document = ParsedDocument("text/plain", title, text, tuple(blocks), "en")
        return Extraction(document, tuple(chunks), found)

    def close(self) -> None:
        """See `Extractor.close`."""


def _chunk(position: int, start: int, text: str, path: tuple[str, ...]) -> ChunkDraft:
    return ChunkDraft(
        position=position,
        start=start,
        end=start + len(text),
        text=text,
        heading_path=path[-MAX_SHOWN_HEADINGS:],
        page=None,
        context="",
        n_tokens=len(text.split()),
        section_paths=(path,) if len(path) >= MAX_SHOWN_HEADINGS else (),
    )


class Restating:
    """Implements `ingest.ports.Connector`: lists what the catalogue knows, with the lists that it knows."""

    def __init__(self, known: Iterable[Known], *, breaks_off: bool) -> None:
        """List these documents; when it `breaks_off`, the first one and then no more."""
        self._known = [each for each in known if not each.is_deleted]
        self._breaks_off = breaks_off

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`."""
        for each in self._known[: 1 if self._breaks_off else None]:
            yield ListedDocument(
                each.external_id, each.fingerprint, each.title, each.url, utc_now(), 0, each.acl
            )
        if self._breaks_off:
            raise SourceUnavailableError("the source fell silent")

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`: a refresh fetches nothing."""
        raise AssertionError(f"{external_id} is fetched")


class PromptKeeper:
    """Implements `serving.ports.Generator`: quotes its first source, and keeps what it was given."""

    info = GeneratorInfo("keeper", "1", "vllm")

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.requests: list[GenerationRequest] = []

    def generate(self, request: GenerationRequest) -> Iterator[str]:
        """See `Generator.generate`."""
        self.requests.append(request)
        source = request.context.sources[0]
        yield f"{source.hit.passage.text.partition('. ')[0].rstrip('.')} [{source.marker}]."

    def probe(self, *, timeout_s: float) -> None:
        """See `Generator.probe`."""


@dataclass(frozen=True)
class Bench:
    """A desk and its application, which asks for API keys; nothing works on its jobs but `work`.

    Attributes:
        model: Answers that are not asked for as extracts come from it.
    """

    desk: Desk
    model: PromptKeeper
    app: FastAPI
    toolbox: Toolbox
    pipeline: Pipeline

    def source(self, source_id: str, owner: str) -> SourceId:
        """A new source that takes pushed documents."""
        created = SqlSources(self.desk.database, utc_now).create(
            SourceId(source_id), name=f"Source {source_id}", kind="push", location="", owner=UserId(owner)
        )
        return created.id

    def push(
        self,
        source_id: SourceId,
        external_id: str,
        text: str,
        acl: Acl | None,
        *,
        title: str = "",
        sections: tuple[SectionRule, ...] | None = None,
    ) -> Job:
        """Push a document as the source's owner would; `work` brings it in."""
        owner = self.desk.corpus.source(source_id).default_acl.owner
        push = Push(source_id, external_id, text.encode(), title=title, acl=acl, sections=sections)
        pusher = Principal(owner, scopes=ALL_SCOPES)
        return Documents(self.desk).push(pusher, push, request_id="bench")[1]

    def let_permissions_age(self, source_id: SourceId) -> None:
        """Let it be two hours ago that a source's permission data were confirmed, and an hour be allowed."""
        with self.desk.database.write() as session:
            row = session.get_one(SourceRow, source_id)
            row.acl_max_age_s, row.acl_confirmed_at = 3600, utc_now() - timedelta(hours=2)
            permission_age.settle(row)

    def refresh_permissions(self, source_id: SourceId, *, breaks_off: bool) -> None:
        """Refresh a source's permission data from a listing that is what the catalogue knows, or breaks off."""
        listing = Restating(self.toolbox.store.known(source_id).values(), breaks_off=breaks_off)
        try:
            self.toolbox.syncer.refresh(
                self.desk.corpus.source(source_id), listing, progress=lambda _done, _total: None
            )
        except SourceUnavailableError:
            if not breaks_off:
                raise

    def user(self, user_id: str, *groups: str, disabled_at: datetime | None = None) -> None:
        """Put a user with exactly these groups into the directory."""
        self.desk.directory.put_user(
            UserId(user_id), name="", groups=[PrincipalId(f"group:{name}") for name in groups]
        )
        with self.desk.database.write() as session:
            session.get_one(UserRow, user_id).disabled_at = disabled_at

    def nest(self, inner: str, outer: str) -> None:
        """Make a group a member of another one. Raises `GroupsTooDeepError`."""
        self.in_group(f"group:{inner}", outer)

    def in_group(self, member: str, group: str, *, is_in: bool = True) -> None:
        """Put a member, with its prefix, into a group, or take it out. Raises `GroupsTooDeepError`."""
        id_, members = PrincipalId(f"group:{group}"), frozenset({PrincipalId(member)})
        groups = SqlGroups(self.desk.database, utc_now)
        if groups.unknown([id_]):
            groups.create(id_, GroupChange())
        groups.change(id_, GroupChange(add=members) if is_in else GroupChange(remove=members))

    def doubt(self, group: str, *, is_in_doubt: bool) -> None:
        """Let the source of a group fail to list its members since long ago, or list them all again."""
        long_ago = SqlGroups(self.desk.database, lambda: utc_now() - 2 * INCOMPLETE_GRACE)
        long_ago.change(PrincipalId(f"group:{group}"), GroupChange(is_complete=not is_in_doubt))

    def key(self, user_id: str, scopes: frozenset[str]) -> str:
        """A new API key, as its holder shows it."""
        _, secret = self.desk.directory.create_key(UserId(user_id), name="", scopes=scopes, expires_at=None)
        return secret

    def work(self) -> int:
        """Do every index job, those that come of others too; how many. The index is up to date then."""
        n_done = 0
        while waiting := self.waiting():
            for job in waiting:
                self.work_on(job.id)
            n_done += len(waiting)
        return n_done

    def waiting(self) -> list[Job]:
        """Index jobs that wait, oldest first."""
        return sorted(self.toolbox.jobs.unfinished_of(JobKind.INDEX), key=lambda job: job.created_at)

    def work_on(self, job_id: JobId) -> None:
        """Do one index job; a document that cannot be parsed fails as it would on a worker."""
        lease = self.toolbox.jobs.claim(job_id, lease_s=600)
        if lease is None:  # cancelled by the job before
            return
        try:
            self.pipeline.index_document(lease, heartbeat=_Unwatched())
        except RefdeskError as error:
            self.toolbox.store.fail(lease, error, final=True)
            self.toolbox.jobs.fail(lease, code=error.code, message=error.message, retry_in_s=None)
        else:
            self.toolbox.jobs.finish(lease)


@contextmanager
def open_bench(folder: Path, *, index_url: str = "") -> Iterator[Bench]:
    """An empty desk in a folder, its index there or on the Qdrant server at a URL."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = load_settings(
        data=folder, identity="keys", index_url=index_url, retention="short=30d,long=3650d"
    )
    with ExitStack() as stack:
        database = Database(settings.database_url)
        stack.callback(database.close)
        database.migrate()
        embedder, sparse = HashingEmbedder(), EdgeBm25()
        indexes = indexes_of(settings, database, [Encoders(embedder, sparse)])
        stack.callback(indexes.close)
        corpus = Corpus(database, FolderBlobs(folder / "blobs"), embedder, sparse, indexes)
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
        model = PromptKeeper()
        answering = Answering(
            search=desk.search,
            corpus=desk.corpus,
            embedder=corpus.embedder,
            sparse=corpus.sparse,
            audit=desk.audit,
            model=model,
            extractive=ExtractiveGenerator(),
            settings=AnsweringSettings(),
            spending=Spending(TokenBudget(), SqlTokenUse(database, utc_now)),
        )
        desk = replace(desk, answering=answering)
        yield Bench(desk, model, create_app(desk, limits=UNLIMITED), toolbox, pipeline)
