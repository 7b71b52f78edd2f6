"""Search and answers over HTTP."""

from __future__ import annotations

import json
import re

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.timeout(600)

QUESTION = "How many days of annual leave do employees have?"


def events_of(text: str) -> list[tuple[str, object]]:
    """Names and payloads of server-sent events."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_search_gives_hits_in_the_documented_shape(reader: TestClient) -> None:
    """A hit carries what is needed to show and cite it, and highlights lie within its text."""
    reply = reader.post("/api/v1/search", json={"query": "hotel limit", "limit": 3})
    assert reply.status_code == 200
    body = reply.json()
    assert {"hits", "facets", "took_ms", "request_id"} <= body.keys()
    assert 1 <= len(body["hits"]) <= 3
    hit = body["hits"][0]
    assert {
        "document_id",
        "chunk_id",
        "source_id",
        "title",
        "url",
        "heading_path",
        "page",
        "score",
        "text",
    } <= (hit.keys())
    assert all(0 <= start < end <= len(hit["text"]) for start, end in hit["highlights"])
    assert body["request_id"] == reply.headers["X-Request-Id"]


def test_search_explains_itself_on_request(reader: TestClient) -> None:
    """With `explain` there are timings and each leg's share; without it there are none."""
    asked = reader.post("/api/v1/search", json={"query": "travel", "explain": True}).json()
    assert asked["timings_ms"].keys() >= {"embed", "index", "check"}
    assert asked["hits"][0]["explanation"] is not None
    assert reader.post("/api/v1/search", json={"query": "travel"}).json()["timings_ms"] is None


def test_search_narrows_by_filters(reader: TestClient) -> None:
    """Only documents below the prefix come back."""
    body = {"query": "rules", "filters": {"path_prefix": "people/"}}
    hits = reader.post("/api/v1/search", json=body).json()["hits"]
    assert hits
    assert all(hit["external_id"].startswith("people/") for hit in hits)


def test_a_misspelt_filter_is_refused(reader: TestClient) -> None:
    """A filter that is not understood must not widen the search."""
    reply = reader.post("/api/v1/search", json={"query": "x", "filters": {"source": ["a"]}})
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")


def test_an_answer_cites_passages_that_the_caller_may_read(reader: TestClient) -> None:
    """Every marker in the answer has a citation whose quote stands in the document at its offsets."""
    body = reader.post("/api/v1/answers", json={"question": QUESTION}).json()
    assert body["ai_generated"] is True
    assert not body["abstained"]
    markers = {int(marker) for marker in re.findall(r"\[(\d+)\]", body["answer"])}
    assert markers == {citation["marker"] for citation in body["citations"]}
    for citation in body["citations"]:
        text = reader.get(f"/api/v1/documents/{citation['document_id']}/text").json()["text"]
        assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_a_streamed_answer_ends_with_what_the_plain_one_says(reader: TestClient) -> None:
    """The events come in order, the deltas make the answer, `done` has the same fields as the plain reply."""
    plain = reader.post("/api/v1/answers", json={"question": QUESTION}).json()
    reply = reader.post("/api/v1/answers", json={"question": QUESTION, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = events_of(reply.text)
    names = [name for name, _ in events]
    assert names[0] == "references"
    assert names[-2:] == ["citations", "done"]
    done = events[-1][1]
    assert isinstance(done, dict)
    assert done.keys() == plain.keys()
    assert done["answer"] == plain["answer"]
    deltas = [payload["text"] for name, payload in events if name == "delta" and isinstance(payload, dict)]
    assert "".join(deltas).split() == done["answer"].split()


def test_an_abstention_is_streamed_too(reader: TestClient) -> None:
    """What cannot be found is said, as text and as a flag."""
    question = "What is the boiling point of ethanol on Jupiter?"
    events = events_of(reader.post("/api/v1/answers", json={"question": question, "stream": True}).text)
    done = events[-1][1]
    assert isinstance(done, dict)
    assert done["abstained"]
    assert any(name == "delta" for name, _ in events)


def test_an_error_before_the_stream_has_its_own_status(reader: TestClient) -> None:
    """A question of blanks is refused with a problem, not with a stream that ends badly."""
    reply = reader.post("/api/v1/answers", json={"question": " ", "stream": True})
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_query")


def test_conversations_belong_to_their_user(reader: TestClient, head_of_people: TestClient) -> None:
    """The same id led by another user begins another conversation."""
    body = {"question": QUESTION, "conversation_id": "shared"}
    assert reader.post("/api/v1/answers", json=body).json()["conversation_id"] == "shared"
    assert head_of_people.post("/api/v1/answers", json=body).status_code == 200


def test_feedback_is_taken(reader: TestClient) -> None:
    """A thumb up for a request is kept; another rating than -1 and 1 is refused."""
    assert reader.post("/api/v1/feedback", json={"request_id": "abc", "rating": 1}).status_code == 204
    assert reader.post("/api/v1/feedback", json={"request_id": "abc", "rating": 5}).status_code == 422
