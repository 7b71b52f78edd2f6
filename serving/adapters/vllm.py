"""gpt-oss behind vLLM's OpenAI-compatible API, with its known failures turned into our errors.

What a server does wrong in practice, with sources, is listed in docs/generator.md: parse errors as HTTP 500,
status 200 with an error body, empty content with finish "stop", reasoning that uses up the tokens, Harmony
markup inside the answer. None of it reaches a reader as an answer. Reasoning only counts as a sign of life.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Self

import httpx
import httpx_sse

from serving.adapters.vllm_replies import Chunk, check_ending, check_status, vendor_errors
from serving.answer import GenerationRequest, GeneratorInfo, Message, ReasoningEffort
from serving.errors import GeneratorError, GeneratorTimeoutError, MalformedGenerationError
from serving.harmony import HarmonyGuard

PROBE = (Message("user", "Reply with the word ok."),)
N_PROBE_TOKENS = 8


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """Where the model is served, and how long to wait for it.

    Attributes:
        base_url: Root of the API, with `/v1`.
        model: One of the server's `--served-model-name`s.
        api_key: Sent as a bearer token unless empty.
        revision: What answers record; empty takes the server's fingerprint (vLLM version and configuration).
        first_token_timeout_s: Wait for the first token, reasoning included; covers queueing and prefill.
        silence_timeout_s: Longest pause between tokens.
        max_retries: Further attempts as long as no text was yielded. A time-out is never tried again.
        temperature: Of the first attempt; `retry_temperature` changes the sampling afterwards.
        backoff_s: Pause before the first retry, give or take half; doubles with each one.
    """

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    revision: str = ""
    connect_timeout_s: float = 2.0
    first_token_timeout_s: float = 20.0
    silence_timeout_s: float = 10.0
    max_retries: int = 1
    temperature: float = 0.2
    retry_temperature: float = 0.8
    backoff_s: float = 0.25


class VllmGenerator:
    """A `Generator` over `POST /chat/completions` with streaming. Safe to share by threads."""

    def __init__(
        self,
        settings: VllmSettings,
        client: httpx.Client | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            settings: The server and the limits.
            client: Connections to use, for example with a private certificate authority; stays the caller's
                to close. Without one, a client is opened that ignores proxy variables.
        """
        self._settings = settings
        self._client = client or httpx.Client(trust_env=False)
        self._owns_client = client is None
        self._url = f"{settings.base_url.rstrip('/')}/chat/completions"
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        self._fingerprint = ""

    @property
    def info(self) -> GeneratorInfo:
        """Model name and revision; the revision is `unknown` until the first whole answer told it."""
        revision = self._settings.revision or self._fingerprint or "unknown"
        return GeneratorInfo(self._settings.model, revision, "vllm")

    def close(self) -> None:
        """Close the connections that this generator opened itself."""
        if self._owns_client:
            self._client.close()

    def generate(self, request: GenerationRequest) -> Iterator[str]:
        """Yield the answer's text; see the port. Fails rather than yield reasoning, markup or half an answer.

        Access:
            The messages leave the process for `base_url`. No id of the asker goes with them.
        """
        budget = _Budget(time.monotonic() + request.deadline_s)
        for attempt in range(self._settings.max_retries + 1):
            yielded = False
            try:
                with closing(self._attempt(request, attempt, budget)) as texts:
                    for text in texts:
                        yielded = True
                        yield text
                return
            except GeneratorError as error:
                pause_s = self._pause_s(attempt)
                if yielded or not self._may_retry(error, attempt) or budget.left_s <= pause_s:
                    raise
            time.sleep(pause_s)

    def probe(self, *, timeout_s: float) -> None:
        """Ask for a few tokens and return with the first; a reasoning token counts.

        vLLM cuts a reply of one or two tokens inside its header and shows the markup as content; here
        that is a token like any other.

        Raises:
            GeneratorError: No token came back in time.
        """
        payload = self._payload(PROBE, ReasoningEffort.LOW, N_PROBE_TOKENS, self._settings.temperature)
        with closing(self._chunks(payload, _Budget(time.monotonic() + timeout_s))) as chunks:
            if not any(chunk.has_token for chunk in chunks):
                raise MalformedGenerationError("the model server answered without a token")

    def _attempt(self, request: GenerationRequest, attempt: int, budget: _Budget) -> Generator[str]:
        guard = HarmonyGuard()
        finish = ""
        with closing(self._chunks(self._payload_for(request, attempt), budget)) as chunks:
            for chunk in chunks:
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    if text := guard.feed(choice.delta.content or ""):
                        yield text
                self._note(request, chunk)
        rest = guard.finish()
        check_ending(finish, has_text=guard.has_text)
        if rest:
            yield rest

    def _chunks(self, payload: Mapping[str, object], budget: _Budget) -> Generator[Chunk]:
        """The events of one streamed completion; closing the iterator closes the connection."""
        settings = self._settings
        due = time.monotonic() + settings.first_token_timeout_s
        wait_s = budget.within(max(settings.first_token_timeout_s, settings.silence_timeout_s))
        timeout = httpx.Timeout(wait_s, connect=min(settings.connect_timeout_s, wait_s))
        with (
            vendor_errors(),
            httpx_sse.connect_sse(
                self._client, "POST", self._url, json=payload, headers=dict(self._headers), timeout=timeout
            ) as source,
            _Watchdog(source.response) as watchdog,
        ):
            check_status(source.response)
            events = source.iter_sse()
            while (event := watchdog.next_of(events, budget.earlier(due))) and event.data != "[DONE]":
                chunk = Chunk.model_validate_json(event.data)
                if chunk.failure is not None:
                    raise chunk.failure
                yield chunk
                if chunk.has_token:
                    due = time.monotonic() + settings.silence_timeout_s

    def _payload_for(self, request: GenerationRequest, attempt: int) -> dict[str, object]:
        """The request's body; a retry samples otherwise and thinks briefly, for a long thought may be why."""
        effort = request.effort if attempt == 0 else ReasoningEffort.LOW
        warmth = self._settings.temperature if attempt == 0 else self._settings.retry_temperature
        payload = self._payload(request.messages, effort, request.max_tokens, warmth)
        return payload | ({"cache_salt": request.cache_salt} if request.cache_salt else {})

    def _payload(
        self, messages: tuple[Message, ...], effort: ReasoningEffort, max_tokens: int, temperature: float
    ) -> dict[str, object]:
        return {
            "model": self._settings.model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "reasoning_effort": effort.value,
            "max_completion_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _note(self, request: GenerationRequest, chunk: Chunk) -> None:
        self._fingerprint = chunk.system_fingerprint or self._fingerprint
        if chunk.usage is not None and request.on_usage is not None:
            request.on_usage(chunk.usage.counts())

    def _may_retry(self, error: GeneratorError, attempt: int) -> bool:
        waited = isinstance(error, GeneratorTimeoutError)
        return error.retryable and not waited and attempt < self._settings.max_retries

    def _pause_s(self, attempt: int) -> float:
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 (spreads retries, hides nothing)
        return self._settings.backoff_s * 2.0**attempt * jitter


@dataclass(frozen=True, slots=True)
class _Budget:
    """The moment (monotonic seconds) at which a generation has to be over."""

    give_up_at: float

    @property
    def left_s(self) -> float:
        return self.give_up_at - time.monotonic()

    def within(self, limit_s: float) -> float:
        """The limit, or what is left of the budget if that is less."""
        if self.left_s <= 0:
            raise GeneratorTimeoutError("the generation is over its deadline")
        return min(limit_s, self.left_s)

    def earlier(self, due: float) -> float:
        return min(due, self.give_up_at)


class _Watchdog:
    """Cuts a response's connection when the wait for its next event takes too long.

    httpx bounds each read, not the wait for an event: keep-alive comments, an event that trickles in, or a
    pause that is longer than the budget's rest would get past it. Only the waiting is timed, not a reader
    who is slow to ask for more. Shutting the socket down wakes the waiting thread; closing it would not.
    """

    def __init__(self, response: httpx.Response) -> None:
        stream = response.extensions.get("network_stream")
        self._socket: socket.socket | None = stream.get_extra_info("socket") if stream is not None else None
        self._changed = threading.Condition()
        self._due = self._wakes_at = float("inf")
        self._over = self._fired = False
        self._thread = threading.Thread(target=self._watch, name="vllm-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def next_of(
        self, events: Iterator[httpx_sse.ServerSentEvent], due: float
    ) -> httpx_sse.ServerSentEvent | None:
        """The next event, None at the end of the stream.

        Raises:
            GeneratorTimeoutError: There was none by `due` (monotonic seconds).
        """
        if due <= time.monotonic():
            raise GeneratorTimeoutError("the model server sent no token in time")
        self._set_due(due)
        try:
            event = next(events, None)
        except httpx.TransportError as error:
            if self._fired:
                raise GeneratorTimeoutError("the model server sent no token in time") from error
            raise
        finally:
            self._set_due(float("inf"))
        if event is None and self._fired:
            raise GeneratorTimeoutError("the model server sent no token in time")
        return event

    def _set_due(self, due: float) -> None:
        with self._changed:
            self._due = due
            if due < self._wakes_at:  # else the thread looks again early enough: no wake-up per token
                self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._over and not self._fired:
                self._wakes_at = self._due
                left_s = self._due - time.monotonic()
                if left_s > 0:
                    self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
                else:
                    self._fired = True
            if self._fired and self._socket is not None:
                try:  # not the method of an SSLSocket, which would also drop the reader's TLS state
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:  # the other side was quicker
                    self._socket = None
