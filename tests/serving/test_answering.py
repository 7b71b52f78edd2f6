"""Answering on a real desk, with a model that is scripted: checks, fallback, revocation, audit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from retrieval.access import Principal, PrincipalId, UserId
from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.adapters.sql.token_use import SqlTokenUse
from retrieval.corpus import ChunkId, Passage
from retrieval.errors import CatalogueUnavailableError
from retrieval.wiring import model_folder, utc_now
from serving.answer import Answered, AnswerMode, Question, TextAdded, TextWithdrawn
from serving.answering import Answering, AnsweringSettings
from serving.breaker import CircuitBreaker
from serving.budget import Spending, TokenBudget
from serving.desk import Desk
from serving.errors import AuditUnavailableError, GeneratorUnavailableError
from serving.extractive import ExtractiveGenerator
from serving.http.app import create_app
from serving.ports import Generator
from serving.prompting import NOT_FOUND
from tests.desks import client_of, shared_desk
from tests.fakes.scripted_generator import ScriptedGenerator

pytestmark = pytest.mark.xdist_group("quality")

ADA = Principal(UserId("anna.nyberg"), frozenset({PrincipalId("group:everyone")}))
TEXT = "How much is paid per kilometre for the private car?"
TRUE = "Mileage is paid at EUR 0.42 per kilometre [1]. "
INVENTED = "Helicopters are reimbursed in full by the moon office [1]. "


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """The sample handbook's desk."""
    with shared_desk() as desk:
        yield desk


def _answering(desk: Desk, model: Generator | None, **parts: Any) -> Answering:
    return Answering(
        **{
            "search": desk.search,
            "corpus": desk.corpus,
            "embedder": OnnxEmbedder(model_folder(desk.settings)),
            "sparse": EdgeBm25(),
            "audit": desk.audit,
            "model": model,
            "extractive": ExtractiveGenerator(),
            "settings": AnsweringSettings(),
            "spending": Spending(TokenBudget(), SqlTokenUse(desk.database, utc_now)),
            **parts,
        }
    )


def _question(**fields: Any) -> Question:
    return Question(**{"text": TEXT, "principal": ADA, "request_id": "r-test", **fields})


def test_supported_sentences_pass_and_invented_ones_do_not(desk: Desk) -> None:
    """What the model invents never reaches the reader, streamed or not."""
    events = list(_answering(desk, ScriptedGenerator([TRUE, INVENTED])).ask(_question()))
    streamed = "".join(event.text for event in events if isinstance(event, TextAdded))
    answer = events[-1]
    assert isinstance(answer, Answered)
    assert "0.42" in answer.answer.text
    assert "moon" not in streamed + answer.answer.text
    assert answer.answer.generator.name == "scripted"


def test_answer_without_any_support_becomes_extracts(desk: Desk) -> None:
    """When nothing of the model's answer is borne out, extracts answer and say why."""
    answer = _answering(desk, ScriptedGenerator([INVENTED])).answer(_question())
    assert answer.generator.generator == "extractive"
    assert answer.fallback_reason == "generator_unsupported"
    assert answer.citations


def test_model_that_dies_after_a_sentence_is_withdrawn(desk: Desk) -> None:
    """A half answer is taken back and replaced by extracts."""
    model = ScriptedGenerator([TRUE, "Receipts are"], GeneratorUnavailableError("gone"))
    events = list(_answering(desk, model).ask(_question()))
    kinds = [type(event) for event in events]
    assert kinds.index(TextWithdrawn) > kinds.index(TextAdded)
    assert isinstance(events[-1], Answered)
    assert events[-1].answer.fallback_reason == "generator_unavailable"


def test_dead_model_is_left_alone_after_three_failures(desk: Desk) -> None:
    """The breaker spares askers the wait for a server that is down."""
    model = ScriptedGenerator([], GeneratorUnavailableError("gone"))
    answering = _answering(desk, model)
    answering._breaker = CircuitBreaker(clock=lambda: 0.0)  # it stays open, however long five answers take
    for _ in range(5):
        assert answering.answer(_question()).generator.generator == "extractive"
    assert len(model.requests) == 3


def test_refusal_is_an_abstention(desk: Desk) -> None:
    """The model's agreed sentence counts as "not found"."""
    answer = _answering(desk, ScriptedGenerator([NOT_FOUND])).answer(_question())
    assert answer.abstained
    assert answer.text == NOT_FOUND
    assert answer.citations == ()


def test_weak_evidence_asks_no_model(desk: Desk) -> None:
    """A question far from every document is declined before any prompt is made."""
    model = ScriptedGenerator([TRUE])
    answer = _answering(desk, model).answer(_question(text="Why do tomato plants have yellow leaves?"))
    assert answer.abstained
    assert model.requests == []


def test_extracts_on_request(desk: Desk) -> None:
    """A caller may ask for extracts although there is a model."""
    model = ScriptedGenerator([TRUE])
    answer = _answering(desk, model).answer(_question(mode=AnswerMode.EXTRACTIVE))
    assert answer.generator.generator == "extractive"
    assert model.requests == []


def test_permission_revoked_while_the_model_writes(desk: Desk) -> None:
    """What may no longer be read when the answer is ready is not answered."""
    corpus = _Revocable(desk)
    model = ScriptedGenerator([TRUE, "The end [1]."], between=corpus.revoke)
    events = list(_answering(desk, model, corpus=corpus).ask(_question()))
    last = events[-1]
    assert isinstance(last, Answered)
    assert last.answer.abstained
    assert last.answer.references == ()
    assert any(isinstance(event, TextWithdrawn) for event in events)


