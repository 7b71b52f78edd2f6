"""The vLLM adapter against a server that misbehaves in every way that is known of real ones."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import httpx_sse
import pytest

from serving.adapters.vllm import VllmGenerator
from serving.adapters.vllm_replies import VENDOR_ERRORS, vendor_errors
from serving.errors import (
    GeneratorError,
    GeneratorRefusedError,
    GeneratorTimeoutError,
    GeneratorUnavailableError,
    MalformedGenerationError,
)
from tests.contracts.generator_contract import (
    GeneratorContract,
    make_generator,
    make_request,
    wait_until,
)
from tests.fakes.openai_server import (
    Drops,
    Ends,
    FakeOpenAIServer,
    Replies,
    Says,
    Script,
    Sends,
    Thinks,
    Waits,
    error_body,
    streams,
)

pytestmark = pytest.mark.filterwarnings("error")

GOOD = streams(Thinks("Hm."), Says("Thirty days "), Says("[1]."), Ends())


@pytest.fixture
def served() -> Iterator[FakeOpenAIServer]:
    """The fake server."""
    with FakeOpenAIServer() as server:
        yield server


def generate(served: FakeOpenAIServer, *, deadline_s: float = 5.0, **settings: Any) -> str:
    """The whole answer to one question."""
    with closing(make_generator(served, **settings)) as generator:
        return "".join(generator.generate(make_request(deadline_s=deadline_s)))


def partial(generator: VllmGenerator, **changes: Any) -> tuple[list[str], GeneratorError]:
    """What was yielded before the failure, and the failure."""
    pieces: list[str] = []
    with pytest.raises(GeneratorError) as failure:
        pieces.extend(generator.generate(make_request(**changes)))
    return pieces, failure.value


class TestContract(GeneratorContract):
    """The fake keeps the contract that the real server keeps in `tests/vllm`."""


FAILURES: dict[str, tuple[Script, type[GeneratorError]]] = {
    "parse error as 500": (
        Replies(500, error_body("unexpected tokens remaining: <|channel|>", code=500)),
        GeneratorUnavailableError,
    ),
    "gateway page": (Replies(502, "<html>bad gateway</html>", "text/html"), GeneratorUnavailableError),
    "shed load": (Replies(503, error_body("engine is currently busy", code=503)), GeneratorUnavailableError),
    "rate limit": (Replies(429, error_body("slow down", code=429)), GeneratorUnavailableError),
    "200 with an error body": (Replies(200, error_body("boom", code=500)), GeneratorUnavailableError),
    "200 with an old error body": (
        Replies(200, '{"object": "error", "code": 500}'),
        GeneratorUnavailableError,
    ),
    "200 with a web page": (Replies(200, "<html/>", "text/html"), MalformedGenerationError),
    "200 without a stream": (Replies(200, '{"choices": []}'), MalformedGenerationError),
    "error in the stream": (
        streams(Sends(f"data: {error_body('boom', code=500)}\n\n")),
        GeneratorUnavailableError,
    ),
    "null content with stop": (streams(Says(None), Ends()), MalformedGenerationError),
    "empty content with stop": (streams(Says(""), Ends()), MalformedGenerationError),
    "blank content with stop": (streams(Says(" \n"), Ends()), MalformedGenerationError),
    "reasoning only": (streams(Thinks("Long thought."), Ends("length")), MalformedGenerationError),
    "a tool call": (streams(Says(None), Ends("tool_calls")), MalformedGenerationError),
    "aborted by the server": (streams(Ends("abort")), GeneratorUnavailableError),
    "markup at once": (streams(Says("<|channel|>final<|message|>Thirty."), Ends()), MalformedGenerationError),
    "markup in pieces": (streams(Says("<"), Says("|chan"), Says("nel|>x"), Ends()), MalformedGenerationError),
    "bare header": (streams(Says("anal"), Says("ysisWe need to"), Ends()), MalformedGenerationError),
    "no event at all": (streams(whole=False), MalformedGenerationError),
    "not JSON": (streams(Sends("data: {oops\n\n")), MalformedGenerationError),
    "another shape": (streams(Sends('data: {"choices": 7}\n\n')), MalformedGenerationError),
    "dropped before a token": (streams(Drops()), GeneratorUnavailableError),
}


@pytest.mark.parametrize(("script", "error"), FAILURES.values(), ids=FAILURES.keys())
class TestRetryableFailures:
    """Failures without text."""

    def test_retry_saves_the_answer(
        self, served: FakeOpenAIServer, script: Script, error: type[GeneratorError]
    ) -> None:
        """One more attempt is made, with other sampling, and its answer counts."""
        served.script(script, GOOD)
        assert generate(served) == "Thirty days [1]."
        first, second = (received.body for received in served.received)
        assert second["temperature"] > first["temperature"]

    def test_second_failure_is_raised(
        self, served: FakeOpenAIServer, script: Script, error: type[GeneratorError]
    ) -> None:
        """After the retry the failure is told, as ours, with nothing yielded."""
        served.script(script, script)
        with closing(make_generator(served)) as generator:
            pieces, failure = partial(generator)
        assert pieces == []
        assert type(failure) is error
        assert len(served.received) == 2
        assert not {"boom", "busy", "tokens remaining"} & set(str(failure).split())


BROKEN_OFF: dict[str, tuple[Script, type[GeneratorError]]] = {
    "connection drops": (streams(Says("Thirty days "), Drops()), GeneratorUnavailableError),
    "stream just ends": (streams(Says("Thirty days "), whole=False), MalformedGenerationError),
    "end mark without finish": (streams(Says("Thirty days ")), MalformedGenerationError),
    "out of tokens": (streams(Says("Thirty days "), Ends("length")), MalformedGenerationError),
    "error in the stream": (
        streams(Says("Thirty days "), Sends(f"data: {error_body('boom', code=500)}\n\n")),
        GeneratorUnavailableError,
    ),
    "markup follows": (
        streams(Says("Thirty days "), Says("<|start|>assistant"), Ends()),
        MalformedGenerationError,
    ),
    "half a token at the end": (streams(Says("Thirty days <|cha"), Ends()), MalformedGenerationError),
    "text after the end token": (
        streams(Says("Thirty days <|return|>"), Says("and more"), Ends()),
        MalformedGenerationError,
    ),
}


@pytest.mark.parametrize(("script", "error"), BROKEN_OFF.values(), ids=BROKEN_OFF.keys())
def test_broken_answer_is_not_retried(
    served: FakeOpenAIServer, script: Script, error: type[GeneratorError]
) -> None:
    """Once text was shown, a failure is told and no second answer is put after the first."""
    served.script(script)
    with closing(make_generator(served)) as generator:
        pieces, failure = partial(generator)
    assert "".join(pieces) == "Thirty days "
    assert type(failure) is error
    assert len(served.received) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_refusal_is_final(served: FakeOpenAIServer, status: int) -> None:
    """A request that the server refuses is not sent again."""
    served.script(Replies(status, error_body("too long", code=status)))
    with pytest.raises(GeneratorRefusedError, match="BadRequestError"):
        generate(served)
    assert len(served.received) == 1


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_never_shows(served: FakeOpenAIServer, name: str) -> None:
    """Under its old name and its new one, reasoning stays out of the answer."""
    served.script(streams(Thinks("SECRET", name), Says("Thirty."), Thinks("SECRET", name), Ends()))
    assert generate(served) == "Thirty."


def test_end_token_is_dropped(served: FakeOpenAIServer) -> None:
    """An end token after the text is not a failure and does not show."""
    served.script(streams(Says("Thirty [1]."), Says("<|ret"), Says("urn|>"), Ends()))
    assert generate(served) == "Thirty [1]."


@pytest.mark.parametrize(
    "text", ["a < b", "if x <| y", "an assistant", "line\u2028separator\x85", "<|", "Grüße"]
)
def test_harmless_text_arrives(served: FakeOpenAIServer, text: str) -> None:
    """What only looks like the start of markup arrives in full, cut at every place."""
    served.script(streams(*(Says(letter) for letter in f"{text} then."), Ends()))
    assert generate(served) == f"{text} then."


@pytest.mark.parametrize(
    "script",
    [
        Replies(200, delay_s=3),
        streams(Waits(3)),
        streams(Waits(3, comments=True)),
        streams(Says(""), Waits(3)),
    ],
    ids=["no headers", "no event", "comments only", "no token"],
)
def test_first_token_is_due(served: FakeOpenAIServer, script: Script) -> None:
    """Without a first token the wait ends on time and is not repeated."""
    served.script(script)
    began = time.monotonic()
    with pytest.raises(GeneratorTimeoutError):
        generate(served, first_token_timeout_s=0.3, silence_timeout_s=0.2)
    assert 0.25 < time.monotonic() - began < 2.5
    assert len(served.received) == 1


def test_reasoning_is_a_sign_of_life(served: FakeOpenAIServer) -> None:
    """A model that thinks for longer than the first token may take is waited for."""
    thoughts = [event for _ in range(5) for event in (Thinks("Hm."), Waits(0.15))]
    served.script(streams(*thoughts, Says("Thirty."), Ends()))
    assert generate(served, first_token_timeout_s=0.4, silence_timeout_s=0.4) == "Thirty."


@pytest.mark.parametrize("comments", [False, True])
def test_silence_ends_the_wait(served: FakeOpenAIServer, comments: bool) -> None:
    """A pause between tokens is bounded more tightly than the wait for the first one."""
    served.script(streams(Says("Thirty days "), Waits(3, comments=comments)))
    with closing(make_generator(served, first_token_timeout_s=3, silence_timeout_s=0.3)) as generator:
        began = time.monotonic()
        pieces, failure = partial(generator)
    assert pieces == ["Thirty days "]
    assert isinstance(failure, GeneratorTimeoutError)
    assert time.monotonic() - began < 2.5
    assert wait_until(lambda: served.running() == 0)


def test_deadline_ends_a_trickle(served: FakeOpenAIServer) -> None:
    """Tokens that keep coming do not carry a generation past its deadline."""
    served.script(streams(*(event for _ in range(40) for event in (Says("day "), Waits(0.1))), Ends()))
    began = time.monotonic()
    with pytest.raises(GeneratorTimeoutError):
        generate(served, deadline_s=0.5)
    assert time.monotonic() - began < 2.5


def test_slow_reader_is_not_silence(served: FakeOpenAIServer) -> None:
    """Only the wait for the server counts as silence, not the reader's own pauses."""
    served.script(streams(Says("Thirty "), Says("days."), Ends()))
    with closing(make_generator(served, silence_timeout_s=0.1)) as generator:
        pieces = []
        for piece in generator.generate(make_request()):
            pieces.append(piece)
            time.sleep(0.2)
    assert pieces == ["Thirty ", "days."]


