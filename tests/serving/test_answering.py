"""Answering on a real desk, with a model that is scripted: checks, fallback, revocation, audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from retrieval.access import Principal, PrincipalId, UserId
from retrieval.adapters.bm25 import EdgeBm25
from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.corpus import ChunkId, Passage
from retrieval.errors import CatalogueUnavailableError
from retrieval.wiring import model_folder
from serving.answer import Answered, AnswerMode, Question, TextAdded, TextWithdrawn
from serving.answering import Answering, AnsweringSettings
from serving.desk import Desk
from serving.errors import AuditUnavailableError, GeneratorUnavailableError
from serving.extractive import ExtractiveGenerator
from serving.ports import Generator
from serving.prompting import NOT_FOUND
from tests.desks import shared_desk
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
    model = ScriptedGenerator([TRUE], tokens={"prompt_tokens": 700, "completion_tokens": 20})
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