class _Revocable:
    """The desk's corpus, until everything is revoked."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._revoked = False

    def revoke(self) -> None:
        """From now on nothing is readable."""
        self._revoked = True

    def passages(self, chunk_ids: Any) -> dict[ChunkId, Passage]:
        """See `CorpusReader.passages`."""
        return {} if self._revoked else self._desk.corpus.passages(chunk_ids)


def test_prompt_is_on_record_before_the_model_sees_it(desk: Desk) -> None:
    """The record names every passage of the prompt, and the chain holds."""
    model = ScriptedGenerator([TRUE])
    _answering(desk, model).answer(_question(request_id="r-recorded"))
    records = [r for r in desk.audit.records(after=0, limit=10_000) if r.request_id == "r-recorded"]
    assert [record.event for record in records] == ["prompt", "answer"]
    entered = {chunk["chunk_id"] for chunk in records[0].body["chunks"]}
    assert entered == {s.hit.passage.chunk_id for s in model.requests[0].context.sources}
    assert TEXT not in str(records)
    assert desk.audit.verify().is_intact


def test_the_words_of_a_question_are_kept_if_that_is_the_policy(desk: Desk) -> None:
    """In the part that names the asker, so they go with it; the tokens of the model are counted."""
    model = ScriptedGenerator([TRUE], usage={"prompt_tokens": 700, "completion_tokens": 20})
    answering = _answering(desk, model, settings=AnsweringSettings(record_questions=True))
    answer = answering.answer(_question(request_id="r-words"))
    records = [r for r in desk.audit.records(after=0, limit=10_000) if r.request_id == "r-words"]
    assert {record.facts["question"] for record in records} == {TEXT}
    assert all(TEXT not in str(record.body) for record in records)
    assert records[-1].body["tokens"] == answer.usage == {"prompt_tokens": 700, "completion_tokens": 20}


def test_no_record_no_answer(desk: Desk) -> None:
    """When the audit record cannot be written the model is not asked."""

    class BrokenAudit:
        def append(self, *_: object, **__: object) -> None:
            raise CatalogueUnavailableError("disk full")

    model = ScriptedGenerator([TRUE])
    with pytest.raises(AuditUnavailableError):
        _answering(desk, model, audit=BrokenAudit()).answer(_question())
    assert model.requests == []


def test_budget_spent_means_extracts_and_no_call(desk: Desk) -> None:
    """Over the day's tokens the model is not asked, and the answer says why."""
    model = ScriptedGenerator([TRUE])
    use = SqlTokenUse(desk.database, utc_now)
    asker = Principal(UserId("spender"), ADA.groups)
    answering = _answering(desk, model, spending=Spending(TokenBudget(per_user=6_000), use))
    answers = [answering.answer(_question(principal=asker)) for _ in range(8)]
    reasons = [answer.fallback_reason for answer in answers]
    n_asked = len(model.requests)
    assert 1 <= n_asked < 8
    assert reasons == [""] * n_asked + ["token_budget_spent"] * (8 - n_asked)
    assert answers[-1].citations
    assert answers[-1].generator.generator == "extractive"
    assert use.today()[asker.user_id] <= 6_000
    other = Principal(UserId("saver"), ADA.groups)
    assert answering.answer(_question(principal=other)).fallback_reason == ""


def test_what_the_server_counted_is_what_counts(desk: Desk) -> None:
    """Reservations give way to the server's counts, which the answer carries as well."""
    told = {"prompt_tokens": 700, "completion_tokens": 55, "reasoning_tokens": 5, "cached_tokens": 0}
    use = SqlTokenUse(desk.database, utc_now)
    asker = Principal(UserId("counted"), ADA.groups)
    spending = Spending(TokenBudget(total=10**9), use)
    model = ScriptedGenerator([TRUE], usage=told)
    answer = _answering(desk, model, spending=spending).answer(_question(principal=asker))
    assert answer.usage == told
    assert use.today()[asker.user_id] == 755


def test_a_generation_that_breaks_off_is_counted_by_estimate(desk: Desk) -> None:
    """Who closes the stream gets no free tokens, and no reservation stays behind."""
    use = SqlTokenUse(desk.database, utc_now)
    asker = Principal(UserId("leaver"), ADA.groups)
    spending = Spending(TokenBudget(total=10**9), use)
    events = _answering(desk, ScriptedGenerator([TRUE, TRUE]), spending=spending).ask(
        _question(principal=asker)
    )
    for event in events:
        if isinstance(event, TextAdded):
            break
    reserved = use.today()[asker.user_id]
    events.close()  # type: ignore[attr-defined]  # it is a generator
    assert 100 < use.today()[asker.user_id] < reserved


def test_a_spent_budget_shows_in_replies_and_metrics(desk: Desk) -> None:
    """The reply names the reason, streamed or not, and so do the metrics."""
    spending = Spending(TokenBudget(total=1), SqlTokenUse(desk.database, utc_now))
    model = ScriptedGenerator([TRUE])
    client = client_of(create_app(replace(desk, answering=_answering(desk, model, spending=spending))))
    reply = client.post("/api/v1/answers", json={"question": TEXT})
    assert (reply.status_code, reply.json()["fallback_reason"]) == (200, "token_budget_spent")
    assert "0.42" in reply.json()["answer"]
    assert (
        "token_budget_spent" in client.post("/api/v1/answers", json={"question": TEXT, "stream": True}).text
    )
    chat = {"messages": [{"role": "user", "content": TEXT}]}
    assert client.post("/v1/chat/completions", json=chat).status_code == 200
    counted = 'abstained="false",fallback_reason="token_budget_spent",generator="extractive"'
    assert f"refdesk_answers_total{{{counted}}} 3.0" in client.get("/metrics").text
    assert model.requests == []
