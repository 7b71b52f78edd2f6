"""Servers that are down, slow, busy, or answer nonsense: one clear error, in time, and nothing of it is used."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from retrieval.adapters.http_embedder import HttpEmbedder
from retrieval.adapters.http_reranker import HttpReranker, Protocol
from retrieval.adapters.model_server import ModelServer, ModelServerSettings
from retrieval.errors import EmbedderUnavailableError, RerankerUnavailableError
from tests.fakes.hashing_embedder import HashingEmbedder
from tests.fakes.model_server import MODEL, FakeModelServer, Replies
from tests.fakes.overlap_reranker import OverlapReranker

CLOSED_PORT = "http://127.0.0.1:9/v1"
SECRET = "zyzzyva"

Scores = list[tuple[int, float | None]]


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A server of the fakes, which costs nothing."""
    with FakeModelServer(HashingEmbedder(), OverlapReranker()) as server:
        yield server


@pytest.fixture
def client(server: FakeModelServer) -> Iterator[ModelServer]:
    """A client of it."""
    with closing(ModelServer(_place(server))) as client:
        yield client


@pytest.fixture
def embedder(client: ModelServer) -> HttpEmbedder:
    """An embedder that has learnt the dimension."""
    return HttpEmbedder(client)


def _place(server: FakeModelServer) -> ModelServerSettings:
    return ModelServerSettings(server.v1, MODEL, api_key="k-1", time_s=5.0)


def _vectors(*rows: tuple[int, list[float]]) -> Replies:
    return Replies(json.dumps({"data": [{"index": index, "embedding": row} for index, row in rows]}))


UNIT = [1.0] + [0.0] * 31

USELESS = {
    "other dimension": _vectors((0, [1.0, 0.0]), (1, [0.0, 1.0])),
    "ragged": _vectors((0, UNIT), (1, UNIT[:-1])),
    "too few": _vectors((0, UNIT)),
    "too many": _vectors((0, UNIT), (1, UNIT), (2, UNIT)),
    "twice the same": _vectors((0, UNIT), (0, UNIT)),
    "never asked for": _vectors((0, UNIT), (7, UNIT)),
    "no length": _vectors((0, UNIT), (1, [0.0] * 32)),
    "not a number": Replies(
        json.dumps({"data": [{"index": i, "embedding": [float("nan")] * 32} for i in (0, 1)]})
    ),
    "words for numbers": Replies('{"data": [{"index": 0, "embedding": ["a"]}]}'),
    "no JSON": Replies("<html>zyzzyva</html>"),
    "cut off": Replies('{"data": ['),
    "nothing": Replies(""),
    "another shape": Replies('{"embeddings": []}'),
    "an error as success": Replies('{"error": {"message": "zyzzyva"}}'),
    "refused": Replies('{"error": {"message": "zyzzyva is too long"}}', 400),
    "no such model": Replies("{}", 404),
    "wrong key": Replies("{}", 401),
    "moved": Replies("", 307, {"Location": "http://127.0.0.1:9/"}),
    "broken": Replies("zyzzyva", 500),
}


@pytest.mark.parametrize("reply", USELESS.values(), ids=USELESS)
def test_useless_replies_give_no_vector(
    server: FakeModelServer, embedder: HttpEmbedder, reply: Replies
) -> None:
    """Each is one error at once, which says nothing of what was sent or what the server said."""
    server.scripts.append(reply)
    asked = len(server.received)
    with pytest.raises(EmbedderUnavailableError) as failure:
        embedder.embed_documents([f"{SECRET} one", f"{SECRET} two"])
    assert SECRET not in str(failure.value)
    assert len(server.received) == asked + 1
    assert embedder.embed_documents(["one", "two"]).shape == (2, 32)