def test_retry_respects_the_deadline(served: FakeOpenAIServer) -> None:
    """No retry starts when the pause before it would outlast the budget."""
    served.script(Replies(503))
    with pytest.raises(GeneratorUnavailableError):
        generate(served, deadline_s=0.5, backoff_s=5.0)
    assert len(served.received) == 1


def test_request_says_no_more_than_needed(served: FakeOpenAIServer) -> None:
    """The body and headers hold what the model needs and nothing about who asks."""
    with closing(make_generator(served, api_key="k-1")) as generator:
        list(generator.generate(make_request(cache_salt="a3f1")))
    (received,) = served.received
    assert set(received.body) == {
        "model",
        "messages",
        "reasoning_effort",
        "max_completion_tokens",
        "temperature",
        "stream",
        "stream_options",
        "cache_salt",
    }
    assert received.body["stream_options"] == {"include_usage": True}
    assert received.headers["Authorization"] == "Bearer k-1"
    assert not [name for name in received.headers if name.lower().startswith(("x-", "cookie"))]


def test_nothing_optional_is_sent_empty(served: FakeOpenAIServer) -> None:
    """Without a salt or key neither is sent."""
    generate(served)
    (received,) = served.received
    assert "cache_salt" not in received.body
    assert "Authorization" not in received.headers


