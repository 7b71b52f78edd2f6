"""Answers in the shape of OpenAI's chat completions, whole and streamed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence

from retrieval.errors import RefdeskError
from retrieval.query import Hit
from serving.answer import Answer, Answered, AnswerEvent, Citation, TextAdded, TextWithdrawn
from serving.http.errors import Problem, openai_body, problem_of, unexpected_problem
from serving.http.rendering import passage_url

_log = logging.getLogger(__name__)

MODEL_ID = "refdesk"
_SINCE = 1767225600
"""When the model came to be, Unix seconds; clients only need a number that stays the same."""

_MARKER = re.compile(r"\[(\d+)\]")

_WITHDRAWN = "\n\n[The text above is withdrawn. What follows replaces it.]\n\n"
"""OpenAI's stream cannot take text back, so the reader is told."""


def model_object() -> dict[str, object]:
    """The desk as a model."""
    return {"id": MODEL_ID, "object": "model", "created": _SINCE, "owned_by": "refdesk"}


def completion(answer: Answer, request_id: str, created: int, *, base: str) -> dict[str, object]:
    """A whole completion."""
    message = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": url_citations(answer.text, answer.citations, base=base),
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": created,
        "model": MODEL_ID,
        "choices": [choice],
        "citations": cited_urls(answer, base=base),
        "withheld": answer.n_withheld,
        "usage": usage(answer.usage),
    }


def completion_stream(
    events: Iterator[AnswerEvent], request_id: str, created: int, *, base: str, with_usage: bool
) -> Iterator[str]:
    """The same as server-sent chunks, ending in `[DONE]`; annotations come in the last chunk with a delta.

    An error before the first event is raised; a later one is a chunk in OpenAI's error shape.
    """
    writer = _ChunkWriter(request_id, created)
    next(events)  # the references; an error of the search has its own status
    yield writer.chunk({"role": "assistant", "content": ""})
    text = ""
    try:
        for each in events:
            addition = _addition(each, text)
            text += addition
            if addition:
                yield writer.chunk({"content": addition})
            if isinstance(each, Answered):
                yield from _ending(writer, each.answer, text, base=base, with_usage=with_usage)
    except RefdeskError as error:
        yield _failure(problem_of(error))
    except Exception:  # noqa: BLE001  # the headers are out, so this is the edge of the process
        _log.exception("stream failed unexpectedly", extra={"request_id": request_id})
        yield _failure(unexpected_problem())
    yield "data: [DONE]\n\n"


def url_citations(text: str, citations: Sequence[Citation], *, base: str) -> list[dict[str, object]]:
    """A `url_citation` for every marker in the text that a citation stands behind."""
    hits = {citation.marker: citation.hit for citation in citations}
    found = ((match, hits.get(int(match.group(1)))) for match in _MARKER.finditer(text))
    return [_annotation(match, hit, base=base) for match, hit in found if hit is not None]


def cited_urls(answer: Answer, *, base: str) -> list[str]:
    """Addresses by marker: the n-th one belongs to `[n]`; up to the highest marker that is cited."""
    hits = {citation.marker: citation.hit for citation in answer.citations}
    places = range(1, max(hits, default=0) + 1)
    return [passage_url(hits[n].passage, base) if n in hits else "" for n in places]


def usage(counted: Mapping[str, int]) -> dict[str, int]:
    """Token counts; zero where no model was asked."""
    prompt, written = counted.get("prompt_tokens", 0), counted.get("completion_tokens", 0)
    total = counted.get("total_tokens", prompt + written)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": total}


class _ChunkWriter:
    """Writes chunks of one completion."""

    def __init__(self, request_id: str, created: int) -> None:
        self._head = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": MODEL_ID,
        }

    def chunk(self, delta: Mapping[str, object], *, finish: str | None = None, **more: object) -> str:
        """One chunk."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse({**self._head, "choices": [choice], **more})

    def usage(self, counted: Mapping[str, int]) -> str:
        """The chunk with the token counts."""
        return _sse({**self._head, "choices": [], "usage": usage(counted)})


def _ending(writer: _ChunkWriter, answer: Answer, text: str, *, base: str, with_usage: bool) -> Iterator[str]:
    start = text.rfind(_WITHDRAWN)
    valid_from = 0 if start < 0 else start + len(_WITHDRAWN)
    masked = " " * valid_from + text[valid_from:]
    yield writer.chunk({"annotations": url_citations(masked, answer.citations, base=base)})
    urls = cited_urls(answer, base=base)
    yield writer.chunk({}, finish="stop", citations=urls, withheld=answer.n_withheld)
    if with_usage:
        yield writer.usage(answer.usage)


def _addition(each: AnswerEvent, text: str) -> str:
    """What an event adds to the text; an answer that was not streamed comes whole at the end."""
    if isinstance(each, TextAdded):
        return each.text
    if isinstance(each, TextWithdrawn):
        return _WITHDRAWN if text else ""
    if isinstance(each, Answered) and (not text or text.endswith(_WITHDRAWN)):
        return each.answer.text
    return ""


def _annotation(match: re.Match[str], hit: Hit, *, base: str) -> dict[str, object]:
    cited = {
        "url": passage_url(hit.passage, base),
        "title": hit.passage.title,
        "start_index": match.start(),
        "end_index": match.end(),
    }
    return {"type": "url_citation", "url_citation": cited}


def _failure(problem: Problem) -> str:
    return _sse(openai_body(problem))


def _sse(payload: Mapping[str, object]) -> str:
    return f"data: {json.dumps(payload, separators=(',', ':'))}\n\n"
