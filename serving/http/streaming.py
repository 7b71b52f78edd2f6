"""Server-sent events: answers as they are written, and progress as it is made."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

import anyio
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from retrieval.errors import RefdeskError
from serving.answer import Answered, AnswerEvent, ReferencesFound, TextAdded, TextWithdrawn
from serving.http import schemas
from serving.http.errors import problem_body, problem_of, request_id_of, unexpected_problem
from serving.http.rendering import answer_out, hit_out

_log = logging.getLogger(__name__)

T = TypeVar("T", bound=schemas.Outgoing)

_EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string", "description": "JSON"}},
}

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _EVENT_SCHEMA}}}
}
"""What a streamed reply is in the OpenAPI document."""

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_TICK_S = 0.5


def event(name: str, payload: object) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(payload, separators=(',', ':'))}\n\n"


def respond(pieces: Iterator[str]) -> StreamingResponse:
    """A streamed reply. The first piece is made before it begins, so an early error has its own status."""
    first = next(pieces)
    return StreamingResponse(chain([first], pieces), media_type="text/event-stream", headers=_HEADERS)


def answer_stream(events: Iterator[AnswerEvent], *, request_id: str, conversation_id: str) -> Iterator[str]:
    """The events of an answer: `references`, `delta`, `withdrawn`, `citations`, `done`; or `error`.

    `withdrawn` tells the client to clear the text that it has shown so far. `done` carries what the same
    request would have got without a stream. An error before the first event is raised.
    """
    yield _answer_event(next(events), "", request_id, conversation_id)
    shown = ""
    try:
        for each in events:
            yield _answer_event(each, shown, request_id, conversation_id)
            shown = text_after(shown, each)
    except RefdeskError as error:
        yield event("error", problem_body(problem_of(error), request_id))
    except Exception:  # noqa: BLE001  # the headers are out, so this is the edge of the process
        _log.exception("stream failed unexpectedly", extra={"request_id": request_id})
        yield event("error", problem_body(unexpected_problem(), request_id))


def text_after(shown: str, each: AnswerEvent) -> str:
    """The text that a client shows after an event."""
    if isinstance(each, TextAdded):
        return shown + each.text
    return "" if isinstance(each, TextWithdrawn) else shown


def _answer_event(each: AnswerEvent, shown: str, request_id: str, conversation_id: str) -> str:
    match each:
        case ReferencesFound(references=references):
            return event("references", [hit_out(hit).model_dump(mode="json") for hit in references])
        case TextAdded(text=text):
            return event("delta", {"text": text})
        case TextWithdrawn(reason=reason):
            return event("withdrawn", {"reason": reason})
        case Answered(answer=answer):
            out = answer_out(answer, request_id=request_id, conversation_id=conversation_id)
            whole = out.model_dump(mode="json")
            rest = "" if shown.strip() else event("delta", {"text": answer.text})
            return rest + event("citations", whole["citations"]) + event("done", whole)


def progress(
    request: Request, snapshot: Callable[[], T], is_over: Callable[[T], bool], limit_s: float
) -> StreamingResponse:
    """`progress` events whenever the snapshot changes, then `done` when it is over or time is up.

    `snapshot` looks up the caller anew each time, so a permission that is revoked ends what is shown.
    """
    return StreamingResponse(
        _progress(request, snapshot, is_over, limit_s), media_type="text/event-stream", headers=_HEADERS
    )


async def _progress(
    request: Request, snapshot: Callable[[], T], is_over: Callable[[T], bool], limit_s: float
) -> AsyncIterator[str]:
    ends_at = time.monotonic() + limit_s
    before: dict[str, object] | None = None
    try:
        while True:
            now = await run_in_threadpool(snapshot)
            dumped = now.model_dump(mode="json")
            if dumped != before:
                yield event("progress", dumped)
            before, over = dumped, is_over(now)
            if over or time.monotonic() >= ends_at:
                yield event("done", {"finished": over})
                return
            await anyio.sleep(_TICK_S)
    except RefdeskError as error:
        yield event("error", problem_body(problem_of(error), request_id_of(request)))
