"""Five injected faults: `refdesk status`, `refdesk docs DOC` and the API say what happened, what comes, what helps.

The desk has no worker of its own: the test takes the jobs, so that each fault stays as it was injected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery
from click.testing import CliRunner
from sqlalchemy import update

from retrieval.access import UserId
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.adapters.sql.models import JobRow
from retrieval.adapters.sql.sources import SqlSources
from retrieval.corpus import JobId, SourceId, document_id_for
from retrieval.jobs import JobKind
from retrieval.settings import load_settings
from retrieval.wiring import open_corpus, utc_now
from serving.cli.main import cli
from serving.cli.running import announced
from serving.cli.up import _answering, _url_of
from serving.http.app import create_app
from serving.http.listening import open_listener
from serving.wiring import open_desk
from workers.queue import make_app
from workers.settings import WorkerSettings
from workers.tasks import Toolbox, register
from workers.wiring import open_toolbox

SOURCE = SourceId("garden")


@dataclass
class Bench:
    """A desk that is served, and its tasks."""

    docs: Path
    data: Path
    toolbox: Toolbox
    app: Celery

    def sync(self) -> None:
        """Ask for a sync and compare; the documents that it queues are left alone."""
        job = self.toolbox.jobs.accept(JobRequest(JobKind.SYNC, "local", "test", source_id=SOURCE))
        self.app.tasks["refdesk.sync_source"](job.id)

    def index(self, name: str) -> None:
        """Work on a document's job now, whenever it is due."""
        job_id = self.job_of(name)
        with self.toolbox.jobs._database.write() as session:
            session.execute(update(JobRow).where(JobRow.id == job_id).values(not_before=None))
        self.app.tasks["refdesk.index_document"](job_id)

    def job_of(self, name: str) -> JobId:
        """The unfinished job of a document."""
        document_id = document_id_for(SOURCE, name)
        return self.toolbox.jobs.active_jobs_of([document_id])[document_id].id

    def refdesk(self, *args: str) -> str:
        """What a command prints."""
        result = CliRunner().invoke(cli, [*args, "--data", str(self.data)])
        assert result.exit_code == 0, result.output
        return " ".join(result.stdout.split())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A folder source of five documents, all queued."""
    for name in [name for name in os.environ if name.startswith("REFDESK_")]:
        monkeypatch.delenv(name)
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("slow", "later", "stuck", "gone", "waiting"):
        (docs / f"{name}.txt").write_text(f"The {name} one.")
    settings = load_settings(data=tmp_path / "data", port=0, parser_time_s=0.001)
    with ExitStack() as stack:
        corpus = stack.enter_context(open_corpus(settings))
        toolbox = stack.enter_context(open_toolbox(settings, corpus, WorkerSettings()))
        desk = stack.enter_context(open_desk(settings, corpus))
        SqlSources(corpus.database, utc_now).create(
            SOURCE, name="garden", kind="folder", location=str(docs), owner=UserId("local")
        )
        app = make_app("memory://")
        register(app, toolbox)
        listener = stack.enter_context(open_listener("127.0.0.1"))
        stack.enter_context(_answering(create_app(desk), listener, settings))
        stack.enter_context(announced(settings.data, _url_of(listener)))
        bench = Bench(docs, settings.data, toolbox, app)
        bench.sync()
        yield bench


def test_five_faults_are_explained(bench: Bench) -> None:
    """Each document and the source have their own three sentences on both commands."""
    bench.index("slow.txt")  # the parser runs over its time
    (bench.docs / "gone.txt").unlink()
    for _ in range(3):  # given up on after three attempts
        bench.index("gone.txt")
    (bench.docs / "later.txt").unlink()
    bench.index("later.txt")  # fails once, and has its next attempt before it
    lease = bench.toolbox.jobs.claim(bench.job_of("stuck.txt"), lease_s=-1)  # a worker that fell silent
    assert lease is not None
    bench.docs.rename(bench.docs.with_name("elsewhere"))
    bench.sync()  # the source is not there

    expected = {
        "slow.txt": ("took longer than allowed", "until the file changes", "Split it"),
        "gone.txt": ("put aside after 3 failed attempts", "next whole sync", "To try at once: re-index it"),
        "later.txt": ("Attempt 1 of 3 failed", "The next attempt begins", "If it fails again"),
        "stuck.txt": ("fell silent; its lease ended at", "Another worker takes it over", "no worker may be"),
    }
    status = bench.refdesk("status")
    for name, sentences in expected.items():
        shown = bench.refdesk("docs", name)
        for words in sentences:
            assert words in shown, (name, shown)
            assert words in status, (name, status)
    for words in ("the source did not answer or is not there", "A sync begins", "Check that the folder"):
        assert words in status
    assert "waiting.txt" not in status
    assert "waiting for a free worker" in bench.refdesk("docs", "waiting.txt")
