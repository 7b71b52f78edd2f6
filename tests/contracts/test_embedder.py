"""The embedder contract on every adapter, and that all ways to one model give the same vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.adapters.embedding_cache import CachedEmbedder
from retrieval.adapters.http_embedder import HttpEmbedder
from retrieval.adapters.minilm_export import NAME
from retrieval.adapters.model_server import ModelServer, ModelServerSettings
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.sentence_transformer import SentenceTransformerEmbedder, fingerprint
from retrieval.errors import EmbedderUnavailableError
from retrieval.ports import Embedder
from retrieval.settings import load_settings
from tests.contracts.embedder_contract import TEXTS, EmbedderContract
from tests.fakes.hashing_embedder import HashingEmbedder
from tests.fakes.model_server import MODEL, FakeModelServer
from tests.models import minilm_folder, with_prompts

pytestmark = pytest.mark.xdist_group("torch")  # importing it takes seconds: once is enough


def _exported(_stack: ExitStack, _folder: Path) -> Embedder:
    return OnnxEmbedder(load_settings().models / NAME)


def _from_folder(_stack: ExitStack, _folder: Path) -> Embedder:
    return SentenceTransformerEmbedder(minilm_folder())


def _served(stack: ExitStack, folder: Path) -> Embedder:
    server = stack.enter_context(FakeModelServer(_exported(stack, folder)))
    place = ModelServerSettings(server.v1, MODEL)
    return HttpEmbedder(stack.enter_context(closing(ModelServer(place))))


def _cached(stack: ExitStack, folder: Path) -> Embedder:
    cache = CachedEmbedder(_exported(stack, folder), folder / "embeddings.db")
    return stack.enter_context(closing(cache))


def _hashing(_stack: ExitStack, _folder: Path) -> Embedder:
    return HashingEmbedder()


@pytest.fixture(scope="module", params=[_exported, _from_folder, _served, _cached, _hashing])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    """Each adapter, and the fake."""
    with ExitStack() as stack:
        yield request.param(stack, tmp_path_factory.mktemp("embedder"))


class TestContract(EmbedderContract):
    """Every adapter keeps the contract."""

    @pytest.fixture
    def embedder(self, opened: Embedder) -> Embedder:
        """See `opened`."""
        return opened


@pytest.mark.parametrize("way", [_from_folder, _served, _cached])
def test_all_ways_to_a_model_agree(way: Callable[[ExitStack, Path], Embedder], tmp_path: Path) -> None:
    """The slower path and the server give the exported model's vectors, for texts that it cuts too."""
    with ExitStack() as stack:
        other, exported = way(stack, tmp_path), _exported(stack, tmp_path)
        cosines = (other.embed_documents(TEXTS) * exported.embed_documents(TEXTS)).sum(axis=1)
        assert cosines.min() >= 0.9999
        assert float(other.embed_query(TEXTS[0]) @ exported.embed_query(TEXTS[0])) >= 0.9999


def test_prompts_of_the_model_are_used(tmp_path: Path) -> None:
    """A model that wants words before questions and passages gets them; settings come before its own."""
    folder = with_prompts(minilm_folder(), tmp_path / "prompted", query="question: ", document="passage: ")
    exported, own = OnnxEmbedder(load_settings().models / NAME), SentenceTransformerEmbedder(folder)
    assert float(own.embed_query("leave") @ exported.embed_query("question: leave")) >= 0.9999
    assert float(own.embed_documents(["leave"])[0] @ exported.embed_query("passage: leave")) >= 0.9999
    given = SentenceTransformerEmbedder(folder, query_prefix="ask: ", document_prefix="read: ")
    assert float(given.embed_query("leave") @ exported.embed_query("ask: leave")) >= 0.9999
    assert float(given.embed_texts(["leave"])[0] @ exported.embed_query("read: leave")) >= 0.9999
    assert given.fingerprint != own.fingerprint


def test_prefixes_reach_the_server() -> None:
    """A server cannot know which text is a question, so the desk says it in words."""
    exported = OnnxEmbedder(load_settings().models / NAME)
    with FakeModelServer(exported) as server, closing(ModelServer(_place(server))) as client:
        plain = HttpEmbedder(client)
        embedder = HttpEmbedder(client, query_prefix="query: ", document_prefix="passage: ")
        assert float(embedder.embed_query("leave") @ exported.embed_query("query: leave")) >= 0.9999
        assert (
            float(embedder.embed_documents(["leave"])[0] @ exported.embed_query("passage: leave")) >= 0.9999
        )
        assert embedder.fingerprint != plain.fingerprint


def test_fingerprint_of_a_folder_follows_its_contents(tmp_path: Path) -> None:
    """A copy elsewhere is the same model; another weight, prompt or vocabulary makes it another; words do not."""
    folder = with_prompts(minilm_folder(), tmp_path / "one" / "model", query="", document="")
    twin = with_prompts(minilm_folder(), tmp_path / "two" / "model", query="", document="")

    def taken(of: Path) -> str:
        return fingerprint(of, query_prefix="", document_prefix="")

    before = taken(folder)
    assert before == taken(twin)
    (folder / "README.md").write_text("other words")
    assert taken(folder) == before
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x01")
    assert taken(folder) != before
    (twin / "1_Pooling" / "config.json").write_text("{}")
    assert taken(twin) != before
    assert fingerprint(twin, query_prefix="q", document_prefix="") != taken(twin)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    """Nothing is looked for elsewhere under the folder's name."""
    with pytest.raises(EmbedderUnavailableError, match="cannot be loaded"):
        SentenceTransformerEmbedder(tmp_path / "absent")
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(EmbedderUnavailableError, match="cannot be loaded"):
        SentenceTransformerEmbedder(tmp_path)


def test_long_lists_are_sent_in_batches() -> None:
    """No request has more texts than servers take."""
    with FakeModelServer(HashingEmbedder()) as server, closing(ModelServer(_place(server))) as client:
        embedder = HttpEmbedder(client)
        texts = [f"text {number}" for number in range(70)]
        assert np.allclose(embedder.embed_documents(texts), HashingEmbedder().embed_documents(texts))
        assert [len(each.body["input"]) for each in server.received] == [1, 32, 32, 6]


def _place(server: FakeModelServer) -> ModelServerSettings:
    return ModelServerSettings(server.v1, MODEL)