def test_probe_wants_a_token(served: FakeOpenAIServer) -> None:
    """A server that listens but writes nothing is not well."""
    served.script(streams(Ends()), streams(Waits(3)), streams(Thinks("Hm."), Waits(3)))
    with closing(make_generator(served)) as generator:
        with pytest.raises(MalformedGenerationError):
            generator.probe(timeout_s=1)
        with pytest.raises(GeneratorTimeoutError):
            generator.probe(timeout_s=0.3)
        generator.probe(timeout_s=1)


def test_own_client_is_closed(served: FakeOpenAIServer) -> None:
    """A client that was passed in is left open, one that the generator opened is closed."""
    settings = make_generator(served)._settings
    with httpx.Client(trust_env=False) as client:
        VllmGenerator(settings, client).close()
        assert not client.is_closed
    generator = VllmGenerator(settings)
    assert list(generator.generate(make_request()))
    generator.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(generator.generate(make_request()))


def test_key_is_not_in_the_repr(served: FakeOpenAIServer) -> None:
    """Settings can be logged."""
    assert "k-1" not in repr(make_generator(served, api_key="k-1")._settings)


def test_every_vendor_error_is_ours() -> None:
    """The table knows each exception of httpx and httpx-sse, and errors of the caller pass unchanged."""
    theirs = [
        error
        for module in (httpx, httpx_sse)
        for error in vars(module).values()
        if inspect.isclass(error) and issubclass(error, Exception) and error is not httpx.CookieConflict
    ]
    assert theirs
    assert all(issubclass(error, tuple(row[0] for row in VENDOR_ERRORS)) for error in theirs)
    with pytest.raises(GeneratorUnavailableError), vendor_errors():
        raise httpx.ConnectError("refused")
    with pytest.raises(KeyError), vendor_errors():
        raise KeyError