SHAPES: dict[Protocol, Callable[[Scores], object]] = {
    Protocol.COHERE: lambda pairs: {"results": [{"index": i, "relevance_score": s} for i, s in pairs]},
    Protocol.TEI: lambda pairs: [{"index": i, "score": s} for i, s in pairs],
}


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize(
    "pairs",
    [
        [(0, 0.5)],
        [(0, 0.5), (0, 0.4)],
        [(0, 0.5), (2, 0.4)],
        [(0, 0.5), (1, float("nan"))],
        [(0, 0.5), (1, None)],
    ],
    ids=["too few", "twice the same", "never asked for", "not a number", "null"],
)
def test_useless_scores_give_no_order(server: FakeModelServer, protocol: Protocol, pairs: Scores) -> None:
    """A score that belongs to no passage, or to none for sure, orders nothing."""
    place = _place(server) if protocol is Protocol.COHERE else replace(_place(server), base_url=server.root)
    server.scripts.append(Replies(json.dumps(SHAPES[protocol](pairs))))
    with closing(ModelServer(place)) as client, pytest.raises(RerankerUnavailableError):
        HttpReranker(client, protocol).score("one", ["one", "two"])


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_asked_again_when_it_says_so(
    server: FakeModelServer, embedder: HttpEmbedder, status: int
) -> None:
    """`Retry-After` is kept to, and the vectors come in the end."""
    server.scripts.append(Replies("busy", status, {"Retry-After": "1"}))
    began = time.monotonic()
    assert embedder.embed_documents(["one"]).shape == (1, 32)
    assert 1.0 <= time.monotonic() - began < 4


def test_busy_server_without_a_word_is_asked_again_soon(
    server: FakeModelServer, embedder: HttpEmbedder
) -> None:
    """As vLLM sheds load: without `Retry-After`."""
    server.scripts.extend([Replies("busy", 503), Replies("busy", 503, {"Retry-After": "Wed, 25 Nov 2026"})])
    assert embedder.embed_query("one").shape == (32,)


def test_server_that_stays_busy_is_given_up(server: FakeModelServer, embedder: HttpEmbedder) -> None:
    """After three attempts, and at once when it asks for more time than there is."""
    server.scripts.extend([Replies("busy", 503)] * 3)
    with pytest.raises(EmbedderUnavailableError, match="503"):
        embedder.embed_query("one")
    assert not server.scripts
    server.scripts.append(Replies("busy", 429, {"Retry-After": "600"}))
    began = time.monotonic()
    with pytest.raises(EmbedderUnavailableError, match="429"):
        embedder.embed_query("one")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "reply", [Replies(delay_s=3), Replies("x" * 100, trickle_s=0.05)], ids=["slow", "trickling"]
)
def test_slow_server_is_given_up_in_time(server: FakeModelServer, reply: Replies) -> None:
    """Silence and a byte now and then both end at the limit."""
    with closing(ModelServer(replace(_place(server), time_s=0.5))) as client:
        embedder = HttpEmbedder(client)
        server.scripts.append(reply)
        began = time.monotonic()
        with pytest.raises(EmbedderUnavailableError, match="in time"):
            embedder.embed_query("one")
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("url", [CLOSED_PORT, "http://", "no address", "http://127.0.0.1:9/v1\x00"])
def test_server_that_is_not_there(url: str) -> None:
    """Opening the embedder says so; a reranker says so when it is asked."""
    with closing(ModelServer(ModelServerSettings(url, MODEL, time_s=2.0))) as client:
        with pytest.raises(EmbedderUnavailableError):
            HttpEmbedder(client)
        with pytest.raises(RerankerUnavailableError):
            HttpReranker(client, Protocol.TEI).score("one", ["two"])


def test_server_that_goes_and_comes_back(server: FakeModelServer, embedder: HttpEmbedder) -> None:
    """A connection that breaks is made anew."""
    embedder.embed_query("one")
    server.scripts.append(Replies("", 503, {"Connection": "close"}))
    assert embedder.embed_query("one").shape == (32,)


def test_key_goes_along_and_stays_out_of_sight(server: FakeModelServer, embedder: HttpEmbedder) -> None:
    """The key is a bearer token; printing the settings does not print it."""
    assert server.received[0].headers["Authorization"] == "Bearer k-1"
    assert "k-1" not in repr(_place(server))
    assert server.received[0].body["model"] == MODEL


def test_other_dimension_is_another_space(server: FakeModelServer, client: ModelServer) -> None:
    """The same name with vectors of another length has another fingerprint, hence an index of its own."""
    before = HttpEmbedder(client).fingerprint
    server.scripts.append(_vectors((0, [0.6, 0.8])))
    after = HttpEmbedder(client)
    assert after.dimension == 2
    assert after.fingerprint != before
