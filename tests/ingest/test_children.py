"""Documents found inside documents: they come, change, are shared and go with the one around them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest
from celery import Celery

from retrieval.access import EVERYONE, Acl, Principal, PrincipalId, UserId
from retrieval.adapters.sql.corpus import DocumentFilter, SqlCorpus
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.sources import SqlSources
from retrieval.adapters.sql.upkeep import SqlUpkeep
from retrieval.corpus import Document, DocumentId, SourceId, document_id_for, found_key
from retrieval.errors import ConflictError, NotFoundError
from retrieval.jobs import JobKind
from retrieval.query import Query
from retrieval.search import Search, SearchSettings
from retrieval.settings import load_settings
from retrieval.wiring import Corpus, open_corpus, utc_now
from tests.make import PRESENCE
from workers.queue import make_app
from workers.settings import WorkerSettings
from workers.tasks import Toolbox, register
from workers.wiring import open_toolbox

pytestmark = pytest.mark.timeout(300)

OLGA = Principal(UserId("olga"))
ADA = Principal(UserId("ada"), frozenset({PrincipalId("group:hr")}))
RULES = 'owner = "olga"\n[acl]\nallow = [{}]\n'
CANTEEN = b"# Canteen\n\nThe canteen serves soup on Thursdays.\n"
PARKING = b"# Parking\n\nParking permits are printed by reception.\n"


@dataclass
class Bench:
    """A folder, and the parts that index it without a queue."""

    docs: Path
    corpus: Corpus
    toolbox: Toolbox
    app: Celery

    def sync(self) -> dict[str, int]:
        """Sync the folder and do every job; returns the counts of the sync that are not 0."""
        request = JobRequest(JobKind.SYNC, "olga", "test", source_id=SourceId("s"))
        job = self.toolbox.jobs.accept(request)
        self.work()
        return {name: count for name, count in self.toolbox.jobs.job(job.id).report.items() if count}

    def work(self) -> int:
        """Do every job that waits; returns their number."""
        count = 0
        while self.toolbox.jobs.has_unsent():
            with self.toolbox.jobs.outgoing(limit=100) as messages:
                taken = list(messages)
            for message in taken:
                self.app.tasks[message.task](message.job_id)
                count += 1
        return count

    def documents(self, principal: Principal = OLGA) -> dict[str, Document]:
        """Readable documents by external id."""
        reader = SqlCorpus(self.corpus.database, PRESENCE)
        found = reader.documents(principal, DocumentFilter(), after=None, limit=200)
        return {document.external_id: document for document in found}

    def search(self, text: str, principal: Principal = OLGA) -> list[str]:
        """External ids of the hits."""
        search = Search(
            corpus=SqlCorpus(self.corpus.database, PRESENCE),
            answering=self.corpus.indexes.answering,
            settings=SearchSettings(),
        )
        return [hit.passage.external_id for hit in search.search(Query(text), principal).hits]

    def is_consistent(self) -> bool:
        """Whether the index holds just the live chunks, with the access lists of now."""
        store = self.toolbox.store
        indexed = set(self.toolbox.indexer.active().chunk_ids())
        return indexed == store.live_chunk_ids() and not store.stale_access()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty folder and a desk's workers."""
    docs = tmp_path / "docs"
    docs.mkdir()
    settings = load_settings(data=tmp_path / "data")
    with (
        open_corpus(settings) as corpus,
        open_toolbox(settings, corpus, WorkerSettings()) as toolbox,
    ):
        sources = SqlSources(corpus.database, utc_now)
        sources.create(SourceId("s"), name="s", kind="folder", location=str(docs), owner=UserId("olga"))
        app = make_app("memory://")
        register(app, toolbox)
        yield Bench(docs, corpus, toolbox, app)


def make_zip(**members: bytes) -> bytes:
    """A zip; a double underscore in a name stands for a slash, a single one for a dot."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return buffer.getvalue()


def make_mail(text: str, **attachments: bytes) -> bytes:
    """A mail with attachments; an underscore in a name stands for a dot."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "mara@example.org", "olga@example.org", "The plan"
    mail.set_content(text)
    for name, content in attachments.items():
        mail.add_attachment(
            content, maintype="application", subtype="octet-stream", filename=name.replace("_", ".")
        )
    return mail.as_bytes()


def test_an_archive_is_a_container_of_documents(bench: Bench) -> None:
    """Members are found as documents of their own; the archive is live without a passage, and says why."""
    (bench.docs / "site.zip").write_bytes(make_zip(a__canteen_md=CANTEEN, parking_md=PARKING))
    assert bench.sync() == {"added": 1}
    documents = bench.documents()
    assert set(documents) == {"site.zip", "site.zip!/a/canteen.md", "site.zip!/parking.md"}
    assert {document.state for document in documents.values()} == {"live"}
    assert documents["site.zip"].warnings == ("container",)
    assert documents["site.zip!/a/canteen.md"].parent_id == documents["site.zip"].id
    assert documents["site.zip!/a/canteen.md"].title == "canteen.md"
    assert bench.search("when does the canteen serve soup")[0] == "site.zip!/a/canteen.md"
    assert bench.is_consistent()
    assert bench.sync() == {"unchanged": 1}
    assert bench.work() == 0


