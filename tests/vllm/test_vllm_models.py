"""The contracts of embedder and reranker against the real vLLM, with all-MiniLM-L6-v2 and a tiny cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from retrieval.adapters.cross_encoder import CrossEncoderReranker
from retrieval.adapters.http_embedder import HttpEmbedder
from retrieval.adapters.http_reranker import HttpReranker, Protocol
from retrieval.adapters.minilm_export import NAME
from retrieval.adapters.model_server import ModelServer, ModelServerSettings
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.errors import EmbedderUnavailableError, RerankerUnavailableError
from retrieval.settings import load_settings
from tests.contracts.embedder_contract import TEXTS, EmbedderContract
from tests.contracts.reranker_contract import PASSAGES, QUESTION, RerankerContract
from tests.models import make_cross_encoder, minilm_folder
from tests.vllm.vllm_process import running_pooling_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.xdist_group("vllm")]

CROSS_ENCODER = "tiny-cross-encoder"
TIME_S = 60.0


@pytest.fixture(scope="module")
def embedding_url(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of all-MiniLM-L6-v2."""
    log = tmp_path_factory.mktemp("embedding") / "server.log"
    with running_pooling_vllm(vllm_python, log, minilm_folder(), NAME) as server:
        yield server.base_url


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross-encoder; its heads have the 32 dimensions that vLLM's attention takes at least."""
    return make_cross_encoder(tmp_path_factory.mktemp("models") / CROSS_ENCODER, hidden=64)


@pytest.fixture(scope="module")
def reranking_url(
    vllm_python: Path, cross_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server of it."""
    log = tmp_path_factory.mktemp("reranking") / "server.log"
    with running_pooling_vllm(vllm_python, log, cross_encoder, CROSS_ENCODER) as server:
        yield server.base_url


class TestEmbedder(EmbedderContract):
    """The real server keeps the contract that the fake keeps in `tests/contracts`."""

    @pytest.fixture
    def embedder(self, embedding_url: str) -> Iterator[HttpEmbedder]:
        """A client of the server."""
        with closing(ModelServer(ModelServerSettings(embedding_url, NAME, time_s=TIME_S))) as server:
            yield HttpEmbedder(server)

    def test_vectors_are_the_exported_models(self, embedder: HttpEmbedder) -> None:
        """Also of texts that both cut."""
        exported = OnnxEmbedder(load_settings().models / NAME)
        cosines = (embedder.embed_documents(TEXTS) * exported.embed_documents(TEXTS)).sum(axis=1)
        print(f"cosines of vLLM's vectors with ours: {cosines.min():.6f} at least")
        assert cosines.min() >= 0.999
        assert float(embedder.embed_query(QUESTION) @ exported.embed_query(QUESTION)) >= 0.999

    def test_another_models_name_is_refused(self, embedding_url: str) -> None:
        """The desk does not start on a model that is not served."""
        with (
            closing(ModelServer(ModelServerSettings(embedding_url, "no-such-model"))) as server,
            pytest.raises(EmbedderUnavailableError, match="404"),
        ):
            HttpEmbedder(server)


class TestReranker(RerankerContract):
    """The same for the reranker."""

    @pytest.fixture
    def reranker(self, reranking_url: str) -> Iterator[HttpReranker]:
        """A client of the server."""
        with closing(ModelServer(ModelServerSettings(reranking_url, CROSS_ENCODER, time_s=TIME_S))) as server:
            yield HttpReranker(server, Protocol.COHERE)

    def test_scores_are_the_models_own(self, reranker: HttpReranker, cross_encoder: Path) -> None:
        """As sentence-transformers computes them."""
        own = CrossEncoderReranker(cross_encoder, time_s=TIME_S).score(QUESTION, PASSAGES)
        scores = reranker.score(QUESTION, PASSAGES)
        print(f"vLLM scores {scores}, sentence-transformers {own}")
        assert scores == pytest.approx(own, abs=0.01)

    def test_the_route_beside_v1_is_the_same(self, reranking_url: str, reranker: HttpReranker) -> None:
        """VLLM has `/rerank` too; without a model's name it takes the one that is served."""
        root = reranking_url.removesuffix("/v1")
        with closing(ModelServer(ModelServerSettings(root, time_s=TIME_S))) as server:
            other = HttpReranker(server, Protocol.COHERE).score(QUESTION, PASSAGES)
        assert other == pytest.approx(reranker.score(QUESTION, PASSAGES), abs=1e-3)

    def test_the_other_protocol_is_refused(self, reranking_url: str) -> None:
        """A wrong `REFDESK_RERANKER_PROTOCOL` is an error, not an order."""
        with (
            closing(ModelServer(ModelServerSettings(reranking_url, CROSS_ENCODER))) as server,
            pytest.raises(RerankerUnavailableError),
        ):
            HttpReranker(server, Protocol.TEI).score(QUESTION, PASSAGES)
