"""What a generator behind a chat-completions API has to do; the fake and the real vLLM run the same tests."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx
import pytest

from retrieval.access import Acl, UserId
from retrieval.corpus import ChunkId, DocumentId, Passage, SourceId, VersionId
from retrieval.query import Hit
from serving.adapters.vllm import VllmGenerator, VllmSettings
from serving.answer import Context, GenerationRequest, Promptable, ReasoningEffort, Source
from serving.errors import (
    GeneratorError,
    GeneratorRefusedError,
    GeneratorTimeoutError,
    GeneratorUnavailableError,
    MalformedGenerationError,
)
from serving.prompting import build_messages

LEAVE = "Every employee has thirty days of paid leave a year. Unused days expire at the end of March."
CLIENT = httpx.Client(trust_env=False)
"""One for all tests: loading the certificate authorities takes longer than most of them."""

CLOSED_PORT = "http://127.0.0.1:9/v1"


class ServedModel(Protocol):
    """A running server."""

    @property
    def base_url(self) -> str:
        """Root of the API, with `/v1`."""
        ...

    @property
    def model(self) -> str:
        """The name that it answers to."""
        ...

    def running(self) -> int:
        """How many completions are being written now."""
        ...


def make_source(marker: int, text: str) -> Source:
    """A numbered passage with this text."""
    passage = Passage(
        chunk_id=ChunkId(f"chunk-{marker}"),
        document_id=DocumentId(f"document-{marker}"),
        version_id=VersionId("version"),
        version=1,
        source_id=SourceId("handbook"),
        external_id=f"people/{marker}.md",
        position=0,
        text=text,
        start=0,
        end=len(text),
        heading_path=("Leave",),
        page=None,
        context="",
        title="Leave policy",
        url="",
        media_type="text/markdown",
        language="en",
        tags=(),
        modified_at=datetime(2026, 1, 2, tzinfo=UTC),
        superseded_by=None,
        acl=Acl(UserId("mara.lindqvist")),
    )
    return Source(marker, Promptable(Hit(passage, score=1.0)))


def make_request(*texts: str, question: str = "How many days of leave?", **changes: Any) -> GenerationRequest:
    """A request with the desk's own prompt over these passages."""
    context = Context(tuple(make_source(marker, text) for marker, text in enumerate(texts or (LEAVE,), 1)))
    request = GenerationRequest(
        question=question,
        context=context,
        messages=build_messages(question, context),
        effort=ReasoningEffort.LOW,
        max_tokens=400,
        deadline_s=60.0,
    )
    return dataclasses.replace(request, **changes)


def make_generator(served: ServedModel, client: httpx.Client = CLIENT, **changes: Any) -> VllmGenerator:
    """A generator for the server that samples greedily and backs off briefly."""
    settings = VllmSettings(served.base_url, served.model, temperature=0.0, backoff_s=0.01)
    return VllmGenerator(dataclasses.replace(settings, **changes), client)


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 10.0) -> bool:
    """Whether the condition came true in time."""
    give_up_at = time.monotonic() + timeout_s
    while not (held := holds()) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    return held


class GeneratorContract:
    """Subclasses provide the fixture `served`."""

    @pytest.fixture
    def generator(self, served: ServedModel) -> Iterator[VllmGenerator]:
        """A generator for the server."""
        with closing(make_generator(served)) as generator:
            yield generator

    def test_answer_streams_and_cites(self, generator: VllmGenerator) -> None:
        """The desk's own prompt gets an answer in several pieces that cites a source it was given."""
        pieces = list(generator.generate(make_request()))
        assert len(pieces) > 3
        assert set(re.findall(r"\[(\d+)\]", "".join(pieces))) == {"1"}

    @pytest.mark.parametrize("effort", list(ReasoningEffort))
    def test_reasoning_stays_hidden(self, generator: VllmGenerator, effort: ReasoningEffort) -> None:
        """Every effort is accepted, and no word or mark of the reasoning gets into the answer."""
        text = "".join(generator.generate(make_request(effort=effort)))
        assert "[1]" in text
        assert not re.search(r"Quick|Checking|Verifying|analysis|<\||\|>", text)

    def test_usage_is_told(self, served: ServedModel) -> None:
        """Each request hears its own token counts, reasoning among them."""
        told: list[Mapping[str, int]] = []
        with closing(make_generator(served)) as generator:
            list(generator.generate(make_request(on_usage=told.append)))
        counts, *others = told
        assert not others
        assert counts["prompt_tokens"] > 0
        assert 0 < counts["reasoning_tokens"] < counts["completion_tokens"]

    def test_revision_is_the_servers(self, generator: VllmGenerator) -> None:
        """The revision is unknown before the first answer and the server's fingerprint afterwards."""
        assert generator.info.revision == "unknown"
        list(generator.generate(make_request()))
        assert generator.info.revision.startswith("vllm-0.32.0-")

    def test_several_at_once(self, generator: VllmGenerator) -> None:
        """Threads share one generator, and each gets its own whole answer."""
        requests = [make_request(LEAVE, f"Passage {number}.") for number in range(6)]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda request: "".join(generator.generate(request)), requests))
        assert all("[1]" in answer for answer in answers)

    def test_salt_is_accepted(self, generator: VllmGenerator) -> None:
        """A cache salt changes nothing in the answer."""
        salted = "".join(generator.generate(make_request(cache_salt="a3f1")))
        assert salted == "".join(generator.generate(make_request()))

    def test_closing_stops_the_server(self, served: ServedModel, generator: VllmGenerator) -> None:
        """A reader who leaves early frees the server's slot."""
        answer = generator.generate(make_request(effort=ReasoningEffort.HIGH))
        next(answer)
        answer.close()  # type: ignore[attr-defined]  # it is a generator
        assert wait_until(lambda: served.running() == 0)

    def test_long_prompt_is_refused(self, generator: VllmGenerator) -> None:
        """A prompt over the model's length is refused at once, and the error does not quote it."""
        with pytest.raises(GeneratorRefusedError) as refused:
            list(generator.generate(make_request("zyzzyva plugh " * 5_000)))
        assert "zyzzyva" not in str(refused.value)

    def test_unknown_model_is_refused(self, served: ServedModel) -> None:
        """Another model's name is refused, not retried."""
        with closing(make_generator(served, model="no-such-model")) as generator:
            with pytest.raises(GeneratorRefusedError):
                list(generator.generate(make_request()))
            with pytest.raises(GeneratorRefusedError):
                generator.probe(timeout_s=20)

    def test_cut_header_never_shows(self, generator: VllmGenerator) -> None:
        """A reply that is cut inside its header, which vLLM shows as content, fails without text."""
        yielded: list[str] = []
        with pytest.raises(MalformedGenerationError):
            yielded.extend(generator.generate(make_request(max_tokens=2)))
        assert yielded == []

    def test_deadline_holds(self, generator: VllmGenerator) -> None:
        """A deadline in the past stops everything before a request goes out."""
        with pytest.raises(GeneratorTimeoutError):
            list(generator.generate(make_request(deadline_s=0.0)))

    def test_probe_needs_a_token(self, served: ServedModel, generator: VllmGenerator) -> None:
        """A server that writes a token is well; one that is not there is not."""
        generator.probe(timeout_s=20)
        assert wait_until(lambda: served.running() == 0)
        with closing(make_generator(served, base_url=CLOSED_PORT)) as absent:
            with pytest.raises(GeneratorUnavailableError):
                absent.probe(timeout_s=5)
            with pytest.raises(GeneratorError):
                list(absent.generate(make_request()))
