"""Settings that name another embedder or reranker, and what the desk makes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.access import Principal, UserId
from retrieval.adapters.minilm_export import FINGERPRINTS
from retrieval.adapters.sql.database import Database
from retrieval.adapters.sql.index_builds import SqlIndexBuilds
from retrieval.adapters.sql.jobs import JobRequest
from retrieval.errors import EmbedderUnavailableError, RerankerUnavailableError
from retrieval.indexes import ASSUMED_CALIBRATION, fingerprint_of
from retrieval.jobs import JobKind
from retrieval.query import Query, SearchMode
from retrieval.settings import InvalidSettingsError, Settings, load_settings
from retrieval.wiring import open_corpus, open_embedder, open_reranker
from serving.desk import Desk
from serving.embedded import open_embedded, request_docs_sync
from tests.desks import wait_until_idle
from tests.fakes.hashing_embedder import HashingEmbedder
from tests.fakes.model_server import MODEL, FakeModelServer
from tests.models import make_cross_encoder, minilm_folder

NAME = load_settings().model
"""The exported model that a desk has by default."""

pytestmark = pytest.mark.xdist_group("torch")  # importing it takes seconds: once is enough

CLOSED_PORT = "http://127.0.0.1:9/v1"


class OtherWeights(HashingEmbedder):
    """The same dimension, other directions."""

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        return np.roll(super().embed_documents(texts), 7, axis=1)


def test_default_desk_never_imports_torch(tmp_path: Path) -> None:
    """Neither opening it nor embedding a question does; nor is a client of servers loaded by the corpus."""
    code = (
        "import sys; from retrieval.settings import load_settings; from retrieval.wiring import *\n"
        f"settings = load_settings(data={str(tmp_path)!r})\n"
        "with open_corpus(settings) as corpus, open_reranker(settings) as none:\n"
        "    corpus.embedder.embed_query('leave'); assert none is None\n"
        "sys.exit(bool({'torch', 'sentence_transformers', 'transformers', 'httpx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_embedders_or_two_rerankers_are_one_too_many(tmp_path: Path) -> None:
    """The message names both settings."""
    two = load_settings(data=tmp_path, embedder_url=CLOSED_PORT, embedder_folder=tmp_path)
    with pytest.raises(InvalidSettingsError, match="embedder_url and embedder_folder"), open_embedder(two):
        pass
    two = load_settings(data=tmp_path, reranker_url=CLOSED_PORT, reranker_folder=tmp_path)
    with pytest.raises(InvalidSettingsError, match="reranker_url and reranker_folder"), open_reranker(two):
        pass


def test_a_server_that_is_down_keeps_the_embedder_from_opening_but_not_the_reranker(tmp_path: Path) -> None:
    """Without an embedder there is no search; without a reranker there is."""
    settings = load_settings(data=tmp_path, embedder_url=CLOSED_PORT, reranker_url=CLOSED_PORT)
    with pytest.raises(EmbedderUnavailableError), open_corpus(settings):
        pass
    with open_reranker(settings) as reranker:
        assert reranker is not None
        with pytest.raises(RerankerUnavailableError):
            reranker.score("one", ["two"])


def test_other_weights_under_the_old_name_are_noticed(tmp_path: Path) -> None:
    """An index of two spaces is worth nothing, so the desk does not start; under another name it does."""
    with FakeModelServer(HashingEmbedder()) as server:
        settings = load_settings(data=tmp_path, embedder_url=server.v1, embedder_model=MODEL)
        for _ in range(2):
            with open_corpus(settings) as corpus:
                assert corpus.embedder.dimension == 32
        server.embedder = OtherWeights()
        with pytest.raises(InvalidSettingsError, match="embedder_model"), open_corpus(settings):
            pass
        prefixed = load_settings(
            data=tmp_path, embedder_url=server.v1, embedder_model=MODEL, embedder_query_prefix="query: "
        )
        with open_corpus(prefixed):
            pass


def test_folders_below_models_are_loaded(tmp_path: Path) -> None:
    """A relative folder lies below REFDESK_MODELS, an absolute one anywhere."""
    models = tmp_path / "models"
    make_cross_encoder(models / "cross-encoder")
    (models / "minilm").symlink_to(minilm_folder())
    for embedder, reranker in (
        (Path("minilm"), Path("cross-encoder")),
        (minilm_folder(), models / "cross-encoder"),
    ):
        settings = load_settings(models=models, embedder_folder=embedder, reranker_folder=reranker)
        with open_embedder(settings) as opened, open_reranker(settings) as scoring:
            assert opened.dimension == 384
            assert scoring is not None
            assert len(scoring.score("one", ["two", "three"])) == 2


def test_an_earlier_models_index_can_still_be_searched(tmp_path: Path) -> None:
    """After a change in either direction the index before keeps its embedder, while the new one is built."""
    models = tmp_path / "models"
    models.mkdir()
    (models / NAME).symlink_to(load_settings().models / NAME)
    (models / "minilm").symlink_to(minilm_folder())
    exported = load_settings(data=tmp_path / "exported", models=models)
    from_folder = load_settings(data=tmp_path / "folder", models=models, embedder_folder=Path("minilm"))
    with open_embedder(from_folder) as opened:
        fingerprint = opened.fingerprint
    for settings, earlier in ((exported, fingerprint), (from_folder, FINGERPRINTS[NAME])):
        _record_index(settings, earlier)
        with open_corpus(settings) as corpus:
            assert corpus.embedder.fingerprint != earlier
            with corpus.indexes.answering() as index:
                assert index.encoders.embedder.fingerprint == earlier


def test_a_desk_changes_to_a_folder_and_back_without_a_gap(tmp_path: Path) -> None:
    """The slower path indexes and answers; the index before answers until the new one does, in both directions."""
    docs, models = tmp_path / "docs", tmp_path / "models"
    for folder in (docs, models):
        folder.mkdir()
    (docs / "leave.md").write_text("Annual leave is 25 days a year for contracts signed in Zaragoza.")
    (models / NAME).symlink_to(load_settings().models / NAME)
    (models / "minilm").symlink_to(minilm_folder())
    exported = load_settings(data=tmp_path / "state", models=models, docs=docs)
    from_folder = exported.model_copy(update={"embedder_folder": Path("minilm")})
    with open_embedded(exported) as embedded:
        request_docs_sync(exported, embedded.desk)
        wait_until_idle(embedded.desk)
    for settings, before, after in (
        (from_folder, FINGERPRINTS[NAME], "sentence-transformers"),
        (exported, "sentence-transformers", FINGERPRINTS[NAME]),
    ):
        with open_embedded(settings) as embedded:
            assert _answered_by(embedded.desk).endswith(before)
            embedded.desk.jobs.accept(JobRequest(JobKind.REBUILD, "local", "test"))
            wait_until_idle(embedded.desk)
            assert _answered_by(embedded.desk).endswith(after)


def _answered_by(desk: Desk) -> str:
    """Fingerprint of the embedder behind a search that finds what it should."""
    found = desk.search.search(Query("leave in Zaragoza", mode=SearchMode.DENSE), Principal(UserId("local")))
    assert [hit.passage.external_id for hit in found.hits] == ["leave.md"]
    with desk.indexes.answering() as index:
        return index.encoders.embedder.fingerprint


def _record_index(settings: Settings, embedder_fingerprint: str) -> None:
    """Have the catalogue of a desk say that its index was built by this embedder."""
    with open_corpus(settings) as corpus:

        class Earlier(HashingEmbedder):
            fingerprint = embedder_fingerprint

        stamp = fingerprint_of(Earlier(), "chunks", corpus.sparse)
    database = Database(settings.database_url)
    SqlIndexBuilds(database, lambda: datetime.now(UTC)).begin_first(stamp, ASSUMED_CALIBRATION)
    database.close()
