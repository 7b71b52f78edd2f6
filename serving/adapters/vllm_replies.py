"""What vLLM sends back, and which of our errors each way of failing is.

Nothing that the server says in its own words gets into an error: such words may quote the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import httpx_sse
import pydantic

from serving.errors import (
    GeneratorError,
    GeneratorRefusedError,
    GeneratorTimeoutError,
    GeneratorUnavailableError,
    MalformedGenerationError,
)

ERROR_BODY_BYTES = 65_536

VENDOR_ERRORS: tuple[tuple[type[Exception], type[GeneratorError], str], ...] = (
    (httpx.ConnectTimeout, GeneratorUnavailableError, "the model server accepts no connection"),
    (httpx.PoolTimeout, GeneratorUnavailableError, "every connection to the model server is in use"),
    (httpx.TimeoutException, GeneratorTimeoutError, "the model server is silent"),
    (httpx.DecodingError, MalformedGenerationError, "the model server's bytes cannot be decoded"),
    (httpx.HTTPError, GeneratorUnavailableError, "the connection to the model server failed"),
    (httpx.InvalidURL, GeneratorUnavailableError, "the model server's address is not a URL"),
    (httpx.StreamError, GeneratorUnavailableError, "the stream from the model server was closed"),
    (httpx_sse.SSEError, MalformedGenerationError, "the model server sent no event stream"),
    (pydantic.ValidationError, MalformedGenerationError, "the model server sent an unknown event"),
    (json.JSONDecodeError, MalformedGenerationError, "the model server sent no JSON"),
)
"""Foreign exception, ours, and what it means; the first row that matches counts."""


class _Delta(pydantic.BaseModel):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(pydantic.BaseModel):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(pydantic.BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Mapping[str, object] | None = None
    completion_tokens_details: Mapping[str, object] | None = None

    def counts(self) -> dict[str, int]:
        """The counts under the names of `GenerationRequest.on_usage`; absent details count as 0."""
        details = {**(self.prompt_tokens_details or {}), **(self.completion_tokens_details or {})}
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": _count(details.get("reasoning_tokens")),
            "cached_tokens": _count(details.get("cached_tokens")),
        }


class Chunk(pydantic.BaseModel):
    """One event of the stream. Unknown fields are ignored, known ones have to fit."""

    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    system_fingerprint: str | None = None
    object: str = ""
    error: Any = None

    @property
    def has_token(self) -> bool:
        """Whether the model wrote something, be it reasoning."""
        deltas = (choice.delta for choice in self.choices)
        return any(delta.content or delta.reasoning or delta.reasoning_content for delta in deltas)

    @property
    def failure(self) -> GeneratorError | None:
        """The error that a server sends with status 200, once it has begun to answer."""
        if self.error is None and self.object != "error":
            return None
        details = self.error if isinstance(self.error, dict) else {}
        code = _count(details.get("code")) or 500
        return _failure(code, "the model server sent an error in its answer", details)


def check_status(response: httpx.Response) -> None:
    """Raise for a status or a body that is an error; the server's own words, which may quote, stay out."""
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if response.status_code == httpx.codes.OK and is_stream:
        return
    details = _error_details(response)
    if response.status_code == httpx.codes.OK:
        if not details:
            raise MalformedGenerationError("the model server sent no event stream")
        code = _count(details.get("code")) or 500
        raise _failure(code, "the model server sent an error with status 200", details)
    raise _failure(
        response.status_code, f"the model server answered with status {response.status_code}", details
    )


def _failure(status: int, what: str, details: Mapping[str, object]) -> GeneratorError:
    kind = details.get("type")
    named = f"{what} ({kind})" if isinstance(kind, str) and kind.isidentifier() else what
    passes = status in {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS}
    refused = httpx.codes.is_client_error(status) and not passes
    return GeneratorRefusedError(named) if refused else GeneratorUnavailableError(named)


def _error_details(response: httpx.Response) -> Mapping[str, object]:
    """The error object of a JSON body, empty when there is none."""
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) > ERROR_BODY_BYTES:
            break
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    if content.get("object") == "error":  # vLLM before 0.10
        return content
    error = content.get("error", {})
    return error if isinstance(error, dict) else {"type": "error"}


def check_ending(finish: str, *, has_text: bool) -> None:
    """Raise unless the model ended an answer by itself."""
    if finish in {"abort", "error"}:
        raise GeneratorUnavailableError("the model server gave up on the answer")
    if not finish:
        raise MalformedGenerationError("the stream ended before the answer did")
    if not has_text:
        raise MalformedGenerationError(f"the answer is empty (finish {_known(finish)})")
    if finish != "stop":
        raise MalformedGenerationError(f"the answer is cut off (finish {_known(finish)})")


def _known(finish: str) -> str:
    return finish if finish.isidentifier() else "unknown"


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


@contextmanager
def vendor_errors() -> Iterator[None]:
    """Turn every foreign exception of the body into ours, by the table."""
    try:
        yield
    except tuple(theirs for theirs, _, _ in VENDOR_ERRORS) as error:
        ours, what = next((row[1], row[2]) for row in VENDOR_ERRORS if isinstance(error, row[0]))
        raise ours(f"{what} ({type(error).__name__})") from error
