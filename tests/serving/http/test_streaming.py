"""Streams of scripted answers: text that is withdrawn, and errors half-way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from retrieval.errors import IndexUnavailableError
from serving.answer import (
    Answer,
    Answered,
    AnswerEvent,
    Citation,
    GeneratorInfo,
    ReferencesFound,
    TextAdded,
    TextWithdrawn,
)
from serving.http.openai_replies import completion_stream
from serving.http.streaming import answer_stream
from tests.make import make_hit

TEXT = "Claims are due within 30 days [1]."


def make_answer(text: str = TEXT) -> Answer:
    """An answer with one citation."""
    hit = make_hit()
    citation = Citation(1, hit, hit.passage.text, 0, len(hit.passage.text), 1.0)
    return Answer(text, (citation,), False, (hit,), GeneratorInfo("test", "1", "vllm"))


def withdrawn_events() -> Iterator[AnswerEvent]:
    """A model that fails after a sentence; an extract replaces it."""
    yield ReferencesFound((make_hit(),))
    yield TextAdded("Claims are due tomorrow [1]. ")
    yield TextWithdrawn("generator_timeout")
    yield TextAdded(TEXT + " ")
    yield Answered(make_answer())


def broken_events(error: Exception) -> Iterator[AnswerEvent]:
    """A stream that breaks after a sentence."""
    yield ReferencesFound(())
    yield TextAdded("Claims ")
    raise error


def parsed(pieces: Iterator[str]) -> list[tuple[str, Any]]:
    """Names and payloads of events; chunks without a name are called `chunk`."""
    found = []
    for block in "".join(pieces).strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        found.append((fields.get("event", "chunk"), data if data == "[DONE]" else json.loads(data)))
    return found


def test_withdrawn_text_is_announced() -> None:
    """The client is told to clear what it shows before the replacement comes."""
    events = parsed(answer_stream(withdrawn_events(), request_id="r", conversation_id="c"))
    assert [name for name, _ in events] == [
        "references", "delta", "withdrawn", "delta", "citations", "done",
    ]  # fmt: skip
    assert events[2][1] == {"reason": "generator_timeout"}
    assert events[-1][1]["answer"] == TEXT


def test_an_answer_that_was_not_streamed_comes_whole() -> None:
    """After a withdrawal without replacement the final text is still sent as a delta."""

    def events() -> Iterator[AnswerEvent]:
        yield ReferencesFound(())
        yield TextAdded("Wrong. ")
        yield TextWithdrawn("not_found")
        yield Answered(make_answer("Nothing found."))

    stream = parsed(answer_stream(events(), request_id="r", conversation_id="c"))
    assert [payload["text"] for name, payload in stream if name == "delta"] == ["Wrong. ", "Nothing found."]


@pytest.mark.parametrize(
    ("error", "code"),
    [(IndexUnavailableError("gone"), "index_unavailable"), (ValueError("secret"), "internal_error")],
)
def test_an_error_half_way_is_an_event(error: Exception, code: str) -> None:
    """It is a problem like every other, and tells no details of what nobody foresaw."""
    events = parsed(answer_stream(broken_events(error), request_id="r", conversation_id="c"))
    assert events[-1][0] == "error"
    assert events[-1][1]["code"] == code
    assert "secret" not in str(events)


def test_an_error_before_the_first_event_is_raised() -> None:
    """So that it gets a status of its own."""

    def events() -> Iterator[AnswerEvent]:
        raise IndexUnavailableError("gone")
        yield

    with pytest.raises(IndexUnavailableError):
        next(answer_stream(events(), request_id="r", conversation_id="c"))
    with pytest.raises(IndexUnavailableError):
        next(completion_stream(events(), "r", 0, base="http://d", with_usage=False))


def test_openai_annotations_stand_in_the_text_that_counts() -> None:
    """Markers of withdrawn text get no annotation; those after it are located in the text as streamed."""
    chunks = parsed(completion_stream(withdrawn_events(), "r", 0, base="http://d", with_usage=True))
    assert chunks[-1][1] == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for _, chunk in chunks[:-1] if chunk["choices"]]
    text = "".join(delta.get("content", "") for delta in deltas)
    assert "withdrawn" in text
    (annotation,) = next(delta["annotations"] for delta in deltas if "annotations" in delta)
    cited = annotation["url_citation"]
    assert text[cited["start_index"] : cited["end_index"]] == "[1]"
    assert cited["start_index"] > text.index("withdrawn")


@pytest.mark.parametrize("error", [IndexUnavailableError("gone"), ValueError("secret")])
def test_an_error_half_way_ends_an_openai_stream(error: Exception) -> None:
    """With a chunk in OpenAI's error shape, then `[DONE]`."""
    chunks = parsed(completion_stream(broken_events(error), "r", 0, base="http://d", with_usage=False))
    assert chunks[-2][1]["error"]["type"] == "api_error"
    assert chunks[-1][1] == "[DONE]"
    assert "secret" not in str(chunks)
