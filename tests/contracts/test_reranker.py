"""The reranker contract on every adapter, and what only some of them can get wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from retrieval.adapters.cross_encoder import CrossEncoderReranker
from retrieval.adapters.http_reranker import HttpReranker, Protocol
from retrieval.adapters.model_server import ModelServer, ModelServerSettings
from retrieval.adapters.resting_reranker import RestingReranker
from retrieval.errors import RerankerUnavailableError
from retrieval.ports import Reranker
from tests.contracts.reranker_contract import CLOSE, PASSAGES, QUESTION, RerankerContract
from tests.fakes.model_server import MODEL, FakeModelServer, Replies
from tests.fakes.overlap_reranker import OverlapReranker
from tests.models import make_cross_encoder

pytestmark = pytest.mark.xdist_group("torch")  # importing it takes seconds: once is enough

TIME_S = 30.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cross-encoder."""
    return make_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-cross-encoder")


@pytest.fixture(scope="module")
def cross_encoder(folder: Path) -> CrossEncoderReranker:
    """It, loaded."""
    return CrossEncoderReranker(folder, time_s=TIME_S)


@pytest.fixture(scope="module", params=["folder", "cohere", "tei", "resting", "overlap"])
def opened(request: pytest.FixtureRequest, cross_encoder: CrossEncoderReranker) -> Iterator[Reranker]:
    """Each adapter, and the fake."""
    with ExitStack() as stack:
        if request.param in set(Protocol):
            server = stack.enter_context(FakeModelServer(reranker=cross_encoder))
            place = ModelServerSettings(server.v1 if request.param == "cohere" else server.root, MODEL)
            yield HttpReranker(stack.enter_context(closing(ModelServer(place))), Protocol(request.param))
        elif request.param == "resting":
            yield RestingReranker(cross_encoder, clock=time.monotonic)
        else:
            yield cross_encoder if request.param == "folder" else OverlapReranker()


class TestContract(RerankerContract):
    """Every adapter keeps the contract."""

    @pytest.fixture
    def reranker(self, opened: Reranker) -> Reranker:
        """See `opened`."""
        return opened


@pytest.mark.parametrize("protocol", list(Protocol))
def test_servers_give_the_models_own_scores(protocol: Protocol, cross_encoder: CrossEncoderReranker) -> None:
    """Both protocols sort their replies; the scores find back to their passages, over several requests."""
    passages = [f"{passage[:60]} {number}" for number in range(20) for passage in PASSAGES]
    with FakeModelServer(reranker=cross_encoder) as server:
        place = ModelServerSettings(server.v1 if protocol is Protocol.COHERE else server.root, MODEL)
        with closing(ModelServer(place)) as client:
            scores = HttpReranker(client, protocol).score(QUESTION, passages)
        assert scores == pytest.approx(cross_encoder.score(QUESTION, passages), abs=CLOSE)
        texts = [each.body.get("documents") or each.body.get("texts") for each in server.received]
        assert [len(batch or ()) for batch in texts] == [32, 32, 16]


def test_a_model_that_classifies_is_refused(tmp_path: Path) -> None:
    """Three labels are no order."""
    with pytest.raises(RerankerUnavailableError, match="3 scores"):
        CrossEncoderReranker(make_cross_encoder(tmp_path / "classifier", n_labels=3), time_s=TIME_S)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    """Nothing is looked for elsewhere under the folder's name."""
    with pytest.raises(RerankerUnavailableError, match="cannot be loaded"):
        CrossEncoderReranker(tmp_path / "absent", time_s=TIME_S)


def test_a_folder_keeps_its_time(folder: Path) -> None:
    """When time is up between two batches, or before a turn comes, the call ends with an error."""
    hasty = CrossEncoderReranker(folder, time_s=1e-6)
    with pytest.raises(RerankerUnavailableError, match="took longer"):
        hasty.score(QUESTION, PASSAGES)
    crowded = CrossEncoderReranker(folder, time_s=0.2)
    began = time.monotonic()
    with crowded._taking_turns, pytest.raises(RerankerUnavailableError, match="took longer"):
        crowded.score(QUESTION, PASSAGES)
    assert time.monotonic() - began < 2


def test_a_server_keeps_its_time_over_all_batches() -> None:
    """The limit is one search's, not one request's."""
    with FakeModelServer(reranker=OverlapReranker()) as server:
        place = ModelServerSettings(server.v1, MODEL, time_s=0.5)
        passages = ["leave"] * 90
        half = [{"index": index, "relevance_score": 0.5} for index in range(32)]
        slow = Replies(json.dumps({"results": half}), delay_s=0.3)
        server.scripts.extend([slow, slow])
        with closing(ModelServer(place)) as client, pytest.raises(RerankerUnavailableError, match="in time"):
            HttpReranker(client, Protocol.COHERE).score("leave", passages)
        assert len(server.received) == 2


def test_a_reranker_that_failed_is_left_alone_for_a_while() -> None:
    """After a failure it is not asked for 15 seconds, then again; success needs no rest."""
    now = [0.0]
    asked: list[str] = []

    class Moody(OverlapReranker):
        is_well = False

        def score(self, question: str, passages: object) -> list[float]:
            asked.append(question)
            if not self.is_well:
                raise RerankerUnavailableError("down")
            return [1.0]

    moody = Moody()
    resting = RestingReranker(moody, clock=lambda: now[0])
    for _ in range(3):
        with pytest.raises(RerankerUnavailableError):
            resting.score("a", ["b"])
    assert len(asked) == 1
    now[0], moody.is_well = 16.0, True
    assert resting.score("a", ["b"]) == resting.score("a", ["b"]) == [1.0]
    assert len(asked) == 3


def test_threads_wait_for_their_turn(cross_encoder: CrossEncoderReranker) -> None:
    """A thread that waits gets its scores when the other is done."""
    scores: list[list[float]] = []
    with cross_encoder._taking_turns:
        waiting = threading.Thread(target=lambda: scores.append(cross_encoder.score(QUESTION, PASSAGES)))
        waiting.start()
        time.sleep(0.05)
        assert not scores
    waiting.join(TIME_S)
    assert len(scores[0]) == len(PASSAGES)