def test_a_new_version_touches_only_what_changed(bench: Bench) -> None:
    """Unchanged members cost no job, changed ones get a version, missing ones are gone with their bytes."""
    path = bench.docs / "site.zip"
    path.write_bytes(make_zip(canteen_md=CANTEEN, parking_md=PARKING, old_md=b"# Old\n\nGone soon."))
    bench.sync()
    path.write_bytes(make_zip(canteen_md=CANTEEN, parking_md=b"# Parking\n\nNow by the porter."))
    request = JobRequest(JobKind.SYNC, "olga", "test", source_id=SourceId("s"))
    bench.toolbox.jobs.accept(request)
    assert bench.work() == 4  # the sync, the archive, the changed member, and clearing away the old one
    documents = bench.documents()
    assert set(documents) == {"site.zip", "site.zip!/canteen.md", "site.zip!/parking.md"}
    assert documents["site.zip!/canteen.md"].live_version == 1
    assert documents["site.zip!/parking.md"].live_version == 2
    assert "site.zip!/old.md" not in bench.search("gone soon")
    with pytest.raises(NotFoundError):
        bench.corpus.blobs.get(found_key(document_id_for(SourceId("s"), "site.zip!/old.md")))
    assert bench.is_consistent()


def test_deleting_a_document_deletes_what_is_inside(bench: Bench) -> None:
    """A vanished file takes its members along, and coming back it brings them back."""
    content = make_zip(canteen_md=CANTEEN, inner_zip=make_zip(parking_md=PARKING))
    (bench.docs / "site.zip").write_bytes(content)
    (bench.docs / "other.md").write_text("# Other\n\nStays.")
    bench.sync()
    assert "site.zip!/inner.zip!/parking.md" in bench.documents()
    (bench.docs / "site.zip").unlink()
    assert bench.sync() == {"deleted": 1, "unchanged": 1}
    assert set(bench.documents()) == {"other.md"}
    assert bench.search("parking permits canteen soup") in ([], ["other.md"])
    assert bench.is_consistent()
    (bench.docs / "site.zip").write_bytes(content)
    bench.sync()
    assert bench.documents()["site.zip!/inner.zip!/parking.md"].state == "live"


def test_access_follows_the_document_around(bench: Bench) -> None:
    """Members are shared and closed with their archive, without a new embedding, and never wider than it."""
    (bench.docs / "plan.eml").write_bytes(make_mail("See attached.", parking_md=PARKING))
    bench.sync()
    assert bench.documents(ADA) == {}
    (bench.docs / ".refdesk.toml").write_text(RULES.format('"group:hr"'))
    assert bench.sync() == {"touched": 1}
    assert bench.search("who prints parking permits", ADA)[0] == "plan.eml!/parking.md"
    child = bench.documents()["plan.eml!/parking.md"]
    upkeep = SqlUpkeep(bench.corpus.database, utc_now)
    with pytest.raises(ConflictError):
        upkeep.set_acl(child.id, Acl(UserId("olga"), frozenset({EVERYONE})), requested_by="olga")
    upkeep.set_acl(child.id, Acl(UserId("olga")), requested_by="olga")
    bench.work()
    assert set(bench.documents(ADA)) == {"plan.eml"}
    (bench.docs / ".refdesk.toml").write_text(RULES.format('"group:hr", "user:bob"'))
    bench.sync()
    assert set(bench.documents(ADA)) == {"plan.eml"}
    assert "plan.eml!/parking.md" not in bench.search("who prints parking permits", ADA)
    assert bench.is_consistent()


def test_a_bad_member_fails_alone(bench: Bench) -> None:
    """Empty, broken, unreadable and too deeply nested members fail as themselves; their siblings are live."""
    deep = make_zip(level4_zip=b"PK\x05\x06" + bytes(18))
    for level in (3, 2):
        deep = make_zip(**{f"level{level}_zip": deep})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {
            "canteen.md": CANTEEN,
            "empty.md": b"",
            "broken.pdf": b"%PDF-1.7 broken",
            "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(99),
            "../../parking.md": PARKING,
            "level1.zip": deep,
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (bench.docs / "all.tar.gz").write_bytes(buffer.getvalue())
    bench.sync()
    documents = bench.documents()
    ends = {id_.removeprefix("all.tar.gz!/"): (d.state, d.error_code) for id_, d in documents.items()}
    assert ends["canteen.md"] == ends["parking.md"] == ("live", "")
    assert ends["empty.md"] == ("failed", "empty_file")
    assert ends["broken.pdf"] == ("failed", "corrupt")
    assert ends["picture.png"] == ("failed", "unsupported_type")
    assert ends["level1.zip"] == ("failed", "expansion_limit")
    assert not any("/../" in id_ for id_ in documents)


def test_a_member_is_read_again_from_its_kept_bytes(bench: Bench) -> None:
    """Re-indexing one member needs neither the archive's other members nor the archive."""
    (bench.docs / "site.zip").write_bytes(make_zip(canteen_md=CANTEEN, parking_md=PARKING))
    bench.sync()
    child: DocumentId = bench.documents()["site.zip!/canteen.md"].id
    SqlUpkeep(bench.corpus.database, utc_now).reindex(child, requested_by="olga")
    assert bench.work() == 1
    assert bench.documents()["site.zip!/canteen.md"].state == "live"
    assert bench.is_consistent()


def test_a_listed_file_with_a_members_name_is_itself(bench: Bench) -> None:
    """A folder called like an archive's inside does not mix its files with the archive's members."""
    (bench.docs / "site.zip").write_bytes(make_zip(canteen_md=CANTEEN))
    bench.sync()
    (bench.docs / "site.zip!").mkdir()
    (bench.docs / "site.zip!" / "canteen.md").write_bytes(PARKING)
    bench.sync()
    assert bench.documents()["site.zip!/canteen.md"].parent_id is None
    (bench.docs / "site.zip").write_bytes(make_zip(canteen_md=CANTEEN, more_md=b"# More\n\nText."))
    bench.sync()
    documents = bench.documents()
    assert documents["site.zip!/canteen.md'"].parent_id == documents["site.zip"].id
    assert bench.search("who prints parking permits")[0] == "site.zip!/canteen.md"
