"""ask(): authorise -> retrieve -> assemble -> generate -> check citations -> record -> respond, as events."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from retrieval.adapters.sql.audit import SqlAudit
from retrieval.errors import CatalogueUnavailableError
from retrieval.ports import CorpusReader, Embedder, SparseEncoder
from retrieval.query import Hit, Query, SearchResult
from retrieval.search import MAX_LIMIT, Search, demote_superseded
from serving.admission import Admitted, admit
from serving.answer import (
    Answer,
    Answered,
    AnswerEvent,
    AnswerMode,
    Citation,
    Context,
    GenerationRequest,
    GeneratorInfo,
    Question,
    ReferencesFound,
    Step,
    TextAdded,
    TextWithdrawn,
    Window,
)
from serving.breaker import CircuitBreaker
from serving.budget import Spending, Usage
from serving.citing import check_sentence, sentences_of
from serving.context import assemble
from serving.errors import (
    AuditUnavailableError,
    GeneratorError,
    GeneratorRefusedError,
    TokenBudgetError,
    UnsupportedAnswerError,
)
from serving.evidence import by_best_window, judge
from serving.gate import is_sufficient
from serving.ports import Generator
from serving.prompting import NOT_FOUND, PROMPT_VERSION, build_messages

_log = logging.getLogger(__name__)

_CANDIDATES = 50
"""Passages that are looked at for an answer."""


@dataclass(frozen=True, slots=True)
class AnsweringSettings:
    """How answers are made.

    Attributes:
        context_tokens: Most tokens of passages in a prompt.
        max_sources: Most passages in a prompt.
        max_tokens: Most tokens a model writes, reasoning included.
        deadline_s: Seconds for one generation.
        record_questions: Whether the audit trail holds the words of questions besides their hash.
    """

    context_tokens: int = 3000
    max_sources: int = 12
    max_tokens: int = 1200
    deadline_s: float = 60.0
    record_questions: bool = False


@dataclass(slots=True)
class _Draft:
    """An answer while it is being made. `index` is what was searched, `began` a reading of the stopwatch."""

    context: Context
    evidence: tuple[Window, ...]
    info: GeneratorInfo
    index: str
    began: float
    n_withheld: int = 0
    sentences: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    fallback_reason: str = ""
    is_prompted: bool = False
    usage: Usage = field(default_factory=Usage)


class Answering:
    """Answers questions from what the asker may read."""

    def __init__(
        self,
        *,
        search: Search,
        corpus: CorpusReader,
        embedder: Embedder,
        sparse: SparseEncoder,
        audit: SqlAudit,
        model: Generator | None,
        extractive: Generator,
        settings: AnsweringSettings,
        spending: Spending,
    ) -> None:
        """Answer with these parts; without a `model` every answer consists of extracts."""
        self._search = search
        self._corpus = corpus
        self._embedder = embedder
        self._sparse = sparse
        self._audit = audit
        self._model = model
        self._extractive = extractive
        self._settings = settings
        self._spending = spending
        self._breaker = CircuitBreaker(clock=time.monotonic)

    def answer(self, question: Question) -> Answer:
        """The whole answer at once; raises what `ask` raises."""
        return whole(self.ask(question))

    def probe_model(self, *, timeout_s: float) -> None:
        """Return once a token came back from the model, at once when there is none configured.

        Raises:
            GeneratorError: No token came back in time; answers consist of extracts meanwhile.
        """
        if self._model is not None:
            self._model.probe(timeout_s=timeout_s)

    def ask(self, question: Question) -> Iterator[AnswerEvent]:
        """Answer a question, as a stream.

        Yields:
            `ReferencesFound` first, then `TextAdded` sentence by sentence, each checked before it leaves;
            `TextWithdrawn` when what came so far does not count any more; `Answered` last.

        Raises:
            RetrievalError: The search failed; nothing was answered.
            AuditUnavailableError: The record could not be written; nothing was answered.

        Access:
            Passages come from a filtered and checked search, and pass `admit` before anything is made of them;
            those cited pass it once more before the answer is given. What entered the prompt is on record before
            the model sees it and before anything leaves; what was streamed is withdrawn when the outcome cannot be
            put on record.
        """
        steps: list[Step] = []
        started = began = time.perf_counter()
        found, admitted = self._find(question)
        hits = admitted.hits
        steps.append(_step("retrieve", began, ", ".join([f"{len(hits)} passages", *found.degraded])))
        began = time.perf_counter()
        evidence = judge(
            question.text,
            self._embedder.embed_query(question.text),
            hits,
            terms=self._terms,
            embed=self._embedder.embed_documents,
        )
        context = assemble(
            demote_superseded(by_best_window(hits, evidence)),
            budget_tokens=self._settings.context_tokens,
            max_sources=self._settings.max_sources,
        )
        evidence = _current_first(evidence, context)
        sufficient = is_sufficient(question.text, evidence)
        steps.append(_step("judge", began, "sufficient" if sufficient else "insufficient"))
        generator = self._choose(question)
        draft = _Draft(
            context, evidence, generator.info, found.index, started, admitted.n_withheld, steps=steps
        )
        references = ReferencesFound(tuple(source.hit for source in context.sources))
        if not sufficient:
            ending = list(self._conclude(question, draft))  # on record before anything leaves
            yield references
            yield from ending
            return
        self._record(question, draft)
        yield references
        yield from self._write(question, generator, draft)
        try:
            yield from self._conclude(question, draft)
        except AuditUnavailableError as error:
            if draft.sentences:
                yield TextWithdrawn(error.code)
            raise

    def _find(self, question: Question) -> tuple[SearchResult, Admitted]:
        """The best passages that may enter a prompt; more are looked at where labels keep some of them out."""

        def find(limit: int) -> tuple[SearchResult, Admitted]:
            query = Query(question.text, limit, question.filters, group_by_document=False)
            found = self._search.search(query, question.principal)
            return found, admit(found.hits, question.principal, self._corpus)

        found, admitted = find(_CANDIDATES)
        if not admitted.n_withheld:
            return found, admitted
        found, more = find(MAX_LIMIT)
        return found, Admitted(more.hits[:_CANDIDATES], admitted.n_withheld)

    def _terms(self, text: str) -> frozenset[int]:
        return frozenset(self._sparse.encode_query(text).indices)

    def _choose(self, question: Question) -> Generator:
        if self._model is None or question.mode is AnswerMode.EXTRACTIVE:
            return self._extractive
        return self._model

    def _write(self, question: Question, generator: Generator, draft: _Draft) -> Iterator[AnswerEvent]:
        """Stream the model's checked sentences, or extracts where the model gives none."""
        if generator is not self._extractive:
            try:
                yield from self._write_with_model(question, generator, draft)
                return
            except GeneratorError as error:
                _log.warning(
                    "generator failed", extra={"code": error.code, "request_id": question.request_id}
                )
                if draft.sentences:
                    yield TextWithdrawn(error.code)
                draft.sentences.clear()
                draft.citations.clear()
                draft.fallback_reason, draft.info = error.code, self._extractive.info
        yield from self._stream(self._request(question, draft), self._extractive, draft)

    def _write_with_model(self, question: Question, model: Generator, draft: _Draft) -> Iterator[AnswerEvent]:
        if not self._breaker.allows():
            raise GeneratorError("the model server failed repeatedly and is left alone for a while")
        try:
            with self._spending.spending(question.principal.user_id, self._request(question, draft)) as spent:
                request, draft.usage = spent
                yield from self._stream(request, model, draft)
        except TokenBudgetError:  # the server was not asked
            raise
        except GeneratorRefusedError:  # the server is well; it is the request that it does not take
            self._breaker.succeeded()
            raise
        except GeneratorError:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        if not draft.sentences:
            raise UnsupportedAnswerError("no sentence of the model is supported by the sources")

    def _request(self, question: Question, draft: _Draft) -> GenerationRequest:
        return GenerationRequest(
            question=question.text,
            context=draft.context,
            messages=build_messages(question.text, draft.context, question.history),
            effort=question.effort,
            max_tokens=self._settings.max_tokens,
            deadline_s=self._settings.deadline_s,
            cache_salt=_cache_salt(question),
            evidence=draft.evidence,
        )

    def _stream(
        self, request: GenerationRequest, generator: Generator, draft: _Draft
    ) -> Iterator[AnswerEvent]:
        began = time.perf_counter()
        n_dropped = 0
        for sentence in sentences_of(generator.generate(request)):
            draft.usage.n_chars += len(sentence)
            if _is_refusal(sentence):
                draft.sentences.append(NOT_FOUND)
                break
            checked = check_sentence(sentence, draft.context, self._terms)
            if checked is None:
                n_dropped += 1
                continue
            draft.sentences.append(checked.text)
            draft.citations.extend(checked.citations)
            yield TextAdded(checked.text + " ")
        draft.steps.append(_step("generate", began, f"{generator.info.name}, {n_dropped} sentences dropped"))

    def _conclude(self, question: Question, draft: _Draft) -> Iterator[AnswerEvent]:
        began = time.perf_counter()
        readable = self._still_readable(question, draft.context)
        references = tuple(hit for hit in _hits(draft.context) if hit.passage.chunk_id in readable)
        revoked = any(citation.hit.passage.chunk_id not in readable for citation in draft.citations)
        abstained = revoked or not draft.citations
        if abstained and draft.sentences:
            yield TextWithdrawn("not_found")
        draft.steps.append(_step("check", began, f"{len(draft.citations)} citations"))
        answer = Answer(
            text=NOT_FOUND if abstained else " ".join(draft.sentences),
            citations=() if abstained else _distinct(draft.citations),
            abstained=abstained,
            references=references,
            generator=draft.info,
            steps=tuple(draft.steps),
            fallback_reason=draft.fallback_reason,
            usage=draft.usage.counts,
            n_withheld=draft.n_withheld,
        )
        self._append("answer", question, _outcome(answer, draft))
        yield Answered(answer)

    def _still_readable(self, question: Question, context: Context) -> set[str]:
        admitted = admit(_hits(context), question.principal, self._corpus)
        return {hit.passage.chunk_id for hit in admitted.hits}

    def _record(self, question: Question, draft: _Draft) -> None:
        """Put on record what the model is about to see."""
        entered = [
            {"chunk_id": passage.chunk_id, "document_id": passage.document_id, "version": passage.version}
            for passage in (hit.passage for hit in _hits(draft.context))
        ]
        facts = {
            "chunks": entered,
            "generator": draft.info.name,
            "revision": draft.info.revision,
            "index": draft.index,
            "mode": question.mode.value,
            "context_tokens": self._settings.context_tokens,
            "max_sources": self._settings.max_sources,
            "max_tokens": self._settings.max_tokens,
        }
        self._append("prompt", question, facts)
        draft.is_prompted = True

    def _append(self, event: str, question: Question, body: dict[str, object]) -> None:
        facts: dict[str, object] = {
            "question_sha256": hashlib.sha256(question.text.encode()).hexdigest(),
            "channel": question.channel,
            "prompt_version": PROMPT_VERSION,
            "effort": question.effort.value,
            "acting_for": question.principal.acting_for,
        }
        if self._settings.record_questions:
            facts["question"] = question.text
        try:
            self._audit.append(
                event,
                principal=question.principal,
                request_id=question.request_id,
                body={**facts, **body},
            )
        except CatalogueUnavailableError as error:
            raise AuditUnavailableError("the audit record cannot be written") from error


def whole(events: Iterable[AnswerEvent]) -> Answer:
    """The answer that a stream of `ask` ends with."""
    for event in events:
        if isinstance(event, Answered):
            return event.answer
    raise AssertionError("ask() ends with the answer")


def _current_first(evidence: Sequence[Window], context: Context) -> tuple[Window, ...]:
    """Windows that are in the context, those of superseded documents after their successors' ones."""
    chunks = [source.hit.passage.chunk_id for source in context.sources]
    replaced = {
        passage.document_id
        for passage in (source.hit.passage for source in context.sources)
        if passage.superseded_by in {source.hit.passage.document_id for source in context.sources}
    }
    inside = [window for window in evidence if window.hit.passage.chunk_id in chunks]
    return tuple(sorted(inside, key=lambda window: window.hit.passage.document_id in replaced))


def _hits(context: Context) -> list[Hit]:
    return [source.hit for source in context.sources]


def _step(name: str, began: float, detail: str) -> Step:
    return Step(name, round((time.perf_counter() - began) * 1000, 1), detail)


def _is_refusal(sentence: str) -> bool:
    return " ".join(sentence.split()).startswith(NOT_FOUND.rstrip("."))


def _distinct(citations: Sequence[Citation]) -> tuple[Citation, ...]:
    """One citation per marker and quote, in order."""
    return tuple({(c.marker, c.start, c.end): c for c in citations}.values())


def _outcome(answer: Answer, draft: _Draft) -> dict[str, object]:
    entered = _hits(draft.context) if draft.is_prompted else []
    return {
        "abstained": answer.abstained,
        "generator": answer.generator.name,
        "revision": answer.generator.revision,
        "fallback_reason": answer.fallback_reason,
        "cited": sorted({citation.hit.passage.chunk_id for citation in answer.citations}),
        "sources": sorted({hit.passage.source_id for hit in entered}),
        "withheld": answer.n_withheld,
        "tokens": dict(answer.usage),
        "ms": round((time.perf_counter() - draft.began) * 1000),
    }


def _cache_salt(question: Question) -> str:
    """Separates prefix caches of askers who may read different documents; tells nothing about them."""
    principal = question.principal
    readers = "|".join(",".join(sorted(ids)) for ids in (principal.allow_ids, principal.deny_only))
    return hashlib.sha256(readers.encode()).hexdigest()[:32]
